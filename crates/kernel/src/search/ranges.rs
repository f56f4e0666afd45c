//! The ranges that dates and numbers imply by their precision (FHIR R4, sections 3.1.1.4.6 and 3.1.1.4.7).

use super::query::{Moments, Number};
use crate::live::schema::ZONE;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::fmt::Write;
use std::sync::LazyLock;

static HERE: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::get(ZONE).unwrap_or(TimeZone::UTC));

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

impl Moments {
    /// All of time.
    pub const ALWAYS: Moments = Moments { low: i64::MIN, high: i64::MAX };

    /// The range of `YYYY[-MM[-DD[Thh:mm[:ss[.fff]]][zone]]]`: a year, a month, a day, a minute, a second or a part of one. What
    /// has no zone is in Europe/Oslo.
    pub fn parse(text: &str) -> Option<Moments> {
        let (date, time) = match text.split_once('T') {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        let number = |from: usize, to: usize| -> Option<i16> {
            let digits = date.get(from..to).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse().ok()
        };
        let part = |from: usize, to: usize| i8::try_from(number(from, to)?).ok();
        let hyphens = date.bytes().enumerate().all(|(at, b)| (b == b'-') == (at == 4 || at == 7));
        if !hyphens {
            return None;
        }
        let (first, after) = match (date.len(), time) {
            (4, None) => (Date::new(number(0, 4)?, 1, 1).ok()?, Date::new(number(0, 4)?.checked_add(1)?, 1, 1).ok()),
            (7, None) => {
                let first = Date::new(number(0, 4)?, part(5, 7)?, 1).ok()?;
                (first, first.last_of_month().tomorrow().ok())
            }
            (10, _) => {
                let first = Date::new(number(0, 4)?, part(5, 7)?, part(8, 10)?).ok()?;
                (first, first.tomorrow().ok())
            }
            _ => return None,
        };
        match time {
            Some(time) => Self::of_time(first, time),
            None => Some(Moments { low: midnight(first)?, high: after.map_or(Some(i64::MAX), midnight)? }),
        }
    }

    fn of_time(date: Date, text: &str) -> Option<Moments> {
        let (time, zone) = match text.find(['Z', '+', '-']) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let part = |from: usize, most: i64| -> Option<i64> {
            let digits = time.get(from..from + 2).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse().ok().filter(|n| *n <= most)
        };
        let separated = time.len() < 3 || time.get(2..3) == Some(":") && (time.len() < 6 || time.get(5..6) == Some(":"));
        if !separated {
            return None;
        }
        let (mut in_day, width) = match time.len() {
            2 => (part(0, 23)? * 3_600 * SECOND_US, 3_600 * SECOND_US),
            5 => ((part(0, 23)? * 60 + part(3, 59)?) * 60 * SECOND_US, 60 * SECOND_US),
            8.. => (((part(0, 23)? * 60 + part(3, 59)?) * 60 + part(6, 60)?) * SECOND_US, SECOND_US),
            _ => return None,
        };
        let mut width = width;
        if let Some(fraction) = time.get(8..).filter(|f| !f.is_empty()) {
            let digits = fraction.strip_prefix('.').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?;
            for digit in digits.bytes().take(6) {
                width /= 10;
                in_day += i64::from(digit - b'0') * width;
            }
        }
        let low = match zone {
            "" => {
                let time = jiff::civil::Time::midnight().checked_add(jiff::SignedDuration::from_micros(in_day.min(DAY_US - 1))).ok()?;
                date.to_datetime(time).to_zoned(HERE.clone()).ok()?.timestamp().as_microsecond()
            }
            zone => days(date)?.checked_mul(DAY_US)?.checked_add(in_day)?.checked_sub(offset_us(zone)?)?,
        };
        Some(Moments { low, high: low.checked_add(width)? })
    }

    /// One microsecond, as `meta.lastUpdated` is kept.
    pub fn instant(micros: i64) -> Moments {
        Moments { low: micros, high: micros.saturating_add(1) }
    }

    /// The range that `ap` asks for: wider by a tenth of the time between it and `now_us`.
    #[must_use]
    pub fn approximately(self, now_us: i64) -> Moments {
        let apart = |t: i64| i64::try_from(t.abs_diff(now_us) / 10).unwrap_or(i64::MAX);
        Moments { low: self.low.saturating_sub(apart(self.low)), high: self.high.saturating_add(apart(self.high)) }
    }
}

fn days(date: Date) -> Option<i64> {
    let days = date.since((jiff::Unit::Day, Date::new(1970, 1, 1).ok()?)).ok()?;
    Some(days.get_days().into())
}

fn midnight(date: Date) -> Option<i64> {
    Some(date.to_zoned(HERE.clone()).ok()?.timestamp().as_microsecond())
}

/// `Z`, `+01:00`, `-05:30`
fn offset_us(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str, most: i64| -> Option<i64> {
        let two = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if two { text.parse().ok().filter(|n| *n <= most) } else { None }
    };
    let east = (number(hours, 14)? * 60 + number(minutes, 59)?) * 60 * SECOND_US;
    Some(if sign == "-" { -east } else { east })
}

impl Number {
    /// The number, and the range of all that are rounded to its digits. `None` if it is none, or has more than 30 digits.
    pub fn parse(text: &str) -> Option<Number> {
        let value: f64 = text.parse().ok().filter(|n: &f64| n.is_finite())?;
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.as_bytes().first()? {
            b'-' => (true, mantissa.get(1..)?),
            b'+' => (false, mantissa.get(1..)?),
            _ => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.len() + fraction.len() > 30 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        // In units of a tenth of the last digit, so that half of that digit is 5. Exact as decimals, rounded once each.
        let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let tenths = digits * if negative { -10 } else { 10 };
        let scale = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_sub(1)?;
        let bound = |tenths: i128| {
            let mut text = String::with_capacity(40);
            let _: std::fmt::Result = write!(text, "{tenths}e{scale}"); // writing to a String cannot fail
            text.parse::<f64>().ok().filter(|n| n.is_finite())
        };
        Some(Number { value, low: bound(tenths - 5)?, high: bound(tenths + 5)? })
    }

    /// The range that `ap` asks for: a tenth of the number to both sides.
    #[must_use]
    pub fn approximately(self) -> Number {
        let tenth = self.value.abs() / 10.0;
        Number { low: self.low.min(self.value - tenth), high: self.high.max(self.value + tenth), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(from: &str, to: &str) -> Option<Moments> {
        let us = |text: &str| text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_microsecond).ok();
        Some(Moments { low: us(from)?, high: us(to)? })
    }

    #[test]
    fn a_date_is_as_long_as_its_precision() {
        for (text, from, to) in [
            ("2024", "2023-12-31T23:00:00Z", "2024-12-31T23:00:00Z"),
            ("2024-02", "2024-01-31T23:00:00Z", "2024-02-29T23:00:00Z"),
            ("2024-12", "2024-11-30T23:00:00Z", "2024-12-31T23:00:00Z"),
            ("2024-07-01", "2024-06-30T22:00:00Z", "2024-07-01T22:00:00Z"),
            ("2024-07-01T10:00", "2024-07-01T08:00:00Z", "2024-07-01T08:01:00Z"),
            ("2024-07-01T10:00Z", "2024-07-01T10:00:00Z", "2024-07-01T10:01:00Z"),
            ("2024-07-01T10:00:05-05:30", "2024-07-01T15:30:05Z", "2024-07-01T15:30:06Z"),
            ("2024-07-01T10:00:05.12Z", "2024-07-01T10:00:05.12Z", "2024-07-01T10:00:05.13Z"),
            ("2024-07-01T10:00:05.123456Z", "2024-07-01T10:00:05.123456Z", "2024-07-01T10:00:05.123457Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", "2017-01-01T00:00:01Z"),
        ] {
            assert_eq!(Moments::parse(text), utc(from, to), "{text}");
        }
        for wrong in
            ["", "24", "2024-13", "2024-02-30", "2024-1-1", "2024-07-01T", "2024-07-01T25:00", "2024-07-01T10:00+1", "2024T10:00Z", "x"]
        {
            assert_eq!(Moments::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_number_is_as_wide_as_its_last_digit() {
        let range = |text: &str| Number::parse(text).map(|n| (n.low, n.value, n.high));
        assert_eq!(range("100"), Some((99.5, 100.0, 100.5)));
        assert_eq!(range("100.00"), Some((99.995, 100.0, 100.005)));
        assert_eq!(range("1e2"), Some((50.0, 100.0, 150.0)));
        assert_eq!(range("-5.4"), Some((-5.45, -5.4, -5.35)));
        assert_eq!(range("0"), Some((-0.5, 0.0, 0.5)));
        assert_eq!(range("0.1").map(|r| r.2), "0.15".parse().ok(), "bounds are rounded once");
        for wrong in ["", "a", "1.2.3", "e5", "NaN", "inf", "1e400", "1234567890123456789012345678901"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
        assert_eq!(Number::parse("100").map(Number::approximately).map(|n| (n.low, n.high)), Some((90.0, 110.0)));
    }
}
