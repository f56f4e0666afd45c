//! The tail log: the changes since the last checkpoint, so that a restart evaluates no view again. It is written after the
//! journal, and not synced: what it lacks after a crash is read from the journal. docs/formats/live.md describes its bytes.

use super::change::Change;
use super::file::create;
use super::wire::Reader;
use crate::ids::Commit;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The first bytes of a log file; the last of them is the format's version.
const MAGIC: [u8; 8] = *b"DUGTAIL\x01";

/// The largest record that is believed: a group of the largest bundles.
const MAX_RECORD: usize = 1 << 30;

/// Writes one log file.
pub(super) struct LogWriter {
    file: File,
    bytes: u64,
    record: Vec<u8>,
}

impl LogWriter {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut file = create(path)?;
        file.write_all(&MAGIC)?;
        Ok(Self { file, bytes: MAGIC.len() as u64, record: Vec::new() })
    }

    /// How long the file is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends the changes of one group.
    pub(super) fn append(&mut self, changes: &[Change]) -> io::Result<()> {
        self.record.clear();
        self.record.extend_from_slice(&[0; 8]); // length and checksum
        changes.iter().for_each(|change| change.write(&mut self.record));
        let (head, payload) = self.record.split_at_mut(8);
        head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        head[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        self.file.write_all(&self.record)?;
        self.bytes += self.record.len() as u64;
        if self.record.capacity() > 16 << 20 {
            self.record = Vec::new(); // after an exceptional group
        }
        Ok(())
    }
}

/// The path of a log file.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("tail-{number:010}.log"))
}

/// Reads the log files of `dir` from number `from` on, in order, and hands out the changes after `commit`, which follow one
/// another without a gap. Stops at the first record that is not whole, cuts the file there and removes the files after it: what
/// they hold is in the journal. Returns the last commit that was handed out and the number of the next file.
pub(super) fn replay(dir: &Path, from: u64, commit: Commit, apply: &mut dyn FnMut(Vec<Change>)) -> io::Result<(Commit, u64)> {
    let mut last = commit;
    let mut number = from;
    loop {
        let file = path(dir, number);
        let mut bytes = Vec::new();
        match File::open(&file) {
            Ok(mut opened) => opened.read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((last, number)),
            Err(error) => return Err(error),
        };
        let whole = records(&bytes, &mut last, apply);
        number += 1;
        if whole < bytes.len() || whole == 0 {
            File::options().write(true).open(&file)?.set_len(whole as u64)?;
            remove_from(dir, number)?;
            return Ok((last, number));
        }
    }
}

/// Removes the log files before number `first`.
pub(super) fn remove_before(dir: &Path, first: u64) -> io::Result<()> {
    for number in (1..first).rev().take_while(|n| path(dir, *n).exists()) {
        std::fs::remove_file(path(dir, number))?;
    }
    Ok(())
}

/// Removes all log files.
pub(super) fn remove_all(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("tail-") && name.ends_with(".log") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove_from(dir: &Path, mut number: u64) -> io::Result<()> {
    while path(dir, number).exists() {
        std::fs::remove_file(path(dir, number))?;
        number += 1;
    }
    Ok(())
}

/// Hands out the changes of a file; how many of its bytes are whole records that follow `last`.
fn records(bytes: &[u8], last: &mut Commit, apply: &mut dyn FnMut(Vec<Change>)) -> usize {
    let Some(mut rest) = bytes.strip_prefix(&MAGIC) else { return 0 };
    loop {
        let whole = bytes.len() - rest.len();
        let Some((changes, after)) = record(rest) else { return whole };
        let (Some(first), Some(newest)) = (changes.first(), changes.last()) else { return whole };
        if newest.commit > *last {
            if first.commit.0 > last.0 + 1 {
                return whole;
            }
            let known = *last;
            *last = newest.commit;
            apply(changes.into_iter().filter(|c| c.commit > known).collect());
        }
        rest = after;
    }
}

fn record(bytes: &[u8]) -> Option<(Vec<Change>, &[u8])> {
    let number = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let len = number(0)? as usize;
    if len > MAX_RECORD {
        return None;
    }
    let payload = bytes.get(8..8 + len)?;
    if crc32fast::hash(payload) != number(4)? {
        return None;
    }
    let mut from = Reader::new(payload);
    let mut changes = Vec::new();
    while !from.is_empty() {
        changes.push(Change::read(&mut from)?);
    }
    Some((changes, bytes.get(8 + len..)?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::ids::{HolderId, ResourceOrdinal};

    fn change(commit: u64) -> Change {
        Change {
            commit: Commit(commit),
            holder: HolderId(1),
            resource: ResourceOrdinal(commit),
            kind: "Patient".to_owned(),
            previous: None,
            rows: Vec::new(),
            appeared: 1,
            modified: false,
        }
    }

    fn commits(dir: &Path, after: u64) -> (Vec<u64>, u64, u64) {
        let mut seen = Vec::new();
        let (last, next) = replay(dir, 1, Commit(after), &mut |c| seen.extend(c.iter().map(|c| c.commit.0))).unwrap();
        (seen, last.0, next)
    }

    #[test]
    fn a_log_is_read_to_its_last_whole_record_wherever_it_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let file = path(dir.path(), 1);
        let mut log = LogWriter::create(&file).unwrap();
        let mut whole = vec![(log.bytes(), 0)];
        for group in [vec![change(1)], vec![change(2), change(3)], vec![change(4)]] {
            log.append(&group).unwrap();
            whole.push((log.bytes(), group.last().unwrap().commit.0));
        }
        let bytes = std::fs::read(&file).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&file, &bytes[..cut]).unwrap();
            std::fs::write(path(dir.path(), 2), b"of a later time").unwrap();
            let expected = whole.iter().rev().find(|(at, _)| *at <= cut as u64).map_or(0, |(_, commit)| *commit);
            let (seen, last, next) = commits(dir.path(), 0);
            assert_eq!((seen, last), ((1..=expected).collect(), expected), "cut at {cut}");
            let torn = whole.iter().all(|(at, _)| *at != cut as u64);
            assert_eq!(next, if torn { 2 } else { 3 }, "cut at {cut}");
        }
    }

    #[test]
    fn a_gap_ends_the_log_and_what_is_known_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = LogWriter::create(&path(dir.path(), 1)).unwrap();
        first.append(&[change(3), change(4)]).unwrap();
        let mut second = LogWriter::create(&path(dir.path(), 2)).unwrap();
        second.append(&[change(5)]).unwrap();
        second.append(&[change(7)]).unwrap();
        assert_eq!(commits(dir.path(), 3), (vec![4, 5], 5, 3), "commit 6 is missing");
        assert_eq!(commits(dir.path(), 1), (vec![], 1, 2), "commit 2 is missing");
    }

    #[test]
    fn a_changed_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = path(dir.path(), 1);
        LogWriter::create(&file).unwrap().append(&[change(1)]).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            std::fs::write(&file, other).unwrap();
            assert_eq!(commits(dir.path(), 0).0, Vec::<u64>::new(), "byte {at}");
        }
    }
}
