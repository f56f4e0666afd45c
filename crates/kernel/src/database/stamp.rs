//! A resource's JSON as the journal keeps it.

use crate::fhir::json::{self, Value};
use bumpalo::Bump;

/// A resource's JSON with room for `meta.lastUpdated`, which only the commit knows. A document has no such room.
#[derive(Debug)]
pub(super) struct Stamped {
    pub(super) json: Vec<u8>,
    pub(super) stamp_at: Option<usize>,
}

/// Length of `2026-11-21T19:31:46.123456Z`.
pub(super) const STAMP_LEN: usize = 27;

/// The resource as JSON: `resourceType`, `id` and `meta` first, with `versionId` and room for `lastUpdated`.
pub(super) fn stamped(resource: Value<'_>, id: &str, version: u64) -> Stamped {
    let mut json = Vec::with_capacity(1024);
    json.extend_from_slice(b"{\"resourceType\":");
    json::write_string(resource.str("resourceType").unwrap_or_default(), &mut json);
    json.extend_from_slice(b",\"id\":");
    json::write_string(id, &mut json);
    json.extend_from_slice(format!(",\"meta\":{{\"versionId\":\"{version}\",\"lastUpdated\":\"").as_bytes());
    let stamp_at = json.len();
    json.extend_from_slice(&[b'0'; STAMP_LEN]);
    json.push(b'"');
    let meta = resource.get("meta").map_or(&[][..], |m| m.members());
    let rest = resource.members().iter().filter(|(n, _)| !matches!(*n, "resourceType" | "id" | "meta"));
    write_members(meta.iter().filter(|(n, _)| !matches!(*n, "versionId" | "lastUpdated" | "_versionId" | "_lastUpdated")), &mut json);
    json.push(b'}');
    write_members(rest, &mut json);
    json.push(b'}');
    Stamped { json, stamp_at: Some(stamp_at) }
}

fn write_members<'m, 'a: 'm>(members: impl Iterator<Item = &'m (&'a str, Value<'a>)>, json: &mut Vec<u8>) {
    for (name, value) in members {
        json.push(b',');
        json::write_string(name, json);
        json.push(b':');
        value.write(json);
    }
}

pub(super) fn same_but_stamp(new: &Stamped, current: &[u8]) -> bool {
    let Some(at) = new.stamp_at else { return false };
    new.json.len() == current.len()
        && new.json.get(..at) == current.get(..at)
        && new.json.get(at + STAMP_LEN..) == current.get(at + STAMP_LEN..)
}

/// The resource under the id that it is stored with: views read it there.
pub(super) fn with_id<'a>(resource: Value<'a>, id: &str, arena: &'a Bump) -> Value<'a> {
    if resource.str("id") == Some(id) {
        return resource;
    }
    let id = ("id", Value::String(arena.alloc_str(id)));
    let others = resource.members().iter().filter(|(n, _)| *n != "id").copied();
    let members: Vec<_> = std::iter::once(id).chain(others).collect();
    Value::Object(arena.alloc_slice_copy(&members))
}
