//! Steps from element to element, and keys.

use super::{Flow, GO_ON, Item, Sink};
use crate::fhir::json::{Member, Value};
use crate::fhir::reference::literal;
use crate::fhirpath::code::{Choice, Step};
use crate::fhirpath::types::{DataType, variant_type};

type Element<'a> = (Value<'a>, Option<&'static DataType>);

/// Follows `steps` from `value` and pushes what is at their end. Arrays are entered, nulls left out.
pub(super) fn walk<'a>(mut steps: &[Step], mut value: Value<'a>, mut data_type: Option<&'static DataType>, sink: Sink<'_, 'a>) -> Flow {
    loop {
        match value {
            Value::Array(items) => {
                for item in items {
                    walk(steps, *item, data_type, sink)?;
                }
                return GO_ON;
            }
            Value::Null => return GO_ON,
            _ => {}
        }
        let Some((step, rest)) = steps.split_first() else {
            return sink(Item::Element { value, data_type });
        };
        let Value::Object(members) = value else {
            return GO_ON;
        };
        let next = step.element(members);
        if let Some(shadow) = &step.shadow {
            if let Some((value, data_type)) = next {
                walk(rest, value, data_type, sink)?;
            }
            return step.shadows(members, shadow, &mut |value| walk(rest, value, None, sink));
        }
        let Some(next) = next else {
            return GO_ON;
        };
        (value, data_type) = next;
        steps = rest;
    }
}

fn named<'a>(members: &'a [Member<'a>], name: &str) -> Option<Value<'a>> {
    members.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
}

impl Step {
    fn element<'a>(&self, members: &'a [Member<'a>]) -> Option<Element<'a>> {
        let plain = || named(members, &self.name);
        match &self.choice {
            Choice::No => plain().map(|value| (value, None)),
            // `Identifier.value` is no choice element, `Observation.value` is.
            Choice::Any => plain().map(|value| (value, None)).or_else(|| {
                members.iter().find_map(|(name, value)| {
                    let suffix = name.strip_prefix(&*self.name)?;
                    Some((*value, Some(variant_type(suffix)?)))
                })
            }),
            Choice::Only(types) => members
                .iter()
                .find_map(|(name, value)| {
                    let suffix = name.strip_prefix(&*self.name)?;
                    Some((*value, Some(*types.iter().find(|t| t.is_suffix(suffix))?)))
                })
                .or_else(|| {
                    let value = plain()?;
                    let data_type = types.iter().find(|t| Item::element(value).is_a(crate::fhirpath::types::TypeName::Data(t)))?;
                    Some((value, Some(*data_type)))
                }),
        }
    }

    /// The elements `_name` and `_nameType` that hold a primitive's extensions.
    fn shadows<'a>(&self, members: &'a [Member<'a>], shadow: &str, sink: &mut dyn FnMut(Value<'a>) -> Flow) -> Flow {
        for (name, value) in members {
            let wanted = match name.strip_prefix(shadow) {
                None => false,
                Some("") => true,
                Some(suffix) => match &self.choice {
                    Choice::No => false,
                    Choice::Any => variant_type(suffix).is_some(),
                    Choice::Only(types) => types.iter().any(|t| t.is_suffix(suffix)),
                },
            };
            if wanted {
                sink(*value)?;
            }
        }
        GO_ON
    }
}

/// The elements below `value`; with `deep` also theirs. Names and types of elements are lost.
pub(super) fn children<'a>(value: Value<'a>, deep: bool, sink: Sink<'_, 'a>) -> Flow {
    for (name, child) in value.members() {
        if *name == "resourceType" || name.starts_with('_') {
            continue;
        }
        walk(&[], *child, None, &mut |item| {
            sink(item)?;
            match item {
                Item::Element { value, .. } if deep => children(value, deep, sink),
                _ => GO_ON,
            }
        })?;
    }
    GO_ON
}

/// `getResourceKey()`: type and id of a resource.
pub(super) fn resource_key(item: Item<'_>) -> Option<Item<'_>> {
    let resource = item.as_element()?;
    Some(Item::Key { resource_type: resource.str("resourceType")?, id: resource.str("id")? })
}

/// `getReferenceKey(Type?)`: type and id of what a Reference names, if it is of the wanted type.
pub(super) fn reference_key<'a>(item: Item<'a>, wanted: Option<&'static str>) -> Option<Item<'a>> {
    let text = item.as_element()?.str("reference")?;
    if let Some(resource_type) = wanted
        && let Some(id) = text.strip_prefix(resource_type).and_then(|rest| rest.strip_prefix('/'))
        && is_id(id)
    {
        return Some(Item::Key { resource_type, id });
    }
    let (resource_type, id) = literal(text)?;
    wanted.is_none_or(|wanted| wanted == resource_type).then_some(Item::Key { resource_type, id })
}

/// `resolve() is Type` of a Reference, a canonical or a URL, as far as it can be known without the other resource: by its URL,
/// by `Reference.type`, or by the resource that is contained.
pub(super) fn refers_to(item: Item<'_>, resource: Value<'_>, resource_type: &str) -> bool {
    let Some(element) = item.as_element() else { return false };
    if let Some(text) = element.str("reference").or(element.as_str()) {
        if let Some(id) = text.strip_prefix('#') {
            let contained = resource.get("contained").unwrap_or(Value::Null);
            return contained.items().iter().any(|r| r.str("id") == Some(id) && r.str("resourceType") == Some(resource_type));
        }
        let path = text.split_once("/_history/").map_or(text, |(path, _)| path);
        if let Some((before, id)) = path.rsplit_once('/')
            && is_id(id)
            && crate::fhir::definitions::is_resource_type(before.rsplit('/').next().unwrap_or_default())
        {
            return before.rsplit('/').next() == Some(resource_type);
        }
    }
    element.str("type") == Some(resource_type) && !matches!(element, Value::String(_))
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}
