//! `POST /sql` and `GET /permits`.

use super::auth::Caller;
use super::headers::{self, DUGNAD_COMMIT, DUGNAD_DISCLOSURE, DUGNAD_EPOCH, DUGNAD_QUERY, value};
use super::routes::{self, Doc, Parameter, Routes};
use super::work::Access;
use super::{ApiError, App, body, fhir};
use crate::access::{Principal, Role};
use crate::limits::{LAST_LINE_TIME, MAX_SQL_BODY_BYTES};
use crate::query::format::{Format, encode};
use crate::query::{Answer, Basis, QueryError, Question};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::permit::Permit;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;

const JSON: &str = "application/json";

/// Adds the routes of SQL.
pub fn add(routes: Routes) -> Routes {
    let sql = Doc {
        description: "The body is `{\"permit\": ID, \"sql\": TEXT, \"as_of\"?: COMMIT, \"format\"?: \"json\"|\"ndjson\"|\"csv\"|\"parquet\"|\"arrow\"|\"table\"}`. A permit is a schema: what is not in it does not exist. Rows carry `Dugnad-Commit`, statistics `Dugnad-Epoch` and, with the method of disclosure control and how much is not shown, `Dugnad-Disclosure`; `as_of` on statistics means the latest epoch not after it. Without `format`, `Accept` decides; JSON is one array of objects.",
        caller: routes::Caller::Known,
        parameters: &[Parameter { place: "header", name: "Dugnad-Min-Commit", description: "Answer from no older commit than this." }],
        body: Some(JSON),
        answer: &[
            JSON,
            "application/x-ndjson",
            "text/csv",
            "application/vnd.apache.parquet",
            "application/vnd.apache.arrow.stream",
            "text/plain",
        ],
        statuses: &[
            (200, "The rows, streamed"),
            (400, "Not a statement that this permit answers; the problem says why and what to do"),
            (404, "No permit of this id that you may use now"),
            (412, "The commit is not there, or is before the permit's start"),
            (422, "The answer would take too long or too much memory"),
            (503, "Too many queries at once, or the audit log cannot be written"),
        ],
        ..Doc::new("SQL", "sql", "Ask one SELECT under a permit")
    };
    let permits = Doc {
        description: "Each with its id, legal basis, tables, cadence and validity.",
        caller: routes::Caller::Known,
        answer: &[JSON],
        statuses: &[(200, "Your permits; the centre sees all")],
        ..Doc::new("SQL", "permits", "The permits that you may use")
    };
    routes.add(Method::POST, "/sql", sql, ask).add(Method::GET, "/permits", permits, permits_of)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    permit: String,
    sql: String,
    as_of: Option<u64>,
    format: Option<Format>,
}

async fn ask(State(app): State<App>, Caller(who): Caller, headers: HeaderMap, body: Body) -> Result<Response<Body>, ApiError> {
    headers::require_json_body(&headers)?;
    let held = body::read(&app, &headers, body, MAX_SQL_BODY_BYTES).await?;
    let request: Request = serde_json::from_slice(&held.into_parts().0).map_err(|e| not_the_form(&e))?;
    let format = request.format.map_or_else(|| headers::accepted_format(&headers), Ok)?;
    let min_commit = fhir::min_commit(&app, &headers).await?;
    let question =
        Question { who, interface: "sql", permit: request.permit, sql: request.sql, as_of: request.as_of.map(Commit), min_commit };
    let answer = app.query().ask(question).await?;
    streamed(answer, format).await
}

fn not_the_form(error: &serde_json::Error) -> ApiError {
    // serde's message names fields and positions; of values it names strings where an enum was meant: the format.
    let what = format!("the body must be {{\"permit\": ID, \"sql\": TEXT, \"as_of\"?: COMMIT, \"format\"?: NAME}}: {error}");
    ApiError::bad_request(IssueType::Structure, what)
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let said = error.to_string();
        match error {
            QueryError::NoPermit(_) => Self::not_found(said),
            QueryError::Refused(_) => Self::bad_request(IssueType::Invalid, said),
            QueryError::Commit(_) => Self::new(StatusCode::PRECONDITION_FAILED, IssueType::NotFound, said),
            QueryError::Revoked(_) => Self::not_found(said),
            QueryError::Cancelled(_) => Self::new(StatusCode::CONFLICT, IssueType::Conflict, said),
            QueryError::Limit(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, IssueType::TooCostly, said),
            QueryError::Busy { retry_after_s } => Self::busy("too many questions are waiting", retry_after_s),
            QueryError::Audit(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, IssueType::Exception, said),
            // What DataFusion says of a failure can hold a value of a row.
            QueryError::Internal(_) => Self::internal("a query failed"),
        }
    }
}

/// Streams an answer. The first bytes are computed before the head is sent, so that what fails at once has its own status;
/// what fails later ends the body early, which a client sees as a broken transfer. In formats of text its last line says why.
pub async fn streamed(answer: Answer, format: Format) -> Result<Response<Body>, ApiError> {
    let (basis, id) = (answer.basis.clone(), answer.id.clone());
    streamed_chunks(encode(answer, format), basis, &id, format).await
}

/// The same of bytes that come of an answer: of the basis `basis`, with the id `id`.
pub async fn streamed_chunks(
    chunks: BoxStream<'static, Result<Bytes, QueryError>>,
    basis: Basis,
    id: &str,
    format: Format,
) -> Result<Response<Body>, ApiError> {
    // An answer without a row may have no bytes: its end is met twice.
    let mut chunks = chunks.fuse().boxed();
    if let Basis::Epoch { .. } = basis {
        // Statistics are small, and the head says how much of them is not shown.
        let all: Vec<Bytes> = chunks.try_collect().await?;
        chunks = stream::iter(all.into_iter().map(Ok)).boxed();
    }
    let first = chunks.next().await.transpose()?;
    let rest = stream::unfold(Rest::Chunks(chunks), move |rest| rest.next(format));
    let body = Body::from_stream(stream::iter(first.map(Ok::<_, io::Error>)).chain(rest));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(DUGNAD_QUERY, value(id));
    if let Some(disclosure) = basis.disclosure() {
        headers.insert(DUGNAD_DISCLOSURE, value(&disclosure));
    }
    match basis {
        Basis::Commit(commit) => headers.insert(DUGNAD_COMMIT, value(&commit.to_string())),
        Basis::Epoch { epoch, .. } => headers.insert(DUGNAD_EPOCH, value(&epoch)),
    };
    Ok(response)
}

/// What is left of an answer.
enum Rest {
    Chunks(BoxStream<'static, Result<Bytes, QueryError>>),
    /// Its last line has been sent; the transfer breaks.
    Failed(QueryError),
    Nothing,
}

impl Rest {
    async fn next(self, format: Format) -> Option<(io::Result<Bytes>, Self)> {
        match self {
            Self::Nothing => None,
            Self::Failed(error) => {
                // What has been sent is flushed before the connection breaks, if the reader reads.
                tokio::time::sleep(LAST_LINE_TIME).await;
                Some((Err(io::Error::other(error)), Self::Nothing))
            }
            Self::Chunks(mut chunks) => match chunks.next().await? {
                Ok(chunk) => Some((Ok(chunk), Self::Chunks(chunks))),
                Err(error) => {
                    tracing::info!(kind = error.kind(), "an answer ended early");
                    // What DataFusion says of a failure can hold a value of a row.
                    let told = match &error {
                        QueryError::Internal(_) => "the query failed".to_owned(),
                        told => told.to_string(),
                    };
                    let last = match format {
                        Format::Json | Format::Ndjson => format!("\n{}\n", json!({"error": told})),
                        Format::Csv | Format::Table => format!("\nerror: {told}\n"),
                        Format::Parquet | Format::Arrow => String::new(),
                    };
                    Some((Ok(Bytes::from(last)), Self::Failed(error)))
                }
            },
        }
    }
}

async fn permits_of(State(app): State<App>, Caller(who): Caller) -> Result<Response<Body>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let now = app.now();
        let access = Access { who: who.clone(), interface: "sql", request: "GET /permits".to_owned(), tables: Vec::new() };
        let mine = app.read_recorded(&access, |_| {
            let holder = who.holder.as_deref().filter(|_| who.role == Role::Hospital);
            let care = holder.map(|holder| Permit::care(holder, &who.user));
            let stored = app.database().documents("permit")?;
            // One that does not keep its basis' rules cannot be used, so it is not listed.
            let granted = stored.iter().filter_map(|d| Permit::parse(&d.json).ok()).filter(|p| may_see(&who, p, now));
            let mine: Vec<Value> = care.into_iter().chain(granted).map(|p| json!(p.document())).collect();
            let count = mine.len() as u64;
            Ok((mine, count))
        })?;
        Ok(axum::Json(json!({"permits": mine})).into_response())
    })
    .await
}

/// The centre, which grants permits, sees all of them; others those that they may use now.
fn may_see(who: &Principal, permit: &Permit, now: Timestamp) -> bool {
    who.role == Role::Centre || permit.usable_by(&who.user, now)
}
