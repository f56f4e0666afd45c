//! Record keys and cell keys: what the noise of a cell follows from.
//!
//! A person's *record key* is a number of 64 bits that only the database can compute. A *cell key* is the sum of the record keys
//! of those who are in a cell. The noise follows from the cell key *and* from which cell it is: one cell of the same persons has
//! the same noise however it is asked for, and two cells of the same persons have unrelated noise.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// What the noise of a database follows from. Whoever has it can take the noise away.
#[derive(Clone)]
pub struct Seed {
    records: Aes128,
    cells: [u8; 32],
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)") // never the key
    }
}

/// Which cell it is: table, who counts, cohort, and code of each level, however they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CellId(pub u128);

/// Numbers that follow from a cell and those who are in it.
pub(super) struct Draws([u8; 32]);

fn derived(secret: &[u8; 32], what: &[u8]) -> [u8; 32] {
    let mut padded = [0; 64]; // HMAC itself pads a short key with zeros to the hash's block
    padded[..32].copy_from_slice(secret);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&Array::from(padded));
    mac.update(what);
    mac.finalize().into_bytes().into()
}

impl Seed {
    /// The seed of a database, from one of its secret keys.
    pub fn of(secret: &[u8; 32]) -> Self {
        let records = derived(secret, b"dugnad/record-key/1");
        let mut key = [0; 16];
        key.copy_from_slice(&records[..16]);
        Self { records: Aes128::new(&Array::from(key)), cells: derived(secret, b"dugnad/cell-key/1") }
    }

    /// The sum of the record keys of some persons.
    pub(super) fn cell_key(&self, persons: impl Iterator<Item = u32>) -> u64 {
        const AT_ONCE: usize = 64;
        let mut blocks = [Array::from([0; 16]); AT_ONCE];
        let (mut filled, mut sum) = (0, 0_u64);
        let mut flush = |blocks: &mut [aes::Block]| {
            self.records.encrypt_blocks(blocks);
            for block in blocks {
                let block: [u8; 16] = (*block).into();
                sum = sum.wrapping_add(u64::from_be_bytes(*block.first_chunk().unwrap_or(&[0; 8])));
            }
        };
        for person in persons {
            let mut block = [0; 16];
            block[12..].copy_from_slice(&person.to_be_bytes());
            blocks[filled] = Array::from(block);
            filled += 1;
            if filled == AT_ONCE {
                flush(&mut blocks);
                filled = 0;
            }
        }
        flush(&mut blocks[..filled]);
        sum
    }

    /// The draws of a cell.
    pub(super) fn draws(&self, cell: CellId, cell_key: u64) -> Draws {
        let mut what = [0; 24];
        what[..16].copy_from_slice(&cell.0.to_be_bytes());
        what[16..].copy_from_slice(&cell_key.to_be_bytes());
        Draws(derived(&self.cells, &what))
    }
}

/// Which of the limits of a cell is drawn: they have nothing to do with its noise, nor with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// How far it must be from the cell one step coarser in a dimension of the shape, by the id of that cell's level.
    Coarser(u128),
    /// By how many persons it must differ from its anchor before that moves.
    Anchor(u64),
}

impl Seed {
    /// A number from 0 up to but not including 1, for a limit of a cell.
    pub(super) fn limit(&self, cell: CellId, limit: Limit) -> f64 {
        let (kind, of) = match limit {
            Limit::Coarser(of) => (1, of),
            Limit::Anchor(of) => (2, u128::from(of)),
        };
        let mut what = [kind; 33];
        what[..16].copy_from_slice(&cell.0.to_be_bytes());
        what[16..32].copy_from_slice(&of.to_be_bytes());
        Draws(derived(&self.cells, &what)).noise()
    }
}

impl Draws {
    /// A number from 0 up to but not including 1: the place of the cell's noise among all possible.
    pub fn noise(&self) -> f64 {
        let bits = u64::from_be_bytes(*self.0.first_chunk().unwrap_or(&[0; 8]));
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The direction, -1 or 1, that the `nth` largest contribution moves a sum in.
    pub fn direction(&self, nth: usize) -> f64 {
        if self.0[31 - nth / 8] >> (nth % 8) & 1 == 0 { -1.0 } else { 1.0 }
    }
}

impl CellId {
    /// What a table is, before any category is chosen.
    pub fn of_table(said: &str) -> Self {
        Self(hash(&[said.as_bytes()]))
    }

    /// The hash of one category, to be added.
    pub fn of_category(level: &str, code: &str) -> u128 {
        hash(&[level.as_bytes(), code.as_bytes()])
    }

    /// The cell with a category more: in whatever order they are added, it is the same cell.
    pub fn and(self, category: u128) -> Self {
        Self(self.0.wrapping_add(category))
    }
}

/// The first 128 bits of the SHA-256 of texts, each after its length.
fn hash(texts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let hash: [u8; 32] = hash.finalize().into();
    u128::from_be_bytes(*hash.first_chunk().unwrap_or(&[0; 16]))
}
