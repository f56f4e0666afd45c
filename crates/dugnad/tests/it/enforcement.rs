//! What permits enforce, over HTTP: opt-outs, consent, blinding, limits, cancellation, and rights that end while an answer is given.

use crate::process::{Process, live_permit, make_database};
use crate::support::{Answer, Server};
use axum::body::Body;
use axum::http::Request;
use dugnad::access::{Principal, Role, TokenRequest};
use dugnad::api::{self, Settings};
use dugnad::cli::local::Local;
use dugnad::query::format::{Format, encode};
use dugnad::query::{OptOutCover, Question};
use dugnad_kernel::audit::Act;
use dugnad_kernel::ids::Commit;
use futures::StreamExt;
use jiff::ToSpan;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

async fn send(server: &Server, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let request = Request::builder().method(method).uri(path).header("Authorization", format!("Bearer {token}"));
    let request = request.header("Content-Type", "application/json");
    server.send(request.body(body.map_or_else(Body::empty, |b| Body::from(b.to_string()))).unwrap()).await
}

async fn rows(server: &Server, token: &str, permit: &str, sql: &str) -> Value {
    send(server, token, "POST", "/sql", Some(&json!({"permit": permit, "sql": sql}))).await.expect(200).json()
}

fn permit(id: &str, basis: &str, population: Value, tables: Value) -> Value {
    json!({
        "id": id, "basis": basis, "applicant": "somebody", "users": ["reader"], "purpose": "to test", "tables": tables,
        "population": population, "cadence": "live", "cadence_reason": "because", "delivery": if basis == "ehds_permit" { "enclave" } else { "remote" },
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2090-01-01T00:00:00Z",
        "decision": {"by": "centre", "at": "2020-01-01T00:00:00Z", "reasons": "a test"}, "status": "active",
    })
}

fn put_permit(server: &Server, permit: &Value) {
    server.local.database.put_document("permit", permit["id"].as_str().unwrap(), &permit.to_string()).unwrap();
}

/// Asks inside the secure processing environment.
async fn inside(local: &Local, permit: &str, sql: &str, as_of: Option<Commit>) -> Value {
    let who = Principal { inside_spe: true, ..Principal::new("reader", Role::Company, None) };
    let question = Question { who, interface: "sql", permit: permit.to_owned(), sql: sql.to_owned(), as_of, min_commit: None };
    let chunks: Vec<_> = encode(local.query.ask(question).await.unwrap(), Format::Json).collect().await;
    let bytes: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.unwrap().to_vec()).collect();
    serde_json::from_slice(&bytes).unwrap()
}

const COUNT: &str = "SELECT COUNT(*) AS n FROM patient";

fn patients() -> Value {
    json!([{"table": "patient", "columns": "all"}, {"table": "observation", "columns": "all"}])
}

/// The first answer after the acknowledgement is without the person, whatever commit is asked about; permits that were granted
/// before go on, unless the operator says that national law goes further.
#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_holds_from_the_next_question() {
    let server = Server::open();
    let hospital = server.hospital("Nord");
    for id in ["a", "b"] {
        hospital.put(&format!("/fhir/Patient/{id}"), &json!({"resourceType": "Patient", "id": id})).await.expect(201);
    }
    let ehds = |id| permit(id, "ehds_permit", json!("everyone"), patients());
    put_permit(&server, &ehds("before"));
    let there = server.local.database.snapshot().commit();
    let centre = server.token(Role::Centre, "centre", None);
    let told = send(&server, &centre, "PUT", "/opt-outs/Nord/a", None).await.expect(200);
    assert_eq!(told.json()["opted_out"], true);
    assert!(told.header("dugnad-commit").is_some());
    put_permit(&server, &ehds("after"));
    let ask = async |permit: &'static str, as_of| inside(&server.local, permit, COUNT, as_of).await[0]["n"].as_u64().unwrap();
    assert_eq!((ask("before", None).await, ask("after", None).await), (2, 1));
    assert_eq!((ask("before", Some(there)).await, ask("after", Some(there)).await), (2, 1), "whatever commit is asked about");
    for n in 0..20 {
        let (method, expected) = if n % 2 == 0 { ("DELETE", 2) } else { ("PUT", 1) };
        let told = send(&server, &centre, method, "/opt-outs/Nord/a", None).await.expect(200);
        assert_eq!(told.json()["opted_out"], n % 2 == 1);
        // The permit is given anew, so that it comes after.
        put_permit(&server, &ehds("after"));
        assert_eq!(ask("after", None).await, expected, "the first answer after the acknowledgement");
    }
    // A hospital's own Consent counts too, and another permit's basis does not know it.
    let consent = json!({
        "resourceType": "Consent", "id": "own", "status": "active", "patient": {"reference": "Patient/b"},
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]}],
        "policyRule": {"text": "a law"},
    });
    hospital.put("/fhir/Consent/own", &consent).await.expect(201);
    assert_eq!(ask("after", None).await, 1, "granted before the second one");
    assert_eq!(send(&server, &centre, "DELETE", "/opt-outs/Nord/b", None).await.expect(200).json()["opted_out"], true);
    drop(api::router(server.local.app(Settings { opt_outs: OptOutCover::AllPermits, ..Settings::default() }), axum::Router::new()));
    assert_eq!((ask("before", None).await, ask("after", None).await), (0, 0), "a national override");
    let mut register = permit("register", "statutory_register", json!("everyone"), patients());
    register["provision"] = json!({"law": "a law", "retention": "P1Y"});
    put_permit(&server, &register);
    let reader = server.token(Role::Company, "reader", None);
    assert_eq!(rows(&server, &reader, "register", COUNT).await, json!([{"n": 2}]), "as that law says");
    register["provision"]["opt_out"] = json!(true);
    put_permit(&server, &register);
    assert_eq!(rows(&server, &reader, "register", COUNT).await, json!([{"n": 0}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_opt_whom_out() {
    let server = Server::open();
    for holder in ["Nord", "Vest"] {
        server.hospital(holder).put("/fhir/Patient/a", &json!({"resourceType": "Patient", "id": "a"})).await.expect(201);
    }
    let nord = server.token(Role::Hospital, "Nord", Some("Nord"));
    server.local.tokens.bind("a patient", Some(("Nord", "a"))).unwrap();
    let patient = server.token(Role::Patient, "a patient", None);
    let company = server.token(Role::Company, "company", None);
    for (token, path, status) in [
        (&nord, "/opt-outs/Nord/a", 200),
        (&nord, "/opt-outs/Vest/a", 404),
        (&nord, "/opt-outs/Nord/b", 404),
        (&patient, "/opt-outs/Nord/a", 200),
        (&patient, "/opt-outs/Vest/a", 404),
        (&company, "/opt-outs/Nord/a", 404),
    ] {
        for method in ["PUT", "GET", "DELETE"] {
            assert_eq!(send(&server, token, method, path, None).await.status.as_u16(), status, "{method} {path}");
        }
    }
    let permits = send(&server, &patient, "GET", "/permits", None).await.expect(200).json();
    assert_eq!(permits["permits"], json!([]), "who is a patient has no permit by that");
    let entries = server.local.audit.entries(0, 1_000).unwrap();
    let acts = entries.iter().filter(|(_, e)| e.act == Act::Decision && e.interface.as_deref() == Some("opt-outs")).count();
    assert_eq!(acts, 4, "each change is on the record");
}

/// A study `s` at Nord with subjects `a` and `b`, each with a kit and a measurement.
async fn study(server: &Server) {
    let hospital = server.hospital("Nord");
    hospital.put("/fhir/ResearchStudy/s", &json!({"resourceType": "ResearchStudy", "id": "s", "status": "active"})).await.expect(201);
    for id in ["a", "b"] {
        hospital.put(&format!("/fhir/Patient/{id}"), &json!({"resourceType": "Patient", "id": id, "gender": "female"})).await.expect(201);
        let subject = json!({
            "resourceType": "ResearchSubject", "id": format!("rs-{id}"), "status": "on-study", "study": {"reference": "ResearchStudy/s"},
            "individual": {"reference": format!("Patient/{id}")},
        });
        hospital.put(&format!("/fhir/ResearchSubject/rs-{id}"), &subject).await.expect(201);
        for code in ["KIT", "BP"] {
            observe(server, id, code, "1").await;
        }
        let given = json!({
            "resourceType": "MedicationAdministration", "id": format!("m-{id}"), "status": "completed",
            "medicationCodeableConcept": {"coding": [{"code": "ACTIVE"}]}, "subject": {"reference": format!("Patient/{id}")},
            "effectiveDateTime": "2026-03-01",
        });
        hospital.put(&format!("/fhir/MedicationAdministration/m-{id}"), &given).await.expect(201);
    }
}

async fn observe(server: &Server, patient: &str, code: &str, n: &str) -> u16 {
    let id = format!("{code}-{patient}-{n}");
    let observation = json!({
        "resourceType": "Observation", "id": id, "status": "final", "code": {"coding": [{"code": code}]},
        "subject": {"reference": format!("Patient/{patient}")}, "valueQuantity": {"value": 1.5},
    });
    server.hospital("Nord").put(&format!("/fhir/Observation/{id}"), &observation).await.status.as_u16()
}

fn studies() -> Value {
    json!({"study_subjects": {"studies": [{"holder": "Nord", "id": "s"}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawal_ends_the_collection_for_that_study_alone() {
    let server = Server::open();
    study(&server).await;
    put_permit(&server, &permit("study", "trial_protocol", studies(), patients()));
    let reader = server.token(Role::Company, "reader", None);
    let count = async || rows(&server, &reader, "study", "SELECT COUNT(*) AS n FROM observation").await[0]["n"].as_u64().unwrap();
    assert_eq!(count().await, 4);
    let withdrawn = json!({
        "resourceType": "ResearchSubject", "id": "rs-a", "status": "withdrawn", "study": {"reference": "ResearchStudy/s"},
        "individual": {"reference": "Patient/a"},
    });
    server.hospital("Nord").put("/fhir/ResearchSubject/rs-a", &withdrawn).await.expect(200);
    observe(&server, "a", "BP", "2").await;
    observe(&server, "b", "BP", "2").await;
    assert_eq!(count().await, 5, "what stood stays, what b adds is there, and nothing more of a");
    let care = server.token(Role::Hospital, "Nord", Some("Nord"));
    assert_eq!(rows(&server, &care, "care", "SELECT COUNT(*) AS n FROM observation").await, json!([{"n": 6}]), "and nothing else changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blinded_reader_lacks_what_tells_the_arm() {
    let server = Server::open();
    study(&server).await;
    let tables = json!([
        {"table": "observation", "columns": "all"}, {"table": "medication_administration", "columns": "all"}, {"table": "treatment", "columns": "all"},
    ]);
    let mut blinded = permit("blinded", "trial_protocol", studies(), tables);
    blinded["blinding"] = json!({"blinded": {
        "columns": [{"table": "medication_administration", "columns": ["code", "code_display"]}],
        "rows": [{"table": "observation", "column": "code", "codes": ["KIT"]}],
    }});
    put_permit(&server, &blinded);
    let reader = server.token(Role::Company, "reader", None);
    let observed = "SELECT code, COUNT(*) AS n FROM observation GROUP BY code ORDER BY code";
    assert_eq!(rows(&server, &reader, "blinded", observed).await, json!([{"code": "BP", "n": 2}]));
    let sql = json!({"permit": "blinded", "sql": "SELECT code FROM medication_administration"});
    let refused = send(&server, &reader, "POST", "/sql", Some(&sql)).await.expect(400).json();
    assert!(refused["detail"].as_str().unwrap().contains("there is no column code"), "{refused}");
    assert_eq!(
        rows(&server, &reader, "blinded", "SELECT DISTINCT code FROM treatment").await,
        json!([{"code": null}]),
        "nor through a view"
    );
    let nothing = rows(&server, &reader, "blinded", "SELECT COUNT(*) AS n FROM treatment WHERE code = 'ACTIVE'").await;
    assert_eq!(nothing, json!([{"n": 0}]), "nor by asking whether");

    let (centre, path) = (server.token(Role::Centre, "centre", None), "/permits/blinded/unblindings");
    let subject = json!({"requested_by": "investigator", "reason": "an emergency", "subject": {"holder": "Nord", "patient": "a"}});
    for (wrong, status) in [("requested_by", 400), ("reason", 400)] {
        let mut request = subject.clone();
        request[wrong] = json!(if wrong == "reason" { " " } else { "centre" });
        assert_eq!(send(&server, &centre, "POST", path, Some(&request)).await.status.as_u16(), status, "{wrong}");
    }
    send(&server, &reader, "POST", path, Some(&subject)).await.expect(403);
    send(&server, &centre, "POST", "/permits/none/unblindings", Some(&subject)).await.expect(404);
    send(&server, &centre, "POST", path, Some(&subject)).await.expect(200);
    assert_eq!(rows(&server, &reader, "blinded", observed).await, json!([{"code": "BP", "n": 2}, {"code": "KIT", "n": 1}]));
    let codes = "SELECT code, COUNT(*) AS n FROM medication_administration GROUP BY code ORDER BY code NULLS LAST";
    assert_eq!(rows(&server, &reader, "blinded", codes).await, json!([{"code": "ACTIVE", "n": 1}, {"code": null, "n": 1}]), "a's alone");
    let filtered = "SELECT COUNT(*) AS n FROM medication_administration WHERE code = 'ACTIVE'";
    assert_eq!(rows(&server, &reader, "blinded", filtered).await, json!([{"n": 1}]));
    let whole = json!({"requested_by": "investigator", "reason": "the study is closed"});
    send(&server, &centre, "POST", path, Some(&whole)).await.expect(200);
    assert_eq!(rows(&server, &reader, "blinded", codes).await, json!([{"code": "ACTIVE", "n": 2}]));
    assert_eq!(send(&server, &centre, "GET", path, None).await.expect(200).json().as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn labelled_records_and_protected_persons_are_the_hospitals_alone() {
    let server = Server::open();
    study(&server).await;
    let hospital = server.hospital("Nord");
    let mut labelled = json!({"resourceType": "Observation", "id": "r", "status": "final", "code": {"coding": [{"code": "R"}]}, "subject": {"reference": "Patient/a"}});
    labelled["meta"] = json!({"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]});
    hospital.put("/fhir/Observation/r", &labelled).await.expect(201);
    hospital
        .put("/fhir/Patient/b", &json!({"resourceType": "Patient", "id": "b", "meta": {"security": [{"code": "V"}]}}))
        .await
        .expect(200);
    put_permit(&server, &permit("study", "trial_protocol", studies(), patients()));
    let reader = server.token(Role::Company, "reader", None);
    let count = "SELECT COUNT(*) AS n FROM observation";
    assert_eq!(rows(&server, &reader, "study", count).await, json!([{"n": 2}]), "a's, without the labelled one");
    let care = server.token(Role::Hospital, "Nord", Some("Nord"));
    assert_eq!(rows(&server, &care, "care", count).await, json!([{"n": 5}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_population_is_live_by_its_criteria() {
    let server = Server::open();
    study(&server).await;
    let criteria =
        json!({"criteria": {"rows": {"table": "observation", "at_least": 2, "where": {"in": {"column": "code", "codes": ["BP"]}}}}});
    let mut register = permit("register", "statutory_register", criteria.clone(), patients());
    register["provision"] = json!({"law": "a law", "retention": "P1Y"});
    put_permit(&server, &register);
    register["id"] = json!("others");
    register["population"] = json!({"criteria": {"not": criteria["criteria"]}});
    put_permit(&server, &register);
    let reader = server.token(Role::Company, "reader", None);
    let counts = async || {
        let count = async |permit: &'static str| rows(&server, &reader, permit, COUNT).await[0]["n"].as_u64().unwrap();
        (count("register").await, count("others").await)
    };
    assert_eq!(counts().await, (0, 2));
    observe(&server, "a", "BP", "2").await;
    assert_eq!(counts().await, (1, 1));
    observe(&server, "b", "BP", "2").await;
    assert_eq!(counts().await, (2, 0));
    let deleted = server.hospital("Nord").send("DELETE", "/fhir/Observation/BP-a-1", &[], Body::empty()).await;
    assert!(deleted.status.is_success());
    assert_eq!(counts().await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_bounds_what_a_question_costs() {
    let server = Server::open();
    let mut limited = permit("limited", "statutory_register", json!("everyone"), patients());
    limited["provision"] = json!({"law": "a law", "retention": "P1Y"});
    limited["limits"] = json!({"time_s": 1, "memory_mib": 1, "rows": 10});
    put_permit(&server, &limited);
    let reader = server.token(Role::Company, "reader", None);
    let ask =
        async |sql: &str| send(&server, &reader, "POST", "/sql", Some(&json!({"permit": "limited", "sql": sql, "format": "csv"}))).await;
    assert_eq!(ask("SELECT * FROM generate_series(1, 10)").await.expect(200).body.iter().filter(|b| **b == b'\n').count(), 11);
    let many = ask("SELECT * FROM generate_series(1, 11)").await.expect(422).json();
    assert!(many["detail"].as_str().unwrap().contains("more than the 10 rows"), "{many}");
    let large = ask("SELECT COUNT(DISTINCT CAST(value AS TEXT)) FROM generate_series(1, 900000)").await.expect(422).json();
    assert!(large["detail"].as_str().unwrap().contains("memory"), "{large}");
    let slow = ask("SELECT COUNT(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b").await.expect(422).json();
    assert!(slow["detail"].as_str().unwrap().contains("longer than the 1 s"), "{slow}");
}

/// A server in a process, with a centre's token too.
fn with_centre(dir: &std::path::Path) -> (Process, String, String) {
    let tokens = make_database(dir, &["patient"]);
    let local = Local::open(dir, None).unwrap();
    let request = TokenRequest { user: "centre".to_owned(), role: Role::Centre, holder: None, subject: None, valid_for: 1.hour() };
    let centre = local.tokens.issue(&request).unwrap();
    local.audit.close();
    local.database.close();
    drop(local);
    (Process::start(dir), tokens.authority, centre)
}

/// Sends a request by hand and reads the first bytes of its answer.
fn begin(process: &Process, token: &str, body: &Value) -> (TcpStream, String) {
    let address = process.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let body = body.to_string();
    let head = format!("POST /sql HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let mut first = [0; 2_048];
    let read = stream.read(&mut first).unwrap();
    (stream, String::from_utf8_lossy(&first[..read]).into_owned())
}

/// More rows than anybody reads in a minute.
const ENDLESS: &str = "SELECT a.value AS a, b.value AS b FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000) b";

/// How the answer ends: its last bytes.
fn end_of(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest); // a transfer that breaks
    String::from_utf8_lossy(&rest[rest.len().saturating_sub(400)..]).into_owned()
}

fn outcomes(dir: &std::path::Path) -> Vec<String> {
    let local = Local::open(dir, None).unwrap();
    let entries = local.audit.entries(0, 1_000).unwrap();
    local.audit.close();
    local.database.close();
    entries.into_iter().filter(|(_, e)| e.act == Act::Completion).filter_map(|(_, e)| e.outcome).collect()
}

#[test]
fn a_permit_that_is_revoked_ends_the_answer_that_is_being_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (process, authority, centre) = with_centre(dir.path());
    let (stream, first) = begin(&process, &authority, &json!({"permit": "live", "sql": ENDLESS, "format": "ndjson"}));
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    let mut revoked = live_permit("2026-01-01T00:00:00Z".parse().unwrap(), &["patient"]);
    revoked["status"] = json!("revoked");
    revoked["decision"]["by"] = json!("centre");
    let client = process.client(&centre);
    let body = revoked.to_string();
    let headers = [("Content-Type", "application/json")];
    let answer = client.send(ureq::http::Method::PUT, "/permits/live", &headers, Some(body.as_bytes())).unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let end = end_of(stream);
    assert!(end.contains("no longer holds: it was revoked or has expired"), "{end}");
    assert!(!end.ends_with("0\r\n\r\n"), "and the transfer is not whole: {end}");
    process.kill();
    assert_eq!(outcomes(dir.path()), ["revoked"], "its completion is on the record");
}

/// A question goes from the list when its answer has ended, which may be a moment after its reader has seen the end.
fn wait_until_empty(list: &dyn Fn() -> Vec<Value>) {
    let start = std::time::Instant::now();
    while !list().is_empty() {
        assert!(start.elapsed().as_secs() < 30, "a question does not end");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_question_is_stopped_by_its_user_the_centre_or_a_connection_that_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (process, authority, centre) = with_centre(dir.path());
    let question = json!({"permit": "live", "sql": ENDLESS, "format": "csv"});
    let list = |token: &str| {
        let (status, body, _) = crate::process::send(&process.client(token), ureq::http::Method::GET, "/sql/queries", None).unwrap();
        assert_eq!(status, 200);
        body["queries"].as_array().unwrap().clone()
    };
    for (token, by) in [(&authority, "by you"), (&centre, "by the centre")] {
        let (stream, first) = begin(&process, &authority, &question);
        let id = first.lines().find_map(|line| line.strip_prefix("dugnad-query: ")).unwrap().trim().to_owned();
        let running = list(token);
        assert_eq!((running.len(), &running[0]["id"], &running[0]["running"]), (1, &json!(id), &json!(true)));
        assert_eq!(running[0].get("sql").is_some(), token == &authority, "what is asked is the user's own");
        let path = format!("/sql/queries/{id}");
        let stopped = process.client(token).send(ureq::http::Method::DELETE, &path, &[], None).unwrap();
        assert_eq!(stopped.status().as_u16(), 204);
        let end = end_of(stream);
        assert!(end.contains(&format!("cancelled {by}")), "{end}");
        wait_until_empty(&|| list(&authority));
        let gone = process.client(token).send(ureq::http::Method::DELETE, &path, &[], None).unwrap();
        assert_eq!(gone.status().as_u16(), 404);
    }
    let (stream, _) = begin(&process, &authority, &question);
    assert_eq!(list(&authority).len(), 1);
    drop(stream);
    wait_until_empty(&|| list(&authority));
    process.kill();
    let outcomes = outcomes(dir.path());
    assert_eq!(outcomes.iter().filter(|o| *o == "cancelled").count(), 3, "{outcomes:?}");
}
