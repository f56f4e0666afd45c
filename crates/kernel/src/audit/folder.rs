//! Reading a log's folder, open elsewhere or not: entries and proofs.

use super::AuditError;
use super::disk::{CHECKPOINT, ENTRIES, PUBLIC_KEY, read_file};
use super::entry::{Entry, SALT_BYTES, commitment};
use super::note::{Checkpoint, NoteError, VerifierKey};
use super::record::{self, FILE_HEADER, Record};
use super::tile::{Growth, Tile, TileKind, subtree};
use super::tree::{Hash, Nodes, ProofError, TILE_HEIGHT, inclusion, leaf_hash, verify_inclusion};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The hashes of a published tree, read from its tiles.
pub(super) struct TileNodes<'a> {
    pub dir: &'a Path,
    /// The published size.
    pub size: u64,
    /// The tiles of that size that are not full.
    pub partials: &'a [(Tile, Vec<u8>)],
}

impl TileNodes<'_> {
    /// The bytes of a tile that the published size has, or of a shorter form of one.
    pub fn tile(&self, tile: Tile) -> Result<Vec<u8>, AuditError> {
        let same = |other: &Tile| other.kind() == tile.kind() && other.index() == tile.index();
        let mut bytes = match self.partials.iter().find(|(other, _)| same(other)) {
            Some((_, bytes)) => bytes.clone(),
            None => {
                let path = Tile::full(tile.kind(), tile.index()).path();
                read_file(self.dir, &path)?.ok_or_else(|| AuditError::damaged(path, "it is absent"))?
            }
        };
        if bytes.len() < tile.byte_len() {
            return Err(AuditError::damaged(tile.path(), "it is too short"));
        }
        bytes.truncate(tile.byte_len());
        Ok(bytes)
    }
}

impl Nodes for TileNodes<'_> {
    type Error = AuditError;

    fn node(&self, height: u32, index: u64) -> Result<Hash, AuditError> {
        let level = (height / TILE_HEIGHT) as u8;
        let in_tile = height % TILE_HEIGHT;
        let kind = TileKind::Hashes(level);
        let first = index << in_tile; // among the hashes of the tile's level
        let number = first >> TILE_HEIGHT;
        let whole = Tile::full(kind, number);
        let tile = if whole.is_in(self.size) {
            Some(whole)
        } else {
            self.partials.iter().map(|(tile, _)| *tile).find(|tile| tile.kind() == kind && tile.index() == number)
        };
        let absent = || AuditError::damaged(whole.path(), "it does not hold a hash that it should");
        let bytes = self.tile(tile.ok_or_else(absent)?)?;
        subtree(&bytes, (first % (1 << TILE_HEIGHT)) as usize, in_tile).ok_or_else(absent)
    }
}

/// Records of `entries.log` with indices in `wanted`; the record `at` begins at `offset`.
pub(super) fn records(dir: &Path, offset: u64, mut at: u64, wanted: Range<u64>) -> Result<Vec<Record>, AuditError> {
    let path = dir.join(ENTRIES);
    let mut file = File::open(&path).map_err(|source| AuditError::io(&path, source))?;
    file.seek(SeekFrom::Start(offset)).map_err(|source| AuditError::io(&path, source))?;
    let mut reader = BufReader::new(file);
    let mut found = Vec::new();
    while at < wanted.end {
        let damaged = |what: &str| AuditError::damaged(format!("{ENTRIES}, entry {at}"), what);
        if at < wanted.start && record::skip(&mut reader).map_err(|source| AuditError::io(&path, source))? {
            at += 1;
            continue;
        }
        let record = record::read(&mut reader).map_err(|source| AuditError::io(&path, source))?;
        let record = record.ok_or_else(|| damaged("the file ends before it"))?.map_err(|flaw| damaged(flaw.describe()))?;
        if record.index != at {
            return Err(damaged("another entry stands in its place"));
        }
        if wanted.contains(&at) {
            found.push(record);
        }
        at += 1;
    }
    Ok(found)
}

/// The entry in a record, with its index.
pub(super) fn entry(record: &Record) -> Result<(u64, Entry), AuditError> {
    let entry = serde_json::from_slice(&record.json)
        .map_err(|error| AuditError::damaged(format!("{ENTRIES}, entry {}", record.index), format!("it is not an entry: {error}")))?;
    Ok((record.index, entry))
}

/// One entry, and all that shows that it is in the log: enough to check it offline with nothing but the log's public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The entry's number, from 0.
    pub index: u64,
    /// The entry's JSON, byte for byte as it was committed to.
    pub entry: String,
    /// Its salt, in base64. Who has it can check the entry against the public tree; nobody else can.
    pub salt: String,
    /// The hashes from the leaf's sibling up (RFC 6962, section 2.1.1).
    pub inclusion: Vec<Hash>,
    /// The signed checkpoint that the proof leads to.
    pub checkpoint: String,
}

/// Why a [`Proof`] proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFailure {
    /// The checkpoint is not the log's.
    #[error(transparent)]
    Checkpoint(#[from] NoteError),
    /// The hashes do not lead from the entry to the signed root.
    #[error(transparent)]
    Inclusion(#[from] ProofError),
    /// The salt cannot be read.
    #[error("the salt of the proof is not the base64 of {SALT_BYTES} bytes")]
    Salt,
}

impl Proof {
    /// Checks that the log that `key` speaks for holds the entry at its index.
    pub fn verify(&self, key: &VerifierKey) -> Result<Checkpoint, ProofFailure> {
        let checkpoint = Checkpoint::open(&self.checkpoint, key)?;
        let salt = STANDARD.decode(&self.salt).map_err(|_| ProofFailure::Salt)?;
        let salt: [u8; SALT_BYTES] = salt.try_into().map_err(|_| ProofFailure::Salt)?;
        let leaf = leaf_hash(commitment(&salt, self.entry.as_bytes()).bytes());
        verify_inclusion(&leaf, self.index, checkpoint.size, &self.inclusion, &checkpoint.root)?;
        Ok(checkpoint)
    }
}

/// The proof of the only one of `records`. It is checked before it is given out: a damaged tile shows here.
pub(super) fn proof(records: &[Record], nodes: &TileNodes<'_>, note: &str, key: &VerifierKey) -> Result<Proof, AuditError> {
    let [record] = records else { return Err(AuditError::damaged(ENTRIES, "the entry is absent")) };
    let json = String::from_utf8(record.json.clone()).map_err(|_| AuditError::damaged(ENTRIES, "an entry is not text"))?;
    let proof = Proof {
        index: record.index,
        entry: json,
        salt: STANDARD.encode(record.salt),
        inclusion: inclusion(nodes, record.index, nodes.size)?,
        checkpoint: note.to_owned(),
    };
    match proof.verify(key) {
        Ok(_) => Ok(proof),
        Err(failure) => Err(AuditError::damaged(format!("entry {}", record.index), format!("its own proof fails: {failure}"))),
    }
}

/// A log's folder, read only. Another process may have the log open meanwhile.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
    key: VerifierKey,
}

impl Folder {
    /// The folder `dir`, with the public key that is stored in it.
    pub fn open(dir: &Path) -> Result<Self, AuditError> {
        let bytes = read_file(dir, PUBLIC_KEY)?
            .ok_or_else(|| AuditError::damaged(PUBLIC_KEY, "it is absent; is this the folder of an audit log?"))?;
        let text = String::from_utf8(bytes).map_err(|_| AuditError::damaged(PUBLIC_KEY, "it is not text"))?;
        let key = VerifierKey::parse(text.trim_end()).map_err(|error| AuditError::damaged(PUBLIC_KEY, error.to_string()))?;
        Ok(Self { dir: dir.to_owned(), key })
    }

    /// The stored public key.
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    /// The newest checkpoint, checked, and its note.
    pub fn checkpoint(&self) -> Result<(Checkpoint, String), AuditError> {
        let bytes = read_file(&self.dir, CHECKPOINT)?.ok_or_else(|| AuditError::damaged(CHECKPOINT, "it is absent"))?;
        let note = String::from_utf8(bytes).map_err(|_| AuditError::damaged(CHECKPOINT, "it is not text"))?;
        let checkpoint = Checkpoint::open(&note, &self.key).map_err(|error| AuditError::damaged(CHECKPOINT, error.to_string()))?;
        Ok((checkpoint, note))
    }

    /// Entries from `first`, at most `count`, with their indices: those that a checkpoint covers. Reads the file up to there.
    pub fn entries(&self, first: u64, count: usize) -> Result<Vec<(u64, Entry)>, AuditError> {
        let (checkpoint, _) = self.checkpoint()?;
        let end = checkpoint.size.min(first.saturating_add(u64::try_from(count).unwrap_or(u64::MAX)));
        let wanted = first..end.max(first);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        records(&self.dir, FILE_HEADER.len() as u64, 0, wanted)?.iter().map(entry).collect()
    }

    /// All that somebody needs to check that entry `index` is in the log; `None` if no checkpoint covers it. Reads the
    /// entries up to the checkpoint, since the unfinished tiles on disk may belong to a newer one.
    pub fn prove(&self, index: u64) -> Result<Option<Proof>, AuditError> {
        let (checkpoint, note) = self.checkpoint()?;
        if index >= checkpoint.size {
            return Ok(None);
        }
        let path = self.dir.join(ENTRIES);
        let mut reader = BufReader::new(File::open(&path).map_err(|source| AuditError::io(&path, source))?);
        reader.seek(SeekFrom::Start(FILE_HEADER.len() as u64)).map_err(|source| AuditError::io(&path, source))?;
        let mut growth = Growth::default();
        let mut wanted = Vec::new();
        while growth.size() < checkpoint.size {
            let at = growth.size();
            let damaged = |what: &str| AuditError::damaged(format!("{ENTRIES}, entry {at}"), what);
            let record = record::read(&mut reader).map_err(|source| AuditError::io(&path, source))?;
            let record = record.ok_or_else(|| damaged("the file ends before it"))?.map_err(|flaw| damaged(flaw.describe()))?;
            growth.push(record.commitment, |_, _| {});
            if at == index {
                wanted.push(record);
            }
        }
        let partials = growth.partials();
        let nodes = TileNodes { dir: &self.dir, size: checkpoint.size, partials: &partials };
        proof(&wanted, &nodes, &note, &self.key).map(Some)
    }
}
