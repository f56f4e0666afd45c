//! Scopes over HTTP: every way to a resource, with a type that is not reached and with a part of one.

use super::client;
use crate::support::{Hospital, Server};
use dugnad::access::Role;
use serde_json::{Value, json};

const LAB: &str = "system/Observation.cruds?category=laboratory";

/// A patient with two Observations, `lab` and `vital`, and a Condition.
async fn treated(server: &Server) -> Hospital<'_> {
    let hospital = server.hospital("Haukeland");
    let of_p = json!({"reference": "Patient/p"});
    for resource in [
        json!({"resourceType": "Practitioner", "id": "d", "name": [{"family": "Moe"}]}),
        json!({"resourceType": "Patient", "id": "p", "gender": "female", "name": [{"family": "Li"}], "generalPractitioner": [{"reference": "Practitioner/d"}]}),
        observation("lab", "laboratory"),
        observation("vital", "vital-signs"),
        json!({"resourceType": "Condition", "id": "c", "subject": of_p, "code": {"text": "x"}}),
    ] {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        hospital.put(&path, &resource).await.expect(201);
    }
    hospital
}

fn observation(id: &str, category: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": "final", "category": [{"coding": [{"code": category}]}],
           "code": {"text": id}, "subject": {"reference": "Patient/p"}})
}

/// The resources of a Bundle, by type and id, in order of their names.
fn names(bundle: &Value) -> Vec<String> {
    let of = |entry: &Value| {
        let resource = &entry["resource"];
        Some(format!("{}/{}", resource["resourceType"].as_str()?, resource["id"].as_str().unwrap_or("?")))
    };
    let mut names: Vec<String> = bundle["entry"].as_array().into_iter().flatten().filter_map(of).collect();
    names.sort_unstable();
    names.retain(|name| !name.starts_with("OperationOutcome"));
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_no_scope_reaches_is_refused_everywhere() {
    let server = Server::open();
    treated(&server).await;
    let client = client(&server, "Haukeland", "system/Observation.rs").await;
    for path in [
        "/fhir/Patient/p",
        "/fhir/Patient/p/_history",
        "/fhir/Patient/p/_history/1",
        "/fhir/Patient",
        "/fhir/Patient?_summary=count",
        "/fhir/Patient/_history",
        "/fhir/Patient/p/Condition",
        "/fhir/Patient/p/$everything",
        "/fhir?_type=Patient,Observation",
        "/fhir/Observation?subject:Patient.name=li",
        "/fhir/Observation?_has:Provenance:target:recorded=2026",
        "/fhir/Library",
        "/fhir/AuditEvent",
    ] {
        let answer = client.get(path).await.expect(403);
        assert_eq!(answer.json()["resourceType"], "OperationOutcome", "{path}");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(path.ends_with("AuditEvent") || challenge.contains("insufficient_scope"), "{path}: {challenge}");
    }
    let new = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}});
    client.post("/fhir/Observation", &[], &new).await.expect(403);
    client.put("/fhir/Observation/lab", &observation("lab", "laboratory")).await.expect(403);
    client.send("DELETE", "/fhir/Observation/lab", &[], "").await.expect(403);
    client.send("DELETE", "/fhir/Observation?code=x", &[], "").await.expect(403);
    let patch = [("Content-Type", "application/json-patch+json")];
    client.send("PATCH", "/fhir/Observation/lab", &patch, r#"[{"op":"test","path":"/status","value":"final"}]"#).await.expect(403);
    let asynchronous = [("Prefer", "respond-async")];
    client.send("GET", "/fhir/$export?_type=Patient", &asynchronous, "").await.expect(403);
    client.send("GET", "/fhir/Group/g/$export", &asynchronous, "").await.expect(403);
    // What is left is what it may.
    assert_eq!(names(&client.get("/fhir").await.expect(200).json()), ["Observation/lab", "Observation/vital"]);
    assert_eq!(names(&client.get("/fhir/_history").await.expect(200).json()), ["Observation/lab", "Observation/vital"]);
    assert_eq!(names(&client.get("/fhir/Patient/p/*").await.expect(200).json()), ["Observation/lab", "Observation/vital"]);
    let along =
        client.get("/fhir/Observation?_include=Observation:subject&_include:iterate=Patient:general-practitioner").await.expect(200);
    assert_eq!(names(&along.json()), ["Observation/lab", "Observation/vital"]);
    let centre = server.token(Role::Centre, "centre", None);
    let log = Hospital { server: &server, token: centre }.get("/audit/log").await.expect(200);
    let log = String::from_utf8(log.body).unwrap();
    assert!(log.contains("the scopes of the token do not reach it"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_resource_is_not_for_clients() {
    let server = Server::open();
    treated(&server).await;
    let client = client(&server, "Haukeland", "system/*.cruds").await;
    let question = json!({"permit": "care", "sql": "SELECT * FROM observation"}).to_string();
    client.send("POST", "/sql", &[("Content-Type", "application/json")], question).await.expect(403);
    client.send("POST", "/fhir/$sqlquery-run", &[], json!({"resourceType": "Parameters"}).to_string()).await.expect(403);
    for path in ["/fhir/ViewDefinition", "/fhir/AuditEvent?patient=p", "/audit/persons/me", "/audit/log", "/metrics", "/applications"] {
        client.get(path).await.expect(403);
    }
    client.send("PUT", "/opt-outs/Haukeland/p", &[], "").await.expect(403);
    client.get("/fhir/ValueSet/$expand?url=http://hl7.org/fhir/ValueSet/administrative-gender").await.expect(200);
    client.get("/fhir/Patient/p").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_type_is_all_that_there_is() {
    let server = Server::open();
    let hospital = treated(&server).await;
    let client = client(&server, "Haukeland", LAB).await;
    client.get("/fhir/Observation/lab").await.expect(200);
    for path in
        ["/fhir/Observation/vital", "/fhir/Observation/vital/_history", "/fhir/Observation/vital/_history/1", "/fhir/Observation/none"]
    {
        let answer = client.get(path).await.expect(404);
        let absent = client.get("/fhir/Observation/none").await;
        assert_eq!(answer.json()["issue"][0]["diagnostics"], absent.json()["issue"][0]["diagnostics"], "{path}: as if it were not there");
    }
    for path in [
        "/fhir/Observation",
        "/fhir/Observation?code:missing=false",
        "/fhir/Observation?_id=lab,vital",
        "/fhir/Observation?category=laboratory,vital-signs",
        "/fhir/Patient/p/Observation",
        "/fhir",
        "/fhir/_history",
        "/fhir/Observation/_history",
    ] {
        assert_eq!(names(&client.get(path).await.expect(200).json()), ["Observation/lab"], "{path}");
    }
    assert_eq!(client.get("/fhir/Observation?_summary=count").await.expect(200).json()["total"], 1);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let found = client.send("POST", "/fhir/Observation/_search", &form, "_total=accurate").await.expect(200).json();
    assert_eq!((names(&found), &found["total"]), (vec!["Observation/lab".to_owned()], &json!(1)));
    // What is moved out of the part is gone, its earlier version excepted, which was in it.
    hospital.put("/fhir/Observation/lab", &observation("lab", "exam")).await.expect(200);
    client.get("/fhir/Observation/lab").await.expect(404);
    client.get("/fhir/Observation/lab/_history/1").await.expect(200);
    client.get("/fhir/Observation/lab/_history/2").await.expect(404);
    let history = client.get("/fhir/Observation/lab/_history").await.expect(200).json();
    assert_eq!((names(&history).len(), history["total"].clone()), (1, json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_parts_are_one_or_the_other() {
    let server = Server::open();
    let hospital = treated(&server).await;
    hospital.put("/fhir/Observation/exam", &observation("exam", "exam")).await.expect(201);
    let scopes = "system/Observation.rs?category=laboratory&status=final system/Observation.rs?category=exam&_id=exam";
    let both = client(&server, "Haukeland", scopes).await;
    assert_eq!(names(&both.get("/fhir/Observation").await.expect(200).json()), ["Observation/exam", "Observation/lab"]);
    both.get("/fhir/Observation/exam").await.expect(200);
    both.get("/fhir/Observation/vital").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_along_is_within_the_scopes() {
    let server = Server::open();
    let hospital = treated(&server).await;
    let query = "/fhir/Observation?_id=lab&_include=Observation:subject&_include:iterate=Patient:general-practitioner";
    for (scopes, names_found) in [
        ("system/Observation.s system/Patient.r", vec!["Observation/lab", "Patient/p"]),
        ("system/Observation.s system/Practitioner.r", vec!["Observation/lab"]), // the way to it leads over the Patient
        ("system/Observation.s system/Patient.s?gender=male system/Practitioner.r", vec!["Observation/lab"]),
        ("system/*.s", vec!["Observation/lab", "Patient/p", "Practitioner/d"]),
    ] {
        let client = client(&server, "Haukeland", scopes).await;
        assert_eq!(names(&client.get(query).await.expect(200).json()), names_found, "{scopes}");
    }
    let reverse = client(&server, "Haukeland", "system/Patient.s system/Observation.s?category=laboratory").await;
    let found = reverse.get("/fhir/Patient?_revinclude=Observation:subject&_revinclude=Condition:subject").await.expect(200).json();
    assert_eq!(names(&found), ["Observation/lab", "Patient/p"]);
    // What may not come along, however much and new, takes the place of nothing that may.
    let newer: Vec<Value> = (0..1_100)
        .map(|n| {
            let url = format!("Observation/v{n}");
            json!({"resource": observation(&format!("v{n}"), "vital-signs"), "request": {"method": "PUT", "url": url}})
        })
        .collect();
    hospital.post("/fhir", &[], &json!({"resourceType": "Bundle", "type": "transaction", "entry": newer})).await.expect(200);
    let found = reverse.get("/fhir/Patient?_revinclude=Observation:subject").await.expect(200).json();
    assert_eq!(names(&found), ["Observation/lab", "Patient/p"]);
    let everything = reverse.get("/fhir/Patient/p/$everything").await.expect(200).json();
    assert_eq!(names(&everything), ["Observation/lab", "Patient/p"]);
    // A chain looks at all resources of a type, or at none.
    reverse.get("/fhir/Observation?subject:Patient.gender=female").await.expect(200);
    reverse.get("/fhir/Patient?_has:Observation:subject:code=vital").await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_looked_at_entry_by_entry() {
    let server = Server::open();
    treated(&server).await;
    let client = client(&server, "Haukeland", LAB).await;
    let request = |method: &str, url: &str| json!({"request": {"method": method, "url": url}});
    let mut create = request("POST", "Observation");
    create["resource"] = observation("new", "laboratory");
    create["resource"].as_object_mut().unwrap().remove("id");
    let mut other = create.clone();
    other["resource"]["category"][0]["coding"][0]["code"] = "exam".into();
    let entries = json!([
        create,
        other,
        request("GET", "Observation/lab"),
        request("GET", "Observation/vital"),
        request("GET", "Patient/p"),
        request("DELETE", "Observation/vital"),
        request("GET", "Observation?_id=lab,vital"),
        request("GET", "Patient/p/_history")
    ]);
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
    let answer = client.post("/fhir", &[], &batch).await.expect(200).json();
    let statuses: Vec<&str> = answer["entry"].as_array().unwrap().iter().map(|e| &e["response"]["status"].as_str().unwrap()[..3]).collect();
    assert_eq!(statuses, ["201", "403", "200", "404", "403", "403", "200", "403"]);
    assert_eq!(names(&answer["entry"][6]["resource"]), ["Observation/lab"]);
    let transaction = |entries: Value| json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    client.post("/fhir", &[], &transaction(json!([create, other]))).await.expect(403);
    let read = transaction(json!([create, request("GET", "Observation/vital"), request("GET", "Patient/p")]));
    let answer = client.post("/fhir", &[], &read).await.expect(200).json();
    assert_eq!(answer["entry"][1]["response"]["status"].as_str().map(|s| &s[..3]), Some("404"));
    assert_eq!(answer["entry"][2]["response"]["status"].as_str().map(|s| &s[..3]), Some("403"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_write_shows_what_may_be_read() {
    let server = Server::open();
    treated(&server).await;
    let writer = client(&server, "Haukeland", "system/Observation.u").await;
    let patch = [("Content-Type", "application/json-patch+json"), ("Prefer", "return=representation")];
    let change = r#"[{"op":"replace","path":"/status","value":"amended"}]"#;
    assert!(writer.send("PATCH", "/fhir/Observation/vital", &patch, change).await.expect(200).body.is_empty());
    let reader = client(&server, "Haukeland", "system/Observation.ru").await;
    assert!(!reader.send("PATCH", "/fhir/Observation/vital", &patch, change).await.expect(200).body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_hold_what_the_scopes_reach_and_are_for_those_scopes() {
    let server = Server::open();
    treated(&server).await;
    let lab = client(&server, "Haukeland", LAB).await;
    let asynchronous = [("Prefer", "respond-async")];
    let begun = lab.send("GET", "/fhir/$export", &asynchronous, "").await.expect(202);
    let id = begun.header("content-location").unwrap().rsplit('/').next().unwrap().to_owned();
    let manifest = loop {
        let answer = lab.get(&format!("/fhir/$export/{id}")).await;
        if answer.status.as_u16() == 200 {
            break answer.json();
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    };
    let outputs: Vec<(&str, u64)> =
        manifest["output"].as_array().unwrap().iter().map(|o| (o["type"].as_str().unwrap(), o["count"].as_u64().unwrap())).collect();
    assert_eq!(outputs, [("Observation", 1)]);
    let file = lab.get(&format!("/fhir/$export/{id}/Observation.1.ndjson")).await.expect(200);
    assert!(String::from_utf8(file.body).unwrap().contains("\"id\":\"lab\""));
    client(&server, "Haukeland", LAB).await.get(&format!("/fhir/$export/{id}")).await.expect(404);
}
