//! Latencies, counted so that their quantiles can be told.

use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest latency that is told apart, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// A distribution of latencies at three digits, from 1 µs to a minute; what is longer counts as a minute.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "the bounds are constants that the histogram takes")]
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("1 us to 60 s at three digits"))
    }
}

impl Latency {
    /// Counts one.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US).clamp(1, LONGEST_US);
        self.0.saturating_record(micros);
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Latency) {
        self.0 += &other.0; // the same bounds, so nothing is lost
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The quantile `q` (0.99 for p99) in milliseconds; 0 if nothing was counted.
    pub fn quantile_ms(&self, q: f64) -> f64 {
        self.0.value_at_quantile(q) as f64 / 1e3
    }

    /// The longest, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1e3
    }
}
