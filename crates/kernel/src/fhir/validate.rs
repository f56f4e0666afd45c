//! Structure validation against HL7's R4 definitions.

use super::{issue::Issue, json::Value};

/// Checks unknown elements, types, cardinality, required elements and formats. At most
/// [`crate::limits::MAX_ISSUES`] problems; expressions start with the resource type, such as `Patient.name[0].use`.
pub fn validate(_resource: &Value<'_>) -> Vec<Issue> {
    todo!()
}
