//! Witnesses (C2SP tlog-cosignature, `cosignature/v1` with Ed25519): somebody else who saw the log only grow, and says so under a
//! checkpoint. A log that shows different people different histories cannot get both cosigned.

use super::AuditError;
use super::disk::{COSIGNED, read_file};
use super::note::{self, Checkpoint, NoteError, VerifierKey};
use crate::limits::MAX_AUDIT_WITNESSES;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use jiff::Timestamp;
use std::fmt;
use std::path::Path;

/// The algorithm byte of timestamped Ed25519 cosignatures.
const COSIGNATURE: u8 = 4;

/// The public key of a witness. Its text form is C2SP's verifier key, `name+keyid+base64(0x04 || key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key: VerifyingKey,
}

impl WitnessKey {
    /// The key of the witness `name`.
    pub fn new(name: &str, key: VerifyingKey) -> Result<Self, NoteError> {
        let verifier = VerifierKey::new(name, key)?; // the same rules for names
        Ok(Self { name: verifier.name().to_owned(), key })
    }

    /// Reads the text form, exactly as it is written.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, key) = note::parse_key(text, COSIGNATURE)?;
        let witness = Self::new(name, key)?;
        if witness.to_string() == text { Ok(witness) } else { Err(NoteError::Key("its id is not that of its name and key")) }
    }

    /// The witness's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        note::key_id(&self.name, COSIGNATURE, &self.key)
    }

    /// When this witness cosigned `checkpoint` with a signature line; `None` if the line is another's.
    pub fn check(&self, checkpoint: &Checkpoint, line: &str) -> Result<Option<Timestamp>, NoteError> {
        let Some((name, id, rest)) = note::parse_line(line).filter(|(name, id, _)| *name == self.name && *id == self.id()) else {
            return Ok(None);
        };
        let wrong = || NoteError::Signature(format!("{name}+{}", note::hex(&id)));
        let (time, signature) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
        let time = i64::try_from(u64::from_be_bytes(*time)).map_err(|_| wrong())?;
        let at = Timestamp::from_second(time).map_err(|_| wrong())?;
        let signature = Signature::from_slice(signature).map_err(|_| wrong())?;
        self.key.verify_strict(message(checkpoint, time).as_bytes(), &signature).map_err(|_| wrong())?;
        Ok(Some(at))
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&note::key_text(&self.name, COSIGNATURE, &self.key))
    }
}

/// What a witness signs.
fn message(checkpoint: &Checkpoint, time: i64) -> String {
    format!("cosignature/v1\ntime {time}\n{}", checkpoint.body())
}

/// The signature line by which the witness `name` says that it saw `checkpoint` at `now`, and nothing before that contradicts it:
/// the caller has checked that.
pub fn cosign(checkpoint: &Checkpoint, name: &str, key: &SigningKey, now: Timestamp) -> Result<String, NoteError> {
    let witness = WitnessKey::new(name, key.verifying_key())?;
    let time = now.as_second().max(0);
    let mut signature = witness.id().to_vec();
    signature.extend_from_slice(&time.to_be_bytes());
    signature.extend_from_slice(&key.sign(message(checkpoint, time).as_bytes()).to_bytes());
    Ok(format!("\u{2014} {name} {}\n", STANDARD.encode(signature)))
}

/// Why cosignatures were not taken.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// The caller's fault: not a checkpoint of this log, or a signature that does not fit.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The caller's fault: no signature of a witness that this log knows.
    #[error("no witness that this server knows has cosigned this checkpoint; its operator sets them (`witnesses` in the settings)")]
    Unknown,
    /// The caller's fault: a newer checkpoint has been cosigned already, or this one has not been published.
    #[error("the checkpoint covers {size} entries: {what}")]
    Size {
        /// Its size.
        size: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// They could not be kept.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// A checkpoint of this log with cosignatures.
#[derive(Clone, Debug)]
pub(super) struct Cosigned {
    pub checkpoint: Checkpoint,
    /// The note: the log's own signature, then one line for each witness.
    pub note: String,
}

impl Cosigned {
    /// The stored one.
    pub fn read(dir: &Path, key: &VerifierKey) -> Result<Option<Self>, AuditError> {
        let Some(bytes) = read_file(dir, COSIGNED)? else { return Ok(None) };
        let damaged = |what: &str| AuditError::damaged(COSIGNED, format!("{what}; remove it, and witnesses will sign again"));
        let note = String::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let checkpoint = Checkpoint::open(&note, key).map_err(|error| damaged(&error.to_string()))?;
        Ok(Some(Self { checkpoint, note }))
    }

    /// The newest one after `note` has come in: of its signatures, the log's own and those of `witnesses` are kept.
    pub fn with(
        before: Option<&Self>,
        note: &str,
        key: &VerifierKey,
        witnesses: &[WitnessKey],
        published: u64,
    ) -> Result<Self, CosignError> {
        let checkpoint = Checkpoint::open(note, key)?;
        let size = checkpoint.size;
        let refused = |what| CosignError::Size { size, what };
        if size > published {
            return Err(refused("this log has not published that many yet"));
        }
        let same = match before {
            Some(before) if before.checkpoint.size > size => return Err(refused("a newer one has been cosigned")),
            Some(before) if before.checkpoint.size == size => Some(before),
            _ => None,
        };
        let (mut lines, mut known): (Vec<&str>, bool) = (Vec::new(), false);
        for witness in witnesses.iter().take(MAX_AUDIT_WITNESSES) {
            let mut newest: Option<(Timestamp, &str)> = None;
            for line in note::signature_lines(note) {
                newest = newest.max(witness.check(&checkpoint, line)?.map(|at| (at, line)));
            }
            known |= newest.is_some();
            let kept = same.iter().flat_map(|same| note::signature_lines(&same.note));
            let kept = kept.filter_map(|line| witness.check(&checkpoint, line).ok().flatten().map(|at| (at, line))).max();
            lines.extend(newest.max(kept).map(|(_, line)| line));
        }
        let own = note::signature_lines(note)
            .find(|line| note::parse_line(line).is_some_and(|(name, id, _)| name == key.name() && id == key.id()));
        let (Some(own), true) = (own, known) else { return Err(CosignError::Unknown) };
        let note = [own].into_iter().chain(lines).fold(checkpoint.body() + "\n", |note, line| note + line + "\n");
        Ok(Self { checkpoint, note })
    }
}
