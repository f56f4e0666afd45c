//! What a PATCH changes in a resource: JSON Patch (RFC 6902), FHIRPath Patch (<http://hl7.org/fhir/R4/fhirpatch.html>), and JSON
//! Merge Patch (RFC 7396).
//!
//! They work on the resource as it is stored: members keep their order and numbers their digits, and only what is on the way to a
//! change is made anew. Whether the result is a resource is for the validation to say. An object or array that a removal leaves
//! empty goes with it: FHIR's JSON has none.

mod elements;
mod json_patch;
mod merge;
mod operations;
mod path;
#[cfg(test)]
mod tests;

use super::issue::{Issue, IssueType};
use super::json::{self, Value};
use super::validate::validate;
use crate::limits::{MAX_JSON_DEPTH, MAX_JSON_VALUES, MAX_PATCH_OPERATIONS};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bumpalo::Bump;

/// In which form a patch is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json-patch+json`: an array of operations.
    JsonPatch,
    /// `application/merge-patch+json`: an object of what changes.
    MergePatch,
    /// `application/json`: a resource as below, or any other object as a merge patch.
    Json,
    /// A resource: Parameters that are a FHIRPath Patch, or a Binary that holds a JSON Patch, as entries of a Bundle have it.
    Resource,
}

/// The media type of a JSON Patch.
pub const JSON_PATCH: &str = "application/json-patch+json";

/// The media type of a JSON Merge Patch.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// A patch whose form has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch<'a>(Kind<'a>);

#[derive(Clone, Debug, PartialEq)]
enum Kind<'a> {
    Json(Vec<json_patch::Operation<'a>>),
    Merge(Value<'a>),
    FhirPath(Vec<operations::Operation<'a>>),
}

impl<'a> Patch<'a> {
    /// Reads a patch.
    ///
    /// # Errors
    /// Each problem, with its place in what was sent: `Patch.operation[2].path`, `Parameters.parameter[2]`.
    pub fn read(format: Format, document: Value<'a>, arena: &'a Bump) -> Result<Self, Vec<Issue>> {
        match format {
            Format::JsonPatch => json_patch::read(document).map(|operations| Self(Kind::Json(operations))).map_err(|i| vec![i]),
            Format::MergePatch => merge::read(document).map(|changes| Self(Kind::Merge(changes))).map_err(|i| vec![i]),
            Format::Json if !matches!(document.str("resourceType"), Some("Parameters" | "Binary")) => {
                Self::read(Format::MergePatch, document, arena)
            }
            Format::Json | Format::Resource => Self::of_resource(document, arena),
        }
    }

    fn of_resource(resource: Value<'a>, arena: &'a Bump) -> Result<Self, Vec<Issue>> {
        let issues = validate(&resource);
        if !issues.is_empty() {
            return Err(issues);
        }
        let one = |issue| vec![issue];
        match resource.str("resourceType") {
            Some("Parameters") => operations::read(resource, arena).map(|operations| Self(Kind::FhirPath(operations))).map_err(one),
            Some("Binary") => Self::read(Format::JsonPatch, held(&resource, arena).map_err(one)?, arena),
            _ => {
                let what = "a patch is a Parameters resource (FHIRPath Patch), or a Binary of application/json-patch+json (JSON Patch)";
                Err(one(Issue::error(IssueType::Structure, "Resource", what)))
            }
        }
    }

    /// The resource with all changes made, in their order; the whole patch or nothing of it.
    ///
    /// # Errors
    /// Which operation cannot be done on this resource, and why.
    pub fn apply(&self, resource: Value<'a>, arena: &'a Bump) -> Result<Value<'a>, Issue> {
        match &self.0 {
            Kind::Json(operations) => json_patch::apply(operations, resource, arena),
            Kind::Merge(changes) => merge::apply(*changes, resource, arena),
            Kind::FhirPath(operations) => operations::apply(operations, resource, arena),
        }
    }
}

/// The JSON Patch that a Binary holds.
fn held<'a>(binary: &Value<'a>, arena: &'a Bump) -> Result<Value<'a>, Issue> {
    if binary.str("contentType") != Some(JSON_PATCH) {
        let what = format!("a Binary that is a patch has the contentType `{JSON_PATCH}`");
        return Err(Issue::error(IssueType::Value, "Binary.contentType", what));
    }
    let wrong = |what: String| Issue::error(IssueType::Value, "Binary.data", what);
    let text: String = binary.str("data").unwrap_or_default().split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(text).map_err(|_| wrong("expected a JSON Patch in base64".to_owned()))?;
    json::parse(&bytes, arena).map_err(|e| wrong(format!("the JSON Patch is {e}")))
}

/// What patches put into a resource: how much may still come, since an operation can copy what another has copied.
struct Budget {
    values: usize,
}

impl Budget {
    fn new() -> Self {
        Self { values: MAX_JSON_VALUES }
    }

    /// Takes a value that will stand `depth` levels deep; false if that is too much.
    fn take(&mut self, value: Value<'_>, depth: usize) -> bool {
        let Some(left) = self.values.checked_sub(1).filter(|_| depth <= MAX_JSON_DEPTH) else { return false };
        self.values = left;
        value.items().iter().all(|item| self.take(*item, depth + 1)) && value.members().iter().all(|(_, v)| self.take(*v, depth + 1))
    }
}

/// What is said of a patch that makes a resource too large or too deep.
fn too_large(at: String) -> Issue {
    Issue::error(IssueType::TooCostly, at, "with this operation the resource would be larger, or nest deeper, than any that is taken")
}

fn bounded(operations: usize, at: &str) -> Result<(), Issue> {
    if operations <= MAX_PATCH_OPERATIONS {
        return Ok(());
    }
    let what =
        format!("a patch may have {MAX_PATCH_OPERATIONS} operations, or members that it changes; send the whole resource with PUT instead");
    Err(Issue::error(IssueType::TooCostly, at, what))
}

/// The value without the arrays and objects that hold nothing.
fn pruned<'a>(value: Value<'a>, arena: &'a Bump) -> Value<'a> {
    let empty = |value: &Value<'_>| matches!(value, Value::Array([]) | Value::Object([]));
    match value {
        Value::Array(items) if items.iter().any(|item| !item.items().is_empty() || !item.members().is_empty() || empty(item)) => {
            let kept = items.iter().map(|item| pruned(*item, arena)).filter(|item| !empty(item));
            Value::Array(arena.alloc_slice_copy(&kept.collect::<Vec<_>>()))
        }
        Value::Object(members) => {
            let kept = members.iter().map(|(name, value)| (*name, pruned(*value, arena))).filter(|(_, value)| !empty(value));
            Value::Object(arena.alloc_slice_copy(&kept.collect::<Vec<_>>()))
        }
        other => other,
    }
}
