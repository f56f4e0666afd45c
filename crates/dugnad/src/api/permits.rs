//! `PUT /permits/{id}`: the centre grants, changes and revokes permits.

use super::auth::Centre;
use super::headers::{self, DUGNAD_COMMIT, value};
use super::routes::{Caller, Doc, Routes};
use super::{ApiError, App, body};
use crate::limits::MAX_SQL_BODY_BYTES;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::IntoResponse;
use dugnad_kernel::audit::Act;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::permit::Permit;
use serde_json::json;

/// The kind of document that permits are.
const KIND: &str = "permit";

/// Adds the route.
pub fn add(routes: Routes) -> Routes {
    let grant = Doc {
        description: "The whole permit, as docs/permits.md describes it, with the decision that it is: `decision.by` is the caller. It replaces the one of that id from the next question on; `\"status\": \"revoked\"` takes it back. Every version stays in the journal, every decision in the audit log.",
        caller: Caller::Centre,
        body: Some("application/json"),
        answer: &["application/json"],
        statuses: &[
            (200, "Granted, changed or revoked; `Dugnad-Commit` says from which commit on"),
            (400, "Not a permit, or one that its legal basis does not allow; the problem says why"),
            (403, "For the centre only"),
        ],
        ..Doc::new("SQL", "grant", "Grant, change or revoke a permit")
    };
    routes.add(Method::PUT, "/permits/{id}", grant, put)
}

async fn put(
    State(app): State<App>,
    Centre(who): Centre,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, ApiError> {
    headers::require_json_body(&headers)?;
    let (bytes, _held) = body::read(&app, &headers, body, MAX_SQL_BODY_BYTES).await?.into_parts();
    let text = std::str::from_utf8(&bytes).map_err(|_| ApiError::bad_request(IssueType::Structure, "the body is not UTF-8"))?;
    let permit = Permit::parse(text).map_err(|e| ApiError::bad_request(IssueType::Invalid, e.to_string()))?;
    if permit.id() != id {
        return Err(ApiError::bad_request(IssueType::Invalid, "the permit's id must be the id of the address").at("permit.id"));
    }
    if permit.document().decision.by != who.user {
        return Err(ApiError::bad_request(IssueType::Invalid, "decision.by must be you: the token's user").at("permit.decision.by"));
    }
    let json = text.to_owned();
    let place = app.enter_writes().await?;
    let commit = app
        .on_thread(place, move |app| {
            app.check_log()?;
            let commit = app.database().put_document(KIND, permit.id(), &json)?;
            let entry = app.entry(Act::Decision, &who, |e| {
                e.interface = Some("permits".to_owned());
                e.permit = Some(permit.id().to_owned());
                e.purpose = Some(permit.document().purpose.clone());
                e.commit = Some(commit.0);
                e.outcome =
                    Some(if permit.document().status == dugnad_kernel::permit::Status::Active { "granted" } else { "revoked" }.to_owned());
            });
            app.append(&entry)?;
            Ok(commit)
        })
        .await?;
    Ok(([(DUGNAD_COMMIT, value(&commit.to_string()))], Json(json!({"id": id, "commit": commit}))))
}
