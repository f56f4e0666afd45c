//! A long log is gone on with from a note; what stands before it is read behind the open log.

use super::super::disk::ENTRIES;
use super::super::resume::RESUME;
use super::super::{Log, verify};
use super::{copy_folder, entry, log_of, open, open_with, options, verifier};
use crate::ids::PatientOrdinal;
use crate::limits::AUDIT_RESUME_ENTRIES;
use std::fs;
use std::path::Path;

const COUNT: u64 = AUDIT_RESUME_ENTRIES + 3_000;

fn same_as_read_whole(log: &Log) {
    for first in [0, 255, AUDIT_RESUME_ENTRIES - 1, AUDIT_RESUME_ENTRIES, COUNT - 2] {
        assert_eq!(log.entries(first, 2).unwrap(), (first..first + 2).map(|n| (n, entry(n))).collect::<Vec<_>>());
        assert_eq!(log.prove(first).unwrap().unwrap().verify(&verifier()).unwrap().size, COUNT);
    }
}

/// Makes the log once; each case changes a copy.
#[test]
fn a_long_log_is_gone_on_with_from_its_note() {
    let base = tempfile::tempdir().unwrap();
    log_of(base.path(), COUNT);
    assert!(verify(base.path(), Some(&verifier())).is_ok());
    let log = open(base.path());
    assert_eq!((log.recovery().entries, log.recovery().passed_over), (COUNT, AUDIT_RESUME_ENTRIES));
    same_as_read_whole(&log);
    assert_eq!(log.who(&[PatientOrdinal(1)]).unwrap(), [], "the beginning is read, and as it was written");
    drop(log);
    a_damaged_note_costs_a_reading(base.path());
    damage_behind_the_note_stops_the_log(base.path());
    damage_after_the_note_keeps_it_closed(base.path());
}

fn copy(base: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(base, dir.path());
    dir
}

fn a_damaged_note_costs_a_reading(base: &Path) {
    let whole = fs::read(base.join(RESUME)).unwrap();
    for at in [0, 30, 40, 70, 100, whole.len() - 1] {
        let dir = copy(base);
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(dir.path().join(RESUME), &changed).unwrap();
        assert!(!verify(dir.path(), Some(&verifier())).is_ok(), "byte {at}");
        let log = open(dir.path());
        assert_eq!((log.recovery().entries, log.recovery().passed_over), (COUNT, 0), "byte {at}");
        same_as_read_whole(&log);
    }
}

fn damage_behind_the_note_stops_the_log(base: &Path) {
    let dir = copy(base);
    let mut bytes = fs::read(dir.path().join(ENTRIES)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(dir.path().join(ENTRIES), bytes).unwrap();
    let log = open(dir.path());
    assert!(log.who(&[PatientOrdinal(1)]).is_err());
    assert!(log.is_stopped(), "nothing more is read or written");
    drop(log);
    assert!(!verify(dir.path(), Some(&verifier())).is_ok());
}

fn damage_after_the_note_keeps_it_closed(base: &Path) {
    let dir = copy(base);
    let mut bytes = fs::read(dir.path().join(ENTRIES)).unwrap();
    let near_the_end = bytes.len() - 1_000;
    bytes[near_the_end] ^= 1;
    fs::write(dir.path().join(ENTRIES), bytes).unwrap();
    assert!(open_with(dir.path(), options()).is_err());
}
