//! How far the clocks of the question's time zone are ahead of UTC: what the calendar library says about an instant costs a tenth of a
//! microsecond, a look into this table a hundredth.

use datafusion::arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Date32Type, Time64MicrosecondType, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

const DAY_US: i64 = 24 * 3_600 * 1_000_000;
/// Offsets change twice a year at most, and never there and back within a week.
const WEEK_US: i64 = 7 * DAY_US;
/// The weeks of the table, of those since 1970: some from 1940 to 2100.
const WEEKS: std::ops::Range<i64> = -1_565..6_784;

/// The offsets of one zone. Far from the present, and of a zone that does not exist, it knows none: whoever asks goes to the calendar library then.
#[derive(Debug)]
pub struct Zone {
    name: Arc<str>,
    weeks: Vec<Week>,
}

/// The offsets in a week, in microseconds: at its beginning, and from when on which other one.
#[derive(Clone, Copy, Debug)]
struct Week {
    at_first: i64,
    until: i64,
    then: i64,
}

// Two tables of one zone are the same.
impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Zone {
    /// The table of a zone of the IANA database.
    pub fn new(name: &str) -> Self {
        let name: Arc<str> = name.into();
        let weeks = weeks(&name).unwrap_or_default();
        Self { name, weeks }
    }

    /// Whether a column's instants show in this zone.
    pub fn is_of(&self, data_type: &DataType) -> bool {
        matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if *zone == self.name)
    }

    /// How far clocks are ahead of UTC at an instant (both in microseconds); `None` far from the present.
    pub fn offset(&self, instant: i64) -> Option<i64> {
        let week = usize::try_from(instant.div_euclid(WEEK_US) - WEEKS.start).ok()?;
        let week = self.weeks.get(week)?;
        Some(if instant < week.until { week.at_first } else { week.then })
    }

    /// The day of an instant, as days since 1970; `None` far from the present.
    pub fn day(&self, instant: i64) -> Option<i32> {
        Some((instant + self.offset(instant)?).div_euclid(DAY_US) as i32)
    }

    /// The instant at which a day begins; `None` far from the present, and if the clocks are changed at that time or show it twice.
    pub fn midnight(&self, day: i32) -> Option<i64> {
        let midnight = i64::from(day) * DAY_US;
        let offset = self.offset(midnight)?;
        let instant = midnight - offset;
        let same = |at: i64| self.offset(at) == Some(offset);
        // Clocks that are put back soon after a midnight show it twice, and the day before goes on in between.
        let twice = |other: i64| other != offset && self.offset(midnight - other) == Some(other);
        let [before, after] = [self.offset(instant - DAY_US)?, self.offset(instant + DAY_US)?];
        (same(instant) && same(instant - 1) && !twice(before) && !twice(after)).then_some(instant)
    }
}

/// The weeks of a zone.
fn weeks(zone: &Arc<str>) -> Result<Vec<Week>> {
    let begins: Vec<i64> = (WEEKS.start..=WEEKS.end).map(|week| week * WEEK_US).collect();
    let offsets = asked(zone, &begins)?;
    let mut weeks: Vec<Week> = Vec::new();
    for pair in offsets.windows(2) {
        let &[at_first, then] = pair else { continue };
        weeks.push(Week { at_first, until: i64::MAX, then });
    }
    // When it changes within the week: halved until it is known, for all of these weeks at once.
    let changing = weeks.iter_mut().zip(&begins).filter(|(week, _)| week.at_first != week.then);
    let mut changes: Vec<(&mut Week, i64, i64)> = changing.map(|(week, begin)| (week, *begin, begin + WEEK_US)).collect();
    while changes.iter().any(|(_, before, after)| after - before > 1) {
        let middles: Vec<i64> = changes.iter().map(|(_, before, after)| before + (after - before) / 2).collect();
        for (((week, before, after), middle), offset) in changes.iter_mut().zip(&middles).zip(asked(zone, &middles)?) {
            *(if offset == week.at_first { before } else { after }) = *middle;
        }
    }
    for (week, _, after) in changes {
        week.until = after;
    }
    Ok(weeks)
}

/// How far clocks are ahead of UTC at these instants, as the calendar library says.
fn asked(zone: &Arc<str>, instants: &[i64]) -> Result<Vec<i64>> {
    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(instants.to_vec()).with_timezone(Arc::clone(zone)));
    let (days, times) = (cast(&column, &DataType::Date32)?, cast(&column, &DataType::Time64(TimeUnit::Microsecond))?);
    let (days, times) = (days.as_primitive_opt::<Date32Type>(), times.as_primitive_opt::<Time64MicrosecondType>());
    let (days, times) = days.zip(times).ok_or_else(|| DataFusionError::Internal("an instant has no local time".to_owned()))?;
    let local = days.values().iter().zip(times.values()).map(|(day, time)| i64::from(*day) * DAY_US + time);
    Ok(local.zip(instants).map(|(local, instant)| local - instant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn offsets_are_those_of_the_calendar(
            instants in prop::collection::vec(-1_000_000_000_000_000..4_200_000_000_000_000_i64, 1..200),
            name in prop::sample::select(vec!["Europe/Oslo", "UTC", "America/St_Johns", "America/Sao_Paulo", "Australia/Lord_Howe", "+05:30"]),
        ) {
            let zone = Zone::new(name);
            let expected = asked(&zone.name, &instants).map_err(|e| TestCaseError::fail(e.to_string()))?;
            for (instant, expected) in instants.iter().zip(expected) {
                prop_assert!(zone.offset(*instant).is_none_or(|offset| offset == expected), "{} at {}", name, instant);
            }
        }
    }

    #[test]
    fn the_table_reaches_from_1940_to_2100() {
        let zone = Zone::new("Europe/Oslo");
        let year = |year: i64| (year - 1970) * 31_556_952_000_000;
        assert_eq!([1939, 1941, 2026, 2099, 2101].map(|y| zone.offset(year(y)).is_some()), [false, true, true, true, false]);
        assert_eq!(zone.midnight(20_819).and_then(|at| zone.day(at)), Some(20_819));
        assert_eq!(Zone::new("Europe/Nowhere").offset(0), None);
    }
}
