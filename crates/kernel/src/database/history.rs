//! History: the versions of a resource, of a type, and of all that a holder has.
//!
//! The journal has versions in the order of commits, whosever they are, so that what a holder has written of a type stands anywhere
//! in it. When it was written is known without reading it: a table of search values has, for each version of a type, its resource
//! and the commits from which and until which it stood, some bytes each. What ended while nothing new began was deleted. So a page
//! looks at those numbers, where there can be some that are new enough, and reads from the journal what is on it.

use super::erased::{About, ErasedOf, chain};
use super::tables::search_table;
use super::{Database, Method, ReadError, StoredVersion, stored};
use crate::fhir::definitions;
use crate::ids::{Commit, HolderId, ResourceOrdinal};
use crate::journal::{JournalError, Lookup, StoredRow};
use crate::live::{Damaged, Snapshot, TableSnapshot};
use crate::search::execute::{Cursor, SearchError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Of which commits versions are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Written by this one or a later one.
    pub from: Commit,
    /// Written by this one or an earlier one.
    pub until: Commit,
    /// Still current after this one (`_at`), deletions only if they were made after it; `None`: whether they are or not.
    pub current_after: Option<Commit>,
}

/// How much of a history is wanted at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many versions.
    pub count: usize,
    /// After so many bytes of JSON the page ends.
    pub bytes: usize,
    /// When it is to be found at the latest.
    pub until: Instant,
}

/// A version in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The resource type.
    pub resource_type: String,
    /// The logical id.
    pub id: String,
    /// It.
    pub version: StoredVersion,
}

impl Written {
    /// To which address under the server's base the request went that wrote it (`Bundle.entry.request.url`).
    pub fn request_url(&self) -> String {
        match self.version.method {
            Method::Post => self.resource_type.clone(),
            Method::Put | Method::Patch | Method::Delete => format!("{}/{}", self.resource_type, self.id),
        }
    }
}

/// A page of a history, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage<C> {
    /// Its versions.
    pub versions: Vec<Written>,
    /// Where the next page begins, if there can be one.
    pub next: Option<C>,
}

/// Where a page of the history of one resource begins: a version's number, and its row in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionCursor {
    /// Its number.
    pub version: u64,
    /// Its row.
    pub sequence: i64,
}

/// How many versions of a resource are passed before the one of a commit is looked for among those of the commit.
const STEPS: usize = 16;

impl Database {
    /// What was written of a type, or of all types, of a holder's own, newest first; of one commit, the higher ordinal first. Persons
    /// who were erased are not in it.
    pub fn written(
        &self,
        snapshot: &Snapshot,
        holder: HolderId,
        resource_type: Option<&str>,
        span: Span,
        after: Option<Cursor>,
        bounds: Bounds,
    ) -> Result<HistoryPage<Cursor>, SearchError> {
        let mut newest = Newest { span, before: after.map(|c| (c.commit, c.resource)), count: bounds.count, found: BTreeSet::new() };
        for name in definitions::resource_types().filter(|name| resource_type.is_none_or(|wanted| wanted == *name)) {
            let Some(table) = snapshot.hidden_table(&search_table(name)) else { continue };
            if let Err(damaged) = newest.look(table, holder, bounds.until)? {
                self.report_damage(&search_table(name));
                return Err(damaged.into());
            }
        }
        Ok(self.read_written(holder, &newest, bounds)?)
    }

    fn read_written(&self, holder: HolderId, newest: &Newest, bounds: Bounds) -> Result<HistoryPage<Cursor>, ReadError> {
        let erased = self.shared.erased_of(holder);
        self.shared.look(|lookup| {
            let kinds: BTreeMap<i64, String> = lookup.kinds()?.into_iter().collect();
            let (mut versions, mut bytes, mut last) = (Vec::new(), 0, None);
            for (commit, resource) in newest.found.iter().rev().copied() {
                if versions.len() == bounds.count || bytes > bounds.bytes {
                    return Ok(HistoryPage { versions, next: last });
                }
                last = Some(Cursor { commit, resource });
                let Some((_, kind, id)) = lookup.name(resource)? else { continue };
                let resource_type = kinds.get(&kind).cloned().unwrap_or_default();
                let Some(row) = version_of(lookup, resource, commit)? else { continue };
                if is_seen(lookup, &erased, &resource_type, &id, resource, &row)? {
                    bytes += row.json.as_ref().map_or(0, Vec::len);
                    versions.push(Written { resource_type, id, version: stored(row) });
                }
            }
            let more = newest.found.len() > bounds.count;
            Ok(HistoryPage { versions, next: last.filter(|_| more) })
        })
    }

    /// The versions of one resource, newest first. The first of all pages begins at no cursor.
    pub fn versions_of(
        &self,
        holder: HolderId,
        resource_type: &str,
        id: &str,
        span: Span,
        after: Option<VersionCursor>,
        bounds: Bounds,
    ) -> Result<HistoryPage<VersionCursor>, ReadError> {
        let erased = self.shared.erased_of(holder);
        self.shared.look(|lookup| {
            let mut page = HistoryPage { versions: Vec::new(), next: None };
            let head = match lookup.kind(resource_type)? {
                Some(kind) => lookup.head(holder, kind, id)?,
                None => None,
            };
            let Some(head) = head else { return Ok(page) };
            let (mut sequence, mut bytes, mut next) = (after.map_or(head.sequence, |c| c.sequence), 0, None);
            while sequence != 0 {
                let row = lookup.version(sequence)?;
                let row = row.ok_or_else(|| JournalError::Inconsistent(format!("version {sequence} is missing")))?;
                if row.commit < span.from || span.current_after.is_some_and(|after| next.is_some_and(|next| next <= after)) {
                    break;
                }
                if page.versions.len() == bounds.count || bytes > bounds.bytes {
                    page.next = Some(VersionCursor { version: row.number, sequence });
                    break;
                }
                (next, sequence) = (Some(row.commit), row.previous);
                let passed = row.commit > span.until || row.json.is_none() && span.current_after.is_some_and(|after| row.commit <= after);
                if !passed && is_seen(lookup, &erased, resource_type, id, head.ordinal, &row)? {
                    bytes += row.json.as_ref().map_or(0, Vec::len);
                    page.versions.push(Written { resource_type: resource_type.to_owned(), id: id.to_owned(), version: stored(row) });
                }
            }
            Ok(page)
        })
    }
}

/// The newest versions, by commit and resource: one more than a page has.
struct Newest {
    span: Span,
    /// Where the page before has ended.
    before: Option<(Commit, ResourceOrdinal)>,
    count: usize,
    found: BTreeSet<(Commit, ResourceOrdinal)>,
}

impl Newest {
    /// What is older than this is not on the page.
    fn oldest(&self) -> Commit {
        let full = self.found.len() > self.count;
        self.found.first().filter(|_| full).map_or(self.span.from, |(commit, _)| self.span.from.max(*commit))
    }

    fn offer(&mut self, commit: Commit, resource: ResourceOrdinal) {
        let version = (commit, resource);
        let inside = commit <= self.span.until && commit >= self.oldest() && self.before.is_none_or(|before| version < before);
        if inside && self.found.insert(version) && self.found.len() > self.count + 1 {
            self.found.pop_first();
        }
    }

    /// Looks at all parts of a table where there can be some, the newest first.
    fn look(&mut self, table: &TableSnapshot, holder: HolderId, until: Instant) -> Result<Result<(), Damaged>, SearchError> {
        for part in table.past_parts().iter().rev() {
            if Instant::now() > until {
                return Err(SearchError::TooLong);
            }
            if !part.has_changed_since(self.oldest()) {
                continue;
            }
            let heads = match part.heads() {
                Ok(heads) => heads,
                Err(damaged) => return Ok(Err(damaged)),
            };
            let last = self.before.map_or(self.span.until, |(commit, _)| commit.min(self.span.until));
            let ended = part.has_ended_since(self.oldest());
            let rows = heads.within(if ended { Commit(0) } else { self.oldest() }, last);
            for row in rows.rev() {
                let Some(life) = heads.life(row, holder) else { continue };
                if self.span.current_after.is_none_or(|after| life.end.is_none_or(|end| end > after)) {
                    self.offer(life.begin, life.resource);
                }
                if let Some(end) = life.end.filter(|end| self.span.current_after.is_none_or(|after| *end > after)) {
                    self.offer(end, life.resource);
                }
            }
        }
        Ok(Ok(()))
    }
}

/// The version of a resource that a commit wrote.
pub(super) fn version_of(lookup: &Lookup<'_>, resource: ResourceOrdinal, commit: Commit) -> Result<Option<StoredRow>, JournalError> {
    let mut sequence = lookup.newest_version(resource)?;
    for _ in 0..STEPS {
        let Some(row) = lookup.version(sequence)? else { return Ok(None) };
        if row.commit <= commit {
            return Ok(Some(row).filter(|row| row.commit == commit));
        }
        sequence = row.previous;
    }
    lookup.version_in(resource, commit)
}

/// Whether a version is about nobody who was erased. That of one that names nobody depends on the resource's other versions.
pub(super) fn is_seen(
    lookup: &Lookup<'_>,
    erased: &ErasedOf,
    resource_type: &str,
    id: &str,
    resource: ResourceOrdinal,
    row: &StoredRow,
) -> Result<bool, JournalError> {
    if row.erased.is_none() && erased.about(resource_type, id, row.json.as_deref()) == About::Others {
        return Ok(true);
    }
    let versions = chain(lookup, lookup.newest_version(resource)?)?;
    let by = erased.among(resource_type, id, &versions);
    Ok(versions.iter().zip(by).any(|(version, by)| version.number == row.number && by.is_none()))
}
