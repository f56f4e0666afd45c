//! What is taken back before it was sent is not sent: persons, tokens, Subscriptions, and whatever cannot be put on the record.

use super::receiver::Receiver;
use super::topics::{numbers, topic};
use super::{Scene, about, named, patient, settings, subscription, versions};
use crate::support::Hospital;
use dugnad::access::Role;
use serde_json::json;
use std::time::Duration;

/// A notification was read and put on the record, and waited then for a place, for as long as the hospital's endpoints hang.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_place_is_read_when_it_has_one() {
    let mut settings = settings();
    settings.pace.time = Duration::from_secs(5);
    let scene = Scene::over(tempfile::tempdir().unwrap(), settings);
    let (slow, receiver) = (Receiver::start().await, Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    let colleague = Hospital { server: &scene.server, token: scene.server.token(Role::Hospital, "colleague", Some("Haukeland")) };
    for id in ["p", "q"] {
        hospital.put(&format!("/fhir/Patient/{id}"), &patient(id)).await.expect(201);
    }
    for n in 0..8 {
        hospital.ask_for(&subscription(&format!("slow{n}"), "Observation?code=slow", Some(&slow), true)).await.expect(201);
    }
    for id in ["kept", "off", "deleted"] {
        hospital.ask_for(&subscription(id, &format!("Observation?code={id}"), Some(&receiver), true)).await.expect(201);
    }
    colleague.ask_for(&subscription("revoked", "Observation?code=revoked", Some(&receiver), true)).await.expect(201);
    scene.until_metric("dugnad_subscriptions{status=\"active\"} 12").await;
    slow.answers(&[], 0);
    hospital.put("/fhir/Observation/slow", &about("q", "slow", "slow")).await.expect(201);
    slow.until("all places of the hospital", |got| got.len() >= 8).await;
    for code in ["off", "deleted", "revoked"] {
        hospital.put(&format!("/fhir/Observation/{code}"), &about("q", code, code)).await.expect(201);
    }
    hospital.put("/fhir/Observation/of-p", &about("p", "of-p", "kept")).await.expect(201);
    hospital.put("/fhir/Observation/of-q", &about("q", "of-q", "kept")).await.expect(201);
    tokio::time::sleep(Duration::from_millis(200)).await; // they wait for a place
    scene.erase("p").await;
    let mut off = subscription("off", "Observation?code=off", Some(&receiver), true);
    off["status"] = "off".into();
    hospital.ask_for(&off).await.expect(200);
    hospital.send("DELETE", "/fhir/Subscription/deleted", &[], "").await.expect(204);
    scene.server.local.tokens.revoke("colleague").unwrap();
    assert!(receiver.all().is_empty());
    slow.answers(&[], 200);
    assert_eq!(versions(&receiver.until_taken(1).await), named(&[("of-q", "1")]));
    scene.until(&hospital, "revoked", "error").await;
    scene.until_metric("dugnad_subscription_lag_commits{status=\"active\"} 0").await;
    assert_eq!(receiver.all().len(), 1);
    let metrics = scene.metrics().await;
    assert!(metrics.contains("\ndugnad_notifications_delivered 9\n"), "what was erased was not delivered: {metrics}");
}

/// The next event took the number of one that had been sent, not been taken, and was then erased: whoever drops what they have
/// already missed it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_erased_takes_its_number_with_it() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    for id in ["p", "q"] {
        hospital.put(&format!("/fhir/Patient/{id}"), &patient(id)).await.expect(201);
    }
    let mut asked = topic("t", &receiver, "id-only", &[], 1);
    hospital.ask_for(&asked).await.expect(201);
    scene.until(&hospital, "t", "active").await;
    receiver.answers(&[], 503);
    hospital.put("/fhir/Observation/a", &about("p", "a", "1")).await.expect(201);
    scene.until(&hospital, "t", "error").await;
    assert_eq!(numbers(&receiver.all().last().unwrap().body), [1]);
    scene.erase("p").await;
    receiver.answers(&[], 200);
    hospital.put("/fhir/Observation/b", &about("q", "b", "1")).await.expect(201);
    asked["reason"] = "again".into();
    hospital.ask_for(&asked).await.expect(200);
    let taken = receiver.until_taken(3).await;
    assert_eq!(numbers(&taken[2].body), [2]);
}

/// The logical id in its criteria stayed, and was read by whoever reads Subscriptions.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_goes_with_whom_its_criteria_name() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    for id in ["p", "q"] {
        hospital.put(&format!("/fhir/Patient/{id}"), &patient(id)).await.expect(201);
        hospital.ask_for(&subscription(id, &format!("Observation?patient={id}"), Some(&receiver), true)).await.expect(201);
        scene.until(&hospital, id, "active").await;
    }
    scene.erase("p").await;
    scene.until_metric("dugnad_subscriptions{status=\"active\"} 1").await;
    hospital.get("/fhir/Subscription/p").await.expect(404);
    hospital.get("/fhir/Subscription/p/_history").await.expect(404);
    let found = hospital.get("/fhir/Subscription").await.expect(200).json();
    assert_eq!(found["entry"].as_array().unwrap().iter().map(|e| e["resource"]["id"].as_str().unwrap()).collect::<Vec<_>>(), ["q"]);
    hospital.put("/fhir/Observation/a", &about("q", "a", "1")).await.expect(201);
    assert_eq!(receiver.until_taken(1).await[0].path, "/q");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_record_nothing_is_sent_and_it_is_told_later() {
    let mut settings = settings();
    settings.pace.time = Duration::from_millis(500);
    let scene = Scene::over(tempfile::tempdir().unwrap(), settings);
    let receiver = Receiver::start().await;
    let hospital = scene.server.hospital("Haukeland");
    hospital.ask_for(&subscription("s", "Observation?", Some(&receiver), true)).await.expect(201);
    scene.until(&hospital, "s", "active").await;
    receiver.answers(&[0], 200);
    hospital.observe("a", "1").await;
    receiver.until("the first attempt", |got| !got.is_empty()).await;
    hospital.observe("b", "1").await;
    // The log takes nothing any more while the first attempt hangs.
    scene.server.local.audit.close();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert_eq!(receiver.all().len(), 1, "no further attempt");
    hospital.put("/fhir/Patient/p", &json!({"resourceType": "Patient", "id": "p"})).await.expect(503);
    drop(hospital);
    let scene = scene.restarted().await;
    assert_eq!(versions(&receiver.until_taken(2).await), named(&[("a", "1"), ("b", "1")]));
    let hospital = scene.server.hospital("Haukeland");
    assert_eq!(hospital.get("/fhir/Subscription/s").await.expect(200).json()["status"], "active");
}
