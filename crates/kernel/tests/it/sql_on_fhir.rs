//! The official SQL on FHIR suite (FHIR/sql-on-fhir.js, MIT), read from the folder of shared data.

use bumpalo::Bump;
use dugnad_kernel::fhir::json;
use dugnad_kernel::views::{View, render};
use serde_json::Value;
use std::path::PathBuf;

/// The file of the suite, or `None` (and the reason on stderr) where the folder is absent.
fn suite(name: &str) -> Option<Value> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/sql-on-fhir/tests")).join(format!("{name}.json"));
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

/// The rows of a view on some resources; the error where it cannot be compiled or fails.
fn rows(definition: &Value, resources: &[Value]) -> Result<(Vec<String>, Vec<Value>), String> {
    let view = View::compile(definition).map_err(|e| e.to_string())?;
    let arena = Bump::new();
    let mut rows = Vec::new();
    for resource in resources {
        let resource = json::parse(resource.to_string().as_bytes(), &arena).unwrap();
        view.run(resource, &arena, &mut |cells| {
            let mut row = Vec::new();
            render::write_json_row(view.columns(), cells, &mut row);
            rows.push(serde_json::from_slice(&row).expect("a row is rendered as JSON"));
        })
        .map_err(|e| e.to_string())?;
    }
    Ok((view.columns().iter().map(|c| c.name.clone()).collect(), rows))
}

/// A text that two rows share if they are the same row: names sorted, 5 and 5.0 one number.
fn canonical(row: &Value) -> String {
    match row {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(name, value)| format!("{name}:{}", canonical(value))).collect();
            members.sort();
            members.join(",")
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Number(number) => number.as_f64().unwrap().to_string(),
        other => other.to_string(),
    }
}

fn sorted(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<_> = rows.iter().map(canonical).collect();
    rows.sort();
    rows
}

/// Why a test of the suite fails, if it does.
fn problem(test: &Value, resources: &[Value]) -> Option<String> {
    let outcome = rows(&test["view"], resources);
    if test["expectError"] == true {
        return outcome.is_ok().then(|| "an error was expected".to_owned());
    }
    let (columns, rows) = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return Some(error),
    };
    let expected = test["expect"].as_array().expect("a test expects rows or an error");
    if sorted(&rows) != sorted(expected) {
        return Some(format!("expected {expected:?}, got {rows:?}"));
    }
    let order: Vec<_> = test["expectColumns"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    (!order.is_empty() && order != columns).then(|| format!("expected the columns {order:?}, got {columns:?}"))
}

fn check(name: &str) {
    let Some(suite) = suite(name) else { return };
    let resources = suite["resources"].as_array().unwrap();
    let mut problems = Vec::new();
    for test in suite["tests"].as_array().unwrap() {
        let title = test["title"].as_str().unwrap();
        match problem(test, resources) {
            None => println!("{name}: {title}: ok"),
            Some(problem) => problems.push(format!("{name}: {title}: {problem}")),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

macro_rules! files {
    ($($name:ident = $file:literal),*) => {
        $(#[test]
        fn $name() {
            check($file);
        })*

        #[test]
        fn the_suite_has_144_tests_of_which_11_expect_an_error() {
            let suites: Vec<Value> = [$($file),*].into_iter().filter_map(suite).collect();
            if suites.is_empty() {
                return;
            }
            let tests: Vec<&Value> = suites.iter().flat_map(|s| s["tests"].as_array().unwrap()).collect();
            assert_eq!(tests.len(), 144);
            assert_eq!(tests.iter().filter(|t| t["expectError"] == true).count(), 11);
        }
    };
}

files!(
    basic = "basic",
    collection = "collection",
    combinations = "combinations",
    constant = "constant",
    constant_types = "constant_types",
    fhirpath = "fhirpath",
    fhirpath_numbers = "fhirpath_numbers",
    fn_boundary = "fn_boundary",
    fn_empty = "fn_empty",
    fn_extension = "fn_extension",
    fn_first = "fn_first",
    fn_join = "fn_join",
    fn_oftype = "fn_oftype",
    fn_reference_keys = "fn_reference_keys",
    foreach = "foreach",
    logic = "logic",
    repeat = "repeat",
    row_index = "row_index",
    union = "union",
    validate = "validate",
    view_resource = "view_resource",
    where_ = "where"
);
