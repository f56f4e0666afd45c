//! Numbers and dates with their prefixes, and the ranges that their digits imply (FHIR R4, sections 3.1.1.4.5 and the following).

use super::super::query::{Comparison, Moments, Number, Prefix};
use super::Refusal;
use crate::live::schema::ZONE;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use std::sync::LazyLock;

/// The share by which `ap` widens a number, and the time between now and a date (the specification's suggestion).
const APPROXIMATELY: f64 = 0.1;

static LOCAL: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::get(ZONE).unwrap_or(TimeZone::UTC));

/// Takes the prefix off; `eq` if there is none.
fn prefixed(text: &str) -> (Prefix, &str) {
    let prefix = match text.get(..2) {
        Some("eq") => Prefix::Equal,
        Some("ne") => Prefix::NotEqual,
        Some("gt") => Prefix::Greater,
        Some("lt") => Prefix::Less,
        Some("ge") => Prefix::GreaterOrEqual,
        Some("le") => Prefix::LessOrEqual,
        Some("sa") => Prefix::StartsAfter,
        Some("eb") => Prefix::EndsBefore,
        Some("ap") => Prefix::Approximately,
        _ => return (Prefix::Equal, text),
    };
    (prefix, text.get(2..).unwrap_or_default())
}

/// `ge5.40`, `1e2`.
pub(super) fn number(text: &str) -> Result<Comparison<Number>, Refusal> {
    let (prefix, digits) = prefixed(text);
    let mut value = implied(digits).ok_or_else(|| {
        Refusal::value("expected a decimal such as `5.40` or `1e-3`, after one of eq, ne, gt, lt, ge, le, sa, eb, ap or none")
    })?;
    if prefix == Prefix::Approximately {
        let margin = value.value.abs() * APPROXIMATELY;
        value.low = value.low.min(value.value - margin);
        value.high = value.high.max(value.value + margin);
    }
    Ok(Comparison { prefix, value })
}

/// The number, and half a unit of its last digit below and above.
fn implied(text: &str) -> Option<Number> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|e| e.abs() < 400)?),
        None => (text, 0),
    };
    let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').map_or((unsigned, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !fraction.is_none_or(digits) {
        return None;
    }
    let value: f64 = text.parse().ok().filter(|v: &f64| v.is_finite())?;
    let places = i32::try_from(fraction.map_or(0, str::len)).ok()?;
    // 10^-n is inexact in binary, and so would be 5.4 - 0.05: the decimal bounds are read as decimals.
    let (low, high) = bounds(mantissa.starts_with('-'), whole, fraction.unwrap_or_default(), exponent)
        .unwrap_or_else(|| (value - 0.5 * 10_f64.powi(exponent - places), value + 0.5 * 10_f64.powi(exponent - places)));
    Some(Number { value, low, high })
}

/// The bounds of a number of at most 17 digits: its digits as a whole number, one digit more, minus and plus five.
fn bounds(negative: bool, whole: &str, fraction: &str, exponent: i32) -> Option<(f64, f64)> {
    let digits: i128 = format!("{whole}{fraction}0").parse().ok()?;
    let digits = if negative { -digits } else { digits };
    let exponent = exponent - i32::try_from(fraction.len()).ok()? - 1;
    let read = |digits: i128| format!("{digits}e{exponent}").parse::<f64>().ok();
    Some((read(digits - 5)?, read(digits + 5)?))
}

/// `ge2026-03`, `2026-03-14T09:26:53+01:00`. What has no zone is in that of the live tables.
pub(super) fn date(text: &str, now: Timestamp) -> Result<Comparison<Moments>, Refusal> {
    let (prefix, date) = prefixed(text);
    let mut value = moments(date).ok_or_else(|| {
        Refusal::value(
            "expected a date such as `2026`, `2026-03`, `2026-03-14`, `2026-03-14T09:26Z` or `2026-03-14T09:26:53%2B01:00`, after one of eq, ne, \
             gt, lt, ge, le, sa, eb, ap or none",
        )
    })?;
    if prefix == Prefix::Approximately {
        let distance = now.as_microsecond().abs_diff(value.low).min(now.as_microsecond().abs_diff(value.high));
        let margin = (distance as f64 * APPROXIMATELY) as i64; // below 2^53 microseconds for years 0 to 9999, nearly
        value.low = value.low.saturating_sub(margin);
        value.high = value.high.saturating_add(margin);
    }
    Ok(Comparison { prefix, value })
}

/// The range of time that a date, dateTime or instant is, by its precision.
pub(super) fn moments(text: &str) -> Option<Moments> {
    let range = |low: Timestamp, high: Timestamp| Moments { low: low.as_microsecond(), high: high.as_microsecond() };
    let Some((day, time)) = text.split_once('T') else {
        let (first, next) = days(text)?;
        let start = |date: Date| Some(LOCAL.to_ambiguous_zoned(date.to_datetime(Time::midnight())).compatible().ok()?.timestamp());
        return Some(range(start(first)?, start(next)?));
    };
    let (day, _) = days(day).filter(|_| day.len() == 10)?;
    let (time, offset) = zone(time)?;
    let (time, length) = clock(time)?;
    let local = DateTime::from_parts(day, time);
    let low = match offset {
        Some(offset) => offset.to_timestamp(local).ok()?,
        None => LOCAL.to_ambiguous_zoned(local).compatible().ok()?.timestamp(),
    };
    Some(range(low, low.checked_add(jiff::SignedDuration::from_micros(length)).ok()?))
}

/// The first day of a year, a month or a day, and the first after it.
fn days(text: &str) -> Option<(Date, Date)> {
    let number = |from: usize, to: usize| -> Option<i16> {
        let digits = text.get(from..to)?;
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let dash = |at: usize| text.as_bytes().get(at) == Some(&b'-');
    let two = |from: usize| i8::try_from(number(from, from + 2)?).ok();
    let (first, span) = match text.len() {
        4 => (Date::new(number(0, 4)?, 1, 1), 1.year()),
        7 if dash(4) => (Date::new(number(0, 4)?, two(5)?, 1), 1.month()),
        10 if dash(4) && dash(7) => (Date::new(number(0, 4)?, two(5)?, two(8)?), 1.day()),
        _ => return None,
    };
    let first = first.ok()?;
    Some((first, first.checked_add(span).ok()?))
}

/// Takes `Z` or an offset off. A `+` that was not encoded has become a blank.
fn zone(time: &str) -> Option<(&str, Option<Offset>)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, Some(Offset::UTC)));
    }
    let Some(at) = time.find(['+', '-', ' ']) else { return Some((time, None)) };
    let (time, offset) = time.split_at(at);
    let (hours, minutes) = offset.get(1..)?.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = (hours * 60 + minutes) * 60;
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let valid = (0..=14).contains(&hours) && (0..60).contains(&minutes);
    Some((time, Some(Offset::from_seconds(sign * seconds).ok().filter(|_| valid)?)))
}

/// `09:26`, `09:26:53`, `09:26:53.589`, and how long that is in microseconds.
fn clock(text: &str) -> Option<(Time, i64)> {
    let (text, fraction) = text.split_once('.').map_or((text, None), |(text, fraction)| (text, Some(fraction)));
    let part = |from: usize| -> Option<i8> {
        let digits = text.get(from..from + 2)?;
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let colon = |at: usize| text.as_bytes().get(at) == Some(&b':');
    match (text.len(), fraction) {
        (5, None) if colon(2) => Some((Time::new(part(0)?, part(3)?, 0, 0).ok()?, 60_000_000)),
        (8, _) if colon(2) && colon(5) => {
            let (micros, length) = fraction.map_or(Some((0, 1_000_000)), parts_of_a_second)?;
            let second = part(6)?.min(59); // a leap second is the last of its minute
            Some((Time::new(part(0)?, part(3)?, second, micros * 1_000).ok()?, length))
        }
        _ => None,
    }
}

/// Microseconds and how many one unit of the last digit is; digits beyond them are cut off.
fn parts_of_a_second(digits: &str) -> Option<(i32, i64)> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept = digits.get(..digits.len().min(6))?;
    let length = 10_i64.pow(6 - u32::try_from(kept.len()).ok()?);
    Some((i32::try_from(kept.parse::<i64>().ok()? * length).ok()?, length))
}
