//! Added search parameters: found in what was there and in what comes, through restarts, changes and removals.

use super::*;
use crate::database::{ParameterRefused, ParameterState};
use crate::search::parse::{Environment, pairs, query};
use serde_json::json;
use std::time::{Duration, Instant};

fn parameter(code: &str, kind: &str, expression: &str, bases: &[&str]) -> String {
    json!({
        "resourceType": "SearchParameter", "url": format!("urn:test:{code}"), "name": code, "status": "active", "description": "A test",
        "code": code, "type": kind, "base": bases, "expression": expression,
    })
    .to_string()
}

fn ward(code: &str) -> String {
    parameter(
        code,
        "token",
        "Patient.extension.where(url = 'urn:ward').value | Encounter.extension.where(url = 'urn:ward').value",
        &["Patient", "Encounter"],
    )
}

/// The ids that a search finds; `None` where the parameter is not known.
fn found(database: &Database, holder: HolderId, resource_type: &str, asked: &str) -> Option<Vec<String>> {
    let known = database.search_parameters();
    let environment = Environment { now: Timestamp::UNIX_EPOCH, base: "", known: &known };
    let read = query(resource_type, &pairs(asked).unwrap(), &environment).unwrap();
    if !read.ignored.is_empty() {
        return None;
    }
    let page = Page { count: 1_000, ..Page::default() };
    let mut ids: Vec<String> = database.search(holder, &read.search, page).unwrap().hits.into_iter().map(|hit| hit.id).collect();
    ids.sort();
    Some(ids)
}

fn wait(database: &Database, wanted: &[(&str, ParameterState)]) {
    let until = Instant::now() + Duration::from_secs(30);
    let wanted: Vec<_> = wanted.iter().map(|(id, state)| ((*id).to_owned(), state.clone())).collect();
    while database.search_parameter_states() != wanted {
        assert!(Instant::now() < until, "{:?}", database.search_parameter_states());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn patient_of(n: usize) -> String {
    let ward = json!({"url": "urn:ward", "valueCoding": {"system": "urn:w", "code": format!("w{}", n % 3)}});
    json!({"resourceType": "Patient", "id": format!("p{n}"), "gender": "female", "extension": [ward]}).to_string()
}

#[test]
fn an_added_parameter_finds_what_was_there_and_what_comes() {
    let bench = bench();
    let (database, holder) = (&bench.database, bench.hospital);
    let put = |n: usize| drop(bench.put(&patient_of(n)).unwrap());
    (0..9).for_each(put);
    assert_eq!(found(database, holder, "Patient", "ward=w1"), None);
    database.add_search_parameter("ward", &ward("ward")).unwrap();
    // Writes go on while it is built.
    (9..30).for_each(put);
    wait(database, &[("ward", ParameterState::Live)]);
    (30..33).for_each(put);
    let expected = |rest: usize, of: usize| -> Vec<String> {
        let mut ids: Vec<String> = (0..of).filter(|n| n % 3 == rest).map(|n| format!("p{n}")).collect();
        ids.sort();
        ids
    };
    for (asked, rest) in [("ward=w1", 1), ("ward=urn:w%7Cw2", 2), ("gender=female&ward=w0", 0)] {
        assert_eq!(found(database, holder, "Patient", asked), Some(expected(rest, 33)), "{asked}");
    }
    assert_eq!(found(database, holder, "Encounter", "ward=w1"), Some(Vec::new()));
    assert_eq!(found(database, holder, "Observation", "ward=w1"), None, "not of this type");
    // Whom a resource is about is still known.
    assert_eq!(found(database, holder, "Patient", "_id=p4&ward:missing=false"), Some(vec!["p4".to_owned()]));
    // Conditions know it too, in a request and in a reference.
    let create = |criteria: &str| {
        let (resource_type, body) = ("Patient".to_owned(), br#"{"resourceType":"Patient","active":true}"#.to_vec());
        bench.write(Interaction::Create { resource_type, body, if_none_exist: Some(criteria.to_owned()) })
    };
    assert_eq!(create("ward=w1&_id=p4").unwrap().entries[0].status, 200, "it is there");
    assert_eq!(refusal(create("ward=w1")).0, 412, "several are");
    assert_eq!(refusal(create("nobody=w1")).0, 400);
    let reference = json!({"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": "Patient?ward=w2&_id=p5"}});
    let transaction = bundle(&[entry("POST", "Basic", "urn:uuid:1", &reference)]).to_string().into_bytes();
    let made = bench.write(Interaction::Transaction { body: transaction }).unwrap();
    let stored = bench.database.read(holder, "Basic", &made.entries[0].id).unwrap().and_then(|v| v.json).unwrap();
    assert!(String::from_utf8(stored).unwrap().contains(r#""reference":"Patient/p5""#));

    // A second one beside it, a clash, the same again.
    let clash = database.add_search_parameter("other", &ward("ward")).unwrap_err();
    assert!(matches!(&clash, ParameterRefused::Definition(wrong) if wrong.what.contains("SearchParameter ward")), "{clash}");
    database.add_search_parameter("station", &parameter("station", "token", "Patient.extension.value.code", &["Patient"])).unwrap();
    let commit = database.snapshot().commit();
    database.add_search_parameter("ward", &ward("ward")).unwrap();
    assert_eq!(database.snapshot().commit(), commit);
    wait(database, &[("station", ParameterState::Live), ("ward", ParameterState::Live)]);
    assert_eq!(found(database, holder, "Patient", "station=w1&ward=w1"), Some(expected(1, 33)));

    // A restart finds the tables as they were.
    let before: Vec<String> = database.shared.tables.load().views().iter().map(|v| v.info.fingerprint.clone()).collect();
    let bench = bench.reopened();
    let database = &bench.database;
    let after: Vec<String> = database.shared.tables.load().views().iter().map(|v| v.info.fingerprint.clone()).collect();
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    assert_eq!(sorted(before), sorted(after));
    assert_eq!(found(database, holder, "Patient", "station=w2&ward=w2"), Some(expected(2, 33)));

    // Changed, it has a number of its own again; removed, it is not known any more, and the other one is what it was.
    database.add_search_parameter("ward", &parameter("ward", "token", "Patient.gender", &["Patient"])).unwrap();
    wait(database, &[("station", ParameterState::Live), ("ward", ParameterState::Live)]);
    assert_eq!(found(database, holder, "Patient", "ward=female").map(|all| all.len()), Some(33));
    assert_eq!(found(database, holder, "Patient", "ward=w1"), Some(Vec::new()));
    database.remove_search_parameter("ward").unwrap().unwrap();
    assert!(database.remove_search_parameter("ward").unwrap().is_none());
    let until = Instant::now() + Duration::from_secs(30);
    while found(database, holder, "Patient", "ward=female").is_some() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(found(database, holder, "Patient", "station=w1"), Some(expected(1, 33)));
    let bench = bench.reopened();
    let database = &bench.database;
    assert_eq!(found(database, holder, "Patient", "station=w1"), Some(expected(1, 33)));
    assert_eq!(found(database, holder, "Patient", "ward=female"), None);
}
