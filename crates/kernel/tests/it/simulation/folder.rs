//! The folders of the databases of stories: opened, copied, and looked through.

use super::request::MARK;
use crate::faults::disk::is_journal;
use dugnad_kernel::clock::{Clock, ManualClock};
use dugnad_kernel::database::{Database, ERASURE_LIST};
use dugnad_kernel::disk::{Disk, RealDisk};
use dugnad_kernel::live::Tuning;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A folder for a database: in memory where the system has such a place, since what is tested here is not the disk.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Small, so that a story has full segments, files of them, merges and histories.
const TUNING: Tuning = Tuning { segment_rows: 6, checkpoint_log_bytes: 1_500 };

/// Opens a database.
pub fn open(dir: &Path, clock: &Arc<ManualClock>) -> Result<Database, String> {
    open_on(&(Arc::new(RealDisk) as Arc<dyn Disk>), dir, clock)
}

/// Opens a database whose files beside the journal are on this disk.
pub fn open_on(disk: &Arc<dyn Disk>, dir: &Path, clock: &Arc<ManualClock>) -> Result<Database, String> {
    let stored = stored(dir);
    let database =
        Database::open_tuned(dir, Arc::clone(clock) as Arc<dyn Clock>, TUNING, disk, &mut |_, _| {}).map_err(|e| e.to_string())?;
    let now = self::stored(dir);
    if now < stored {
        return Err(format!("the live tables, stored up to commit {stored:?}, were built anew: {now:?}"));
    }
    Ok(database)
}

/// The commit up to which the live tables are stored, as their manifest says. Whatever happens to a disk, it names whole files.
fn stored(dir: &Path) -> Option<u64> {
    let manifest = std::fs::read(dir.join("live/manifest")).ok()?;
    serde_json::from_slice::<Value>(manifest.get(9..)?).ok()?["commit"].as_u64()
}

/// Copies what a process that is killed leaves behind. Threads in the background may still be writing: what is copied is what
/// is there twice in a row, so that it has been there at one moment.
pub fn copy(from: &Path, to: &Path) {
    copy_those(from, to, |_| true);
}

/// The same of the journal's files.
pub fn copy_journal(from: &Path, to: &Path) {
    copy_those(from, to, is_journal);
}

fn copy_those(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) {
    let contents = |folder: &Path| {
        let found = contents(folder)?;
        Some(found.into_iter().filter(|(path, _)| wanted(&path.to_string_lossy())).collect::<BTreeMap<_, _>>())
    };
    let mut files = contents(from);
    loop {
        let again = contents(from);
        if again.is_some() && again == files {
            break;
        }
        files = again;
    }
    for (path, bytes) in files.unwrap() {
        let target = to.join(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, bytes).unwrap();
    }
}

/// What is left beside the journal when power was lost: all who are `listed` are on the erasure list, and nothing of what is
/// `gone` is there again.
pub fn check_beside(dir: &Path, listed: &BTreeSet<String>, gone: &BTreeSet<String>) -> Result<(), String> {
    let mut files = contents(dir).unwrap();
    let list = files.remove(Path::new(ERASURE_LIST)).unwrap_or_default();
    if let Some(missing) = listed.iter().find(|person| memchr::memmem::find(&list, person.as_bytes()).is_none()) {
        return Err(format!("{missing} is not on the erasure list: {}", String::from_utf8_lossy(&list)));
    }
    are_gone(gone, files)
}

/// None of these marks is in any of these files.
pub fn are_gone(gone: &BTreeSet<String>, files: BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
    for (path, bytes) in files {
        let found = memchr::memmem::find_iter(&bytes, MARK).filter_map(|at| std::str::from_utf8(bytes.get(at..at + MARK.len() + 8)?).ok());
        if let Some(mark) = found.filter(|mark| gone.contains(*mark)).last() {
            return Err(format!("{} has {mark}, which was erased", path.display()));
        }
    }
    Ok(())
}

/// The files in a folder and those in it, by their paths in it; `None` if one is removed meanwhile. SQLite's index of its log
/// is shared memory, and is not one of them.
pub fn contents(folder: &Path) -> Option<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        let name = PathBuf::from(entry.file_name());
        if entry.file_type().ok()?.is_dir() {
            files.extend(contents(&entry.path())?.into_iter().map(|(path, bytes)| (name.join(path), bytes)));
        } else if !name.to_string_lossy().ends_with("-shm") {
            files.insert(name, std::fs::read(entry.path()).ok()?);
        }
    }
    Some(files)
}
