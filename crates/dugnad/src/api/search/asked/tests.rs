#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use dugnad_kernel::search::parameters::Known;
use jiff::Timestamp;

fn asked(place: Place, query: &str) -> Asked {
    Asked::new(place, query, "", false).unwrap()
}

fn environment(base: &str) -> Environment<'_> {
    Environment { now: Timestamp::UNIX_EPOCH, base, known: Known::standard() }
}

fn understood(place: Place, query: &str) -> Result<Understood, ApiError> {
    asked(place, query).understand(&environment("http://here/fhir"))
}

#[test]
fn the_record_has_names_and_no_values() {
    let place = Place::of_type("Patient").unwrap();
    let asked = Asked::new(place, "name:exact=Nordmann&Ola%20N=1&_page=x", "birthdate=2000-01-01", false).unwrap();
    assert_eq!(asked.summary("POST"), "POST /fhir/Patient?name:exact&?&birthdate (further page)");
    assert_eq!(asked.page.as_deref(), Some("x"));
}

#[test]
fn strict_refuses_what_lenient_leaves_out() {
    let lenient = understood(Place::Type("Patient".into()), "name=x&shoe-size=44&hat-size=7").unwrap();
    assert_eq!((lenient.used.len(), lenient.ignored.len()), (1, 2));
    let strict = Asked { strict: true, ..asked(Place::Type("Patient".into()), "name=x&shoe-size=44&hat-size=7") };
    let error = strict.understand(&environment("")).err().unwrap();
    assert_eq!((error.status, error.issues.len()), (StatusCode::BAD_REQUEST, 2));
}

#[test]
fn what_one_type_does_not_know_is_left_out_for_all() {
    let both = understood(Place::System, "_type=Patient,Observation&code=x&_id=1").unwrap();
    let types: Vec<&str> = both.queries.iter().map(|q| q.search.resource_type).collect();
    assert_eq!(types, ["Observation", "Patient"]);
    assert!(both.queries.iter().all(|q| q.search.criteria.len() == 1), "only _id");
    assert_eq!(both.ignored.len(), 1);
    assert_eq!(both.used, [("_type".to_owned(), "Patient,Observation".to_owned()), ("_id".to_owned(), "1".to_owned())]);
    assert!(understood(Place::System, "_type=Patience").is_err());
    assert!(understood(Place::System, "_type=Patient,Group&_sort=_id").is_err());
    assert_eq!(understood(Place::System, "").unwrap().queries.len(), 147);
}

#[test]
fn compartments() {
    let one = understood(Place::compartment("Patient", "1", "Observation").unwrap(), "code=x").unwrap();
    assert_eq!(one.queries[0].search.criteria.len(), 2);
    let all = understood(Place::compartment("Patient", "1", "*").unwrap(), "_type=Observation,Practitioner").unwrap();
    assert_eq!(all.queries.len(), 1, "a Practitioner is in no patient's compartment");
    assert!(Place::compartment("Encounter", "1", "Observation").is_err());
    assert!(Place::compartment("Patient", "1", "Practitioner").is_err());
    assert!(Place::compartment("Patient", "a b", "Observation").is_err());
}

#[test]
fn parameters_are_bounded_and_well_formed() {
    let long = "x".repeat(MAX_SEARCH_BYTES + 1);
    assert_eq!(Asked::new(Place::System, &long, "", false).err().unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(Asked::new(Place::System, "name=%zz", "", false).err().unwrap().status, StatusCode::BAD_REQUEST);
}
