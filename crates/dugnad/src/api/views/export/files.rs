//! The files of exports, fetched on the record.

use super::job::{Job, Progress, standing};
use super::{Answer, absent};
use crate::access::Principal;
use crate::api::exports::chunks;
use crate::api::headers::{DUGNAD_COMMIT, value};
use crate::api::{ApiError, App};
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use dugnad_kernel::audit::{Act, Entry};
use dugnad_kernel::fhir::issue::IssueType;
use std::sync::Arc;

/// Hands out a file.
///
/// Order: the intent and the completion, which counts all its rows as delivered, are durable, then the first byte goes out. A
/// transfer that breaks off has delivered fewer, never more.
pub async fn fetched(app: App, who: Principal, job: Arc<Job>, name: String) -> Answer {
    let Progress::Done { commit, written, under, .. } = job.progress() else { return Err(absent()) };
    if !standing(&app, &who, &job.permit).await?.allows(&under) {
        // Whoever has opted out since is in the files, or the permit says something else now.
        app.exports().remove(&job.label.id).await;
        return Err(outdated());
    }
    let at = job.outputs.iter().position(|o| job.file_name(o) == name).ok_or_else(absent)?;
    let folder = app.exports().folder(&job.label.id).ok_or_else(absent)?;
    let purpose = app.query().permit(&who, &job.permit)?.document().purpose.clone();
    let describe = |e: &mut Entry| {
        e.interface = Some("export".to_owned());
        e.permit = Some(job.permit.clone());
        e.purpose = Some(purpose.clone());
        e.request = job.outputs.get(at).map(|o| format!("fetch of the export of: {}", o.sql));
        e.commit = commit.map(|c| c.0);
    };
    app.check_log()?;
    let access = app.audit().begin_then(&app.entry(Act::Intent, &who, describe), Box::new(drop));
    let written = written.get(at);
    let file = folder.open(&name);
    let completion = app.entry(Act::Completion, &who, |e| {
        describe(e);
        e.request = None;
        e.rows = Some(written.filter(|_| file.is_ok()).map_or(0, |written| written.rows));
        e.outcome = Some(if file.is_ok() { "ok" } else { "failed" }.to_owned());
    });
    let patients = written.and_then(|written| written.patients.as_ref()).filter(|_| file.is_ok());
    app.complete(access, &completion, patients).await?;
    let permit = job.permit.clone();
    let still = move || app.query().permit(&who, &permit).map(drop).map_err(ApiError::from);
    let mut response = Response::new(Body::from_stream(chunks(file?, folder, still)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(job.format.content_type()));
    if let Some(commit) = commit {
        response.headers_mut().insert(DUGNAD_COMMIT, value(&commit.to_string()));
    }
    Ok(response)
}

fn outdated() -> ApiError {
    let what = "the permit was changed, or somebody in these files has opted out, since they were written; export again";
    ApiError::new(StatusCode::GONE, IssueType::Deleted, what)
}
