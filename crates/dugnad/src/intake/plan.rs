//! What becomes of a unit: a transaction, a batch, or resources one by one.
//!
//! What may be sent again is told apart by what it is. A resource with an id is written as it is sent: one that is there already makes no
//! version, and one that was changed or deleted since is there again. A resource without an id would be made anew each time, so its
//! content is its key, and a Bundle's is: they are taken once.

use super::source::Unit;
use super::{Fate, Gone, Sink, Taken};
use crate::api::interaction::{self, Action, Conditions, Head};
use dugnad_kernel::database::Interaction;
use serde::Deserialize;
use serde_json::error::Category;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// What became of a part of the input.
#[derive(Debug)]
pub struct Result_ {
    /// The file, and inside it what a person needs to find the part: a line, an entry.
    pub origin: Arc<str>,
    /// The line of an NDJSON file.
    pub line: Option<u64>,
    /// Taken, or why not.
    pub fate: Fate,
    /// The resource types that were sent, one for each resource.
    pub types: Vec<String>,
}

/// Takes a unit in. An error means that nothing more can be taken at all.
pub fn take(unit: Unit, sink: &dyn Sink) -> Result<Vec<Result_>, Gone> {
    match unit {
        Unit::Unreadable { origin, line, why } => {
            Ok(vec![Result_ { origin, line, fate: Fate::refused(None, why), types: vec![UNREADABLE.to_owned()] }])
        }
        Unit::Document { origin, bytes } => document(origin, bytes, sink),
        Unit::Lines { origin, lines } => group(&origin, lines, sink),
    }
}

/// The type shown for what is not JSON.
const UNREADABLE: &str = "(unreadable)";

fn key(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _: std::fmt::Result = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    })
}

fn document(origin: Arc<str>, bytes: Vec<u8>, sink: &dyn Sink) -> Result<Vec<Result_>, Gone> {
    let head = Head::of(&bytes);
    let kind = head.bundle_type().map(str::to_owned);
    match kind.as_deref() {
        Some(kind @ ("transaction" | "batch")) => {
            let Some(types) = types_to_write(&bytes) else { return Ok(vec![single(origin, None, bytes, sink)?]) };
            let key = key(&bytes);
            let fate = if kind == "batch" { sink.batch(bytes, key)? } else { sink.transaction(bytes, Some(key))? };
            Ok(vec![Result_ { origin, line: None, fate, types }])
        }
        _ => Ok(vec![single(origin, None, bytes, sink)?]),
    }
}

/// One resource: by its id, or under a new one.
fn single(origin: Arc<str>, line: Option<u64>, bytes: Vec<u8>, sink: &dyn Sink) -> Result<Result_, Gone> {
    let (kind, address) = match Head::read(&bytes) {
        Err(error) => {
            let fate = Fate::refused(None, unread(&error));
            return Ok(Result_ { origin, line, fate, types: vec![UNREADABLE.to_owned()] });
        }
        Ok(Head { resource_type: None, .. }) => {
            let fate = Fate::refused(Some("resourceType".to_owned()), "there is no resourceType: this is no FHIR resource".to_owned());
            return Ok(Result_ { origin, line, fate, types: vec![UNREADABLE.to_owned()] });
        }
        Ok(Head { resource_type: Some(kind), id, .. }) => {
            let kind = kind.into_owned();
            let address = id.map(|id| format!("{kind}/{id}"));
            (kind, address)
        }
    };
    let (method, address, key) = match &address {
        Some(address) => ("PUT", address.as_str(), None),
        None => ("POST", kind.as_str(), Some(key(&bytes))),
    };
    let fate = match interaction::action(method, address, Some(bytes), Conditions::default()) {
        Ok(Action::Write(interaction)) => sink.single(interaction, key)?,
        Ok(_) => Fate::refused(None, "this is no resource".to_owned()),
        Err(error) => Fate::of_issues(error.issues),
    };
    Ok(Result_ { origin, line, fate, types: vec![kind] })
}

/// Why a line cannot be read, without what stands in it.
fn unread(error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => format!("this is no FHIR resource: an object, whose resourceType and id are strings, was expected ({place})"),
        Category::Eof => format!("not JSON: it ends too early ({place})"),
        Category::Io | Category::Syntax => format!("not JSON: something else was expected ({place})"),
    }
}

/// A line of a group.
struct Line {
    number: u64,
    bytes: Vec<u8>,
    /// The type and the id under which it is written; `None` if it has none, or stands out otherwise: not JSON, no FHIR.
    address: Option<(String, String)>,
}

impl Line {
    fn of((number, bytes): (u64, Vec<u8>)) -> Self {
        let head = Head::read(&bytes).ok();
        let address = head.and_then(|head| {
            let kind = head.resource_type.filter(|kind| interaction::known_type(kind).is_ok())?;
            Some((kind.into_owned(), head.id.filter(|id| interaction::is_id(id))?.into_owned()))
        });
        Self { number, bytes, address }
    }
}

/// Lines with an id in one transaction, since an fsync for each would be the whole cost; if it is refused, line by line. Those without
/// one always are: how lines fall into groups differs from one transfer to the next, and their keys must not.
fn group(origin: &Arc<str>, lines: Vec<(u64, Vec<u8>)>, sink: &dyn Sink) -> Result<Vec<Result_>, Gone> {
    let (mut lines, mut results): (Vec<Line>, _) = (lines.into_iter().map(Line::of).collect(), Vec::new());
    if let Some((bundle, types)) = transaction_of(&lines) {
        let fate = sink.transaction(bundle, None)?;
        if matches!(fate, Fate::Taken { .. }) {
            results.push(Result_ { origin: Arc::clone(origin), line: None, fate, types });
            lines.retain(|line| line.address.is_none());
        }
    }
    for line in lines {
        results.push(single(Arc::clone(origin), Some(line.number), line.bytes, sink)?);
    }
    Ok(results)
}

/// A transaction of the lines that have an address; `None` if there are fewer than two, or one resource comes twice.
fn transaction_of(lines: &[Line]) -> Option<(Vec<u8>, Vec<String>)> {
    let mut out = br#"{"resourceType":"Bundle","type":"transaction","entry":["#.to_vec();
    let (mut seen, mut types) = (HashSet::new(), Vec::with_capacity(lines.len()));
    for Line { bytes, address, .. } in lines {
        let Some((kind, id)) = address else { continue };
        if !seen.insert((kind, id)) {
            return None;
        }
        out.extend_from_slice(if types.is_empty() { b"{\"resource\":" } else { b",{\"resource\":" });
        out.extend_from_slice(bytes);
        out.extend_from_slice(format!(",\"request\":{{\"method\":\"PUT\",\"url\":\"{kind}/{id}\"}}}}").as_bytes());
        types.push(kind.clone());
    }
    out.extend_from_slice(b"]}");
    (types.len() > 1).then_some((out, types))
}

/// A Bundle's entries, as far as counting and choosing needs them.
#[derive(Default, Deserialize)]
struct Entries<'a> {
    #[serde(borrow, default)]
    entry: Vec<EntryHead<'a>>,
}

#[derive(Deserialize)]
struct EntryHead<'a> {
    #[serde(borrow, default)]
    resource: Option<Kind<'a>>,
    #[serde(borrow, default)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "resourceType", borrow, default)]
    resource_type: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    url: Option<Cow<'a, str>>,
}

/// The types of a Bundle's entries. `None` if it asks for reads only: then it is kept, as the resource that it is.
fn types_to_write(bundle: &[u8]) -> Option<Vec<String>> {
    let Ok(Entries { entry }) = serde_json::from_slice(bundle) else { return Some(vec!["Bundle".to_owned()]) };
    let reads = |entry: &EntryHead<'_>| entry.request.as_ref().is_some_and(|r| matches!(r.method.as_deref(), Some("GET" | "HEAD")));
    if !entry.is_empty() && entry.iter().all(reads) {
        return None;
    }
    let kind = |entry: EntryHead<'_>| {
        let of_resource = entry.resource.and_then(|r| r.resource_type).map(Cow::into_owned);
        let of_request = || entry.request.and_then(|r| r.url).and_then(|url| url.split(['/', '?']).next().map(str::to_owned));
        of_resource.or_else(of_request).unwrap_or_else(|| UNREADABLE.to_owned())
    };
    Some(entry.into_iter().map(kind).collect())
}

/// The interactions of a batch, for a sink that makes the commits itself.
pub fn batch_writes(bundle: &[u8]) -> Vec<Result<Interaction, Vec<dugnad_kernel::fhir::issue::Issue>>> {
    match interaction::batch_entries(bundle) {
        Err(error) => vec![Err(error.issues)],
        Ok(entries) => entries
            .into_iter()
            .enumerate()
            .map(|(n, entry)| match entry {
                Ok(Action::Write(interaction)) => Ok(interaction),
                Ok(_) => {
                    let what = "a read inside a batch answers nothing to `ingest`; send it to a server";
                    let at = format!("Bundle.entry[{n}].request");
                    Err(vec![dugnad_kernel::fhir::issue::Issue::error(dugnad_kernel::fhir::issue::IssueType::NotSupported, at, what)])
                }
                Err(error) => Err(error.issues),
            })
            .collect(),
    }
}

/// What a commit's outcome says of a unit of `Taken` resources.
pub fn taken(entries: &[dugnad_kernel::database::EntryOutcome]) -> Vec<Taken> {
    entries.iter().map(|e| Taken { resource_type: e.resource_type.clone(), changed: e.changed, warnings: e.issues.len() }).collect()
}
