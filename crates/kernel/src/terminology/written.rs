//! Code systems and value sets as somebody wrote them: the resources CodeSystem and ValueSet.

use super::value_set::{Filter, Part};
use super::{CodeSystem, Content, Text, ValueSet};
use crate::fhir::json::Value;

/// A CodeSystem resource. Concepts are below those that they stand in, and those that their property `parent` names.
pub fn code_system(resource: Value<'_>) -> CodeSystem {
    let content = if resource.str("content") == Some("complete") { Content::Complete } else { Content::Part };
    let mut system = CodeSystem::new(text(resource, "url"), text(resource, "version"), title(resource), content);
    concepts(&mut system, resource, None);
    let mut named = Vec::new();
    each_concept(resource, &mut |concept| {
        for property in list(concept, "property") {
            if let (Some(code), Some(other)) = (concept.str("code"), property.str("valueCode")) {
                match property.str("code") {
                    Some("parent") => named.push((other.to_owned(), code.to_owned())),
                    Some("child") => named.push((code.to_owned(), other.to_owned())),
                    _ => {}
                }
            }
        }
    });
    for (parent, child) in named {
        if let (Some(parent), Some(_)) = (system.place(&parent), system.place(&child)) {
            system.add(child.into(), Text::default(), Some(parent));
        }
    }
    system
}

fn concepts(system: &mut CodeSystem, of: Value<'_>, parent: Option<u32>) {
    for concept in list(of, "concept") {
        let at = system.add(text(*concept, "code"), text(*concept, "display"), parent);
        concepts(system, *concept, Some(at));
    }
}

fn each_concept<'a>(of: Value<'a>, with: &mut dyn FnMut(Value<'a>)) {
    for concept in list(of, "concept") {
        with(*concept);
        each_concept(*concept, with);
    }
}

/// A ValueSet resource. Without a `compose`, it has the codes of its `expansion`.
pub fn value_set(resource: Value<'_>) -> ValueSet {
    let compose = resource.get("compose");
    let parts = |name: &str| compose.map_or(&[][..], |compose| list(compose, name)).iter().map(|p| part(*p)).collect::<Vec<_>>();
    let (mut include, exclude) = (parts("include"), parts("exclude"));
    if compose.is_none() {
        expanded(resource.get("expansion").unwrap_or(Value::Null), &mut include);
    }
    ValueSet { url: text(resource, "url"), version: text(resource, "version"), title: title(resource), include, exclude }
}

fn part(part: Value<'_>) -> Part {
    let with_version = |url: &str| part.str("version").map_or_else(|| url.to_owned(), |version| format!("{url}|{version}"));
    let codes = part.get("concept").map(|codes| codes.items().iter().map(|c| (text(*c, "code"), text(*c, "display"))).collect());
    let filter = |f: &Value<'_>| Filter { property: text(*f, "property"), operator: text(*f, "op"), value: text(*f, "value") };
    Part {
        system: part.str("system").map(|url| with_version(url).into()),
        codes,
        filters: list(part, "filter").iter().map(filter).collect(),
        value_sets: list(part, "valueSet").iter().filter_map(|url| url.as_str()).map(|url| url.to_owned().into()).collect(),
        elsewhere: false,
    }
}

/// The codes of an expansion, those below others included; abstract ones only group.
fn expanded(of: Value<'_>, parts: &mut Vec<Part>) {
    for entry in list(of, "contains") {
        if let (Some(system), Some(code)) = (entry.str("system"), entry.str("code"))
            && entry.get("abstract") != Some(Value::Boolean(true))
        {
            let codes = Some(vec![(code.to_owned().into(), text(*entry, "display"))]);
            parts.push(Part { system: Some(system.to_owned().into()), codes, ..Part::default() });
        }
        expanded(*entry, parts);
    }
}

fn list<'a>(of: Value<'a>, name: &str) -> &'a [Value<'a>] {
    of.get(name).map_or(&[], |value| value.items())
}

fn text(of: Value<'_>, name: &str) -> Text {
    of.str(name).unwrap_or_default().to_owned().into()
}

fn title(of: Value<'_>) -> Text {
    of.str("title").or(of.str("name")).unwrap_or_default().to_owned().into()
}
