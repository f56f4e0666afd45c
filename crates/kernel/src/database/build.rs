//! Building the live table of a view beside the running ones, and what has become of it.
//!
//! A thread reads the versions of the view's resource type from the journal in the order of commits, evaluates the view, and ends
//! and begins rows as the committer would. When it has almost caught up it hands the table over; the committer adds what has come
//! since and switches it on with one snapshot. Until then nobody sees it, and no write waits for it.

use super::commit::{Built, Installed, Key, Reason, Work, apply_to};
use super::record::Record;
use super::recover::{Kinds, REPLAY_CHUNK};
use super::tables::{PATIENT, PreparedCell, PreparedRow, Wanted};
use super::{ReadError, Shared};
use crate::fhir::json;
use crate::hash::HashMap;
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal, TableId};
use crate::journal::{JournalError, Lookup, Replayed};
use crate::live::{Change, ChangedRow, LiveCell, LiveTable};
use bumpalo::Bump;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Why a table was not built.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    /// The view fails on a resource.
    #[error("{0}")]
    View(String),
    /// The journal or a file failed.
    #[error("{0}")]
    Storage(String),
    /// The database is being closed, or the view is no longer wanted.
    #[error("it was given up")]
    GivenUp,
}

impl From<JournalError> for BuildError {
    fn from(error: JournalError) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<ReadError> for BuildError {
    fn from(error: ReadError) -> Self {
        Self::Storage(error.to_string())
    }
}

/// A table that is being built.
pub(super) struct Builder<'b> {
    pub(super) shared: &'b Arc<Shared>,
    pub(super) queue: &'b SyncSender<Work>,
    /// Asked between two chunks.
    pub(super) wanted: &'b dyn Fn() -> bool,
    /// Told (versions done, versions in all).
    pub(super) progress: &'b dyn Fn(u64, u64),
}

type Ordinals = HashMap<(HolderId, &'static str, Box<str>), (ResourceOrdinal, Option<PatientOrdinal>)>;

impl Builder<'_> {
    /// Builds the table of a view and switches it on, in the place of another if there is one. The commit from which on it is seen.
    pub(super) fn build(&self, wanted: Wanted, reason: Reason) -> Result<Commit, BuildError> {
        let id = TableId(self.shared.next_table.fetch_add(1, Ordering::Relaxed));
        let view = wanted.numbered(id, self.shared.tuning);
        let mut built = Built { table: LiveTable::new(Arc::clone(&view.info)), view, after: 0, reason };
        loop {
            while self.chunk(&mut built)? {}
            let (reply, answer) = sync_channel(1);
            let sent = self.queue.send(Work::Install { built: Box::new(built), reply });
            match sent.map_err(|_| BuildError::GivenUp).and_then(|()| answer.recv().map_err(|_| BuildError::GivenUp))? {
                Installed::At(commit) => return Ok(commit),
                Installed::Behind(back) => built = *back,
                Installed::Unwanted => return Err(BuildError::GivenUp),
            }
        }
    }

    /// One chunk of versions. Whether there may be more.
    fn chunk(&self, built: &mut Built) -> Result<bool, BuildError> {
        if !(self.wanted)() {
            return Err(BuildError::GivenUp);
        }
        let after = built.after;
        let (in_all, last, versions) = self.shared.look(|lookup| {
            let kind = Kinds::read(lookup)?.number(built.view.source.resource_type());
            let (last, versions) = lookup.replay_of(kind, after, REPLAY_CHUNK)?;
            Ok((lookup.highest()?.2, last, versions))
        })?;
        let full = versions.len() >= REPLAY_CHUNK as usize;
        let rows = self.rows(built, &versions)?;
        let ordinals = self.ordinals(&versions, &rows)?;
        for (version, rows) in versions.into_iter().zip(rows) {
            let rows = rows.into_iter().map(|row| resolve(version.holder, row, &ordinals)).collect();
            let change = Change {
                commit: version.commit,
                holder: version.holder,
                resource: version.resource,
                kind: String::new(),
                previous: version.previous,
                rows,
                appeared: 0,
                modified: false,
            };
            apply_to(&mut built.table, &change, &self.shared.holder_cell(change.holder));
        }
        if let Some(files) = self.shared.files.get() {
            files.store_now(&mut built.table).map_err(BuildError::Storage)?;
        }
        built.after = last;
        (self.progress)(u64::try_from(last).unwrap_or_default(), u64::try_from(in_all).unwrap_or_default());
        Ok(full)
    }

    fn rows(&self, built: &Built, versions: &[Replayed]) -> Result<Vec<Vec<PreparedRow>>, BuildError> {
        let mut arena = Bump::new();
        let mut all = Vec::with_capacity(versions.len());
        for version in versions {
            let mut rows = Vec::new();
            if let Some(stored) = &version.json {
                let at = |e: &dyn std::fmt::Display| format!("a {} of commit {}: {e}", built.view.source.resource_type(), version.commit);
                let resource = json::parse(stored, &arena).map_err(|e| BuildError::Storage(at(&e)))?;
                if !(built.view.leaves_out_modified() && crate::views::has_modifier_extension(&resource)) {
                    let record = Record::of(built.view.source.resource_type(), &resource, true);
                    built.view.rows(resource, &record, &arena, &mut rows).map_err(|e| BuildError::View(at(&e)))?;
                }
            }
            all.push(rows);
            arena.reset();
        }
        Ok(all)
    }

    /// The ordinals of all that the rows mention; what nobody has mentioned before gets its own from the committer.
    fn ordinals(&self, versions: &[Replayed], rows: &[Vec<PreparedRow>]) -> Result<Ordinals, BuildError> {
        let mut keys: HashSet<(HolderId, &'static str, &str)> = HashSet::new();
        for (version, rows) in versions.iter().zip(rows) {
            for cell in rows.iter().flat_map(|r| &r.cells) {
                if let PreparedCell::Key { kind, id, .. } = cell {
                    keys.insert((version.holder, kind, id));
                }
            }
        }
        let mut ordinals = Ordinals::default();
        let keys_unknown = self.shared.look(|lookup| look_up(lookup, &keys, &mut ordinals))?;
        if !keys_unknown.is_empty() {
            let (reply, answer) = sync_channel(1);
            let sent = self.queue.send(Work::Mention { keys: keys_unknown, reply });
            sent.map_err(|_| BuildError::GivenUp).and_then(|()| answer.recv().map_err(|_| BuildError::GivenUp))?;
            self.shared.look(|lookup| look_up(lookup, &keys, &mut ordinals))?;
        }
        Ok(ordinals)
    }
}

/// Looks up the keys that are not among `ordinals` yet; what is not there.
fn look_up(lookup: &Lookup<'_>, keys: &HashSet<(HolderId, &'static str, &str)>, ordinals: &mut Ordinals) -> Result<Vec<Key>, JournalError> {
    let kinds = Kinds::read(lookup)?;
    let mut missing = Vec::new();
    for (holder, kind, id) in keys {
        let key = (*holder, *kind, Box::from(*id));
        if ordinals.contains_key(&key) {
            continue;
        }
        match lookup.head(*holder, kinds.number(kind), id)? {
            Some(head) => {
                let person = if *kind == PATIENT { lookup.patient(head.ordinal)? } else { None };
                ordinals.insert(key, (head.ordinal, person));
            }
            None => missing.push(key),
        }
    }
    Ok(missing)
}

fn resolve(holder: HolderId, row: PreparedRow, ordinals: &Ordinals) -> ChangedRow {
    let cell = |cell: PreparedCell| match cell {
        PreparedCell::Cell(cell) => cell,
        PreparedCell::Key { kind, id, patient } => match ordinals.get(&(holder, kind, id)) {
            Some((_, person)) if patient => person.map_or(LiveCell::Null, LiveCell::Patient),
            Some((resource, _)) => LiveCell::Resource(*resource),
            None => LiveCell::Null,
        },
    };
    ChangedRow { table: row.table, marks: row.marks, cells: row.cells.into_iter().map(cell).collect() }
}
