//! What was deleted: for who keeps a copy, and asks what to take out of it.
//!
//! When each version of a type stood is known without reading the journal (see [`super::history`]): what ended while nothing new began
//! was deleted.

use super::history::is_seen;
use super::tables::search_table;
use super::{Database, ReadError};
use crate::ids::{Commit, HolderId, ResourceOrdinal};
use crate::journal::JournalError;
use crate::live::{Damaged, Snapshot, TableSnapshot};
use crate::search::execute::SearchError;
use roaring::RoaringTreemap;
use std::time::Instant;

/// A resource that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The logical id.
    pub id: String,
    /// What it was before.
    pub last: Vec<u8>,
}

impl Database {
    /// The resources of a type, of a holder's own, that were deleted by a commit from `from` to `until`, and with which nothing has
    /// happened since, as of a snapshot. `deadline` is when they are to be found at the latest.
    pub fn deleted(
        &self,
        snapshot: &Snapshot,
        holder: HolderId,
        resource_type: &str,
        (from, until): (Commit, Commit),
        deadline: Instant,
    ) -> Result<Vec<ResourceOrdinal>, SearchError> {
        let name = search_table(resource_type);
        let Some(table) = snapshot.hidden_table(&name) else { return Ok(Vec::new()) };
        match ended(table, holder, from, until, deadline)? {
            Ok(gone) => Ok(gone.iter().map(ResourceOrdinal).collect()),
            Err(damaged) => {
                self.report_damage(&name);
                Err(damaged.into())
            }
        }
    }

    /// What they are called, and what they were before. Persons who were erased, and what is about them, are left out.
    pub fn last_of(
        &self,
        snapshot: &Snapshot,
        holder: HolderId,
        resource_type: &str,
        resources: &[ResourceOrdinal],
    ) -> Result<Vec<Deleted>, ReadError> {
        let erased = self.shared.erased_of(holder);
        self.shared.look(|lookup| {
            let mut found = Vec::with_capacity(resources.len());
            for resource in resources.iter().copied() {
                let Some((_, _, id)) = lookup.name(resource)? else { continue };
                let mut sequence = lookup.newest_version(resource)?;
                while sequence != 0 {
                    let row = lookup.version(sequence)?;
                    let row = row.ok_or_else(|| JournalError::Inconsistent(format!("version {sequence} is missing")))?;
                    sequence = row.previous;
                    if row.commit > snapshot.commit() {
                        continue;
                    }
                    if !is_seen(lookup, &erased, resource_type, &id, resource, &row)? {
                        break;
                    }
                    if let Some(last) = row.json {
                        found.push(Deleted { id, last });
                        break;
                    }
                }
            }
            Ok(found)
        })
    }
}

/// What ended in the span and did not begin anew.
fn ended(
    table: &TableSnapshot,
    holder: HolderId,
    from: Commit,
    until: Commit,
    deadline: Instant,
) -> Result<Result<RoaringTreemap, Damaged>, SearchError> {
    let (mut gone, mut later) = (RoaringTreemap::new(), RoaringTreemap::new());
    for part in table.past_parts() {
        if Instant::now() > deadline {
            return Err(SearchError::TooLong);
        }
        if !part.has_changed_since(from) {
            continue;
        }
        let heads = match part.heads() {
            Ok(heads) => heads,
            Err(damaged) => return Ok(Err(damaged)),
        };
        let first = if part.has_ended_since(from) { Commit(0) } else { from };
        for row in heads.within(first, Commit(u64::MAX)) {
            let Some(life) = heads.life(row, holder) else { continue };
            match life.end.filter(|end| *end <= until) {
                Some(end) if end >= from => gone.insert(life.resource.0),
                // A version that began before the span, and stood at its end, is not of what ended in it.
                None if life.begin >= from => later.insert(life.resource.0),
                _ => false,
            };
        }
    }
    Ok(Ok(gone - later))
}
