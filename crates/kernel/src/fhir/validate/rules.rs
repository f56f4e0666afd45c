//! The invariants of a type, where presence leaves open whether they hold.

use super::Validator;
use crate::fhir::definitions::{Property, TypeDefinition};
use crate::fhir::invariant::{Invariant, Site};
use crate::fhir::issue::{Issue, IssueType};
use crate::fhir::json::{Member, Value};
use crate::fhir::narrative;
use crate::fhir::path::Place;
use crate::fhir::primitive::Primitive;

/// A longer expression says less than its sentence does.
const MAX_EXPRESSION_SHOWN: usize = 200;

impl<'v> Validator<'v> {
    /// The rules about an object that has the elements `seen` (as bits), some of them with extensions only (`extended`).
    pub(super) fn rules(
        &mut self,
        definition: &'static TypeDefinition,
        seen: u64,
        extended: u64,
        members: &'v [Member<'v>],
        at: &Place<'_>,
    ) {
        for rule in definition.invariants().open(seen, extended, self.scope.advice) {
            match rule.constraint.element {
                None => self.rule(rule, Value::Object(members), at),
                Some(element) => {
                    let is_it = |name: &str| definition.property(name).filter(|p| definition.element_name(p) == element);
                    for (_, value) in members.iter().filter(|(name, _)| is_it(name).is_some()) {
                        self.rule_of_values(rule, value, &at.child(element));
                    }
                }
            }
        }
    }

    /// A rule about each value of an element.
    fn rule_of_values(&mut self, rule: &Invariant, value: &Value<'v>, at: &Place<'_>) {
        match value {
            Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| self.rule(rule, *item, &at.at(i))),
            _ => self.rule(rule, *value, at),
        }
    }

    fn rule(&mut self, rule: &Invariant, element: Value<'v>, at: &Place<'_>) {
        let site = Site { resource: self.resource, root: self.root, element, arena: &self.arena };
        let holds = rule.holds(&site);
        self.arena.reset();
        if holds == Some(false) {
            let constraint = rule.constraint;
            let what = match constraint.expression {
                Some(expression) if expression.len() <= MAX_EXPRESSION_SHOWN => {
                    format!("{} ({}): expected {expression}", constraint.human, constraint.key)
                }
                _ => format!("{} ({})", constraint.human, constraint.key),
            };
            let issue = if rule.error { Issue::error } else { Issue::warning };
            self.add(issue(IssueType::Invariant, at.to_string(), what));
        }
    }

    /// `Narrative.div`: txt-1 and txt-2.
    pub(super) fn narrative(&mut self, property: &Property, value: &Value<'v>, at: &Place<'_>) {
        let text = match value {
            Value::String(text) if Primitive::Xhtml.accepts(value) => text,
            _ => return self.primitive(Primitive::Xhtml, property, value, at),
        };
        if !narrative::is_basic(text) {
            let what = "a narrative has only the basic elements of HTML (tables, lists, text, links, images), and no attribute that runs something (txt-1)";
            self.report(IssueType::Invariant, at, what);
        }
        // (See `invariant::LENIENT`.)
        if self.scope.advice && !narrative::has_content(text) {
            self.add(Issue::warning(
                IssueType::Invariant,
                at.to_string(),
                "a narrative has text or an image; this one has neither (txt-2)",
            ));
        }
    }
}
