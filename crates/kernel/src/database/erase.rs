//! Erasing a person (GDPR, Article 17): at once from every answer, then from every file.
//!
//! 1. The erasure is a commit. With it the person's rows are hidden at every commit, FHIR reads answer as if nothing had been
//!    there, and writes that name the Patient are refused.
//! 2. It is put on the erasure list, which no backup replaces.
//! 3. The purge ([`super::purge`]) takes the person out of every file.

use super::commit::{Committer, Work};
use super::erased::hex;
use super::erasure_list::{ErasureList, ErasureListError, Listed};
use super::persons::PersonKeys;
use super::{Database, Shared, WriteError, timestamp};
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal};
use crate::journal::{ErasureRow, JournalError, PersonHash};
use crate::live::Change;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError};

/// An erasure as the centre sees it. Whom it is about cannot be told from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The person: a keyed hash, in hexadecimal.
    pub person: String,
    /// The commit that it is.
    pub commit: Commit,
    /// Why.
    pub reason: String,
    /// When the last byte was overwritten; `None` while the purge is under way.
    pub purged_at: Option<Timestamp>,
}

/// Why nobody was erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The holder has no such Patient.
    #[error("the holder has no Patient of that id; check both")]
    Unknown,
    /// The commit could not be made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It was made, and the person is hidden; but it is not on the list.
    #[error("the person is erased here, but not on the erasure list that restores are made with; mend this, then restart: {0}")]
    List(#[from] ErasureListError),
}

/// An erasure that was already there, or that was made now.
type Made = Result<ErasureRow, EraseError>;

impl Database {
    /// Erases the holder's Patient `patient`: hidden everywhere when this returns, and purged soon after. Erasing somebody
    /// again changes nothing. `reason` is kept; it must not tell who it is.
    pub fn erase(&self, holder: HolderId, patient: &str, reason: &str) -> Result<Erasure, EraseError> {
        let (reply, answer) = sync_channel(1);
        let (id, why) = (patient.to_owned(), reason.to_owned());
        self.enqueue(Work::Alone(Box::new(move |committer| {
            let made = committer.erase(holder, &id, why)?;
            let _ = reply.send(made); // nobody may be waiting
            Ok(())
        })))?;
        let row = answer.recv().map_err(|_| self.stopped())??;
        if let Some(eraser) = self.shared.eraser.get() {
            eraser.unpark();
        }
        self.shared.list([&row])?;
        Ok(erasure(&row))
    }

    /// All erasures, by commit.
    pub fn erasures(&self) -> Vec<Erasure> {
        let mut rows: Vec<Erasure> = self.shared.erasures.load().rows().map(erasure).collect();
        rows.sort_by(|a, b| (a.commit, &a.person).cmp(&(b.commit, &b.person)));
        rows
    }
}

fn erasure(row: &ErasureRow) -> Erasure {
    Erasure { person: hex(&row.person), commit: row.commit, reason: row.reason.clone(), purged_at: row.done_us.map(timestamp) }
}

impl Shared {
    /// Puts erasures on the list, those that are not on it yet.
    pub(super) fn list<'r>(&self, rows: impl IntoIterator<Item = &'r ErasureRow>) -> Result<(), ErasureListError> {
        let at = self.clock.now();
        let listed = |row: &ErasureRow| Listed { person: row.person, at, timeline: self.timeline.to_string(), commit: row.commit };
        self.erasure_list.lock().unwrap_or_else(PoisonError::into_inner).add(rows.into_iter().map(listed))
    }
}

/// An erasure in the tail log of the live tables, which wants every commit: it changes no row.
fn no_change(commit: Commit) -> Change {
    let (holder, resource, kind) = (HolderId::CENTRE, ResourceOrdinal(0), "erasure".to_owned());
    Change { commit, holder, resource, kind, previous: None, rows: Vec::new(), appeared: 0, modified: false }
}

impl Committer {
    /// One erasure as one commit, alone in its group: whatever is committed after it was checked against it.
    fn erase(&mut self, holder: HolderId, patient: &str, reason: String) -> Result<Made, JournalError> {
        let erasures = self.shared.erasures.load_full();
        let lookup = self.writer.lookup();
        let name = lookup.holders()?.into_iter().find(|(id, _)| *id == holder && holder != HolderId::CENTRE);
        let Some((_, name)) = name else { return Ok(Err(EraseError::Unknown)) };
        let person = erasures.person(&name, patient);
        if let Some(row) = erasures.get(&person) {
            return Ok(Ok(row.clone()));
        }
        let head = match lookup.kind("Patient")? {
            Some(kind) => lookup.head(holder, kind, patient)?,
            None => None,
        };
        let Some(head) = head else { return Ok(Err(EraseError::Unknown)) };
        let ordinal = lookup.patient(head.ordinal)?;
        let mut rows = self.add_erasures(vec![(person, ordinal, reason)])?;
        rows.pop().map(Ok).ok_or_else(|| JournalError::Inconsistent("an erasure was not written".to_owned()))
    }

    /// The order: journal, fsync, the set that readers and writers look at, the snapshot without the persons.
    fn add_erasures(&mut self, persons: Vec<(PersonHash, Option<PatientOrdinal>, String)>) -> Result<Vec<ErasureRow>, JournalError> {
        let commit = Commit(self.newest.0 + 1);
        let time_us = self.shared.clock.now().as_microsecond().max(self.time_us);
        let (_, _, until) = self.writer.lookup().highest()?;
        let row = |(person, patient, reason)| ErasureRow { person, patient, commit, reason, until, purged: 0, done_us: None };
        let rows: Vec<ErasureRow> = persons.into_iter().map(row).collect();
        self.writer.begin()?;
        self.writer.add_commit(commit, time_us, HolderId::CENTRE)?;
        for row in &rows {
            self.writer.add_erasure(row)?;
            if let Some(patient) = row.patient {
                // Whom the Patient is one person with followed from the national identifier, whose hash is soon guessed. Who was
                // joined by it alone is joined no more.
                self.identify(HolderId::CENTRE, patient, &PersonKeys::default(), commit)?;
            }
        }
        self.writer.commit()?;
        self.shared.erasures.store(Arc::new(self.shared.erasures.load().with(rows.iter().cloned())));
        (self.newest, self.time_us) = (commit, time_us);
        self.publish();
        if let Some(store) = &self.store {
            store.changed(vec![no_change(commit)]);
        }
        Ok(rows)
    }

    /// Erases again whom the list names and this journal does not: it was restored from a backup that is older than their
    /// erasure. Who is not known here by any Patient is remembered, so that nothing about them is taken.
    pub(super) fn erase_listed(&mut self, list: &ErasureList) -> Result<(), JournalError> {
        let erasures = self.shared.erasures.load_full();
        let missing: Vec<PersonHash> = list.persons().iter().filter(|person| erasures.get(person).is_none()).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let lookup = self.writer.lookup();
        let names: HashMap<HolderId, String> = lookup.holders()?.into_iter().collect();
        let mut known: HashMap<PersonHash, PatientOrdinal> = HashMap::new();
        lookup.each_patient(|patient, holder, id| {
            known.insert(erasures.person(names.get(&holder).map_or("", String::as_str), id), patient);
        })?;
        tracing::warn!(persons = missing.len(), "the erasure list names persons that this journal still had; they are erased again");
        let again = |person| (person, known.get(&person).copied(), "from the erasure list".to_owned());
        self.add_erasures(missing.into_iter().map(again).collect()).map(drop)
    }
}

#[cfg(test)]
mod tests;
