#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::fhir::issue::IssueType;
use crate::fhir::json;
use bumpalo::Bump;

fn parsed(resource_type: &str, query: &str) -> Result<Conditions, Issue> {
    Conditions::parse(resource_type, parse::pairs(query).unwrap_or_else(|refusal| panic!("{refusal:?}")), Known::standard())
}

#[test]
fn a_resource_meets_all_or_it_does_not() {
    let arena = Bump::new();
    let observation =
        br#"{"resourceType":"Observation","id":"o","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},
        "subject":{"reference":"Patient/1"},"effectiveDateTime":"2026-03-14","valueQuantity":{"value":80,"code":"/min"}}"#;
    let observation = json::parse(observation, &arena).unwrap();
    for (query, expected) in [
        ("code=http://loinc.org|8867-4&subject=Patient/1&date=2026-03-14", true),
        ("code=8867-4,1234-5&status:not=entered-in-error", true),
        ("value-quantity=gt70||/min&device:missing=true", true),
        ("code-value-quantity=8867-4$80", true),
        ("code=8867-4&subject=Patient/2", false),
        ("date=ge2026-03-15", false),
        ("", true),
    ] {
        assert_eq!(parsed("Observation", query).unwrap().hold(&observation), expected, "{query}");
    }
    assert!(!parsed("Patient", "gender=male").unwrap().hold(&json::parse(b"[]", &arena).unwrap()));
}

#[test]
fn what_is_no_condition_is_refused_without_its_value() {
    for (query, what) in [
        ("subject:Patient.name=secret", "the resource itself only"),
        ("_has:Provenance:target:agent=secret", "the resource itself only"),
        ("_lastUpdated=2026", "every write"),
        ("date=ap2026", "depends on when"),
        ("code-value-date=secret$ap2026", "depends on when"),
        ("_count=1", "about the answer"),
        ("_sort=date", "about the answer"),
        ("_include=Observation:subject", "about the answer"),
        ("shoe-size=secret", "no such search parameter"),
        ("code:exact=secret", "modifier"),
        ("code=", "empty"),
        ("secret thing=1", "whose name is not one"),
    ] {
        let issue = parsed("Observation", query).unwrap_err();
        assert!(issue.severity == Severity::Error && issue.expression.is_none(), "{query}: {issue:?}");
        assert!(issue.diagnostics.contains(what) && !issue.diagnostics.contains("secret"), "{query}: {issue:?}");
    }
    assert_eq!(parsed("Observation", "shoe-size=1").unwrap_err().code, IssueType::NotSupported);
}
