#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap())).collect()
}

#[test]
fn prefer_is_read_from_one_header_or_several() {
    let both = Preferences { answer: Some(Return::Representation), handling: Some(Handling::Lenient) };
    assert_eq!(Preferences::parse(&headers(&[("prefer", "return=representation, handling=lenient")])), both);
    assert_eq!(Preferences::parse(&headers(&[("prefer", "return=representation; handling=lenient")])), both);
    let mut two = HeaderMap::new();
    two.append(PREFER, HeaderValue::from_static("respond-async, return=OperationOutcome"));
    two.append(PREFER, HeaderValue::from_static("handling=\"strict\""));
    assert_eq!(Preferences::parse(&two), Preferences { answer: Some(Return::OperationOutcome), handling: Some(Handling::Strict) });
}

#[test]
fn etags_weak_or_strong() {
    assert_eq!(parse_etag("W/\"3\""), Some(3));
    assert_eq!(parse_etag(" \"12\" "), Some(12));
    assert_eq!(parse_etag("3"), None);
    assert_eq!(parse_etag("W/\"x\""), None);
    assert!(if_match(&headers(&[("if-match", "*")])).is_err());
    assert_eq!(if_match(&headers(&[])).unwrap(), None);
    assert!(has_already(&headers(&[("if-none-match", "W/\"1\", W/\"3\"")]), 3));
}

#[test]
fn bodies_must_be_plain_json() {
    assert!(require_json_body(&headers(&[("content-type", "application/fhir+json; charset=UTF-8")])).is_ok());
    assert!(require_json_body(&headers(&[("content-type", "application/json")])).is_ok());
    for wrong in ["application/fhir+xml", "application/x-www-form-urlencoded", "application/json; charset=latin1", ""] {
        let status = require_json_body(&headers(&[("content-type", wrong)])).unwrap_err().status;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{wrong}");
    }
    assert!(require_json_body(&HeaderMap::new()).is_err());
    assert!(require_json_body(&headers(&[("content-type", "application/json"), ("content-encoding", "gzip")])).is_err());
}

#[test]
fn json_is_all_that_is_spoken() {
    let accept = |value: &str| require_json_accepted(&headers(&[("accept", value)]), None).is_ok();
    assert!(accept("*/*") && accept("application/json") && accept("application/fhir+json;fhirVersion=4.0"));
    assert!(accept("text/html,application/xml;q=0.9,*/*;q=0.8"));
    assert!(!accept("application/fhir+xml") && !accept("application/json;q=0"));
    let xml = headers(&[("accept", "application/fhir+xml")]);
    assert!(require_json_accepted(&xml, Some("_pretty=true&_format=json")).is_ok());
    assert!(require_json_accepted(&xml, Some("_format=application/fhir%2Bjson")).is_ok());
    assert!(require_json_accepted(&HeaderMap::new(), Some("_format=xml")).is_err());
}

#[test]
fn percent_decoding_never_fails() {
    assert_eq!(percent_decode("a%2Fb+c", true), "a/b c");
    assert_eq!(percent_decode("a+b%", false), "a+b%");
    assert_eq!(percent_decode("%+1%zz", false), "%+1%zz");
    assert_eq!(percent_decode("%ff", false), "\u{fffd}");
    assert_eq!(percent_decode("%€", false), "%€");
}

#[test]
fn dates_are_gmt() {
    assert_eq!(http_date("2026-03-01T12:00:00Z".parse().unwrap()), "Sun, 01 Mar 2026 12:00:00 GMT");
}

#[test]
fn idempotency_keys_are_bounded() {
    assert_eq!(idempotency_key(&headers(&[("idempotency-key", "abc")])).unwrap().as_deref(), Some("abc"));
    assert!(idempotency_key(&headers(&[("idempotency-key", &"x".repeat(129))])).is_err());
}

#[test]
fn accept_names_a_format() {
    let format = |accept: &str| accepted_format(&headers(&[("accept", accept)])).ok();
    assert_eq!(format("text/csv;q=0.9, application/json"), Some(Format::Csv));
    assert_eq!(format("application/vnd.apache.arrow.stream"), Some(Format::Arrow));
    assert_eq!(format("*/*"), Some(Format::Json));
    assert_eq!(format("application/xml"), None);
    assert_eq!(accepted_format(&HeaderMap::new()).ok(), Some(Format::Json));
}
