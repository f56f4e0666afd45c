#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::clock::ManualClock;
use crate::live::RowFilter;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use tempfile::TempDir;

pub(super) struct Bench {
    pub(super) dir: TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) database: Database,
    pub(super) hospital: HolderId,
}

pub(super) fn open(dir: &Path, clock: &Arc<ManualClock>) -> Database {
    Database::open(dir, Arc::clone(clock) as Arc<dyn Clock>, &mut |_, _| {}).expect("the database opens")
}

pub(super) fn bench() -> Bench {
    let dir = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::new("2026-11-21T12:00:00Z".parse().unwrap()));
    let database = open(dir.path(), &clock);
    let hospital = database.register_holder("OUS Radiumhospitalet").unwrap().id;
    Bench { dir, clock, database, hospital }
}

impl Bench {
    pub(super) fn put(&self, json: &str) -> Result<Outcome, WriteError> {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let (resource_type, id) = (value["resourceType"].as_str().unwrap().to_owned(), value["id"].as_str().unwrap().to_owned());
        self.write(Interaction::Update { resource_type, id, body: json.as_bytes().to_vec(), if_match: None })
    }

    pub(super) fn write(&self, interaction: Interaction) -> Result<Outcome, WriteError> {
        self.database.write(WriteRequest { holder: self.hospital, interaction, handling: Handling::Strict, idempotency_key: None })
    }

    pub(super) fn transaction(&self, body: &serde_json::Value, handling: Handling, key: Option<&str>) -> Result<Outcome, WriteError> {
        let interaction = Interaction::Transaction { body: body.to_string().into_bytes() };
        self.database.write(WriteRequest { holder: self.hospital, interaction, handling, idempotency_key: key.map(str::to_owned) })
    }

    pub(super) fn reopened(self) -> Self {
        self.database.close();
        let database = open(self.dir.path(), &self.clock);
        Bench { database, ..self }
    }
}

fn rows(snapshot: &Snapshot, table: &str, columns: &[&str]) -> Vec<RecordBatch> {
    let table = snapshot.table(table).unwrap();
    let projection: Vec<usize> = columns.iter().map(|c| table.schema().index_of(c).unwrap()).collect();
    let filter = RowFilter { without_patient: true, ..RowFilter::default() };
    table.parts().iter().map(|p| p.scan(&projection, &filter).unwrap()).collect()
}

pub(super) fn count(snapshot: &Snapshot, table: &str) -> usize {
    rows(snapshot, table, &[]).iter().map(RecordBatch::num_rows).sum()
}

pub(super) fn patient(id: &str, gender: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"{gender}"}}"#)
}

pub(super) fn entry(method: &str, url: &str, full_url: &str, resource: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({"fullUrl": full_url, "resource": resource, "request": {"method": method, "url": url}})
}

pub(super) fn bundle(entries: &[serde_json::Value]) -> serde_json::Value {
    serde_json::json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
}

pub(super) fn refusal(result: Result<Outcome, WriteError>) -> (u16, String) {
    match result {
        Err(WriteError::Refused { status, issues }) => {
            (status, format!("{}: {}", issues[0].expression.clone().unwrap_or_default(), issues[0].diagnostics))
        }
        other => panic!("refused, not {other:?}"),
    }
}

#[test]
fn a_write_is_visible_when_it_is_answered() {
    let bench = bench();
    let outcome = bench.put(&patient("p1", "female")).unwrap();
    assert_eq!((outcome.commit, outcome.entries[0].status, outcome.entries[0].version), (Commit(1), 201, 1));
    let snapshot = bench.database.snapshot();
    assert_eq!((snapshot.commit(), count(&snapshot, "patient")), (Commit(1), 1));
    let stored = bench.database.read(bench.hospital, "Patient", "p1").unwrap().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&stored.json.unwrap()).unwrap();
    assert_eq!(json["meta"]["versionId"], "1");
    assert_eq!(json["meta"]["lastUpdated"], "2026-11-21T12:00:00.000000Z");
}

/// A read took the published commit first and the newest version then, which could be of a later commit than was said.
#[test]
fn a_read_is_as_of_the_commit_that_it_names() {
    let bench = bench();
    for gender in ["female", "male", "other"] {
        bench.put(&patient("p1", gender)).unwrap();
    }
    let version = |at| bench.database.read_at(bench.hospital, "Patient", "p1", Commit(at)).unwrap().map(|v| v.version);
    assert_eq!([0, 1, 2, 3].map(version), [None, Some(1), Some(2), Some(3)]);
    assert_eq!(bench.database.history_at(bench.hospital, "Patient", "p1", Commit(2)).unwrap().len(), 2);
}

#[test]
fn an_update_ends_the_old_rows_and_an_old_commit_still_shows_them() {
    let bench = bench();
    bench.put(&patient("p1", "female")).unwrap();
    bench.put(&patient("p1", "male")).unwrap();
    let deletion = Interaction::Delete { resource_type: "Patient".to_owned(), id: "p1".to_owned(), if_match: None };
    assert_eq!(bench.write(deletion.clone()).unwrap().entries[0].status, 204);
    let gender = |commit| {
        let snapshot = bench.database.snapshot_at(Commit(commit)).unwrap().unwrap();
        let batches = rows(&snapshot, "patient", &["gender"]);
        let texts = batches.iter().flat_map(|b| {
            let column = b.column(0).as_dictionary::<UInt32Type>().downcast_dict::<arrow::array::StringArray>().unwrap();
            column.into_iter().map(|t| t.unwrap().to_owned()).collect::<Vec<_>>()
        });
        texts.collect::<Vec<_>>()
    };
    assert_eq!((gender(1), gender(2), gender(3)), (vec!["female".to_owned()], vec!["male".to_owned()], vec![]));
    assert_eq!(bench.write(deletion).unwrap().commit, Commit(3), "deleting what is not there changes nothing");
    assert_eq!(bench.database.history(bench.hospital, "Patient", "p1").unwrap().len(), 3);
    let bench = bench.reopened();
    assert_eq!(bench.database.snapshot().commit(), Commit(3));
    assert_eq!(count(&bench.database.snapshot_at(Commit(2)).unwrap().unwrap(), "patient"), 1, "history answers after a restart");
}

#[test]
fn the_same_content_makes_no_new_version() {
    let bench = bench();
    bench.put(&patient("p1", "female")).unwrap();
    let again = bench.put(&patient("p1", "female")).unwrap();
    assert_eq!((again.commit, again.entries[0].status, again.entries[0].version), (Commit(1), 200, 1));
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let bench = bench();
    let good = serde_json::json!({"resourceType": "Patient", "gender": "female"});
    let bad = serde_json::json!({"resourceType": "Patient", "birthDate": "yesterday"});
    let body = bundle(&[entry("POST", "Patient", "urn:uuid:a", &good), entry("POST", "Patient", "urn:uuid:b", &bad)]);
    let (status, why) = refusal(bench.transaction(&body, Handling::Strict, None));
    assert_eq!(status, 422);
    assert!(why.starts_with("Bundle.entry[1].resource.birthDate:"), "{why}");
    assert!(!why.contains("yesterday"), "no value of a patient in a message");
    assert_eq!(bench.database.snapshot().commit(), Commit(0));
}

#[test]
fn references_inside_a_transaction_are_resolved_and_keys_join() {
    let bench = bench();
    let subject = serde_json::json!({"resourceType": "Patient"});
    let uuid = "urn:uuid:5b2d6a5e-0000-4000-8000-000000000001";
    let condition = serde_json::json!({"resourceType": "Condition", "subject": {"reference": uuid}});
    let body = bundle(&[
        entry("POST", "Condition", "urn:uuid:5b2d6a5e-0000-4000-8000-000000000002", &condition),
        entry("POST", "Patient", uuid, &subject),
    ]);
    let outcome = bench.transaction(&body, Handling::Strict, None).unwrap();
    let id = &outcome.entries[0].id;
    let stored = bench.database.read(bench.hospital, "Condition", id).unwrap().unwrap().json.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(json["subject"]["reference"], format!("Patient/{}", outcome.entries[1].id));
    let snapshot = bench.database.snapshot();
    let key = |table| rows(&snapshot, table, &["patient_key"])[0].column(0).as_primitive::<UInt32Type>().value(0);
    assert_eq!(key("condition"), key("patient"));
}

#[test]
fn a_reference_to_no_entry_is_refused() {
    let bench = bench();
    let condition =
        serde_json::json!({"resourceType": "Condition", "subject": {"reference": "urn:uuid:5b2d6a5e-0000-4000-8000-000000000009"}});
    let (status, why) =
        refusal(bench.transaction(&bundle(&[entry("POST", "Condition", "urn:uuid:x", &condition)]), Handling::Strict, None));
    assert_eq!(status, 422);
    assert!(why.starts_with("Bundle.entry[0].resource.subject"), "{why}");
}

#[test]
fn a_conditional_reference_resolves_or_is_refused_or_becomes_logical() {
    let bench = bench();
    let reference = "Practitioner?identifier=http://example.org/npi|7";
    let subject = serde_json::json!({"resourceType": "Patient", "generalPractitioner": [{"reference": reference}]});
    let body = bundle(&[entry("POST", "Patient", "urn:uuid:a", &subject)]);
    assert_eq!(refusal(bench.transaction(&body, Handling::Strict, None)).0, 412);
    let lenient = bench.transaction(&body, Handling::Lenient, None).unwrap();
    assert_eq!(lenient.entries[0].issues.len(), 1, "with a warning");
    let stored = bench.database.read(bench.hospital, "Patient", &lenient.entries[0].id).unwrap().unwrap().json.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(json["generalPractitioner"][0]["identifier"], serde_json::json!({"system": "http://example.org/npi", "value": "7"}));
    assert_eq!(json["generalPractitioner"][0].get("reference"), None);
    bench.put(r#"{"resourceType":"Practitioner","id":"doc","identifier":[{"system":"http://example.org/npi","value":"7"}]}"#).unwrap();
    let strict = bench.transaction(&body, Handling::Strict, None).unwrap();
    let stored = bench.database.read(bench.hospital, "Patient", &strict.entries[0].id).unwrap().unwrap().json.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(json["generalPractitioner"][0]["reference"], "Practitioner/doc");
}

#[test]
fn what_cannot_be_resolved_becomes_logical_if_that_is_asked_for() {
    let bench = bench();
    let doctor = |id: &str| format!(r#"{{"resourceType":"Practitioner","id":"{id}","identifier":[{{"system":"urn:x","value":"7"}}]}}"#);
    bench.put(&doctor("a")).unwrap();
    bench.put(&doctor("b")).unwrap();
    let subject = serde_json::json!({"resourceType": "Patient", "generalPractitioner": [
        {"reference": "Practitioner?identifier=urn:x|7"}, {"reference": "urn:uuid:5b2d6a5e-0000-4000-8000-000000000009"}]});
    let body = bundle(&[entry("POST", "Patient", "urn:uuid:a", &subject)]);
    let (status, why) = refusal(bench.transaction(&body, Handling::Strict, None));
    assert!(status == 412 && why.starts_with("Bundle.entry[0].resource.generalPractitioner[0].reference: "), "{why}");
    let lenient = bench.transaction(&body, Handling::Lenient, None).unwrap();
    assert_eq!(lenient.entries[0].issues.len(), 2, "a warning for each");
    let stored = bench.database.read(bench.hospital, "Patient", &lenient.entries[0].id).unwrap().unwrap().json.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    let several = serde_json::json!({"type": "Practitioner", "identifier": {"system": "urn:x", "value": "7"}});
    let nowhere =
        serde_json::json!({"identifier": {"system": "urn:ietf:rfc:3986", "value": "urn:uuid:5b2d6a5e-0000-4000-8000-000000000009"}});
    assert_eq!(json["generalPractitioner"], serde_json::json!([several, nowhere]));
}

/// A resource has one ordinal, whether it is mentioned first or written first, in one transaction or in two.
#[test]
fn a_resource_may_be_mentioned_before_it_is_written() {
    let bench = bench();
    let about = |id: &str, patient: &str| serde_json::json!({"resourceType": "Condition", "id": id, "subject": {"reference": format!("Patient/{patient}")}});
    let subject = |id: &str| serde_json::json!({"resourceType": "Patient", "id": id});
    let put = |kind: &str, id: &str, resource: &serde_json::Value| entry("PUT", &format!("{kind}/{id}"), &format!("urn:x:{id}"), resource);
    bench.put(&about("c1", "p1").to_string()).unwrap();
    bench.put(&patient("p1", "male")).unwrap();
    let body =
        [put("Condition", "c2", &about("c2", "p2")), put("Patient", "p2", &subject("p2")), put("Condition", "c3", &about("c3", "p2"))];
    bench.transaction(&bundle(&body), Handling::Strict, None).unwrap();
    bench.transaction(&bundle(&[put("Condition", "c4", &about("c4", "p1"))]), Handling::Strict, None).unwrap();
    let ordinal = |id: &str| bench.database.resource_ordinal(bench.hospital, "Patient", id).unwrap();
    assert!(ordinal("p1").is_some() && ordinal("p2").is_some() && ordinal("p1") != ordinal("p2"));
    let keys = |table: &str| -> Vec<u32> {
        let batches = rows(&bench.database.snapshot(), table, &["patient_key"]);
        batches.iter().flat_map(|b| b.column(0).as_primitive::<UInt32Type>().values().to_vec()).collect()
    };
    let (patients, conditions) = (keys("patient"), keys("condition"));
    assert_eq!(conditions, [patients[0], patients[1], patients[1], patients[0]]);
    for (id, versions) in [("p1", 1), ("p2", 1)] {
        assert_eq!(bench.database.history(bench.hospital, "Patient", id).unwrap().len(), versions);
    }
}

/// Found by simulation: a transaction that named a resource, and whose criteria matched it too, wrote two versions with the
/// same number, and both had rows in the live tables from then on.
#[test]
fn a_transaction_changes_a_resource_once_however_it_is_meant() {
    let bench = bench();
    let numbered = |gender: &str| serde_json::json!({"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:x", "value": "7"}], "gender": gender});
    bench.put(&numbered("female").to_string()).unwrap();
    let body = bundle(&[
        entry("PUT", "Patient/p1", "urn:x:1", &numbered("male")),
        entry("PUT", "Patient?identifier=urn:x|7", "urn:x:2", &numbered("other")),
    ]);
    let (status, why) = refusal(bench.transaction(&body, Handling::Strict, None));
    assert!(status == 400 && why.starts_with("Bundle.entry[1].resource: "), "{why}");
    assert_eq!(count(&bench.database.snapshot(), "patient"), 1);
}

/// Found by simulation: an entry that found what another one writes was answered with the version before, or with 0.
#[test]
fn an_entry_that_finds_what_another_writes_is_answered_with_its_version() {
    let bench = bench();
    let numbered = serde_json::json!({"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "7"}]});
    let mut create = entry("POST", "Patient", "urn:x:1", &numbered);
    create["request"]["ifNoneExist"] = "identifier=urn:x|7".into();
    let mut again = create.clone();
    again["fullUrl"] = "urn:x:2".into();
    let first = bench.transaction(&bundle(&[create.clone(), again]), Handling::Strict, None).unwrap();
    assert_eq!((first.entries[0].version, first.entries[1].version, &first.entries[0].id), (1, 1, &first.entries[1].id));
    let mut changed = numbered;
    changed["active"] = true.into();
    let update = entry("PUT", "Patient?identifier=urn:x|7", "urn:x:3", &changed);
    let second = bench.transaction(&bundle(&[create, update]), Handling::Strict, None).unwrap();
    assert_eq!((second.entries[0].version, second.entries[1].version), (2, 2));
}

#[test]
fn an_idempotency_key_is_taken_once() {
    let bench = bench();
    let body = bundle(&[entry("POST", "Patient", "urn:uuid:a", &serde_json::json!({"resourceType": "Patient"}))]);
    let first = bench.transaction(&body, Handling::Strict, Some("k")).unwrap();
    let again = bench.transaction(&body, Handling::Strict, Some("k")).unwrap();
    assert_eq!((first.replayed, again.replayed, again.commit), (false, true, Commit(1)));
    assert_eq!(count(&bench.database.snapshot(), "patient"), 1);
}

/// A create whose match its own transaction deletes was answered with the deleted resource, and made none.
#[test]
fn a_conditional_create_does_not_find_what_its_transaction_deletes() {
    let bench = bench();
    let identified = |id: &str| serde_json::json!({"resourceType": "Patient", "id": id, "identifier": [{"system": "urn:x", "value": "1"}]});
    bench.put(&identified("p1").to_string()).unwrap();
    let url = |n: u8| format!("urn:uuid:0191a7a0-0000-7000-8000-{n:012}");
    let mut create = entry("POST", "Patient", &url(1), &identified("any"));
    create["request"]["ifNoneExist"] = "identifier=urn:x|1".into();
    let delete = serde_json::json!({"request": {"method": "DELETE", "url": "Patient/p1"}});
    // Deletions come first, wherever they stand.
    let outcome = bench.transaction(&bundle(&[create, delete]), Handling::Strict, None).unwrap();
    assert_eq!(outcome.entries.iter().map(|e| e.status).collect::<Vec<_>>(), [201, 204]);
    assert_ne!(outcome.entries[0].id, "p1");
    assert_eq!(count(&bench.database.snapshot(), "patient"), 1);
}

#[test]
fn sixty_four_clients_with_one_conditional_create_make_one_resource() {
    let bench = bench();
    let body = br#"{"resourceType":"Patient","identifier":[{"system":"urn:oid:2.16.578.1.12.4.1.4.1","value":"13872199999"}]}"#;
    let interaction = Interaction::Create {
        resource_type: "Patient".to_owned(),
        body: body.to_vec(),
        if_none_exist: Some("identifier=urn:oid:2.16.578.1.12.4.1.4.1|13872199999".to_owned()),
    };
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..64).map(|_| scope.spawn(|| bench.write(interaction.clone()).unwrap())).collect();
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|o| o.entries[0].status == 201).count(), 1);
    assert!(outcomes.iter().all(|o| o.entries[0].id == outcomes[0].entries[0].id));
    assert_eq!(count(&bench.database.snapshot(), "patient"), 1);
}

#[test]
fn if_match_guards_against_a_lost_update() {
    let bench = bench();
    bench.put(&patient("p1", "female")).unwrap();
    let update = |if_match| Interaction::Update {
        resource_type: "Patient".to_owned(),
        id: "p1".to_owned(),
        body: patient("p1", "other").into_bytes(),
        if_match: Some(if_match),
    };
    assert_eq!(refusal(bench.write(update(7))).0, 412);
    assert_eq!(bench.write(update(1)).unwrap().entries[0].version, 2);
}

#[test]
fn two_hospitals_with_the_same_ids_are_two_patients() {
    let bench = bench();
    bench.put(&patient("1", "female")).unwrap();
    let other = bench.database.register_holder("Haukeland universitetssjukehus").unwrap().id;
    assert_eq!(bench.database.read(other, "Patient", "1").unwrap(), None);
    let body = patient("1", "male").into_bytes();
    let interaction = Interaction::Update { resource_type: "Patient".to_owned(), id: "1".to_owned(), body, if_match: None };
    bench.database.write(WriteRequest { holder: other, interaction, handling: Handling::Strict, idempotency_key: None }).unwrap();
    let snapshot = bench.database.snapshot();
    assert_eq!(count(&snapshot, "patient"), 2);
    let table = snapshot.table("patient").unwrap();
    let mine = RowFilter { holder: Some(other), ..RowFilter::default() };
    assert_eq!(table.parts().iter().map(|p| p.scan(&[], &mine).unwrap().num_rows()).sum::<usize>(), 1);
}

#[test]
fn documents_have_versions_and_survive_a_restart() {
    let bench = bench();
    bench.database.put_document("permit", "a", r#"{"n":1}"#).unwrap();
    bench.database.put_document("permit", "a", r#"{"n":2}"#).unwrap();
    bench.database.put_document("study", "s", "{}").unwrap();
    let bench = bench.reopened();
    let permits = bench.database.documents("permit").unwrap();
    assert_eq!((permits.len(), permits[0].version, permits[0].json.as_str()), (1, 2, r#"{"n":2}"#));
}

#[test]
fn several_documents_are_one_commit() {
    let bench = bench();
    let commit = bench.database.put_documents(&[("application", "a", r#"{"n":1}"#), ("permit", "a", r#"{"n":2}"#)]).unwrap();
    assert_eq!((commit, bench.database.snapshot().commit()), (Commit(1), Commit(1)));
    let bench = bench.reopened();
    let json = |kind| bench.database.document(kind, "a").unwrap().map(|document| document.json);
    assert_eq!((json("application"), json("permit")), (Some(r#"{"n":1}"#.into()), Some(r#"{"n":2}"#.into())));
}

#[test]
fn a_folder_is_opened_once() {
    let bench = bench();
    let again = Database::open(bench.dir.path(), Arc::clone(&bench.clock) as Arc<dyn Clock>, &mut |_, _| {});
    assert!(matches!(again, Err(OpenError::InUse(_))));
}

#[test]
fn the_clock_may_go_back_but_commits_do_not() {
    let bench = bench();
    bench.put(&patient("p1", "female")).unwrap();
    bench.clock.set("2026-11-20T12:00:00Z".parse().unwrap());
    let second = bench.put(&patient("p2", "female")).unwrap();
    assert_eq!(second.time, "2026-11-21T12:00:00Z".parse().unwrap());
    assert_eq!(bench.database.commit_at("2026-11-21T11:59:59Z".parse().unwrap()).unwrap(), Commit(0));
    assert_eq!(bench.database.commit_at("2026-11-21T12:00:00Z".parse().unwrap()).unwrap(), Commit(2));
}

#[test]
fn live_tables_equal_a_rebuild_over_several_segments() {
    let bench = bench();
    let observation = |i: usize| {
        serde_json::json!({"resourceType": "Observation", "id": format!("o{i}"), "status": "final", "code": {"text": "c"},
            "subject": {"reference": format!("Patient/p{}", i % 977)}, "valueInteger": i})
    };
    for chunk in (0..70_000).collect::<Vec<_>>().chunks(5_000) {
        let entries: Vec<_> = chunk
            .iter()
            .map(|i| entry("PUT", &format!("Observation/o{i}"), &format!("http://h/Observation/o{i}"), &observation(*i)))
            .collect();
        bench.transaction(&bundle(&entries), Handling::Strict, None).unwrap();
    }
    for i in (0..70_000).step_by(700) {
        let mut changed = observation(i);
        changed["status"] = "amended".into();
        bench.put(&changed.to_string()).unwrap();
    }
    let before = bench.database.snapshot();
    assert_eq!(count(&before, "observation"), 70_000);
    assert!(before.table("observation").unwrap().parts().len() >= 2);
    let bench = bench.reopened();
    assert_eq!(before.first_difference(&bench.database.snapshot()), None);
}

#[test]
fn ids_are_version_7_uuids() {
    let at = |micros: i64| time_ordered_id(Timestamp::from_microsecond(micros).unwrap());
    let id = at(0x0190_0000_0000 * 1_000 + 500);
    assert_eq!((id.len(), &id[..16]), (36, "01900000-0000-78"), "half a millisecond is half of 4096");
    assert!(id[14..15] == *"7" && "89ab".contains(&id[19..20]));
    assert_ne!(id, at(0x0190_0000_0000 * 1_000 + 500));
    assert!(id < at(0x0190_0000_0000 * 1_000 + 501));
}

mod changes;
mod conditions;
mod enforcement;
mod history;
mod patch;
mod persons;
mod populations;
mod registered;
mod scopes;
mod search;
mod search_parameters;
mod stored;
