//! Files of an export, fetched on the record.

use super::{Answer, NDJSON, absent, find};
use crate::api::auth::Hospital;
use crate::api::exports::chunks;
use crate::api::headers::{DUGNAD_COMMIT, value};
use crate::api::{App, bulk::job::Progress};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Response, header};
use dugnad_kernel::audit::Act;

/// Hands out a file.
///
/// Order: the intent and the completion, which counts all its resources as delivered, are durable, then the first byte goes out. A
/// transfer that breaks off has delivered fewer, never more.
pub async fn fetch(State(app): State<App>, hospital: Hospital, Path((id, name)): Path<(String, String)>) -> Answer {
    let job = find(&app, &hospital, &id)?;
    let Progress::Done(outputs) = job.progress() else { return Err(absent()) };
    let output = outputs.into_iter().find(|output| output.name == name).ok_or_else(absent)?;
    let folder = app.exports().folder(&id).ok_or_else(absent)?;
    app.check_log()?;
    let describe = |e: &mut dugnad_kernel::audit::Entry| {
        job.describe(e, " (a file of it)");
        e.tables = vec![output.resource_type.to_owned()];
    };
    let access = app.audit().begin_then(&app.entry(Act::Intent, &hospital.who, describe), Box::new(drop));
    let file = folder.open(&name);
    let completion = app.entry(Act::Completion, &hospital.who, |e| {
        describe(e);
        e.request = None;
        e.rows = Some(if file.is_ok() { output.count } else { 0 });
        e.outcome = Some(if file.is_ok() { "ok" } else { "failed" }.to_owned());
    });
    app.complete(access, &completion, Some(&output.patients).filter(|_| file.is_ok())).await?;
    // After an erasure there are no exports any more: a transfer that is under way ends.
    let (kept, of) = (app.clone(), id.clone());
    let still = move || if kept.exports().folder(&of).is_some() { Ok(()) } else { Err(absent()) };
    let mut response = Response::new(Body::from_stream(chunks(file?, folder, still)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response.headers_mut().insert(DUGNAD_COMMIT, value(&job.commit.to_string()));
    Ok(response)
}
