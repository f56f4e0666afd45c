//! The database: one journal, its live tables, and the one committer that keeps both at the same commit.

mod write;

pub use write::{EntryOutcome, Handling, Interaction, Outcome, WriteError, WriteRequest};

use crate::clock::Clock;
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal};
use crate::live::Snapshot;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;

/// An open database. Clone it freely: clones share everything.
#[derive(Clone)]
pub struct Database {
    _private: (),
}

/// A hospital as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub id: HolderId,
    /// Its name, as tokens and the `holder` column show it.
    pub name: String,
}

/// Why a database does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{0} is in use by another process; stop it, or send the request to it with --server")]
    InUse(String),
    /// The folder cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The journal cannot be read.
    #[error("the journal {path} cannot be read: {what}")]
    Journal {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Reading failed: the journal's file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be read: {0}")]
pub struct ReadError(pub String);

/// One version of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVersion {
    /// `meta.versionId`.
    pub version: u64,
    /// The commit that wrote it.
    pub commit: Commit,
    /// `meta.lastUpdated`: the commit's time.
    pub last_updated: Timestamp,
    /// The resource as JSON with `meta.versionId` and `meta.lastUpdated`; `None` for a deletion.
    pub json: Option<Vec<u8>>,
}

/// A document of the centre: a permit, a study, an opt-out. Versioned in the journal like a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its kind, such as `permit`.
    pub kind: String,
    /// Its id, unique in its kind.
    pub id: String,
    /// Its version, from 1.
    pub version: u64,
    /// The commit that wrote it.
    pub commit: Commit,
    /// Its JSON.
    pub json: String,
}

/// How many rows and commits a database holds; for the centre's eyes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Current (not deleted) resources by type.
    pub resources: Vec<(String, u64)>,
    /// Resources that an unknown `modifierExtension` keeps out of the built-in views.
    pub modified: u64,
}

impl Database {
    /// Opens the database in `dir`, making it if the folder is empty or absent: takes the folder's lock, opens the
    /// journal, and fills the live tables from it. `progress` is told (commits done, commits in all).
    pub fn open(_dir: &Path, _clock: Arc<dyn Clock>, _progress: &mut dyn FnMut(u64, u64)) -> Result<Self, OpenError> {
        todo!()
    }

    /// All live tables at the newest published commit.
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }

    /// All live tables as they were at `commit`; `None` if it is not yet there.
    pub fn snapshot_at(&self, _commit: Commit) -> Option<Snapshot> {
        todo!()
    }

    /// The newest commit whose time is at or before `at` (0 if there is none): an epoch of a calendar is
    /// `snapshot_at(commit_at(start of the period))`.
    pub fn commit_at(&self, _at: Timestamp) -> Result<Commit, ReadError> {
        todo!()
    }

    /// Registers a holder; one of that name that exists already is returned.
    pub fn register_holder(&self, _name: &str) -> Result<Holder, WriteError> {
        todo!()
    }

    /// A registered holder.
    pub fn holder(&self, _name: &str) -> Option<Holder> {
        todo!()
    }

    /// All registered holders, in order.
    pub fn holders(&self) -> Vec<Holder> {
        todo!()
    }

    /// Makes one commit of `request`, durable and visible when this returns. Blocks; call it from a thread that may.
    pub fn write(&self, _request: WriteRequest) -> Result<Outcome, WriteError> {
        todo!()
    }

    /// The current version of a resource (a deletion is one).
    pub fn read(&self, _holder: HolderId, _resource_type: &str, _id: &str) -> Result<Option<StoredVersion>, ReadError> {
        todo!()
    }

    /// All versions of a resource, newest first.
    pub fn history(&self, _holder: HolderId, _resource_type: &str, _id: &str) -> Result<Vec<StoredVersion>, ReadError> {
        todo!()
    }

    /// Writes a document of the centre as one commit.
    pub fn put_document(&self, _kind: &str, _id: &str, _json: &str) -> Result<Commit, WriteError> {
        todo!()
    }

    /// The current version of a document.
    pub fn document(&self, _kind: &str, _id: &str) -> Result<Option<Document>, ReadError> {
        todo!()
    }

    /// The current versions of all documents of a kind, by id.
    pub fn documents(&self, _kind: &str) -> Result<Vec<Document>, ReadError> {
        todo!()
    }

    /// The (holder, resource type, logical id) behind resource ordinals, for identified readers.
    pub fn resource_names(&self, _ordinals: &[ResourceOrdinal]) -> Result<Vec<Option<(HolderId, String, String)>>, ReadError> {
        todo!()
    }

    /// The (holder, logical id) behind patient ordinals, for identified readers.
    pub fn patient_names(&self, _ordinals: &[PatientOrdinal]) -> Result<Vec<Option<(HolderId, String)>>, ReadError> {
        todo!()
    }

    /// The ordinal of a resource that has been mentioned: what `study_key` and the like hold.
    pub fn resource_ordinal(&self, _holder: HolderId, _resource_type: &str, _id: &str) -> Result<Option<ResourceOrdinal>, ReadError> {
        todo!()
    }

    /// What is in it.
    pub fn counters(&self) -> Counters {
        todo!()
    }

    /// Rebuilds the live tables from the journal beside the live ones and names the first difference, if any.
    pub fn verify_live_tables(&self) -> Result<Result<(), String>, ReadError> {
        todo!()
    }

    /// Stops the committer after what is queued. Writes from then on are refused.
    pub fn close(&self) {
        todo!()
    }
}
