//! Bringing live tables to the journal's commits: when a database is opened, and when a table is built.

use super::commit::{Committer, MAX_REMEMBERED};
use super::tables::{PreparedRow, Tables};
use crate::fhir::json;
use crate::ids::Commit;
use crate::journal::{JournalError, Lookup, Replayed};
use crate::live::Change;
use bumpalo::Bump;
use std::collections::BTreeMap;

/// How many versions recovery holds in memory at once.
pub(super) const REPLAY_CHUNK: u32 = 8_192;

/// The names of resource types and document kinds by their numbers.
pub(super) struct Kinds(BTreeMap<i64, String>);

impl Kinds {
    pub(super) fn read(lookup: &Lookup<'_>) -> Result<Self, JournalError> {
        Ok(Self(lookup.kinds()?.into_iter().collect()))
    }

    pub(super) fn name(&self, kind: i64) -> &str {
        self.0.get(&kind).map_or("", String::as_str)
    }

    /// The number of a resource type; -1, which is nobody's, if none has been written yet.
    pub(super) fn number(&self, name: &str) -> i64 {
        self.0.iter().find(|(_, n)| *n == name).map_or(-1, |(kind, _)| *kind)
    }
}

/// Some versions after the row `after`, up to the end of a commit: tables are stored, and logged, at commits.
fn whole_commits(lookup: &Lookup<'_>, after: i64) -> Result<Vec<Replayed>, JournalError> {
    let mut count = REPLAY_CHUNK;
    loop {
        let mut versions = lookup.replay(after, count)?;
        if versions.len() < count as usize {
            return Ok(versions);
        }
        // The last commit may go on behind the chunk.
        let last = versions.last().map(|v| v.commit);
        let whole = versions.partition_point(|v| Some(v.commit) < last);
        if whole > 0 {
            versions.truncate(whole);
            return Ok(versions);
        }
        count = count.saturating_mul(2);
    }
}

impl Committer {
    /// Brings the live tables from commit `from` to the journal's newest. `progress` is told (versions done, versions in all).
    pub(super) fn recover(&mut self, from: Commit, progress: &mut dyn FnMut(u64, u64)) -> Result<(), JournalError> {
        let (_, _, in_all) = self.writer.lookup().highest()?;
        let in_all = u64::try_from(in_all).unwrap_or_default();
        let kinds = Kinds::read(&self.writer.lookup())?;
        let mut after = self.writer.lookup().sequence_at(from)?;
        loop {
            let versions = whole_commits(&self.writer.lookup(), after)?;
            let Some(last) = versions.last().map(|v| (v.sequence, v.commit)) else { break };
            (after, self.newest) = last;
            let tables = self.shared.tables.load_full();
            let rows = evaluate(&tables, &kinds, &versions)?;
            self.writer.begin()?;
            let mut changes = Vec::with_capacity(versions.len());
            for (version, (rows, modified)) in versions.into_iter().zip(rows) {
                let change = self.change_of(version, rows, modified, &kinds)?;
                self.apply(&change);
                changes.push(change);
            }
            self.writer.commit()?;
            if let Some(store) = &self.store {
                store.changed(changes);
            }
            self.look_after_tables(false)?;
            if self.remembered.len() >= MAX_REMEMBERED {
                self.remembered.clear();
            }
            progress(u64::try_from(after).unwrap_or_default(), in_all);
        }
        Ok(())
    }

    pub(super) fn change_of(
        &mut self,
        version: Replayed,
        rows: Vec<PreparedRow>,
        modified: bool,
        kinds: &Kinds,
    ) -> Result<Change, JournalError> {
        let mut resolved = Vec::with_capacity(rows.len());
        for row in rows {
            resolved.push(self.resolve(version.holder, row)?);
        }
        Ok(Change {
            commit: version.commit,
            holder: version.holder,
            resource: version.resource,
            kind: kinds.name(version.kind).to_owned(),
            previous: version.previous,
            rows: resolved,
            appeared: i64::from(version.json.is_some()) - i64::from(version.previous.is_some()),
            modified,
        })
    }
}

/// The rows of each version, evaluated on all processors.
pub(super) fn evaluate(tables: &Tables, kinds: &Kinds, versions: &[Replayed]) -> Result<Vec<(Vec<PreparedRow>, bool)>, JournalError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = versions.len().div_ceil(threads).max(1);
    let run = |versions: &[Replayed]| {
        let mut arena = Bump::new();
        let mut rows = Vec::with_capacity(versions.len());
        for version in versions {
            rows.push(rows_of(tables, kinds, version, &arena)?);
            arena.reset();
        }
        Ok(rows)
    };
    let shares: Vec<Result<Vec<_>, JournalError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = versions.chunks(share).map(|chunk| scope.spawn(move || run(chunk))).collect();
        let panicked = || Err(JournalError::Inconsistent("a view panicked on a stored resource".to_owned()));
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut rows = Vec::with_capacity(versions.len());
    for share in shares {
        rows.extend(share?);
    }
    Ok(rows)
}

pub(super) fn rows_of(tables: &Tables, kinds: &Kinds, version: &Replayed, arena: &Bump) -> Result<(Vec<PreparedRow>, bool), JournalError> {
    let kind = kinds.name(version.kind);
    let Some(stored) = version.json.as_deref().filter(|_| tables.of_type(kind).next().is_some()) else { return Ok((Vec::new(), false)) };
    let resource =
        json::parse(stored, arena).map_err(|e| JournalError::Inconsistent(format!("version at commit {}: {e}", version.commit)))?;
    Ok(tables.rows(kind, resource, arena))
}
