#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::intake::{Fate, Gone, Refusal, Taken};
use dugnad_kernel::database::Interaction;
use std::collections::HashSet;

/// Takes everything but what says "bad"; knows what it has taken by key, as the database does.
#[derive(Default)]
struct Fake {
    seen: Mutex<HashSet<String>>,
    calls: Mutex<Vec<String>>,
    stopped: bool,
}

impl Fake {
    fn take(&self, what: &str, body: &[u8], key: String, count: usize) -> Result<Fate, Gone> {
        if self.stopped {
            return Err(Gone("the journal has stopped".to_owned()));
        }
        self.calls.lock().unwrap().push(what.to_owned());
        if body.windows(3).any(|w| w == b"bad") {
            return Ok(Fate::Refused(vec![Refusal { at: Some("Patient.gender".to_owned()), why: "not a code".to_owned() }]));
        }
        let new = self.seen.lock().unwrap().insert(key);
        let entry = Taken { resource_type: "Patient".to_owned(), changed: true, warnings: 0 };
        Ok(Fate::Taken { entries: if new { vec![entry; count] } else { Vec::new() }, refused: Vec::new() })
    }
}

impl Sink for Fake {
    fn transaction(&self, body: Vec<u8>, key: String) -> Result<Fate, Gone> {
        let count = serde_json::from_slice::<serde_json::Value>(&body).unwrap()["entry"].as_array().unwrap().len();
        self.take("transaction", &body, key, count)
    }

    fn batch(&self, body: Vec<u8>, key: String) -> Result<Fate, Gone> {
        self.take("batch", &body, key, 1)
    }

    fn single(&self, interaction: Interaction, key: String) -> Result<Fate, Gone> {
        match interaction {
            Interaction::Update { resource_type, id, body, .. } => self.take(&format!("PUT {resource_type}/{id}"), &body, key, 1),
            Interaction::Create { resource_type, body, .. } => self.take(&format!("POST {resource_type}"), &body, key, 1),
            other => panic!("{other:?}"),
        }
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
        ("c.ndjson", "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n{\"resourceType\":\"Patient\"}\n"),
    ];
    let first = run(&files, &sink);
    assert!(first.all_taken());
    assert_eq!(first.table().lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(), ["Patient", "4", "0", "0"]);
    let second = run(&files, &sink);
    assert!(second.all_taken());
    assert_eq!(second.table().lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(), ["Patient", "0", "4", "0"]);
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
