//! Which Patients are one person. A person is called by the smallest ordinal of its Patients; most have one Patient only.

use crate::ids::PatientOrdinal;
use arrow::array::{Array, UInt32Array};
use std::sync::Arc;

/// How many patients stand together: so many are copied when one of them changes.
const CHUNK: usize = 1_024;

/// The person of each patient, at one commit. A clone shares what neither of the two changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonMap {
    /// By patient ordinal; absent where every patient is a person of their own.
    chunks: Vec<Option<Arc<[u32; CHUNK]>>>,
    /// How many patients are called by another one's ordinal.
    renamed: usize,
}

impl PersonMap {
    /// Whether every patient is a person of their own.
    pub fn is_identity(&self) -> bool {
        self.renamed == 0
    }

    /// The person of a patient.
    pub fn person(&self, patient: PatientOrdinal) -> PatientOrdinal {
        PatientOrdinal(self.of(patient.0))
    }

    fn of(&self, patient: u32) -> u32 {
        let at = patient as usize;
        let chunk = self.chunks.get(at / CHUNK).and_then(Option::as_ref);
        chunk.and_then(|c| c.get(at % CHUNK)).copied().unwrap_or(patient)
    }

    /// From now on `patient` belongs to `person`.
    pub fn set(&mut self, patient: PatientOrdinal, person: PatientOrdinal) {
        let (at, before) = (patient.0 as usize, self.of(patient.0));
        if before == person.0 {
            return;
        }
        if self.chunks.len() <= at / CHUNK {
            self.chunks.resize(at / CHUNK + 1, None);
        }
        let first = patient.0 - (at % CHUNK) as u32;
        if let Some(chunk) = self.chunks.get_mut(at / CHUNK) {
            let chunk = chunk.get_or_insert_with(|| Arc::new(std::array::from_fn(|i| first + i as u32)));
            if let Some(place) = Arc::make_mut(chunk).get_mut(at % CHUNK) {
                *place = person.0;
            }
        }
        self.renamed = self.renamed + usize::from(person != patient) - usize::from(before != patient.0);
    }

    /// A column of patients as persons; `None` if that is the same.
    pub(super) fn column(&self, patients: &UInt32Array) -> Option<UInt32Array> {
        if self.is_identity() {
            return None;
        }
        // Neighbouring rows are often about the same patient.
        let (mut last, mut person, mut same) = (u32::MAX, self.of(u32::MAX), true);
        let persons = patients.values().iter().map(|patient| {
            if *patient != last {
                (last, person) = (*patient, self.of(*patient));
                same &= last == person;
            }
            person
        });
        let persons = persons.collect();
        (!same).then(|| UInt32Array::new(persons, patients.nulls().cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_is_a_map_whose_clones_do_not_change(changes in prop::collection::vec((0u32..3_000, 0u32..3_000), 0..60)) {
            let (mut map, mut model, mut earlier) = (PersonMap::default(), HashMap::new(), Vec::new());
            for (patient, person) in changes {
                earlier.push((map.clone(), model.clone()));
                map.set(PatientOrdinal(patient), PatientOrdinal(person));
                model.insert(patient, person);
            }
            earlier.push((map, model));
            for (map, model) in earlier {
                for patient in 0..3_100 {
                    let person = model.get(&patient).copied().unwrap_or(patient);
                    prop_assert_eq!(map.person(PatientOrdinal(patient)), PatientOrdinal(person));
                }
                prop_assert_eq!(map.is_identity(), model.iter().all(|(a, b)| a == b));
            }
        }
    }
}
