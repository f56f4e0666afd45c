//! The form of the backport: topics, filters, handshakes, Bundles, `$status` and `$events`.

use super::receiver::{Got, Receiver};
use super::{Scene, subscription};
use serde_json::{Value, json};
use std::time::Duration;

pub const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";

pub fn topic(id: &str, receiver: &Receiver, content: &str, filters: &[&str], most: u64) -> Value {
    let mut asked = subscription(id, "urn:dugnad:topic:Observation", Some(receiver), true);
    asked["meta"] = json!({"profile": [format!("{BACKPORT}backport-subscription")]});
    let extension = |filter: &&str| json!({"url": format!("{BACKPORT}backport-filter-criteria"), "valueString": filter});
    if !filters.is_empty() {
        asked["_criteria"] = json!({"extension": filters.iter().map(extension).collect::<Vec<_>>()});
    }
    asked["channel"]["_payload"] = json!({"extension": [{"url": format!("{BACKPORT}backport-payload-content"), "valueCode": content}]});
    asked["channel"]["extension"] = json!([{"url": format!("{BACKPORT}backport-max-count"), "valuePositiveInt": most}]);
    asked
}

/// A parameter of the status.
pub fn parameter<'v>(bundle: &'v Value, name: &str) -> Vec<&'v Value> {
    let status = &bundle["entry"][0]["resource"];
    assert_eq!(status["resourceType"], "Parameters", "{bundle}");
    status["parameter"].as_array().unwrap().iter().filter(|p| p["name"] == name).collect()
}

pub fn kind(got: &Got) -> String {
    parameter(&got.body, "type")[0]["valueCode"].as_str().unwrap().to_owned()
}

pub fn numbers(bundle: &Value) -> Vec<u64> {
    let of = |event: &&Value| event["part"][0]["valueString"].as_str().unwrap().parse().unwrap();
    parameter(bundle, "notification-event").iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_tells_of_deletions_too_after_a_handshake() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    // The handshake is tried again.
    receiver.answers(&[503], 200);
    hospital.ask_for(&topic("t", &receiver, "full-resource", &["Observation?code=1"], 1)).await.expect(201);
    scene.until(&hospital, "t", "active").await;
    let handshakes = receiver.all();
    assert_eq!(
        handshakes.iter().map(|got| (kind(got), got.answered)).collect::<Vec<_>>(),
        [("handshake".into(), 503), ("handshake".into(), 200)]
    );
    hospital.observe("a", "1").await;
    hospital.observe("a", "2").await;
    hospital.observe("b", "2").await;
    hospital.observe("b", "1").await;
    hospital.send("DELETE", "/fhir/Observation/a", &[], "").await.expect(204); // as it was, it did not match
    hospital.send("DELETE", "/fhir/Observation/b", &[], "").await.expect(204);
    let got = receiver.until_taken(4).await.split_off(1);
    let requests: Vec<_> = got.iter().map(|got| got.body["entry"][1]["request"].to_string()).collect();
    let expected = [("PUT", "Observation/a"), ("PUT", "Observation/b"), ("DELETE", "Observation/b")];
    assert_eq!(requests, expected.map(|(method, url)| json!({"method": method, "url": url}).to_string()));
    assert_eq!(got.iter().map(|got| numbers(&got.body)).collect::<Vec<_>>(), [[1], [2], [3]]);
    assert!(got.iter().all(|got| kind(got) == "event-notification" && got.body["type"] == "history"));
    assert_eq!(got[0].body["entry"][1]["resource"]["id"], "a");
    assert!(got[2].body["entry"][1].get("resource").is_none());
    let validated = hospital.post("/fhir/Bundle/$validate", &[], &got[0].body).await.expect(200).json();
    assert!(!validated.to_string().contains("\"error\""), "{validated}");

    let status = hospital.get("/fhir/Subscription/t/$status").await.expect(200).json();
    assert_eq!(parameter(&status, "events-since-subscription-start")[0]["valueString"], "3");
    assert_eq!(parameter(&status, "topic")[0]["valueCanonical"], "urn:dugnad:topic:Observation");
    let of_type = hospital.get("/fhir/Subscription/$status?status=active").await.expect(200).json();
    assert_eq!((&of_type["total"], &status["type"]), (&json!(1), &json!("searchset")));
    let asked = json!({"resourceType": "Parameters", "parameter": [{"name": "eventsSinceNumber", "valueString": "2"}]});
    let events = hospital.post("/fhir/Subscription/t/$events", &[], &asked).await.expect(200).json();
    assert_eq!((numbers(&events), &parameter(&events, "type")[0]["valueCode"]), (vec![2, 3], &json!("query-event")));
    let ids = hospital.get("/fhir/Subscription/t/$events?eventsUntilNumber=1&content=id-only").await.expect(200).json();
    assert!(numbers(&ids) == [1] && ids["entry"][1].get("resource").is_none() && !ids["entry"][1]["fullUrl"].is_null());
    // The address is that which was asked, and `_format` wins over `Accept`.
    let there = [("Host", "d.example:8080"), ("Accept", "application/fhir+xml")];
    for path in ["Subscription/t/$status", "Subscription/$status", "Subscription/t/$events"] {
        let shown = hospital.send("GET", &format!("/fhir/{path}?_format=json&_pretty=true"), &there, "").await.expect(200);
        let text = String::from_utf8(shown.body).unwrap();
        assert!(text.contains("http://d.example:8080/fhir/Subscription/t\"") && text.contains("\n  \""), "{text}");
    }
    // Up to the largest number that there is.
    let none = hospital.get(&format!("/fhir/Subscription/t/$events?eventsSinceNumber={}", u64::MAX)).await.expect(200).json();
    assert!(numbers(&none).is_empty() && none.get("link").is_none());
    hospital.get("/fhir/Subscription/t/$events?content=all").await.expect(400);
    hospital.get("/fhir/Subscription/t/$events?colour=red").await.expect(400);
    for path in ["$status", "$events", "$events-stream"] {
        scene.server.hospital("Ullevål").get(&format!("/fhir/Subscription/t/{path}")).await.expect(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_much_as_was_asked_for() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    hospital.ask_for(&topic("ids", &receiver, "id-only", &[], 10)).await.expect(201);
    hospital.ask_for(&topic("none", &receiver, "empty", &[], 1)).await.expect(201);
    for id in ["ids", "none"] {
        scene.until(&hospital, id, "active").await;
    }
    let entry = |n: usize| json!({"resource": super::observation(&format!("o{n}"), "1"), "request": {"method": "PUT", "url": format!("Observation/o{n}")}});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": (0..25).map(entry).collect::<Vec<_>>()});
    hospital.post("/fhir", &[], &bundle).await.expect(200);
    let got = receiver.until("all events", |got| got.iter().map(|got| numbers(&got.body).len()).sum::<usize>() >= 50).await;
    let of = |path: &str| {
        got.iter().filter(|got| got.path == path && kind(got) != "handshake").map(|got| numbers(&got.body)).collect::<Vec<_>>()
    };
    assert_eq!(of("/ids"), [(1..=10).collect::<Vec<_>>(), (11..=20).collect(), (21..=25).collect()]);
    assert_eq!(of("/none").concat(), (1..=25).collect::<Vec<_>>());
    let text = |path: &str| got.iter().filter(|got| got.path == path).map(|got| got.body.to_string()).collect::<String>();
    assert!(text("/ids").contains("Observation/o7") && !text("/ids").contains("\"final\""));
    assert!(!text("/none").contains("Observation/o"), "no more than that there is something");
}

/// A page of events was the oldest hundred, and did not say so.
#[tokio::test(flavor = "multi_thread")]
async fn further_events_are_linked() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    hospital.ask_for(&topic("t", &receiver, "empty", &[], 100)).await.expect(201);
    scene.until(&hospital, "t", "active").await;
    let entry = |n: usize| json!({"resource": super::observation(&format!("o{n}"), "1"), "request": {"method": "PUT", "url": format!("Observation/o{n}")}});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": (0..130).map(entry).collect::<Vec<_>>()});
    hospital.post("/fhir", &[], &bundle).await.expect(200);
    receiver.until("all events", |got| got.iter().map(|got| numbers(&got.body).len()).sum::<usize>() >= 130).await;
    scene.until_metric("dugnad_subscription_lag_commits{status=\"active\"} 0").await;
    let first = hospital.get("/fhir/Subscription/t/$events?content=id-only").await.expect(200).json();
    let next = first["link"][0]["url"].as_str().unwrap().split_once("/fhir").unwrap().1.to_owned();
    let second = hospital.get(&format!("/fhir{next}")).await.expect(200).json();
    assert_eq!((numbers(&first), numbers(&second)), ((1..=100).collect(), (101..=130).collect()));
    assert!(second.get("link").is_none() && !second["entry"][1]["fullUrl"].is_null());
}

/// A Subscription that is off is not judged, and has a status all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_judged_has_a_status() {
    let scene = Scene::open();
    let hospital = scene.server.hospital("Haukeland");
    let mut off = subscription("odd", "Observation?shoe-size=4", None, false);
    off["status"] = "off".into();
    hospital.ask_for(&off).await.expect(201);
    for path in ["/fhir/Subscription/odd/$status", "/fhir/Subscription/$status"] {
        let status = hospital.get(path).await.expect(200).json();
        assert_eq!((&status["total"], &parameter(&status, "status")[0]["valueCode"]), (&json!(1), &json!("off")), "{status}");
    }
    scene.until_metric("dugnad_subscriptions{status=\"off\"} 1").await;
}

/// It counted from the commit in which it became active: what came between asking and a handshake that failed was never told.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_asking_is_told_whatever_becomes_of_the_handshake() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    receiver.answers(&[], 503);
    let asked = topic("t", &receiver, "id-only", &[], 1);
    hospital.ask_for(&asked).await.expect(201);
    scene.until(&hospital, "t", "error").await;
    hospital.observe("a", "1").await;
    receiver.answers(&[], 200);
    hospital.ask_for(&asked).await.expect(200);
    hospital.observe("b", "1").await;
    let got = receiver.until_taken(3).await;
    assert_eq!(got[1..].iter().map(|got| numbers(&got.body)).collect::<Vec<_>>(), [[1], [2]]);
    // It is given up, and asked for again: the handshake says how many events there have been.
    scene.until_metric("dugnad_subscription_lag_commits{status=\"active\"} 0").await;
    receiver.answers(&[], 503);
    hospital.observe("c", "1").await;
    scene.until(&hospital, "t", "error").await;
    receiver.answers(&[], 200);
    hospital.ask_for(&asked).await.expect(200);
    let got = receiver.until_taken(5).await;
    let handshake = &got[3].body;
    assert_eq!(parameter(handshake, "type")[0]["valueCode"], "handshake");
    assert_eq!(parameter(handshake, "events-since-subscription-start")[0]["valueString"], "2");
    assert_eq!(numbers(&got[4].body), [3]);
}

/// What the server had judged was made active although the client had put another endpoint there meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn no_endpoint_is_told_that_has_not_shaken_hands() {
    let mut settings = super::settings();
    settings.pace.time = Duration::from_millis(500);
    let scene = Scene::over(tempfile::tempdir().unwrap(), settings);
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    first.answers(&[], 0);
    hospital.ask_for(&topic("t", &first, "id-only", &[], 1)).await.expect(201);
    first.until("the handshake", |got| !got.is_empty()).await;
    let mut other = topic("t", &second, "id-only", &[], 1);
    other["status"] = "active".into();
    hospital.ask_for(&other).await.expect(200);
    hospital.observe("a", "1").await;
    let got = second.until_taken(2).await;
    assert_eq!(got.iter().map(kind).collect::<Vec<_>>(), ["handshake", "event-notification"]);
    assert!(first.all().iter().all(|got| kind(got) == "handshake"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topics_are_in_the_capability_statement() {
    let scene = Scene::open();
    let hospital = scene.server.hospital("Haukeland");
    let statement = hospital.get("/fhir/metadata").await.expect(200).json();
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let of = resources.iter().find(|r| r["type"] == "Subscription").unwrap();
    let listed: Vec<&str> = of["extension"].as_array().unwrap().iter().filter_map(|e| e["valueCanonical"].as_str()).collect();
    assert_eq!(listed.len(), resources.len());
    assert!(listed.contains(&"urn:dugnad:topic:Observation"));
    let operations: Vec<&str> = of["operation"].as_array().unwrap().iter().filter_map(|o| o["name"].as_str()).collect();
    assert!(operations.contains(&"status") && operations.contains(&"events"), "{operations:?}");
}
