//! Each write and sync is made to fail, twice: "and it did not persist", "and it did". Then the log is opened again: every
//! acknowledged entry is there under its index, and what follows them are whole entries that had been sent.

use super::super::disk::{ENTRIES, UNFINISHED};
use super::super::{AuditError, verify};
use super::{copy_folder, entry, log_of, open, open_with, options, verifier};
use crate::disk::{Disk, RealDisk};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The append writes only its first bytes.
    Append(usize),
    /// The sync fails, and what was appended since the last one is gone.
    SyncLost,
    /// The sync fails, but what was appended is there.
    SyncKept,
    /// A file that is replaced keeps its old content; half of the new one lies about.
    ReplaceLost,
    /// A file that is replaced has its new content, and yet the call fails.
    ReplaceKept,
    /// A file that is to be removed stays.
    RemoveLost,
    /// A file is removed, and yet the call fails.
    RemoveKept,
}

#[derive(Debug)]
struct FaultyDisk {
    fault: Fault,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many operations of the fault's kind still go well; `None` while the log is being opened.
    left: Option<usize>,
    synced: u64,
}

impl FaultyDisk {
    fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self { fault, state: Mutex::default() })
    }

    fn fail_after(&self, successes: usize) {
        self.state.lock().unwrap().left = Some(successes);
    }

    fn fails_now(&self) -> bool {
        match &mut self.state.lock().unwrap().left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

fn failure() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "a test's full disk")
}

impl Disk for FaultyDisk {
    fn append(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()> {
        let kept = match self.fault {
            Fault::Append(kept) if path.ends_with(ENTRIES) && self.fails_now() => kept.min(bytes.len()),
            Fault::ReplaceLost if path.ends_with(UNFINISHED) && self.fails_now() => bytes.len() / 2,
            _ => return RealDisk.append(path, file, bytes),
        };
        RealDisk.append(path, file, &bytes[..kept])?;
        Err(failure())
    }

    fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        if !path.ends_with(ENTRIES) {
            return RealDisk.sync(path, file);
        }
        let fails = matches!(self.fault, Fault::SyncLost | Fault::SyncKept) && self.fails_now();
        let mut state = self.state.lock().unwrap();
        if !fails {
            state.synced = file.metadata()?.len();
            return RealDisk.sync(path, file);
        }
        if self.fault == Fault::SyncLost {
            file.set_len(state.synced)?;
        }
        Err(failure())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)?;
        if self.fault == Fault::ReplaceKept && self.fails_now() { Err(failure()) } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.fault {
            Fault::RemoveLost if self.fails_now() => Err(failure()),
            Fault::RemoveKept if self.fails_now() => RealDisk.remove(path).and(Err(failure())),
            _ => RealDisk.remove(path),
        }
    }
}

/// Runs 4 threads until the fault stops the log, and checks what a new opening finds.
fn acknowledged_entries_survive(fault: Fault, successes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(fault);
    let log = open_with(dir.path(), options().interval(Duration::from_millis(2)).disk(disk.clone())).unwrap();
    disk.fail_after(successes);
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (log, acknowledged) = (&log, &acknowledged);
            scope.spawn(move || {
                for number in 0..100_000 {
                    let sent = entry(thread * 1_000_000 + number);
                    match log.append(&sent) {
                        Ok(index) => acknowledged.lock().unwrap().push((index, sent)),
                        Err(_) => return,
                    }
                }
                panic!("{fault:?} after {successes} did not stop the log");
            });
        }
    });
    assert!(log.is_stopped());
    assert!(matches!(log.append(&entry(0)), Err(AuditError::Stopped)), "stopped for ever");
    drop(log);
    let case = format!("{fault:?} after {successes}");
    let before = verify(dir.path(), Some(&verifier()));
    assert!(before.is_ok(), "{case}: {:?}", before.problems);
    let log = open(dir.path());
    for (index, sent) in acknowledged.into_inner().unwrap() {
        assert_eq!(log.entries(index, 1).unwrap(), [(index, sent)], "{case}");
    }
    let size = log.size();
    assert_eq!(log.append(&entry(9)).unwrap(), size, "{case}");
    drop(log);
    let report = verify(dir.path(), Some(&verifier()));
    assert!(report.is_ok() && report.unfinished_bytes == 0, "{case}: {:?}", report.problems);
}

#[test]
fn an_append_that_fails_after_some_bytes() {
    for successes in [0, 7] {
        for kept in [0, 1, 4, 30, 56, 150, 200, 400, usize::MAX] {
            acknowledged_entries_survive(Fault::Append(kept), successes);
        }
    }
}

#[test]
fn a_sync_that_fails() {
    for successes in [0, 1, 2, 20, 150] {
        acknowledged_entries_survive(Fault::SyncLost, successes);
        acknowledged_entries_survive(Fault::SyncKept, successes);
    }
}

#[test]
fn a_tile_or_checkpoint_that_cannot_be_written() {
    for successes in [0, 1, 2, 3, 4, 7, 11] {
        acknowledged_entries_survive(Fault::ReplaceLost, successes);
        acknowledged_entries_survive(Fault::ReplaceKept, successes);
    }
}

/// Removing went past the disk of the tests, so that nobody knew what a log does that cannot.
#[test]
fn an_old_tile_that_cannot_be_removed() {
    for successes in [0, 1, 2, 5] {
        acknowledged_entries_survive(Fault::RemoveLost, successes);
        acknowledged_entries_survive(Fault::RemoveKept, successes);
    }
}

/// What is on disk when publishing `next` entries ended after `files` files, with `signed` entries under the checkpoint, and with
/// entries up to `end` that came while it was slow.
fn cut_off(sizes: &[(u64, tempfile::TempDir)], (signed, next, end): (u64, u64, u64), files: usize) -> tempfile::TempDir {
    let of = |size: u64| sizes.iter().find(|(count, _)| *count == size).unwrap().1.path();
    let dir = tempfile::tempdir().unwrap();
    copy_folder(of(signed), dir.path());
    let (mut full, mut unfinished): (Vec<String>, Vec<String>) =
        super::files(of(next)).into_iter().filter(|f| f.starts_with("tile")).partition(|f| !f.contains(".p/"));
    full.retain(|file| !dir.path().join(file).exists());
    unfinished.retain(|file| !dir.path().join(file).exists());
    for file in full.iter().chain(&unfinished).take(files) {
        fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
        fs::copy(of(next).join(file), dir.path().join(file)).unwrap();
    }
    fs::copy(of(end).join(ENTRIES), dir.path().join(ENTRIES)).unwrap();
    dir
}

/// Under load, entries went on coming while a tile could not be written: the check then asked for the full form of an unfinished tile that
/// no checkpoint covers, and that was never written.
#[test]
fn publishing_that_ends_anywhere_is_gone_on_with() {
    let counts = [0, 200, 256, 300, 512, 600];
    let sizes: Vec<_> = counts.iter().map(|count| (*count, tempfile::tempdir().unwrap())).collect();
    sizes.iter().for_each(|(count, dir)| log_of(dir.path(), *count));
    for (n, signed) in counts.iter().enumerate() {
        for (m, next) in counts.iter().enumerate().skip(n + 1) {
            for end in counts.iter().skip(m) {
                for files in 0..9 {
                    let dir = cut_off(&sizes, (*signed, *next, *end), files);
                    let case = format!("{signed} signed, {next} cut off after {files} files, {end} entries");
                    let report = verify(dir.path(), Some(&verifier()));
                    assert!(report.is_ok(), "{case}: {:?}", report.problems);
                    drop(open(dir.path()));
                    let report = verify(dir.path(), Some(&verifier()));
                    assert!(report.is_ok() && report.signed == *end, "{case}, opened: {:?}", report.problems);
                }
            }
        }
    }
}

#[test]
fn a_log_that_cannot_sync_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    for fault in [Fault::Append(3), Fault::SyncLost, Fault::ReplaceLost, Fault::ReplaceKept] {
        let disk = FaultyDisk::new(fault);
        disk.fail_after(0);
        let opened = open_with(dir.path(), options().disk(disk));
        assert!(matches!(opened, Err(AuditError::Io { .. })), "{fault:?}");
    }
    assert_eq!(open(dir.path()).size(), 0);
}

/// A kill at any byte of a write: 3 entries are signed, 3 more are not; the file ends anywhere among the latter.
#[test]
fn a_file_that_ends_anywhere_keeps_its_whole_entries() {
    let base = tempfile::tempdir().unwrap();
    log_of(base.path(), 3);
    let signed = fs::metadata(base.path().join("entries.log")).unwrap().len() as usize;
    let live = tempfile::tempdir().unwrap();
    let log = open(base.path());
    let mut ends = vec![signed];
    for number in 3..6 {
        log.append(&entry(number)).unwrap();
        ends.push(fs::metadata(base.path().join("entries.log")).unwrap().len() as usize);
    }
    copy_folder(base.path(), live.path());
    drop(log);
    let whole = fs::read(live.path().join("entries.log")).unwrap();
    for length in signed..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(live.path(), dir.path());
        fs::write(dir.path().join("entries.log"), &whole[..length]).unwrap();
        let kept = ends.iter().filter(|end| **end <= length).count() - 1;
        let cut = (length - ends[kept]) as u64;
        let report = verify(dir.path(), Some(&verifier()));
        assert!(report.is_ok() && report.unfinished_bytes == cut, "{length}: {report:?}");
        let log = open(dir.path());
        let found = log.recovery();
        assert_eq!((found.entries, found.unsigned, found.cut_bytes), (3 + kept as u64, kept as u64, cut), "{length}");
    }
    // One byte less than what was signed is no crash.
    let dir = tempfile::tempdir().unwrap();
    copy_folder(live.path(), dir.path());
    fs::write(dir.path().join("entries.log"), &whole[..signed - 1]).unwrap();
    assert!(matches!(open_with(dir.path(), options()), Err(AuditError::Damaged { .. })));
}

#[test]
fn garbage_at_the_end_is_cut_off_and_damage_before_a_later_group_is_not() {
    let base = tempfile::tempdir().unwrap();
    let log = open(base.path());
    for number in 0..3 {
        log.append(&entry(number)).unwrap();
    }
    let live = tempfile::tempdir().unwrap();
    copy_folder(base.path(), live.path());
    drop(log);
    let whole = fs::read(live.path().join("entries.log")).unwrap();
    let with = |bytes: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(live.path(), dir.path());
        fs::write(dir.path().join("entries.log"), bytes).unwrap();
        open_with(dir.path(), options()).map(|log| (log.size(), log.recovery().cut_bytes))
    };
    assert_eq!(with(&[&whole[..], &[0; 500]].concat()).unwrap(), (3, 500), "a file grown before its data came");
    let mut middle = whole.clone();
    middle[whole.len() / 2] ^= 1;
    assert!(matches!(with(&middle), Err(AuditError::Damaged { .. })), "the third entry was synced after the second");
}

#[test]
fn tiles_that_are_absent_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), 600);
    let complete = super::files(dir.path());
    for path in ["tile/0/001", "tile/0/002.p/88", "tile/entries/000"] {
        fs::remove_file(dir.path().join(path)).unwrap();
    }
    fs::write(dir.path().join(UNFINISHED), "half").unwrap();
    fs::create_dir_all(dir.path().join("tile/1/000.p")).unwrap();
    fs::write(dir.path().join("tile/1/000.p/1"), "left over by a crash").unwrap();
    assert_eq!(open(dir.path()).recovery().rebuilt_tiles, 3);
    assert_eq!(super::files(dir.path()), complete);
    assert!(verify(dir.path(), Some(&verifier())).is_ok());
    fs::remove_dir_all(dir.path().join("tile")).unwrap();
    open(dir.path());
    assert_eq!(super::files(dir.path()), complete);
}

#[test]
fn damage_that_a_checkpoint_covers_keeps_the_log_closed() {
    let base = tempfile::tempdir().unwrap();
    log_of(base.path(), 300);
    for file in super::files(base.path()) {
        let whole = fs::read(base.path().join(&file)).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let dir = tempfile::tempdir().unwrap();
            copy_folder(base.path(), dir.path());
            let mut changed = whole.clone();
            changed[at] ^= 4;
            fs::write(dir.path().join(&file), changed).unwrap();
            let opened = open_with(dir.path(), options());
            assert!(matches!(opened, Err(AuditError::Damaged { .. })), "{file}, byte {at}");
        }
    }
    for file in ["entries.log", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(base.path(), dir.path());
        fs::remove_file(dir.path().join(file)).unwrap();
        assert!(matches!(open_with(dir.path(), options()), Err(AuditError::Damaged { .. })), "{file} removed");
    }
}
