//! Streams of server-sent events.

use super::{Scene, subscription};
use crate::support::{Hospital, Server};
use axum::body::Body;
use axum::http::Request;
use dugnad::access::{Role, TokenRequest};
use dugnad::limits::MAX_STREAMS;
use futures::StreamExt;
use jiff::ToSpan;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt;

/// A stream that is read.
pub struct Reading {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Reading {
    pub async fn open(server: &Server, hospital: &Hospital<'_>, id: &str, last: Option<&str>) -> Self {
        let mut request =
            Request::get(format!("/fhir/Subscription/{id}/$events-stream")).header("Authorization", format!("Bearer {}", hospital.token));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = server.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()), (200, "text/event-stream"));
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event: its id and data. None at the end of the stream.
    pub async fn next(&mut self) -> Option<(Option<String>, Value)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>().join("\n");
                let (id, data) = (field("id: "), field("data: "));
                let found = (!data.is_empty()).then(|| (Some(id).filter(|id| !id.is_empty()), serde_json::from_str(&data).unwrap()));
                self.text = rest.to_owned();
                if found.is_some() {
                    return found;
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(60), self.body.next()).await.expect("an event");
            self.text.push_str(std::str::from_utf8(&chunk?.unwrap()).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_broke_off() {
    let scene = Scene::open();
    let hospital = scene.server.hospital("Haukeland");
    hospital.ask_for(&subscription("s", "Observation?code=1", None, true)).await.expect(201);
    scene.until(&hospital, "s", "active").await;
    hospital.observe("a", "1").await;
    let mut first = Reading::open(&scene.server, &hospital, "s", None).await;
    let (id, a) = first.next().await.unwrap();
    assert_eq!(a["id"], "a");
    hospital.observe("b", "2").await;
    hospital.observe("c", "1").await;
    assert_eq!(first.next().await.unwrap().1["id"], "c", "it comes while the stream is open");
    drop(first);
    hospital.observe("d", "1").await;
    // Of what came after `a`; and again over a restart.
    let mut again = Reading::open(&scene.server, &hospital, "s", id.as_deref()).await;
    assert_eq!(again.next().await.unwrap().1["id"], "c");
    let (last, d) = again.next().await.unwrap();
    assert!(d["id"] == "d" && last.as_deref().unwrap().ends_with("-3"), "the third event: {last:?}");
    drop((again, hospital));
    let scene = scene.restarted().await;
    let hospital = scene.server.hospital("Haukeland");
    let mut whole = Reading::open(&scene.server, &hospital, "s", None).await;
    for expected in ["a", "c", "d"] {
        assert_eq!(whole.next().await.unwrap().1["id"], expected);
    }
    // Of a transaction only the last event has an id: whoever has not got all of it gets it again.
    let entry =
        |id: &str| json!({"resource": super::observation(id, "1"), "request": {"method": "PUT", "url": format!("Observation/{id}")}});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [entry("x"), entry("y")]});
    hospital.post("/fhir", &[], &bundle).await.expect(200);
    let (x, y) = (whole.next().await.unwrap(), whole.next().await.unwrap());
    assert_eq!((x.0, x.1["id"].as_str(), y.1["id"].as_str()), (None, Some("x"), Some("y")));
    assert!(y.0.is_some_and(|id| id.ends_with("-5")));
    for wrong in ["x", "1", "1-x", "5-1"] {
        let headers = [("Last-Event-ID", wrong)];
        hospital.send("GET", "/fhir/Subscription/s/$events-stream", &headers, "").await.expect(400);
    }
    // A restored database has not got what an id of before names: it begins with the Subscription.
    let timeline = scene.server.local.database.timeline();
    for gone in ["00112233445566ff-1-1".to_owned(), format!("{timeline}-5000-37")] {
        let mut whole = Reading::open(&scene.server, &hospital, "s", Some(&gone)).await;
        assert_eq!(whole.next().await.unwrap().1["id"], "a", "{gone}");
    }
    assert!(scene.metrics().await.contains("dugnad_subscription_lag_commits{status=\"active\"} 0\n"), "no endpoint is behind");
}

/// It went on for as long as its user had any token.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_that_it_was_opened_with() {
    let scene = Scene::open();
    let hospital = scene.server.hospital("Haukeland");
    let request = TokenRequest {
        user: "Haukeland".to_owned(),
        role: Role::Hospital,
        holder: Some("Haukeland".to_owned()),
        subject: None,
        valid_for: 10.hours(),
    };
    let longer = Hospital { server: &scene.server, token: scene.server.local.tokens.issue(&request).unwrap() };
    hospital.ask_for(&subscription("s", "Observation?", None, false)).await.expect(201);
    scene.until(&hospital, "s", "active").await;
    let mut ends = Reading::open(&scene.server, &hospital, "s", None).await;
    let mut goes_on = Reading::open(&scene.server, &longer, "s", None).await;
    hospital.observe("a", "1").await;
    assert!(ends.next().await.is_some() && goes_on.next().await.is_some());
    // Its hour is over; the other token has nine more.
    let tokens = rusqlite::Connection::open(scene.server.dir().join("access.sqlite")).unwrap();
    let first = "UPDATE token SET expires_us = 1 WHERE expires_us = (SELECT min(expires_us) FROM token WHERE user = 'Haukeland')";
    assert_eq!(tokens.execute(first, []).unwrap(), 1);
    longer.observe("b", "1").await;
    assert!(ends.next().await.is_none(), "the one");
    assert!(goes_on.next().await.is_some(), "the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_are_open() {
    let scene = Scene::open();
    let hospital = scene.server.hospital("Haukeland");
    hospital.ask_for(&subscription("s", "Observation?", None, false)).await.expect(201);
    scene.until(&hospital, "s", "active").await;
    let mut open = Vec::new();
    for _ in 0..MAX_STREAMS {
        open.push(Reading::open(&scene.server, &hospital, "s", None).await);
    }
    let full = hospital.get("/fhir/Subscription/s/$events-stream").await.expect(503);
    assert!(full.header("Retry-After").is_some());
    open.pop();
    Reading::open(&scene.server, &hospital, "s", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_subscription_and_its_token() {
    let scene = Scene::open();
    let hospital = scene.server.hospital("Haukeland");
    let asked = subscription("s", "Observation?", None, false);
    hospital.ask_for(&asked).await.expect(201);
    scene.until(&hospital, "s", "active").await;
    let mut reading = Reading::open(&scene.server, &hospital, "s", None).await;
    hospital.observe("a", "1").await;
    assert_eq!(reading.next().await.unwrap().1, json!({}), "it asked for no payload");
    let mut off = asked.clone();
    off["status"] = "off".into();
    hospital.ask_for(&off).await.expect(200);
    assert!(reading.next().await.is_none());
    hospital.get("/fhir/Subscription/s/$events-stream").await.expect(409);
    hospital.ask_for(&asked).await.expect(200);
    scene.until(&hospital, "s", "active").await;
    let mut reading = Reading::open(&scene.server, &hospital, "s", None).await;
    hospital.observe("b", "1").await;
    reading.next().await.unwrap();
    scene.server.local.tokens.revoke("Haukeland").unwrap();
    scene.server.hospital("Ullevål").observe("c", "1").await; // any commit wakes it
    assert!(reading.next().await.is_none());
}
