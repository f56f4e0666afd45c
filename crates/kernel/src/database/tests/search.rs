//! Searching, as a database does it: at once, by holder, at a commit, after a restart, without whom it lost.

use super::*;
use crate::search::execute::{Found, SearchError};
use crate::search::parameters::parameter;
use crate::search::query::{Criterion, Operand, Reference, Search, Sort, System, Test, Token, Total};
use std::time::Instant;

fn token(resource_type: &'static str, code: &str, wanted: &str) -> Criterion {
    let operand = Operand::Token(Token { system: System::Any, code: Some(wanted.to_owned()) });
    Criterion::Is { parameter: parameter(resource_type, code).unwrap(), test: Test::Any(vec![operand]) }
}

fn about(patient: &str) -> Criterion {
    let operand = Operand::Reference(Reference::Resource { resource_type: "Patient", id: patient.to_owned() });
    Criterion::Is { parameter: parameter("Observation", "patient").unwrap(), test: Test::Any(vec![operand]) }
}

fn observations(criteria: Vec<Criterion>) -> Search {
    Search { criteria, total: Total::Accurate, ..Search::all("Observation") }
}

fn page(count: usize) -> Page {
    Page { count, ..Page::default() }
}

fn ids(found: &Found) -> Vec<&str> {
    found.hits.iter().map(|hit| hit.id.as_str()).collect()
}

fn observation(id: &str, patient: &str, code: &str, day: u32) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},
        "subject":{{"reference":"Patient/{patient}"}},"effectiveDateTime":"2026-01-{day:02}"}}"#
    )
}

#[test]
fn by_patient_and_code_sorted_by_date_in_pages_at_one_commit() {
    let bench = bench();
    for day in 1..=9 {
        bench.put(&observation(&format!("o{day}"), if day % 2 == 0 { "p2" } else { "p1" }, "a", day)).unwrap();
    }
    bench.put(&observation("other", "p1", "b", 20)).unwrap();
    let date = parameter("Observation", "date").unwrap();
    let sort = vec![Sort { parameter: date, descending: true }];
    let search = Search { sort, ..observations(vec![about("p1"), token("Observation", "code", "a")]) };
    let first = bench.database.search(bench.hospital, &search, page(2)).unwrap();
    assert_eq!((ids(&first), first.total), (vec!["o9", "o7"], Some(5)));
    // What is written or deleted now is not on this answer's further pages.
    bench.put(&observation("late", "p1", "a", 2)).unwrap();
    bench.write(Interaction::Delete { resource_type: "Observation".to_owned(), id: "o3".to_owned(), if_match: None }).unwrap();
    let next = Page { at: Some(first.commit), after: first.next, count: 2 };
    let second = bench.database.search(bench.hospital, &search, next).unwrap();
    assert_eq!((ids(&second), second.total), (vec!["o5", "o3"], Some(5)));
    let third = bench.database.search(bench.hospital, &search, Page { after: second.next, ..next }).unwrap();
    assert_eq!((ids(&third), third.next), (vec!["o1"], None));
    let now = bench.database.search(bench.hospital, &search, page(9)).unwrap();
    assert_eq!(ids(&now), ["o9", "o7", "o5", "late", "o1"]);
    let versions = bench.database.found(bench.hospital, "Observation", &second.hits).unwrap();
    assert!(versions.iter().all(|v| v.as_ref().unwrap().json.is_some()), "also what has been deleted since");
    let later = Page { at: Some(Commit(99)), ..page(1) };
    assert!(matches!(bench.database.search(bench.hospital, &search, later), Err(SearchError::NoCommit(Commit(99)))));
}

#[test]
fn nobody_finds_somebody_elses_records() {
    let bench = bench();
    bench.put(&observation("o1", "p1", "a", 1)).unwrap();
    let other = bench.database.register_holder("Haukeland").unwrap().id;
    let search = observations(vec![token("Observation", "code", "a")]);
    let found = bench.database.search(other, &search, page(9)).unwrap();
    assert_eq!((found.hits.len(), found.total), (0, Some(0)));
    assert_eq!(bench.database.search(bench.hospital, &search, page(9)).unwrap().total, Some(1));
    let patients = Search { total: Total::Accurate, ..Search::all("Patient") };
    assert_eq!(bench.database.search(bench.hospital, &patients, page(9)).unwrap().total, Some(0), "a mention is no resource");
}

#[test]
fn the_tables_of_search_values_are_nobodys_to_see() {
    let bench = bench();
    bench.put(&observation("o1", "p1", "a", 1)).unwrap();
    let snapshot = bench.database.snapshot();
    assert!(snapshot.tables().iter().all(|t| !t.schema().name.contains(':')) && snapshot.table("search:Observation").is_none());
    assert!(snapshot.hidden_table("search:Observation").is_some() && snapshot.hidden_table("search:Patient").is_none());
}

#[test]
fn a_database_without_the_tables_has_them_when_it_is_opened() {
    let bench = bench();
    bench.put(&observation("o1", "p1", "a", 1)).unwrap();
    bench.put(&observation("o1", "p1", "b", 1)).unwrap();
    let first = bench.database.snapshot().commit();
    bench.database.close();
    std::fs::remove_dir_all(bench.dir.path().join("live")).unwrap();
    let bench = bench.reopened();
    let found = |code: &str, at| {
        let search = observations(vec![token("Observation", "code", code)]);
        bench.database.search(bench.hospital, &search, Page { at, ..page(9) }).unwrap().total.unwrap()
    };
    assert_eq!((found("a", None), found("b", None)), (0, 1));
    assert_eq!((found("a", Some(Commit(first.0 - 1))), found("b", Some(Commit(first.0 - 1)))), (1, 0), "at the commit before");
}

#[test]
fn who_is_erased_is_not_found_at_any_commit() {
    let bench = bench();
    bench.put(r#"{"resourceType":"Patient","id":"p1","gender":"male"}"#).unwrap();
    bench.put(&observation("o1", "p1", "a", 1)).unwrap();
    let before = bench.put(&observation("o2", "p2", "a", 2)).unwrap().commit;
    bench.database.erase(bench.hospital, "p1", "asked for it").unwrap();
    for at in [None, Some(before)] {
        let all =
            bench.database.search(bench.hospital, &observations(vec![token("Observation", "code", "a")]), Page { at, ..page(9) }).unwrap();
        assert_eq!((ids(&all), all.total), (vec!["o2"], Some(1)));
        let search = Search { total: Total::Accurate, ..Search::all("Patient") };
        assert_eq!(bench.database.search(bench.hospital, &search, Page { at, ..page(9) }).unwrap().total, Some(0));
    }
}

#[test]
fn a_search_ends_when_its_time_is_over() {
    let bench = bench();
    bench.put(&patient("p", "female")).unwrap();
    bench.put(&observation("o", "p", "a", 1)).unwrap();
    let snapshot = bench.database.snapshot();
    let searched = |search: &Search, until| bench.database.search_in(&snapshot, bench.hospital, search, page(9), Some(until));
    let (now, later) = (Instant::now(), Instant::now() + std::time::Duration::from_secs(3_600));
    let chain = Criterion::Has {
        resource_type: "Observation",
        reference: parameter("Observation", "patient").unwrap(),
        criterion: Box::new(token("Observation", "code", "a")),
    };
    for search in [observations(vec![token("Observation", "code", "a")]), Search { criteria: vec![chain], ..Search::all("Patient") }] {
        assert!(matches!(searched(&search, now), Err(SearchError::TooLong)), "{search:?}");
        assert!(searched(&search, later).is_ok());
    }
}
