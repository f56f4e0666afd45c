//! The index of persons while the log runs: what stands before the note that opening began at is read behind it, by a thread.

use super::index::{Found, Index};
use super::recorder::Recorder;
use crate::audit::AuditError;
use crate::audit::disk::ENTRIES;
use crate::audit::glance::Glance;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What is asked who read whose data.
pub(in crate::audit) struct Who {
    path: PathBuf,
    state: Mutex<State>,
    ready: Condvar,
    /// Somebody waits for the index.
    asked: AtomicBool,
}

#[derive(Default)]
struct State {
    index: Index,
    /// Entries that have come while earlier ones are still being read.
    later: Option<Vec<(u64, u64, Glance)>>,
    /// What was found to be wrong with the earlier ones.
    failed: Option<String>,
}

impl Who {
    /// An empty index. With `earlier`, entries that are added wait for [`Who::complete`].
    pub fn new(dir: &Path, earlier: bool) -> Self {
        let state = State { later: earlier.then(Vec::new), ..State::default() };
        Self { path: dir.join(ENTRIES), state: Mutex::new(state), ready: Condvar::new(), asked: AtomicBool::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds entries, in their order: index, where the JSON begins in the file, and what they say.
    pub fn add(&self, entries: impl IntoIterator<Item = (u64, u64, Glance)>) {
        let speaks = |(_, _, glance): &(u64, u64, Glance)| glance.persons.is_some() || glance.patients.is_some();
        let mut entries = entries.into_iter().filter(speaks).peekable();
        if entries.peek().is_none() {
            return;
        }
        let mut state = self.state();
        match &mut state.later {
            Some(later) => later.extend(entries),
            None => entries.for_each(|(entry, at, glance)| state.index.add(entry, at, &glance)),
        }
    }

    /// Adds an entry that stands before those of [`Who::add`].
    pub fn add_earlier(&self, entry: u64, at: u64, glance: &Glance) {
        if glance.persons.is_some() || glance.patients.is_some() {
            self.state().index.add(entry, at, glance);
        }
    }

    /// The earlier entries are all there, or will never be.
    pub fn complete(&self, result: Result<(), String>) {
        let mut state = self.state();
        for (entry, at, glance) in state.later.take().unwrap_or_default() {
            state.index.add(entry, at, &glance);
        }
        state.failed = result.err();
        drop(state);
        self.ready.notify_all();
    }

    /// Whether somebody waits.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The accesses that delivered the data of one of these Patients, in the order of their entries. Waits until the index is there.
    pub fn accesses(&self, patients: &[u32], recorder: &Recorder) -> Result<Vec<Found>, AuditError> {
        self.asked.store(true, Ordering::Relaxed);
        let state = self.ready.wait_while(self.state(), |state| state.later.is_some()).unwrap_or_else(PoisonError::into_inner);
        if let Some(what) = &state.failed {
            return Err(AuditError::damaged(ENTRIES, what.clone()));
        }
        let io = |source| AuditError::io(&self.path, source);
        let file = Mutex::new(File::open(&self.path).map_err(io)?);
        let read = |at: u64, bytes: &mut [u8]| -> io::Result<()> {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(bytes)
        };
        let mut all: Vec<Found> = Vec::new();
        for patient in patients {
            let key = recorder.keys().of(*patient)?;
            all.extend(state.index.accesses(*patient, key.as_ref(), &read).map_err(io)?);
        }
        // Known comes before assumed, and one of each entry is enough.
        all.sort_unstable_by_key(|found| (found.entry, !found.certain));
        all.dedup_by_key(|found| found.entry);
        Ok(all)
    }
}
