//! Bulk Data Access 2.0 (<http://hl7.org/fhir/uv/bulkdata/STU2/>): `$export` of all that a hospital has, of its patients, or of a group of
//! them, as NDJSON.
//!
//! The request is answered with 202 and where to ask; there with 202 until all is written, then with the manifest. All files are of
//! the commit that was newest when the export was asked for. What is read for it is on the record, and so is each time that a file
//! is fetched. Files are the owner's only, and go after a day or with the server.

mod asked;
mod deleted;
mod file;
mod files;
mod job;
#[cfg(test)]
mod tests;

use super::auth::Hospital;
use super::headers::{self, DUGNAD_COMMIT, Preferences, value};
use super::parameters::Parameters;
use super::routes::{Caller, Doc, Parameter, Routes};
use super::{ApiError, App, body, exports};
use crate::limits::MAX_SEARCH_BYTES;
use asked::{Asked, Level};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, Response, Uri};
use dugnad_kernel::database::Handling;
use files::Output;
use job::{Job, Progress};
use serde_json::{Value, json};
use std::sync::Arc;

type Answer = Result<Response<Body>, ApiError>;

const FHIR: &str = "application/fhir+json";
const NDJSON: &str = "application/fhir+ndjson";

const fn query(name: &'static str, description: &'static str) -> Parameter {
    Parameter { place: "query", name, description }
}

const PARAMETERS: &[Parameter] = &[
    Parameter {
        place: "header",
        name: "Prefer",
        description: "`respond-async` is needed; `handling=lenient` leaves out what is not known.",
    },
    query("_type", "Only these resource types: `Patient,Observation`."),
    query("_since", "Only what was written then or later: an instant. What was deleted since is in `deleted` of the manifest."),
    query("_until", "Only what was written before: an instant."),
    query("_typeFilter", "Searches, one of which a resource of their type has to match: `Observation?code=http://loinc.org|8867-4`."),
    query("_elements", "Only these elements and mandatory ones, with the tag SUBSETTED: `id,Patient.name`."),
    query("_outputFormat", "`application/fhir+ndjson`, the only one."),
];

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let begin = Doc {
        description: "All files are of one commit. `Content-Location` is where to ask: 202 with `X-Progress` until all is written, then the manifest. Files are NDJSON, fetched by the same user, and kept for a day or until the server ends.",
        caller: Caller::Hospital,
        parameters: PARAMETERS,
        answer: &[FHIR],
        statuses: &[
            (202, "Begun: `Content-Location` says where to ask"),
            (400, "A parameter is wrong, or `Prefer: respond-async` is missing"),
            (404, "There is no such Group"),
            (503, "Too many exports run or wait"),
        ],
        ..Doc::new("FHIR", "", "")
    };
    let post = Doc { body: Some(FHIR), ..begin };
    let named = |name: &'static str| Some(("export", name));
    let job = Doc {
        caller: Caller::Hospital,
        answer: &["application/json"],
        statuses: &[(200, "The manifest"), (202, "Under way, with `X-Progress`"), (404, "No export of yours")],
        ..Doc::new("FHIR", "bulkStatus", "How far an export of resources is; at its end, its files")
    };
    let file = Doc {
        answer: &[NDJSON],
        statuses: &[(200, "The file"), (404, "No file of an export of yours")],
        ..Doc { id: "bulkFile", summary: "A file of an export of resources", ..job }
    };
    let cancel = Doc {
        answer: &[FHIR],
        statuses: &[(202, "Stopped; its files are gone"), (404, "No export of yours")],
        ..Doc { id: "bulkCancel", summary: "Stop an export of resources, or remove its files", ..job }
    };
    let (system, patient, group) = (named(SYSTEM), named(PATIENT), named(GROUP));
    routes
        .add(Method::GET, "/fhir/$export", Doc { id: "bulk", summary: "Export all resources", operation: system, ..begin }, of_system)
        .add(Method::POST, "/fhir/$export", Doc { id: "bulkPost", summary: "Export all resources", operation: system, ..post }, of_system)
        .add(
            Method::GET,
            "/fhir/Patient/$export",
            Doc { id: "bulkPatients", summary: "Export what is about patients", operation: patient, ..begin },
            of_patients,
        )
        .add(
            Method::POST,
            "/fhir/Patient/$export",
            Doc { id: "bulkPatientsPost", summary: "Export what is about patients", operation: patient, ..post },
            of_patients,
        )
        .add(
            Method::GET,
            "/fhir/Group/{id}/$export",
            Doc { id: "bulkGroup", summary: "Export what is about the members of a Group", operation: group, ..begin },
            of_group,
        )
        .add(
            Method::POST,
            "/fhir/Group/{id}/$export",
            Doc { id: "bulkGroupPost", summary: "Export what is about the members of a Group", operation: group, ..post },
            of_group,
        )
        .add(Method::GET, "/fhir/$export/{id}", job, status)
        .add(Method::DELETE, "/fhir/$export/{id}", cancel, remove)
        .add(Method::GET, "/fhir/$export/{id}/{file}", file, file::fetch)
}

const SYSTEM: &str = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export";
const PATIENT: &str = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export";
const GROUP: &str = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export";

async fn of_system(app: State<App>, hospital: Hospital, uri: Uri, headers: HeaderMap, query: RawQuery, body: Body) -> Answer {
    start(app, hospital, Level::System, uri, headers, query, body).await
}

async fn of_patients(app: State<App>, hospital: Hospital, uri: Uri, headers: HeaderMap, query: RawQuery, body: Body) -> Answer {
    start(app, hospital, Level::Patients, uri, headers, query, body).await
}

async fn of_group(
    app: State<App>,
    hospital: Hospital,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    query: RawQuery,
    body: Body,
) -> Answer {
    start(app, hospital, Level::Group(id), uri, headers, query, body).await
}

async fn start(
    State(app): State<App>,
    hospital: Hospital,
    level: Level,
    uri: Uri,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    headers::require_asynchronous(&headers, "an export")?;
    let (bytes, _held) = body::read(&app, &headers, body, MAX_SEARCH_BYTES).await?.into_parts();
    if !bytes.is_empty() {
        headers::require_json_body(&headers)?;
    }
    let lenient = Preferences::parse(&headers).handling == Some(Handling::Lenient);
    let mut parameters = Parameters::read(query.as_deref(), &bytes)?;
    parameters.require_json_accepted(&headers)?;
    let asked = Asked::read(level, parameters, lenient)?;
    let base = headers::base(&headers, app.settings());
    let request = format!("{}{uri}", base.strip_suffix("/fhir").unwrap_or(&base));
    let place = app.enter_reads().await?;
    let job = app.on_thread(place, move |app| Job::new(app, hospital, &asked, base, request)).await?;
    let job = app.exports().start(&app, job, job::run)?;
    let mut response = exports::begun("the export", &job.address());
    response.headers_mut().insert(DUGNAD_COMMIT, value(&job.commit.to_string()));
    Ok(response)
}

async fn status(State(app): State<App>, hospital: Hospital, Path(id): Path<String>) -> Answer {
    let job = find(&app, &hospital, &id)?;
    match job.progress() {
        Progress::Running { done } => Ok(exports::under_way(Vec::new(), &format!("{done} of {} resource types", job.types.len()))),
        Progress::Failed(error) => Err(error),
        Progress::Done(outputs) => {
            let mut response = exports::complete(&manifest(&job, &outputs), &job.label, app.now());
            response.headers_mut().insert(DUGNAD_COMMIT, value(&job.commit.to_string()));
            Ok(response)
        }
    }
}

fn manifest(job: &Job, outputs: &[Output]) -> Value {
    let output =
        |output: &Output| json!({"type": output.resource_type, "url": format!("{}/{}", job.address(), output.name), "count": output.count});
    json!({
        "transactionTime": job.time.to_string(),
        "request": job.request,
        "requiresAccessToken": true,
        "output": outputs.iter().filter(|output| !output.deleted).map(output).collect::<Vec<_>>(),
        "deleted": outputs.iter().filter(|output| output.deleted).map(output).collect::<Vec<_>>(),
        "error": [],
    })
}

async fn remove(State(app): State<App>, hospital: Hospital, Path(id): Path<String>) -> Answer {
    find(&app, &hospital, &id)?;
    app.exports().remove(&id).await;
    Ok(exports::accepted("the export is cancelled, and its files are gone"))
}

fn find(app: &App, hospital: &Hospital, id: &str) -> Result<Arc<Job>, ApiError> {
    app.exports().find::<Job>(id, &hospital.who, app.now()).ok_or_else(absent)
}

fn absent() -> ApiError {
    ApiError::not_found(
        "there is no such export of yours; exports are kept for a day, and not when the server is started anew: export again",
    )
}
