//! Epochs: the calendar on which statistics are computed.

use jiff::{SignedDuration, Timestamp};

/// The calendar of a database's epochs: periods of equal length, counted from 1970-01-01T00:00:00Z, whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    period_s: i64,
}

/// A period of the calendar. Its statistics are those of the newest commit at or before its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// How many periods lie before it.
    pub number: i64,
    /// When it begins.
    pub start: Timestamp,
    /// When the next one begins.
    pub next: Timestamp,
}

impl Calendar {
    /// A calendar with periods of `period`, in whole seconds; at least one second.
    pub fn every(period: SignedDuration) -> Self {
        Self { period_s: period.as_secs().max(1) }
    }

    /// The epoch that `now` lies in.
    pub fn epoch(&self, now: Timestamp) -> Epoch {
        let number = now.as_second().div_euclid(self.period_s);
        let start = |number: i64| Timestamp::from_second(number.saturating_mul(self.period_s)).unwrap_or(now);
        Epoch { number, start: start(number), next: start(number + 1) }
    }
}

impl Default for Calendar {
    /// A day: the shortest period of the design for tables of one dimension.
    fn default() -> Self {
        Self::every(SignedDuration::from_hours(24))
    }
}

impl Epoch {
    /// How an answer cites it: the instant at which it begins, such as `2026-11-21T19:31:00Z`.
    pub fn cite(&self) -> String {
        self.start.to_string()
    }
}
