//! The list of erased persons outside the journal: `erasures.jsonl`.
//!
//! A backup is older than the erasures that came after it. This file is in no backup; what it names is erased again when a
//! journal that does not know it is opened. A person stands in it as a keyed hash; the key is in the journal, so that the list
//! tells nothing by itself.

use super::erased::{hex, parse_hash};
use crate::ids::Commit;
use crate::journal::PersonHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The list's file in the folder of a database.
pub const ERASURE_LIST: &str = "erasures.jsonl";

const FORMAT: &str = "dugnad erasures v1";

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ErasureListError {
    /// It cannot be read or written.
    #[error("the erasure list {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A line is not what was written.
    #[error(
        "the erasure list {path} is damaged in line {line}; take a copy of it that is whole, for without it erased persons would come back"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// It was written for another database.
    #[error(
        "the erasure list {path} is of another database; its persons cannot be found here. Take the list of the database that was backed up"
    )]
    Foreign {
        /// The file.
        path: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    list: String,
    key_id: String,
}

/// A line: an erasure.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    person: String,
    at: Timestamp,
    timeline: String,
    commit: u64,
}

/// An erasure that is to be put on the list.
pub(super) struct Listed {
    pub(super) person: PersonHash,
    pub(super) at: Timestamp,
    pub(super) timeline: String,
    pub(super) commit: Commit,
}

/// The open list.
pub(super) struct ErasureList {
    path: PathBuf,
    key_id: String,
    persons: HashSet<PersonHash>,
}

impl ErasureList {
    /// Reads the list of the database whose key has this id; one that is absent is empty. A last line that a crash left
    /// unfinished is cut off: it is written again from the journal, which had it first.
    pub(super) fn open(path: &Path, key_id: &str) -> Result<Self, ErasureListError> {
        let io = |source| ErasureListError::Io { path: path.display().to_string(), source };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io(error)),
        };
        let whole = text.rfind('\n').map_or(0, |last| last + 1);
        if whole < text.len() {
            let file = File::options().write(true).open(path).map_err(io)?;
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(io)?;
        }
        let mut list = Self { path: path.to_owned(), key_id: key_id.to_owned(), persons: HashSet::new() };
        for (n, line) in text.get(..whole).unwrap_or_default().lines().enumerate() {
            list.read(n + 1, line)?;
        }
        Ok(list)
    }

    fn read(&mut self, number: usize, line: &str) -> Result<(), ErasureListError> {
        let path = || self.path.display().to_string();
        let damaged = || ErasureListError::Damaged { path: path(), line: number };
        if number == 1 {
            let head: Head = serde_json::from_str(line).map_err(|_| damaged())?;
            return match head.list.as_str() {
                FORMAT if head.key_id == self.key_id => Ok(()),
                FORMAT => Err(ErasureListError::Foreign { path: path() }),
                _ => Err(damaged()),
            };
        }
        let line: Line = serde_json::from_str(line).map_err(|_| damaged())?;
        let person = parse_hash(&line.person).ok_or_else(damaged)?;
        self.persons.insert(person);
        Ok(())
    }

    /// Whom it names.
    pub(super) fn persons(&self) -> &HashSet<PersonHash> {
        &self.persons
    }

    /// Adds those who are not on it; durable on return.
    pub(super) fn add(&mut self, listed: impl IntoIterator<Item = Listed>) -> Result<(), ErasureListError> {
        let new: Vec<Listed> = listed.into_iter().filter(|l| !self.persons.contains(&l.person)).collect();
        if !new.is_empty() {
            self.append(&new).map_err(|source| ErasureListError::Io { path: self.path.display().to_string(), source })?;
            self.persons.extend(new.iter().map(|l| l.person));
        }
        Ok(())
    }

    fn append(&self, new: &[Listed]) -> io::Result<()> {
        let mut options = File::options();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.path)?;
        let mut text = Vec::new();
        if file.metadata()?.len() == 0 {
            serde_json::to_writer(&mut text, &Head { list: FORMAT.to_owned(), key_id: self.key_id.clone() })?;
            text.push(b'\n');
        }
        for listed in new {
            let line = Line { person: hex(&listed.person), at: listed.at, timeline: listed.timeline.clone(), commit: listed.commit.0 };
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        file.write_all(&text)?;
        file.sync_all()?;
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn listed(byte: u8) -> Listed {
        Listed { person: [byte; 32], at: Timestamp::UNIX_EPOCH, timeline: "0123456789abcdef".to_owned(), commit: Commit(7) }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ERASURE_LIST);
        let mut list = ErasureList::open(&path, "key").unwrap();
        list.add([listed(1)]).unwrap();
        list.add([listed(1), listed(2)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        std::fs::write(&path, format!("{text}{{\"person\":\"00")).unwrap();
        let again = ErasureList::open(&path, "key").unwrap();
        assert_eq!(again.persons(), list.persons(), "what a crash left unfinished is cut off");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert!(matches!(ErasureList::open(&path, "other"), Err(ErasureListError::Foreign { .. })));
        std::fs::write(&path, text.replace("0101", "01x1")).unwrap();
        assert!(matches!(ErasureList::open(&path, "key"), Err(ErasureListError::Damaged { line: 2, .. })));
    }
}
