//! The persons of a population that is frozen: a document of the kind `person_list` with its permit's id, or, before the decision,
//! of the kind `named_persons` with the application's. The persons whose rows a release was computed from are such a list too
//! (`release_persons`, with the release's id).
//!
//! It holds ordinals of Patients and nothing else of them. An erasure takes away what an ordinal is of, and no list shows who was
//! erased. Persons follow the map of persons: a list of one Patient is of the whole person that the Patient is part of at the commit
//! that is asked about.

use super::procedure::ProcedureError;
use crate::ids::{Commit, PatientOrdinal};
use crate::live::Snapshot;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

/// How somebody is named in a list that is handed in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum PersonName {
    /// A hospital's Patient.
    Patient {
        /// The holder's name.
        holder: String,
        /// The logical id of its Patient.
        patient: String,
    },
    /// Whoever has this national identifier.
    Identifier {
        /// Its system, such as `urn:oid:2.16.578.1.12.4.1.4.1`.
        system: String,
        /// It.
        value: String,
    },
}

/// A list of Patients, made at a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonList {
    commit: Commit,
    patients: RoaringBitmap,
}

/// As it is kept.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    commit: Commit,
    /// The ordinals as a Roaring bitmap in its portable form, in base64.
    patients: String,
}

impl PersonList {
    /// The list of these Patients, as they were known at `commit`.
    pub fn new(commit: Commit, patients: RoaringBitmap) -> Self {
        Self { commit, patients }
    }

    /// Reads a stored list.
    pub fn parse(json: &str) -> Result<Self, ProcedureError> {
        let form = |what: String| ProcedureError::Form { document: "the list of persons", what };
        let stored: Stored = serde_json::from_str(json).map_err(|e| form(e.to_string()))?;
        let bytes = STANDARD.decode(&stored.patients).map_err(|e| form(e.to_string()))?;
        let patients = RoaringBitmap::deserialize_from(bytes.as_slice()).map_err(|e| form(e.to_string()))?;
        Ok(Self { commit: stored.commit, patients })
    }

    /// As it is stored.
    pub fn to_json(&self) -> Result<String, ProcedureError> {
        let form = |what: String| ProcedureError::Form { document: "the list of persons", what };
        let mut bytes = Vec::with_capacity(self.patients.serialized_size());
        self.patients.serialize_into(&mut bytes).map_err(|e| form(e.to_string()))?;
        let stored = Stored { commit: self.commit, patients: STANDARD.encode(bytes) };
        serde_json::to_string(&stored).map_err(|e| form(e.to_string()))
    }

    /// The commit that it was made at.
    pub fn commit(&self) -> Commit {
        self.commit
    }

    /// The Patients of the list, without those who were erased.
    pub fn patients(&self, erased: &[PatientOrdinal]) -> RoaringBitmap {
        let mut patients = self.patients.clone();
        for patient in erased {
            patients.remove(patient.0);
        }
        patients
    }

    /// The persons of the list, as a snapshot knows them; without those who were erased.
    pub fn persons(&self, snapshot: &Snapshot, erased: &[PatientOrdinal]) -> RoaringBitmap {
        self.patients(erased).iter().map(|patient| snapshot.person_of(patient)).collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_and_read_alike() {
        let list = PersonList::new(Commit(7), [3, 5, 70_000].into_iter().collect());
        let json = list.to_json().unwrap();
        assert_eq!(PersonList::parse(&json).unwrap(), list);
        for broken in [json.replace("commit", "comit"), json.replace("\"patients\":\"O", "\"patients\":\"?")] {
            assert!(matches!(PersonList::parse(&broken), Err(ProcedureError::Form { .. })), "{broken}");
        }
    }

    #[test]
    fn persons_are_named_in_two_ways() {
        let named = |json: &str| serde_json::from_str::<PersonName>(json);
        assert!(matches!(named(r#"{"holder": "H", "patient": "1"}"#), Ok(PersonName::Patient { .. })));
        assert!(matches!(named(r#"{"system": "urn:x", "value": "1"}"#), Ok(PersonName::Identifier { .. })));
        assert!(named(r#"{"holder": "H"}"#).is_err());
    }
}
