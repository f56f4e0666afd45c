//! HL7's R4 structure definitions, reduced to a table.
// The table `data/fhir-r4.tsv` is made from HL7's CC0 files by `examples/reduce_definitions.rs`.

use super::binding::Binding;
use super::invariant::Invariants;
use super::primitive::Primitive;
use crate::hash::HashMap;
use std::sync::{LazyLock, OnceLock};

mod load;
#[cfg(test)]
mod tests;

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| load::load(include_str!("../../data/fhir-r4.tsv")));

/// A property name and the type of its value: `("valueQuantity", "Quantity")`.
pub type Variant = (&'static str, &'static str);

struct Definitions {
    types: Vec<TypeDefinition>,
    by_name: HashMap<&'static str, u16>,
    /// Variants of a choice by its base name, over all types.
    choices: HashMap<&'static str, Vec<Variant>>,
    element: u16,
}

/// Whether a type is a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A data type such as `HumanName`, or a backbone element such as `Patient.contact`.
    DataType,
    /// A resource that can exist.
    Resource,
    /// A base type of which there are no instances: `Element`, `BackboneElement`, `Resource`, `DomainResource`.
    Abstract,
}

/// A data type, backbone element or resource.
#[derive(Debug)]
pub struct TypeDefinition {
    name: &'static str,
    kind: Kind,
    elements: Vec<Element>,
    properties: Vec<Property>,
    /// Open addressing: 1 + index in `properties`; 0 is free.
    slots: Box<[u16]>,
    required: u64,
    choices: u64,
    constraints: Vec<Constraint>,
    /// The constraints, compiled when the type is first seen.
    invariants: OnceLock<Invariants>,
}

/// A rule of the specification about an element (ElementDefinition.constraint).
#[derive(Clone, Copy, Debug)]
pub struct Constraint {
    /// `obs-6`
    pub key: &'static str,
    /// Whether breaking it is an error, rather than bad practice.
    pub error: bool,
    /// The element that it is about; none if that is the type itself.
    pub element: Option<&'static str>,
    /// FHIRPath; none if HL7 gives none.
    pub expression: Option<&'static str>,
    /// What it says.
    pub human: &'static str,
}

/// An element as the definition has it; a choice `value[x]` is one element.
#[derive(Clone, Debug)]
pub struct Element {
    /// Its name, a choice's without `[x]`: the name that FHIRPath uses.
    pub name: &'static str,
    /// Whether at least one is needed.
    pub required: bool,
    /// Whether there may be more than one: an array in JSON.
    pub repeats: bool,
    /// Whether it is a choice of types.
    pub choice: bool,
    /// Whether it may change the meaning of what it stands in.
    pub modifier: bool,
    /// Whether it is part of a summary (`_summary=true`).
    pub summary: bool,
    /// Property names and types: one, or those of the choice.
    pub variants: Vec<Variant>,
    /// What its codes must or should be of.
    pub binding: Option<&'static Binding>,
}

/// An element as a JSON property; a choice `value[x]` has many.
#[derive(Clone, Debug)]
pub struct Property {
    /// The name in JSON.
    pub name: &'static str,
    /// The index of its element in [`TypeDefinition::elements`].
    pub element: u8,
    /// Whether its value is an array.
    pub repeats: bool,
    /// What its value (or each item) is.
    pub value: ValueType,
    /// What its codes must or should be of.
    pub binding: Option<&'static Binding>,
}

impl Property {
    /// Whether a sibling `_name` may stand beside it.
    pub fn has_sibling(&self) -> bool {
        matches!(self.value, ValueType::Primitive(primitive) if primitive.has_sibling())
    }
}

/// What a property's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A primitive.
    Primitive(Primitive),
    /// A data type or backbone element.
    Complex(TypeId),
    /// Any resource.
    Resource,
}

/// A [`TypeDefinition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeId(u16);

impl TypeId {
    /// The definition.
    pub fn definition(self) -> &'static TypeDefinition {
        &DEFINITIONS.types[usize::from(self.0)] // ids are made by the loader only
    }
}

impl TypeDefinition {
    /// `Patient`, `HumanName`, `Patient.contact`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Resource, data type or abstract.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// All elements, those of the base types first.
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// The element of that name (`value`, not `valueQuantity`).
    pub fn element(&self, name: &str) -> Option<&Element> {
        self.elements.iter().find(|e| e.name == name)
    }

    /// The JSON property of that name (`valueQuantity`, not `value`; a resource has `resourceType`).
    pub fn property(&self, name: &str) -> Option<&Property> {
        let mask = self.slots.len() - 1;
        let mut at = hash(name.as_bytes()) & mask;
        loop {
            // The loader leaves half of the slots free, so this ends; the mask keeps `at` inside.
            let index = usize::from(*self.slots.get(at)?).checked_sub(1)?;
            let property = self.properties.get(index)?;
            if property.name == name {
                return Some(property);
            }
            at = (at + 1) & mask;
        }
    }

    /// The name of a property's element, which FHIRPath uses: `value` for `valueQuantity`.
    pub fn element_name(&self, property: &Property) -> &'static str {
        self.elements.get(usize::from(property.element)).map_or(property.name, |element| element.name)
    }

    /// All JSON properties.
    pub fn properties(&self) -> &[Property] {
        &self.properties
    }

    /// The rules about it and its elements, those of the base types first.
    pub fn constraints(&self) -> &[Constraint] {
        &self.constraints
    }

    /// The rules, compiled.
    pub(super) fn invariants(&self) -> &Invariants {
        self.invariants.get_or_init(|| Invariants::compile(self))
    }

    /// The elements that are required, as bits by their index.
    pub(super) fn required(&self) -> u64 {
        self.required
    }

    /// The elements that are choices, as bits by their index.
    pub(super) fn choices(&self) -> u64 {
        self.choices
    }
}

/// Length, the first eight bytes and the last eight: enough to tell FHIR's names apart mostly.
pub(super) fn hash(name: &[u8]) -> usize {
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let (first, last) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => (word(first), word(last)),
        _ => (name.iter().fold(0_u64, |sum, b| sum << 8 | u64::from(*b)), 0),
    };
    let mixed = (first ^ last.rotate_left(29) ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize
}

/// Whether `name` is a concrete resource type of R4.
pub fn is_resource_type(name: &str) -> bool {
    resource_type(name).is_some()
}

/// The definition of a concrete resource type.
pub fn resource_type(name: &str) -> Option<&'static TypeDefinition> {
    type_definition(name).filter(|t| t.kind == Kind::Resource)
}

/// The definition of a resource, data type (`HumanName`) or backbone element (`Patient.contact`). Primitive types have none.
pub fn type_definition(name: &str) -> Option<&'static TypeDefinition> {
    DEFINITIONS.by_name.get(name).and_then(|index| DEFINITIONS.types.get(usize::from(*index)))
}

/// The concrete resource types of R4, in HL7's order (by name).
pub fn resource_types() -> impl Iterator<Item = &'static str> {
    DEFINITIONS.types.iter().filter(|t| t.kind == Kind::Resource).map(|t| t.name)
}

/// The JSON properties that a choice of that base name has in any type, with the type of their value:
/// `value` -> `("valueQuantity", "Quantity")`, ... Empty if no element of that name is a choice.
pub fn choice_variants(base: &str) -> &'static [Variant] {
    DEFINITIONS.choices.get(base).map_or(&[], Vec::as_slice)
}

/// All data types, backbone elements and resources.
pub fn types() -> impl Iterator<Item = &'static TypeDefinition> {
    DEFINITIONS.types.iter()
}

/// What a primitive's sibling `_name` is: an Element with id and extensions.
pub(super) fn element_type() -> &'static TypeDefinition {
    TypeId(DEFINITIONS.element).definition()
}
