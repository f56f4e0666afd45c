//! Opening a log: entries are read, the tree is built from them by the code that builds it while writing, and both are
//! compared with the signed checkpoint and the tiles. What a crash left half-written is cut off; anything else refuses.
//!
//! A long log is read from the note [`super::resume`] on, and what stands before it behind the open log ([`super::earlier`]).

use super::AuditError;
use super::disk::{CHECKPOINT, ENTRIES, PUBLIC_KEY, UNFINISHED, read_file, replace};
use super::entry::Act;
use super::folder;
use super::glance::Glance;
use super::note::{Checkpoint, VerifierKey};
use super::persons::Who;
use super::record::{self, FILE_HEADER, Flaw};
use super::resume::{Begin, Resume};
use super::rotation::{self, Rotation};
use super::tile::{Growth, Tile};
use super::tree::Hash;
use super::tree::TILE_WIDTH;
use crate::disk::Disk;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// What opening a log found and mended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How many entries there are.
    pub entries: u64,
    /// How many of them no checkpoint had covered yet.
    pub unsigned: u64,
    /// Bytes of half-written, never acknowledged entries that were cut off.
    pub cut_bytes: u64,
    /// Tiles that were absent and are made again from the entries.
    pub rebuilt_tiles: u64,
    /// How many entries were not read: they are, behind the open log.
    pub passed_over: u64,
    /// Accesses that a crash has cut off: they now have a completion that assumes the most.
    pub assumed: u64,
}

/// A log's state after opening.
pub(super) struct Recovered {
    /// `entries.log`, locked, positioned at its end.
    pub entries: File,
    /// The tree.
    pub growth: Growth,
    /// Where every 256th entry begins in `entries.log`.
    pub offsets: Vec<u64>,
    /// Where the next entry goes.
    pub end: u64,
    /// Tiles to be written.
    pub missing: Vec<(Tile, Vec<u8>)>,
    /// What the checkpoint on disk covers, if there is one.
    pub signed: Option<u64>,
    /// Intents without a completion: their index and JSON.
    pub under_way: BTreeMap<u64, Vec<u8>>,
    /// The index of persons, as far as entries were read.
    pub who: Who,
    /// The tree over the entries that were not read, if some were not.
    pub earlier: Option<Earlier>,
    /// For the operator.
    pub report: Recovery,
}

/// The beginning of the log that opening passed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Earlier {
    /// How many entries.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// Opens the folder `dir` of the log that `key` checks.
pub(super) fn recover(dir: &Path, key: &VerifierKey, disk: &dyn Disk) -> Result<Recovered, AuditError> {
    fs::create_dir_all(dir).map_err(|source| AuditError::io(dir, source))?;
    let mut entries = open_entries(dir)?;
    let checkpoint = read_checkpoint(dir, key)?;
    check_key(dir, key, disk)?;
    let begin = checkpoint.as_ref().and_then(|checkpoint| Resume::read(dir, checkpoint.size));
    let noted = begin.is_some();
    let mut scan = match Scan::new(dir, checkpoint.as_ref(), begin).run(&mut entries, disk) {
        Err(AuditError::Damaged { at, what }) if noted => {
            tracing::warn!(at, what, "the audit log cannot be gone on with from its note; all of it is read");
            entries.rewind().map_err(|source| AuditError::io(&dir.join(ENTRIES), source))?;
            Scan::new(dir, checkpoint.as_ref(), None).run(&mut entries, disk)?
        }
        scan => scan?,
    };
    scan.settle(&mut entries, disk)?;
    // A crash may have left the file that the publisher was making.
    match disk.remove(&dir.join(UNFINISHED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(AuditError::io(&dir.join(UNFINISHED), error)),
        _ => {}
    }
    disk.sync_folder(dir).map_err(|source| AuditError::io(dir, source))?;
    Ok(scan.finish(entries))
}

fn open_entries(dir: &Path) -> Result<File, AuditError> {
    let path = dir.join(ENTRIES);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let entries = options.open(&path).map_err(|source| AuditError::io(&path, source))?;
    match entries.try_lock() {
        Ok(()) => Ok(entries),
        Err(TryLockError::WouldBlock) => Err(AuditError::InUse(path.display().to_string())),
        Err(TryLockError::Error(source)) => Err(AuditError::io(&path, source)),
    }
}

fn read_checkpoint(dir: &Path, key: &VerifierKey) -> Result<Option<Checkpoint>, AuditError> {
    let Some(bytes) = read_file(dir, CHECKPOINT)? else { return Ok(None) };
    let note = String::from_utf8(bytes).map_err(|_| AuditError::damaged(CHECKPOINT, "it is not text"))?;
    Checkpoint::open(&note, key).map(Some).map_err(|error| AuditError::damaged(CHECKPOINT, error.to_string()))
}

fn check_key(dir: &Path, key: &VerifierKey, disk: &dyn Disk) -> Result<(), AuditError> {
    let text = format!("{key}\n");
    match read_file(dir, PUBLIC_KEY)? {
        Some(stored) if stored == text.as_bytes() => Ok(()),
        // The key was changed, and a crash came before this file was.
        Some(stored) if rotation::stored(dir)?.last().is_some_and(|last| is_from(last, &stored, key)) => {
            replace(disk, dir, PUBLIC_KEY, text.as_bytes()).map_err(|source| AuditError::io(&dir.join(PUBLIC_KEY), source))
        }
        Some(_) => {
            Err(AuditError::damaged(PUBLIC_KEY, "it is not the public half of this database's key; is this another database's log?"))
        }
        None => replace(disk, dir, PUBLIC_KEY, text.as_bytes()).map_err(|source| AuditError::io(&dir.join(PUBLIC_KEY), source)),
    }
}

/// Whether a change leads from the stored key to this one.
fn is_from(rotation: &Rotation, stored: &[u8], key: &VerifierKey) -> bool {
    stored == format!("{}\n", rotation.from).as_bytes() && rotation.to == key.to_string() && rotation.check().is_ok()
}

/// The pass over the entries.
struct Scan<'a> {
    dir: &'a Path,
    checkpoint: Option<&'a Checkpoint>,
    growth: Growth,
    offsets: Vec<u64>,
    end: u64,
    file_len: u64,
    /// Where the entries end that the checkpoint covers.
    signed_end: u64,
    missing: Vec<(Tile, Vec<u8>)>,
    rebuilt: u64,
    under_way: BTreeMap<u64, Vec<u8>>,
    /// From where on intents have to be looked for.
    first_under_way: u64,
    who: Who,
    earlier: Option<Earlier>,
}

impl<'a> Scan<'a> {
    fn new(dir: &'a Path, checkpoint: Option<&'a Checkpoint>, begin: Option<Begin>) -> Self {
        let earlier = begin.as_ref().map(|begin| Earlier { size: begin.growth.size(), root: begin.growth.root() });
        let begin =
            begin.unwrap_or_else(|| Begin { growth: Growth::default(), end: FILE_HEADER.len() as u64, under_way: 0, offsets: Vec::new() });
        Self {
            dir,
            checkpoint,
            growth: begin.growth,
            offsets: begin.offsets,
            end: begin.end,
            file_len: 0,
            signed_end: begin.end,
            missing: Vec::new(),
            rebuilt: 0,
            under_way: BTreeMap::new(),
            first_under_way: begin.under_way,
            who: Who::new(dir, earlier.is_some()),
            earlier,
        }
    }

    /// Reads and checks.
    fn run(mut self, entries: &mut File, disk: &dyn Disk) -> Result<Self, AuditError> {
        self.header(entries, disk)?;
        self.earlier_intents()?;
        self.records(entries)?;
        self.check_against_checkpoint()?;
        Ok(self)
    }

    /// Intents that stood without a completion where reading begins.
    fn earlier_intents(&mut self) -> Result<(), AuditError> {
        let (first, size) = (self.first_under_way, self.growth.size());
        let block = first / TILE_WIDTH as u64;
        let Some(offset) = usize::try_from(block).ok().and_then(|block| self.offsets.get(block)).copied() else { return Ok(()) };
        for record in folder::records(self.dir, offset, block * TILE_WIDTH as u64, first..size)? {
            self.look(&record);
        }
        Ok(())
    }

    /// What an entry says of accesses and persons.
    fn look(&mut self, record: &record::Record) -> Option<Glance> {
        let glance = Glance::at(&record.json)?;
        match (glance.act, glance.intent) {
            (Act::Intent, _) => _ = self.under_way.insert(record.index, record.json.clone()),
            (Act::Completion, Some(intent)) => _ = self.under_way.remove(&intent),
            _ => {}
        }
        Some(glance)
    }

    fn signed(&self) -> u64 {
        self.checkpoint.map_or(0, |checkpoint| checkpoint.size)
    }

    fn io(&self, source: std::io::Error) -> AuditError {
        AuditError::io(&self.dir.join(ENTRIES), source)
    }

    /// Checks the file's first line, or writes it if a crash came before it was whole.
    fn header(&mut self, entries: &mut File, disk: &dyn Disk) -> Result<(), AuditError> {
        let mut header = Vec::new();
        entries.rewind().map_err(|source| self.io(source))?;
        entries.by_ref().take(FILE_HEADER.len() as u64).read_to_end(&mut header).map_err(|source| self.io(source))?;
        if header != FILE_HEADER {
            if !FILE_HEADER.starts_with(&header) || self.checkpoint.is_some() {
                return Err(AuditError::damaged(ENTRIES, "its first line is not that of an audit log"));
            }
            entries.set_len(0).and_then(|()| entries.rewind()).map_err(|source| self.io(source))?;
            let path = self.dir.join(ENTRIES);
            disk.append(&path, entries, FILE_HEADER).and_then(|()| disk.sync(&path, entries)).map_err(|source| self.io(source))?;
        }
        entries.seek(SeekFrom::Start(self.end)).map_err(|source| self.io(source))?;
        self.file_len = entries.metadata().map_err(|source| self.io(source))?.len();
        Ok(())
    }

    fn records(&mut self, entries: &mut File) -> Result<(), AuditError> {
        self.check_signed_prefix()?;
        let mut reader = BufReader::with_capacity(1 << 20, entries.try_clone().map_err(|source| self.io(source))?);
        while let Some(next) = record::read(&mut reader).map_err(|source| self.io(source))? {
            let next = next.and_then(|record| {
                let in_order = record.index == self.growth.size() && record.group <= record.index;
                if in_order { Ok(record) } else { Err(Flaw::Wrong("another entry stands in its place")) }
            });
            match next {
                Ok(record) => self.accept(&record)?,
                Err(flaw) => return self.flawed(entries, flaw),
            }
        }
        Ok(())
    }

    fn accept(&mut self, record: &record::Record) -> Result<(), AuditError> {
        if self.growth.size().is_multiple_of(TILE_WIDTH as u64) {
            self.offsets.push(self.end);
        }
        let glance = self.look(record);
        self.who.add(glance.map(|glance| (record.index, self.end + record::JSON_AT, glance)));
        self.end += record::encoded_len(record.json.len());
        let mut full = Vec::new();
        self.growth.push(record.commitment, |tile, bytes| full.push((tile, bytes)));
        for (tile, bytes) in full {
            self.compare_tile(tile, bytes)?;
        }
        self.check_signed_prefix()
    }

    /// At the entry where the checkpoint was signed: the root and the unfinished tiles must be those of then.
    fn check_signed_prefix(&mut self) -> Result<(), AuditError> {
        let Some(checkpoint) = self.checkpoint.filter(|checkpoint| checkpoint.size == self.growth.size()) else { return Ok(()) };
        if self.growth.root() != checkpoint.root {
            return Err(AuditError::damaged(
                ENTRIES,
                format!(
                    "the first {} entries are not those that the checkpoint was signed over; `dugnad audit verify` names the entry",
                    checkpoint.size
                ),
            ));
        }
        self.signed_end = self.end;
        for (tile, bytes) in self.growth.partials() {
            self.compare_tile(tile, bytes)?;
        }
        Ok(())
    }

    /// A tile on disk must be what the entries say, if a checkpoint covers it. One that is absent is made again.
    fn compare_tile(&mut self, tile: Tile, bytes: Vec<u8>) -> Result<(), AuditError> {
        let path = tile.path();
        match read_file(self.dir, &path)? {
            Some(stored) if stored == bytes => return Ok(()),
            Some(_) if tile.is_in(self.signed()) => {
                return Err(AuditError::damaged(path, "it is not what the entries say; put it aside, and it is made again from them"));
            }
            Some(_) => {}
            None if tile.is_in(self.signed()) => self.rebuilt += 1,
            None => {}
        }
        self.missing.push((tile, bytes));
        Ok(())
    }

    /// A record that is not whole: the end of a crash if nothing that was acknowledged can be behind it, else damage.
    fn flawed(&mut self, entries: &mut File, flaw: Flaw) -> Result<(), AuditError> {
        let index = self.growth.size();
        let at = format!("{ENTRIES}, entry {index}");
        if index < self.signed() {
            return Err(AuditError::damaged(at, format!("{}, and a signed checkpoint covers it", flaw.describe())));
        }
        let mut rest = Vec::new();
        entries.seek(SeekFrom::Start(self.end)).and_then(|_| entries.read_to_end(&mut rest)).map_err(|source| self.io(source))?;
        if record::later_group_follows(&rest, index) {
            return Err(AuditError::damaged(at, format!("{}, and entries that were written after it follow", flaw.describe())));
        }
        Ok(())
    }

    fn check_against_checkpoint(&self) -> Result<(), AuditError> {
        let entries = self.growth.size();
        match self.checkpoint {
            Some(checkpoint) if entries < checkpoint.size => {
                let what = format!("the checkpoint covers {} entries, but only {entries} are there", checkpoint.size);
                Err(AuditError::damaged(ENTRIES, what))
            }
            None if entries > 0 || self.dir.join("tile").exists() => {
                Err(AuditError::damaged(CHECKPOINT, "it is absent although there are entries or tiles"))
            }
            _ => Ok(()),
        }
    }

    /// Makes the entries on disk exactly those that were read.
    fn settle(&mut self, entries: &mut File, disk: &dyn Disk) -> Result<(), AuditError> {
        entries.set_len(self.end).map_err(|source| self.io(source))?;
        // After a failed sync the page cache may hold what the disk does not, and may think that it is clean. Entries that no
        // checkpoint covers are therefore written again, the same bytes in the same place, before anything is built on them.
        let (path, mut unsigned) = (self.dir.join(ENTRIES), Vec::new());
        let result = entries
            .seek(SeekFrom::Start(self.signed_end))
            .and_then(|_| entries.read_to_end(&mut unsigned))
            .and_then(|_| entries.seek(SeekFrom::Start(self.signed_end)))
            .and_then(|_| disk.append(&path, entries, &unsigned))
            .and_then(|()| disk.sync(&path, entries));
        result.map_err(|source| self.io(source))
    }

    fn finish(mut self, entries: File) -> Recovered {
        // Unfinished tiles are written with the next checkpoint, for its size.
        self.missing.retain(|(tile, _)| tile.is_full());
        let report = Recovery {
            entries: self.growth.size(),
            unsigned: self.growth.size() - self.signed(),
            cut_bytes: self.file_len.saturating_sub(self.end),
            rebuilt_tiles: self.rebuilt,
            passed_over: self.earlier.map_or(0, |earlier| earlier.size),
            assumed: self.under_way.len() as u64,
        };
        Recovered {
            entries,
            growth: self.growth,
            offsets: self.offsets,
            end: self.end,
            missing: self.missing,
            signed: self.checkpoint.map(|checkpoint| checkpoint.size),
            under_way: self.under_way,
            who: self.who,
            earlier: self.earlier,
            report,
        }
    }
}
