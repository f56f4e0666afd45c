//! Criteria of conditional interactions and conditional references: `Patient?identifier=system|value`.

use super::{issue::Issue, json::Value};

/// What one resource must match. `_id` and `identifier` for now: others are refused by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Criteria {
    /// The resource type.
    pub resource_type: String,
    /// `_id`, if asked for.
    pub id: Option<String>,
    /// `identifier` values, all of which must match; at least one unless `id` is given.
    pub identifiers: Vec<Identifier>,
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
    pub fn parse(_resource_type: &str, _query: &str) -> Result<Self, Issue> {
        todo!()
    }

    /// Whether a resource of that type matches.
    pub fn matches(&self, _resource: &Value<'_>) -> bool {
        todo!()
    }
}

/// The `identifier` elements of a resource (one object or an array of them) as (system or "", value).
pub fn identifiers<'a>(_resource: &Value<'a>) -> Vec<(&'a str, &'a str)> {
    todo!()
}
