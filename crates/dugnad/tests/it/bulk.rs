//! Bulk Data `$export` over HTTP, as a client that follows the specification does it.

use crate::support::{Answer, Hospital, Server};
use dugnad::access::Role;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const ASYNC: [(&str, &str); 2] = [("Prefer", "respond-async"), ("Accept", "application/fhir+json")];

fn local(url: &str) -> String {
    url.strip_prefix("http://localhost").unwrap().to_owned()
}

impl Hospital<'_> {
    /// Where to ask for an export.
    async fn kick_off(&self, path: &str) -> String {
        let begun = self.send("GET", path, &ASYNC, "").await.expect(202);
        local(begun.header("content-location").unwrap())
    }

    /// Its manifest.
    async fn manifest(&self, status: &str) -> Value {
        loop {
            let answer = self.get(status).await;
            if answer.status == 202 {
                assert!(answer.header("x-progress").is_some() && answer.header("retry-after").is_some());
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            let answer = answer.expect(200);
            assert!(answer.header("content-type") == Some("application/json") && answer.header("expires").unwrap().ends_with("GMT"));
            return answer.json();
        }
    }

    /// The resources of an export, by type.
    async fn exported(&self, path: &str) -> BTreeMap<String, Vec<Value>> {
        let status = self.kick_off(path).await;
        let manifest = self.manifest(&status).await;
        assert_eq!(manifest["requiresAccessToken"], true);
        let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for output in manifest["output"].as_array().unwrap() {
            let file = self.get(&local(output["url"].as_str().unwrap())).await.expect(200);
            assert_eq!(file.header("content-type"), Some("application/fhir+ndjson"));
            let text = String::from_utf8(file.body).unwrap();
            let resources: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(output["count"], resources.len());
            assert!(resources.iter().all(|r| r["resourceType"] == output["type"]));
            all.entry(output["type"].as_str().unwrap().to_owned()).or_default().extend(resources);
        }
        self.send("DELETE", &status, &[], "").await.expect(202);
        all
    }

    async fn export_names(&self, path: &str) -> Vec<String> {
        let all = self.exported(path).await;
        let shown =
            |(kind, all): (&String, &Vec<Value>)| all.iter().map(|r| format!("{kind}/{}", r["id"].as_str().unwrap())).collect::<Vec<_>>();
        let mut names: Vec<String> = all.iter().flat_map(shown).collect();
        names.sort();
        names
    }
}

async fn treated(hospital: &Hospital<'_>) {
    let observation = |id: &str, patient: &str, code: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"coding": [{"code": code}]},
               "subject": {"reference": format!("Patient/{patient}")}, "valueQuantity": {"value": 1.5}})
    };
    let member = |id: &str| json!({"entity": {"reference": format!("Patient/{id}")}});
    for resource in [
        json!({"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "1970-01-01"}),
        json!({"resourceType": "Patient", "id": "q", "gender": "male"}),
        json!({"resourceType": "Organization", "id": "o", "name": "x"}),
        observation("a", "p", "1"),
        observation("b", "p", "2"),
        observation("c", "q", "1"),
        json!({"resourceType": "Observation", "id": "d", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Device/1"}}),
        json!({"resourceType": "Group", "id": "g", "type": "person", "actual": true, "member": [member("p")]}),
    ] {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        hospital.put(&path, &resource).await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_system_of_patients_and_of_a_group() {
    let server = Server::open();
    let (hospital, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    treated(&hospital).await;
    other.put("/fhir/Patient/p", &json!({"resourceType": "Patient", "id": "p"})).await.expect(201);
    let all = ["Group/g", "Observation/a", "Observation/b", "Observation/c", "Observation/d", "Organization/o", "Patient/p", "Patient/q"];
    assert_eq!(hospital.export_names("/fhir/$export").await, all);
    let of_patients = ["Group/g", "Observation/a", "Observation/b", "Observation/c", "Patient/p", "Patient/q"];
    assert_eq!(hospital.export_names("/fhir/Patient/$export").await, of_patients);
    assert_eq!(hospital.export_names("/fhir/Group/g/$export").await, ["Group/g", "Observation/a", "Observation/b", "Patient/p"]);
    assert_eq!(other.export_names("/fhir/$export").await, ["Patient/p"]);
    assert!(server.hospital("Nytt").export_names("/fhir/$export").await.is_empty());
    hospital.send("GET", "/fhir/Group/none/$export", &ASYNC, "").await.expect(404);
    other.send("GET", "/fhir/Group/g/$export", &ASYNC, "").await.expect(404);
    // What is stored is copied: digits stay.
    let whole = hospital.exported("/fhir/$export?_type=Observation").await;
    let stored = hospital.get("/fhir/Observation/a").await.expect(200).json();
    assert!(whole["Observation"].contains(&stored));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_it() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    treated(&hospital).await;
    let names = |query: &str| {
        let (hospital, path) = (&hospital, format!("/fhir/$export?{query}"));
        async move { hospital.export_names(&path).await }
    };
    assert_eq!(names("_type=Patient,Organization").await, ["Organization/o", "Patient/p", "Patient/q"]);
    assert_eq!(names("_type=Observation&_typeFilter=Observation%3Fcode%3D1").await, ["Observation/a", "Observation/c"]);
    let two = "_type=Observation,Patient&_typeFilter=Observation%3Fcode%3D1&_typeFilter=Observation%3Fcode%3D1,2%26patient%3Dp";
    assert_eq!(names(two).await, ["Observation/a", "Observation/b", "Observation/c", "Patient/p", "Patient/q"]);
    assert!(names("_since=2099-01-01T00:00:00Z").await.is_empty());
    assert!(names("_until=2020-01-01T00:00:00Z").await.is_empty());
    assert_eq!(names("_type=Patient&_since=2020-01-01T00:00:00%2B01:00&_until=2099").await, ["Patient/p", "Patient/q"]);
    let parts = hospital.exported("/fhir/$export?_type=Patient,Organization&_elements=id,Patient.gender").await;
    let patient = &parts["Patient"][0];
    assert!(patient.get("gender").is_some() && patient.get("birthDate").is_none());
    assert_eq!(patient["meta"]["tag"][0]["code"], "SUBSETTED");
    assert!(parts["Organization"][0].get("name").is_none());
    // What changed since the last time: as of its transactionTime.
    let first = hospital.manifest(&hospital.kick_off("/fhir/$export").await).await;
    let since = first["transactionTime"].as_str().unwrap();
    hospital.put("/fhir/Patient/new", &json!({"resourceType": "Patient", "id": "new"})).await.expect(201);
    assert!(names(&format!("_since={since}")).await.contains(&"Patient/new".to_owned()));
    assert!(names(&format!("_since={since}")).await.len() <= 2);

    let parameters = json!({"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": "Organization"}]});
    let begun = hospital.post("/fhir/$export", &ASYNC, &parameters).await.expect(202);
    let manifest = hospital.manifest(&local(begun.header("content-location").unwrap())).await;
    assert_eq!(manifest["output"].as_array().unwrap().len(), 1);
    hospital.send("GET", "/fhir/$export?_format=json&_pretty=true&_type=Group", &ASYNC[..1], "").await.expect(202);
    hospital.send("GET", "/fhir/$export?_format=xml", &ASYNC, "").await.expect(406);
    for path in ["/fhir/Patient/$export?_type=Patient,Organization", "/fhir/Group/g/$export?_typeFilter=Organization%3Fname%3Dx"] {
        hospital.send("GET", path, &ASYNC, "").await.expect(400);
        hospital.send("GET", path, &[("Prefer", "respond-async, handling=lenient")], "").await.expect(202);
    }
    for wrong in [
        "_type=Patience",
        "_since=x",
        "_outputFormat=text/csv",
        "_typeFilter=code%3D1",
        "_typeFilter=Patient%3Fshoe-size%3D4",
        "colour=red",
    ] {
        let refused = hospital.send("GET", &format!("/fhir/$export?{wrong}"), &ASYNC, "").await.expect(400).json();
        assert_eq!(refused["resourceType"], "OperationOutcome", "{wrong}");
    }
    let lenient = [("Prefer", "respond-async, handling=lenient")];
    hospital.send("GET", "/fhir/$export?colour=red&_type=Group", &lenient, "").await.expect(202);
    hospital.get("/fhir/$export").await.expect(400);
    hospital.send("GET", "/fhir/$export", &[("Prefer", "respond-async"), ("Accept", "application/fhir+xml")], "").await.expect(406);
}

/// Writes that come while it runs, or after it, are not in it.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_of_one_commit() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let patient = |n: usize, gender: &str| json!({"resourceType": "Patient", "id": n.to_string(), "gender": gender});
    for n in 0..200 {
        hospital.put(&format!("/fhir/Patient/{n}"), &patient(n, "female")).await.expect(201);
    }
    let status = hospital.kick_off("/fhir/$export?_type=Patient").await;
    for n in 0..200 {
        hospital.put(&format!("/fhir/Patient/{n}"), &patient(n, "male")).await.expect(200);
        hospital.put(&format!("/fhir/Patient/new{n}"), &json!({"resourceType": "Patient", "id": format!("new{n}")})).await.expect(201);
    }
    let manifest = hospital.manifest(&status).await;
    let file = hospital.get(&local(manifest["output"][0]["url"].as_str().unwrap())).await.expect(200);
    let text = String::from_utf8(file.body).unwrap();
    assert_eq!((text.lines().count(), text.matches("\"female\"").count()), (200, 200));
}

async fn by(server: &Server, token: &str, method: &str, path: &str) -> Answer {
    let request = axum::http::Request::builder().method(method).uri(path).header("Authorization", format!("Bearer {token}"));
    server.send(request.header("Content-Type", "application/json").body(axum::body::Body::empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_its_owners_can_be_cancelled_and_is_on_the_record() {
    let server = Server::open();
    let (hospital, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    treated(&hospital).await;
    let status = hospital.kick_off("/fhir/$export").await;
    let manifest = hospital.manifest(&status).await;
    let of_patients = manifest["output"].as_array().unwrap().iter().find(|o| o["type"] == "Patient").unwrap();
    let file = local(of_patients["url"].as_str().unwrap());
    hospital.get(&file).await.expect(200);
    for path in [&status, &file] {
        other.get(path).await.expect(404);
    }
    other.send("DELETE", &status, &[], "").await.expect(404);
    hospital.get(&format!("{status}/none.ndjson")).await.expect(404);
    let colleague = server.token(Role::Hospital, "colleague", Some("Haukeland"));
    by(&server, &colleague, "GET", &status).await.expect(404);

    let centre = server.token(Role::Centre, "centre", None);
    let log = String::from_utf8(by(&server, &centre, "GET", "/audit/log?count=1000").await.body).unwrap();
    assert!(log.contains("GET /fhir/$export") && log.contains("GET /fhir/$export (a file of it)"), "{log}");
    let read = by(&server, &centre, "GET", "/audit/persons/p?holder=Haukeland").await.expect(200).json();
    assert!(read["accesses"].as_array().unwrap().len() >= 2, "{read}");

    hospital.send("DELETE", &status, &[], "").await.expect(202);
    for path in [&status, &file] {
        hospital.get(path).await.expect(404);
    }
    // An erasure takes the files of all exports with it.
    let status = hospital.kick_off("/fhir/$export").await;
    hospital.manifest(&status).await;
    let erase = json!({"holder": "Haukeland", "patient": "p", "reason": "a test"}).to_string();
    let request = axum::http::Request::post("/erasures").header("Authorization", format!("Bearer {centre}"));
    let erased = server.send(request.header("Content-Type", "application/json").body(erase.into()).unwrap()).await;
    assert!(erased.status.is_success(), "{}", String::from_utf8_lossy(&erased.body));
    hospital.get(&status).await.expect(404);
    let left = hospital.export_names("/fhir/$export").await;
    assert!(
        !left.contains(&"Patient/p".to_owned())
            && !left.contains(&"Observation/a".to_owned())
            && left.contains(&"Observation/c".to_owned())
    );
    assert_eq!(std::fs::read_dir(server.dir().join("exports")).unwrap().count(), 0, "no file is left of what was removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_it_says_to_export_again() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    treated(&hospital).await;
    let status = hospital.kick_off("/fhir/$export").await;
    hospital.manifest(&status).await;
    let token = hospital.token.clone();
    let server = server.restarted(std::sync::Arc::new(dugnad_kernel::clock::SystemClock));
    let gone = by(&server, &token, "GET", &status).await.expect(404).json();
    assert!(gone["issue"][0]["diagnostics"].as_str().unwrap().contains("export again"), "{gone}");
}

impl Hospital<'_> {
    async fn remove(&self, name: &str) {
        self.send("DELETE", &format!("/fhir/{name}"), &[], "").await.expect(204);
    }

    /// What an export says was deleted.
    async fn deletions(&self, path: &str) -> Vec<String> {
        let manifest = self.manifest(&self.kick_off(path).await).await;
        let mut urls = Vec::new();
        for file in manifest["deleted"].as_array().unwrap() {
            assert_eq!(file["type"], "Bundle");
            let text = String::from_utf8(self.get(&local(file["url"].as_str().unwrap())).await.expect(200).body).unwrap();
            assert_eq!(file["count"], text.lines().count());
            for line in text.lines() {
                let bundle: Value = serde_json::from_str(line).unwrap();
                assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("transaction")));
                let request = &bundle["entry"][0]["request"];
                assert_eq!(request["method"], "DELETE");
                urls.push(request["url"].as_str().unwrap().to_owned());
            }
        }
        urls.sort();
        urls
    }
}

/// A client that keeps a copy takes out of it what was deleted since its last export.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_since_is_said() {
    let server = Server::open();
    let (hospital, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    treated(&hospital).await;
    hospital.remove("Observation/d").await;
    let first = hospital.manifest(&hospital.kick_off("/fhir/$export").await).await;
    assert!(first["deleted"].as_array().unwrap().is_empty(), "without _since there is nothing that was exported before");
    // Later than that by a microsecond: what has the very time comes again.
    let time: jiff::Timestamp = first["transactionTime"].as_str().unwrap().parse().unwrap();
    let since = time + jiff::SignedDuration::from_micros(1);
    for name in ["Observation/a", "Observation/c", "Organization/o", "Observation/b", "Patient/q"] {
        hospital.remove(name).await;
    }
    let again = json!({"resourceType": "Organization", "id": "o", "name": "y"});
    hospital.put("/fhir/Organization/o", &again).await.expect(201);
    let system = format!("/fhir/$export?_since={since}");
    assert_eq!(hospital.deletions(&system).await, ["Observation/a", "Observation/b", "Observation/c", "Patient/q"]);
    assert_eq!(hospital.deletions(&format!("{system}&_type=Patient")).await, ["Patient/q"]);
    assert_eq!(hospital.deletions(&format!("/fhir/Group/g/$export?_since={since}")).await, ["Observation/a", "Observation/b"]);
    let of_patients = hospital.deletions(&format!("/fhir/Patient/$export?_since={since}")).await;
    assert_eq!(of_patients, ["Observation/a", "Observation/b", "Observation/c", "Patient/q"]);
    assert!(hospital.deletions(&format!("{system}&_until={since}")).await.is_empty());
    assert!(other.deletions(&system).await.is_empty());
    // Of whoever was erased nothing is said, nor of what was about them.
    let centre = server.token(Role::Centre, "centre", None);
    let erase = json!({"holder": "Haukeland", "patient": "p", "reason": "a test"}).to_string();
    let request = axum::http::Request::post("/erasures").header("Authorization", format!("Bearer {centre}"));
    assert!(server.send(request.header("Content-Type", "application/json").body(erase.into()).unwrap()).await.status.is_success());
    assert_eq!(hospital.deletions(&system).await, ["Observation/c", "Patient/q"]);
}
