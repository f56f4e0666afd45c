//! Reading the journal. The same look-ups serve readers and, inside its own transaction, the writer.

use super::{JournalError, Method, erasure};
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal};
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// `IS NOT NULL` is what lets the index of patients answer: without it, all resources are read each time a database is opened.
const HIGHEST: &str = "SELECT (SELECT coalesce(max(ordinal), 0) FROM resource),
    (SELECT coalesce(max(patient), 0) FROM resource WHERE patient IS NOT NULL),
    (SELECT coalesce(max(sequence), 0) FROM version)";

/// Look-ups on one state of the journal.
pub(crate) struct Lookup<'c> {
    pub(super) connection: &'c Connection,
}

/// What the journal knows of a resource now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) ordinal: ResourceOrdinal,
    /// 0: referred to, never written.
    pub(crate) version: u64,
    /// The row of its newest version, 0 if there is none.
    pub(crate) sequence: i64,
    /// Or erased.
    pub(crate) deleted: bool,
    /// The commit that wrote the newest version.
    pub(crate) commit: Commit,
}

impl Head {
    /// Whether there is a current version that is no deletion.
    pub(crate) fn exists(&self) -> bool {
        self.version > 0 && !self.deleted
    }
}

/// One version as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredRow {
    pub(crate) number: u64,
    pub(crate) commit: Commit,
    pub(crate) time_us: i64,
    pub(crate) previous: i64,
    /// `None`: a deletion, or erased.
    pub(crate) json: Option<Vec<u8>>,
    pub(crate) method: Method,
    /// The erasure that took the JSON away.
    pub(crate) erased: Option<Commit>,
}

/// One version as recovery reads it, in the order of commits.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// Its row.
    pub(crate) sequence: i64,
    pub(crate) commit: Commit,
    pub(crate) resource: ResourceOrdinal,
    pub(crate) holder: HolderId,
    pub(crate) kind: i64,
    /// The commit of the version before, if that has rows: it is there, no deletion and not erased.
    pub(crate) previous: Option<Commit>,
    pub(crate) json: Option<Vec<u8>>,
}

impl<'c> Lookup<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        Self { connection }
    }

    pub(super) fn one<T>(
        &self,
        sql: &str,
        p: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, JournalError> {
        Ok(self.connection.prepare_cached(sql)?.query_row(p, read).optional()?)
    }

    pub(super) fn all<T>(
        &self,
        sql: &str,
        p: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, JournalError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(p, read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The number of a resource type or document kind.
    pub(crate) fn kind(&self, name: &str) -> Result<Option<i64>, JournalError> {
        self.one("SELECT id FROM kind WHERE name = ?1", [name], |r| r.get(0))
    }

    /// All kinds.
    pub(crate) fn kinds(&self) -> Result<Vec<(i64, String)>, JournalError> {
        self.all("SELECT id, name FROM kind ORDER BY id", [], |r| Ok((r.get(0)?, r.get(1)?)))
    }

    /// All holders, the centre included.
    pub(crate) fn holders(&self) -> Result<Vec<(HolderId, String)>, JournalError> {
        self.all("SELECT id, name FROM holder ORDER BY id", [], |r| Ok((HolderId(r.get(0)?), r.get(1)?)))
    }

    /// A resource that has been written or referred to.
    pub(crate) fn head(&self, holder: HolderId, kind: i64, id: &str) -> Result<Option<Head>, JournalError> {
        self.one(
            "SELECT r.ordinal, r.version, r.head, typeof(v.json) <> 'blob', coalesce(v.commit_number, 0) FROM resource r
             LEFT JOIN version v ON v.sequence = r.head WHERE r.id = ?1 AND r.kind = ?2 AND r.holder = ?3",
            params![id, kind, holder.0],
            read_head,
        )
    }

    /// The ids of the holder's current resources of a kind that may have an identifier of that value: whoever asks checks.
    pub(crate) fn with_identifier(&self, holder: HolderId, kind: i64, value: &str) -> Result<Vec<(String, Head)>, JournalError> {
        let rows = self.all(
            "SELECT r.ordinal, r.version, r.head, typeof(v.json) <> 'blob', v.commit_number, r.id FROM identifier i
             JOIN resource r ON r.ordinal = i.resource JOIN version v ON v.sequence = r.head
             WHERE i.hash = ?1 AND r.kind = ?2 AND r.holder = ?3 ORDER BY r.ordinal",
            params![identifier_hash(holder, kind, value), kind, holder.0],
            |r| Ok((r.get::<_, String>(5)?, read_head(r)?)),
        )?;
        Ok(rows.into_iter().filter(|(_, h)| h.exists()).collect())
    }

    /// The ids of the holder's resources of a kind that were written after a commit, each once, and what they are now.
    pub(crate) fn written_after(&self, commit: Commit, holder: HolderId, kind: i64) -> Result<Vec<(String, Head)>, JournalError> {
        self.all(
            "SELECT DISTINCT r.ordinal, r.version, r.head, typeof(h.json) <> 'blob', h.commit_number, r.id FROM version v
             JOIN resource r ON r.ordinal = v.resource JOIN version h ON h.sequence = r.head
             WHERE v.sequence > ?1 AND r.kind = ?2 AND r.holder = ?3 ORDER BY r.ordinal",
            params![self.sequence_at(commit)?, kind, holder.0],
            |r| Ok((r.get::<_, String>(5)?, read_head(r)?)),
        )
    }

    /// A version by its row.
    pub(crate) fn version(&self, sequence: i64) -> Result<Option<StoredRow>, JournalError> {
        self.one(
            "SELECT v.number, v.commit_number, c.time_us, v.previous, CASE typeof(v.json) WHEN 'blob' THEN v.json END,
                    CASE typeof(v.json) WHEN 'text' THEN v.json END, v.method FROM version v
             JOIN commits c ON c.number = v.commit_number WHERE v.sequence = ?1",
            [sequence],
            |r| {
                let erased = r.get::<_, Option<String>>(5)?.map(|mark| erasure::erased_by(&mark));
                let (number, commit) = (r.get(0)?, Commit(r.get(1)?));
                let json: Option<Vec<u8>> = r.get(4)?;
                let method = Method::read(json.is_none() && erased.is_none(), r.get(6)?);
                Ok(StoredRow { number, commit, time_us: r.get(2)?, previous: r.get(3)?, json, method, erased })
            },
        )
    }

    /// The version of a resource that a commit wrote, found among all that it wrote.
    pub(crate) fn version_in(&self, resource: ResourceOrdinal, commit: Commit) -> Result<Option<StoredRow>, JournalError> {
        let (first, last) = (self.sequence_at(Commit(commit.0.saturating_sub(1)))?, self.sequence_at(commit)?);
        let sql = "SELECT sequence FROM version WHERE sequence > ?1 AND sequence <= ?2 AND resource = ?3";
        let sequence = self.one(sql, params![first, last, resource.0], |r| r.get(0))?;
        sequence.map_or(Ok(None), |sequence| self.version(sequence))
    }

    /// The commit that a key was used in before.
    pub(crate) fn idempotent(&self, holder: HolderId, key: &str) -> Result<Option<Commit>, JournalError> {
        self.one("SELECT commit_number FROM idempotency WHERE holder = ?1 AND key = ?2", params![holder.0, key], |r| Ok(Commit(r.get(0)?)))
    }

    /// The newest commit and its time in microseconds.
    pub(crate) fn newest(&self) -> Result<Option<(Commit, i64)>, JournalError> {
        self.one("SELECT number, time_us FROM commits ORDER BY number DESC LIMIT 1", [], |r| Ok((Commit(r.get(0)?), r.get(1)?)))
    }

    /// The time of a commit in microseconds.
    pub(crate) fn time_us(&self, commit: Commit) -> Result<Option<i64>, JournalError> {
        self.one("SELECT time_us FROM commits WHERE number = ?1", [commit.0], |r| r.get(0))
    }

    /// The newest commit made at or before a time.
    pub(crate) fn commit_at(&self, time_us: i64) -> Result<Option<Commit>, JournalError> {
        // By the index of times, which do not go back: `max(number)` would look through commits until one is old enough.
        let sql = "SELECT number FROM commits WHERE time_us <= ?1 ORDER BY time_us DESC, number DESC LIMIT 1";
        self.one(sql, [time_us], |r| r.get(0).map(Commit))
    }

    /// The highest ordinals in use: resources, patients, versions.
    pub(crate) fn highest(&self) -> Result<(u64, u32, i64), JournalError> {
        Ok(self.one(HIGHEST, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.unwrap_or_default())
    }

    /// The row of the newest version of a resource; 0 if there is none.
    pub(crate) fn newest_version(&self, resource: ResourceOrdinal) -> Result<i64, JournalError> {
        Ok(self.one("SELECT head FROM resource WHERE ordinal = ?1", [resource.0], |r| r.get(0))?.unwrap_or_default())
    }

    /// The patient ordinal of a Patient resource.
    pub(crate) fn patient(&self, resource: ResourceOrdinal) -> Result<Option<PatientOrdinal>, JournalError> {
        let patient = self.one("SELECT patient FROM resource WHERE ordinal = ?1", [resource.0], |r| r.get::<_, Option<u32>>(0))?;
        Ok(patient.flatten().map(PatientOrdinal))
    }

    /// (holder, kind, id) of a resource.
    pub(crate) fn name(&self, resource: ResourceOrdinal) -> Result<Option<(HolderId, i64, String)>, JournalError> {
        self.one("SELECT holder, kind, id FROM resource WHERE ordinal = ?1", [resource.0], |r| {
            Ok((HolderId(r.get(0)?), r.get(1)?, r.get(2)?))
        })
    }

    /// (holder, id) of a patient.
    pub(crate) fn patient_name(&self, patient: PatientOrdinal) -> Result<Option<(HolderId, String)>, JournalError> {
        self.one("SELECT holder, id FROM resource WHERE patient = ?1", [patient.0], |r| Ok((HolderId(r.get(0)?), r.get(1)?)))
    }

    /// How many current resources and documents there are of each kind: reads all of them.
    pub(crate) fn current_by_kind(&self) -> Result<BTreeMap<String, i64>, JournalError> {
        let sql = "SELECT k.name, count(*) FROM resource r JOIN version v ON v.sequence = r.head JOIN kind k ON k.id = r.kind
                   WHERE typeof(v.json) = 'blob' GROUP BY k.name";
        Ok(self.all(sql, [], |r| Ok((r.get(0)?, r.get(1)?)))?.into_iter().collect())
    }

    /// The ids of the centre's documents of a kind.
    pub(crate) fn documents(&self, kind: i64) -> Result<Vec<String>, JournalError> {
        self.all("SELECT id FROM resource WHERE kind = ?1 AND holder = 0 AND head > 0 ORDER BY id", [kind], |r| r.get(0))
    }

    /// Up to `count` versions after the row `after`, in the order of commits.
    pub(crate) fn replay(&self, after: i64, count: u32) -> Result<Vec<Replayed>, JournalError> {
        let sql =
            "SELECT v.sequence, v.commit_number, v.resource, r.holder, r.kind, CASE typeof(p.json) WHEN 'blob' THEN p.commit_number END,
                    CASE typeof(v.json) WHEN 'blob' THEN v.json END
             FROM version v JOIN resource r ON r.ordinal = v.resource LEFT JOIN version p ON p.sequence = v.previous
             WHERE v.sequence > ?1 ORDER BY v.sequence LIMIT ?2";
        self.all(sql, params![after, count], read_replayed)
    }

    /// Up to `count` versions of resources of one kind after the row `after`, and up to which row that is: all that there are,
    /// if they are fewer.
    pub(crate) fn replay_of(&self, kind: i64, after: i64, count: u32) -> Result<(i64, Vec<Replayed>), JournalError> {
        let (_, _, newest) = self.highest()?;
        let sql =
            "SELECT v.sequence, v.commit_number, v.resource, r.holder, r.kind, CASE typeof(p.json) WHEN 'blob' THEN p.commit_number END,
                    CASE typeof(v.json) WHEN 'blob' THEN v.json END
             FROM version v JOIN resource r ON r.ordinal = v.resource LEFT JOIN version p ON p.sequence = v.previous
             WHERE v.sequence > ?1 AND v.sequence <= ?4 AND r.kind = ?3 ORDER BY v.sequence LIMIT ?2";
        let rows = self.all(sql, params![after, count, kind, newest], read_replayed)?;
        let full = rows.len() >= count as usize;
        let last = rows.last().filter(|_| full).map_or(newest, |r| r.sequence);
        Ok((last.max(after), rows))
    }

    /// The deletions of the holder's resources of a kind after a version and up to a commit, by commit and ordinal, at most `count`.
    pub(crate) fn deleted_between(
        &self,
        (commit, resource): (Commit, ResourceOrdinal),
        last: Commit,
        holder: HolderId,
        kind: i64,
        count: usize,
    ) -> Result<Vec<(Commit, ResourceOrdinal)>, JournalError> {
        let (from, to) = (self.sequence_at(Commit(commit.0.saturating_sub(1)))?, self.sequence_at(last)?);
        self.all(
            "SELECT v.commit_number, v.resource FROM version v JOIN resource r ON r.ordinal = v.resource
             WHERE v.sequence > ?1 AND v.sequence <= ?2 AND v.json IS NULL AND r.kind = ?3 AND r.holder = ?4
               AND (v.commit_number, v.resource) > (?5, ?6) ORDER BY v.commit_number, v.resource LIMIT ?7",
            params![from, to, kind, holder.0, commit.0, resource.0, count],
            |r| Ok((Commit(r.get(0)?), ResourceOrdinal(r.get(1)?))),
        )
    }

    /// The newest row of a commit at or before `commit`; 0 if there is none. Rows are in the order of commits.
    pub(crate) fn sequence_at(&self, commit: Commit) -> Result<i64, JournalError> {
        let (mut low, (_, _, mut high)) = (0, self.highest()?);
        while low < high {
            let middle = low + (high - low + 1) / 2;
            let of = "SELECT commit_number FROM version WHERE sequence >= ?1 ORDER BY sequence LIMIT 1";
            match self.one(of, [middle], |r| r.get::<_, u64>(0))? {
                Some(number) if number <= commit.0 => low = middle,
                _ => high = middle - 1,
            }
        }
        Ok(low)
    }
}

fn read_replayed(r: &Row<'_>) -> rusqlite::Result<Replayed> {
    Ok(Replayed {
        sequence: r.get(0)?,
        commit: Commit(r.get(1)?),
        resource: ResourceOrdinal(r.get(2)?),
        holder: HolderId(r.get(3)?),
        kind: r.get(4)?,
        previous: r.get::<_, Option<u64>>(5)?.map(Commit),
        json: r.get(6)?,
    })
}

fn read_head(r: &Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head { ordinal: ResourceOrdinal(r.get(0)?), version: r.get(1)?, sequence: r.get(2)?, deleted: r.get(3)?, commit: Commit(r.get(4)?) })
}

/// The hash under which an identifier's value is found; the value itself is not in the index.
pub(super) fn identifier_hash(holder: HolderId, kind: i64, value: &str) -> i64 {
    let mut hash = Sha256::new();
    hash.update(holder.0.to_be_bytes());
    hash.update(kind.to_be_bytes());
    hash.update(value.as_bytes());
    let digest = hash.finalize();
    let mut first = [0u8; 8];
    first.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    i64::from_be_bytes(first)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Each of the three is the end of an index, however many resources there are.
    #[test]
    fn what_was_given_out_last_is_found_without_reading_all() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {HIGHEST}")).unwrap();
        let steps: Vec<String> = plan.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        assert!(steps.iter().any(|step| step.contains("resource_by_patient")), "{steps:?}");
        assert!(!steps.iter().any(|step| step.starts_with("SCAN") && !step.contains("INDEX") && step != "SCAN CONSTANT ROW"), "{steps:?}");
    }
}
