#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::intake::{Fate, Gone, Refusal, Taken};
use dugnad_kernel::database::Interaction;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Takes everything but what says "bad"; knows what it has taken by key, and what is current by id, as the database does.
#[derive(Default)]
struct Fake {
    seen: Mutex<HashSet<String>>,
    current: Mutex<HashMap<String, Value>>,
    calls: Mutex<Vec<String>>,
    stopped: bool,
}

impl Fake {
    /// Takes resources: those with an address under it.
    fn take(&self, what: &str, key: Option<String>, resources: Vec<(Option<String>, Value)>) -> Result<Fate, Gone> {
        if self.stopped {
            return Err(Gone("the journal has stopped".to_owned()));
        }
        self.calls.lock().unwrap().push(what.to_owned());
        if resources.iter().any(|(_, resource)| resource.to_string().contains("bad")) {
            return Ok(Fate::Refused(vec![Refusal { at: Some("Patient.gender".to_owned()), why: "not a code".to_owned() }]));
        }
        if key.is_some_and(|key| !self.seen.lock().unwrap().insert(key)) {
            return Ok(Fate::Taken { entries: Vec::new(), refused: Vec::new() });
        }
        let mut current = self.current.lock().unwrap();
        let mut write = |(address, resource): (Option<String>, Value)| {
            let changed = address.is_none_or(|address| current.insert(address, resource.clone()).as_ref() != Some(&resource));
            Taken { resource_type: "Patient".to_owned(), changed, warnings: 0 }
        };
        Ok(Fate::Taken { entries: resources.into_iter().map(&mut write).collect(), refused: Vec::new() })
    }
}

impl Sink for Fake {
    fn transaction(&self, body: Vec<u8>, key: Option<String>) -> Result<Fate, Gone> {
        let bundle: Value = serde_json::from_slice(&body).unwrap();
        let of = |entry: &Value| {
            let address = (entry["request"]["method"] == "PUT").then(|| entry["request"]["url"].as_str().unwrap().to_owned());
            (address, entry["resource"].clone())
        };
        let resources: Vec<_> = bundle["entry"].as_array().unwrap().iter().map(of).collect();
        self.take(&format!("transaction of {}", resources.len()), key, resources)
    }

    fn batch(&self, _body: Vec<u8>, key: String) -> Result<Fate, Gone> {
        self.take("batch", Some(key), vec![(None, Value::Null)])
    }

    fn single(&self, interaction: Interaction, key: Option<String>) -> Result<Fate, Gone> {
        let (what, address, body) = match interaction {
            Interaction::Update { resource_type, id, body, .. } => {
                let address = format!("{resource_type}/{id}");
                (format!("PUT {address}"), Some(address), body)
            }
            Interaction::Create { resource_type, body, .. } => (format!("POST {resource_type}"), None, body),
            other => panic!("{other:?}"),
        };
        self.take(&what, key, vec![(address, serde_json::from_slice(&body).unwrap())])
    }
}

fn run(files: &[(&str, &str)], sink: &Fake) -> Report {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    take_in(&Files::list(&[dir.path().to_owned()]).unwrap(), 3, sink)
}

#[test]
fn sent_twice_changes_nothing() {
    let sink = Fake::default();
    let files = [
        (
            "a.json",
            r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}]}"#,
        ),
        ("b.json", r#"{"resourceType":"Patient","id":"1"}"#),
        ("c.ndjson", "{\"resourceType\":\"Patient\",\"id\":\"2\"}\n{\"resourceType\":\"Patient\"}\n"),
    ];
    let first = run(&files, &sink);
    assert!(first.all_taken());
    assert_eq!(first.table().lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(), ["Patient", "4", "0", "0"]);
    let second = run(&files, &sink);
    assert!(second.all_taken());
    assert_eq!(second.table().lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(), ["Patient", "0", "4", "0"]);
}

/// What was changed or deleted since is there again; nothing of a key from the first time stands in the way.
#[test]
fn sent_again_a_line_is_as_it_was_sent() {
    let sink = Fake::default();
    let lines = |active: bool| {
        (0..3).map(|id| format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\",\"active\":{active}}}\n")).collect::<String>()
    };
    let changed = |report: Report| report.taken();
    for file in [lines(true), lines(false), lines(true)] {
        assert_eq!(changed(run(&[("p.ndjson", &file)], &sink)), 3);
    }
    sink.current.lock().unwrap().remove("Patient/1");
    assert_eq!(changed(run(&[("p.ndjson", &lines(true))], &sink)), 1);
    assert_eq!(changed(run(&[("p.ndjson", &lines(true))], &sink)), 0);
}

/// However lines fall into groups, those without an id are made once.
#[test]
fn lines_without_an_id_have_a_key_each() {
    let sink = Fake::default();
    let line = |n: usize| match n % 2 {
        0 => format!("{{\"resourceType\":\"Patient\",\"id\":\"{n}\"}}\n"),
        _ => format!("{{\"resourceType\":\"Patient\",\"birthDate\":\"{n}\"}}\n"),
    };
    let file = |count: usize| (0..count).map(line).collect::<String>();
    assert_eq!(run(&[("p.ndjson", &file(6))], &sink).taken(), 6);
    assert_eq!(*sink.calls.lock().unwrap(), ["transaction of 3", "POST Patient", "POST Patient", "POST Patient"]);
    assert_eq!(run(&[("p.ndjson", &file(9))], &sink).taken(), 3);
}

#[test]
fn a_bad_line_spoils_no_other() {
    let sink = Fake::default();
    let lines = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n{\"resourceType\":\"Patient\",\"gender\":\"bad\"}\nnonsense\n{\"a\":1}\n{\"resourceType\":\"Patient\",\"id\":\"5\"}\n";
    let report = run(&[("p.ndjson", lines)], &sink);
    assert!(!report.all_taken());
    let table: Vec<Vec<String>> = report.table().lines().map(|l| l.split_whitespace().map(str::to_owned).collect()).collect();
    assert_eq!(table[1], ["(unreadable)", "0", "0", "2"]);
    assert_eq!(table[2], ["Patient", "2", "0", "1"]);
    assert_eq!(table[3], ["total", "2", "0", "3"]);
}

#[test]
fn a_refusal_names_its_place() {
    let mut report = Report::default();
    let unit = Unit::Lines { origin: "x/p.ndjson".into(), lines: vec![(7, br#"{"resourceType":"Patient","id":"bad"}"#.to_vec())] };
    let said = report.add(plan::take(unit, &Fake::default()).unwrap());
    assert_eq!(said, ["x/p.ndjson: line 7: Patient.gender: not a code"]);
    let unit = Unit::Lines { origin: "x/p.ndjson".into(), lines: vec![(9, b"{\"a\":".to_vec())] };
    let said = report.add(plan::take(unit, &Fake::default()).unwrap());
    assert!(said[0].starts_with("x/p.ndjson: line 9: not JSON: "), "{said:?}");
}

/// Whoever reads what was refused need not be one who may see the resources.
#[test]
fn a_refusal_names_no_value() {
    for line in [r#"{"resourceType":"Patient","id":12345678901}"#, r#"{"id":"1","resourceType":"Patient" 12345678901}"#, "12345678901"] {
        let unit = Unit::Lines { origin: "p".into(), lines: vec![(1, line.as_bytes().to_vec())] };
        let said = Report::default().add(plan::take(unit, &Fake::default()).unwrap());
        assert!(!said[0].contains("123") && said[0].contains("column"), "{said:?}");
        assert_eq!(said[0].contains("not JSON"), line.contains(" 123"), "{said:?}");
    }
}

/// HL7's own example of a batch holds nothing but reads: it is valid R4 and must be accepted, so it is kept as the Bundle
/// that it is.
#[test]
fn a_batch_of_reads_is_kept_as_a_bundle() {
    let sink = Fake::default();
    let batch = r#"{"resourceType":"Bundle","id":"b1","type":"batch","entry":[{"request":{"method":"GET","url":"/Patient/1"}}]}"#;
    assert!(run(&[("b.json", batch)], &sink).all_taken());
    assert_eq!(*sink.calls.lock().unwrap(), ["PUT Bundle/b1"]);
}

#[test]
fn a_collection_is_a_resource() {
    let sink = Fake::default();
    assert!(run(&[("c.json", r#"{"resourceType":"Bundle","type":"collection"}"#)], &sink).all_taken());
    assert_eq!(*sink.calls.lock().unwrap(), ["POST Bundle"]);
}

#[test]
fn two_versions_of_one_resource_are_not_one_transaction() {
    let sink = Fake::default();
    let lines = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n{\"resourceType\":\"Patient\",\"id\":\"1\",\"active\":true}\n";
    assert!(run(&[("p.ndjson", lines)], &sink).all_taken());
    assert_eq!(*sink.calls.lock().unwrap(), ["PUT Patient/1", "PUT Patient/1"]);
}

#[test]
fn when_nothing_more_can_be_taken_it_stops() {
    let sink = Fake { stopped: true, ..Fake::default() };
    let many: Vec<(String, &str)> = (0..100).map(|n| (format!("{n}.json"), r#"{"resourceType":"Patient"}"#)).collect();
    let files: Vec<(&str, &str)> = many.iter().map(|(n, t)| (n.as_str(), *t)).collect();
    let report = run(&files, &sink);
    assert_eq!(report.stopped(), Some("the journal has stopped"));
    assert!(!report.all_taken());
}
