//! Copying a journal that a server is writing to.
//!
//! SQLite's online backup, page by page, inside one read transaction of the source: the copy is the journal at one commit,
//! however long it takes, and does not begin again when something is committed meanwhile (as it would without that
//! transaction). In WAL mode a reader stops no writer; what a copy costs them is the disk, so it is made in small steps with a
//! pause after each, and what was copied is synced as it goes rather than all at the end. (`VACUUM INTO` reads one state too, but
//! builds every index again, at many times the work, and gives the disk no pause.) While it lasts, the write-ahead log grows.

use super::{JournalError, Lookup, format};
use crate::ids::{Commit, Timeline};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// How many pages one step copies: 2 MiB of 8 KiB pages, some milliseconds of a disk.
const STEP_PAGES: i32 = 256;

/// How long the disk is left to others after a step.
const PAUSE: Duration = Duration::from_millis(5);

/// After how many steps the copy is synced, so that it never has much left to write: 64 MiB.
const SYNC_STEPS: u32 = 32;

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopiedJournal {
    pub(crate) commit: Commit,
    pub(crate) timeline: Timeline,
}

/// Copies the SQLite database `from` to `to`, which is made anew and durable on return. `progress` is told (pages done, in all).
pub(crate) fn copy(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), JournalError> {
    super::make_private(to)?;
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    source.execute_batch("PRAGMA cache_size=-8192; BEGIN;")?;
    let _: i64 = source.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?; // from here on it is one state
    let mut target = Connection::open(to)?;
    target.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-8192;")?;
    let synced = File::options().append(true).open(to).map_err(unwritable)?;
    let backup = Backup::new(&source, &mut target)?;
    for step in 1_u32.. {
        let result = backup.step(STEP_PAGES)?;
        let at = backup.progress();
        let done = at.pagecount.saturating_sub(at.remaining);
        progress(u64::try_from(done).unwrap_or_default(), u64::try_from(at.pagecount).unwrap_or_default());
        if result == StepResult::Done {
            break;
        }
        if step.is_multiple_of(SYNC_STEPS) {
            synced.sync_data().map_err(unwritable)?;
        }
        std::thread::sleep(PAUSE);
    }
    drop(backup);
    target.close().map_err(|(_, e)| e)?;
    synced.sync_all().map_err(unwritable)
}

fn unwritable(error: std::io::Error) -> JournalError {
    JournalError::Inconsistent(format!("the copy cannot be written: {error}"))
}

/// What a journal that nobody has open is at, also one of an older format: it is brought to this one when it is opened.
pub(crate) fn inspect(path: &Path) -> Result<CopiedJournal, JournalError> {
    // One that may write takes the files of the write-ahead log with it when it is closed; nothing is written.
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let state = state(&connection)?;
    connection.close().map_err(|(_, e)| e)?;
    Ok(state)
}

fn state(connection: &Connection) -> Result<CopiedJournal, JournalError> {
    let lookup = Lookup::new(connection);
    let format = lookup.meta("format")?;
    if !format::has_timeline(&format) {
        return Err(JournalError::Format(format));
    }
    Ok(CopiedJournal { commit: lookup.newest()?.unwrap_or_default().0, timeline: lookup.timeline()? })
}

impl Lookup<'_> {
    /// The journal's timeline.
    pub(crate) fn timeline(&self) -> Result<Timeline, JournalError> {
        let text = self.meta("timeline")?;
        Timeline::parse(&text).ok_or_else(|| JournalError::Inconsistent("its timeline is not 16 hexadecimal digits".to_owned()))
    }
}

/// Gives a journal that nobody has open a new timeline, durable on return.
pub(crate) fn start_timeline(path: &Path) -> Result<CopiedJournal, JournalError> {
    let connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA synchronous=FULL;")?;
    let timeline = format::draw_timeline(&connection)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(CopiedJournal { timeline, ..state(&connection)? })
}
