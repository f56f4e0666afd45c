//! Search parameters that the centre adds while the server runs.

use super::{names, searchset};
use crate::support::{Hospital, Server};
use dugnad::access::Role;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn parameter() -> Value {
    json!({
        "resourceType": "SearchParameter", "id": "ward", "url": "https://example.org/SearchParameter/ward", "name": "Ward", "status": "active",
        "description": "The ward that a patient lies in", "code": "ward", "base": ["Patient"], "type": "token",
        "expression": "Patient.extension.where(url = 'https://example.org/ward').value",
    })
}

fn patient(n: usize) -> Value {
    let ward = json!({"url": "https://example.org/ward", "valueCoding": {"system": "urn:wards", "code": format!("w{}", n % 2)}});
    json!({"resourceType": "Patient", "id": format!("p{n}"), "extension": [ward]})
}

async fn statement(server: &Server) -> Value {
    let statement = server.get("/fhir/metadata").await.expect(200).json();
    let of_patient = statement["rest"][0]["resource"].as_array().unwrap().iter().find(|r| r["type"] == "Patient").unwrap();
    of_patient["searchParam"].as_array().unwrap().iter().find(|p| p["name"] == "ward").cloned().unwrap_or_default()
}

/// Asks until the search is answered so: the tables are built anew in the background.
async fn until(hospital: &Hospital<'_>, asked: &str, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = hospital.send("GET", asked, &[("Prefer", "handling=strict")], "").await;
        if answer.status == 200 && names(&searchset(answer), "match") == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{asked}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_parameter_is_added_while_the_server_runs() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let centre = Hospital { server: &server, token: server.token(Role::Centre, "centre", None) };
    for n in 0..4 {
        hospital.put(&format!("/fhir/Patient/p{n}"), &patient(n)).await.expect(201);
    }
    let strict = [("Prefer", "handling=strict")];
    hospital.send("GET", "/fhir/Patient?ward=w1", &strict, "").await.expect(400);
    // A hospital's own is a resource like any other, and changes no search; others are told who may.
    hospital.put("/fhir/SearchParameter/ward", &parameter()).await.expect(201);
    let authority = Hospital { server: &server, token: server.token(Role::Authority, "authority", None) };
    authority.put("/fhir/SearchParameter/ward", &parameter()).await.expect(403);
    let mut wrong = parameter();
    wrong["code"] = json!("gender");
    let said = centre.put("/fhir/SearchParameter/ward", &wrong).await.expect(422).json();
    assert_eq!(said["issue"][0]["expression"], json!(["SearchParameter.code"]), "{said}");
    hospital.send("GET", "/fhir/Patient?ward=w1", &strict, "").await.expect(400);

    centre.put("/fhir/SearchParameter/ward", &parameter()).await.expect(201);
    until(&hospital, "/fhir/Patient?ward=urn:wards%7Cw1&_sort=_id", &["Patient/p1", "Patient/p3"]).await;
    hospital.put("/fhir/Patient/p5", &patient(5)).await.expect(201);
    let found = hospital.send("GET", "/fhir/Patient?ward=w1&_sort=_id", &strict, "").await.expect(200);
    assert_eq!(
        names(&searchset(found), "match"),
        ["Patient/p1", "Patient/p3", "Patient/p5"],
        "in the first search after its acknowledgement"
    );
    assert_eq!(statement(&server).await["documentation"], parameter()["expression"]);
    let read = authority.get("/fhir/SearchParameter/ward").await.expect(200).json();
    assert_eq!(read["code"], "ward");
    assert_eq!(centre.get("/fhir/SearchParameter").await.expect(200).json()["total"], 1);

    centre.send("DELETE", "/fhir/SearchParameter/ward", &[], "").await.expect(204);
    let deadline = Instant::now() + Duration::from_secs(30);
    while hospital.send("GET", "/fhir/Patient?ward=w1", &strict, "").await.status != 400 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(statement(&server).await, Value::Null);
}
