//! Whether values match what is asked for: the one definition of it, for searches, conditional interactions and subscriptions.
//!
//! FHIR R4, section 3.1.1.4. Where the text leaves a choice:
//! - Tokens and URIs are compared as they are, case included. A code whose value set is bound to one system has that system.
//! - Quantities with units of UCUM are compared in base units: `5.4 mg` finds `0.0054 g`.
//! - A number in a resource is a point: `5.40` finds `5.4`. What is asked for is as wide as its digits with `eq` and `ne`, and
//!   exact with the other prefixes, as section 3.1.1.4.5 says. `<5` of a resource is everything below 5.

use super::fold::fold;
use super::query::{Comparison, Criterion, Hierarchy, Match, Moments, Number, Operand, Prefix, Reference, System, Test, Token, Unit};
use super::values::packed::{Packed, Tuple, Values};
use super::values::{UnitOf, Value};
use crate::ucum;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// The resource that is looked at: its packed values, and the time of the commit that wrote it, which they do not have.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What [`super::values::values_of`] made of it.
    pub values: Packed<'a>,
    /// `meta.lastUpdated`, in microseconds since 1970-01-01T00:00:00Z.
    pub last_updated_us: i64,
}

/// The parameter whose value is the time of the commit.
pub(super) const LAST_UPDATED: &str = "_lastUpdated";

/// Whether a resource matches all of these. Chains and `_has` ask about other resources: they match nothing here, and whoever
/// can look at those puts what they have found in their place.
pub fn matches(criteria: &[Criterion], candidate: Candidate<'_>) -> bool {
    criteria.iter().all(|criterion| holds(criterion, candidate))
}

/// Whether a resource matches one.
pub(super) fn holds(criterion: &Criterion, candidate: Candidate<'_>) -> bool {
    let (parameter, test) = match criterion {
        Criterion::Is { parameter, test } => (parameter, test),
        Criterion::Either(of) => return of.iter().any(|criterion| holds(criterion, candidate)),
        Criterion::Chain { .. } | Criterion::Has { .. } => return false,
    };
    if parameter.code == LAST_UPDATED {
        let value = Value::Date(Moments::instant(candidate.last_updated_us));
        return passes(test, || std::iter::once(value));
    }
    let values = candidate.values.values(usize::from(parameter.number));
    passes(test, || values)
}

fn passes<'a, V: Iterator<Item = Value<'a>>>(test: &Test, values: impl Fn() -> V) -> bool {
    let any = |operands: &[Operand]| values().any(|value| operands.iter().any(|operand| meets(operand, &value)));
    match test {
        Test::Missing(missing) => values().next().is_none() == *missing,
        Test::Any(operands) => any(operands),
        Test::None(operands) => !any(operands),
    }
}

/// Whether one value is what one operand asks for.
pub(super) fn meets(operand: &Operand, value: &Value<'_>) -> bool {
    match (operand, value) {
        (Operand::Token(token), Value::Token { system, code }) => is_token(token, system, code),
        (Operand::OfType { of, value: wanted }, Value::OfType { system, code, value }) => is_token(of, system, code) && wanted == value,
        (Operand::Codes(codes), Value::Token { system, code }) => codes.contains(system, code),
        (Operand::Text(text), Value::Text(has)) => fold(has).starts_with(&*fold(text)),
        (Operand::String { text, how }, Value::String(has)) => is_string(text, *how, has),
        (Operand::Reference(wanted), Value::Reference { .. } | Value::Url(_)) => is_reference(wanted, value),
        (Operand::Resources(found), Value::Reference { resource_type, id }) => found.contains(resource_type, id),
        (Operand::Identifier(token), Value::Logical { system, value }) => is_token(token, system, value),
        (Operand::Date(date), Value::Date(has)) => is_date(date, has),
        (Operand::Number(number), Value::Number(_) | Value::Range { .. }) => interval(value).is_some_and(|has| is_number(number, has)),
        (Operand::Quantity { number, unit }, Value::Quantity { unit: has, .. } | Value::Range { unit: has, .. }) => {
            is_quantity(number, unit, has, value)
        }
        (Operand::Uri { uri, how }, Value::Uri(has)) => is_uri(uri, *how, has),
        (Operand::Composite(operands), Value::Tuple(tuple)) => is_tuple(operands, *tuple),
        (Operand::Near { latitude, longitude, distance_m }, Value::Place(north, east)) => match (north.parse(), east.parse()) {
            (Ok(north), Ok(east)) => apart_m((*latitude, *longitude), (north, east)) <= *distance_m,
            _ => false,
        },
        _ => false,
    }
}

fn is_token(wanted: &Token, system: &str, code: &str) -> bool {
    let same_system = match &wanted.system {
        System::Any => true,
        System::Absent => system.is_empty(),
        System::Is(wanted) => wanted == system,
    };
    same_system && wanted.code.as_deref().is_none_or(|wanted| wanted == code)
}

fn is_string(text: &str, how: Match, has: &str) -> bool {
    match how {
        Match::Exact => text == has,
        Match::Begins => fold(has).starts_with(&*fold(text)),
        Match::Contains => fold(has).contains(&*fold(text)),
    }
}

fn is_reference(wanted: &Reference, value: &Value<'_>) -> bool {
    match (wanted, value) {
        (Reference::Resource { resource_type: wanted, id: wanted_id }, Value::Reference { resource_type, id }) => {
            wanted == resource_type && wanted_id == id
        }
        (Reference::Id(wanted), Value::Reference { id, .. }) => wanted == id,
        // A canonical without a version asks for all of them.
        (Reference::Url(wanted), Value::Url(url)) => wanted == url || canonical(url) == wanted,
        _ => false,
    }
}

/// A canonical without its version.
pub(super) fn canonical(url: &str) -> &str {
    url.split_once('|').map_or(url, |(url, _)| url)
}

/// Section 3.1.1.4.5, on ranges that do not hold their end.
pub(super) fn is_date(date: &Comparison<Moments>, has: &Moments) -> bool {
    let Moments { low, high } = date.value;
    let contains = low <= has.low && has.high <= high;
    match date.prefix {
        Prefix::Equal => contains,
        Prefix::NotEqual => !contains,
        Prefix::Greater => has.high > high,
        Prefix::Less => has.low < low,
        Prefix::GreaterOrEqual => has.high > high || contains,
        Prefix::LessOrEqual => has.low < low || contains,
        Prefix::StartsAfter => has.low >= high,
        Prefix::EndsBefore => has.high <= low,
        Prefix::Approximately => has.low < high && low < has.high,
    }
}

/// The numbers that a value stands for, from and to; infinite where it is open.
pub(super) fn interval(value: &Value<'_>) -> Option<(f64, f64)> {
    let parse = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
    let bound = |text: &str, open: f64| if text.is_empty() { Some(open) } else { parse(text) };
    match value {
        Value::Number(text) => parse(text).map(|n| (n, n)),
        Value::Quantity { comparator, value, .. } => {
            let n = parse(value)?;
            Some(match *comparator {
                "<" | "<=" => (f64::NEG_INFINITY, n),
                ">" | ">=" => (n, f64::INFINITY),
                _ => (n, n),
            })
        }
        Value::Range { low, high, .. } => Some((bound(low, f64::NEG_INFINITY)?, bound(high, f64::INFINITY)?)),
        _ => None,
    }
}

/// The same for numbers.
pub(super) fn is_number(number: &Comparison<Number>, (from, to): (f64, f64)) -> bool {
    let Number { value, low, high } = number.value;
    // Of more digits than a 64-bit float has, the range is empty: the number itself is in it all the same.
    let within = (low <= from && to < high) || (from == value && to == value);
    match number.prefix {
        Prefix::Equal => within,
        Prefix::NotEqual => !within,
        Prefix::Greater => to > value,
        Prefix::StartsAfter => from > value,
        Prefix::EndsBefore => to < value,
        Prefix::Less => from < value,
        Prefix::GreaterOrEqual => to >= value,
        Prefix::LessOrEqual => from <= value,
        Prefix::Approximately => from <= high && low <= to,
    }
}

/// With units of UCUM, other units of the same kind are compared in base units. The same unit is compared as it is.
fn is_quantity(number: &Comparison<Number>, unit: &Unit, has: &UnitOf<'_>, value: &Value<'_>) -> bool {
    if is_unit(unit, has) {
        return interval(value).is_some_and(|has| is_number(number, has));
    }
    let Unit::Coded { system, code } = unit else { return false };
    match (measured(system, code), measured(has.system, has.code)) {
        (Some(wanted), Some(of)) if wanted.dimension() == of.dimension() => {
            canonical_interval(value).is_some_and(|has| is_measured(&in_base_units(number, &wanted), has))
        }
        _ => false,
    }
}

/// The unit of a code, if it is one of UCUM that is understood.
pub(super) fn measured(system: &str, code: &str) -> Option<Arc<ucum::Unit>> {
    if system == ucum::SYSTEM { ucum::Unit::parse(code) } else { None }
}

/// What is asked for in a unit, in base units. Its range is as wide as its digits were.
pub(super) fn in_base_units(number: &Comparison<Number>, unit: &ucum::Unit) -> Comparison<Number> {
    let Number { value, low, high } = number.value;
    let value = Number { value: unit.canonical(value), low: unit.canonical(low), high: unit.canonical(high) };
    Comparison { value, ..*number }
}

/// The same as [`is_number`] in base units, where what differs by the rounding of the computation is the same.
pub(super) fn is_measured(number: &Comparison<Number>, (from, to): (f64, f64)) -> bool {
    let Number { value, low, high } = number.value;
    let settled = |n: f64| [value, low, high].into_iter().find(|bound| ucum::is_near(n, *bound)).unwrap_or(n);
    is_number(number, (settled(from), settled(to)))
}

/// What a quantity stands for in base units; nothing for one whose unit is not understood.
pub(super) fn canonical_interval(value: &Value<'_>) -> Option<(f64, f64)> {
    let (Value::Quantity { unit, .. } | Value::Range { unit, .. }) = value else { return None };
    let unit = measured(unit.system, unit.code)?;
    interval(value).map(|(from, to)| (unit.canonical(from), unit.canonical(to)))
}

fn is_unit(unit: &Unit, has: &UnitOf<'_>) -> bool {
    match unit {
        Unit::Any => true,
        Unit::Named(name) => name == has.code || name == has.unit,
        Unit::Coded { system, code } => system == has.system && code == has.code,
    }
}

fn is_uri(uri: &str, how: Hierarchy, has: &str) -> bool {
    // At a boundary: `http://a/b` is above `http://a/b/c`, and not above `http://a/bc`. An OID's are dots.
    let below = |longer: &str, shorter: &str| {
        longer.strip_prefix(shorter).is_some_and(|rest| {
            rest.is_empty() || shorter.ends_with(['/', '.', ':']) || rest.starts_with(['/', '#', '?', '|']) || is_oid_part(longer, rest)
        })
    };
    match how {
        Hierarchy::Exact => uri == has,
        Hierarchy::Below => below(has, uri),
        Hierarchy::Above => below(uri, has),
    }
}

fn is_oid_part(uri: &str, rest: &str) -> bool {
    uri.starts_with("urn:oid:") && rest.starts_with('.')
}

fn is_tuple(operands: &[Operand], tuple: Tuple<'_>) -> bool {
    let mut components = tuple.components();
    operands.iter().all(|operand| components.next().is_some_and(|mut values: Values<'_>| values.any(|value| meets(operand, &value))))
}

/// The great circle between two places in metres (haversine, a sphere of the Earth's mean radius).
fn apart_m(a: (f64, f64), b: (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let h = half(a.0, b.0) + a.0.to_radians().cos() * b.0.to_radians().cos() * half(a.1, b.1);
    2.0 * 6_371_008.8 * h.sqrt().min(1.0).asin()
}
