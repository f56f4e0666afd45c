//! Anchors: what a cell shows, until enough persons have come and gone.
//!
//! A cell shows what was released of it at its *anchor*: an epoch of before. The anchor moves to the present epoch only when the
//! persons in the cell differ from those at the anchor by its *patience*: at least `difference`, and more by a number that is drawn
//! anew for each anchor and that nobody knows ([`Method::patience`]). So what is shown never changes because of fewer, that it changes
//! does not say who was the last of them, and an unchanged cell shows the same for ever. Of cells that never had `difference`
//! persons there is no anchor: they are suppressed.
//!
//! What was shown before is kept beside it, with the epoch that it was shown from: a question `as_of` then is answered with that, and
//! with nothing that was not released by then.
//!
//! The file of a table's anchors is described in `docs/formats/anchors.md`.

use super::cell::{Raw, Released, release};
use super::keys::{CellId, Limit, Seed};
use super::method::Method;
use roaring::RoaringBitmap;
use std::collections::HashMap;
use std::io;

/// The anchors of one table's cells.
#[derive(Clone, Debug, Default)]
pub struct Anchors {
    cells: HashMap<CellId, Anchor>,
    /// What each cell that was ever shown has shown, from the start of which epoch on (seconds since 1970), the last at the end.
    shown: HashMap<CellId, Vec<(i64, Released)>>,
    /// The start of the epoch that the table was first asked for in.
    since: Option<i64>,
    /// Whether any was set, moved or taken away since they were read.
    changed: bool,
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
const MAGIC: &[u8; 8] = b"DUGANC02";

impl Anchors {
    /// Begins to release the table in the epoch that starts at `epoch`.
    pub(super) fn begin(&mut self, epoch: i64) {
        self.changed |= self.since.is_none();
        self.since.get_or_insert(epoch);
    }

    /// What a cell shows in an epoch in which `raw` was counted; moves its anchor if it has to.
    pub(super) fn show(&mut self, cell: CellId, raw: &Raw, epoch: i64, seed: &Seed, method: &Method) -> Released {
        match self.cells.get(&cell) {
            None if raw.persons().len() < u64::from(method.difference()) => Released::default(),
            Some(anchor) if differ(anchor, raw.persons()) < u64::from(anchor.patience) => anchor.released,
            _ => {
                let released = release(raw, cell, seed, method);
                let draw = || seed.limit(cell, Limit::Anchor(raw.persons().len() << 32 | u64::from(raw.persons().max().unwrap_or(0))));
                let anchor = Anchor { released, persons: raw.persons().clone(), gone: 0, patience: method.patience(draw) };
                self.cells.insert(cell, anchor);
                self.note(cell, epoch, released);
                released
            }
        }
    }

    /// What a cell shows in which nobody was counted now.
    pub(super) fn show_empty(&mut self, cell: CellId, epoch: i64) -> Released {
        if self.cells.get(&cell).is_some_and(|anchor| differ(anchor, &RoaringBitmap::new()) >= u64::from(anchor.patience)) {
            self.cells.remove(&cell);
            self.note(cell, epoch, Released::default());
        }
        self.cells.get(&cell).map_or_else(Released::default, |anchor| anchor.released)
    }

    fn note(&mut self, cell: CellId, epoch: i64, released: Released) {
        self.changed = true;
        if self.shown_at(cell, i64::MAX) != released {
            self.shown.entry(cell).or_default().push((epoch, released));
        }
    }

    /// What a cell showed in the epoch that started at `epoch`: nothing, if it had not been asked for by then.
    pub(super) fn shown_at(&self, cell: CellId, epoch: i64) -> Released {
        let shown = self.shown.get(&cell).and_then(|shown| shown.iter().rfind(|(from, _)| *from <= epoch));
        shown.map_or_else(Released::default, |(_, released)| *released)
    }

    /// The start of the epoch that the table was first asked for in, in seconds since 1970.
    pub(super) fn since(&self) -> Option<i64> {
        self.since
    }

    /// Whether they are not what was read: they are to be kept before anything is shown.
    pub fn have_changed(&self) -> bool {
        self.changed
    }

    /// How many cells have one.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
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
        bytes.extend(self.since.unwrap_or(i64::MIN).to_le_bytes());
        bytes.extend((self.cells.len() as u64).to_le_bytes());
        let mut cells: Vec<(&CellId, &Anchor)> = self.cells.iter().collect();
        cells.sort_unstable_by_key(|(cell, _)| **cell);
        for (cell, anchor) in cells {
            bytes.extend(cell.0.to_le_bytes());
            put(&mut bytes, anchor.released);
            bytes.extend(anchor.gone.to_le_bytes());
            bytes.extend(anchor.patience.to_le_bytes());
            bytes.extend((anchor.persons.serialized_size() as u32).to_le_bytes());
            anchor.persons.serialize_into(&mut bytes)?;
        }
        let mut shown: Vec<(&CellId, &Vec<(i64, Released)>)> = self.shown.iter().collect();
        shown.sort_unstable_by_key(|(cell, _)| **cell);
        bytes.extend((shown.len() as u64).to_le_bytes());
        for (cell, shown) in shown {
            bytes.extend(cell.0.to_le_bytes());
            bytes.extend((shown.len() as u32).to_le_bytes());
            for (epoch, released) in shown {
                bytes.extend(epoch.to_le_bytes());
                put(&mut bytes, *released);
            }
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
        let since = Some(i64::from_le_bytes(take(&mut rest)?)).filter(|since| *since != i64::MIN);
        let count = u64::from_le_bytes(take(&mut rest)?);
        let mut cells = HashMap::new();
        for _ in 0..count {
            let cell = CellId(u128::from_le_bytes(take(&mut rest)?));
            let released = get(&mut rest)?;
            let gone = u32::from_le_bytes(take(&mut rest)?);
            let patience = u32::from_le_bytes(take(&mut rest)?);
            let length = u32::from_le_bytes(take(&mut rest)?) as usize;
            let bitmap = rest.split_off(..length).ok_or(DamagedAnchors("a set of persons is cut off"))?;
            let contributors = RoaringBitmap::deserialize_from(bitmap).map_err(|_| DamagedAnchors("a set of persons is none"))?;
            cells.insert(cell, Anchor { released, persons: contributors, gone, patience });
        }
        let mut shown = HashMap::new();
        for _ in 0..u64::from_le_bytes(take(&mut rest)?) {
            let cell = CellId(u128::from_le_bytes(take(&mut rest)?));
            let times = u32::from_le_bytes(take(&mut rest)?);
            let of_cell: Result<Vec<_>, _> = (0..times).map(|_| Ok((i64::from_le_bytes(take(&mut rest)?), get(&mut rest)?))).collect();
            shown.insert(cell, of_cell?);
        }
        if rest.is_empty() { Ok(Self { cells, shown, since, changed: false }) } else { Err(DamagedAnchors("something follows its end")) }
    }
}

fn differ(anchor: &Anchor, persons: &RoaringBitmap) -> u64 {
    anchor.persons.symmetric_difference_len(persons) + u64::from(anchor.gone)
}

/// Persons, rows and sum, as they are written.
fn put(bytes: &mut Vec<u8>, released: Released) {
    for number in [released.persons(), released.rows()] {
        bytes.extend(number.unwrap_or(u64::MAX).to_le_bytes());
    }
    bytes.push(u8::from(released.sum().is_some()));
    bytes.extend(released.sum().unwrap_or(0.0).to_le_bytes());
}

fn get(rest: &mut &[u8]) -> Result<Released, DamagedAnchors> {
    let number = |n: u64| (n != u64::MAX).then_some(n);
    let (persons, rows) = (number(u64::from_le_bytes(take(rest)?)), number(u64::from_le_bytes(take(rest)?)));
    let ([has_sum], sum) = (take(rest)?, f64::from_le_bytes(take(rest)?));
    Ok(Released::kept(persons, rows, (has_sum == 1).then_some(sum)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DamagedAnchors> {
    let (first, others) = rest.split_first_chunk::<N>().ok_or(DamagedAnchors("it is cut off"))?;
    *rest = others;
    Ok(*first)
}
