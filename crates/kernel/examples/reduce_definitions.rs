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
#                  `modifier` if it is one, `summary` if it is part of a summary,
#                  its value set, if it must or should be of one: `required`, `extensible` or `max` (which is required) and the URL
# Its constraints: `!`, key, error|warning, the element that it is about (`-`: the type itself), FHIRPath, what it says
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
    constraints(name, elements.first().into_iter(), "-", table)?;
    children(name, elements, table)
}

/// Writes the elements directly under `parent`, then those of its backbone elements.
fn children(parent: &str, elements: &[Value], table: &mut String) -> Result<(), Box<dyn Error>> {
    let (mut backbones, mut about) = (Vec::new(), Vec::new());
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
            (true, false) => "modifier",
            (false, true) => "summary",
            (true, true) => "modifier summary",
        };
        let repeated = element["contentReference"].is_string();
        if types != path || repeated {
            about.push((name, element));
        }
        let line = format!("{name}\t{}\t{}\t{types}\t{flags}\t{}", element["min"], text(element, "max")?, binding(element));
        writeln!(table, "{}", line.trim_end())?;
    }
    for (name, element) in about {
        constraints(parent, std::iter::once(element), name.trim_end_matches("[x]"), table)?;
    }
    for (path, base) in backbones {
        writeln!(table, ":\t{path}\tcomplex\t{base}")?;
        constraints(path, elements.iter().filter(|element| element["path"] == path), "-", table)?;
        children(path, elements, table)?;
    }
    Ok(())
}

/// Writes the constraints that a definition adds to `elements`; what a base or data type has, stands there.
fn constraints<'e>(of: &str, elements: impl Iterator<Item = &'e Value>, about: &str, table: &mut String) -> Result<(), Box<dyn Error>> {
    let root = of.split('.').next().unwrap_or_default();
    for constraint in elements.flat_map(|element| element["constraint"].as_array().into_iter().flatten()) {
        let source = constraint["source"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or(root);
        let (key, severity) = (text(constraint, "key")?, text(constraint, "severity")?);
        if source != root || (key == "ele-1" && (of != "Element" || about != "-")) || (key == "ext-1" && of != "Extension") {
            continue;
        }
        let human = text(constraint, "human")?.split_whitespace().collect::<Vec<_>>().join(" ");
        let expression = constraint["expression"].as_str().unwrap_or("-");
        writeln!(table, "!\t{key}\t{severity}\t{about}\t{expression}\t{human}")?;
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

/// How strong the binding of an element's codes is, and to what; nothing for preferences and examples.
fn binding(element: &Value) -> String {
    let binding = &element["binding"];
    let limit =
        binding["extension"].as_array().into_iter().flatten().find(|e| e["url"].as_str().is_some_and(|url| url.ends_with("-maxValueSet")));
    match (binding["strength"].as_str(), binding["valueSet"].as_str(), limit.and_then(|e| e["valueCanonical"].as_str())) {
        (Some(strength @ ("required" | "extensible")), Some(url), None) => format!("{strength} {url}"),
        (_, _, Some(url)) => format!("max {url}"),
        _ => String::new(),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Box<dyn Error>> {
    value[name].as_str().ok_or_else(|| format!("a definition lacks `{name}`").into())
}
