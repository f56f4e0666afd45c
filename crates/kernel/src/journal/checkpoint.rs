//! Moves the write-ahead log into the database file, beside the commits.

use super::JournalError;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the log is looked at. At 1,000 transactions/s it grows by a few MB in that time.
const INTERVAL: Duration = Duration::from_millis(500);

/// Beyond this size a checkpoint waits for readers to leave, so that the log starts again from its beginning.
const RESTART_BYTES: u64 = 256 << 20;

/// How long a restart of the log may keep writers waiting for readers to leave. A reader that stays (a backup) is not waited
/// for: the log goes on growing until it has left.
const PATIENCE: Duration = Duration::from_millis(20);

/// The thread that checkpoints until it is dropped.
pub(crate) struct Checkpointer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(crate) fn start(path: &Path) -> Result<Self, JournalError> {
        let connection = Connection::open(path)?;
        connection.execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=FULL;")?;
        connection.busy_timeout(PATIENCE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let wal = path.with_extension("sqlite-wal");
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let bytes = std::fs::metadata(&wal).map_or(0, |m| m.len());
                let mode = if bytes > RESTART_BYTES { "RESTART" } else { "PASSIVE" };
                if let Err(error) = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())) {
                    tracing::warn!(%error, "the journal's write-ahead log could not be checkpointed; it goes on growing");
                }
                std::thread::park_timeout(INTERVAL);
            }
            // The last one: everything into the database file, and an empty log beside it.
            if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
                tracing::warn!(%error, "the write-ahead log could not be emptied; it is read when the database is opened again");
            }
        });
        let thread = thread.map_err(|e| JournalError::Inconsistent(format!("no thread for checkpoints: {e}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Moves the whole log into the database file and empties it; false if readers or the writer were in the way.
pub(crate) fn truncate(path: &Path) -> Result<bool, JournalError> {
    let connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=FULL;")?;
    connection.busy_timeout(PATIENCE)?;
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))?;
    Ok(busy == 0)
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::warn!("the checkpoint thread ended in a panic");
            }
        }
    }
}
