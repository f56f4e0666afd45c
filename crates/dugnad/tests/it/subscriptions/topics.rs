//! The form of the backport: topics, filters, handshakes, Bundles, `$status` and `$events`.

use super::receiver::{Got, Receiver};
use super::{Scene, subscription};
use serde_json::{Value, json};

const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";

fn topic(id: &str, receiver: &Receiver, content: &str, filters: &[&str], most: u64) -> Value {
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
fn parameter<'v>(bundle: &'v Value, name: &str) -> Vec<&'v Value> {
    let status = &bundle["entry"][0]["resource"];
    assert_eq!(status["resourceType"], "Parameters", "{bundle}");
    status["parameter"].as_array().unwrap().iter().filter(|p| p["name"] == name).collect()
}

fn kind(got: &Got) -> String {
    parameter(&got.body, "type")[0]["valueCode"].as_str().unwrap().to_owned()
}

fn numbers(bundle: &Value) -> Vec<u64> {
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
    let expected = [("POST", "Observation"), ("PUT", "Observation/b"), ("DELETE", "Observation/b")];
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
