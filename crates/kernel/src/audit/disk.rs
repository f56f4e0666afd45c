//! The log's files, and how they are replaced.

use super::AuditError;
use crate::disk::Disk;
use std::fs::{self, File};
use std::io;
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

/// Gives `path` (under `dir`) new content, whole or not at all: written under another name, synced, then renamed. The folder is
/// not synced: after a power cut the name may be missing or show the old content, but never half of the new.
pub(crate) fn replace(disk: &dyn Disk, dir: &Path, path: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = dir.join(UNFINISHED);
    let target = dir.join(path);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if unfinished.exists() {
        disk.remove(&unfinished)?;
    }
    let file = disk.create(&unfinished, File::options().write(true).create_new(true))?;
    disk.append(&unfinished, &file, bytes)?;
    disk.sync(&unfinished, &file)?;
    disk.rename(&unfinished, &target)
}

/// A file's bytes; `None` if it is absent.
pub(crate) fn read_file(dir: &Path, path: &str) -> Result<Option<Vec<u8>>, AuditError> {
    match fs::read(dir.join(path)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuditError::io(&dir.join(path), source)),
    }
}
