//! Criteria of conditional interactions: any search parameter of one resource, as text and as criteria.

use super::matches::{Candidate, LAST_UPDATED, matches};
use super::parameters::{Known, TypeParameters};
use super::parse::{self, Environment, Refusal};
use super::query::{Criterion, Operand, Prefix, Test};
use super::values::packed::Packed;
use super::values::values_of;
use crate::fhir::issue::{Issue, Severity};
use crate::fhir::json::Value;
use jiff::Timestamp;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Conditions on one resource, all of which must hold. They are the same if their text is.
#[derive(Clone, Default)]
pub struct Conditions {
    text: Vec<(String, String)>,
    criteria: Arc<[Criterion]>,
    /// The parameters among which they were found.
    parameters: Option<&'static TypeParameters>,
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conditions").field(&self.text).finish()
    }
}

impl PartialEq for Conditions {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Conditions {}

impl Hash for Conditions {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Conditions {
    /// Reads names and values, decoded.
    ///
    /// # Errors
    /// The first that is not a criterion on the resource itself, that looks at other resources, or that depends on when it is asked.
    /// The issue has no place.
    pub fn parse(resource_type: &str, pairs: Vec<(String, String)>, known: &Known) -> Result<Self, Issue> {
        // The present and this server's address: nothing that needs them is taken.
        let environment = Environment { now: Timestamp::UNIX_EPOCH, base: "", known };
        let mut criteria = Vec::with_capacity(pairs.len());
        for pair in &pairs {
            let told = |issue: Issue| Issue { severity: Severity::Error, expression: None, ..issue };
            let refused = |what: &str| told(Refusal::unsupported(what).about(&pair.0));
            let read = parse::query(resource_type, std::slice::from_ref(pair), &environment);
            let mut query = read.map_err(|issues| issues.into_iter().next().map_or_else(|| refused("it is not understood"), told))?;
            if let Some(ignored) = query.ignored.pop() {
                return Err(told(ignored));
            }
            let Some(criterion) = query.search.criteria.pop() else {
                return Err(refused("it is about the answer of a search, and no criterion"));
            };
            check(&criterion).map_err(refused)?;
            criteria.push(criterion);
        }
        Ok(Self { text: pairs, criteria: criteria.into(), parameters: known.of_type(resource_type) })
    }

    /// As a search has them.
    pub fn criteria(&self) -> &[Criterion] {
        &self.criteria
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.criteria.is_empty()
    }

    /// Whether a resource, which is of their type, meets all of them.
    pub fn hold(&self, resource: &Value<'_>) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some(parameters) = self.parameters else { return false };
        let packed = values_of(parameters, *resource, std::iter::empty());
        matches(&self.criteria, Candidate { values: Packed::new(&packed), last_updated_us: 0 })
    }
}

/// Why a criterion cannot be a condition.
fn check(criterion: &Criterion) -> Result<(), &'static str> {
    match criterion {
        Criterion::Chain { .. } | Criterion::Has { .. } => {
            Err("a condition looks at the resource itself only; name what it refers to by its id")
        }
        Criterion::Is { parameter, .. } if parameter.code == LAST_UPDATED => {
            Err("it changes with every write, and so no condition rests on it")
        }
        Criterion::Is { test: Test::Any(operands) | Test::None(operands), .. } if operands.iter().any(depends_on_the_present) => {
            Err("`ap` of a date depends on when it is asked; give a range with `ge` and `le`")
        }
        Criterion::Is { test: Test::Any(operands) | Test::None(operands), .. }
            if operands.iter().any(|operand| matches!(operand, Operand::Concepts(_))) =>
        {
            Err("a condition looks at the resource itself only, not at definitions of codes; name the codes, with commas between them")
        }
        Criterion::Is { .. } => Ok(()),
        Criterion::Either(of) => of.iter().try_for_each(check),
    }
}

fn depends_on_the_present(operand: &Operand) -> bool {
    match operand {
        Operand::Date(date) => date.prefix == Prefix::Approximately,
        Operand::Composite(operands) => operands.iter().any(depends_on_the_present),
        _ => false,
    }
}
