//! A date or time plus a duration (FHIRPath N1, section 6.6.7: date/time arithmetic).

use super::{NANOSECONDS, Temporal, days_of_month};

/// A calendar duration's unit, in ascending order of precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::fhirpath) enum Unit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

/// The names of the units in the singular; a plural `s` may follow.
const NAMES: [(&str, Unit); 8] = [
    ("year", Unit::Year),
    ("month", Unit::Month),
    ("week", Unit::Week),
    ("day", Unit::Day),
    ("hour", Unit::Hour),
    ("minute", Unit::Minute),
    ("second", Unit::Second),
    ("millisecond", Unit::Millisecond),
];

const NANOSECONDS_OF_DAY: i64 = 86_400 * NANOSECONDS.cast_signed();

/// Years that can be written with four digits.
const YEARS: std::ops::RangeInclusive<i64> = 1..=9_999;

impl Unit {
    /// The unit of that name, in the singular or the plural.
    pub(in crate::fhirpath) fn parse(word: &str) -> Option<Unit> {
        let singular = word.strip_suffix('s').unwrap_or(word);
        NAMES.iter().find(|(name, _)| *name == singular).map(|(_, unit)| *unit)
    }

    /// The unit that can be added to dates and times under that name: a calendar unit, or UCUM's `s` and `ms`, which mean the
    /// same as those. Other units of UCUM are no calendar durations: `'a'` is 365.25 days.
    pub(in crate::fhirpath) fn of_duration(unit: &str) -> Option<Unit> {
        match unit {
            "s" => Some(Unit::Second),
            "ms" => Some(Unit::Millisecond),
            _ => Unit::parse(unit),
        }
    }

    /// Its name in the singular.
    pub(in crate::fhirpath) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, unit)| *unit == self).map_or("", |(name, _)| name)
    }

    /// How many nanoseconds it has, if that is always the same.
    fn nanoseconds(self) -> Option<i64> {
        let second = NANOSECONDS.cast_signed();
        Some(match self {
            Unit::Year | Unit::Month => return None,
            Unit::Week => 7 * NANOSECONDS_OF_DAY,
            Unit::Day => NANOSECONDS_OF_DAY,
            Unit::Hour => 3_600 * second,
            Unit::Minute => 60 * second,
            Unit::Second => second,
            Unit::Millisecond => second / 1_000,
        })
    }
}

impl Temporal {
    /// This and `count` of `unit`, in the precision that this has: what the duration has beyond it is left out. `None` if
    /// the year would not have four digits.
    ///
    /// `count` is in thousandths for seconds and milliseconds, whose fractions count; of other units only the whole part does.
    pub(in crate::fhirpath) fn plus(self, count: i64, unit: Unit) -> Option<Temporal> {
        if self.date_parts == 0 {
            return self.on_the_clock(nanoseconds(count, unit)?);
        }
        let (months, days) = match unit {
            Unit::Year => (count.checked_mul(12)?, 0),
            Unit::Month => (count, 0),
            _ if self.date_parts == 3 && self.time_parts > 0 => return self.moved_by(nanoseconds(count, unit)?),
            _ => (0, nanoseconds(count, unit)? / i128::from(NANOSECONDS_OF_DAY)),
        };
        let days = i64::try_from(days).ok()?;
        // What is finer than this date is turned into its precision: 12 months, 365 days a year; 30 days a month.
        match self.date_parts {
            1 => self.moved_by_months((months / 12 + days / 365).checked_mul(12)?),
            2 => self.moved_by_months(months.checked_add(days / 30)?),
            _ if months != 0 => self.moved_by_months(months),
            _ => self.moved_by_days(days),
        }
    }

    /// The last day of the month where the day does not exist in it.
    fn moved_by_months(mut self, months: i64) -> Option<Temporal> {
        let total = (i64::from(self.date[0]) * 12 + i64::from(self.date[1]) - 1).checked_add(months)?;
        let year = total.div_euclid(12);
        self.date[0] = YEARS.contains(&year).then(|| u16::try_from(year).ok())??;
        self.date[1] = u16::try_from(total.rem_euclid(12) + 1).ok()?;
        self.date[2] = self.date[2].min(days_of_month(self.date[0], self.date[1]));
        Some(self)
    }

    fn moved_by_days(mut self, days: i64) -> Option<Temporal> {
        let [year, month, day] = self.date.map(i64::from);
        self.date = date_of(day_number(year, month, day).checked_add(days)?)?;
        Some(self)
    }

    fn moved_by(self, nanoseconds: i128) -> Option<Temporal> {
        let (days, clock) = self.carried(nanoseconds)?;
        clock.moved_by_days(days)
    }

    /// A time of day comes around again.
    fn on_the_clock(self, nanoseconds: i128) -> Option<Temporal> {
        self.carried(nanoseconds).map(|(_, clock)| clock)
    }

    /// The time of day moved, and by how many days it went beyond one. Parts that this does not have stay away.
    fn carried(mut self, nanoseconds: i128) -> Option<(i64, Temporal)> {
        let second = i128::from(NANOSECONDS);
        let unit = match self.time_parts {
            1 => 3_600 * second,
            2 => 60 * second,
            _ => 1,
        };
        let of_day = (i128::from(self.time[0]) * 60 + i128::from(self.time[1])) * 60 * second + i128::from(self.time[2]);
        let moved = of_day.checked_add(nanoseconds / unit * unit)?;
        let within = u64::try_from(moved.rem_euclid(NANOSECONDS_OF_DAY.into())).ok()?;
        self.time = [within / 3_600 / NANOSECONDS, within / 60 / NANOSECONDS % 60, within % (60 * NANOSECONDS)];
        Some((i64::try_from(moved.div_euclid(NANOSECONDS_OF_DAY.into())).ok()?, self))
    }

    /// As FHIR writes it, `zone` (`Z`, `+01:00` or nothing) at its end.
    pub(in crate::fhirpath) fn text(self, zone: &str) -> String {
        let [year, month, day] = self.date;
        let mut text = match self.date_parts {
            0 => String::new(),
            1 => format!("{year:04}"),
            2 => format!("{year:04}-{month:02}"),
            _ => format!("{year:04}-{month:02}-{day:02}"),
        };
        if self.time_parts == 0 {
            return text;
        }
        if self.date_parts > 0 {
            text.push('T');
        }
        let [hour, minute, nanoseconds] = self.time;
        text.push_str(&format!("{hour:02}"));
        if self.time_parts > 1 {
            text.push_str(&format!(":{minute:02}"));
        }
        if self.time_parts > 2 {
            text.push_str(&format!(":{:02}", nanoseconds / NANOSECONDS));
            let fraction = format!("{:09}", nanoseconds % NANOSECONDS);
            // As many digits as were given, and more where the duration had more.
            let needed = fraction.trim_end_matches('0').len();
            match needed.max(self.fraction_digits.min(9)) {
                0 => {}
                digits => text.extend(['.'].into_iter().chain(fraction.chars().take(digits.max(needed)))),
            }
        }
        text + zone
    }
}

fn nanoseconds(count: i64, unit: Unit) -> Option<i128> {
    let nanoseconds = match unit {
        Unit::Year => 365 * NANOSECONDS_OF_DAY,
        Unit::Month => 30 * NANOSECONDS_OF_DAY,
        _ => unit.nanoseconds()?,
    };
    let product = i128::from(count).checked_mul(nanoseconds.into())?;
    Some(if unit >= Unit::Second { product / 1_000 } else { product })
}

/// Days since 0000-03-01 of the Gregorian calendar, counted back before its beginning. Years begin in March here, so that
/// the leap day is the last of its year.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1
}

fn date_of(number: i64) -> Option<[u16; 3]> {
    // The year from the mean length of one; it can be one off.
    let mut year = number.checked_mul(10_000)? / 3_652_425;
    while day_number(year, 3, 1) > number {
        year -= 1;
    }
    while day_number(year + 1, 3, 1) <= number {
        year += 1;
    }
    let day = number - day_number(year, 3, 1);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    YEARS.contains(&year).then_some(())?;
    Some([u16::try_from(year).ok()?, u16::try_from(month).ok()?, u16::try_from(day).ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_through_all_years() {
        let mut expected = day_number(1, 1, 1);
        for year in 1..=9_999_u16 {
            for month in 1..=12 {
                for day in 1..=days_of_month(year, month) {
                    assert_eq!(day_number(year.into(), month.into(), day.into()), expected);
                    assert_eq!(date_of(expected), Some([year, month, day]));
                    expected += 1;
                }
            }
        }
        assert_eq!(date_of(expected), None);
        assert_eq!(date_of(i64::MAX), None);
    }
}
