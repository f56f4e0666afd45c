//! Parts of a resource: `_summary` and `_elements` (FHIR R4, sections 3.1.1.5.8 and 3.1.1.5.9).
//!
//! What was cut says so: `meta.tag` has SUBSETTED, so that nobody writes it back for the whole. What a reader must not miss
//! stays whatever was asked for: the id, `meta`, mandatory elements and, but for `_summary=text`, modifier elements.

use super::definitions::{Element, TypeDefinition, ValueType, resource_type};
use super::json::{Value, write_string};

#[cfg(test)]
mod tests;

/// The code system of [`SUBSETTED`].
pub const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";

/// The tag of a resource that is not whole.
pub const SUBSETTED: &str = "SUBSETTED";

/// Which part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subset {
    /// `_summary=true`: the elements that the definitions mark as summary, at each level.
    Summary,
    /// `_summary=text`: the narrative and what is mandatory.
    Text,
    /// `_summary=data`: all but the narrative.
    Data,
    /// `_elements`: these top-level elements, a choice by its base name (`value`).
    Elements(Vec<String>),
}

impl Subset {
    fn keeps(&self, element: &Element) -> bool {
        let always = element.required || matches!(element.name, "id" | "meta");
        match self {
            Subset::Summary => always || element.modifier || element.summary,
            Subset::Text => always || element.name == "text",
            Subset::Data => element.name != "text",
            Subset::Elements(names) => always || element.modifier || names.iter().any(|name| name == element.name),
        }
    }

    /// Writes that part of a resource as JSON. What is no resource of R4 is written whole.
    pub fn write(&self, resource: &Value<'_>, out: &mut Vec<u8>) {
        let Some(definition) = resource.str("resourceType").and_then(resource_type) else {
            return resource.write(out);
        };
        let mut object = ObjectWriter::open(out);
        for (name, value) in resource.members() {
            match element(definition, name) {
                Some(element) if element.name == "meta" => {
                    object.name(name);
                    write_tagged(value, object.out);
                }
                Some(element) if !self.keeps(element) => {}
                Some(_) if *self == Subset::Summary => {
                    object.name(name);
                    write_summary(definition, name, value, object.out);
                }
                _ => object.member(name, value),
            }
        }
        if resource.get("meta").is_none() {
            object.name("meta");
            write_tagged(&Value::Object(&[]), object.out);
        }
        object.close();
    }
}

/// The element that a JSON property is of, `_birthDate` being of `birthDate`; none for `resourceType`.
fn element(definition: &'static TypeDefinition, property: &str) -> Option<&'static Element> {
    let found = definition.property(property).or_else(|| definition.property(property.strip_prefix('_')?))?;
    definition.elements().get(usize::from(found.element))
}

/// Writes a value of which `definition.property` says the type, without what is not part of a summary.
fn write_summary(definition: &'static TypeDefinition, property: &str, value: &Value<'_>, out: &mut Vec<u8>) {
    let of = match definition.property(property).map(|p| p.value) {
        Some(ValueType::Complex(of)) => of.definition(),
        _ => return value.write(out), // a primitive, its sibling, or a resource in a resource
    };
    let Value::Array(items) = value else { return write_object(of, value, out) };
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_object(of, item, out);
    }
    out.push(b']');
}

fn write_object(of: &'static TypeDefinition, value: &Value<'_>, out: &mut Vec<u8>) {
    let Value::Object(members) = value else { return value.write(out) };
    let mut object = ObjectWriter::open(out);
    for (name, value) in *members {
        if element(of, name).is_none_or(|e| e.required || e.modifier || e.summary) {
            object.name(name);
            write_summary(of, name, value, object.out);
        }
    }
    object.close();
}

/// `meta` with the tag.
fn write_tagged(meta: &Value<'_>, out: &mut Vec<u8>) {
    let tags = meta.get("tag").unwrap_or(Value::Array(&[]));
    let mut object = ObjectWriter::open(out);
    for (name, value) in meta.members().iter().filter(|(name, _)| *name != "tag") {
        object.member(name, value);
    }
    object.name("tag");
    object.out.push(b'[');
    for tag in tags.items().iter().filter(|tag| tag.str("code") != Some(SUBSETTED)) {
        tag.write(object.out);
        object.out.push(b',');
    }
    let members = [("system", Value::String(OBSERVATION_VALUE)), ("code", Value::String(SUBSETTED))];
    Value::Object(&members).write(object.out);
    object.out.push(b']');
    object.close();
}

/// Writes members one after the other.
struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> ObjectWriter<'o> {
    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    fn name(&mut self, name: &str) {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        write_string(name, self.out);
        self.out.push(b':');
    }

    fn member(&mut self, name: &str, value: &Value<'_>) {
        self.name(name);
        value.write(self.out);
    }

    fn close(self) {
        self.out.push(b'}');
    }
}
