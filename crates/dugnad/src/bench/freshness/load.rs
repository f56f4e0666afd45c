//! The writers: an open loop. Transaction *n* is due at `start + n / rate` whether or not earlier ones have been answered,
//! and its latency counts from then (no coordinated omission).

use super::board::{Acknowledged, Board};
use super::{CODE_SYSTEM, Target};
use crate::bench::Latency;
use crate::cli::client;
use crate::feed::Feed;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::Method;

/// How many Observations each writer keeps updating for a hospital: a few, so that their histories stay short.
const SLOTS: u64 = 16;

/// How long a writer sleeps at most before it looks whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// How many refusals are told.
const TOLD: usize = 5;

/// What the writers share.
pub struct Load<'l> {
    pub target: &'l Target,
    pub board: &'l Board,
    pub feed: Mutex<Feed>,
    /// Added to the number of a transaction: values of earlier runs on the same server are smaller.
    pub base: u64,
    pub rate_per_s: f64,
    pub start: Instant,
    pub next: AtomicU64,
    pub stop: &'l AtomicBool,
    /// Whether the table of a view is being built.
    pub building: &'l AtomicBool,
    pub result: Mutex<Written>,
}

/// What became of the writes.
#[derive(Debug, Default)]
pub struct Written {
    /// From the due time to the last byte of the acknowledgement.
    pub acknowledged: Latency,
    /// The same of those that were due while the table of a view was built; not among the others.
    pub while_building: Latency,
    /// Resources in them.
    pub resources: u64,
    /// Told to come back later: 429 or 503.
    pub busy: u64,
    /// Failed, with the first reasons.
    pub failed: u64,
    pub reasons: Vec<String>,
}

struct Prepared {
    body: Vec<u8>,
    resources: u64,
    acknowledged: Acknowledged,
}

impl Load<'_> {
    /// Writes until it is told to stop.
    pub fn write(&self, writer: usize) {
        let mut counts: HashMap<usize, u64> = HashMap::new();
        let (mut latency, mut while_building) = (Latency::default(), Latency::default());
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = self.start + Duration::from_secs_f64(number as f64 / self.rate_per_s);
            // Made before it is due, so that making it is not measured.
            let mut prepared = self.prepare(writer, number, &mut counts);
            if !self.wait_until(due) {
                break;
            }
            let building = self.building.load(Ordering::Relaxed);
            if self.send(&mut prepared) {
                let latency = if building { &mut while_building } else { &mut latency };
                latency.record(prepared.acknowledged.at.duration_since(due));
                self.board.acknowledge(prepared.acknowledged);
            }
        }
        let mut result = self.result();
        result.acknowledged.add(&latency);
        result.while_building.add(&while_building);
    }

    fn result(&self) -> std::sync::MutexGuard<'_, Written> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if it is to stop.
    fn wait_until(&self, due: Instant) -> bool {
        while !self.stop.load(Ordering::Acquire) {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(STOP_CHECK));
        }
        false
    }

    /// A visit of the feed (an Encounter), and two Observations about it: one that is new, one that has been there.
    fn prepare(&self, writer: usize, number: u64, counts: &mut HashMap<usize, u64>) -> Prepared {
        let transaction = self.feed.lock().unwrap_or_else(PoisonError::into_inner).next_transaction(1, Timestamp::now());
        let hospital = self.target.hospital(transaction.hospital);
        let count = counts.entry(hospital).or_default();
        let slot: Arc<str> = format!("slot-{hospital}-{writer}-{}", *count % SLOTS).into();
        *count += 1;
        let value = self.base + number;
        let marker: Arc<str> = format!("marker-{value}").into();
        let mut bundle: Value = serde_json::from_slice(&transaction.bundle).unwrap_or_default();
        let mut resources = 1;
        if let Some(entries) = bundle["entry"].as_array_mut() {
            let encounter = entries.first().cloned().unwrap_or_default();
            entries.push(observation(&marker, &slot, "marker", value, &encounter));
            entries.push(observation(&slot, &slot, "slot", value, &encounter));
            resources = entries.len() as u64;
        }
        let acknowledged = Acknowledged { value, marker, slot, hospital, commit: 0, at: Instant::now() };
        Prepared { body: bundle.to_string().into_bytes(), resources, acknowledged }
    }

    /// Whether it was acknowledged; commit and time are filled in then.
    fn send(&self, prepared: &mut Prepared) -> bool {
        let headers = [("Content-Type", "application/fhir+json"), ("Prefer", "return=minimal")];
        let client = self.target.writer(prepared.acknowledged.hospital);
        let failed = |what: String| {
            let mut result = self.result();
            result.failed += 1;
            if result.reasons.len() < TOLD {
                result.reasons.push(what);
            }
            false
        };
        let mut answer = match client.send(Method::POST, "/fhir", &headers, Some(&prepared.body)) {
            Ok(answer) => answer,
            Err(error) => return failed(error.to_string()),
        };
        let text = client::text(&mut answer);
        match answer.status().as_u16() {
            200 => {}
            429 | 503 => {
                self.result().busy += 1;
                return false;
            }
            status => return failed(format!("{status}: {}", client::explain(status, &text).remove(0).1)),
        }
        let header = answer.headers().get("Dugnad-Commit").and_then(|v| v.to_str().ok());
        let Some(commit) = header.and_then(|v| v.parse().ok()) else { return failed("the answer has no Dugnad-Commit".to_owned()) };
        (prepared.acknowledged.commit, prepared.acknowledged.at) = (commit, Instant::now());
        self.result().resources += prepared.resources;
        true
    }
}

/// An entry that puts an Observation with this value; `display` names the slot that its transaction updates.
fn observation(id: &str, display: &str, code: &str, value: u64, encounter: &Value) -> Value {
    json!({
        "resource": {
            "resourceType": "Observation",
            "id": id,
            "status": "final",
            "code": {"coding": [{"system": CODE_SYSTEM, "code": code, "display": display}]},
            "subject": encounter["resource"]["subject"],
            "encounter": {"reference": encounter["request"]["url"]},
            "effectiveDateTime": encounter["resource"]["period"]["start"],
            "valueQuantity": {"value": value, "unit": "1", "system": "http://unitsofmeasure.org", "code": "1"},
        },
        "request": {"method": "PUT", "url": format!("Observation/{id}")},
    })
}
