//! The Merkle tree of RFC 6962: hashes, the growing right edge, and proofs. Pure functions, no I/O.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};
use std::fmt;

/// How many levels of the tree one tile holds (C2SP tlog-tiles fixes 8).
pub const TILE_HEIGHT: u32 = 8;

/// How many hashes a full tile holds.
pub const TILE_WIDTH: usize = 1 << TILE_HEIGHT;

/// A SHA-256 hash. Its text form is standard base64 with padding, as checkpoints write it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// A hash of 32 given bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the text form; `None` if it is not exactly what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let hash = Self(bytes.try_into().ok()?);
        (hash.to_string() == text).then_some(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Hash::parse(&text).ok_or_else(|| D::Error::custom("not the base64 of a SHA-256 hash"))
    }
}

/// The hash of a leaf: SHA-256(0x00 || data) (RFC 6962, section 2.1).
pub fn leaf_hash(data: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0u8]);
    hasher.update(data);
    Hash(hasher.finalize().into())
}

/// The hash of an inner node: SHA-256(0x01 || left || right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1u8]);
    hasher.update(left.0);
    hasher.update(right.0);
    Hash(hasher.finalize().into())
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// The root of a perfect subtree over hashes of one level. `hashes` holds a power of two of them.
pub(crate) fn perfect(hashes: &[Hash]) -> Hash {
    debug_assert!(hashes.len().is_power_of_two());
    match hashes {
        [] => empty_root(),
        [one] => *one,
        [left, right] => node_hash(left, right),
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            node_hash(&perfect(left), &perfect(right))
        }
    }
}

/// The right edge of a growing tree: for each level of tiles, the hashes of its unfinished tile. At most 255 hashes a level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frontier {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Frontier {
    /// The edge of a tree of `size` leaves with these unfinished tiles.
    pub fn of(size: u64, levels: Vec<Vec<Hash>>) -> Self {
        Self { size, levels }
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The unfinished tiles, lowest level first; an empty one means that the level ends with a full tile.
    pub fn levels(&self) -> &[Vec<Hash>] {
        &self.levels
    }

    /// Adds a leaf. `full` is told (level, hashes) of every tile that this fills, lowest first.
    pub fn push(&mut self, leaf: Hash, mut full: impl FnMut(u8, &[Hash])) {
        self.size += 1;
        let mut carry = leaf;
        for level in 0u8.. {
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(Vec::with_capacity(TILE_WIDTH));
            }
            let Some(tile) = self.levels.get_mut(at) else { return };
            tile.push(carry);
            if tile.len() < TILE_WIDTH {
                return;
            }
            full(level, tile);
            carry = perfect(tile);
            tile.clear();
        }
    }

    /// The root hash: the perfect subtrees from the right edge leftwards, each combined with what is right of it.
    pub fn root(&self) -> Hash {
        let mut right: Option<Hash> = None;
        for tile in &self.levels {
            let mut rest = tile.as_slice();
            while !rest.is_empty() {
                let width = 1 << rest.len().trailing_zeros();
                let (before, subtree) = rest.split_at(rest.len() - width);
                let left = perfect(subtree);
                right = Some(right.map_or(left, |right| node_hash(&left, &right)));
                rest = before;
            }
        }
        right.unwrap_or_else(empty_root)
    }
}

/// Where proofs find the hashes of perfect subtrees.
pub trait Nodes {
    /// Why a hash cannot be had.
    type Error;

    /// The root over the leaves `index << height .. (index + 1) << height`.
    fn node(&self, height: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// A proof that does not show what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The numbers cannot be.
    #[error("the proof is about an entry or a size that the tree does not have")]
    OutOfRange,
    /// Too few or too many hashes.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The hashes lead elsewhere.
    #[error("the proof leads to another root hash than the signed one")]
    Root,
}

/// The largest power of two below `n`; `n` is at least 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// The root over the leaves `from..to`, a range that the RFC's recursion reaches. `from < to`.
fn range<N: Nodes>(nodes: &N, from: u64, to: u64) -> Result<Hash, N::Error> {
    let width = to - from;
    if width.is_power_of_two() {
        let height = width.trailing_zeros();
        return nodes.node(height, from >> height);
    }
    let middle = from + split(width);
    Ok(node_hash(&range(nodes, from, middle)?, &range(nodes, middle, to)?))
}

/// The root of the first `size` leaves.
pub fn root<N: Nodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 { Ok(empty_root()) } else { range(nodes, 0, size) }
}

/// The inclusion proof of leaf `index` in the tree of `size` leaves, leaf's sibling first (RFC 6962, section 2.1.1).
/// Empty unless `index < size`.
pub fn inclusion<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let mut path = Vec::new();
    if index >= size {
        return Ok(path);
    }
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(range(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range(nodes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 6962, section 2.1.2).
/// Empty if either is empty, or both are the same, or `old > new`.
pub fn consistency<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut from, mut to) = (0, new);
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(range(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range(nodes, from, middle)?);
            from = middle;
        }
    }
    // A subtree that starts at 0 is the old tree itself, whose root the verifier knows.
    if from != 0 {
        path.push(range(nodes, from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks an inclusion proof (RFC 9162, section 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let mut walk = Walk { node: index, last: size - 1 };
    let mut hash = *leaf;
    for sibling in path {
        hash = match walk.step()? {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    }
    walk.finish(hash == *root)
}

/// Checks a consistency proof (RFC 9162, section 2.1.4.2).
pub fn verify_consistency(old: u64, new: u64, old_root: &Hash, new_root: &Hash, path: &[Hash]) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::OutOfRange);
    }
    if old == 0 || old == new {
        let roots_fit = if old == new { old_root == new_root } else { *old_root == empty_root() };
        return match (path, roots_fit) {
            ([], true) => Ok(()),
            ([], false) => Err(ProofError::Root),
            _ => Err(ProofError::Length),
        };
    }
    let mut path = path.iter();
    let first = if old.is_power_of_two() { old_root } else { path.next().ok_or(ProofError::Length)? };
    let skip = (old - 1).trailing_ones();
    let mut walk = Walk { node: (old - 1) >> skip, last: (new - 1) >> skip };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for hash in path {
        match walk.step()? {
            Side::Left => {
                old_hash = node_hash(hash, &old_hash);
                new_hash = node_hash(hash, &new_hash);
            }
            Side::Right => new_hash = node_hash(&new_hash, hash),
        }
    }
    walk.finish(old_hash == *old_root && new_hash == *new_root)
}

/// On which side of the node the next hash of a proof stands.
enum Side {
    Left,
    Right,
}

/// The way from a node up to the root: its position and the last position of its level.
struct Walk {
    node: u64,
    last: u64,
}

impl Walk {
    fn step(&mut self) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::Length);
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // The last node of a level may be carried up several levels before it meets a left sibling.
            let carried = if self.node & 1 == 0 { self.node.trailing_zeros().min(63) } else { 0 };
            self.node >>= carried;
            self.last >>= carried;
            Side::Left
        } else {
            Side::Right
        };
        self.node >>= 1;
        self.last >>= 1;
        Ok(side)
    }

    fn finish(self, roots_fit: bool) -> Result<(), ProofError> {
        match (self.last, roots_fit) {
            (0, true) => Ok(()),
            (0, false) => Err(ProofError::Root),
            _ => Err(ProofError::Length),
        }
    }
}
