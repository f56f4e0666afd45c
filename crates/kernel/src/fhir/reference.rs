//! References between resources.

use super::definitions::{self, Property, TypeDefinition, ValueType};
use super::json::{Member, Value};
use super::primitive;
use bumpalo::{Bump, collections::Vec as ArenaVec};
use std::fmt::Write;

#[cfg(test)]
mod tests;

/// What becomes of a reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rewrite<'a> {
    /// It stays as it is.
    Keep,
    /// Its `reference` becomes this literal.
    Literal(&'a str),
    /// It becomes a logical reference: `reference` goes, `type` and `identifier` come.
    Logical {
        /// The type of what is meant, if it is known.
        resource_type: Option<&'a str>,
        /// `identifier.system`, if any.
        system: Option<&'a str>,
        /// `identifier.value`.
        value: &'a str,
    },
}

/// The resource with every reference passed through `decide`: `Reference.reference` everywhere, and elements of type
/// uri, url, oid, uuid and canonical (FHIR R4 3.1.0.11.2). `decide` gets the text and its place, such as `Patient.managingOrganization.reference`,
/// and whether it stands in a Reference (elsewhere `Logical` is not possible and means `Keep`). Contained resources are visited too.
///
/// Only what changes is allocated: the arrays and objects on the way to it. A logical reference keeps an identifier
/// that its sender gave. What does not fit the definitions stays as it is, and so does what is inside a Bundle that is
/// itself the resource: its references are resolved within it. (Links in narratives are not rewritten; `Extension.url`
/// is a name, not a link.)
pub fn rewrite<'a>(resource: Value<'a>, arena: &'a Bump, decide: &mut dyn FnMut(&'a str, &str, bool) -> Rewrite<'a>) -> Value<'a> {
    let place = resource.str("resourceType").unwrap_or_default().to_owned();
    Rewriter { arena, decide, place }.resource(resource).unwrap_or(resource)
}

struct Rewriter<'a, 'd> {
    arena: &'a Bump,
    decide: &'d mut dyn FnMut(&'a str, &str, bool) -> Rewrite<'a>,
    /// Where we are: FHIRPath.
    place: String,
}

/// In the functions below `None` means unchanged.
impl<'a> Rewriter<'a, '_> {
    fn resource(&mut self, value: Value<'a>) -> Option<Value<'a>> {
        let name = value.str("resourceType").filter(|name| *name != "Bundle")?;
        self.object(definitions::resource_type(name)?, value)
    }

    fn object(&mut self, definition: &'static TypeDefinition, value: Value<'a>) -> Option<Value<'a>> {
        let members = value.members();
        let is_reference = definition.name() == "Reference";
        let mut changed: Option<ArenaVec<'a, Member<'a>>> = None;
        let mut logical = None;
        for (i, (name, old)) in members.iter().enumerate() {
            let new = match old {
                Value::String(text) if is_reference && *name == "reference" => match self.decide(name, text, true) {
                    Rewrite::Keep => None,
                    Rewrite::Literal(text) => Some(Value::String(text)),
                    Rewrite::Logical { resource_type, system, value } => {
                        logical = Some((resource_type, system, value));
                        None
                    }
                },
                _ => self.member(definition, name, *old),
            };
            if let Some(new) = new {
                change(&mut changed, members, i, new, self.arena);
            }
        }
        if let Some((resource_type, system, value)) = logical {
            return Some(self.logical(changed.as_deref().unwrap_or(members), resource_type, system, value));
        }
        changed.map(|members| Value::Object(members.into_bump_slice()))
    }

    fn member(&mut self, definition: &'static TypeDefinition, name: &'a str, value: Value<'a>) -> Option<Value<'a>> {
        match value {
            Value::Null | Value::Boolean(_) | Value::Number(_) => None,
            Value::String(text) => {
                let property = definition.property(name).filter(|property| is_link(property))?;
                self.link(definition.element_name(property), text)
            }
            Value::Array(_) | Value::Object(_) => {
                let (of, sibling) = match (definition.property(name), name.strip_prefix('_')) {
                    (Some(property), _) => (property, false),
                    (None, Some(base)) => (definition.property(base).filter(|p| p.has_sibling())?, true),
                    _ => return None,
                };
                let length = self.enter(definition.element_name(of));
                let new = self.items(of, sibling, value);
                self.place.truncate(length);
                new
            }
        }
    }

    /// A value or each item of an array of them.
    fn items(&mut self, property: &Property, sibling: bool, value: Value<'a>) -> Option<Value<'a>> {
        let Value::Array(items) = value else { return self.item(property, sibling, value) };
        if !sibling && matches!(property.value, ValueType::Primitive(_)) && !is_link(property) {
            return None;
        }
        let mut changed: Option<ArenaVec<'a, Value<'a>>> = None;
        for (i, item) in items.iter().enumerate() {
            let length = self.place.len();
            let _: std::fmt::Result = write!(self.place, "[{i}]"); // writing to a String cannot fail
            let new = self.item(property, sibling, *item);
            self.place.truncate(length);
            if let Some(new) = new {
                change(&mut changed, items, i, new, self.arena);
            }
        }
        changed.map(|items| Value::Array(items.into_bump_slice()))
    }

    fn item(&mut self, property: &Property, sibling: bool, value: Value<'a>) -> Option<Value<'a>> {
        match (property.value, value) {
            (_, Value::Object(_)) if sibling => self.object(definitions::element_type(), value),
            (ValueType::Complex(of), Value::Object(_)) => self.object(of.definition(), value),
            (ValueType::Resource, Value::Object(_)) => self.resource(value),
            (ValueType::Primitive(_), Value::String(text)) if is_link(property) => self.literal_at(text),
            _ => None,
        }
    }

    fn link(&mut self, name: &str, text: &'a str) -> Option<Value<'a>> {
        let length = self.enter(name);
        let new = self.literal_at(text);
        self.place.truncate(length);
        new
    }

    fn literal_at(&mut self, text: &'a str) -> Option<Value<'a>> {
        match (self.decide)(text, &self.place, false) {
            Rewrite::Literal(text) => Some(Value::String(text)),
            Rewrite::Keep | Rewrite::Logical { .. } => None,
        }
    }

    fn decide(&mut self, name: &str, text: &'a str, in_reference: bool) -> Rewrite<'a> {
        let length = self.enter(name);
        let decision = (self.decide)(text, &self.place, in_reference);
        self.place.truncate(length);
        decision
    }

    /// Appends a name to the place; how long it was before.
    fn enter(&mut self, name: &str) -> usize {
        let length = self.place.len();
        self.place.push('.');
        self.place.push_str(name);
        length
    }

    fn logical(&self, members: &[Member<'a>], resource_type: Option<&'a str>, system: Option<&'a str>, value: &'a str) -> Value<'a> {
        let has_identifier = members.iter().any(|(name, _)| *name == "identifier");
        let gone = |name: &str| matches!(name, "reference" | "_reference" | "type" | "_type");
        let mut new = ArenaVec::with_capacity_in(members.len() + 2, self.arena);
        new.extend(resource_type.map(|name| ("type", Value::String(name))));
        if !has_identifier {
            let mut identifier = ArenaVec::new_in(self.arena);
            identifier.extend(system.filter(|system| !system.is_empty()).map(|system| ("system", Value::String(system))));
            identifier.push(("value", Value::String(value)));
            new.push(("identifier", Value::Object(identifier.into_bump_slice())));
        }
        new.extend(members.iter().filter(|(name, _)| !gone(name)).copied());
        Value::Object(new.into_bump_slice())
    }
}

/// Replaces what stands at `i`, in a copy of `old` that is made the first time.
fn change<'a, T: Replace<'a>>(changed: &mut Option<ArenaVec<'a, T>>, old: &[T], i: usize, new: Value<'a>, arena: &'a Bump) {
    let copy = changed.get_or_insert_with(|| ArenaVec::from_iter_in(old.iter().copied(), arena));
    if let Some(slot) = copy.get_mut(i) {
        slot.replace(new);
    }
}

/// An item of an array or a member of an object, whose value can be replaced.
trait Replace<'a>: Copy {
    fn replace(&mut self, new: Value<'a>);
}

impl<'a> Replace<'a> for Value<'a> {
    fn replace(&mut self, new: Value<'a>) {
        *self = new;
    }
}

impl<'a> Replace<'a> for Member<'a> {
    fn replace(&mut self, new: Value<'a>) {
        self.1 = new;
    }
}

fn is_link(property: &Property) -> bool {
    matches!(property.value, ValueType::Primitive(primitive) if primitive.is_link())
}

/// Splits a relative literal reference: `Patient/1` or `Patient/1/_history/2` -> (`Patient`, `1`). `None` for `#contained`,
/// `urn:...`, whatever is not a resource type and an id, and absolute URLs: `http://host/fhir/Patient/1` is another server's
/// patient and must not get the key of the holder's own `Patient/1`.
pub fn literal(reference: &str) -> Option<(&str, &str)> {
    let (resource_type, rest) = reference.split_once('/')?;
    let id = match rest.split_once('/') {
        Some((id, history)) if history.strip_prefix("_history/").is_some_and(|version| primitive::is_id(version.as_bytes())) => id,
        Some(_) => return None,
        None => rest,
    };
    (primitive::is_id(id.as_bytes()) && definitions::is_resource_type(resource_type)).then_some((resource_type, id))
}
