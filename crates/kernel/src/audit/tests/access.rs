//! Accesses: intent and completion, how often the disk is synced for them, and what a crash between them leaves.

use super::super::disk::{Disk, RealDisk};
use super::super::{ASSUMED, Act, Entry, Log, Persons};
use super::{at, copy_folder, entry, open, open_with, options};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Counts, and can hold the syncs back.
#[derive(Default)]
struct CountingDisk {
    syncs: AtomicU64,
    appends: AtomicU64,
    slow_ms: AtomicU64,
}

impl Disk for CountingDisk {
    fn append(&self, entries: &File, bytes: &[u8]) -> io::Result<()> {
        RealDisk.append(entries, bytes)?;
        self.appends.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn sync(&self, entries: &File) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(self.slow_ms.load(Ordering::SeqCst)));
        self.syncs.fetch_add(1, Ordering::SeqCst);
        RealDisk.sync(entries)
    }
}

fn counted(dir: &Path) -> (Log, Arc<CountingDisk>) {
    let disk = Arc::new(CountingDisk::default());
    let log = open_with(dir, options().disk(disk.clone())).unwrap();
    disk.syncs.store(0, Ordering::SeqCst);
    disk.appends.store(0, Ordering::SeqCst);
    (log, disk)
}

fn intent(number: u64) -> Entry {
    Entry { act: Act::Intent, request: Some("SELECT 1".into()), tables: vec!["t".into()], permit: Some("p".into()), ..entry(number) }
}

fn completion(number: u64) -> Entry {
    Entry { act: Act::Completion, rows: Some(1), outcome: Some("ok".into()), ..entry(number) }
}

/// Begins, and waits until the intent is in the file.
fn begin(log: &Log, disk: &CountingDisk, number: u64) -> (super::super::Access, mpsc::Receiver<u64>) {
    let before = disk.appends.load(Ordering::SeqCst);
    let (sender, receiver) = mpsc::channel();
    let access = log.begin_then(&intent(number), Box::new(move |result| _ = sender.send(result.unwrap())));
    while disk.appends.load(Ordering::SeqCst) == before {
        std::thread::yield_now();
    }
    (access, receiver)
}

fn complete(log: &Log, access: super::super::Access, entry: &Entry) -> u64 {
    let (sender, receiver) = mpsc::channel();
    log.complete_then(access, entry, None, Box::new(move |result| sender.send(result.unwrap()).unwrap()));
    receiver.recv().unwrap()
}

#[test]
fn a_small_access_costs_one_sync_for_both_of_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let (log, disk) = counted(dir.path());
    let mut shared = 0;
    for number in 0..50 {
        let before = disk.syncs.load(Ordering::SeqCst);
        let access = log.begin_then(&intent(number), Box::new(|result| _ = result.unwrap()));
        assert_eq!(complete(&log, access, &completion(number)), 2 * number + 1);
        // Whoever is held up between the two for longer than an intent may stand unsynced pays twice.
        shared += u64::from(disk.syncs.load(Ordering::SeqCst) == before + 1);
    }
    assert!(shared >= 25, "{shared} of 50 accesses took one sync");
    assert_eq!(log.entries(7, 1).unwrap()[0].1.intent, Some(6), "the log puts in the index of the intent");
}

#[test]
fn two_ordinary_entries_cost_two() {
    let dir = tempfile::tempdir().unwrap();
    let (log, disk) = counted(dir.path());
    log.append(&entry(0)).unwrap();
    log.append(&entry(1)).unwrap();
    assert_eq!(disk.syncs.load(Ordering::SeqCst), 2);
}

#[test]
fn an_intent_that_is_alone_is_synced_by_itself_or_when_somebody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (log, disk) = counted(dir.path());
    let (_, durable) = begin(&log, &disk, 0);
    assert_eq!(durable.recv(), Ok(0));
    let (_, durable) = begin(&log, &disk, 1);
    log.flush();
    assert_eq!(durable.recv(), Ok(1));
}

/// The intent is in the file as soon as it is taken: it outlives the process, though nothing was synced.
#[test]
fn a_crash_before_the_sync_leaves_the_intent() {
    let dir = tempfile::tempdir().unwrap();
    let (log, disk) = counted(dir.path());
    disk.slow_ms.store(300, Ordering::SeqCst);
    let _under_way = begin(&log, &disk, 0);
    assert_eq!(log.size(), 0, "it is not durable yet");
    let crashed = tempfile::tempdir().unwrap();
    copy_folder(dir.path(), crashed.path());
    let log = open(crashed.path());
    assert_eq!((log.recovery().entries, log.recovery().assumed, log.size()), (1, 1, 2));
}

#[test]
fn a_crash_between_intent_and_completion_assumes_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let rows = log.begin_then(&intent(0), Box::new(|_| ()));
    log.begin_then(&Entry { epoch: Some("2026-11-22".into()), ..intent(1) }, Box::new(|_| ()));
    let done = log.begin_then(&intent(2), Box::new(|_| ()));
    complete(&log, done, &completion(2));
    let crashed = tempfile::tempdir().unwrap();
    copy_folder(dir.path(), crashed.path());
    complete(&log, rows, &completion(0));
    drop(log);
    let log = open(crashed.path());
    assert_eq!(log.recovery().assumed, 2);
    let assumed: Vec<Entry> = log.entries(4, 9).unwrap().into_iter().map(|(_, entry)| entry).collect();
    let [rows, statistics] = assumed.as_slice() else { panic!("{assumed:?}") };
    assert_eq!((rows.act, rows.intent, rows.outcome.as_deref()), (Act::Completion, Some(0), Some(ASSUMED)));
    assert_eq!((rows.persons.clone(), rows.permit.as_deref(), rows.at), (Some(Persons::Everyone { everyone: true }), Some("p"), at(0)));
    assert_eq!((statistics.intent, statistics.persons.clone()), (Some(1), None), "statistics name nobody");
    drop(log);
    assert_eq!(open(crashed.path()).recovery().assumed, 0, "it is said once");
    assert!(super::verify_ok(crashed.path()));
}

#[test]
fn an_access_of_a_log_that_cannot_be_written_is_told_so() {
    struct Broken;
    impl Disk for Broken {
        fn sync(&self, _: &File) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    struct Later(AtomicU64);
    impl Disk for Later {
        fn sync(&self, entries: &File) -> io::Result<()> {
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 { RealDisk.sync(entries) } else { Broken.sync(entries) }
        }
    }
    let log = open_with(dir.path(), options().disk(Arc::new(Later(AtomicU64::new(0))))).unwrap();
    let (sender, receiver) = mpsc::channel();
    let also = sender.clone();
    let access = log.begin_then(&intent(0), Box::new(move |result| also.send(result.is_ok()).unwrap()));
    log.complete_then(access, &completion(0), None, Box::new(move |result| sender.send(result.is_ok()).unwrap()));
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [false, false]);
    assert!(log.is_stopped());
}
