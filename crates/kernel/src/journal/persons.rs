//! What tells that Patients are one person, as it is now, and whose person changed when.

use super::lookup::Lookup;
use super::writer::Writer;
use super::{JournalError, NationalHash};
use crate::ids::{Commit, PatientOrdinal};
use rusqlite::params;

impl Lookup<'_> {
    /// The Patients that share an identifier with this one, or are linked with it, in either direction.
    pub(crate) fn neighbours(&self, patient: PatientOrdinal) -> Result<Vec<PatientOrdinal>, JournalError> {
        self.all(
            "SELECT other.patient FROM person_identifier mine JOIN person_identifier other ON other.hash = mine.hash
             WHERE mine.patient = ?1 AND other.patient <> ?1
             UNION SELECT other FROM person_link WHERE patient = ?1
             UNION SELECT patient FROM person_link WHERE other = ?1",
            [patient.0],
            |r| Ok(PatientOrdinal(r.get(0)?)),
        )
    }

    /// The Patients whose current version has an identifier.
    pub(crate) fn patients_with(&self, identifier: NationalHash) -> Result<Vec<PatientOrdinal>, JournalError> {
        self.all("SELECT patient FROM person_identifier WHERE hash = ?1", [identifier], |r| Ok(PatientOrdinal(r.get(0)?)))
    }

    /// Whose person changed until a commit, in order: (commit, patient, person).
    pub(crate) fn person_changes(&self, until: Commit) -> Result<Vec<(PatientOrdinal, PatientOrdinal)>, JournalError> {
        self.all("SELECT patient, person FROM person_change WHERE commit_number <= ?1 ORDER BY sequence", [until.0], |r| {
            Ok((PatientOrdinal(r.get(0)?), PatientOrdinal(r.get(1)?)))
        })
    }
}

impl Writer {
    /// What a Patient's current version says of who it is. Whether anything is different from before.
    pub(crate) fn set_person(
        &self,
        patient: PatientOrdinal,
        identifiers: &[NationalHash],
        links: &[PatientOrdinal],
    ) -> Result<bool, JournalError> {
        let lookup = self.lookup();
        let mut hashes =
            lookup.all("SELECT hash FROM person_identifier WHERE patient = ?1", [patient.0], |r| r.get::<_, NationalHash>(0))?;
        let mut others = lookup.all("SELECT other FROM person_link WHERE patient = ?1", [patient.0], |r| Ok(PatientOrdinal(r.get(0)?)))?;
        let (mut wanted_hashes, mut wanted_others) = (identifiers.to_vec(), links.to_vec());
        for hashes in [&mut hashes, &mut wanted_hashes] {
            hashes.sort_unstable();
            hashes.dedup();
        }
        for others in [&mut others, &mut wanted_others] {
            others.sort_unstable();
            others.dedup();
        }
        if hashes == wanted_hashes && others == wanted_others {
            return Ok(false);
        }
        self.run("DELETE FROM person_identifier WHERE patient = ?1", [patient.0])?;
        self.run("DELETE FROM person_link WHERE patient = ?1", [patient.0])?;
        for hash in wanted_hashes {
            self.run("INSERT INTO person_identifier (hash, patient) VALUES (?1, ?2)", params![hash, patient.0])?;
        }
        for other in wanted_others {
            self.run("INSERT INTO person_link (patient, other) VALUES (?1, ?2)", params![patient.0, other.0])?;
        }
        Ok(true)
    }

    /// From `commit` on `patient` belongs to `person`.
    pub(crate) fn add_person_change(&self, commit: Commit, patient: PatientOrdinal, person: PatientOrdinal) -> Result<(), JournalError> {
        self.run("INSERT INTO person_change (commit_number, patient, person) VALUES (?1, ?2, ?3)", params![commit.0, patient.0, person.0])
    }
}
