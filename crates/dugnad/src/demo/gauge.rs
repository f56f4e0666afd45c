//! What the demo measures of itself.

use crate::bench::Latency;
use crate::feed::live::{Acknowledged, Report};
use crate::web::demo::{Arrival, Freshness, LATEST, RECENT};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts and latencies, fed by the hospitals' threads and by the reader that looks for what they wrote.
pub(super) struct Gauge {
    inner: Mutex<Inner>,
    news: Condvar,
    zone: TimeZone,
}

struct Inner {
    began: Instant,
    acknowledged: u64,
    resources: u64,
    busy: u64,
    failures: u64,
    first_failures: Vec<String>,
    hospitals: Vec<u64>,
    latest: VecDeque<Arrival>,
    times: VecDeque<Instant>,
    newest: Option<(u64, Instant)>,
    acknowledged_after: Latency,
    visible_after: Latency,
    recent_ms: VecDeque<f32>,
    reads: u64,
    stale: u64,
}

/// What the hospitals' acknowledgements demand of an answer to a question that is asked now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// How many treatments have been acknowledged since the demo began: each wrote one encounter.
    pub(super) acknowledged: u64,
    /// The newest of them: its commit, and when its acknowledgement arrived.
    pub(super) newest: (u64, Instant),
}

impl Gauge {
    pub(super) fn new(hospitals: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                began: Instant::now(),
                acknowledged: 0,
                resources: 0,
                busy: 0,
                failures: 0,
                first_failures: Vec::new(),
                hospitals: vec![0; hospitals],
                latest: VecDeque::new(),
                times: VecDeque::new(),
                newest: None,
                acknowledged_after: Latency::default(),
                visible_after: Latency::default(),
                recent_ms: VecDeque::new(),
                reads: 0,
                stale: 0,
            }),
            news: Condvar::new(),
            zone: TimeZone::get("Europe/Oslo").unwrap_or(TimeZone::UTC),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report of the feed.
    pub(super) fn record(&self, report: Report) {
        let mut inner = self.lock();
        match report {
            Report::Acknowledged(acknowledged) => {
                let time = Timestamp::now().to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string();
                inner.acknowledge(&acknowledged, time);
                self.news.notify_all();
            }
            Report::Busy { .. } => inner.busy += 1,
            Report::Failed { hospital, what } => {
                inner.failures += 1;
                if inner.first_failures.len() < 5 {
                    tracing::error!(hospital, what, "a treatment was not taken");
                    inner.first_failures.push(what);
                }
            }
        }
    }

    /// Waits until something newer than `seen` has been acknowledged, at most `patience`; what it demands of a reader.
    pub(super) fn next_demand(&self, seen: u64, patience: Duration) -> Option<Demand> {
        let inner = self.lock();
        let waiting = |inner: &mut Inner| inner.newest.is_none_or(|(commit, _)| commit <= seen);
        let (inner, _) = self.news.wait_timeout_while(inner, patience, waiting).unwrap_or_else(PoisonError::into_inner);
        let newest = inner.newest.filter(|(commit, _)| *commit > seen)?;
        Some(Demand { acknowledged: inner.acknowledged, newest })
    }

    /// An answer to a question that was asked under `demand` has arrived: did it hold what it had to?
    pub(super) fn answered(&self, demand: Demand, holds: bool) {
        let mut inner = self.lock();
        inner.reads += 1;
        if !holds {
            inner.stale += 1;
            return;
        }
        let after = demand.newest.1.elapsed();
        inner.visible_after.record(after);
        if inner.recent_ms.len() == RECENT {
            inner.recent_ms.pop_front();
        }
        inner.recent_ms.push_back(after.as_secs_f32() * 1e3);
    }

    /// The page's part of it: treatments per hospital, the newest ones, the rate, freshness.
    pub(super) fn shown(&self) -> (Vec<u64>, Vec<Arrival>, f64, Freshness) {
        let mut inner = self.lock();
        let now = Instant::now();
        let window = now.duration_since(inner.began).min(Duration::from_secs(10)).as_secs_f64().max(0.1);
        while inner.times.front().is_some_and(|t| now.duration_since(*t) > Duration::from_secs(10)) {
            inner.times.pop_front();
        }
        let rate = inner.times.len() as f64 / window;
        let freshness = Freshness {
            samples: inner.reads,
            stale: inner.stale,
            p50_ms: inner.visible_after.quantile_ms(0.5),
            p99_ms: inner.visible_after.quantile_ms(0.99),
            max_ms: inner.visible_after.max_ms(),
            recent_ms: inner.recent_ms.iter().copied().collect(),
        };
        (inner.hospitals.clone(), inner.latest.iter().cloned().collect(), rate, freshness)
    }

    /// What is said at the end.
    pub(super) fn summary(&self, checkpoint: &str) -> Summary {
        let inner = self.lock();
        let seconds = inner.began.elapsed().as_secs_f64();
        let quantiles =
            |l: &Latency| format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", l.quantile_ms(0.5), l.quantile_ms(0.99), l.max_ms());
        let mut note = checkpoint.lines().skip(1);
        let hospitals = inner.hospitals.iter().filter(|n| **n > 0).count();
        let lines = vec![
            format!("treatments     {} ({} resources) by {hospitals} hospitals in {seconds:.0} s", inner.acknowledged, inner.resources),
            format!("acknowledged   {} after they were due", quantiles(&inner.acknowledged_after)),
            format!("visible        {} from the acknowledgement to the first answer that holds it", quantiles(&inner.visible_after)),
            format!("stale answers  {} of {}", inner.stale, inner.reads),
            format!("not taken      {} failed, {} told to come back later", inner.failures, inner.busy),
            format!("audit log      {} entries, root {}", note.next().unwrap_or("0"), note.next().unwrap_or("-")),
        ];
        Summary { lines, clean: inner.stale == 0 && inner.failures == 0 }
    }
}

impl Inner {
    fn acknowledge(&mut self, acknowledged: &Acknowledged, time: String) {
        self.acknowledged += 1;
        self.resources += acknowledged.resources as u64;
        if let Some(count) = self.hospitals.get_mut(acknowledged.hospital) {
            *count += 1;
        }
        if self.newest.is_none_or(|(commit, _)| commit < acknowledged.commit) {
            self.newest = Some((acknowledged.commit, acknowledged.at));
        }
        self.times.push_back(acknowledged.at);
        self.acknowledged_after.record(acknowledged.latency);
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(Arrival {
            number: self.acknowledged,
            hospital: acknowledged.hospital,
            kind: acknowledged.kind,
            code: acknowledged.code.code.to_owned(),
            display: acknowledged.code.display.to_owned(),
            time,
            commit: acknowledged.commit,
        });
    }
}

/// The last lines of a demo.
pub(super) struct Summary {
    lines: Vec<String>,
    clean: bool,
}

impl Summary {
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        std::iter::once("SYNTHETIC demo, in all:").chain(self.lines.iter().map(String::as_str))
    }

    /// Whether nothing was stale and nothing failed.
    pub(super) fn is_clean(&self) -> bool {
        self.clean
    }
}
