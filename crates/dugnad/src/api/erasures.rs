//! `POST /erasures`: the centre erases a person (GDPR, Article 17).

use super::auth::Centre;
use super::headers::{self, DUGNAD_COMMIT, value};
use super::parameters::Parameters;
use super::routes::{Caller, Doc, Routes};
use super::work::Access;
use super::{ApiError, App, answer, body, releases};
use crate::access::Principal;
use crate::limits::MAX_ERASURE_BODY_BYTES;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::IntoResponse;
use dugnad_kernel::audit::{Act, Entry};
use dugnad_kernel::database::Erasure;
use dugnad_kernel::fhir::issue::{IssueType, operation_outcome};
use dugnad_kernel::limits::MAX_ERASURE_REASON_BYTES;
use serde::Deserialize;
use serde_json::{Value, json};

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let erase = Doc {
        description: "The body is `{\"holder\": NAME, \"patient\": ID, \"reason\": TEXT}`: the Patient of that logical id of that hospital. From the answer on, the person is in no answer, at any commit, and writes that name the Patient are refused with 410. Every stored version that names the Patient is overwritten soon after, in the background (`GET /erasures` says when it was done). It cannot be taken back. Erasing somebody again answers with the first erasure. `reason` is kept: it must not tell who it is.",
        caller: Caller::Centre,
        body: Some("application/json"),
        answer: &["application/json"],
        statuses: &[
            (200, "Erased: `person` (a keyed hash), `commit`, `purged_at` (null while the purge is under way)"),
            (400, "Not the form"),
            (404, "The hospital has no such Patient"),
            (503, "Busy, or the server has stopped writing"),
        ],
        ..Doc::new("Operations", "erase", "Erase a person")
    };
    let list = Doc {
        description: "Whom an erasure was about cannot be told from it.",
        caller: Caller::Centre,
        answer: &["application/json"],
        statuses: &[(200, "All erasures, with `purged_at`")],
        ..Doc::new("Operations", "erasures", "The erasures, and whether their purge is done")
    };
    let purge = Doc {
        description: "The same as `POST /erasures`, asked for as FHIR does: Parameters with `holder`, the hospital whose Patient it is, and `reason`.",
        caller: Caller::Centre,
        body: Some("application/fhir+json"),
        answer: &["application/fhir+json"],
        operation: Some(("purge", "http://hl7.org/fhir/OperationDefinition/Patient-purge")),
        statuses: &[
            (200, "Erased, from the commit in `Dugnad-Commit` on"),
            (400, "Not the form"),
            (404, "The hospital has no such Patient"),
        ],
        ..Doc::new("FHIR", "purge", "Erase a person")
    };
    routes.add(Method::POST, "/erasures", erase, post).add(Method::GET, "/erasures", list, get).add(
        Method::POST,
        "/fhir/Patient/{id}/$purge",
        purge,
        purged,
    )
}

/// Whom to erase, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    holder: String,
    patient: String,
    reason: String,
}

/// An erasure's JSON.
pub fn shown(erasure: &Erasure) -> Value {
    json!({"person": erasure.person, "commit": erasure.commit.0, "reason": erasure.reason, "purged_at": erasure.purged_at})
}

/// Refuses a reason that cannot be kept.
pub fn check_reason(reason: &str) -> Result<(), String> {
    if reason.trim().is_empty() || reason.len() > MAX_ERASURE_REASON_BYTES || reason.chars().any(char::is_control) {
        return Err(format!(
            "the reason must be a text of at most {MAX_ERASURE_REASON_BYTES} bytes; it is kept, so it must not tell who it is"
        ));
    }
    Ok(())
}

/// Fills the entry of an erasure. It names the person as the journal does from now on: by the keyed hash.
pub fn describe(entry: &mut Entry, interface: &str, holder: &str, erasure: &Erasure) {
    entry.interface = Some(interface.to_owned());
    entry.holder = Some(holder.to_owned());
    entry.request = Some(format!("erase person {}", erasure.person));
    entry.purpose = Some(erasure.reason.clone());
    entry.commit = Some(erasure.commit.0);
    entry.outcome = Some("ok".to_owned());
}

async fn post(State(app): State<App>, Centre(who): Centre, headers: HeaderMap, body: Body) -> Result<impl IntoResponse, ApiError> {
    headers::require_json_body(&headers)?;
    let (bytes, _held) = body::read(&app, &headers, body, MAX_ERASURE_BODY_BYTES).await?.into_parts();
    let request: Request = serde_json::from_slice(&bytes).map_err(|e| {
        let what =
            format!("the body must be {{\"holder\": NAME, \"patient\": ID, \"reason\": TEXT}} (line {}, column {})", e.line(), e.column());
        ApiError::bad_request(IssueType::Structure, what)
    })?;
    check_reason(&request.reason).map_err(|what| ApiError::bad_request(IssueType::Value, what).at("reason"))?;
    let place = app.enter_writes().await?;
    let erasure = app.on_thread(place, move |app| erase(app, &who, &request)).await?;
    Ok(([(DUGNAD_COMMIT, value(&erasure.commit.to_string()))], Json(shown(&erasure))))
}

async fn purged(
    State(app): State<App>,
    Centre(who): Centre,
    Path(patient): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, ApiError> {
    headers::require_json_body(&headers)?;
    let (bytes, _held) = body::read(&app, &headers, body, MAX_ERASURE_BODY_BYTES).await?.into_parts();
    let mut parameters = Parameters::read(None, &bytes)?;
    let mut needed = |name: &str| {
        let at = format!("Parameters.parameter.where(name='{name}')");
        let missing = || ApiError::bad_request(IssueType::Required, "the parameters `holder` and `reason` are needed, both strings").at(at);
        parameters.text(&[name])?.ok_or_else(missing)
    };
    let request = Request { holder: needed("holder")?, patient, reason: needed("reason")? };
    parameters.finish()?;
    check_reason(&request.reason).map_err(|what| ApiError::bad_request(IssueType::Value, what).at("reason"))?;
    let place = app.enter_writes().await?;
    let erasure = app.on_thread(place, move |app| erase(app, &who, &request)).await?;
    let said = answer::information("erased: the person is in no answer any more; GET /erasures says when the last byte was overwritten");
    let mut response = answer::fhir(StatusCode::OK, operation_outcome(&[said]).to_string().into_bytes());
    response.headers_mut().insert(DUGNAD_COMMIT, value(&erasure.commit.to_string()));
    Ok(response)
}

/// The commit first, then its entry, as for every write: see `write_recorded`.
fn erase(app: &App, who: &Principal, request: &Request) -> Result<Erasure, ApiError> {
    app.check_log()?;
    let unknown = || ApiError::not_found("there is no such Patient; check the holder's name and the Patient's logical id");
    let holder = app.database().holder(&request.holder).ok_or_else(unknown)?;
    let erasure = app.database().erase(holder.id, &request.patient, &request.reason)?;
    app.exports().remove_all(); // they may hold the person
    app.imports().remove_all_of(&holder.name); // what was refused may be about the person
    releases::remove_waiting(app.data(), app.database()); // so may they
    app.subscriptions().look_again(&holder.name); // one whose criteria name the person is gone
    let erased = app.database().erased_patients();
    app.audit().forget(&erased)?;
    app.query().forget(&erased).map_err(|e| ApiError::internal(&e.to_string()))?;
    app.append(&app.entry(Act::Decision, who, |entry| describe(entry, "erasures", &holder.name, &erasure)))?;
    Ok(erasure)
}

async fn get(State(app): State<App>, Centre(who): Centre) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let access = Access { who, interface: "erasures", request: "GET /erasures".to_owned(), tables: vec!["erasure".to_owned()] };
        app.read_recorded(&access, |_| {
            let erasures: Vec<Value> = app.database().erasures().iter().map(shown).collect();
            let rows = erasures.len() as u64;
            Ok((Json(Value::Array(erasures)), rows))
        })
    })
    .await
}
