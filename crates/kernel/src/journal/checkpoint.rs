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

/// When so much is in the log, it is made to start again from its beginning. (The file does not become shorter by that.) It is what an
/// opening after a crash has to read again, and to move.
const RESTART_BYTES: u64 = 64 << 20;

/// How long that may keep writers waiting for readers to leave. A reader that stays (a backup) is not waited for: the log goes on
/// growing until it has left.
const PATIENCE: Duration = Duration::from_millis(20);

/// How much of the log may be left to move for that, while writers wait: some milliseconds' worth.
const MOVED_WHILE_WAITING_BYTES: u64 = 4 << 20;

/// How often what has come meanwhile is moved before that, at most.
const PASSES: usize = 4;

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
        let mut log = Log::of(connection, RESTART_BYTES)?;
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                if let Err(error) = log.checkpoint() {
                    tracing::warn!(%error, "the journal's write-ahead log could not be checkpointed; it goes on growing");
                }
                std::thread::park_timeout(INTERVAL);
            }
            // The last one: everything into the database file, and an empty log beside it.
            if let Err(error) = log.run("TRUNCATE") {
                tracing::warn!(%error, "the write-ahead log could not be emptied; it is read when the database is opened again");
            }
        });
        let thread = thread.map_err(|e| JournalError::Inconsistent(format!("no thread for checkpoints: {e}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// The write-ahead log as the checkpointer sees it.
struct Log {
    connection: Connection,
    frame_bytes: u64,
    restart_bytes: u64,
    /// The size at which a restart is tried next.
    next_bytes: u64,
}

/// What a checkpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moved {
    /// Whether somebody was in the way.
    busy: bool,
    /// What is in the log.
    log_bytes: u64,
    /// What of it is not in the file yet.
    left_bytes: u64,
}

impl Log {
    fn of(connection: Connection, restart_bytes: u64) -> Result<Self, JournalError> {
        let page: u64 = connection.query_row("PRAGMA page_size", [], |r| r.get(0))?;
        Ok(Self { connection, frame_bytes: page + 24, restart_bytes, next_bytes: restart_bytes })
    }

    /// Moves what is in the log, beside the writers. When it has become large, the little that has come meanwhile is moved while they
    /// wait, and it starts again. (A `RESTART` alone would hold them for as long as all of it takes.)
    fn checkpoint(&mut self) -> Result<(), rusqlite::Error> {
        let mut moved = self.run("PASSIVE")?;
        if moved.log_bytes <= self.next_bytes {
            return Ok(());
        }
        // Each time there is less to move, and less comes meanwhile, unless a reader has stayed and holds what came after it.
        for _ in 0..PASSES {
            moved = self.run("PASSIVE")?;
            if moved.left_bytes <= MOVED_WHILE_WAITING_BYTES {
                break;
            }
        }
        if moved.left_bytes > MOVED_WHILE_WAITING_BYTES {
            return Ok(());
        }
        let restarted = !self.run("RESTART")?.busy;
        self.next_bytes = if restarted { self.restart_bytes } else { moved.log_bytes + self.restart_bytes / 8 };
        Ok(())
    }

    fn run(&self, mode: &str) -> Result<Moved, rusqlite::Error> {
        self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            let frames = |column: usize| row.get::<_, i64>(column).map(|frames| frames.max(0).unsigned_abs());
            let (log, done) = (frames(1)?, frames(2)?);
            let left = log.saturating_sub(done);
            Ok(Moved { busy: row.get(0)?, log_bytes: log * self.frame_bytes, left_bytes: left * self.frame_bytes })
        })
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::time::Instant;

    const RESTART: u64 = 8 << 20;

    fn open(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF;").unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection
    }

    /// Some 40 pages a transaction.
    fn write(connection: &Connection, n: usize) {
        connection.execute("INSERT INTO t (x) VALUES (randomblob(160000 + ?1))", [n]).unwrap();
    }

    /// While one transaction follows another, there is never a moment in which the log could start again by itself.
    #[test]
    fn the_log_starts_again_under_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.sqlite");
        let writer = open(&path);
        writer.execute_batch("CREATE TABLE t (x BLOB)").unwrap();
        let mut log = Log::of(open(&path), RESTART).unwrap();
        let (mut largest, done) = (0, AtomicBool::new(false));
        std::thread::scope(|scope| {
            let done = &done;
            scope.spawn(move || {
                for n in 0..1_000 {
                    write(&writer, n);
                    std::thread::sleep(Duration::from_millis(1));
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                log.checkpoint().unwrap();
                largest = largest.max(std::fs::metadata(dir.path().join("j.sqlite-wal")).unwrap().len());
            }
        });
        assert!(largest < 10 * RESTART, "{largest} of some 160 MB");
        assert_eq!(open(&path).query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap(), 1_000);
    }

    /// A backup reads for minutes: nobody waits for it, and when it has gone the log starts again.
    #[test]
    fn a_reader_that_stays_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.sqlite");
        let (writer, reader) = (open(&path), open(&path));
        writer.execute_batch("CREATE TABLE t (x BLOB)").unwrap();
        write(&writer, 0);
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        let checkpointer = open(&path);
        checkpointer.busy_timeout(Duration::from_secs(3_600)).unwrap(); // who waited would wait for ever
        let mut log = Log::of(checkpointer, RESTART).unwrap();
        for n in 0..300 {
            write(&writer, n);
            log.checkpoint().unwrap();
        }
        assert!(log.run("PASSIVE").unwrap().log_bytes > 4 * RESTART);
        reader.execute_batch("COMMIT").unwrap();
        log.checkpoint().unwrap();
        write(&writer, 0);
        let now = log.run("PASSIVE").unwrap();
        assert!(now.log_bytes < RESTART && now.left_bytes == 0, "{now:?}");
    }

    /// One who has come to the end of the log and stays is in the way of a restart, which is not tried each time then.
    #[test]
    fn a_restart_that_fails_is_tried_again_when_the_log_has_grown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.sqlite");
        let (writer, reader) = (open(&path), open(&path));
        writer.execute_batch("CREATE TABLE t (x BLOB)").unwrap();
        let checkpointer = open(&path);
        checkpointer.busy_timeout(Duration::from_millis(300)).unwrap();
        let mut log = Log::of(checkpointer, RESTART).unwrap();
        (0..60).for_each(|n| write(&writer, n));
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        let waited = |log: &mut Log| {
            let begun = Instant::now();
            log.checkpoint().unwrap();
            begun.elapsed() >= Duration::from_millis(250)
        };
        assert!(waited(&mut log), "it was tried");
        assert!((0..3).all(|_| !waited(&mut log)), "and not again at once");
        reader.execute_batch("COMMIT").unwrap();
        (0..2).for_each(|n| write(&writer, n));
        log.checkpoint().unwrap();
        write(&writer, 0);
        // The file stays as large as it was, and nothing is restarted for that.
        assert!(std::fs::metadata(path.with_extension("sqlite-wal")).unwrap().len() > RESTART);
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        assert!(!waited(&mut log));
        assert!(log.run("PASSIVE").unwrap().log_bytes < RESTART);
    }
}
