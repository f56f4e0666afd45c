//! A database's journal as files: copied while a server writes, and put back as a new timeline.

use super::OpenError;
use crate::ids::{Commit, Timeline};
use crate::journal::{self, CopiedJournal, JournalError};
use std::path::Path;

/// The journal's file in the folder of a database.
pub const JOURNAL: &str = "journal.sqlite";

/// At which commit a journal is, and in which history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalState {
    /// Its newest commit.
    pub commit: Commit,
    /// Its timeline.
    pub timeline: Timeline,
}

impl From<CopiedJournal> for JournalState {
    fn from(CopiedJournal { commit, timeline }: CopiedJournal) -> Self {
        Self { commit, timeline }
    }
}

fn failed(path: &Path) -> impl Fn(JournalError) -> OpenError + '_ {
    |error| OpenError::Journal { path: path.display().to_string(), what: error.to_string() }
}

/// Copies the journal of the database in `dir` to the new file `to`, as it is at one commit, while another process may be
/// writing. `progress` is told (pages done, pages in all). Durable on return.
pub fn copy_journal(dir: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<JournalState, OpenError> {
    let from = dir.join(JOURNAL);
    journal::copy(&from, to, progress).map_err(failed(&from))?;
    journal::inspect(to).map(Into::into).map_err(failed(to))
}

/// Copies another SQLite database of a folder (that of the tokens) in the same way.
pub fn copy_sqlite(from: &Path, to: &Path) -> Result<(), OpenError> {
    journal::copy(from, to, &mut |_, _| {}).map_err(failed(from))
}

/// What the journal of the closed database in `dir` is at.
pub fn inspect_journal(dir: &Path) -> Result<JournalState, OpenError> {
    let path = dir.join(JOURNAL);
    journal::inspect(&path).map(Into::into).map_err(failed(&path))
}

/// Gives the closed database in `dir` a new timeline: from here on its commit numbers mean other commits than those of the
/// database that it was copied from.
pub fn start_timeline(dir: &Path) -> Result<JournalState, OpenError> {
    let path = dir.join(JOURNAL);
    journal::start_timeline(&path).map(Into::into).map_err(failed(&path))
}
