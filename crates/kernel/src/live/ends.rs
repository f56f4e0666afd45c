//! When the rows of a segment ended. A row's end is written before the commit that ends it is published; a reader at an
//! older commit ignores it. Most segments have no ended row, and then there is no array.

use super::file::Damaged;
use crate::disk::Folder;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The end of a row that was erased. No commit is before 1, so nobody sees it, at whatever commit; a merge leaves it out.
pub(super) const ERASED: u64 = 1;

/// The ends of a segment's rows. The stored form of a segment shares them with the one in memory that it replaces.
pub(super) struct Ends {
    rows: usize,
    // 0: not ended. Commits start at 1.
    commits: OnceLock<Box<[AtomicU64]>>,
    ended: AtomicU32,
    newest: AtomicU64,
    erased: AtomicU32,
}

impl Ends {
    /// No row of `rows` has ended.
    pub(super) fn none(rows: usize) -> Self {
        Self { rows, commits: OnceLock::new(), ended: AtomicU32::new(0), newest: AtomicU64::new(0), erased: AtomicU32::new(0) }
    }

    /// The ends by row; `None` if no row has ended.
    pub(super) fn commits(&self) -> Option<&[AtomicU64]> {
        self.commits.get().map(|c| &**c)
    }

    /// The commit that ended a row, if one has.
    pub(super) fn of(&self, row: usize) -> Option<u64> {
        self.commits()?.get(row).map(|e| e.load(Ordering::Acquire)).filter(|e| *e != 0)
    }

    /// Ends a row. Once; again with the same commit changes nothing. A row that was erased stays so.
    pub(super) fn set(&self, row: usize, commit: u64) {
        let commits = self.commits.get_or_init(|| zeroes(self.rows));
        let Some(end) = commits.get(row) else { return };
        let before = end.load(Ordering::Acquire); // there is one writer
        if before == ERASED {
            return;
        }
        end.store(commit, Ordering::Release);
        if commit == ERASED {
            self.erased.fetch_add(1, Ordering::Release);
        }
        if before == 0 {
            // In this order: who sees that a row more has ended sees the commit too.
            self.newest.fetch_max(commit, Ordering::Release);
            self.ended.fetch_add(1, Ordering::Release);
        }
    }

    /// How many rows were erased and still stand in the segment.
    pub(super) fn erased(&self) -> u32 {
        self.erased.load(Ordering::Acquire)
    }

    /// How many rows have ended.
    pub(super) fn ended(&self) -> u32 {
        self.ended.load(Ordering::Acquire)
    }

    /// The newest of the ends, 0 if there is none. If all rows have ended, nobody at or after this commit sees one.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// (row, commit) of each ended row, in the order of rows.
    pub(super) fn pairs(&self) -> Vec<(u32, u64)> {
        let ends = self.commits().unwrap_or_default().iter().zip(0_u32..);
        ends.map(|(e, row)| (row, e.load(Ordering::Acquire))).filter(|(_, e)| *e != 0).collect()
    }
}

/// The first bytes of a file of ends; the last of them is the format's version.
const MAGIC: [u8; 8] = *b"DUGENDS\x01";

/// The file of the ends of a stored segment.
pub(super) fn name(segment: &str) -> String {
    format!("{segment}.ends")
}

/// Writes the ends of a stored segment into a file beside it, in the place of the one before; durable once the folder is synced.
pub(super) fn write(folder: &Folder, segment: &str, ends: &Ends) -> io::Result<()> {
    let mut bytes = Vec::new();
    for (row, commit) in ends.pairs() {
        bytes.extend_from_slice(&row.to_le_bytes());
        bytes.extend_from_slice(&commit.to_le_bytes());
    }
    folder.replace(&name(segment), &[&MAGIC, &crc32fast::hash(&bytes).to_le_bytes(), &bytes])
}

/// Reads the ends of a stored segment into `ends`, at least `least` of them; none if there is no file and should be none.
pub(super) fn read(folder: &Folder, segment: &str, least: u32, ends: &Ends) -> Result<(), Damaged> {
    let damaged = |what: &str| Damaged { file: name(segment), what: what.to_owned() };
    let bytes = match folder.read(&name(segment)).map_err(|e| damaged(&e.to_string()))? {
        Some(bytes) => bytes,
        None if least == 0 => return Ok(()),
        None => return Err(damaged("it is absent, although rows of the segment have ended")),
    };
    let rest = bytes.strip_prefix(&MAGIC).ok_or_else(|| damaged("it holds no ends of this format"))?;
    let (crc, pairs) = rest.split_at_checked(4).ok_or_else(|| damaged("it is too short"))?;
    if crc32fast::hash(pairs).to_le_bytes() != crc || pairs.len() % 12 != 0 {
        return Err(damaged("it has another checksum"));
    }
    for pair in pairs.chunks_exact(12) {
        let (row, commit) = pair.split_at(4);
        let row = row.try_into().map_or(0, u32::from_le_bytes) as usize;
        if row >= ends.rows {
            return Err(damaged("it ends rows that are not there"));
        }
        ends.set(row, commit.try_into().map_or(0, u64::from_le_bytes));
    }
    if ends.ended() < least { Err(damaged("it is an older one: it ends fewer rows than the manifest says")) } else { Ok(()) }
}

/// The system gives fresh pages as zeroes and makes them resident when they are written: an array costs what is ended in it.
fn zeroes(rows: usize) -> Box<[AtomicU64]> {
    // SAFETY: the all-zero bytes are an `AtomicU64` of 0.
    unsafe { Box::new_zeroed_slice(rows).assume_init() }
}
