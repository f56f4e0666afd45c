//! Rows by a text that they have: a code, an id, a URI.

use crate::hash::HashMap;
use crate::search::matches::canonical;
use crate::search::values::Value;
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// Seeded per process, so that nobody can choose codes that meet.
static SEED: LazyLock<foldhash::quality::RandomState> = LazyLock::new(foldhash::quality::RandomState::default);

/// What a text is found by.
pub(in crate::search) fn key(text: &str) -> u64 {
    SEED.hash_one(text)
}

/// Calls `with` for each text that a value is found by.
pub(super) fn each_key(value: &Value<'_>, with: &mut impl FnMut(&str)) {
    match value {
        Value::Token { code: "", .. } => {}
        Value::Token { code, .. } => with(code),
        Value::Reference { id, .. } => with(id),
        Value::Url(url) => with(canonical(url)),
        Value::Logical { value, .. } => with(value),
        Value::Uri(uri) => with(uri),
        // A composite is looked up by its first component.
        Value::Tuple(tuple) => {
            for value in tuple.components().next().into_iter().flatten() {
                if !matches!(value, Value::Tuple(_)) {
                    each_key(&value, with);
                }
            }
        }
        _ => {}
    }
}

/// For each key a chain of rows, the newest first.
#[derive(Default)]
pub(in crate::search) struct Keys {
    /// The last entry of a key, and how many there are.
    last: HashMap<u64, (u32, u32)>,
    /// A row, and the entry before it.
    entries: Vec<(u32, u32)>,
}

const NONE: u32 = u32::MAX;

impl Keys {
    /// Adds a row; how many bytes more that takes.
    pub(super) fn add(&mut self, row: u32, text: &str) -> usize {
        let at = self.entries.len() as u32; // far below 2^32: a segment's texts are
        let (last, count) = self.last.entry(key(text)).or_insert((NONE, 0));
        if self.entries.get(*last as usize).is_some_and(|(before, _)| *before == row) {
            return 0;
        }
        self.entries.push((row, *last));
        *last = at;
        *count += 1;
        if *count == 1 { 32 } else { 8 }
    }

    /// How many rows have the key.
    pub(super) fn count(&self, key: u64) -> usize {
        self.last.get(&key).map_or(0, |(_, count)| *count as usize)
    }

    /// The rows that have it, the newest first.
    pub(super) fn rows(&self, key: u64) -> impl Iterator<Item = u32> {
        let mut at = self.last.get(&key).map_or(NONE, |(last, _)| *last);
        std::iter::from_fn(move || {
            let (row, before) = *self.entries.get(at as usize)?;
            at = before;
            Some(row)
        })
    }
}
