//! What has been written since: the versions of a type that meet conditions, in the order of commits, for whoever follows them.
//!
//! A version that is there is a row of the table of search values, which says when it began and what it is found by: so nobody who
//! follows reads the journal for what they did not ask for. A deletion has no row; it is found in the journal, and judged by the
//! version before it.

use super::history::{is_seen, version_of};
use super::tables::search_table;
use super::{Database, ReadError, Written, stored};
use crate::fhir::json;
use crate::ids::{Commit, HolderId, ResourceOrdinal};
use crate::journal::{JournalError, Lookup};
use crate::limits::FOLLOWED_COMMITS;
use crate::live::{Damaged, Snapshot, TableSnapshot};
use crate::search::conditions::Conditions;
use crate::search::execute::{Cursor, SearchError};
use crate::search::index::PackedRows;
use crate::search::matches::{Candidate, matches};
use bumpalo::Bump;
use std::collections::BTreeSet;

/// What somebody follows.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Whose resources.
    pub holder: HolderId,
    /// Of which type.
    pub resource_type: String,
    /// Those that meet this, as they are with the version or, if that is a deletion, as they were before it.
    pub conditions: Conditions,
    /// Whether deletions are followed too.
    pub deletions: bool,
}

/// What came after a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// The versions, in order.
    pub found: Vec<Cursor>,
    /// Up to here there are no others.
    pub upto: Cursor,
}

/// How a version came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There was nothing before it.
    Created,
    /// It replaced one.
    Updated,
    /// It ended one.
    Deleted,
}

/// A version, and how it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// How.
    pub change: Change,
    /// It.
    pub written: Written,
}

/// The place after all that a commit wrote.
pub fn end_of(commit: Commit) -> Cursor {
    Cursor { commit, resource: ResourceOrdinal(i64::MAX.unsigned_abs()) }
}

fn place(cursor: Cursor) -> (Commit, ResourceOrdinal) {
    (cursor.commit, cursor.resource)
}

impl Database {
    /// The next versions after a place, `count` of them at most, among the commits of the snapshot; of one commit, the lower ordinal
    /// first. Only so many commits are looked at in one call: [`Following::upto`] says how far it came.
    pub fn followed(&self, snapshot: &Snapshot, followed: &Followed, after: Cursor, count: usize) -> Result<Following, SearchError> {
        let last = Commit(snapshot.commit().0.min(after.commit.0.saturating_add(FOLLOWED_COMMITS)));
        let mut oldest = Oldest { after, last, count: count.max(1), upto: end_of(last), found: BTreeSet::new() };
        if place(oldest.upto) <= place(after) {
            return Ok(Following { found: Vec::new(), upto: after });
        }
        let name = search_table(&followed.resource_type);
        if let Some(table) = snapshot.hidden_table(&name)
            && let Err(damaged) = oldest.look(table, followed)
        {
            self.report_damage(&name);
            return Err(damaged.into());
        }
        if followed.deletions {
            self.shared.look(|lookup| oldest.deletions(lookup, followed))?;
        }
        Ok(oldest.found())
    }

    /// A version that was followed; `None` if it is not to be seen any more.
    pub fn changed(&self, followed: &Followed, at: Cursor) -> Result<Option<Changed>, ReadError> {
        let erased = self.shared.erased_of(followed.holder);
        self.shared.look(|lookup| {
            let Some((holder, _, id)) = lookup.name(at.resource)? else { return Ok(None) };
            let Some(row) = version_of(lookup, at.resource, at.commit)?.filter(|_| holder == followed.holder) else { return Ok(None) };
            if !is_seen(lookup, &erased, &followed.resource_type, &id, at.resource, &row)? {
                return Ok(None);
            }
            let before = lookup.version(row.previous)?;
            let change = match (&row.json, before) {
                (None, _) => Change::Deleted,
                (Some(_), Some(before)) if before.json.is_some() || before.erased.is_some() => Change::Updated,
                (Some(_), _) => Change::Created,
            };
            Ok(Some(Changed { change, written: Written { resource_type: followed.resource_type.clone(), id, version: stored(row) } }))
        })
    }
}

/// The oldest versions after a place, as many as are wanted.
struct Oldest {
    after: Cursor,
    last: Commit,
    count: usize,
    upto: Cursor,
    found: BTreeSet<(Commit, ResourceOrdinal)>,
}

impl Oldest {
    fn wants(&self, version: (Commit, ResourceOrdinal)) -> bool {
        version > place(self.after) && version <= place(self.upto)
    }

    fn offer(&mut self, version: (Commit, ResourceOrdinal)) {
        if self.wants(version) && self.found.insert(version) && self.found.len() > self.count {
            self.found.pop_last();
            if let Some((commit, resource)) = self.found.last().copied() {
                self.upto = Cursor { commit, resource };
            }
        }
    }

    /// The versions that are there.
    fn look(&mut self, table: &TableSnapshot, followed: &Followed) -> Result<(), Damaged> {
        for part in table.past_parts() {
            if part.range().is_none_or(|(first, last)| last < self.after.commit || first > self.upto.commit) {
                continue;
            }
            let heads = part.heads()?;
            let rows = heads.within(self.after.commit, self.last);
            if rows.is_empty() {
                continue;
            }
            let packed = PackedRows::of(&part)?;
            for row in rows {
                let Some(life) = heads.life(row, followed.holder) else { continue };
                let version = (life.begin, life.resource);
                // The time of the commit is no condition.
                let candidate = || Candidate { values: packed.get(row), last_updated_us: 0 };
                if self.wants(version) && matches(followed.conditions.criteria(), candidate()) {
                    self.offer(version);
                }
            }
        }
        Ok(())
    }

    /// The deletions.
    fn deletions(&mut self, lookup: &Lookup<'_>, followed: &Followed) -> Result<(), JournalError> {
        let Some(kind) = lookup.kind(&followed.resource_type)? else { return Ok(()) };
        let deleted = lookup.deleted_between(place(self.after), self.last, followed.holder, kind, self.count)?;
        if let Some((commit, resource)) = deleted.last().copied().filter(|last| deleted.len() == self.count && *last < place(self.upto)) {
            // There can be more of them than were looked at.
            self.upto = Cursor { commit, resource };
            let beyond = (commit, ResourceOrdinal(resource.0.saturating_add(1)));
            self.found.split_off(&beyond);
        }
        for (commit, resource) in deleted {
            let before = match version_of(lookup, resource, commit)? {
                Some(row) => lookup.version(row.previous)?.and_then(|before| before.json),
                None => None,
            };
            let Some(before) = before else { continue };
            let arena = Bump::new();
            let resource_before =
                json::parse(&before, &arena).map_err(|e| JournalError::Inconsistent(format!("a stored resource: {e}")))?;
            if followed.conditions.hold(&resource_before) {
                self.offer((commit, resource));
            }
        }
        Ok(())
    }

    fn found(self) -> Following {
        let found = self.found.into_iter().map(|(commit, resource)| Cursor { commit, resource }).collect();
        Following { found, upto: self.upto }
    }
}
