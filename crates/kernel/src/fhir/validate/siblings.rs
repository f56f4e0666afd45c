//! Primitives in JSON come in two properties: `birthDate` has the value, `_birthDate` the id and extensions
//! (FHIR R4, section 2.6.2.1). Where the element repeats both are arrays of one length, filled up with null.

use super::{Validator, found};
use crate::fhir::definitions::{self, Property, TypeDefinition};
use crate::fhir::issue::IssueType;
use crate::fhir::json::{Member, Value};
use crate::fhir::path::Place;

impl<'v> Validator<'v> {
    /// The id and extensions of a primitive, or of a primitive's repetitions.
    pub(super) fn sibling(&mut self, property: &Property, value: &Value<'v>, at: &Place<'_>) {
        let element = definitions::element_type();
        match (property.repeats, value) {
            (false, value) => self.complex(element, value, at),
            (true, Value::Array([])) => self.report(IssueType::Structure, at, "an array cannot be empty: leave the property out"),
            (true, Value::Array(items)) => {
                for (i, item) in items.iter().enumerate().filter(|(_, item)| **item != Value::Null) {
                    self.complex(element, item, &at.at(i));
                }
            }
            (true, _) => {
                let what = format!("`_{}` must be an array like `{}`; found {}", property.name, property.name, found(value));
                self.report(IssueType::Structure, at, what);
            }
        }
    }

    /// Values and siblings belong together: where there is no value, there is an extension that says why.
    pub(super) fn align(&mut self, definition: &'static TypeDefinition, members: &[Member<'_>], at: &Place<'_>) {
        let find = |name: &str| members.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        for (name, value) in members {
            if let Some(base) = name.strip_prefix('_') {
                if let Some(property) = definition.property(base) {
                    self.pair(property, find(base), value, &at.child(definition.element_name(property)));
                }
            } else if let (Some(property), Value::Array(items)) = (definition.property(name), value)
                && property.has_sibling()
                && !members.iter().any(|(other, _)| other.strip_prefix('_') == Some(name))
            {
                for (i, _) in items.iter().enumerate().filter(|(_, item)| **item == Value::Null) {
                    self.report(
                        IssueType::Structure,
                        &at.child(property.name).at(i),
                        format!("null stands only where `_{name}` has an extension"),
                    );
                }
            }
        }
    }

    fn pair(&mut self, property: &Property, value: Option<Value<'_>>, sibling: &Value<'_>, at: &Place<'_>) {
        let Value::Array(siblings) = sibling else {
            if value.is_none() {
                self.needs_extension(property, sibling, at);
            }
            return;
        };
        let values = value.map(|v| v.items());
        // (An empty array has been reported as such.)
        if let Some(values) = values.filter(|values| values.len() != siblings.len() && !siblings.is_empty() && !values.is_empty()) {
            let what = format!(
                "`{0}` has {1} items and `_{0}` {2}: fill the shorter one up with null",
                property.name,
                values.len(),
                siblings.len()
            );
            self.report(IssueType::Structure, at, what);
        }
        for (i, sibling) in siblings.iter().enumerate() {
            if values.and_then(|values| values.get(i)).is_none_or(|value| *value == Value::Null) {
                self.needs_extension(property, sibling, &at.at(i));
            }
        }
    }

    /// ele-1 for a primitive without a value.
    fn needs_extension(&mut self, property: &Property, sibling: &Value<'_>, at: &Place<'_>) {
        let reported = matches!(sibling, Value::Object([])); // as empty
        if sibling.get("extension").is_none() && !reported {
            let what = format!("`{}` has neither a value nor an extension that says why there is none (ele-1)", property.name);
            self.report(IssueType::Invariant, at, what);
        }
    }

    /// `valueString` with `_valueCode`: of a choice's two properties, both must be of one type.
    pub(super) fn mixed_choices(&mut self, definition: &'static TypeDefinition, members: &[Member<'_>], at: &Place<'_>) {
        for (name, _) in members {
            let Some(sibling) = name.strip_prefix('_').and_then(|base| definition.property(base)) else { continue };
            let other =
                |(name, _): &&Member<'_>| definition.property(name).is_some_and(|p| p.element == sibling.element && p.name != sibling.name);
            if let Some((value, _)) = members.iter().find(other) {
                let element = definition.element_name(sibling);
                let what = format!("`{element}[x]` may have one value, of one type; here are `{value}` and `{name}`");
                self.report(IssueType::Structure, &at.child(element), what);
            }
        }
    }
}
