//! FHIR interactions from a method and an address: one reading for HTTP requests, entries of a batch and `ingest`.

use super::error::ApiError;
use super::fhir::Of;
use super::headers::percent_decode;
use super::search::Place;
use axum::http::StatusCode;
use bumpalo::Bump;
use dugnad_kernel::database::Interaction;
use dugnad_kernel::fhir::definitions::is_resource_type;
use dugnad_kernel::fhir::issue::{Issue, IssueType};
use dugnad_kernel::fhir::json::{self, Value};
use dugnad_kernel::fhir::patch::Format;
use dugnad_kernel::limits::MAX_BUNDLE_ENTRIES;
use serde::Deserialize;
use std::borrow::Cow;

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Action {
    /// A write.
    Write(Interaction),
    /// `GET [type]/[id]`, `GET [type]/[id]/_history/[vid]`.
    Read {
        /// The resource type.
        resource_type: String,
        /// The logical id.
        id: String,
        /// A version, if one is asked for.
        version: Option<u64>,
    },
    /// `GET [type]?parameters`, `GET ?parameters`, `GET Patient/[id]/[type]?parameters`.
    Search {
        /// Where.
        place: Place,
        /// The parameters.
        query: String,
    },
    /// `GET [type]/[id]/_history`, `GET [type]/_history`, `GET _history`.
    History {
        /// Whose.
        of: Of,
        /// The parameters.
        query: String,
    },
}

/// On what a write depends.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// `If-Match`.
    pub if_match: Option<u64>,
    /// `If-None-Exist`.
    pub if_none_exist: Option<String>,
}

/// Whether `text` is an id (FHIR R4, 2.24.0.1): 1 to 64 of letters, digits, `-` and `.`.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

/// Refuses what is no resource type of R4 (404, as FHIR R4 3.1.0.4.1 says).
pub fn known_type(resource_type: &str) -> Result<String, ApiError> {
    let what = "this is not a resource type of FHIR R4 (names are written as in Patient, DiagnosticReport)";
    if is_resource_type(resource_type) { Ok(resource_type.to_owned()) } else { Err(ApiError::not_found(what)) }
}

/// An id to read: what is no id is just not there.
pub fn readable_id(id: &str) -> Result<String, ApiError> {
    if is_id(id) { Ok(id.to_owned()) } else { Err(absent()) }
}

/// An id to write.
pub fn writable_id(id: &str) -> Result<String, ApiError> {
    let what = "the logical id must have 1 to 64 characters of A-Z, a-z, 0-9, `-` and `.` (FHIR R4, 2.24.0.1)";
    if is_id(id) { Ok(id.to_owned()) } else { Err(ApiError::bad_request(IssueType::Value, what)) }
}

/// The one answer for what is not there and for what is somebody else's.
pub fn absent() -> ApiError {
    ApiError::not_found("there is no such resource; check its type and id")
}

/// The criteria of a query, without the parameters that are about the answer.
pub fn criteria(query: &str) -> String {
    let about_answer = |p: &&str| matches!(p.split('=').next(), Some("_format" | "_pretty" | "" | "_summary"));
    query.split('&').filter(|p| !about_answer(p)).collect::<Vec<_>>().join("&")
}

/// The url of an entry, relative to `/fhir`: without a leading `/`, or the address of a server.
pub fn relative(url: &str) -> &str {
    let absolute = url.starts_with("http://") || url.starts_with("https://");
    let own = url.find("/fhir/").filter(|_| absolute).and_then(|at| url.get(at + 6..));
    own.unwrap_or(url).trim_start_matches('/')
}

/// Reads a method and an address relative to `/fhir`, such as `PUT` and `Patient/1`. The body of a PATCH is a resource, as in Bundles.
pub fn action(method: &str, url: &str, body: Option<Vec<u8>>, conditions: Conditions) -> Result<Action, ApiError> {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let search = |place| Ok(Action::Search { place, query: query.unwrap_or_default().to_owned() });
    let history = |of| Ok(Action::History { of, query: query.unwrap_or_default().to_owned() });
    let criteria = query.map(criteria);
    let segments: Vec<String> = path.trim_matches('/').split('/').map(|s| percent_decode(s, false)).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Conditions { if_match, if_none_exist } = conditions;
    let criteria = criteria.filter(|q| !q.is_empty());
    match (method, segments.as_slice(), criteria) {
        ("POST", [kind], None) => {
            Ok(Action::Write(Interaction::Create { resource_type: known_type(kind)?, body: required(body)?, if_none_exist }))
        }
        ("POST", [kind], Some(_)) => {
            let what = "the criteria of a POST stand in request.ifNoneExist, and its url is the type alone";
            known_type(kind).and(Err(ApiError::bad_request(IssueType::Value, what).at("Bundle.request.url")))
        }
        ("PUT", [kind, id], None) => {
            let (resource_type, id) = (known_type(kind)?, writable_id(id)?);
            Ok(Action::Write(Interaction::Update { resource_type, id, body: required(body)?, if_match }))
        }
        ("PUT", [kind], Some(query)) => {
            Ok(Action::Write(Interaction::UpdateMatching { resource_type: known_type(kind)?, query, body: required(body)? }))
        }
        ("PATCH", [kind, id], None) => {
            let (resource_type, id, body) = (known_type(kind)?, writable_id(id)?, required(body)?);
            Ok(Action::Write(Interaction::Patch { resource_type, id, format: Format::Resource, body, if_match }))
        }
        ("PATCH", [kind], Some(query)) => {
            let (resource_type, body) = (known_type(kind)?, required(body)?);
            Ok(Action::Write(Interaction::PatchMatching { resource_type, query, format: Format::Resource, body, if_match }))
        }
        ("DELETE", [kind, id], None) => {
            Ok(Action::Write(Interaction::Delete { resource_type: known_type(kind)?, id: writable_id(id)?, if_match }))
        }
        ("DELETE", [kind], Some(query)) => Ok(Action::Write(Interaction::DeleteMatching { resource_type: known_type(kind)?, query })),
        ("GET" | "HEAD", [""], _) => search(Place::System),
        ("GET" | "HEAD", ["_history"], _) => history(Of::System),
        ("GET" | "HEAD", [kind, "_history"], _) => history(Of::Type(known_type(kind)?)),
        ("GET" | "HEAD", [kind, id, "_history"], _) => history(Of::Instance(known_type(kind)?, readable_id(id)?)),
        ("GET" | "HEAD", [kind], _) => search(Place::of_type(kind)?),
        ("GET" | "HEAD", [kind, id], _) => Ok(Action::Read { resource_type: known_type(kind)?, id: readable_id(id)?, version: None }),
        ("GET" | "HEAD", [kind, id, "_history", version], _) => {
            let version = version.parse().map_err(|_| absent())?;
            Ok(Action::Read { resource_type: known_type(kind)?, id: readable_id(id)?, version: Some(version) })
        }
        ("GET" | "HEAD", ["Patient", id, "$everything"], _) => search(Place::everything(id)?),
        ("GET" | "HEAD", [owner, id, kind], _) if !kind.starts_with(['_', '$']) => search(Place::compartment(owner, id, kind)?),
        _ => Err(not_supported()),
    }
}

fn required(body: Option<Vec<u8>>) -> Result<Vec<u8>, ApiError> {
    body.ok_or_else(|| {
        ApiError::bad_request(IssueType::Required, "a create, update or patch needs its resource").at("Bundle.entry.resource")
    })
}

fn not_supported() -> ApiError {
    let what = "this method and address are no interaction that is supported; /fhir/metadata lists those that are";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, IssueType::NotSupported, what)
}

/// The first look at a JSON document: what kind of resource it says it is. Found by a scan that builds nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Head<'a> {
    /// `resourceType`.
    #[serde(rename = "resourceType", borrow, default)]
    pub resource_type: Option<Cow<'a, str>>,
    /// `id`.
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// `type`, where it is a string: that of a Bundle.
    #[serde(rename = "type", borrow, default)]
    kind: Option<Text<'a>>,
}

/// A string, or anything else (which is left to the validation).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    #[serde(borrow)]
    Is(Cow<'a, str>),
    Not(serde::de::IgnoredAny),
}

impl<'a> Head<'a> {
    /// Reads it; all is absent where the document is not JSON or not an object: the full parse says what is wrong.
    pub fn of(document: &'a [u8]) -> Self {
        Self::read(document).unwrap_or_default()
    }

    /// Reads it; the error says where the document is not JSON.
    pub fn read(document: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(document)
    }

    /// The Bundle's type, if it is a Bundle.
    pub fn bundle_type(&self) -> Option<&str> {
        match (self.resource_type.as_deref(), &self.kind) {
            (Some("Bundle"), Some(Text::Is(kind))) => Some(kind),
            _ => None,
        }
    }
}

/// One entry of a batch, read: what it asks for, or why it cannot be done.
pub type BatchEntry = Result<Action, ApiError>;

/// The entries of a Bundle of type batch. One that is wrong spoils no other; only a Bundle that is wrong as a whole fails.
pub fn batch_entries(document: &[u8]) -> Result<Vec<BatchEntry>, ApiError> {
    let arena = Bump::new();
    let bundle = json::parse(document, &arena).map_err(|e| ApiError::bad_request(IssueType::Structure, e.to_string()).at("Bundle"))?;
    if bundle.str("resourceType") != Some("Bundle") || bundle.str("type") != Some("batch") {
        return Err(ApiError::bad_request(IssueType::Value, "this must be a Bundle of type transaction or batch").at("Bundle.type"));
    }
    let entries = match bundle.get("entry") {
        None => &[],
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(ApiError::bad_request(IssueType::Structure, "entry must be an array").at("Bundle.entry")),
    };
    if entries.len() > MAX_BUNDLE_ENTRIES {
        let what = format!("a batch may hold {MAX_BUNDLE_ENTRIES} entries; split it");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, IssueType::TooCostly, what).at("Bundle.entry"));
    }
    Ok(entries.iter().enumerate().map(|(n, entry)| batch_entry(entry).map_err(|e| placed(e, n))).collect())
}

fn batch_entry(entry: &Value<'_>) -> BatchEntry {
    let missing = |what: &str, at: &str| ApiError::bad_request(IssueType::Required, what).at(at);
    let request = entry.get("request").ok_or_else(|| missing("a batch's entry needs a request", "Bundle.request"))?;
    let method = request.str("method").ok_or_else(|| missing("the request needs a method", "Bundle.request.method"))?;
    let url = request.str("url").ok_or_else(|| missing("the request needs a url", "Bundle.request.url"))?;
    let if_match = match request.str("ifMatch") {
        None => None,
        Some(etag) => {
            let wrong =
                || ApiError::bad_request(IssueType::Value, "ifMatch must be one version such as W/\"3\"").at("Bundle.request.ifMatch");
            Some(super::headers::parse_etag(etag).ok_or_else(wrong)?)
        }
    };
    let if_none_exist = request.str("ifNoneExist").map(|q| q.trim_start_matches('?').to_owned());
    let body = entry.get("resource").map(|resource| {
        let mut bytes = Vec::new();
        resource.write(&mut bytes);
        bytes
    });
    action(method, relative(url), body, Conditions { if_match, if_none_exist })
}

/// The error of an entry, its places made those of the Bundle.
pub fn placed(error: ApiError, entry: usize) -> ApiError {
    let issues = error.issues.into_iter().map(|issue| place(issue, entry)).collect();
    ApiError { issues, ..error }
}

fn place(issue: Issue, entry: usize) -> Issue {
    match issue.expression.as_deref().and_then(|e| e.strip_prefix("Bundle.")) {
        Some(rest) => Issue { expression: Some(format!("Bundle.entry[{entry}].{}", rest.trim_start_matches("entry."))), ..issue },
        None => issue.within(&format!("Bundle.entry[{entry}].resource")),
    }
}

#[cfg(test)]
mod tests;
