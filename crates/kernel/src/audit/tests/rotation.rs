//! Changes of the log's key: older keys lead to the present one, a crash at any step leaves a log that opens, and a forger gets nowhere.

use super::*;
use crate::audit::disk::{CHECKPOINT, PUBLIC_KEY};
use crate::audit::rotation::ROTATIONS;
use crate::audit::{AuditError, Checkpoint, Rotation, rotate, verify, verify_since};
use std::fs;
use std::io;

fn key(number: u8) -> SigningKey {
    if number == 0 { signing_key() } else { SigningKey::from_bytes(&[number; 32]) }
}

fn public(number: u8) -> VerifierKey {
    VerifierKey::new(ORIGIN, key(number).verifying_key()).unwrap()
}

/// Opens the log with a key, appends some entries, and closes it.
fn append(dir: &Path, number: u8, count: u64) -> Result<(), AuditError> {
    let log = Log::open_with(dir, ORIGIN, key(number), Arc::new(ManualClock::new(at(0))), options())?;
    (0..count).for_each(|n| _ = log.append(&entry(n)).unwrap());
    log.close();
    Ok(())
}

fn problems(dir: &Path, key: Option<&VerifierKey>) -> Vec<String> {
    verify(dir, key).problems.iter().map(|problem| format!("{problem:?}")).collect()
}

#[test]
fn older_keys_lead_to_the_present_one() {
    let dir = tempfile::TempDir::new().unwrap();
    let dir = dir.path();
    append(dir, 0, 10).unwrap();
    let kept = fs::read_to_string(dir.join(CHECKPOINT)).unwrap();
    for number in 0..3 {
        let rotation = rotate(dir, &key(number), &key(number + 1), || Ok(())).unwrap();
        assert_eq!((rotation.from, rotation.to), (public(number).to_string(), public(number + 1).to_string()));
        // Right after it, before anything was signed anew, and with what follows.
        assert_eq!(problems(dir, None), Vec::<String>::new());
        append(dir, number + 1, 300).unwrap();
        assert!(append(dir, number, 1).is_err(), "the old key opens it no more");
    }
    for number in 0..4 {
        assert_eq!(problems(dir, Some(&public(number))), Vec::<String>::new());
    }
    let earlier = Checkpoint::open(&kept, &public(0)).unwrap();
    let report = verify_since(dir, Some(&public(0)), &[earlier]);
    assert!(report.problems.is_empty() && report.key == Some(public(3).to_string()));
    assert!(!problems(dir, Some(&public(7))).is_empty(), "somebody else's key leads nowhere");
    // A copy has the way as well.
    let copy = tempfile::TempDir::new().unwrap();
    crate::audit::copy(dir, &copy.path().join("audit")).unwrap();
    assert_eq!(problems(&copy.path().join("audit"), Some(&public(1))), Vec::<String>::new());
}

#[test]
fn a_crash_at_any_step_leaves_a_log_that_opens() {
    for step in 0..4 {
        let folder = tempfile::TempDir::new().unwrap();
        let dir = folder.path();
        append(dir, 0, 5).unwrap();
        let before: Vec<_> = [CHECKPOINT, PUBLIC_KEY].map(|file| fs::read(dir.join(file)).unwrap()).into();
        let cut = rotate(dir, &key(0), &key(1), || if step < 3 { Err(io::Error::other("a crash")) } else { Ok(()) });
        assert_eq!(cut.is_ok(), step == 3);
        match step {
            0 => fs::write(dir.join(CHECKPOINT), &before[0]).unwrap(), // only the line was written
            3 => fs::write(dir.join(PUBLIC_KEY), &before[1]).unwrap(), // all but the public key
            _ => {}
        }
        if step < 3 {
            append(dir, 0, 5).unwrap();
            assert_eq!(problems(dir, Some(&public(0))), Vec::<String>::new(), "step {step}");
            rotate(dir, &key(0), &key(2), || Ok(())).unwrap();
            append(dir, 2, 5).unwrap();
            assert_eq!(problems(dir, Some(&public(0))), Vec::<String>::new(), "a change that was not finished is passed over");
            assert!(!problems(dir, Some(&public(1))).is_empty());
        } else {
            append(dir, 1, 5).unwrap();
            assert_eq!(problems(dir, Some(&public(0))), Vec::<String>::new());
        }
    }
}

#[test]
fn nobody_forges_a_change() {
    let dir = tempfile::TempDir::new().unwrap();
    let dir = dir.path();
    append(dir, 0, 5).unwrap();
    assert!(rotate(dir, &key(5), &key(6), || Ok(())).is_err(), "not this log's key");
    let log = open(dir);
    assert!(matches!(rotate(dir, &key(0), &key(1), || Ok(())), Err(AuditError::InUse(_))));
    log.close();
    // A log that somebody has signed anew, with a change that the old key has not signed.
    let forged = tempfile::TempDir::new().unwrap();
    let forged = forged.path();
    append(forged, 6, 5).unwrap();
    let note = fs::read_to_string(forged.join(CHECKPOINT)).unwrap();
    let line = Rotation { from: public(0).to_string(), to: public(6).to_string(), note };
    fs::write(forged.join(ROTATIONS), serde_json::to_string(&line).unwrap() + "\n").unwrap();
    assert!(problems(forged, Some(&public(0))).len() >= 2, "{:?}", problems(forged, Some(&public(0))));
    assert!(append(forged, 0, 1).is_err());
    // One with the signature of another log's checkpoint: the tree had another root.
    rotate(dir, &key(0), &key(1), || Ok(())).unwrap();
    let (other, root) = (tempfile::TempDir::new().unwrap(), fs::read(dir.join(ROTATIONS)).unwrap());
    let other = other.path();
    let log = Log::open_with(other, ORIGIN, key(1), Arc::new(ManualClock::new(at(0))), options()).unwrap();
    (0..9).for_each(|n| _ = log.append(&entry(n + 100)).unwrap());
    log.close();
    fs::write(other.join(ROTATIONS), root).unwrap();
    assert!(problems(other, Some(&public(0))).iter().any(|problem| problem.contains(ROTATIONS)), "{:?}", problems(other, Some(&public(0))));
    // Every changed byte of the file is found.
    let good = fs::read(dir.join(ROTATIONS)).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(dir.join(ROTATIONS), &bad).unwrap();
        assert!(!problems(dir, Some(&public(0))).is_empty(), "byte {at}");
    }
}
