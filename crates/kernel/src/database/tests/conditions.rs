//! Conditional interactions by any search parameter: looked up in what has been published and in what has been written since.

use super::*;
use serde_json::json;

fn create(resource: &serde_json::Value, criteria: &str) -> Interaction {
    let resource_type = resource["resourceType"].as_str().unwrap().to_owned();
    Interaction::Create { resource_type, body: resource.to_string().into_bytes(), if_none_exist: Some(criteria.to_owned()) }
}

fn update(resource: &serde_json::Value, criteria: &str) -> Interaction {
    let resource_type = resource["resourceType"].as_str().unwrap().to_owned();
    Interaction::UpdateMatching { resource_type, query: criteria.to_owned(), body: resource.to_string().into_bytes() }
}

fn delete(resource_type: &str, criteria: &str) -> Interaction {
    Interaction::DeleteMatching { resource_type: resource_type.to_owned(), query: criteria.to_owned() }
}

fn moe(gender: &str) -> serde_json::Value {
    json!({"resourceType": "Patient", "name": [{"family": "Moe"}], "birthDate": "1980-05-12", "gender": gender})
}

#[test]
fn they_find_what_a_search_finds() {
    let bench = bench();
    let by = "family:exact=Moe&birthdate=1980-05-12";
    let first = bench.write(create(&moe("female"), by)).unwrap();
    assert_eq!(first.entries[0].status, 201);
    let id = &first.entries[0].id;
    let again = bench.write(create(&moe("male"), by)).unwrap();
    assert_eq!((again.entries[0].status, &again.entries[0].id, again.commit), (200, id, first.commit));
    let updated = bench.write(update(&moe("male"), by)).unwrap();
    assert_eq!((updated.entries[0].status, &updated.entries[0].id, updated.entries[0].version), (200, id, 2));
    let created = bench.write(update(&moe("female"), &format!("{by}&gender=female"))).unwrap();
    assert_eq!(created.entries[0].status, 201, "what was female is male now");
    for interaction in [create(&moe("other"), by), update(&moe("other"), by), delete("Patient", by)] {
        let (status, what) = refusal(bench.write(interaction));
        assert!(status == 412 && what.contains("match 2 resources"), "{status} {what}");
    }
    let deleted = bench.write(delete("Patient", &format!("{by}&gender=male"))).unwrap();
    assert_eq!((deleted.entries[0].status, &deleted.entries[0].id), (204, id));
    let nothing = bench.write(delete("Patient", &format!("{by}&gender=male"))).unwrap();
    assert_eq!((nothing.entries[0].version, nothing.commit), (0, deleted.commit));
    assert_eq!(refusal(bench.write(delete("Patient", "shoe-size=44"))).0, 400);
    assert_eq!(refusal(bench.write(delete("Patient", ""))).0, 400);
    let other = bench.database.register_holder("Haukeland universitetssjukehus").unwrap().id;
    let theirs = WriteRequest { holder: other, interaction: delete("Patient", by), handling: Handling::Strict, idempotency_key: None };
    assert_eq!(bench.database.write(theirs).unwrap().entries[0].version, 0, "nobody deletes another holder's");
    assert_eq!(count(&bench.database.snapshot(), "patient"), 1);
}

#[test]
fn sixty_four_clients_make_one_resource_whatever_they_look_for() {
    let bench = bench();
    bench.put(&patient("p", "female")).unwrap();
    let observation = json!({"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "effectiveDateTime": "2026-01-01"});
    let interaction = create(&observation, "patient=p&code=http://loinc.org|8867-4&date=2026-01-01");
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..64).map(|_| scope.spawn(|| bench.write(interaction.clone()).unwrap())).collect();
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|o| o.entries[0].status == 201).count(), 1);
    assert!(outcomes.iter().all(|o| o.entries[0].id == outcomes[0].entries[0].id));
    assert_eq!(count(&bench.database.snapshot(), "observation"), 1);
}

/// Each client turns one patient that it finds into one that the next finds no more: no update is lost, and none comes twice.
#[test]
fn of_many_who_update_what_matches_each_finds_what_is_there_then() {
    let bench = bench();
    bench.write(create(&moe("female"), "family=Moe")).unwrap();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let client = |n: usize| {
            let changed = json!({"resourceType": "Patient", "name": [{"family": format!("Moe{n}")}], "gender": "female"});
            bench.write(update(&changed, "gender=female")).unwrap().entries[0].status
        };
        let clients: Vec<_> = (0..32).map(|n| scope.spawn(move || client(n))).collect();
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let snapshot = bench.database.snapshot();
    assert_eq!((snapshot.commit(), count(&snapshot, "patient")), (Commit(33), 1));
}

#[test]
fn in_a_transaction_they_see_its_deletions_and_references_see_its_entries() {
    let bench = bench();
    bench.write(create(&moe("female"), "family=Moe")).unwrap();
    let observation = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient?family=Moe&gender=male"}});
    let delete = json!({"request": {"method": "DELETE", "url": "Patient?family=Moe"}});
    let create = json!({"resource": moe("male"), "request": {"method": "POST", "url": "Patient", "ifNoneExist": "family=Moe"}});
    let body = bundle(&[entry("POST", "Observation", "urn:uuid:0c0f8a4e-3b1c-4f5e-9d2a-6f1f6a0e7a01", &observation), create, delete]);
    let outcome = bench.transaction(&body, Handling::Strict, None).unwrap();
    assert_eq!(outcome.entries.iter().map(|e| e.status).collect::<Vec<_>>(), [201, 201, 204]);
    let stored = bench.database.read(bench.hospital, "Observation", &outcome.entries[0].id).unwrap().unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&stored.json.unwrap()).unwrap();
    assert_eq!(stored["subject"]["reference"], format!("Patient/{}", outcome.entries[1].id));
}
