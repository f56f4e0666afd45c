//! Functions of a single item (FHIRPath N1, sections 5.5 to 5.7).

use super::coding::coding;
use super::{Class, EvaluationError, Flow, GO_ON, Item, Result, Scope, Sink, failure, flow, numbers, operators::decimal, push};
use crate::fhirpath::code::{Code, Function};
use crate::fhirpath::decimal::Decimal;
use crate::fhirpath::temporal::{DATE_DIGITS, DATE_TIME_DIGITS, TIME_DIGITS, Temporal};

/// `from.function(arguments)`; of nothing comes nothing.
pub(super) fn call<'a>(function: Function, from: &Code, arguments: &[Code], at: usize, scope: &Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
    let call = Call { function, at, scope };
    let Some(item) = flow(from.single(scope, at))? else {
        return GO_ON;
    };
    let mut values = arguments.iter().map(|argument| argument.single(scope, at));
    let first = flow(values.next().unwrap_or(Ok(None)))?;
    let second = flow(values.next().unwrap_or(Ok(None)))?;
    match function {
        Function::Split => {
            let (Some(text), Some(separator)) = (flow(call.text(item))?, flow(call.optional_text(first))?) else {
                return GO_ON;
            };
            if separator.is_empty() {
                return characters(text, sink);
            }
            text.split(separator).try_for_each(|part| sink(Item::Text(part)))
        }
        Function::ToChars => match flow(call.text(item))? {
            Some(text) => characters(text, sink),
            None => GO_ON,
        },
        Function::Abs
        | Function::Ceiling
        | Function::Floor
        | Function::Round
        | Function::Truncate
        | Function::Sqrt
        | Function::Exp
        | Function::Ln
        | Function::Log
        | Function::Power => push(flow(numbers::call(function, item, first, at, scope))?, sink),
        Function::ToQuantity { test } => {
            let wanted = flow(call.optional_text(first))?;
            let converted = numbers::quantity(item, scope).filter(|(_, unit)| wanted.is_none_or(|wanted| wanted == *unit));
            let item =
                if test { Some(Item::Boolean(converted.is_some())) } else { converted.map(|(value, unit)| Item::Quantity { value, unit }) };
            push(item, sink)
        }
        Function::LowBoundary | Function::HighBoundary => push(flow(call.boundary(item, first))?, sink),
        Function::Convert { to, test } => {
            let converted = call.converted(item, to);
            push(if test { Some(Item::Boolean(converted.is_some())) } else { converted }, sink)
        }
        _ => push(flow(call.string(item, first, second))?, sink),
    }
}

fn characters<'a>(text: &'a str, sink: Sink<'_, 'a>) -> Flow {
    text.char_indices().try_for_each(|(start, c)| sink(Item::Text(text.get(start..start + c.len_utf8()).unwrap_or_default())))
}

struct Call<'c, 'a> {
    function: Function,
    at: usize,
    scope: &'c Scope<'c, 'a>,
}

impl<'a> Call<'_, 'a> {
    fn text(&self, item: Item<'a>) -> Result<Option<&'a str>> {
        item.as_text().map(Some).ok_or_else(|| failure(self.at, "a string was expected"))
    }

    fn optional_text(&self, item: Option<Item<'a>>) -> Result<Option<&'a str>> {
        item.map_or(Ok(None), |item| self.text(item))
    }

    fn optional_integer(&self, item: Option<Item<'a>>) -> Result<Option<i64>> {
        match item {
            None => Ok(None),
            Some(item) => item.as_integer().map(Some).ok_or_else(|| failure(self.at, "an integer was expected")),
        }
    }

    fn string(&self, item: Item<'a>, first: Option<Item<'a>>, second: Option<Item<'a>>) -> Result<Option<Item<'a>>> {
        let Some(text) = self.text(item)? else {
            return Ok(None);
        };
        let keep = |text: String| self.scope.keep(&text, self.at).map(Item::Text);
        match self.function {
            Function::Length => return Ok(Some(count(text))),
            Function::Upper => return keep(text.to_uppercase()).map(Some),
            Function::Lower => return keep(text.to_lowercase()).map(Some),
            Function::Trim => return Ok(Some(Item::Text(text.trim()))),
            Function::Substring => return self.substring(text, first, second),
            _ => {}
        }
        let Some(wanted) = self.optional_text(first)? else {
            return Ok(None);
        };
        let position = |found: Option<usize>| match found.and_then(|at| text.get(..at)) {
            Some(before) => count(before),
            None => Item::Integer(-1),
        };
        Ok(Some(match self.function {
            Function::StartsWith => Item::Boolean(text.starts_with(wanted)),
            Function::EndsWith => Item::Boolean(text.ends_with(wanted)),
            Function::Contains => Item::Boolean(text.contains(wanted)),
            Function::IndexOf => position(text.find(wanted)),
            Function::LastIndexOf => position(text.rfind(wanted)),
            Function::Encode => keep(coding(wanted).ok_or_else(|| self.no_coding())?.encode(text))?,
            Function::Decode => match coding(wanted).ok_or_else(|| self.no_coding())?.decode(text) {
                Some(text) => keep(text)?,
                None => return Ok(None),
            },
            _ => match self.optional_text(second)? {
                Some(replacement) => {
                    let grown = (text.len() / wanted.len().max(1) + 1).saturating_mul(replacement.len());
                    self.scope.charge(grown, self.at)?;
                    keep(text.replace(wanted, replacement))?
                }
                None => return Ok(None),
            },
        }))
    }

    fn no_coding(&self) -> EvaluationError {
        failure(self.at, "encode() and decode() know 'hex', 'base64' and 'urlbase64'")
    }

    /// Positions count characters from 0; a start outside of the text yields nothing.
    fn substring(&self, text: &'a str, start: Option<Item<'a>>, length: Option<Item<'a>>) -> Result<Option<Item<'a>>> {
        let Some(start) = self.optional_integer(start)?.and_then(|s| usize::try_from(s).ok()) else {
            return Ok(None);
        };
        let Some((from, _)) = text.char_indices().nth(start) else {
            return Ok(None);
        };
        let rest = text.get(from..).unwrap_or_default();
        let length = self.optional_integer(length)?.map(|l| usize::try_from(l).unwrap_or(0));
        let end = length.and_then(|l| rest.char_indices().nth(l)).map_or(rest.len(), |(end, _)| end);
        Ok(rest.get(..end).map(Item::Text))
    }

    fn boundary(&self, item: Item<'a>, precision: Option<Item<'a>>) -> Result<Option<Item<'a>>> {
        let precision = self.optional_integer(precision)?;
        let latest = self.function == Function::HighBoundary;
        if item.is_number() {
            let scale = u32::try_from(precision.unwrap_or(8)).ok().filter(|s| *s <= 28);
            return Ok(scale.and_then(|scale| number_boundary(item.as_decimal()?, latest, scale)).map(|v| decimal(v, self.scope)));
        }
        let Some(text) = self.text(item)? else {
            return Ok(None);
        };
        let keep = |value: Option<String>| value.map(|v| &*self.scope.arena().alloc_str(&v));
        let class = match item {
            Item::Element { data_type, .. } => data_type.map(|t| t.class),
            Item::DateTime(_) => Some(Class::DateTime),
            Item::Date(_) => Some(Class::Date),
            _ => None,
        };
        if class == Some(Class::Time) || matches!(item, Item::Time(_)) {
            let time = Temporal::parse_time(text).and_then(|t| t.boundary(latest, precision.unwrap_or(TIME_DIGITS)));
            return Ok(keep(time).map(Item::Time));
        }
        let Some(moment) = Temporal::parse(text) else {
            return Ok(None);
        };
        // Without a type, what has no time is a date.
        let has_time = class == Some(Class::DateTime) || moment.has_time();
        let precision = precision.unwrap_or(if has_time { DATE_TIME_DIGITS } else { DATE_DIGITS });
        let boundary = keep(moment.boundary(latest, precision));
        Ok(boundary.map(if has_time { Item::DateTime } else { Item::Date }))
    }

    /// The item as another type, if it can be one.
    fn converted(&self, item: Item<'a>, to: Class) -> Option<Item<'a>> {
        let arena = self.scope.arena();
        match to {
            Class::Text => item.to_text(arena).map(Item::Text),
            Class::Boolean => match (item.as_boolean(), item.as_decimal(), item.as_text()) {
                (Some(value), _, _) => Some(Item::Boolean(value)),
                (_, Some(number), _) => number.to_integer().filter(|n| (0..=1).contains(n)).map(|n| Item::Boolean(n == 1)),
                (_, _, Some(text)) => boolean_word(text).map(Item::Boolean),
                _ => None,
            },
            Class::Integer => match (item.as_boolean(), item.as_text()) {
                (Some(value), _) => Some(Item::Integer(i64::from(value))),
                (_, Some(text)) => text.parse().ok().map(Item::Integer),
                _ => item.as_integer().map(Item::Integer),
            },
            Class::Decimal => match (item.as_boolean(), item.as_text()) {
                (Some(value), _) => Some(Item::Decimal(if value { "1.0" } else { "0.0" })),
                (_, Some(text)) => Decimal::parse(text).map(|value| decimal(value, self.scope)),
                _ if item.is_number() => item.to_text(arena).map(Item::Decimal),
                _ => None,
            },
            Class::Date => {
                let text = item.as_text()?;
                Temporal::parse(text)?;
                Some(Item::Date(text.split_once('T').map_or(text, |(date, _)| date)))
            }
            Class::DateTime => item.as_text().filter(|t| Temporal::parse(t).is_some()).map(Item::DateTime),
            Class::Time => item.as_text().filter(|t| Temporal::parse_time(t).is_some()).map(Item::Time),
            Class::Complex => None,
        }
    }
}

fn count<'a>(text: &str) -> Item<'a> {
    Item::Integer(i64::try_from(text.chars().count()).unwrap_or(i64::MAX))
}

fn boolean_word(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
        "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
        _ => None,
    }
}

/// The least (`highest`: the greatest) value that rounds to `value`, in `scale` digits after the point.
fn number_boundary(value: Decimal, highest: bool, scale: u32) -> Option<Decimal> {
    if highest { value.plus(value.half_unit())?.ceiling(scale) } else { value.minus(value.half_unit())?.floor(scale) }
}

/// `matches()` and `replaceMatches()`.
pub(super) fn pattern<'a>(
    from: &Code,
    pattern: &regex::Regex,
    replacement: Option<&Code>,
    at: usize,
    scope: &Scope<'_, 'a>,
) -> Result<Option<Item<'a>>> {
    let Some(item) = from.single(scope, at)? else {
        return Ok(None);
    };
    let text = item.as_text().ok_or_else(|| failure(at, "a string was expected"))?;
    let Some(replacement) = replacement else {
        return Ok(Some(Item::Boolean(pattern.is_match(text))));
    };
    match replacement.single(scope, at)?.and_then(|item| item.as_text()) {
        None => Ok(None),
        Some(replacement) => replaced(text, pattern, replacement, at, scope).map(Some),
    }
}

fn replaced<'a>(text: &str, pattern: &regex::Regex, replacement: &str, at: usize, scope: &Scope<'_, 'a>) -> Result<Item<'a>> {
    let mut result = String::new();
    let mut end = 0;
    for found in pattern.captures_iter(text) {
        // Each character of the replacement can stand for the whole text at most.
        let range = found.get_match().range();
        scope.charge(replacement.len().saturating_mul(range.len() + 1), at)?;
        result.push_str(text.get(end..range.start).unwrap_or_default());
        found.expand(replacement, &mut result);
        end = range.end;
    }
    result.push_str(text.get(end..).unwrap_or_default());
    scope.keep(&result, at).map(Item::Text)
}

/// `join(separator)`: of nothing comes nothing.
pub(super) fn join<'a>(from: &Code, separator: &Code, at: usize, scope: &Scope<'_, 'a>) -> Result<Option<Item<'a>>> {
    let separator = separator.single(scope, at)?.and_then(|item| item.as_text()).unwrap_or_default();
    let mut joined = bumpalo::collections::String::new_in(scope.arena());
    let mut count = 0;
    super::ended(from.each(scope, &mut |item| {
        let Some(text) = item.to_text(scope.arena()) else {
            return super::failed(failure(at, "join() takes strings"));
        };
        flow(scope.charge(separator.len() + text.len(), at))?;
        if count > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
        count += 1;
        GO_ON
    }))?;
    Ok((count > 0).then(|| Item::Text(joined.into_bump_str())))
}
