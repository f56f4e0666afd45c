#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fhir::criteria::Identifier;
use crate::fhir::json::parse;
use crate::fhir::testdata;
use crate::search::conditions::Conditions;
use crate::search::parameters::Known;
use bumpalo::Bump;

const PATIENT: &str = r#""resource":{"resourceType":"Patient","id":"p"}"#;

fn bundle(kind: &str, entries: &[String]) -> String {
    format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{}]}}"#, entries.join(","))
}

fn entry(request: &str, rest: &str) -> String {
    let comma = if rest.is_empty() { "" } else { "," };
    format!(r#"{{"request":{{{request}}}{comma}{rest}}}"#)
}

fn request(method: &str, url: &str) -> String {
    format!(r#""method":"{method}","url":"{url}""#)
}

/// The interaction of a transaction's only entry, shown.
fn one(request: &str, rest: &str) -> Result<String, Issue> {
    let json = bundle("transaction", &[entry(request, rest)]);
    let arena = Bump::new();
    match read(parse(json.as_bytes(), &arena).unwrap(), Known::standard(), &arena) {
        Ok(bundle) => Ok(format!("{:?}", bundle.entries[0].interaction)),
        Err(issues) => Err(issues.into_iter().next().unwrap()),
    }
}

fn shown(interaction: Interaction<'_>) -> Result<String, Issue> {
    Ok(format!("{interaction:?}"))
}

fn refused(request: &str, rest: &str, code: IssueType, at: &str) {
    let issue = one(request, rest).unwrap_err();
    assert_eq!(
        (issue.code, issue.expression.as_deref()),
        (code, Some(format!("Bundle.entry[0].{at}").as_str())),
        "{request} {rest}: {issue:?}"
    );
}

fn errors(json: &str) -> Vec<Issue> {
    let arena = Bump::new();
    read(parse(json.as_bytes(), &arena).unwrap(), Known::standard(), &arena).unwrap_err()
}

fn identified(resource_type: &str, system: &str, value: &str) -> Criteria {
    let identifiers = vec![Identifier { system: Some(system.to_owned()), value: value.to_owned() }];
    Criteria { resource_type: resource_type.to_owned(), id: None, identifiers, others: Conditions::default() }
}

#[test]
fn real_bundles_are_read() {
    let check = |name: &str, text: &[u8]| {
        let arena = Bump::new();
        let bundle = read(parse(text, &arena).unwrap(), Known::standard(), &arena).unwrap_or_else(|issues| panic!("{name}: {issues:?}"));
        assert!(bundle.kind == BundleKind::Transaction && !bundle.entries.is_empty(), "{name}");
        assert!(bundle.entries.iter().all(|e| e.full_url.is_some() && e.resource.is_some()), "{name}");
    };
    for (name, text) in testdata::files("fhir-r4/small") {
        check(&name, &text);
    }
    testdata::each_archived(check);
}

#[test]
fn creates() {
    let create = |if_none_exist| shown(Interaction::Create { resource_type: "Patient", if_none_exist });
    for url in ["Patient", "/Patient", "http://host/fhir/Patient", "https://host/Patient"] {
        assert_eq!(one(&request("POST", url), PATIENT), create(None), "{url}");
    }
    for query in ["identifier=a|1", "?identifier=a|1", "Patient?identifier=a%7C1"] {
        let request = format!(r#"{},"ifNoneExist":"{query}""#, request("POST", "Patient"));
        assert_eq!(one(&request, PATIENT), create(Some(identified("Patient", "a", "1"))), "{query}");
    }
    let with = |condition: &str| format!("{},{condition}", request("POST", "Patient"));
    refused(&with(r#""ifNoneExist":"Person?identifier=a""#), PATIENT, IssueType::NotSupported, "request.ifNoneExist");
    refused(&with(r#""ifNoneExist":"shoe-size=a""#), PATIENT, IssueType::NotSupported, "request.ifNoneExist");
    refused(&with(r#""ifMatch":"W/\"1\"""#), PATIENT, IssueType::NotSupported, "request.ifMatch");
    refused(&with(r#""ifNoneMatch":"*""#), PATIENT, IssueType::NotSupported, "request.ifNoneMatch");
    refused(&request("POST", "Patient"), "", IssueType::Required, "resource");
    refused(&request("POST", "Person"), PATIENT, IssueType::Invalid, "resource");
    for url in
        ["Patient/1", "Patient?identifier=a", "Patients", "patient", "/", "fhir/Patient", "http://Patient", "$process-message", "Patient#a"]
    {
        refused(&request("POST", url), PATIENT, IssueType::Value, "request.url");
    }
}

#[test]
fn updates() {
    let update = |target, if_match| shown(Interaction::Update { target, if_match });
    let id = || Target::Id { resource_type: "Patient", id: "p" };
    for url in ["Patient/p", "/Patient/p", "http://host/fhir/Patient/p", "https://host/Patient/p"] {
        assert_eq!(one(&request("PUT", url), PATIENT), update(id(), None), "{url}");
    }
    let if_match = |tag: &str| format!(r#"{},"ifMatch":"{tag}""#, request("PUT", "Patient/p"));
    assert_eq!(one(&if_match(r#"W/\"3\""#), PATIENT), update(id(), Some(3)));
    assert_eq!(one(&if_match(r#"\"3\""#), PATIENT), update(id(), Some(3)));
    for tag in ["3", r#"W/\"a\""#, r#"W/\"\""#, "*", r#"W/\"+3\""#, r#"W/\"99999999999999999999\""#] {
        refused(&if_match(tag), PATIENT, IssueType::Value, "request.ifMatch");
    }
    let criteria = Target::Match(identified("Patient", "http://a", "1"));
    for url in ["Patient?identifier=http://a|1", "http://host/fhir/Patient?identifier=http%3A%2F%2Fa%7C1"] {
        assert_eq!(one(&request("PUT", url), r#""resource":{"resourceType":"Patient"}"#), update(criteria.clone(), None), "{url}");
    }
    refused(&request("PUT", "Patient/q"), PATIENT, IssueType::Invalid, "resource.id");
    refused(&request("PUT", "Patient/p"), r#""resource":{"resourceType":"Patient"}"#, IssueType::Invalid, "resource.id");
    refused(&request("PUT", "Person/p"), PATIENT, IssueType::Invalid, "resource");
    refused(&request("PUT", "Person?identifier=a"), PATIENT, IssueType::Invalid, "resource");
    refused(&request("PUT", "Patient?shoe-size=a"), PATIENT, IssueType::NotSupported, "request.url");
    refused(&request("PUT", "Patient/p"), "", IssueType::Required, "resource");
    refused(&format!(r#"{},"ifNoneMatch":"*""#, request("PUT", "Patient/p")), PATIENT, IssueType::NotSupported, "request.ifNoneMatch");
    for url in ["Patient", "Patient/", "Patient/a%20b", "Patient/%70", "Patient/p/_history/1", "a/Patient/p", "//Patient/p", "urn:uuid:1"] {
        refused(&request("PUT", url), PATIENT, IssueType::Value, "request.url");
    }
}

#[test]
fn deletes_and_reads() {
    let delete = |target| shown(Interaction::Delete { target, if_match: None });
    assert_eq!(one(&request("DELETE", "Patient/p"), ""), delete(Target::Id { resource_type: "Patient", id: "p" }));
    assert_eq!(one(&request("DELETE", "Patient?identifier=a|1"), ""), delete(Target::Match(identified("Patient", "a", "1"))));
    refused(&request("DELETE", "Patient"), "", IssueType::Value, "request.url");
    assert_eq!(one(&request("GET", "Patient?name=a"), ""), shown(Interaction::Read { url: "Patient?name=a" }));
    let condition = format!(r#"{},"ifNoneMatch":"W/\"1\"""#, request("GET", "Patient/p"));
    assert_eq!(one(&condition, ""), shown(Interaction::Read { url: "Patient/p" }));
}

#[test]
fn methods_that_are_not_supported_are_named() {
    let issue = one(&request("HEAD", "Patient/p"), PATIENT).unwrap_err();
    assert!(issue.code == IssueType::NotSupported && issue.diagnostics.starts_with("HEAD"), "{issue:?}");
    refused(&request("post", "Patient"), PATIENT, IssueType::CodeInvalid, "request.method");
}

#[test]
fn what_is_no_transaction_or_batch() {
    assert_eq!(errors("[]")[0].code, IssueType::Structure);
    assert_eq!(errors(r#"{"resourceType":"Patient"}"#)[0].code, IssueType::Structure);
    let found = errors(r#"{"resourceType":"Bundle","type":"collection"}"#);
    assert_eq!((found[0].code, found[0].expression.as_deref()), (IssueType::NotSupported, Some("Bundle.type")));
    assert_eq!(errors(r#"{"resourceType":"Bundle"}"#)[0].expression.as_deref(), Some("Bundle.type"));
    let frame = errors(r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET"}},{"fullUrl":1}]}"#);
    let at: Vec<&str> = frame.iter().filter_map(|issue| issue.expression.as_deref()).collect();
    assert_eq!(at, ["Bundle.entry[0].request.url", "Bundle.entry[1].fullUrl"]);
    assert_eq!(errors(&bundle("transaction", &[format!("{{{PATIENT}}}")]))[0].expression.as_deref(), Some("Bundle.entry[0].request"));
    let many = vec!["{}".to_owned(); MAX_BUNDLE_ENTRIES + 1];
    assert_eq!(errors(&bundle("transaction", &many))[0].code, IssueType::TooCostly);
    let arena = Bump::new();
    assert!(
        read(parse(br#"{"resourceType":"Bundle","type":"transaction"}"#, &arena).unwrap(), Known::standard(), &arena)
            .unwrap()
            .entries
            .is_empty()
    );
}

#[test]
fn resources_are_not_looked_at() {
    let create = request("POST", "Patient");
    assert!(one(&create, r#""resource":{"resourceType":"Patient","nome":[]}"#).is_ok());
    refused(&create, r#""resource":{"nome":[]}"#, IssueType::Invalid, "resource");
    refused(&create, r#""resource":1"#, IssueType::Invalid, "resource");
}

#[test]
fn an_entry_of_a_batch_is_refused_for_itself() {
    let json = bundle(
        "batch",
        &[entry(&request("HEAD", "Patient/p"), ""), entry(&request("DELETE", "Patient/p"), ""), entry(&request("DELETE", "Patient/p"), "")],
    );
    let arena = Bump::new();
    let batch = read(parse(json.as_bytes(), &arena).unwrap(), Known::standard(), &arena).unwrap();
    let Interaction::Refused(issues) = &batch.entries[0].interaction else { panic!("{batch:?}") };
    assert_eq!((issues.len(), issues[0].code), (1, IssueType::NotSupported));
    assert!(batch.kind == BundleKind::Batch && matches!(batch.entries[2].interaction, Interaction::Delete { .. }));
}

#[test]
fn nothing_is_meant_twice() {
    let full_url = |url: &str| entry(&request("POST", "Patient"), &format!(r#"{PATIENT},"fullUrl":"{url}""#));
    let place = |json: &str| errors(json).into_iter().map(|issue| issue.expression.unwrap()).collect::<Vec<_>>();
    for kind in ["transaction", "batch"] {
        let urls = bundle(kind, &[full_url("urn:uuid:a"), full_url("urn:uuid:b"), full_url("urn:uuid:a")]);
        assert_eq!(place(&urls), ["Bundle.entry[2].fullUrl"]);
    }
    let put = entry(&request("PUT", "Patient/p"), PATIENT);
    let delete = entry(&request("DELETE", "/Patient/p"), "");
    let post = entry(&request("POST", "Patient"), PATIENT);
    assert_eq!(place(&bundle("transaction", &[put.clone(), post.clone(), delete])), ["Bundle.entry[2].request.url"]);
    let matching = entry(&request("PUT", "Patient?identifier=a|1"), PATIENT);
    let encoded = entry(&request("DELETE", "Patient?identifier=a%7C1"), "");
    assert_eq!(place(&bundle("transaction", &[matching, encoded])), ["Bundle.entry[1].request.url"]);
    let arena = Bump::new();
    assert_eq!(
        read(parse(bundle("transaction", &[post.clone(), post]).as_bytes(), &arena).unwrap(), Known::standard(), &arena)
            .unwrap()
            .entries
            .len(),
        2
    );
}

#[test]
fn the_number_of_issues_is_bounded() {
    let entries = vec![entry(&request("HEAD", "Patient/p"), ""); 1_000];
    assert_eq!(errors(&bundle("transaction", &entries)).len(), MAX_ISSUES);
}
