//! Files of FHIR: `.json`, `.ndjson`, folders and archives of them, plain or compressed, read in a stream.
//!
//! Nothing is unpacked to disk, and no more is held in memory than one document or one group of lines.

use crate::limits::{INGEST_GROUP_BYTES, INGEST_GROUP_LINES, MAX_DIRECTORY_DEPTH};
use dugnad_kernel::limits::MAX_BODY_BYTES;
use flate2::read::MultiGzDecoder;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A part of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A whole `.json` file.
    Document {
        /// Where it is: a path, and inside an archive `archive.tar.zst!path`.
        origin: Arc<str>,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Some lines of an `.ndjson` file, with their numbers from 1. Blank lines are left out.
    Lines {
        /// Where they are.
        origin: Arc<str>,
        /// Number and bytes of each.
        lines: Vec<(u64, Vec<u8>)>,
    },
    /// Something that cannot be read.
    Unreadable {
        /// Where it is.
        origin: Arc<str>,
        /// Which line, of an `.ndjson` file.
        line: Option<u64>,
        /// Why.
        why: String,
    },
}

/// The files that a list of paths means.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// In the order of the arguments, those of a folder sorted by name.
    pub files: Vec<PathBuf>,
    /// How large they are together, in bytes as they are stored.
    pub bytes: u64,
    /// How many files of folders were passed over because their names end in none of the known endings.
    pub passed_over: u64,
}

impl Files {
    /// Lists `paths`, entering folders. A path that does not exist is an error; so is one that was named and has an ending
    /// that is not known.
    pub fn list(paths: &[PathBuf]) -> Result<Self, String> {
        let mut found = Self::default();
        for path in paths {
            let meta = fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
            if meta.is_dir() {
                found.enter(path, 0).map_err(|e| format!("{}: {e}", path.display()))?;
            } else if Kind::of(&path.to_string_lossy()).is_some() {
                found.push(path.clone(), meta.len());
            } else {
                return Err(format!("{}: the name must end in .json, .ndjson or .tar, or in one of them and .gz or .zst", path.display()));
            }
        }
        Ok(found)
    }

    fn push(&mut self, path: PathBuf, bytes: u64) {
        self.files.push(path);
        self.bytes += bytes;
    }

    fn enter(&mut self, dir: &Path, depth: usize) -> io::Result<()> {
        if depth > MAX_DIRECTORY_DEPTH {
            return Err(io::Error::other("the folders are nested too deeply"));
        }
        let mut entries: Vec<PathBuf> = fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>()?;
        entries.sort();
        for path in entries {
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                self.enter(&path, depth + 1)?;
            } else if Kind::of(&path.to_string_lossy()).is_some() {
                // A link to a file is followed; one to a folder is not, since it may lead back here.
                match fs::metadata(&path) {
                    Ok(meta) if meta.is_file() => self.push(path, meta.len()),
                    _ => self.passed_over += 1,
                }
            } else {
                self.passed_over += 1;
            }
        }
        Ok(())
    }
}

/// What a name says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Ndjson,
    Tar,
    Gzip,
    Zstd,
}

impl Kind {
    /// The kind of a file of that name, and the name without a compression's ending.
    fn of(name: &str) -> Option<(Kind, &str)> {
        let lower = name.to_ascii_lowercase();
        let cut = |ending: &str| lower.ends_with(ending).then(|| name.get(..name.len() - ending.len()).unwrap_or_default());
        if let Some(inner) = cut(".gz").or_else(|| cut(".gzip")) {
            return Kind::of(inner).map(|_| (Kind::Gzip, inner));
        }
        if let Some(inner) = cut(".zst").or_else(|| cut(".zstd")) {
            return Kind::of(inner).map(|_| (Kind::Zstd, inner));
        }
        // `x.tgz` is `x.tar.gz`: the inner name is the outer one, whose ending says tar as well.
        match lower.rsplit('.').next() {
            Some("json") => Some((Kind::Json, name)),
            Some("ndjson" | "jsonl") => Some((Kind::Ndjson, name)),
            Some("tar") => Some((Kind::Tar, name)),
            Some("tgz") => Some((Kind::Gzip, "x.tar")),
            Some("tzst") => Some((Kind::Zstd, "x.tar")),
            _ => None,
        }
    }
}

/// Counts what is read of a file, for progress.
struct Counting<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Gets the units; false once no more are wanted.
pub type Emit<'e> = dyn FnMut(Unit) -> bool + 'e;

/// Reads a file into units. `count` grows by the bytes that are read of it. Returns false once no more are wanted.
pub fn read_file(path: &Path, count: &Arc<AtomicU64>, emit: &mut Emit<'_>) -> bool {
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => read_layers(&name, &name, Box::new(Counting { inner: file, count: Arc::clone(count) }), true, emit),
        Err(error) => emit(unreadable(&name, None, &error)),
    }
}

fn unreadable(origin: &str, line: Option<u64>, error: &io::Error) -> Unit {
    Unit::Unreadable { origin: origin.into(), line, why: error.to_string() }
}

/// Takes compressions off, one by one, and reads what is inside. `name` is what is left of the name.
fn read_layers(origin: &str, name: &str, reader: Box<dyn Read + '_>, archives: bool, emit: &mut Emit<'_>) -> bool {
    match Kind::of(name) {
        Some((Kind::Gzip, inner)) => read_layers(origin, inner, Box::new(MultiGzDecoder::new(reader)), archives, emit),
        Some((Kind::Zstd, inner)) => match zstd::stream::read::Decoder::new(reader) {
            Ok(decoder) => read_layers(origin, inner, Box::new(decoder), archives, emit),
            Err(error) => emit(unreadable(origin, None, &error)),
        },
        Some((Kind::Tar, _)) if archives => read_archive(origin, reader, emit),
        Some((Kind::Json, _)) => read_document(origin, reader, emit),
        Some((Kind::Ndjson, _)) => read_lines(origin, reader, emit),
        Some((Kind::Tar, _)) | None => {
            emit(Unit::Unreadable { origin: origin.into(), line: None, why: "an archive in an archive is not read".to_owned() })
        }
    }
}

fn read_archive(origin: &str, reader: Box<dyn Read + '_>, emit: &mut Emit<'_>) -> bool {
    let mut archive = tar::Archive::new(reader);
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => return emit(unreadable(origin, None, &error)),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return emit(unreadable(origin, None, &error)), // the rest of the archive cannot be found
        };
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() || Kind::of(&path).is_none() {
            continue;
        }
        if !read_layers(&format!("{origin}!{path}"), &path, Box::new(entry), false, emit) {
            return false;
        }
    }
    // The zeros behind the last entry: read too, so that a checksum at the end of a compression is compared and progress ends
    // at the file's size.
    match io::copy(&mut archive.into_inner(), &mut io::sink()) {
        Ok(_) => true,
        Err(error) => emit(unreadable(origin, None, &error)),
    }
}

fn read_document(origin: &str, reader: Box<dyn Read + '_>, emit: &mut Emit<'_>) -> bool {
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that it is too large, however small it was compressed.
    match reader.take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut bytes) {
        Err(error) => emit(unreadable(origin, None, &error)),
        Ok(_) if bytes.len() > MAX_BODY_BYTES => {
            let why = format!("larger than {MAX_BODY_BYTES} bytes; split the bundle, or make it NDJSON");
            emit(Unit::Unreadable { origin: origin.into(), line: None, why })
        }
        Ok(_) => emit(Unit::Document { origin: origin.into(), bytes }),
    }
}

/// Reads NDJSON into groups of lines. Returns false once no more are wanted.
pub fn read_lines(origin: &str, reader: Box<dyn Read + '_>, emit: &mut Emit<'_>) -> bool {
    let origin: Arc<str> = origin.into();
    let mut reader = BufReader::with_capacity(256 << 10, reader);
    let (mut lines, mut held, mut number) = (Vec::new(), 0, 0);
    loop {
        number += 1;
        let line = match next_line(&mut reader) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                let rest = std::mem::take(&mut lines);
                return (rest.is_empty() || emit(Unit::Lines { origin: Arc::clone(&origin), lines: rest }))
                    && emit(unreadable(&origin, Some(number), &error));
            }
        };
        match line {
            Line::Blank => continue,
            Line::TooLong => {
                let why = format!("the line is longer than {MAX_BODY_BYTES} bytes");
                if !emit(Unit::Unreadable { origin: Arc::clone(&origin), line: Some(number), why }) {
                    return false;
                }
            }
            Line::Is(bytes) => {
                held += bytes.len();
                lines.push((number, bytes));
            }
        }
        if lines.len() >= INGEST_GROUP_LINES || held >= INGEST_GROUP_BYTES {
            held = 0;
            if !emit(Unit::Lines { origin: Arc::clone(&origin), lines: std::mem::take(&mut lines) }) {
                return false;
            }
        }
    }
    lines.is_empty() || emit(Unit::Lines { origin, lines })
}

enum Line {
    Is(Vec<u8>),
    Blank,
    TooLong,
}

fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    if reader.by_ref().take(MAX_BODY_BYTES as u64 + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() > MAX_BODY_BYTES && line.last() != Some(&b'\n') {
        reader.skip_until(b'\n')?;
        return Ok(Some(Line::TooLong));
    }
    while line.last().is_some_and(u8::is_ascii_whitespace) {
        line.pop();
    }
    Ok(Some(if line.iter().all(u8::is_ascii_whitespace) { Line::Blank } else { Line::Is(line) }))
}

#[cfg(test)]
mod tests;
