//! A disk that can fail and lose power: it knows what has been written to each file, and what of that has been synced.
//!
//! What is written reaches the real file at once: that is what running processes see. What the disk itself has when power is
//! lost is all that was synced, and of what came after it whatever one likes, by sectors (512 bytes), torn ones included. As
//! SQLite assumes of disks ("powersafe overwrite"), a write that is torn leaves bytes outside of it alone. A sync that failed
//! says nothing about what it was to sync, and a later one that succeeds does not make up for it: Linux has by then forgotten
//! which pages it lost ("Can Applications Recover from fsync Failures?", Rebello et al., USENIX ATC 2020).

use super::files::{Files, Loss};
use dugnad_kernel::disk::{Disk as Door, RealDisk};
use rand::Rng;
use rusqlite::ffi;
use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens to a file, or to a folder (`SyncFolder`).
#[derive(Clone)]
pub enum Change {
    Create,
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate(usize),
    Sync,
    /// To this name.
    Rename(String),
    Delete,
    SyncFolder,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Create => f.write_str("create"),
            Self::Write { offset, bytes } => write!(f, "write of {} bytes at {offset}", bytes.len()),
            Self::Truncate(size) => write!(f, "truncate to {size}"),
            Self::Sync => f.write_str("sync"),
            Self::Rename(to) => write!(f, "rename to {to}"),
            Self::Delete => f.write_str("delete"),
            Self::SyncFolder => f.write_str("sync of the folder"),
        }
    }
}

/// An event of the disk's life, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// A change of a file, by its path in the database's folder, and whether it succeeded.
    Changed { file: String, change: Change, succeeded: bool },
    /// Something was acknowledged: so much had been, in the words of whoever watches.
    Acknowledged(usize),
}

/// How changes fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written.
    InputOutput,
    /// Half is written, the rest has no room.
    Full,
    /// It is done, and an error is returned all the same.
    DoneButFailed,
}

/// Whether a file is one of the journal's, which SQLite writes.
pub fn is_journal(file: &str) -> bool {
    file.starts_with("journal.sqlite")
}

/// Which changes fail: by their number from 0, among those of the journal or among all others, their file and what they are.
pub type Rule = Box<dyn Fn(usize, &str, &Change) -> Option<Fault> + Send>;

#[derive(Default)]
pub struct Disk(Mutex<State>);

#[derive(Default)]
struct State {
    /// What was there before what `log` tells.
    before: Files,
    log: Vec<Event>,
    /// How many changes there were of the journal's files, and of others.
    changes: [usize; 2],
    life: u32,
    rule: Option<Rule>,
    failed: usize,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on changes fail so.
    pub fn fail(&self, rule: impl Fn(usize, &str, &Change) -> Option<Fault> + Send + 'static) {
        self.state().rule = Some(Box::new(rule));
    }

    /// From now on none does.
    pub fn mend(&self) {
        self.state().rule = None;
    }

    /// How many changes have failed.
    pub fn failed(&self) -> usize {
        self.state().failed
    }

    /// How many changes there were of the journal's files, and of others.
    pub fn changes(&self) -> [usize; 2] {
        self.state().changes
    }

    pub fn acknowledged(&self, so_far: usize) {
        self.state().log.push(Event::Acknowledged(so_far));
    }

    pub fn log(&self) -> Vec<Event> {
        self.state().log.clone()
    }

    /// The process is killed: what it does from now on never happens.
    pub fn kill(&self) {
        self.state().life += 1;
    }

    /// How often the process has been killed.
    pub fn life(&self) -> u32 {
        self.state().life
    }

    /// Power is lost after all that has happened: writes what is left into `folder`, which is the disk from now on. Not of the
    /// journal: where that is not watched, nothing is known of it.
    pub fn lose_power(&self, loss: Loss, rng: &mut impl Rng, folder: &Path) {
        let mut state = self.state();
        let mut files = std::mem::take(&mut state.before);
        state.log.drain(..).for_each(|event| files.after(&event));
        files.lose_power(loss, rng, folder);
        state.before = Files::in_folder(folder);
    }

    /// From now on the disk has what is in this folder beside the journal, for certain.
    pub fn begin_with(&self, folder: &Path) {
        let mut state = self.state();
        (state.before, state.log) = (Files::in_folder(folder), Vec::new());
    }

    /// The way of a process that is begun now to the files beside the journal in a folder.
    pub fn door(self: &Arc<Self>, folder: &Path) -> Arc<dyn Door> {
        Arc::new(Doorway { life: self.life(), disk: Arc::clone(self), folder: folder.to_owned() })
    }

    /// Makes a change, or fails it, for a process of that life. `real` does it to the real file, wholly or (a write) by half;
    /// `error` is what its failure looks like: a fault, or that the process has been killed.
    pub fn change<T, E>(
        &self,
        life: u32,
        file: &str,
        change: Change,
        real: impl Fn(bool) -> Result<T, E>,
        error: impl FnOnce(&Change, Option<Fault>) -> E,
    ) -> Result<T, E> {
        let mut state = self.state();
        if state.life != life {
            return Err(error(&change, None));
        }
        let of = usize::from(!is_journal(file));
        let number = state.changes[of];
        state.changes[of] += 1;
        let fault = state.rule.as_ref().and_then(|rule| rule(number, file, &change));
        let Some(fault) = fault else {
            let done = real(true);
            state.log.push(Event::Changed { file: file.to_owned(), change, succeeded: done.is_ok() });
            return done;
        };
        state.failed += 1;
        let error = error(&change, Some(fault));
        let done = match (change, fault) {
            (change, Fault::DoneButFailed) => real(true).is_ok().then_some(change),
            (Change::Write { offset, mut bytes }, Fault::Full) => {
                bytes.truncate(bytes.len() / 2);
                real(false).is_ok().then_some(Change::Write { offset, bytes })
            }
            (Change::Sync, _) => Some(Change::Sync),
            _ => None,
        };
        if let Some(change) = done {
            let succeeded = !matches!(change, Change::Sync);
            state.log.push(Event::Changed { file: file.to_owned(), change, succeeded });
        }
        Err(error)
    }
}

/// See [`Disk::door`]. Nothing is synced really: what would be left is the disk's to say.
struct Doorway {
    disk: Arc<Disk>,
    life: u32,
    folder: PathBuf,
}

impl Doorway {
    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder).unwrap().to_str().unwrap().to_owned()
    }

    fn change<T>(&self, path: &Path, change: Change, real: impl Fn(bool) -> io::Result<T>) -> io::Result<T> {
        self.disk.change(self.life, &self.name(path), change, real, |change, fault| match fault {
            Some(Fault::Full) => io::Error::new(io::ErrorKind::StorageFull, format!("a test's full disk: {change:?}")),
            Some(_) => io::Error::other(format!("a test's fault: {change:?}")),
            None => io::Error::other("the process has been killed"),
        })
    }
}

impl Door for Doorway {
    fn create(&self, path: &Path, options: &OpenOptions) -> io::Result<File> {
        self.change(path, Change::Create, |_| RealDisk.create(path, options))
    }

    fn append(&self, path: &Path, file: &File, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(file.metadata()?.len()).expect("a length");
        let part = |whole| if whole { bytes } else { &bytes[..bytes.len() / 2] };
        self.change(path, Change::Write { offset, bytes: bytes.to_vec() }, |whole| RealDisk.append(path, file, part(whole)))
    }

    fn cut(&self, path: &Path, len: u64) -> io::Result<()> {
        self.change(path, Change::Truncate(usize::try_from(len).expect("a length")), |_| RealDisk.cut(path, len))
    }

    fn sync(&self, path: &Path, _: &File) -> io::Result<()> {
        self.change(path, Change::Sync, |_| Ok(()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(from, Change::Rename(self.name(to)), |_| RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(path, Change::Delete, |_| RealDisk.remove(path))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.change(path, Change::SyncFolder, |_| Ok(()))
    }
}

/// What SQLite is told when a change fails.
pub fn sqlite_error(change: &Change, fault: Option<Fault>) -> c_int {
    match (change, fault) {
        (Change::Write { .. }, Some(Fault::Full)) => ffi::SQLITE_FULL,
        (Change::Write { .. }, _) => ffi::SQLITE_IOERR_WRITE,
        (Change::Truncate(_), _) => ffi::SQLITE_IOERR_TRUNCATE,
        (Change::Sync, _) => ffi::SQLITE_IOERR_FSYNC,
        _ => ffi::SQLITE_IOERR_DELETE,
    }
}
