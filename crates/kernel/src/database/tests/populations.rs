//! Live populations: what counters keep equals a plain evaluation, at every commit.

use super::stored::{open_small, small};
use super::*;
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
