//! Dates and times plus and minus durations (FHIRPath N1, section 6.6.7).

use super::{Class, Item, Result, Scope, failure};
use crate::fhirpath::decimal::Decimal;
use crate::fhirpath::temporal::{Temporal, Unit};

/// `moment + value unit`; with `minus`, `moment - value unit`. Nothing where the year would not have four digits.
pub(super) fn shifted<'a>(
    moment: Item<'a>,
    (value, unit): (&str, &str),
    minus: bool,
    at: usize,
    scope: &Scope<'_, 'a>,
) -> Result<Option<Item<'a>>> {
    let no_date = || failure(at, "a date or a time was expected before a duration that is added or subtracted");
    let class = match moment {
        Item::Element { data_type, .. } => data_type.map(|t| t.class),
        Item::Date(_) => Some(Class::Date),
        Item::DateTime(_) => Some(Class::DateTime),
        Item::Time(_) => Some(Class::Time),
        _ => return Err(no_date()),
    };
    let text = moment.as_text().ok_or_else(no_date)?;
    let parsed = match class {
        Some(Class::Time) => Temporal::parse_time(text),
        Some(Class::Date | Class::DateTime) | None => Temporal::parse(text),
        Some(_) => None,
    };
    let parsed = parsed.ok_or_else(no_date)?;
    let unit =
        Unit::of_duration(unit).ok_or_else(|| failure(at, "to a date, years, months, weeks, days, hours, minutes, seconds are added"))?;
    let Some(count) = count(value, unit).and_then(|count| if minus { count.checked_neg() } else { Some(count) }) else {
        return Ok(None);
    };
    let Some(moved) = parsed.plus(count, unit) else {
        return Ok(None);
    };
    let text = scope.keep(&moved.text(zone(text)), at)?;
    Ok(Some(match class {
        Some(Class::Time) => Item::Time(text),
        Some(Class::DateTime) => Item::DateTime(text),
        None if moved.has_time() => Item::DateTime(text),
        _ => Item::Date(text),
    }))
}

/// The whole part; of seconds and milliseconds, thousandths.
fn count(value: &str, unit: Unit) -> Option<i64> {
    let value = Decimal::parse(value)?;
    if unit >= Unit::Second { value.times(Decimal::integer(1_000))?.truncated() } else { value.truncated() }
}

/// `Z`, `+01:00` or nothing, at the end of a date and time.
fn zone(text: &str) -> &str {
    let time = text.find('T').unwrap_or(text.len());
    let rest = text.get(time..).unwrap_or_default();
    rest.find(['Z', '+', '-']).and_then(|at| rest.get(at..)).unwrap_or_default()
}
