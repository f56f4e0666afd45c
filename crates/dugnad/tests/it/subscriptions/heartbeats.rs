//! Heartbeats: nothing has happened for so long, and the server is there.

use super::receiver::Receiver;
use super::streams::Reading;
use super::topics::{BACKPORT, kind, topic};
use super::{Scene, subscription};
use dugnad_kernel::clock::ManualClock;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use std::sync::Arc;

fn beating(mut asked: Value, seconds: u64) -> Value {
    let extension = json!({"url": format!("{BACKPORT}backport-heartbeat-period"), "valueUnsignedInt": seconds});
    asked["channel"]["extension"].as_array_mut().unwrap().push(extension);
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_hears_that_the_server_is_there() {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let clock = Arc::new(ManualClock::new(start));
    let (scene, receiver) = (Scene::at(clock.clone()), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    let refused = hospital.ask_for(&beating(topic("t", &receiver, "empty", &[], 1), 9)).await.expect(422);
    assert!(String::from_utf8(refused.body).unwrap().contains("backport-heartbeat-period is 10 to 86400 seconds"));
    hospital.ask_for(&beating(topic("t", &receiver, "empty", &[], 1), 10)).await.expect(201);
    hospital.ask_for(&topic("silent", &receiver, "empty", &[], 1)).await.expect(201);
    for id in ["t", "silent"] {
        scene.until(&hospital, id, "active").await;
    }
    clock.set(start + 9.seconds());
    hospital.observe("a", "1").await;
    scene.until_metric("dugnad_notifications_delivered 2").await;
    // Its period begins with what was said last; one that is not taken is not sent again.
    clock.set(start + 18.seconds());
    receiver.answers(&[503], 200);
    clock.set(start + 19.seconds());
    let got = receiver.until("a heartbeat", |got| got.len() >= 5).await;
    assert_eq!((kind(&got[4]).as_str(), got[4].answered, got[4].path.as_str()), ("heartbeat", 503, "/t"));
    clock.set(start + 29.seconds());
    let got = receiver.until("the next", |got| got.len() >= 6).await;
    assert_eq!((kind(&got[5]).as_str(), got[5].path.as_str()), ("heartbeat", "/t"));
    let numbers = &got[5].body["entry"][0]["resource"]["parameter"];
    assert!(numbers.to_string().contains(r#"{"name":"events-since-subscription-start","valueString":"1"}"#), "{numbers}");
    assert_eq!(got.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_who_reads_a_stream() {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let clock = Arc::new(ManualClock::new(start));
    let scene = Scene::at(clock.clone());
    let hospital = scene.server.hospital("Haukeland");
    let mut asked = subscription("s", "urn:dugnad:topic:Observation", None, false);
    asked["channel"]["extension"] = json!([]);
    hospital.ask_for(&beating(asked, 10)).await.expect(201);
    scene.until(&hospital, "s", "active").await;
    let mut reading = Reading::open(&scene.server, &hospital, "s", None).await;
    clock.set(start + 11.seconds());
    hospital.put("/fhir/Patient/p", &super::patient("p")).await.expect(201); // any commit wakes it
    let (id, beat) = reading.next().await.unwrap();
    assert!(id.is_none() && beat.to_string().contains(r#""valueCode":"heartbeat""#), "{beat}");
    hospital.observe("a", "1").await;
    let (id, event) = reading.next().await.unwrap();
    assert!(id.is_some() && event.to_string().contains("event-notification"), "{event}");
}
