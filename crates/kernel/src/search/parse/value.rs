//! Values, by the kind of their parameter and by its modifier (FHIR R4, section 3.1.1.4).

use super::super::parameters::{Kind, Parameter, parameter as parameter_of};
use super::super::query::{Concepts, Hierarchy, Match, Operand, Reference, System, Token, Unit};
use super::criterion::target_of;
use super::text::{split, unescape};
use super::{Environment, Refusal, range};
use crate::fhir::{definitions, primitive};

/// How far from a place is near, where the search does not say.
const NEAR_M: f64 = 50_000.0;

/// A modifier that fits its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Modifier {
    None,
    Missing,
    Exact,
    Contains,
    Text,
    Not,
    OfType,
    Identifier,
    Above,
    Below,
    In,
    NotIn,
    /// `:Patient`
    Target(&'static str),
}

impl Modifier {
    /// # Errors
    /// A modifier that R4 does not define for the parameter's kind.
    pub(super) fn parse(parameter: &Parameter, name: Option<&str>) -> Result<Self, Refusal> {
        let Some(name) = name else { return Ok(Self::None) };
        Ok(match (name, parameter.kind) {
            ("missing", kind) if kind != Kind::Composite && kind != Kind::Special => Self::Missing,
            ("exact", Kind::String) => Self::Exact,
            ("contains", Kind::String) => Self::Contains,
            ("text", Kind::Token) => Self::Text,
            ("not", Kind::Token) => Self::Not,
            ("of-type", Kind::Token) if yields_identifiers(parameter) => Self::OfType,
            ("identifier", Kind::Reference) => Self::Identifier,
            ("in", Kind::Token) => Self::In,
            ("not-in", Kind::Token) => Self::NotIn,
            ("above", Kind::Uri | Kind::Token) => Self::Above,
            ("below", Kind::Uri | Kind::Token) => Self::Below,
            (target, Kind::Reference) if definitions::is_resource_type(target) => Self::Target(target_of(parameter, target)?),
            _ => return Err(Refusal::unsupported(refused(parameter))),
        })
    }
}

/// Whether `:of-type` has something to look at.
fn yields_identifiers(parameter: &Parameter) -> bool {
    parameter.yields.iter().any(|y| y.of == "Identifier")
}

fn refused(parameter: &Parameter) -> String {
    let kind = parameter.kind;
    let allowed = match kind {
        Kind::String => "`:exact`, `:contains` and `:missing`",
        Kind::Token if yields_identifiers(parameter) => "`:text`, `:not`, `:in`, `:not-in`, `:above`, `:below`, `:of-type` and `:missing`",
        Kind::Token => "`:text`, `:not`, `:in`, `:not-in`, `:above`, `:below` and `:missing`",
        Kind::Reference => "`:identifier`, a resource type such as `:Patient`, and `:missing`",
        Kind::Uri => "`:above`, `:below` and `:missing`",
        Kind::Number | Kind::Date | Kind::Quantity => "`:missing` only",
        Kind::Composite | Kind::Special => "none",
    };
    format!("the modifier is not one of a {} parameter, which takes {allowed}", kind.name())
}

/// Reads one value, its escapes still in it.
pub(super) fn read(environment: &Environment<'_>, parameter: &Parameter, modifier: &Modifier, text: &str) -> Result<Operand, Refusal> {
    if text.is_empty() {
        return Err(Refusal::value(r"a value between commas is empty; write `\,` if the comma belongs to a value"));
    }
    if parameter.kind != Kind::Composite {
        let like = Like { environment, kind: parameter.kind, reference: Some(parameter) };
        return one(&like, modifier, text);
    }
    let parts = split(text, '$');
    if parts.len() != parameter.components.len() {
        let codes: Vec<&str> = parameter.components.iter().map(|c| c.code).collect();
        return Err(Refusal::value(format!("expected {} values with `$` between them: {}", codes.len(), codes.join(", "))));
    }
    let components = parameter.components.iter().zip(parts).map(|(component, part)| {
        let reference = parameter_of(parameter.resource_type, component.code);
        let told = |refusal: Refusal| Refusal { what: format!("the part for {}: {}", component.code, refusal.what), ..refusal };
        if part.is_empty() {
            return Err(told(Refusal::value("it is empty")));
        }
        one(&Like { environment, kind: component.kind, reference }, &Modifier::None, part).map_err(told)
    });
    Ok(Operand::Composite(components.collect::<Result<_, _>>()?))
}

/// What a value is read as.
struct Like<'p> {
    environment: &'p Environment<'p>,
    kind: Kind,
    /// The parameter whose references these are.
    reference: Option<&'p Parameter>,
}

fn one(like: &Like<'_>, modifier: &Modifier, text: &str) -> Result<Operand, Refusal> {
    let plain = || unescape(text).map(|text| text.into_owned());
    match like.kind {
        Kind::Number => range::number(&plain()?).map(Operand::Number),
        Kind::Date => range::date(&plain()?, like.environment.now).map(Operand::Date),
        Kind::String => {
            let how = match modifier {
                Modifier::Exact => Match::Exact,
                Modifier::Contains => Match::Contains,
                _ => Match::Begins,
            };
            Ok(Operand::String { text: plain()?, how })
        }
        Kind::Token => match modifier {
            Modifier::Text => Ok(Operand::Text(plain()?)),
            Modifier::OfType => of_type(text),
            Modifier::In | Modifier::NotIn => value_set(&plain()?).map(Operand::Concepts),
            Modifier::Below => concept(text).map(|(system, code)| Operand::Concepts(Concepts::Below { system, code })),
            Modifier::Above => concept(text).map(|(system, code)| Operand::Concepts(Concepts::Above { system, code })),
            _ => token(text).map(Operand::Token),
        },
        Kind::Reference => match modifier {
            Modifier::Identifier => token(text).map(Operand::Identifier),
            Modifier::Target(target) => reference(like, Some(target), &plain()?).map(Operand::Reference),
            _ => reference(like, None, &plain()?).map(Operand::Reference),
        },
        Kind::Quantity => quantity(text),
        Kind::Uri => {
            let how = match modifier {
                Modifier::Above => Hierarchy::Above,
                Modifier::Below => Hierarchy::Below,
                _ => Hierarchy::Exact,
            };
            Ok(Operand::Uri { uri: plain()?, how })
        }
        Kind::Special => near(text),
        Kind::Composite => Err(Refusal::unsupported("a composite of composites is none of R4's parameters")),
    }
}

/// `code`, `system|code`, `|code`, `system|`.
fn token(text: &str) -> Result<Token, Refusal> {
    let parts = parts(text)?;
    match parts.as_slice() {
        [code] => Ok(Token { system: System::Any, code: Some(code.clone()) }),
        [system, code] if system.is_empty() && !code.is_empty() => Ok(Token { system: System::Absent, code: Some(code.clone()) }),
        [system, code] if !system.is_empty() => {
            Ok(Token { system: System::Is(system.clone()), code: Some(code.clone()).filter(|code| !code.is_empty()) })
        }
        _ => Err(Refusal::value(
            r"expected `code`, `system|code`, `|code` (no system) or `system|` (any code of it); a `|` of the code is written `\|`",
        )),
    }
}

/// The value set of `:in`: a URL, perhaps with a version, or `ValueSet/id`.
fn value_set(text: &str) -> Result<Concepts, Refusal> {
    let named = text.strip_prefix("ValueSet/").is_some_and(|id| primitive::is_id(id.as_bytes()));
    if named || text.contains(':') && !text.contains(char::is_whitespace) {
        return Ok(Concepts::In(text.to_owned()));
    }
    Err(Refusal::value("expected the value set's URL, such as `http://hl7.org/fhir/ValueSet/condition-clinical`, or `ValueSet/id`"))
}

/// `system|code` of `:above` and `:below`, which need both.
fn concept(text: &str) -> Result<(String, String), Refusal> {
    match parts(text)?.as_slice() {
        [system, code] if !system.is_empty() && !code.is_empty() => Ok((system.clone(), code.clone())),
        _ => Err(Refusal::value("expected `system|code`: without its code system, nobody knows what is above or below a code")),
    }
}

/// `system|code|value`.
fn of_type(text: &str) -> Result<Operand, Refusal> {
    let parts = parts(text)?;
    match parts.as_slice() {
        [system, code, value] if !code.is_empty() && !value.is_empty() => {
            let system = if system.is_empty() { System::Any } else { System::Is(system.clone()) };
            Ok(Operand::OfType { of: Token { system, code: Some(code.clone()) }, value: value.clone() })
        }
        _ => Err(Refusal::value("`:of-type` needs `system|code|value`: the type of the identifier, and its value")),
    }
}

fn parts(text: &str) -> Result<Vec<String>, Refusal> {
    split(text, '|').into_iter().map(|part| unescape(part).map(|part| part.into_owned())).collect()
}

/// `[type]/[id]`, `[id]`, a URL. With a type after the parameter, that type's.
fn reference(like: &Like<'_>, target: Option<&'static str>, text: &str) -> Result<Reference, Refusal> {
    let own = text.strip_prefix(like.environment.base).and_then(|rest| rest.strip_prefix('/'));
    let relative = own.unwrap_or(text);
    let is_id = |id: &str| primitive::is_id(id.as_bytes());
    if let Some((name, id)) = relative.split_once('/')
        && let Some(definition) = definitions::resource_type(name)
        && is_id(id)
    {
        let resource_type = definition.name();
        return match target {
            Some(target) if target != resource_type => {
                Err(Refusal::value(format!("the value is a {resource_type}, but the modifier says {target}")))
            }
            _ => Ok(Reference::Resource { resource_type, id: id.to_owned() }),
        };
    }
    if is_id(text) {
        let only = like.reference.and_then(|p| if let [only] = p.targets.as_slice() { Some(*only) } else { None });
        return Ok(match target.or(only) {
            Some(resource_type) => Reference::Resource { resource_type, id: text.to_owned() },
            None => Reference::Id(text.to_owned()),
        });
    }
    if own.is_none() && text.contains(':') && !text.contains(char::is_whitespace) {
        return Ok(Reference::Url(text.to_owned()));
    }
    Err(Refusal::value("expected `Type/id`, an id, or a URL; a reference to one version of a resource is not searched for"))
}

/// `[number]`, `[number]|[system]|[code]`, `[number]||[code]`.
fn quantity(text: &str) -> Result<Operand, Refusal> {
    let parts = parts(text)?;
    let (number, unit) = match parts.as_slice() {
        [number] => (number, Unit::Any),
        [number, system, code] if code.is_empty() && system.is_empty() => (number, Unit::Any),
        [number, system, code] if system.is_empty() => (number, Unit::Named(code.clone())),
        [number, system, code] if !code.is_empty() => (number, Unit::Coded { system: system.clone(), code: code.clone() }),
        _ => {
            let what = "expected a number, `number|system|code` (`5.4|http://unitsofmeasure.org|mg`) or `number||code` (`5.4||mg`)";
            return Err(Refusal::value(what));
        }
    };
    Ok(Operand::Quantity { number: range::number(number)?, unit })
}

/// `near`: `latitude|longitude|distance|unit`.
fn near(text: &str) -> Result<Operand, Refusal> {
    let wrong = || {
        Refusal::value(
            "expected `latitude|longitude|distance|unit` in degrees (WGS 84), the unit one of km, m and [mi_us]; distance and unit may be left out",
        )
    };
    let parts = parts(text)?;
    let number = |at: usize| parts.get(at).and_then(|part| part.parse::<f64>().ok()).filter(|n| n.is_finite());
    let unit = match parts.get(3).map(String::as_str) {
        None | Some("" | "km") => 1_000.0,
        Some("m") => 1.0,
        Some("[mi_us]" | "[mi_i]") => 1_609.344,
        Some(_) => return Err(wrong()),
    };
    let (latitude, longitude) = number(0).zip(number(1)).ok_or_else(wrong)?;
    let distance_m = match parts.get(2).map(String::as_str) {
        None | Some("") => NEAR_M,
        Some(_) => number(2).ok_or_else(wrong)? * unit,
    };
    let there = latitude.abs() <= 90.0 && longitude.abs() <= 180.0 && distance_m >= 0.0 && parts.len() <= 4;
    if there { Ok(Operand::Near { latitude, longitude, distance_m }) } else { Err(wrong()) }
}
