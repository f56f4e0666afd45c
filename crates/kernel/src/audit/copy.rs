//! Copying a log that a server is writing to.

use super::AuditError;
use super::disk::{CHECKPOINT, COSIGNED, ENTRIES, PUBLIC_KEY, read_file, replace};
use super::folder::Folder;
use super::note::Checkpoint;
use super::persons::KEYS;
use super::record::{self, FILE_HEADER};
use super::rotation::ROTATIONS;
use super::tile::Growth;
use crate::disk::{Disk, RealDisk};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

/// Copies the log in `from` to the new folder `to`, up to the newest signed checkpoint, and checks it on the way: the copy
/// holds the entries that the checkpoint covers, the tiles that follow from them, and the keys of persons. Durable on return.
pub fn copy(from: &Path, to: &Path) -> Result<Checkpoint, AuditError> {
    let folder = Folder::open(from)?;
    // What witnesses have seen is never ahead of the checkpoint that is read after it.
    let cosigned = read_file(from, COSIGNED)?;
    // The checkpoint first: entries are only ever added, so those that it covers are all there.
    let (checkpoint, note) = folder.checkpoint()?;
    let io = |source| AuditError::io(to, source);
    fs::create_dir_all(to).map_err(io)?;
    let growth = copy_entries(from, to, checkpoint.size)?;
    if growth.root() != checkpoint.root {
        let what = "its entries are not those that the checkpoint was signed over; `dugnad audit verify` names the entry";
        return Err(AuditError::damaged(ENTRIES, what));
    }
    for (tile, bytes) in growth.partials() {
        replace(&RealDisk, to, &tile.path(), &bytes).map_err(io)?;
    }
    for (file, bytes) in [(COSIGNED, cosigned), (KEYS, read_file(from, KEYS)?), (ROTATIONS, read_file(from, ROTATIONS)?)] {
        if let Some(bytes) = bytes {
            write_private(&to.join(file), &bytes).map_err(|e| AuditError::io(&to.join(file), e))?;
        }
    }
    replace(&RealDisk, to, PUBLIC_KEY, format!("{}\n", folder.verifier_key()).as_bytes()).map_err(io)?;
    replace(&RealDisk, to, CHECKPOINT, note.as_bytes()).map_err(io)?;
    RealDisk.sync_folder(to).map_err(io)?;
    Ok(checkpoint)
}

/// Writes a file that its owner only can read.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Copies the first `size` entries and writes the full tiles over them.
fn copy_entries(from: &Path, to: &Path, size: u64) -> Result<Growth, AuditError> {
    let (source, target) = (from.join(ENTRIES), to.join(ENTRIES));
    let unreadable = |e| AuditError::io(&source, e);
    let unwritable = |e| AuditError::io(&target, e);
    let mut reader = BufReader::with_capacity(1 << 20, File::open(&source).map_err(unreadable)?);
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut writer = BufWriter::with_capacity(1 << 20, options.open(&target).map_err(unwritable)?);
    let mut header = Vec::new();
    reader.by_ref().take(FILE_HEADER.len() as u64).read_to_end(&mut header).map_err(unreadable)?;
    if header != FILE_HEADER {
        return Err(AuditError::damaged(ENTRIES, "its first line is not that of an audit log"));
    }
    writer.write_all(FILE_HEADER).map_err(unwritable)?;
    let (mut growth, mut bytes) = (Growth::default(), Vec::new());
    while growth.size() < size {
        let at = growth.size();
        let damaged = |what: &str| AuditError::damaged(format!("{ENTRIES}, entry {at}"), what);
        let record = record::read(&mut reader).map_err(unreadable)?;
        let record = record.ok_or_else(|| damaged("the file ends before it"))?.map_err(|flaw| damaged(flaw.describe()))?;
        bytes.clear();
        record::encode(&mut bytes, record.index, record.group, &record.salt, &record.json);
        writer.write_all(&bytes).map_err(unwritable)?;
        let mut full = Vec::new();
        growth.push(record.commitment, |tile, bytes| full.push((tile, bytes)));
        for (tile, bytes) in full {
            replace(&RealDisk, to, &tile.path(), &bytes).map_err(unwritable)?;
        }
    }
    writer.into_inner().map_err(|e| unwritable(e.into_error()))?.sync_all().map_err(unwritable)?;
    Ok(growth)
}
