//! Every bound of the server and the command line in one place, each with its reason. (The kernel's are in
//! `dugnad_kernel::limits`, those of SQL's text in `dugnad_sql::limits`.)

use dugnad_kernel::limits::MAX_BODY_BYTES;
use std::time::Duration;

// ---- HTTP: what a stranger can make the server hold ----

/// How many connections are served at once; further ones wait in the system's backlog. A connection costs some 20 KB.
pub const MAX_CONNECTIONS: usize = 2_048;

/// How long the head of a request may take to arrive, so that a slow writer of headers cannot hold a connection.
/// It also ends keep-alive connections on which nothing more comes.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How large a file of certificates or a key may be, in bytes: a chain of some certificates has 10 KB.
pub const MAX_TLS_FILE_BYTES: u64 = 1 << 20;

/// How often it is looked whether these files have changed.
pub const TLS_LOOK_EVERY: Duration = Duration::from_secs(10);

/// How large the head of a request may be, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// How many headers a request may have.
pub const MAX_HEADERS: usize = 100;

/// How long a request's target may be, in bytes. The longest is a link to a further page of a search, whose parameters may
/// have three times their length when they are encoded; it stays below [`MAX_HEAD_BYTES`].
pub const MAX_URI_BYTES: usize = 3 * MAX_SEARCH_BYTES + (4 << 10);

/// How large the body of a terminology operation may be, in bytes: a ValueSet that comes along with some ten thousand codes.
pub const MAX_TERMINOLOGY_BYTES: usize = 4 << 20;

/// How long the parameters of a search may be, in bytes, decoded, those of its address and its form together: some 400 UUIDs.
pub const MAX_SEARCH_BYTES: usize = 16 << 10;

/// The largest body of `POST /sql`, in bytes: generated SQL of many lines has room.
pub const MAX_SQL_BODY_BYTES: usize = 256 << 10;

/// The largest body that holds a ViewDefinition to register, in bytes: the longest definition with Parameters around it.
pub const MAX_VIEW_BODY_BYTES: usize = dugnad_kernel::limits::MAX_VIEW_BYTES + (64 << 10);

/// How long no byte of a body may arrive before the request is given up.
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a whole body may take: 32 MB at 2 Mbit/s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(150);

/// How many bytes of request bodies are held at once, in all requests together. A hostile body (`[],[],[],...`) takes up to
/// fifteen times as much while it is parsed (measured), so strangers with a token can claim about 1 GB and not more.
pub const MAX_BODY_BYTES_HELD: usize = 64 << 20;

/// The largest content of a Binary that is sent as it is, in bytes: in base64, in its resource, it is a third larger, and that is the
/// body of a write.
pub const MAX_CONTENT_BYTES: usize = (MAX_BODY_BYTES - (64 << 10)) / 4 * 3;

/// An answer of FHIR is packed with gzip, for those who ask, if it is longer than this, in bytes: below, it is one packet anyway.
pub const MIN_GZIP_BYTES: u64 = 1_024;

/// The largest answer to a batch or a history, in bytes: it is put together in memory.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How many matches a page of a search has if the client does not say.
pub const DEFAULT_SEARCH_COUNT: usize = 50;

/// How many resources of a compartment a page of `Patient/$everything` has, if the client does not want fewer: what they refer to comes
/// along, a thousand at most.
pub const MAX_EVERYTHING_PAGE: usize = 500;

/// How long the link to a page of a search is good. A page is computed anew from the journal, so that links cost nothing; but what
/// was searched for should not stay in clients' logs as a way to the answer.
pub const PAGE_LINK_VALID: Duration = Duration::from_secs(3_600);

/// How many rows a row group of Parquet holds: they are collected in memory before they are written.
pub const PARQUET_ROW_GROUP_ROWS: usize = 131_072;

/// The largest form of a page, in bytes: a token, or what keeps others from sending it, and a choice.
pub const MAX_FORM_BYTES: usize = 4 << 10;

/// How long a patient who does nothing stays signed in: the machine may be another's.
pub const SESSION_IDLE: Duration = Duration::from_secs(20 * 60);

/// How often one user is signed in at once; a further time ends the one that was unused longest. So what all hold is bounded by
/// the tokens that were issued.
pub const SESSIONS_OF_A_USER: usize = 4;

/// How many accesses a patient's page shows at a time; those of one reader that follow each other are shown together.
pub const ACCESSES_SHOWN: usize = 100;

/// How many Consents, and as many parts in studies, of one Patient a page shows; nobody has so many.
pub const CONSENTS_SHOWN: usize = 200;

/// How many entries of one kind a page of the public register shows.
pub const REGISTER_SHOWN: usize = 50;

/// How long a connection may take to finish its request once the server has been told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// How long threads that still wait for another server are waited for after that: they can write nothing any more.
pub const STOP_TIME: Duration = Duration::from_secs(2);

// ---- Clients and identity providers ----

/// How long the access token of a backend service is good (SMART App Launch 2.x: five minutes at most).
pub const ACCESS_TOKEN_VALID: Duration = Duration::from_secs(300);

/// How many backend services may be registered: some for each hospital of a country.
pub const MAX_CLIENTS: usize = 10_000;

/// How long the id of one may be, in bytes: it stands in every entry of the log about it.
pub const MAX_CLIENT_ID_BYTES: usize = 100;

/// How many assertions of one client are remembered, until they have expired, so that none is taken twice: 30 a second. Each
/// takes some 100 bytes on the disk. A client that asks for more is told to come back: a token is good for many requests.
pub const MAX_ASSERTIONS_KEPT: usize = 10_000;

/// The largest form of `POST /auth/token`, in bytes: an assertion and scopes, encoded.
pub const MAX_TOKEN_FORM_BYTES: usize = 32 << 10;

/// How long a request to somebody else's server (a key set, a provider's tokens) may take as a whole: a request waits for it.
pub const FETCH_TIME: Duration = Duration::from_secs(5);

/// How large the answer may be, in bytes: a key set with certificates, a provider's description.
pub const MAX_FETCHED_BYTES: u64 = 256 << 10;

/// How often a key set that lacks a key, or a server that does not answer, is asked again: anybody can name a key that is not there.
pub const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How long the error of a fetch that failed is the answer to further ones: all who waited for it would wait for another.
pub const FETCH_RETRY_AFTER: Duration = Duration::from_secs(5);

/// How many requests for tokens, and how many of people and sign-ins, are looked at at once: they may wait for others' servers, and
/// must take neither the readers' places nor each other's.
pub const MAX_SIGN_INS_RUNNING: usize = 32;

/// How many of them wait for a place; the next one is told to come back.
pub const MAX_SIGN_INS_WAITING: usize = 256;

/// How long the session of somebody who signed in with the identity provider lasts at most.
pub const SIGNED_IN_FOR: Duration = Duration::from_secs(12 * 3_600);

/// How long a sign-in with the identity provider may take.
pub const SIGN_IN_TIME: Duration = Duration::from_secs(600);

/// How many uses of tokens are remembered, so that each is on the record once; beyond, all are forgotten, and recorded again.
pub const MAX_LOGINS_REMEMBERED: usize = 100_000;

/// For how long the identity provider's user stands behind a Subscription after they have written it: as long as a token is good for
/// if nothing else is said. Whether the provider still knows them cannot be asked while they are away.
pub const SUBSCRIBED_FOR: Duration = Duration::from_secs(90 * 24 * 3_600);

/// For how long they stand behind an import: as long as one may take.
pub const IMPORTING_FOR: Duration = Duration::from_secs(24 * 3_600);

/// How long a key set is used before it is fetched again: a key that its owner has withdrawn is good for so long.
pub const KEYS_FRESH: Duration = Duration::from_secs(600);

/// How long it is used while it cannot be.
pub const KEYS_KEPT: Duration = Duration::from_secs(3_600);

// ---- HTTP: exports ----

/// How long the files of an export are kept: the specification asks for a day, and what was erased must be gone from all files
/// within one.
pub const EXPORT_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// How many bytes the files of all exports may hold: they stand beside the journal, which must not run out of disk.
pub const MAX_EXPORTS_BYTES: u64 = 8 << 30;

/// How many exports are kept, running or done.
pub const MAX_EXPORTS: usize = 64;

/// How many of them one user may have, so that nobody takes all.
pub const MAX_EXPORTS_OF_ONE: usize = 8;

/// How many exports run at once: each is a question that holds a place for as long as it may.
pub const MAX_EXPORTS_RUNNING: usize = 2;

/// How many subjects one export may have.
pub const MAX_EXPORT_OUTPUTS: usize = 32;

/// After how many seconds whoever found no place for an export or import should come back: about as long as a short one takes.
pub const EXPORT_AGAIN_S: u64 = 60;

/// After how many seconds a client should ask again how far its export is.
pub const EXPORT_POLL_S: u64 = 1;

/// How large a file of an export of resources becomes before another is begun, in bytes: a client that loses its connection fetches
/// so much again.
pub const BULK_FILE_BYTES: u64 = 256 << 20;

/// How many searches an export of resources may have for one type.
pub const MAX_TYPE_FILTERS: usize = 20;

/// How many bytes of a file are read at once while it is fetched.
pub const EXPORT_CHUNK_BYTES: usize = 256 << 10;

// ---- HTTP: what the server itself asks of others ----

/// How long a connection to an endpoint may take to be made.
pub const OUTGOING_CONNECT_TIME: Duration = Duration::from_secs(5);

/// How large the head of an endpoint's answer may be, in bytes; its body is not read.
pub const OUTGOING_HEAD_BYTES: usize = 16 << 10;

/// How long one notification may take, from connecting to the head of the answer: who has taken it says so, and works on it then.
pub const NOTIFICATION_TIME: Duration = Duration::from_secs(10);

/// How many notifications are on their way at once. Each holds a thread for at most [`NOTIFICATION_TIME`], and what it says: nothing is
/// read for one that has no place yet.
pub const NOTIFICATIONS_RUNNING: usize = 64;

/// How many of them one hospital's may be, so that its slow endpoints do not keep others waiting.
pub const NOTIFICATIONS_OF_ONE: usize = 8;

/// The pause after a notification that was not taken, doubled each time.
pub const NOTIFICATION_FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Up to this.
pub const NOTIFICATION_LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How often a notification is sent before its Subscription is given up: with these pauses about a day.
pub const NOTIFICATION_TRIES: u32 = 150;

/// How often a handshake is sent again: half a minute, for whoever asks waits for it.
pub const HANDSHAKES: u32 = 5;

/// How often it is looked for new commits to tell of. Looking costs less than a microsecond.
pub const COMMITS_LOOKED_AT_EVERY: Duration = Duration::from_millis(10);

/// How often a Subscription for which nothing happens looks whether its end has come or a heartbeat is due, and how long it waits for
/// what may be known soon.
pub const SUBSCRIPTION_LOOKS_EVERY: Duration = Duration::from_secs(1);

/// After how many commits of which none was for it the place of a Subscription is written, so that a start does not look again at
/// all of them.
pub const PASSED_COMMITS: u64 = 1_000;

/// How many bytes of resources are put into one notification or one answer of `$events`, beyond its first event: they are copied once,
/// so that [`NOTIFICATIONS_RUNNING`] of them stay within a gigabyte.
pub const MAX_NOTIFICATION_BYTES: usize = 8 << 20;

/// How many Subscriptions and streams look at once whether a commit was for them: as many as a machine has cores, not so many that
/// whoever reads over HTTP waits for them.
pub const SUBSCRIPTION_LOOKS: usize = 8;

/// How many places of events a Subscription holds at once.
pub const EVENTS_LOOKED_UP: usize = 256;

/// How many of its last events a Subscription can be asked for by number.
pub const EVENTS_KEPT: u64 = 1_000;

/// How many Subscriptions are active: each is a task that looks at every commit, some microseconds.
pub const MAX_SUBSCRIPTIONS: usize = 1_024;

/// How many of them one hospital may have.
pub const MAX_SUBSCRIPTIONS_OF_ONE: usize = 64;

/// How many streams of events are open at once; each holds a connection.
pub const MAX_STREAMS: usize = 256;

/// How often a stream without events says that it is there, so that a proxy keeps it.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);

// ---- HTTP: imports ----

/// How many files one import has.
pub const MAX_IMPORT_FILES: usize = 1_000;

/// How long the transfer of one file may take: 64 GiB at 40 Mbit/s.
pub const IMPORT_TIME: Duration = Duration::from_secs(4 * 3_600);

/// How long no byte of a file that is fetched may arrive before it is given up, and how long its address may take to answer: so long
/// can an import hold its place after it was cancelled.
pub const IMPORT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many addresses in a row that do not answer end the fetching: each of an import's others would hold its place as long.
pub const MAX_IMPORT_SILENT: usize = 3;

/// How often a group of lines is tried again while the database is busy, after [`RETRY_AFTER_S`] each: two minutes.
pub const IMPORT_TRIES: u32 = 120;

/// How large one file may be, unpacked, in bytes. It is never held: this keeps what is packed without end from being read so.
pub const MAX_IMPORT_BYTES: u64 = 64 << 30;

/// How many refused lines of a file are described; all are counted.
pub const MAX_IMPORT_ERRORS: u64 = 10_000;

/// How many chunks of a body wait to be taken in; the sender waits for the others.
pub const IMPORT_CHUNKS_WAITING: usize = 4;

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

/// How many accesses one answer to "who read my data?" holds at most; each is two look-ups in the log, and a proof if asked for.
pub const MAX_ACCESSES: usize = 100;

/// How many entries one search of AuditEvents looks at; the answer's link goes on from there.
pub const MAX_EVENTS_LOOKED_AT: u64 = 10_000;

/// The largest body of `POST /audit/checkpoint`, in bytes: a checkpoint with some signatures.
pub const MAX_CHECKPOINT_BYTES: usize = 16 << 10;

/// How often the server looks what other processes have left for the audit log.
pub const RECORD_OTHERS_EVERY: Duration = Duration::from_secs(2);

/// How often the server looks whether an epoch of statistics has begun, whose rows it then reads.
pub const RENEW_STATISTICS_EVERY: Duration = Duration::from_secs(5);

// ---- Command line ----

/// How many resources of an NDJSON file go into one transaction: an fsync for each line would be the whole cost.
pub const INGEST_GROUP_LINES: usize = 200;

/// How many bytes such a group holds at most.
pub const INGEST_GROUP_BYTES: usize = 1 << 20;

/// How many units wait between the reading thread and the workers, per worker.
pub const INGEST_QUEUE: usize = 4;

/// How often a unit is tried again while the database is busy, with a growing pause, of at most 5 s or the time that the database asks
/// for: some half a minute where that is a second.
pub const INGEST_TRIES: u32 = 30;

/// How deep directories are entered.
pub const MAX_DIRECTORY_DEPTH: usize = 32;

/// How many problems of one unit are printed.
pub const INGEST_ISSUES_SHOWN: usize = 10;

// ---- SQL: what one question may cost ----

/// How long a question may take, from its admission to its last row, also when the client reads slowly: it holds a
/// place and a snapshot.
pub const QUESTION_TIME: Duration = Duration::from_secs(60);

/// How often an answer that waits for its next rows looks whether its permit still holds.
pub const PERMIT_POLL: Duration = Duration::from_millis(250);

/// How long an answer that ends early waits after the line that says why, so that a reader gets it before the connection breaks.
pub const LAST_LINE_TIME: Duration = Duration::from_millis(250);

/// How many questions run at once for each core: one computes while another waits for its client.
pub const QUESTIONS_PER_CORE: usize = 2;

/// By how much the threads of questions give way to those that take writes in and answer (the `nice` of Linux, 0 to 19): a write is
/// acknowledged after some short steps on several threads, and a question that computes would make it wait at each of them. Where
/// nobody writes they have the processors to themselves.
pub const QUESTION_NICE: i32 = 10;

/// How many questions wait for a place; the next one is told to come back.
pub const QUESTIONS_WAITING: usize = 64;

/// How many plans are kept for whoever asks the same again. A plan of a small question takes some 50 KB.
pub const MAX_KEPT_PLANS: usize = 128;

/// How long SQL may be whose plan is kept, in bytes: a plan with lists of thousands of values takes megabytes.
pub const MAX_KEPT_PLAN_SQL_BYTES: usize = 8 << 10;

/// The stack of a thread that plans and runs questions. Trees at the bounds above are walked and dropped by recursion.
/// It is reserved address space; only what is touched is memory.
pub const QUERY_STACK_BYTES: usize = 64 << 20;

/// How many batches wait between the running query and its reader: enough to keep both busy.
pub const BATCHES_WAITING: usize = 2;

/// How many rows a scan hands on at a time. Operators stay in the processor's cache, and a question can be cancelled
/// between two.
pub const SCAN_BATCH_ROWS: usize = 8_192;

/// How many bytes of a question the audit log keeps when it was refused for its length.
pub const RECORDED_SQL_BYTES: usize = 4 << 10;

/// From how many rows the widths of a printed table's columns are taken; later rows keep them.
pub const TABLE_WIDTH_ROWS: usize = 1_000;

/// How wide a column of a printed table becomes at most, in characters.
pub const TABLE_COLUMN_WIDTH: usize = 60;

/// The largest body that holds an application, an organisation or a release request without a table, in bytes: the longest
/// permit with the reasons for its columns.
pub const MAX_CASE_BODY_BYTES: usize = dugnad_kernel::limits::MAX_PERMIT_BYTES + (64 << 10);

/// How many persons may be named beside an application: a cohort as studies have them. More is what criteria are for.
pub const MAX_NAMED_PERSONS: usize = 100_000;

/// The largest body that names them, in bytes: each by a hospital's name and a UUID.
pub const MAX_NAMED_BODY_BYTES: usize = MAX_NAMED_PERSONS * 160;

/// The largest body of `POST /releases`, in bytes: the largest supplied table, escaped as JSON, with what is said about it.
pub const MAX_RELEASE_BODY_BYTES: usize = 2 * dugnad_kernel::limits::MAX_RELEASE_BYTES;

/// How many requests to release a table one user may have waiting: each has files on the disk until somebody decides.
pub const MAX_RELEASES_WAITING: usize = 32;

/// The largest body of `POST /erasures`, in bytes: two names and a reason.
pub const MAX_ERASURE_BODY_BYTES: usize = 8 << 10;

/// The largest body of `POST /permits/{id}/unblindings`, in bytes: three names and a reason.
pub const MAX_UNBLINDING_BODY_BYTES: usize = 8 << 10;

/// How many counters of live populations are kept: those of some dozen permits. Others are made anew at each question, which reads
/// their tables once.
pub const MAX_COUNTERS: usize = 256;

/// The longest `backup.json`, in bytes. A full tile of the audit log stands for 256 entries: this has room for some hundred
/// million.
pub const MAX_MANIFEST_BYTES: u64 = 256 << 20;

// ---- Statistics ----

/// How many different cells of two dimensions or more a group of organisations is shown in an epoch, unless the database has another
/// budget: every county by sex, age band and kind of treatment is some 4,000.
pub const CELLS_PER_EPOCH: usize = 10_000;

/// Of how many different tables those may be (levels, cohort, way of counting) in an epoch of the longest calendar, unless the database has another budget: each more is
/// another look at the same persons. `dugnad bench attacks` shows what an attacker makes of them.
pub const TABLES_PER_EPOCH: usize = 3;

/// How many rows a statistics answer may have: a table of all ICD-10 categories by county has 35,000.
pub const MAX_STATISTICS_ROWS: usize = 200_000;

/// How many bytes of counted rows are kept from question to question of an epoch: some ten million rows.
pub const STATISTICS_ROWS_HELD: usize = 256 << 20;

/// The largest body that publishes a dimension: ATC has 700 KB.
pub const MAX_DIMENSION_BODY_BYTES: usize = 8 << 20;

/// The largest body of a statistic or a cohort.
pub const MAX_STATISTIC_BODY_BYTES: usize = 256 << 10;
