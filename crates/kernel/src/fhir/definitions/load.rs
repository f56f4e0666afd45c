//! Reading the table of definitions.
//!
//! The table is part of the program, and a test holds that all of it is understood: what is wrong with it cannot come
//! from outside, so nothing here returns an error.

use super::{Constraint, Definitions, Element, Kind, Primitive, Property, TypeDefinition, TypeId, ValueType, Variant, hash};
use crate::fhir::binding::{Binding, Strength};
use crate::hash::HashMap;
use std::sync::OnceLock;

/// A type of the table, before the names of other types are resolved.
struct Draft {
    name: &'static str,
    kind: Kind,
    base: &'static str,
    elements: Vec<Element>,
    constraints: Vec<Constraint>,
}

pub(super) fn load(table: &'static str) -> Definitions {
    let drafts = drafts(table);
    let by_name = drafts.iter().zip(0_u16..).map(|(draft, index)| (draft.name, index)).collect();
    let types: Vec<TypeDefinition> = drafts.iter().map(|draft| finish(draft, &drafts, &by_name)).collect();
    let mut choices: HashMap<&'static str, Vec<Variant>> = HashMap::default();
    for element in drafts.iter().flat_map(|draft| &draft.elements).filter(|e| e.choice) {
        let variants = choices.entry(element.name).or_default();
        for variant in &element.variants {
            if !variants.contains(variant) {
                variants.push(*variant);
            }
        }
    }
    let element = by_name.get("Element").copied().unwrap_or_default();
    Definitions { types, by_name, choices, element }
}

/// The types of the table with their own elements.
fn drafts(table: &'static str) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::with_capacity(800);
    // One binding for all elements that are bound alike.
    let mut bindings: HashMap<&'static str, &'static Binding> = HashMap::default();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let mut column = || columns.next().unwrap_or_default();
        let first = column();
        if first == ":" {
            let (name, kind, base) = (column(), column(), column());
            let kind = match kind {
                "primitive" => continue,
                "resource" => Kind::Resource,
                "abstract" => Kind::Abstract,
                _ => Kind::DataType,
            };
            drafts.push(Draft { name, kind, base, elements: Vec::new(), constraints: Vec::new() });
        } else if first == "!"
            && let Some(draft) = drafts.last_mut()
        {
            draft.constraints.push(constraint(column(), column(), column(), column(), column()));
        } else if let Some(draft) = drafts.last_mut() {
            let mut element = element(first, column(), column(), column(), column());
            element.binding = binding(column(), &mut bindings);
            draft.elements.push(element);
        }
    }
    drafts
}

fn constraint(key: &'static str, severity: &str, element: &'static str, expression: &'static str, human: &'static str) -> Constraint {
    let said = |text: &'static str| (text != "-").then_some(text);
    Constraint { key, error: severity == "error", element: said(element), expression: said(expression), human }
}

/// `required URL`. It lives as long as the program, as the table does.
fn binding(text: &'static str, bindings: &mut HashMap<&'static str, &'static Binding>) -> Option<&'static Binding> {
    let (strength, value_set) = text.split_once(' ')?;
    let strength = if strength == "extensible" { Strength::Extensible } else { Strength::Required };
    Some(bindings.entry(text).or_insert_with(|| Box::leak(Box::new(Binding::new(strength, value_set)))))
}

fn element(name: &'static str, min: &str, max: &str, types: &'static str, flags: &str) -> Element {
    let is = |flag: &str| flags.split(' ').any(|f| f == flag);
    let base = name.strip_suffix("[x]");
    let variants = types.split(' ').map(|of| (base.map_or(name, |base| variant_name(base, of)), of)).collect();
    Element {
        name: base.unwrap_or(name),
        required: min != "0",
        repeats: max != "1",
        choice: base.is_some(),
        modifier: is("modifier"),
        summary: is("summary"),
        variants,
        binding: None,
    }
}

/// `value` and `dateTime` -> `valueDateTime`, which lives as long as the program, as the table does.
fn variant_name(base: &str, of: &str) -> &'static str {
    let mut name = String::with_capacity(base.len() + of.len());
    name.push_str(base);
    name.extend(of.chars().next().map(|c| c.to_ascii_uppercase()));
    name.push_str(of.get(1..).unwrap_or_default());
    name.leak()
}

fn finish(draft: &Draft, drafts: &[Draft], by_name: &HashMap<&'static str, u16>) -> TypeDefinition {
    let mut elements: Vec<Element> = Vec::new();
    let mut constraints: Vec<Constraint> = Vec::new();
    inherit(draft, drafts, by_name, &mut elements, &mut constraints);
    let (mut properties, mut required, mut choices) = (Vec::new(), 0, 0);
    for (element, index) in elements.iter().zip(0_u8..) {
        let bit = 1 << index;
        required |= if element.required { bit } else { 0 };
        choices |= if element.choice { bit } else { 0 };
        for (name, of) in &element.variants {
            let (value, binding) = (value_type(of, drafts, by_name), element.binding.filter(|_| is_coded(of)));
            properties.push(Property { name, element: index, repeats: element.repeats, value, binding });
        }
    }
    if draft.kind == Kind::Resource {
        let value = ValueType::Primitive(Primitive::ResourceType);
        properties.push(Property { name: "resourceType", element: elements.len() as u8, repeats: false, value, binding: None });
    }
    let slots = slots(&properties);
    let invariants = OnceLock::new();
    TypeDefinition { name: draft.name, kind: draft.kind, elements, properties, slots, required, choices, constraints, invariants }
}

/// The types whose values a value set can be about. (Of a choice, such as a CodeableConcept or a Reference, these only.)
fn is_coded(of: &str) -> bool {
    matches!(of, "code" | "uri" | "string" | "Coding" | "CodeableConcept")
}

/// The elements and constraints of the base types, then the type's own.
fn inherit(
    draft: &Draft,
    drafts: &[Draft],
    by_name: &HashMap<&'static str, u16>,
    elements: &mut Vec<Element>,
    constraints: &mut Vec<Constraint>,
) {
    if let Some(base) = by_name.get(draft.base).and_then(|index| drafts.get(usize::from(*index))) {
        inherit(base, drafts, by_name, elements, constraints);
    }
    elements.extend(draft.elements.iter().cloned());
    constraints.extend(&draft.constraints);
}

fn value_type(name: &str, drafts: &[Draft], by_name: &HashMap<&'static str, u16>) -> ValueType {
    if let Some(primitive) = Primitive::from_name(name) {
        return ValueType::Primitive(primitive);
    }
    let index = by_name.get(name).copied().unwrap_or_default();
    match drafts.get(usize::from(index)) {
        Some(draft) if draft.kind == Kind::DataType || draft.name == "Element" => ValueType::Complex(TypeId(index)),
        _ => ValueType::Resource,
    }
}

/// The hash table of the properties' names, at most half full.
fn slots(properties: &[Property]) -> Box<[u16]> {
    let mut slots = vec![0_u16; (properties.len() * 2).next_power_of_two()].into_boxed_slice();
    let mask = slots.len() - 1;
    for (property, index) in properties.iter().zip(1_u16..) {
        let mut at = hash(property.name.as_bytes()) & mask;
        while slots.get(at).is_some_and(|slot| *slot != 0) {
            at = (at + 1) & mask;
        }
        if let Some(slot) = slots.get_mut(at) {
            *slot = index;
        }
    }
    slots
}
