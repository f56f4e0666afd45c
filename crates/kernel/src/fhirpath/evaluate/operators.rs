//! Binary operators (FHIRPath N1, section 6).

use super::{Item, Items, Result, Scope, dates, failure, has};
use crate::fhirpath::code::{Code, Operator};
use crate::fhirpath::decimal::Decimal;
use crate::fhirpath::item::{compare, equal, equivalent};
use std::cmp::Ordering;

/// `left operator right`.
pub(super) fn binary<'a>(operator: Operator, left: &Code, right: &Code, at: usize, scope: &Scope<'_, 'a>) -> Result<Option<Item<'a>>> {
    let truth = match operator {
        Operator::And | Operator::Or | Operator::Xor | Operator::Implies => logic(operator, left, right, at, scope)?,
        Operator::Equal => equal_items(&left.items(scope)?, &right.items(scope)?),
        Operator::NotEqual => equal_items(&left.items(scope)?, &right.items(scope)?).map(|equal| !equal),
        Operator::Equivalent => Some(equivalent_items(&left.items(scope)?, &right.items(scope)?)),
        Operator::NotEquivalent => Some(!equivalent_items(&left.items(scope)?, &right.items(scope)?)),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => order(operator, left, right, at, scope)?,
        Operator::In => member(left, right, at, scope)?,
        Operator::Contains => member(right, left, at, scope)?,
        Operator::SubsetOf => Some(subset(&left.items(scope)?, &right.items(scope)?)),
        Operator::SupersetOf => Some(subset(&right.items(scope)?, &left.items(scope)?)),
        Operator::Concatenate => return concatenate(left, right, at, scope).map(Some),
        Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Div | Operator::Mod => {
            return match (left.single(scope, at)?, right.single(scope, at)?) {
                (Some(left), Some(right)) => arithmetic(operator, left, right, at, scope),
                _ => Ok(None),
            };
        }
    };
    Ok(truth.map(Item::Boolean))
}

/// `from = 'text'`, without copying the text.
pub(super) fn equal_text(from: &Code, text: &str, scope: &Scope<'_, '_>) -> Result<Option<bool>> {
    let (mut count, mut same) = (0, false);
    super::ended(from.each(scope, &mut |item| {
        count += 1;
        same = item.as_text() == Some(text);
        super::GO_ON
    }))?;
    Ok((count > 0).then_some(count == 1 && same))
}

/// Three-valued logic; the right side is left alone where the left decides.
fn logic(operator: Operator, left: &Code, right: &Code, at: usize, scope: &Scope<'_, '_>) -> Result<Option<bool>> {
    let left = left.truth(scope, at)?;
    match (operator, left) {
        (Operator::And, Some(false)) => return Ok(Some(false)),
        (Operator::Or, Some(true)) | (Operator::Implies, Some(false)) => return Ok(Some(true)),
        _ => {}
    }
    let right = right.truth(scope, at)?;
    Ok(match (operator, left, right) {
        (Operator::And, _, Some(false)) => Some(false),
        (Operator::Or | Operator::Implies, _, Some(true)) => Some(true),
        (_, None, _) | (_, _, None) => None,
        (Operator::Xor, Some(left), Some(right)) => Some(left != right),
        // Left is true for `and` and `implies`, false for `or`: the right side decides.
        (_, Some(_), Some(right)) => Some(right),
    })
}

fn equal_items(left: &Items<'_>, right: &Items<'_>) -> Option<bool> {
    if left.is_empty() || right.is_empty() {
        return None;
    }
    if left.len() != right.len() {
        return Some(false);
    }
    let mut unknown = false;
    for (left, right) in left.iter().zip(right) {
        match equal(*left, *right) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => unknown = true,
        }
    }
    (!unknown).then_some(true)
}

fn equivalent_items(left: &Items<'_>, right: &Items<'_>) -> bool {
    let all_in = |some: &Items<'_>, others: &Items<'_>| some.iter().all(|a| others.iter().any(|b| equivalent(*a, *b)));
    left.len() == right.len() && all_in(left, right) && all_in(right, left)
}

fn subset(some: &Items<'_>, others: &Items<'_>) -> bool {
    some.iter().all(|item| has(others, *item))
}

fn member(item: &Code, collection: &Code, at: usize, scope: &Scope<'_, '_>) -> Result<Option<bool>> {
    Ok(match item.single(scope, at)? {
        None => None,
        Some(item) => Some(has(&collection.items(scope)?, item)),
    })
}

fn order(operator: Operator, left: &Code, right: &Code, at: usize, scope: &Scope<'_, '_>) -> Result<Option<bool>> {
    let (Some(left), Some(right)) = (left.single(scope, at)?, right.single(scope, at)?) else {
        return Ok(None);
    };
    let order = compare(left, right).map_err(|()| failure(at, "values of these types have no order"))?;
    Ok(order.map(|order| match operator {
        Operator::Less => order == Ordering::Less,
        Operator::LessOrEqual => order != Ordering::Greater,
        Operator::Greater => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn concatenate<'a>(left: &Code, right: &Code, at: usize, scope: &Scope<'_, 'a>) -> Result<Item<'a>> {
    let side = |code: &Code| -> Result<&'a str> {
        match code.single(scope, at)? {
            None => Ok(""),
            Some(item) => text(item, at),
        }
    };
    joined(side(left)?, side(right)?, at, scope)
}

fn joined<'a>(left: &str, right: &str, at: usize, scope: &Scope<'_, 'a>) -> Result<Item<'a>> {
    scope.charge(left.len().saturating_add(right.len()), at)?;
    Ok(Item::Text(bumpalo::format!(in scope.arena(), "{}{}", left, right).into_bump_str()))
}

fn text(item: Item<'_>, at: usize) -> Result<&str> {
    item.as_text().ok_or_else(|| failure(at, "a string was expected"))
}

fn arithmetic<'a>(operator: Operator, left: Item<'a>, right: Item<'a>, at: usize, scope: &Scope<'_, 'a>) -> Result<Option<Item<'a>>> {
    if let (Operator::Add | Operator::Subtract, Item::Quantity { value, unit }) = (operator, right) {
        return dates::shifted(left, (value, unit), operator == Operator::Subtract, at, scope);
    }
    if operator == Operator::Add && !left.is_number() {
        return joined(text(left, at)?, text(right, at)?, at, scope).map(Some);
    }
    if !left.is_number() || !right.is_number() {
        return Err(failure(at, "numbers were expected"));
    }
    if let (Some(left), Some(right)) = (left.as_integer(), right.as_integer()) {
        match operator {
            Operator::Add => return Ok(left.checked_add(right).map(Item::Integer)),
            Operator::Subtract => return Ok(left.checked_sub(right).map(Item::Integer)),
            Operator::Multiply => return Ok(left.checked_mul(right).map(Item::Integer)),
            Operator::Mod => return Ok(left.checked_rem(right).map(Item::Integer)),
            _ => {}
        }
    }
    // Too many digits, overflow and division by zero: the empty collection.
    let (Some(left), Some(right)) = (left.as_decimal(), right.as_decimal()) else {
        return Ok(None);
    };
    let result = match operator {
        Operator::Add => left.plus(right),
        Operator::Subtract => left.minus(right),
        Operator::Multiply => left.times(right),
        Operator::Divide => left.divided_by(right),
        Operator::Mod => left.modulo(right),
        _ => return Ok(left.div(right).map(Item::Integer)),
    };
    Ok(result.map(|result| decimal(result, scope)))
}

/// `-of`.
pub(super) fn negate<'a>(of: &Code, at: usize, scope: &Scope<'_, 'a>) -> Result<Option<Item<'a>>> {
    let Some(item) = of.single(scope, at)? else {
        return Ok(None);
    };
    match item.as_integer() {
        Some(value) => Ok(value.checked_neg().map(Item::Integer)),
        None if item.is_number() => Ok(item.as_decimal().map(|value| decimal(value.negated(), scope))),
        None => Err(failure(at, "a number was expected")),
    }
}

pub(super) fn decimal<'a>(value: Decimal, scope: &Scope<'_, 'a>) -> Item<'a> {
    Item::Decimal(bumpalo::format!(in scope.arena(), "{}", value).into_bump_str())
}
