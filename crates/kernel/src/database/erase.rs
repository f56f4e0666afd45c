//! Erasing a person (GDPR, Article 17): at once from every answer, then from every file.
//!
//! 1. The erasure is a commit. With it the person's rows are hidden at every commit, FHIR reads answer as if nothing had been
//!    there, and writes that name the Patient are refused.
//! 2. It is put on the erasure list, which no backup replaces.
//! 3. The purge overwrites the JSON of all versions that are about the person, a few at a time between the writes of others, and
//!    ends their rows before they began. It goes on after a restart where it was.
//! 4. When all are done, the write-ahead log is emptied, and the erasure is marked as done.

use super::commit::{Committer, Work};
use super::erased::{About, ErasedOf, chain, hex};
use super::erasure_list::{ErasureList, ErasureListError, Listed};
use super::{Database, Shared, WriteError, timestamp};
use crate::fhir::criteria;
use crate::fhir::json;
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal};
use crate::journal::{self, ErasureRow, JournalError, Lookup, PersonHash, Purged, identifier_hashes};
use crate::limits::{MAX_PURGE_LOOK, MAX_PURGE_VERSIONS};
use bumpalo::Bump;
use jiff::Timestamp;
use roaring::RoaringBitmap;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

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
        self.shared.list([&row])?;
        Ok(erasure(&row))
    }

    /// All erasures, by commit.
    pub fn erasures(&self) -> Vec<Erasure> {
        let mut rows: Vec<Erasure> = self.shared.erasures.load().rows().map(erasure).collect();
        rows.sort_by(|a, b| (a.commit, &a.person).cmp(&(b.commit, &b.person)));
        rows
    }

    /// The ordinals of everybody who was ever erased. Whoever writes rows of live tables anew leaves out theirs.
    pub fn erased_patients(&self) -> RoaringBitmap {
        self.shared.erasures.load().rows().filter_map(|row| row.patient).map(|patient| patient.0).collect()
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
        }
        self.writer.commit()?;
        self.shared.erasures.store(Arc::new(self.shared.erasures.load().with(rows.iter().cloned())));
        (self.newest, self.time_us) = (commit, time_us);
        self.publish();
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

    /// Overwrites a step's versions. The order: journal, fsync, then their rows and counters.
    fn purge(&mut self, step: Step) -> Result<(), JournalError> {
        let erasures = self.shared.erasures.load_full();
        self.writer.begin()?;
        for version in &step.versions {
            self.writer.purge(version)?;
        }
        for person in &step.persons {
            self.writer.set_purged(person, step.upto)?;
        }
        self.writer.commit()?;
        let kinds: HashMap<i64, String> = self.writer.lookup().kinds()?.into_iter().collect();
        for version in &step.versions {
            let kind = kinds.get(&version.kind).map_or("", String::as_str);
            for table in self.shared.tables.of_type(kind).iter().filter_map(|t| self.tables.get(*t)) {
                // Ended when it began: visible at no commit.
                table.end(version.resource, version.commit, version.commit);
            }
            self.shared.count(kind, -i64::from(version.is_head), false);
        }
        let moved = step.persons.iter().filter_map(|person| erasures.get(person));
        let moved = moved.map(|row| ErasureRow { purged: step.upto, ..row.clone() });
        self.shared.erasures.store(Arc::new(erasures.with(moved)));
        Ok(())
    }

    /// Marks the purge as done for `persons`, whose versions are overwritten in the file and gone from the log.
    fn finish(&mut self, persons: &[PersonHash]) -> Result<(), JournalError> {
        let now_us = self.shared.clock.now().as_microsecond();
        let erasures = self.shared.erasures.load_full();
        let done: Vec<ErasureRow> = persons
            .iter()
            .filter_map(|person| erasures.get(person))
            .map(|row| ErasureRow { done_us: Some(now_us), ..row.clone() })
            .collect();
        self.writer.begin()?;
        for row in &done {
            self.writer.set_erased(&row.person, now_us)?;
        }
        self.writer.commit()?;
        self.shared.erasures.store(Arc::new(erasures.with(done)));
        self.publish();
        Ok(())
    }
}

/// What one step of the purge overwrites.
struct Step {
    /// For whom.
    persons: Vec<PersonHash>,
    /// Up to which row of `version` this looks.
    upto: i64,
    versions: Vec<Purged>,
}

/// What is to be done next for those whose purge is under way.
enum Next {
    /// Look at versions after the first number, up to the second, for these persons.
    Look(i64, i64, Vec<PersonHash>),
    /// All is overwritten: empty the log.
    Finish(Vec<PersonHash>),
    Nothing,
}

impl Shared {
    /// Those who are furthest behind go first, as far as the next ones are; from there on together.
    fn next(&self) -> Next {
        let erasures = self.erasures.load();
        let under_way: Vec<&ErasureRow> = erasures.rows().filter(|row| row.done_us.is_none() && row.purged < row.until).collect();
        let Some(from) = under_way.iter().map(|row| row.purged).min() else {
            let waiting: Vec<PersonHash> = erasures.rows().filter(|row| row.done_us.is_none()).map(|row| row.person).collect();
            return if waiting.is_empty() { Next::Nothing } else { Next::Finish(waiting) };
        };
        let (behind, ahead): (Vec<&ErasureRow>, Vec<&ErasureRow>) = under_way.into_iter().partition(|row| row.purged == from);
        let until = behind.iter().map(|row| row.until).max().unwrap_or(from);
        let until = ahead.iter().map(|row| row.purged).min().map_or(until, |next| until.min(next));
        Next::Look(from, until, behind.into_iter().map(|row| row.person).collect())
    }

    fn look_for(&self, from: i64, until: i64, persons: Vec<PersonHash>) -> Result<Step, JournalError> {
        self.readers.look(|lookup| {
            let kinds: HashMap<i64, String> = lookup.kinds()?.into_iter().collect();
            let mut search = Search { shared: self, lookup, holders: HashMap::new(), latest: HashMap::new(), arena: Bump::new() };
            let (mut versions, mut looked) = (Vec::new(), 0_u32);
            let upto = lookup.each_version(from, until, |candidate| {
                looked += 1;
                let kind = kinds.get(&candidate.kind).map_or("", String::as_str);
                versions.extend(search.judge(kind, candidate)?);
                Ok(versions.len() < MAX_PURGE_VERSIONS && looked < MAX_PURGE_LOOK)
            })?;
            Ok(Step { persons, upto, versions })
        })
    }
}

/// A look through versions for what is about erased persons.
struct Search<'s> {
    shared: &'s Shared,
    lookup: &'s Lookup<'s>,
    holders: HashMap<HolderId, ErasedOf>,
    /// The latest erasure of any version of a resource that has versions about nobody.
    latest: HashMap<ResourceOrdinal, Option<Commit>>,
    arena: Bump,
}

impl Search<'_> {
    fn judge(&mut self, kind: &str, version: &journal::Candidate<'_>) -> Result<Option<Purged>, JournalError> {
        let Some(stored) = version.json else { return Ok(None) };
        let erased = self.holders.entry(version.holder).or_insert_with(|| self.shared.erased_of(version.holder));
        let by = match erased.about(kind, version.id, Some(stored)) {
            About::Others => None,
            About::Erased(commit) => Some(commit),
            About::Nobody if version.number == 1 && version.head == version.sequence => None,
            About::Nobody => {
                let latest = match self.latest.get(&version.resource) {
                    Some(latest) => *latest,
                    None => erased.among(kind, version.id, &chain(self.lookup, version.head)?).into_iter().flatten().max(),
                };
                self.latest.insert(version.resource, latest);
                latest.filter(|commit| version.commit < *commit)
            }
        };
        let Some(by) = by else { return Ok(None) };
        let is_head = version.head == version.sequence;
        let mut identifiers = self.identifiers(version.holder, version.kind, stored)?;
        if !is_head && let Some(head) = self.lookup.version(version.head)?.and_then(|head| head.json) {
            // The index leads to the newest version; what that is found under stays.
            let kept = self.identifiers(version.holder, version.kind, &head)?;
            identifiers.retain(|hash| !kept.contains(hash));
        }
        let (sequence, resource, commit) = (version.sequence, version.resource, version.commit);
        Ok(Some(Purged { sequence, resource, commit, kind: version.kind, len: stored.len(), by, is_head, identifiers }))
    }

    fn identifiers(&mut self, holder: HolderId, kind: i64, stored: &[u8]) -> Result<Vec<i64>, JournalError> {
        self.arena.reset();
        let resource = json::parse(stored, &self.arena).map_err(|e| JournalError::Inconsistent(format!("a stored resource: {e}")))?;
        Ok(identifier_hashes(holder, kind, criteria::identifiers(&resource).into_iter().map(|(_, value)| value)))
    }
}

/// How long others have the journal to themselves after a step that wrote.
const PAUSE: Duration = Duration::from_millis(5);

/// How often it is looked whether somebody was erased, and whether the log can be emptied.
const INTERVAL: Duration = Duration::from_millis(500);

/// The thread that purges until it is dropped.
pub(super) struct Eraser {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Eraser {
    pub(super) fn start(shared: Arc<Shared>, queue: SyncSender<Work>, journal: PathBuf) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("eraser".to_owned()).spawn(move || {
            while !stopping.load(Ordering::Acquire) {
                match advance(&shared, &queue, &journal) {
                    Ok(true) => std::thread::sleep(PAUSE),
                    Ok(false) => std::thread::park_timeout(INTERVAL),
                    Err(error) => {
                        tracing::error!(%error, "a purge cannot go on; it is taken up again");
                        std::thread::park_timeout(INTERVAL * 20);
                    }
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Eraser {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::warn!("the eraser's thread ended in a panic");
            }
        }
    }
}

/// One step; false if there is nothing to do now.
fn advance(shared: &Shared, queue: &SyncSender<Work>, journal: &std::path::Path) -> Result<bool, JournalError> {
    if shared.stopped.get().is_some() {
        return Ok(false);
    }
    match shared.next() {
        Next::Nothing => Ok(false),
        Next::Look(from, until, persons) => {
            let step = shared.look_for(from, until, persons)?;
            Ok(alone(queue, move |committer| committer.purge(step)))
        }
        Next::Finish(persons) => {
            if !journal::truncate(journal)? {
                return Ok(false);
            }
            Ok(alone(queue, move |committer| committer.finish(&persons)))
        }
    }
}

/// Has the committer do a piece of work, and waits for it; false if it has ended.
fn alone(queue: &SyncSender<Work>, work: impl FnOnce(&mut Committer) -> Result<(), JournalError> + Send + 'static) -> bool {
    let (reply, answer) = sync_channel(1);
    let work = Work::Alone(Box::new(move |committer| {
        work(committer)?;
        let _ = reply.send(()); // nobody may be waiting
        Ok(())
    }));
    queue.send(work).is_ok() && answer.recv().is_ok()
}

#[cfg(test)]
mod tests;
