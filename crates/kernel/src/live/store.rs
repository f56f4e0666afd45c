//! Live tables on disk: a thread that stores full segments, writes the tail log, makes checkpoints and merges, so that neither
//! the committer nor a reader ever waits for it. docs/formats/live.md describes the folder.
//!
//! A **checkpoint** at commit c: every table is sealed at c; all its segments and their ends are in files; the manifest that
//! names them is written; log files and segments that it makes superfluous are removed. What comes after c is in the log. If
//! something here fails (a full disk), tables stay in memory, the journal has everything, and a restart begins from the last
//! checkpoint that was completed.

use super::change::Change;
use super::ends::{self, Ends};
use super::file::{self, Contents, Damaged};
use super::log::{self, LogWriter};
use super::manifest::{Counters, FORMAT, Manifest, StoredTable, sync_dir};
use super::merge;
use super::schema::TableSchema;
use super::segment::{Attached, Segment, Segments};
use super::table::{LiveTable, Replacement, TableInfo};
use crate::ids::{Commit, TableId};
use crate::limits::{CHECKPOINT_LOG_BYTES, SEGMENT_ROWS};
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many changes may wait to be logged: those of some seconds, so that no commit waits for a checkpoint or a merge. Beyond it
/// commits wait, since more comes in than the disk takes. About 1,000 bytes each, their search values included.
const WAITING: usize = 200_000;

enum Work {
    Changes(Vec<Change>),
    Full { table: Arc<TableInfo>, segment: Arc<Segment> },
    Checkpoint { commit: Commit, counters: Counters, tables: Vec<(Arc<TableInfo>, Lists)> },
    Close,
}

/// The segments of a table and those of its history.
type Lists = (Segments, Segments);

/// What the store has made and the committer is to put in place.
enum Made {
    Stored { table: TableId, memory: Arc<Segment>, stored: Arc<Segment> },
    Merged(Replacement),
}

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

/// The segment files that this process has written.
pub struct SegmentFiles {
    dir: PathBuf,
    next: AtomicU64,
    /// By name; without a segment while it is being written.
    written: Mutex<HashMap<String, Option<Weak<Segment>>>>,
}

#[derive(Default)]
struct State {
    due: AtomicBool,
    failed: AtomicBool,
    /// How many changes have been handed over and not logged.
    waiting: AtomicUsize,
    /// How many checkpoints have been completed.
    completed: AtomicU64,
    /// Whether the last of them left files that it did not name, since somebody was reading them.
    left: AtomicBool,
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
    manifest: Manifest,
    /// Whether nothing of what is on disk is used.
    anew: bool,
    tuning: Tuning,
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
pub fn open(dir: &Path, wanted: &[(String, String, Arc<TableSchema>)], tuning: Tuning) -> io::Result<Opened> {
    std::fs::create_dir_all(dir)?;
    let manifest = Manifest::read(dir).unwrap_or_else(|damaged| {
        tracing::error!(%damaged, "the live tables are rebuilt from the journal");
        None
    });
    let anew = manifest.is_none();
    let manifest = manifest.unwrap_or(Manifest { format: FORMAT, log: 1, next_file: 1, next_table: 1, ..Manifest::default() });
    let mut tables = Vec::new();
    for stored in &manifest.tables {
        let fits = wanted.iter().find(|(name, fingerprint, _)| *name == stored.name && *fingerprint == stored.fingerprint);
        let Some((_, _, schema)) = fits else { continue };
        match load(dir, stored, schema, tuning) {
            Ok(table) => tables.push(table),
            Err(damaged) => tracing::error!(table = stored.name, %damaged, "the table is rebuilt from the journal"),
        }
    }
    Ok(Opened {
        tables,
        commit: manifest.commit,
        counters: manifest.counters.clone(),
        next_table: manifest.next_table,
        manifest,
        anew,
        tuning,
    })
}

fn load(dir: &Path, stored: &StoredTable, schema: &Arc<TableSchema>, tuning: Tuning) -> Result<LiveTable, Damaged> {
    let segments = |names: &[String]| -> Result<Vec<Arc<Segment>>, Damaged> {
        let one = |name: &String| {
            let file = file::open(&dir.join(name), schema)?;
            let ends = Ends::none(file.len());
            ends::read(&dir.join(name), &ends)?;
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
    pub fn replay(&mut self, dir: &Path, apply: &mut dyn FnMut(Vec<Change>)) -> io::Result<Commit> {
        if self.anew {
            return Ok(self.commit);
        }
        let (last, next) = log::replay(dir, self.manifest.log, self.commit, apply)?;
        self.manifest.log = next; // where the store goes on; the manifest on disk still names the first
        Ok(last)
    }

    /// Starts the store of `tables`: from here on the folder is its own.
    pub fn start(mut self, dir: &Path, tables: &[LiveTable]) -> io::Result<Store> {
        if self.anew {
            // Rows in the log name tables by number, so that the manifest must be there before the first of them.
            log::remove_all(dir)?;
            let empty = |table: &LiveTable| StoredTable {
                id: table.info().id,
                name: table.schema().name.clone(),
                fingerprint: table.info().fingerprint.clone(),
                segments: Vec::new(),
                history: Vec::new(),
            };
            self.next_table = tables.iter().map(|t| t.info().id.0 + 1).fold(self.next_table, u32::max);
            let (next_file, next_table) = (self.manifest.next_file, self.next_table);
            self.manifest = Manifest { format: FORMAT, log: 1, next_file, next_table, ..Manifest::default() };
            self.manifest.tables = tables.iter().map(empty).collect();
            self.manifest.write(dir)?;
        }
        let next_log = self.manifest.log;
        let log = LogWriter::create(&log::path(dir, next_log))?;
        let files = SegmentFiles { dir: dir.to_owned(), next: AtomicU64::new(self.manifest.next_file), written: Mutex::default() };
        let files = Arc::new(files);
        remove_unnamed(dir, &self.manifest.files().map(str::to_owned).collect())?;
        let (queue, work) = channel();
        let (made, state) = (Arc::new(Mutex::default()), Arc::new(State::default()));
        let keeper = Keeper {
            files: Arc::clone(&files),
            log,
            next_log: next_log + 1,
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
}

impl Store {
    /// Hands over what a group has changed, for the log.
    pub fn changed(&self, changes: Vec<Change>) {
        while self.state.waiting.load(Ordering::Relaxed) > WAITING && !self.state.failed.load(Ordering::Relaxed) {
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
        if self.state.failed.load(Ordering::Relaxed) || self.begun() > self.state.completed.load(Ordering::Acquire) {
            return Cleaning::Waits;
        }
        let cleaned = clean.is_some() && !tables.iter().any(LiveTable::holds_erased);
        if cleaned && !self.state.left.load(Ordering::Relaxed) { Cleaning::Done } else { Cleaning::Needs }
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

    fn send(&self, work: Work) {
        if !self.state.failed.load(Ordering::Relaxed) {
            // An error means that the thread has ended; it has said why.
            drop(self.queue.send(work));
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.queue.send(Work::Close)); // also if it has failed: it waits for this
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store of the live tables ended in a panic; they are rebuilt from the journal");
        }
    }
}

impl SegmentFiles {
    /// Stores the full segments of a table that is being built, here and now, so that it does not grow in memory.
    pub fn store_now(&self, table: &mut LiveTable) -> Result<(), String> {
        for segment in table.take_full() {
            let stored = self.store(table.schema(), &segment).map_err(|e| e.to_string())?;
            table.replace_stored(&segment, stored);
        }
        Ok(())
    }

    /// Writes a segment to a file of its own.
    fn store(&self, schema: &TableSchema, segment: &Segment) -> io::Result<Arc<Segment>> {
        let contents = segment.contents(schema).map_err(|e| io::Error::other(e.to_string()))?;
        self.write(schema, &contents, Arc::clone(segment.ends()), Arc::clone(segment.attached()))
    }

    fn write(&self, schema: &TableSchema, contents: &Contents, ends: Arc<Ends>, attached: Attached) -> io::Result<Arc<Segment>> {
        let name = format!("{:010}.segment", self.next.fetch_add(1, Ordering::Relaxed));
        let known = |segment| self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), segment);
        known(None); // before it is there, so that nobody takes it for one that is left over
        let file = file::write(&self.dir.join(&name), schema, contents)?;
        let segment = Arc::new(Segment::stored(file, ends, attached));
        known(Some(Arc::downgrade(&segment)));
        Ok(segment)
    }

    /// Those that are in use: being built or merged, or read by somebody.
    fn in_use(&self) -> Vec<String> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, segment| segment.as_ref().is_none_or(|s| s.strong_count() > 0));
        written.keys().cloned().collect()
    }
}

/// Removes the segment files that are not among `named`, and what an interrupted manifest has left.
fn remove_unnamed(dir: &Path, named: &HashSet<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let segment = name.strip_suffix(".ends").unwrap_or(&name);
        let ours = segment.ends_with(".segment") || name.ends_with(".new");
        if ours && !named.contains(segment) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The thread's state.
struct Keeper {
    files: Arc<SegmentFiles>,
    log: LogWriter,
    next_log: u64,
    checkpoint_log_bytes: u64,
    next_table: u32,
    made: Arc<Mutex<Vec<Made>>>,
    state: Arc<State>,
    /// Segments in memory and their stored forms, until no list of a checkpoint can name the one in memory any more.
    twins: Vec<(Arc<Segment>, Arc<Segment>)>,
    /// How many ends of each file have been written.
    ended: HashMap<String, u32>,
}

impl Keeper {
    fn run(mut self, queue: &Receiver<Work>) {
        while let Ok(work) = queue.recv() {
            if matches!(work, Work::Close) {
                return;
            }
            if let Err(error) = self.work(work) {
                tracing::error!(%error, "live tables can no longer be stored; they stay in memory, and the next start reads the journal");
                self.state.failed.store(true, Ordering::Relaxed);
                while !matches!(queue.recv(), Err(_) | Ok(Work::Close)) {} // nobody waits for a full queue
                return;
            }
        }
    }

    fn work(&mut self, work: Work) -> io::Result<()> {
        match work {
            Work::Changes(changes) => {
                self.log.append(&changes)?;
                self.state.waiting.fetch_sub(changes.len(), Ordering::Relaxed);
                if self.log.bytes() >= self.checkpoint_log_bytes {
                    self.state.due.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            Work::Full { table, segment } => {
                let stored = self.files.store(&table.schema, &segment)?;
                self.twins.push((Arc::clone(&segment), Arc::clone(&stored)));
                self.give(Made::Stored { table: table.id, memory: segment, stored });
                Ok(())
            }
            Work::Checkpoint { commit, counters, tables } => self.checkpoint(commit, counters, &tables),
            Work::Close => Ok(()),
        }
    }

    fn give(&self, made: Made) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
    }

    fn checkpoint(&mut self, commit: Commit, counters: Counters, tables: &[(Arc<TableInfo>, Lists)]) -> io::Result<()> {
        let log = self.next_log;
        self.log = LogWriter::create(&log::path(&self.files.dir, log))?;
        self.next_log += 1;
        let mut stored = Vec::with_capacity(tables.len());
        let mut lists = Vec::with_capacity(tables.len());
        for (table, (segments, history)) in tables {
            let (segments, history) = (self.in_files(segments)?, self.in_files(history)?);
            for segment in segments.iter().chain(&history) {
                self.write_ends(segment)?;
            }
            let names = |list: &[Arc<Segment>]| list.iter().filter_map(|s| s.file_name().map(str::to_owned)).collect();
            self.next_table = self.next_table.max(table.id.0 + 1);
            stored.push(StoredTable {
                id: table.id,
                name: table.schema.name.clone(),
                fingerprint: table.fingerprint.clone(),
                segments: names(&segments),
                history: names(&history),
            });
            lists.push((table, segments, history));
        }
        self.twins.retain(|(memory, _)| Arc::strong_count(memory) > 1); // in place, and no list names the other any more
        sync_dir(&self.files.dir)?;
        let manifest = Manifest {
            format: FORMAT,
            commit,
            log,
            next_file: self.files.next.load(Ordering::Relaxed),
            next_table: self.next_table,
            tables: stored,
            counters,
        };
        manifest.write(&self.files.dir)?;
        let named: HashSet<String> = manifest.files().map(str::to_owned).collect();
        let left = self.files.in_use().into_iter().filter(|name| !named.contains(name)).collect::<Vec<_>>();
        let keep: HashSet<String> = named.into_iter().chain(left.iter().cloned()).collect();
        self.ended.retain(|name, _| keep.contains(name));
        remove_unnamed(&self.files.dir, &keep)?;
        log::remove_before(&self.files.dir, log)?;
        self.state.left.store(!left.is_empty(), Ordering::Relaxed);
        for (table, segments, history) in lists {
            self.merge(table, segments, history)?;
        }
        self.state.completed.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The same list with the stored forms of what was in memory when the list was made.
    fn in_files(&self, list: &[Arc<Segment>]) -> io::Result<Vec<Arc<Segment>>> {
        let twin = |segment: &Arc<Segment>| self.twins.iter().find(|(memory, _)| Arc::ptr_eq(memory, segment)).map(|(_, stored)| stored);
        let in_file = |segment: &Arc<Segment>| match twin(segment).unwrap_or(segment) {
            stored if stored.file_name().is_some() => Ok(Arc::clone(stored)),
            _ => Err(io::Error::other("a segment of a checkpoint has not been stored")),
        };
        list.iter().map(in_file).collect()
    }

    fn write_ends(&mut self, segment: &Segment) -> io::Result<()> {
        let (Some(name), ended) = (segment.file_name(), segment.ends().ended()) else { return Ok(()) };
        if self.ended.get(name).copied().unwrap_or_default() != ended {
            ends::write(&self.files.dir.join(name), segment.ends())?;
            self.ended.insert(name.to_owned(), ended);
        }
        Ok(())
    }

    /// Merges what is worth it. The files are named by the next checkpoint; until then the old ones are.
    fn merge(&mut self, table: &Arc<TableInfo>, mut segments: Vec<Arc<Segment>>, mut history: Vec<Arc<Segment>>) -> io::Result<()> {
        while let Some(range) = merge::candidates(&segments, table.segment_rows) {
            let Some(replacement) = self.merged(table, segments.get(range.clone()).unwrap_or_default())? else { return Ok(()) };
            segments.splice(range, replacement.new.clone());
            self.give(Made::Merged(replacement));
        }
        while let Some(at) = merge::with_erased(&history) {
            let Some(replacement) = self.merged(table, history.get(at..=at).unwrap_or_default())? else { return Ok(()) };
            history.splice(at..=at, replacement.history.clone());
            self.give(Made::Merged(replacement));
        }
        if let Some(range) = merge::history_candidates(&history, table.segment_rows)
            && let Some(replacement) = self.merged(table, history.get(range).unwrap_or_default())?
        {
            self.give(Made::Merged(replacement));
        }
        Ok(())
    }

    fn merged(&self, table: &Arc<TableInfo>, old: &[Arc<Segment>]) -> io::Result<Option<Replacement>> {
        let merged = match merge::merge(&table.schema, old) {
            Ok(merged) => merged,
            Err(damaged) => {
                tracing::error!(table = table.schema.name, %damaged, "segments are not merged");
                return Ok(None);
            }
        };
        let write = |contents: Contents, ends: Ends| self.files.write(&table.schema, &contents, Arc::new(ends), Attached::default());
        let new = merged.standing.map(|contents| {
            let none = Ends::none(contents.begins.len());
            write(contents, none)
        });
        let new = new.transpose()?;
        let history = merged.history.map(|(contents, ends)| write(contents, ends)).transpose()?;
        Ok(Some(Replacement { table: table.id, old: old.to_vec(), new, history, moved: merged.moved, erased: merged.erased }))
    }
}
