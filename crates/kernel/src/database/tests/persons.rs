//! Who is one person, at every commit.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const FNR: &str = "urn:oid:2.16.578.1.12.4.1.4.1";
/// Numbers that can be national identifiers and, with 80 added to their month, nobody's.
const NUMBERS: [&str; 3] = ["13872190036", "13872190117", "13872190389"];

fn identified(id: &str, number: Option<&str>, links: &[&str]) -> String {
    let mut patient = serde_json::json!({"resourceType": "Patient", "id": id});
    if let Some(number) = number {
        patient["identifier"] = serde_json::json!([{"system": FNR, "value": number}]);
    }
    if !links.is_empty() {
        let link = |other: &&str| serde_json::json!({"other": {"reference": format!("Patient/{other}")}, "type": "seealso"});
        patient["link"] = links.iter().map(link).collect();
    }
    patient.to_string()
}

fn put(bench: &Bench, holder: HolderId, json: &str) {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let (resource_type, id) = (value["resourceType"].as_str().unwrap().to_owned(), value["id"].as_str().unwrap().to_owned());
    let interaction = Interaction::Update { resource_type, id, body: json.as_bytes().to_vec(), if_match: None };
    bench.database.write(WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None }).unwrap();
}

/// The persons of the table's rows, sorted.
fn persons(snapshot: &Snapshot, table: &str) -> Vec<u32> {
    let batches = rows(snapshot, table, &["patient_key"]);
    let mut all: Vec<u32> = batches.iter().flat_map(|b| b.column(0).as_primitive::<UInt32Type>().values().to_vec()).collect();
    all.sort_unstable();
    all
}

#[test]
fn patients_of_two_hospitals_with_one_national_identifier_are_one_person_until_it_is_corrected() {
    let bench = bench();
    let other = bench.database.register_holder("Haukeland").unwrap().id;
    put(&bench, bench.hospital, &identified("a", Some(NUMBERS[0]), &[]));
    put(&bench, other, &identified("b", Some(NUMBERS[0]), &[]));
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/b"}}"#;
    put(&bench, other, observation);
    let merged = bench.database.snapshot();
    assert_eq!((persons(&merged, "patient"), persons(&merged, "observation")), (vec![1, 1], vec![1]));
    assert_eq!(persons(&merged.clone().by_patient(), "patient"), vec![1, 2], "for those who see logical ids");
    put(&bench, other, &identified("b", Some(NUMBERS[1]), &[]));
    assert_eq!(persons(&bench.database.snapshot(), "observation"), vec![2]);
    let then = |commit| bench.database.snapshot_at(Commit(commit)).unwrap().unwrap();
    assert_eq!((persons(&then(1), "patient"), persons(&then(3), "observation")), (vec![1], vec![1]), "the map as it was");
    assert_eq!(persons(&merged, "observation"), vec![1], "a snapshot that is held does not change");
    let bench = bench.reopened();
    assert_eq!(persons(&bench.database.snapshot(), "observation"), vec![2]);
    assert_eq!(persons(&bench.database.snapshot_at(Commit(3)).unwrap().unwrap(), "observation"), vec![1]);
}

#[test]
fn an_identifier_that_cannot_be_one_humans_joins_nobody() {
    let bench = bench();
    for id in ["a", "b"] {
        bench.put(&identified(id, Some("00000000000"), &[])).unwrap();
    }
    assert_eq!(persons(&bench.database.snapshot(), "patient"), vec![1, 2]);
}

#[test]
fn a_population_is_of_persons() {
    let bench = bench();
    let other = bench.database.register_holder("Haukeland").unwrap().id;
    put(&bench, bench.hospital, &identified("a", Some(NUMBERS[0]), &[]));
    put(&bench, other, &identified("b", Some(NUMBERS[0]), &[]));
    put(&bench, other, &identified("c", None, &[]));
    let snapshot = bench.database.snapshot();
    let only = RowFilter { patients: Some(Arc::new([1].into_iter().collect())), ..RowFilter::default() };
    let parts = snapshot.table("patient").unwrap().parts();
    assert_eq!(parts.iter().map(|p| p.scan(&[], &only).unwrap().num_rows()).sum::<usize>(), 2);
}

/// Patients, and which number and links each has now.
type Model = BTreeMap<usize, (Option<usize>, Vec<usize>)>;

/// The person of each patient by a search through everything: the smallest ordinal that can be reached.
fn expected(model: &Model, ordinals: &BTreeMap<usize, u32>) -> Vec<u32> {
    let joined = |a: usize, b: usize| {
        let number = |p: usize| model.get(&p).and_then(|m| m.0);
        let links = |p: usize, q: usize| model.get(&p).is_some_and(|m| m.1.contains(&q));
        (number(a).is_some() && number(a) == number(b)) || links(a, b) || links(b, a)
    };
    let of = |start: usize| {
        let (mut seen, mut next) = (vec![start], vec![start]);
        while let Some(one) = next.pop() {
            for other in ordinals.keys().filter(|o| joined(one, **o)) {
                if !seen.contains(other) {
                    seen.push(*other);
                    next.push(*other);
                }
            }
        }
        seen.iter().map(|p| ordinals[p]).min().unwrap()
    };
    let mut persons: Vec<u32> = model.keys().map(|p| of(*p)).collect();
    persons.sort_unstable();
    persons
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn merges_and_splits_are_those_of_a_search_through_everything(
        steps in prop::collection::vec((0usize..6, prop::option::of(0usize..3), prop::collection::vec(0usize..6, 0..2), any::<bool>()), 1..40)
    ) {
        let bench = bench();
        let (mut model, mut ordinals, mut seen) = (Model::new(), BTreeMap::new(), Vec::new());
        for (patient, number, links, deleted) in steps {
            let id = format!("p{patient}");
            if deleted && model.contains_key(&patient) {
                let deletion = Interaction::Delete { resource_type: "Patient".to_owned(), id, if_match: None };
                bench.write(deletion).unwrap();
                model.remove(&patient);
            } else {
                let links: Vec<usize> = links.into_iter().filter(|l| *l != patient).collect();
                let named: Vec<String> = links.iter().map(|l| format!("p{l}")).collect();
                let named: Vec<&str> = named.iter().map(String::as_str).collect();
                bench.put(&identified(&id, number.map(|n| NUMBERS[n]), &named)).unwrap();
                for mentioned in std::iter::once(patient).chain(links.iter().copied()) {
                    let next = ordinals.len() as u32 + 1;
                    ordinals.entry(mentioned).or_insert(next);
                }
                model.insert(patient, (number, links));
            }
            let snapshot = bench.database.snapshot();
            let now = expected(&model, &ordinals);
            prop_assert_eq!(persons(&snapshot, "patient"), now.clone());
            seen.push((snapshot.commit(), now));
        }
        let bench = bench.reopened();
        for (commit, then) in seen {
            prop_assert_eq!(persons(&bench.database.snapshot_at(commit).unwrap().unwrap(), "patient"), then, "as of {}", commit);
        }
    }
}
