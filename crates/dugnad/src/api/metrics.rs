//! Counters in Prometheus' text format. Labels hold route templates and resource types, never an id or a name.

use axum::http::Method;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What the server has done since it started.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(String, String), Route>>,
    /// Resources written (created, updated or deleted).
    pub entries_written: AtomicU64,
    /// Commits made.
    pub commits: AtomicU64,
    /// Requests without a valid token.
    pub strangers: AtomicU64,
    /// Requests that met a full queue.
    pub turned_away: AtomicU64,
}

#[derive(Debug, Default)]
struct Route {
    by_status: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
    count: u64,
}

impl Metrics {
    /// Counts one request, from its head to the head of its answer.
    pub fn count_request(&self, method: &Method, route: &str, status: u16, took: Duration) {
        // Only methods that exist: a stranger must not be able to make labels.
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS") => known,
            _ => "other",
        };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = requests.entry((route.to_owned(), method.to_owned())).or_default();
        *entry.by_status.entry(status).or_default() += 1;
        entry.count += 1;
        entry.seconds += took.as_secs_f64();
        for (bucket, bound) in entry.buckets.iter_mut().zip(BUCKETS) {
            if took.as_secs_f64() <= bound {
                *bucket += 1;
            }
        }
    }

    /// The text; `gauges` are (name, help, labels or "", value) of what is measured now.
    pub fn render(&self, gauges: &[(&str, &str, String, u64)]) -> String {
        let mut out = String::new();
        self.render_requests(&mut out);
        for (name, help, counter) in [
            ("dugnad_entries_written_total", "Resources created, updated or deleted.", &self.entries_written),
            ("dugnad_commits_total", "Commits made since the start.", &self.commits),
            ("dugnad_strangers_total", "Requests without a valid token.", &self.strangers),
            ("dugnad_turned_away_total", "Requests that met a full queue.", &self.turned_away),
        ] {
            line(&mut out, format_args!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", counter.load(Ordering::Relaxed)));
        }
        let mut last = "";
        for (name, help, labels, value) in gauges {
            if *name != last {
                line(&mut out, format_args!("# HELP {name} {help}\n# TYPE {name} gauge"));
                last = name;
            }
            line(&mut out, format_args!("{name}{labels} {value}"));
        }
        out
    }

    fn render_requests(&self, out: &mut String) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        line(out, format_args!("# HELP dugnad_http_requests_total Requests answered.\n# TYPE dugnad_http_requests_total counter"));
        for ((route, method), entry) in requests.iter() {
            for (status, count) in &entry.by_status {
                line(out, format_args!("dugnad_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}} {count}"));
            }
        }
        let name = "dugnad_http_request_seconds";
        line(out, format_args!("# HELP {name} From a request's head to its answer's head.\n# TYPE {name} histogram"));
        for ((route, method), entry) in requests.iter() {
            let labels = format!("route=\"{route}\",method=\"{method}\"");
            for (count, bound) in entry.buckets.iter().zip(BUCKETS) {
                line(out, format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}"));
            }
            line(out, format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {}", entry.count));
            line(out, format_args!("{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {}", entry.seconds, entry.count));
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _: std::fmt::Result = writeln!(out, "{text}"); // writing to a String cannot fail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_route_and_status() {
        let metrics = Metrics::default();
        metrics.count_request(&Method::GET, "/fhir/{type}/{id}", 200, Duration::from_millis(3));
        metrics.count_request(&Method::GET, "/fhir/{type}/{id}", 404, Duration::from_millis(30));
        let text = metrics.render(&[("dugnad_commit", "The newest commit.", String::new(), 7)]);
        assert!(text.contains("dugnad_http_requests_total{route=\"/fhir/{type}/{id}\",method=\"GET\",status=\"404\"} 1\n"));
        assert!(text.contains("le=\"0.005\"} 1\n") && text.contains("le=\"+Inf\"} 2\n"));
        assert!(text.contains("# TYPE dugnad_commit gauge\ndugnad_commit 7\n"));
    }

    #[test]
    fn a_stranger_makes_no_labels() {
        let metrics = Metrics::default();
        for n in 0..100 {
            metrics.count_request(&Method::from_bytes(format!("M{n}").as_bytes()).unwrap_or_default(), "none", 405, Duration::ZERO);
        }
        assert_eq!(metrics.requests.lock().unwrap_or_else(PoisonError::into_inner).len(), 1);
    }
}
