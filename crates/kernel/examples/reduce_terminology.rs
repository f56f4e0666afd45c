//! Reduces HL7's FHIR R4 code systems and value sets to the table `data/terminology-r4.tsv`.
//!
//! `cargo run -p dugnad-kernel --example reduce_terminology -- FOLDER > crates/kernel/data/terminology-r4.tsv`, where FOLDER holds
//! HL7's `valuesets.json`, `v3-codesystems.json`, `v2-tables.json`, `profiles-types.json` and `profiles-resources.json`
//! (<http://hl7.org/fhir/R4/downloads.html>, CC0).

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::{error::Error, fmt::Write, fs, io, path::Path};

const HEADER: &str = "\
# HL7 FHIR R4 4.0.1: the value sets that elements of R4 are bound to, and HL7's own code systems that they need, reduced to a table.
# HL7 publishes them under CC0 1.0. Codes of others (SNOMED CT, LOINC, DICOM, ...) are not in here: `elsewhere` says where some are missing.
# Made by examples/reduce_terminology.rs from HL7's definitions; do not edit by hand.
# A code system:   `CodeSystem`, URL, version, complete|fragment|example, title
# Its codes:       a tab for each level, code, display; `>` before the code: one that also stands elsewhere, and is below this one too
# A value set:     `ValueSet`, URL, version, title
# Its parts:       `+` (included) or `-` (excluded), then what all must be true: `system=`, `valueSet=`, `filter=property op value`,
#                  `code=` (one of these), `elsewhere` (codes that are not in here)
";

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Resources = BTreeMap<String, Value>;

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).ok_or("usage: reduce_terminology FOLDER")?;
    let resources = |file: &str| -> Result<Vec<Value>> {
        let mut bundle: Value = serde_json::from_slice(&fs::read(Path::new(&folder).join(file))?)?;
        let entries = bundle["entry"].as_array_mut().ok_or("no bundle")?;
        Ok(entries.iter_mut().map(|entry| entry["resource"].take()).collect())
    };
    let (mut systems, mut sets) = (Resources::new(), Resources::new());
    for file in ["valuesets.json", "v3-codesystems.json", "v2-tables.json"] {
        for resource in resources(file)? {
            let url = text(&resource, "url").to_owned();
            if resource["resourceType"] == "ValueSet" { &mut sets } else { &mut systems }.insert(url, resource);
        }
    }
    let mut wanted = BTreeSet::new();
    for file in ["profiles-types.json", "profiles-resources.json"] {
        for definition in resources(file)? {
            for element in list(&definition["snapshot"]["element"]) {
                if let Some(url) = element["binding"]["valueSet"].as_str() {
                    need(url, &sets, &mut wanted);
                }
            }
        }
    }
    let mut table = HEADER.to_owned();
    let parts = |url: &&String| parts(&sets[*url]).into_iter().filter_map(|(_, part)| part["system"].as_str()).collect::<Vec<_>>();
    let named: BTreeSet<&str> = wanted.iter().flat_map(|url| parts(&url)).collect();
    for system in named.into_iter().filter(|url| is_free(url)).filter_map(|url| systems.get(url)) {
        code_system(system, &mut table)?;
    }
    for url in &wanted {
        value_set(&sets[url], &mut table)?;
    }
    io::Write::write_all(&mut io::stdout(), table.as_bytes())?;
    Ok(())
}

/// Whether the codes may stand here: HL7's own, and the few of UCUM and BCP 47 that HL7's value sets name.
fn is_free(system: &str) -> bool {
    system.starts_with("http://hl7.org/fhir/") && !system.contains("/sid/")
        || system.starts_with("http://terminology.hl7.org/")
        || matches!(system, "http://unitsofmeasure.org" | "urn:ietf:bcp:47")
}

/// A value set and those that it is made of.
fn need(canonical: &str, sets: &Resources, wanted: &mut BTreeSet<String>) {
    let url = canonical.split('|').next().unwrap_or_default();
    if let Some(set) = sets.get(url)
        && wanted.insert(url.to_owned())
    {
        for (_, part) in parts(set) {
            list(&part["valueSet"]).iter().filter_map(Value::as_str).for_each(|url| need(url, sets, wanted));
        }
    }
}

/// `+` what is included, then `-` what is excluded.
fn parts(set: &Value) -> Vec<(char, &Value)> {
    let of = |name: &str, sign| list(&set["compose"][name]).iter().map(move |part| (sign, part));
    of("include", '+').chain(of("exclude", '-')).collect()
}

fn code_system(system: &Value, table: &mut String) -> Result<()> {
    let head = ["url", "version", "content", "title"].map(|name| text(system, name));
    if !matches!(head[2], "complete" | "fragment" | "example") {
        return Ok(());
    }
    writeln!(table, "CodeSystem\t{}", head.join("\t"))?;
    concepts(list(&system["concept"]), 1, table)
}

fn concepts(list_of: &[Value], level: usize, table: &mut String) -> Result<()> {
    for concept in list_of {
        let display = text(concept, "display").split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(table, "{}{}\t{display}", "\t".repeat(level), text(concept, "code"))?;
        // In HL7 v3 a code can be below several: it stands below one of them, and the others say so.
        for also in list(&concept["property"]).iter().filter(|p| p["code"] == "child") {
            writeln!(table, "{}>{}", "\t".repeat(level + 1), text(also, "valueCode"))?;
        }
        concepts(list(&concept["concept"]), level + 1, table)?;
    }
    Ok(())
}

fn value_set(set: &Value, table: &mut String) -> Result<()> {
    writeln!(table, "ValueSet\t{}\t{}\t{}", text(set, "url"), text(set, "version"), text(set, "title"))?;
    for (sign, part) in parts(set) {
        table.push(sign);
        let system = text(part, "system");
        if !system.is_empty() {
            write!(table, "\tsystem={system}")?;
        }
        for url in list(&part["valueSet"]).iter().filter_map(Value::as_str) {
            write!(table, "\tvalueSet={url}")?;
        }
        for filter in list(&part["filter"]) {
            write!(table, "\tfilter={} {} {}", text(filter, "property"), text(filter, "op"), text(filter, "value"))?;
        }
        let codes = list(&part["concept"]);
        if !codes.is_empty() && !is_free(system) {
            table.push_str("\telsewhere");
        } else {
            codes.iter().try_for_each(|code| write!(table, "\tcode={}", text(code, "code")))?;
        }
        table.push('\n');
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
