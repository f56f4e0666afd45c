//! Who is out, what is withheld, and what a study may see: from what hospitals write to which rows are there.

use super::stored::small;
use super::*;
use crate::live::Hidden;
use crate::population::{self, Enrolment, Subjects};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const FNR: &str = "urn:oid:2.16.578.1.12.4.1.4.1";
/// A number that can be a national identifier and, with 80 added to its month, nobody's.
const NUMBER: &str = "13872190036";

fn put_as(bench: &Bench, holder: HolderId, resource: &Value) -> Commit {
    let text = |member: &str| resource[member].as_str().unwrap().to_owned();
    let body = resource.to_string().into_bytes();
    let interaction = Interaction::Update { resource_type: text("resourceType"), id: text("id"), body, if_match: None };
    bench.database.write(WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None }).unwrap().commit
}

fn put(bench: &Bench, resource: &Value) -> Commit {
    put_as(bench, bench.hospital, resource)
}

fn person(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "identifier": [{"system": FNR, "value": NUMBER}]})
}

fn observation(id: &str, patient: &str, code: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"coding": [{"code": code}]}, "subject": {"reference": format!("Patient/{patient}")}})
}

fn directive(patient: &str, status: &str) -> Value {
    json!({
        "resourceType": "Consent", "id": "c1", "status": status, "patient": {"reference": format!("Patient/{patient}")},
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "research"}]},
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]}],
        "policyRule": {"text": "a law"},
    })
}

fn out(bench: &Bench) -> Vec<u32> {
    population::opted_out(&bench.database.snapshot()).unwrap().into_iter().collect()
}

#[test]
fn an_opt_out_is_a_consent_and_concerns_the_whole_person() {
    let bench = bench();
    let other = bench.database.register_holder("Haukeland").unwrap().id;
    put(&bench, &person("a"));
    put_as(&bench, other, &person("b"));
    put(&bench, &json!({"resourceType": "Patient", "id": "c"}));
    assert!(out(&bench).is_empty());
    put(&bench, &directive("a", "active"));
    assert_eq!(out(&bench), [1, 2], "both Patients of the person");
    assert_eq!(bench.database.snapshot().table("_opt_out").map(|t| t.schema().is_internal()), Some(true));
    assert!(bench.database.snapshot().tables().iter().all(|t| !t.schema().is_internal()), "and nobody sees the table");
    put(&bench, &directive("a", "inactive"));
    assert!(out(&bench).is_empty(), "it is reversible");
    // What cannot be read with certainty is not read to anybody's disadvantage.
    let mut modified = directive("c", "active");
    modified["modifierExtension"] = json!([{"url": "https://example.org/unknown", "valueBoolean": true}]);
    put(&bench, &modified);
    assert_eq!(out(&bench), [3]);
    let mut treatment = directive("c", "active");
    treatment["scope"]["coding"][0]["code"] = json!("treatment");
    put(&bench, &treatment);
    assert!(out(&bench).is_empty(), "an opt-out from something else");
}

#[test]
fn an_opt_out_that_is_made_here_is_nobody_elses_to_change() {
    let bench = bench();
    put(&bench, &person("a"));
    let opt = |patient: &str, out| bench.write(Interaction::OptOut { patient: patient.to_owned(), out }).unwrap();
    let first = opt("a", true);
    assert_eq!((out(&bench), first.entries[0].status), (vec![1], 201));
    assert_eq!(opt("a", true).commit, first.commit, "again changes nothing");
    let id = opt_out_id("a");
    let delete = Interaction::Delete { resource_type: "Consent".to_owned(), id: id.clone(), if_match: None };
    let (status, said) = refusal(bench.write(delete));
    assert_eq!(status, 409);
    assert!(said.contains("/opt-outs"), "{said}");
    let mut mine = directive("a", "inactive");
    mine["id"] = json!(id);
    assert_eq!(refusal(bench.put(&mine.to_string())).0, 409);
    let entry = entry("PUT", &format!("Consent/{id}"), "urn:uuid:6f0e7f3c-6f8b-4f6e-9a7e-3d2f0c7f1a11", &mine);
    assert_eq!(refusal(bench.transaction(&bundle(&[entry]), Handling::Strict, None)).0, 409);
    let bench = bench.reopened();
    assert_eq!(out(&bench), [1], "it is as durable as any commit");
    bench.write(Interaction::OptOut { patient: "a".to_owned(), out: false }).unwrap();
    assert!(out(&bench).is_empty());
    let before = bench.database.snapshot().commit();
    bench.write(Interaction::OptOut { patient: "a".to_owned(), out: false }).unwrap();
    assert_eq!(bench.database.snapshot().commit(), before);
}

#[test]
fn who_is_out_is_out_at_every_commit() {
    let bench = bench();
    let other = bench.database.register_holder("Haukeland").unwrap().id;
    put(&bench, &json!({"resourceType": "Patient", "id": "a"}));
    put_as(&bench, other, &json!({"resourceType": "Patient", "id": "b"}));
    put_as(&bench, other, &observation("o", "b", "x"));
    let before = bench.database.snapshot().commit();
    put(&bench, &person("a"));
    put_as(&bench, other, &person("b"));
    put(&bench, &directive("a", "active"));
    let out = population::opted_out(&bench.database.snapshot()).unwrap();
    let filter = RowFilter { without: Some(Arc::new(out)), ..RowFilter::everything() };
    // The two became one person after this commit; the person is out all the same.
    for snapshot in [bench.database.snapshot(), bench.database.snapshot_at(before).unwrap().unwrap()] {
        assert_eq!(seen(&snapshot, "observation", &filter), 0);
        assert_eq!(seen(&snapshot, "patient", &filter), 0);
        assert_eq!(seen(&snapshot, "patient", &RowFilter::everything()), 2);
    }
}

fn seen(snapshot: &Snapshot, table: &str, filter: &RowFilter) -> usize {
    let parts = snapshot.table(table).unwrap().parts();
    parts.iter().map(|p| p.visible(filter).unwrap().count(p.len())).sum()
}

#[test]
fn marks_last_through_logs_files_and_merges() {
    let bench = small();
    let labelled = |n: usize| {
        let mut one = observation(&format!("o{n}"), "p", "x");
        if n.is_multiple_of(3) {
            one["meta"] = json!({"security": [{"code": "R"}]});
        }
        if n.is_multiple_of(5) {
            one["focus"] = json!([{"reference": "Patient/q"}]);
        }
        one
    };
    let expected = (0..60_usize).filter(|n| !n.is_multiple_of(3) && !n.is_multiple_of(5)).count();
    let filter = RowFilter { unmarked: true, ..RowFilter::everything() };
    for n in 0..60 {
        put(&bench, &labelled(n));
    }
    let check = |database: &Database| {
        assert_eq!(seen(&database.snapshot(), "observation", &filter), expected);
        assert_eq!(seen(&database.snapshot(), "observation", &RowFilter::everything()), 60);
    };
    check(&bench.database);
    for _ in 0..3 {
        for n in 0..60 {
            let mut changed = labelled(n);
            changed["note"] = json!([{"text": format!("{}", bench.database.snapshot().commit())}]);
            put(&bench, &changed);
        }
        check(&bench.database);
    }
    bench.database.close();
    let again = super::stored::open_small(bench.dir.path(), &bench.clock);
    check(&again);
    again.close();
    std::fs::remove_dir_all(bench.dir.path().join("live")).unwrap();
    let rebuilt = super::stored::open_small(bench.dir.path(), &bench.clock);
    check(&rebuilt);
}

#[test]
fn protected_persons_are_known_by_the_label_of_their_patient() {
    let bench = bench();
    let mut a = person("a");
    put(&bench, &a);
    assert!(population::protected(&bench.database.snapshot()).unwrap().is_empty());
    a["meta"] = json!({"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]});
    put(&bench, &a);
    let other = bench.database.register_holder("Haukeland").unwrap().id;
    put_as(&bench, other, &person("b"));
    let protected: Vec<u32> = population::protected(&bench.database.snapshot()).unwrap().into_iter().collect();
    assert_eq!(protected, [1, 2]);
}

/// A study with a subject `a`, whose consent is to version 1 of the form.
fn study() -> Bench {
    let bench = small();
    put(&bench, &json!({"resourceType": "ResearchStudy", "id": "s", "status": "active"}));
    put(&bench, &json!({"resourceType": "Patient", "id": "a"}));
    put(&bench, &json!({"resourceType": "Patient", "id": "b"}));
    bench
}

fn consent(status: &str, version: &str) -> Value {
    json!({
        "resourceType": "Consent", "id": "study-a", "status": status, "patient": {"reference": "Patient/a"},
        "scope": {"coding": [{"code": "research"}]}, "category": [{"text": "study"}],
        "policyRule": {"coding": [{"system": "https://example.org/forms", "code": version}]},
    })
}

fn subject(status: &str, consent: bool) -> Value {
    let mut subject = json!({
        "resourceType": "ResearchSubject", "id": "rs-a", "status": status, "study": {"reference": "ResearchStudy/s"},
        "individual": {"reference": "Patient/a"},
    });
    if consent {
        subject["consent"] = json!({"reference": "Consent/study-a"});
    }
    subject
}

fn enrolment(bench: &Bench, versions: Option<&[&str]>) -> Enrolment {
    let study = bench.database.resource_ordinal(bench.hospital, "ResearchStudy", "s").unwrap().unwrap().0;
    let versions = versions.map(|versions| versions.iter().map(|v| (*v).to_owned()).collect::<BTreeSet<_>>());
    Enrolment { studies: [study].into_iter().collect(), versions }
}

fn subjects(bench: &Bench, versions: Option<&[&str]>) -> (Vec<u32>, Vec<(u32, u64)>) {
    let Subjects { persons, until } = population::subjects(&bench.database.snapshot(), &enrolment(bench, versions)).unwrap();
    (persons.into_iter().collect(), until.into_iter().map(|(person, commit)| (person, commit.0)).collect())
}

#[test]
fn a_study_has_the_subjects_who_consented_to_its_version() {
    let bench = study();
    put(&bench, &subject("on-study", false));
    assert_eq!(subjects(&bench, None), (vec![1], vec![]));
    assert_eq!(subjects(&bench, Some(&["1", "2"])), (vec![], vec![]), "no consent is referred to");
    put(&bench, &subject("on-study", true));
    assert_eq!(subjects(&bench, Some(&["1", "2"])), (vec![], vec![]), "it is not there");
    assert_eq!(subjects(&bench, None), (vec![1], vec![]), "whoever keeps consents elsewhere may refer to them");
    put(&bench, &consent("proposed", "1"));
    assert_eq!(subjects(&bench, None), (vec![], vec![]), "it was never given");
    put(&bench, &consent("active", "1"));
    assert_eq!(subjects(&bench, Some(&["1", "2"])), (vec![1], vec![]));
    assert_eq!(subjects(&bench, Some(&["2"])), (vec![], vec![]));
    let newer = put(&bench, &consent("active", "2"));
    assert_eq!(subjects(&bench, Some(&["2"])), (vec![1], vec![]));
    assert_eq!(subjects(&bench, Some(&["1"])), (vec![1], vec![(1, newer.0)]), "what version 1 covered, until then");
    put(&bench, &subject("candidate", true));
    assert_eq!(subjects(&bench, None), (vec![], vec![]));
}

#[test]
fn withdrawal_ends_the_collection_with_its_commit_and_leaves_what_stood() {
    for by_consent in [true, false] {
        let bench = study();
        put(&bench, &consent("active", "1"));
        put(&bench, &subject("on-study", true));
        for n in 0..40 {
            put(&bench, &observation(&format!("o{n}"), "a", "before"));
            put(&bench, &observation(&format!("of-b{n}"), "b", "before"));
        }
        let withdrawal = if by_consent { put(&bench, &consent("inactive", "1")) } else { put(&bench, &subject("withdrawn", true)) };
        put(&bench, &subject("withdrawn", true)); // the trailing versions count as one withdrawal
        for n in 0..40 {
            put(&bench, &observation(&format!("o{n}"), "a", "after")); // the rows before end
            put(&bench, &observation(&format!("later{n}"), "a", "after"));
            put(&bench, &observation(&format!("of-b{n}"), "b", "after"));
        }
        assert_eq!(subjects(&bench, None), (vec![1], vec![(1, withdrawal.0)]));
        let found = population::subjects(&bench.database.snapshot(), &enrolment(&bench, None)).unwrap();
        let filter = RowFilter { until: Some(Arc::new(found.until)), ..RowFilter::everything() };
        let codes = |snapshot: &Snapshot| {
            let table = snapshot.table("observation").unwrap();
            let columns = ["patient_key", "code"].map(|c| table.schema().index_of(c).unwrap());
            let mut counts = BTreeMap::new();
            for batch in table.parts().iter().map(|p| p.scan(&columns, &filter).unwrap()) {
                let codes = batch.column(1).as_dictionary::<UInt32Type>();
                let text = |row: usize| codes.values().as_string::<i32>().value(codes.keys().value(row) as usize).to_owned();
                for (row, patient) in batch.column(0).as_primitive::<UInt32Type>().values().iter().enumerate() {
                    *counts.entry((*patient, text(row))).or_insert(0) += 1;
                }
            }
            counts
        };
        let expected: BTreeMap<_, _> = [((1, "before".to_owned()), 40), ((2, "after".to_owned()), 40)].into_iter().collect();
        assert_eq!(codes(&bench.database.snapshot().back_to(withdrawal)), expected, "also what a merge took into the history");
        let then = bench.database.snapshot_at(Commit(withdrawal.0 - 2)).unwrap().unwrap().back_to(withdrawal);
        assert_eq!(codes(&then).values().sum::<i32>(), 79, "at an older commit, what stood there");
        // Consent that is given again counts from now on for all that is there.
        put(&bench, &consent("active", "1"));
        put(&bench, &subject("on-study", true));
        assert_eq!(subjects(&bench, None), (vec![1], vec![]));
    }
}

#[test]
fn rows_that_tell_are_absent_but_for_who_was_unblinded() {
    let bench = bench();
    for (n, patient) in ["a", "b", "c"].iter().enumerate() {
        put(&bench, &json!({"resourceType": "Patient", "id": patient}));
        put(&bench, &observation(&format!("kit{n}"), patient, "KIT"));
        put(&bench, &observation(&format!("bp{n}"), patient, "BP"));
    }
    let hidden = |column: &str, except: &[u32]| Hidden {
        table: "observation".to_owned(),
        column: column.to_owned(),
        texts: ["KIT".to_owned()].into_iter().collect(),
        except: Arc::new(except.iter().copied().collect()),
    };
    let rows = |hidden: Hidden| {
        seen(&bench.database.snapshot(), "observation", &RowFilter { hidden: Arc::new([hidden]), ..RowFilter::everything() })
    };
    assert_eq!(rows(hidden("code", &[])), 3);
    assert_eq!(rows(hidden("code", &[2])), 4);
    assert_eq!(rows(hidden("no_such_column", &[])), 0, "better too little than too much");
    assert_eq!(rows(hidden("started", &[2])), 2, "a column without texts hides all");
    assert_eq!(
        seen(&bench.database.snapshot(), "patient", &RowFilter { hidden: Arc::new([hidden("code", &[])]), ..RowFilter::everything() }),
        3
    );
}
