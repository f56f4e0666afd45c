//! The committer: one thread that orders all commits.

use super::Shared;
use super::prepare::{Operation, Prepared, Preparer, Unprepared};
use super::stamp::{STAMP_LEN, Stamped};
use super::tables::{PreparedCell, PreparedRow, Tables};
use super::write::{Outcome, WriteError, WriteRequest};
use crate::fhir::json;
use crate::hash::HashMap;
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal};
use crate::journal::{Head, JournalError, NewVersion, Replayed, Writer};
use crate::limits::MAX_GROUP;
use crate::live::{LiveCell, LiveTable, RowHead, Snapshot};
use bumpalo::Bump;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

/// What waits for the committer.
pub(super) enum Work {
    /// A prepared write. With `request`, one that has been overtaken too often: if it is stale again, it is prepared here.
    Write { prepared: Box<Prepared>, request: Option<Box<WriteRequest>>, reply: SyncSender<Reply> },
    /// A holder's registration.
    Holder { name: String, reply: SyncSender<Result<HolderId, WriteError>> },
    /// Something that is no member of a group: it has the committer and its connection to itself.
    Alone(Alone),
    /// Stop after what is queued before this.
    Close,
}

/// Work for the committer alone.
pub(super) type Alone = Box<dyn FnOnce(&mut Committer) -> Result<(), JournalError> + Send>;

/// The committer's answer to a write.
pub(super) enum Reply {
    /// Made, durable and published; or refused.
    Done(Result<Outcome, WriteError>),
    /// What it was prepared on has changed: prepare it again.
    Stale,
}

/// The ordinals of a resource; a Patient has both.
type Ordinals = (ResourceOrdinal, Option<PatientOrdinal>);

/// How many resources' ordinals are remembered, so that a reference to a recent encounter needs no look-up. About 100 bytes each.
const MAX_REMEMBERED: usize = 200_000;

/// What a new version does to the live tables, once it is durable.
struct Change {
    commit: Commit,
    holder: HolderId,
    resource: ResourceOrdinal,
    kind: String,
    /// The commit that wrote the version before, if that has rows.
    previous: Option<Commit>,
    rows: Vec<(usize, Vec<LiveCell>)>,
    /// By how much it changes the number of current resources of its kind: 1, 0 or -1.
    appeared: i64,
    modified: bool,
}

/// The committer's state. `next` and `time_us` advance when a group is durable.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Writer,
    pub(super) tables: Vec<LiveTable>,
    pub(super) newest: Commit,
    pub(super) time_us: i64,
    remembered: HashMap<(HolderId, i64, Box<str>), Ordinals>,
}

/// One member of a group, after it has been written to the journal's open transaction.
struct Member {
    reply: SyncSender<Reply>,
    answer: Reply,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer, tables: Vec<LiveTable>, newest: Commit, time_us: i64) -> Self {
        Self { shared, writer, tables, newest, time_us, remembered: HashMap::default() }
    }

    /// Commits what is queued, group by group, until it is told to close or the journal fails.
    pub(super) fn run(mut self, queue: &Receiver<Work>) {
        let mut held = None;
        while let Some(first) = held.take().or_else(|| queue.recv().ok()) {
            let (closing, result) = match first {
                Work::Alone(work) => (false, work(&mut self)),
                first => {
                    let mut group = vec![first];
                    while group.len() < MAX_GROUP
                        && held.is_none()
                        && let Ok(next) = queue.try_recv()
                    {
                        match next {
                            Work::Alone(_) => held = Some(next),
                            next => group.push(next),
                        }
                    }
                    (group.iter().any(|w| matches!(w, Work::Close)), self.commit_group(group))
                }
            };
            if let Err(error) = result {
                // A failed write or fsync: what SQLite or the disk made of it is unknown. Take nothing more; a restart finds out.
                tracing::error!(%error, "the journal has stopped");
                self.shared.stop(error.to_string());
                return;
            }
            if closing {
                self.shared.stop("the database is closed".to_owned());
                return;
            }
        }
    }

    /// The order of writes: journal, fsync (`COMMIT`), ends and rows into the live tables, the snapshot pointer, the
    /// answers. A crash before the fsync loses unanswered writes only; one after it loses nothing, since recovery fills the
    /// live tables from the journal with [`Committer::apply`], as here.
    fn commit_group(&mut self, group: Vec<Work>) -> Result<(), JournalError> {
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.clear(); // only between groups: see `ordinal`
        }
        self.writer.begin()?;
        let now_us = self.shared.clock.now().as_microsecond().max(self.time_us);
        let (mut members, mut holders, mut changes) = (Vec::with_capacity(group.len()), Vec::new(), Vec::new());
        let mut newest = self.newest;
        for work in group {
            match work {
                Work::Close | Work::Alone(_) => {}
                Work::Holder { name, reply } => holders.push((self.holder(&name)?, name, reply)),
                Work::Write { prepared, request, reply } => {
                    let answer = self.member(*prepared, request, Commit(newest.0 + 1), now_us, &mut changes)?;
                    newest = changes.last().map_or(newest, |c: &Change| c.commit.max(newest));
                    members.push(Member { reply, answer });
                }
            }
        }
        if newest == self.newest && holders.is_empty() {
            self.writer.rollback()?;
        } else if let Err(error) = self.writer.commit() {
            for member in members {
                let _ = member.reply.send(Reply::Done(Err(WriteError::Stopped(error.to_string())))); // nobody may be waiting
            }
            return Err(error);
        }
        // Durable. From here on nothing can fail.
        for (id, name, _) in &holders {
            self.shared.add_holder(*id, name);
        }
        for change in changes {
            self.apply(change);
        }
        if newest > self.newest {
            (self.newest, self.time_us) = (newest, now_us);
            self.publish();
        }
        for (id, _, reply) in holders {
            let _ = reply.send(Ok(id)); // nobody may be waiting
        }
        for member in members {
            let _ = member.reply.send(member.answer); // nobody may be waiting
        }
        Ok(())
    }

    fn holder(&mut self, name: &str) -> Result<HolderId, JournalError> {
        match self.writer.lookup().holders()?.into_iter().find(|(_, n)| n == name) {
            Some((id, _)) => Ok(id),
            None => self.writer.register_holder(name),
        }
    }

    /// Writes one member into the journal's open transaction, or says why not.
    fn member(
        &mut self,
        prepared: Prepared,
        request: Option<Box<WriteRequest>>,
        number: Commit,
        now_us: i64,
        changes: &mut Vec<Change>,
    ) -> Result<Reply, JournalError> {
        if let Some(replayed) = self.replayed(&prepared)? {
            return Ok(Reply::Done(Ok(replayed)));
        }
        let mut prepared = prepared;
        let prepared = if self.fresh(&mut prepared)? {
            prepared
        } else {
            let Some(request) = request else { return Ok(Reply::Stale) };
            let (lookup, erased) = (self.writer.lookup(), self.shared.erased_of(request.holder));
            let again = Preparer { lookup: &lookup, tables: &self.shared.tables, erased: &erased, new_id: &*self.shared.new_id };
            match again.prepare(&request) {
                Ok(prepared) => prepared,
                Err(Unprepared::Refused(error)) => return Ok(Reply::Done(Err(error))),
                Err(Unprepared::Journal(error)) => return Err(error),
            }
        };
        let time = Timestamp::from_microsecond(now_us).unwrap_or(Timestamp::UNIX_EPOCH);
        if prepared.operations.is_empty() {
            let commit = Commit(number.0 - 1);
            return Ok(Reply::Done(Ok(Outcome { commit, time, entries: prepared.entries, replayed: false })));
        }
        self.writer.add_commit(number, now_us, prepared.holder)?;
        if let Some(key) = &prepared.idempotency_key {
            self.writer.add_idempotency(prepared.holder, key, number)?;
        }
        for operation in prepared.operations {
            changes.push(self.write(prepared.holder, operation, number, &time)?);
        }
        Ok(Reply::Done(Ok(Outcome { commit: number, time, entries: prepared.entries, replayed: false })))
    }

    fn replayed(&self, prepared: &Prepared) -> Result<Option<Outcome>, JournalError> {
        let Some(key) = &prepared.idempotency_key else { return Ok(None) };
        let lookup = self.writer.lookup();
        let Some(commit) = lookup.idempotent(prepared.holder, key)? else { return Ok(None) };
        super::replayed_outcome(&lookup, commit).map(Some)
    }

    /// Whether all that the request was prepared on is still so. What it saw is then what the open transaction sees: a
    /// resource that was absent may have been referred to in the meantime.
    fn fresh(&self, prepared: &mut Prepared) -> Result<bool, JournalError> {
        let (lookup, erased) = (self.writer.lookup(), self.shared.erased_of(prepared.holder));
        if prepared.erasures != erased.known() {
            return Ok(false);
        }
        for operation in prepared.operations.iter_mut().filter(|o| o.looked_up) {
            let head = match lookup.kind(&operation.kind)? {
                Some(kind) => lookup.head(prepared.holder, kind, &operation.id)?,
                None => None,
            };
            if head.map_or((0, false), |h| (h.version, h.deleted)) != operation.seen.map_or((0, false), |h| (h.version, h.deleted)) {
                return Ok(false);
            }
            operation.seen = head;
        }
        let preparer = Preparer { lookup: &lookup, tables: &self.shared.tables, erased: &erased, new_id: &*self.shared.new_id };
        for matched in &prepared.matched {
            if !preparer.still(prepared.holder, matched)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn write(&mut self, holder: HolderId, operation: Operation, commit: Commit, time: &Timestamp) -> Result<Change, JournalError> {
        let kind = self.writer.kind(&operation.kind)?;
        let json = operation.json.map(|json| stamp(json, time));
        let version = NewVersion {
            number: operation.seen.map_or(1, |h| h.version + 1),
            commit,
            previous: operation.seen.map_or(0, |h| h.sequence),
            json: json.as_deref(),
        };
        let resource = match operation.seen {
            Some(head) => self.writer.add_version(head.ordinal, &version).map(|()| head.ordinal)?,
            None => self.first_version(holder, kind, operation.id.into(), operation.kind == "Patient", &version)?,
        };
        for value in &operation.identifiers {
            self.writer.add_identifier(holder, kind, value, resource)?;
        }
        let existed = operation.seen.is_some_and(|h| h.exists());
        let mut rows = Vec::with_capacity(operation.rows.len());
        for row in operation.rows {
            rows.push((row.table, self.resolve(holder, row)?));
        }
        Ok(Change {
            commit,
            holder,
            resource,
            kind: operation.kind,
            previous: operation.seen.filter(Head::exists).map(|h| h.commit),
            rows,
            appeared: i64::from(json.is_some()) - i64::from(existed),
            modified: operation.modified,
        })
    }

    /// A row with its keys resolved to ordinals, which are given out at the first mention of a resource.
    fn resolve(&mut self, holder: HolderId, row: PreparedRow) -> Result<Vec<LiveCell>, JournalError> {
        let mut cells = Vec::with_capacity(row.cells.len());
        for cell in row.cells {
            cells.push(match cell {
                PreparedCell::Cell(cell) => cell,
                PreparedCell::Key { kind, id, patient } => {
                    let kind = self.writer.kind(kind)?;
                    let (resource, ordinal) = self.ordinal(holder, kind, id, patient)?;
                    if patient { ordinal.map_or(LiveCell::Null, LiveCell::Patient) } else { LiveCell::Resource(resource) }
                }
            });
        }
        Ok(cells)
    }

    /// Writes the first version of a resource of which [`Committer::fresh`] has found no trace, or whose id has just been
    /// drawn. Only its own transaction can have referred to it since, and what that refers to is remembered.
    fn first_version(
        &mut self,
        holder: HolderId,
        kind: i64,
        id: Box<str>,
        is_patient: bool,
        version: &NewVersion<'_>,
    ) -> Result<ResourceOrdinal, JournalError> {
        let key = (holder, kind, id);
        if let Some((resource, _)) = self.remembered.get(&key) {
            self.writer.add_version(*resource, version)?;
            return Ok(*resource);
        }
        let found = self.writer.add_resource(holder, kind, &key.2, is_patient, Some(version))?;
        self.remembered.insert(key, found);
        Ok(found.0)
    }

    /// The ordinals of a resource that is referred to, given out at its first mention.
    fn ordinal(
        &mut self,
        holder: HolderId,
        kind: i64,
        id: Box<str>,
        is_patient: bool,
    ) -> Result<(ResourceOrdinal, Option<PatientOrdinal>), JournalError> {
        let key = (holder, kind, id);
        if let Some(found) = self.remembered.get(&key) {
            return Ok(*found);
        }
        let lookup = self.writer.lookup();
        let found = match lookup.head(holder, kind, &key.2)? {
            Some(head) if is_patient => (head.ordinal, lookup.patient(head.ordinal)?),
            Some(head) => (head.ordinal, None),
            None => self.writer.add_resource(holder, kind, &key.2, is_patient, None)?,
        };
        self.remembered.insert(key, found);
        Ok(found)
    }

    /// Brings the live tables to a commit that is durable.
    fn apply(&mut self, change: Change) {
        let tables = self.shared.tables.of_type(&change.kind);
        if let Some(previous) = change.previous {
            for table in tables.iter().filter_map(|t| self.tables.get(*t)) {
                table.end(change.resource, previous, change.commit);
            }
        }
        self.shared.count(&change.kind, change.appeared, change.modified);
        if change.rows.is_empty() {
            return;
        }
        let holder = self.shared.holder_cell(change.holder);
        let head = RowHead { begin: change.commit, resource: change.resource, holder: change.holder };
        for (table, cells) in change.rows {
            if let Some(table) = self.tables.get_mut(table) {
                table.begin(head, &cells, &holder);
            }
        }
    }

    /// One pointer: from here on every reader that asks sees the newest commit.
    pub(super) fn publish(&self) {
        let time = Timestamp::from_microsecond(self.time_us).unwrap_or(Timestamp::UNIX_EPOCH);
        let tables = self.tables.iter().map(|t| t.snapshot(self.newest)).collect();
        let snapshot = Snapshot::new(self.newest, time, tables).hiding(&Arc::new(self.shared.erasures.load().to_hide()));
        self.shared.snapshot.store(Arc::new(snapshot));
    }
}

/// The JSON with the commit's time as `meta.lastUpdated`.
fn stamp(stamped: Stamped, time: &Timestamp) -> Vec<u8> {
    let mut json = stamped.json;
    if let Some(place) = stamped.stamp_at.and_then(|at| json.get_mut(at..at + STAMP_LEN)) {
        place.copy_from_slice(format!("{time:.6}").as_bytes());
    }
    json
}

/// Filling the live tables from the journal, when a database is opened.
impl Committer {
    /// Brings the live tables to the journal's newest commit. `progress` is told (versions done, versions in all).
    pub(super) fn recover(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), JournalError> {
        let (_, _, in_all) = self.writer.lookup().highest()?;
        let in_all = u64::try_from(in_all).unwrap_or_default();
        let kinds: HashMap<i64, String> = self.writer.lookup().kinds()?.into_iter().collect();
        let mut after = 0;
        loop {
            let (last, versions) = self.writer.lookup().replay(after, REPLAY_CHUNK)?;
            if versions.is_empty() {
                break;
            }
            after = last;
            let rows = evaluate(&self.shared.tables, &kinds, &versions)?;
            for (version, (rows, modified)) in versions.into_iter().zip(rows) {
                let change = self.replayed_change(version, rows, modified, &kinds)?;
                self.apply(change);
            }
            if self.remembered.len() >= MAX_REMEMBERED {
                self.remembered.clear();
            }
            progress(u64::try_from(after).unwrap_or_default(), in_all);
        }
        self.publish();
        Ok(())
    }

    fn replayed_change(
        &mut self,
        version: Replayed,
        rows: Vec<PreparedRow>,
        modified: bool,
        kinds: &HashMap<i64, String>,
    ) -> Result<Change, JournalError> {
        let mut resolved = Vec::with_capacity(rows.len());
        for row in rows {
            resolved.push((row.table, self.resolve(version.holder, row)?));
        }
        Ok(Change {
            commit: version.commit,
            holder: version.holder,
            resource: version.resource,
            kind: kinds.get(&version.kind).cloned().unwrap_or_default(),
            previous: version.previous,
            rows: resolved,
            appeared: i64::from(version.json.is_some()) - i64::from(version.previous.is_some()),
            modified,
        })
    }
}

/// How many versions recovery holds in memory at once.
const REPLAY_CHUNK: u32 = 8_192;

/// The rows of each version, evaluated on all processors.
fn evaluate(tables: &Tables, kinds: &HashMap<i64, String>, versions: &[Replayed]) -> Result<Vec<(Vec<PreparedRow>, bool)>, JournalError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = versions.len().div_ceil(threads).max(1);
    let run = |versions: &[Replayed]| {
        let mut arena = Bump::new();
        let mut rows = Vec::with_capacity(versions.len());
        for version in versions {
            rows.push(rows_of(tables, kinds, version, &arena)?);
            arena.reset();
        }
        Ok(rows)
    };
    let shares: Vec<Result<Vec<_>, JournalError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = versions.chunks(share).map(|chunk| scope.spawn(move || run(chunk))).collect();
        let panicked = || Err(JournalError::Inconsistent("a view panicked on a stored resource".to_owned()));
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut rows = Vec::with_capacity(versions.len());
    for share in shares {
        rows.extend(share?);
    }
    Ok(rows)
}

fn rows_of(
    tables: &Tables,
    kinds: &HashMap<i64, String>,
    version: &Replayed,
    arena: &Bump,
) -> Result<(Vec<PreparedRow>, bool), JournalError> {
    let kind = kinds.get(&version.kind).map_or("", String::as_str);
    let Some(stored) = version.json.as_deref().filter(|_| !tables.of_type(kind).is_empty()) else { return Ok((Vec::new(), false)) };
    let resource =
        json::parse(stored, arena).map_err(|e| JournalError::Inconsistent(format!("version at commit {}: {e}", version.commit)))?;
    Ok(tables.rows(kind, resource, arena))
}
