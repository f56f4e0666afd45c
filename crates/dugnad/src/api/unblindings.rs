//! `/permits/{id}/unblindings`: opening to a blinded reader what was hidden, for a subject or for the whole study. It is done by
//! somebody else than who asks for it, with a reason, and is on the record; it cannot be taken back.

use super::auth::Centre;
use super::desk::{Deed, to_json};
use super::headers::{self, DUGNAD_COMMIT, value};
use super::routes::{Caller, Doc, Routes};
use super::work::Access;
use super::{ApiError, App, body};
use crate::access::Principal;
use crate::limits::MAX_UNBLINDING_BODY_BYTES;
use crate::query::{Subject, UNBLINDING, Unblinding, unblindings};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::IntoResponse;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::limits::MAX_ERASURE_REASON_BYTES;
use dugnad_kernel::permit::{Blinding, Permit};
use serde::Deserialize;
use serde_json::json;

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let post = Doc {
        description: "The body is `{\"requested_by\": NAME, \"reason\": TEXT, \"subject\"?: {\"holder\": NAME, \"patient\": ID}}`; without `subject` the whole study. `requested_by` is not the caller. From the next question on, the subject's rows and columns that the permit hides exist.",
        caller: Caller::Centre,
        body: Some("application/json"),
        answer: &["application/json"],
        statuses: &[
            (200, "Unblinded; `Dugnad-Commit` says from which commit on"),
            (400, "Not the form, or asked for by the caller"),
            (404, "No such permit with a blinded reader, or no such Patient"),
        ],
        ..Doc::new("Operations", "unblind", "Unblind a subject, or a study")
    };
    let get = Doc {
        description: "",
        body: None,
        statuses: &[(200, "Each with who asked, who did it, when and why"), (404, "No such permit with a blinded reader")],
        ..Doc { id: "unblindings", summary: "The unblindings under a permit", ..post }
    };
    let path = "/permits/{id}/unblindings";
    routes.add(Method::POST, path, post, unblind).add(Method::GET, path, get, list)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    requested_by: String,
    reason: String,
    subject: Option<Subject>,
}

async fn unblind(
    State(app): State<App>,
    Centre(who): Centre,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, ApiError> {
    headers::require_json_body(&headers)?;
    let (bytes, _held) = body::read(&app, &headers, body, MAX_UNBLINDING_BODY_BYTES).await?.into_parts();
    let request: Request = serde_json::from_slice(&bytes).map_err(|e| {
        let form = "{\"requested_by\": NAME, \"reason\": TEXT, \"subject\"?: {\"holder\": NAME, \"patient\": ID}}";
        let what = format!("the body must be {form} (line {}, column {})", e.line(), e.column());
        ApiError::bad_request(IssueType::Structure, what)
    })?;
    check(&request, &who)?;
    let place = app.enter_writes().await?;
    let commit = app.on_thread(place, move |app| act(app, &who, id, request)).await?;
    Ok(([(DUGNAD_COMMIT, value(&commit.to_string()))], Json(json!({"commit": commit}))))
}

fn check(request: &Request, who: &Principal) -> Result<(), ApiError> {
    let wrong = |what: &str, at: &str| Err(ApiError::bad_request(IssueType::Value, what).at(at));
    if request.requested_by.trim().is_empty() || request.requested_by == who.user {
        return wrong("it takes two: somebody who asks for it, and somebody else who does it; say who asked", "requested_by");
    }
    if request.reason.trim().is_empty() || request.reason.len() > MAX_ERASURE_REASON_BYTES {
        return wrong("say why; the reason is kept", "reason");
    }
    Ok(())
}

fn blinded(app: &App, id: &str) -> Result<Permit, ApiError> {
    let absent = || ApiError::not_found("there is no such permit with a blinded reader; GET /permits lists them");
    let permit = app.stored_permit(id)?.filter(|permit| matches!(permit.document().blinding, Some(Blinding::Blinded { .. })));
    permit.ok_or_else(absent)
}

fn act(app: &App, who: &Principal, id: String, request: Request) -> Result<Commit, ApiError> {
    let permit = blinded(app, &id)?;
    if let Some(subject) = &request.subject {
        let unknown =
            || ApiError::not_found("there is no such Patient; check the holder's name and the Patient's logical id").at("subject");
        let holder = app.database().holder(&subject.holder).ok_or_else(unknown)?;
        app.database().patient(holder.id, &subject.patient)?.ok_or_else(unknown)?;
    }
    let what = if request.subject.is_some() { "unblind a subject" } else { "unblind the study" };
    let Request { requested_by, reason, subject } = request;
    let unblinding = Unblinding { permit: id.clone(), subject, requested_by, by: who.user.clone(), at: app.now(), reason };
    let request = format!("{what}, for {}: {}", unblinding.requested_by, unblinding.reason);
    let deed = Deed { who: who.clone(), interface: "unblindings", request };
    app.put_recorded(&deed, &[(UNBLINDING, &app.database().new_id(), &to_json(&unblinding)?)], |e| {
        e.permit = Some(id);
        e.purpose = Some(permit.document().purpose.clone());
        e.outcome = Some("ok".to_owned());
    })
}

async fn list(State(app): State<App>, Centre(who): Centre, Path(id): Path<String>) -> Result<impl IntoResponse, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let request = "GET /permits/{id}/unblindings".to_owned();
        let access = Access { who, interface: "unblindings", request, tables: vec![UNBLINDING.to_owned()] };
        app.read_recorded(&access, |_| {
            blinded(app, &id)?;
            let acts = unblindings(app.database(), &id)?;
            let count = acts.len() as u64;
            Ok((Json(acts), count))
        })
    })
    .await
}
