//! The built-in views on all patient bundles and examples of the folder of shared data: no resource makes one fail.

use bumpalo::Bump;
use dugnad_kernel::fhir::json::{self, Value};
use dugnad_kernel::views::builtin::{Builtin, builtin_views};
use dugnad_kernel::views::{Cell, Column, ColumnType, has_modifier_extension};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

pub fn data() -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/fhir-r4"));
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// The files of a folder.
pub fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// The files of a tar archive, compressed with zstd (POSIX.1-1988 headers: size in octal at 124, type at 156).
fn archived(path: &Path) -> Vec<Vec<u8>> {
    let mut archive = Vec::new();
    zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap().read_to_end(&mut archive).unwrap();
    let (mut files, mut rest) = (Vec::new(), archive.as_slice());
    while let Some((header, after)) = rest.split_at_checked(512)
        && header[0] != 0
    {
        let digits = std::str::from_utf8(&header[124..135]).unwrap().trim();
        let size = usize::from_str_radix(digits, 8).unwrap();
        if matches!(header[156], b'0' | 0) {
            files.push(after[..size].to_vec());
        }
        rest = &after[size.next_multiple_of(512)..];
    }
    files
}

/// What a database does before it runs views: `urn:uuid` references become literal ones.
pub fn resolve(bundle: &[u8]) -> Vec<u8> {
    let arena = Bump::new();
    let parsed = json::parse(bundle, &arena).unwrap();
    let entries = parsed.get("entry").map(|e| e.items()).unwrap_or_default();
    let literal = |entry: &Value<'_>| {
        let resource = entry.get("resource")?;
        Some((entry.str("fullUrl")?.to_owned(), format!("{}/{}", resource.str("resourceType")?, resource.str("id")?)))
    };
    let literals: BTreeMap<String, String> = entries.iter().filter_map(literal).collect();
    let text = std::str::from_utf8(bundle).unwrap();
    let mut resolved = String::with_capacity(text.len());
    let mut parts = text.split("\"urn:uuid:");
    resolved.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (id, after) = part.split_once('"').unwrap();
        let url = format!("urn:uuid:{id}");
        resolved.push('"');
        resolved.push_str(literals.get(&url).unwrap_or(&url));
        resolved.push('"');
        resolved.push_str(after);
    }
    resolved.into_bytes()
}

#[derive(Default)]
struct Seen {
    resources: BTreeMap<String, usize>,
    rows: BTreeMap<&'static str, usize>,
    filled: BTreeMap<(&'static str, String), usize>,
    modified: usize,
}

impl Seen {
    fn take<'a>(&mut self, views: &[Builtin], resource: Value<'a>, arena: &'a Bump) {
        let resource_type = resource.str("resourceType").unwrap();
        *self.resources.entry(resource_type.to_owned()).or_default() += 1;
        self.modified += usize::from(has_modifier_extension(&resource));
        for builtin in views.iter().filter(|b| b.view.resource_type() == resource_type) {
            let columns = builtin.view.columns();
            let outcome = builtin.view.run(resource, arena, &mut |cells| {
                *self.rows.entry(builtin.table).or_default() += 1;
                for (column, cell) in columns.iter().zip(cells) {
                    assert!(fits(cell, column), "{}.{}: {cell:?}", builtin.table, column.name);
                    *self.filled.entry((builtin.table, column.name.clone())).or_default() += usize::from(*cell != Cell::Null);
                }
            });
            assert_eq!(outcome, Ok(()), "{resource_type}/{}", resource.str("id").unwrap_or_default());
        }
    }

    fn take_file(&mut self, views: &[Builtin], text: &[u8], arena: &Bump) {
        let parsed = json::parse(text, arena).unwrap();
        match parsed.get("entry") {
            Some(entries) => entries.items().iter().filter_map(|e| e.get("resource")).for_each(|r| self.take(views, r, arena)),
            None => self.take(views, parsed, arena),
        }
    }
}

pub fn fits(cell: &Cell<'_>, column: &Column) -> bool {
    match (cell, column.column_type) {
        (Cell::Null, _) | (Cell::Boolean(_), ColumnType::Boolean) | (Cell::Integer(_), ColumnType::Integer) => true,
        (Cell::Decimal(_), ColumnType::Decimal) => true,
        (Cell::String(_), ColumnType::Code | ColumnType::String | ColumnType::Date | ColumnType::DateTime | ColumnType::Time) => true,
        (Cell::Key { resource_type, .. }, ColumnType::Key(expected)) => expected.is_none_or(|e| e == *resource_type),
        _ => false,
    }
}

#[test]
fn built_in_views_run_on_every_resource_of_the_bundles() {
    let Some(data) = data() else { return };
    let views = builtin_views();
    let mut seen = Seen::default();
    let mut arena = Bump::new();
    for bundle in files(&data.join("small")).into_iter().chain(archived(&data.join("patients-364.tar.zst"))) {
        seen.take_file(&views, &resolve(&bundle), &arena);
        arena.reset();
    }
    for file in files(&data.join("small-ndjson")) {
        for line in file.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            seen.take_file(&views, line, &arena);
        }
        arena.reset();
    }
    for example in files(&data.join("hl7-r4-examples")) {
        seen.take_file(&views, &example, &arena);
        arena.reset();
    }
    println!("{:?}\n{:?}\nwith a modifierExtension: {}", seen.resources, seen.rows, seen.modified);
    assert!(seen.resources.values().sum::<usize>() > 115_000);
    for builtin in &views {
        let resources = seen.resources.get(builtin.view.resource_type()).copied().unwrap_or(0);
        let rows = seen.rows.get(builtin.table).copied().unwrap_or(0);
        assert!(
            if builtin.table == "observation" { rows > resources } else { rows == resources },
            "{}: {rows} of {resources}",
            builtin.table
        );
    }
    // What these bundles hold plenty of must have come through.
    for (table, column) in [
        ("patient", "municipality"),
        ("encounter", "class"),
        ("condition", "stage"),
        ("procedure", "category"),
        ("medication_administration", "started"),
        ("medication_request", "code"),
        ("observation", "component"),
        ("observation", "value"),
        ("observation", "unit_code"),
        ("observation", "value_code"),
        ("diagnostic_report", "issued"),
        ("immunization", "patient_key"),
        ("research_subject", "study_key"),
        ("consent", "scope"),
    ] {
        assert!(seen.filled[&(table, column.to_owned())] > 0, "{table}.{column} is always null");
    }
}
