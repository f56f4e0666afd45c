//! Where opening begins to read: a note beside the log, which says what the tree is at an entry that a checkpoint covers.
//!
//! Nothing rests on it. The tree that goes on from it must lead to the signed root; a note that is absent or damaged costs a reading
//! of the whole log.

use super::disk::read_file;
use super::tile::Growth;
use super::tree::{Frontier, Hash, TILE_WIDTH};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The file.
pub(super) const RESUME: &str = "resume";

/// Its first bytes.
const HEADER: &[u8] = b"dugnad audit resume v1\n";

/// The note: its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resume {
    bytes: Vec<u8>,
    /// How many entries come before.
    pub size: u64,
}

/// What a note says.
pub(super) struct Begin {
    /// The tree there.
    pub growth: Growth,
    /// Where the next entry begins in `entries.log`.
    pub end: u64,
    /// The first entry that may be an intent without a completion.
    pub under_way: u64,
    /// Where every 256th entry before begins.
    pub offsets: Vec<u64>,
}

impl Resume {
    /// The note for a tree whose last tile of leaves is full.
    pub fn new(growth: &Growth, end: u64, under_way: Option<u64>, offsets: &[u64]) -> Self {
        let size = growth.size();
        let mut bytes = HEADER.to_vec();
        let levels = growth.frontier().levels();
        for number in [size, end, under_way.unwrap_or(size), levels.len() as u64] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for level in levels {
            bytes.extend_from_slice(&(level.len() as u64).to_be_bytes());
            level.iter().for_each(|hash| bytes.extend_from_slice(hash.bytes()));
        }
        offsets.iter().for_each(|offset| bytes.extend_from_slice(&offset.to_be_bytes()));
        let sum: [u8; 32] = Sha256::digest(&bytes).into();
        bytes.extend_from_slice(&sum);
        Self { bytes, size }
    }

    /// The file's content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the note in `dir`; `None` if there is none that can be used for a log of `signed` entries.
    pub fn read(dir: &Path, signed: u64) -> Option<Begin> {
        let bytes = read_file(dir, RESUME).ok()??;
        let (content, sum) = bytes.split_last_chunk::<32>()?;
        let found: [u8; 32] = Sha256::digest(content).into();
        let begin = parse(content.strip_prefix(HEADER)?).filter(|_| found == *sum);
        if begin.is_none() {
            tracing::warn!("{RESUME} of the audit log is damaged; the whole log is read");
        }
        begin.filter(|begin| begin.growth.size() <= signed)
    }
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*number))
}

fn parse(mut bytes: &[u8]) -> Option<Begin> {
    let (size, end, under_way, levels) = (number(&mut bytes)?, number(&mut bytes)?, number(&mut bytes)?, number(&mut bytes)?);
    let mut frontier = Vec::new();
    for _ in 0..levels.min(8) {
        let count = usize::try_from(number(&mut bytes)?).ok().filter(|count| *count < TILE_WIDTH)?;
        let (hashes, rest) = bytes.split_at_checked(count * 32)?;
        bytes = rest;
        frontier.push(hashes.as_chunks::<32>().0.iter().map(|hash| Hash::new(*hash)).collect());
    }
    let offsets = bytes.as_chunks::<8>().0.iter().map(|offset| u64::from_be_bytes(*offset)).collect::<Vec<_>>();
    let fits = size.is_multiple_of(TILE_WIDTH as u64) && offsets.len() as u64 == size / TILE_WIDTH as u64 && under_way <= size;
    fits.then(|| Begin { growth: Growth::of(Frontier::of(size, frontier)), end, under_way, offsets })
}
