#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

fn read(path: &Path) -> Vec<Unit> {
    let mut units = Vec::new();
    let count = Arc::new(AtomicU64::new(0));
    read_file(path, &count, &mut |unit| {
        units.push(unit);
        true
    });
    assert_eq!(count.load(Ordering::Relaxed), fs::metadata(path).unwrap().len(), "every byte is counted");
    units
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn documents(units: &[Unit]) -> Vec<(&str, &[u8])> {
    units
        .iter()
        .map(|unit| match unit {
            Unit::Document { origin, bytes } => (origin.rsplit(['/', '!']).next().unwrap(), bytes.as_slice()),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn every_wrapping_gives_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let archive = tar(&[("a/b.json", b"{}"), ("README", b"x"), ("c.json.gz", &gzip(b"[]"))]);
    for (name, bytes) in [
        ("x.tar", archive.clone()),
        ("x.tar.gz", gzip(&archive)),
        ("x.tgz", gzip(&archive)),
        ("x.tar.zst", zstd::encode_all(archive.as_slice(), 3).unwrap()),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(documents(&read(&path)), [("b.json", b"{}".as_slice()), ("c.json.gz", b"[]".as_slice())], "{name}");
    }
    let path = dir.path().join("y.json.zst");
    fs::write(&path, zstd::encode_all(b"{}".as_slice(), 3).unwrap()).unwrap();
    assert_eq!(documents(&read(&path)), [("y.json.zst", b"{}".as_slice())]);
}

#[test]
fn lines_are_numbered_and_grouped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.ndjson");
    let mut text = String::from("{\"n\":1}\r\n\n  \n{\"n\":4}\n");
    for n in 5..=500 {
        text.push_str(&format!("{{\"n\":{n}}}\n"));
    }
    text.push_str("{\"n\":501}"); // without an end of line
    fs::write(&path, &text).unwrap();
    let units = read(&path);
    assert_eq!(units.len(), 3);
    let lines: Vec<(u64, Vec<u8>)> = units
        .into_iter()
        .flat_map(|unit| match unit {
            Unit::Lines { lines, .. } => lines,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lines.len(), 499);
    for (number, line) in lines {
        assert_eq!(line, format!("{{\"n\":{number}}}").into_bytes());
    }
}

#[test]
fn a_bomb_is_refused_and_memory_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let huge = vec![b' '; MAX_BODY_BYTES + (8 << 20)];
    let path = dir.path().join("bomb.json.zst");
    fs::write(&path, zstd::encode_all(huge.as_slice(), 1).unwrap()).unwrap();
    let mut units = Vec::new();
    read_file(&path, &Arc::default(), &mut |unit| {
        units.push(unit);
        true
    });
    assert!(matches!(units.as_slice(), [Unit::Unreadable { line: None, why, .. }] if why.contains("larger than")), "{units:?}");

    let mut text = vec![b'x'; MAX_BODY_BYTES + 10];
    text.extend_from_slice(b"\n{}\n");
    let path = dir.path().join("long.ndjson");
    fs::write(&path, text).unwrap();
    let units = read(&path);
    assert!(matches!(&units[0], Unit::Unreadable { line: Some(1), .. }));
    assert!(matches!(&units[1], Unit::Lines { lines, .. } if lines == &[(2, b"{}".to_vec())]));
}

#[test]
fn what_breaks_off_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let whole = gzip(&b"{\"a\":1}\n".repeat(1000));
    let path = dir.path().join("cut.ndjson.gz");
    fs::write(&path, whole.get(..whole.len() / 2).unwrap()).unwrap();
    assert!(matches!(read(&path).last(), Some(Unit::Unreadable { line: Some(_), .. })));
    let path = dir.path().join("not.json.zst");
    fs::write(&path, b"plain").unwrap();
    assert!(matches!(read(&path).as_slice(), [Unit::Unreadable { .. }]));
}

#[test]
fn folders_are_entered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("b/c")).unwrap();
    for name in ["b/c/2.json", "b/1.ndjson", "a.json", "b/notes.txt"] {
        fs::write(dir.path().join(name), "{}").unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(dir.path(), dir.path().join("b/loop")).unwrap();
    let files = Files::list(&[dir.path().to_owned()]).unwrap();
    let names: Vec<_> = files.files.iter().map(|f| f.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.json", "b/1.ndjson", "b/c/2.json"]);
    assert_eq!((files.bytes, files.passed_over), (6, 1 + u64::from(cfg!(unix))));
    assert!(Files::list(&[dir.path().join("b/notes.txt")]).is_err());
    assert!(Files::list(&[dir.path().join("absent")]).is_err());
}
