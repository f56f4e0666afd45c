#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fhir::json::parse;
use crate::search::parameters::{self, Parameter};
use crate::search::values::values_of;
use bumpalo::Bump;
use std::sync::Arc;

fn parameter(resource_type: &str, code: &str) -> &'static Parameter {
    parameters::parameter(resource_type, code).unwrap()
}

fn found(json: &str, code: &str, test: Test) -> bool {
    let arena = Bump::new();
    let resource = parse(json.as_bytes(), &arena).unwrap();
    let resource_type = resource.str("resourceType").unwrap();
    let packed = values_of(parameters::of_type(resource_type).unwrap(), resource, std::iter::empty());
    let criterion = Criterion::Is { parameter: parameter(resource_type, code), test };
    matches(&[criterion], Candidate { values: Packed::new(&packed), last_updated_us: 1_000_000 })
}

fn any(json: &str, code: &str, operand: Operand) -> bool {
    found(json, code, Test::Any(vec![operand]))
}

fn token(system: System, code: Option<&str>) -> Token {
    Token { system, code: code.map(str::to_owned) }
}

#[test]
fn tokens() {
    let json = r#"{"resourceType":"Patient","gender":"male","identifier":[{"system":"a","value":"1","type":{"coding":[{"system":"t","code":"MR"}]}},
        {"value":"2"}],"communication":[{"language":{"text":"Norsk Bokmål","coding":[{"system":"s","code":"nb"}]}}]}"#;
    let is = |system: System, code: Option<&str>| any(json, "identifier", Operand::Token(token(system, code)));
    assert!(is(System::Any, Some("1")) && is(System::Is("a".to_owned()), Some("1")) && is(System::Is("a".to_owned()), None));
    assert!(is(System::Absent, Some("2")) && is(System::Any, Some("2")));
    assert!(!is(System::Absent, Some("1")) && !is(System::Is("b".to_owned()), Some("1")) && !is(System::Any, Some("3")));
    let gender = System::Is("http://hl7.org/fhir/administrative-gender".to_owned());
    assert!(any(json, "gender", Operand::Token(token(gender, Some("male")))));
    let of_type = |code: &str, value: &str| Operand::OfType { of: token(System::Is("t".to_owned()), Some(code)), value: value.to_owned() };
    assert!(
        any(json, "identifier", of_type("MR", "1"))
            && !any(json, "identifier", of_type("MR", "2"))
            && !any(json, "identifier", of_type("X", "1"))
    );
    assert!(any(json, "language", Operand::Text("norsk".to_owned())) && !any(json, "language", Operand::Text("bokmal".to_owned())));
    let codes = |system: &str| Operand::Codes(Arc::new([(system.to_owned(), "nb".to_owned())].into_iter().collect()));
    assert!(any(json, "language", codes("s")) && any(json, "language", codes("")) && !any(json, "language", codes("x")));
    let female = || vec![Operand::Token(token(System::Any, Some("female")))];
    assert!(found(json, "gender", Test::None(female())) && !found(json, "gender", Test::Any(female())));
    assert!(found(json, "active", Test::None(female())), "where there is no value, it is not that value");
    assert!(found(json, "active", Test::Missing(true)) && found(json, "gender", Test::Missing(false)));
    assert!(!found(json, "active", Test::Missing(false)) && !found(json, "gender", Test::Missing(true)));
}

#[test]
fn strings_references_and_uris() {
    let json = r#"{"resourceType":"Patient","name":[{"family":"Åsen Hansen","given":["Kari"]}],
        "generalPractitioner":[{"reference":"Practitioner/1"},{"reference":"urn:uuid:2"},{"identifier":{"system":"h","value":"9"}}],
        "meta":{"profile":["http://a/b/c","urn:oid:1.2.3"]}}"#;
    let name = |text: &str, how| any(json, "name", Operand::String { text: text.to_owned(), how });
    assert!(
        name("asen", Match::Begins) && name("ÅSEN  h", Match::Begins) && !name("hansen", Match::Begins) && name("hansen", Match::Contains)
    );
    assert!(name("Kari", Match::Exact) && !name("kari", Match::Exact) && !name("Kar", Match::Exact));
    let to = |reference| any(json, "general-practitioner", Operand::Reference(reference));
    let resource = |resource_type, id: &str| Reference::Resource { resource_type, id: id.to_owned() };
    assert!(to(resource("Practitioner", "1")) && !to(resource("Organization", "1")) && to(Reference::Id("1".to_owned())));
    assert!(to(Reference::Url("urn:uuid:2".to_owned())) && !to(Reference::Url("urn:uuid:3".to_owned())));
    assert!(any(json, "general-practitioner", Operand::Identifier(token(System::Is("h".to_owned()), Some("9")))));
    let profile = |uri: &str, how| any(json, "_profile", Operand::Uri { uri: uri.to_owned(), how });
    assert!(profile("http://a/b/c", Hierarchy::Exact) && !profile("http://a/b", Hierarchy::Exact));
    assert!(
        profile("http://a/b", Hierarchy::Below) && profile("http://a/b/", Hierarchy::Below) && !profile("http://a/b/cd", Hierarchy::Below)
    );
    assert!(profile("http://a/b/c/d", Hierarchy::Above) && !profile("http://a/b/cd", Hierarchy::Above));
    assert!(profile("urn:oid:1.2", Hierarchy::Below) && !profile("urn:oid:1.2.30", Hierarchy::Above));
}

#[test]
fn dates() {
    let period = r#"{"resourceType":"Encounter","period":{"start":"2024-03-01","end":"2024-03-10"}}"#;
    let is = |prefix, text: &str| {
        let value = Moments::parse(text).unwrap();
        any(period, "date", Operand::Date(Comparison { prefix, value }))
    };
    use Prefix::{Approximately, EndsBefore, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual, StartsAfter};
    for (prefix, yes, no) in [
        (Equal, &["2024-03", "2024"][..], &["2024-03-01", "2024-02"][..]),
        (NotEqual, &["2024-03-01"], &["2024-03"]),
        (Greater, &["2024-03-09", "2023", "2024-03-01"], &["2024-03-10", "2024-03"]),
        (Less, &["2024-03-02", "2025"], &["2024-03-01", "2024-03"]),
        (GreaterOrEqual, &["2024-03", "2024-03-09"], &["2024-03-10", "2024-03-11", "2025"]),
        (LessOrEqual, &["2024-03", "2024-03-02"], &["2024-03-01", "2024-02-29"]),
        (StartsAfter, &["2024-02", "2024-02-29"], &["2024-03-01", "2024-03"]),
        (EndsBefore, &["2024-03-11", "2024-04"], &["2024-03-10", "2024-03"]),
        (Approximately, &["2024-03-10", "2024-03-01", "2024"], &["2024-02", "2024-03-11"]),
    ] {
        yes.iter().for_each(|date| assert!(is(prefix, date), "{prefix:?} {date}"));
        no.iter().for_each(|date| assert!(!is(prefix, date), "{prefix:?} {date}"));
    }
    let updated =
        |prefix, text: &str| any(period, "_lastUpdated", Operand::Date(Comparison { prefix, value: Moments::parse(text).unwrap() }));
    assert!(
        updated(Equal, "1970-01-01T00:00:01Z") && updated(Greater, "1970-01-01T00:00:00Z") && !updated(Greater, "1970-01-01T00:00:01Z")
    );
}

#[test]
fn numbers_and_quantities() {
    let quantity = |value: &str| {
        format!(
            r#"{{"resourceType":"Observation","valueQuantity":{{"value":{value},"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"}}}}"#
        )
    };
    let is = |prefix, text: &str, unit: Unit, json: &str| {
        let number = Comparison { prefix, value: Number::parse(text).unwrap() };
        any(json, "value-quantity", Operand::Quantity { number, unit })
    };
    use Prefix::{Approximately, EndsBefore, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual, StartsAfter};
    for (prefix, text, value, wanted) in [
        (Equal, "5.4", "5.40", true),
        (Equal, "5.40", "5.4", true),
        (Equal, "5.4", "5.44", true),
        (Equal, "5.4", "5.35", true),
        (Equal, "5.4", "5.45", false),
        (Equal, "5.40", "5.44", false),
        (NotEqual, "5.4", "5.45", true),
        (Greater, "5.4", "5.41", true),
        (Greater, "5.4", "5.4", false),
        (GreaterOrEqual, "5.4", "5.40", true),
        (Less, "5.4", "5.39", true),
        (LessOrEqual, "5.4", "5.4", true),
        (LessOrEqual, "5.4", "5.41", false),
        (StartsAfter, "5", "6", true),
        (EndsBefore, "5", "4", true),
        (Approximately, "5", "5.5", true),
        (Approximately, "5", "5.7", false),
        // HL7's observation-decimal: it was not found by its own number.
        (Equal, "1000000000000000000", "1000000000000000000", true),
    ] {
        assert_eq!(is(prefix, text, Unit::Any, &quantity(value)), wanted, "{prefix:?} {text} {value}");
    }
    let coded = |code: &str| Unit::Coded { system: "http://unitsofmeasure.org".to_owned(), code: code.to_owned() };
    let json = quantity("5");
    for unit in [coded("mm[Hg]"), Unit::Named("mm[Hg]".to_owned()), Unit::Named("mmHg".to_owned())] {
        assert!(is(Equal, "5", unit, &json));
    }
    assert!(!is(Equal, "5", coded("mmHg"), &json) && !is(Equal, "5", Unit::Named("kPa".to_owned()), &json));
    let below = r#"{"resourceType":"Observation","valueQuantity":{"value":5,"comparator":"<"}}"#;
    assert!(is(Less, "5", Unit::Any, below) && is(Less, "1", Unit::Any, below) && !is(Greater, "5", Unit::Any, below));
    assert!(!is(Equal, "5", Unit::Any, below), "it is not known to be 5");
    let onset = r#"{"resourceType":"Condition","onsetRange":{"low":{"value":10,"unit":"a"},"high":{"value":20}}}"#;
    let age = |prefix, text: &str| {
        let number = Comparison { prefix, value: Number::parse(text).unwrap() };
        any(onset, "onset-age", Operand::Quantity { number, unit: Unit::Any })
    };
    assert!(age(Greater, "15") && age(Less, "15") && !age(Equal, "15") && !age(StartsAfter, "10") && age(StartsAfter, "9"));
}

#[test]
fn composites_match_within_one_element() {
    let json = r#"{"resourceType":"Observation","component":[
        {"code":{"coding":[{"code":"sys"}]},"valueQuantity":{"value":120}},{"code":{"coding":[{"code":"dia"}]},"valueQuantity":{"value":80}}]}"#;
    let is = |code: &str, number: &str| {
        let number = Comparison { prefix: Prefix::Equal, value: Number::parse(number).unwrap() };
        let code = Operand::Token(token(System::Any, Some(code)));
        any(json, "component-code-value-quantity", Operand::Composite(vec![code, Operand::Quantity { number, unit: Unit::Any }]))
    };
    assert!(is("sys", "120") && is("dia", "80") && !is("sys", "80") && !is("x", "120"));
}

#[test]
fn places() {
    let oslo = r#"{"resourceType":"Location","position":{"latitude":59.9139,"longitude":10.7522}}"#;
    let near = |distance_m| any(oslo, "near", Operand::Near { latitude: 60.3913, longitude: 5.3221, distance_m });
    assert!(near(310_000.0) && !near(300_000.0), "Bergen is 305 km away");
}

/// A quantity is found by every unit of its kind, as wide as the digits that were asked for.
#[test]
fn quantities_in_units_of_ucum() {
    let json = |value: &str, code: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"a"}},"valueQuantity":{{"value":{value},"unit":"x","system":"http://unitsofmeasure.org","code":"{code}"}}}}"#
        )
    };
    let asks = |value: &str, code: &str, prefix: Prefix, number: &str, wanted: &str| {
        let unit = Unit::Coded { system: "http://unitsofmeasure.org".to_owned(), code: wanted.to_owned() };
        let number = Comparison { prefix, value: Number::parse(number).unwrap() };
        any(&json(value, code), "value-quantity", Operand::Quantity { number, unit })
    };
    use Prefix::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    for (value, code) in [("0.0054", "g"), ("5.4", "mg"), ("5400", "ug"), ("0.0000054", "kg")] {
        assert!(asks(value, code, Equal, "5.4", "mg"), "{value} {code}");
        assert!(asks(value, code, GreaterOrEqual, "5.4", "mg") && asks(value, code, LessOrEqual, "5.4", "mg"), "{value} {code}");
        assert!(!asks(value, code, Greater, "5.4", "mg") && !asks(value, code, Less, "5.4", "mg"), "{value} {code}");
        assert!(!asks(value, code, NotEqual, "5.4", "mg") && asks(value, code, NotEqual, "5.5", "mg"), "{value} {code}");
        assert!(!asks(value, code, Equal, "5.4", "mL") && !asks(value, code, Equal, "5.4", "none"), "{value} {code}");
    }
    // As wide as its digits: 5 mg is 4.5 to 5.5 mg, 5.0 mg is 4.95 to 5.05 mg.
    assert!(asks("0.0052", "g", Equal, "5", "mg") && !asks("0.0052", "g", Equal, "5.0", "mg"));
    assert!(asks("0.0045", "g", Equal, "5", "mg") && !asks("0.0055", "g", Equal, "5", "mg"));
    assert!(asks("37.0", "Cel", Equal, "98.6", "[degF]") && asks("310.15", "K", Equal, "37.00", "Cel"));
    // A unit that is not understood is compared as the text that it is.
    assert!(asks("5", "puff", Equal, "5", "puff") && !asks("5", "puff", Equal, "5", "mg"));
}
