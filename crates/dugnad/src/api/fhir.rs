//! FHIR R4 REST: what a hospital writes and reads of its own.
//!
//! The holder comes from the token, so that a resource of another hospital is as absent as one that never was.

mod binary;
mod history;
mod reading;
mod writing;

pub use history::Of;
pub use reading::{Found, Reader, history_of_type, read_current};
pub use writing::{create, delete, delete_matching, patch, patch_matching, update, update_matching};

use super::headers::{self, parameter};
use super::routes::{Caller, Doc, Parameter, Routes};
use super::{ApiError, App, answer, capability};
use crate::limits::{MIN_COMMIT_POLL, MIN_COMMIT_WAIT, RETRY_AFTER_S};
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use dugnad_kernel::fhir::patch::JSON_PATCH;
use dugnad_kernel::ids::Commit;
use reading::{history, history_of_system, read_version};
use writing::transaction;

type Answer = Result<Response<Body>, ApiError>;

const FHIR: &str = "application/fhir+json";
const PREFER: Parameter = Parameter {
    place: "header",
    name: "Prefer",
    description: "`return=minimal|representation|OperationOutcome`; `handling=lenient` keeps conditional references that match nothing as logical references (`Reference.identifier`), with a warning, where `strict` (the default) refuses them.",
};
const IDEMPOTENCY: Parameter = Parameter {
    place: "header",
    name: "Idempotency-Key",
    description: "The same request, sent again under the same key by the same holder, changes nothing and is answered with `Dugnad-Replayed: true`.",
};
const IF_MATCH: Parameter =
    Parameter { place: "header", name: "If-Match", description: "Only if this is the current version, such as `W/\"3\"`; else 412." };
const IF_NONE_EXIST: Parameter = Parameter {
    place: "header",
    name: "If-None-Exist",
    description: "Create only if nothing matches, such as `identifier=urn:system|value` or any other search parameters; what matches is answered with 200. Criteria in the address mean the same.",
};
const MIN_COMMIT: Parameter = Parameter {
    place: "header",
    name: "Dugnad-Min-Commit",
    description: "Answer from no older commit than this; waits up to two seconds for it, then 503.",
};
const PRETTY: Parameter = Parameter { place: "query", name: "_pretty", description: "`true`: indented." };
const SUMMARY: Parameter =
    Parameter { place: "query", name: "_summary", description: "`true`, `text` or `data`: that part, with the tag SUBSETTED." };
const ELEMENTS: Parameter = Parameter {
    place: "query",
    name: "_elements",
    description: "These elements and mandatory ones, with the tag SUBSETTED: `name,birthDate`.",
};
const WRITE_STATUSES: &[(u16, &str)] = &[
    (200, "Updated, or nothing to do"),
    (201, "Created"),
    (400, "Not well-formed, or the body was cut off"),
    (409, "Somebody else changed it first"),
    (410, "About a Patient who was erased"),
    (412, "A condition does not hold"),
    (413, "Too large"),
    (415, "Not JSON, or compressed"),
    (422, "Not valid FHIR R4: each problem with its place"),
    (503, "The write queue is full (see Retry-After), or the server has stopped writing"),
];
const HISTORY_PARAMETERS: &[Parameter] = &[
    MIN_COMMIT,
    Parameter { place: "query", name: "_count", description: "How many versions a page has at most." },
    Parameter { place: "query", name: "_since", description: "Only versions that were written then or later: an instant." },
    Parameter {
        place: "query",
        name: "_at",
        description: "Only versions that were current at some time of this date or instant, and deletions that were made in it.",
    },
    PRETTY,
];
const HISTORY_STATUSES: &[(u16, &str)] = &[
    (200, "A history: links `self`, `first` and `next`"),
    (400, "A parameter is wrong"),
    (404, "Not there, or not yours: nobody can tell which"),
    (410, "The link to the page has expired"),
    (503, "The audit log cannot be written, or Dugnad-Min-Commit has not come"),
];
/// What a patch is answered with.
pub const PATCH_STATUSES: &[(u16, &str)] = &[
    (200, "Patched, or nothing to do"),
    (400, "Not a patch: each problem with its place"),
    (404, "Nothing there, or not yours"),
    (409, "An operation does not fit the current version"),
    (410, "About a Patient who was erased"),
    (412, "A condition does not hold"),
    (415, "Neither a JSON Patch nor FHIR in JSON"),
    (422, "An operation makes no sense, or what it makes is not valid FHIR R4"),
    (503, "The write queue is full (see Retry-After), or the server has stopped writing"),
];
const READ_STATUSES: &[(u16, &str)] = &[
    (200, "The resource"),
    (304, "The version in If-None-Match is the current one"),
    (404, "Not there, or not yours: nobody can tell which"),
    (410, "Deleted"),
    (503, "The audit log cannot be written, or Dugnad-Min-Commit has not come"),
];

/// Adds the routes of FHIR REST.
pub fn add(routes: Routes) -> Routes {
    let write = Doc { caller: Caller::Hospital, body: Some(FHIR), answer: &[FHIR], statuses: WRITE_STATUSES, ..Doc::new("FHIR", "", "") };
    let patch_doc = Doc { body: Some(JSON_PATCH), other_bodies: &[FHIR], statuses: PATCH_STATUSES, ..write };
    let read = Doc {
        caller: Caller::Hospital,
        parameters: &[MIN_COMMIT, PRETTY, SUMMARY, ELEMENTS],
        answer: &[FHIR],
        statuses: READ_STATUSES,
        ..Doc::new("FHIR", "", "")
    };
    let history_doc = Doc {
        description: "Pages of one commit: links `first` and `next` are pinned to that of the first page, for an hour. A page has versions of the hospital's own resources, and none about a person who was erased.",
        parameters: HISTORY_PARAMETERS,
        statuses: HISTORY_STATUSES,
        ..read
    };
    routes
        .add(Method::GET, "/fhir/metadata", Doc { answer: &[FHIR], ..Doc::new("FHIR", "capabilities", "What of FHIR R4 is spoken here (CapabilityStatement)") }, metadata)
        .add(
            Method::POST,
            "/fhir",
            Doc {
                id: "transaction",
                summary: "Take a Bundle of type transaction or batch",
                description: "A transaction is one commit: all or nothing. Each entry of a batch is a commit of its own, answered for itself, in the order of the entries; entries may not depend on each other.",
                parameters: &[PREFER, IDEMPOTENCY],
                interactions: &["transaction", "batch"],
                ..write
            },
            transaction,
        )
        .add(
            Method::POST,
            "/fhir/{type}",
            Doc { id: "create", summary: "Create a resource", parameters: &[PREFER, IDEMPOTENCY, IF_NONE_EXIST], interactions: &["create"], ..write },
            create,
        )
        .add(
            Method::PUT,
            "/fhir/{type}",
            Doc {
                id: "updateMatching",
                summary: "Update the one resource that matches, or create it",
                description: "The criteria are the query, such as `?identifier=urn:system|value` or any other search parameters.",
                parameters: &[PREFER, IDEMPOTENCY],
                interactions: &["conditional-update"],
                ..write
            },
            update_matching,
        )
        .add(
            Method::PUT,
            "/fhir/{type}/{id}",
            Doc { id: "update", summary: "Update a resource, or create it under this id", parameters: &[PREFER, IDEMPOTENCY, IF_MATCH], interactions: &["update"], ..write },
            update,
        )
        .add(
            Method::PATCH,
            "/fhir/{type}/{id}",
            Doc {
                id: "patch",
                summary: "Change a part of a resource",
                description: "A JSON Patch (RFC 6902) as `application/json-patch+json`, a FHIRPath Patch as `application/fhir+json`, or a JSON Merge Patch (RFC 7396) as `application/merge-patch+json`. The result is validated like an update; a patch that changes nothing makes no version. Of patches at the same time none is lost. In a Bundle the resource is Parameters, or a Binary that holds a JSON Patch.",
                parameters: &[PREFER, IDEMPOTENCY, IF_MATCH],
                interactions: &["patch"],
                ..patch_doc
            },
            patch,
        )
        .add(
            Method::PATCH,
            "/fhir/{type}",
            Doc {
                id: "patchMatching",
                summary: "Change a part of the one resource that matches",
                description: "The criteria are the query, such as `?identifier=urn:system|value` or any other search parameters.",
                parameters: &[PREFER, IDEMPOTENCY, IF_MATCH],
                interactions: &["conditional-patch"],
                ..patch_doc
            },
            patch_matching,
        )
        .add(
            Method::DELETE,
            "/fhir/{type}/{id}",
            Doc {
                id: "delete",
                summary: "Delete a resource; its versions stay in its history",
                parameters: &[PREFER, IF_MATCH],
                body: None,
                statuses: &[(204, "Deleted, or never there"), (200, "The same, with the OperationOutcome asked for"), (412, "Another version is current"), (503, "Busy or stopped")],
                interactions: &["delete"],
                ..write
            },
            delete,
        )
        .add(
            Method::DELETE,
            "/fhir/{type}",
            Doc {
                id: "deleteMatching",
                summary: "Delete the one resource that matches",
                description: "The criteria are the query, such as `?identifier=urn:system|value`. If nothing matches, nothing is deleted.",
                parameters: &[PREFER],
                body: None,
                statuses: &[(204, "Deleted, or nothing to delete"), (200, "The same, with the OperationOutcome asked for"), (412, "More than one matches"), (503, "Busy or stopped")],
                interactions: &["conditional-delete"],
                ..write
            },
            delete_matching,
        )
        .add(Method::GET, "/fhir/{type}/{id}", Doc { id: "read", summary: "Read a resource", interactions: &["read"], ..read }, read_current)
        .add(Method::GET, "/fhir/{type}/{id}/_history", Doc { id: "history", summary: "All versions of a resource, newest first", interactions: &["history-instance"], ..history_doc }, history)
        .add(Method::GET, "/fhir/{type}/_history", Doc { id: "historyOfType", summary: "What was written of a type, newest first", interactions: &["history-type"], ..history_doc }, history_of_type)
        .add(Method::GET, "/fhir/_history", Doc { id: "historyOfSystem", summary: "All that was written, newest first", interactions: &["history-system"], ..history_doc }, history_of_system)
        .add(Method::GET, "/fhir/{type}/{id}/_history/{version}", Doc { id: "vread", summary: "Read a version of a resource", interactions: &["vread"], ..read }, read_version)
}

async fn metadata(State(app): State<App>, headers: HeaderMap, RawQuery(query): RawQuery) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    let statement = capability::statement_with(&app.database().search_parameters());
    Ok(readable(StatusCode::OK, statement.to_string().into_bytes(), query.as_deref()))
}

/// An answer that `_pretty` applies to.
pub fn readable(status: StatusCode, body: Vec<u8>, query: Option<&str>) -> Response<Body> {
    answer::fhir(status, pretty_if_asked(body, query))
}

fn pretty_if_asked(body: Vec<u8>, query: Option<&str>) -> Vec<u8> {
    if parameter(query, "_pretty").as_deref() == Some("true") { answer::pretty(&body) } else { body }
}

/// `Dugnad-Min-Commit`: waits until it is published. Gives it back for what is read later.
pub async fn min_commit(app: &App, headers: &HeaderMap) -> Result<Option<Commit>, ApiError> {
    let Some(wanted) = headers::min_commit(headers)? else { return Ok(None) };
    let deadline = tokio::time::Instant::now() + MIN_COMMIT_WAIT;
    while app.database().snapshot().commit() < wanted {
        if tokio::time::Instant::now() >= deadline {
            let what = "the commit in Dugnad-Min-Commit is not here; check the number (Dugnad-Commit of a write's answer), or come back";
            return Err(ApiError::busy(what, RETRY_AFTER_S).at("http.Dugnad-Min-Commit"));
        }
        tokio::time::sleep(MIN_COMMIT_POLL).await;
    }
    Ok(Some(wanted))
}
