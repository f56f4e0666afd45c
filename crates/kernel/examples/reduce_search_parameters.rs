//! Reduces HL7's FHIR R4 search parameters to the table `data/search-r4.tsv`.
//!
//! `cargo run -p dugnad-kernel --example reduce_search_parameters -- FOLDER > crates/kernel/data/search-r4.tsv`, where FOLDER
//! holds HL7's `search-parameters.json`, `profiles-types.json`, `profiles-resources.json`, `valuesets.json` and
//! `v3-codesystems.json` (<http://hl7.org/fhir/R4/downloads.html>, CC0).

use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::{error::Error, fmt::Write, fs, io, path::Path};

const HEADER: &str = "\
# HL7 FHIR R4 4.0.1: the search parameters of all resource types, reduced to a table. HL7 publishes them under CC0 1.0.
# Made by examples/reduce_search_parameters.rs from search-parameters.json and the structure definitions; do not edit by hand.
# A resource type: `:`, name (`Resource`: what every type has)
# Its parameters:  code, search type, FHIR types of what the expression yields (`code=` with the system that its value set is bound
#                  to), resource types of references (`-`: none are named; `Any`), FHIRPath
# Of a composite:  `+` for each component: code of the parameter that defines it, search type, FHIR types, FHIRPath on the composite's element
";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).ok_or("usage: reduce_search_parameters FOLDER")?;
    let resources = |file: &str| -> Result<Vec<Value>> {
        let mut bundle: Value = serde_json::from_slice(&fs::read(Path::new(&folder).join(file))?)?;
        let entries = bundle["entry"].as_array_mut().ok_or("no bundle")?;
        Ok(entries.iter_mut().map(|entry| entry["resource"].take()).collect())
    };
    let mut model = Model::default();
    for file in ["valuesets.json", "v3-codesystems.json"] {
        resources(file)?.iter().for_each(|resource| model.value_set(resource));
    }
    for file in ["profiles-types.json", "profiles-resources.json"] {
        resources(file)?.iter().for_each(|resource| model.structure(resource));
    }
    let parameters = resources("search-parameters.json")?;
    let by_url: HashMap<&str, &Value> = parameters.iter().filter_map(|p| Some((p["url"].as_str()?, p))).collect();
    let mut rows: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for parameter in &parameters {
        for base in parameter["base"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            // `_text`, `_content` and `_query` have no expression: they are no parameters in the sense of this table.
            if let Some(row) = row(&model, parameter, base, &by_url)? {
                rows.entry(base).or_default().insert(text(parameter, "code")?, row);
            }
        }
    }
    let mut table = HEADER.to_owned();
    for (base, rows) in rows {
        writeln!(table, ":\t{base}")?;
        rows.values().for_each(|row| table.push_str(row));
    }
    io::Write::write_all(&mut io::stdout(), table.as_bytes())?;
    Ok(())
}

/// The lines of one parameter for one resource type.
fn row(model: &Model, parameter: &Value, base: &str, by_url: &HashMap<&str, &Value>) -> Result<Option<String>> {
    let Some(all) = parameter["expression"].as_str() else { return Ok(None) };
    let begins = |part: &&str| {
        let rest = part.trim_start_matches('(').strip_prefix(base);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let mut parts: Vec<String> = all.split(" | ").map(str::trim).filter(begins).map(str::to_owned).collect();
    if parts.is_empty() {
        // `name | alias` of InsurancePlan lacks the type.
        parts = all.split(" | ").map(|part| format!("{base}.{part}")).collect();
    }
    let kind = text(parameter, "type")?;
    let mut types = Vec::new();
    for part in &parts {
        add(&mut types, model.types_of(part, base)?);
    }
    let targets: Vec<&str> = parameter["target"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let targets = match targets.len() {
        0 => "-".to_owned(),
        100.. => "Any".to_owned(), // HL7 lists all types then
        _ => targets.join(" "),
    };
    let expression = respelled(&parts.join(" | "));
    let mut row = format!("{}\t{kind}\t{}\t{targets}\t{expression}\n", text(parameter, "code")?, types.join(" "));
    for component in parameter["component"].as_array().into_iter().flatten() {
        let definition = text(component, "definition")?;
        let of = by_url.get(definition).ok_or_else(|| format!("no parameter {definition}"))?;
        let expression = text(component, "expression")?;
        let mut yields = Vec::new();
        for context in &types {
            for part in expression.split(" | ") {
                add(&mut yields, model.types_in(part, context, base)?);
            }
        }
        writeln!(row, "+\t{}\t{}\t{}\t{}", text(of, "code")?, text(of, "type")?, yields.join(" "), respelled(expression))?;
    }
    Ok(Some(row))
}

/// HL7's file spells the type `dateTime` as `DateTime` in one place.
fn respelled(expression: &str) -> String {
    expression.replace("(DateTime)", "(dateTime)")
}

fn add(types: &mut Vec<String>, more: Vec<String>) {
    for one in more {
        if !types.contains(&one) {
            types.push(one);
        }
    }
}

/// What the structure definitions say of elements.
#[derive(Default)]
struct Model {
    /// By path: the types of an element, or the path that says how it looks.
    elements: HashMap<String, Vec<String>>,
    /// The only code system of a value set.
    systems: HashMap<String, String>,
}

impl Model {
    fn value_set(&mut self, resource: &Value) {
        let include = resource["compose"]["include"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let ("ValueSet", Some(url), [only]) =
            (&*resource["resourceType"].to_string().replace('"', ""), resource["url"].as_str(), include)
            && let Some(system) = only["system"].as_str()
        {
            self.systems.insert(url.to_owned(), system.to_owned());
        }
    }

    fn structure(&mut self, definition: &Value) {
        if definition["resourceType"] != "StructureDefinition" || definition["derivation"] == "constraint" {
            return;
        }
        for element in definition["snapshot"]["element"].as_array().into_iter().flatten() {
            let Some(path) = element["path"].as_str() else { continue };
            let mut types: Vec<String> = Vec::new();
            if let Some(reference) = element["contentReference"].as_str() {
                types.push(reference.trim_start_matches('#').to_owned());
            }
            for code in element["type"].as_array().into_iter().flatten().filter_map(|of| of["code"].as_str()) {
                types.push(match code {
                    "BackboneElement" | "Element" => path.to_owned(),
                    "code" => self.code(element),
                    code if code.contains('/') => "string".to_owned(),
                    code => code.to_owned(),
                });
            }
            self.elements.insert(path.to_owned(), types);
        }
    }

    /// `code`, with the system of its value set if it has one only.
    fn code(&self, element: &Value) -> String {
        let value_set = element["binding"]["valueSet"].as_str().and_then(|url| url.split('|').next());
        value_set.and_then(|url| self.systems.get(url)).map_or("code".to_owned(), |system| format!("code={system}"))
    }

    /// The types of a path that begins with a resource type.
    fn types_of(&self, path: &str, base: &str) -> Result<Vec<String>> {
        let inner = path.trim_start_matches('(').trim();
        let rest = inner.strip_prefix(base).ok_or_else(|| format!("{path} does not begin with {base}"))?;
        let context = if base == "Resource" { "Resource" } else { base };
        self.walk(rest, vec![context.to_owned()]).ok_or_else(|| format!("the types of {path} are not known").into())
    }

    /// The types of a path on an element of type `context`.
    fn types_in(&self, path: &str, context: &str, base: &str) -> Result<Vec<String>> {
        match path.strip_prefix("%resource") {
            Some(rest) => self.walk(rest, vec![base.to_owned()]),
            None => self.walk(&format!(".{path}"), vec![context.to_owned()]),
        }
        .ok_or_else(|| format!("the types of {path} on {context} are not known").into())
    }

    /// Follows `.name`, `.where(...)`, `.as(T)`, ` as T)` and `[0]` from `types` on; long because it is one small reader.
    fn walk(&self, mut rest: &str, mut types: Vec<String>) -> Option<Vec<String>> {
        while !rest.is_empty() {
            if let Some(more) = rest.strip_prefix("[0]").or_else(|| rest.strip_prefix(')')) {
                rest = more;
            } else if let Some(more) = rest.strip_prefix(" as ") {
                let (name, more) = more.split_once(')')?;
                types = vec![name.to_owned()];
                rest = more;
            } else if rest.starts_with(" and ") || rest.starts_with(".exists()") {
                return Some(vec!["boolean".to_owned()]);
            } else {
                let more = rest.strip_prefix('.')?;
                let end = more.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(more.len());
                let (name, more) = more.split_at(end);
                (types, rest) = match more.strip_prefix('(') {
                    Some(arguments) => {
                        let (argument, more) = call(arguments)?;
                        (if name == "as" { vec![respelled(&format!("({argument})")).replace(['(', ')'], "")] } else { types }, more)
                    }
                    None => (self.child(&types, name)?, more),
                };
            }
        }
        Some(types)
    }

    fn child(&self, types: &[String], name: &str) -> Option<Vec<String>> {
        let mut found = Vec::new();
        for of in types {
            let paths = [format!("{of}.{name}"), format!("{of}.{name}[x]")];
            add(&mut found, paths.iter().find_map(|path| self.elements.get(path)).cloned().unwrap_or_default());
        }
        (!found.is_empty()).then_some(found)
    }
}

/// The argument of a call, and what follows its closing bracket.
fn call(arguments: &str) -> Option<(&str, &str)> {
    let mut open = 1;
    let end = arguments.find(|c| {
        open += i32::from(c == '(') - i32::from(c == ')');
        open == 0
    })?;
    Some((arguments.get(..end)?, arguments.get(end + 1..)?))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name].as_str().ok_or_else(|| format!("a search parameter lacks `{name}`").into())
}
