//! Codes against the value sets that elements are bound to (R4, section 4.1.5).

use super::Validator;
use crate::fhir::binding::{Binding, Rule, Strength};
use crate::fhir::issue::{Issue, IssueType};
use crate::fhir::json::Value;
use crate::fhir::path::Place;

impl<'v> Validator<'v> {
    /// A code, Coding or CodeableConcept of an element that is bound. What the value's structure lacks has been said.
    pub(super) fn code(&mut self, binding: &Binding, value: &Value<'v>, at: &Place<'_>) {
        if binding.strength == Strength::Extensible && !self.scope.advice {
            return;
        }
        let rule = binding.rule();
        match value {
            Value::String(code) if !rule.accepts(code) => self.outside(binding, rule, code, "a code that is not one of them", at),
            Value::Object(_) if value.get("coding").is_some() || value.get("text").is_some() || value.get("code").is_none() => {
                self.concept(binding, rule, *value, at);
            }
            Value::Object(_) if !coding_passes(rule, *value) => {
                let code = value.str("code").unwrap_or_default();
                self.outside(binding, rule, code, found(rule, std::slice::from_ref(value)), at);
            }
            _ => {}
        }
    }

    /// One of a concept's codings must pass. A required binding does not take text alone.
    fn concept(&mut self, binding: &Binding, rule: &Rule, value: Value<'v>, at: &Place<'_>) {
        if matches!(rule, Rule::Unchecked(_)) {
            return;
        }
        let codings = value.get("coding").unwrap_or(Value::Null).items();
        let passes = codings.iter().any(|coding| coding_passes(rule, *coding));
        // Of the maximum of a preferred binding (languages), text alone is not outside.
        let listed = binding.strength == Strength::Required && matches!(rule, Rule::Codes(_));
        let alone = codings.is_empty() && (!listed || value.get("extension").is_some());
        if !passes && !alone {
            let code = codings.iter().find_map(|coding| coding.str("code")).unwrap_or_default();
            self.outside(binding, rule, code, found(rule, codings), at);
        }
    }

    fn outside(&mut self, binding: &Binding, rule: &Rule, code: &str, found: &str, at: &Place<'_>) {
        let case = if let Rule::Codes(set) = rule { set.members().iter().find(|m| m.code.eq_ignore_ascii_case(code)) } else { None };
        let found = match case {
            Some(member) if *member.code != *code => "the same code with other capitals",
            _ => found,
        };
        let expected = rule.expected(code);
        let set = binding.value_set;
        let issue = match binding.strength {
            Strength::Required => Issue::error(
                IssueType::CodeInvalid,
                at.to_string(),
                format!("not in the value set {set}: expected {expected}; found {found}"),
            ),
            Strength::Extensible => {
                let what = format!(
                    "not in the value set {set}, which is to be used where one of its codes applies: expected {expected}; found {found}"
                );
                Issue::warning(IssueType::CodeInvalid, at.to_string(), what)
            }
        };
        self.add(issue);
    }
}

fn coding_passes(rule: &Rule, coding: Value<'_>) -> bool {
    match coding.str("code") {
        Some(code) => rule.accepts_coding(coding.str("system"), code),
        None => matches!(rule, Rule::Unchecked(_)),
    }
}

/// What there is in place of a coding of the value set.
fn found(rule: &Rule, codings: &[Value<'_>]) -> &'static str {
    let own = |coding: &Value<'_>| coding.str("system").is_some_and(|url| matches!(rule, Rule::Codes(set) if set.has_system(url)));
    match codings {
        [] => "no coding",
        _ if codings.iter().any(own) => "a code that is not in it",
        _ if codings.iter().all(|coding| coding.get("system").is_none()) => "no coding with a system",
        _ => "codings of other code systems only",
    }
}
