//! What is worked out of the rows of a stored segment once, and kept as long as the segment: its rows do not change.

use super::persons::PersonMap;
use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::UInt32Type;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What has been worked out of a segment.
#[derive(Default)]
pub(super) struct Derived {
    persons: Mutex<Persons>,
    named: OnceLock<Option<Arc<[u64]>>>,
}

/// Columns of Patients as persons, by position; of the map that was asked for last.
#[derive(Default)]
struct Persons {
    of: Arc<PersonMap>,
    columns: BTreeMap<usize, ArrayRef>,
}

impl Derived {
    /// The column of Patients at `position` as persons.
    pub(super) fn persons(&self, position: usize, column: ArrayRef, map: &Arc<PersonMap>) -> ArrayRef {
        let lock = || self.persons.lock().unwrap_or_else(PoisonError::into_inner);
        let known = {
            let known = lock();
            if Arc::ptr_eq(&known.of, map) { known.columns.get(&position).cloned() } else { None }
        };
        if let Some(known) = known {
            return known;
        }
        // Not under the lock: another reader may work it out too.
        let persons = of_persons(column, map);
        let mut known = lock();
        if !Arc::ptr_eq(&known.of, map) {
            *known = Persons { of: Arc::clone(map), columns: BTreeMap::new() };
        }
        known.columns.insert(position, Arc::clone(&persons));
        persons
    }

    /// A bit for each Patient that a row names in one of `columns`; `None` where that would take more memory than a column.
    pub(super) fn named(&self, columns: &[ArrayRef]) -> Option<Arc<[u64]>> {
        self.named.get_or_init(|| bits(columns)).clone()
    }
}

/// A column of Patients as persons.
pub(super) fn of_persons(column: ArrayRef, map: &PersonMap) -> ArrayRef {
    let persons = column.as_primitive_opt::<UInt32Type>().and_then(|patients| map.column(patients));
    persons.map_or(column, |persons| Arc::new(persons))
}

fn bits(columns: &[ArrayRef]) -> Option<Arc<[u64]>> {
    let columns: Vec<&UInt32Array> = columns.iter().filter_map(|c| c.as_primitive_opt::<UInt32Type>()).collect();
    let most = columns.iter().flat_map(|c| c.iter().flatten()).max().unwrap_or_default();
    let mut bits = vec![0_u64; most as usize / 64 + 1];
    let rows = columns.first().map_or(0, |c| c.len());
    if 2 * bits.len() > rows {
        return None;
    }
    for patient in columns.iter().flat_map(|c| c.iter().flatten()) {
        if let Some(word) = bits.get_mut(patient as usize / 64) {
            *word |= 1 << (patient % 64);
        }
    }
    Some(bits.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PatientOrdinal;

    #[test]
    fn persons_are_those_of_the_map_that_is_asked_for() {
        let derived = Derived::default();
        let column: ArrayRef = Arc::new(UInt32Array::from(vec![Some(1), None, Some(2), Some(3)]));
        let mut map = PersonMap::default();
        map.set(PatientOrdinal(3), PatientOrdinal(1));
        let (one, mut other) = (Arc::new(map.clone()), map);
        other.set(PatientOrdinal(2), PatientOrdinal(1));
        let other = Arc::new(other);
        for _ in 0..2 {
            for (map, expected) in [
                (&one, vec![Some(1), None, Some(2), Some(1)]),
                (&one, vec![Some(1), None, Some(2), Some(1)]),
                (&other, vec![Some(1), None, Some(1), Some(1)]),
            ] {
                let persons = derived.persons(1, Arc::clone(&column), map);
                assert_eq!(persons.as_primitive::<UInt32Type>(), &UInt32Array::from(expected));
            }
        }
    }

    #[test]
    fn who_is_named_has_a_bit_where_bits_are_few() {
        let rows: ArrayRef = Arc::new((0..200).map(|row| (row % 3 > 0).then_some(row)).collect::<UInt32Array>());
        let others: ArrayRef = Arc::new((0..200).map(|row| (row == 7).then_some(300)).collect::<UInt32Array>());
        let bits = Derived::default().named(&[rows, others]).unwrap_or_default();
        let set: Vec<u32> = (0..64 * bits.len() as u32).filter(|p| bits[*p as usize / 64] >> (p % 64) & 1 == 1).collect();
        assert_eq!(set, (0..200).filter(|p| p % 3 > 0).chain([300]).collect::<Vec<_>>());
        let far: ArrayRef = Arc::new(UInt32Array::from(vec![1, 2, 1_000_000]));
        assert_eq!(Derived::default().named(&[far]), None);
    }
}
