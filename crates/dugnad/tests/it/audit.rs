//! Who read my data?; what is on the record; nothing without the record; witnesses.

use crate::process::live_permit;
use crate::support::{Answer, Hospital, Server};
use axum::Router;
use dugnad::access::Role;
use dugnad::api::{self, Settings};
use dugnad_kernel::audit::{Act, Entry, Proof, WitnessKey};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use std::process::Command;

/// A server with two hospitals, whose patients share a national identifier, and an authority.
struct Scene {
    server: Server,
}

const NATIONAL: &str = "13116900216";

impl Scene {
    async fn open() -> Self {
        let scene = Self { server: Server::open() };
        for (hospital, id) in [("Haukeland", "kari"), ("Ullevål", "k-7")] {
            let hospital = scene.server.hospital(hospital);
            hospital.put(&format!("/fhir/Patient/{id}"), &patient(id, Some(NATIONAL))).await.expect(201);
            hospital.put("/fhir/Patient/ola", &patient("ola", None)).await.expect(201);
            for (number, of) in [("o1", id), ("o2", "ola")] {
                hospital.put(&format!("/fhir/Observation/{number}"), &observation(number, of)).await.expect(201);
            }
        }
        let mut permit = live_permit(scene.server.local.clock.now(), &["patient", "observation"]);
        permit["delivery"] = "remote".into();
        scene.server.local.database.put_document("permit", "live", &permit.to_string()).unwrap();
        scene.server.local.tokens.bind("kari", Some(("Haukeland", "kari"))).unwrap();
        scene
    }

    fn by(&self, role: Role, user: &str) -> Hospital<'_> {
        let holder = (role == Role::Hospital).then_some(user);
        Hospital { server: &self.server, token: self.server.token(role, user, holder) }
    }

    fn entries(&self) -> Vec<(u64, Entry)> {
        self.server.local.audit.entries(0, 10_000).unwrap()
    }
}

fn patient(id: &str, national: Option<&str>) -> Value {
    let mut patient = json!({"resourceType": "Patient", "id": id, "gender": "female"});
    if let Some(national) = national {
        patient["identifier"] = json!([{"system": "urn:oid:2.16.578.1.12.4.1.4.1", "value": national}]);
    }
    patient
}

fn observation(id: &str, of: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final", "subject": {"reference": format!("Patient/{of}")},
        "code": {"coding": [{"system": "http://loinc.org", "code": if of == "ola" { "85354-9" } else { "718-7" }}]},
    })
}

async fn sql(asker: &Hospital<'_>, permit: &str, sql: &str) -> Answer {
    asker.send("POST", "/sql", &[("Content-Type", "application/json")], json!({"permit": permit, "sql": sql}).to_string()).await
}

fn users(answer: &Answer) -> Vec<String> {
    answer.json()["accesses"].as_array().unwrap().iter().rev().map(|a| a["user"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_who_read_their_data_and_can_prove_it() {
    let scene = Scene::open().await;
    let (kari, centre) = (scene.by(Role::Patient, "kari"), scene.by(Role::Centre, "centre"));
    assert_eq!(users(&kari.get("/audit/persons/me").await.expect(200)), [] as [&str; 0]);
    scene.by(Role::Hospital, "Haukeland").get("/fhir/Observation/o1").await.expect(200);
    scene.by(Role::Hospital, "Haukeland").get("/fhir/Patient/ola").await.expect(200);
    scene.by(Role::Hospital, "Ullevål").get("/fhir/Patient/k-7/_history").await.expect(200);
    let authority = scene.by(Role::Authority, "authority");
    sql(&authority, "live", "SELECT count(*) FROM observation").await.expect(200);
    sql(&authority, "live", "SELECT code FROM observation WHERE code = '85354-9'").await.expect(200);
    sql(&scene.by(Role::Hospital, "Haukeland"), "care", "SELECT * FROM observation").await.expect(200);
    // Her own look before is on it too. The Patient of the other hospital is she as well.
    let mine = kari.get("/audit/persons/me?proofs=true").await.expect(200);
    assert_eq!(users(&mine), ["kari", "Haukeland", "Ullevål", "authority", "Haukeland"]);
    let shown = mine.json();
    let of_authority = &shown["accesses"][1];
    assert_eq!((&of_authority["purpose"], &of_authority["tables"]), (&json!("A test"), &json!(["observation"])));
    assert!(of_authority.get("request").is_none(), "what was asked may name others");
    let key = scene.server.local.audit.verifier_key().clone();
    let proof: Option<Proof> = serde_json::from_value(of_authority["proof"].clone()).unwrap();
    // The newest entries wait for the next checkpoint.
    if let Some(proof) = proof {
        proof.verify(&key).unwrap();
    }
    // A hospital is answered about its own Patient, the centre about anybody; the others are told nothing.
    let own = scene.by(Role::Hospital, "Haukeland").get("/audit/persons/kari").await.expect(200);
    assert_eq!(users(&own), ["kari", "Haukeland", "authority", "Haukeland", "kari"]);
    let by_centre = centre.get("/audit/persons/k-7?holder=Ullev%C3%A5l&count=2").await.expect(200).json();
    assert_eq!(by_centre["accesses"].as_array().unwrap().len(), 2);
    let rest = centre.get(&format!("/audit/persons/k-7?holder=Ullev%C3%A5l&before={}", by_centre["next"])).await.expect(200);
    assert!(users(&rest).len() >= 5);
    scene.by(Role::Hospital, "Haukeland").get("/audit/persons/k-7").await.expect(404);
    authority.get("/audit/persons/me").await.expect(404);
    kari.get("/audit/persons/ola").await.expect(404);
    scene.by(Role::Patient, "somebody").get("/audit/persons/me").await.expect(404);
}

/// A page of a search is an access to whom its resources name, to nobody else; a number of matches is one to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_an_access_to_whom_it_finds() {
    let scene = Scene::open().await;
    let (kari, hospital) = (scene.by(Role::Patient, "kari"), scene.by(Role::Hospital, "Haukeland"));
    hospital.get("/fhir/Patient?_id=ola").await.expect(200);
    hospital.get("/fhir/Patient?_id=kari&_summary=count").await.expect(200);
    assert_eq!(users(&kari.get("/audit/persons/me").await.expect(200)), [] as [&str; 0]);
    hospital.get("/fhir/Observation?_id=o1").await.expect(200);
    hospital.get("/fhir/Patient?_id=kari").await.expect(200);
    assert_eq!(users(&kari.get("/audit/persons/me").await.expect(200)), ["kari", "Haukeland", "Haukeland"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_events_are_made_from_the_log() {
    let scene = Scene::open().await;
    scene.by(Role::Hospital, "Haukeland").get("/fhir/Observation/o1").await.expect(200);
    sql(&scene.by(Role::Authority, "authority"), "live", "SELECT count(*) FROM patient").await.expect(200);
    let events = |answer: Answer| answer.json()["entry"].as_array().cloned().unwrap_or_default();
    let kari = scene.by(Role::Patient, "kari");
    let mine = events(kari.get("/fhir/AuditEvent").await.expect(200));
    let agents: Vec<&Value> = mine.iter().map(|e| &e["resource"]["agent"][0]["who"]["identifier"]["value"]).collect();
    assert_eq!(agents, ["authority", "Haukeland"]);
    let read = &mine[1]["resource"];
    assert_eq!((&read["type"]["code"], &read["subtype"][0]["code"], &read["action"]), (&json!("rest"), &json!("read"), &json!("R")));
    assert_eq!((&read["outcome"], &read["entity"][0]["what"]["reference"]), (&json!("0"), &json!("Patient/kari")));
    let centre = scene.by(Role::Centre, "centre");
    let all = events(centre.get("/fhir/AuditEvent?agent=authority&date=ge2020-01-01").await.expect(200));
    let codes: Vec<&Value> = all.iter().map(|e| &e["resource"]["type"]["code"]).collect();
    assert_eq!(codes, ["rest", "110114"], "the question and, before it, the login");
    assert_eq!(events(centre.get("/fhir/AuditEvent?date=lt2020-01-01").await.expect(200)).len(), 0);
    centre.get("/fhir/AuditEvent?date=soon").await.expect(400);
    let own = events(scene.by(Role::Hospital, "Ullevål").get("/fhir/AuditEvent?patient=k-7").await.expect(200));
    assert_eq!(own.len(), 2, "the authority, and herself");
    scene.by(Role::Hospital, "Ullevål").get("/fhir/AuditEvent?patient=kari").await.expect(404);
    scene.by(Role::Authority, "authority").get("/fhir/AuditEvent").await.expect(404);
    // A hospital's own AuditEvents are resources like others.
    let event = json!({
        "resourceType": "AuditEvent", "type": {"code": "rest"}, "recorded": "2026-11-22T00:00:00Z",
        "agent": [{"requestor": true}], "source": {"observer": {"display": "x"}},
    });
    scene.by(Role::Hospital, "Ullevål").post("/fhir/AuditEvent", &[], &event).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_takes_a_person_out_of_the_log() {
    let scene = Scene::open().await;
    let (kari, centre) = (scene.by(Role::Patient, "kari"), scene.by(Role::Centre, "centre"));
    scene.by(Role::Hospital, "Haukeland").get("/fhir/Patient/kari").await.expect(200);
    assert_eq!(users(&kari.get("/audit/persons/me").await.expect(200)), ["Haukeland"]);
    let ordinal =
        scene.server.local.database.patient(scene.server.local.database.holder("Haukeland").unwrap().id, "kari").unwrap().unwrap();
    let erase = json!({"holder": "Haukeland", "patient": "kari", "reason": "a test"}).to_string();
    centre.send("POST", "/erasures", &[("Content-Type", "application/json")], erase).await.expect(200);
    kari.get("/audit/persons/me").await.expect(404);
    assert_eq!(scene.server.local.audit.who(&[ordinal]).unwrap(), [], "the log itself says nothing any more");
    assert!(dugnad_kernel::audit::verify(&scene.server.dir().join("audit"), None).is_ok(), "and is what it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_and_what_other_processes_do_are_on_the_record() {
    let scene = Scene::open().await;
    let authority = scene.by(Role::Authority, "authority");
    authority.get("/permits").await.expect(200);
    authority.get("/permits").await.expect(200);
    let logins = scene.entries().into_iter().filter(|(_, e)| e.act == Act::Login && e.user == "authority").count();
    assert_eq!(logins, 1, "the first use");
    scene.server.local.tokens.revoke("authority").unwrap();
    scene.by(Role::Centre, "centre").get("/permits").await.expect(200);
    let administration: Vec<String> =
        scene.entries().into_iter().filter(|(_, e)| e.act == Act::Administration).filter_map(|(_, e)| e.request).collect();
    assert!(administration.contains(&"issue of a token to authority as authority".to_owned()), "{administration:?}");
    assert!(administration.contains(&"issue of a token to Haukeland as hospital of Haukeland".to_owned()));
    assert!(administration.contains(&"revocation of 1 token(s) of authority".to_owned()));
    assert_eq!(scene.server.local.tokens.unrecorded().unwrap().len(), 0);
    // A backup is made beside the server.
    let to = tempfile::tempdir().unwrap();
    let (data, to) = (scene.server.dir().display().to_string(), to.path().join("b").display().to_string());
    let made = Command::new(env!("CARGO_BIN_EXE_dugnad")).args(["backup", "--data", &data, "--to", &to]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    scene.by(Role::Centre, "another").get("/permits").await.expect(200);
    assert!(scene.entries().iter().any(|(_, e)| e.request.as_ref().is_some_and(|r| r.starts_with("backup of commit"))));
}

/// Every interface that reads, and every one that writes, once the log takes nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_or_written_without_the_record_on_any_interface() {
    let scene = Scene::open().await;
    let (hospital, authority, centre, kari) = (
        scene.by(Role::Hospital, "Haukeland"),
        scene.by(Role::Authority, "authority"),
        scene.by(Role::Centre, "centre"),
        scene.by(Role::Patient, "kari"),
    );
    // Their tokens are known, so that it is not the login that fails.
    for caller in [&hospital, &authority, &centre, &kari] {
        caller.get("/permits").await.expect(200);
    }
    let question = |permit: &str| json!({"permit": permit, "sql": "SELECT * FROM patient"});
    let run = json!({"resourceType": "Parameters", "parameter": [
        {"name": "subjectResource", "resource": {"resourceType": "Library", "content": [
            {"contentType": "application/sql", "data": "U0VMRUNUICogRlJPTSBwYXRpZW50"},
        ]}},
        {"name": "permit", "valueString": "live"},
    ]});
    let read = json!({"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": "Patient/kari"}}]});
    let transaction = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": patient("new", None), "request": {"method": "PUT", "url": "Patient/new"}},
    ]});
    let view = json!({"resourceType": "ViewDefinition", "name": "v", "status": "active", "resource": "Patient",
        "select": [{"column": [{"name": "id", "path": "getResourceKey()"}]}]});
    let erasure = json!({"holder": "Haukeland", "patient": "kari", "reason": "a test"});
    let mut permit = live_permit(scene.server.local.clock.now(), &["patient"]);
    permit["id"] = "other".into();
    let before = scene.server.local.database.snapshot().commit();
    scene.server.local.audit.close();
    let cases: Vec<(&Hospital, &str, &str, Option<&Value>)> = vec![
        (&hospital, "GET", "/fhir/Patient/kari", None),
        (&hospital, "GET", "/fhir/Patient/kari/_history", None),
        (&hospital, "GET", "/fhir/Patient/kari/_history/1", None),
        (&hospital, "POST", "/fhir", Some(&transaction)),
        (&hospital, "DELETE", "/fhir/Patient/kari", None),
        (&authority, "POST", "/fhir/$sql-run", Some(&run)),
        (&centre, "POST", "/fhir/ViewDefinition", Some(&view)),
        (&centre, "GET", "/fhir/ViewDefinition", None),
        (&kari, "GET", "/fhir/AuditEvent", None),
        (&centre, "GET", "/fhir/AuditEvent", None),
        (&kari, "GET", "/audit/persons/me", None),
        (&hospital, "GET", "/audit/persons/kari", None),
        (&centre, "GET", "/audit/log", None),
        (&centre, "GET", "/audit/proof/0", None),
        (&centre, "GET", "/erasures", None),
        (&authority, "GET", "/permits", None),
        (&kari, "GET", "/fhir/Patient/kari", None),
    ];
    for (caller, method, path, body) in cases {
        let answer = caller.send(method, path, &[], body.map_or(String::new(), Value::to_string)).await;
        assert_eq!(answer.status, 503, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
        assert!(!String::from_utf8_lossy(&answer.body).contains("female"), "{method} {path}");
    }
    let with_json = [("Content-Type", "application/json")];
    sql(&authority, "live", "SELECT * FROM patient").await.expect(503);
    sql(&hospital, "care", "SELECT * FROM patient").await.expect(503);
    hospital.send("POST", "/sql", &with_json, question("nowhere").to_string()).await.expect(503);
    centre.send("POST", "/erasures", &with_json, erasure.to_string()).await.expect(503);
    permit["decision"]["by"] = "centre".into();
    centre.send("PUT", "/permits/other", &with_json, permit.to_string()).await.expect(503);
    // A batch is answered entry by entry.
    let batch = hospital.post("/fhir", &[], &read).await.expect(200);
    assert!(batch.json()["entry"][0]["response"]["status"].as_str().unwrap().starts_with("503"), "{}", batch.json());
    assert_eq!(scene.server.local.database.snapshot().commit(), before, "nothing was written");
    scene.server.get("/healthz").await.expect(503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_what_has_only_grown() {
    let scene = Scene::open().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), [5; 32]).unwrap();
    let witness = WitnessKey::new("witness.example/w1", SigningKey::from_bytes(&[5; 32]).verifying_key()).unwrap();
    let settings = Settings { witnesses: vec![witness], ..Settings::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(api::serve(scene.server.local.app(settings), Router::new(), listener, async { drop(stopped.await) }));
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (key, seen) = (path("key"), path("seen"));
    let cosign = |name: &'static str, key: String, seen: String| {
        let url = url.clone();
        tokio::task::spawn_blocking(move || {
            let arguments = ["audit", "cosign", "--server", &url, "--name", name, "--key", &key, "--seen", &seen];
            Command::new(env!("CARGO_BIN_EXE_dugnad")).args(arguments).output().unwrap()
        })
    };
    scene.server.get("/audit/checkpoint/cosigned").await.expect(404);
    for round in 0..2 {
        let done = cosign("witness.example/w1", key.clone(), seen.clone()).await.unwrap();
        assert!(done.status.success(), "round {round}: {}", String::from_utf8_lossy(&done.stderr));
        scene.by(Role::Authority, "authority").get("/permits").await.expect(200);
    }
    let note = String::from_utf8(scene.server.get("/audit/checkpoint/cosigned").await.expect(200).body).unwrap();
    assert!(note.contains("\u{2014} witness.example/w1 "), "{note}");
    // One that the server does not know is not taken; its key was made, and what it saw is kept.
    let unknown = cosign("stranger.example", path("other"), path("other.seen")).await.unwrap();
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(!unknown.status.success() && said.contains("no witness that this server knows"), "{said}");
    // A log that does not go on from what was seen is not signed.
    let kept = std::fs::read_to_string(&seen).unwrap();
    let another = Server::open();
    let key_of_another = another.local.audit.verifier_key().to_string();
    let (_, note) = kept.split_once("\n\n").unwrap();
    std::fs::write(&seen, format!("{key_of_another}\n\n{note}")).unwrap();
    let refused = cosign("witness.example/w1", key, seen.clone()).await.unwrap();
    assert!(!refused.status.success());
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}
