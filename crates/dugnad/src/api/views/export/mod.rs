//! `$sql-export` (SQL on FHIR 3.0-ballot) and `$viewdefinition-export`: the rows of registered views, as files.
//!
//! The request is answered with 202 and where to ask; once all is written, with 303 to the manifest. All outputs of a job are of
//! one commit. Each is a question under the permit, on the record like any other; so is each time that a file is fetched, and
//! the permit is asked again then. Files are the owner's only, and go after a day or with the server.

mod files;
mod job;

use super::Answer;
use super::run;
use crate::access::Principal;
use crate::api::auth::Caller;
use crate::api::exports::{self, Label};
use crate::api::headers::{DUGNAD_COMMIT, value};
use crate::api::parameters::Parameters;
use crate::api::{ApiError, App, answer, body, headers};
use crate::limits::{MAX_EXPORT_OUTPUTS, MAX_SQL_BODY_BYTES};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use dugnad_kernel::fhir::issue::IssueType;
use job::{Job, Output, Progress};
use serde_json::{Value, json};
use std::sync::Arc;

/// On the server, or on a view whose id is in the address.
pub async fn start(
    State(app): State<App>,
    Caller(who): Caller,
    id: Option<Path<String>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    let (bytes, _held) = body::read(&app, &headers, body, MAX_SQL_BODY_BYTES).await?.into_parts();
    if !bytes.is_empty() {
        headers::require_json_body(&headers)?;
    }
    let mut parameters = Parameters::read(query.as_deref(), &bytes)?;
    let format = run::format(&headers, &mut parameters)?;
    let tracking = parameters.text(&["clientTrackingId"])?;
    let (permit, outputs) = outputs(&app, &who, &headers, &mut parameters, id.map(|Path(id)| id)).await?;
    parameters.finish()?;
    let job = app.exports().start(&app, Job::new(Label::new(who, app.now()), permit, format, tracking, outputs), job::run)?;
    let mut response = answer::fhir(StatusCode::ACCEPTED, manifest(&app, &job, "accepted"));
    response.headers_mut().insert(header::CONTENT_LOCATION, value(&address(&app, &job, "")));
    Ok(response)
}

/// What is to be exported: a name and a question each, all under one permit.
async fn outputs(
    app: &App,
    who: &Principal,
    headers: &HeaderMap,
    parameters: &mut Parameters,
    id: Option<String>,
) -> Result<(String, Vec<Output>), ApiError> {
    let mut subjects = parameters.parts("subject")?;
    subjects.extend(parameters.parts("view")?);
    if id.is_some() || subjects.is_empty() {
        subjects.push(Parameters::default());
    }
    let wrong = |what: String| ApiError::bad_request(IssueType::Invalid, what).at("Parameters.parameter.where(name='subject')");
    if subjects.len() > MAX_EXPORT_OUTPUTS || (id.is_some() && subjects.len() > 1) {
        return Err(wrong(format!("an export has at most {MAX_EXPORT_OUTPUTS} subjects, and one where the address names it")));
    }
    let permit = run::permit(who, headers, parameters)?;
    let patients = parameters.texts("patient")?;
    let mut outputs: Vec<Output> = Vec::new();
    for (i, mut subject) in subjects.into_iter().enumerate() {
        let name = subject.text(&["name"])?.unwrap_or_else(|| format!("output{}", i + 1));
        let fits = (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !fits || outputs.iter().any(|o| o.name == name) {
            return Err(wrong("each subject has a name of its own: at most 64 letters, digits, - and _".to_owned()));
        }
        let wanted = if id.is_some() { &mut *parameters } else { &mut subject };
        let named = run::subject(app, wanted, id.clone())?;
        let sql = run::asked(app, who, &permit, wanted, named, &patients, None).await?;
        subject.finish()?;
        outputs.push(Output { name, sql });
    }
    Ok((permit, outputs))
}

pub async fn status(State(app): State<App>, Caller(who): Caller, Path(id): Path<String>) -> Answer {
    let job = find(&app, &who, &id)?;
    let (done, in_all) = match job.progress() {
        Progress::Running { done } => (done, job.outputs.len()),
        Progress::Done { .. } | Progress::Failed { .. } => {
            let mut response = StatusCode::SEE_OTHER.into_response();
            response.headers_mut().insert(header::LOCATION, value(&address(&app, &job, "/result")));
            return Ok(response);
        }
    };
    Ok(exports::under_way(manifest(&app, &job, "in-progress"), &format!("{done} of {in_all} outputs")))
}

pub async fn result(State(app): State<App>, Caller(who): Caller, Path(id): Path<String>) -> Answer {
    let job = find(&app, &who, &id)?;
    match job.progress() {
        Progress::Running { .. } => Err(absent()),
        Progress::Failed { error } => Err(error),
        Progress::Done { commit, .. } => {
            let mut response = answer::fhir(StatusCode::OK, manifest(&app, &job, "completed"));
            if let Some(commit) = commit {
                response.headers_mut().insert(DUGNAD_COMMIT, value(&commit.to_string()));
            }
            Ok(response)
        }
    }
}

pub async fn cancel(State(app): State<App>, Caller(who): Caller, Path(id): Path<String>) -> Answer {
    find(&app, &who, &id)?;
    app.exports().remove(&id).await;
    Ok(exports::accepted("the export is cancelled, and its files are gone"))
}

pub async fn file(State(app): State<App>, Caller(who): Caller, Path((id, name)): Path<(String, String)>) -> Answer {
    let job = find(&app, &who, &id)?;
    files::fetched(app, who, job, name).await
}

/// A job of the caller's, under a permit that they may still use from where they are now.
fn find(app: &App, who: &Principal, id: &str) -> Result<Arc<Job>, ApiError> {
    let job = app.exports().find::<Job>(id, who, app.now());
    job.filter(|job| app.query().permit(who, &job.permit).is_ok()).ok_or_else(absent)
}

fn absent() -> ApiError {
    ApiError::not_found("there is no such export of yours under a permit that you may use now; exports are kept for a day")
}

fn address(app: &App, job: &Job, rest: &str) -> String {
    let base = app.settings().public_url.as_deref().unwrap_or_default().trim_end_matches('/');
    format!("{base}/fhir/$sql-export/{}{rest}", job.label.id)
}

/// The Parameters that tell about a job.
fn manifest(app: &App, job: &Job, status: &str) -> Vec<u8> {
    let mut parameters = vec![
        json!({"name": "exportId", "valueString": job.label.id}),
        json!({"name": "status", "valueCode": status}),
        json!({"name": "location", "valueUri": address(app, job, "")}),
        json!({"name": "cancelUrl", "valueUri": address(app, job, "")}),
        json!({"name": "_format", "valueCode": job.format.name()}),
        json!({"name": "exportStartTime", "valueInstant": job.label.started.to_string()}),
    ];
    parameters.extend(job.tracking.as_ref().map(|id| json!({"name": "clientTrackingId", "valueString": id})));
    if let Progress::Done { ended, .. } = job.progress() {
        parameters.push(json!({"name": "exportEndTime", "valueInstant": ended.to_string()}));
        let seconds = ended.duration_since(job.label.started).as_secs().max(0);
        parameters.push(json!({"name": "exportDuration", "valueInteger": seconds}));
        let output = |output: &Output| -> Value {
            let location = address(app, job, &format!("/{}", job.file_name(output)));
            json!({"name": "output", "part": [{"name": "name", "valueString": output.name}, {"name": "location", "valueUri": location}]})
        };
        parameters.extend(job.outputs.iter().map(output));
    }
    json!({"resourceType": "Parameters", "parameter": parameters}).to_string().into_bytes()
}
