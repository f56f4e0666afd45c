//! Indexes over packed values, in memory: made for a segment and a parameter when a search first needs them, and extended before a
//! search to all rows that its snapshot sees, so that the tail is indexed row by row and nothing is found late.
//!
//! An index says which rows to look at; [`super::matches`] decides. A writer never waits for one: it does not know them. They are
//! attached to their segment and go with it, or when together they take more than [`SEARCH_INDEX_BYTES`], the longest unused first.

mod keys;
mod probe;

pub(super) use probe::Probe;

use super::fold::fold;
use super::matches::{canonical_interval, interval};
use super::query::Moments;
use super::values::Value;
use super::values::packed::Packed;
use crate::hash::HashMap;
use crate::limits::SEARCH_INDEX_BYTES;
use crate::live::{Damaged, Part};
use arrow::array::{Array, ArrayRef, AsArray};
use keys::{Keys, each_key};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

/// What an index of a parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Use {
    /// Codes, ids, URIs: the same text.
    Key,
    /// Strings: how they begin, what they contain.
    String,
    /// The same of the texts beside codes and references.
    Text,
    /// Dates.
    Date,
    /// Numbers, whatever their unit.
    Number,
    /// Quantities with units of UCUM, in base units.
    Canonical,
}

/// Rows by what they have.
pub(super) enum Content {
    Keys(Keys),
    /// By folded text.
    Texts(BTreeMap<Box<str>, Vec<u32>>),
    Dates(Ranges<i64>),
    Numbers(Ranges<f64>),
}

/// A range for each value, in the order of rows.
#[derive(Default)]
pub(super) struct Ranges<T> {
    pub(super) rows: Vec<u32>,
    pub(super) low: Vec<T>,
    pub(super) high: Vec<T>,
}

impl<T> Ranges<T> {
    fn push(&mut self, row: u32, low: T, high: T) {
        self.rows.push(row);
        self.low.push(low);
        self.high.push(high);
    }
}

impl Content {
    fn new(of: Use) -> Self {
        match of {
            Use::Key => Self::Keys(Keys::default()),
            Use::String | Use::Text => Self::Texts(BTreeMap::new()),
            Use::Date => Self::Dates(Ranges::default()),
            Use::Number | Use::Canonical => Self::Numbers(Ranges::default()),
        }
    }

    /// Adds a value of a row. About how many bytes more it takes.
    fn add(&mut self, of: Use, row: u32, value: &Value<'_>) -> usize {
        match (self, of, value) {
            (Self::Keys(keys), _, value) => {
                let mut added = 0;
                each_key(value, &mut |text| added += keys.add(row, text));
                added
            }
            (Self::Texts(texts), Use::String, Value::String(text)) | (Self::Texts(texts), Use::Text, Value::Text(text)) => {
                let folded = fold(text);
                if let Some(rows) = texts.get_mut(&*folded) {
                    if rows.last() != Some(&row) {
                        rows.push(row);
                    }
                    return size_of::<u32>();
                }
                let bytes = folded.len() + 96; // the text, its pointers and its list, with what the allocator adds
                texts.insert(folded.into(), vec![row]);
                bytes
            }
            (Self::Dates(ranges), _, Value::Date(Moments { low, high })) => {
                ranges.push(row, *low, *high);
                20
            }
            (Self::Numbers(ranges), of, value) => match if of == Use::Canonical { canonical_interval(value) } else { interval(value) } {
                Some((low, high)) => {
                    ranges.push(row, low, high);
                    20
                }
                None => 0,
            },
            _ => 0,
        }
    }
}

struct Index {
    /// How many rows of the segment are in it.
    upto: usize,
    content: Content,
}

struct Slot {
    index: RwLock<Index>,
    /// When it was last looked at, as counted by [`Indexes::clock`].
    used: AtomicU64,
    bytes: AtomicUsize,
    total: Arc<AtomicUsize>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The indexes of one segment.
#[derive(Default)]
struct OfSegment {
    slots: Mutex<HashMap<(u16, Use), Arc<Slot>>>,
}

/// All indexes of a database: how much memory they take, and since when which is unused.
pub struct Indexes {
    budget: usize,
    total: Arc<AtomicUsize>,
    clock: AtomicU64,
    slots: Mutex<Vec<Weak<Slot>>>,
}

impl Default for Indexes {
    fn default() -> Self {
        Self::within(SEARCH_INDEX_BYTES)
    }
}

impl Indexes {
    /// Indexes that take so many bytes in all, or a little more for a moment.
    pub fn within(budget: usize) -> Self {
        Self { budget, total: Arc::default(), clock: AtomicU64::new(0), slots: Mutex::default() }
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Shows an index of a parameter that has all rows of the part.
    pub(super) fn look<T>(&self, part: &Part, number: u16, of: Use, look: impl FnOnce(&Content) -> T) -> Result<T, Damaged> {
        let slot = self.slot(part, number, of);
        slot.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        {
            let index = slot.index.read().unwrap_or_else(PoisonError::into_inner);
            if index.upto >= part.len() {
                return Ok(look(&index.content));
            }
        }
        let mut index = slot.index.write().unwrap_or_else(PoisonError::into_inner);
        if index.upto < part.len() {
            let added = extend(&mut index, part, number, of)?;
            slot.bytes.fetch_add(added, Ordering::Relaxed);
            self.total.fetch_add(added, Ordering::Relaxed);
        }
        let seen = look(&index.content);
        drop(index);
        if self.bytes() > self.budget {
            self.evict();
        }
        Ok(seen)
    }

    fn slot(&self, part: &Part, number: u16, of: Use) -> Arc<Slot> {
        let segment = part.attached(Arc::<OfSegment>::default).unwrap_or_default();
        let mut slots = segment.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry((number, of)).or_insert_with(|| {
            let slot = Arc::new(Slot {
                index: RwLock::new(Index { upto: 0, content: Content::new(of) }),
                used: AtomicU64::new(0),
                bytes: AtomicUsize::new(0),
                total: Arc::clone(&self.total),
            });
            self.slots.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&slot));
            slot
        });
        Arc::clone(slot)
    }

    /// Empties indexes, the longest unused first, until they take three quarters of the budget.
    fn evict(&self) {
        let mut all = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|slot| slot.strong_count() > 0);
        let mut slots: Vec<Arc<Slot>> = all.iter().filter_map(Weak::upgrade).collect();
        drop(all);
        slots.sort_by_key(|slot| slot.used.load(Ordering::Relaxed));
        for slot in slots {
            if self.bytes() <= self.budget / 4 * 3 {
                return;
            }
            // One that somebody is looking at is in use.
            let Ok(mut index) = slot.index.try_write() else { continue };
            let of = match &index.content {
                Content::Keys(_) => Content::Keys(Keys::default()),
                Content::Texts(_) => Content::Texts(BTreeMap::new()),
                Content::Dates(_) => Content::Dates(Ranges::default()),
                Content::Numbers(_) => Content::Numbers(Ranges::default()),
            };
            *index = Index { upto: 0, content: of };
            self.total.fetch_sub(slot.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// Adds the rows of the part that the index lacks; how many bytes more it takes.
fn extend(index: &mut Index, part: &Part, number: u16, of: Use) -> Result<usize, Damaged> {
    let rows = PackedRows::of(part)?;
    let mut added = 0;
    for row in index.upto..part.len() {
        for value in rows.get(row).values(usize::from(number)) {
            added += index.content.add(of, row as u32, &value); // a segment has 65,536 rows
        }
    }
    index.upto = part.len();
    Ok(added)
}

/// The packed values of a part's rows.
pub(crate) struct PackedRows(ArrayRef);

impl PackedRows {
    pub(crate) fn of(part: &Part) -> Result<Self, Damaged> {
        part.column(0).map(Self)
    }

    /// Those of a row; no values if there is no such row.
    pub(crate) fn get(&self, row: usize) -> Packed<'_> {
        let texts = self.0.as_string_view();
        Packed::new(if row < texts.len() { texts.value(row) } else { "" })
    }
}
