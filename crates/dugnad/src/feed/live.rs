//! Sends treatments over HTTP at a given rate, as the hospitals would.
//!
//! The load is open-loop: transaction *n* is due at `start + n / rate`, whether or not earlier ones have been answered, and
//! its latency counts from the instant at which it was due. A server that stalls is seen to stall (no coordinated omission).

use super::{Feed, Kind, Treatment};
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one request may take before it counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a worker sleeps at most before it looks at the stop flag again.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Where and how fast.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// `http://127.0.0.1:8080`, without a path.
    pub base_url: String,
    /// A bearer token for each hospital, in the order of [`super::hospitals`].
    pub tokens: Vec<String>,
    /// Transactions per second, all hospitals together; must be above 0.
    pub rate_per_s: f64,
    /// How many requests may be under way at once; each worker keeps one connection.
    pub workers: usize,
}

/// A transaction that the server acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledged {
    /// Index into [`super::hospitals`].
    pub hospital: usize,
    /// What it was.
    pub kind: Kind,
    /// What was done.
    pub code: super::code::Code,
    /// How many resources it wrote.
    pub resources: usize,
    /// Whether its patient is a subject of the demo's study.
    pub study_subject: bool,
    /// `Dugnad-Commit` of the answer.
    pub commit: u64,
    /// From the instant at which it was due to the last byte of the answer.
    pub latency: Duration,
    /// From the instant at which it was sent to the last byte of the answer.
    pub service_time: Duration,
    /// When the answer had come.
    pub at: Instant,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// It is durable and visible.
    Acknowledged(Acknowledged),
    /// The server is full (429 or 503): it was not taken, and the worker waits `Retry-After` (at most a second).
    Busy {
        /// Index into [`super::hospitals`].
        hospital: usize,
    },
    /// It failed. The text has the status and what the server said, no patient's value.
    Failed {
        /// Index into [`super::hospitals`].
        hospital: usize,
        /// What happened.
        what: String,
    },
}

/// A feed that is running. Dropping it does not stop it; `stop` does.
pub struct LiveFeed {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared<R> {
    config: LiveConfig,
    feed: Mutex<Feed>,
    next: AtomicU64,
    start: Instant,
    stop: Arc<AtomicBool>,
    report: R,
}

impl LiveFeed {
    /// Starts `config.workers` threads that send what `feed` gives and call `report` for each answer, from their thread.
    pub fn start<R>(config: LiveConfig, feed: Feed, stop: Arc<AtomicBool>, report: R) -> std::io::Result<Self>
    where
        R: Fn(Report) + Send + Sync + 'static,
    {
        let workers = config.workers.max(1);
        let shared =
            Arc::new(Shared { config, feed: Mutex::new(feed), next: AtomicU64::new(0), start: Instant::now(), stop: stop.clone(), report });
        let workers = (0..workers)
            .map(|number| {
                let shared = shared.clone();
                std::thread::Builder::new().name(format!("feed-{number}")).spawn(move || work(&shared))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(LiveFeed { stop, workers })
    }

    /// Asks the workers to stop and waits until what is under way has been answered.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        for worker in self.workers {
            // A worker that panicked has said so on stderr; there is nothing more to do about it here.
            let _ = worker.join();
        }
    }
}

fn work<R: Fn(Report)>(shared: &Shared<R>) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(REQUEST_TIMEOUT))
        .http_status_as_error(false)
        .max_idle_connections_per_host(1)
        .build()
        .into();
    while let Some((due, treatment)) = take(shared) {
        let sent = Instant::now();
        let report = send(&agent, &shared.config, &treatment, due, sent);
        let busy = matches!(report, Report::Busy { .. });
        (shared.report)(report);
        if busy {
            sleep_until(Instant::now() + Duration::from_secs(1), &shared.stop);
        }
    }
}

/// Waits until the next transaction is due and makes it; `None` if the feed is to stop.
fn take<R>(shared: &Shared<R>) -> Option<(Instant, Treatment)> {
    let number = shared.next.fetch_add(1, Ordering::Relaxed);
    let due = shared.start + Duration::from_secs_f64(number as f64 / shared.config.rate_per_s);
    sleep_until(due, &shared.stop);
    if shared.stop.load(Ordering::Acquire) {
        return None;
    }
    let mut feed = shared.feed.lock().unwrap_or_else(PoisonError::into_inner);
    Some((due, feed.next_treatment(Timestamp::now())))
}

fn sleep_until(due: Instant, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(STOP_CHECK));
    }
}

fn send(agent: &ureq::Agent, config: &LiveConfig, treatment: &Treatment, due: Instant, sent: Instant) -> Report {
    let hospital = treatment.transaction.hospital;
    let failed = |what: String| Report::Failed { hospital, what };
    let Some(token) = config.tokens.get(hospital) else { return failed("there is no token for this hospital".into()) };
    let answer = agent
        .post(format!("{}/fhir", config.base_url))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/fhir+json")
        .header("accept", "application/fhir+json")
        .header("prefer", "return=minimal")
        .send(treatment.transaction.bundle.as_slice());
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => return failed(error.to_string()),
    };
    // The body is read to its end: only then is the transaction answered, and the connection free for the next one.
    let body = answer.body_mut().read_to_vec();
    let commit = answer.headers().get("dugnad-commit").and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    match (answer.status().as_u16(), commit, body) {
        (200 | 201, Some(commit), Ok(_)) => {
            let at = Instant::now();
            Report::Acknowledged(Acknowledged {
                hospital,
                kind: treatment.kind,
                code: treatment.code,
                resources: treatment.transaction.resources,
                study_subject: treatment.study_subject,
                commit,
                latency: at - due,
                service_time: at - sent,
                at,
            })
        }
        (200 | 201, None, _) => failed("the answer has no Dugnad-Commit header".into()),
        (429 | 503, ..) => Report::Busy { hospital },
        (status, _, Ok(body)) => failed(format!("HTTP {status}: {}", String::from_utf8_lossy(body.get(..400).unwrap_or(&body)))),
        (status, _, Err(error)) => failed(format!("HTTP {status}: {error}")),
    }
}
