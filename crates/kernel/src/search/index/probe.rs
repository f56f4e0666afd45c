//! How the rows that can meet a criterion are found in the indexes of a part.

use super::keys::key;
use super::{Content, Indexes, Ranges, Use};
use crate::live::{Damaged, Part};
use crate::search::fold::fold;
use crate::search::matches::{canonical, in_base_units, is_date, is_measured, is_number, measured};
use crate::search::query::{Comparison, Criterion, Hierarchy, Match, Moments, Number, Operand, Reference, Test, Unit};
use std::ops::Bound;

/// A criterion of which one value must be found, as look-ups.
pub(in crate::search) struct Probe {
    /// By the number of the parameter.
    accesses: Vec<(u16, Access)>,
    /// Whether every row that is found meets the criterion.
    exact: bool,
}

enum Access {
    Keys(Vec<u64>),
    Texts(Use, String, Match),
    Dates(Comparison<Moments>),
    Numbers(Comparison<Number>),
    /// In base units of UCUM.
    Canonical(Comparison<Number>),
}

impl Access {
    fn of_index(&self) -> Use {
        match self {
            Self::Keys(_) => Use::Key,
            Self::Texts(of, ..) => *of,
            Self::Dates(_) => Use::Date,
            Self::Numbers(_) => Use::Number,
            Self::Canonical(_) => Use::Canonical,
        }
    }
}

impl Probe {
    /// `None` if no index helps: then every row is looked at.
    pub(in crate::search) fn of(criterion: &Criterion) -> Option<Self> {
        let (parameter, operands) = match criterion {
            Criterion::Is { parameter, test: Test::Any(operands) } => (parameter, operands),
            Criterion::Either(of) => {
                let probes = of.iter().map(Self::of).collect::<Option<Vec<_>>>()?;
                let exact = probes.iter().all(|probe| probe.exact);
                return Some(Self { accesses: probes.into_iter().flat_map(|probe| probe.accesses).collect(), exact });
            }
            _ => return None,
        };
        let exact = operands.iter().all(|operand| match operand {
            Operand::Text(_) | Operand::Date(_) | Operand::Number(_) => true,
            Operand::String { how, .. } => *how != Match::Exact,
            Operand::Quantity { unit, .. } => *unit == Unit::Any,
            _ => false,
        });
        let accesses = operands.iter().map(|operand| Some((parameter.number, access(operand)?))).collect::<Option<Vec<_>>>()?;
        Some(Self { accesses, exact })
    }

    /// Whether the rows that are found need no second look.
    pub(in crate::search) fn is_exact(&self) -> bool {
        self.exact
    }

    /// How many rows of a part it finds at most, or about.
    pub(in crate::search) fn estimate(&self, indexes: &Indexes, part: &Part) -> Result<usize, Damaged> {
        let mut sum = 0_usize;
        for (number, access) in &self.accesses {
            sum = sum.saturating_add(match access {
                Access::Keys(keys) => indexes.look(part, *number, Use::Key, |content| match content {
                    Content::Keys(index) => keys.iter().map(|key| index.count(*key)).sum::<usize>(),
                    _ => 0,
                })?,
                // Not looked at for the estimate: an index that is not needed is not made.
                Access::Texts(..) => part.len().div_ceil(4),
                Access::Dates(_) | Access::Numbers(_) | Access::Canonical(_) => part.len().div_ceil(2),
            });
        }
        Ok(sum)
    }

    /// The rows of a part, in order and once each.
    pub(in crate::search) fn rows(&self, indexes: &Indexes, part: &Part) -> Result<Vec<u32>, Damaged> {
        let mut rows = Vec::new();
        for (number, access) in &self.accesses {
            indexes.look(part, *number, access.of_index(), |content| collect(access, content, &mut rows))?;
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }
}

fn access(operand: &Operand) -> Option<Access> {
    Some(match operand {
        Operand::Token(token) | Operand::Identifier(token) => Access::Keys(vec![key(token.code.as_deref()?)]),
        Operand::OfType { value, .. } => Access::Keys(vec![key(value)]),
        Operand::Codes(codes) => Access::Keys(once(codes.named()?.map(|(_, code)| key(code)))),
        Operand::Resources(resources) => Access::Keys(once(resources.ids().map(key))),
        Operand::Reference(Reference::Resource { id, .. } | Reference::Id(id)) => Access::Keys(vec![key(id)]),
        Operand::Reference(Reference::Url(url)) => Access::Keys(vec![key(canonical(url))]),
        Operand::Uri { uri, how: Hierarchy::Exact } => Access::Keys(vec![key(uri)]),
        Operand::Text(text) => Access::Texts(Use::Text, fold(text).into_owned(), Match::Begins),
        Operand::String { text, how } => Access::Texts(Use::String, fold(text).into_owned(), *how),
        Operand::Date(date) => Access::Dates(*date),
        Operand::Quantity { number, unit: Unit::Coded { system, code } } if let Some(unit) = measured(system, code) => {
            Access::Canonical(in_base_units(number, &unit))
        }
        Operand::Number(number) | Operand::Quantity { number, .. } => Access::Numbers(*number),
        Operand::Composite(operands) => match access(operands.first()?)? {
            keys @ Access::Keys(_) => keys,
            _ => return None,
        },
        Operand::Uri { .. } | Operand::Near { .. } | Operand::Concepts(_) => return None,
    })
}

fn once(keys: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut keys: Vec<u64> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn collect(access: &Access, content: &Content, rows: &mut Vec<u32>) {
    match (access, content) {
        (Access::Keys(keys), Content::Keys(index)) => keys.iter().for_each(|key| rows.extend(index.rows(*key))),
        (Access::Texts(_, text, Match::Begins), Content::Texts(index)) => {
            let from = (Bound::Included(text.as_str()), Bound::Unbounded);
            let found = index.range::<str, _>(from).take_while(|(has, _)| has.starts_with(text.as_str()));
            found.for_each(|(_, of)| rows.extend(of));
        }
        (Access::Texts(_, text, Match::Exact), Content::Texts(index)) => rows.extend(index.get(text.as_str()).into_iter().flatten()),
        (Access::Texts(_, text, Match::Contains), Content::Texts(index)) => {
            let finder = memchr::memmem::Finder::new(text);
            index.iter().filter(|(has, _)| finder.find(has.as_bytes()).is_some()).for_each(|(_, of)| rows.extend(of));
        }
        (Access::Dates(date), Content::Dates(index)) => within(index, rows, |low, high| is_date(date, &Moments { low, high })),
        (Access::Numbers(number), Content::Numbers(index)) => within(index, rows, |low, high| is_number(number, (low, high))),
        (Access::Canonical(number), Content::Numbers(index)) => within(index, rows, |low, high| is_measured(number, (low, high))),
        _ => {}
    }
}

fn within<T: Copy>(ranges: &Ranges<T>, rows: &mut Vec<u32>, met: impl Fn(T, T) -> bool) {
    for ((row, low), high) in ranges.rows.iter().zip(&ranges.low).zip(&ranges.high) {
        if met(*low, *high) && rows.last() != Some(row) {
            rows.push(*row);
        }
    }
}
