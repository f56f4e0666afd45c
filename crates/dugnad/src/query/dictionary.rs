//! The codes of one question.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::UInt32Type;
use datafusion::error::{DataFusionError, Result};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The texts of all codes that a question has met in visible rows, numbered, whichever table, column or part they come from:
/// so that equal numbers are equal texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Dictionary(Arc<RwLock<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Dictionary {
    /// The numbers of a dictionary column's texts. Only texts that its rows have are numbered.
    pub fn numbers(&self, codes: &ArrayRef) -> Result<ArrayRef> {
        let codes = dictionary(codes)?;
        let values = codes.values().as_string_opt::<i32>().ok_or_else(|| internal("a code is not stored as text"))?;
        let seen: Vec<u32> = occurring(codes);
        let numbers = self.numbered(seen.iter().map(|key| values.value(*key as usize)));
        let mut number_of = vec![0; values.len()];
        for (key, number) in seen.iter().zip(numbers) {
            number_of[*key as usize] = number;
        }
        // The key of a null may be anything.
        let numbered = codes.keys().values().iter().map(|key| number_of.get(*key as usize).copied().unwrap_or_default()).collect();
        Ok(Arc::new(UInt32Array::new(numbered, codes.nulls().cloned())))
    }

    fn numbered<'a>(&self, texts: impl Iterator<Item = &'a str> + Clone) -> Vec<u32> {
        {
            let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let known: Option<Vec<u32>> = texts.clone().map(|text| entries.numbers.get(text).copied()).collect();
            if let Some(known) = known {
                return known;
            }
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        texts.map(|text| entries.number(text)).collect()
    }

    /// The number of a text, if a row has it.
    pub fn number(&self, text: &str) -> Option<u32> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).numbers.get(text).copied()
    }

    /// The texts of numbers, as a dictionary of those that occur.
    pub fn texts(&self, numbers: &ArrayRef) -> Result<ArrayRef> {
        let numbers = numbers.as_primitive_opt::<UInt32Type>().ok_or_else(|| internal("a code is not a number"))?;
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (keys, seen) = renumbered(numbers, entries.texts.len());
        let texts = seen.iter().map(|number| entries.texts.get(*number as usize).map(AsRef::as_ref));
        let texts: StringArray = texts.collect();
        Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(texts))?))
    }
}

impl Entries {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32; // fewer than there are rows in memory
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }
}

fn internal(what: &str) -> DataFusionError {
    DataFusionError::Internal(what.to_owned())
}

fn dictionary(column: &ArrayRef) -> Result<&DictionaryArray<UInt32Type>> {
    column.as_dictionary_opt::<UInt32Type>().ok_or_else(|| internal("a code is not stored in a dictionary"))
}

/// A dictionary column with only the values that its rows have, in order of their first row.
///
/// A live table's dictionaries also hold the codes of other persons, of later commits, of deleted resources. Left as they
/// are, they would be in every Arrow answer; and as operators compute on the values of a dictionary, a CAST could fail, and so
/// tell, because of a value that no visible row has.
pub(super) fn compact(column: &ArrayRef) -> Result<ArrayRef> {
    let codes = dictionary(column)?;
    let (keys, seen) = numbered(codes);
    let same = seen.len() == codes.values().len() && seen.iter().enumerate().all(|(i, key)| i as u32 == *key);
    if same {
        return Ok(column.clone());
    }
    let values = take(codes.values(), &UInt32Array::from(seen), None)?;
    Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
}

/// The keys that rows of a dictionary column have, in the dictionary's order.
pub(super) fn occurring(codes: &DictionaryArray<UInt32Type>) -> Vec<u32> {
    let mut occurs = vec![false; codes.values().len()];
    let mut mark = |key: u32| {
        if let Some(occurs) = occurs.get_mut(key as usize) {
            *occurs = true;
        }
    };
    match codes.nulls() {
        None => codes.keys().values().iter().for_each(|key| mark(*key)),
        Some(valid) => codes.keys().values().iter().zip(valid).filter(|(_, valid)| *valid).for_each(|(key, _)| mark(*key)),
    }
    occurs.iter().zip(0..).filter(|(occurs, _)| **occurs).map(|(_, key)| key).collect()
}

/// The keys that rows of a dictionary column have, in order of their first row.
pub(super) fn in_order_of_rows(codes: &DictionaryArray<UInt32Type>) -> Vec<u32> {
    numbered(codes).1
}

fn numbered(codes: &DictionaryArray<UInt32Type>) -> (UInt32Array, Vec<u32>) {
    renumbered(codes.keys(), codes.values().len())
}

/// Numbers below `most`, renumbered in order of their first row, and which they were.
fn renumbered(numbers: &UInt32Array, most: usize) -> (UInt32Array, Vec<u32>) {
    const UNSEEN: u32 = u32::MAX;
    let mut position = vec![UNSEEN; most];
    let mut seen: Vec<u32> = Vec::new();
    let mut place = |number: u32| {
        let Some(position) = position.get_mut(number as usize) else { return 0 };
        if *position == UNSEEN {
            *position = seen.len() as u32;
            seen.push(number);
        }
        *position
    };
    let places = match numbers.nulls() {
        None => numbers.values().iter().map(|number| place(*number)).collect(),
        Some(valid) => numbers.values().iter().zip(valid).map(|(number, valid)| if valid { place(*number) } else { 0 }).collect(),
    };
    (UInt32Array::new(places, numbers.nulls().cloned()), seen)
}
