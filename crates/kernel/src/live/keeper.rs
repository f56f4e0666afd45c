//! The thread of the store: writes what the committer hands over, and makes checkpoints and merges.

use super::change::Change;
use super::ends::{self, Ends};
use super::file::Contents;
use super::files::{SegmentFiles, remove_unnamed};
use super::log::{self, LogWriter};
use super::manifest::{Counters, FORMAT, Manifest, StoredTable};
use super::merge;
use super::segment::{Attached, Segment, Segments};
use super::table::{Replacement, TableInfo};
use crate::ids::{Commit, TableId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

/// What is to be done.
pub(super) enum Work {
    Changes(Vec<Change>),
    Full { table: Arc<TableInfo>, segment: Arc<Segment> },
    Checkpoint { commit: Commit, counters: Counters, tables: Vec<(Arc<TableInfo>, Lists)> },
    Close,
}

/// The segments of a table and those of its history.
pub(super) type Lists = (Segments, Segments);

/// What the store has made and the committer is to put in place.
pub(super) enum Made {
    Stored { table: TableId, memory: Arc<Segment>, stored: Arc<Segment> },
    Merged(Replacement),
}

/// What the thread and the committer know of each other.
#[derive(Default)]
pub(super) struct State {
    /// A checkpoint should be made.
    pub(super) due: AtomicBool,
    /// How many changes have been handed over and not logged.
    pub(super) waiting: AtomicUsize,
    /// How many checkpoints have ended, well or not.
    pub(super) ended: AtomicU64,
    /// Whether the last of them left files that it did not name: somebody was reading them, or it failed.
    pub(super) left: AtomicBool,
    /// How often something could not be written.
    pub(super) failures: AtomicU64,
    /// Whether that is so since the last checkpoint that went well.
    pub(super) failing: AtomicBool,
}

/// The thread's state.
pub(super) struct Keeper {
    pub(super) files: Arc<SegmentFiles>,
    pub(super) log: LogWriter,
    pub(super) next_log: u64,
    pub(super) checkpoint_log_bytes: u64,
    pub(super) next_table: u32,
    pub(super) made: Arc<Mutex<Vec<Made>>>,
    pub(super) state: Arc<State>,
    /// Segments in memory and their stored forms, until no list of a checkpoint can name the one in memory any more.
    pub(super) twins: Vec<(Arc<Segment>, Arc<Segment>)>,
    /// How many ends of each file have been written.
    pub(super) ended: HashMap<String, u32>,
}

impl Keeper {
    /// Works until it is told to close. What fails is said and left: the rows are in memory, the journal has everything, and the
    /// next checkpoint begins another log and writes whatever is in no file yet.
    pub(super) fn run(mut self, queue: &Receiver<Work>) {
        while let Ok(work) = queue.recv() {
            let whole = matches!(work, Work::Checkpoint { .. });
            let result = match work {
                Work::Changes(changes) => self.changes(&changes),
                Work::Full { table, segment } => self.store(&table, &segment).map(drop),
                Work::Checkpoint { commit, counters, tables } => {
                    let left = self.checkpoint(commit, counters, &tables);
                    self.state.left.store(left.as_ref().map_or(true, |left| *left), Ordering::Relaxed);
                    self.state.ended.fetch_add(1, Ordering::Release);
                    left.map(drop)
                }
                Work::Close => return,
            };
            if whole && result.is_ok() {
                self.state.failing.store(false, Ordering::Relaxed);
            }
            if let Err(error) = result {
                self.state.failures.fetch_add(1, Ordering::Relaxed);
                self.state.failing.store(true, Ordering::Relaxed);
                let folder = self.files.folder().path().display();
                tracing::error!(%folder, %error, "live tables cannot be stored; they stay in memory, and the next checkpoint tries again");
            }
        }
    }

    fn changes(&mut self, changes: &[Change]) -> io::Result<()> {
        let logged = self.log.append(changes);
        self.state.waiting.fetch_sub(changes.len(), Ordering::Relaxed);
        if self.log.bytes() >= self.checkpoint_log_bytes {
            self.state.due.store(true, Ordering::Relaxed);
        }
        logged
    }

    /// Stores a segment that gets no more rows.
    fn store(&mut self, table: &TableInfo, segment: &Arc<Segment>) -> io::Result<Arc<Segment>> {
        let stored = self.files.store(&table.schema, segment)?;
        self.twins.push((Arc::clone(segment), Arc::clone(&stored)));
        self.give(Made::Stored { table: table.id, memory: Arc::clone(segment), stored: Arc::clone(&stored) });
        Ok(stored)
    }

    fn give(&self, made: Made) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
    }

    /// The order: another log; segments and ends, their names synced; the manifest, durable; only then what it makes superfluous
    /// goes, and that it is gone is made durable too, since it may hold what was erased. Whether files had to be left that the
    /// manifest does not name.
    fn checkpoint(&mut self, commit: Commit, counters: Counters, tables: &[(Arc<TableInfo>, Lists)]) -> io::Result<bool> {
        let log = self.next_log;
        let files = Arc::clone(&self.files);
        let folder = files.folder();
        self.log = LogWriter::nowhere();
        self.log = LogWriter::create(folder, log)?;
        self.next_log += 1;
        let mut stored = Vec::with_capacity(tables.len());
        let mut lists = Vec::with_capacity(tables.len());
        for (table, (segments, history)) in tables {
            let (segments, history) = (self.in_files(table, segments)?, self.in_files(table, history)?);
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
        folder.sync()?;
        let (next_file, next_table) = (files.next(), self.next_table);
        let mut manifest =
            Manifest { format: FORMAT, commit, log, next_file, next_table, tables: stored, counters, ended: BTreeMap::new() };
        let named: HashSet<String> = manifest.files().map(str::to_owned).collect();
        let ended = self.ended.iter().filter(|(name, ended)| **ended > 0 && named.contains(*name));
        manifest.ended = ended.map(|(name, ended)| (name.clone(), *ended)).collect();
        manifest.write(folder)?;
        let left = files.in_use().into_iter().filter(|name| !named.contains(name)).collect::<Vec<_>>();
        let keep: HashSet<String> = named.into_iter().chain(left.iter().cloned()).collect();
        self.ended.retain(|name, _| keep.contains(name));
        remove_unnamed(folder, &keep)?;
        log::remove(folder, |number| number < log)?;
        folder.sync()?;
        for (table, segments, history) in lists {
            self.merge(table, segments, history)?;
        }
        Ok(!left.is_empty())
    }

    /// The same list with the stored forms of what was in memory when the list was made.
    fn in_files(&mut self, table: &TableInfo, list: &[Arc<Segment>]) -> io::Result<Vec<Arc<Segment>>> {
        let mut stored = Vec::with_capacity(list.len());
        for segment in list {
            let twin = self.twins.iter().find(|(memory, _)| Arc::ptr_eq(memory, segment)).map(|(_, stored)| Arc::clone(stored));
            stored.push(match twin {
                Some(twin) => twin,
                None if segment.file_name().is_some() => Arc::clone(segment),
                None => self.store(table, segment)?, // it could not be when it was handed over
            });
        }
        Ok(stored)
    }

    fn write_ends(&mut self, segment: &Segment) -> io::Result<()> {
        let (Some(name), ended) = (segment.file_name(), segment.ends().ended()) else { return Ok(()) };
        if self.ended.get(name).copied().unwrap_or_default() != ended {
            ends::write(self.files.folder(), name, segment.ends())?;
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
