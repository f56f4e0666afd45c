//! Conditional interactions by the parameters of search, over HTTP.

use super::{names, searchset};
use crate::support::Server;
use serde_json::{Value, json};

fn patient(family: &str, gender: &str) -> Value {
    json!({"resourceType": "Patient", "name": [{"family": family}], "gender": gender, "birthDate": "1980-05-12"})
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_updates_and_deletions_find_what_a_search_finds() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let by = "family=Moe&birthdate=ge1980-05-01&birthdate=le1980-05-31";
    let condition = [("If-None-Exist", by)];
    let created = hospital.post("/fhir/Patient", &condition, &patient("Moe", "female")).await.expect(201).json();
    let again = hospital.post("/fhir/Patient", &condition, &patient("Moe", "male")).await.expect(200).json();
    assert_eq!((&again["id"], &again["gender"]), (&created["id"], &json!("female")));
    let updated = hospital.put(&format!("/fhir/Patient?{by}"), &patient("Moe", "male")).await.expect(200).json();
    assert_eq!((&updated["id"], &updated["meta"]["versionId"]), (&created["id"], &json!("2")));
    hospital.put("/fhir/Patient?family=Dahl", &patient("Dahl", "male")).await.expect(201);
    let several = hospital.put("/fhir/Patient?gender=male", &patient("Lie", "male")).await.expect(412).json();
    assert_eq!(several["issue"][0]["code"], "multiple-matches");

    let stranger = server.hospital("Ullevål");
    stranger.send("DELETE", "/fhir/Patient?family=Dahl", &[], "").await.expect(204);
    assert_eq!(hospital.ids("/fhir/Patient?gender=male").await.len(), 2, "nobody deletes another hospital's");
    let deleted = hospital.send("DELETE", "/fhir/Patient?family=Dahl", &[], "").await.expect(204);
    let nothing = hospital.send("DELETE", "/fhir/Patient?family=Dahl", &[], "").await.expect(204);
    assert_eq!(deleted.header("dugnad-commit"), nothing.header("dugnad-commit"));
    assert!(nothing.header("etag").is_none() && nothing.header("content-location").is_none());
    assert_eq!(hospital.ids("/fhir/Patient?gender=male").await, [created["id"].as_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_condition_is_refused_and_changes_nothing() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.post("/fhir/Patient", &[], &patient("Moe", "female")).await.expect(201);
    for criteria in [
        "shoe-size=44",
        "general-practitioner.name=x",
        "_has:Observation:patient:code=1",
        "_lastUpdated=2026",
        "_count=1",
        "",
        "gender:exact=x",
    ] {
        let refused = hospital.send("DELETE", &format!("/fhir/Patient?{criteria}"), &[], "").await.expect(400).json();
        assert_eq!(refused["resourceType"], "OperationOutcome", "{criteria}");
        hospital.put(&format!("/fhir/Patient?{criteria}"), &patient("Moe", "male")).await.expect(400);
    }
    // Some clients send the criteria of a conditional create in the address: passed over, they made a second resource.
    hospital.post("/fhir/Patient?family=Moe", &[], &patient("Moe", "female")).await.expect(200);
    let both = [("If-None-Exist", "family=Moe")];
    hospital.post("/fhir/Patient?family=Moe", &both, &patient("Moe", "female")).await.expect(400);
    hospital.post("/fhir/Patient?shoe-size=44", &[], &patient("Moe", "female")).await.expect(400);
    let left = searchset(hospital.get("/fhir/Patient?gender=female").await);
    assert_eq!(names(&left, "match").len(), 1);
}

/// Each entry of a batch sees what those before it have done.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_batch() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let create =
        json!({"resource": patient("Moe", "female"), "request": {"method": "POST", "url": "Patient", "ifNoneExist": "family=Moe"}});
    let delete = json!({"request": {"method": "DELETE", "url": "Patient?family=Moe"}});
    let find = json!({"request": {"method": "GET", "url": "Patient?family=Moe"}});
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [create, create, find, delete, find, create, find]});
    let answer = hospital.post("/fhir", &[], &bundle).await.expect(200).json();
    let status = |n: usize| answer["entry"][n]["response"]["status"].as_str().unwrap()[..3].to_owned();
    assert_eq!((0..7).map(status).collect::<Vec<_>>(), ["201", "200", "200", "204", "200", "201", "200"]);
    assert_eq!([2, 4, 6].map(|n| names(&answer["entry"][n]["resource"], "match").len()), [1, 0, 1]);
}
