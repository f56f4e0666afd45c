#![expect(clippy::unwrap_used, reason = "tests")]

use super::Persons;
use crate::audit::{Act, Entry, Log, Options, PersonAccess, verify};
use crate::clock::ManualClock;
use crate::ids::PatientOrdinal;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use proptest::prelude::*;
use rand::SeedableRng as _;
use roaring::RoaringBitmap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn open(dir: &Path) -> Log {
    // Never the same twice: a log that is opened again draws other numbers.
    static OPENED: AtomicU64 = AtomicU64::new(7);
    let random = || Box::new(rand_chacha::ChaCha20Rng::seed_from_u64(OPENED.fetch_add(1, Ordering::Relaxed)));
    let options = Options::new(random()).secrets(random()).interval(Duration::from_secs(100_000));
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap()));
    Log::open_with(dir, "dugnad.example/audit", SigningKey::from_bytes(&[1; 32]), clock, options).unwrap()
}

fn set(patients: impl IntoIterator<Item = u32>) -> Arc<RoaringBitmap> {
    Arc::new(patients.into_iter().collect())
}

/// An access that delivers a set; the index of its completion.
fn deliver(log: &Log, set: &Arc<RoaringBitmap>) -> u64 {
    let entry = |act| Entry::new(Timestamp::from_second(1_800_000_000).unwrap(), act, "user", "authority");
    let (sender, receiver) = mpsc::channel();
    let access = log.begin_then(&entry(Act::Intent), Box::new(drop));
    log.complete_then(access, &entry(Act::Completion), Some(set), Box::new(move |result| sender.send(result.unwrap()).unwrap()));
    receiver.recv().unwrap()
}

fn who(log: &Log, patient: u32) -> Vec<u64> {
    let found = log.who(&[PatientOrdinal(patient)]).unwrap();
    assert!(found.iter().all(|found| found.certain));
    found.into_iter().map(|found| found.entry).collect()
}

fn bytes_of_log(dir: &Path) -> u64 {
    fs::metadata(dir.join("entries.log")).unwrap().len()
}

/// A set in each of the forms that sets are recorded in.
fn sets() -> Vec<Arc<RoaringBitmap>> {
    vec![
        set([3]),
        set(5..40),
        set((0..70).map(|n| n * 100)),                // names in an entry of their own
        set((0..70).map(|n| n * 100).chain([9_999])), // its difference
        set(0..9_000),                                // bits
        set((0..9_000).filter(|n| *n != 5)),          // their difference
        set(0..9_000),                                // the same again
        set((0..9_000).chain([9_500])),
        set((0..20_000).filter(|n| n % 2 == 1)),
        set([]),
    ]
}

#[test]
fn who_read_whose_data_is_exact_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let delivered: Vec<_> = sets().into_iter().map(|set| (deliver(&log, &set), set)).collect();
    let check = |log: &Log| {
        for patient in [0, 1, 3, 5, 6, 39, 40, 100, 101, 6_900, 8_999, 9_000, 9_500, 9_999, 19_999, 20_000, 1_000_000] {
            let expected: Vec<u64> = delivered.iter().filter(|(_, set)| set.contains(patient)).map(|(entry, _)| *entry).collect();
            assert_eq!(who(log, patient), expected, "patient {patient}");
        }
    };
    check(&log);
    drop(log);
    check(&open(dir.path()));
    assert!(verify(dir.path(), None).is_ok());
    // The log names nobody by their ordinal: a set looks different each time.
    let entries = open(dir.path()).entries(0, 1_000).unwrap();
    let named = |index: u64| entries[index as usize].1.persons.clone();
    assert!(matches!(named(1), Some(Persons::Named { count: 1, .. })));
    assert!(entries.iter().any(|(_, entry)| matches!(entry.persons, Some(Persons::Bits { .. }))));
    assert!(entries.iter().any(|(_, entry)| matches!(entry.persons, Some(Persons::Changed { base: Some(_), .. }))));
    assert!(entries.iter().any(|(_, entry)| matches!(entry.persons, Some(Persons::Changed { base: None, .. }))));
}

#[test]
fn several_patients_of_one_person_are_asked_for_together() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let entries = [deliver(&log, &set([1, 2])), deliver(&log, &set([2])), deliver(&log, &set([4]))];
    let found = log.who(&[PatientOrdinal(1), PatientOrdinal(2)]).unwrap();
    let certain = |entry| PersonAccess { entry, certain: true };
    assert_eq!(found, [certain(entries[0]), certain(entries[1])]);
}

/// A million persons cost 125 kB once (in base64 a third more), and next to nothing when the same question is asked again.
#[test]
fn large_sets_are_small_on_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let all: RoaringBitmap = (0..200_000).filter(|n| n % 5 != 0).collect();
    let empty = bytes_of_log(dir.path());
    deliver(&log, &Arc::new(all.clone()));
    let first = bytes_of_log(dir.path()) - empty;
    assert!(first < 200_000 / 8 * 4 / 3 * 103 / 100 + 1_000, "{first} bytes");
    let mut later = all;
    for newest in 0..20 {
        later.insert(200_001 + newest);
        let before = bytes_of_log(dir.path());
        deliver(&log, &Arc::new(later.clone()));
        let added = bytes_of_log(dir.path()) - before;
        assert!(added < 1_500, "{added} bytes for a set that differs by {} persons", newest + 1);
    }
    assert_eq!(who(&log, 200_005).len(), 16);
    assert_eq!(who(&log, 6).len(), 21);
}

#[test]
fn an_erasure_makes_what_the_log_says_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for set in sets() {
        deliver(&log, &set);
    }
    assert_eq!((who(&log, 3).len(), who(&log, 6).len()), (6, 5));
    assert_eq!(log.forget(&[PatientOrdinal(3), PatientOrdinal(70_000)]).unwrap(), 1);
    assert_eq!(log.forget(&[PatientOrdinal(3)]).unwrap(), 0, "once is enough");
    assert_eq!((who(&log, 3).len(), who(&log, 6).len()), (0, 5));
    // Somebody who was erased while an answer with them was under way.
    deliver(&log, &set([3, 6]));
    deliver(&log, &set(0..9_000));
    assert_eq!((who(&log, 3).len(), who(&log, 6).len()), (0, 7));
    drop(log);
    let log = open(dir.path());
    assert_eq!((who(&log, 3).len(), who(&log, 6).len()), (0, 7));
    let keys = fs::read(dir.path().join("persons.keys")).unwrap();
    assert_eq!(keys[24 + 3 * 16..24 + 4 * 16], [0; 16]);
    assert_ne!(keys[24 + 4 * 16..24 + 5 * 16], [0; 16]);
}

/// Ordinals that a restore took back are given to other Patients.
#[test]
fn a_restore_separates_patients_of_one_ordinal() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let before = deliver(&log, &set([10, 20]));
    let restore = Entry { patients: Some(15), ..Entry::new(Timestamp::UNIX_EPOCH, Act::Administration, "operator", "centre") };
    log.append(&restore).unwrap();
    let after = deliver(&log, &set([10, 20]));
    let check = |log: &Log| assert_eq!((who(log, 10), who(log, 20)), (vec![before, after], vec![after]));
    check(&log);
    drop(log);
    check(&open(dir.path()));
}

#[test]
fn keys_that_cannot_be_written_are_told_to_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fs::create_dir(dir.path().join("persons.keys")).unwrap();
    let access = log.begin_then(&Entry::new(Timestamp::UNIX_EPOCH, Act::Intent, "user", "authority"), Box::new(drop));
    let completion = Entry::new(Timestamp::UNIX_EPOCH, Act::Completion, "user", "authority");
    let (sender, receiver) = mpsc::channel();
    log.complete_then(access, &completion, Some(&set([1])), Box::new(move |result| sender.send(result.is_err()).unwrap()));
    assert!(receiver.recv().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_sets_in_any_order_are_found(
        changes in prop::collection::vec((0u32..3, 0u32..12_000, 0u32..6_000), 1..14),
        asked in prop::collection::vec(0u32..18_000, 6),
        reopened in 0usize..14,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let (mut current, mut delivered) = (RoaringBitmap::new(), Vec::new());
        for (number, (kind, from, length)) in changes.into_iter().enumerate() {
            match kind {
                0 => _ = current.insert_range(from..from + length),
                1 => _ = current.remove_range(from..from + length),
                _ => current = [from].into_iter().collect(),
            }
            if number == reopened {
                drop(log);
                log = open(dir.path());
            }
            let set = Arc::new(current.clone());
            delivered.push((deliver(&log, &set), set));
        }
        for patient in asked {
            let expected: Vec<u64> = delivered.iter().filter(|(_, set)| set.contains(patient)).map(|(entry, _)| *entry).collect();
            prop_assert_eq!(who(&log, patient), expected);
        }
    }
}

/// What asking costs: `cargo test -p dugnad-kernel --lib -- --ignored --nocapture a_million_accesses`.
#[test]
#[ignore = "a measurement, not a check; prints its figures"]
fn a_million_accesses_are_asked_for_one_person() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let entry = |act| Entry::new(Timestamp::UNIX_EPOCH, act, "user", "authority");
    for number in 0..500_000_u32 {
        let access = log.begin_then(&entry(Act::Intent), Box::new(drop));
        log.complete_then(access, &entry(Act::Completion), Some(&set([number % 100_000])), Box::new(drop));
    }
    drop(log);
    for step in ["after opening, with the reading of the beginning", "then"] {
        let begin = std::time::Instant::now();
        let log = open(dir.path());
        println!("opened in {:.3} s", begin.elapsed().as_secs_f64());
        let begin = std::time::Instant::now();
        let found = who(&log, 77).len();
        println!("{step}: {found} accesses found in {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
        let begin = std::time::Instant::now();
        let again = who(&log, 78);
        println!("again: {} in {:.2} ms", again.len(), begin.elapsed().as_secs_f64() * 1e3);
        let begin = std::time::Instant::now();
        for entry in &again {
            log.prove(*entry).unwrap();
        }
        println!("their proofs in {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    }
}
