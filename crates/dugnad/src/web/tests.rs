//! Tests of the pages, and a preview of the demo page with made-up numbers.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::demo::*;
use super::{assets, start};
use crate::feed::{Feed, Kind, hospitals, studies};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use futures::StreamExt;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tower::ServiceExt;

/// A demo without a database: a real feed, invented measurements.
struct Fake {
    feed: Feed,
    state: DemoState,
    minute: VecDeque<(Timestamp, Kind)>,
    ticks: u64,
}

impl Fake {
    fn new() -> Self {
        let now = Timestamp::now();
        let mut feed = Feed::new(1, 1_400, now);
        let resources: usize = feed.history(now).map(|transaction| transaction.resources).sum();
        let mut state = DemoState { commit: 1_731, resources: resources as u64, patients: 1_400, ..DemoState::default() };
        state.authority.permit = "surveillance".into();
        state.study = StudyView {
            permit: "study".into(),
            title: studies()[2].title.clone(),
            subjects: 27,
            sites: 14,
            rows: 912,
            ..StudyView::default()
        };
        state.statistics = StatisticsView { permit: "statistics".into(), epoch_s: 60.0, next_s: 60.0, ..StatisticsView::default() };
        state.audit.origin = "dugnad.example/demo".into();
        Fake { feed, state, minute: VecDeque::new(), ticks: 0 }
    }

    fn tick(&mut self, now: Timestamp, treatments: u64) -> DemoState {
        let clock = time_in_norway(now);
        for _ in 0..treatments {
            let treatment = self.feed.next_treatment(now);
            let state = &mut self.state;
            state.commit += 1;
            state.resources += treatment.transaction.resources as u64;
            state.patients += u64::from(treatment.new_patient);
            state.study.rows += 3 * u64::from(treatment.study_subject);
            state.study.last_minute += u64::from(treatment.study_subject);
            state.hospitals[treatment.transaction.hospital] += 1;
            state.latest.push(Arrival {
                number: state.commit,
                hospital: treatment.transaction.hospital,
                kind: treatment.kind,
                code: treatment.code.code.into(),
                display: treatment.code.display.into(),
                time: clock.clone(),
                commit: state.commit,
            });
            state
                .freshness
                .recent_ms
                .push(0.6 + ((state.commit * 7919) % 97) as f32 / 60.0 + if state.commit.is_multiple_of(61) { 9.0 } else { 0.0 });
            self.minute.push_back((now, treatment.kind));
        }
        self.ticks += 1;
        while self.minute.front().is_some_and(|(at, _)| now.as_second() - at.as_second() >= 60) {
            self.minute.pop_front();
        }
        self.measure(now, clock, treatments);
        self.state.clone()
    }

    fn measure(&mut self, now: Timestamp, clock: String, treatments: u64) {
        let state = &mut self.state;
        let surplus = state.latest.len().saturating_sub(LATEST);
        state.latest.drain(..surplus);
        let surplus = state.freshness.recent_ms.len().saturating_sub(RECENT);
        state.freshness.recent_ms.drain(..surplus);
        state.at = now.to_string();
        state.rate_per_s = treatments as f64;
        let kinds = [Kind::Surgery, Kind::Radiotherapy, Kind::DrugAdministration, Kind::OtherProcedure, Kind::Immunization];
        let count =
            |kind: Kind| KindCount { kind: kind.name().into(), count: self.minute.iter().filter(|(_, k)| *k == kind).count() as u64 };
        state.authority.by_kind = kinds.into_iter().map(count).collect();
        state.authority.last_minute = state.authority.by_kind.iter().map(|entry| entry.count).sum();
        state.authority.commit = state.commit;
        state.authority.tables = ["patient", "condition", "procedure", "medication_administration", "observation", "treatment"]
            .iter()
            .zip([1_400, 1_400, 3_800, 2_900, 21_000, 6_700])
            .map(|(table, rows)| TableRows { table: (*table).into(), rows: rows + state.commit })
            .collect();
        state.study.commit = state.commit;
        state.study.by_kind =
            kinds.into_iter().zip([9, 211, 164, 27, 3]).map(|(kind, count)| KindCount { kind: kind.name().into(), count }).collect();
        state.statistics.next_s = 60.0 - (self.ticks % 60) as f64;
        state.statistics.epoch = "2026-03-02T09:41Z".into();
        let cells = [
            ("surgery", "612"),
            ("radiotherapy", "388"),
            ("drug_administration", "741"),
            ("other_procedure", "1401"),
            ("immunization", "–"),
        ];
        state.statistics.cells = cells.iter().map(|(kind, persons)| Cell { kind: (*kind).into(), persons: (*persons).into() }).collect();
        state.freshness = Freshness {
            samples: state.commit - 1_731,
            stale: 0,
            p50_ms: 1.42,
            p99_ms: 4.87,
            max_ms: 11.3,
            recent_ms: state.freshness.recent_ms.clone(),
        };
        state.audit = Checkpoint {
            origin: state.audit.origin.clone(),
            size: 4_210 + self.ticks * 3,
            root: "pXh3cS0q1m9v2n8Yb7Wc5d4Ee6Ff0Gg1Hh2Ii3Jj4Kk=".into(),
            time: clock,
        };
    }
}

fn demo() -> Router {
    let mut fake = Fake::new();
    let (sender, receiver) = watch::channel(DemoState::default());
    sender.send_replace(fake.tick(Timestamp::now(), 40));
    // The sender lives on, so that streams stay open.
    std::mem::forget(sender);
    super::demo::routes(receiver)
}

async fn get(router: Router, path: &str) -> axum::response::Response {
    router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: axum::response::Response) -> String {
    String::from_utf8(axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn the_demo_page_is_marked_and_has_nothing_inline() {
    let response = get(demo(), "/").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], assets::POLICY);
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let html = text(response).await;
    assert!(html.contains("Synthetic") && html.contains("SYNTHETIC"));
    assert!(html.contains("Kartverket, CC BY 4.0"));
    assert!(!html.contains("style=") && !html.contains("onclick") && !html.contains("<style") && !html.contains("<script>"));
    for hospital in hospitals() {
        assert!(html.matches(hospital.name).count() >= 2, "{} is on the drawing and in the table", hospital.name);
    }
    assert!(html.len() < 120_000, "{} bytes", html.len());
}

#[tokio::test]
async fn the_stream_sends_the_state_as_json() {
    let response = get(demo(), "/demo/events").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let first = response.into_body().into_data_stream().next().await.unwrap().unwrap();
    let event = String::from_utf8(first.to_vec()).unwrap();
    let state: DemoState = serde_json::from_str(event.strip_prefix("data: ").unwrap().trim()).unwrap();
    assert_eq!(state.latest.len(), 40);
    assert!(event.len() < 20_000, "{} bytes a second", event.len());
    assert!(!event.contains("Patient/") && !event.contains("birth"));
}

#[tokio::test]
async fn files_are_served_with_their_types() {
    for (path, content_type) in [
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/demo.js", "text/javascript; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
    ] {
        assert_eq!(get(demo(), path).await.headers()[header::CONTENT_TYPE], content_type);
    }
    assert_eq!(get(demo(), "/assets/../Cargo.toml").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_start_page_times_nobody() {
    let response = get(start::routes(), "/").await;
    assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], assets::POLICY);
    let html = text(response).await;
    for place in ["/fhir/metadata", "/openapi.json", "/audit/checkpoint"] {
        assert!(html.contains(place));
    }
    assert!(!html.contains("<script"), "nothing here changes");
}

/// For looking at: `cargo test -p dugnad --lib web::tests::preview -- --ignored --nocapture`, then http://127.0.0.1:8089/.
#[tokio::test]
#[ignore = "serves until it is stopped"]
async fn preview() {
    let (sender, receiver) = watch::channel(DemoState::default());
    let mut fake = Fake::new();
    sender.send_replace(fake.tick(Timestamp::now(), 40));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sender.send_replace(fake.tick(Timestamp::now(), 18));
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8089").await.unwrap();
    let app = super::demo::routes(receiver).nest("/served", start::routes());
    axum::serve(listener, app).await.unwrap();
}
