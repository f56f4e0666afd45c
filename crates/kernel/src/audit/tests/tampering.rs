//! The offline check finds whatever is changed in a copy of the folder.

use super::super::disk::ENTRIES;
use super::super::record;
use super::super::{Checkpoint, Log, Report, VerifierKey, verify, verify_since};
use super::{ORIGIN, at, copy_folder, entry, files, log_of, open, options, signing_key, verifier};
use crate::clock::ManualClock;
use ed25519_dalek::SigningKey;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Flips bits of every `step`th byte of every file; `bits` of each byte.
fn every_change_is_found(count: u64, step: usize, bits: &[u32]) {
    let original = tempfile::tempdir().unwrap();
    log_of(original.path(), count);
    assert_eq!(verify(original.path(), Some(&verifier())).problems, []);
    let dir = tempfile::tempdir().unwrap();
    copy_folder(original.path(), dir.path());
    for file in files(original.path()) {
        let path = dir.path().join(&file);
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        for at in (0..whole.len()).step_by(step) {
            for bit in bits {
                changed[at] ^= 1 << ((at as u32 + bit) % 8);
                fs::write(&path, &changed).unwrap();
                assert!(!verify(dir.path(), Some(&verifier())).is_ok(), "{file}: bit {bit} of byte {at}");
                changed[at] = whole[at];
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(verify(dir.path(), Some(&verifier())).is_ok());
}

#[test]
fn every_changed_byte_of_a_small_log_is_found() {
    every_change_is_found(3, 1, &[0, 3]);
}

#[test]
fn changed_bytes_of_a_log_with_full_tiles_are_found() {
    every_change_is_found(258, 61, &[0]);
}

#[test]
#[ignore = "minutes; every byte instead of every 61st"]
fn every_changed_byte_of_a_log_with_full_tiles_is_found() {
    every_change_is_found(258, 1, &[0]);
    every_change_is_found(3, 1, &[0, 1, 2, 3, 4, 5, 6, 7]);
}

/// A log of 10,000 entries. A changed byte of a record is either no record any more, or one with another commitment or number: which
/// is what the check compares with the signed tree. So a record alone shows whether a change is found, and every byte can be tried;
/// a sample of them is also put through the whole check.
///
/// `DUGNAD_AUDIT_EVERY_BYTE=1` tries every bit of every byte, and each of the tiles' bytes.
#[test]
fn every_changed_byte_of_ten_thousand_entries_is_found() {
    let every = std::env::var_os("DUGNAD_AUDIT_EVERY_BYTE").is_some();
    let original = tempfile::tempdir().unwrap();
    log_of(original.path(), 10_000);
    let whole = fs::read(original.path().join(ENTRIES)).unwrap();
    let (mut at, mut tried) = (record::FILE_HEADER.len(), 0_u64);
    for index in 0..10_000 {
        let read = |bytes: &[u8]| record::read(&mut &bytes[..]).unwrap().unwrap();
        let record = read(&whole[at..]).unwrap();
        assert_eq!(record.index, index);
        let length = record::encoded_len(record.json.len()) as usize;
        // What follows is there too: a changed length may reach into it.
        let mut bytes = whole[at..whole.len().min(at + 4 * length)].to_vec();
        for byte in (0..length).filter(|byte| every || (byte + index as usize).is_multiple_of(41)) {
            for bit in (0..8).filter(|bit| every || *bit == byte % 8) {
                bytes[byte] ^= 1 << bit;
                let found = match read(&bytes) {
                    Ok(changed) => (changed.index, changed.commitment) != (record.index, record.commitment),
                    Err(_) => true,
                };
                assert!(found, "bit {bit} of byte {byte} of entry {index}");
                bytes[byte] ^= 1 << bit;
                tried += 1;
            }
        }
        at += length;
    }
    assert_eq!(at, whole.len());
    println!("{tried} changes of {} bytes of entries were found", whole.len());
    let step = if every { 1 } else { 97 };
    for (number, file) in files(original.path()).into_iter().filter(|file| file != ENTRIES).enumerate() {
        let path = original.path().join(&file);
        let content = fs::read(&path).unwrap();
        // Each file is compared as a whole, so one byte of it stands for all; those of the notes are signed one by one.
        let bytes: Vec<usize> =
            if file.starts_with("tile/") { vec![content.len() / 2] } else { (0..content.len()).step_by(step).collect() };
        for byte in bytes.into_iter().filter(|_| every || number % 9 == 0 || !file.starts_with("tile/")).take(if every { 400 } else { 3 }) {
            let mut changed = content.clone();
            changed[byte] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(!verify(original.path(), Some(&verifier())).is_ok(), "{file}, byte {byte}");
        }
        fs::write(&path, content).unwrap();
    }
    for byte in (0..whole.len()).step_by(if every { 20_011 } else { 200_003 }) {
        let mut changed = whole.clone();
        changed[byte] ^= 8;
        fs::write(original.path().join(ENTRIES), changed).unwrap();
        assert!(!verify(original.path(), Some(&verifier())).is_ok(), "byte {byte} of the entries");
    }
    fs::write(original.path().join(ENTRIES), whole).unwrap();
    assert!(verify(original.path(), Some(&verifier())).is_ok());
}

#[test]
fn every_truncation_extension_removal_and_addition_is_found() {
    let original = tempfile::tempdir().unwrap();
    log_of(original.path(), 3);
    let dir = tempfile::tempdir().unwrap();
    copy_folder(original.path(), dir.path());
    for file in files(original.path()) {
        let path = dir.path().join(&file);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(!verify(dir.path(), Some(&verifier())).is_ok(), "{file} cut to {length}");
        }
        fs::write(&path, [&whole[..], b"\n"].concat()).unwrap();
        let report = verify(dir.path(), Some(&verifier()));
        assert!(!report.is_ok() || report.unfinished_bytes == 1, "{file} extended");
        fs::remove_file(&path).unwrap();
        assert!(!verify(dir.path(), Some(&verifier())).is_ok(), "{file} removed");
        fs::write(&path, &whole).unwrap();
    }
    for added in ["tile/0/000", "tile/0/001.p/3", "notes.txt", "tile/entries/000.p/9"] {
        fs::write(dir.path().join(added), [0; 96]).unwrap_or_else(|_| {
            fs::create_dir_all(dir.path().join(added).parent().unwrap()).unwrap();
            fs::write(dir.path().join(added), [0; 96]).unwrap();
        });
        assert!(!verify(dir.path(), Some(&verifier())).is_ok(), "{added} added");
        fs::remove_file(dir.path().join(added)).unwrap();
    }
    assert!(!verify(&dir.path().join("absent"), Some(&verifier())).is_ok());
}

/// Writes entries.log anew with other content for entry `index`: what somebody does who knows the format and not the key.
fn rewrite(dir: &Path, index: u64, change: impl Fn(String) -> String) {
    let path = dir.join(ENTRIES);
    let whole = fs::read(&path).unwrap();
    let mut rest = &whole[record::FILE_HEADER.len()..];
    let mut made = record::FILE_HEADER.to_vec();
    while let Some(Ok(found)) = record::read(&mut rest).unwrap() {
        let json = String::from_utf8(found.json).unwrap();
        let json = if found.index == index { change(json) } else { json };
        record::encode(&mut made, found.index, found.group, &found.salt, json.as_bytes());
    }
    fs::write(path, made).unwrap();
}

fn first(report: &Report) -> (&str, Option<u64>) {
    let problem = report.problems.first().unwrap();
    (&problem.file, problem.entry)
}

#[test]
fn the_first_wrong_entry_is_named() {
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), 300);
    rewrite(dir.path(), 270, |json| json.replace("authority", "patient"));
    rewrite(dir.path(), 280, |json| json.replace("authority", "patient"));
    let report = verify(dir.path(), Some(&verifier()));
    assert_eq!(first(&report), ("tile/entries/001.p/44", Some(270)));
    assert!(
        report
            .problems
            .iter()
            .any(|problem| problem.file == ENTRIES && problem.what.contains("not the one that checkpoint was signed over"))
    );
    rewrite(dir.path(), 17, |_| "{\"user\":1}".into());
    assert_eq!(first(&verify(dir.path(), Some(&verifier()))), (ENTRIES, Some(17)));
}

#[test]
fn a_byte_changed_in_place_names_its_entry() {
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), 300);
    let path = dir.path().join(ENTRIES);
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.windows(10).position(|window| window == b"\"user-150\"").unwrap();
    bytes[place + 1] = b'U';
    fs::write(&path, bytes).unwrap();
    let report = verify(dir.path(), Some(&verifier()));
    assert_eq!(first(&report), (ENTRIES, Some(150)));
    assert!(report.problems.len() <= 2, "what follows from it is not listed: {:?}", report.problems);
}

/// The owner of the key can write the whole log anew. Somebody who kept a checkpoint finds it.
#[test]
fn a_log_signed_anew_is_found_by_an_earlier_checkpoint_and_by_the_key() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    log_of(first.path(), 5);
    let kept = Checkpoint::open(&open(first.path()).checkpoint(), &verifier()).unwrap();
    {
        let log = open(second.path());
        for number in 0..9 {
            log.append(&entry(if number == 2 { 77 } else { number })).unwrap();
        }
    }
    assert!(verify(second.path(), Some(&verifier())).is_ok());
    assert!(!verify_since(second.path(), Some(&verifier()), std::slice::from_ref(&kept)).is_ok());
    {
        let log = open(first.path());
        log.append(&entry(5)).unwrap();
    }
    assert!(verify_since(first.path(), Some(&verifier()), std::slice::from_ref(&kept)).is_ok());
    let later = Checkpoint { size: 99, ..kept };
    assert!(!verify_since(first.path(), Some(&verifier()), &[later]).is_ok(), "an earlier checkpoint covered more");

    let third = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(at(0)));
    let log = Log::open_with(third.path(), ORIGIN, SigningKey::from_bytes(&[3; 32]), clock, options()).unwrap();
    log.append(&entry(0)).unwrap();
    drop(log);
    assert!(verify(third.path(), None).is_ok(), "in itself it is well");
    assert!(!verify(third.path(), Some(&verifier())).is_ok());
}

#[test]
fn a_copy_of_a_running_log_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for number in 0..300 {
        log.append_then(&entry(number), Box::new(|_| ()));
    }
    log.append(&entry(300)).unwrap();
    let report = verify(dir.path(), Some(&verifier()));
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!((report.entries, report.signed), (301, 0));
    drop(log);
    // The copied checkpoint may be older than the tiles that were copied after it.
    let old = tempfile::tempdir().unwrap();
    copy_folder(dir.path(), old.path());
    let log = open(dir.path());
    log.append(&entry(301)).unwrap();
    drop(log);
    let copy = tempfile::tempdir().unwrap();
    copy_folder(dir.path(), copy.path());
    fs::copy(old.path().join("checkpoint"), copy.path().join("checkpoint")).unwrap();
    let report = verify(copy.path(), Some(&verifier()));
    assert!(report.is_ok() && report.signed == 301, "{:?}", report.problems);
    fs::write(dir.path().join("checkpoint"), fs::read(old.path().join("checkpoint")).unwrap()).unwrap();
    fs::copy(old.path().join("tile/0/001.p/45"), dir.path().join("tile/0/001.p/45")).unwrap();
    // Unfinished tiles of an older checkpoint may still be there.
    fs::write(dir.path().join("tile/0/001.p/7"), &fs::read(dir.path().join("tile/0/001.p/45")).unwrap()[..7 * 32]).unwrap();
    assert!(verify(dir.path(), Some(&verifier())).is_ok());
    fs::write(dir.path().join("tile/0/001.p/7"), [0; 7 * 32]).unwrap();
    assert_eq!(first(&verify(dir.path(), Some(&verifier()))), ("tile/0/001.p/7", Some(256)));
}

#[test]
fn an_unsigned_end_is_checked_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for number in 0..3 {
        log.append_then(&entry(number), Box::new(|_| ())); // some of them in one group
    }
    log.append(&entry(3)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_folder(dir.path(), copy.path());
    drop(log);
    let path = copy.path().join(ENTRIES);
    let whole = fs::read(&path).unwrap();
    // Every byte, two or three bits of each.
    for at in (0..whole.len() * 8).step_by(3) {
        let mut changed = whole.clone();
        changed[at / 8] ^= 1 << (at % 8);
        fs::write(&path, &changed).unwrap();
        assert!(!verify(copy.path(), Some(&verifier())).is_ok(), "bit {at}");
    }
}

#[test]
fn a_key_is_compared_even_where_it_signed_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    log_of(dir.path(), 2);
    let other = VerifierKey::new("other.example", signing_key().verifying_key()).unwrap();
    fs::write(dir.path().join("key.pub"), format!("{other}\n")).unwrap();
    let report = verify(dir.path(), Some(&verifier()));
    assert_eq!(first(&report), ("key.pub", None));
    assert!(!verify(dir.path(), None).is_ok());
}
