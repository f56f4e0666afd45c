//! Erasure in the journal: who was erased, how far the purge has come, and the purge of versions.
//!
//! A version is purged by overwriting its JSON with a text of the same length: the record keeps its size, so SQLite writes over
//! the old bytes in place. Had it another size, cells would move between pages, and copies of what moved can stay in the free
//! part of a page, where no later purge finds them (`secure_delete` zeroes what is deleted, not what has moved).

use super::lookup::{Lookup, identifier_hash};
use super::{JournalError, Writer};
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal};
use rusqlite::params;
use rusqlite::types::ValueRef;

/// A person of one holder as the journal and the erasure list name them: a keyed hash, which tells nothing without the key.
pub(crate) type PersonHash = [u8; 32];

/// An erasure as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErasureRow {
    pub(crate) person: PersonHash,
    /// `None`: it came from an erasure list, and this journal has never heard of the person.
    pub(crate) patient: Option<PatientOrdinal>,
    pub(crate) commit: Commit,
    pub(crate) reason: String,
    /// The highest row of `version` when it was made: nothing about the person is taken afterwards.
    pub(crate) until: i64,
    /// Up to which row versions have been looked at since the database was opened; in memory only.
    pub(crate) purged: i64,
    /// When the purge was done, in microseconds.
    pub(crate) done_us: Option<i64>,
}

/// A version as the purge looks at it.
pub(crate) struct Candidate<'r> {
    pub(crate) sequence: i64,
    pub(crate) number: u64,
    pub(crate) commit: Commit,
    pub(crate) resource: ResourceOrdinal,
    pub(crate) holder: HolderId,
    pub(crate) kind: i64,
    pub(crate) id: &'r str,
    /// The row of the newest version of the resource.
    pub(crate) head: i64,
    /// `None`: a deletion, or erased already.
    pub(crate) json: Option<&'r [u8]>,
    /// The erasure that took the JSON away.
    pub(crate) erased: Option<Commit>,
}

/// A version to be purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Purged {
    pub(crate) sequence: i64,
    pub(crate) resource: ResourceOrdinal,
    pub(crate) commit: Commit,
    pub(crate) kind: i64,
    /// Bytes of its JSON; `None`: it has been overwritten before, and only its rows are to go.
    pub(crate) len: Option<usize>,
    /// The commit of the erasure.
    pub(crate) by: Commit,
    /// The row of the newest version of its resource when it was looked at.
    pub(crate) head: i64,
    /// Hashes under which it must not be found any more.
    pub(crate) identifiers: Vec<i64>,
}

impl Purged {
    /// Whether it was the newest version of its resource.
    pub(crate) fn is_head(&self) -> bool {
        self.head == self.sequence
    }
}

const MARK: &str = "erased by commit ";

/// The commit of the erasure that a mark names. A mark that says something else (none is written) is of the first commit.
pub(super) fn erased_by(mark: &str) -> Commit {
    Commit(mark.strip_prefix(MARK).and_then(|rest| rest.trim_end().parse().ok()).unwrap_or(1))
}

/// What stands in place of a JSON of `len` bytes.
fn mark(by: Commit, len: usize) -> String {
    let mut mark = format!("{MARK}{by}").into_bytes();
    mark.resize(len, b' '); // the shortest resource is longer than any mark
    String::from_utf8(mark).unwrap_or_default()
}

impl Lookup<'_> {
    /// A value of `meta`.
    pub(crate) fn meta(&self, key: &str) -> Result<String, JournalError> {
        let value = self.one("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0))?;
        value.ok_or_else(|| JournalError::Inconsistent(format!("its table meta lacks `{key}`")))
    }

    /// All erasures, by commit.
    pub(crate) fn erasures(&self) -> Result<Vec<ErasureRow>, JournalError> {
        let sql = "SELECT person, patient, commit_number, reason, until, done_us FROM erasure ORDER BY commit_number, person";
        self.all(sql, [], |r| {
            Ok(ErasureRow {
                person: r.get(0)?,
                patient: r.get::<_, Option<u32>>(1)?.map(PatientOrdinal),
                commit: Commit(r.get(2)?),
                reason: r.get(3)?,
                until: r.get(4)?,
                purged: 0,
                done_us: r.get(5)?,
            })
        })
    }

    /// Shows every Patient that has an ordinal: the ordinal, the holder and the id.
    pub(crate) fn each_patient(&self, mut show: impl FnMut(PatientOrdinal, HolderId, &str)) -> Result<(), JournalError> {
        let mut statement = self.connection.prepare("SELECT patient, holder, id FROM resource WHERE patient IS NOT NULL")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            show(PatientOrdinal(row.get(0)?), HolderId(row.get(1)?), row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?);
        }
        Ok(())
    }

    /// Shows the versions of rows `after + 1` to `until` in order, until `show` says that it is enough; the last row shown.
    pub(crate) fn each_version(
        &self,
        after: i64,
        until: i64,
        mut show: impl FnMut(&Candidate<'_>) -> Result<bool, JournalError>,
    ) -> Result<i64, JournalError> {
        let sql = "SELECT v.sequence, v.number, v.commit_number, v.resource, r.holder, r.kind, r.id, r.head, v.json
                   FROM version v JOIN resource r ON r.ordinal = v.resource WHERE v.sequence > ?1 AND v.sequence <= ?2 ORDER BY v.sequence";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![after, until])?;
        let mut last = until;
        while let Some(row) = rows.next()? {
            let candidate = Candidate {
                sequence: row.get(0)?,
                number: row.get(1)?,
                commit: Commit(row.get(2)?),
                resource: ResourceOrdinal(row.get(3)?),
                holder: HolderId(row.get(4)?),
                kind: row.get(5)?,
                id: row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?,
                head: row.get(7)?,
                json: if let ValueRef::Blob(json) = row.get_ref(8)? { Some(json) } else { None },
                erased: if let ValueRef::Text(mark) = row.get_ref(8)? { Some(erased_by(&String::from_utf8_lossy(mark))) } else { None },
            };
            if !show(&candidate)? {
                last = candidate.sequence;
                break;
            }
        }
        Ok(last)
    }
}

/// The hashes under which a resource with these identifiers is found.
pub(crate) fn identifier_hashes<'v>(holder: HolderId, kind: i64, values: impl Iterator<Item = &'v str>) -> Vec<i64> {
    values.map(|value| identifier_hash(holder, kind, value)).collect()
}

impl Writer {
    pub(crate) fn add_erasure(&self, row: &ErasureRow) -> Result<(), JournalError> {
        self.run(
            "INSERT INTO erasure (person, patient, commit_number, reason, until, done_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![row.person, row.patient.map(|p| p.0), row.commit.0, row.reason, row.until, row.done_us],
        )
    }

    /// Overwrites the JSON of a version, and takes its identifiers out of the index.
    pub(crate) fn purge(&self, version: &Purged) -> Result<(), JournalError> {
        let Some(len) = version.len else { return Ok(()) };
        self.run(
            "UPDATE version SET json = ?2 WHERE sequence = ?1 AND typeof(json) = 'blob'",
            params![version.sequence, mark(version.by, len)],
        )?;
        for hash in &version.identifiers {
            self.run("DELETE FROM identifier WHERE hash = ?1 AND resource = ?2", params![hash, version.resource.0])?;
        }
        // Of a Patient. The map of persons stays: it knows ordinals only.
        let patient = "(SELECT patient FROM resource WHERE ordinal = ?1)";
        self.run(&format!("DELETE FROM person_identifier WHERE patient = {patient}"), [version.resource.0])?;
        self.run(&format!("DELETE FROM person_link WHERE patient = {patient}"), [version.resource.0])?;
        Ok(())
    }

    /// The purge for a person is done, the write-ahead log included.
    pub(crate) fn set_erased(&self, person: &PersonHash, done_us: i64) -> Result<(), JournalError> {
        self.run("UPDATE erasure SET done_us = ?2 WHERE person = ?1", params![person, done_us])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_as_long_as_what_it_replaces() {
        for (by, len) in [(1, 60), (123_456, 61), (u64::MAX, 5_000), (7, 100_000)] {
            let mark = mark(Commit(by), len);
            assert_eq!((mark.len(), erased_by(&mark)), (len, Commit(by)));
        }
    }
}
