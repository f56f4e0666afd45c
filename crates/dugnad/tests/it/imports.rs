//! `$import` over HTTP: files that the server fetches, and NDJSON as the body.

use crate::process::{Process, make_database};
use crate::support::{Hospital, Server};
use axum::Router;
use axum::http::header;
use dugnad::access::Role;
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

/// A file of which this comes, and then nothing for as long as the server is there.
async fn unending(begins: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/files/unending", listener.local_addr().unwrap());
    let file = move || {
        let begins = futures::stream::once(std::future::ready(Ok::<_, std::io::Error>(begins.clone())));
        std::future::ready(axum::body::Body::from_stream(futures::StreamExt::chain(begins, futures::stream::pending())))
    };
    let router = Router::new().route("/files/unending", axum::routing::get(file));
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

    /// The count of an import of these lines.
    async fn taken(&self, lines: String) -> u64 {
        let begun = self.send("POST", "/fhir/$import", &NDJSON, lines).await;
        self.imported(begun).await["output"][0]["count"].as_u64().unwrap()
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
    server.local.tokens.revoke("Haukeland").unwrap();
    assert_eq!(hospital.send("POST", "/fhir/$import", &NDJSON, patients(0, 1)).await.status.as_u16(), 401);
}

/// It restores: what was changed or deleted since it was taken in is as it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn sent_again_a_file_is_as_it_was_sent() {
    let server = open();
    let hospital = server.hospital("Haukeland");
    let gender = |id: &str| {
        let path = format!("/fhir/Patient/{id}");
        let hospital = &hospital;
        async move { hospital.get(&path).await.expect(200).json()["gender"].clone() }
    };
    let (females, males) = (patients(0, 3), patients(0, 3).replace("female", "male"));
    for (file, expected) in [(&females, "female"), (&males, "male"), (&females, "female")] {
        assert_eq!(hospital.taken(file.clone()).await, 3);
        assert_eq!(gender("p1").await, expected);
    }
    hospital.send("DELETE", "/fhir/Patient/p1", &[], "").await.expect(204);
    hospital.put("/fhir/Patient/p2", &json!({"resourceType": "Patient", "id": "p2", "gender": "other"})).await.expect(200);
    assert_eq!(hospital.taken(females).await, 3);
    assert_eq!((gender("p1").await, gender("p2").await), (json!("female"), json!("female")));
    // One alone, and what has no id, which is made once, however the lines fall into groups.
    hospital.send("DELETE", "/fhir/Patient/p1", &[], "").await.expect(204);
    hospital.taken(patients(1, 1)).await;
    assert_eq!((gender("p1").await, hospital.total().await), (json!("female"), 3));
    let unnamed =
        |count: usize| (0..count).map(|n| format!("{{\"resourceType\":\"Patient\",\"birthDate\":\"19{:02}\"}}\n", n)).collect::<String>();
    for (count, total) in [(5, 8), (7, 10), (5, 10)] {
        hospital.taken(unnamed(count)).await;
        assert_eq!(hospital.total().await, total);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_runs_is_cancelled_and_what_was_taken_stays() {
    let server = open();
    let hospital = server.hospital("Haukeland");
    let url = unending(patients(0, 250)).await;
    let begun = hospital.post("/fhir/$import", &ASYNC, &asked(&[("Patient", url)])).await.expect(202);
    let status = begun.header("content-location").unwrap().strip_prefix("http://localhost").unwrap().to_owned();
    // It says so a moment after the lines were taken.
    while hospital.get(&status).await.expect(202).header("x-progress") != Some("file 1 of 1, 200 lines") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    hospital.send("DELETE", &status, &[], "").await.expect(202);
    hospital.get(&status).await.expect(404);
    assert_eq!(hospital.total().await, 200);
}

/// An import of a thousand addresses that say nothing would hold its place for hours.
#[tokio::test(flavor = "multi_thread")]
async fn after_some_addresses_that_do_not_answer_no_other_is_called() {
    let server = open();
    let hospital = server.hospital("Haukeland");
    let url = files(vec![("a.ndjson", patients(0, 5).into_bytes())]).await;
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/files/x", listener.local_addr().unwrap())
    };
    let good = || ("Patient", format!("{url}/a.ndjson"));
    let bad = || ("Patient", nobody.clone());
    let inputs = [bad(), bad(), good(), bad(), ("Patient", format!("{url}/none")), bad(), bad(), bad(), good()];
    let manifest = hospital.imported(hospital.post("/fhir/$import", &ASYNC, &asked(&inputs)).await).await;
    let counts: Vec<u64> = manifest["output"].as_array().unwrap().iter().map(|o| o["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [0, 0, 5, 0, 0, 0, 0, 0, 0]);
    let last = hospital.said(manifest["error"].as_array().unwrap().last().unwrap()).await;
    assert!(last[0].to_string().contains("not fetched"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_no_value_are_on_the_record_and_go_with_an_erasure() {
    let server = open();
    let (hospital, centre) = (server.hospital("Haukeland"), server.token(Role::Centre, "centre", None));
    let lines = format!("{}{{\"resourceType\":\"Patient\",\"id\":12345678901}}\n", patients(0, 2));
    let begun = hospital.send("POST", "/fhir/$import?_format=json&_pretty=true", &NDJSON, lines).await;
    let manifest = hospital.imported(begun).await;
    let error = &manifest["error"][0];
    let said = hospital.said(error).await[0].to_string();
    assert!(said.contains("line 3: ") && said.contains("column") && !said.contains("12345678901"), "{said}");
    let by_centre = |method: &str, path: &str| {
        let request = axum::http::Request::builder().method(method).uri(path).header("Authorization", format!("Bearer {centre}"));
        request.header("Content-Type", "application/json")
    };
    let log = server.send(by_centre("GET", "/audit/log?count=1000").body(axum::body::Body::empty()).unwrap()).await.expect(200);
    assert!(String::from_utf8(log.body).unwrap().contains("GET /fhir/$import (a file of errors)"));
    let erase = json!({"holder": "Haukeland", "patient": "p0", "reason": "a test"}).to_string();
    assert!(server.send(by_centre("POST", "/erasures").body(erase.into()).unwrap()).await.status.is_success());
    let url = error["url"].as_str().unwrap().strip_prefix("http://localhost").unwrap();
    hospital.get(url).await.expect(404);
    assert_eq!(std::fs::read_dir(server.dir().join("imports")).unwrap().count(), 0);
    // What is not known of the address is refused, whatever the body is.
    hospital.send("POST", "/fhir/$import?colour=red", &NDJSON, patients(0, 1)).await.expect(400);
    hospital.send("POST", "/fhir/$import?_format=xml", &NDJSON, patients(0, 1)).await.expect(406);
}

/// A server that is told to stop does not wait for an endpoint that says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_hangs_does_not_hold_up_the_end_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("db");
    std::fs::create_dir(&data).unwrap();
    let tokens = make_database(&data, &["patient"]);
    let mut process = Process::start(&data);
    let url = unending(patients(0, 250)).await;
    let client = process.client(&tokens.hospital);
    let ended = tokio::task::spawn_blocking(move || {
        let headers = [("Content-Type", "application/fhir+json"), ("Prefer", "respond-async")];
        let body = asked(&[("Patient", url)]).to_string();
        let begun = client.send(ureq::http::Method::POST, "/fhir/$import", &headers, Some(body.as_bytes())).unwrap();
        assert_eq!(begun.status().as_u16(), 202);
        let taken = || {
            let mut answer = client.send(ureq::http::Method::GET, "/fhir/Patient?_summary=count", &[], None).unwrap();
            let bundle: Value = serde_json::from_str(&dugnad::cli::client::text(&mut answer)).unwrap();
            bundle["total"] == 200
        };
        while !taken() {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(client);
        process.terminate()
    });
    assert!(ended.await.unwrap().success());
}
