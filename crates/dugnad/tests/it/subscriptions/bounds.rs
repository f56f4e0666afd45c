//! How many, and how much at once.

use super::receiver::Receiver;
use super::topics::{numbers, topic};
use super::{Scene, observation, settings, subscription};
use dugnad::limits::{MAX_SUBSCRIPTIONS_OF_ONE, NOTIFICATIONS_OF_ONE, NOTIFICATIONS_RUNNING};
use serde_json::{Value, json};
use std::time::Duration;

fn transaction(resources: impl Iterator<Item = Value>) -> Value {
    let url = |resource: &Value| format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    let entry = |resource: Value| json!({"request": {"method": "PUT", "url": url(&resource)}, "resource": resource});
    json!({"resourceType": "Bundle", "type": "transaction", "entry": resources.map(entry).collect::<Vec<_>>()})
}

/// All of a Bundle were counted before any of them was active.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_of_a_hospital_are_active_than_may_be() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    let asked = (0..MAX_SUBSCRIPTIONS_OF_ONE + 6).map(|n| topic(&format!("s{n}"), &receiver, "empty", &[], 1));
    hospital.post("/fhir", &[], &transaction(asked)).await.expect(200);
    scene.until_metric("dugnad_subscriptions{status=\"requested\"} 0").await;
    scene.until_metric("dugnad_subscriptions{status=\"error\"} 6").await;
    scene.until_metric(&format!("dugnad_subscriptions{{status=\"active\"}} {MAX_SUBSCRIPTIONS_OF_ONE}")).await;
    let failed = hospital.get("/fhir/Subscription?status=error").await.expect(200).json();
    let said = failed["entry"][0]["resource"]["error"].as_str().unwrap();
    assert!(said.contains("64 Subscriptions of this hospital are active"), "{said}");
    // One makes room for another.
    let other = failed["entry"][0]["resource"]["id"].as_str().unwrap();
    let active = hospital.get("/fhir/Subscription?status=active&_count=1").await.expect(200).json();
    hospital
        .send("DELETE", &format!("/fhir/Subscription/{}", active["entry"][0]["resource"]["id"].as_str().unwrap()), &[], "")
        .await
        .expect(204);
    hospital.ask_for(&topic(other, &receiver, "empty", &[], 1)).await.expect(200);
    scene.until(&hospital, other, "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_are_on_their_way_and_no_more() {
    let mut settings = settings();
    settings.pace.time = Duration::from_secs(600);
    let (scene, receiver) = (Scene::over(tempfile::tempdir().unwrap(), settings), Receiver::start().await);
    let names: Vec<String> = (0..=NOTIFICATIONS_RUNNING / NOTIFICATIONS_OF_ONE).map(|n| format!("Hospital {n}")).collect();
    receiver.answers(&[], 0);
    for name in &names {
        let asked = (0..=NOTIFICATIONS_OF_ONE).map(|n| subscription(&format!("s{n}"), "Observation?", Some(&receiver), true));
        scene.server.hospital(name).post("/fhir", &[], &transaction(asked)).await.expect(200);
    }
    let all = names.len() * (NOTIFICATIONS_OF_ONE + 1);
    scene.until_metric(&format!("dugnad_subscriptions{{status=\"active\"}} {all}")).await;
    scene.server.hospital(&names[0]).observe("a", "1").await;
    receiver.until("the places of one", |got| got.len() >= NOTIFICATIONS_OF_ONE).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(receiver.all().len(), NOTIFICATIONS_OF_ONE, "of one hospital");
    for name in &names[1..] {
        scene.server.hospital(name).observe("a", "1").await;
    }
    receiver.until("all places", |got| got.len() >= NOTIFICATIONS_RUNNING).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(receiver.all().len(), NOTIFICATIONS_RUNNING, "of all");
}

/// A hundred resources were put into one Bundle however large they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_notification_holds_so_many_bytes() {
    let (scene, receiver) = (Scene::open(), Receiver::start().await);
    let hospital = scene.server.hospital("Haukeland");
    hospital.ask_for(&topic("full", &receiver, "full-resource", &[], 100)).await.expect(201);
    hospital.ask_for(&topic("ids", &receiver, "id-only", &[], 100)).await.expect(201);
    for id in ["full", "ids"] {
        scene.until(&hospital, id, "active").await;
    }
    let large = |n: usize| {
        let mut observation = observation(&format!("o{n}"), "1");
        observation["note"] = json!(vec![json!({"text": "x".repeat(900_000)}); 4]);
        observation
    };
    hospital.post("/fhir", &[], &transaction((0..5).map(large))).await.expect(200);
    let got = receiver.until("all events", |got| got.iter().map(|got| numbers(&got.body).len()).sum::<usize>() >= 10).await;
    let of = |path: &str| got.iter().skip(2).filter(|got| got.path == path).map(|got| numbers(&got.body)).collect::<Vec<_>>();
    assert_eq!((of("/full"), of("/ids")), (vec![vec![1, 2], vec![3, 4], vec![5]], vec![vec![1, 2, 3, 4, 5]]));
    scene.until_metric("dugnad_subscription_lag_commits{status=\"active\"} 0").await;
    let events = hospital.get("/fhir/Subscription/full/$events?eventsUntilNumber=4").await.expect(200).json();
    assert_eq!(numbers(&events), [1, 2]);
    let next = events["link"][0]["url"].as_str().unwrap();
    assert!(next.ends_with("/Subscription/full/$events?eventsSinceNumber=3&eventsUntilNumber=4&content=full-resource"), "{next}");
}
