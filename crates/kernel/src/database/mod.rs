//! The database: one journal, its live tables, and the one committer that keeps both at the same commit.

mod backup;
mod build;
mod changes;
mod commit;
mod deleted;
mod erase;
mod erased;
mod erasure_list;
mod history;
mod opt_out;
mod persons;
mod prepare;
mod purge;
mod record;
mod recover;
mod references;
mod search;
mod search_parameters;
mod stamp;
mod tables;
mod terminology;
mod views;
mod within;
mod write;

pub use crate::journal::Method;
pub use backup::{JOURNAL, JournalState, copy_journal, copy_sqlite, inspect_journal, start_timeline};
pub use changes::{Change, Changed, Followed, Following, end_of};
pub use deleted::Deleted;
pub use erase::{EraseError, Erasure};
pub use erasure_list::{ERASURE_LIST, ErasureListError};
pub use history::{Bounds, HistoryPage, Span, VersionCursor, Written};
pub use opt_out::{OPT_OUT_ID, opt_out_id};
pub use search::Page;
pub use search_parameters::{ParameterRefused, ParameterState};
pub use tables::builtin_table;
pub use views::{ViewRefused, ViewState, ViewStatus};
pub use write::{EntryOutcome, Handling, Interaction, Outcome, WriteError, WriteRequest};

use crate::access::Scopes;
use crate::clock::Clock;
use crate::disk::{Disk, Folder, RealDisk};
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal, TableId, Timeline};
use crate::journal::{self, Checkpointer, JournalError, Lookup, Readers, StoredRow};
use crate::limits::{COMMIT_QUEUE, OPTIMISTIC_TRIES};
use crate::live::{self, LiveCell, SegmentFiles, Snapshot, StoreHealth, Tuning};
use crate::search::index::Indexes;
use arc_swap::ArcSwap;
use commit::{Committer, Reply, Work};
use erased::{About, Erasures, chain};
use erasure_list::ErasureList;
use jiff::Timestamp;
use prepare::{Operation, Prepared, Preparer, Unprepared};
use purge::Eraser;
use rand::RngExt;
use search_parameters::SearchParameters;
use stamp::Stamped;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{JoinHandle, Thread};
use tables::{Tables, Wanted};
use views::Views;
use within::Bounded;

/// An open database. Clone it freely: clones share everything. Call [`Database::close`] before the process ends; what is
/// not closed is recovered, as after a crash.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
    queue: SyncSender<Work>,
    committer: Arc<Mutex<Option<Running>>>,
}

/// What lives until the database is closed, or its last clone is gone.
struct Running {
    shared: Arc<Shared>,
    eraser: Option<Eraser>,
    committer: Option<JoinHandle<()>>,
    _checkpointer: Checkpointer,
    _lock: File,
}

impl Drop for Running {
    /// Nobody can queue anything any more. The committer's thread ends, and with it the store of the live tables; only then
    /// may somebody else have the folder.
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        drop(self.eraser.take());
        if self.committer.take().is_some_and(|c| c.join().is_err()) {
            tracing::error!("the committer ended in a panic; the database is recovered when it is opened again");
        }
    }
}

/// What readers, writers and the committer share.
struct Shared {
    clock: Arc<dyn Clock>,
    new_id: Box<dyn Fn() -> String + Send + Sync>,
    tables: ArcSwap<Tables>,
    readers: Readers,
    snapshot: ArcSwap<Snapshot>,
    past: persons::Past,
    holders: RwLock<Vec<Holder>>,
    counters: Mutex<live::Counters>,
    timeline: Timeline,
    erasures: ArcSwap<Erasures>,
    erasure_list: Mutex<ErasureList>,
    stopped: OnceLock<String>,
    tuning: Tuning,
    next_table: AtomicU32,
    files: OnceLock<Arc<SegmentFiles>>,
    health: OnceLock<StoreHealth>,
    views: Views,
    parameters: SearchParameters,
    /// Of the search values.
    indexes: Indexes,
    /// Held by whoever builds a table.
    building: Mutex<()>,
    /// Tables of which a file is damaged and that are being built anew.
    damaged: Mutex<HashSet<TableId>>,
    closing: AtomicBool,
    /// The thread of the purge, so that an erasure can wake it.
    eraser: OnceLock<Thread>,
}

/// A hospital as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub id: HolderId,
    /// Its name, as tokens and the `holder` column show it.
    pub name: String,
}

/// Why a database does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{0} is in use by another process; stop it, or send the request to it with --server")]
    InUse(String),
    /// The folder cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The live tables are of a later time than the journal, which has been put back or exchanged.
    #[error(
        "{folder} holds commit {live}, the journal ends at commit {journal}: the journal is an older one. Put the newer journal back, or restore a backup with `dugnad restore`"
    )]
    Ahead {
        /// The folder of the live tables.
        folder: String,
        /// The commit that they are at.
        live: Commit,
        /// The newest commit of the journal.
        journal: Commit,
    },
    /// The list of erased persons cannot be used.
    #[error(transparent)]
    ErasureList(#[from] ErasureListError),
    /// The journal cannot be read.
    #[error("the journal {path} cannot be read: {what}")]
    Journal {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Reading failed: the journal's file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be read: {0}")]
pub struct ReadError(pub String);

/// One version of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVersion {
    /// `meta.versionId`.
    pub version: u64,
    /// The commit that wrote it.
    pub commit: Commit,
    /// `meta.lastUpdated`: the commit's time.
    pub last_updated: Timestamp,
    /// The resource as JSON with `meta.versionId` and `meta.lastUpdated`; `None` for a deletion.
    pub json: Option<Vec<u8>>,
    /// With which method it was written.
    pub method: Method,
}

/// A document of the centre: a permit, a study, an opt-out. Versioned in the journal like a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its kind, such as `permit`.
    pub kind: String,
    /// Its id, unique in its kind.
    pub id: String,
    /// Its version, from 1.
    pub version: u64,
    /// The commit that wrote it.
    pub commit: Commit,
    /// Its JSON.
    pub json: String,
}

/// Holder, resource type and logical id.
pub type ResourceName = (HolderId, String, String);

/// How many rows and commits a database holds; for the centre's eyes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Current (not deleted) resources by type.
    pub resources: Vec<(String, u64)>,
    /// Versions that an unknown `modifierExtension` has kept out of the built-in views, replaced ones and deleted resources' included.
    pub modified: u64,
}

/// A new logical id: a version 7 UUID (RFC 9562), which begins with the time and ends in 62 random bits. Ids of one time are
/// neighbours in the journal's index by id: with ids that are random altogether, a commit of a bundle rewrites as many of the
/// index's pages as it has resources, and those were most of what was written.
fn time_ordered_id(now: Timestamp) -> String {
    let micros = u128::from(now.as_microsecond().unsigned_abs());
    let (millis, fraction) = (micros / 1_000, (micros % 1_000) * 4_096 / 1_000);
    let random = u128::from(rand::rng().random::<u64>() >> 2);
    let (version, variant) = (76, 62); // where the RFC's section 5.7 has them, counted from the low end
    let n = (millis << 80) | (7 << version) | (fraction << 64) | (0b10 << variant) | random;
    let hex = format!("{n:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

impl Shared {
    fn stop(&self, why: String) {
        let _: Result<(), String> = self.stopped.set(why); // the first reason stays
    }

    fn add_holder(&self, id: HolderId, name: &str) {
        let mut holders = self.holders.write().unwrap_or_else(PoisonError::into_inner);
        if holders.iter().all(|h| h.id != id) {
            holders.push(Holder { id, name: name.to_owned() });
        }
    }

    fn holder_cell(&self, id: HolderId) -> LiveCell {
        let holders = self.holders.read().unwrap_or_else(PoisonError::into_inner);
        holders.iter().find(|h| h.id == id).map_or(LiveCell::Null, |h| LiveCell::Text(h.name.as_str().into()))
    }

    fn count(&self, kind: &str, appeared: i64, modified: bool) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counters.kinds.get_mut(kind) {
            *count += appeared;
        } else {
            counters.kinds.insert(kind.to_owned(), appeared);
        }
        counters.modified += u64::from(modified);
    }

    fn counted(&self) -> live::Counters {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look<T>(&self, look: impl FnOnce(&Lookup<'_>) -> Result<T, JournalError>) -> Result<T, ReadError> {
        self.readers.look(look).map_err(|e| ReadError(e.to_string()))
    }
}

/// What an idempotency key that has been used before is answered with.
fn replayed_outcome(lookup: &Lookup<'_>, commit: Commit) -> Result<Outcome, JournalError> {
    let time = Timestamp::from_microsecond(lookup.time_us(commit)?.unwrap_or_default()).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(Outcome { commit, time, entries: Vec::new(), replayed: true })
}

fn timestamp(time_us: i64) -> Timestamp {
    Timestamp::from_microsecond(time_us).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Database {
    /// Opens the database in `dir`, making it if the folder is empty or absent: takes the folder's lock, opens the
    /// journal, and fills the live tables from it. `progress` is told (versions done, versions in all).
    pub fn open(dir: &Path, clock: Arc<dyn Clock>, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, OpenError> {
        Self::open_tuned(dir, clock, Tuning::default(), &(Arc::new(RealDisk) as Arc<dyn Disk>), progress)
    }

    /// The same, with segments and checkpoints of another size, and the files beside the journal on another disk: tests make the
    /// ones small and the other fail.
    pub fn open_tuned(
        dir: &Path,
        clock: Arc<dyn Clock>,
        tuning: Tuning,
        disk: &Arc<dyn Disk>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, OpenError> {
        let io = |path: &Path, source| OpenError::Io { path: path.display().to_string(), source };
        make_folder(dir).map_err(|e| io(dir, e))?;
        let lock_path = dir.join("lock");
        let lock = File::options().create(true).write(true).truncate(false).open(&lock_path).map_err(|e| io(&lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(dir.display().to_string())),
            Err(TryLockError::Error(e)) => return Err(io(&lock_path, e)),
        }
        let path = dir.join("journal.sqlite");
        let failed = |e: JournalError| OpenError::Journal { path: path.display().to_string(), what: e.to_string() };
        let (shared, mut committer) = recovered(dir, &path, clock, tuning, disk, progress)?;
        committer.erase_listed(&shared.erasure_list.lock().unwrap_or_else(PoisonError::into_inner)).map_err(failed)?;
        shared.list(shared.erasures.load().rows())?;
        let checkpointer = Checkpointer::start(&path).map_err(failed)?;
        let (queue, work) = sync_channel(COMMIT_QUEUE);
        let thread =
            std::thread::Builder::new().name("committer".to_owned()).spawn(move || committer.run(&work)).map_err(|e| io(dir, e))?;
        let eraser = Some(Eraser::start(Arc::clone(&shared), queue.clone(), path).map_err(|e| io(dir, e))?);
        let running = Running { shared: Arc::clone(&shared), eraser, committer: Some(thread), _checkpointer: checkpointer, _lock: lock };
        let database = Self { shared, queue, committer: Arc::new(Mutex::new(Some(running))) };
        database.build_what_lacks();
        Ok(database)
    }

    /// Which history of commits this is: another one after each restore.
    pub fn timeline(&self) -> Timeline {
        self.shared.timeline
    }

    /// All live tables at the newest published commit.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::clone(&self.shared.snapshot.load())
    }

    /// All live tables as they were at `commit`; `None` if it is not yet there.
    pub fn snapshot_at(&self, commit: Commit) -> Result<Option<Snapshot>, ReadError> {
        let newest = self.snapshot();
        if commit >= newest.commit() {
            return Ok((commit == newest.commit()).then_some(newest));
        }
        let (time, persons) = self.shared.past.at(commit, || {
            let time_us = self.shared.look(|l| l.time_us(commit))?.unwrap_or_default();
            let changes = self.shared.look(|l| l.person_changes(commit))?;
            Ok::<_, ReadError>((timestamp(time_us), Arc::new(persons::map_of(changes))))
        })?;
        Ok(Some(newest.as_of(commit, time).with_persons(&persons)))
    }

    /// The newest commit whose time is at or before `at` (0 if there is none): an epoch of a calendar is
    /// `snapshot_at(commit_at(start of the period))`.
    pub fn commit_at(&self, at: Timestamp) -> Result<Commit, ReadError> {
        Ok(self.shared.look(|l| l.commit_at(at.as_microsecond()))?.unwrap_or_default())
    }

    /// Registers a holder; one of that name that exists already is returned.
    pub fn register_holder(&self, name: &str) -> Result<Holder, WriteError> {
        if let Some(holder) = self.holder(name) {
            return Ok(holder);
        }
        let (reply, answer) = sync_channel(1);
        self.enqueue(Work::Holder { name: name.to_owned(), reply })?;
        let id = answer.recv().map_err(|_| self.stopped())??;
        Ok(Holder { id, name: name.to_owned() })
    }

    /// A registered holder.
    pub fn holder(&self, name: &str) -> Option<Holder> {
        self.holders().into_iter().find(|h| h.name == name)
    }

    /// All registered holders, in order; the centre is not one of them.
    pub fn holders(&self) -> Vec<Holder> {
        let holders = self.shared.holders.read().unwrap_or_else(PoisonError::into_inner);
        holders.iter().filter(|h| h.id != HolderId::CENTRE).cloned().collect()
    }

    /// Makes one commit of `request`, durable and visible when this returns. Blocks; call it from a thread that may.
    pub fn write(&self, request: WriteRequest) -> Result<Outcome, WriteError> {
        self.write_bounded(Bounded { request, scopes: None })
    }

    /// The same for a caller who may touch what these scopes reach. What they do not is refused (403), and nothing is written.
    pub fn write_within(&self, request: WriteRequest, scopes: Option<Arc<Scopes>>) -> Result<Outcome, WriteError> {
        self.write_bounded(Bounded { request, scopes })
    }

    fn write_bounded(&self, request: Bounded) -> Result<Outcome, WriteError> {
        for _ in 0..OPTIMISTIC_TRIES {
            let prepared = match self.prepare(&request)? {
                Ok(prepared) => prepared,
                Err(replayed) => return Ok(replayed),
            };
            match self.submit(prepared, None)? {
                Reply::Done(result) => return result,
                Reply::Stale => {}
            }
        }
        let prepared = match self.prepare(&request)? {
            Ok(prepared) => prepared,
            Err(replayed) => return Ok(replayed),
        };
        match self.submit(prepared, Some(Box::new(request)))? {
            Reply::Done(result) => result,
            Reply::Stale => Err(WriteError::Busy { retry_after_s: 1 }),
        }
    }

    /// Prepares a request on the journal as it is now; `Err` is the outcome of a key that has been used before.
    fn prepare(&self, bounded: &Bounded) -> Result<Result<Prepared, Outcome>, WriteError> {
        let Bounded { request, scopes } = bounded;
        if self.shared.stopped.get().is_some() {
            return Err(self.stopped());
        }
        let prepared = self.shared.readers.look(|lookup| {
            if let Some(key) = &request.idempotency_key
                && let Some(commit) = lookup.idempotent(request.holder, key)?
            {
                return Ok(Ok(Err(replayed_outcome(lookup, commit)?)));
            }
            let (tables, erased) = (self.shared.tables.load(), self.shared.erased_of(request.holder));
            let preparer = Preparer {
                lookup,
                tables: &tables,
                erased: &erased,
                new_id: &*self.shared.new_id,
                shared: &self.shared,
                scopes: scopes.as_deref(),
            };
            match preparer.prepare(request) {
                Ok(prepared) => Ok(Ok(Ok(prepared))),
                Err(Unprepared::Refused(error)) => Ok(Err(error)),
                Err(Unprepared::Journal(error)) => Err(error),
            }
        });
        prepared.unwrap_or_else(|error| Err(WriteError::Stopped(error.to_string())))
    }

    fn submit(&self, prepared: Prepared, request: Option<Box<Bounded>>) -> Result<Reply, WriteError> {
        let (reply, answer) = sync_channel(1);
        self.enqueue(Work::Write { prepared: Box::new(prepared), request, reply })?;
        answer.recv().map_err(|_| self.stopped())
    }

    fn enqueue(&self, work: Work) -> Result<(), WriteError> {
        self.queue.try_send(work).map_err(|e| match e {
            TrySendError::Full(_) => WriteError::Busy { retry_after_s: 1 },
            TrySendError::Disconnected(_) => self.stopped(),
        })
    }

    fn stopped(&self) -> WriteError {
        WriteError::Stopped(self.shared.stopped.get().cloned().unwrap_or_else(|| "the committer has ended".to_owned()))
    }

    /// The current version of a resource (a deletion is one), at the newest published commit.
    pub fn read(&self, holder: HolderId, resource_type: &str, id: &str) -> Result<Option<StoredVersion>, ReadError> {
        self.read_at(holder, resource_type, id, self.shared.snapshot.load().commit())
    }

    /// The version of a resource that was current at `at`, a published commit.
    pub fn read_at(&self, holder: HolderId, resource_type: &str, id: &str, at: Commit) -> Result<Option<StoredVersion>, ReadError> {
        Ok(self.versions(holder, resource_type, id, at, 1)?.pop())
    }

    /// All versions of a resource, newest first.
    pub fn history(&self, holder: HolderId, resource_type: &str, id: &str) -> Result<Vec<StoredVersion>, ReadError> {
        self.history_at(holder, resource_type, id, self.shared.snapshot.load().commit())
    }

    /// The versions of a resource that were written up to `at`, a published commit; newest first.
    pub fn history_at(&self, holder: HolderId, resource_type: &str, id: &str, at: Commit) -> Result<Vec<StoredVersion>, ReadError> {
        self.versions(holder, resource_type, id, at, usize::MAX)
    }

    /// Those of the newest `count` versions up to `at` that anybody sees. (What is durable but not yet published is not yet acknowledged either.) What is
    /// about a person who was erased is not there, at whatever commit.
    fn versions(&self, holder: HolderId, kind: &str, id: &str, at: Commit, count: usize) -> Result<Vec<StoredVersion>, ReadError> {
        let erased = self.shared.erased_of(holder);
        self.shared.look(|lookup| {
            let head = match lookup.kind(kind)? {
                Some(kind) => lookup.head(holder, kind, id)?,
                None => None,
            };
            let mut sequence = head.map_or(0, |h| h.sequence);
            let mut found = Vec::new();
            while sequence != 0 && found.len() < count {
                let row = lookup.version(sequence)?;
                let row = row.ok_or_else(|| JournalError::Inconsistent(format!("version {sequence} is missing")))?;
                sequence = row.previous;
                if row.erased.is_some() || erased.about(kind, id, row.json.as_deref()) != About::Others {
                    // Whether it is hidden depends on the other versions.
                    let versions = chain(lookup, head.map_or(0, |h| h.sequence))?;
                    let by = erased.among(kind, id, &versions);
                    let newest = versions.into_iter().zip(by).filter(|(row, _)| row.commit <= at).take(count);
                    return Ok(newest.filter(|(_, by)| by.is_none()).map(|(row, _)| stored(row)).collect());
                }
                if row.commit <= at {
                    found.push(stored(row));
                }
            }
            Ok(found)
        })
    }

    /// A new id for a document of the centre: ids grow with time.
    pub fn new_id(&self) -> String {
        (self.shared.new_id)()
    }

    /// Writes a document of the centre as one commit.
    pub fn put_document(&self, kind: &str, id: &str, json: &str) -> Result<Commit, WriteError> {
        self.write_documents(&[(kind, id, Some(json))])
    }

    /// Deletes a document of the centre as one commit; `None` if there is none.
    pub fn remove_document(&self, kind: &str, id: &str) -> Result<Option<Commit>, WriteError> {
        match self.document(kind, id) {
            Ok(Some(_)) => self.write_documents(&[(kind, id, None)]).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(WriteError::Stopped(error.to_string())),
        }
    }

    /// Writes documents, as (kind, id, JSON), in one commit: all of them or none. No document stands in it twice.
    pub fn put_documents(&self, documents: &[(&str, &str, &str)]) -> Result<Commit, WriteError> {
        let written: Vec<_> = documents.iter().map(|(kind, id, json)| (*kind, *id, Some(*json))).collect();
        self.write_documents(&written)
    }

    /// New versions of documents; a deletion is one without JSON.
    fn write_documents(&self, documents: &[(&str, &str, Option<&str>)]) -> Result<Commit, WriteError> {
        for _ in 0..=OPTIMISTIC_TRIES {
            let operation = |(kind, id, json): &(&str, &str, Option<&str>)| {
                let seen = self.shared.readers.look(|l| l.kind(kind)?.map_or(Ok(None), |k| l.head(HolderId::CENTRE, k, id)));
                Ok(Operation {
                    kind: (*kind).to_owned(),
                    id: (*id).to_owned(),
                    seen: seen.map_err(|e| WriteError::Stopped(e.to_string()))?,
                    looked_up: true,
                    method: if json.is_some() { Method::Put } else { Method::Delete },
                    json: json.map(|json| Stamped { json: json.as_bytes().to_vec(), stamp_at: None }),
                    rows: Vec::new(),
                    identifiers: Vec::new(),
                    modified: false,
                    person: None,
                })
            };
            let prepared = Prepared {
                holder: HolderId::CENTRE,
                generation: self.shared.tables.load().generation,
                idempotency_key: None,
                operations: documents.iter().map(operation).collect::<Result<_, WriteError>>()?,
                matched: Vec::new(),
                unchanged: Vec::new(),
                entries: Vec::new(),
                erasures: self.shared.erasures.load().len(),
            };
            if let Reply::Done(result) = self.submit(prepared, None)? {
                return result.map(|outcome| outcome.commit);
            }
        }
        Err(WriteError::Busy { retry_after_s: 1 })
    }

    /// The current version of a document.
    pub fn document(&self, kind: &str, id: &str) -> Result<Option<Document>, ReadError> {
        let version = self.read(HolderId::CENTRE, kind, id)?;
        Ok(version.and_then(|v| document(kind, id, v)))
    }

    /// The current versions of all documents of a kind, by id.
    pub fn documents(&self, kind: &str) -> Result<Vec<Document>, ReadError> {
        let ids = self.shared.look(|l| l.kind(kind)?.map_or(Ok(Vec::new()), |k| l.documents(k)))?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.extend(self.document(kind, &id)?);
        }
        Ok(found)
    }

    /// The (holder, resource type, logical id) behind resource ordinals, for identified readers.
    pub fn resource_names(&self, ordinals: &[ResourceOrdinal]) -> Result<Vec<Option<ResourceName>>, ReadError> {
        self.shared.look(|lookup| {
            let kinds: BTreeMap<i64, String> = lookup.kinds()?.into_iter().collect();
            let name = |o: &ResourceOrdinal| {
                let found = lookup.name(*o)?;
                Ok(found.map(|(holder, kind, id)| (holder, kinds.get(&kind).cloned().unwrap_or_default(), id)))
            };
            ordinals.iter().map(name).collect()
        })
    }

    /// The (holder, logical id) behind patient ordinals, for identified readers.
    pub fn patient_names(&self, ordinals: &[PatientOrdinal]) -> Result<Vec<Option<(HolderId, String)>>, ReadError> {
        self.shared.look(|lookup| ordinals.iter().map(|o| lookup.patient_name(*o)).collect())
    }

    /// The Patient of a holder; `None` if there is none of that id, or it was erased.
    pub fn patient(&self, holder: HolderId, id: &str) -> Result<Option<PatientOrdinal>, ReadError> {
        if self.shared.erased_of(holder).about("Patient", id, None) != About::Others {
            return Ok(None);
        }
        self.shared.look(|lookup| patient(lookup, holder, id))
    }

    /// All Patients that are one person with this one now, this one among them.
    pub fn same_person(&self, patient: PatientOrdinal) -> Result<Vec<PatientOrdinal>, ReadError> {
        let snapshot = self.shared.snapshot.load();
        let Some(persons) = snapshot.persons().filter(|persons| !persons.is_identity()) else { return Ok(vec![patient]) };
        let person = persons.person(patient);
        let (_, highest, _) = self.shared.look(|lookup| lookup.highest())?;
        Ok((0..=highest).map(PatientOrdinal).filter(|other| persons.person(*other) == person).collect())
    }

    /// The Patients that versions of a resource are about: those that they name.
    pub fn patients_named<'v>(
        &self,
        holder: HolderId,
        resource_type: &str,
        id: &str,
        versions: impl IntoIterator<Item = &'v [u8]>,
    ) -> Result<Vec<PatientOrdinal>, ReadError> {
        let mut ids: BTreeSet<String> = BTreeSet::new();
        for version in versions {
            ids.extend(erased::patients_named(resource_type, version));
        }
        if resource_type == "Patient" {
            ids.insert(id.to_owned());
        }
        self.shared.look(|lookup| {
            let mut found = Vec::with_capacity(ids.len());
            for id in &ids {
                found.extend(patient(lookup, holder, id)?);
            }
            Ok(found)
        })
    }

    /// The Patients, of whatever holder, whose current version has this national identifier; none where it is not one.
    pub fn patients_with(&self, system: &str, value: &str) -> Result<Vec<PatientOrdinal>, ReadError> {
        match persons::national(system, value) {
            Some(identifier) => self.shared.look(|lookup| lookup.patients_with(identifier)),
            None => Ok(Vec::new()),
        }
    }

    /// The highest patient ordinal that was given.
    pub fn highest_patient(&self) -> Result<PatientOrdinal, ReadError> {
        self.shared.look(|lookup| Ok(PatientOrdinal(lookup.highest()?.1)))
    }

    /// The Patients who were erased and are known here.
    pub fn erased_patients(&self) -> Vec<PatientOrdinal> {
        self.shared.erasures.load().rows().filter_map(|row| row.patient).collect()
    }

    /// The ordinal of a resource that has been mentioned: what `study_key` and the like hold.
    pub fn resource_ordinal(&self, holder: HolderId, resource_type: &str, id: &str) -> Result<Option<ResourceOrdinal>, ReadError> {
        let head = self.shared.look(|l| l.kind(resource_type)?.map_or(Ok(None), |k| l.head(holder, k, id)))?;
        Ok(head.map(|h| h.ordinal))
    }

    /// Whether the disk takes what the live tables write; answers and commits go on if it does not.
    pub fn live_health(&self) -> Option<&StoreHealth> {
        self.shared.health.get()
    }

    /// What is in it.
    pub fn counters(&self) -> Counters {
        let counters = self.shared.counted();
        let resources = counters.kinds.into_iter().filter(|(_, n)| *n > 0).map(|(kind, n)| (kind, n.unsigned_abs())).collect();
        Counters { resources, modified: counters.modified }
    }

    /// Rebuilds the live tables from the journal in `dir`, which must be closed, and compares them with the ones that
    /// `self` had when it was closed: the first difference, if there is one.
    pub fn first_difference(&self, rebuilt: &Database) -> Option<String> {
        self.snapshot().first_difference(&rebuilt.snapshot())
    }

    /// Stops the committer after what is queued, moves the write-ahead log into the journal and gives the folder free.
    /// Writes from then on are refused; snapshots that readers hold stay good.
    pub fn close(&self) {
        let running: Option<Running> = {
            let mut running: MutexGuard<'_, Option<Running>> = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
            running.take()
        };
        let Some(mut running) = running else { return };
        drop(running.eraser.take());
        self.shared.closing.store(true, Ordering::Relaxed);
        if self.queue.send(Work::Close).is_err() {
            tracing::warn!("the committer had ended before the database was closed");
        }
        drop(running);
    }
}

/// Makes a folder and those that it is in, durably.
fn make_folder(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(parent)?;
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

fn stored(row: StoredRow) -> StoredVersion {
    let StoredRow { number: version, commit, time_us, json, method, .. } = row;
    StoredVersion { version, commit, last_updated: timestamp(time_us), json, method }
}

/// The ordinal of a holder's Patient.
fn patient(lookup: &Lookup<'_>, holder: HolderId, id: &str) -> Result<Option<PatientOrdinal>, JournalError> {
    let head = match lookup.kind("Patient")? {
        Some(kind) => lookup.head(holder, kind, id)?,
        None => None,
    };
    head.map_or(Ok(None), |head| lookup.patient(head.ordinal))
}

fn document(kind: &str, id: &str, version: StoredVersion) -> Option<Document> {
    let json = String::from_utf8(version.json?).ok()?;
    Some(Document { kind: kind.to_owned(), id: id.to_owned(), version: version.version, commit: version.commit, json })
}

/// Opens the journal and the live tables, and brings them to the journal's newest commit.
fn recovered(
    dir: &Path,
    path: &Path,
    clock: Arc<dyn Clock>,
    tuning: Tuning,
    disk: &Arc<dyn Disk>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Arc<Shared>, Committer), OpenError> {
    let failed = |e: JournalError| OpenError::Journal { path: path.display().to_string(), what: e.to_string() };
    let live_dir = dir.join("live");
    let io = |source| OpenError::Io { path: live_dir.display().to_string(), source };
    let writer = journal::open(path).map_err(failed)?;
    let (newest, time_us) = writer.lookup().newest().map_err(failed)?.unwrap_or_default();
    let holders = writer.lookup().holders().map_err(failed)?.into_iter().map(|(id, name)| Holder { id, name }).collect();
    let timeline = writer.lookup().timeline().map_err(failed)?;
    let erasures = Erasures::load(&writer.lookup()).map_err(failed)?;
    let erasure_list = ErasureList::open(Folder::new(dir, disk), &erasures.key_id())?;
    let (parameters, extended) = SearchParameters::read(&writer.lookup()).map_err(failed)?;
    let mut builtin = Wanted::builtin().to_vec();
    for wanted in extended {
        builtin.iter_mut().filter(|table| table.schema.name == wanted.schema.name).for_each(|table| *table = wanted.clone());
    }
    let (views, registered) = Views::read(&writer.lookup()).map_err(failed)?;

    let wanted: Vec<Wanted> = builtin.iter().chain(registered.iter().map(|(_, wanted)| wanted)).cloned().collect();
    let mut opened =
        live::store::open(Folder::new(&live_dir, disk), &wanted.iter().map(Wanted::named).collect::<Vec<_>>(), tuning).map_err(io)?;
    if !builtin.iter().all(|w| opened.tables.iter().any(|t| t.schema().name == w.schema.name)) {
        opened.start_anew(); // a new database, another program version, or damage
    }
    if opened.commit > newest {
        return Err(OpenError::Ahead { folder: live_dir.display().to_string(), live: opened.commit, journal: newest });
    }

    let next_table = AtomicU32::new(opened.next_table);
    let mut tables = std::mem::take(&mut opened.tables);
    let mut live_views = Vec::new();
    for wanted in wanted {
        let name = &wanted.schema.name;
        let id = match tables.iter().find(|t| t.schema().name == *name) {
            Some(table) => table.info().id,
            // Registered views are built beside the running tables.
            None if wanted.source.is_registered() => continue,
            None => {
                let id = TableId(next_table.fetch_add(1, Ordering::Relaxed));
                let view = wanted.clone().numbered(id, tuning);
                tables.push(live::LiveTable::new(Arc::clone(&view.info)));
                id
            }
        };
        if wanted.source.is_registered() {
            views.is_live(name, opened.commit);
        }
        live_views.push(wanted.numbered(id, tuning));
    }

    let ids = Arc::clone(&clock);
    let shared = Arc::new(Shared {
        clock,
        new_id: Box::new(move || time_ordered_id(ids.now())),
        tables: ArcSwap::from_pointee(Tables::new(1, live_views)),
        readers: Readers::new(path),
        snapshot: ArcSwap::from_pointee(Snapshot::new(Commit(0), Timestamp::UNIX_EPOCH, [])),
        past: persons::Past::default(),
        holders: RwLock::new(holders),
        counters: Mutex::new(opened.counters.clone()),
        timeline,
        erasures: ArcSwap::from_pointee(erasures),
        erasure_list: Mutex::new(erasure_list),
        stopped: OnceLock::new(),
        tuning,
        next_table,
        files: OnceLock::new(),
        health: OnceLock::new(),
        views,
        parameters,
        indexes: Indexes::default(),
        building: Mutex::default(),
        damaged: Mutex::default(),
        closing: AtomicBool::new(false),
        eraser: OnceLock::new(),
    });
    let mut committer = Committer::new(Arc::clone(&shared), writer, tables, opened.commit, time_us);
    let logged = opened.replay(&mut |changes| changes.iter().for_each(|change| committer.apply(change))).map_err(io)?;
    if logged > newest {
        return Err(OpenError::Ahead { folder: live_dir.display().to_string(), live: logged, journal: newest });
    }
    let store = opened.start(&committer.tables).map_err(io)?;
    let _ = shared.files.set(store.files()); // nobody has set it before
    drop(shared.health.set(store.health()));
    committer.store = Some(store);
    committer.newest = logged;
    committer.recover(logged, progress).map_err(failed)?;
    committer.newest = newest;
    if shared.erasures.load().rows().any(|row| row.done_us.is_none()) {
        // A purge was interrupted: whether the counters know what it has overwritten cannot be told.
        shared.counters.lock().unwrap_or_else(PoisonError::into_inner).kinds =
            committer.writer.lookup().current_by_kind().map_err(failed)?;
    }
    committer.load_persons().map_err(failed)?;
    committer.publish();
    Ok((shared, committer))
}

#[cfg(test)]
mod tests;
