//! Searching: one snapshot, one holder.

use super::erased::About;
use super::tables::search_table;
use super::terminology::Definitions;
use super::{Database, ReadError, Shared, StoredVersion, stored};
use crate::ids::{Commit, HolderId};
use crate::live::Snapshot;
use crate::search::execute::{Cursor, Found, Hit, Reader, SearchError};
use crate::search::query::Search;
use crate::terminology::Source;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

/// Which part of an answer is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The commit that is searched; `None`: the newest. Further pages name the first one's.
    pub at: Option<Commit>,
    /// [`Found::next`] of the page before.
    pub after: Option<Cursor>,
    /// How many matches at most.
    pub count: usize,
}

impl From<ReadError> for SearchError {
    fn from(error: ReadError) -> Self {
        Self::Journal(error.to_string())
    }
}

impl Shared {
    /// Searches in a snapshot.
    pub(super) fn search_in(
        &self,
        snapshot: &Snapshot,
        holder: HolderId,
        search: &Search,
        page: Page,
        until: Option<Instant>,
    ) -> Result<Found, SearchError> {
        let definitions = Definitions::new(self, snapshot, Some(holder), until);
        let found = self.search_with(snapshot, holder, search, page, until, &definitions);
        definitions.failure()?;
        found
    }

    /// The same with these definitions of codes.
    pub(super) fn search_with(
        &self,
        snapshot: &Snapshot,
        holder: HolderId,
        search: &Search,
        page: Page,
        until: Option<Instant>,
        terminology: &dyn Source,
    ) -> Result<Found, SearchError> {
        let all = self.erasures.load();
        let erased_of = self.erased_of(holder);
        let known = RefCell::new(HashMap::new());
        let erased = |patient: &str| *known.borrow_mut().entry(patient.to_owned()).or_insert_with(|| erased_of.is_erased(patient));
        let commit_at = |time_us: i64| -> Result<Commit, SearchError> { Ok(self.look(|l| l.commit_at(time_us))?.unwrap_or_default()) };
        let reader = Reader {
            snapshot,
            holder,
            indexes: &self.indexes,
            table: &search_table,
            commit_at: &commit_at,
            erased: if all.to_hide().is_empty() { None } else { Some(&erased) },
            terminology,
            until,
        };
        reader.run(search, page.after, page.count)
    }

    /// See [`Database::found`].
    pub(super) fn found(&self, holder: HolderId, resource_type: &str, hits: &[Hit]) -> Result<Vec<Option<StoredVersion>>, ReadError> {
        let erased = self.erased_of(holder);
        self.look(|lookup| {
            let mut versions = Vec::with_capacity(hits.len());
            for hit in hits {
                let mut sequence = lookup.newest_version(hit.resource)?;
                let mut found = None;
                while sequence != 0 {
                    let Some(row) = lookup.version(sequence)? else { break };
                    if row.commit == hit.commit {
                        let seen =
                            row.erased.is_none() && !matches!(erased.about(resource_type, &hit.id, row.json.as_deref()), About::Erased(_));
                        found = Some(stored(row)).filter(|_| seen);
                        break;
                    }
                    sequence = row.previous;
                }
                versions.push(found);
            }
            Ok(versions)
        })
    }
}

impl Database {
    /// The holder's resources that match, at one commit. What was acknowledged before the call is found.
    pub fn search(&self, holder: HolderId, search: &Search, page: Page) -> Result<Found, SearchError> {
        let snapshot = match page.at {
            None => self.snapshot(),
            Some(commit) => self.snapshot_at(commit)?.ok_or(SearchError::NoCommit(commit))?,
        };
        self.search_in(&snapshot, holder, search, page, None)
    }

    /// The same in a snapshot that the caller has, whatever the page says: one of an earlier commit costs more to get than a search.
    /// It ends with [`SearchError::TooLong`] if it runs beyond `until`.
    pub fn search_in(
        &self,
        snapshot: &Snapshot,
        holder: HolderId,
        search: &Search,
        page: Page,
        until: Option<Instant>,
    ) -> Result<Found, SearchError> {
        let found = self.shared.search_in(snapshot, holder, search, page, until);
        if let Err(SearchError::Damaged(_)) = &found {
            self.report_damage(&search_table(search.resource_type));
        }
        found
    }

    /// The versions that a search has found, in its order; `None` for what was erased since.
    pub fn found(&self, holder: HolderId, resource_type: &str, hits: &[Hit]) -> Result<Vec<Option<StoredVersion>>, ReadError> {
        self.shared.found(holder, resource_type, hits)
    }
}
