//! SearchParameter resources (R4) that a centre adds to HL7's: what they say, checked.

use super::parameters::{Kind, Parameter, Path, of_type, try_compiled, with_added};
use crate::fhir::definitions;
use crate::limits::{MAX_ADDED_PARAMETER_BASES, MAX_VIEW_BYTES};
use serde_json::Value;

pub use super::parameters::{Known, TypeParameters};

#[cfg(test)]
mod tests;

/// What an added parameter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its canonical URL.
    pub url: String,
    /// Its name in a query.
    pub code: String,
    /// Its type.
    pub kind: Kind,
    /// The resource types that have it.
    pub bases: Vec<&'static str>,
    /// The resource types that a reference may be to.
    targets: Vec<&'static str>,
    /// FHIRPath.
    expression: String,
}

/// Why a SearchParameter cannot be added: where, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct Wrong {
    /// A FHIRPath location: `SearchParameter.expression`.
    pub at: String,
    /// What is wrong, and what to do.
    pub what: String,
}

fn wrong(element: &str, what: impl Into<String>) -> Wrong {
    Wrong { at: format!("SearchParameter.{element}"), what: what.into() }
}

impl Definition {
    /// Reads a SearchParameter.
    ///
    /// # Errors
    /// What cannot be taken: composite and special parameters, names that HL7's have, expressions that cannot be evaluated.
    pub fn parse(json: &str) -> Result<Self, Wrong> {
        if json.len() > MAX_VIEW_BYTES {
            return Err(wrong("id", format!("it has {} bytes; at most {MAX_VIEW_BYTES} are taken", json.len())));
        }
        let json: Value = serde_json::from_str(json).map_err(|e| wrong("id", format!("it is no JSON: {e}")))?;
        let text = |member: &str| json.get(member).and_then(Value::as_str);
        let needed = |member: &'static str| text(member).filter(|t| !t.is_empty()).ok_or_else(|| wrong(member, "it is missing"));
        let url = needed("url")?.to_owned();
        if text("status") == Some("retired") {
            return Err(wrong("status", "it is retired; delete it, or make it active"));
        }
        let code = needed("code")?;
        let plain = code.starts_with(|c: char| c.is_ascii_lowercase())
            && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !plain || code.len() > 64 {
            return Err(wrong("code", "use at most 64 lower-case letters, digits and hyphens, beginning with a letter"));
        }
        let kind = kind(needed("type")?)?;
        let types = |member: &str| -> Result<Vec<&'static str>, Wrong> {
            let names = json.get(member).and_then(Value::as_array).into_iter().flatten().enumerate();
            let known = |(at, name): (usize, &Value)| {
                let found = name.as_str().and_then(definitions::resource_type);
                found
                    .map(|t| t.name())
                    .ok_or_else(|| wrong(&format!("{member}[{at}]"), "this is not a resource type of FHIR R4; name each type"))
            };
            names.map(known).collect()
        };
        let (mut bases, targets) = (types("base")?, types("target")?);
        bases.sort_unstable();
        bases.dedup();
        if bases.is_empty() || bases.len() > MAX_ADDED_PARAMETER_BASES {
            return Err(wrong("base", format!("name 1 to {MAX_ADDED_PARAMETER_BASES} resource types")));
        }
        if kind == Kind::Reference && targets.is_empty() {
            return Err(wrong("target", "name the resource types that the reference may be to"));
        }
        let expression = needed("expression")?.to_owned();
        let definition = Self { url, code: code.to_owned(), kind, bases, targets, expression };
        for base in &definition.bases {
            if of_type(base).is_some_and(|standard| standard.get(code).is_some()) {
                return Err(wrong("code", format!("FHIR R4 has a parameter `{code}` of {base}; choose another name")));
            }
            let of_base = definition.expression_of(base);
            if of_base.is_empty() {
                return Err(wrong("expression", format!("no part of it begins with {base}, which is among its bases")));
            }
            try_compiled(&of_base).map_err(|(part, error)| wrong("expression", format!("`{part}`: {error}")))?;
        }
        Ok(definition)
    }

    /// The alternatives that are about a type: those that begin with its name.
    fn expression_of(&self, base: &str) -> String {
        let begins = |part: &&str| {
            let rest = part.trim_start_matches('(').strip_prefix(base);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
        };
        self.expression.split('|').map(str::trim).filter(begins).collect::<Vec<_>>().join(" | ")
    }

    /// What the values of a type follow from.
    pub(crate) fn fingerprint(&self, base: &str) -> String {
        format!("{} {} {:?} {}", self.code, self.kind.name(), self.targets, self.expression_of(base))
    }
}

/// HL7's parameters of a type with those that were added: definitions with their slots. What has once had a slot keeps it, and no
/// other gets it, so that values that were packed with one list are read rightly with a later one.
pub fn parameters(base: &'static str, added: &[(u16, &Definition)]) -> Option<&'static TypeParameters> {
    let standard = of_type(base)?;
    let first = standard.about() + 1;
    let parameter = |(slot, definition): &(u16, &Definition)| -> Option<Parameter> {
        // They live as long as the program: whoever has read a query refers to them.
        let text: &'static str = definition.expression_of(base).leak();
        let paths = try_compiled(text).ok()?.into_iter().zip(text.split(" | "));
        Some(Parameter {
            resource_type: base,
            code: definition.code.clone().leak(),
            kind: definition.kind,
            number: u16::try_from(first + usize::from(*slot)).ok()?,
            targets: definition.targets.clone(),
            components: Vec::new(),
            expression: text,
            paths: paths.map(|(path, text)| Path::of(path, text, base)).collect(),
            yields: Vec::new(), // what the values look like says what they are
        })
    };
    with_added(base, added.iter().map(parameter).collect::<Option<_>>()?)
}

fn kind(name: &str) -> Result<Kind, Wrong> {
    let kinds = [Kind::Number, Kind::Date, Kind::String, Kind::Token, Kind::Reference, Kind::Quantity, Kind::Uri];
    let found = kinds.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        wrong("type", format!("what can be added is one of {}", names.join(", ")))
    })
}
