//! What a disk has of its files, event by event, and what of it is left when power is lost.
//!
//! Names are lost apart from contents: a file that was made, renamed or removed is so for certain when its folder was synced,
//! and until then may be or may not be, each for itself. (A file system that keeps a journal forgets none of them when a sync of
//! a folder fails: it tries again, or takes no more writes.) SQLite syncs the folder of its log itself, so that the names of the
//! journal's files are certain when they or the log are synced.

use super::disk::{Change, Event, is_journal};
use crate::simulation::folder::contents;
use rand::{Rng, RngExt};
use std::collections::BTreeMap;
use std::path::Path;

const SECTOR: usize = 512;

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

/// What is in a file on the disk for certain, and what came after that, with whether it is lost for later syncs too.
#[derive(Clone, Debug, Default)]
struct Content {
    certain: Vec<u8>,
    uncertain: Vec<(Change, Synced)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Synced {
    NotYet,
    /// The sync failed, and nobody will try again.
    Never,
    Yes,
}

/// What has become of a name. Contents are named by their numbers.
#[derive(Clone, Debug)]
enum Named {
    Made(String, usize),
    Renamed { from: String, to: String, content: usize },
    Gone(String),
}

/// The files of a disk as they are on it, event by event.
#[derive(Clone, Debug, Default)]
pub struct Files {
    contents: Vec<Content>,
    /// What running processes see.
    seen: BTreeMap<String, usize>,
    /// What the folders have for certain, and what has become of names since.
    certain: BTreeMap<String, usize>,
    uncertain: Vec<Named>,
}

impl Files {
    /// Those that are in a folder beside the journal, all of it certain.
    pub fn in_folder(folder: &Path) -> Self {
        let mut files = Self::default();
        for (path, bytes) in contents(folder).expect("nobody writes to it") {
            let name = path.to_str().unwrap();
            if is_journal(name) {
                continue;
            }
            files.certain.insert(name.to_owned(), files.contents.len());
            files.contents.push(Content { certain: bytes, uncertain: Vec::new() });
        }
        Self { seen: files.certain.clone(), ..files }
    }

    pub fn after(&mut self, event: &Event) {
        let Event::Changed { file: name, change, succeeded } = event else { return };
        match change {
            Change::SyncFolder if *succeeded => self.folder_synced(|other| folder_of(other) == name),
            Change::Create if *succeeded => drop(self.make(name)),
            Change::Rename(to) if *succeeded => {
                let Some(content) = self.seen.remove(name) else { return };
                self.seen.insert(to.clone(), content);
                self.uncertain.push(Named::Renamed { from: name.clone(), to: to.clone(), content });
            }
            Change::Delete if *succeeded => {
                self.seen.remove(name);
                self.uncertain.push(Named::Gone(name.clone()));
            }
            Change::Sync => {
                let content = self.content(name);
                self.contents[content].synced(if *succeeded { Synced::Yes } else { Synced::Never });
                if *succeeded && is_journal(name) {
                    self.folder_synced(|other| other == name || (name.contains('-') && is_journal(other)));
                }
            }
            change if *succeeded => {
                let content = self.content(name);
                self.contents[content].uncertain.push((change.clone(), Synced::NotYet));
            }
            _ => {}
        }
    }

    fn make(&mut self, name: &str) -> usize {
        let content = self.contents.len();
        self.contents.push(Content::default());
        self.seen.insert(name.to_owned(), content);
        self.uncertain.push(Named::Made(name.to_owned(), content));
        content
    }

    /// The content of a file. SQLite does not say that it makes one.
    fn content(&mut self, name: &str) -> usize {
        self.seen.get(name).copied().unwrap_or_else(|| self.make(name))
    }

    fn folder_synced(&mut self, which: impl Fn(&str) -> bool) {
        let (firm, rest) = std::mem::take(&mut self.uncertain).into_iter().partition::<Vec<_>, _>(|named| which(named.name()));
        firm.iter().for_each(|named| named.apply(&mut self.certain));
        self.uncertain = rest;
    }

    /// Writes into `folder` what is left when power is lost now.
    pub fn lose_power(&self, loss: Loss, rng: &mut impl Rng, folder: &Path) {
        let mut names = self.certain.clone();
        for named in &self.uncertain {
            if loss == Loss::Nothing || (loss == Loss::Some && rng.random()) {
                named.apply(&mut names);
            }
        }
        for (name, content) in names {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, self.contents[content].left(loss, rng)).unwrap();
        }
    }
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Named {
    fn name(&self) -> &str {
        match self {
            Self::Made(name, _) | Self::Renamed { to: name, .. } | Self::Gone(name) => name,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Made(name, content) => drop(names.insert(name.clone(), *content)),
            Self::Renamed { from, to, content } => {
                if names.get(from) == Some(content) {
                    names.remove(from);
                }
                names.insert(to.clone(), *content);
            }
            Self::Gone(name) => drop(names.remove(name)),
        }
    }
}

impl Content {
    fn synced(&mut self, how: Synced) {
        for (_, synced) in self.uncertain.iter_mut().filter(|(_, s)| *s == Synced::NotYet) {
            *synced = how;
        }
        // What comes first and is synced is certain.
        let firm = self.uncertain.iter().take_while(|(_, s)| *s == Synced::Yes).count();
        for (change, _) in self.uncertain.drain(..firm) {
            apply(&mut self.certain, &change);
        }
    }

    fn left(&self, loss: Loss, rng: &mut impl Rng) -> Vec<u8> {
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

fn apply(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => put(file, *offset, bytes),
        Change::Truncate(size) => file.resize(*size, 0),
        _ => {}
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Writes some sectors, not others, and of some the beginning.
fn apply_some(file: &mut Vec<u8>, offset: usize, bytes: &[u8], rng: &mut impl Rng) {
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
