#![expect(clippy::unwrap_used, reason = "tests")]

mod access;
mod fault;
mod format;
mod resume;
mod rotation;
mod running;
mod tampering;
mod tree;
mod witness;

use super::{Act, Entry, Log, Options, VerifierKey};
use crate::clock::ManualClock;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use rand::SeedableRng as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ORIGIN: &str = "dugnad.example/audit";

fn signing_key() -> SigningKey {
    let bytes: Vec<u8> = (0..32).collect();
    SigningKey::from_bytes(&bytes.try_into().unwrap())
}

fn verifier() -> VerifierKey {
    VerifierKey::new(ORIGIN, signing_key().verifying_key()).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// The `number`th entry: short, and different from all others.
fn entry(number: u64) -> Entry {
    let entry = Entry::new(at(number as i64), Act::Write, &format!("user-{number}"), "authority");
    Entry { commit: Some(number), ..entry }
}

/// An entry as a query makes one.
fn long_entry(number: u64) -> Entry {
    Entry {
        interface: Some("sql".into()),
        permit: Some("surveillance".into()),
        purpose: Some("Surveillance of radiotherapy capacity".into()),
        request: Some("SELECT code, count(*) FROM treatment WHERE kind = 'radiotherapy' GROUP BY code ORDER BY 2 DESC LIMIT 20".into()),
        tables: vec!["treatment".into()],
        ..entry(number)
    }
}

/// Checkpoints at opening and closing only, unless `interval` says otherwise; the same salts in every run.
fn options() -> Options {
    Options::new(Box::new(rand_chacha::ChaCha20Rng::seed_from_u64(7))).interval(Duration::from_secs(100_000))
}

fn open_with(dir: &Path, options: Options) -> Result<Log, super::AuditError> {
    Log::open_with(dir, ORIGIN, signing_key(), Arc::new(ManualClock::new(at(0))), options)
}

fn open(dir: &Path) -> Log {
    open_with(dir, options()).unwrap()
}

/// A closed log of `count` entries.
fn log_of(dir: &Path, count: u64) {
    let log = open(dir);
    let (sender, receiver) = std::sync::mpsc::channel();
    for number in 0..count {
        let sender = sender.clone();
        log.append_then(&entry(number), Box::new(move |result| sender.send(result.unwrap()).unwrap()));
    }
    drop(sender);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
}

fn verify_ok(dir: &Path) -> bool {
    super::verify(dir, Some(&verifier())).is_ok()
}

/// All files of a folder, by path under it.
fn files(dir: &Path) -> Vec<String> {
    fn collect(root: &Path, under: &Path, found: &mut Vec<String>) {
        for item in std::fs::read_dir(under).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    collect(dir, dir, &mut found);
    found.sort();
    found
}

fn copy_folder(from: &Path, to: &Path) {
    for file in files(from) {
        std::fs::create_dir_all(to.join(&file).parent().unwrap()).unwrap();
        std::fs::copy(from.join(&file), to.join(&file)).unwrap();
    }
}
