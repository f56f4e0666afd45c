//! The audit log: an append-only Merkle tree (RFC 6962) in C2SP tlog-tiles, with Ed25519-signed checkpoints.

use crate::clock::Clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// What an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// A read or query is about to answer: durable before the first byte.
    Intent,
    /// It has answered: durable before the last chunk.
    Completion,
    /// It was refused.
    Refusal,
    /// A hospital wrote.
    Write,
    /// A permit or other document was decided or changed.
    Decision,
    /// Tokens, holders, keys, start and stop.
    Administration,
}

/// One entry, as the parties to it may read it. Fields that do not apply are absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When (UTC).
    pub at: Timestamp,
    /// What.
    pub act: Act,
    /// Who.
    pub user: String,
    /// As which role.
    pub role: String,
    /// For a completion: the index of its intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<u64>,
    /// On which interface: `fhir`, `sql`, `cli`, `web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Under which permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<String>,
    /// For which purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The holder that wrote or whose resource was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The query or request, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The data commit that was seen or made (record-level), or
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<u64>,
    /// the epoch (statistics).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The tables that were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Rows delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// How it ended: `ok`, `failed`, `cancelled`, or the reason of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// The log cannot be written or read. Then nothing may be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The files cannot be written or read.
    #[error("the audit log {path} cannot be used: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// What is on disk is not what was written.
    #[error("the audit log is damaged at {at}: {what}")]
    Damaged {
        /// The file and entry.
        at: String,
        /// What is wrong there.
        what: String,
    },
    /// An earlier write failed; the log takes nothing more until a restart.
    #[error("the audit log has stopped after a failed write; restart the server once the disk is well")]
    Stopped,
}

/// An open log; one writer thread, group fsync.
pub struct Log {
    _private: (),
}

impl Log {
    /// Opens the log in `dir` (made if absent), checking it; a crash's half-written end is cut off.
    pub fn open(_dir: &Path, _origin: &str, _key: ed25519_dalek::SigningKey, _clock: Arc<dyn Clock>) -> Result<Self, AuditError> {
        todo!()
    }

    /// Appends an entry; durable when this returns its index. Blocks for one group fsync.
    pub fn append(&self, _entry: &Entry) -> Result<u64, AuditError> {
        todo!()
    }

    /// Appends without waiting; `done` is called from the log's thread once the entry is durable.
    pub fn append_then(&self, _entry: &Entry, _done: Box<dyn FnOnce(Result<u64, AuditError>) + Send>) {
        todo!()
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// The newest signed checkpoint (C2SP signed note: origin, size, root hash, signature).
    pub fn checkpoint(&self) -> String {
        todo!()
    }

    /// A public file of the log, `checkpoint` or `tile/...`, as C2SP tlog-tiles names them.
    pub fn public_file(&self, _path: &str) -> Result<Option<Vec<u8>>, AuditError> {
        todo!()
    }

    /// Entries from `first`, at most `count`, with their indices.
    pub fn entries(&self, _first: u64, _count: usize) -> Result<Vec<(u64, Entry)>, AuditError> {
        todo!()
    }
}
