//! Validation against HL7's R4 definitions: structure, required codes, and the invariants of the base specification.
//!
//! One pass over the value. A valid resource costs no allocation: where something stands is a chain on the stack, what
//! has been seen of a type is a bit per element, and messages are made only for what is wrong. Messages name elements
//! and types, never values. Three invariants are about structure and so part of it: ele-1 (an element has a value or children),
//! ext-1 (an extension has a value or extensions, not both) and dom-2 (what is contained contains nothing). The others are those
//! of [`super::invariant`], codes are looked up by [`super::binding`]. Profiles are not looked at. `may_lack` has the one known
//! deviation from the definitions.

use super::binding::{Binding, Rule, Strength};
use super::definitions::{self, Kind, Property, TypeDefinition, ValueType};
use super::issue::{Issue, IssueType};
use super::json::{Member, Value};
use super::path::Place;
use super::primitive::Primitive;
use crate::limits::MAX_ISSUES;
use bumpalo::Bump;

mod codes;
mod rules;
mod siblings;
#[cfg(test)]
mod tests;

/// Checks unknown elements, types, cardinality, required elements, formats, required bindings and invariants. At most
/// [`crate::limits::MAX_ISSUES`] problems; expressions start with the resource type, such as `Patient.name[0].use`.
pub fn validate(resource: &Value<'_>) -> Vec<Issue> {
    run(*resource, Scope { entries: true, advice: false })
}

/// [`validate`], and what could be better: codes outside of extensible value sets, and rules of good practice, as warnings.
pub fn advise(resource: &Value<'_>) -> Vec<Issue> {
    run(*resource, Scope { entries: true, advice: true })
}

/// [`validate`] for a Bundle, without what is in `entry.resource`.
pub(super) fn validate_frame(bundle: &Value<'_>) -> Vec<Issue> {
    run(*bundle, Scope { entries: false, advice: false })
}

/// What is looked at.
#[derive(Clone, Copy)]
struct Scope {
    /// Resources in the entries of a Bundle.
    entries: bool,
    /// What is no error.
    advice: bool,
}

fn run(resource: Value<'_>, scope: Scope) -> Vec<Issue> {
    let name = resource.str("resourceType").filter(|name| definitions::is_resource_type(name)).unwrap_or("Resource");
    let mut validator = Validator { issues: Vec::new(), scope, resource, root: resource, arena: Bump::new() };
    validator.resource(resource, &Place::root(name), false);
    validator.issues
}

struct Validator<'v> {
    issues: Vec<Issue>,
    scope: Scope,
    /// The resource that is being looked at.
    resource: Value<'v>,
    /// What contains it, or itself.
    root: Value<'v>,
    /// For what rules compute. It takes memory when one first does.
    arena: Bump,
}

/// The bit of `id`, which comes first in every type.
const ID: u64 = 1;

impl<'v> Validator<'v> {
    fn report(&mut self, code: IssueType, at: &Place<'_>, what: impl Into<String>) {
        if !self.is_full() {
            self.issues.push(Issue::error(code, at.to_string(), what));
        }
    }

    fn add(&mut self, issue: Issue) {
        if !self.is_full() {
            self.issues.push(issue);
        }
    }

    fn is_full(&self) -> bool {
        self.issues.len() >= MAX_ISSUES
    }

    fn resource(&mut self, value: Value<'v>, at: &Place<'_>, contained: bool) {
        let Value::Object(members) = value else {
            return self.report(IssueType::Structure, at, format!("expected a resource (a JSON object), found {}", found(&value)));
        };
        let Some(name) = value.get("resourceType") else {
            return self.report(IssueType::Required, at, "`resourceType` is missing, so nobody can tell what resource this is");
        };
        let Some(definition) = name.as_str().and_then(definitions::resource_type) else {
            return self.report(IssueType::Structure, at, "`resourceType` does not name a resource type of FHIR R4");
        };
        if contained && value.get("contained").is_some() {
            self.report(IssueType::Invariant, &at.child("contained"), "a contained resource cannot contain resources (dom-2)");
        }
        let outer = (self.resource, self.root);
        self.resource = value;
        if !contained {
            self.root = value;
        }
        self.members(definition, members, at);
        (self.resource, self.root) = outer;
    }

    fn complex(&mut self, definition: &'static TypeDefinition, value: &Value<'v>, at: &Place<'_>) {
        match value {
            Value::Object([]) => self.report(IssueType::Structure, at, "an object cannot be empty: leave the property out"),
            Value::Object(members) => self.members(definition, members, at),
            Value::Array(_) => self.report(IssueType::Structure, at, format!("expected one {}, found an array", definition.name())),
            _ => self.report(IssueType::Structure, at, format!("expected a {} (a JSON object), found {}", definition.name(), found(value))),
        }
    }

    fn members(&mut self, definition: &'static TypeDefinition, members: &'v [Member<'v>], at: &Place<'_>) {
        let (mut values, mut siblings, mut nulls) = (0_u64, 0_u64, false);
        for (name, value) in members {
            let (property, seen) = match (definition.property(name), name.strip_prefix('_')) {
                (Some(property), _) => (property, &mut values),
                (None, Some(name)) if let Some(property) = definition.property(name).filter(|p| p.has_sibling()) => {
                    (property, &mut siblings)
                }
                _ => {
                    self.unknown(definition, name, at);
                    continue;
                }
            };
            let bit = 1 << property.element;
            if *seen & bit != 0 {
                self.repeated(definition, property, members, name, at);
            }
            *seen |= bit;
            if name.starts_with('_') {
                self.sibling(property, value, &at.child(property.name));
            } else {
                nulls |= self.property(definition, property, value, at);
            }
            if self.is_full() {
                return;
            }
        }
        if siblings != 0 || nulls {
            self.align(definition, members, at);
        }
        if definition.choices() & values & siblings != 0 {
            self.mixed_choices(definition, members, at);
        }
        self.complete(definition, values | siblings, members, at);
        // Of a frame, `bundle` says what matters, with better places.
        if self.scope.entries && !definition.invariants().is_empty() {
            self.rules(definition, values, siblings & !values, members, at);
        }
    }

    /// What is missing once all members have been seen.
    fn complete(&mut self, definition: &'static TypeDefinition, seen: u64, members: &[Member<'_>], at: &Place<'_>) {
        let missing = definition.required() & !seen;
        if missing != 0 {
            for (element, index) in definition.elements().iter().zip(0_u8..) {
                if missing & (1 << index) != 0 && !may_lack(definition, element.name, members) {
                    let what =
                        format!("`{}{}` is missing; {} needs it", element.name, if element.choice { "[x]" } else { "" }, definition.name());
                    self.report(IssueType::Required, &at.child(element.name), what);
                }
            }
        }
        // (Of a primitive's sibling, an Element, `siblings` knows whether there is a value.)
        if seen == ID && definition.kind() == Kind::DataType {
            self.report(IssueType::Invariant, at, "an element needs a value or extensions besides its id (ele-1)");
        }
        if definition.name() == "Extension" {
            self.extension(definition, seen, at);
        }
    }

    /// ext-1.
    fn extension(&mut self, definition: &'static TypeDefinition, seen: u64, at: &Place<'_>) {
        let has_value = seen & definition.choices() != 0;
        let has_extensions = seen & (1 << 1) != 0; // `extension` is the second element of every type
        if has_value == has_extensions {
            let what = if has_value { "a value and extensions; an extension has one of the two" } else { "neither a value nor extensions" };
            self.report(IssueType::Invariant, at, format!("this extension has {what} (ext-1)"));
        }
    }

    /// One property. Whether there are nulls in its array.
    fn property(&mut self, definition: &'static TypeDefinition, property: &Property, value: &Value<'v>, at: &Place<'_>) -> bool {
        let place = at.child(definition.element_name(property));
        if !property.repeats {
            self.value(definition, property, value, &place);
            return false;
        }
        let Value::Array(items) = value else {
            self.report(
                IssueType::Structure,
                &place,
                format!("`{}` can repeat, so it must be an array; found {}", property.name, found(value)),
            );
            return false;
        };
        if items.is_empty() {
            self.report(IssueType::Structure, &place, "an array cannot be empty: leave the property out");
        }
        let mut nulls = false;
        for (i, item) in items.iter().enumerate() {
            if *item == Value::Null && property.has_sibling() {
                nulls = true; // allowed where the sibling has an extension: see `align`
            } else {
                self.value(definition, property, item, &place.at(i));
            }
            if self.is_full() {
                break;
            }
        }
        nulls
    }

    fn value(&mut self, definition: &'static TypeDefinition, property: &Property, value: &Value<'v>, at: &Place<'_>) {
        // (What is one of the codes has the form of a code.)
        if let (Some(binding @ Binding { strength: Strength::Required, .. }), Value::String(code)) = (property.binding, value)
            && let rule @ Rule::Codes(_) = binding.rule()
            && rule.accepts(code)
        {
            return;
        }
        match property.value {
            ValueType::Primitive(Primitive::Xhtml) => self.narrative(property, value, at),
            ValueType::Primitive(primitive) if primitive.accepts(value) => {}
            ValueType::Primitive(primitive) => return self.primitive(primitive, property, value, at),
            ValueType::Complex(of) => self.complex(of.definition(), value, at),
            ValueType::Resource if !self.scope.entries && definition.name() == "Bundle.entry" => {}
            ValueType::Resource => self.resource(*value, at, property.name == "contained"),
        }
        if let Some(binding) = property.binding {
            self.code(binding, value, at);
        }
    }

    fn primitive(&mut self, primitive: Primitive, property: &Property, value: &Value<'_>, at: &Place<'_>) {
        let (code, found) = match value {
            Value::Null => (IssueType::Structure, "null; leave the property out".to_owned()),
            Value::String("") => (IssueType::Value, "an empty string; leave the property out".to_owned()),
            Value::String(_) => (IssueType::Value, "a string that is not".to_owned()),
            Value::Number(_) => (IssueType::Value, "a number".to_owned()),
            _ => (IssueType::Structure, found(value).to_owned()),
        };
        self.report(code, at, format!("`{}` is a {}: expected {}; found {found}", property.name, primitive.name(), primitive.expected()));
    }

    fn unknown(&mut self, definition: &'static TypeDefinition, name: &str, at: &Place<'_>) {
        // A name that does not look like one may be anything, a patient's data included.
        let plain = name.trim_start_matches('_').starts_with(|c: char| c.is_ascii_alphabetic())
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain {
            let what = format!("{} has a member whose name is not the name of any element", definition.name());
            return self.report(IssueType::Structure, at, what);
        }
        let what = match definition.element(name) {
            Some(element) if element.choice => {
                let names: Vec<&str> = element.variants.iter().take(4).map(|(name, _)| *name).collect();
                format!("`{name}` is a choice of types: its name must say which, such as {}", names.join(", "))
            }
            _ => format!("`{name}` is not an element of {} in FHIR R4", definition.name()),
        };
        self.report(IssueType::Structure, &at.child(name), what);
    }

    fn repeated(&mut self, definition: &'static TypeDefinition, property: &Property, members: &[Member<'_>], name: &str, at: &Place<'_>) {
        let twice = members.iter().filter(|(other, _)| *other == name).count() > 1;
        let element = definition.element_name(property);
        let what = if twice {
            format!("`{name}` stands here more than once")
        } else {
            format!("`{element}[x]` may have one value, of one type; `{name}` is a second one")
        };
        self.report(IssueType::Structure, &at.child(element), what);
    }
}

/// The one place where we are less strict than the definitions: an item that is only displayed may lack its `linkId`,
/// though the definitions say 1..1. HL7's tool that makes questionnaires from profiles leaves it out, so that 40 of HL7's
/// own R4 examples (2,455 such items) would be refused; and nothing can refer to what cannot be answered.
fn may_lack(definition: &TypeDefinition, element: &str, members: &[Member<'_>]) -> bool {
    definition.name() == "Questionnaire.item" && element == "linkId" && members.contains(&("type", Value::String("display")))
}

/// The JSON type of a value.
fn found(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Boolean(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
