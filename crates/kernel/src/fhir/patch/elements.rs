//! Elements of a resource, as FHIRPath counts them: a property's items together with what stands beside them in `_property`.

use crate::fhir::definitions::{Property, TypeDefinition, ValueType, element_type, resource_type};
use crate::fhir::json::Value;
use bumpalo::Bump;

/// One element: its value, and its `_property` if it is a primitive; `Null` where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Element<'a> {
    pub(super) value: Value<'a>,
    pub(super) sibling: Value<'a>,
}

/// One step from an object into an element: which item of which property.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) property: &'static Property,
    pub(super) index: usize,
}

/// The elements of a property of an object.
pub(super) fn elements<'a>(object: Value<'a>, property: &Property, arena: &'a Bump) -> Vec<Element<'a>> {
    let value = object.get(property.name);
    let sibling = if property.has_sibling() { object.get(beside(property, arena)) } else { None };
    if !property.repeats {
        let element = Element { value: value.unwrap_or(Value::Null), sibling: sibling.unwrap_or(Value::Null) };
        return if value.is_none() && sibling.is_none() { Vec::new() } else { vec![element] };
    }
    let (values, siblings) = (value.as_ref().map_or(&[][..], Value::items), sibling.as_ref().map_or(&[][..], Value::items));
    let at = |items: &[Value<'a>], n: usize| items.get(n).copied().unwrap_or(Value::Null);
    (0..values.len().max(siblings.len())).map(|n| Element { value: at(values, n), sibling: at(siblings, n) }).collect()
}

/// The object with these elements instead, in the place of those that were there; a property without elements goes.
pub(super) fn with_elements<'a>(object: Value<'a>, property: &'static Property, elements: &[Element<'a>], arena: &'a Bump) -> Value<'a> {
    let whole = |of: fn(&Element<'a>) -> Value<'a>| -> Option<Value<'a>> {
        let items: Vec<Value<'a>> = elements.iter().map(of).collect();
        match items.iter().all(|item| *item == Value::Null) {
            true => None,
            false if property.repeats => Some(Value::Array(arena.alloc_slice_copy(&items))),
            false => items.first().copied(),
        }
    };
    let sibling = if property.has_sibling() { beside(property, arena) } else { "" };
    let mut members = object.members().to_vec();
    for (name, new) in [(property.name, whole(|e| e.value)), (sibling, whole(|e| e.sibling))] {
        let place = members.iter().position(|(n, _)| *n == name);
        match (place, new) {
            (Some(place), Some(new)) => members.iter_mut().skip(place).take(1).for_each(|(_, value)| *value = new),
            (Some(place), None) => drop(members.remove(place)),
            (None, Some(new)) => members.push((name, new)),
            (None, None) => {}
        }
    }
    Value::Object(arena.alloc_slice_copy(&members))
}

fn beside<'a>(property: &Property, arena: &'a Bump) -> &'a str {
    arena.alloc_str(&format!("_{}", property.name))
}

/// What an element's own elements are in, and its definition; none for an element of a type that R4 does not have.
pub(super) fn inside<'a>(property: &Property, element: Element<'a>) -> Option<(Value<'a>, &'static TypeDefinition)> {
    Some(match property.value {
        ValueType::Complex(of) => (element.value, of.definition()),
        ValueType::Primitive(_) => (element.sibling, element_type()),
        ValueType::Resource => (element.value, resource_type(element.value.str("resourceType")?)?),
    })
}

/// The object with what `change` makes of the one that the steps lead to. An element that is left with nothing goes.
pub(super) fn changed<'a>(object: Value<'a>, steps: &[Step], arena: &'a Bump, change: &mut dyn FnMut(Value<'a>) -> Value<'a>) -> Value<'a> {
    let Some((step, rest)) = steps.split_first() else { return change(object) };
    let mut all = elements(object, step.property, arena);
    let Some(element) = all.get_mut(step.index) else { return object };
    let primitive = matches!(step.property.value, ValueType::Primitive(_));
    let inner = if primitive { &mut element.sibling } else { &mut element.value };
    *inner = match changed(*inner, rest, arena, change) {
        Value::Object([]) => Value::Null,
        new => new,
    };
    if *element == (Element { value: Value::Null, sibling: Value::Null }) {
        all.remove(step.index);
    }
    with_elements(object, step.property, &all, arena)
}
