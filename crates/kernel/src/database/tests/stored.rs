//! Live tables on disk: whatever is sealed, stored, merged, damaged or read again, the rows are those of the journal.

use super::*;
use crate::live::{Damaged, TableSnapshot, Tuning};
use proptest::prelude::*;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Segments and logs so small that a few dozen writes make many of them.
const SMALL: Tuning = Tuning { segment_rows: 16, checkpoint_log_bytes: 1_500 };

pub(super) fn real_disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

pub(super) fn open_small(dir: &Path, clock: &Arc<ManualClock>) -> Database {
    Database::open_tuned(dir, Arc::clone(clock) as Arc<dyn Clock>, SMALL, &real_disk(), &mut |_, _| {}).expect("the database opens")
}

pub(super) fn small() -> Bench {
    let dir = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::new("2026-11-21T12:00:00Z".parse().unwrap()));
    let database = open_small(dir.path(), &clock);
    let hospital = database.register_holder("OUS Radiumhospitalet").unwrap().id;
    Bench { dir, clock, database, hospital }
}

fn observation(id: usize, value: usize) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"o{id}","status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"c{}"}}],"text":"text number {value} that is longer than a view"}},"subject":{{"reference":"Patient/p{}"}},"valueQuantity":{{"value":{value}.5}}}}"#,
        value % 3,
        id % 7
    )
}

fn files(bench: &Bench, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bench.dir.path().join("live")).unwrap();
    let mut found: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.to_string_lossy().ends_with(ending)).collect();
    found.sort();
    found
}

/// The same without those that a reader has kept from being removed: no manifest names them any more.
fn named_files(bench: &Bench, ending: &str) -> Vec<PathBuf> {
    let manifest = std::fs::read_to_string(bench.dir.path().join("live/manifest")).unwrap();
    let segment = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().trim_end_matches(".ends").to_owned();
    files(bench, ending).into_iter().filter(|file| manifest.contains(&segment(file))).collect()
}

/// Waits until `done`, at most some seconds.
pub(super) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, usize),
    Delete(usize),
    Patient(usize, bool),
    Close,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..20, any::<u8>()).prop_map(|(id, value)| Step::Put(id, value.into())),
        2 => (0usize..20).prop_map(Step::Delete),
        3 => (0usize..7, any::<bool>()).prop_map(|(id, male)| Step::Patient(id, male)),
        1 => Just(Step::Close),
        1 => Just(Step::Crash),
    ]
}

fn take(bench: &mut Bench, step: &Step, reopen: bool) {
    match step {
        Step::Put(id, value) => drop(bench.put(&observation(*id, *value)).unwrap()),
        Step::Patient(id, male) => drop(bench.put(&patient(&format!("p{id}"), if *male { "male" } else { "female" })).unwrap()),
        Step::Delete(id) => {
            let (resource_type, id) = ("Observation".to_owned(), format!("o{id}"));
            drop(bench.write(Interaction::Delete { resource_type, id, if_match: None }).unwrap());
        }
        Step::Close | Step::Crash if !reopen => {}
        Step::Close | Step::Crash => {
            if matches!(step, Step::Close) {
                bench.database.close();
            }
            let elsewhere = TempDir::new().unwrap();
            // The last clone goes, and with it the committer: as a crash between two groups, without the last checkpoint.
            drop(std::mem::replace(&mut bench.database, open(elsewhere.path(), &bench.clock)));
            let other = std::mem::replace(&mut bench.database, open_small(bench.dir.path(), &bench.clock));
            other.close();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn tables_on_disk_have_the_rows_of_tables_in_memory_at_every_commit(steps in prop::collection::vec(step(), 1..120)) {
        let (mut stored, mut memory) = (small(), bench());
        for step in &steps {
            take(&mut stored, step, true);
            take(&mut memory, step, false);
            prop_assert_eq!(stored.database.snapshot().first_difference(&memory.database.snapshot()), None);
        }
        for commit in 0..=memory.database.snapshot().commit().0 {
            let (a, b) = (stored.database.snapshot_at(Commit(commit)).unwrap(), memory.database.snapshot_at(Commit(commit)).unwrap());
            prop_assert_eq!(a.unwrap().first_difference(&b.unwrap()), None, "as of commit {}", commit);
        }
        prop_assert_eq!(stored.database.counters(), memory.database.counters());
    }
}

#[test]
fn updates_move_ended_rows_into_a_history_and_old_files_go_when_nobody_reads_them() {
    let mut bench = small();
    let mut early = None;
    for round in 0..60 {
        for id in 0..10 {
            bench.put(&observation(id, round)).unwrap();
        }
        if round == 5 {
            early = Some(bench.database.snapshot());
        }
    }
    let early = early.unwrap();
    assert_eq!(count(&early, "observation"), 10, "a snapshot that is held goes on showing its rows");
    take(&mut bench, &Step::Close, true);
    assert_eq!(count(&bench.database.snapshot(), "observation"), 10);
    let again = bench.database.snapshot_at(early.commit()).unwrap().unwrap();
    assert_eq!(again.first_difference(&early), None, "after merges and a restart");
    let looked_at = || {
        let parts = bench.database.snapshot().table("observation").unwrap().parts();
        parts.iter().map(crate::live::Part::len).sum::<usize>()
    };
    let round = std::cell::Cell::new(60);
    wait_until("600 rows were written, and a scan of the newest commit looks at fewer than 120", || {
        round.set(round.get() + 1);
        bench.put(&observation(3, round.get())).unwrap();
        looked_at() < 120
    });
    take(&mut bench, &Step::Close, true);
    let files_now = files(&bench, ".segment").len();
    // Of two tables: the view's and that of the search values.
    assert!(files_now < 2 * 3 * 600 / SMALL.segment_rows, "600 rows are in {files_now} files");
    assert!(files(&bench, ".log").len() <= 2, "logs: {:?}", files(&bench, ".log"));
}

/// Reads everything of all tables; what is damaged, if something is.
fn read_all(database: &Database) -> Vec<(String, Damaged)> {
    let snapshot = database.snapshot();
    let mut found = Vec::new();
    for table in snapshot.tables().iter().chain(snapshot.hidden_table("search:Observation")) {
        let all: Vec<usize> = (0..table.schema().columns.len()).collect();
        for part in table.parts() {
            if let Err(damaged) = part.scan(&all, &RowFilter { without_patient: true, ..RowFilter::default() }) {
                found.push((table.schema().name.clone(), damaged));
            }
        }
    }
    found
}

#[test]
fn a_flipped_bit_in_any_file_is_found_named_and_mended_from_the_journal() {
    let mut bench = small();
    for round in 0..4 {
        for id in 0..12 {
            bench.put(&observation(id, round)).unwrap();
        }
    }
    bench.database.close();
    let files = [files(&bench, ".segment"), files(&bench, ".ends"), vec![bench.dir.path().join("live/manifest")]].concat();
    assert!(files.len() > 3, "{files:?}");
    let healthy = bench.database.snapshot();
    let mut lazily = 0;
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        for at in (0..bytes.len()).step_by(bytes.len() / 9 + 1) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            // Another file: the one that is there is mapped by `healthy`.
            std::fs::remove_file(file).unwrap();
            std::fs::write(file, &damaged).unwrap();
            let copy = TempDir::new().unwrap();
            copy_folder(bench.dir.path(), copy.path());
            let database = open_small(copy.path(), &bench.clock);
            for (table, damaged) in read_all(&database) {
                lazily += 1;
                assert!(file.to_string_lossy().ends_with(&damaged.file), "{damaged} names the file");
                database.report_damage(&table);
                wait_until("the table to be mended", || read_all(&database).is_empty());
            }
            assert_eq!(database.snapshot().first_difference(&healthy), None, "{} with byte {at} changed", file.display());
            database.close();
        }
        std::fs::remove_file(file).unwrap();
        std::fs::write(file, &bytes).unwrap();
    }
    assert!(lazily > 0, "some damage shows only when a column is read");
    bench.database = open_small(bench.dir.path(), &bench.clock);
}

/// A disk that has no room for the files of the live tables while it is told so.
#[derive(Default)]
struct FullDisk(AtomicBool);

impl Disk for FullDisk {
    fn append(&self, path: &Path, file: &File, bytes: &[u8]) -> std::io::Result<()> {
        let full = self.0.load(Ordering::Relaxed);
        RealDisk.append(path, file, if full { &bytes[..bytes.len() / 2] } else { bytes })?;
        if full { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[test]
fn a_full_disk_stops_no_write_and_when_it_has_room_again_the_next_checkpoint_stores_everything() {
    let (mut bench, memory) = (small(), bench());
    bench.database.close();
    let full = Arc::new(FullDisk::default());
    let (clock, disk) = (Arc::clone(&bench.clock) as Arc<dyn Clock>, Arc::clone(&full) as Arc<dyn Disk>);
    bench.database = Database::open_tuned(bench.dir.path(), clock, SMALL, &disk, &mut |_, _| {}).unwrap();
    let written = std::cell::Cell::new(0);
    let write = |count: usize| {
        for n in written.get()..written.get() + count {
            [&bench, &memory].iter().for_each(|b| drop(b.put(&observation(n % 50, n)).unwrap()));
        }
        written.set(written.get() + count);
    };
    let stored = || live::store::open(Folder::new(&bench.dir.path().join("live"), &real_disk()), &[], SMALL).unwrap().commit;
    write(60);
    full.0.store(true, Ordering::Relaxed);
    write(200);
    assert_eq!(bench.database.snapshot().first_difference(&memory.database.snapshot()), None);
    let commit = bench.database.snapshot().commit();
    assert!(stored() < commit);
    wait_until("the failure", || bench.database.live_health().unwrap().is_failing());
    full.0.store(false, Ordering::Relaxed);
    wait_until("a checkpoint", || {
        write(1);
        stored() > commit
    });
    let health = bench.database.live_health().unwrap();
    wait_until("the end of the failure", || !health.is_failing());
    assert!(health.failures() > 0);
    // What is on disk is whole: it is opened without the journal's help up to there.
    let wanted: Vec<_> = Wanted::builtin().iter().map(Wanted::named).collect();
    bench.database.close();
    let opened = live::store::open(Folder::new(&bench.dir.path().join("live"), &real_disk()), &wanted, SMALL).unwrap();
    let alone = Snapshot::new(opened.commit, Timestamp::UNIX_EPOCH, opened.tables.iter().map(|t| t.snapshot(opened.commit)));
    assert_eq!(alone.first_difference(&memory.database.snapshot()), None);
    assert!(files(&bench, ".new").is_empty() && files(&bench, ".log").len() == 1, "nothing is left over");
}

/// What the folder of the live tables has of `healthy`: which tables, and whether they are the same but for what names the damaged
/// file.
fn look_at(bench: &Bench, file: &str, healthy: &Snapshot) -> Result<Vec<String>, String> {
    let wanted: Vec<_> = Wanted::builtin().iter().map(Wanted::named).collect();
    let opened = live::store::open(Folder::new(&bench.dir.path().join("live"), &real_disk()), &wanted, SMALL).unwrap();
    let alone = |table: TableSnapshot| Snapshot::new(healthy.commit(), healthy.time(), [table]);
    for table in &opened.tables {
        // A hidden table without rows is in no snapshot.
        let name = &table.schema().name;
        let there = healthy.table(name).or_else(|| healthy.hidden_table(name)).cloned();
        let same = Snapshot::new(healthy.commit(), healthy.time(), there);
        match alone(table.snapshot(opened.commit)).first_difference(&same) {
            Some(difference) if !difference.contains(file) => return Err(difference),
            _ => {}
        }
    }
    Ok(opened.tables.iter().map(|t| t.schema().name.clone()).collect())
}

#[test]
fn a_file_that_is_cut_or_changed_anywhere_is_the_same_or_named() {
    let bench = small();
    for round in 0..4 {
        (0..5).for_each(|id| drop(bench.put(&observation(id, round)).unwrap()));
    }
    bench.put(&patient("p1", "female")).unwrap();
    bench.database.close();
    let healthy = bench.database.snapshot();
    let all = look_at(&bench, "no file", &healthy).unwrap().len();
    for file in [named_files(&bench, ".segment"), named_files(&bench, ".ends"), files(&bench, "manifest")].concat() {
        let (bytes, name) = (std::fs::read(&file).unwrap(), file.file_name().unwrap().to_string_lossy().into_owned());
        let look = |other: &[u8], what: &str| {
            std::fs::remove_file(&file).unwrap(); // the one that is there may be mapped
            std::fs::write(&file, other).unwrap();
            look_at(&bench, &name, &healthy).unwrap_or_else(|difference| panic!("{name} {what}: {difference}"))
        };
        let every = bytes.len().div_ceil(1_500);
        for length in (0..bytes.len()).step_by(every) {
            let found = look(&bytes[..length], &format!("cut to {length} bytes")).len();
            // The last column's values may be all that is lacking; that shows when they are read.
            assert!(found < all || name.ends_with(".segment"), "{name} cut to {length} bytes is taken");
        }
        for (at, bit) in (0..bytes.len()).step_by(every).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut other = bytes.clone();
            other[at] ^= 1 << bit;
            let found = look(&other, &format!("with bit {bit} of byte {at} changed")).len();
            assert!(found < all || name.ends_with(".segment"), "{name} with bit {bit} of byte {at} changed is taken");
        }
        assert_eq!(look(&bytes, "as it was").len(), all);
    }
}

/// A file of ends that was removed counted as "no row has ended", so that replaced and deleted versions came back; and so did one of
/// an earlier checkpoint that was put in its place.
#[test]
fn a_file_of_ends_that_is_gone_or_older_is_found_and_its_table_is_built_anew() {
    let mut bench = small();
    let reopen = |bench: &mut Bench| bench.database = open_small(bench.dir.path(), &bench.clock);
    let write = |bench: &Bench, rounds: std::ops::Range<usize>| {
        for round in rounds {
            (0..5).for_each(|id| drop(bench.put(&observation(id, round)).unwrap()));
        }
    };
    write(&bench, 0..2);
    bench.database.close();
    let earlier: Vec<_> = files(&bench, ".ends").into_iter().map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect();
    reopen(&mut bench);
    write(&bench, 2..3);
    bench.database.close();
    let healthy = bench.database.snapshot();
    let all = look_at(&bench, "no file", &healthy).unwrap().len();
    let ends = named_files(&bench, ".ends");
    assert!(!ends.is_empty());
    for file in ends {
        let bytes = std::fs::read(&file).unwrap();
        let old = earlier.iter().find(|(name, old)| *name == file && *old != bytes).map(|(_, old)| old.clone());
        for instead in [None].into_iter().chain(old.map(Some)) {
            let put = |bytes: Option<&[u8]>| match bytes {
                Some(bytes) => std::fs::write(&file, bytes).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            };
            put(instead.as_deref());
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(look_at(&bench, &name, &healthy).unwrap().len(), all - 1, "{name}");
            put(Some(&bytes));
        }
        assert_eq!(look_at(&bench, "no file", &healthy).unwrap().len(), all);
    }
    // With the journal, the table is what it was.
    files(&bench, ".ends").iter().for_each(|file| std::fs::remove_file(file).unwrap());
    reopen(&mut bench);
    assert_eq!(bench.database.snapshot().first_difference(&healthy), None);
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn an_older_journal_beside_newer_tables_is_refused() {
    let bench = small();
    bench.put(&patient("p1", "female")).unwrap();
    bench.database.close();
    let older = TempDir::new().unwrap();
    copy_folder(bench.dir.path(), older.path());
    let bench = Bench { database: open_small(bench.dir.path(), &bench.clock), ..bench };
    bench.put(&patient("p2", "female")).unwrap();
    bench.database.close();
    std::fs::copy(older.path().join("journal.sqlite"), bench.dir.path().join("journal.sqlite")).unwrap();
    let clock = Arc::clone(&bench.clock) as Arc<dyn Clock>;
    let refused = Database::open_tuned(bench.dir.path(), clock, SMALL, &real_disk(), &mut |_, _| {}).err().expect("it is refused");
    assert!(refused.to_string().contains("the journal is an older one"), "{refused}");
}
