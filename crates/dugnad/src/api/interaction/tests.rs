#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn ids() {
    for good in ["1", "a-B.9", &"x".repeat(64)] {
        assert!(is_id(good), "{good}");
    }
    for bad in ["", "a/b", "a b", "æ", "..%2f", "a_b", &"x".repeat(65), "a\n"] {
        assert!(!is_id(bad), "{bad:?}");
    }
}

#[test]
fn criteria_lose_what_is_about_the_answer() {
    assert_eq!(criteria("_format=json&identifier=a%7Cb&_pretty=true"), "identifier=a%7Cb");
    assert_eq!(criteria(""), "");
}

#[test]
fn a_head_is_found_wherever_it_stands() {
    let head = Head::of(br#"{"entry":[{"type":"x"}],"type":"batch","id":"b1","resourceType":"Bundle"}"#);
    assert_eq!(head.bundle_type(), Some("batch"));
    assert_eq!(head.id.as_deref(), Some("b1"));
    let practitioner = Head::of(br#"{"resourceType":"Encounter","type":[{"text":"a"}]}"#);
    assert_eq!(practitioner.resource_type.as_deref(), Some("Encounter"));
    assert_eq!(practitioner.bundle_type(), None);
}

#[test]
fn a_head_of_something_hostile_is_empty() {
    assert_eq!(Head::of(b"\xff\xfe"), Head::default());
    assert_eq!(Head::of(b"[]").resource_type, None);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let _either = Head::of(deep.as_bytes()); // must only not overflow the stack
    assert_eq!(Head::of(deep.get(..50_000).unwrap().as_bytes()), Head::default());
}

#[test]
fn a_batch_is_read_entry_by_entry() {
    let batch = br#"{"resourceType":"Bundle","type":"batch","entry":[
        {"request":{"method":"GET","url":"Patient/1"}},
        {"request":{"method":"PUT","url":"Patient/1"}},
        {"resource":{}},
        {"request":{"method":"PUT","url":"Patient/1","ifMatch":"3"},"resource":{"resourceType":"Patient","id":"1"}},
        {"request":{"method":"DELETE","url":"/Patient/a%2Fb"}},
        {"request":{"method":"PATCH","url":"Patient/1"}}]}"#;
    let entries = batch_entries(batch).unwrap();
    assert!(matches!(&entries[0], Ok(Action::Read { id, version: None, .. }) if id == "1"));
    let at = |n: usize| entries[n].as_ref().unwrap_err().issues[0].expression.clone();
    assert_eq!(at(1).as_deref(), Some("Bundle.entry[1].resource"));
    assert_eq!(at(2).as_deref(), Some("Bundle.entry[2].request"));
    assert_eq!(at(3).as_deref(), Some("Bundle.entry[3].request.ifMatch"));
    assert!(entries[4].is_err() && entries[5].is_err());
}

#[test]
fn a_batch_that_is_none() {
    assert!(batch_entries(br#"{"resourceType":"Bundle","type":"collection"}"#).is_err());
    assert!(batch_entries(br#"{"resourceType":"Bundle","type":"batch","entry":{}}"#).is_err());
    assert!(batch_entries(b"{").is_err());
    assert!(batch_entries(br#"{"resourceType":"Bundle","type":"batch"}"#).unwrap().is_empty());
}
