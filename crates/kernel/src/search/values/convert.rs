//! FHIR elements as values, by the type of the parameter and the type of the element (FHIR R4, section 3.1.1.4).

use super::packed::Packer;
use super::{UnitOf, Value};
use crate::fhir::json::Value as Json;
use crate::fhir::reference::literal;
use crate::fhirpath::{Focus, Item};
use crate::search::parameters::{Kind, Parameter, Yield};
use crate::search::query::Moments;
use std::ops::ControlFlow;

/// Adds the values of one item that a parameter's expression yields.
pub(super) fn parameter<'a>(parameter: &Parameter, item: Item<'a>, focus: &Focus<'a>, packer: &mut Packer) {
    if parameter.kind != Kind::Composite {
        return values(parameter.kind, &parameter.yields, item, &mut |value| packer.push(&value));
    }
    let focus = Focus { context: Some(item), ..*focus };
    let mut components = Vec::with_capacity(parameter.components.len());
    // The last first: it is the value, which is missing more often than the code.
    for component in parameter.components.iter().rev() {
        let mut of = Vec::new();
        for path in &component.paths {
            let evaluated = path.each(&focus, &mut |item| {
                values(component.kind, &component.yields, item, &mut |value| of.push(value));
                ControlFlow::Continue(())
            });
            if evaluated.is_err() {
                of.clear();
            }
        }
        if of.is_empty() {
            return;
        }
        components.push(of);
    }
    components.reverse();
    packer.push_tuple(&components);
}

/// The values of an item for a parameter of that kind.
fn values<'a>(kind: Kind, yields: &[Yield], item: Item<'a>, sink: &mut dyn FnMut(Value<'a>)) {
    let (json, of) = match item {
        Item::Element { value, data_type: Some(data_type) } => (value, Yield { of: data_type.name, system: system_of(yields) }),
        Item::Element { value, data_type: None } if yields.is_empty() => (value, Yield { of: looks_like(value, kind), system: None }),
        Item::Element { value, data_type: None } => match yields.iter().find(|y| fits(value, y.of)) {
            Some(of) => (value, *of),
            None => return,
        },
        Item::Text(value) | Item::Date(value) | Item::DateTime(value) if yields.is_empty() => {
            (Json::String(value), Yield { of: "string", system: None })
        }
        Item::Boolean(value) if kind == Kind::Token => {
            return sink(Value::Token { system: "", code: if value { "true" } else { "false" } });
        }
        _ => return,
    };
    match kind {
        Kind::Token => token(json, of, sink),
        Kind::String => string(json, of.of, sink),
        Kind::Reference => reference(json, of.of, sink),
        Kind::Date => date(json, of.of, sink),
        Kind::Number | Kind::Quantity => number(json, of.of, sink),
        Kind::Uri => text(json, &mut |text| sink(Value::Uri(text))),
        Kind::Special => place(json, sink),
        Kind::Composite => {}
    }
}

fn system_of(yields: &[Yield]) -> Option<&'static str> {
    yields.iter().find_map(|y| y.system)
}

/// Whether an element can be of that type: data types whose names begin with a capital are objects.
fn fits(json: Json<'_>, of: &str) -> bool {
    let object = of.starts_with(|c: char| c.is_ascii_uppercase());
    match json {
        Json::Object(_) => object,
        Json::Boolean(_) => of == "boolean",
        Json::Number(_) => matches!(of, "decimal" | "integer" | "positiveInt" | "unsignedInt"),
        Json::String(_) => !object && !matches!(of, "boolean" | "decimal" | "integer" | "positiveInt" | "unsignedInt"),
        Json::Null | Json::Array(_) => false,
    }
}

/// The type of an element that an added parameter yields, of which nobody has said the type: by what it has.
fn looks_like(json: Json<'_>, kind: Kind) -> &'static str {
    let has = |names: &[&str]| names.iter().any(|name| json.get(name).is_some());
    if !matches!(json, Json::Object(_)) {
        return "string";
    }
    match kind {
        Kind::Token if has(&["coding"]) => "CodeableConcept",
        Kind::Token if has(&["value"]) && CONTACT_SYSTEMS.contains(&json.str("system").unwrap_or_default()) => "ContactPoint",
        Kind::Token if has(&["value"]) => "Identifier",
        Kind::Token if has(&["code"]) => "Coding",
        Kind::Token => "CodeableConcept",
        Kind::String if has(&["family", "given"]) => "HumanName",
        Kind::String => "Address",
        Kind::Reference if has(&["url"]) => "Attachment",
        Kind::Reference => "Reference",
        Kind::Date if has(&["event", "repeat"]) => "Timing",
        Kind::Date => "Period",
        Kind::Number | Kind::Quantity if has(&["low", "high"]) => "Range",
        Kind::Number | Kind::Quantity if has(&["currency"]) => "Money",
        _ => "Quantity",
    }
}

/// Value set contact-point-system of R4.
const CONTACT_SYSTEMS: [&str; 7] = ["phone", "fax", "email", "pager", "url", "sms", "other"];

fn text<'a>(json: Json<'a>, sink: &mut dyn FnMut(&'a str)) {
    if let Some(text) = json.as_str().filter(|text| !text.is_empty()) {
        sink(text);
    }
}

/// The text of a member, if it has one.
fn member<'a>(json: Json<'a>, name: &str, sink: &mut dyn FnMut(&'a str)) {
    match json.get(name) {
        Some(Json::Array(items)) => items.iter().for_each(|item| text(*item, sink)),
        Some(value) => text(value, sink),
        None => {}
    }
}

fn items<'a>(json: Option<Json<'a>>) -> impl Iterator<Item = Json<'a>> {
    let one = json.filter(|json| matches!(json, Json::Object(_)));
    json.map_or(&[] as &[_], |json| json.items()).iter().copied().chain(one)
}

fn token<'a>(json: Json<'a>, of: Yield, sink: &mut dyn FnMut(Value<'a>)) {
    match (of.of, json) {
        ("CodeableConcept", _) => concept(json, sink),
        ("Coding", _) => coding(json, sink),
        ("Identifier", _) => identifier(json, sink),
        ("ContactPoint", _) => member(json, "value", &mut |code| sink(Value::Token { system: "", code })),
        (_, Json::Boolean(value)) => sink(Value::Token { system: "", code: if value { "true" } else { "false" } }),
        (_, Json::String(code)) if !code.is_empty() => sink(Value::Token { system: of.system.unwrap_or_default(), code }),
        _ => {}
    }
}

fn concept<'a>(json: Json<'a>, sink: &mut dyn FnMut(Value<'a>)) {
    let text = json.str("text").filter(|text| !text.is_empty());
    for of in items(json.get("coding")) {
        let display = of.str("display");
        coding_but(of, text.filter(|text| Some(*text) == display), sink);
    }
    text.into_iter().for_each(|text| sink(Value::Text(text)));
}

fn coding<'a>(json: Json<'a>, sink: &mut dyn FnMut(Value<'a>)) {
    coding_but(json, None, sink);
}

/// A Coding, without its display if that is `known` already.
fn coding_but<'a>(json: Json<'a>, known: Option<&str>, sink: &mut dyn FnMut(Value<'a>)) {
    let (system, code) = (json.str("system").unwrap_or_default(), json.str("code").unwrap_or_default());
    if !system.is_empty() || !code.is_empty() {
        sink(Value::Token { system, code });
    }
    if known.is_none() {
        member(json, "display", &mut |display| sink(Value::Text(display)));
    }
}

fn identifier<'a>(json: Json<'a>, sink: &mut dyn FnMut(Value<'a>)) {
    let (system, value) = (json.str("system").unwrap_or_default(), json.str("value").unwrap_or_default());
    if !system.is_empty() || !value.is_empty() {
        sink(Value::Token { system, code: value });
    }
    let Some(of) = json.get("type") else { return };
    for coding in items(of.get("coding")) {
        let (system, code) = (coding.str("system").unwrap_or_default(), coding.str("code").unwrap_or_default());
        if !value.is_empty() && !code.is_empty() {
            sink(Value::OfType { system, code, value });
        }
    }
    member(of, "text", &mut |text| sink(Value::Text(text)));
}

fn string<'a>(json: Json<'a>, of: &str, sink: &mut dyn FnMut(Value<'a>)) {
    let parts: &[&str] = match of {
        "HumanName" => &["family", "given", "prefix", "suffix", "text"],
        "Address" => &["line", "city", "district", "state", "country", "postalCode", "text"],
        _ => return text(json, &mut |text| sink(Value::String(text))),
    };
    parts.iter().for_each(|part| member(json, part, &mut |text| sink(Value::String(text))));
}

fn reference<'a>(json: Json<'a>, of: &str, sink: &mut dyn FnMut(Value<'a>)) {
    match of {
        "Reference" => {
            member(json, "reference", &mut |text| link(text, sink));
            if let Some(identifier) = json.get("identifier") {
                let (system, value) = (identifier.str("system").unwrap_or_default(), identifier.str("value").unwrap_or_default());
                if !system.is_empty() || !value.is_empty() {
                    sink(Value::Logical { system, value });
                }
            }
            member(json, "display", &mut |display| sink(Value::Text(display)));
        }
        "Attachment" => member(json, "url", &mut |text| link(text, sink)),
        // The first resource of a document or message.
        "Resource" => {
            if let (Some(resource_type), Some(id)) = (json.str("resourceType"), json.str("id")) {
                sink(Value::Reference { resource_type, id });
            }
        }
        _ => text(json, &mut |text| link(text, sink)),
    }
}

fn link<'a>(text: &'a str, sink: &mut dyn FnMut(Value<'a>)) {
    match literal(text) {
        Some((resource_type, id)) => sink(Value::Reference { resource_type, id }),
        // What is contained has no identity of its own.
        None if text.starts_with('#') => {}
        None => sink(Value::Url(text)),
    }
}

fn date<'a>(json: Json<'a>, of: &str, sink: &mut dyn FnMut(Value<'a>)) {
    let moments = match of {
        "Period" => period(json),
        "Timing" => timing(json),
        _ => json.as_str().and_then(Moments::parse),
    };
    if let Some(moments) = moments {
        sink(Value::Date(moments));
    }
}

/// From its start to its end, each with its own precision; open where there is none.
fn period(json: Json<'_>) -> Option<Moments> {
    let bound = |name: &str| json.str(name).map(Moments::parse);
    let (start, end) = (bound("start"), bound("end"));
    if start.is_none() && end.is_none() {
        return None;
    }
    Some(Moments { low: start.map_or(Some(i64::MIN), |m| m.map(|m| m.low))?, high: end.map_or(Some(i64::MAX), |m| m.map(|m| m.high))? })
}

/// From the first of its events to the last, or the bounds of its repetition.
fn timing(json: Json<'_>) -> Option<Moments> {
    let events = json.get("event").unwrap_or(Json::Null).items().iter().filter_map(|e| Moments::parse(e.as_str()?));
    let bounds = json.get("repeat").and_then(|repeat| repeat.get("boundsPeriod")).and_then(period);
    events.chain(bounds).reduce(|a, b| Moments { low: a.low.min(b.low), high: a.high.max(b.high) })
}

fn unit<'a>(json: Json<'a>) -> UnitOf<'a> {
    let code = json.str("code").unwrap_or_default();
    UnitOf { system: json.str("system").unwrap_or_default(), code, unit: json.str("unit").unwrap_or(code) }
}

fn decimal<'a>(json: Json<'a>, name: &str) -> Option<&'a str> {
    if let Some(Json::Number(text)) = json.get(name) { Some(text) } else { None }
}

fn number<'a>(json: Json<'a>, of: &str, sink: &mut dyn FnMut(Value<'a>)) {
    match (of, json) {
        (_, Json::Number(text)) => sink(Value::Number(text)),
        ("Range", _) => {
            let (low, high) = (json.get("low"), json.get("high"));
            let bound = |of: Option<Json<'a>>| of.and_then(|of| decimal(of, "value")).unwrap_or_default();
            let (from, to) = (bound(low), bound(high));
            if let Some(of) = low.or(high).filter(|_| !from.is_empty() || !to.is_empty()) {
                sink(Value::Range { low: from, high: to, unit: unit(of) });
            }
        }
        ("Money", _) => {
            let currency = json.str("currency").unwrap_or_default();
            let unit = UnitOf { system: "urn:iso:std:iso:4217", code: currency, unit: currency };
            decimal(json, "value").into_iter().for_each(|value| sink(Value::Quantity { comparator: "", value, unit }));
        }
        ("SampledData", _) => {} // many numbers, no one of which is the value
        _ => {
            if let Some(value) = decimal(json, "value") {
                sink(Value::Quantity { comparator: json.str("comparator").unwrap_or_default(), value, unit: unit(json) });
            }
        }
    }
}

fn place<'a>(json: Json<'a>, sink: &mut dyn FnMut(Value<'a>)) {
    if let (Some(latitude), Some(longitude)) = (decimal(json, "latitude"), decimal(json, "longitude")) {
        sink(Value::Place(latitude, longitude));
    }
}
