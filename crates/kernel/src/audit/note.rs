//! Signed notes (C2SP signed-note) and the keys that check them; and checkpoints, which are the size and root of the tree as such a
//! note (C2SP tlog-checkpoint).

use super::tree::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fmt;

/// The algorithm byte of Ed25519 in key ids and verifier keys.
pub(super) const ED25519: u8 = 1;

/// The longest note that is read: three lines and some signatures.
const MAX_NOTE_BYTES: usize = 64 << 10;

/// How many signatures of a note are looked at: the log's own and its witnesses'.
const MAX_SIGNATURES: usize = 100;

/// Why a note or a key is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The name cannot stand in a note.
    #[error("`{0}` cannot be the name of a log: it must not be empty and must not hold white space or `+`")]
    Name(String),
    /// A verifier key is not of the form `name+id+key`.
    #[error("this is not a verifier key (name+id+base64): {0}")]
    Key(&'static str),
    /// The note is not of the form that it should have.
    #[error("this is not a signed note of this kind: {0}")]
    Form(&'static str),
    /// It is the checkpoint of another log.
    #[error("this is a checkpoint of `{found}`, not of `{expected}`")]
    Origin {
        /// Whose it should be.
        expected: String,
        /// Whose it says it is.
        found: String,
    },
    /// The expected key did not sign it.
    #[error("the key {0} has not signed this note")]
    Unsigned(String),
    /// The signature is wrong.
    #[error("the signature of {0} does not fit this note")]
    Signature(String),
}

/// The public key that checks a log's checkpoints. Its text form is C2SP's verifier key, `name+keyid+base64(0x01 || key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

impl VerifierKey {
    /// The key of the log `name`.
    pub fn new(name: &str, key: VerifyingKey) -> Result<Self, NoteError> {
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+') {
            return Err(NoteError::Name(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// The log's name: its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// C2SP key id: the first four bytes of SHA-256(name || 0x0A || 0x01 || key).
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, ED25519, &self.key)
    }

    /// Reads the text form, exactly as it is written (white space at the end is not part of it).
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, key) = parse_key(text, ED25519)?;
        let verifier = Self::new(name, key)?;
        // Catches a wrong id, and every spelling that this program would not write.
        if verifier.to_string() == text { Ok(verifier) } else { Err(NoteError::Key("its id is not that of its name and key")) }
    }

    /// `name+id`, for messages.
    fn label(&self) -> String {
        format!("{}+{}", self.name, hex(&self.id()))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, ED25519, &self.key))
    }
}

/// C2SP key id: the first four bytes of SHA-256(name || 0x0A || algorithm || key).
pub(super) fn key_id(name: &str, algorithm: u8, key: &VerifyingKey) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name.as_bytes());
    hasher.update([b'\n', algorithm]);
    hasher.update(key.as_bytes());
    let [a, b, c, d, ..] = <[u8; 32]>::from(hasher.finalize());
    [a, b, c, d]
}

/// `name+id+base64(algorithm || key)`.
pub(super) fn key_text(name: &str, algorithm: u8, key: &VerifyingKey) -> String {
    let mut bytes = vec![algorithm];
    bytes.extend_from_slice(key.as_bytes());
    format!("{name}+{}+{}", hex(&key_id(name, algorithm, key)), STANDARD.encode(bytes))
}

/// Name and key of a text of that form; the id is not compared.
pub(super) fn parse_key(text: &str, algorithm: u8) -> Result<(&str, VerifyingKey), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::Key("it has fewer than three parts"));
    };
    let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key("its key is not base64"))?;
    let bytes: [u8; 33] = bytes.try_into().map_err(|_| NoteError::Key("its key has the wrong length"))?;
    let [first, key @ ..] = bytes;
    if first != algorithm {
        return Err(NoteError::Key(if algorithm == ED25519 {
            "its algorithm is not Ed25519"
        } else {
            "its algorithm is not that of Ed25519 cosignatures (4)"
        }));
    }
    Ok((name, VerifyingKey::from_bytes(&key).map_err(|_| NoteError::Key("its key is not a point of the curve"))?))
}

/// The signature lines of a note.
pub(super) fn signature_lines(note: &str) -> impl Iterator<Item = &str> {
    let signatures = note.split_once("\n\n").map_or("", |(_, signatures)| signatures);
    signatures.lines().take(MAX_SIGNATURES)
}

/// Name, key id and the rest of a signature line.
pub(super) fn parse_line(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok()?;
    let (id, rest) = bytes.split_first_chunk::<4>()?;
    Some((name, *id, rest.to_vec()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a checkpoint states: the log `origin` had `size` entries, whose tree had this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root hash of their tree.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub(super) fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// The signed note.
    pub fn sign(&self, key: &SigningKey) -> Result<String, NoteError> {
        sign(&self.body(), &self.origin, key)
    }

    /// Reads a signed note and checks that `key` signed it. Signatures of others (witnesses) are passed over.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Form("it is too long"));
        }
        let (text, signatures) = note.split_once("\n\n").ok_or(NoteError::Form("it has no signatures"))?;
        let checkpoint = Self::parse_body(text)?;
        if checkpoint.origin != key.name {
            return Err(NoteError::Origin { expected: key.name.clone(), found: checkpoint.origin });
        }
        accepted(&checkpoint.body(), signatures, key).map(|()| checkpoint)
    }

    fn parse_body(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Form("its text does not have three lines"));
        };
        let size_number: u64 = size.parse().map_err(|_| NoteError::Form("its size is not a number"))?;
        if size_number.to_string() != size {
            return Err(NoteError::Form("its size is not written plainly"));
        }
        let root = Hash::parse(root).ok_or(NoteError::Form("its root hash is not the base64 of 32 bytes"))?;
        Ok(Self { origin: origin.to_owned(), size: size_number, root })
    }
}

/// A signed note (C2SP signed-note): `text`, which ends with a line end, and the signature of `key` under `name`.
pub(crate) fn sign(text: &str, name: &str, key: &SigningKey) -> Result<String, NoteError> {
    let mut signature = VerifierKey::new(name, key.verifying_key())?.id().to_vec();
    signature.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
    Ok(format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(signature)))
}

/// The text of a signed note, with the line end of its last line, if `key` signed it.
pub(crate) fn open<'n>(note: &'n str, key: &VerifierKey) -> Result<&'n str, NoteError> {
    let end = note.rfind("\n\n").ok_or(NoteError::Form("it has no signatures"))?;
    let (text, signatures) = note.split_at(end + 1);
    accepted(text, signatures.strip_prefix('\n').unwrap_or_default(), key).map(|()| text)
}

/// Whether the signature lines of `text` have one of `key`; those of others (witnesses) are passed over.
fn accepted(text: &str, signatures: &str, key: &VerifierKey) -> Result<(), NoteError> {
    let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Form("its last line does not end"))?;
    let mut accepted = false;
    for (count, line) in signatures.split('\n').enumerate() {
        if count == MAX_SIGNATURES {
            return Err(NoteError::Form("it has too many signatures"));
        }
        accepted |= signed_by(text, line, key)?;
    }
    if accepted { Ok(()) } else { Err(NoteError::Unsigned(key.label())) }
}

/// Whether a signature line is `key`'s: an error if it is but does not fit.
fn signed_by(text: &str, line: &str, key: &VerifierKey) -> Result<bool, NoteError> {
    let (name, id, signature) = parse_line(line).ok_or(NoteError::Form("a signature line is malformed"))?;
    if name != key.name || id != key.id() {
        return Ok(false);
    }
    let fits = Signature::from_slice(&signature).is_ok_and(|signature| key.key.verify_strict(text.as_bytes(), &signature).is_ok());
    if fits { Ok(true) } else { Err(NoteError::Signature(key.label())) }
}
