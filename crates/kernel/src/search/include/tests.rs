#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::search::parse::{Environment, pairs, query};
use std::convert::Infallible;

/// Resources in memory.
struct Shelf(Vec<Resource>);

impl Shelf {
    fn of(texts: &[&str]) -> Self {
        let resource = |text: &&str| {
            let json: serde_json::Value = serde_json::from_str(text).unwrap();
            let resource_type = crate::fhir::definitions::resource_type(json["resourceType"].as_str().unwrap()).unwrap().name();
            Resource { resource_type, id: json["id"].as_str().unwrap().into(), json: text.as_bytes().to_vec() }
        };
        Self(texts.iter().map(resource).collect())
    }
}

impl Source for Shelf {
    type Error = Infallible;

    fn read(&self, resource_type: &'static str, id: &str) -> Result<Option<Resource>, Infallible> {
        Ok(self.0.iter().find(|r| r.resource_type == resource_type && r.id == id).cloned())
    }

    fn search(&self, search: &Search, most: usize) -> Result<Vec<Resource>, Infallible> {
        let Some(Criterion::Is { parameter, test: Test::Any(operands) }) = search.criteria.first() else { panic!("one criterion") };
        let Some(Operand::Resources(wanted)) = operands.first() else { panic!("resources") };
        let refers = |r: &&Resource| {
            let arena = Bump::new();
            let json = json::parse(&r.json, &arena).unwrap();
            r.resource_type == search.resource_type && references_of(&[parameter], json).iter().any(|(kind, id)| wanted.contains(kind, id))
        };
        Ok(self.0.iter().filter(refers).take(most).cloned().collect())
    }
}

/// The names of what comes along with the resources of a type.
fn along(shelf: &Shelf, resource_type: &str, asked: &str) -> Vec<String> {
    let environment = Environment { now: jiff::Timestamp::UNIX_EPOCH, base: "", known: crate::search::parameters::Known::standard() };
    let include = query(resource_type, &pairs(asked).unwrap(), &environment).unwrap().search.include;
    let matches: Vec<Resource> = shelf.0.iter().filter(|r| r.resource_type == resource_type).cloned().collect();
    let found = included(shelf, &matches, &include).unwrap();
    let mut names: Vec<String> = found.resources.into_iter().map(|r| format!("{}/{}", r.resource_type, r.id)).collect();
    names.sort();
    names
}

fn shelf() -> Shelf {
    Shelf::of(&[
        r#"{"resourceType":"Observation","id":"o","status":"final","code":{},"subject":{"reference":"Patient/p"},"performer":[{"reference":"Practitioner/d"},{"reference":"Organization/absent"}]}"#,
        r#"{"resourceType":"Patient","id":"p","managingOrganization":{"reference":"Organization/a"}}"#,
        r#"{"resourceType":"Organization","id":"a","partOf":{"reference":"Organization/b"}}"#,
        r#"{"resourceType":"Organization","id":"b","partOf":{"reference":"Organization/a"}}"#,
        r#"{"resourceType":"Practitioner","id":"d"}"#,
        r#"{"resourceType":"Provenance","id":"w","target":[{"reference":"Observation/o"}],"recorded":"2026-01-01T00:00:00Z","agent":[{"who":{"reference":"Practitioner/d"}}]}"#,
    ])
}

#[test]
fn what_is_referred_to_comes_along() {
    assert_eq!(along(&shelf(), "Observation", "_include=Observation:subject"), ["Patient/p"]);
    assert_eq!(along(&shelf(), "Observation", "_include=Observation:performer:Practitioner"), ["Practitioner/d"]);
    assert_eq!(along(&shelf(), "Observation", "_include=Observation:performer:Organization"), Vec::<String>::new());
    assert_eq!(along(&shelf(), "Observation", "_include=*"), ["Patient/p", "Practitioner/d"]);
}

#[test]
fn what_refers_comes_along() {
    assert_eq!(along(&shelf(), "Observation", "_revinclude=Provenance:target"), ["Provenance/w"]);
    assert_eq!(
        along(&shelf(), "Patient", "_revinclude=Observation:subject&_revinclude:iterate=Provenance:target"),
        ["Observation/o", "Provenance/w"]
    );
    assert_eq!(along(&shelf(), "Patient", "_revinclude=Observation:subject&_revinclude=Provenance:target"), ["Observation/o"]);
}

/// Organizations that are part of each other come once each, and the search ends.
#[test]
fn circles_end() {
    let asked = "_include=Observation:subject&_include:iterate=Patient:organization&_include:iterate=Organization:partof";
    assert_eq!(along(&shelf(), "Observation", asked), ["Organization/a", "Organization/b", "Patient/p"]);
    assert_eq!(along(&shelf(), "Organization", "_include:iterate=Organization:partof"), Vec::<String>::new(), "they match already");
}

#[test]
fn no_more_than_the_bound_come_along() {
    let observations: Vec<String> = (0..=MAX_SEARCH_INCLUDED)
        .map(|n| {
            format!(r#"{{"resourceType":"Observation","id":"{n}","status":"final","code":{{}},"subject":{{"reference":"Patient/p"}}}}"#)
        })
        .collect();
    let mut texts: Vec<&str> = observations.iter().map(String::as_str).collect();
    texts.push(r#"{"resourceType":"Patient","id":"p"}"#);
    let shelf = Shelf::of(&texts);
    let include = query(
        "Patient",
        &pairs("_revinclude=Observation:subject").unwrap(),
        &Environment { now: jiff::Timestamp::UNIX_EPOCH, base: "", known: crate::search::parameters::Known::standard() },
    );
    let found = included(&shelf, &shelf.0[shelf.0.len() - 1..], &include.unwrap().search.include).unwrap();
    assert_eq!((found.resources.len(), found.more), (MAX_SEARCH_INCLUDED, true));
}
