//! Chains, `_has` and `_lastUpdated` as criteria that can be asked of one row.

use super::{Reader, SearchError};
use crate::ids::Commit;
use crate::limits::{MAX_SEARCH_DEPTH, MAX_SEARCH_JOINED};
use crate::search::concepts::codes;
use crate::search::matches::LAST_UPDATED;
use crate::search::parameters::{self, Parameter};
use crate::search::query::{Codes, Comparison, Criterion, Moments, Operand, Prefix, Resources, Test};
use crate::search::values::Value;
use std::collections::HashSet;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

/// In which commits a version must have been written.
pub(super) struct Begins {
    ranges: Vec<RangeInclusive<u64>>,
    /// Whether it must be in one of them, or in none.
    within: bool,
}

impl Begins {
    pub(super) fn hold(&self, begin: Commit) -> bool {
        self.ranges.iter().any(|range| range.contains(&begin.0)) == self.within
    }
}

/// All criteria that can be asked of a row's values, and those that can be asked of its commit.
type Resolved = (Vec<Criterion>, Vec<Begins>);

impl Reader<'_> {
    /// Puts what chains and `_has` find in their place.
    pub(super) fn resolve(&self, resource_type: &'static str, criteria: &[Criterion], depth: usize) -> Result<Resolved, SearchError> {
        if depth > MAX_SEARCH_DEPTH {
            return Err(SearchError::TooCostly(format!("chains and _has nest deeper than {MAX_SEARCH_DEPTH} levels")));
        }
        let (mut resolved, mut begins) = (Vec::with_capacity(criteria.len()), Vec::new());
        for criterion in criteria {
            match criterion {
                Criterion::Is { parameter, test } if parameter.code == LAST_UPDATED => begins.push(self.begins(test)?),
                Criterion::Is { parameter, test: Test::Any(operands) } => {
                    resolved.push(Criterion::Is { parameter, test: Test::Any(self.operands(operands)?) });
                }
                Criterion::Is { parameter, test: Test::None(operands) } => {
                    resolved.push(Criterion::Is { parameter, test: Test::None(self.operands(operands)?) });
                }
                Criterion::Is { .. } => resolved.push(criterion.clone()),
                Criterion::Chain { parameter, of } => resolved.push(self.chain(parameter, of, depth)?),
                Criterion::Has { resource_type: from, reference, criterion } => {
                    resolved.push(self.has(resource_type, from, reference, criterion, depth)?);
                }
                Criterion::Either(of) => resolved.push(self.either(resource_type, of, depth)?),
            }
        }
        Ok((resolved, begins))
    }

    /// Puts the codes of value sets and hierarchies in their place.
    fn operands(&self, operands: &[Operand]) -> Result<Vec<Operand>, SearchError> {
        let looked_up = |operand: &Operand| match operand {
            Operand::Concepts(concepts) => Ok(Operand::Codes(Arc::new(codes(concepts, self.terminology)?))),
            other => Ok(other.clone()),
        };
        operands.iter().map(looked_up).collect()
    }

    fn either(&self, resource_type: &'static str, of: &[Criterion], depth: usize) -> Result<Criterion, SearchError> {
        let (resolved, begins) = self.resolve(resource_type, of, depth + 1)?;
        if !begins.is_empty() {
            return Err(SearchError::TooCostly(format!("{LAST_UPDATED} cannot be one of several conditions; ask for each on its own")));
        }
        Ok(Criterion::Either(resolved))
    }

    fn chain(&self, parameter: &'static Parameter, of: &[(&'static str, Criterion)], depth: usize) -> Result<Criterion, SearchError> {
        let mut found = Resources::default();
        let mut count = 0;
        for (resource_type, criterion) in of {
            let resource_type: &'static str = resource_type;
            let Some(id) = parameters::parameter(resource_type, "_id") else { continue };
            self.each_match(resource_type, std::slice::from_ref(criterion), depth + 1, &mut |packed| {
                if let Some(Value::Token { code, .. }) = packed.values(usize::from(id.number)).next() {
                    found.insert(resource_type, code);
                    count += 1;
                }
                go_on(count)
            })?;
            within_bounds(count)?;
        }
        Ok(Criterion::Is { parameter, test: Test::Any(vec![Operand::Resources(Arc::new(found))]) })
    }

    fn has(
        &self,
        resource_type: &'static str,
        from: &'static str,
        reference: &'static Parameter,
        criterion: &Criterion,
        depth: usize,
    ) -> Result<Criterion, SearchError> {
        let mut ids: HashSet<String> = HashSet::new();
        self.each_match(from, std::slice::from_ref(criterion), depth + 1, &mut |packed| {
            for value in packed.values(usize::from(reference.number)) {
                if let Value::Reference { resource_type: to, id } = value
                    && to == resource_type
                    && !ids.contains(id)
                {
                    ids.insert(id.to_owned());
                }
            }
            go_on(ids.len())
        })?;
        within_bounds(ids.len())?;
        let codes: Codes = ids.into_iter().map(|id| (String::new(), id)).collect();
        let parameter = parameters::parameter(resource_type, "_id");
        let parameter = parameter.ok_or_else(|| SearchError::TooCostly(format!("{resource_type} cannot be searched")))?;
        Ok(Criterion::Is { parameter, test: Test::Any(vec![Operand::Codes(Arc::new(codes))]) })
    }

    /// `_lastUpdated` as ranges of commits: their times do not go back.
    fn begins(&self, test: &Test) -> Result<Begins, SearchError> {
        let (operands, within) = match test {
            Test::Missing(missing) => return Ok(Begins { ranges: std::iter::once(0..=u64::MAX).collect(), within: !missing }),
            Test::Any(operands) => (operands, true),
            Test::None(operands) => (operands, false),
        };
        let mut ranges = Vec::new();
        for operand in operands {
            if let Operand::Date(date) = operand {
                self.add_range(date, &mut ranges)?;
            }
        }
        Ok(Begins { ranges, within })
    }

    fn add_range(&self, date: &Comparison<Moments>, ranges: &mut Vec<RangeInclusive<u64>>) -> Result<(), SearchError> {
        // The last commits before the range, and in it.
        let before = |time: i64| time.checked_sub(1).map_or(Ok(Commit(0)), |time| (self.commit_at)(time));
        let (early, late) = (before(date.value.low)?.0, before(date.value.high)?.0);
        match date.prefix {
            Prefix::Equal | Prefix::Approximately => ranges.push(early + 1..=late),
            Prefix::NotEqual => ranges.extend([0..=early, late + 1..=u64::MAX]),
            Prefix::Greater | Prefix::StartsAfter => ranges.push(late + 1..=u64::MAX),
            Prefix::Less | Prefix::EndsBefore => ranges.push(0..=early),
            Prefix::GreaterOrEqual => ranges.push(early + 1..=u64::MAX),
            Prefix::LessOrEqual => ranges.push(0..=late),
        }
        Ok(())
    }
}

fn go_on(count: usize) -> ControlFlow<()> {
    if count > MAX_SEARCH_JOINED { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn within_bounds(count: usize) -> Result<(), SearchError> {
    if count <= MAX_SEARCH_JOINED {
        return Ok(());
    }
    let what = format!("a chain or _has joins more than {MAX_SEARCH_JOINED} resources; ask for less at that step");
    Err(SearchError::TooCostly(what))
}
