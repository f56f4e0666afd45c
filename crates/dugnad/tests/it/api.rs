//! FHIR REST, roles, the record.

use crate::support::{Answer, Server};
use axum::body::Body;
use axum::http::Request;
use dugnad::access::Role;
use dugnad_kernel::audit::Act;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn patient(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "gender": "female"})
}

fn commit(answer: &Answer) -> u64 {
    answer.header("dugnad-commit").expect("Dugnad-Commit").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_lives() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let created = hospital.put("/fhir/Patient/1", &patient("1")).await.expect(201);
    assert_eq!(created.header("etag"), Some("W/\"1\""));
    assert!(created.header("location").unwrap().ends_with("/fhir/Patient/1/_history/1"));
    assert!(created.header("last-modified").unwrap().ends_with("GMT"));
    let read = hospital.get("/fhir/Patient/1").await.expect(200);
    assert_eq!(read.header("content-type"), Some("application/fhir+json; charset=utf-8"));
    assert_eq!(read.json()["meta"]["versionId"], "1");
    assert!(commit(&read) >= commit(&created), "a read sees what was acknowledged");

    let head = hospital.send("HEAD", "/fhir/Patient/1", &[], Body::empty()).await.expect(200);
    assert!(head.body.is_empty() && head.header("etag").is_some());
    hospital.send("GET", "/fhir/Patient/1", &[("If-None-Match", "W/\"1\"")], Body::empty()).await.expect(304);

    let male = json!({"resourceType": "Patient", "id": "1", "gender": "male"}).to_string();
    hospital.send("PUT", "/fhir/Patient/1", &[("If-Match", "W/\"7\"")], male.clone()).await.expect(412);
    let updated = hospital.send("PUT", "/fhir/Patient/1", &[("If-Match", "W/\"1\"")], male).await.expect(200);
    assert_eq!(updated.header("etag"), Some("W/\"2\""));
    assert_eq!(hospital.get("/fhir/Patient/1/_history/1").await.expect(200).json()["gender"], "female");
    hospital.get("/fhir/Patient/1/_history/3").await.expect(404);

    hospital.send("DELETE", "/fhir/Patient/1", &[], Body::empty()).await.expect(204);
    let gone = hospital.get("/fhir/Patient/1").await.expect(410).json();
    assert_eq!(gone["issue"][0]["code"], "deleted");
    let history = hospital.get("/fhir/Patient/1/_history").await.expect(200).json();
    let methods: Vec<&str> = history["entry"].as_array().unwrap().iter().map(|e| e["request"]["method"].as_str().unwrap()).collect();
    assert_eq!((history["total"].as_u64(), methods), (Some(3), vec!["DELETE", "PUT", "PUT"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_decide_what_a_write_answers() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let body = json!({"resourceType": "Basic", "code": {"text": "x"}});
    let full = hospital.post("/fhir/Basic", &[], &body).await.expect(201);
    assert_eq!(full.json()["code"]["text"], "x");
    assert!(hospital.post("/fhir/Basic", &[("Prefer", "return=minimal")], &body).await.expect(201).body.is_empty());
    let outcome = hospital.post("/fhir/Basic", &[("Prefer", "return=OperationOutcome")], &body).await.expect(201).json();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
}

/// 64 clients that send the same conditional create at once make one resource.
#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_create_makes_one() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let body = json!({"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "7"}]});
    let sent = (0..64).map(|_| hospital.post("/fhir/Patient", &[("If-None-Exist", "identifier=urn:x|7")], &body));
    let answers = futures::future::join_all(sent).await;
    assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 63);
    let ids: std::collections::HashSet<String> = answers.iter().map(|a| a.json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_all_or_nothing_and_repeatable() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let bundle = |gender: &str| {
        json!({"resourceType": "Bundle", "type": "transaction", "entry": [
            {"fullUrl": "urn:uuid:0191a7a0-0000-7000-8000-000000000001",
             "resource": {"resourceType": "Patient", "gender": gender}, "request": {"method": "POST", "url": "Patient"}},
            {"resource": {"resourceType": "Condition", "id": "c", "subject": {"reference": "urn:uuid:0191a7a0-0000-7000-8000-000000000001"}},
             "request": {"method": "PUT", "url": "Condition/c"}}]})
    };
    let mut bad = bundle("female");
    bad["entry"][0]["resource"]["unknownElement"] = json!(1);
    let refused = hospital.post("/fhir", &[], &bad).await;
    assert!(refused.status.is_client_error());
    assert!(refused.json()["issue"][0]["expression"][0].as_str().unwrap().starts_with("Bundle.entry[0].resource"));
    hospital.get("/fhir/Condition/c").await.expect(404);

    let key = [("Idempotency-Key", "k1"), ("Prefer", "return=representation")];
    let taken = hospital.post("/fhir", &key, &bundle("female")).await.expect(200);
    let answer = taken.json();
    assert_eq!(answer["entry"][0]["response"]["status"], "201 Created");
    let patient = answer["entry"][0]["resource"]["id"].as_str().unwrap().to_owned();
    assert_eq!(answer["entry"][1]["resource"]["subject"]["reference"], format!("Patient/{patient}"));
    let again = hospital.post("/fhir", &key, &bundle("female")).await.expect(200);
    assert_eq!(again.header("dugnad-replayed"), Some("true"));
    assert_eq!(hospital.get("/fhir/Condition/c/_history").await.expect(200).json()["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_batch_stand_alone() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let put = |id: &str, body: Value| json!({"resource": body, "request": {"method": "PUT", "url": format!("Patient/{id}")}});
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        put("1", patient("1")),
        put("2", json!({"resourceType": "Patient", "id": "2", "nonsense": true})),
        {"request": {"method": "GET", "url": "Patient/1"}},
        {"request": {"method": "GET", "url": "Patient/absent"}},
        put("1", json!({"resourceType": "Patient", "id": "1", "gender": "male"})),
        {"request": {"method": "DELETE", "url": "Patient/1"}},
    ]});
    let answer = hospital.post("/fhir", &[], &batch).await.expect(200);
    let commit = commit(&answer);
    let answer = answer.json();
    let statuses: Vec<&str> = (0..6).map(|n| &answer["entry"][n]["response"]["status"].as_str().unwrap()[..3]).collect();
    assert_eq!(
        (answer["type"].as_str(), statuses[0], statuses[2..].to_vec()),
        (Some("batch-response"), "201", vec!["200", "404", "200", "204"])
    );
    assert!(statuses[1].starts_with('4'));
    let at = answer["entry"][1]["response"]["outcome"]["issue"][0]["expression"][0].as_str().unwrap();
    assert!(at.starts_with("Bundle.entry[1].resource"), "{at}");
    assert_eq!(answer["entry"][2]["resource"]["gender"], "female", "reads see the entries before them");
    assert_eq!(commit, server.local.database.snapshot().commit().0);
}

/// What another hospital has is answered byte for byte as what nobody has.
#[tokio::test(flavor = "multi_thread")]
async fn existence_is_hidden() {
    let server = Server::open();
    let (mine, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    mine.put("/fhir/Patient/secret", &patient("secret")).await.expect(201);
    for path in ["/fhir/Patient/{}", "/fhir/Patient/{}/_history", "/fhir/Patient/{}/_history/1"] {
        let foreign = other.get(&path.replace("{}", "secret")).await.expect(404);
        let absent = other.get(&path.replace("{}", "nobody")).await.expect(404);
        assert_eq!(foreign.body, absent.body);
        let names = |a: &Answer| a.headers.keys().map(|k| k.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&foreign), names(&absent));
    }
    other.put("/fhir/Patient/secret", &patient("secret")).await.expect(201);
    assert_eq!(mine.get("/fhir/Patient/secret/_history").await.json()["total"], 1, "ids are a holder's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_nothing() {
    let server = Server::open();
    let description = server.get("/openapi.json").await.expect(200).json();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let path = path
                .replace("{type}", "Patient")
                .replace("{id}", "1")
                .replace("{version}", "1")
                .replace("{of}", "Observation")
                .replace("{path}", "0/000")
                .replace("{index}", "0");
            let method = method.to_uppercase();
            for token in [None, Some("Bearer nonsense"), Some("Basic YTpi")] {
                let mut request = Request::builder().method(method.as_str()).uri(&path).header("Content-Type", "application/fhir+json");
                if let Some(token) = token {
                    request = request.header("Authorization", token);
                }
                let answer = server.send(request.body(Body::from("{}")).unwrap()).await;
                if operation["security"].as_array().unwrap().is_empty() {
                    assert_ne!(answer.status, 401, "{method} {path}");
                } else {
                    assert_eq!(answer.status, 401, "{method} {path}");
                    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"), "{method} {path}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_keep_to_their_interfaces() {
    let server = Server::open();
    let authority = server.token(Role::Authority, "authority", None);
    let request = |path: &str| Request::get(path).header("Authorization", format!("Bearer {authority}")).body(Body::empty()).unwrap();
    for path in ["/fhir/Patient/1", "/metrics", "/audit/log", "/audit/proof/0"] {
        let refused = server.send(request(path)).await.expect(403);
        let json = refused.json();
        let expected = if path.starts_with("/fhir") { &json["issue"][0]["code"] } else { &json["title"] };
        assert!(expected == "forbidden" || expected == "Forbidden", "{json}");
    }
    let entries = server.local.audit.entries(0, 100).unwrap();
    let refusals: Vec<_> = entries.iter().filter(|(_, e)| e.act == Act::Refusal && e.user == "authority").collect();
    assert_eq!(refusals.len(), 4, "refusals are on the record");
    let centre = server.token(Role::Centre, "centre", None);
    let metrics = Request::get("/metrics").header("Authorization", format!("Bearer {centre}")).body(Body::empty()).unwrap();
    let text = String::from_utf8(server.send(metrics).await.expect(200).body).unwrap();
    assert!(text.contains("dugnad_http_requests_total{route=\"/fhir/{type}/{id}\",method=\"GET\",status=\"403\"} 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_access_is_on_the_record() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let written = hospital.put("/fhir/Patient/1", &patient("1")).await.expect(201);
    hospital.get("/fhir/Patient/1").await.expect(200);
    hospital.get("/fhir/Patient/2").await.expect(404);
    let entries = server.local.audit.entries(0, 100).unwrap();
    let about: Vec<_> =
        entries.iter().map(|(index, e)| (*index, e)).filter(|(_, e)| e.user == "Haukeland" && e.act != Act::Login).collect();
    let acts: Vec<Act> = about.iter().map(|(_, e)| e.act).collect();
    assert_eq!(acts, [Act::Write, Act::Intent, Act::Completion, Act::Intent, Act::Completion]);
    assert_eq!(about[0].1.commit, Some(commit(&written)));
    assert_eq!(about[2].1.intent, Some(about[1].0));
    assert_eq!((about[2].1.rows, about[4].1.rows), (Some(1), Some(0)));
    assert_eq!(about[1].1.request.as_deref(), Some("GET /fhir/Patient/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_may_insist_on_a_commit() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let written = hospital.put("/fhir/Patient/1", &patient("1")).await.expect(201);
    let wanted = commit(&written).to_string();
    hospital.send("GET", "/fhir/Patient/1", &[("Dugnad-Min-Commit", &wanted)], Body::empty()).await.expect(200);
    let started = Instant::now();
    let late = hospital.send("GET", "/fhir/Patient/1", &[("Dugnad-Min-Commit", "1000000")], Body::empty()).await.expect(503);
    assert!(late.header("retry-after").is_some() && started.elapsed() < Duration::from_secs(10));
    hospital.send("GET", "/fhir/Patient/1", &[("Dugnad-Min-Commit", "soon")], Body::empty()).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_says_so_in_the_language_of_its_interface() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let elsewhere = server.get("/nothing/here").await.expect(404);
    assert_eq!(elsewhere.header("content-type"), Some("application/problem+json"));
    assert_eq!(elsewhere.json()["status"], 404);
    for name in ["content-security-policy", "x-content-type-options", "cache-control"] {
        assert!(elsewhere.header(name).is_some(), "{name}");
    }
    let posted = hospital.send("POST", "/fhir/Patient/1", &[], "{}").await.expect(405);
    assert_eq!(posted.json()["issue"][0]["code"], "not-supported");
    let unknown = hospital.get("/fhir/Patience/1").await.expect(404);
    assert_eq!(unknown.json()["resourceType"], "OperationOutcome");
    hospital.send("GET", "/fhir/Patient/1", &[("Accept", "application/fhir+xml")], Body::empty()).await.expect(406);
    server.get("/fhir/metadata?_format=json").await.expect(200);
    server.get("/fhir/metadata?_format=xml").await.expect(406);
    server.get("/healthz").await.expect(200);
    assert!(String::from_utf8(server.get("/audit/checkpoint").await.expect(200).body).unwrap().starts_with("dugnad.local/audit\n"));
}

#[tokio::test]
async fn a_request_about_another_timeline_is_refused() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let ours = server.local.database.timeline().to_string();
    let body = r#"{"resourceType":"Patient","id":"p1"}"#;
    for (timeline, status) in [(ours.as_str(), 201), ("0123456789abcdef", 412), ("nonsense", 400)] {
        let answer = hospital.send("PUT", "/fhir/Patient/p1", &[("Dugnad-Timeline", timeline)], body).await.expect(status);
        assert_eq!(answer.header("dugnad-timeline").is_some(), status != 400);
        assert_eq!(status == 201, answer.header("dugnad-commit").is_some());
    }
    assert_eq!(server.local.database.snapshot().commit().0, 1);
}

/// SECURITY.md names every surface that needs no token.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_public_is_said_to_be() {
    let server = Server::open();
    let security = include_str!("../../../../SECURITY.md");
    let from = security.find("**Public surfaces**").unwrap();
    let said = &security[from..][..security[from..].find("\n\n").unwrap()];
    let named: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
    let description = server.get("/openapi.json").await.expect(200).json();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap().iter().filter(|(_, o)| o["security"] == json!([])) {
            let covers = |name: &&str| *name == path || name.strip_suffix("...").is_some_and(|start| path.starts_with(start));
            let handed_in = *path == "/audit/checkpoint" && method == "post";
            let pages = ["/register/", "/public-register/", "/me/sign-in/"].iter().any(|start| path.starts_with(start));
            assert!(
                named.iter().any(covers) || handed_in || pages,
                "{method} {path} is public, and SECURITY.md does not say so: {operation}"
            );
        }
    }
}
