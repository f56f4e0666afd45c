//! The rules of the base specification about one resource (ElementDefinition.constraint), compiled once for each type.
//!
//! Most rules are about which elements are there: `code.empty() or system.exists()`. Validation knows that already, so each rule has a
//! [`Gate`]: a table by presence of whether the rule can be broken at all. Only then is FHIRPath evaluated. Some rules are code of
//! our own: those that FHIRPath cannot say (`htmlChecks()`), and those that it says slowly. What is neither is in
//! [`not_evaluated`], and a test holds its list.
//!
//! A rule is broken if its expression is false. Where it is empty (two dates of which nobody can tell which is the earlier) or fails,
//! nobody knows, and the resource is taken.

use super::definitions::{self, Constraint, TypeDefinition};
use super::json::Value;
use crate::fhirpath::{CompileError, Environment, Expression, Focus, Item};
use bumpalo::Bump;

#[cfg(test)]
mod tests;

/// The rules about a type, errors before warnings.
#[derive(Debug)]
pub struct Invariants {
    all: Vec<Invariant>,
    /// How many are errors.
    errors: usize,
    refused: Vec<(Constraint, CompileError)>,
}

/// A rule.
#[derive(Debug)]
pub struct Invariant {
    /// As HL7 states it.
    pub constraint: Constraint,
    /// Whether breaking it is an error here.
    pub error: bool,
    gate: Gate,
    check: Check,
}

/// How a rule is checked.
#[derive(Debug)]
enum Check {
    /// FHIRPath, on the type itself or on each value of an element.
    Path(Box<Expression>),
    /// ref-1: what `#id` refers to is contained.
    LocalReference,
    /// dom-3: what is contained is referred to.
    ContainedIsUsed,
}

/// Where a rule is checked.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// `%resource`
    pub resource: Value<'a>,
    /// `%rootResource`: what contains it, or itself.
    pub root: Value<'a>,
    /// What the rule is about.
    pub element: Value<'a>,
    /// Where computed strings go.
    pub arena: &'a Bump,
}

/// For which elements being there a rule can be broken.
#[derive(Debug)]
struct Gate {
    /// The elements that matter, by their index in the type: six at most.
    elements: Vec<u8>,
    /// The same as bits.
    mask: u64,
    /// A bit for each combination of them, the first element being the lowest bit of its number.
    open: u64,
}

/// As many elements as a table of 64 bits has combinations of.
const MAX_GATE: usize = 6;

/// Rules that the structure validation and the narrative's check are the code of.
const ELSEWHERE: [&str; 5] = ["ele-1", "ext-1", "dom-2", "txt-1", "txt-2"];

/// Errors of the specification that are warnings here, because HL7's own R4 examples have them: the tool that makes questionnaires from
/// profiles gives link ids twice (que-2, 22 examples) and groups without items (que-1, four). As with `validate::may_lack`, nobody can
/// be expected to be better. (txt-2, a narrative without text, is one of them too: one example.)
pub const LENIENT: [&str; 3] = ["que-1", "que-2", "txt-2"];

/// Errors in HL7's expressions, and what is meant. que-7: the answer is FHIR's boolean, as R5 says, and no literal of FHIRPath.
const CORRECTED: [(&str, &str, &str); 1] = [("que-7", "answer is Boolean", "answer is boolean")];

impl Gate {
    /// A rule that matters where this element is.
    fn element(index: u8) -> Self {
        Self { elements: vec![index], mask: 1 << index, open: 0b10 }
    }

    fn new(definition: &TypeDefinition, expression: &Expression) -> Self {
        let index = |name: &str| definition.elements().iter().position(|e| e.name == name).and_then(|at| u8::try_from(at).ok());
        let mut elements: Vec<u8> = expression.elements().into_iter().filter_map(index).collect();
        elements.truncate(MAX_GATE);
        let mut open = 0_u64;
        for combination in 0..1_u64 << elements.len() {
            let present = |name: &str| match index(name) {
                None => Some(false),
                Some(at) => elements.iter().position(|e| *e == at).map(|bit| combination >> bit & 1 == 1),
            };
            open |= u64::from(expression.can_fail(&present)) << combination;
        }
        let mask = elements.iter().fold(0, |mask, at| mask | 1 << at);
        Self { elements, mask, open }
    }

    fn is_open(&self, seen: u64) -> bool {
        if seen & self.mask == 0 {
            return self.open & 1 != 0;
        }
        let combination = self.elements.iter().enumerate().fold(0, |sum, (bit, at)| sum | (seen >> at & 1) << bit);
        self.open >> combination & 1 != 0
    }
}

impl Invariants {
    pub(super) fn compile(definition: &TypeDefinition) -> Self {
        let mut invariants = Self { all: Vec::new(), errors: 0, refused: Vec::new() };
        for error in [true, false] {
            let of_kind = |c: &&Constraint| (c.error && !LENIENT.contains(&c.key)) == error && !ELSEWHERE.contains(&c.key);
            for constraint in definition.constraints().iter().filter(of_kind) {
                match Invariant::compile(definition, constraint) {
                    Ok(invariant) => invariants.all.push(invariant),
                    Err(error) => invariants.refused.push((*constraint, error)),
                }
            }
            if error {
                invariants.errors = invariants.all.len();
            }
        }
        invariants
    }

    /// The rules that can be broken by an element of which these parts are there (as bits by index): errors, with `advice` also
    /// warnings. Where a part has extensions only (`extended`), what it would be is not known, and its rules are left out.
    pub(super) fn open(&self, seen: u64, extended: u64, advice: bool) -> impl Iterator<Item = &Invariant> {
        let rules = if advice { self.all.as_slice() } else { self.all.get(..self.errors).unwrap_or_default() };
        rules.iter().filter(move |rule| rule.gate.is_open(seen) && rule.gate.mask & extended == 0)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Invariant {
    fn compile(definition: &TypeDefinition, constraint: &Constraint) -> Result<Self, CompileError> {
        let index = |name: &str| definition.elements().iter().zip(0_u8..).find(|(e, _)| e.name == name).map_or(0, |(_, at)| at);
        let error = constraint.error && !LENIENT.contains(&constraint.key);
        let own = |check, element| Ok(Self { constraint: *constraint, error, gate: Gate::element(index(element)), check });
        match constraint.key {
            "ref-1" => return own(Check::LocalReference, "reference"),
            "dom-3" => return own(Check::ContainedIsUsed, "contained"),
            _ => {}
        }
        let text = constraint.expression.unwrap_or_default();
        let corrected = CORRECTED.iter().find(|(key, ..)| *key == constraint.key).map(|(_, wrong, right)| text.replace(wrong, right));
        let expression = Expression::compile(corrected.as_deref().unwrap_or(text), &Environment::default())?;
        let gate = constraint.element.map_or_else(|| Gate::new(definition, &expression), |element| Gate::element(index(element)));
        Ok(Self { constraint: *constraint, error, gate, check: Check::Path(Box::new(expression)) })
    }

    /// Whether it holds at a site; nothing where nobody knows.
    pub(super) fn holds(&self, site: &Site<'_>) -> Option<bool> {
        match &self.check {
            Check::LocalReference => Some(is_contained(site)),
            Check::ContainedIsUsed => Some(contained_is_used(site.element)),
            Check::Path(expression) => {
                let context = Some(Item::element(site.element));
                let focus = Focus { resource: site.resource, context, row_index: 0, arena: site.arena };
                expression.truth(&focus).unwrap_or_default()
            }
        }
    }
}

/// ref-1. `#` alone refers to what contains it.
fn is_contained(site: &Site<'_>) -> bool {
    match site.element.str("reference").and_then(|text| text.strip_prefix('#')) {
        None | Some("") => true,
        Some(id) => site.root.get("contained").unwrap_or(Value::Null).items().iter().any(|resource| resource.str("id") == Some(id)),
    }
}

/// dom-3: each contained resource is referred to, from the resource or from another one in it, or refers to what contains it. (Any
/// text `#id` counts, where the rule wants a reference, canonical, uri or url.)
fn contained_is_used(resource: Value<'_>) -> bool {
    let contained = resource.get("contained").unwrap_or(Value::Null).items();
    contained.iter().all(|inner| {
        let Some(id) = inner.str("id") else { return true };
        has_text(resource, &|text| text.strip_prefix('#') == Some(id)) || has_text(*inner, &|text| text == "#")
    })
}

fn has_text(value: Value<'_>, wanted: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => wanted(text),
        Value::Array(items) => items.iter().any(|item| has_text(*item, wanted)),
        Value::Object(members) => members.iter().any(|(_, value)| has_text(*value, wanted)),
        _ => false,
    }
}

/// The rules that are not checked: type, rule, and why our FHIRPath refuses it.
pub fn not_evaluated() -> Vec<(&'static str, Constraint, CompileError)> {
    let of = |definition: &'static TypeDefinition| {
        definition.invariants().refused.iter().map(|(constraint, error)| (definition.name(), *constraint, error.clone()))
    };
    definitions::types().flat_map(of).collect()
}
