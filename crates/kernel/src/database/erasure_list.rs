//! The list of erased persons outside the journal: `erasures.jsonl`.
//!
//! A backup is older than the erasures that came after it. This file is in no backup; what it names is erased again when a
//! journal that does not know it is opened. A person stands in it as a keyed hash; the key is in the journal, so that the list
//! tells nothing by itself.
//!
//! Each erasure replaces the file as a whole: it is small, and neither a crash nor a disk that fails leaves half a line in it, nor
//! lines behind one that a failed sync has lost.

use super::erased::{hex, parse_hash};
use crate::disk::Folder;
use crate::ids::Commit;
use crate::journal::PersonHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io;

/// The list's file in the folder of a database.
pub const ERASURE_LIST: &str = "erasures.jsonl";

const FORMAT: &str = "dugnad erasures v2";
/// Lists of this format have no checksum. They were appended to, so that a crash may have left the last line unfinished.
const APPENDED: &str = "dugnad erasures v1";

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
    /// CRC-32 of the lines that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    crc: Option<u32>,
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
    folder: Folder,
    key_id: String,
    /// The file's lines, but for the first.
    lines: Vec<u8>,
    persons: HashSet<PersonHash>,
}

impl ErasureList {
    /// Reads the list of the database whose key has this id; one that is absent is empty. What it names is durable on return.
    pub(super) fn open(folder: Folder, key_id: &str) -> Result<Self, ErasureListError> {
        let mut list = Self { folder, key_id: key_id.to_owned(), lines: Vec::new(), persons: HashSet::new() };
        if let Some(found) = list.folder.read(ERASURE_LIST).map_err(|e| list.io(e))? {
            list.read(&found)?;
        }
        // A process that was killed may have come as far as the file's name, and not have synced it.
        list.folder.sync().map_err(|e| list.io(e))?;
        Ok(list)
    }

    fn read(&mut self, text: &[u8]) -> Result<(), ErasureListError> {
        let end = text.iter().position(|byte| *byte == b'\n').ok_or_else(|| self.damaged(1))?;
        let (head, mut lines) = text.split_at(end + 1);
        let head: Head = serde_json::from_slice(head).map_err(|_| self.damaged(1))?;
        match head.list.as_str() {
            // What is unfinished is written again from the journal, which had it first.
            APPENDED if head.crc.is_none() => {
                lines = lines.split_at(lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)).0
            }
            FORMAT if head.crc == Some(crc32fast::hash(lines)) => {}
            _ => return Err(self.damaged(1)),
        }
        if head.key_id != self.key_id {
            return Err(ErasureListError::Foreign { path: self.path() });
        }
        for (n, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let damaged = || self.damaged(n + 2);
            let line: Line = serde_json::from_slice(line).map_err(|_| damaged())?;
            let person = parse_hash(&line.person).ok_or_else(damaged)?;
            self.persons.insert(person);
        }
        self.lines = lines.to_vec();
        Ok(())
    }

    fn io(&self, source: io::Error) -> ErasureListError {
        ErasureListError::Io { path: self.path(), source }
    }

    fn damaged(&self, line: usize) -> ErasureListError {
        ErasureListError::Damaged { path: self.path(), line }
    }

    fn path(&self) -> String {
        self.folder.at(ERASURE_LIST).display().to_string()
    }

    /// Whom it names.
    pub(super) fn persons(&self) -> &HashSet<PersonHash> {
        &self.persons
    }

    /// Adds those who are not on it; durable on return.
    pub(super) fn add(&mut self, listed: impl IntoIterator<Item = Listed>) -> Result<(), ErasureListError> {
        let new: Vec<Listed> = listed.into_iter().filter(|l| !self.persons.contains(&l.person)).collect();
        if !new.is_empty() {
            self.lines = self.written(&new).map_err(|e| self.io(e))?;
            self.persons.extend(new.iter().map(|l| l.person));
        }
        Ok(())
    }

    /// The lines with more of them, written.
    fn written(&self, new: &[Listed]) -> io::Result<Vec<u8>> {
        let mut lines = self.lines.clone();
        for listed in new {
            let line = Line { person: hex(&listed.person), at: listed.at, timeline: listed.timeline.clone(), commit: listed.commit.0 };
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        let head = Head { list: FORMAT.to_owned(), key_id: self.key_id.clone(), crc: Some(crc32fast::hash(&lines)) };
        self.folder.replace(ERASURE_LIST, &[&serde_json::to_vec(&head)?, b"\n", &lines])?;
        self.folder.sync()?;
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::disk::{Disk, RealDisk};
    use std::sync::Arc;
    use tempfile::TempDir;

    fn open(dir: &TempDir, key_id: &str) -> Result<ErasureList, ErasureListError> {
        ErasureList::open(Folder::new(dir.path(), &(Arc::new(RealDisk) as Arc<dyn Disk>)), key_id)
    }

    fn listed(byte: u8) -> Listed {
        Listed { person: [byte; 32], at: Timestamp::UNIX_EPOCH, timeline: "0123456789abcdef".to_owned(), commit: Commit(7) }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut list = open(&dir, "key").unwrap();
        list.add([listed(1)]).unwrap();
        list.add([listed(1), listed(2)]).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(ERASURE_LIST)).unwrap().lines().count(), 3);
        assert_eq!(open(&dir, "key").unwrap().persons(), list.persons());
        assert!(matches!(open(&dir, "other"), Err(ErasureListError::Foreign { .. })));
    }

    /// As version 0.1.0 wrote them before it was released.
    const OLD: &str = concat!(
        "{\"list\":\"dugnad erasures v1\",\"key_id\":\"key\"}\n",
        "{\"person\":\"0101010101010101010101010101010101010101010101010101010101010101\",",
        "\"at\":\"1970-01-01T00:00:00Z\",\"timeline\":\"0123456789abcdef\",\"commit\":7}\n"
    );

    #[test]
    fn a_list_of_the_format_before_is_read_and_goes_on_in_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ERASURE_LIST);
        std::fs::write(&path, format!("{OLD}{{\"person\":\"00")).unwrap();
        let mut list = open(&dir, "key").unwrap();
        assert_eq!(*list.persons(), HashSet::from([[1; 32]]), "what a crash left unfinished is passed over");
        list.add([listed(2)]).unwrap();
        assert_eq!(open(&dir, "key").unwrap().persons(), list.persons());
        assert!(std::fs::read_to_string(&path).unwrap().contains(FORMAT));
        std::fs::write(&path, OLD.replace("0101", "01x1")).unwrap();
        assert!(matches!(open(&dir, "key"), Err(ErasureListError::Damaged { line: 2, .. })));
    }

    /// A list that lacks somebody would let them come back with the next restore.
    #[test]
    fn a_list_that_is_cut_or_changed_anywhere_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ERASURE_LIST);
        let mut list = open(&dir, "key").unwrap();
        (1..4).for_each(|n| list.add([listed(n)]).unwrap());
        let bytes = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            let why = open(&dir, "key").err().unwrap_or_else(|| panic!("{what}: it is taken")).to_string();
            assert!(why.contains(ERASURE_LIST), "{what}: {why}");
        };
        (0..bytes.len()).for_each(|length| refused(&bytes[..length], &format!("cut to {length} bytes")));
        for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            refused(&changed, &format!("bit {bit} of byte {at}"));
        }
    }
}
