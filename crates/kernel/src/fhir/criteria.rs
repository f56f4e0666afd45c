//! Criteria of conditional interactions and conditional references: `Patient?identifier=system|value`.
//!
//! The part after `?` is a query as the web's forms write it: `&` between parameters, `%41` and `+` (space) decoded. A
//! repeated `identifier` means AND. In `_id` and `identifier`, which are looked up in the journal, a comma (OR) is refused: what
//! would be created or updated if one of two matched is easily guessed wrong. So is `system|` (any value of a system), which
//! cannot be meant to name one resource. All other parameters are those of search, with their modifiers and prefixes.

use super::definitions;
use super::issue::{Issue, IssueType, Severity};
use super::{json::Value, primitive};
use crate::search::conditions::Conditions;
use crate::search::parameters::Known;
use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// What one resource must match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Criteria {
    /// The resource type.
    pub resource_type: String,
    /// `_id`, if asked for.
    pub id: Option<String>,
    /// `identifier` values, all of which must match.
    pub identifiers: Vec<Identifier>,
    /// Other search parameters; at least one if there is neither `_id` nor `identifier`.
    pub others: Conditions,
}

/// A token `system|value`, `|value` (no system) or `value` (any system).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identifier {
    /// `None`: any system; `Some("")`: no system.
    pub system: Option<String>,
    /// The value.
    pub value: String,
}

impl Criteria {
    /// Parses the part after `?` (percent-encoding decoded, `\|`, `\,`, `\$` and `\\` unescaped).
    ///
    /// # Errors
    /// An issue without a place, for the caller to put [`Issue::within`] what held the query.
    pub fn parse(resource_type: &str, query: &str, known: &Known) -> Result<Self, Issue> {
        if !definitions::is_resource_type(resource_type) {
            return Err(issue(IssueType::Value, "the text before `?` is not a resource type of FHIR R4"));
        }
        let mut criteria =
            Self { resource_type: resource_type.to_owned(), id: None, identifiers: Vec::new(), others: Conditions::default() };
        let mut others = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            match &*name {
                "_id" => criteria.add_id(&value)?,
                "identifier" => criteria.add_identifier(&value)?,
                _ => others.push((name.into_owned(), value.into_owned())),
            }
        }
        criteria.others = Conditions::parse(resource_type, others, known)?;
        if criteria.id.is_none() && criteria.identifiers.is_empty() && criteria.others.is_empty() {
            return Err(issue(IssueType::Required, "criteria need a search parameter: without one they would match everything"));
        }
        Ok(criteria)
    }

    fn add_id(&mut self, text: &str) -> Result<(), Issue> {
        if self.id.is_some() {
            return Err(issue(IssueType::Invalid, "`_id` can be given once"));
        }
        if !primitive::is_id(text.as_bytes()) {
            let what = "`_id` needs one id of 1 to 64 letters A-Z and a-z, digits, `-` and `.`";
            return Err(issue(IssueType::Value, what));
        }
        self.id = Some(text.to_owned());
        Ok(())
    }

    fn add_identifier(&mut self, text: &str) -> Result<(), Issue> {
        let has_identifiers = definitions::resource_type(&self.resource_type).is_some_and(|t| t.element("identifier").is_some());
        if !has_identifiers {
            let what = format!("{} has no identifiers in FHIR R4; use `_id`", self.resource_type);
            return Err(issue(IssueType::NotSupported, what));
        }
        let (system, value) = token(text)?;
        if value.is_empty() {
            let what = "`identifier` needs a value: `system|value`, `|value` (no system) or `value` (any system)";
            return Err(issue(IssueType::Value, what));
        }
        self.identifiers.push(Identifier { system, value });
        Ok(())
    }

    /// Whether a resource of that type matches.
    pub fn matches(&self, resource: &Value<'_>) -> bool {
        let same_id = || self.id.as_deref().is_none_or(|id| resource.str("id") == Some(id));
        if resource.str("resourceType") != Some(&self.resource_type) || !same_id() {
            return false;
        }
        let has = identifiers(resource);
        self.identifiers.iter().all(|wanted| {
            let system = |system: &str| wanted.system.as_deref().is_none_or(|wanted| wanted == system);
            has.iter().any(|(s, value)| *value == wanted.value && system(s))
        }) && self.others.hold(resource)
    }
}

/// The `identifier` elements of a resource (one object or an array of them) as (system or "", value). As the search
/// parameter `identifier` of R4 says, the `masterIdentifier` of DocumentReference and DocumentManifest is one too.
/// Those without a value are left out.
pub fn identifiers<'a>(resource: &Value<'a>) -> Vec<(&'a str, &'a str)> {
    let mut found = Vec::new();
    for name in ["identifier", "masterIdentifier"] {
        let Some(value) = resource.get(name) else { continue };
        let one = std::slice::from_ref(&value);
        let items = if matches!(value, Value::Array(_)) { value.items() } else { one };
        found.extend(items.iter().filter_map(|item| Some((item.str("system").unwrap_or_default(), item.str("value")?))));
    }
    found
}

/// Splits a token at its first `|` that is not escaped.
fn token(text: &str) -> Result<(Option<String>, String), Issue> {
    let (mut system, mut part) = (None, String::with_capacity(text.len()));
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(escaped @ ('|' | ',' | '$' | '\\')) => part.push(escaped),
                _ => return Err(issue(IssueType::Value, r"in `identifier`, `\` stands only before `|`, `,`, `$` and `\`")),
            },
            ',' => {
                let what = r"a comma (OR) is not supported in criteria; write `\,` if it belongs to the identifier";
                return Err(issue(IssueType::NotSupported, what));
            }
            '|' if system.is_none() => system = Some(std::mem::take(&mut part)),
            '|' => return Err(issue(IssueType::Value, r"`identifier` has more than one `|`; write `\|` if one belongs to the identifier")),
            _ => part.push(c),
        }
    }
    Ok((system, part))
}

/// Decodes `%41`, and `+` as a blank; `None` if the encoding is not valid, or what it says is not UTF-8.
pub fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        bytes.push(match b {
            b'%' => (digit()? * 16 + digit()?) as u8,
            b'+' => b' ',
            _ => b,
        });
    }
    String::from_utf8(bytes).map(Cow::Owned).ok()
}

fn decode(text: &str) -> Result<Cow<'_, str>, Issue> {
    let wrong = || issue(IssueType::Value, "the percent-encoding of the criteria is not valid: `%` and two hexadecimal digits, UTF-8");
    percent_decoded(text).ok_or_else(wrong)
}

fn issue(code: IssueType, diagnostics: impl Into<String>) -> Issue {
    Issue { severity: Severity::Error, code, diagnostics: diagnostics.into(), expression: None }
}
