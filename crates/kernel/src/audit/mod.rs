//! The audit log: an append-only Merkle tree (RFC 6962) in C2SP tlog-tiles, with Ed25519-signed checkpoints.
//!
//! Two sides. The *private* side is `entries.log`: each entry's JSON and its salt. The *public* side is the tree over
//! salted commitments to those entries: tiles and checkpoint, which anyone may have and which tell nothing about an
//! entry to those who lack its salt. The tiles follow from the entries; the checkpoint binds both.
//!
//! Invariants. An index is handed out only after the fdatasync of its entry. A checkpoint is signed only over entries that
//! are durable, so no crash takes back what was signed. After a failed write or sync nothing is taken until a restart.
//! `docs/formats/audit-log.md` gives the files byte by byte.

mod copy;
mod disk;
mod earlier;
mod entry;
mod folder;
mod glance;
mod log;
mod newest;
pub(crate) mod note;
mod persons;
mod publish;
mod record;
mod recover;
mod resume;
mod rotation;
mod tile;
mod tree;
mod verify;
mod witness;
mod writer;

#[cfg(test)]
mod tests;

pub use copy::copy;
pub use entry::{ASSUMED, Act, Entry, SALT_BYTES, commitment};
pub use folder::{Folder, Proof, ProofFailure};
pub use log::{Access, Log, Options, PersonAccess};
pub use newest::Newest;
pub use note::{Checkpoint, NoteError, VerifierKey};
pub use persons::{Bytes, Names, Nonce, Persons};
pub use recover::Recovery;
pub use rotation::{ROTATIONS, Rotation, leads, rotate};
pub use tile::{Tile, TileKind};
pub use tree::{
    Hash, Nodes, ProofError, consistency, empty_root, inclusion, leaf_hash, node_hash, root, verify_consistency, verify_inclusion,
};
pub use verify::{Problem, Report, verify, verify_since};
pub use witness::{CosignError, WitnessKey, cosign};

use std::path::Path;

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
    /// Another process has the log open.
    #[error("the audit log {0} is in use by another process; stop it first")]
    InUse(String),
    /// What is on disk is not what was written.
    #[error("the audit log is damaged at {at}: {what}")]
    Damaged {
        /// The file and entry.
        at: String,
        /// What is wrong there.
        what: String,
    },
    /// The caller's fault: an entry that is longer than the log takes.
    #[error("an audit entry of {bytes} bytes is too long (at most {limit}); shorten the request")]
    TooLong {
        /// Its length as JSON.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// A name or key that cannot be used.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// An earlier write failed; the log takes nothing more until a restart.
    #[error("the audit log has stopped after a failed write; restart the server once the disk is well")]
    Stopped,
}

impl AuditError {
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.display().to_string(), source }
    }

    fn damaged(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Damaged { at: at.into(), what: what.into() }
    }
}
