//! The tail log: the changes since the last checkpoint, so that a restart evaluates no view again. It is written after the
//! journal, and not synced: what it lacks after a crash is read from the journal. docs/formats/live.md describes its bytes.

use super::change::Change;
use super::wire::Reader;
use crate::disk::{Folder, Output};
use crate::ids::Commit;
use std::io::{self, Write};

/// The first bytes of a log file; the last of them is the format's version.
const MAGIC: [u8; 8] = *b"DUGTAIL\x01";

/// The largest record that is believed: a group of the largest bundles.
const MAX_RECORD: usize = 1 << 30;

/// Writes one log file.
pub(super) struct LogWriter {
    /// None after a failure: a reader looks at nothing behind a record that is not whole.
    file: Option<Output>,
    bytes: u64,
    record: Vec<u8>,
}

impl LogWriter {
    /// Begins the log file of this number.
    pub(super) fn create(folder: &Folder, number: u64) -> io::Result<Self> {
        let mut file = folder.create(&name(number))?;
        file.write_all(&MAGIC)?;
        Ok(Self { file: Some(file), ..Self::nowhere() })
    }

    /// Counts what it is given, and writes it nowhere.
    pub(super) fn nowhere() -> Self {
        Self { file: None, bytes: MAGIC.len() as u64, record: Vec::new() }
    }

    /// How long the file is, or would be.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends the changes of one group. After a failure nothing more is written.
    pub(super) fn append(&mut self, changes: &[Change]) -> io::Result<()> {
        self.record.clear();
        self.record.extend_from_slice(&[0; 8]); // length and checksum
        changes.iter().for_each(|change| change.write(&mut self.record));
        let (head, payload) = self.record.split_at_mut(8);
        head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        head[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        self.bytes += self.record.len() as u64;
        let written = self.file.as_mut().map_or(Ok(()), |file| file.write_all(&self.record));
        if written.is_err() {
            self.file = None;
        }
        if self.record.capacity() > 16 << 20 {
            self.record = Vec::new(); // after an exceptional group
        }
        written
    }
}

/// The name of a log file.
fn name(number: u64) -> String {
    format!("tail-{number:010}.log")
}

/// The number of a log file, if it is one.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix("tail-")?.strip_suffix(".log")?.parse().ok()
}

/// Reads the log files of a folder from number `from` on, in order, and hands out the changes after `commit`, which follow one
/// another without a gap. Stops at the first record that is not whole, cuts the file there and removes the files after it: what
/// they hold is in the journal. Returns the last commit that was handed out and the number of the next file.
pub(super) fn replay(folder: &Folder, from: u64, commit: Commit, apply: &mut dyn FnMut(Vec<Change>)) -> io::Result<(Commit, u64)> {
    let (mut last, mut next) = (commit, from);
    while let Some(bytes) = folder.read(&name(next))? {
        let whole = records(&bytes, &mut last, apply);
        next += 1;
        if whole < bytes.len() || whole == 0 {
            folder.cut(&name(next - 1), whole as u64)?;
            break;
        }
    }
    remove(folder, |number| number >= next)?;
    Ok((last, next))
}

/// The number after those of all log files that are there.
pub(super) fn next(folder: &Folder) -> io::Result<u64> {
    Ok(folder.names()?.iter().filter_map(|name| number(name)).max().map_or(1, |highest| highest + 1))
}

/// Removes the log files of these numbers.
pub(super) fn remove(folder: &Folder, which: impl Fn(u64) -> bool) -> io::Result<()> {
    let names = folder.names()?;
    let out = names.iter().filter(|name| number(name).is_some_and(&which));
    out.into_iter().try_for_each(|name| folder.remove(name))
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
    use crate::disk::{Disk, RealDisk};
    use crate::ids::{HolderId, ResourceOrdinal};
    use std::sync::Arc;
    use tempfile::TempDir;

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

    fn folder(dir: &TempDir) -> Folder {
        Folder::new(dir.path(), &(Arc::new(RealDisk) as Arc<dyn Disk>))
    }

    fn commits(dir: &TempDir, after: u64) -> (Vec<u64>, u64, u64) {
        let mut seen = Vec::new();
        let (last, next) = replay(&folder(dir), 1, Commit(after), &mut |c| seen.extend(c.iter().map(|c| c.commit.0))).unwrap();
        (seen, last.0, next)
    }

    #[test]
    fn a_log_is_read_to_its_last_whole_record_wherever_it_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name(1));
        let mut log = LogWriter::create(&folder(&dir), 1).unwrap();
        let mut whole = vec![(log.bytes(), 0)];
        for group in [vec![change(1)], vec![change(2), change(3)], vec![change(4)]] {
            log.append(&group).unwrap();
            whole.push((log.bytes(), group.last().unwrap().commit.0));
        }
        let bytes = std::fs::read(&file).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&file, &bytes[..cut]).unwrap();
            std::fs::write(dir.path().join(name(2)), b"of a later time").unwrap();
            let expected = whole.iter().rev().find(|(at, _)| *at <= cut as u64).map_or(0, |(_, commit)| *commit);
            let (seen, last, next) = commits(&dir, 0);
            assert_eq!((seen, last), ((1..=expected).collect(), expected), "cut at {cut}");
            let torn = whole.iter().all(|(at, _)| *at != cut as u64);
            assert_eq!(next, if torn { 2 } else { 3 }, "cut at {cut}");
        }
    }

    #[test]
    fn a_gap_ends_the_log_and_what_is_known_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = LogWriter::create(&folder(&dir), 1).unwrap();
        first.append(&[change(3), change(4)]).unwrap();
        let mut second = LogWriter::create(&folder(&dir), 2).unwrap();
        second.append(&[change(5)]).unwrap();
        second.append(&[change(7)]).unwrap();
        assert_eq!(commits(&dir, 3), (vec![4, 5], 5, 3), "commit 6 is missing");
        assert_eq!(commits(&dir, 1), (vec![], 1, 2), "commit 2 is missing");
    }

    #[test]
    fn a_changed_bit_ends_the_log_before_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name(1));
        let mut log = LogWriter::create(&folder(&dir), 1).unwrap();
        let mut ends = vec![log.bytes()];
        for commit in 1..4 {
            log.append(&[change(commit)]).unwrap();
            ends.push(log.bytes());
        }
        let bytes = std::fs::read(&file).unwrap();
        for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut other = bytes.clone();
            other[at] ^= 1 << bit;
            std::fs::write(&file, other).unwrap();
            let whole = ends.iter().skip(1).filter(|end| **end <= at as u64).count() as u64;
            assert_eq!(commits(&dir, 0).0, (1..=whole).collect::<Vec<_>>(), "bit {bit} of byte {at}");
        }
    }

    /// A log was removed after a checkpoint, those before it were, and a power cut brought one of the latter back: there it stayed,
    /// since those before were looked for only up to the first that was gone. It may hold what was erased since.
    #[test]
    fn logs_are_removed_by_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        [1, 3, 4, 6].iter().for_each(|number| drop(LogWriter::create(&folder(&dir), *number).unwrap()));
        remove(&folder(&dir), |number| number < 4).unwrap();
        let mut left = folder(&dir).names().unwrap();
        left.sort();
        assert_eq!(left, [name(4), name(6)]);
    }
}
