#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::fhir::json::parse;
use crate::search::matches::{Candidate, matches};
use crate::search::parse::{Environment, pairs, query};
use crate::search::values::packed::Packed;
use crate::search::values::values_of;
use bumpalo::Bump;
use jiff::Timestamp;
use serde_json::json;

fn definition(code: &str, kind: &str, expression: &str) -> Value {
    json!({
        "resourceType": "SearchParameter", "url": format!("urn:test:{code}"), "name": code, "status": "active", "description": "A test",
        "code": code, "type": kind, "base": ["Patient"], "target": ["Organization"], "expression": expression,
    })
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","extension":[{"url":"urn:x:ward","valueCodeableConcept":{"coding":[{"system":"urn:w","code":"7"}],"text":"Ward seven"}},{"url":"urn:x:weight","valueQuantity":{"value":71.5,"unit":"kg","system":"http://unitsofmeasure.org","code":"kg"}},{"url":"urn:x:since","valuePeriod":{"start":"2026-01"}},{"url":"urn:x:site","valueReference":{"reference":"Organization/o1"}},{"url":"urn:x:score","valueInteger":5}],"contact":[{"relationship":[{"coding":[{"code":"N"}]}],"name":{"family":"Ås"},"telecom":[{"system":"phone","value":"1"}]}],"link":[{"other":{"reference":"Patient/q"},"type":"seealso"}]}"#;

/// Whether a search with one added parameter finds the patient.
fn finds(code: &str, kind: &str, expression: &str, asked: &str) -> bool {
    let definition = Definition::parse(&definition(code, kind, expression).to_string()).unwrap();
    let parameters = parameters("Patient", &[(3, &definition)]).unwrap();
    let known = Known::default().with("Patient", parameters);
    let environment = Environment { now: Timestamp::UNIX_EPOCH, base: "", known: &known };
    let read = query("Patient", &pairs(asked).unwrap(), &environment).unwrap();
    assert!(read.ignored.is_empty(), "{asked}: {:?}", read.ignored);
    let arena = Bump::new();
    let packed = values_of(parameters, parse(PATIENT.as_bytes(), &arena).unwrap(), ["p", "q"].into_iter());
    let candidate = Candidate { values: Packed::new(&packed), last_updated_us: 0 };
    matches(&read.search.criteria, candidate)
}

#[test]
fn added_parameters_find_what_they_say() {
    let extension = |name: &str, of: &str| format!("Patient.extension.where(url = 'urn:x:{name}').value{of}");
    for (kind, expression, found, not) in [
        ("token", extension("ward", ""), "urn:w|7", "urn:w|8"),
        ("token", extension("ward", ".ofType(CodeableConcept)"), "7", "|7"),
        ("quantity", extension("weight", ""), "gt70|http://unitsofmeasure.org|kg", "71500.6|http://unitsofmeasure.org|g"),
        ("date", extension("since", ""), "ge2026-02", "lt2026-01"),
        ("reference", extension("site", ""), "Organization/o1", "o2"),
        ("number", extension("score", ""), "5", "gt5"),
        ("token", "Patient.contact.relationship".to_owned(), "N", "C"),
        ("token", "Patient.contact.telecom".to_owned(), "1", "2"),
        ("string", "Patient.contact.name".to_owned(), "ås", "os"),
        ("string", "Patient.link.type | Patient.contact.name.family".to_owned(), "see", "bee"),
    ] {
        assert!(finds("x-test", kind, &expression, &format!("x-test={}", found.replace('å', "%C3%A5"))), "{expression} {found}");
        assert!(!finds("x-test", kind, &expression, &format!("x-test={not}")), "{expression} {not}");
        assert!(finds("x-test", kind, &expression, "x-test:missing=false"), "{expression}");
    }
    // HL7's are what they were.
    assert!(finds("x-test", "token", "Patient.contact.relationship", "link=Patient/q&x-test=N"));
}

#[test]
fn what_cannot_be_added_is_refused_with_its_place() {
    let good = definition("x-test", "token", "Patient.contact.relationship");
    assert!(Definition::parse(&good.to_string()).is_ok());
    for (change, at) in [
        (json!({"url": null}), "url"),
        (json!({"code": "gender"}), "code"),
        (json!({"code": "_id"}), "code"),
        (json!({"code": "a:b"}), "code"),
        (json!({"type": "composite"}), "type"),
        (json!({"base": []}), "base"),
        (json!({"base": ["Resource"]}), "base[0]"),
        (json!({"base": ["Patient", "Observation"]}), "expression"),
        (json!({"expression": "Patient.nosuch("}), "expression"),
        (json!({"expression": "Observation.code"}), "expression"),
        (json!({"type": "reference", "target": []}), "target"),
        (json!({"status": "retired"}), "status"),
    ] {
        let mut wrong = good.clone();
        for (member, value) in change.as_object().unwrap() {
            wrong[member] = value.clone();
        }
        assert_eq!(Definition::parse(&wrong.to_string()).unwrap_err().at, format!("SearchParameter.{at}"), "{change}");
    }
}
