//! Cosignatures. Expected values were computed by another program.

use super::super::{Checkpoint, CosignError, NoteError, WitnessKey, cosign, empty_root};
use super::{ORIGIN, at, entry, open, open_with, options, signing_key, verifier};
use ed25519_dalek::SigningKey;
use std::fs;
use std::time::Duration;

const NAME: &str = "witness.example/w1";
const VKEY: &str = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X";
const LINE: &str = "\u{2014} witness.example/w1 IDJKvgAAAABrSdIA0xEgf433rSYAMjnWjDpBjQUDnVr/b76kcwKHIguzmlNVMfEsDreAcc/SDgHo67GjWEud5voXqnf+jcdvg6yDBg==\n";

fn witness() -> SigningKey {
    let bytes: Vec<u8> = (32..64).collect();
    SigningKey::from_bytes(&bytes.try_into().unwrap())
}

fn key() -> WitnessKey {
    WitnessKey::new(NAME, witness().verifying_key()).unwrap()
}

#[test]
fn a_cosignature_and_its_key_are_those_that_another_program_makes() {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 0, root: empty_root() };
    assert_eq!(key().to_string(), VKEY);
    assert_eq!(WitnessKey::parse(VKEY), Ok(key()));
    assert_eq!(cosign(&checkpoint, NAME, &witness(), at(0)).unwrap(), LINE);
    assert_eq!(key().check(&checkpoint, LINE.trim_end()), Ok(Some(at(0))));
    let other = Checkpoint { size: 1, ..checkpoint };
    assert!(matches!(key().check(&other, LINE.trim_end()), Err(NoteError::Signature(_))));
}

#[test]
fn every_changed_bit_of_a_cosignature_is_refused() {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 0, root: empty_root() };
    for at in 0..LINE.trim_end().len() * 8 {
        let mut bytes = LINE.trim_end().as_bytes().to_vec();
        bytes[at / 8] ^= 1 << (at % 8);
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        assert!(!matches!(key().check(&checkpoint, &changed), Ok(Some(_))), "bit {at}");
    }
    assert!(WitnessKey::parse(&verifier().to_string()).is_err(), "a log's key is no witness's");
}

#[test]
fn cosignatures_are_taken_kept_and_served() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_with(dir.path(), options().interval(Duration::from_millis(5))).unwrap();
    log.append(&entry(0)).unwrap();
    while Checkpoint::open(&log.checkpoint(), &verifier()).unwrap().size == 0 {
        std::thread::yield_now();
    }
    let note = log.checkpoint();
    let checkpoint = Checkpoint::open(&note, &verifier()).unwrap();
    let line = cosign(&checkpoint, NAME, &witness(), at(1)).unwrap();
    let with = format!("{note}{line}");
    assert!(matches!(log.cosign(&with, &[]), Err(CosignError::Unknown)), "the witness is not configured");
    assert!(matches!(log.cosign(&note, &[key()]), Err(CosignError::Unknown)), "it has not signed");
    log.cosign(&with, &[key()]).unwrap();
    assert_eq!((log.cosigned(), log.checkpoint()), (Some(with.clone()), with.clone()));
    // A second witness's signature comes beside the first one's; a later one of the same replaces it.
    let second = WitnessKey::new("w2", SigningKey::from_bytes(&[9; 32]).verifying_key()).unwrap();
    let (later, other) = (
        cosign(&checkpoint, NAME, &witness(), at(2)).unwrap(),
        cosign(&checkpoint, "w2", &SigningKey::from_bytes(&[9; 32]), at(2)).unwrap(),
    );
    log.cosign(&format!("{note}{other}"), &[key(), second.clone()]).unwrap();
    log.cosign(&format!("{note}{later}"), &[key(), second]).unwrap();
    assert_eq!(log.cosigned(), Some(format!("{note}{later}{other}")));
    let unknown = cosign(&checkpoint, "w3", &SigningKey::from_bytes(&[8; 32]), at(3)).unwrap();
    assert!(matches!(log.cosign(&format!("{note}{unknown}"), &[key()]), Err(CosignError::Unknown)), "though others have cosigned it");
    assert!(Checkpoint::open(&log.checkpoint(), &verifier()).is_ok());
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.cosigned(), Some(format!("{note}{later}{other}")));
    let unknown = cosign(&checkpoint, "w3", &SigningKey::from_bytes(&[8; 32]), at(3)).unwrap();
    assert!(matches!(log.cosign(&format!("{note}{unknown}"), &[key()]), Err(CosignError::Unknown)), "though others have cosigned it");
    assert!(super::verify_ok(dir.path()));
    log.append(&entry(1)).unwrap();
    log.close();
    assert_ne!(log.checkpoint(), log.cosigned().unwrap(), "the newest one has no cosignature yet");
    for at in 0..fs::read(dir.path().join("cosigned")).unwrap().len() {
        let mut bytes = fs::read(dir.path().join("cosigned")).unwrap();
        // The cosignatures themselves are for those who know the witnesses.
        if at >= note.len() {
            break;
        }
        let whole = bytes.clone();
        bytes[at] ^= 1;
        fs::write(dir.path().join("cosigned"), bytes).unwrap();
        assert!(!super::verify_ok(dir.path()), "byte {at}");
        fs::write(dir.path().join("cosigned"), whole).unwrap();
    }
}

#[test]
fn only_published_checkpoints_of_this_log_are_cosigned() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let not_yet = Checkpoint { origin: ORIGIN.into(), size: 9, root: empty_root() };
    let note = not_yet.sign(&signing_key()).unwrap() + &cosign(&not_yet, NAME, &witness(), at(0)).unwrap();
    assert!(matches!(log.cosign(&note, &[key()]), Err(CosignError::Size { size: 9, .. })));
    let another = Checkpoint { origin: ORIGIN.into(), size: 0, root: empty_root() };
    let note = another.sign(&SigningKey::from_bytes(&[3; 32])).unwrap() + &cosign(&another, NAME, &witness(), at(0)).unwrap();
    assert!(matches!(log.cosign(&note, &[key()]), Err(CosignError::Note(_))));
}
