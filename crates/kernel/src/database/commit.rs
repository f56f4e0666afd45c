//! The committer: one thread that orders all commits.

use super::Shared;
use super::prepare::{Operation, Prepared, Preparer, Unprepared};
use super::recover::{Kinds, evaluate};
use super::stamp::{STAMP_LEN, Stamped};
use super::tables::{LiveView, PATIENT, PreparedCell, PreparedRow, Tables};
use super::within::Bounded;
use super::write::{Outcome, WriteError};
use crate::hash::HashMap;
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal, TableId};
use crate::journal::{Head, JournalError, NewVersion, Writer};
use crate::limits::MAX_GROUP;
use crate::live::{Change, ChangedRow, LiveCell, LiveTable, PersonMap, RowHead, Snapshot, Store};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

/// What waits for the committer.
pub(super) enum Work {
    /// A prepared write. With `request`, one that has been overtaken too often: if it is stale again, it is prepared here.
    Write { prepared: Box<Prepared>, request: Option<Box<Bounded>>, reply: SyncSender<Reply> },
    /// Ordinals for what rows of a table that is being built mention and nobody has mentioned before.
    Mention { keys: Vec<Key>, reply: SyncSender<()> },
    /// A table that has been built up to `after`, a sequence of the journal: switch it on, or, if too much has come since, say
    /// so and give it back.
    Install { built: Box<Built>, reply: SyncSender<Installed> },
    /// The registered view of this id is no longer wanted, nor any table of it.
    Remove { id: String, reply: SyncSender<()> },
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

/// The key of a resource: holder, type, logical id.
pub(super) type Key = (HolderId, &'static str, Box<str>);

/// A table that has been built beside the running ones.
pub(super) struct Built {
    pub(super) view: LiveView,
    pub(super) table: LiveTable,
    /// The last version of the journal that is in it.
    pub(super) after: i64,
    pub(super) reason: Reason,
}

/// Why a table is built.
#[derive(Clone)]
pub(super) enum Reason {
    /// This version of a view has been registered.
    Registered { id: String, version: u64 },
    /// A file of this table is damaged, or it is to hold more.
    Anew(TableId),
}

/// What became of a table that was to be switched on.
pub(super) enum Installed {
    /// It is seen from this commit on.
    At(Commit),
    /// It lacks too much.
    Behind(Box<Built>),
    /// Its view has been taken away or replaced in the meantime.
    Unwanted,
}

/// The ordinals of a resource; a Patient has both.
type Ordinals = (ResourceOrdinal, Option<PatientOrdinal>);

/// How many resources' ordinals are remembered, so that a reference to a recent encounter needs no look-up. About 100 bytes each.
pub(super) const MAX_REMEMBERED: usize = 200_000;

/// How many versions a table that has been built may lack when it is switched on: the committer evaluates them, and meanwhile
/// no write is made. A thousand take some 10 ms.
const MAX_BEHIND: i64 = 1_000;

/// The committer's state. `next` and `time_us` advance when a group is durable.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Writer,
    pub(super) tables: Vec<LiveTable>,
    pub(super) store: Option<Store>,
    pub(super) newest: Commit,
    pub(super) persons: Arc<PersonMap>,
    pub(super) time_us: i64,
    pub(super) remembered: HashMap<(HolderId, i64, Box<str>), Ordinals>,
    /// Where in `tables` each was found last.
    places: HashMap<TableId, usize>,
}

/// One member of a group, after it has been written to the journal's open transaction.
struct Member {
    reply: SyncSender<Reply>,
    answer: Reply,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer, tables: Vec<LiveTable>, newest: Commit, time_us: i64) -> Self {
        let (remembered, places) = (HashMap::default(), HashMap::default());
        Self { shared, writer, tables, store: None, newest, persons: Arc::default(), time_us, remembered, places }
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
            if let Err(error) = result.and_then(|()| self.look_after_tables(closing)) {
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
        let group = self.serve_builders(group)?;
        if group.is_empty() {
            return Ok(());
        }
        self.writer.begin()?;
        let now_us = self.shared.clock.now().as_microsecond().max(self.time_us);
        let (mut members, mut holders, mut changes) = (Vec::with_capacity(group.len()), Vec::new(), Vec::new());
        let mut newest = self.newest;
        for work in group {
            match work {
                Work::Close | Work::Alone(_) | Work::Mention { .. } | Work::Install { .. } | Work::Remove { .. } => {}
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
        for change in &changes {
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
        if let Some(store) = &self.store
            && !changes.is_empty()
        {
            store.changed(changes);
        }
        Ok(())
    }

    /// After a group, when everybody has been answered: full segments go to the store, what it has made takes its place, and a
    /// checkpoint is begun if one is due, or if the database is being closed.
    pub(super) fn look_after_tables(&mut self, closing: bool) -> Result<(), JournalError> {
        let Some(store) = &self.store else { return Ok(()) };
        for table in &mut self.tables {
            store.full(table);
        }
        if store.put_in_place(&mut self.tables) {
            self.publish(); // the same rows, so that those that have a file leave the memory
        }
        let Some(store) = &self.store else { return Ok(()) };
        if closing || store.checkpoint_is_due() {
            store.checkpoint(self.newest, self.shared.counted(), &mut self.tables);
        }
        Ok(())
    }

    /// Takes what builders of tables want out of a group and does it.
    fn serve_builders(&mut self, group: Vec<Work>) -> Result<Vec<Work>, JournalError> {
        let mut rest = Vec::with_capacity(group.len());
        for work in group {
            match work {
                Work::Mention { keys, reply } => {
                    self.writer.begin()?;
                    for (holder, kind, id) in keys {
                        let (is_patient, kind) = (kind == PATIENT, self.writer.kind(kind)?);
                        self.ordinal(holder, kind, id, is_patient)?;
                    }
                    self.writer.commit()?;
                    let _ = reply.send(()); // nobody may be waiting
                }
                Work::Install { built, reply } => {
                    let outcome = self.install(*built)?;
                    let _ = reply.send(outcome); // nobody may be waiting
                }
                Work::Remove { id, reply } => {
                    let out = self.tables_of(&|view| view.id.as_ref() == Some(&id));
                    self.replace_views(&out, None);
                    self.tables.retain(|t| !out.contains(&t.info().id));
                    self.publish();
                    let _ = reply.send(()); // nobody may be waiting
                }
                other => rest.push(other),
            }
        }
        Ok(rest)
    }

    /// Switches a table on at the newest commit, if what it lacks is little.
    fn install(&mut self, built: Built) -> Result<Installed, JournalError> {
        // Asked here, where the removal of a view waits its turn too: it finds the table, or the table finds no view.
        let wanted = match &built.reason {
            Reason::Registered { id, version } => self.shared.views.is_current(id, *version),
            Reason::Anew(table) => self.tables.iter().any(|t| t.info().id == *table),
        };
        if !wanted {
            return Ok(Installed::Unwanted);
        }
        let Built { view, mut table, after, .. } = built;
        let kinds = Kinds::read(&self.writer.lookup())?;
        let (_, _, newest) = self.writer.lookup().highest()?;
        if newest - after > MAX_BEHIND {
            return Ok(Installed::Behind(Box::new(Built { view, table, ..built })));
        }
        let kind = kinds.number(view.source.resource_type());
        let (_, lacking) = self.writer.lookup().replay_of(kind, after, u32::MAX)?;
        let alone = Tables::new(0, vec![view.clone()]);
        let rows = evaluate(&alone, &kinds, &lacking)?;
        self.writer.begin()?;
        for (version, (rows, modified)) in lacking.into_iter().zip(rows) {
            let change = self.change_of(version, rows, modified, &kinds)?;
            apply_to(&mut table, &change, &self.shared.holder_cell(change.holder));
        }
        self.writer.commit()?;
        // The one of its name, and those of earlier definitions of the view, which may have had other names.
        let out = self.tables_of(&|old| old.info.schema.name == view.info.schema.name || (view.id.is_some() && old.id == view.id));
        match self.tables.iter().position(|t| out.contains(&t.info().id)) {
            Some(place) => {
                self.tables.insert(place, table);
                self.tables.retain(|t| !out.contains(&t.info().id));
            }
            None => self.tables.push(table),
        }
        self.replace_views(&out, Some(view));
        self.publish();
        if let Some(store) = &self.store {
            store.checkpoint(self.newest, self.shared.counted(), &mut self.tables);
        }
        Ok(Installed::At(self.newest))
    }

    /// The numbers of the tables of these views.
    fn tables_of(&self, which: &dyn Fn(&LiveView) -> bool) -> Vec<TableId> {
        self.shared.tables.load().views().iter().filter(|view| which(view)).map(|view| view.info.id).collect()
    }

    /// Publishes another set of views; what has been prepared with the present one is prepared again.
    fn replace_views(&self, out: &[TableId], new: Option<LiveView>) {
        // A table that was built beside a purge has rows that the purge has passed.
        self.shared.erasures.store(Arc::new(self.shared.erasures.load().begun_again()));
        let present = self.shared.tables.load();
        let views = present.views().iter().filter(|v| !out.contains(&v.info.id)).cloned().chain(new).collect();
        self.shared.tables.store(Arc::new(Tables::new(present.generation + 1, views)));
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
        request: Option<Box<Bounded>>,
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
            let Some(bounded) = request else { return Ok(Reply::Stale) };
            let Bounded { request, scopes } = *bounded;
            let (lookup, erased) = (self.writer.lookup(), self.shared.erased_of(request.holder));
            let tables = self.shared.tables.load();
            let again = Preparer {
                lookup: &lookup,
                tables: &tables,
                erased: &erased,
                new_id: &*self.shared.new_id,
                shared: &self.shared,
                scopes: scopes.as_deref(),
            };
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
        let holder = prepared.holder;
        let head = |kind: &str, id: &str| lookup.kind(kind)?.map_or(Ok(None), |kind| lookup.head(holder, kind, id));
        let version = |head: Option<Head>| head.map_or((0, false), |h| (h.version, h.deleted));
        for operation in prepared.operations.iter_mut().filter(|o| o.looked_up) {
            let now = head(&operation.kind, &operation.id)?;
            if version(now) != version(operation.seen) {
                return Ok(false);
            }
            operation.seen = now;
        }
        for found in &prepared.unchanged {
            if version(head(&found.kind, &found.id)?) != version(found.seen) {
                return Ok(false);
            }
        }
        let tables = self.shared.tables.load();
        if prepared.generation != tables.generation {
            return Ok(false);
        }
        let preparer = Preparer {
            lookup: &lookup,
            tables: &tables,
            erased: &erased,
            new_id: &*self.shared.new_id,
            shared: &self.shared,
            scopes: None,
        };
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
            method: operation.method,
        };
        let resource = match operation.seen {
            Some(head) => self.writer.add_version(head.ordinal, &version).map(|()| head.ordinal)?,
            None => self.first_version(holder, kind, operation.id.into(), operation.kind == PATIENT, &version)?,
        };
        if let Some(keys) = &operation.person
            && let Some(patient) = self.writer.lookup().patient(resource)?
        {
            self.identify(holder, patient, keys, commit)?;
        }
        for value in &operation.identifiers {
            self.writer.add_identifier(holder, kind, value, resource)?;
        }
        let existed = operation.seen.is_some_and(|h| h.exists());
        let mut rows = Vec::with_capacity(operation.rows.len());
        for row in operation.rows {
            rows.push(self.resolve(holder, row)?);
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
    pub(super) fn resolve(&mut self, holder: HolderId, row: PreparedRow) -> Result<ChangedRow, JournalError> {
        let mut cells = Vec::with_capacity(row.cells.len());
        for cell in row.cells {
            cells.push(match cell {
                PreparedCell::Cell(cell) => cell,
                PreparedCell::Key { kind, id, patient } => {
                    // A Patient gets a patient ordinal whatever column mentions it first.
                    let (is_patient, kind) = (kind == PATIENT, self.writer.kind(kind)?);
                    let (resource, ordinal) = self.ordinal(holder, kind, id, is_patient)?;
                    if patient { ordinal.map_or(LiveCell::Null, LiveCell::Patient) } else { LiveCell::Resource(resource) }
                }
            });
        }
        Ok(ChangedRow { table: row.table, marks: row.marks, cells })
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
    pub(super) fn ordinal(
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
    pub(super) fn apply(&mut self, change: &Change) {
        self.shared.count(&change.kind, change.appeared, change.modified);
        let tables = self.shared.tables.load();
        let mut views = tables.of_type(&change.kind).peekable();
        if views.peek().is_none() {
            return;
        }
        let holder = self.shared.holder_cell(change.holder);
        for view in views {
            let place = self.places.get(&view.info.id).copied().unwrap_or_default();
            if let Some(table) = self.tables.get_mut(place).filter(|t| t.info().id == view.info.id) {
                apply_to(table, change, &holder);
                continue;
            }
            if let Some(place) = self.tables.iter().position(|t| t.info().id == view.info.id) {
                self.places.insert(view.info.id, place);
                if let Some(table) = self.tables.get_mut(place) {
                    apply_to(table, change, &holder);
                }
            }
        }
    }

    /// One pointer: from here on every reader that asks sees the newest commit.
    pub(super) fn publish(&self) {
        let time = Timestamp::from_microsecond(self.time_us).unwrap_or(Timestamp::UNIX_EPOCH);
        // Most resource types have no resources: their tables of search values would cost each commit some microseconds.
        let seen = self.tables.iter().filter(|t| !(t.schema().hidden && t.is_empty()));
        let tables = seen.map(|t| t.snapshot(self.newest));
        let snapshot =
            Snapshot::new(self.newest, time, tables).hiding(&Arc::new(self.shared.erasures.load().to_hide())).with_persons(&self.persons);
        self.shared.snapshot.store(Arc::new(snapshot));
    }
}

/// Ends the rows of the version before in a table, and begins the new one's.
pub(super) fn apply_to(table: &mut LiveTable, change: &Change, holder: &LiveCell) {
    if let Some(previous) = change.previous {
        table.end(change.resource, previous, change.commit);
    }
    let id = table.info().id;
    for row in change.rows.iter().filter(|row| row.table == id) {
        let head = RowHead { begin: change.commit, resource: change.resource, holder: change.holder, marks: row.marks };
        table.begin(head, &row.cells, holder);
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
