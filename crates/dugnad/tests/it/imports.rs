//! `$import` over HTTP: files that the server fetches, and NDJSON as the body.

use crate::support::{Hospital, Server};
use axum::Router;
use axum::http::header;
use dugnad::api::Settings;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

const ASYNC: [(&str, &str); 1] = [("Prefer", "respond-async")];
const NDJSON: [(&str, &str); 1] = [("Content-Type", "application/fhir+ndjson")];

fn open() -> Server {
    let settings = Settings { endpoints: vec!["http://127.0.0.1:*/files".parse().unwrap()], ..Settings::default() };
    Server::open_set(tempfile::tempdir().unwrap(), settings).0
}

/// Where files stand: these, by name. `/files/elsewhere` leads away.
async fn files(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/files", listener.local_addr().unwrap());
    let mut router = Router::new();
    for (name, bytes) in files {
        router = router.route(&format!("/files/{name}"), axum::routing::get(move || std::future::ready(bytes.clone())));
    }
    let away = (axum::http::StatusCode::FOUND, [(header::LOCATION, "/files/a.ndjson")]);
    let router = router.route("/files/elsewhere", axum::routing::get(move || std::future::ready(away)));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn patients(from: usize, count: usize) -> String {
    (from..from + count).map(|n| json!({"resourceType": "Patient", "id": format!("p{n}"), "gender": "female"}).to_string() + "\n").collect()
}

fn asked(inputs: &[(&str, String)]) -> Value {
    let input = |(kind, url): &(&str, String)| json!({"name": "input", "part": [{"name": "type", "valueCode": kind}, {"name": "url", "valueUrl": url}]});
    let mut parameters = vec![
        json!({"name": "inputFormat", "valueCode": "application/fhir+ndjson"}),
        json!({"name": "inputSource", "valueUri": "https://a.example"}),
        json!({"name": "storageDetail", "part": [{"name": "type", "valueCode": "https"}]}),
    ];
    parameters.extend(inputs.iter().map(input));
    json!({"resourceType": "Parameters", "parameter": parameters})
}

impl Hospital<'_> {
    /// The manifest of an import that has begun.
    async fn imported(&self, begun: crate::support::Answer) -> Value {
        let begun = begun.expect(202);
        let status = begun.header("content-location").unwrap().strip_prefix("http://localhost").unwrap().to_owned();
        loop {
            let answer = self.get(&status).await;
            if answer.status != 202 {
                return answer.expect(200).json();
            }
            assert!(answer.header("x-progress").is_some());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn total(&self) -> u64 {
        self.get("/fhir/Patient?_summary=count").await.expect(200).json()["total"].as_u64().unwrap()
    }

    async fn said(&self, error: &Value) -> Vec<Value> {
        let url = error["url"].as_str().unwrap().strip_prefix("http://localhost").unwrap();
        let text = String::from_utf8(self.get(url).await.expect(200).body).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_fetched_and_taken_in() {
    let server = open();
    let (hospital, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    let mut bad = patients(1_000, 30);
    bad.push_str("{\"resourceType\": \"Patient\", \"gender\": \"green\", \"id\": \"bad\"}\n\nnot json\n");
    bad.push_str(&patients(2_000, 30));
    let url = files(vec![("a.ndjson", patients(0, 450).into_bytes()), ("b", gzip(bad.as_bytes()))]).await;
    let of = |names: &[&str]| asked(&names.iter().map(|name| ("Patient", format!("{url}/{name}"))).collect::<Vec<_>>());
    let manifest = hospital.imported(hospital.post("/fhir/$import", &ASYNC, &of(&["a.ndjson", "b", "none", "elsewhere"])).await).await;
    let counts: Vec<u64> = manifest["output"].as_array().unwrap().iter().map(|o| o["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [450, 60, 0, 0]);
    let errors = manifest["error"].as_array().unwrap();
    assert_eq!(errors.iter().map(|e| e["count"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 1, 1]);
    let lines = hospital.said(&errors[0]).await;
    let text = |outcome: &Value| outcome["issue"][0]["diagnostics"].as_str().unwrap().to_owned();
    assert!(text(&lines[0]).starts_with("line 31: ") && text(&lines[1]).starts_with("line 33: "), "{lines:?}");
    assert_eq!(lines[0]["issue"][0]["expression"][0], "Patient.gender");
    assert!(text(&hospital.said(&errors[1]).await[0]).contains("404"));
    assert!(text(&hospital.said(&errors[2]).await[0]).contains("redirections are not followed"));
    assert_eq!((hospital.total().await, other.total().await), (510, 0));
    // Again: nothing changes.
    let before = server.local.database.snapshot().commit();
    let again = hospital.imported(hospital.post("/fhir/$import", &ASYNC, &of(&["a.ndjson", "b"])).await).await;
    assert_eq!(again["output"][0]["count"], 450);
    assert_eq!(server.local.database.snapshot().commit(), before);
    let version = hospital.get("/fhir/Patient/p7").await.expect(200).json();
    assert_eq!(version["meta"]["versionId"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_is_taken_in_while_it_comes() {
    let server = open();
    let hospital = server.hospital("Haukeland");
    let manifest = hospital.imported(hospital.send("POST", "/fhir/$import", &NDJSON, patients(0, 900)).await).await;
    assert_eq!((&manifest["output"][0]["count"], manifest["error"].as_array().unwrap().len()), (&json!(900), 0));
    assert_eq!(hospital.total().await, 900);
    let packed = [NDJSON[0], ("Content-Encoding", "gzip")];
    let manifest = hospital.imported(hospital.send("POST", "/fhir/$import", &packed, gzip(patients(900, 10).as_bytes())).await).await;
    assert_eq!(manifest["output"][0]["count"], 10);
    // One that breaks off says so; what had come is taken, and is not taken twice.
    let chunks = [Ok(patients(1_000, 250).into_bytes()), Err(std::io::Error::other("gone"))];
    let body = axum::body::Body::from_stream(futures::stream::iter(chunks));
    hospital.send("POST", "/fhir/$import", &NDJSON, body).await.expect(400);
    let manifest = hospital.imported(hospital.send("POST", "/fhir/$import", &NDJSON, patients(1_000, 300)).await).await;
    assert_eq!((manifest["output"][0]["count"].as_u64(), hospital.total().await), (Some(300), 1_210));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_its_owners_and_what_cannot_be_asked_is_refused() {
    let server = open();
    let (hospital, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    let begun = hospital.send("POST", "/fhir/$import", &NDJSON, patients(0, 1)).await.expect(202);
    let status = begun.header("content-location").unwrap().strip_prefix("http://localhost").unwrap().to_owned();
    other.get(&status).await.expect(404);
    other.send("DELETE", &status, &[], "").await.expect(404);
    hospital.imported(begun).await;
    hospital.get(&format!("{status}/1.errors.ndjson")).await.expect(404);
    hospital.send("DELETE", &status, &[], "").await.expect(202);
    hospital.get(&status).await.expect(404);
    let of = |url: &str| asked(&[("Patient", url.to_owned())]);
    hospital.post("/fhir/$import", &[], &of("http://127.0.0.1/files/a")).await.expect(400);
    for (wrong, status) in [
        (of("http://127.0.0.1/elsewhere/a"), 403),
        (of("http://localhost/files/a"), 403),
        (of("file:///etc/passwd"), 403),
        (asked(&[]), 400),
        (asked(&[("Patience", "http://127.0.0.1/files/a".to_owned())]), 404),
        (json!({"resourceType": "Parameters", "parameter": [{"name": "mode", "valueCode": "x"}]}), 400),
        (json!({"resourceType": "Parameters", "parameter": [{"name": "inputFormat", "valueCode": "text/csv"}]}), 400),
    ] {
        hospital.post("/fhir/$import", &ASYNC, &wrong).await.expect(status);
    }
    // What was refused by its token half-way is not gone on with.
    server.local.tokens.revoke("Haukeland").unwrap();
    assert_eq!(hospital.send("POST", "/fhir/$import", &NDJSON, patients(0, 1)).await.status.as_u16(), 401);
}
