#![expect(clippy::unwrap_used, reason = "tests")]

use super::packed::Packed;
use super::*;
use crate::fhir::json::parse;
use crate::fhir::testdata;
use crate::search::parameters::{self, Kind};
use proptest::prelude::*;

/// The values of a parameter, as text.
fn of(json: &str, code: &str) -> Vec<String> {
    let arena = Bump::new();
    let resource = parse(json.as_bytes(), &arena).unwrap();
    let parameters = parameters::of_type(resource.str("resourceType").unwrap()).unwrap();
    let packed = values_of(parameters, resource, std::iter::empty());
    let number = parameters.get(code).unwrap().number;
    Packed::new(&packed).values(usize::from(number)).map(shown).collect()
}

fn shown(value: Value<'_>) -> String {
    match value {
        Value::Tuple(tuple) => {
            let components = tuple.components().map(|values| values.map(shown).collect::<Vec<_>>().join(" "));
            format!("({})", components.collect::<Vec<_>>().join(" / "))
        }
        other => format!("{other:?}"),
    }
}

fn token(system: &str, code: &str) -> String {
    format!("Token {{ system: {system:?}, code: {code:?} }}")
}

#[test]
fn an_observation_has_the_values_of_its_parameters() {
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final","meta":{"tag":[{"system":"s","code":"t"}],"profile":["http://p"]},
        "code":{"coding":[{"system":"http://loinc.org","code":"8480-6","display":"Systolic"}],"text":"Blood pressure"},
        "subject":{"reference":"Patient/p1","display":"Kari"},"effectiveDateTime":"2024-07-01T10:00:05Z",
        "valueQuantity":{"value":120.50,"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"},
        "component":[{"code":{"coding":[{"code":"c"}]},"valueCodeableConcept":{"text":"x"}}]}"#;
    assert_eq!(of(observation, "_id"), [token("", "o")]);
    assert_eq!(of(observation, "_tag"), [token("s", "t")]);
    assert_eq!(of(observation, "_profile"), [r#"Uri("http://p")"#]);
    assert_eq!(of(observation, "status"), [token("http://hl7.org/fhir/observation-status", "final")]);
    let code = [token("http://loinc.org", "8480-6"), r#"Text("Systolic")"#.to_owned(), r#"Text("Blood pressure")"#.to_owned()];
    assert_eq!(of(observation, "code"), code);
    assert_eq!(of(observation, "combo-code"), [&code[..], &[token("", "c")]].concat());
    let patient = [r#"Reference { resource_type: "Patient", id: "p1" }"#, r#"Text("Kari")"#];
    assert_eq!(of(observation, "subject"), patient);
    assert_eq!(of(observation, "patient"), patient);
    let date = "Date(Moments { low: 1719828005000000, high: 1719828006000000 })";
    assert_eq!(of(observation, "date"), [date]);
    let value = r#"Quantity { comparator: "", value: "120.50", unit: UnitOf { system: "http://unitsofmeasure.org", code: "mm[Hg]", unit: "mmHg" } }"#;
    assert_eq!(of(observation, "value-quantity"), [value]);
    assert_eq!(of(observation, "code-value-quantity"), [format!("({} / {value})", code.join(" "))]);
    assert_eq!(of(observation, "component-code-value-concept"), [format!("({} / Text(\"x\"))", token("", "c"))]);
    for none in ["device", "identifier", "value-string", "value-concept", "code-value-string"] {
        assert!(of(observation, none).is_empty(), "{none}");
    }
}

#[test]
fn a_patient_has_the_values_of_its_parameters() {
    let patient = r#"{"resourceType":"Patient","id":"p","active":true,"gender":"female","birthDate":"1985-02",
        "identifier":[{"system":"urn:x","value":"1","type":{"coding":[{"system":"v2","code":"MR"}],"text":"Record"}},{"value":"2"}],
        "name":[{"family":"Åsen","given":["Kari","Anne"]},{"text":"K"}],"telecom":[{"system":"email","value":"a@b"},{"system":"phone","value":"1"}],
        "address":[{"line":["Gata 1"],"city":"Bergen"}],"managingOrganization":{"identifier":{"system":"o","value":"9"}},
        "generalPractitioner":[{"reference":"https://other/Practitioner/1"},{"reference":"\#contained"}],"deceasedBoolean":false}"#
        .replace("\\#", "#");
    let patient = patient.as_str();
    let typed = r#"OfType { system: "v2", code: "MR", value: "1" }"#.to_owned();
    assert_eq!(of(patient, "identifier"), [token("urn:x", "1"), typed, r#"Text("Record")"#.to_owned(), token("", "2")]);
    assert_eq!(of(patient, "name"), ["Åsen", "Kari", "Anne", "K"].map(|name| format!("String({name:?})")));
    assert_eq!(of(patient, "email"), [token("", "a@b")]);
    assert_eq!(of(patient, "telecom").len(), 2);
    assert_eq!(of(patient, "address"), ["Gata 1", "Bergen"].map(|part| format!("String({part:?})")));
    assert_eq!(of(patient, "organization"), [r#"Logical { system: "o", value: "9" }"#]);
    assert_eq!(of(patient, "general-practitioner"), [r#"Url("https://other/Practitioner/1")"#]);
    assert_eq!(of(patient, "active"), [token("", "true")]);
    assert_eq!(of(patient, "deceased"), [token("", "false")], "deceasedBoolean=false is not deceased");
    assert_eq!(of(patient, "birthdate"), ["Date(Moments { low: 476060400000000, high: 478479600000000 })"]);
}

/// The example of docs/formats/search-values.md.
#[test]
fn a_golden_patient() {
    let arena = Bump::new();
    let resource = parse(br#"{"resourceType":"Patient","id":"p","active":true}"#, &arena).unwrap();
    let packed = values_of(parameters::of_type("Patient").unwrap(), resource, std::iter::empty());
    let directory = [3, 0, 0, 4, 6, 4, 7, 9, 11, 8];
    assert_eq!(packed.as_bytes(), [&directory[..], b"c\0\x01p", b"c\0\x04true", b"c\0\x05false"].concat());
}

#[test]
fn periods_timings_ranges_and_places() {
    let period = |json: &str| of(&format!(r#"{{"resourceType":"Encounter","period":{json}}}"#), "date");
    assert_eq!(period(r#"{"start":"2024-07-01T10:00:00Z"}"#), ["Date(Moments { low: 1719828000000000, high: 9223372036854775807 })"]);
    assert_eq!(period(r#"{"end":"2024-07-01T10:00:00Z"}"#), ["Date(Moments { low: -9223372036854775808, high: 1719828001000000 })"]);
    assert_eq!(
        period(r#"{"start":"2024-07-01T10:00:00Z","end":"2024-07-01T10:00:00.5Z"}"#),
        ["Date(Moments { low: 1719828000000000, high: 1719828000600000 })"]
    );
    assert!(period(r#"{"id":"x"}"#).is_empty());
    let timing = r#"{"resourceType":"ServiceRequest","occurrenceTiming":{"event":["2024-07-01T10:00:00Z","2024-07-01T09:00:00Z"]}}"#;
    assert_eq!(of(timing, "occurrence"), ["Date(Moments { low: 1719824400000000, high: 1719828001000000 })"]);
    let risk = r#"{"resourceType":"RiskAssessment","prediction":[{"probabilityDecimal":0.10},{"probabilityRange":{"low":{"value":1}}}]}"#;
    let none = r#"UnitOf { system: "", code: "", unit: "" }"#;
    assert_eq!(of(risk, "probability"), [r#"Number("0.10")"#.to_owned(), format!(r#"Range {{ low: "1", high: "", unit: {none} }}"#)]);
    let location = r#"{"resourceType":"Location","position":{"longitude":5.32,"latitude":60.39}}"#;
    assert_eq!(of(location, "near"), [r#"Place("60.39", "5.32")"#]);
    let invoice = r#"{"resourceType":"Invoice","totalNet":{"value":48,"currency":"NOK"}}"#;
    assert!(of(invoice, "totalnet")[0].contains("4217\", code: \"NOK\""), "{:?}", of(invoice, "totalnet"));
}

#[test]
fn hl7s_examples_have_values_that_are_read_as_they_were_packed() {
    let mut kinds = std::collections::BTreeMap::new();
    let arena = Bump::new();
    for (name, content) in testdata::files("fhir-r4/hl7-r4-examples") {
        let Ok(resource) = parse(&content, &arena) else { continue };
        let Some(parameters) = resource.str("resourceType").and_then(parameters::of_type) else { continue };
        let packed = values_of(parameters, resource, std::iter::empty());
        for parameter in parameters.all() {
            let mut again = Packer::default();
            let values = Packed::new(&packed).values(usize::from(parameter.number));
            values.for_each(|value| again.push(&value));
            again.end(0);
            let again = again.finish();
            assert_eq!(Packed::new(&again).values(0), values, "{name} {}", parameter.code);
            *kinds.entry(parameter.kind.name()).or_insert(0) += values.count();
        }
    }
    if kinds.is_empty() {
        return; // skipped
    }
    for kind in
        [Kind::Token, Kind::String, Kind::Reference, Kind::Date, Kind::Quantity, Kind::Number, Kind::Uri, Kind::Composite, Kind::Special]
    {
        assert!(kinds.get(kind.name()).is_some_and(|n| *n > 0), "{} has none: {kinds:?}", kind.name());
    }
}

proptest! {
    #[test]
    fn what_is_packed_is_read(
        texts in prop::collection::vec(".{0,80}", 1..6),
        system in prop_oneof![Just(String::new()), Just("http://loinc.org".to_owned()), ".{1,70}"],
        (low, high) in (any::<i64>(), any::<i64>()),
        numbers in prop::collection::btree_set(0..4_000_usize, 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut values = vec![
            Value::Date(Moments { low: low.min(high), high: low.max(high) }),
            Value::Reference { resource_type: "Patient", id: "x" },
            Value::Date(Moments::ALWAYS),
        ];
        for text in &texts {
            values.push(Value::String(text));
            values.push(Value::Token { system: &system, code: text });
            values.push(Value::Quantity { comparator: "<", value: "1", unit: UnitOf { system: &system, code: text, unit: text } });
        }
        let mut packer = Packer::default();
        for number in &numbers {
            values.iter().for_each(|value| packer.push(value));
            packer.end(*number);
        }
        let packed = packer.finish();
        for number in &numbers {
            let read: Vec<_> = Packed::new(&packed).values(*number).collect();
            prop_assert_eq!(&read, &values);
        }
        prop_assert_eq!(Packed::new(&packed).values(4_001).count(), 0);
        if let Some(cut) = packed.get(..cut.index(packed.len())) {
            numbers.iter().for_each(|number| { let _ = Packed::new(cut).values(*number).count(); });
        }
    }
}
