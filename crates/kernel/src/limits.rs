//! Every bound of the kernel in one place, each with its reason.

use std::time::Duration;

/// The largest body of one write, in bytes. The largest of 365 Synthea patient bundles is 1.6 MB; a bulk file of
/// NDJSON is read line by line and is not one body.
pub const MAX_BODY_BYTES: usize = 32 << 20;

/// How many operations a patch may have, and how many members a JSON Merge Patch: each operation makes what is on its way anew, and
/// each member is looked for in its object. Who has more changes sends the whole resource.
pub const MAX_PATCH_OPERATIONS: usize = 1_000;

/// How deep JSON may nest. FHIR's deepest R4 examples stay below 30; a parser that recurses needs a bound.
pub const MAX_JSON_DEPTH: usize = 100;

/// How many values (scalars, arrays, objects) one JSON document may hold: 24 bytes each in the arena, so at most 72 MB.
pub const MAX_JSON_VALUES: usize = 3_000_000;

/// How many entries a transaction or batch may hold.
pub const MAX_BUNDLE_ENTRIES: usize = 20_000;

/// How many problems one answer reports before it stops looking.
pub const MAX_ISSUES: usize = 50;

/// How many prepared writes may wait for the committer before callers are told to come back.
pub const COMMIT_QUEUE: usize = 1_024;

/// How many writes one group commit takes at most, so that the first of a group does not wait for ever.
pub const MAX_GROUP: usize = 256;

/// How many rows a segment of a live table holds.
pub const SEGMENT_ROWS: usize = 65_536;

/// How long the tail log of the live tables becomes before a checkpoint: what a restart reads at most, some 400,000 rows.
pub const CHECKPOINT_LOG_BYTES: u64 = 64 << 20;

/// How often a write is prepared again because what it read has changed, before it is prepared under the commit lock.
pub const OPTIMISTIC_TRIES: usize = 3;

/// How long a FHIRPath expression may be, in bytes. The longest of the R4 search parameters has 400.
pub const MAX_FHIRPATH_LENGTH: usize = 10_000;

/// How deep a FHIRPath expression may nest; parser, compiler and evaluator recurse. `a.b.c` counts 3.
pub const MAX_FHIRPATH_DEPTH: usize = 100;

/// How often one FHIRPath expression may evaluate the arguments of `where()` and its like on one resource. A resource
/// with 10,000 elements needs 10,000 for one `where()`; nested ones multiply.
pub const MAX_FHIRPATH_ITERATIONS: usize = 1_000_000;

/// How many bytes of text one FHIRPath expression may make on one resource. `select($this & $this)` doubles.
pub const MAX_FHIRPATH_TEXT: usize = 16 << 20;

/// How long a unit's code may be, in bytes. UCUM's longest example has 33.
pub const MAX_UNIT_LENGTH: usize = 64;

/// How many units' codes are kept as they were understood. A laboratory has some hundred.
pub const MAX_UNITS_KEPT: usize = 4_096;

/// How many codes the expansion of a value set may have. ICD-10 in full has 15,000; more than this nobody shows or tests one by one.
pub const MAX_EXPANSION: usize = 100_000;

/// How deep value sets may be made of value sets. HL7's go three levels; a circle has to end.
pub const MAX_VALUE_SET_DEPTH: usize = 8;

/// How many codes a message about a wrong code names, and how many letters a code may differ by to be named.
pub const MAX_CODES_NAMED: usize = 8;

/// How large a regular expression of `matches()` may become when it is compiled.
pub const MAX_REGEX_BYTES: usize = 1 << 20;

/// How many rows a view may make of one resource: sibling `forEach` multiply.
pub const MAX_ROWS_PER_RESOURCE: usize = 1_000_000;

/// How many columns a view may have.
pub const MAX_VIEW_COLUMNS: usize = 1_000;

/// How many Patients one person may have. More share an identifier or a link by mistake: they are left apart.
pub const MAX_PERSON_PATIENTS: usize = 100;

/// Of how many past commits it is remembered who was one person then: analysts ask again and again as of the same few.
pub const PAST_COMMITS_KEPT: usize = 16;

/// How many views may be registered: each is evaluated on every resource of its type that is written.
pub const MAX_VIEWS: usize = 200;

/// The longest ViewDefinition that is registered, in bytes of JSON.
pub const MAX_VIEW_BYTES: usize = 1 << 20;

/// How many SearchParameters may be added to HL7's: each is evaluated on every resource of its types that is written.
pub const MAX_ADDED_PARAMETERS: usize = 100;

/// How many resource types an added SearchParameter may have: the search table of each is built anew for it.
pub const MAX_ADDED_PARAMETER_BASES: usize = 20;

/// How often SearchParameters may be added, changed and taken away in the life of a database: each time takes a number for ever, of 16
/// bits, of which HL7's have some hundred.
pub const MAX_PARAMETER_CHANGES: usize = 60_000;

/// How deep the selects of a view may nest; its compiler and its runner recurse.
pub const MAX_SELECT_DEPTH: usize = 20;
/// The longest audit entry, in bytes of JSON. It carries the request as sent; the longest SQL text that is taken is shorter.
pub const MAX_AUDIT_ENTRY_BYTES: usize = 1 << 20;

/// How many audit entries may wait for the log's thread; whoever comes then waits. Each waits for one fsync at most.
pub const AUDIT_QUEUE: usize = 4_096;

/// How many audit entries one fsync takes at most, so that the first of a group does not wait for ever.
pub const MAX_AUDIT_GROUP: usize = 1_024;

/// How many bytes one fsync of the audit log takes at most (plus the entry that reaches it), for the same reason.
pub const MAX_AUDIT_GROUP_BYTES: usize = 4 << 20;

/// How long an intent that nobody waits for stays written and unsynced, in milliseconds: most small answers are there by then, and
/// their completion is synced with it.
pub const AUDIT_INTENT_SYNC_MS: u64 = 2;

/// After how many entries the audit log notes where opening can begin to read: reading so many takes about 0.1 s.
pub const AUDIT_RESUME_ENTRIES: u64 = 1 << 16;

/// How many persons a completion names itself, at 11 bytes each; more are an entry of their own.
pub const MAX_AUDIT_NAMED: u64 = 64;

/// How many persons an entry names at most: 64 bits each in base64, in an entry of at most [`MAX_AUDIT_ENTRY_BYTES`].
pub const MAX_AUDIT_NAMES: u64 = 90_000;

/// How many bytes of masked bits an entry holds, for the same reason: 4 million Patients.
pub const AUDIT_BITS_BYTES: usize = 512 << 10;

/// How many sets of persons are remembered, so that the next one is recorded as a difference: the questions that a few
/// dashboards ask again and again. A million Patients take 125 kB each at most.
pub const AUDIT_RECENT_SETS: usize = 16;

/// How many keys of Patients are made together, so that they cost one fsync.
pub const AUDIT_KEYS_AT_ONCE: usize = 4_096;

/// How many bytes of the log the index of persons reads in one go while the server starts; then it rests for four times as long as
/// that took, unless somebody asks.
pub const AUDIT_INDEX_STEP_BYTES: u64 = 1 << 20;

/// How many cosignatures a checkpoint carries at most, one for each witness.
pub const MAX_AUDIT_WITNESSES: usize = 16;

/// How many problems an offline check of the audit log names before it stops.
pub const MAX_AUDIT_PROBLEMS: usize = 50;

/// The longest permit, in bytes of JSON: 200 tables of 100 columns with transforms stay below it.
pub const MAX_PERMIT_BYTES: usize = 1 << 20;

/// How many users, tables, columns of a table or studies a permit may name.
pub const MAX_PERMIT_ITEMS: usize = 1_000;

/// The longest text in a permit (purpose, reasons), in bytes: two printed pages.
pub const MAX_PERMIT_TEXT_BYTES: usize = 8_192;

/// How many versions one step of a purge overwrites: other writes wait for so many, some 100 KB, and one fsync.
pub const MAX_PURGE_VERSIONS: usize = 64;

/// How many versions one step of a purge looks at in one read transaction: some tenths of a second, for that long the
/// write-ahead log cannot be moved.
pub const MAX_PURGE_LOOK: u32 = 65_536;

/// The longest reason of an erasure, in bytes.
pub const MAX_ERASURE_REASON_BYTES: usize = 1_024;

/// How many tables and conditions a live population may name: each table keeps counters.
pub const MAX_CRITERIA: usize = 200;

/// How deep a live population may nest: it is evaluated by recursion.
pub const MAX_CRITERIA_DEPTH: usize = 16;

/// How many versions of consent, and how many hidden columns and rows, a permit may name.
pub const MAX_BLINDED: usize = 1_000;

/// How many steps an application may take: it is handed in, completed and prolonged a few times; a loop of an applicant ends here.
pub const MAX_APPLICATION_STEPS: usize = 100;

/// How many cells of the catalogue of statistics one application may show before it is decided: enough to see that a study is
/// possible, too few to be one.
pub const MAX_FEASIBILITY_CELLS: usize = 20;

/// To which multiple the counts of those cells are rounded.
pub const FEASIBILITY_ROUNDING: u64 = 10;

/// How many rows a result that leaves may have: a person has to look at it.
pub const MAX_RELEASE_ROWS: usize = 20_000;

/// How many columns.
pub const MAX_RELEASE_COLUMNS: usize = 100;

/// How many bytes each of its files may have.
pub const MAX_RELEASE_BYTES: usize = 8 << 20;

/// How many rows a finding names: where to begin to look.
pub const MAX_FINDING_ROWS: usize = 20;

/// How many bytes the search indexes of a database take in all. Ten million resources have one GiB of memory, and all else has
/// to fit too; three indexes over a million resources take some 60 MB by reckoning (8 to 32 bytes a value).
pub const SEARCH_INDEX_BYTES: usize = 384 << 20;

/// How many resources a chain or `_has` of a search may join at one step: they are held in memory, some 60 bytes each.
pub const MAX_SEARCH_JOINED: usize = 1_000_000;

/// How deep chains and `_has` of a search may nest: each level is a search of its own.
pub const MAX_SEARCH_DEPTH: usize = 8;

/// How long a search may run, a page with all that comes along: it holds a place among the readers. One that is answered from
/// indexes takes milliseconds; one that looks at each of ten million resources, seconds.
pub const SEARCH_TIME: Duration = Duration::from_secs(20);

/// How many resources that match criteria are told apart: they must match one.
pub const MAX_CONDITION_MATCHES: usize = 100;

/// How many resources a page of a search has at most.
pub const MAX_SEARCH_PAGE: usize = 10_000;

/// How many parameters a search may have: each is a criterion, or about the answer.
pub const MAX_SEARCH_PARAMETERS: usize = 200;

/// How many values the parameters of a search may have together: a list of ids of a page or two, some 40 bytes each.
pub const MAX_SEARCH_VALUES: usize = 2_000;

/// How many criteria a search may have, those that a chain has on each type that it may lead to counted: a reference to any of 147
/// types, twice in a row, would be 21,609.
pub const MAX_SEARCH_CRITERIA: usize = 500;

/// By how many parameters an answer may be ordered.
pub const MAX_SORT_KEYS: usize = 8;

/// How many `_include` and `_revinclude` a search may have.
pub const MAX_SEARCH_INCLUDES: usize = 20;

/// How many resources `_include` and `_revinclude` add to a page at most; the answer says if there were more.
pub const MAX_SEARCH_INCLUDED: usize = 1_000;

/// How many codes a dimension of statistics may have: a code is a number of two bytes in what is counted. ATC has some 6,700.
pub const MAX_HIERARCHY_CODES: usize = 60_000;

/// How many levels a dimension of statistics may have. ATC has five.
pub const MAX_HIERARCHY_LEVELS: usize = 6;

/// How many dimensions a cell of statistics may have: each more makes cells smaller, and people easier to tell apart.
pub const MAX_CELL_DIMENSIONS: usize = 4;

/// How many cells a table of statistics may have: an index of four bytes for each while it is counted.
pub const MAX_TABLE_CELLS: usize = 4 << 20;

/// How many persons a registered cohort needs.
pub const MIN_COHORT: u64 = 100;

/// How many dimensions a statistic may have; a question names at most [`MAX_CELL_DIMENSIONS`] of them.
pub const MAX_STATISTIC_DIMENSIONS: usize = 16;

// ---- Clients and what they may ----

/// How many scopes a client or a token may have: some for each type that a system speaks of.
pub const MAX_SCOPES: usize = 64;

/// How long they may be together, in bytes: they stand in each token's row, and in a form.
pub const MAX_SCOPE_BYTES: usize = 8 << 10;

/// How many conditions a search gets at most because its scopes reach parts of a type: each is looked at for each candidate.
pub const MAX_SCOPE_ALTERNATIVES: usize = 64;

/// How large a set of public keys may be, in bytes. A key of RSA with 4096 bits has about 800; some publish certificates beside it.
pub const MAX_JWKS_BYTES: usize = 64 << 10;

/// How many keys it may have: the present one, the next, those of a rotation, for several algorithms.
pub const MAX_JWKS_KEYS: usize = 32;

/// How long a signed token may be, in bytes: an access token with some dozen claims and a signature by a large key.
pub const MAX_JWT_BYTES: usize = 16 << 10;

/// How long the id of an assertion may be, in bytes: it is remembered.
pub const MAX_JTI_BYTES: usize = 255;

/// How far ahead the end of a client's assertion may be (SMART App Launch 2.x: five minutes).
pub const ASSERTION_LIFE: Duration = Duration::from_secs(300);

/// By how much others' clocks may differ from ours.
pub const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// How many commits are looked at in one call for what somebody follows: whoever is far behind takes many short calls.
pub const FOLLOWED_COMMITS: u64 = 4_096;

/// How many headers the channel of a Subscription may have: with those of HTTP's own a request stays below what servers take.
pub const MAX_CHANNEL_HEADERS: usize = 20;

/// How long such a header and an endpoint may be, in bytes: a signed token has some 2,000.
pub const MAX_CHANNEL_TEXT_BYTES: usize = 4 << 10;

/// How many events one notification of a Subscription holds at most, however many it asks for: they are put together in memory.
pub const MAX_NOTIFICATION_EVENTS: usize = 100;

/// How many filters a Subscription to a topic may have; all of them have to hold.
pub const MAX_SUBSCRIPTION_FILTERS: usize = 10;

/// The periods of heartbeats that a Subscription may ask for, in seconds: shorter ones cost an endpoint more than they tell it, and
/// after longer ones nobody waits for it.
pub const HEARTBEAT_PERIODS_S: std::ops::RangeInclusive<u64> = 10..=86_400;
