//! References between resources.

use super::json::Value;
use bumpalo::Bump;

/// What becomes of a reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rewrite<'a> {
    /// It stays as it is.
    Keep,
    /// Its `reference` becomes this literal.
    Literal(&'a str),
    /// It becomes a logical reference: `reference` goes, `type` and `identifier` come.
    Logical {
        /// The type of what is meant.
        resource_type: &'a str,
        /// `identifier.system`, if any.
        system: Option<&'a str>,
        /// `identifier.value`.
        value: &'a str,
    },
}

/// The resource with every reference passed through `decide`: `Reference.reference` everywhere, and elements of type
/// uri, url, oid, uuid and canonical (FHIR R4 3.1.0.11.2). `decide` gets the text and its place, such as `Patient.managingOrganization.reference`,
/// and whether it stands in a Reference (elsewhere `Logical` is not possible). Contained resources are visited too.
pub fn rewrite<'a>(_resource: Value<'a>, _arena: &'a Bump, _decide: &mut dyn FnMut(&'a str, &str, bool) -> Rewrite<'a>) -> Value<'a> {
    todo!()
}

/// Splits a literal reference: `Patient/1`, `Patient/1/_history/2` or `http://host/fhir/Patient/1` -> (`Patient`, `1`).
/// `None` for `#contained`, `urn:...`, and whatever does not end in a resource type and an id.
pub fn literal(_reference: &str) -> Option<(&str, &str)> {
    todo!()
}
