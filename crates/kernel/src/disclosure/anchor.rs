//! Anchors: what a cell shows, until enough persons have come and gone.
//!
//! A cell shows what was released of it at its *anchor*: an epoch of before. The anchor moves to the present epoch only when the
//! persons in the cell differ from those at the anchor by its *patience*: at least `difference`, and more by a number that is drawn
//! anew for each anchor and that nobody knows ([`Method::limit`]). So what is shown never changes because of fewer, that it changes
//! does not say who was the last of them, and an unchanged cell shows the same for ever. Of cells that never had `difference`
//! persons there is no anchor: they are suppressed.
//!
//! The file of a table's anchors is described in `docs/formats/anchors.md`.

use super::cell::{Raw, Released, release};
use super::keys::{CellId, Limit, Seed};
use super::method::Method;
use roaring::RoaringBitmap;
use std::collections::HashMap;
use std::io;

/// The anchors of one table's cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchors {
    cells: HashMap<CellId, Anchor>,
}

#[derive(Clone, Debug, PartialEq)]
struct Anchor {
    released: Released,
    /// Who was in it.
    persons: RoaringBitmap,
    /// How many of those who were in it have been erased since: they differ for ever.
    gone: u32,
    /// By how many persons a cell must differ from it before it moves.
    patience: u32,
}

/// A file of anchors that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the anchors are damaged: {0}")]
pub struct DamagedAnchors(&'static str);

/// The first bytes of a file of anchors.
const MAGIC: &[u8; 8] = b"DUGANC01";

impl Anchors {
    /// What a cell shows at an epoch in which `raw` was counted; moves its anchor if it has to.
    pub(super) fn show(&mut self, cell: CellId, raw: &Raw, seed: &Seed, method: &Method) -> Released {
        match self.cells.get(&cell) {
            None if raw.persons().len() < u64::from(method.difference()) => Released::default(),
            Some(anchor) if differ(anchor, raw.persons()) < u64::from(anchor.patience) => anchor.released,
            _ => {
                let released = release(raw, cell, seed, method);
                let patience = method
                    .limit(|| seed.limit(cell, Limit::Anchor(raw.persons().len() << 32 | u64::from(raw.persons().max().unwrap_or(0)))));
                self.cells.insert(cell, Anchor { released, persons: raw.persons().clone(), gone: 0, patience });
                released
            }
        }
    }

    /// What a cell shows in which nobody was counted now.
    pub(super) fn show_empty(&mut self, cell: CellId) -> Released {
        if self.cells.get(&cell).is_some_and(|anchor| differ(anchor, &RoaringBitmap::new()) >= u64::from(anchor.patience)) {
            self.cells.remove(&cell);
        }
        self.cells.get(&cell).map_or_else(Released::default, |anchor| anchor.released)
    }

    /// How many cells have one.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no cell has one.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Who was in each cell.
    #[cfg(test)]
    pub(super) fn persons(&self) -> HashMap<CellId, (Released, RoaringBitmap)> {
        self.cells.iter().map(|(cell, anchor)| (*cell, (anchor.released, anchor.persons.clone()))).collect()
    }

    /// Whether a cell has one.
    pub(super) fn has(&self, cell: CellId) -> bool {
        self.cells.contains_key(&cell)
    }

    /// Takes erased persons out. What is shown stays; that they are gone counts as a difference. Whether anybody was there.
    pub fn erase(&mut self, persons: &RoaringBitmap) -> bool {
        let mut any = false;
        for anchor in self.cells.values_mut() {
            let here = anchor.persons.intersection_len(persons);
            if here > 0 {
                anchor.persons -= persons;
                anchor.gone = anchor.gone.saturating_add(here as u32);
                any = true;
            }
        }
        any
    }

    /// The bytes of a file.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.cells.len() as u64).to_le_bytes());
        let mut cells: Vec<(&CellId, &Anchor)> = self.cells.iter().collect();
        cells.sort_unstable_by_key(|(cell, _)| **cell);
        for (cell, anchor) in cells {
            bytes.extend(cell.0.to_le_bytes());
            for number in [anchor.released.persons(), anchor.released.rows()] {
                bytes.extend(number.map_or(u64::MAX, |n| n).to_le_bytes());
            }
            bytes.push(u8::from(anchor.released.sum().is_some()));
            bytes.extend(anchor.released.sum().unwrap_or(0.0).to_le_bytes());
            bytes.extend(anchor.gone.to_le_bytes());
            bytes.extend(anchor.patience.to_le_bytes());
            bytes.extend((anchor.persons.serialized_size() as u32).to_le_bytes());
            anchor.persons.serialize_into(&mut bytes)?;
        }
        let sum = crc32fast::hash(&bytes);
        bytes.extend(sum.to_le_bytes());
        Ok(bytes)
    }

    /// Reads a file's bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DamagedAnchors> {
        let (content, sum) = bytes.split_last_chunk::<4>().ok_or(DamagedAnchors("it is too short"))?;
        if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
            return Err(DamagedAnchors("its checksum is not that of its content"));
        }
        let mut rest = content.strip_prefix(MAGIC).ok_or(DamagedAnchors("it is none, or of another version"))?;
        let count = u64::from_le_bytes(take(&mut rest)?);
        let mut cells = HashMap::new();
        for _ in 0..count {
            let cell = CellId(u128::from_le_bytes(take(&mut rest)?));
            let number = |n: u64| (n != u64::MAX).then_some(n);
            let persons = number(u64::from_le_bytes(take(&mut rest)?));
            let rows = number(u64::from_le_bytes(take(&mut rest)?));
            let [has_sum] = take(&mut rest)?;
            let sum = f64::from_le_bytes(take(&mut rest)?);
            let gone = u32::from_le_bytes(take(&mut rest)?);
            let patience = u32::from_le_bytes(take(&mut rest)?);
            let length = u32::from_le_bytes(take(&mut rest)?) as usize;
            let bitmap = rest.split_off(..length).ok_or(DamagedAnchors("a set of persons is cut off"))?;
            let contributors = RoaringBitmap::deserialize_from(bitmap).map_err(|_| DamagedAnchors("a set of persons is none"))?;
            let released = Released::kept(persons, rows, (has_sum == 1).then_some(sum));
            cells.insert(cell, Anchor { released, persons: contributors, gone, patience });
        }
        if rest.is_empty() { Ok(Self { cells }) } else { Err(DamagedAnchors("something follows its end")) }
    }
}

fn differ(anchor: &Anchor, persons: &RoaringBitmap) -> u64 {
    anchor.persons.symmetric_difference_len(persons) + u64::from(anchor.gone)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DamagedAnchors> {
    let (first, others) = rest.split_first_chunk::<N>().ok_or(DamagedAnchors("it is cut off"))?;
    *rest = others;
    Ok(*first)
}
