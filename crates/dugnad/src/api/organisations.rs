//! `PUT /organisations/{id}`: whom the centre knows, and whom it has verified.

use super::auth::Centre;
use super::desk::{Deed, ORGANISATION, done};
use super::routes::{Caller, Doc, Routes};
use super::work::Access;
use super::{ApiError, App, body};
use crate::limits::MAX_CASE_BODY_BYTES;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::permit::organisation::Organisation;
use dugnad_kernel::permit::procedure::ProcedureError;
use serde_json::{Value, json};

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let put_doc = Doc {
        description: "`{\"id\", \"name\", \"group\"?, \"public_body\", \"users\": [NAME], \"verified\"?: HOW}`. Its users can apply for permits in its name. Organisations of one `group` count as one where outputs are compared and decisions are taken. `public_body` opens the purposes (a) to (c) of Art. 53. `verified` says how the centre made sure who it is; without it, there is no feasibility.",
        caller: Caller::Centre,
        body: Some("application/json"),
        answer: &["application/json"],
        statuses: &[(200, "Kept"), (400, "Not an organisation; the problem says why"), (403, "For the centre only")],
        ..Doc::new("Permits", "putOrganisation", "Register or change an organisation")
    };
    let list_doc = Doc {
        caller: Caller::Centre,
        answer: &["application/json"],
        statuses: &[(200, "All organisations")],
        ..Doc::new("Permits", "organisations", "The organisations that are known")
    };
    routes.add(Method::PUT, "/organisations/{id}", put_doc, put).add(Method::GET, "/organisations", list_doc, list)
}

async fn put(
    State(app): State<App>,
    Centre(who): Centre,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let json = body::json(&app, &headers, body, MAX_CASE_BODY_BYTES).await?;
    let organisation = Organisation::parse(&json)?;
    if organisation.id != id {
        return Err(ApiError::bad_request(IssueType::Invalid, "the organisation's id must be the id of the address").at("id"));
    }
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "organisations", request: format!("PUT /organisations/{id}") };
        app.at_desk(&deed, |_| {
            let others = app.organisations()?;
            let elsewhere = |user: &&String| others.iter().any(|other| other.id != id && other.has(user));
            if let Some(user) = organisation.users.iter().find(elsewhere) {
                let what = format!("`{user}` belongs to another organisation; take them out there first");
                return Err(ProcedureError::field("users", what).into());
            }
            let outcome = if organisation.verified.is_some() { "verified" } else { "registered" };
            let commit = app.put_recorded(&deed, &[(ORGANISATION, &id, &json)], |e| e.outcome = Some(outcome.to_owned()))?;
            Ok(done(commit, json!(organisation)))
        })
    })
    .await
}

async fn list(State(app): State<App>, Centre(who): Centre) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let request = "GET /organisations".to_owned();
        let access = Access { who, interface: "organisations", request, tables: vec![ORGANISATION.to_owned()] };
        app.read_recorded(&access, |_| {
            let organisations = app.organisations()?;
            let rows = organisations.len() as u64;
            Ok((Json(json!({"organisations": organisations})), rows))
        })
    })
    .await
}
