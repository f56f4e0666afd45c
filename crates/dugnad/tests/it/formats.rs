//! In which form resources come and go: JSON and nothing else, gzip, parts, preferences, Binary in its own content type, Bundles that
//! ask for nothing.

use crate::support::{Answer, Hospital, Server};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::{Read, Write};

fn patient() -> Value {
    json!({"resourceType": "Patient", "id": "1", "gender": "female", "birthDate": "1970-01-01",
           "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"}})
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn unpacked(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

async fn accepting(hospital: &Hospital<'_>, path: &str, accept: &str) -> Answer {
    hospital.send("GET", path, &[("Accept", accept)], Body::empty()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn xml_is_refused_with_a_sentence() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &patient()).await.expect(201);
    for path in ["/fhir/Patient/1", "/fhir/Patient", "/fhir/Patient/1/_history", "/fhir/_history", "/fhir/Patient/1/Observation"] {
        for accept in ["application/fhir+xml", "application/xml", "text/xml;q=0.9", "text/turtle"] {
            let refused = accepting(&hospital, path, accept).await.expect(406).json();
            assert!(refused["issue"][0]["diagnostics"].as_str().unwrap().contains("JSON"), "{path} {accept}");
        }
        let by_format = if path.contains('?') { "&_format=xml" } else { "?_format=xml" };
        hospital.get(&format!("{path}{by_format}")).await.expect(406);
        for format in ["json", "application/fhir%2Bjson", "application/json"] {
            accepting(&hospital, &format!("{path}?_format={format}"), "application/fhir+xml").await.expect(200);
        }
        accepting(&hospital, path, "application/fhir+xml;q=0.5, application/fhir+json").await.expect(200);
    }
    let xml = "<Patient xmlns=\"http://hl7.org/fhir\"/>";
    for (method, path) in [("POST", "/fhir/Patient"), ("PUT", "/fhir/Patient/1"), ("POST", "/fhir"), ("PATCH", "/fhir/Patient/1")] {
        let refused = hospital.send(method, path, &[("Content-Type", "application/fhir+xml")], xml).await.expect(415).json();
        assert!(refused["issue"][0]["diagnostics"].as_str().unwrap().contains("JSON"), "{method} {path}");
    }
    hospital.send("POST", "/fhir/Binary", &[("Content-Type", "application/fhir+xml")], xml).await.expect(415);
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_both_ways() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let body = packed(patient().to_string().as_bytes());
    hospital.send("PUT", "/fhir/Patient/1", &[("Content-Encoding", "gzip")], body.clone()).await.expect(201);
    for n in 0..30 {
        hospital
            .post("/fhir/Patient", &[], &json!({"resourceType": "Patient", "name": [{"family": format!("Name{n}")}]}))
            .await
            .expect(201);
    }
    let gzip = [("Accept-Encoding", "gzip")];
    let packed_answer = hospital.send("GET", "/fhir/Patient", &gzip, Body::empty()).await.expect(200);
    let plain = hospital.get("/fhir/Patient").await.expect(200);
    assert_eq!(unpacked(&packed_answer)["total"], plain.json()["total"]);
    assert!(packed_answer.body.len() * 4 < plain.body.len() && plain.header("content-encoding").is_none());
    assert!(packed_answer.headers.get_all("vary").iter().any(|v| v.to_str().unwrap().to_lowercase().contains("accept-encoding")));
    let small = hospital.send("GET", "/fhir/Patient/1", &gzip, Body::empty()).await.expect(200);
    assert_eq!((small.header("content-encoding"), small.json()["gender"].as_str()), (None, Some("female")));

    for (coding, body, status) in [("gzip", patient().to_string().into_bytes(), 400), ("br", body.clone(), 415), ("gzip, gzip", body, 415)]
    {
        let refused = hospital.send("PUT", "/fhir/Patient/1", &[("Content-Encoding", coding)], body).await.expect(status).json();
        assert_eq!(refused["resourceType"], "OperationOutcome", "{coding}");
    }
    // What it unpacks to is bounded, not what is sent.
    let bomb = packed(&vec![b' '; 40 << 20]);
    assert!(bomb.len() < 1 << 20);
    hospital.send("POST", "/fhir", &[("Content-Encoding", "gzip")], bomb).await.expect(413);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_reads() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let written = hospital.put("/fhir/Patient/1", &patient()).await.expect(201);
    let changed = written.header("last-modified").unwrap();
    let get = |name: &'static str, value: &str| {
        let (hospital, value) = (&hospital, value.to_owned());
        async move { hospital.send("GET", "/fhir/Patient/1", &[(name, &value)], Body::empty()).await.status.as_u16() }
    };
    assert_eq!(get("If-Modified-Since", changed).await, 304);
    assert_eq!(get("If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT").await, 304);
    assert_eq!(get("If-Modified-Since", "Thu, 01 Jan 1998 00:00:00 GMT").await, 200);
    assert_eq!(get("If-Modified-Since", "whenever").await, 200);
    assert_eq!(get("If-None-Match", "W/\"1\"").await, 304);
    assert_eq!(get("If-None-Match", "W/\"2\"").await, 200);
    let both = [("If-None-Match", "W/\"2\""), ("If-Modified-Since", changed)];
    hospital.send("GET", "/fhir/Patient/1", &both, Body::empty()).await.expect(200);
    let unchanged = hospital.send("GET", "/fhir/Patient/1", &[("If-None-Match", "\"1\"")], Body::empty()).await.expect(304);
    assert!(unchanged.body.is_empty() && unchanged.header("etag") == Some("W/\"1\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_say_that_they_are_parts() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &patient()).await.expect(201);
    let tags = |resource: &Value| resource["meta"]["tag"][0]["code"].clone();
    for (query, has, lacks) in [
        ("_summary=true", "gender", "text"),
        ("_summary=text", "text", "gender"),
        ("_summary=data", "gender", "text"),
        ("_elements=birthDate", "birthDate", "gender"),
    ] {
        let read = hospital.get(&format!("/fhir/Patient/1?{query}")).await.expect(200).json();
        let version = hospital.get(&format!("/fhir/Patient/1/_history/1?{query}")).await.expect(200).json();
        let found = hospital.get(&format!("/fhir/Patient?{query}")).await.expect(200).json()["entry"][0]["resource"].clone();
        for resource in [read, version, found] {
            assert!(resource.get(has).is_some() && resource.get(lacks).is_none(), "{query}: {resource}");
            assert_eq!(tags(&resource), "SUBSETTED");
        }
    }
    let whole = hospital.get("/fhir/Patient/1?_summary=false").await.expect(200).json();
    assert!(whole.get("text").is_some() && tags(&whole) == Value::Null);
    assert_eq!(
        hospital.get("/fhir/Patient?_summary=count").await.expect(200).json(),
        hospital.get("/fhir/Patient?_summary=count").await.json()
    );
    let pretty = hospital.get("/fhir/Patient/1?_pretty=true").await.expect(200);
    assert!(String::from_utf8(pretty.body).unwrap().starts_with("{\n  \"resourceType\": \"Patient\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_answers_as_is_preferred() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &patient()).await.expect(201);
    let patch = json!([{"op": "replace", "path": "/gender", "value": "male"}]).to_string();
    let (json, json_patch) = ("application/fhir+json", "application/json-patch+json");
    for (method, path, kind, body) in [
        ("PUT", "/fhir/Patient/1", json, patient().to_string()),
        ("PUT", "/fhir/Patient?_id=1", json, patient().to_string()),
        ("POST", "/fhir/Patient", json, patient().to_string()),
        ("PATCH", "/fhir/Patient/1", json_patch, patch.clone()),
        ("PATCH", "/fhir/Patient?_id=1", json_patch, patch),
        ("DELETE", "/fhir/Patient/1", json, String::new()),
    ] {
        for (wanted, expected) in [("minimal", None), ("representation", Some("Patient")), ("OperationOutcome", Some("OperationOutcome"))] {
            let headers = [("Content-Type", kind), ("Prefer", &format!("return={wanted}"))];
            let answer = hospital.send(method, path, &headers, body.clone()).await;
            assert!(answer.status.is_success(), "{method} {path} {wanted}: {}", answer.status);
            let got = if answer.body.is_empty() { None } else { Some(answer.json()["resourceType"].as_str().unwrap().to_owned()) };
            let expected = expected.filter(|kind| method != "DELETE" || *kind == "OperationOutcome");
            assert_eq!(got.as_deref(), expected, "{method} {path} {wanted}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_is_what_it_holds() {
    let server = Server::open();
    let (hospital, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    let content: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    let headers = [("Content-Type", "image/png"), ("X-Security-Context", "Patient/1"), ("Prefer", "return=minimal")];
    let made = hospital.send("POST", "/fhir/Binary", &headers, content.clone()).await.expect(201);
    let location = made.header("location").unwrap().to_owned();
    let path = location.split("/_history").next().unwrap();
    for accept in ["*/*", "image/png", "image/*, */*;q=0.1"] {
        let raw = accepting(&hospital, path, accept).await.expect(200);
        assert_eq!((raw.header("content-type"), raw.header("x-security-context")), (Some("image/png"), Some("Patient/1")), "{accept}");
        assert!(raw.body == content && raw.header("etag") == Some("W/\"1\""));
        assert_eq!((raw.header("content-disposition"), raw.header("x-content-type-options")), (Some("attachment"), Some("nosniff")));
    }
    for json in [accepting(&hospital, path, "application/fhir+json").await, hospital.get(&format!("{path}?_format=json")).await] {
        let resource = json.expect(200).json();
        assert_eq!((&resource["contentType"], &resource["securityContext"]["reference"]), (&json!("image/png"), &json!("Patient/1")));
        assert_eq!(resource["data"].as_str().unwrap(), STANDARD.encode(&content));
    }
    accepting(&hospital, path, "application/fhir+xml").await.expect(406);
    accepting(&other, path, "image/png").await.expect(404);

    // A document in XML is a content like others; a resource in JSON is one.
    let cda = "<ClinicalDocument xmlns=\"urn:hl7-org:v3\"/>";
    hospital.send("PUT", "/fhir/Binary/cda", &[("Content-Type", "text/xml; charset=utf-8")], cda).await.expect(201);
    let raw = accepting(&hospital, "/fhir/Binary/cda", "*/*").await.expect(200);
    assert_eq!((raw.header("content-type"), raw.body.as_slice()), (Some("text/xml; charset=utf-8"), cda.as_bytes()));
    let resource = json!({"resourceType": "Binary", "id": "j", "contentType": "text/plain", "data": STANDARD.encode("hei")});
    hospital.put("/fhir/Binary/j", &resource).await.expect(201);
    assert_eq!(accepting(&hospital, "/fhir/Binary/j", "*/*").await.expect(200).body, b"hei");
    let version = accepting(&hospital, "/fhir/Binary/j/_history/1", "text/plain").await.expect(200);
    assert_eq!(version.body, b"hei");
    let large = vec![0; 30 << 20];
    hospital.send("POST", "/fhir/Binary", &[("Content-Type", "image/png")], large).await.expect(413);
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_that_ask_for_nothing_are_stored_as_they_are() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let urn = "urn:uuid:0191a7a0-0000-7000-8000-000000000001";
    let patient = json!({"resourceType": "Patient", "id": "x", "gender": "female"});
    let composition = json!({"resourceType": "Composition", "status": "final", "type": {"text": "x"}, "date": "2026", "title": "x",
                             "author": [{"display": "x"}], "subject": {"reference": urn}});
    let header =
        json!({"resourceType": "MessageHeader", "eventUri": "urn:x", "source": {"endpoint": "urn:y"}, "focus": [{"reference": urn}]});
    let basic = json!({"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": urn}});
    for (kind, first) in [("document", composition), ("message", header), ("collection", basic.clone()), ("searchset", basic)] {
        let bundle = json!({"resourceType": "Bundle", "type": kind, "timestamp": "2026-01-01T00:00:00Z",
            "identifier": {"system": "urn:x", "value": kind}, "entry": [
            {"fullUrl": "urn:uuid:0191a7a0-0000-7000-8000-000000000002", "resource": first}, {"fullUrl": urn, "resource": patient}]});
        let refused = hospital.post("/fhir", &[], &bundle).await.expect(400).json();
        assert!(refused["issue"][0]["diagnostics"].as_str().unwrap().contains("POST /fhir/Bundle"), "{refused}");
        let stored = hospital.post("/fhir/Bundle", &[], &bundle).await.expect(201).json();
        let read = hospital.get(&format!("/fhir/Bundle/{}", stored["id"].as_str().unwrap())).await.expect(200).json();
        assert_eq!((&read["entry"], &read["type"]), (&bundle["entry"], &bundle["type"]));
    }
    assert_eq!(hospital.get("/fhir/Patient").await.expect(200).json()["total"], 0, "what is in them is not stored by itself");
    hospital.post("/fhir", &[], &json!({"resourceType": "Bundle", "type": "unknown"})).await.expect(400);
    hospital.post("/fhir", &[], &json!({"resourceType": "Patient"})).await.expect(400);
}
