//! The journal: the system of record. SQLite in WAL mode with `synchronous=FULL`; every version of every resource and document.
//!
//! One connection writes ([`Writer`]), many read ([`Readers`]); a thread of its own moves the write-ahead log into the
//! database file, so that no commit waits for that.

mod checkpoint;
mod copy;
mod erasure;
mod format;
mod lookup;
mod method;
mod persons;
mod writer;

pub(crate) use checkpoint::{Checkpointer, truncate};
pub(crate) use copy::{CopiedJournal, copy, inspect, start_timeline};
pub(crate) use erasure::{Candidate, ErasureRow, PersonHash, Purged, identifier_hashes};
pub(crate) use lookup::{Head, Lookup, Replayed, StoredRow};
pub use method::Method;
pub(crate) use writer::{NewVersion, Writer};

use crate::ids::Commit;
use format::FORMAT;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What a national identifier is found by: the first half of its SHA-256.
pub(crate) type NationalHash = [u8; 16];

/// The journal failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite says so: I/O, a full disk, a damaged file.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The file is of another format.
    #[error("the journal has format {0}, this program reads format {FORMAT}; use the program version that wrote it")]
    Format(String),
    /// The file cannot have a write-ahead log.
    #[error(
        "the journal's write-ahead log cannot be used: is the disk full, or the file on a network file system? Mend that and try again"
    )]
    Mode,
    /// Another program reads the file while it is opened.
    #[error("another program reads the journal; end it, then open the database again")]
    Busy,
    /// The end of the file is missing.
    #[error("its pages are {0} bytes, and the file has {1}: its end is missing. Put back a whole copy of it, or a backup")]
    Cut(u64, u64),
    /// The end of the log is missing, or it is another one.
    #[error(
        "its file holds commit {file}, and with its write-ahead log it ends at commit {log}: the log has lost its end, or is older than the file. Put back copies of both that were made together, or a backup"
    )]
    Behind {
        /// The newest commit in the file.
        file: Commit,
        /// The newest one that is seen with the log.
        log: Commit,
    },
    /// The file holds what cannot be.
    #[error("the journal is inconsistent: {0}")]
    Inconsistent(String),
}

/// Opens or makes the journal at `path` for its one writer.
pub(crate) fn open(path: &Path) -> Result<Writer, JournalError> {
    make_private(path)?;
    let in_file = newest_in_file(path);
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;
         PRAGMA secure_delete=ON; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF;",
    )?;
    keep_plans(&connection)?;
    format::settle(&connection)?;
    is_not_behind(&connection, in_file)?;
    settle(&connection)?;
    is_whole(&connection, path)?;
    Writer::new(connection)
}

/// The newest commit in the file alone, where a log stands beside it. `None` also if that cannot be read: a crash may have left a
/// file that makes sense only with its log.
fn newest_in_file(path: &Path) -> Option<Commit> {
    std::fs::metadata(path.with_extension("sqlite-wal")).ok().filter(|log| log.len() > 0)?;
    let name = path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    // As if nobody could change it: then SQLite looks at no log.
    let alone = Connection::open_with_flags(format!("file:{name}?immutable=1"), flags).ok()?;
    Lookup::new(&alone).newest().ok()?.map(|(commit, _)| commit)
}

/// Whether the log has all that has been moved out of it into the file. If it has lost its end, older pages in it would be seen
/// beside newer ones of the file. (It is synced before anything is moved, so that no crash does this.)
fn is_not_behind(connection: &Connection, in_file: Option<Commit>) -> Result<(), JournalError> {
    let log = Lookup::new(connection).newest()?.map(|(commit, _)| commit).unwrap_or_default();
    match in_file {
        Some(file) if file > log => Err(JournalError::Behind { file, log }),
        _ => Ok(()),
    }
}

/// Whether the file is as long as its pages are, once nothing is in the log alone. SQLite reads what a cut has taken from the
/// last page as zeros, and finds an empty table there.
fn is_whole(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let pages: u64 =
        connection.query_row("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()", [], |r| r.get(0))?;
    match std::fs::metadata(path) {
        Ok(file) if file.len() < pages => Err(JournalError::Cut(pages, file.len())),
        Ok(_) => Ok(()),
        Err(error) => Err(JournalError::Inconsistent(format!("its length cannot be read: {error}"))),
    }
}

/// Makes durable what was found, before anybody sees it or writes after it.
///
/// Pages of the write-ahead log whose fsync failed can still be in the system's memory, and are then found here; a later
/// fsync of the log does not write them, so that what is appended after them would be lost with them. The checkpoint writes
/// all of it into the database file and syncs that. The write then begins the log anew, so that nothing that was in it before,
/// such as a commit whose fsync failed and that was not found here, can come back.
fn settle(connection: &Connection) -> Result<(), JournalError> {
    let (busy, frames): (bool, i64) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| Ok((r.get(0)?, r.get(1)?)))?;
    if busy {
        return Err(JournalError::Busy);
    }
    if frames < 0 {
        // To `PRAGMA journal_mode=WAL` SQLite may answer "wal" though it could not change the file. Without a log it would
        // remove its rollback journal without syncing the folder, and could find it again and undo a commit.
        return Err(JournalError::Mode);
    }
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('opened', '1') ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
        [],
    )?;
    Ok(())
}

/// A statement's plan does not depend on the values of its parameters. Without this, SQLite parses and plans a statement anew
/// at each run if it has compared one of its parameters with anything, and every look-up by id is such a statement.
fn keep_plans(connection: &Connection) -> Result<(), JournalError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Makes the file, readable by its owner only; SQLite gives the files beside it the same rights.
fn make_private(path: &Path) -> Result<(), JournalError> {
    let mut options = std::fs::File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop).map_err(|e| JournalError::Inconsistent(format!("it cannot be made or written: {e}")))
}

/// Connections that read what has been committed. Taken for one look and given back.
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
    }

    /// Runs `look` on a connection, inside one read transaction: it sees one state of the journal.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Lookup<'_>) -> Result<T, JournalError>) -> Result<T, JournalError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let transaction = connection.transaction()?;
        let result = look(&Lookup::new(&transaction));
        transaction.finish()?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }

    fn connect(&self) -> Result<Connection, JournalError> {
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.execute_batch("PRAGMA cache_size=-8192; PRAGMA mmap_size=268435456;")?;
        keep_plans(&connection)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }
}
