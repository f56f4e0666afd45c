//! Real input for the tests of this module, where it is present.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file or folder of the shared data; `None`, with the reason printed, where it is absent.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(path);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// The files of a folder by name, with their content.
pub(crate) fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let Some(folder) = shared(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())).collect()
}

/// HL7's examples, the bundles of `small` and the lines of `small-ndjson`.
pub(crate) fn documents() -> Vec<(String, Vec<u8>)> {
    let mut documents = files("fhir-r4/hl7-r4-examples");
    documents.extend(files("fhir-r4/small"));
    for (name, content) in files("fhir-r4/small-ndjson") {
        let lines = content.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        documents.extend(lines.enumerate().map(|(i, line)| (format!("{name}:{}", i + 1), line.to_vec())));
    }
    documents
}

/// Calls `with` for each bundle of the archive of 364 patients; how many there were.
pub(crate) fn each_archived(mut with: impl FnMut(&str, &[u8])) -> usize {
    let Some(archive) = shared("fhir-r4/patients-364.tar.zst") else { return 0 };
    let mut archive = tar::Archive::new(zstd::Decoder::new(fs::File::open(archive).unwrap()).unwrap());
    let (mut content, mut count) = (Vec::new(), 0);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".json") {
            content.clear();
            entry.read_to_end(&mut content).unwrap();
            with(&name, &content);
            count += 1;
        }
    }
    count
}
