//! The order of an answer.
//!
//! By each key of `_sort`: of several values the first counts, the last with `-`; dates by their beginning; texts as a search
//! compares them, then as they are. What has no value comes last, with `-` too. Ties: the newest version first, then the resource
//! that was mentioned first. So the order is total, and it is the same for as long as the commit is.

use super::Row;
use crate::ids::{Commit, ResourceOrdinal};
use crate::live::{Damaged, Part};
use crate::search::fold::fold;
use crate::search::index::{Content, Indexes, Use};
use crate::search::matches::{LAST_UPDATED, interval};
use crate::search::parameters::Kind;
use crate::search::query::Sort;
use crate::search::values::Value;
use std::cmp::Ordering;

/// What a resource is sorted by under one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SortKey {
    Integer(i64),
    Number(f64),
    Text(String, String),
}

impl SortKey {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a, x), Self::Text(b, y)) => a.cmp(b).then_with(|| x.cmp(y)),
            _ => Ordering::Equal, // one parameter has one kind of key
        }
    }
}

/// Where a resource stands in the order.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) keys: Vec<Option<SortKey>>,
    pub(super) begin: Commit,
    pub(super) resource: ResourceOrdinal,
}

impl Place {
    pub(super) fn of(row: &Row<'_>, sort: &[Sort]) -> Self {
        Self { keys: sort.iter().map(|by| key(row, by)).collect(), begin: row.begin, resource: row.resource }
    }

    pub(super) fn compare(&self, other: &Self, sort: &[Sort]) -> Ordering {
        let mut keys = self.keys.iter().zip(&other.keys).zip(sort).map(|((a, b), by)| by_key(a.as_ref(), b.as_ref(), by.descending));
        let ties = || other.begin.cmp(&self.begin).then(self.resource.cmp(&other.resource));
        keys.find(|order| order.is_ne()).unwrap_or_else(ties)
    }
}

/// The order of two values of one key; none is last.
pub(super) fn by_key(a: Option<&SortKey>, b: Option<&SortKey>, descending: bool) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if descending => b.compare(a),
        (Some(a), Some(b)) => a.compare(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Whether the order is that of commits, the newest first, as far as it goes.
pub(super) fn newest_first(sort: &[Sort]) -> bool {
    sort.first().is_none_or(|by| by.parameter.code == LAST_UPDATED && by.descending)
}

/// The key of a row.
pub(super) fn key(row: &Row<'_>, by: &Sort) -> Option<SortKey> {
    if by.parameter.code == LAST_UPDATED {
        return i64::try_from(row.begin.0).ok().map(SortKey::Integer);
    }
    let keys = row.packed.values(usize::from(by.parameter.number)).filter_map(|value| key_of(&value));
    if by.descending { keys.max_by(SortKey::compare) } else { keys.min_by(SortKey::compare) }
}

fn key_of(value: &Value<'_>) -> Option<SortKey> {
    let text = |text: &str| Some(SortKey::Text(fold(text).into_owned(), text.to_owned()));
    match value {
        Value::Date(moments) => Some(SortKey::Integer(moments.low)),
        Value::Number(_) | Value::Quantity { .. } | Value::Range { .. } => interval(value).map(|(low, _)| SortKey::Number(low)),
        Value::Token { code, .. } => text(code),
        Value::String(has) | Value::Uri(has) | Value::Url(has) => text(has),
        Value::Reference { resource_type, id } => text(&format!("{resource_type}/{id}")),
        _ => None,
    }
}

/// From how many candidates of a part on the index of dates is asked for their keys, instead of each row.
const MANY: usize = 512;

/// The first keys of many candidates, if an index has them.
pub(super) fn first_keys(indexes: &Indexes, part: &Part, rows: &[u32], sort: &[Sort]) -> Result<Option<Vec<Option<SortKey>>>, Damaged> {
    let Some(by) = sort.first().filter(|by| rows.len() > MANY && by.parameter.kind == Kind::Date && by.parameter.code != LAST_UPDATED)
    else {
        return Ok(None);
    };
    indexes.look(part, by.parameter.number, Use::Date, |content| {
        let Content::Dates(index) = content else { return None };
        let mut values = index.rows.iter().zip(&index.low).peekable();
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            while values.peek().is_some_and(|(at, _)| *at < row) {
                values.next();
            }
            let mut key: Option<i64> = None;
            while let Some((_, low)) = values.next_if(|(at, _)| *at == row) {
                key = Some(key.map_or(*low, |key| if by.descending { key.max(*low) } else { key.min(*low) }));
            }
            keys.push(key.map(SortKey::Integer));
        }
        Some(keys)
    })
}
