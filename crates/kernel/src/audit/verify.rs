//! The offline check of a copy of a log's folder. It trusts nothing in the folder but what `key` has signed.

use super::disk::{CHECKPOINT, COSIGNED, ENTRIES, PUBLIC_KEY, UNFINISHED};
use super::entry::Entry;
use super::glance::Glance;
use super::note::{Checkpoint, VerifierKey};
use super::persons::{KEYS, is_keys};
use super::record::{self, FILE_HEADER, Flaw, Record};
use super::resume::{RESUME, Resume};
use super::rotation::{ROTATIONS, Rotation, leads};
use super::tile::{Growth, Tile, TileKind};
use super::tree::{Hash, TILE_WIDTH};
use crate::limits::{AUDIT_RESUME_ENTRIES, MAX_AUDIT_ENTRY_BYTES, MAX_AUDIT_PROBLEMS};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which file of the folder.
    pub file: String,
    /// At which entry, where it can be told.
    pub entry: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// What an offline check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many whole entries the folder holds.
    pub entries: u64,
    /// How many of them the checkpoint covers.
    pub signed: u64,
    /// The signed root, if there is one.
    pub root: Option<Hash>,
    /// Who signed: the verifier key that was used.
    pub key: Option<String>,
    /// Bytes of an entry at the end of `entries.log` that was being written when the copy was made or the machine stopped. Such
    /// an entry was never acknowledged; it is no problem, and the next start cuts it off.
    pub unfinished_bytes: u64,
    /// What is wrong, the first entry first; at most [`MAX_AUDIT_PROBLEMS`].
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether all is as it was written.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, file: &str, entry: Option<u64>, what: impl Into<String>) {
        if self.problems.len() < MAX_AUDIT_PROBLEMS {
            self.problems.push(Problem { file: file.to_owned(), entry, what: what.into() });
        }
    }
}

/// Checks the folder `dir`: every entry against its commitment, every tile, the root against the signed checkpoint, the stored
/// key against `key`. Without `key` the stored one is used: that finds accidents, but not somebody who signed the whole log anew.
pub fn verify(dir: &Path, key: Option<&VerifierKey>) -> Report {
    verify_since(dir, key, &[])
}

/// Like [`verify`], and checks that the log still begins with what `earlier` checkpoints were signed over: somebody who keeps them
/// finds a log that was written anew, even by the owner of the key.
pub fn verify_since(dir: &Path, key: Option<&VerifierKey>, earlier: &[Checkpoint]) -> Report {
    let mut check = Check {
        dir,
        report: Report::default(),
        growth: Growth::default(),
        seen: BTreeSet::new(),
        offsets: Vec::new(),
        under_way: BTreeSet::new(),
        unsigned: BTreeMap::new(),
        resume: None,
    };
    let (key, rotated) = check.key(key);
    let checkpoint = check.checkpoint(key.as_ref());
    let cosigned = check.cosigned(key.as_ref());
    check.private_files();
    let mut roots: Vec<(&Checkpoint, &str)> = earlier.iter().map(|checkpoint| (checkpoint, "an earlier checkpoint")).collect();
    roots.extend(rotated.iter().map(|checkpoint| (checkpoint, ROTATIONS)));
    roots.extend(cosigned.iter().map(|checkpoint| (checkpoint, COSIGNED)));
    roots.extend(checkpoint.iter().map(|checkpoint| (checkpoint, CHECKPOINT)));
    check.entries(&roots);
    check.ends(&roots);
    check.unexpected_files("");
    check.report.problems.sort_by_key(|problem| problem.entry.unwrap_or(u64::MAX));
    check.report
}

/// The end of a file from `offset` on, as far as one record can reach.
fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut rest = Vec::new();
    file.take(2 * MAX_AUDIT_ENTRY_BYTES as u64).read_to_end(&mut rest)?;
    Ok(rest)
}

struct Check<'a> {
    dir: &'a Path,
    report: Report,
    growth: Growth,
    /// Files that have been compared.
    seen: BTreeSet<String>,
    /// Where every 256th entry begins.
    offsets: Vec<u64>,
    /// Intents without a completion so far.
    under_way: BTreeSet<u64>,
    /// Full tiles that no checkpoint covers: a crash may have come before they were written.
    unsigned: BTreeMap<Tile, Vec<u8>>,
    /// The stored note of where opening begins to read.
    resume: Option<Vec<u8>>,
}

impl Check<'_> {
    fn read(&mut self, path: &str) -> Option<Vec<u8>> {
        self.seen.insert(path.to_owned());
        match fs::read(self.dir.join(path)) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.report.problem(path, None, format!("it cannot be read: {error}"));
                None
            }
        }
    }

    fn read_text(&mut self, path: &str) -> Option<String> {
        let text = self.read(path).map(String::from_utf8);
        match text {
            Some(Ok(text)) => Some(text),
            Some(Err(_)) => {
                self.report.problem(path, None, "it is not text");
                None
            }
            None => {
                self.report.problem(path, None, "it is absent");
                None
            }
        }
    }

    /// The checkpoint that witnesses have cosigned: this log signed it too.
    fn cosigned(&mut self, key: Option<&VerifierKey>) -> Option<Checkpoint> {
        if !self.dir.join(COSIGNED).exists() {
            return None;
        }
        let note = self.read_text(COSIGNED)?;
        match Checkpoint::open(&note, key?) {
            Ok(checkpoint) => Some(checkpoint),
            Err(error) => {
                self.report.problem(COSIGNED, None, error.to_string());
                None
            }
        }
    }

    /// Files that are the server's own. The keys of persons are random: there is nothing to compare them with.
    fn private_files(&mut self) {
        if self.dir.join(KEYS).exists() && self.read(KEYS).is_some_and(|bytes| !is_keys(&bytes)) {
            self.report.problem(KEYS, None, "it is not a file of the keys of persons");
        }
        if self.dir.join(RESUME).exists() {
            self.resume = self.read(RESUME);
        }
    }

    /// The note of where opening begins to read must be what the entries before it say.
    fn resumes(&mut self, end: u64) {
        if self.resume.is_none() || !self.growth.size().is_multiple_of(AUDIT_RESUME_ENTRIES) {
            return;
        }
        let expected = Resume::new(&self.growth, end, self.under_way.first().copied(), &self.offsets);
        if self.resume.as_deref() == Some(expected.bytes()) {
            self.resume = None;
        }
    }

    /// The key that has to have signed the checkpoint, and the checkpoints that two keys have signed when it was changed.
    fn key(&mut self, expected: Option<&VerifierKey>) -> (Option<VerifierKey>, Vec<Checkpoint>) {
        let (rotations, rotated) = self.rotations();
        let stored = self.read_text(PUBLIC_KEY);
        let parsed = stored.as_deref().map(|text| {
            text.strip_suffix('\n')
                .ok_or("its line does not end".to_owned())
                .and_then(|line| VerifierKey::parse(line).map_err(|error| error.to_string()))
        });
        match (&parsed, expected) {
            (Some(Err(error)), _) => self.report.problem(PUBLIC_KEY, None, error),
            (Some(Ok(stored)), Some(expected)) if !leads(&rotations, expected, stored) => {
                self.report.problem(PUBLIC_KEY, None, format!("it is {stored}, not the expected {expected}"));
            }
            _ => {}
        }
        let key = match (parsed.and_then(Result::ok), expected) {
            (Some(stored), Some(expected)) if !leads(&rotations, expected, &stored) => Some(expected.clone()),
            (Some(stored), _) => Some(stored),
            (None, expected) => expected.cloned(),
        };
        self.report.key = key.as_ref().map(ToString::to_string);
        (key, rotated)
    }

    /// The changes of the key, and the checkpoints in them.
    fn rotations(&mut self) -> (Vec<Rotation>, Vec<Checkpoint>) {
        if !self.dir.join(ROTATIONS).exists() {
            return (Vec::new(), Vec::new());
        }
        let read = self.read_text(ROTATIONS).map(|text| Rotation::read_all(&text));
        let all = match read {
            Some(Ok(all)) => all,
            Some(Err(what)) => {
                self.report.problem(ROTATIONS, None, what);
                Vec::new()
            }
            None => Vec::new(),
        };
        let mut checkpoints = Vec::new();
        for (at, rotation) in all.iter().enumerate() {
            match rotation.check() {
                Ok((checkpoint, _)) => checkpoints.push(checkpoint),
                Err(what) => self.report.problem(ROTATIONS, None, format!("line {}: {what}", at + 1)),
            }
        }
        (all, checkpoints)
    }

    fn checkpoint(&mut self, key: Option<&VerifierKey>) -> Option<Checkpoint> {
        let note = self.read_text(CHECKPOINT)?;
        match Checkpoint::open(&note, key?) {
            Ok(checkpoint) => {
                self.report.signed = checkpoint.size;
                self.report.root = Some(checkpoint.root);
                Some(checkpoint)
            }
            Err(error) => {
                self.report.problem(CHECKPOINT, None, error.to_string());
                None
            }
        }
    }

    /// Reads the entries one by one, as far as they are whole.
    fn entries(&mut self, roots: &[(&Checkpoint, &str)]) {
        self.seen.insert(ENTRIES.to_owned());
        let mut reader = match File::open(self.dir.join(ENTRIES)) {
            Ok(file) => BufReader::with_capacity(1 << 20, file),
            Err(error) => return self.report.problem(ENTRIES, None, format!("it cannot be read: {error}")),
        };
        let mut header = Vec::new();
        if reader.by_ref().take(FILE_HEADER.len() as u64).read_to_end(&mut header).is_err() || header != FILE_HEADER {
            return self.report.problem(ENTRIES, None, "its first line is not that of an audit log");
        }
        self.roots(roots);
        let mut end = FILE_HEADER.len() as u64;
        loop {
            match record::read(&mut reader) {
                Ok(None) => break,
                Ok(Some(Ok(record))) => {
                    if self.growth.size().is_multiple_of(TILE_WIDTH as u64) {
                        self.offsets.push(end);
                    }
                    end += record::encoded_len(record.json.len());
                    self.entry(&record, roots);
                    self.resumes(end);
                }
                Ok(Some(Err(flaw))) => {
                    self.flaw(flaw, end, roots);
                    break;
                }
                Err(error) => {
                    self.report.problem(ENTRIES, Some(self.growth.size()), format!("it cannot be read: {error}"));
                    break;
                }
            }
        }
        self.report.entries = self.growth.size();
        if self.resume.is_some() {
            self.report.problem(RESUME, None, "it is not what the entries say; remove it, and the next start reads the whole log");
        }
    }

    fn entry(&mut self, record: &Record, roots: &[(&Checkpoint, &str)]) {
        let index = self.growth.size();
        if record.index != index || record.group > index {
            self.report.problem(ENTRIES, Some(index), "another entry stands in its place");
        }
        if let Err(error) = serde_json::from_slice::<Entry>(&record.json) {
            self.report.problem(
                ENTRIES,
                Some(index),
                format!("it is not an audit entry (line {}, column {})", error.line(), error.column()),
            );
        }
        if let Some(glance) = Glance::at(&record.json) {
            glance.follow(index, &mut self.under_way);
        }
        let mut full = Vec::new();
        self.growth.push(record.commitment, |tile, bytes| full.push((tile, bytes)));
        for (tile, bytes) in full {
            self.tile(tile, &bytes);
            if !tile.is_in(self.report.signed) {
                self.unsigned.insert(tile, bytes);
            }
        }
        self.roots(roots);
    }

    /// A record that is not whole ends the reading. Only a short one that no checkpoint covers can be a crash's.
    fn flaw(&mut self, flaw: Flaw, end: u64, roots: &[(&Checkpoint, &str)]) {
        let index = self.growth.size();
        let covered = roots.iter().any(|(checkpoint, _)| index < checkpoint.size);
        let rest = read_from(&self.dir.join(ENTRIES), end).unwrap_or_default();
        let length_is_wrong = || record::only_length_is_wrong(&rest) || record::record_follows(&rest, |_| true);
        if flaw == Flaw::Short && !covered && !length_is_wrong() {
            self.report.unfinished_bytes = rest.len() as u64;
        } else {
            self.report.problem(ENTRIES, Some(index), format!("{}; nothing after it could be checked", flaw.describe()));
        }
    }

    /// Where a checkpoint was signed, the root and the unfinished tiles must be those of then.
    fn roots(&mut self, roots: &[(&Checkpoint, &str)]) {
        let size = self.growth.size();
        for (checkpoint, name) in roots.iter().filter(|(checkpoint, _)| checkpoint.size == size) {
            if self.growth.root() != checkpoint.root {
                let what = format!("the tree over the first {size} entries is not the one that {name} was signed over");
                self.report.problem(ENTRIES, None, what);
            }
        }
        if roots.last().is_some_and(|(checkpoint, name)| *name == CHECKPOINT && checkpoint.size == size) {
            for (tile, bytes) in self.growth.partials() {
                self.tile(tile, &bytes);
            }
        }
    }

    fn ends(&mut self, roots: &[(&Checkpoint, &str)]) {
        let size = self.growth.size();
        for (checkpoint, name) in roots.iter().filter(|(checkpoint, _)| checkpoint.size > size) {
            let what = format!("{name} covers {} entries, but only {size} could be read", checkpoint.size);
            self.report.problem(ENTRIES, Some(size), what);
        }
    }

    /// Compares a tile with what the entries say.
    fn tile(&mut self, tile: Tile, expected: &[u8]) {
        let path = tile.path();
        let signed = tile.is_in(self.report.signed);
        let Some(stored) = self.read(&path) else {
            if signed && !self.has_longer_form(tile) {
                self.report.problem(&path, None, "it is absent");
            }
            return;
        };
        if stored != expected {
            let width = match tile.kind() {
                TileKind::Entries => 34,
                TileKind::Hashes(_) => 32,
            };
            let differs = stored.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(stored.len().min(expected.len()));
            let leaf = matches!(tile.kind(), TileKind::Entries | TileKind::Hashes(0));
            let entry = leaf.then(|| tile.index() * TILE_WIDTH as u64 + (differs / width) as u64);
            self.report.problem(&path, entry, format!("from its byte {differs} on it is not what the entries say"));
        }
    }

    /// Whether a longer form of an unfinished tile is there, as it is in a copy that was made while a checkpoint was published.
    fn has_longer_form(&self, tile: Tile) -> bool {
        (tile.width() + 1..=TILE_WIDTH).any(|width| self.dir.join(tile.of_width(width).path()).is_file())
    }

    /// Compares a tile that is on disk beside those that the checkpoint needs (ahead of it, or left from an older one). It must
    /// be the beginning of what the entries say.
    fn spare_tile(&mut self, tile: Tile) {
        let same = |other: &Tile| other.kind() == tile.kind() && other.index() == tile.index();
        let unfinished = self.growth.partials().into_iter().find(|(other, _)| same(other)).map(|(_, bytes)| bytes);
        let full = || self.unsigned.get(&Tile::full(tile.kind(), tile.index())).cloned();
        let longest = unfinished.or_else(full).or_else(|| self.read(&Tile::full(tile.kind(), tile.index()).path()));
        match longest.as_deref().and_then(|bytes| bytes.get(..tile.byte_len())) {
            Some(expected) => self.tile(tile, expected),
            None => self.report.problem(&tile.path(), None, "it could not be checked: the full tile is absent"),
        }
    }

    fn unexpected_files(&mut self, under: &str) {
        let Ok(listing) = fs::read_dir(self.dir.join(under)) else {
            return self.report.problem(under, None, "the folder cannot be read");
        };
        let mut names: Vec<String> = listing.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
        names.sort();
        for name in names {
            let path = if under.is_empty() { name } else { format!("{under}/{name}") };
            if self.dir.join(&path).is_dir() {
                self.unexpected_files(&path);
            } else if path != UNFINISHED && !self.seen.contains(&path) {
                self.unasked_file(&path);
            }
        }
    }

    fn unasked_file(&mut self, path: &str) {
        match Tile::parse(path) {
            Some(tile) if tile.is_in(self.growth.size()) => self.spare_tile(tile),
            // Where reading stopped has been reported; the tiles behind it are no problems of their own.
            Some(tile) if tile.is_in(self.report.signed) => {}
            _ => self.report.problem(path, None, "no entry of the log belongs to this file"),
        }
    }
}
