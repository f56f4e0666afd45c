//! A log as it runs, closes and opens again.

use super::super::publish::tick_for_tests;
use super::super::{AuditError, Checkpoint, Folder, Hash, Log, commitment, leaf_hash, verify, verify_consistency, verify_inclusion};
use super::{at, entry, files, log_of, open, open_with, options, verifier};
use crate::clock::ManualClock;
use crate::limits::MAX_AUDIT_ENTRY_BYTES;
use ed25519_dalek::SigningKey;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn checkpoint(log: &Log) -> Checkpoint {
    Checkpoint::open(&log.checkpoint(), &verifier()).unwrap()
}

#[test]
fn a_new_log_has_a_checkpoint_over_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    assert_eq!((log.size(), checkpoint(&log).size), (0, 0));
    assert_eq!(files(dir.path()), ["checkpoint", "entries.log", "key.pub"]);
    assert_eq!(log.entries(0, 10).unwrap(), []);
    assert!(verify(dir.path(), Some(&verifier())).is_ok());
}

#[test]
fn what_was_appended_is_read_back_proved_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), 600);
    assert_eq!(
        files(dir.path()),
        [
            "checkpoint",
            "entries.log",
            "key.pub",
            "tile/0/000",
            "tile/0/001",
            "tile/0/002.p/88",
            "tile/1/000.p/2",
            "tile/entries/000",
            "tile/entries/001",
            "tile/entries/002.p/88"
        ]
    );
    let log = open(dir.path());
    assert_eq!((log.size(), log.recovery().entries, log.recovery().unsigned, log.recovery().cut_bytes), (600, 600, 0, 0));
    assert_eq!(log.entries(254, 4).unwrap(), (254..258).map(|number| (number, entry(number))).collect::<Vec<_>>());
    assert_eq!(log.entries(598, 100).unwrap().len(), 2);
    assert_eq!(log.entries(600, 1).unwrap(), []);
    assert_eq!(log.entries(u64::MAX, 1).unwrap(), []);
    let folder = Folder::open(dir.path()).unwrap();
    assert_eq!(folder.entries(10, 2).unwrap(), [(10, entry(10)), (11, entry(11))]);
    for index in [0, 1, 255, 256, 511, 512, 599] {
        let proof = log.prove(index).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<super::Entry>(&proof.entry).unwrap(), entry(index));
        assert_eq!(proof.verify(&verifier()).unwrap().size, 600);
        assert_eq!(folder.prove(index).unwrap().unwrap(), proof);
        let mut changed = proof.clone();
        changed.entry = changed.entry.replace("authority", "company");
        assert!(changed.verify(&verifier()).is_err());
    }
    assert_eq!(log.prove(600).unwrap(), None);
    let report = verify(dir.path(), Some(&verifier()));
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!((report.entries, report.signed), (600, 600));
}

#[test]
fn the_public_files_are_enough_to_rebuild_the_tree_and_tell_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), 300);
    let log = open(dir.path());
    let bundle =
        [log.public_file("tile/entries/000").unwrap().unwrap(), log.public_file("tile/entries/001.p/44").unwrap().unwrap()].concat();
    let leaves: Vec<Hash> = bundle.as_chunks::<34>().0.iter().map(|leaf| leaf_hash(&leaf[2..])).collect();
    let hashes = [log.public_file("tile/0/000").unwrap().unwrap(), log.public_file("tile/0/001.p/44").unwrap().unwrap()].concat();
    assert_eq!(leaves.iter().flat_map(|leaf| *leaf.bytes()).collect::<Vec<u8>>(), hashes);
    assert_eq!(
        log.public_file("tile/0/001.p/7").unwrap().unwrap(),
        hashes[256 * 32..263 * 32],
        "a shorter form that a checkpoint may have named"
    );
    assert_eq!(log.public_file("tile/0/000.p/200").unwrap().unwrap(), hashes[..200 * 32]);
    assert_eq!(log.public_file("checkpoint").unwrap().unwrap(), log.checkpoint().into_bytes());
    for absent in [
        "tile/0/001",
        "tile/0/001.p/45",
        "tile/0/002.p/1",
        "tile/1/000.p/2",
        "tile/2/000.p/1",
        "entries.log",
        "key.pub",
        "../keys/audit",
        "tile/0/../../entries.log",
    ] {
        assert_eq!(log.public_file(absent).unwrap(), None, "{absent}");
    }
    let proof = log.prove(7).unwrap().unwrap();
    verify_inclusion(&leaves[7], 7, 300, &proof.inclusion, &checkpoint(&log).root).unwrap();
    assert!(!bundle.windows(6).any(|window| window == b"user-7"));
    assert_ne!(leaves[7], leaf_hash(commitment(&[0; 32], proof.entry.as_bytes()).bytes()));
}

#[test]
fn checkpoints_of_two_runs_are_consistent() {
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), 100);
    let log = open(dir.path());
    let old = checkpoint(&log);
    for number in 100..700 {
        log.append_then(&entry(number), Box::new(|result| _ = result.unwrap()));
    }
    log.close();
    let new = checkpoint(&log);
    assert_eq!((old.size, new.size), (100, 700));
    let (size, path) = log.prove_consistency(100).unwrap().unwrap();
    assert_eq!(size, 700);
    verify_consistency(100, 700, &old.root, &new.root, &path).unwrap();
    assert_eq!(log.prove_consistency(701).unwrap(), None);
    assert!(matches!(log.append(&entry(700)), Err(AuditError::Stopped)), "closed");
    drop(log);
    let again = open(dir.path());
    assert_eq!(checkpoint(&again), new);
    assert_eq!(again.recovery().rebuilt_tiles, 0);
}

#[test]
fn many_threads_get_an_index_each_and_find_their_entry_there() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_with(dir.path(), options().interval(Duration::from_millis(5))).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let log = &log;
            scope.spawn(move || {
                for number in 0..100 {
                    let sent = entry(thread * 1000 + number);
                    let index = log.append(&sent).unwrap();
                    assert_eq!(log.entries(index, 1).unwrap(), [(index, sent)]);
                    assert!(checkpoint(log).size <= log.size());
                }
            });
        }
    });
    assert_eq!(log.size(), 800);
    log.close();
    assert_eq!(checkpoint(&log).size, 800);
    let report = verify(dir.path(), None);
    assert!(report.is_ok() && report.entries == 800, "{:?}", report.problems);
}

#[test]
fn a_checkpoint_is_signed_at_the_interval_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_with(dir.path(), options().interval(Duration::from_millis(200))).unwrap();
    log.append(&entry(0)).unwrap();
    let begin = Instant::now();
    while checkpoint(&log).size == 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "no checkpoint came");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The clock stands on a tick, so the next one is a whole interval away.
    assert!(begin.elapsed() >= Duration::from_millis(150), "{:?}", begin.elapsed());
    assert!(verify(dir.path(), Some(&verifier())).is_ok());
}

#[test]
fn ticks_are_whole_multiples_of_the_interval() {
    let second = Duration::from_secs(1);
    assert_eq!(tick_for_tests(5_000_000_000, second), second);
    assert_eq!(tick_for_tests(5_250_000_000, second), Duration::from_millis(750));
    assert_eq!(tick_for_tests(-250_000_000, second), Duration::from_millis(250));
    assert_eq!(tick_for_tests(5, Duration::ZERO), Duration::ZERO);
}

#[test]
fn an_entry_that_is_too_long_is_refused_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut long = entry(0);
    long.request = Some("x".repeat(MAX_AUDIT_ENTRY_BYTES));
    assert!(matches!(log.append(&long), Err(AuditError::TooLong { .. })));
    assert_eq!(log.append(&entry(1)).unwrap(), 0);
}

#[test]
fn a_callback_that_panics_does_not_stop_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.append_then(&entry(0), Box::new(|_| panic!("a test's panic")));
    assert_eq!(log.append(&entry(1)).unwrap(), 1);
}

#[test]
fn a_second_opening_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    assert!(matches!(open_with(dir.path(), options()), Err(AuditError::InUse(_))));
    drop(log);
    open(dir.path());
}

#[test]
fn another_key_or_name_does_not_open_the_log() {
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), 3);
    let clock = Arc::new(ManualClock::new(at(0)));
    let other_key = Log::open_with(dir.path(), super::ORIGIN, SigningKey::from_bytes(&[1; 32]), clock.clone(), options());
    assert!(matches!(other_key, Err(AuditError::Damaged { .. })));
    let other_name = Log::open_with(dir.path(), "other.example/audit", super::signing_key(), clock, options());
    assert!(matches!(other_name, Err(AuditError::Damaged { .. })));
    assert_eq!(open(dir.path()).size(), 3);
}

#[cfg(unix)]
#[test]
fn the_private_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), 1);
    assert_eq!(fs::metadata(dir.path().join("entries.log")).unwrap().permissions().mode() & 0o777, 0o600);
}

/// What an append costs: `cargo test -p dugnad-kernel --lib -- --ignored --nocapture appends_per_second`.
#[test]
#[ignore = "a measurement, not a check; prints its figures"]
fn appends_per_second() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("alone")).unwrap();
    let mut taken_us: Vec<u128> = (0..1000)
        .map(|_| {
            std::io::Write::write_all(&mut &file, &[0; 500]).unwrap();
            let start = Instant::now();
            file.sync_data().unwrap();
            start.elapsed().as_micros()
        })
        .collect();
    taken_us.sort_unstable();
    println!("fdatasync after an append of 500 bytes, alone: p50 {} us, p99 {} us", taken_us[500], taken_us[990]);
    for threads in [1u64, 8, 64] {
        let dir = tempfile::tempdir().unwrap();
        let log = open_with(dir.path(), options().interval(Duration::from_secs(1))).unwrap();
        let begin = Instant::now();
        let mut latencies_us: Vec<u128> = std::thread::scope(|scope| {
            let run = |thread: u64| {
                let log = &log;
                scope.spawn(move || {
                    let mut taken = Vec::new();
                    while begin.elapsed() < Duration::from_secs(5) {
                        let start = Instant::now();
                        log.append(&super::long_entry(thread)).unwrap();
                        taken.push(start.elapsed().as_micros());
                    }
                    taken
                })
            };
            let running: Vec<_> = (0..threads).map(run).collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let seconds = begin.elapsed().as_secs_f64();
        latencies_us.sort_unstable();
        let at = |share: f64| latencies_us[((latencies_us.len() - 1) as f64 * share) as usize];
        println!("{threads} threads: {:.0} entries/s; p50 {} us, p99 {} us", latencies_us.len() as f64 / seconds, at(0.5), at(0.99));
    }
}

/// What opening and checking cost: `cargo test -p dugnad-kernel --lib -- --ignored --nocapture a_million_entries`.
#[test]
#[ignore = "a measurement, not a check; prints its figures"]
fn a_million_entries_opened_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_with(dir.path(), options().interval(Duration::from_secs(1))).unwrap();
    let begin = Instant::now();
    for number in 0..1_000_000 {
        log.append_then(&super::long_entry(number), Box::new(|result| _ = result.unwrap()));
    }
    log.close();
    println!("appended without waiting in {:.1} s", begin.elapsed().as_secs_f64());
    drop(log);
    let megabytes = fs::metadata(dir.path().join("entries.log")).unwrap().len() >> 20;
    let begin = Instant::now();
    let log = open(dir.path());
    println!("opened ({megabytes} MiB) in {:.2} s", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    for number in 0..1000 {
        log.prove(number * 997).unwrap().unwrap();
    }
    println!("a proof in {:.3} ms", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    assert!(verify(dir.path(), Some(&verifier())).is_ok());
    println!("verified in {:.2} s", begin.elapsed().as_secs_f64());
}
