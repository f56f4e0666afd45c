#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fhir::json::parse;
use crate::search::parameters::Known;
use bumpalo::Bump;
use proptest::prelude::*;

fn identifier(system: Option<&str>, value: &str) -> Identifier {
    Identifier { system: system.map(str::to_owned), value: value.to_owned() }
}

fn parsed(query: &str) -> Criteria {
    Criteria::parse("Patient", query, Known::standard()).unwrap()
}

fn refused(query: &str, code: IssueType, what: &str) {
    let issue = Criteria::parse("Patient", query, Known::standard()).unwrap_err();
    assert!(issue.code == code && issue.diagnostics.contains(what) && issue.expression.is_none(), "{query}: {issue:?}");
}

fn matches(query: &str, resource: &str) -> bool {
    let arena = Bump::new();
    parsed(query).matches(&parse(resource.as_bytes(), &arena).unwrap())
}

#[test]
fn tokens() {
    assert_eq!(parsed("identifier=http://a|1").identifiers, [identifier(Some("http://a"), "1")]);
    assert_eq!(parsed("identifier=http%3A%2F%2Fa%7C1").identifiers, [identifier(Some("http://a"), "1")]);
    assert_eq!(parsed("identifier=1").identifiers, [identifier(None, "1")]);
    assert_eq!(parsed("identifier=|1").identifiers, [identifier(Some(""), "1")]);
    assert_eq!(parsed("identifier=a|1&identifier=b|2").identifiers, [identifier(Some("a"), "1"), identifier(Some("b"), "2")]);
    assert_eq!(parsed("_id=abc").id.as_deref(), Some("abc"));
    assert_eq!((parsed("_id=abc&identifier=1").id.as_deref(), parsed("&identifier=1&").identifiers.len()), (Some("abc"), 1));
}

#[test]
fn escapes() {
    assert_eq!(parsed(r"identifier=a\|b|c\,d\$e\\f").identifiers, [identifier(Some("a|b"), r"c,d$e\f")]);
    assert_eq!(parsed("identifier=a%5C%7Cb%7Cc%5C%2Cd").identifiers, [identifier(Some("a|b"), "c,d")]);
    assert_eq!(parsed("identifier=a|b+c%20d%2Be%C3%A6").identifiers, [identifier(Some("a"), "b c d+eæ")]);
    assert_eq!(parsed("identifier=a|b=c").identifiers, [identifier(Some("a"), "b=c")]);
    assert_eq!(parsed("%69dentifier=a|b%26c").identifiers, [identifier(Some("a"), "b&c")]);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    use IssueType::{Invalid, NotSupported, Required, Value};
    refused("shoe-size=44", NotSupported, "Patient has no such search parameter");
    refused("birthdate:exact=1999", NotSupported, "modifier");
    refused("identifier=a&_format=json", NotSupported, "`_format`");
    refused("Ola Nordmann=a", NotSupported, "whose name is not one");
    refused("identifier=a,b", NotSupported, "comma (OR)");
    refused("identifier=a%2Cb", NotSupported, "comma (OR)");
    refused("identifier=a|b|c", Value, "more than one");
    for without in ["identifier", "identifier=", "identifier=a|", "identifier=|"] {
        refused(without, Value, "`identifier` needs a value");
    }
    for escape in [r"identifier=a\", r"identifier=a\b"] {
        refused(escape, Value, "stands only before");
    }
    for encoding in ["identifier=%", "identifier=%4", "identifier=%zz", "identifier=%ff", "%=a"] {
        refused(encoding, Value, "percent-encoding");
    }
    for nothing in ["", "&", "&&"] {
        refused(nothing, Required, "criteria need");
    }
    for id in ["_id=", "_id=a,b", "_id=a b"] {
        refused(id, Value, "`_id` needs one id");
    }
    refused("_id=a&_id=a", Invalid, "once");
    assert_eq!(Criteria::parse("Binary", "identifier=a", Known::standard()).unwrap_err().code, NotSupported);
    assert_eq!(Criteria::parse("Patients", "_id=a", Known::standard()).unwrap_err().code, Value);
}

#[test]
fn refusals_hold_no_values() {
    for query in [
        "identifier=a|01017012345|c",
        "identifier=01017012345,",
        "_id=01017012345%20",
        "01017012345=a",
        "identifier=01017012345%",
        "a=01017012345",
    ] {
        let issue = Criteria::parse("Patient", query, Known::standard()).unwrap_err();
        assert!(!issue.diagnostics.contains("01017012345"), "{issue:?}");
    }
}

#[test]
fn matching() {
    let patient =
        r#"{"resourceType":"Patient","id":"p","gender":"female","identifier":[{"system":"a","value":"1"},{"value":"2"},{"system":"c"}]}"#;
    for yes in [
        "identifier=a|1",
        "identifier=1",
        "identifier=|2",
        "identifier=2",
        "identifier=a|1&identifier=2",
        "_id=p",
        "_id=p&identifier=1",
        "gender=female,male",
        "identifier=1&gender=female&birthdate:missing=true",
    ] {
        assert!(matches(yes, patient), "{yes}");
    }
    for no in [
        "identifier=b|1",
        "identifier=|1",
        "identifier=a|2",
        "identifier=a|1&identifier=3",
        "_id=q",
        "_id=q&identifier=1",
        "identifier=A|1",
        "gender=male",
        "identifier=1&gender=male",
    ] {
        assert!(!matches(no, patient), "{no}");
    }
    assert!(!matches("identifier=1", r#"{"resourceType":"Person","identifier":[{"value":"1"}]}"#));
    assert!(!matches("identifier=1", "[]") && !matches("_id=p", r#"{"resourceType":"Patient"}"#));
}

#[test]
fn identifiers_stand_in_one_object_an_array_or_a_master_identifier() {
    let arena = Bump::new();
    let of = |json: &'static str| identifiers(&parse(json.as_bytes(), &arena).unwrap());
    assert_eq!(of(r#"{"identifier":{"system":"a","value":"1"}}"#), [("a", "1")]);
    assert_eq!(of(r#"{"masterIdentifier":{"value":"1"},"identifier":[{"system":"a","value":"2"}]}"#), [("a", "2"), ("", "1")]);
    assert_eq!(of(r#"{"identifier":"a"}"#), []);
    assert_eq!(of(r#"{"identifier":[{"system":"a"},null,{"value":3}]}"#), []);
}

proptest! {
    /// Whatever an identifier holds can be asked for.
    #[test]
    fn what_is_encoded_is_read_again(system in any::<Option<String>>(), value in ".+") {
        let escape = |text: &str| text.replace('\\', r"\\").replace('|', r"\|").replace(',', r"\,").replace('$', r"\$");
        let token = match &system {
            Some(system) => format!("{}|{}", escape(system), escape(&value)),
            None => escape(&value),
        };
        let encoded: String = token.bytes().map(|b| format!("%{b:02X}")).collect();
        let criteria = Criteria::parse("Patient", &format!("identifier={encoded}"), Known::standard()).unwrap();
        prop_assert_eq!(criteria.identifiers, vec![Identifier { system, value }]);
    }

    #[test]
    fn queries_never_make_it_panic(query in ".{0,60}") {
        let _ = Criteria::parse("Patient", &query, Known::standard());
    }
}
