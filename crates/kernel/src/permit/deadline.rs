//! Legal clocks: what somebody has to do, and by when. Articles are those of Regulation (EU) 2025/327.
//!
//! Periods are computed as Regulation (EEC, Euratom) No 1182/71, Article 3, says: the day of the event does not count, a period
//! ends with the last hour of its last day, and one that would end on a Saturday or Sunday ends with the next working day. (Public
//! holidays are not known here; a period that ends on one is shown a day too short.) Days are those of Europe/Oslo.

use crate::live::schema::ZONE;
use jiff::civil::Weekday;
use jiff::{Span, Timestamp, ToSpan};
use serde::Serialize;

/// How many weeks an applicant has to complete an incomplete application; then no permit is issued (Art. 68(4)). The regulation
/// gives requests no such period; the joint guideline for health data access bodies (TEHDAS2 D6.3) takes the same.
pub const COMPLETION_WEEKS: i32 = 4;

/// Within how many months of a complete application a permit is issued or refused (Art. 68(4)), and of its receipt a request is
/// assessed (Art. 69).
pub const DECISION_MONTHS: i32 = 3;

/// By how many months the health data access body may prolong that, once, with reasons (Art. 68(4)). Art. 69 knows no prolongation.
pub const PROLONGATION_MONTHS: i32 = 3;

/// The same for the accelerated procedure of public sector bodies with a legal mandate in the field of public health, for the
/// purposes of Art. 53(1), points (a) to (c) (Art. 68(6)).
pub const ACCELERATED_MONTHS: i32 = 2;

/// By how many months the accelerated procedure may be prolonged, once (Art. 68(6)).
pub const ACCELERATED_PROLONGATION_MONTHS: i32 = 1;

/// How many weeks a health data user has at most to state their views before a permit is revoked (Art. 63(2)).
pub const HEARING_WEEKS: i32 = 4;

/// For how many years a permit is granted at most, and extended at most, once (Art. 68(12)).
pub const MAX_PERMIT_YEARS: i32 = 10;

/// How many months before a permit's end an extension must be asked for (Art. 68(12)).
pub const EXTENSION_NOTICE_MONTHS: i32 = 1;

/// Within how many months of the end of the processing results are made public (Art. 61(4)).
pub const RESULTS_MONTHS: i32 = 18;

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Debtor {
    /// The health data access body.
    Centre,
    /// The applicant.
    Applicant,
    /// The health data user.
    DataUser,
}

/// A clock that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deadline {
    /// What is to be done.
    pub task: &'static str,
    /// By whom.
    pub who: Debtor,
    /// By which article.
    pub article: &'static str,
    /// Since when it runs.
    pub since: Timestamp,
    /// Until when, exclusive.
    pub due: Timestamp,
}

impl Deadline {
    /// Whether it has passed.
    pub fn overdue(&self, now: Timestamp) -> bool {
        now >= self.due
    }
}

/// The end, exclusive, of a period that began with an event at `event`. The latest instant there is where the calendar ends before.
pub fn due_after(event: Timestamp, period: Span) -> Timestamp {
    let end = || {
        let last = event.in_tz(ZONE)?.date().checked_add(period)?;
        let weekend = match last.weekday() {
            Weekday::Saturday => 2,
            Weekday::Sunday => 1,
            _ => 0,
        };
        Ok::<_, jiff::Error>(last.checked_add((weekend + 1).days())?.in_tz(ZONE)?.timestamp())
    };
    end().unwrap_or(Timestamp::MAX)
}

/// The instant `period` after `from` in the calendar of Europe/Oslo: for terms that are not periods within which somebody acts.
pub fn later(from: Timestamp, period: Span) -> Timestamp {
    let later = || from.in_tz(ZONE)?.checked_add(period).map(|zoned| zoned.timestamp());
    later().unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_period_ends_with_its_last_day() {
        for (event, period, due, why) in [
            // 2026-03-10 is a Tuesday; so is 2026-04-07.
            ("2026-03-10T09:00:00Z", 4.weeks(), "2026-04-07T22:00:00Z", "summer time began between"),
            ("2026-03-10T22:59:59Z", 4.weeks(), "2026-04-07T22:00:00Z", "one second before midnight in Oslo"),
            ("2026-03-10T23:00:00Z", 4.weeks(), "2026-04-08T22:00:00Z", "midnight in Oslo: the next day"),
            ("2026-11-30T12:00:00Z", 3.months(), "2027-03-01T23:00:00Z", "28 February 2027 is a Sunday: Monday"),
            ("2026-01-15T12:00:00Z", 4.months(), "2026-05-15T22:00:00Z", "a Friday"),
            ("2026-01-16T12:00:00Z", 4.months(), "2026-05-18T22:00:00Z", "a Saturday: Monday"),
        ] {
            assert_eq!(due_after(at(event), period), at(due), "{why}");
        }
        assert_eq!(due_after(Timestamp::MAX, 3.months()), Timestamp::MAX);
    }

    #[test]
    fn it_is_overdue_from_its_end_on() {
        let since = at("2026-03-10T09:00:00Z");
        let due = due_after(since, COMPLETION_WEEKS.weeks());
        let deadline = Deadline { task: "t", who: Debtor::Centre, article: "Art. 68", since, due };
        assert!(!deadline.overdue(due - 1.second()) && deadline.overdue(due));
    }
}
