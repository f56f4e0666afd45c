//! `backup.json`: what a backup consists of. It is written last, so a folder without it is no backup.

use crate::cli::CliError;
use crate::limits::MAX_MANIFEST_BYTES;
use dugnad_kernel::ids::{Commit, Timeline};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path};

/// The file's name.
pub const MANIFEST: &str = "backup.json";

const FORMAT: &str = "dugnad backup v1";

/// What a backup is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    /// The version of the program that made it.
    pub program: String,
    /// When it was begun.
    pub made_at: Timestamp,
    /// The newest commit in it.
    pub commit: u64,
    /// The timeline of that commit.
    pub timeline: String,
    /// How many entries of the audit log are in it: those that a signed checkpoint covers.
    pub audit_entries: u64,
    /// Each file, its folder's other name being `/`.
    pub files: Vec<FileDigest>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Where it is in the backup, and where it goes in the database's folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Of its content, in hexadecimal.
    pub sha256: String,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> CliError + '_ {
    |error| CliError::Failed(format!("{}: {error}", path.display()))
}

impl Manifest {
    /// Of the files that stand in `dir`.
    pub fn of(dir: &Path, made_at: Timestamp, commit: Commit, timeline: Timeline, audit_entries: u64) -> Result<Self, CliError> {
        let mut files = Vec::new();
        list(dir, "", &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Self { format: FORMAT.to_owned(), program, made_at, commit: commit.0, timeline: timeline.to_string(), audit_entries, files })
    }

    /// Writes it into `dir`, whole or not at all; durable on return, with the names of all files.
    pub fn write(&self, dir: &Path) -> Result<(), CliError> {
        let (unfinished, target) = (dir.join("backup.json.unfinished"), dir.join(MANIFEST));
        let text = serde_json::to_vec_pretty(self).map_err(CliError::failed)?;
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(&text)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&unfinished, &target)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(failed(&target))
    }

    /// Reads that of the backup in `dir`.
    pub fn read(dir: &Path) -> Result<Self, CliError> {
        let path = dir.join(MANIFEST);
        let absent = || {
            CliError::Failed(format!(
                "{} has no {MANIFEST}: it is no backup, or one that was interrupted while it was made. Take another one",
                dir.display()
            ))
        };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(absent()),
            file => file.map_err(failed(&path))?,
        };
        let mut text = Vec::new();
        file.take(MAX_MANIFEST_BYTES).read_to_end(&mut text).map_err(failed(&path))?;
        let damaged = |what: String| CliError::Failed(format!("{} is damaged: {what}. Take another backup", path.display()));
        let manifest: Self = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if manifest.format != FORMAT {
            return Err(CliError::Failed(format!("{}: this program reads `{FORMAT}`; use the version that made it", path.display())));
        }
        // A path never leads out of the folder.
        let inside = |file: &FileDigest| Path::new(&file.path).components().all(|part| matches!(part, Component::Normal(_)));
        match manifest.files.iter().find(|file| !inside(file)) {
            Some(file) => Err(damaged(format!("`{}` is no path in a backup", file.path))),
            None => Ok(manifest),
        }
    }
}

/// All files below `dir`, and their digests; names of files in folders become durable.
fn list(dir: &Path, under: &str, files: &mut Vec<FileDigest>) -> Result<(), CliError> {
    let folder = dir.join(under);
    for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
        let entry = entry.map_err(failed(&folder))?;
        let name = entry.file_name().into_string().map_err(|_| CliError::Failed(format!("{}: a name is not text", folder.display())))?;
        let path = if under.is_empty() { name } else { format!("{under}/{name}") };
        if entry.path().is_dir() {
            list(dir, &path, files)?;
        } else {
            let (bytes, sha256) = digest(&entry.path(), &mut io::sink())?;
            files.push(FileDigest { path, bytes, sha256 });
        }
    }
    File::open(&folder).and_then(|f| f.sync_all()).map_err(failed(&folder))
}

/// Reads a file, writes it to `copy`, and says its length and SHA-256.
pub fn digest(path: &Path, copy: &mut dyn Write) -> Result<(u64, String), CliError> {
    let mut file = File::open(path).map_err(failed(path))?;
    let (mut hash, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).map_err(failed(path))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        copy.write_all(bytes).map_err(|e| CliError::Failed(format!("a copy of {}: {e}", path.display())))?;
        length += bytes.len() as u64;
    }
    Ok((length, hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}
