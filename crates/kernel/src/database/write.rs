//! What can be asked of the database, and what it answers.

use crate::fhir::issue::Issue;
use crate::fhir::patch::Format;
use crate::ids::{Commit, HolderId};
use jiff::Timestamp;

/// What becomes of conditional references that match nothing (`Prefer: handling=...`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handling {
    /// Refused, as the FHIR specification says.
    #[default]
    Strict,
    /// Kept as logical references (`Reference.identifier`), with a warning.
    Lenient,
}

/// One write.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// Who writes.
    pub holder: HolderId,
    /// What is to be done.
    pub interaction: Interaction,
    /// How unresolvable conditional references are handled.
    pub handling: Handling,
    /// A key under which the same request, sent again by the same holder, is answered with its first outcome and
    /// changes nothing (`Idempotency-Key`; `ingest` uses the SHA-256 of the file's content).
    pub idempotency_key: Option<String>,
}

/// What one write does.
#[derive(Clone, Debug)]
pub enum Interaction {
    /// A Bundle of type transaction: all or nothing. (A batch is many writes; see `batch_entries`.)
    Transaction {
        /// The Bundle's JSON.
        body: Vec<u8>,
    },
    /// `POST [type]`.
    Create {
        /// The resource type.
        resource_type: String,
        /// The resource's JSON.
        body: Vec<u8>,
        /// `If-None-Exist`: the query.
        if_none_exist: Option<String>,
    },
    /// `PUT [type]/[id]`.
    Update {
        /// The resource type.
        resource_type: String,
        /// The logical id.
        id: String,
        /// The resource's JSON.
        body: Vec<u8>,
        /// `If-Match: W/"n"`.
        if_match: Option<u64>,
    },
    /// `PUT [type]?criteria`.
    UpdateMatching {
        /// The resource type.
        resource_type: String,
        /// The criteria.
        query: String,
        /// The resource's JSON.
        body: Vec<u8>,
    },
    /// `PATCH [type]/[id]`.
    Patch {
        /// The resource type.
        resource_type: String,
        /// The logical id.
        id: String,
        /// In which form the patch is.
        format: Format,
        /// The patch's JSON.
        body: Vec<u8>,
        /// `If-Match: W/"n"`.
        if_match: Option<u64>,
    },
    /// `PATCH [type]?criteria`: the one that matches.
    PatchMatching {
        /// The resource type.
        resource_type: String,
        /// The criteria.
        query: String,
        /// In which form the patch is.
        format: Format,
        /// The patch's JSON.
        body: Vec<u8>,
        /// `If-Match: W/"n"`.
        if_match: Option<u64>,
    },
    /// `DELETE [type]?criteria`: the one that matches.
    DeleteMatching {
        /// The resource type.
        resource_type: String,
        /// The criteria.
        query: String,
    },
    /// A person's opt-out (Regulation (EU) 2025/327, Art. 71), or its reversal: a Consent whose id nobody else may write.
    OptOut {
        /// The logical id of the Patient.
        patient: String,
        /// Whether the person is out.
        out: bool,
    },
    /// `DELETE [type]/[id]`.
    Delete {
        /// The resource type.
        resource_type: String,
        /// The logical id.
        id: String,
        /// `If-Match: W/"n"`.
        if_match: Option<u64>,
    },
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The commit that holds it. A write that changes nothing answers the newest commit.
    pub commit: Commit,
    /// When: `meta.lastUpdated` of all it wrote.
    pub time: Timestamp,
    /// One per entry of a transaction, in its order; one for any other interaction.
    pub entries: Vec<EntryOutcome>,
    /// Whether it had been taken before (same idempotency key): `entries` is empty then.
    pub replayed: bool,
}

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryOutcome {
    /// 200 (updated, or nothing to do), 201 (created) or 204 (deleted).
    pub status: u16,
    /// The resource type.
    pub resource_type: String,
    /// The logical id.
    pub id: String,
    /// The version that is current now.
    pub version: u64,
    /// Whether this write has made it: false where it changes nothing.
    pub changed: bool,
    /// When that version was written, where this write has not made it.
    pub since: Option<Timestamp>,
    /// Warnings, such as a conditional reference kept as a logical one.
    pub issues: Vec<Issue>,
    /// The URL of an entry that only reads (`GET`), to be read by the caller once the transaction is made; type, id and version
    /// say nothing then.
    pub read: Option<String>,
}

/// Why a write was not made. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The caller's fault: what was sent is wrong.
    #[error("{} problem(s); the first: {}", issues.len(), issues.first().map_or("", |i| i.diagnostics.as_str()))]
    Refused {
        /// The HTTP status that fits: 400, 403, 404, 409, 410, 412, 413, 422 or 503.
        status: u16,
        /// Each problem.
        issues: Vec<Issue>,
    },
    /// Too many writes are waiting; try again later.
    #[error("the write queue is full; try again in {retry_after_s} s")]
    Busy {
        /// Seconds.
        retry_after_s: u64,
    },
    /// The journal failed (disk full, failed fsync). Nothing is taken until the server has been restarted.
    #[error("the journal has stopped: {0}; free the disk or mend it, then restart the server")]
    Stopped(String),
}
