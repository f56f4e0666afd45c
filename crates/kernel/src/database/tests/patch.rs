//! Patches: what they see, and what another write between reading and writing does to them.

use super::*;
use crate::fhir::patch::Format;

fn patch(id: &str, operations: &serde_json::Value, if_match: Option<u64>) -> Interaction {
    let (resource_type, id) = ("Basic".to_owned(), id.to_owned());
    Interaction::Patch { resource_type, id, format: Format::JsonPatch, body: operations.to_string().into_bytes(), if_match }
}

fn add(text: usize) -> serde_json::Value {
    serde_json::json!([{"op": "add", "path": "/code/coding/-", "value": {"code": text.to_string()}}])
}

const BASIC: &str =
    r#"{"resourceType":"Basic","id":"a","code":{"coding":[{"code":"0"}],"text":"1.0"},"extension":[{"url":"urn:n","valueDecimal":1.0}]}"#;

#[test]
fn many_at_once_lose_nothing() {
    let bench = bench();
    bench.put(BASIC).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let bench = &bench;
            scope.spawn(move || (0..10).for_each(|n| drop(bench.write(patch("a", &add(1 + writer * 10 + n), None)).unwrap())));
        }
    });
    let current = bench.database.read(bench.hospital, "Basic", "a").unwrap().unwrap();
    let text = String::from_utf8(current.json.unwrap()).unwrap();
    assert_eq!(current.version, 81);
    assert!((0..=80).all(|n| text.contains(&format!("{{\"code\":\"{n}\"}}"))) && text.contains("\"valueDecimal\":1.0}"), "{text}");
    assert_eq!(bench.database.history(bench.hospital, "Basic", "a").unwrap().len(), 81);
}

#[test]
fn what_changes_nothing_makes_no_commit() {
    let bench = bench();
    let first = bench.put(BASIC).unwrap();
    let test = serde_json::json!([{"op": "test", "path": "/code/text", "value": "1.0"}]);
    let outcome = bench.write(patch("a", &test, Some(1))).unwrap();
    assert_eq!((outcome.commit, outcome.entries[0].version, outcome.entries[0].status), (first.commit, 1, 200));
    assert!(first.entries[0].changed && !outcome.entries[0].changed);
    assert!(!bench.put(BASIC).unwrap().entries[0].changed);
    let status = |result: Result<Outcome, WriteError>| match result {
        Err(WriteError::Refused { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status(bench.write(patch("a", &test, Some(2)))), 412);
    assert_eq!(status(bench.write(patch("b", &test, None))), 404);
    assert_eq!(status(bench.write(patch("a", &serde_json::json!([{"op": "remove", "path": "/code"}]), None))), 422);
    let too_many = vec![serde_json::json!({"op": "remove", "path": "/code"}); 1_001].into();
    assert_eq!(status(bench.write(patch("a", &too_many, None))), 413);
}

/// Nothing is patched that is about a person who was erased, and nobody can tell that it is there.
#[test]
fn what_was_erased_is_not_there() {
    let bench = bench();
    bench.put(r#"{"resourceType":"Patient","id":"p"}"#).unwrap();
    bench.put(r#"{"resourceType":"Basic","id":"a","code":{"coding":[{"code":"0"}]},"subject":{"reference":"Patient/p"}}"#).unwrap();
    bench.put(r#"{"resourceType":"Basic","id":"b","code":{"coding":[{"code":"0"}]}}"#).unwrap();
    bench.database.erase(bench.hospital, "p", "a reason").unwrap();
    let refused = bench.write(patch("a", &add(1), None)).unwrap_err();
    assert!(matches!(refused, WriteError::Refused { status: 404, .. }), "{refused:?}");
    let named = serde_json::json!([{"op": "add", "path": "/subject", "value": {"reference": "Patient/p"}}]);
    let refused = bench.write(patch("b", &named, None)).unwrap_err();
    assert!(matches!(refused, WriteError::Refused { status: 410, .. }), "{refused:?}");
}
