//! `$import`: what a hospital has, as NDJSON, from files that the server fetches ("Bulk Import", the manifest of the "ping and pull"
//! draft, as Parameters) or from the body of the request.
//!
//! Lines are taken in as `dugnad ingest` takes them ([`crate::intake`]): in transactions of some hundred, each on the record; if one is
//! refused, line by line. No more is held of a file than one such group. The status, the files of errors and how long they are kept
//! are those of `$export`. Sending again what was taken changes nothing, so that whatever breaks off is sent again.

mod asked;
mod body;
mod job;

use super::auth::{Hospital, OwnHospital};
use super::headers;
use super::parameters::Parameters;
use super::routes::{Caller, Doc, Parameter, Routes};
use super::{ApiError, App, body as bodies, exports};
use crate::limits::{IMPORTING_FOR, MAX_SEARCH_BYTES};
use asked::Asked;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, header};
use job::{Job, Progress, Taken};
use serde_json::{Value, json};
use std::sync::Arc;

type Answer = Result<Response<Body>, ApiError>;

const FHIR: &str = "application/fhir+json";
const NDJSON: &str = "application/fhir+ndjson";
const IMPORT: &str = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/import";

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    const PARAMETERS: &[Parameter] =
        &[Parameter { place: "header", name: "Prefer", description: "`respond-async` is needed where the server fetches the files." }];
    let begin = Doc {
        description: "Parameters `inputFormat`, `inputSource`, `storageDetail` and `input` (parts `type`, `url`), whose files the server fetches; or NDJSON as the body, which is taken in while it comes. Files may be gzip. `Content-Location` is where to ask.",
        caller: Caller::Hospital,
        parameters: PARAMETERS,
        body: Some(FHIR),
        other_bodies: &[NDJSON],
        answer: &[FHIR],
        statuses: &[
            (202, "Begun: `Content-Location` says where to ask"),
            (400, "A parameter is wrong, or `Prefer: respond-async` is missing"),
            (403, "The server may not call one of the addresses"),
            (503, "Too many imports are kept"),
        ],
        operation: Some(("import", IMPORT)),
        ..Doc::new("FHIR", "import", "Take in NDJSON, fetched or sent")
    };
    let job = Doc {
        caller: Caller::Hospital,
        answer: &["application/json"],
        statuses: &[
            (200, "What was taken of each file, and the files of errors"),
            (202, "Under way, with `X-Progress`"),
            (404, "No import of yours"),
        ],
        ..Doc::new("FHIR", "importStatus", "How far an import is; at its end, what was taken")
    };
    let cancel = Doc {
        answer: &[FHIR],
        statuses: &[(202, "Stopped; what was taken stays"), (404, "No import of yours")],
        ..Doc { id: "importCancel", summary: "Stop an import, or remove its files of errors", ..job }
    };
    let file = Doc {
        answer: &[NDJSON],
        statuses: &[(200, "An OperationOutcome for each line that was refused"), (404, "No file of an import of yours")],
        ..Doc { id: "importErrors", summary: "What was refused of a file of an import", ..job }
    };
    routes
        .add(Method::POST, "/fhir/$import", begin, start)
        .add(Method::GET, "/fhir/$import/{id}", job, status)
        .add(Method::DELETE, "/fhir/$import/{id}", cancel, remove)
        .add(Method::GET, "/fhir/$import/{id}/{file}", file, errors)
}

async fn start(
    State(app): State<App>,
    OwnHospital(hospital): OwnHospital,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    headers::require_json_accepted(&headers, None)?;
    let base = headers::base(&headers, app.settings());
    if hospital.who.until.is_some() {
        let who = hospital.who.clone();
        app.with_provider(move |app| app.stand_behind(&who, IMPORTING_FOR)).await?;
    }
    if headers::body_type(&headers)? == NDJSON {
        return body::take(&app, hospital, base, body).await;
    }
    headers::require_json_body(&headers)?;
    headers::require_asynchronous(&headers, "an import")?;
    let (bytes, _held) = bodies::read(&app, &headers, body, MAX_SEARCH_BYTES).await?.into_parts();
    let asked = Asked::read(Parameters::read(query.as_deref(), &bytes)?, &app.settings().endpoints)?;
    let job = Job::new(&app, hospital, base, asked.inputs);
    let job = app.imports().start(&app, job, job::run)?;
    Ok(begun(&job))
}

/// 202, and where to ask.
fn begun(job: &Job) -> Response<Body> {
    exports::begun("the import", &job.address())
}

async fn status(State(app): State<App>, OwnHospital(hospital): OwnHospital, Path(id): Path<String>) -> Answer {
    let job = find(&app, &hospital, &id)?;
    match job.progress() {
        Progress::Running { file, lines } => {
            Ok(exports::under_way(Vec::new(), &format!("file {file} of {}, {lines} lines", job.inputs.len())))
        }
        Progress::Failed(error) => Err(error),
        Progress::Done(files) => Ok(exports::complete(&manifest(&job, &files), &job.label)),
    }
}

fn manifest(job: &Job, files: &[Taken]) -> Value {
    let all = || job.inputs.iter().zip(files);
    let output = all().map(|(input, taken)| json!({"type": input.resource_type, "inputUrl": input.url, "count": taken.lines}));
    let error = all().filter_map(|(input, taken)| {
        let url = format!("{}/{}", job.address(), taken.errors.as_ref()?);
        Some(json!({"type": "OperationOutcome", "inputUrl": input.url, "count": taken.refused, "url": url}))
    });
    json!({
        "transactionTime": job.label.started.to_string(),
        "request": format!("{}/$import", job.base),
        "requiresAccessToken": true,
        "output": output.collect::<Vec<_>>(),
        "error": error.collect::<Vec<_>>(),
    })
}

async fn remove(State(app): State<App>, OwnHospital(hospital): OwnHospital, Path(id): Path<String>) -> Answer {
    find(&app, &hospital, &id)?;
    app.imports().remove(&id);
    Ok(exports::accepted("the import is stopped; what was taken stays"))
}

/// A file of errors. They name places and rules, and nobody's values.
async fn errors(State(app): State<App>, OwnHospital(hospital): OwnHospital, Path((id, name)): Path<(String, String)>) -> Answer {
    let job = find(&app, &hospital, &id)?;
    let Progress::Done(files) = job.progress() else { return Err(absent()) };
    if !files.iter().any(|taken| taken.errors.as_ref() == Some(&name)) {
        return Err(absent());
    }
    let folder = app.imports().folder(&id).ok_or_else(absent)?;
    let file = folder.open(&name)?;
    let mut response = Response::new(Body::from_stream(exports::chunks(file, folder, || Ok(()))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    Ok(response)
}

fn find(app: &App, hospital: &Hospital, id: &str) -> Result<Arc<Job>, ApiError> {
    app.imports().find::<Job>(id, &hospital.who, app.now()).ok_or_else(absent)
}

fn absent() -> ApiError {
    ApiError::not_found(
        "there is no such import of yours; imports are known for a day, and not when the server is started anew: import again, what was taken is not taken twice",
    )
}
