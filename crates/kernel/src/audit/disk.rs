//! The few operations by which the log reaches the disk, so that a test can make each of them fail.

use super::AuditError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The file that keeps the entries.
pub(crate) const ENTRIES: &str = "entries.log";
/// The file that keeps the newest checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// The file that keeps the newest checkpoint that witnesses have cosigned.
pub(crate) const COSIGNED: &str = "cosigned";
/// The file that keeps the public key.
pub(crate) const PUBLIC_KEY: &str = "key.pub";
/// Where a file is made before it gets its name. One is enough: whoever makes files takes turns.
pub(crate) const UNFINISHED: &str = "unfinished";

/// How the log writes. The methods as they stand are the real ones.
pub(crate) trait Disk: Send + Sync {
    /// Writes all of `bytes` at the end of the entries file.
    fn append(&self, mut entries: &File, bytes: &[u8]) -> io::Result<()> {
        entries.write_all(bytes)
    }

    /// Makes what was appended durable (fdatasync).
    fn sync(&self, entries: &File) -> io::Result<()> {
        entries.sync_data()
    }

    /// Gives `path` (under `dir`) new content, whole or not at all: written under another name, synced, then renamed. The
    /// folder is not synced: after a power cut the name may be missing or show the old content, but never half of the new.
    fn replace(&self, dir: &Path, path: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = dir.join(UNFINISHED);
        let target = dir.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&unfinished, &target)
    }
}

/// The machine's disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {}

/// Makes names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A file's bytes; `None` if it is absent.
pub(crate) fn read_file(dir: &Path, path: &str) -> Result<Option<Vec<u8>>, AuditError> {
    match fs::read(dir.join(path)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuditError::io(&dir.join(path), source)),
    }
}
