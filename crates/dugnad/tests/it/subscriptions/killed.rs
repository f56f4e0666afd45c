//! `kill -9` while a hospital writes and is told: of every acknowledged write the endpoint is told at least once, in the order of
//! commits.

use super::receiver::Receiver;
use super::subscription;
use crate::process::{Process, make_database, send};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;
use ureq::http::Method;

const KILLS: usize = 6;

fn write(process: &Process, token: &str, kind: &str, resource: &Value) -> Option<(u16, u64)> {
    let path = format!("/fhir/{kind}/{}", resource["id"].as_str().unwrap());
    send(&process.client(token), Method::PUT, &path, Some(resource)).map(|(status, _, commit)| (status, commit))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_is_told_at_least_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let tokens = make_database(&dir, &["observation"]);
    let receiver = Receiver::start().await;
    let mut rng = StdRng::seed_from_u64(std::env::var("DUGNAD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7));
    let mut acknowledged = Vec::new();
    let mut number = 0;
    for round in 0..=KILLS {
        let process = Process::start(&dir);
        if round == 0 {
            let asked = subscription("s", "Observation?code=1", Some(&receiver), true);
            assert_eq!(write(&process, &tokens.hospital, "Subscription", &asked).map(|w| w.0), Some(201));
        }
        // Some rounds end with much that nobody was told of.
        receiver.answers(if round % 2 == 0 { &[] } else { &[500; 200] }, 200);
        for _ in 0..rng.random_range(5..40) {
            number += 1;
            let observation =
                json!({"resourceType": "Observation", "id": format!("o{number}"), "status": "final", "code": {"coding": [{"code": "1"}]}});
            if let Some((201, commit)) = write(&process, &tokens.hospital, "Observation", &observation) {
                acknowledged.push((commit, observation["id"].as_str().unwrap().to_owned()));
            }
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..60)));
        process.kill();
    }
    receiver.answers(&[], 200);
    let process = Process::start(&dir);
    let all: HashSet<String> = acknowledged.iter().map(|(_, id)| id.clone()).collect();
    let told = |got: &[super::Got]| {
        got.iter().filter(|got| got.answered == 200).map(|got| got.body["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let got = receiver.until("every acknowledged write", |got| told(got).into_iter().collect::<HashSet<_>>().len() >= all.len()).await;
    process.kill();
    assert!(acknowledged.is_sorted() && acknowledged.len() >= 5 * KILLS);
    // Each for the first time, in the order of commits; what comes again is the last that came before.
    let mut seen = HashSet::new();
    let firsts: Vec<String> = told(&got).into_iter().filter(|id| seen.insert(id.clone())).collect();
    assert_eq!(firsts, acknowledged.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
}
