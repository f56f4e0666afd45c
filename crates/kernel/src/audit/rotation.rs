//! Changes of the log's key. Each leaves a line in the file `rotations`: both keys, and a checkpoint that both have signed. So
//! whoever has an older key finds the present one, step by step, and that it signs the same log.

use super::AuditError;
use super::disk::{CHECKPOINT, COSIGNED, ENTRIES, PUBLIC_KEY, read_file, replace};
use super::note::{Checkpoint, VerifierKey};
use crate::disk::{Disk, RealDisk};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// The file that keeps the changes, one JSON object a line, the oldest first.
pub const ROTATIONS: &str = "rotations";

/// The longest such file that is read: some thousand changes.
pub(super) const MAX_ROTATIONS_BYTES: usize = 1 << 20;

/// A change of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The verifier key until then.
    pub from: String,
    /// The verifier key from then on.
    pub to: String,
    /// A checkpoint that both have signed.
    pub note: String,
}

impl Rotation {
    /// The changes in the text of the file.
    ///
    /// # Errors
    /// Which line is none, and why.
    pub fn read_all(text: &str) -> Result<Vec<Self>, String> {
        if text.len() > MAX_ROTATIONS_BYTES {
            return Err("it is too long".to_owned());
        }
        let line = |(at, line): (usize, &str)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1));
        text.lines().enumerate().map(line).collect()
    }

    /// The checkpoint, and the key that follows, if both keys have signed it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(Checkpoint, VerifierKey), String> {
        let key = |text: &str| VerifierKey::parse(text).map_err(|error| error.to_string());
        let (from, to) = (key(&self.from)?, key(&self.to)?);
        let checkpoint = Checkpoint::open(&self.note, &from).map_err(|error| error.to_string())?;
        Checkpoint::open(&self.note, &to).map_err(|error| error.to_string())?;
        Ok((checkpoint, to))
    }

    /// The keys that have followed `key`, in their order.
    pub fn successors(all: &[Self], key: &VerifierKey) -> Vec<VerifierKey> {
        let mut keys = Vec::new();
        let mut present = key.to_string();
        for rotation in all {
            // One that was not finished is followed by another from the same key.
            let finished = all.iter().rfind(|other| other.from == rotation.from) == Some(rotation);
            if rotation.from == present
                && finished
                && let Ok((_, next)) = rotation.check()
            {
                present = next.to_string();
                keys.push(next);
            }
        }
        keys
    }
}

/// Whether `from` is `to`, or changes lead from it to that.
pub fn leads(all: &[Rotation], from: &VerifierKey, to: &VerifierKey) -> bool {
    from == to || Rotation::successors(all, from).contains(to)
}

/// The stored changes.
pub(super) fn stored(dir: &Path) -> Result<Vec<Rotation>, AuditError> {
    let Some(bytes) = read_file(dir, ROTATIONS)? else { return Ok(Vec::new()) };
    let text = String::from_utf8(bytes).map_err(|_| AuditError::damaged(ROTATIONS, "it is not text"))?;
    Rotation::read_all(&text).map_err(|what| AuditError::damaged(ROTATIONS, what))
}

/// Prepares the closed log in `dir` for another key, and calls `exchange`, which puts the secret key in its place. Until it has, the
/// log opens with the old key; from then on with the new one: the newest checkpoint has both signatures.
///
/// # Errors
/// The log is open, is not that of the old key, or cannot be written; or what `exchange` says.
pub fn rotate(dir: &Path, old: &SigningKey, new: &SigningKey, exchange: impl FnOnce() -> io::Result<()>) -> Result<Rotation, AuditError> {
    let entries = File::options().read(true).write(true).open(dir.join(ENTRIES)).map_err(|e| AuditError::io(&dir.join(ENTRIES), e))?;
    match entries.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(AuditError::InUse(dir.join(ENTRIES).display().to_string())),
        Err(TryLockError::Error(source)) => return Err(AuditError::io(dir, source)),
    }
    let text = |file: &'static str| -> Result<Option<String>, AuditError> {
        let bytes = read_file(dir, file)?;
        bytes.map(String::from_utf8).transpose().map_err(|_| AuditError::damaged(file, "it is not text"))
    };
    let absent = |file: &'static str| AuditError::damaged(file, "it is absent");
    let stored_key = text(PUBLIC_KEY)?.ok_or_else(|| absent(PUBLIC_KEY))?;
    let from = VerifierKey::parse(stored_key.trim_end()).map_err(|error| AuditError::damaged(PUBLIC_KEY, error.to_string()))?;
    if from != VerifierKey::new(from.name(), old.verifying_key())? {
        return Err(AuditError::damaged(PUBLIC_KEY, "it is not the public half of this database's key"));
    }
    let to = VerifierKey::new(from.name(), new.verifying_key())?;
    let both = |file: &'static str, note: &str| -> Result<String, AuditError> {
        let checkpoint = Checkpoint::open(note, &from).map_err(|error| AuditError::damaged(file, error.to_string()))?;
        let signed = checkpoint.sign(new)?;
        let line = signed.split_once("\n\n").map_or("", |(_, line)| line);
        Ok(format!("{note}{line}"))
    };
    let note = both(CHECKPOINT, &text(CHECKPOINT)?.ok_or_else(|| absent(CHECKPOINT))?)?;
    let rotation = Rotation { from: from.to_string(), to: to.to_string(), note: note.clone() };
    let line = serde_json::to_string(&rotation).map_err(|error| AuditError::damaged(ROTATIONS, error.to_string()))?;
    let lines = format!("{}{line}\n", text(ROTATIONS)?.unwrap_or_default());
    let write = |file: &str, bytes: &str| replace(&RealDisk, dir, file, bytes.as_bytes()).map_err(|e| AuditError::io(&dir.join(file), e));
    write(ROTATIONS, &lines)?;
    write(CHECKPOINT, &note)?;
    if let Some(cosigned) = text(COSIGNED)? {
        write(COSIGNED, &both(COSIGNED, &cosigned)?)?;
    }
    RealDisk.sync_folder(dir).map_err(|source| AuditError::io(dir, source))?;
    exchange().map_err(|source| AuditError::io(dir, source))?;
    write(PUBLIC_KEY, &format!("{to}\n"))?;
    RealDisk.sync_folder(dir).map_err(|source| AuditError::io(dir, source))?;
    Ok(rotation)
}
