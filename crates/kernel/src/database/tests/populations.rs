//! Live populations: what counters keep equals a plain evaluation, at every commit.

use super::stored::{open_small, small};
use super::*;
use crate::permit::PersonList;
use crate::population::{Counter, Formula, Members};
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};

const FNR: &str = "urn:oid:2.16.578.1.12.4.1.4.1";
/// Numbers that can be national identifiers and, with 80 added to their month, nobody's.
const NUMBERS: [&str; 2] = ["13872190036", "13872190117"];

#[derive(Clone, Debug)]
enum Step {
    /// An Observation of a patient with a code, a value and perhaps a label.
    Observe(usize, usize, usize, bool),
    Delete(usize),
    /// A Patient with one of the numbers, or none.
    Identify(usize, usize),
    /// The newest commit is asked about.
    Ask,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..25, 0usize..6, 0usize..9, prop::bool::weighted(0.1)).prop_map(|(id, patient, value, r)| Step::Observe(id, patient, value, r)),
        3 => (0usize..25).prop_map(Step::Delete),
        2 => (0usize..6, 0usize..4).prop_map(|(patient, number)| Step::Identify(patient, number)),
        4 => Just(Step::Ask),
        1 => Just(Step::Reopen),
    ]
}

fn formula() -> Formula {
    let rows = |n: u32, condition: serde_json::Value| json!({"rows": {"table": "observation", "at_least": n, "where": condition}});
    let code = |code: &str| json!({"in": {"column": "code", "codes": [code]}});
    let high = json!({"number": {"column": "value", "from": 3, "below": 7.5}});
    let formula = json!({"any": [
        {"all": [rows(2, json!({"any": [code("c0"), high]})), {"not": rows(1, code("c2"))}]},
        rows(4, json!({"present": {"column": "code"}})),
    ]});
    serde_json::from_value(formula).unwrap()
}

/// The persons of the formula, counted row by row.
fn plainly(snapshot: &Snapshot) -> BTreeSet<u32> {
    let (mut first, mut second, mut all) = (BTreeMap::<u32, u32>::new(), BTreeMap::<u32, u32>::new(), BTreeMap::<u32, u32>::new());
    let table = snapshot.table("observation").unwrap();
    let columns = ["patient_key", "code", "value"].map(|c| table.schema().index_of(c).unwrap());
    let filter = RowFilter { unmarked: true, ..RowFilter::everything() };
    for batch in table.parts().iter().map(|p| p.scan(&columns, &filter).unwrap()) {
        let codes = batch.column(1).as_dictionary::<UInt32Type>();
        let values = batch.column(2).as_primitive::<arrow::datatypes::Float64Type>();
        for (row, person) in batch.column(0).as_primitive::<UInt32Type>().values().iter().enumerate() {
            let code = codes.values().as_string::<i32>().value(codes.keys().value(row) as usize);
            *first.entry(*person).or_default() += u32::from(code == "c0" || (3.0..7.5).contains(&values.value(row)));
            *second.entry(*person).or_default() += u32::from(code == "c2");
            *all.entry(*person).or_default() += 1;
        }
    }
    let meets = |person: &u32| (first[person] >= 2 && second[person] == 0) || all[person] >= 4;
    all.keys().copied().filter(meets).collect()
}

fn counted(snapshot: &Snapshot, counters: &mut HashMap<String, Counter>) -> BTreeSet<u32> {
    let members: Members = formula().members(snapshot, counters).unwrap();
    (0..20).filter(|person| members.contains(*person)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn counters_equal_a_plain_evaluation_at_every_commit(steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = small();
        let mut counters = HashMap::new();
        for step in steps {
            match step {
                Step::Observe(id, patient, value, restricted) => {
                    let mut resource = json!({
                        "resourceType": "Observation", "id": format!("o{id}"), "status": "final", "valueQuantity": {"value": value},
                        "code": {"coding": [{"code": format!("c{}", (id + value) % 3)}]}, "subject": {"reference": format!("Patient/p{patient}")},
                    });
                    if restricted {
                        resource["meta"] = json!({"security": [{"code": "R"}]});
                    }
                    bench.put(&resource.to_string()).unwrap();
                }
                Step::Delete(id) => {
                    let delete = Interaction::Delete { resource_type: "Observation".to_owned(), id: format!("o{id}"), if_match: None };
                    bench.write(delete).unwrap();
                }
                Step::Identify(patient, number) => {
                    let mut resource = json!({"resourceType": "Patient", "id": format!("p{patient}")});
                    if let Some(number) = NUMBERS.get(number) {
                        resource["identifier"] = json!([{"system": FNR, "value": number}]);
                    }
                    bench.put(&resource.to_string()).unwrap();
                }
                Step::Ask => {
                    let snapshot = bench.database.snapshot();
                    prop_assert_eq!(counted(&snapshot, &mut counters), plainly(&snapshot), "at {}", snapshot.commit());
                }
                Step::Reopen => {
                    bench.database.close();
                    bench = Bench { database: open_small(bench.dir.path(), &bench.clock), ..bench };
                }
            }
        }
        let newest = bench.database.snapshot();
        for commit in 0..=newest.commit().0 {
            let then = bench.database.snapshot_at(Commit(commit)).unwrap().unwrap();
            prop_assert_eq!(counted(&then, &mut counters), plainly(&then), "as of {}", commit);
        }
        prop_assert_eq!(counted(&newest, &mut counters), plainly(&newest), "and the newest again");
    }
}

#[test]
fn what_is_not_there_is_said_and_the_programs_own_tables_are_not_there() {
    let bench = bench();
    let refused = |formula: serde_json::Value| {
        let formula: Formula = serde_json::from_value(formula).unwrap();
        formula.members(&bench.database.snapshot(), &mut HashMap::new()).unwrap_err().to_string()
    };
    assert!(refused(json!({"rows": {"table": "nothing"}})).contains("no table nothing"));
    assert!(refused(json!({"rows": {"table": "_opt_out"}})).contains("no table _opt_out"));
    assert!(refused(json!({"rows": {"table": "research_study"}})).contains("do not say whose"));
    assert!(
        refused(json!({"rows": {"table": "patient", "where": {"in": {"column": "birth_date", "codes": []}}}})).contains("no code or text")
    );
    assert!(refused(json!({"rows": {"table": "patient", "where": {"present": {"column": "x"}}}})).contains("no column x"));
}

/// Everybody with a high value, as it was at one commit: who comes to have one later is not in it, who had one stays in it, and whoever
/// becomes one person with somebody in it is in it as that person.
#[test]
fn a_frozen_population_does_not_grow_follows_persons_and_loses_who_is_erased() {
    let bench = small();
    let observe = |id: usize, patient: usize, value: usize| {
        let resource = json!({
            "resourceType": "Observation", "id": format!("o{id}"), "status": "final", "valueQuantity": {"value": value},
            "code": {"coding": [{"code": "c"}]}, "subject": {"reference": format!("Patient/p{patient}")},
        });
        bench.put(&resource.to_string()).unwrap();
    };
    let identify = |patient: usize, number: Option<&str>| {
        let mut resource = json!({"resourceType": "Patient", "id": format!("p{patient}")});
        if let Some(number) = number {
            resource["identifier"] = json!([{"system": FNR, "value": number}]);
        }
        bench.put(&resource.to_string()).unwrap();
    };
    (0..4).for_each(|patient| identify(patient, None));
    [(0, 0, 9), (1, 1, 9), (2, 2, 1)].into_iter().for_each(|(id, patient, value)| observe(id, patient, value));
    let ordinal = |patient: usize| bench.database.patient(bench.hospital, &format!("p{patient}")).unwrap().unwrap();
    let of = |formula: serde_json::Value| {
        let criteria: Formula = serde_json::from_value(formula).unwrap();
        let snapshot = bench.database.snapshot();
        let patients = crate::population::frozen(&snapshot, &criteria, bench.database.highest_patient().unwrap()).unwrap();
        let list = PersonList::new(snapshot.commit(), patients);
        PersonList::parse(&list.to_json().unwrap()).unwrap()
    };
    let high = json!({"rows": {"table": "observation", "where": {"number": {"column": "value", "from": 5}}}});
    let (list, others) = (of(high.clone()), of(json!({"not": high})));
    let persons = |list: &PersonList| list.persons(&bench.database.snapshot(), &bench.database.erased_patients());
    let patients = |all: &[usize]| all.iter().map(|patient| ordinal(*patient).0).collect::<roaring::RoaringBitmap>();
    assert_eq!((persons(&list), persons(&others).contains(ordinal(2).0)), (patients(&[0, 1]), true));
    // What comes later changes nothing: neither for the list nor for its complement.
    observe(0, 0, 1);
    observe(3, 3, 9);
    identify(5, None);
    assert_eq!(persons(&list), patients(&[0, 1]));
    assert!(persons(&others).contains(ordinal(3).0) && !persons(&others).contains(ordinal(5).0), "nobody comes into a list");
    // p3 is found to be p1, and to be somebody else after all.
    let then = bench.database.snapshot();
    identify(1, Some(NUMBERS[0]));
    identify(3, Some(NUMBERS[0]));
    let together = bench.database.snapshot().person_of(ordinal(3).0);
    assert_eq!(together, bench.database.snapshot().person_of(ordinal(1).0));
    assert!(persons(&list).contains(together));
    assert_eq!(list.persons(&then, &[]), patients(&[0, 1]), "as it was known then");
    identify(3, None);
    assert_eq!(persons(&list), patients(&[0, 1]));
    let (erased, kept) = (ordinal(0).0, patients(&[1]));
    bench.database.erase(bench.hospital, "p0", "asked for").unwrap();
    assert!(!persons(&list).contains(erased));
    assert_eq!(persons(&list), kept, "an erased person is in no list");
}

#[test]
fn patients_are_found_by_their_national_identifier() {
    let bench = small();
    for (id, number) in [("p0", NUMBERS[0]), ("p1", NUMBERS[1]), ("p2", NUMBERS[0])] {
        let resource = json!({"resourceType": "Patient", "id": id, "identifier": [{"system": FNR, "value": number}]});
        bench.put(&resource.to_string()).unwrap();
    }
    let found = |system: &str, value: &str| bench.database.patients_with(system, value).unwrap().len();
    assert_eq!((found(FNR, NUMBERS[0]), found(FNR, NUMBERS[1])), (2, 1));
    assert_eq!((found("urn:other", NUMBERS[0]), found(FNR, "13872190017")), (0, 0));
}
