//! Whose rows a question has read: the audit log says so of every record-level answer.
//!
//! The Patients of all rows that passed the permit and the filters of the question's scans. For an aggregate those are all who are in
//! it. An answer that leaves out further rows after the scan (a join, a filter on a computed value, the first rows of a sorted
//! answer) has read them to do so, and they count.

use datafusion::arrow::array::{Array, UInt32Array};
use datafusion::arrow::buffer::BooleanBuffer;
use roaring::RoaringBitmap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A set of Patients that grows while a question runs. A bit each, because a question over everybody adds every row; a clone is the
/// same set.
#[derive(Clone, Debug, Default)]
pub struct Delivered(Arc<Mutex<Vec<u64>>>);

impl Delivered {
    /// Adds the Patients of rows, of those whose bit is set or of all; rows about nobody are null.
    pub(super) fn add(&self, patients: &UInt32Array, rows: Option<&BooleanBuffer>) {
        let mut bits = self.lock();
        // Neighbouring rows are often about the same Patient.
        let mut last = None;
        let mut add = |patient: u32| {
            if last == Some(patient) {
                return;
            }
            last = Some(patient);
            let (at, bit) = (patient as usize / 64, 1 << (patient % 64));
            match bits.get_mut(at) {
                Some(word) => *word |= bit,
                None => {
                    bits.resize((at + 1).next_power_of_two(), 0);
                    bits[at] = bit;
                }
            }
        };
        let values = patients.values();
        match (rows, patients.nulls()) {
            (None, None) => values.iter().copied().for_each(&mut add),
            (None, Some(_)) => patients.iter().flatten().for_each(&mut add),
            (Some(rows), None) => rows.set_indices().for_each(|row| add(values[row])),
            (Some(rows), Some(there)) => (rows & there.inner()).set_indices().for_each(|row| add(values[row])),
        }
    }

    /// Adds the Patients whose bit is set.
    pub(super) fn add_all(&self, patients: &[u64]) {
        let mut bits = self.lock();
        if bits.len() < patients.len() {
            bits.resize(patients.len(), 0);
        }
        bits.iter_mut().zip(patients).for_each(|(mine, theirs)| *mine |= theirs);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Patients so far.
    pub fn set(&self) -> Arc<RoaringBitmap> {
        let bits = self.lock();
        let bytes: Vec<u8> = bits.iter().flat_map(|word| word.to_le_bytes()).collect();
        Arc::new(RoaringBitmap::from_lsb0_bytes(0, &bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_added_is_in_it() {
        let delivered = Delivered::default();
        assert!(delivered.set().is_empty());
        delivered.add(&UInt32Array::from(vec![3, 64, 3]), None);
        delivered.clone().add(&UInt32Array::from(vec![None, Some(1), None]), None);
        let rows = BooleanBuffer::from(vec![false, true, true, false]);
        delivered.add(&UInt32Array::from(vec![5, 70_000, 3, 6]), Some(&rows));
        delivered.add(&UInt32Array::from(vec![Some(7), None, Some(64), None]), Some(&rows));
        delivered.add_all(&[1 << 63 | 1 << 3, 1 << 1]);
        assert_eq!(delivered.set().iter().collect::<Vec<_>>(), [1, 3, 63, 64, 65, 70_000]);
        let few = Delivered::default();
        few.add_all(&[0, 4]);
        assert_eq!(few.set().iter().collect::<Vec<_>>(), [66]);
    }
}
