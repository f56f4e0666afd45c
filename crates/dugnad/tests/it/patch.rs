//! PATCH over HTTP: JSON Patch and FHIRPath Patch, by id and by criteria, alone and in Bundles.

use crate::support::{Answer, Hospital, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::{Value, json};

const JSON_PATCH: (&str, &str) = ("Content-Type", "application/json-patch+json");

fn patient() -> Value {
    json!({"resourceType": "Patient", "id": "1", "identifier": [{"system": "urn:x", "value": "7"}], "name": [{"family": "Moe"}],
           "gender": "female"})
}

fn replace(path: &str, value: &Value) -> Value {
    json!([{"op": "replace", "path": path, "value": value}])
}

/// Parameters with one operation.
fn by_path(kind: &str, path: &str, more: Value) -> Value {
    let mut part = vec![json!({"name": "type", "valueCode": kind}), json!({"name": "path", "valueString": path})];
    part.extend(more.as_array().unwrap().clone());
    json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": part}]})
}

impl Hospital<'_> {
    async fn patch(&self, path: &str, body: &Value) -> Answer {
        if body.is_array() {
            self.send("PATCH", path, &[JSON_PATCH], body.to_string()).await
        } else {
            self.patch_with(path, &[], body).await
        }
    }

    async fn patch_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.send("PATCH", path, headers, body.to_string()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_change_a_resource() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &patient()).await.expect(201);
    let first = hospital.patch("/fhir/Patient/1", &replace("/gender", &json!("male"))).await.expect(200);
    assert_eq!((first.header("etag"), first.json()["gender"].as_str()), (Some("W/\"2\""), Some("male")));
    let merge = ("Content-Type", "application/merge-patch+json");
    let merged = hospital.patch_with("/fhir/Patient/1", &[merge], &json!({"gender": "male", "active": true})).await.expect(200).json();
    assert_eq!((&merged["gender"], &merged["active"]), (&json!("male"), &json!(true)));
    hospital.patch_with("/fhir/Patient/1", &[("Content-Type", "application/json")], &json!({"active": null})).await.expect(200);
    let date = json!([{"name": "name", "valueString": "birthDate"}, {"name": "value", "valueDate": "1970-01-01"}]);
    let second = hospital.patch("/fhir/Patient/1", &by_path("add", "Patient", date)).await.expect(200);
    assert_eq!((second.header("etag"), second.json()["birthDate"].as_str()), (Some("W/\"5\""), Some("1970-01-01")));
    assert_eq!(second.json()["name"][0]["family"], "Moe");

    // Found at once by what it is now; the earlier versions stay.
    assert_eq!(hospital.get("/fhir/Patient?birthdate=1970-01-01&gender=male").await.expect(200).json()["total"], 1);
    assert_eq!(hospital.get("/fhir/Patient/1/_history/1").await.expect(200).json()["gender"], "female");

    // What changes nothing makes no version.
    let again = hospital.patch("/fhir/Patient/1", &replace("/gender", &json!("male"))).await.expect(200);
    assert_eq!((again.header("etag"), again.header("dugnad-commit")), (Some("W/\"5\""), second.header("dugnad-commit")));
    // Some clients say application/json of everything.
    let plain = hospital.patch_with("/fhir/Patient/1", &[("Content-Type", "application/json")], &replace("/gender", &json!("male"))).await;
    assert_eq!(plain.expect(200).header("etag"), Some("W/\"5\""));
    let minimal = [JSON_PATCH, ("Prefer", "return=minimal")];
    assert!(hospital.patch_with("/fhir/Patient/1", &minimal, &replace("/gender", &json!("other"))).await.expect(200).body.is_empty());
}

/// A decimal keeps its digits, whether a patch passes it by or brings it.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_keep_their_digits() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.0}}"#;
    hospital.send("PUT", "/fhir/Observation/o", &[], observation).await.expect(201);
    let patch =
        r#"[{"op":"replace","path":"/status","value":"amended"},{"op":"add","path":"/referenceRange","value":[{"low":{"value":2.50}}]}]"#;
    let patched = hospital.send("PATCH", "/fhir/Observation/o", &[JSON_PATCH], patch).await.expect(200);
    let text = String::from_utf8(patched.body).unwrap();
    assert!(text.contains(r#""valueQuantity":{"value":1.0}"#) && text.contains(r#""low":{"value":2.50}"#), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_patched_is_refused_and_changes_nothing() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &patient()).await.expect(201);
    let gender = || replace("/gender", &json!("male"));
    for (status, path, body) in [
        (404, "/fhir/Patient/2", gender()),
        (404, "/fhir/Nothing/1", gender()),
        (400, "/fhir/Patient/1", json!({"op": "replace"})),
        (400, "/fhir/Patient/1", json!([{"op": "replace", "path": "/gender"}])),
        (409, "/fhir/Patient/1", json!([{"op": "remove", "path": "/birthDate"}])),
        (409, "/fhir/Patient/1", json!([{"op": "test", "path": "/gender", "value": "male"}])),
        (422, "/fhir/Patient/1", replace("/gender", &json!(1))),
        (422, "/fhir/Patient/1", replace("/id", &json!("2"))),
        (422, "/fhir/Patient/1", replace("/resourceType", &json!("Person"))),
        (422, "/fhir/Patient/1", json!([{"op": "add", "path": "/shoeSize", "value": 44}])),
        (422, "/fhir/Patient/1", by_path("delete", "Patient.shoeSize", json!([]))),
        (422, "/fhir/Patient/1", replace("", &json!([]))),
        (400, "/fhir/Patient", gender()),
        (400, "/fhir/Patient?shoe-size=44", gender()),
    ] {
        let refused = hospital.patch(path, &body).await.expect(status).json();
        assert_eq!(refused["resourceType"], "OperationOutcome", "{path} {body}");
        assert!(refused["issue"][0]["diagnostics"].as_str().is_some_and(|text| text.len() > 20), "{refused}");
    }
    let place = hospital.patch("/fhir/Patient/1", &replace("/gender", &json!(1))).await.json();
    assert_eq!(place["issue"][0]["expression"][0], "Patient.gender");
    let stale = [JSON_PATCH, ("If-Match", "W/\"7\"")];
    hospital.patch_with("/fhir/Patient/1", &stale, &gender()).await.expect(412);
    for kind in ["application/xml", "application/xml-patch+xml", "text/plain"] {
        hospital.patch_with("/fhir/Patient/1", &[("Content-Type", kind)], &gender()).await.expect(415);
    }
    server.hospital("Ullevål").patch("/fhir/Patient/1", &gender()).await.expect(404);
    hospital.send("DELETE", "/fhir/Patient/1", &[], "").await.expect(204);
    hospital.patch("/fhir/Patient/1", &gender()).await.expect(404);
    assert_eq!(hospital.get("/fhir/Patient/1/_history").await.expect(200).json()["total"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_criteria() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &patient()).await.expect(201);
    let male = replace("/gender", &json!("male"));
    let patched = hospital.patch("/fhir/Patient?identifier=urn:x%7C7", &male).await.expect(200).json();
    assert_eq!((&patched["id"], &patched["gender"]), (&json!("1"), &json!("male")));
    hospital.patch("/fhir/Patient?family=Moe&gender=female", &male).await.expect(404);
    hospital.post("/fhir/Patient", &[], &patient()).await.expect(201);
    hospital.patch("/fhir/Patient?family=Moe", &male).await.expect(412);
    let stale = [JSON_PATCH, ("If-Match", "W/\"1\"")];
    hospital.patch_with("/fhir/Patient?gender=male", &stale, &male).await.expect(412);
}

/// Clients that patch one resource at the same moment lose nothing of each other's.
#[tokio::test(flavor = "multi_thread")]
async fn no_patch_is_lost() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &patient()).await.expect(201);
    let add = |n: usize| json!([{"op": "add", "path": "/identifier/-", "value": {"system": "urn:y", "value": n.to_string()}}]);
    let bodies: Vec<Value> = (0..48).map(add).collect();
    let answers = join_all(bodies.iter().enumerate().map(|(n, body)| {
        let path = if n % 2 == 0 { "/fhir/Patient/1" } else { "/fhir/Patient?family=Moe" };
        hospital.patch(path, body)
    }))
    .await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let current = hospital.get("/fhir/Patient/1").await.expect(200).json();
    assert_eq!(current["identifier"].as_array().unwrap().len(), 49);
    assert_eq!(current["meta"]["versionId"], "49");
    let only_one = [JSON_PATCH, ("If-Match", "W/\"49\"")];
    let raced = join_all(bodies.iter().map(|body| hospital.patch_with("/fhir/Patient/1", &only_one, body))).await;
    assert_eq!(raced.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(raced.iter().filter(|answer| answer.status == 412).count(), 47);
}

fn entry(url: &str, resource: Value) -> Value {
    json!({"resource": resource, "request": {"method": "PATCH", "url": url}})
}

fn binary(operations: &Value) -> Value {
    let data = STANDARD.encode(operations.to_string());
    json!({"resourceType": "Binary", "contentType": "application/json-patch+json", "data": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn in_transactions_and_batches() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &patient()).await.expect(201);
    let bundle = |kind: &str, entries: &[Value]| json!({"resourceType": "Bundle", "type": kind, "entry": entries});
    let urn = "urn:uuid:0191a7a0-0000-7000-8000-000000000001";
    let managed = json!([{"name": "name", "valueString": "managingOrganization"}, {"name": "value", "valueReference": {"reference": urn}}]);
    let organisation = json!({"fullUrl": urn, "resource": {"resourceType": "Organization", "name": "x"},
                              "request": {"method": "POST", "url": "Organization"}});
    let entries = [entry("Patient?identifier=urn:x|7", by_path("add", "Patient", managed)), organisation];
    let done = hospital.post("/fhir", &[("Prefer", "return=representation")], &bundle("transaction", &entries)).await.expect(200).json();
    assert_eq!(done["entry"][0]["response"]["status"], "200 OK");
    let made = done["entry"][1]["resource"]["id"].as_str().unwrap();
    assert_eq!(done["entry"][0]["resource"]["managingOrganization"]["reference"], format!("Organization/{made}"));

    // All or nothing.
    let (good, bad) = (replace("/gender", &json!("male")), json!([{"op": "remove", "path": "/photo"}]));
    hospital.put("/fhir/Patient/2", &json!({"resourceType": "Patient", "id": "2", "gender": "female"})).await.expect(201);
    let entries = [entry("Patient/2", binary(&good)), entry("Patient/1", binary(&bad))];
    let refused = hospital.post("/fhir", &[], &bundle("transaction", &entries)).await.expect(409).json();
    assert_eq!(refused["issue"][0]["expression"][0], "Bundle.entry[1].resource.operation[0]");
    assert_eq!(hospital.get("/fhir/Patient/2").await.expect(200).json()["gender"], "female");
    let twice = [entry("Patient/2", binary(&good)), entry("Patient/2", binary(&good))];
    hospital.post("/fhir", &[], &bundle("transaction", &twice)).await.expect(400);
    let resource = json!({"resourceType": "Patient", "id": "2"});
    hospital.post("/fhir", &[], &bundle("transaction", &[entry("Patient/2", resource)])).await.expect(400);

    // Each for itself, in order.
    let read = json!({"request": {"method": "GET", "url": "Patient/2"}});
    let entries = [entry("Patient/2", binary(&good)), entry("Patient/1", binary(&bad)), read, entry("Patient?family=None", binary(&good))];
    let done = hospital.post("/fhir", &[], &bundle("batch", &entries)).await.expect(200).json();
    let statuses: Vec<&str> = (0..4).map(|n| &done["entry"][n]["response"]["status"].as_str().unwrap()[..3]).collect();
    assert_eq!(statuses, ["200", "409", "200", "404"]);
    assert_eq!(done["entry"][2]["resource"]["gender"], "male");
    let mut conditional = entry("Patient/2", binary(&replace("/gender", &json!("other"))));
    conditional["request"]["ifMatch"] = "W/\"1\"".into();
    hospital.post("/fhir", &[], &bundle("transaction", &[conditional])).await.expect(412);
}

/// A person's opt-out is not changed by the way of a patch.
#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_stays() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &patient()).await.expect(201);
    let centre = server.token(dugnad::access::Role::Centre, "centre", None);
    let request = axum::http::Request::put("/opt-outs/Haukeland/1").header("Authorization", format!("Bearer {centre}"));
    server.send(request.body(axum::body::Body::empty()).unwrap()).await;
    let found = hospital.get("/fhir/Consent?patient=1").await.expect(200).json();
    let id = found["entry"][0]["resource"]["id"].as_str().unwrap();
    hospital.patch(&format!("/fhir/Consent/{id}"), &replace("/status", &json!("inactive"))).await.expect(409);
}
