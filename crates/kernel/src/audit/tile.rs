//! Tiles: the tree cut into files (C2SP tlog-tiles), their names, their bytes, and how they grow.

use super::tree::{Frontier, Hash, TILE_HEIGHT, TILE_WIDTH, leaf_hash, perfect};

/// The levels of tiles that a tree of 2^64 leaves could have.
const MAX_LEVELS: u8 = 8;

/// Every leaf of an entry bundle is a commitment of 32 bytes, written after its length as a big-endian u16.
const LEAF_PREFIX: [u8; 2] = [0, 32];

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of perfect subtrees of 256^level leaves.
    Hashes(u8),
    /// The leaves themselves (an *entry bundle*).
    Entries,
}

/// One tile: which, and how much of it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    kind: TileKind,
    index: u64,
    /// 1 to 256.
    width: u16,
}

impl Tile {
    fn new(kind: TileKind, index: u64, width: usize) -> Self {
        debug_assert!((1..=TILE_WIDTH).contains(&width));
        Self { kind, index, width: width as u16 }
    }

    /// A full tile.
    pub fn full(kind: TileKind, index: u64) -> Self {
        Self::new(kind, index, TILE_WIDTH)
    }

    /// Another form of the same tile. `width` is 1 to 256.
    pub(crate) fn of_width(self, width: usize) -> Self {
        Self::new(self.kind, self.index, width)
    }

    /// What it holds.
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Its position in its level, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or leaves it holds: 1 to 256.
    pub fn width(&self) -> usize {
        usize::from(self.width)
    }

    /// Whether it has all its hashes and never changes again.
    pub fn is_full(&self) -> bool {
        self.width() == TILE_WIDTH
    }

    /// Its length in bytes.
    pub fn byte_len(&self) -> usize {
        match self.kind {
            TileKind::Hashes(_) => self.width() * 32,
            TileKind::Entries => self.width() * (LEAF_PREFIX.len() + 32),
        }
    }

    /// Whether a tree of `size` leaves has it. Partial forms of a full tile count: they were published once.
    pub fn is_in(&self, size: u64) -> bool {
        let level = match self.kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        };
        let hashes = size.checked_shr(u32::from(level) * TILE_HEIGHT).unwrap_or(0);
        let end = self.index.checked_mul(TILE_WIDTH as u64).and_then(|begin| begin.checked_add(u64::from(self.width)));
        end.is_some_and(|end| end <= hashes)
    }

    /// The tiles of a tree of `size` leaves that are not full, with the entry bundle first.
    pub fn partials(size: u64) -> Vec<Tile> {
        let at = |kind, count: u64| {
            let width = (count % TILE_WIDTH as u64) as usize;
            (width > 0).then(|| Tile::new(kind, count / TILE_WIDTH as u64, width))
        };
        let hashes = (0..MAX_LEVELS).filter_map(|level| at(TileKind::Hashes(level), size >> (u32::from(level) * TILE_HEIGHT)));
        at(TileKind::Entries, size).into_iter().chain(hashes).collect()
    }

    /// Its path under the log's prefix, such as `tile/0/x001/234.p/56`.
    pub fn path(&self) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        let index = groups.join("/");
        let kind = match self.kind {
            TileKind::Hashes(level) => level.to_string(),
            TileKind::Entries => "entries".to_owned(),
        };
        let partial = if self.is_full() { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{kind}/{index}{partial}")
    }

    /// Reads a path; `None` unless it is exactly what [`Tile::path`] writes for some tile: so no path leaves the folder.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes(level.parse().ok().filter(|level| *level < MAX_LEVELS)?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
            None => (rest, TILE_WIDTH),
        };
        let mut number = 0u64;
        for group in index.split('/') {
            let digits: u64 = group.trim_start_matches('x').parse().ok()?;
            number = number.checked_mul(1000)?.checked_add(digits)?;
        }
        let tile = Self::new(kind, number, width);
        (tile.path() == path).then_some(tile)
    }
}

/// The hash of the perfect subtree of `1 << height_in_tile` hashes that starts `at` hashes into a tile's bytes.
pub(crate) fn subtree(bytes: &[u8], at: usize, height_in_tile: u32) -> Option<Hash> {
    let width = 1usize << height_in_tile;
    let bytes = bytes.get(at * 32..(at + width) * 32)?;
    let hashes: Vec<Hash> = bytes.as_chunks::<32>().0.iter().map(|bytes| Hash::new(*bytes)).collect();
    Some(perfect(&hashes))
}

/// The bytes of a tile of hashes.
fn hash_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.bytes()).collect()
}

/// The bytes of an entry bundle.
fn bundle_bytes(commitments: &[Hash]) -> Vec<u8> {
    commitments.iter().flat_map(|commitment| LEAF_PREFIX.into_iter().chain(*commitment.bytes())).collect()
}

/// The tree and its unfinished tiles, as it grows. The writer, the recovery and the offline check all build it with this.
#[derive(Clone, Debug, Default)]
pub(crate) struct Growth {
    frontier: Frontier,
    commitments: Vec<Hash>,
}

impl Growth {
    /// The tree with this edge, whose last tile of leaves is full.
    pub fn of(frontier: Frontier) -> Self {
        Self { frontier, commitments: Vec::new() }
    }

    /// Its edge.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root hash.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Adds an entry by its commitment; `full` is given every tile that this fills.
    pub fn push(&mut self, commitment: Hash, mut full: impl FnMut(Tile, Vec<u8>)) {
        self.commitments.push(commitment);
        let last = self.frontier.size();
        if self.commitments.len() == TILE_WIDTH {
            full(Tile::full(TileKind::Entries, last / TILE_WIDTH as u64), bundle_bytes(&self.commitments));
            self.commitments.clear();
        }
        self.frontier.push(leaf_hash(commitment.bytes()), |level, hashes| {
            let index = last.checked_shr((u32::from(level) + 1) * TILE_HEIGHT).unwrap_or(0);
            full(Tile::full(TileKind::Hashes(level), index), hash_bytes(hashes));
        });
    }

    /// The tiles that are not full, in the order of [`Tile::partials`].
    pub fn partials(&self) -> Vec<(Tile, Vec<u8>)> {
        let bytes = |tile: Tile| match tile.kind {
            TileKind::Entries => bundle_bytes(&self.commitments),
            TileKind::Hashes(level) => self.frontier.levels().get(usize::from(level)).map(|hashes| hash_bytes(hashes)).unwrap_or_default(),
        };
        Tile::partials(self.size()).into_iter().map(|tile| (tile, bytes(tile))).collect()
    }
}
