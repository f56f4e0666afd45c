//! Live tables on disk: a thread ([`super::keeper`]) that stores full segments, writes the tail log, makes checkpoints and merges,
//! so that neither the committer nor a reader ever waits for it. docs/formats/live.md describes the folder.
//!
//! A **checkpoint** at commit c: every table is sealed at c; all its segments and their ends are in files; the manifest that
//! names them is written; log files and segments that it makes superfluous are removed. What comes after c is in the log.
//!
//! If something here fails (a full disk), no commit and no answer does: tables stay in memory, the journal has everything, and a
//! restart begins from the last checkpoint that was completed. A failure is said in the log of the program. What the tail log
//! lacks, it lacks until the next checkpoint, which tries everything again: when one is due by what has come, when a purge
//! waits for it, or when the database is closed.

use super::change::Change;
use super::ends::{self, Ends};
use super::file::{self, Damaged};
use super::files::{SegmentFiles, remove_unnamed};
use super::keeper::{Keeper, Made, State, Work};
use super::log::{self, LogWriter};
use super::manifest::{Counters, FORMAT, Manifest, StoredTable};
use super::schema::TableSchema;
use super::segment::{Attached, Segment};
use super::table::{LiveTable, TableInfo};
use crate::disk::Folder;
use crate::ids::Commit;
use crate::limits::{CHECKPOINT_LOG_BYTES, SEGMENT_ROWS};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many changes may wait to be logged: those of some seconds, so that no commit waits for a checkpoint or a merge. Beyond it
/// commits wait, since more comes in than the disk takes. About 1,000 bytes each, their search values included.
const WAITING: usize = 200_000;

/// The store, as the one writer of the live tables sees it.
pub struct Store {
    queue: Sender<Work>,
    made: Arc<Mutex<Vec<Made>>>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
    files: Arc<SegmentFiles>,
    /// How many checkpoints have been begun.
    begun: AtomicU64,
}

/// How far the files are in losing what was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaning {
    /// No file holds it any more.
    Done,
    /// A checkpoint is under way.
    Waits,
    /// Another checkpoint is to be made: it may be that somebody was still reading an old file at the last.
    Needs,
}

/// What an opened folder holds.
pub struct Opened {
    /// The stored tables that can be used, by name.
    pub tables: Vec<LiveTable>,
    /// The commit that they are at.
    pub commit: Commit,
    /// The counters at that commit.
    pub counters: Counters,
    /// The number of the next table.
    pub next_table: u32,
    folder: Folder,
    manifest: Manifest,
    /// The number of the next log file.
    next_log: u64,
    /// Whether nothing of what is on disk is used.
    anew: bool,
    tuning: Tuning,
}

/// Whether the disk takes what the store writes.
#[derive(Clone)]
pub struct StoreHealth(Arc<State>);

impl StoreHealth {
    /// How often something could not be written since the start.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Whether what could not be written is in memory only: since the last checkpoint that went well, something failed.
    pub fn is_failing(&self) -> bool {
        self.0.failing.load(Ordering::Relaxed)
    }
}

/// How large things become. Tests make them small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How many rows a segment holds at most.
    pub segment_rows: usize,
    /// How long the tail log becomes before a checkpoint, in bytes.
    pub checkpoint_log_bytes: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { segment_rows: SEGMENT_ROWS, checkpoint_log_bytes: CHECKPOINT_LOG_BYTES }
    }
}

/// Opens the folder: maps the stored tables among `wanted` (name, fingerprint, schema). A damaged file takes its table with
/// it; a damaged manifest all of them. They are rebuilt from the journal.
pub(crate) fn open(folder: Folder, wanted: &[(String, String, Arc<TableSchema>)], tuning: Tuning) -> io::Result<Opened> {
    std::fs::create_dir_all(folder.path())?;
    let manifest = Manifest::read(&folder).unwrap_or_else(|damaged| {
        tracing::error!(%damaged, "the live tables are rebuilt from the journal");
        None
    });
    let anew = manifest.is_none();
    let manifest = manifest.unwrap_or(Manifest { format: FORMAT, log: 1, next_file: 1, next_table: 1, ..Manifest::default() });
    let mut tables = Vec::new();
    for stored in &manifest.tables {
        let fits = wanted.iter().find(|(name, fingerprint, _)| *name == stored.name && *fingerprint == stored.fingerprint);
        let Some((_, _, schema)) = fits else { continue };
        match load(&folder, stored, &manifest.ended, schema, tuning) {
            Ok(table) => tables.push(table),
            Err(damaged) => tracing::error!(table = stored.name, %damaged, "the table is rebuilt from the journal"),
        }
    }
    Ok(Opened {
        tables,
        commit: manifest.commit,
        counters: manifest.counters.clone(),
        next_table: manifest.next_table,
        folder,
        next_log: manifest.log,
        manifest,
        anew,
        tuning,
    })
}

fn load(
    folder: &Folder,
    stored: &StoredTable,
    ended: &BTreeMap<String, u32>,
    schema: &Arc<TableSchema>,
    tuning: Tuning,
) -> Result<LiveTable, Damaged> {
    let segments = |names: &[String]| -> Result<Vec<Arc<Segment>>, Damaged> {
        let one = |name: &String| {
            let file = file::open(&folder.at(name), schema)?;
            let ends = Ends::none(file.len());
            ends::read(folder, name, ended.get(name).copied().unwrap_or_default(), &ends)?;
            Ok(Arc::new(Segment::stored(file, Arc::new(ends), Attached::default())))
        };
        names.iter().map(one).collect()
    };
    let info =
        TableInfo { id: stored.id, fingerprint: stored.fingerprint.clone(), schema: Arc::clone(schema), segment_rows: tuning.segment_rows };
    Ok(LiveTable::of(Arc::new(info), segments(&stored.segments)?, segments(&stored.history)?))
}

impl Opened {
    /// Forgets what was stored: all tables are filled from the journal.
    pub fn start_anew(&mut self) {
        self.tables.clear();
        self.commit = Commit(0);
        self.counters = Counters::default();
        self.anew = true;
    }

    /// Hands out what the log holds after [`Opened::commit`], group by group; the last commit of it.
    pub(crate) fn replay(&mut self, apply: &mut dyn FnMut(Vec<Change>)) -> io::Result<Commit> {
        if self.anew {
            return Ok(self.commit);
        }
        let (last, next) = log::replay(&self.folder, self.manifest.log, self.commit, apply)?;
        self.next_log = next;
        Ok(last)
    }

    /// Starts the store of `tables`: from here on the folder is its own.
    pub(crate) fn start(mut self, tables: &[LiveTable]) -> io::Result<Store> {
        // A manifest that was found may not be durable yet. What it makes superfluous must not go before it is.
        self.folder.sync()?;
        if self.anew {
            self.begin_anew(tables)?;
        }
        let log = LogWriter::create(&self.folder, self.next_log)?;
        remove_unnamed(&self.folder, &self.manifest.files().map(str::to_owned).collect())?;
        log::remove(&self.folder, |number| number < self.manifest.log)?;
        self.folder.sync()?; // what a power cut has brought back may have been erased
        let files = Arc::new(SegmentFiles::new(self.folder, self.manifest.next_file));
        let (queue, work) = channel();
        let (made, state) = (Arc::new(Mutex::default()), Arc::new(State::default()));
        let keeper = Keeper {
            files: Arc::clone(&files),
            log,
            next_log: self.next_log + 1,
            checkpoint_log_bytes: self.tuning.checkpoint_log_bytes,
            next_table: self.next_table,
            made: Arc::clone(&made),
            state: Arc::clone(&state),
            twins: Vec::new(),
            ended: HashMap::new(),
        };
        let thread = std::thread::Builder::new().name("live-store".to_owned()).spawn(move || keeper.run(&work))?;
        Ok(Store { queue, made, state, thread: Some(thread), files, begun: AtomicU64::new(0) })
    }

    /// A manifest that names no file. Rows in the log name tables by number, so that it must be there before the first of them; and
    /// no log of before is read with it, whatever a power cut leaves: the first has a number that none has had.
    fn begin_anew(&mut self, tables: &[LiveTable]) -> io::Result<()> {
        self.next_log = log::next(&self.folder)?;
        let empty = |table: &LiveTable| StoredTable {
            id: table.info().id,
            name: table.schema().name.clone(),
            fingerprint: table.info().fingerprint.clone(),
            segments: Vec::new(),
            history: Vec::new(),
        };
        self.next_table = tables.iter().map(|t| t.info().id.0 + 1).fold(self.next_table, u32::max);
        let (log, next_file, next_table) = (self.next_log, self.manifest.next_file, self.next_table);
        self.manifest = Manifest { format: FORMAT, log, next_file, next_table, ..Manifest::default() };
        self.manifest.tables = tables.iter().map(empty).collect();
        self.manifest.write(&self.folder)
    }
}

impl Store {
    /// Hands over what a group has changed, for the log.
    pub fn changed(&self, changes: Vec<Change>) {
        while self.state.waiting.load(Ordering::Relaxed) > WAITING && self.is_running() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.state.waiting.fetch_add(changes.len(), Ordering::Relaxed);
        self.send(Work::Changes(changes));
    }

    /// Hands over the segments of a table that get no more rows.
    pub fn full(&self, table: &mut LiveTable) {
        for segment in table.take_full() {
            self.send(Work::Full { table: Arc::clone(table.info()), segment });
        }
    }

    /// Whether the log has become so long that a checkpoint should be made.
    pub fn checkpoint_is_due(&self) -> bool {
        self.state.due.load(Ordering::Relaxed)
    }

    /// Seals all tables at `commit`, their newest, and has them stored.
    pub fn checkpoint(&self, commit: Commit, counters: Counters, tables: &mut [LiveTable]) {
        self.state.due.store(false, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        for table in tables.iter_mut() {
            table.seal();
            self.full(table);
        }
        let lists = tables.iter().filter(|t| t.damaged().is_none()).map(|table| {
            let (segments, history) = table.segments();
            (Arc::clone(table.info()), (Arc::clone(segments), Arc::clone(history)))
        });
        self.send(Work::Checkpoint { commit, counters, tables: lists.collect() });
    }

    /// Whether the files have lost the rows that were erased. `clean`: the number of a checkpoint that was begun when no table
    /// held such rows any more ([`Store::begun`]), if there was one.
    pub fn cleaning(&self, tables: &[LiveTable], clean: Option<u64>) -> Cleaning {
        if !self.is_running() || self.begun() > self.state.ended.load(Ordering::Acquire) {
            return Cleaning::Waits;
        }
        let cleaned = clean.is_some() && !tables.iter().any(LiveTable::holds_erased);
        if cleaned && !self.state.left.load(Ordering::Relaxed) { Cleaning::Done } else { Cleaning::Needs }
    }

    /// Whether its disk takes what it writes.
    pub fn health(&self) -> StoreHealth {
        StoreHealth(Arc::clone(&self.state))
    }

    /// How many checkpoints have been begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Puts in place what the store has made since. Whether anything has changed, so that a snapshot should be published.
    pub fn put_in_place(&self, tables: &mut [LiveTable]) -> bool {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let mut changed = false;
        for made in made {
            let id = match &made {
                Made::Stored { table, .. } => *table,
                Made::Merged(replacement) => replacement.table,
            };
            let Some(table) = tables.iter_mut().find(|t| t.info().id == id) else { continue };
            changed |= match made {
                Made::Stored { memory, stored, .. } => table.replace_stored(&memory, stored),
                Made::Merged(replacement) => table.replace(replacement),
            };
        }
        changed
    }

    /// Where a table that is being built stores its segments.
    pub fn files(&self) -> Arc<SegmentFiles> {
        Arc::clone(&self.files)
    }

    fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    fn send(&self, work: Work) {
        drop(self.queue.send(work)); // fails if the thread has ended, in a panic
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.send(Work::Close);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store of the live tables ended in a panic; they are rebuilt from the journal");
        }
    }
}
