//! Subscriptions, as a hospital with an endpoint or a stream has them.

mod bounds;
mod heartbeats;
mod killed;
mod receiver;
mod streams;
mod taken_back;
mod topics;

use crate::support::{Answer, Hospital, Server};
use axum::body::Body;
use axum::http::Request;
use dugnad::access::Role;
use dugnad::api::{Pace, Settings, tell_subscribers};
use dugnad_kernel::clock::{Clock, SystemClock};
use receiver::{Got, Receiver};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A server that tells.
pub struct Scene {
    pub server: Server,
    telling: JoinHandle<()>,
}

fn settings() -> Settings {
    let pace = Pace { first: Duration::from_millis(2), longest: Duration::from_millis(10), tries: 4, handshakes: 2, ..Pace::default() };
    Settings { endpoints: vec!["http://127.0.0.1:*/".parse().unwrap()], pace, ..Settings::default() }
}

impl Scene {
    pub fn open() -> Self {
        Self::over(tempfile::tempdir().unwrap(), settings())
    }

    fn over(dir: tempfile::TempDir, settings: Settings) -> Self {
        Self::over_at(dir, settings, Arc::new(SystemClock))
    }

    /// The same at a time that is held.
    pub fn at(clock: Arc<dyn Clock>) -> Self {
        Self::over_at(tempfile::tempdir().unwrap(), settings(), clock)
    }

    fn over_at(dir: tempfile::TempDir, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let (server, app) = Server::open_set_at(dir, settings, clock);
        Self { server, telling: tokio::spawn(tell_subscribers(app)) }
    }

    pub async fn metrics(&self) -> String {
        let centre = self.server.token(Role::Centre, "centre", None);
        by(&self.server, &centre, "/metrics").await
    }

    /// Waits until a line stands among the metrics.
    pub async fn until_metric(&self, line: &str) {
        for _ in 0..6_000 {
            if self.metrics().await.lines().any(|known| known == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not {line}: {}", self.metrics().await);
    }

    /// Erases a person at Haukeland, as the centre does it.
    pub async fn erase(&self, patient: &str) {
        let centre = self.server.token(Role::Centre, "centre", None);
        let body = json!({"holder": "Haukeland", "patient": patient, "reason": "a test"}).to_string();
        let request =
            Request::post("/erasures").header("Authorization", format!("Bearer {centre}")).header("Content-Type", "application/json");
        self.server.send(request.body(Body::from(body)).unwrap()).await.expect(200);
    }

    /// The same after a restart.
    async fn restarted(self) -> Self {
        self.telling.abort();
        let _ = self.telling.await; // cancelled
        Self::over(self.server.close(), settings())
    }

    /// Waits until a Subscription has the status.
    pub async fn until(&self, hospital: &Hospital<'_>, id: &str, status: &str) -> Value {
        for _ in 0..6_000 {
            let now = hospital.get(&format!("/fhir/Subscription/{id}")).await.expect(200).json();
            if now["status"] == status {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} is not {status}: {}", hospital.get(&format!("/fhir/Subscription/{id}")).await.json());
    }
}

pub fn subscription(id: &str, criteria: &str, receiver: Option<&Receiver>, payload: bool) -> Value {
    let mut channel = json!({"type": "rest-hook"});
    if let Some(receiver) = receiver {
        channel["endpoint"] = format!("{}/{id}", receiver.url).into();
        channel["header"] = json!(["Authorization: Bearer of-the-endpoint"]);
    }
    if payload {
        channel["payload"] = "application/fhir+json".into();
    }
    json!({"resourceType": "Subscription", "id": id, "status": "requested", "reason": "a test", "criteria": criteria, "channel": channel})
}

pub fn patient(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id})
}

/// One about another than Patient/p.
pub fn about(patient: &str, id: &str, code: &str) -> Value {
    let mut observation = observation(id, code);
    observation["subject"]["reference"] = format!("Patient/{patient}").into();
    observation
}

pub fn observation(id: &str, code: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"coding": [{"code": code}]}, "subject": {"reference": "Patient/p"}})
}

impl Hospital<'_> {
    pub async fn ask_for(&self, subscription: &Value) -> Answer {
        self.put(&format!("/fhir/Subscription/{}", subscription["id"].as_str().unwrap()), subscription).await
    }

    pub async fn observe(&self, id: &str, code: &str) {
        let answer = self.put(&format!("/fhir/Observation/{id}"), &observation(id, code)).await;
        assert!(answer.status.is_success(), "{}", String::from_utf8_lossy(&answer.body));
    }
}

fn versions(got: &[Got]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    got.iter().map(|got| (text(&got.body["id"]), text(&got.body["meta"]["versionId"]))).collect()
}

fn named(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(id, version)| ((*id).to_owned(), (*version).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn r4s_form_tells_of_what_is_created_and_updated_in_order() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let (hospital, other) = (scene.server.hospital("Haukeland"), scene.server.hospital("Ullevål"));
    hospital.observe("before", "1").await;
    hospital.ask_for(&subscription("s", "Observation?code=1", Some(&receiver), true)).await.expect(201);
    hospital.ask_for(&subscription("empty", "Patient?", Some(&receiver), false)).await.expect(201);
    // What comes before it is active is told too: it counts from its own commit on.
    hospital.observe("a", "1").await;
    scene.until(&hospital, "s", "active").await;
    scene.until(&hospital, "empty", "active").await;
    hospital.observe("b", "2").await;
    other.observe("theirs", "1").await;
    hospital.put("/fhir/Patient/p", &json!({"resourceType": "Patient", "id": "p"})).await.expect(201);
    hospital.observe("b", "1").await;
    hospital.observe("a", "2").await;
    hospital.observe("a", "1").await;
    hospital.send("DELETE", "/fhir/Observation/b", &[], "").await.expect(204);
    let entry = |id: &str| json!({"resource": observation(id, "1"), "request": {"method": "PUT", "url": format!("Observation/{id}")}});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [entry("x"), entry("y"), entry("z")]});
    hospital.post("/fhir", &[], &bundle).await.expect(200);
    hospital.observe("last", "1").await;
    let got = receiver.until_taken(8).await;
    let (empty, told): (Vec<Got>, Vec<Got>) = got.into_iter().partition(|got| got.path == "/empty");
    let expected = [("a", "1"), ("b", "2"), ("a", "3"), ("x", "1"), ("y", "1"), ("z", "1"), ("last", "1")];
    assert_eq!(versions(&told), named(&expected));
    assert_eq!(empty.len(), 1);
    assert!(empty[0].body.is_null() && told.iter().all(|got| got.path == "/s"));
    assert!(
        told.iter()
            .all(|got| got.headers["authorization"] == "Bearer of-the-endpoint" && got.headers["content-type"] == "application/fhir+json")
    );
    // What is told is what a read gives, and is on the record as one.
    let read = hospital.get("/fhir/Observation/last").await.expect(200).json();
    assert_eq!(told.last().unwrap().body, read);
    let centre = scene.server.token(Role::Centre, "centre", None);
    let log = by(&scene.server, &centre, "/audit/log?count=1000").await;
    assert!(log.contains("notification of Subscription/s") && log.contains("Subscription/s becomes active"), "{log}");
    let accesses: Value = serde_json::from_str(&by(&scene.server, &centre, "/audit/persons/p?holder=Haukeland").await).unwrap();
    assert!(accesses["accesses"].as_array().unwrap().iter().any(|a| a["interface"] == "subscription"), "{accesses}");
    let metrics = by(&scene.server, &centre, "/metrics").await;
    assert!(
        metrics.contains("dugnad_subscriptions{status=\"active\"} 2\n") && metrics.contains("\ndugnad_notifications_delivered 8\n"),
        "{metrics}"
    );
}

async fn by(server: &Server, token: &str, path: &str) -> String {
    let request = Request::get(path).header("Authorization", format!("Bearer {token}"));
    let answer = server.send(request.body(Body::empty()).unwrap()).await.expect(200);
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_sent_again_before_anything_else() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    receiver.answers(&[500, 307, 404], 200);
    hospital.ask_for(&subscription("s", "Observation?", Some(&receiver), true)).await.expect(201);
    for id in ["a", "b", "c"] {
        hospital.observe(id, "1").await;
    }
    let taken = receiver.until_taken(3).await;
    assert_eq!(versions(&taken), named(&[("a", "1"), ("b", "1"), ("c", "1")]));
    let all = receiver.all();
    assert_eq!(all.iter().map(|got| got.answered).collect::<Vec<_>>(), [500, 307, 404, 200, 200, 200]);
    assert!(all[..4].iter().all(|got| got.body["id"] == "a" && got.path == "/s"), "a redirection is not followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_given_up_goes_on_from_where_it_stopped() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    let asked = subscription("s", "Observation?", Some(&receiver), true);
    hospital.ask_for(&asked).await.expect(201);
    hospital.observe("a", "1").await;
    receiver.until_taken(1).await;
    receiver.answers(&[], 503);
    hospital.observe("b", "1").await;
    hospital.observe("c", "1").await;
    let given_up = scene.until(&hospital, "s", "error").await;
    let why = given_up["error"].as_str().unwrap();
    assert!(why.contains("given up after 4 attempts: the endpoint answered 503"), "{why}");
    hospital.observe("d", "1").await;
    receiver.answers(&[], 200);
    drop(hospital);
    // Also over a restart; nothing is told while it is in error.
    let scene = scene.restarted().await;
    let hospital = scene.server.hospital("Haukeland");
    hospital.observe("e", "1").await;
    assert_eq!(receiver.taken().len(), 1);
    hospital.ask_for(&asked).await.expect(200);
    let active = scene.until(&hospital, "s", "active").await;
    assert!(active.get("error").is_none());
    let got = receiver.until_taken(5).await;
    assert_eq!(versions(&got), named(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]));
    // Off is over: what happens until it is wanted again is not told.
    let mut off = asked.clone();
    off["status"] = "off".into();
    hospital.ask_for(&off).await.expect(200);
    tokio::time::sleep(Duration::from_millis(100)).await; // until the server has seen it
    hospital.observe("f", "1").await;
    hospital.ask_for(&asked).await.expect(200);
    hospital.observe("g", "1").await;
    let got = receiver.until_taken(6).await;
    assert_eq!(versions(&got).last(), Some(&("g".to_owned(), "1".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_keeps_nobody_else_waiting() {
    let mut settings = settings();
    settings.pace.time = Duration::from_secs(600);
    let scene = Scene::over(tempfile::tempdir().unwrap(), settings);
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    let (hospital, other) = (scene.server.hospital("Haukeland"), scene.server.hospital("Ullevål"));
    slow.answers(&[], 0);
    for n in 0..12 {
        hospital.ask_for(&subscription(&format!("slow{n}"), "Observation?", Some(&slow), true)).await.expect(201);
    }
    other.ask_for(&subscription("quick", "Observation?", Some(&quick), true)).await.expect(201);
    hospital.observe("first", "1").await;
    slow.until("all places of the hospital", |got| got.len() >= 8).await;
    for n in 0..20 {
        hospital.observe(&format!("o{n}"), "1").await;
        other.observe(&format!("o{n}"), "1").await;
    }
    assert_eq!(quick.until_taken(20).await.len(), 20);
    assert!(slow.all().len() < 12, "no more than its places");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_of_who_was_erased_or_without_a_token() {
    let mut settings = settings();
    settings.pace.time = Duration::from_secs(1);
    let (scene, receiver) = (Scene::over(tempfile::tempdir().unwrap(), settings), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    for id in ["p", "q"] {
        hospital.put(&format!("/fhir/Patient/{id}"), &json!({"resourceType": "Patient", "id": id})).await.expect(201);
    }
    hospital.ask_for(&subscription("s", "Observation?", Some(&receiver), true)).await.expect(201);
    scene.until(&hospital, "s", "active").await;
    receiver.answers(&[0], 200);
    hospital.observe("held", "1").await;
    receiver.until("the first", |got| !got.is_empty()).await;
    // While it hangs, the person whom the next are about is erased.
    hospital.observe("of-p", "1").await;
    hospital.put("/fhir/Observation/of-q", &about("q", "of-q", "1")).await.expect(201);
    let holder = scene.server.local.database.holder("Haukeland").unwrap().id;
    scene.server.local.database.erase(holder, "p", "a test").unwrap();
    let taken = receiver.until_taken(1).await;
    assert_eq!(versions(&taken), named(&[("of-q", "1")]), "nor again of what was on its way");
    scene.server.local.tokens.revoke("Haukeland").unwrap();
    let colleague = Hospital { server: &scene.server, token: scene.server.token(Role::Hospital, "colleague", Some("Haukeland")) };
    colleague.put("/fhir/Observation/after", &about("q", "after", "1")).await.expect(201);
    let stopped = scene.until(&colleague, "s", "error").await;
    assert!(stopped["error"].as_str().unwrap().contains("no valid token"), "{stopped}");
    assert_eq!(receiver.taken().len(), 1);
    colleague.ask_for(&subscription("s", "Observation?", Some(&receiver), true)).await.expect(200);
    assert_eq!(versions(&receiver.until_taken(2).await)[1].0, "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_can_be_done_is_taken() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    let refused = hospital.ask_for(&subscription("s", "Observation?patient.name=x", Some(&receiver), true)).await.expect(422).json();
    let said = refused["issue"][0].to_string();
    assert!(said.contains("`patient.name`") && said.contains("Subscription.criteria"), "{said}");
    // An address that the centre has not listed is never called.
    let mut elsewhere = subscription("s", "Observation?", Some(&receiver), true);
    elsewhere["channel"]["endpoint"] = receiver.url.replace("127.0.0.1", "localhost").into();
    hospital.ask_for(&elsewhere).await.expect(201);
    let error = scene.until(&hospital, "s", "error").await;
    assert!(error["error"].as_str().unwrap().contains("`endpoints`"), "{error}");
    hospital.observe("a", "1").await;
    // One that was in a file, so that nobody has asked for it.
    let holder = scene.server.local.database.holder("Haukeland").unwrap().id;
    let body = subscription("filed", "Observation?", Some(&receiver), true).to_string().into_bytes();
    let interaction = dugnad_kernel::database::Interaction::Update {
        resource_type: "Subscription".to_owned(),
        id: "filed".to_owned(),
        body,
        if_match: None,
    };
    let handling = dugnad_kernel::database::Handling::Strict;
    scene
        .server
        .local
        .database
        .write(dugnad_kernel::database::WriteRequest { holder, interaction, handling, idempotency_key: None })
        .unwrap();
    drop(hospital);
    let scene = scene.restarted().await;
    let hospital = scene.server.hospital("Haukeland");
    let error = scene.until(&hospital, "filed", "error").await;
    assert!(error["error"].as_str().unwrap().contains("write it again"), "{error}");
    assert!(receiver.all().is_empty());
}
