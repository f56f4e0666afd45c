//! A disk that can fail and lose power: it knows what has been written to each file, and what of that has been synced.
//!
//! What is written reaches the real file at once: that is what running processes see. What the disk itself has when power is
//! lost is all that was synced, and of what came after it whatever one likes, by sectors (512 bytes), torn ones included. As
//! SQLite assumes of disks ("powersafe overwrite"), a write that is torn leaves bytes outside of it alone. A sync that failed
//! says nothing about what it was to sync, and a later one that succeeds does not make up for it: Linux has by then forgotten
//! which pages it lost ("Can Applications Recover from fsync Failures?", Rebello et al., USENIX ATC 2020).

use rand::{Rng, RngExt};
use rusqlite::ffi;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;

/// What happens to a file.
#[derive(Clone)]
pub enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
    Sync,
    Delete,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write { offset, bytes } => write!(f, "write of {} bytes at {offset}", bytes.len()),
            Self::Truncate(size) => write!(f, "truncate to {size}"),
            Self::Sync => f.write_str("sync"),
            Self::Delete => f.write_str("delete"),
        }
    }
}

/// An event of the disk's life, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// A change of a file, and whether it succeeded.
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

/// Which changes fail: by their number from 0, their file and what they are.
pub type Rule = Box<dyn Fn(usize, &str, &Change) -> Option<Fault> + Send>;

#[derive(Default)]
pub struct Disk(Mutex<State>);

#[derive(Default)]
struct State {
    log: Vec<Event>,
    changes: usize,
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

    /// Makes a change, or fails it, for a process of that life. `real` does it to the real file, wholly or (a write) by half.
    pub fn change(&self, life: u32, file: &str, change: Change, real: impl Fn(bool) -> c_int) -> c_int {
        let mut state = self.state();
        if state.life != life {
            return real(true); // to files that nobody looks at any more
        }
        let number = state.changes;
        state.changes += 1;
        let fault = state.rule.as_ref().and_then(|rule| rule(number, file, &change));
        let Some(fault) = fault else {
            let code = real(true);
            state.log.push(Event::Changed { file: file.to_owned(), change, succeeded: code == ffi::SQLITE_OK });
            return code;
        };
        state.failed += 1;
        let code = match (&change, fault) {
            (Change::Write { .. }, Fault::Full) => ffi::SQLITE_FULL,
            (Change::Write { .. }, _) => ffi::SQLITE_IOERR_WRITE,
            (Change::Truncate(_), _) => ffi::SQLITE_IOERR_TRUNCATE,
            (Change::Sync, _) => ffi::SQLITE_IOERR_FSYNC,
            (Change::Delete, _) => ffi::SQLITE_IOERR_DELETE,
        };
        let done = match (change, fault) {
            (change, Fault::DoneButFailed) => (real(true) == ffi::SQLITE_OK).then_some(change),
            (Change::Write { offset, mut bytes }, Fault::Full) => {
                bytes.truncate(bytes.len() / 2);
                (real(false) == ffi::SQLITE_OK).then_some(Change::Write { offset, bytes })
            }
            (Change::Sync, _) => Some(Change::Sync),
            _ => None,
        };
        if let Some(change) = done {
            let succeeded = !matches!(change, Change::Sync);
            state.log.push(Event::Changed { file: file.to_owned(), change, succeeded });
        }
        code
    }
}

/// What a disk has when power is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All that is not synced.
    All,
    /// Nothing.
    Nothing,
    /// Some, by sectors.
    Some,
}

/// A file on the disk: what is certain, and what came after that, with whether it is lost for later syncs too.
#[derive(Clone, Debug, Default)]
struct OnDisk {
    /// `None`: it does not exist.
    certain: Option<Vec<u8>>,
    uncertain: Vec<(Change, Synced)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Synced {
    NotYet,
    /// The sync failed, and nobody will try again.
    Never,
    Yes,
}

/// The files of a disk as they are on it, event by event.
#[derive(Clone, Debug, Default)]
pub struct Files(BTreeMap<String, OnDisk>);

impl Files {
    pub fn after(&mut self, event: &Event) {
        let Event::Changed { file: name, change, succeeded } = event else { return };
        if matches!(change, Change::Sync) && *succeeded && name.contains('-') {
            // The first sync of a log or a rollback journal syncs the folder: what had been deleted there is.
            self.0.values_mut().for_each(OnDisk::folder_synced);
        }
        let file = self.0.entry(name.clone()).or_default();
        match (change, succeeded) {
            (Change::Sync, true) => file.synced(Synced::Yes),
            (Change::Sync, false) => file.synced(Synced::Never),
            (change, true) => file.uncertain.push((change.clone(), Synced::NotYet)),
            (_, false) => {}
        }
    }

    /// Writes into `folder` what is left when power is lost now.
    pub fn lose_power(&self, loss: Loss, rng: &mut impl Rng, folder: &Path) {
        for (name, file) in &self.0 {
            if let Some(bytes) = file.left(loss, rng) {
                std::fs::write(folder.join(name), bytes).unwrap();
            }
        }
    }
}

impl OnDisk {
    fn synced(&mut self, how: Synced) {
        for (_, synced) in self.uncertain.iter_mut().filter(|(_, s)| *s == Synced::NotYet) {
            *synced = how;
        }
        // What comes first and is synced is certain.
        let firm = self.uncertain.iter().take_while(|(_, s)| *s == Synced::Yes).count();
        for (change, _) in self.uncertain.drain(..firm) {
            apply(&mut self.certain, &change);
        }
        self.certain.get_or_insert_default();
    }

    /// A file that was deleted is gone, whatever was written to it before.
    fn folder_synced(&mut self) {
        if let Some(last) = self.uncertain.iter().rposition(|(change, _)| matches!(change, Change::Delete)) {
            self.uncertain.drain(..=last);
            self.certain = None;
        }
    }

    fn left(&self, loss: Loss, rng: &mut impl Rng) -> Option<Vec<u8>> {
        let mut left = self.certain.clone();
        for (change, synced) in &self.uncertain {
            match (synced, loss, change) {
                (Synced::Yes, ..) | (_, Loss::Nothing, _) => apply(&mut left, change),
                (_, Loss::All, _) => {}
                (_, Loss::Some, Change::Write { offset, bytes }) => apply_some(&mut left, *offset, bytes, rng),
                (_, Loss::Some, change) if rng.random() => apply(&mut left, change),
                (_, Loss::Some, _) => {}
            }
        }
        left
    }
}

fn apply(file: &mut Option<Vec<u8>>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => put(file, *offset, bytes),
        Change::Truncate(size) => file.get_or_insert_default().resize(*size, 0),
        Change::Delete => *file = None,
        Change::Sync => {}
    }
}

fn put(file: &mut Option<Vec<u8>>, offset: usize, bytes: &[u8]) {
    let file = file.get_or_insert_default();
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Writes some sectors, not others, and of some the beginning.
fn apply_some(file: &mut Option<Vec<u8>>, offset: usize, bytes: &[u8], rng: &mut impl Rng) {
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
        match rng.random_range(0..5) {
            0 | 1 => put(file, offset + at, &bytes[at..end]),
            2 => put(file, offset + at, &bytes[at..rng.random_range(at..end)]),
            _ => {}
        }
        at = end;
    }
}
