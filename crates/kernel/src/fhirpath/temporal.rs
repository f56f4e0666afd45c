//! Dates and times with their precision (FHIRPath N1, sections 5.6 to 5.8 and 6.2).

mod arithmetic;

pub(super) use arithmetic::Unit;
use std::cmp::Ordering;

/// A date, a date with a time, or a time of day; each part from the right may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Temporal {
    /// Year, month, day.
    date: [u16; 3],
    /// How many of the date's parts are given; 0 for a time of day.
    date_parts: usize,
    /// Hour, minute, and nanoseconds of the minute (a second and its fraction are one precision).
    time: [u64; 3],
    /// How many of the time's parts are given.
    time_parts: usize,
    /// Digits of the fraction of the second.
    fraction_digits: usize,
    /// Minutes east of UTC, if given.
    zone: Option<i32>,
}

/// Precision in digits, as `lowBoundary(17)` counts them: 4, 6, 8, then 10, 12, 14, 17 with a time.
pub(super) const DATE_DIGITS: i64 = 8;
/// The most that a date and time have.
pub(super) const DATE_TIME_DIGITS: i64 = 17;
/// The most that a time of day has.
pub(super) const TIME_DIGITS: i64 = 9;

const NANOSECONDS: u64 = 1_000_000_000;

/// Takes `length` digits from the front.
fn digits(text: &mut &str, length: usize) -> Option<u32> {
    let (head, tail) = text.split_at_checked(length)?;
    if !head.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    *text = tail;
    head.parse().ok()
}

fn skip(text: &mut &str, character: char) -> bool {
    match text.strip_prefix(character) {
        Some(rest) => {
            *text = rest;
            true
        }
        None => false,
    }
}

impl Temporal {
    const NOTHING: Temporal = Temporal { date: [0; 3], date_parts: 0, time: [0; 3], time_parts: 0, fraction_digits: 0, zone: None };

    /// Reads `YYYY[-MM[-DD[Thh[:mm[:ss[.fff]]][zone]]]]`.
    pub(super) fn parse(text: &str) -> Option<Temporal> {
        let rest = &mut { text };
        let mut value = Temporal { date: [u16::try_from(digits(rest, 4)?).ok()?, 1, 1], date_parts: 1, ..Self::NOTHING };
        if skip(rest, '-') {
            value.date[1] = u16::try_from(digits(rest, 2)?).ok().filter(|m| (1..=12).contains(m))?;
            value.date_parts = 2;
            if skip(rest, '-') {
                let last = days_of_month(value.date[0], value.date[1]);
                value.date[2] = u16::try_from(digits(rest, 2)?).ok().filter(|d| (1..=last).contains(d))?;
                value.date_parts = 3;
            }
        }
        if skip(rest, 'T') {
            if value.date_parts < 3 {
                return None;
            }
            value.read_time(rest)?;
            value.zone = match *rest {
                "" => None,
                "Z" => Some(0),
                zone => Some(parse_zone(zone)?),
            };
            *rest = "";
        }
        rest.is_empty().then_some(value)
    }

    /// Reads `hh[:mm[:ss[.fff]]]`, with a `T` before it or without.
    pub(super) fn parse_time(text: &str) -> Option<Temporal> {
        let rest = &mut { text.strip_prefix('T').unwrap_or(text) };
        let mut value = Self::NOTHING;
        value.read_time(rest)?;
        rest.is_empty().then_some(value)
    }

    fn read_time(&mut self, rest: &mut &str) -> Option<()> {
        self.time[0] = digits(rest, 2).filter(|h| *h < 24)?.into();
        self.time_parts = 1;
        if !skip(rest, ':') {
            return Some(());
        }
        self.time[1] = digits(rest, 2).filter(|m| *m < 60)?.into();
        self.time_parts = 2;
        if !skip(rest, ':') {
            return Some(());
        }
        // 60: a leap second, which instants may have.
        self.time[2] = u64::from(digits(rest, 2).filter(|s| *s <= 60)?) * NANOSECONDS;
        self.time_parts = 3;
        if skip(rest, '.') {
            self.fraction_digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let fraction = rest.get(..self.fraction_digits).filter(|f| !f.is_empty())?;
            let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
            self.time[2] += digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            *rest = rest.get(self.fraction_digits..)?;
        }
        Some(())
    }

    /// Whether it has a time.
    pub(super) fn has_time(self) -> bool {
        self.time_parts > 0
    }

    /// Order, part by part; `None` where the precisions differ before a part does, or only one has a zone.
    pub(super) fn compare(self, other: Temporal) -> Option<Ordering> {
        if (self.date_parts == 0) != (other.date_parts == 0) {
            return None;
        }
        if self.time_parts > 0 && other.time_parts > 0 && self.date_parts == 3 && other.date_parts == 3 {
            if self.zone.is_some() != other.zone.is_some() {
                return None;
            }
            return self.in_utc().compare_parts(other.in_utc());
        }
        self.compare_parts(other)
    }

    fn compare_parts(self, other: Temporal) -> Option<Ordering> {
        let dates = self.date.iter().zip(&other.date).take(self.date_parts.min(other.date_parts)).map(|(a, b)| a.cmp(b));
        if let Some(order) = dates.into_iter().find(|o| o.is_ne()) {
            return Some(order);
        }
        if self.date_parts != other.date_parts {
            return None;
        }
        let times = self.time.iter().zip(&other.time).take(self.time_parts.min(other.time_parts)).map(|(a, b)| a.cmp(b));
        if let Some(order) = times.into_iter().find(|o| o.is_ne()) {
            return Some(order);
        }
        (self.time_parts == other.time_parts).then_some(Ordering::Equal)
    }

    fn in_utc(self) -> Temporal {
        let Some(zone) = self.zone.filter(|z| *z != 0) else {
            return self;
        };
        let local = self.time[0].cast_signed() * 60 + self.time[1].cast_signed() - i64::from(zone);
        let mut shifted = self;
        let minute = local.rem_euclid(24 * 60).unsigned_abs();
        shifted.time[0] = minute / 60;
        shifted.time[1] = minute % 60;
        shifted.date = match local.div_euclid(24 * 60) {
            0 => self.date,
            days if days > 0 => next_day(self.date),
            _ => previous_day(self.date),
        };
        shifted
    }

    /// The earliest (`latest`: the latest) moment that it can mean, in `precision` digits, as text. A date and time
    /// without a zone may be in any: +14:00 is the earliest, -12:00 the latest.
    pub(super) fn boundary(self, latest: bool, precision: i64) -> Option<String> {
        let month = part(self.date_parts > 1, self.date[1], latest, 1, 12);
        let last_day = days_of_month(self.date[0], month);
        let day = part(self.date_parts > 2, self.date[2], latest, 1, last_day);
        let hour = part(self.time_parts > 0, self.time[0], latest, 0, 23);
        let minute = part(self.time_parts > 1, self.time[1], latest, 0, 59);
        let (mut second, mut millisecond) = (self.time[2] / NANOSECONDS, self.time[2] % NANOSECONDS / 1_000_000);
        if self.time_parts < 3 {
            second = if latest { 59 } else { 0 };
        }
        if self.time_parts < 3 || self.fraction_digits < 3 {
            let unknown = 10_u64.pow(3 - u32::try_from(self.fraction_digits).ok()?.min(3)) - 1;
            millisecond = if latest { millisecond + unknown } else { millisecond };
        }
        let date = format!("{:04}-{month:02}-{day:02}", self.date[0]);
        let time = format!("{hour:02}:{minute:02}:{second:02}.{millisecond:03}");
        if self.date_parts == 0 {
            return time.get(..time_length(precision)?).map(str::to_owned);
        }
        let date = date.get(
            ..(match precision {
                4 => 4,
                6 => 7,
                8.. => 10,
                _ => return None,
            }),
        )?;
        if precision <= DATE_DIGITS {
            return Some(date.to_owned());
        }
        let zone = match self.zone {
            Some(zone) => format!("{}{:02}:{:02}", if zone < 0 { '-' } else { '+' }, zone.abs() / 60, zone.abs() % 60),
            None if latest => "-12:00".to_owned(),
            None => "+14:00".to_owned(),
        };
        Some(format!("{date}T{}{zone}", time.get(..time_length(precision - DATE_DIGITS)?)?))
    }
}

/// The length of `hh:mm:ss.fff` cut to that many digits.
fn time_length(digits: i64) -> Option<usize> {
    Some(match digits {
        2 => 2,
        4 => 5,
        6 => 8,
        9 => 12,
        _ => return None,
    })
}

fn part<T>(known: bool, value: T, latest: bool, first: T, last: T) -> T {
    match (known, latest) {
        (true, _) => value,
        (false, true) => last,
        (false, false) => first,
    }
}

fn parse_zone(text: &str) -> Option<i32> {
    let (sign, mut rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let hours = digits(&mut rest, 2).filter(|h| *h <= 14)?;
    let minutes = if skip(&mut rest, ':') { digits(&mut rest, 2).filter(|m| *m < 60)? } else { return None };
    rest.is_empty().then_some(sign * i32::try_from(hours * 60 + minutes).ok()?)
}

fn days_of_month(year: u16, month: u16) -> u16 {
    match month {
        2 if (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn next_day([year, month, day]: [u16; 3]) -> [u16; 3] {
    if day < days_of_month(year, month) {
        [year, month, day + 1]
    } else if month < 12 {
        [year, month + 1, 1]
    } else {
        [year + 1, 1, 1]
    }
}

fn previous_day([year, month, day]: [u16; 3]) -> [u16; 3] {
    if day > 1 {
        [year, month, day - 1]
    } else if month > 1 {
        [year, month - 1, days_of_month(year, month - 1)]
    } else {
        [year.saturating_sub(1), 12, 31]
    }
}
