//! Every bound of the server and the command line in one place, each with its reason. (The kernel's are in
//! `dugnad_kernel::limits`.)

use std::time::Duration;

// ---- HTTP: what a stranger can make the server hold ----

/// How many connections are served at once; further ones wait in the system's backlog. A connection costs some 20 KB.
pub const MAX_CONNECTIONS: usize = 2_048;

/// How long the head of a request may take to arrive, so that a slow writer of headers cannot hold a connection.
/// It also ends keep-alive connections on which nothing more comes.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How large the head of a request may be, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// How many headers a request may have.
pub const MAX_HEADERS: usize = 100;

/// How long a request's target may be, in bytes. A conditional update's query is the longest that is useful.
pub const MAX_URI_BYTES: usize = 8 << 10;

/// The largest body of `POST /sql`, in bytes: generated SQL of many lines has room.
pub const MAX_SQL_BODY_BYTES: usize = 256 << 10;

/// How long no byte of a body may arrive before the request is given up.
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a whole body may take: 32 MB at 2 Mbit/s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(150);

/// How many bytes of request bodies are held at once, in all requests together. Parsing takes up to eight times as much
/// (three bytes of `[],` become a value of 24), so this bounds the memory that strangers can claim to about 1 GB.
pub const MAX_BODY_BYTES_HELD: usize = 128 << 20;

/// The largest answer to a batch or a history, in bytes: it is put together in memory.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How many bytes of an answer to `POST /sql` may wait for a slow reader, in chunks of about this size.
pub const ANSWER_CHUNK_BYTES: usize = 256 << 10;

/// How many such chunks wait.
pub const ANSWER_CHUNKS: usize = 4;

/// How many rows of a Parquet answer are collected into one row group before they are written.
pub const PARQUET_ROW_GROUP_ROWS: usize = 131_072;

/// How long a connection may take to finish its request once the server has been told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

// ---- HTTP: work ----

/// How many writes run at once. Each holds a thread while it waits for its group's fsync; group commit makes of them one
/// fsync, so that more of them add throughput only up to what one fsync can cover.
pub const MAX_WRITES_RUNNING: usize = 128;

/// How many writes wait for a place; the next one is told to come back.
pub const MAX_WRITES_WAITING: usize = 512;

/// How many reads of single resources run at once; each waits for the audit log.
pub const MAX_READS_RUNNING: usize = 128;

/// How many reads wait for a place; the next one is told to come back.
pub const MAX_READS_WAITING: usize = 1_024;

/// How many answers to `POST /sql` are computed or sent at once.
pub const MAX_QUERIES: usize = 32;

/// How many more wait for a place; the next one is told to come back.
pub const MAX_QUERIES_WAITING: usize = 128;

/// How many entries of one batch run at once: enough to share an fsync, few enough to leave room for others.
pub const BATCH_PARALLEL: usize = 16;

/// How long a read with `Dugnad-Min-Commit` waits for that commit.
pub const MIN_COMMIT_WAIT: Duration = Duration::from_secs(2);

/// How often such a read looks.
pub const MIN_COMMIT_POLL: Duration = Duration::from_millis(2);

/// After how many seconds a client that met a full queue should come back.
pub const RETRY_AFTER_S: u64 = 1;

/// How many refusals of callers without a valid token are put on the record per minute. Anyone can cause them, and the
/// log is never cut; the rest is counted only.
pub const RECORDED_STRANGERS_PER_MINUTE: u64 = 60;

/// How long an `Idempotency-Key` may be, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 128;

/// How many entries one answer of `GET /audit/log` holds at most.
pub const MAX_LOG_ENTRIES: usize = 1_000;

// ---- Command line ----

/// How many resources of an NDJSON file go into one transaction: an fsync for each line would be the whole cost.
pub const INGEST_GROUP_LINES: usize = 200;

/// How many bytes such a group holds at most.
pub const INGEST_GROUP_BYTES: usize = 1 << 20;

/// How many units wait between the reading thread and the workers, per worker.
pub const INGEST_QUEUE: usize = 4;

/// How often a unit is tried again while the database is busy, with a growing pause (at most 5 s): some two minutes.
pub const INGEST_TRIES: u32 = 30;

/// How deep directories are entered.
pub const MAX_DIRECTORY_DEPTH: usize = 32;

/// How many problems of one unit are printed.
pub const INGEST_ISSUES_SHOWN: usize = 10;

/// How many rows `query` and `view run` show as a table; other formats stream without a bound.
pub const TABLE_ROWS: usize = 10_000;
