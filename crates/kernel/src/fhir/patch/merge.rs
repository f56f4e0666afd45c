//! JSON Merge Patch (RFC 7396): an object of what changes. FHIR does not name it; clients such as fhirpy send it.

use super::{Budget, bounded, pruned, too_large};
use crate::fhir::issue::{Issue, IssueType};
use crate::fhir::json::{Member, Value};
use bumpalo::Bump;

/// Checks the form: an object, of no more members than a patch may have operations, since each is looked for in what it changes.
pub(super) fn read(document: Value<'_>) -> Result<Value<'_>, Issue> {
    match document {
        Value::Object(_) => bounded(changes(document), "Patch").map(|()| document),
        _ => {
            let what = "a JSON Merge Patch is an object of what changes: {\"gender\": \"female\", \"deceasedBoolean\": null}";
            Err(Issue::error(IssueType::Structure, "Patch", what))
        }
    }
}

/// How many members it changes. Those of objects in arrays are not looked for: an array is taken as a whole.
fn changes(patch: Value<'_>) -> usize {
    patch.members().iter().map(|(_, change)| 1 + changes(*change)).sum()
}

/// The resource with the members of the patch in the place of its own: objects into objects, all else as a whole; null removes.
pub(super) fn apply<'a>(patch: Value<'a>, resource: Value<'a>, arena: &'a Bump) -> Result<Value<'a>, Issue> {
    // Both are as deep as what is taken anywhere, and so is what comes of them; not so how large.
    if !Budget::new().take(patch, 0) {
        return Err(too_large("Patch".to_owned()));
    }
    Ok(pruned(merged(resource, patch, arena), arena))
}

fn merged<'a>(target: Value<'a>, patch: Value<'a>, arena: &'a Bump) -> Value<'a> {
    let Value::Object(changes) = patch else { return patch };
    let mut members: Vec<Member<'a>> = target.members().to_vec(); // none, where it is no object
    for (name, change) in changes {
        let place = members.iter().position(|(known, _)| known == name);
        match (place, change) {
            (Some(place), Value::Null) => drop(members.remove(place)),
            (None, Value::Null) => {}
            (Some(place), change) => members[place].1 = merged(members[place].1, *change, arena),
            (None, change) => members.push((*name, merged(Value::Null, *change, arena))),
        }
    }
    Value::Object(arena.alloc_slice_copy(&members))
}
