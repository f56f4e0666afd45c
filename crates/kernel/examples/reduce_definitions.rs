//! Reduces HL7's FHIR R4 structure definitions to the table `data/fhir-r4.tsv`.
//!
//! `cargo run -p dugnad-kernel --example reduce_definitions -- FOLDER > crates/kernel/data/fhir-r4.tsv`, where FOLDER
//! holds HL7's `profiles-types.json` and `profiles-resources.json` (<http://hl7.org/fhir/R4/downloads.html>, CC0).

use serde_json::Value;
use std::{error::Error, fmt::Write, fs, io, path::Path};

const HEADER: &str = "\
# HL7 FHIR R4 4.0.1: structure definitions of all data types and resources, reduced to a table. HL7 publishes them under CC0 1.0.
# Made by examples/reduce_definitions.rs from profiles-types.json and profiles-resources.json; do not edit by hand.
# A type:          `:`, name (a backbone element's is its path), primitive|complex|resource|abstract, base, whose elements come first
# Its elements:    name (`[x]`: a choice), min, max, types (those of a content reference: the path that it repeats),
#                  `modifier` if it is one, `summary` if it is part of a summary
";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: reduce_definitions FOLDER")?;
    let mut table = HEADER.to_owned();
    for file in ["profiles-types.json", "profiles-resources.json"] {
        let bundle: Value = serde_json::from_slice(&fs::read(Path::new(&folder).join(file))?)?;
        for entry in bundle["entry"].as_array().into_iter().flatten() {
            structure(&entry["resource"], &mut table)?;
        }
    }
    io::Write::write_all(&mut io::stdout(), table.as_bytes())?;
    Ok(())
}

/// Writes one StructureDefinition; profiles (constraints), logical models and other resources are not types.
fn structure(definition: &Value, table: &mut String) -> Result<(), Box<dyn Error>> {
    let is_type = definition["resourceType"] == "StructureDefinition" && definition["kind"] != "logical";
    if !is_type || definition["derivation"] == "constraint" {
        return Ok(());
    }
    let kind = match (definition["abstract"].as_bool(), text(definition, "kind")?) {
        (Some(true), _) => "abstract",
        (_, "primitive-type") => "primitive",
        (_, "complex-type") => "complex",
        (_, kind) => kind,
    };
    let base = definition["baseDefinition"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or("-");
    let name = text(definition, "type")?;
    writeln!(table, ":\t{name}\t{kind}\t{base}")?;
    if kind == "primitive" {
        return Ok(()); // id and extension are the same for all, and the value is no element in JSON
    }
    let elements = definition["snapshot"]["element"].as_array().ok_or("a definition lacks a snapshot")?;
    children(name, elements, table)
}

/// Writes the elements directly under `parent`, then those of its backbone elements.
fn children(parent: &str, elements: &[Value], table: &mut String) -> Result<(), Box<dyn Error>> {
    let mut backbones = Vec::new();
    for element in elements {
        let path = text(element, "path")?;
        let Some(name) = path.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.')).filter(|name| !name.contains('.')) else {
            continue;
        };
        // What the base has with the same cardinality is not repeated.
        let base = &element["base"];
        if base["path"] != path && base["min"] == element["min"] && base["max"] == element["max"] {
            continue;
        }
        let mut types = types(element, path)?;
        if types == "BackboneElement" || types == "Element" {
            backbones.push((path, types));
            types = path.to_owned();
        }
        let is = |flag: &str| element[flag] == true;
        let flags = match (is("isModifier"), is("isSummary")) {
            (false, false) => "",
            (true, false) => "\tmodifier",
            (false, true) => "\tsummary",
            (true, true) => "\tmodifier summary",
        };
        writeln!(table, "{name}\t{}\t{}\t{types}{flags}", element["min"], text(element, "max")?)?;
    }
    for (path, base) in backbones {
        writeln!(table, ":\t{path}\tcomplex\t{base}")?;
        children(path, elements, table)?;
    }
    Ok(())
}

/// The FHIR types of an element. HL7's files give a FHIRPath type and an extension for attributes of the XML form;
/// `Resource.id` is said to be a string there, while the specification's text (2.1.3.2) says id.
fn types(element: &Value, path: &str) -> Result<String, Box<dyn Error>> {
    if let Some(reference) = element["contentReference"].as_str() {
        return Ok(reference.trim_start_matches('#').to_owned());
    }
    let mut names = Vec::new();
    for of in element["type"].as_array().into_iter().flatten() {
        names.push(match (text(of, "code")?, path) {
            (_, "Resource.id") => "id",
            (_, "Element.id") => "elementId",
            (_, "Extension.url") => "extensionUrl",
            (code, _) if code.contains('/') => return Err(format!("{path} has the unexpected type {code}").into()),
            (code, _) => code,
        });
    }
    Ok(names.join(" "))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Box<dyn Error>> {
    value[name].as_str().ok_or_else(|| format!("a definition lacks `{name}`").into())
}
