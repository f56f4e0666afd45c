//! JSON Patch (RFC 6902): operations at JSON Pointers (RFC 6901).

use super::{Budget, bounded, pruned, too_large};
use crate::fhir::issue::{Issue, IssueType};
use crate::fhir::json::Value;
use bumpalo::Bump;

/// The parts of a pointer, unescaped; none: the whole document.
type Pointer = Vec<String>;

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operation<'a> {
    act: Act<'a>,
    at: Pointer,
}

#[derive(Clone, Debug, PartialEq)]
enum Act<'a> {
    Add(Value<'a>),
    Remove,
    Replace(Value<'a>),
    Move(Pointer),
    Copy(Pointer),
    Test(Value<'a>),
}

/// Reads the array of operations.
pub(super) fn read<'a>(document: Value<'a>) -> Result<Vec<Operation<'a>>, Issue> {
    let Value::Array(items) = document else {
        let what = "a JSON Patch is an array of operations: [{\"op\": \"replace\", \"path\": \"/gender\", \"value\": \"female\"}]";
        return Err(Issue::error(IssueType::Structure, "Patch", what));
    };
    bounded(items.len(), "Patch")?;
    items.iter().enumerate().map(|(n, item)| operation(item).map_err(|(at, what)| wrong(n, at, what))).collect()
}

fn wrong(n: usize, at: &str, what: &str) -> Issue {
    Issue::error(IssueType::Value, format!("Patch.operation[{n}]{at}"), what)
}

fn operation<'a>(item: &Value<'a>) -> Result<Operation<'a>, (&'static str, &'static str)> {
    let path = |name: &str, at: &'static str| {
        let what = "expected a JSON Pointer (RFC 6901), such as `/name/0/given/-`";
        item.str(name).and_then(pointer).ok_or((at, what))
    };
    let value = || item.get("value").ok_or((".value", "the operation needs a value"));
    let act = match item.str("op") {
        Some("add") => Act::Add(value()?),
        Some("remove") => Act::Remove,
        Some("replace") => Act::Replace(value()?),
        Some("move") => Act::Move(path("from", ".from")?),
        Some("copy") => Act::Copy(path("from", ".from")?),
        Some("test") => Act::Test(value()?),
        _ => return Err((".op", "expected one of add, remove, replace, move, copy and test (RFC 6902)")),
    };
    Ok(Operation { act, at: path("path", ".path")? })
}

/// `/a~1b/0` is `a/b` and `0`.
fn pointer(text: &str) -> Option<Pointer> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.strip_prefix('/')?.split('/').map(unescaped).collect()
}

fn unescaped(token: &str) -> Option<String> {
    let mut out = String::with_capacity(token.len());
    let mut rest = token.chars();
    while let Some(c) = rest.next() {
        out.push(match (c, if c == '~' { rest.next() } else { None }) {
            ('~', Some('0')) => '~',
            ('~', Some('1')) => '/',
            ('~', _) => return None,
            (c, _) => c,
        });
    }
    Some(out)
}

/// Does the operations one after the other.
pub(super) fn apply<'a>(operations: &[Operation<'a>], resource: Value<'a>, arena: &'a Bump) -> Result<Value<'a>, Issue> {
    let (mut document, mut budget) = (resource, Budget::new());
    for (n, operation) in operations.iter().enumerate() {
        document = done(operation, document, &mut budget, arena).map_err(|fault| fault.issue(n))?;
    }
    Ok(pruned(document, arena))
}

/// Why an operation cannot be done on this document.
#[derive(Debug)]
enum Fault {
    Missing,
    NoIndex,
    Inside,
    Differs,
    TooLarge,
}

impl Fault {
    fn issue(self, n: usize) -> Issue {
        let at = format!("Patch.operation[{n}]");
        match self {
            Fault::Missing => {
                Issue::error(IssueType::NotFound, at, "nothing is there in the current version of the resource; read it again")
            }
            Fault::NoIndex => {
                let what = "an array is addressed with a number up to its length, without leading zeros, or `-` for its end";
                Issue::error(IssueType::Value, at, what)
            }
            Fault::Inside => Issue::error(IssueType::Value, at, "nothing can be moved into itself"),
            Fault::Differs => {
                Issue::error(IssueType::Conflict, at, "the current version of the resource has another value there; read it again")
            }
            Fault::TooLarge => too_large(at),
        }
    }
}

fn done<'a>(operation: &Operation<'a>, document: Value<'a>, budget: &mut Budget, arena: &'a Bump) -> Result<Value<'a>, Fault> {
    let at = &operation.at;
    let mut put = |document, value| {
        if budget.take(value, at.len()) { added(document, at, value, arena) } else { Err(Fault::TooLarge) }
    };
    match &operation.act {
        Act::Add(value) => put(document, *value),
        Act::Remove => without(document, at, arena),
        Act::Replace(value) => {
            found(document, at)?;
            // In an object the member stays in its place.
            let in_array = at.split_last().is_some_and(|(_, parent)| matches!(found(document, parent), Ok(Value::Array(_))));
            put(if in_array { without(document, at, arena)? } else { document }, *value)
        }
        Act::Move(from) => {
            let value = found(document, from)?;
            if at.starts_with(from) {
                return if at.len() == from.len() { Ok(document) } else { Err(Fault::Inside) };
            }
            put(without(document, from, arena)?, value)
        }
        Act::Copy(from) => put(document, found(document, from)?),
        Act::Test(value) if same(found(document, at)?, *value) => Ok(document),
        Act::Test(_) => Err(Fault::Differs),
    }
}

/// The value at a pointer.
fn found<'a>(document: Value<'a>, at: &[String]) -> Result<Value<'a>, Fault> {
    at.iter().try_fold(document, |value, token| match value {
        Value::Object(_) => value.get(token).ok_or(Fault::Missing),
        Value::Array(items) => items.get(index(token)?).copied().ok_or(Fault::Missing),
        _ => Err(Fault::Missing),
    })
}

/// `-`, which is behind the last item, is the index of nothing.
fn index(token: &str) -> Result<usize, Fault> {
    match token {
        "-" => Err(Fault::Missing),
        _ if token.starts_with('0') && token != "0" || !token.bytes().all(|b| b.is_ascii_digit()) => Err(Fault::NoIndex),
        _ => token.parse().map_err(|_| Fault::NoIndex),
    }
}

/// The document with what `change` makes of the array or object that the last part of a pointer is in.
fn changed<'a>(
    value: Value<'a>,
    at: &[String],
    arena: &'a Bump,
    change: &mut dyn FnMut(Value<'a>, &str) -> Result<Value<'a>, Fault>,
) -> Result<Value<'a>, Fault> {
    let Some((token, rest)) = at.split_first() else { return Err(Fault::Missing) };
    if rest.is_empty() {
        return change(value, token);
    }
    let new = changed(found(value, std::slice::from_ref(token))?, rest, arena, change)?;
    match value {
        Value::Object(members) => {
            let members = arena.alloc_slice_copy(members);
            members.iter_mut().filter(|(name, _)| name == token).take(1).for_each(|(_, value)| *value = new);
            Ok(Value::Object(members))
        }
        Value::Array(items) => {
            let items = arena.alloc_slice_copy(items);
            items.iter_mut().skip(index(token)?).take(1).for_each(|item| *item = new);
            Ok(Value::Array(items))
        }
        other => Ok(other),
    }
}

fn added<'a>(document: Value<'a>, at: &[String], new: Value<'a>, arena: &'a Bump) -> Result<Value<'a>, Fault> {
    if at.is_empty() {
        return Ok(new);
    }
    changed(document, at, arena, &mut |parent, token| match parent {
        Value::Object(members) => {
            let mut members = members.to_vec();
            match members.iter_mut().find(|(name, _)| *name == token) {
                Some((_, value)) => *value = new,
                None => members.push((arena.alloc_str(token), new)),
            }
            Ok(Value::Object(arena.alloc_slice_copy(&members)))
        }
        Value::Array(items) => {
            let mut items = items.to_vec();
            let at = if token == "-" { items.len() } else { index(token)? };
            if at > items.len() {
                return Err(Fault::NoIndex);
            }
            items.insert(at, new);
            Ok(Value::Array(arena.alloc_slice_copy(&items)))
        }
        _ => Err(Fault::Missing),
    })
}

fn without<'a>(document: Value<'a>, at: &[String], arena: &'a Bump) -> Result<Value<'a>, Fault> {
    found(document, at)?;
    changed(document, at, arena, &mut |parent, token| match parent {
        Value::Object(members) => {
            let kept: Vec<_> = members.iter().filter(|(name, _)| *name != token).copied().collect();
            Ok(Value::Object(arena.alloc_slice_copy(&kept)))
        }
        Value::Array(items) => {
            let mut items = items.to_vec();
            items.remove(index(token)?);
            Ok(Value::Array(arena.alloc_slice_copy(&items)))
        }
        _ => Err(Fault::Missing),
    })
}

/// Whether two values are equal (RFC 6902, section 4.6): numbers by what they are worth, members in any order.
fn same(a: Value<'_>, b: Value<'_>) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || worth(a).is_some_and(|worth_a| Some(worth_a) == worth(b)),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(*a, *b)),
        (Value::Object(members), Value::Object(others)) => {
            members.len() == others.len() && members.iter().all(|(name, value)| b.get(name).is_some_and(|other| same(*value, other)))
        }
        _ => a == b,
    }
}

/// A number as sign, digits without zeros at either end, and the power of ten of the last one.
fn worth(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let trimmed = digits.trim_end_matches('0');
    if trimmed.is_empty() {
        return Some((false, String::new(), 0));
    }
    let scale = i64::try_from(digits.len() - trimmed.len()).ok()? - i64::try_from(fraction.len()).ok()?;
    Some((negative, trimmed.to_owned(), exponent.parse::<i64>().ok()?.checked_add(scale)?))
}
