//! Mathematics (FHIRPath N1, section 5.7), and conversions to quantities (section 5.5.7).

use super::{Item, Result, Scope, failure, operators::decimal};
use crate::fhirpath::code::Function;
use crate::fhirpath::decimal::Decimal;
use crate::fhirpath::temporal::Unit;

/// Significant digits of roots, logarithms and powers: fewer than the processor has, so that another machine's mathematical
/// library, which may differ in the last one, gives the same.
const DIGITS: usize = 12;

/// The largest whole exponent that is multiplied out exactly.
const MAX_EXACT_EXPONENT: i64 = 64;

/// A function of a number; nothing where it has no result, as the root of -1.
pub(super) fn call<'a>(
    function: Function,
    item: Item<'a>,
    argument: Option<Item<'a>>,
    at: usize,
    scope: &Scope<'_, 'a>,
) -> Result<Option<Item<'a>>> {
    if !item.is_number() {
        return Err(failure(at, "a number was expected"));
    }
    let Some(value) = item.as_decimal() else {
        return Ok(None);
    };
    let integer = |value: Option<Decimal>| value.and_then(Decimal::to_integer).map(Item::Integer);
    let real = |result: f64| of_real(result).map(|value| decimal(value, scope));
    Ok(match function {
        Function::Abs if item.as_integer().is_some() => integer(Some(value.abs())),
        Function::Abs => Some(decimal(value.abs(), scope)),
        Function::Ceiling => integer(value.ceiling(0)),
        Function::Floor => integer(value.floor(0)),
        Function::Truncate => value.truncated().map(Item::Integer),
        Function::Sqrt => real(value.to_real().sqrt()),
        Function::Exp => real(value.to_real().exp()),
        Function::Ln => real(value.to_real().ln()),
        Function::Log => match number(argument, at)? {
            Some(base) => real(value.to_real().log(base.to_real())),
            None => None,
        },
        Function::Power => match (number(argument, at)?, argument.and_then(Item::as_integer)) {
            (_, Some(exponent)) if (0..=MAX_EXACT_EXPONENT).contains(&exponent) => {
                power(value, exponent, item.as_integer().is_some(), scope)
            }
            (Some(exponent), _) => real(value.to_real().powf(exponent.to_real())),
            (None, _) => None,
        },
        _ => {
            let digits = argument.map_or(Some(0), Item::as_integer).and_then(|digits| u32::try_from(digits).ok()).filter(|d| *d <= 28);
            value.rounded(digits.ok_or_else(|| failure(at, "0 to 28 digits were expected"))?).map(|v| decimal(v, scope))
        }
    })
}

fn number(item: Option<Item<'_>>, at: usize) -> Result<Option<Decimal>> {
    match item {
        None => Ok(None),
        Some(item) if item.is_number() => Ok(item.as_decimal()),
        Some(_) => Err(failure(at, "a number was expected")),
    }
}

/// Whole powers are exact; an integer's is an integer.
fn power<'a>(base: Decimal, exponent: i64, whole: bool, scope: &Scope<'_, 'a>) -> Option<Item<'a>> {
    let product = (0..exponent).try_fold(Decimal::integer(1), |product, _| product.times(base))?;
    if whole { product.to_integer().map(Item::Integer) } else { Some(decimal(product, scope)) }
}

fn of_real(result: f64) -> Option<Decimal> {
    if !result.is_finite() {
        return None;
    }
    Decimal::parse(&format!("{result:.*e}", DIGITS - 1)).map(Decimal::trimmed)
}

/// `toQuantity()`: of a number, a boolean, a quantity, or text such as `5.4 'mg'` and `18 years`.
pub(super) fn quantity<'a>(item: Item<'a>, scope: &Scope<'_, 'a>) -> Option<(&'a str, &'a str)> {
    if let Some(truth) = item.as_boolean() {
        return Some((if truth { "1.0" } else { "0.0" }, "1"));
    }
    if item.is_number() {
        return item.to_text(scope.arena()).map(|value| (value, "1"));
    }
    item.as_quantity().or_else(|| {
        let text = item.as_text()?.trim();
        let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
        let (value, unit) = text.split_at_checked(end)?;
        Decimal::parse(value)?;
        let unit = unit.trim();
        match unit.strip_prefix('\'').and_then(|unit| unit.strip_suffix('\'')) {
            Some(ucum) => Some((value, ucum)),
            None if unit.is_empty() => Some((value, "1")),
            None => Some((value, Unit::parse(unit)?.name())),
        }
    })
}
