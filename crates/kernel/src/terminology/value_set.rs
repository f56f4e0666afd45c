//! A value set as its definition says it (ValueSet.compose).

use super::Text;

/// A value set.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueSet {
    /// Its canonical URL.
    pub url: Text,
    /// Its version; empty if nothing is said.
    pub version: Text,
    /// Its title or name.
    pub title: Text,
    /// What is in it: what any of these says.
    pub include: Vec<Part>,
    /// What is not, though it was included.
    pub exclude: Vec<Part>,
}

/// A part of a value set: the codes for which all that it says is true (`compose.include`, `compose.exclude`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Of this code system: its URL, perhaps with a version.
    pub system: Option<Text>,
    /// One of these codes, with a display if it has one of its own.
    pub codes: Option<Vec<(Text, Text)>>,
    /// With these properties.
    pub filters: Vec<Filter>,
    /// In each of these value sets.
    pub value_sets: Vec<Text>,
    /// The codes are not part of this program.
    pub elsewhere: bool,
}

/// What a code's property must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// `concept`, `code`, `parent`, ...
    pub property: Text,
    /// `is-a`, `descendent-of`, `=`, ...
    pub operator: Text,
    /// What it is compared with.
    pub value: Text,
}
