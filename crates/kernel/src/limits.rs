//! Every bound of the kernel in one place, each with its reason.

/// The largest body of one write, in bytes. The largest of 365 Synthea patient bundles is 1.6 MB; a bulk file of
/// NDJSON is read line by line and is not one body.
pub const MAX_BODY_BYTES: usize = 32 << 20;

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

/// How often a write is prepared again because what it read has changed, before it is prepared under the commit lock.
pub const OPTIMISTIC_TRIES: usize = 3;
