//! The manifest: which files hold which live tables, as of one commit. It is replaced as a whole, atomically.

use super::file::Damaged;
use crate::disk::Folder;
use crate::ids::{Commit, TableId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// The format of the folder.
pub(super) const FORMAT: u32 = 1;
const NAME: &str = "manifest";

/// What the files of the folder hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// The rows and ends of all commits up to this one are in the files named here.
    pub(super) commit: Commit,
    /// The first log file with what came later.
    pub(super) log: u64,
    /// The number of the next segment file.
    pub(super) next_file: u64,
    /// The number of the next table.
    pub(super) next_table: u32,
    pub(super) tables: Vec<StoredTable>,
    pub(super) counters: Counters,
    /// Of the files with ended rows, how many rows their files of ends hold at least: a later checkpoint that did not come to its
    /// own manifest may have written more. Manifests of before have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) ended: BTreeMap<String, u32>,
}

/// How many resources there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Current resources by type, and documents by kind.
    pub kinds: BTreeMap<String, i64>,
    /// Versions that an unknown `modifierExtension` has kept out of the built-in views.
    pub modified: u64,
}

/// The files of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredTable {
    pub(super) id: TableId,
    pub(super) name: String,
    /// What its rows depend on; a table with another one is built anew.
    pub(super) fingerprint: String,
    pub(super) segments: Vec<String>,
    pub(super) history: Vec<String>,
}

impl Manifest {
    /// Reads the manifest of a folder; `None` if there is none.
    pub(super) fn read(folder: &Folder) -> Result<Option<Self>, Damaged> {
        let damaged = |what: String| Damaged { file: NAME.to_owned(), what };
        let Some(bytes) = folder.read(NAME).map_err(|e| damaged(e.to_string()))? else { return Ok(None) };
        let (crc, json) = bytes.split_at_checked(9).ok_or_else(|| damaged("it is too short".to_owned()))?;
        if format!("{:08x}\n", crc32fast::hash(json)).as_bytes() != crc {
            return Err(damaged("it has another checksum".to_owned()));
        }
        let manifest: Self = serde_json::from_slice(json).map_err(|e| damaged(e.to_string()))?;
        if manifest.format != FORMAT {
            return Err(damaged(format!("it has format {}, this program reads format {FORMAT}", manifest.format)));
        }
        Ok(Some(manifest))
    }

    /// Writes the manifest of a folder in the place of the one before; durable when this returns.
    pub(super) fn write(&self, folder: &Folder) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        folder.replace(NAME, &[format!("{:08x}\n", crc32fast::hash(&json)).as_bytes(), &json])?;
        folder.sync()
    }

    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().flat_map(|t| t.segments.iter().chain(&t.history)).map(String::as_str)
    }
}
