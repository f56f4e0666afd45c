//! Writing the journal: the one connection that does, used by the committer alone.

use super::lookup::identifier_hash;
use super::{JournalError, Lookup, Method};
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal};
use crate::live::MAX_HOLDER;
use rusqlite::{Connection, params};
use std::collections::HashMap;

/// The writing connection and the ordinals that it gives out next.
pub(crate) struct Writer {
    connection: Connection,
    kinds: HashMap<String, i64>,
    next_resource: u64,
    next_patient: u32,
    next_sequence: i64,
}

/// A version to be written.
pub(crate) struct NewVersion<'v> {
    pub(crate) number: u64,
    pub(crate) commit: Commit,
    /// The row of the version before, 0 if there is none.
    pub(crate) previous: i64,
    /// `None`: a deletion.
    pub(crate) json: Option<&'v [u8]>,
    pub(crate) method: Method,
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Result<Self, JournalError> {
        connection.set_prepared_statement_cache_capacity(64);
        let lookup = Lookup::new(&connection);
        let (resource, patient, sequence) = lookup.highest()?;
        let kinds = lookup.kinds()?.into_iter().map(|(id, name)| (name, id)).collect();
        Ok(Self { connection, kinds, next_resource: resource + 1, next_patient: patient + 1, next_sequence: sequence + 1 })
    }

    /// Looks at the journal as the open transaction leaves it.
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        Lookup::new(&self.connection)
    }

    /// Begins the transaction of a group.
    pub(crate) fn begin(&mut self) -> Result<(), JournalError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        Ok(())
    }

    /// Makes the group durable: when this returns Ok, it is on disk.
    pub(crate) fn commit(&mut self) -> Result<(), JournalError> {
        self.connection.execute_batch("COMMIT")?;
        Ok(())
    }

    /// Ends a transaction in which nothing was written.
    pub(crate) fn rollback(&mut self) -> Result<(), JournalError> {
        self.connection.execute_batch("ROLLBACK")?;
        Ok(())
    }

    pub(super) fn run(&self, sql: &str, p: impl rusqlite::Params) -> Result<(), JournalError> {
        self.connection.prepare_cached(sql)?.execute(p)?;
        Ok(())
    }

    pub(crate) fn register_holder(&mut self, name: &str) -> Result<HolderId, JournalError> {
        let highest = self.lookup().holders()?.last().map_or(0, |(id, _)| id.0);
        let next = highest.checked_add(1).filter(|next| *next <= MAX_HOLDER);
        let next = next.ok_or_else(|| JournalError::Inconsistent(format!("more than {MAX_HOLDER} holders")))?;
        self.run("INSERT INTO holder (id, name) VALUES (?1, ?2)", params![next, name])?;
        Ok(HolderId(next))
    }

    /// The number of a resource type or document kind, given out at first use.
    pub(crate) fn kind(&mut self, name: &str) -> Result<i64, JournalError> {
        if let Some(kind) = self.kinds.get(name) {
            return Ok(*kind);
        }
        self.run("INSERT INTO kind (name) VALUES (?1)", [name])?;
        let kind = self.connection.last_insert_rowid();
        self.kinds.insert(name.to_owned(), kind);
        Ok(kind)
    }

    pub(crate) fn add_commit(&self, commit: Commit, time_us: i64, holder: HolderId) -> Result<(), JournalError> {
        self.run("INSERT INTO commits (number, time_us, holder) VALUES (?1, ?2, ?3)", params![commit.0, time_us, holder.0])
    }

    /// Gives a resource its ordinal, and a Patient its patient ordinal; with its first version, if it is not only referred to.
    pub(crate) fn add_resource(
        &mut self,
        holder: HolderId,
        kind: i64,
        id: &str,
        is_patient: bool,
        first: Option<&NewVersion<'_>>,
    ) -> Result<(ResourceOrdinal, Option<PatientOrdinal>), JournalError> {
        let ordinal = self.next_resource;
        let patient = is_patient.then_some(self.next_patient);
        self.run(
            "INSERT INTO resource (ordinal, kind, holder, id, version, head, patient) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![ordinal, kind, holder.0, id, first.map_or(0, |v| v.number), first.map_or(0, |_| self.next_sequence), patient],
        )?;
        if let Some(version) = first {
            self.insert_version(ResourceOrdinal(ordinal), version)?;
        }
        self.next_resource += 1;
        self.next_patient += u32::from(is_patient);
        Ok((ResourceOrdinal(ordinal), patient.map(PatientOrdinal)))
    }

    /// Writes a version of a resource that has an ordinal, and makes it the resource's head.
    pub(crate) fn add_version(&mut self, resource: ResourceOrdinal, version: &NewVersion<'_>) -> Result<(), JournalError> {
        let sequence = self.insert_version(resource, version)?;
        self.run("UPDATE resource SET version = ?2, head = ?3 WHERE ordinal = ?1", params![resource.0, version.number, sequence])
    }

    fn insert_version(&mut self, resource: ResourceOrdinal, version: &NewVersion<'_>) -> Result<i64, JournalError> {
        let sequence = self.next_sequence;
        self.run(
            "INSERT INTO version (sequence, resource, number, commit_number, previous, json, method) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![sequence, resource.0, version.number, version.commit.0, version.previous, version.json, version.method.code()],
        )?;
        self.next_sequence += 1;
        Ok(sequence)
    }

    /// Makes a resource findable by an identifier's value.
    pub(crate) fn add_identifier(&self, holder: HolderId, kind: i64, value: &str, resource: ResourceOrdinal) -> Result<(), JournalError> {
        self.run(
            "INSERT OR IGNORE INTO identifier (hash, resource) VALUES (?1, ?2)",
            params![identifier_hash(holder, kind, value), resource.0],
        )
    }

    /// Notes something about the journal itself.
    pub(crate) fn set_meta(&self, key: &str, value: &str) -> Result<(), JournalError> {
        self.run("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", params![key, value])
    }

    pub(crate) fn add_idempotency(&self, holder: HolderId, key: &str, commit: Commit) -> Result<(), JournalError> {
        self.run("INSERT INTO idempotency (holder, key, commit_number) VALUES (?1, ?2, ?3)", params![holder.0, key, commit.0])
    }
}
