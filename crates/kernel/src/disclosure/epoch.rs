//! Epochs: the calendars on which statistics are computed.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};

/// How long the epochs of a calendar last. They begin at midnight UTC; weeks on Mondays, months on their first day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// So many seconds, counted from 1970-01-01T00:00:00Z: for synthetic data only.
    Seconds(u32),
    /// A day.
    Day,
    /// A week.
    Week,
    /// A calendar month.
    Month,
}

/// The calendars of a database: the more dimensions a table has, the more seldom it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Calendars {
    /// Of tables with at most one dimension.
    pub one: Period,
    /// Of tables with two.
    pub two: Period,
    /// Of tables with three or four.
    pub more: Period,
}

impl Default for Calendars {
    fn default() -> Self {
        Self { one: Period::Day, two: Period::Week, more: Period::Month }
    }
}

/// A period of a calendar. Its statistics are those of the newest commit at or before its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// How long it lasts.
    pub period: Period,
    /// When it begins.
    pub start: Timestamp,
    /// When the next one begins.
    pub next: Timestamp,
}

impl Calendars {
    /// All tables on one calendar.
    pub const fn all(period: Period) -> Self {
        Self { one: period, two: period, more: period }
    }

    /// The calendar of tables with so many dimensions; a registered cohort counts as one.
    pub fn of_depth(&self, dimensions: usize) -> Period {
        match dimensions {
            0 | 1 => self.one,
            2 => self.two,
            _ => self.more,
        }
    }
}

impl Period {
    /// The epoch that `at` lies in.
    pub fn epoch(self, at: Timestamp) -> Epoch {
        let (start, next) = match self {
            Self::Seconds(seconds) => {
                let seconds = i64::from(seconds.max(1));
                let number = at.as_second().div_euclid(seconds);
                let begin = |number: i64| Timestamp::from_second(number.saturating_mul(seconds)).unwrap_or(at);
                (begin(number), begin(number + 1))
            }
            Self::Day => from(at, Some, 1.day()),
            Self::Week => from(at, |day| day.checked_sub(i64::from(day.weekday().since(Weekday::Monday)).days()).ok(), 1.week()),
            Self::Month => from(at, |day| day.first_of_month().ok(), 1.month()),
        };
        Epoch { period: self, start, next }
    }
}

/// From midnight of the day that `first` makes of that of `at`, for `span`.
fn from(at: Timestamp, first: impl Fn(Zoned) -> Option<Zoned>, span: jiff::Span) -> (Timestamp, Timestamp) {
    let begin = || first(at.to_zoned(TimeZone::UTC).start_of_day().ok()?);
    let ends = |begin: &Zoned| Some(begin.checked_add(span).ok()?.timestamp());
    begin().and_then(|b| Some((b.timestamp(), ends(&b)?))).unwrap_or((at, at))
}

impl Epoch {
    /// How an answer cites it: the instant at which it begins, such as `2026-11-21T19:31:00Z`.
    pub fn cite(&self) -> String {
        self.start.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn epochs_follow_the_calendar() {
        let at: Timestamp = "2026-11-21T19:31:42Z".parse().unwrap(); // a Saturday
        let of = |period: Period| (period.epoch(at).cite(), period.epoch(at).next.to_string());
        let said = |start: &str, next: &str| (format!("{start}Z"), format!("{next}Z"));
        assert_eq!(of(Period::Seconds(60)), said("2026-11-21T19:31:00", "2026-11-21T19:32:00"));
        assert_eq!(of(Period::Day), said("2026-11-21T00:00:00", "2026-11-22T00:00:00"));
        assert_eq!(of(Period::Week), said("2026-11-16T00:00:00", "2026-11-23T00:00:00"));
        assert_eq!(of(Period::Month), said("2026-11-01T00:00:00", "2026-12-01T00:00:00"));
        assert_eq!(Period::Seconds(0).epoch(at).next.as_second() - Period::Seconds(0).epoch(at).start.as_second(), 1);
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let mut at: Timestamp = "2023-12-28T11:00:00Z".parse().unwrap();
        for _ in 0..2_000 {
            for period in [Period::Seconds(60), Period::Day, Period::Week, Period::Month] {
                let epoch = period.epoch(at);
                assert!(epoch.start <= at && at < epoch.next, "{period:?} {at}");
                assert_eq!(period.epoch(epoch.start), epoch);
                assert_eq!(period.epoch(epoch.next).start, epoch.next);
            }
            at = at.checked_add(jiff::SignedDuration::from_secs(41_113)).unwrap();
        }
    }

    #[test]
    fn more_dimensions_change_more_seldom() {
        let calendars = Calendars::default();
        assert_eq!([0, 1, 2, 3, 4, 5].map(|n| calendars.of_depth(n)), {
            use Period::{Day, Month, Week};
            [Day, Day, Week, Month, Month, Month]
        });
        let json = r#"{"one":{"seconds":60},"two":"day"}"#;
        let wanted = Calendars { one: Period::Seconds(60), two: Period::Day, more: Period::Month };
        assert_eq!(serde_json::from_str::<Calendars>(json).unwrap(), wanted);
    }
}
