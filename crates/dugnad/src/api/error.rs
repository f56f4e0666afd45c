//! Errors to HTTP, in this one place.
//!
//! A handler returns an [`ApiError`]; [`render`] turns it into an OperationOutcome below `/fhir` and into
//! `application/problem+json` (RFC 9457) elsewhere, and logs it once. Nothing here ever holds a patient's value: the
//! kernel's issues do not, and the log gets the route's template, not its path.

use super::App;
use crate::access::AccessError;
use crate::limits::RETRY_AFTER_S;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dugnad_kernel::audit::AuditError;
use dugnad_kernel::database::{EraseError, ReadError, WriteError};
use dugnad_kernel::fhir::issue::{Issue, IssueType, Severity, operation_outcome};
use dugnad_kernel::search::execute::SearchError;
use std::sync::Arc;
use std::time::Instant;

/// Why a request was not answered as asked: a status, what is wrong, where, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{status}: {}", issues.first().map_or("", |i| i.diagnostics.as_str()))]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// Each problem; at least one.
    pub issues: Vec<Issue>,
    /// Headers that go with it: `Retry-After`, `WWW-Authenticate`, `Dugnad-Commit`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// An error with one problem.
    pub fn new(status: StatusCode, code: IssueType, what: impl Into<String>) -> Self {
        let issue = Issue { severity: Severity::Error, code, diagnostics: what.into(), expression: None };
        Self { status, issues: vec![issue], headers: Vec::new() }
    }

    /// The same error with the place of its first problem, a FHIRPath or `http.NAME` for a header.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        if let Some(first) = self.issues.first_mut() {
            first.expression = Some(place.into());
        }
        self
    }

    /// The same error with a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// 400: what was sent is wrong.
    pub fn bad_request(code: IssueType, what: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, what)
    }

    /// 403: known, but not for this role.
    pub fn forbidden(what: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, IssueType::Forbidden, what)
    }

    /// 404. What another holder has is answered with exactly the same.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, IssueType::NotFound, what)
    }

    /// 503 with `Retry-After`: too much at once.
    pub fn busy(what: &str, retry_after_s: u64) -> Self {
        let what = format!("{what}; try again in {retry_after_s} s");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, IssueType::Throttled, what)
            .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after_s))
    }

    /// 500. What failed goes to the log, not to the caller.
    pub fn internal(what: &str) -> Self {
        tracing::error!(what, "internal error");
        let told =
            "the server failed on this request; nothing more is known here, its log says more. Try again, and tell the centre if it stays";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, IssueType::Exception, told)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let what = format!("the body is larger than {limit} bytes; split it, or send a large set with `dugnad ingest`");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, IssueType::TooCostly, what)
    }

    fn detail(&self) -> &str {
        self.issues.first().map_or("", |i| i.diagnostics.as_str())
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused { status, issues } => {
                Self { status: StatusCode::from_u16(status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY), issues, headers: Vec::new() }
            }
            WriteError::Busy { retry_after_s } => Self::busy("the write queue is full", retry_after_s),
            WriteError::Stopped(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, IssueType::Exception, error.to_string()),
        }
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        Self::internal(&error.to_string())
    }
}

impl From<EraseError> for ApiError {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::Unknown => Self::not_found("there is no such Patient; check the holder's name and the Patient's logical id"),
            EraseError::Write(error) => error.into(),
            EraseError::List(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, IssueType::Exception, error.to_string()),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::internal(&error.to_string())
    }
}

impl From<SearchError> for ApiError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::TooCostly(what) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, IssueType::TooCostly, what),
            SearchError::Terminology(what) => Self::bad_request(IssueType::NotSupported, what),
            SearchError::TooLong => Self::new(StatusCode::PAYLOAD_TOO_LARGE, IssueType::TooCostly, error.to_string()),
            SearchError::NoCommit(_) | SearchError::NoPage => Self::new(StatusCode::GONE, IssueType::NotFound, error.to_string()),
            SearchError::Damaged(_) => {
                tracing::error!(%error, "a search met a damaged file");
                Self::busy("a file of the live tables is damaged and is being built anew", RETRY_AFTER_S)
            }
            SearchError::Journal(_) => Self::internal(&error.to_string()),
        }
    }
}

impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        tracing::error!(%error, "the audit log failed");
        let what = "the audit log cannot be written, so nothing is read or written; the centre has to mend it and restart the server";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, IssueType::Exception, what)
    }
}

/// The error, still without a body: [`render`] knows on which interface it was met.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.headers_mut().extend(self.headers.clone());
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// The outermost middleware: gives errors their body, counts every request and logs errors once.
pub async fn render(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let on_fhir = is_fhir(request.uri().path());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let status = response.status();
    app.metrics().count_request(&method, &route, status.as_u16(), started.elapsed());
    if status.is_client_error() || status.is_server_error() { with_body(response, on_fhir, &method, &route) } else { response }
}

fn is_fhir(path: &str) -> bool {
    path == "/fhir" || path.starts_with("/fhir/")
}

fn with_body(response: Response, on_fhir: bool, method: &Method, route: &str) -> Response {
    let error = match response.extensions().get::<Arc<ApiError>>() {
        Some(error) => Arc::clone(error),
        // Pages have bodies of their own; anything else without one is a rejection of the framework.
        None if is_plain(&response) => Arc::new(framework_error(response.status())),
        None => return response,
    };
    log(&error, method, route);
    let (mut parts, _) = response.into_parts();
    let (content_type, body) = if on_fhir {
        ("application/fhir+json; charset=utf-8", operation_outcome(&error.issues))
    } else {
        ("application/problem+json", problem(&error))
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Response::from_parts(parts, Body::from(body.to_string()))
}

fn is_plain(response: &Response) -> bool {
    match response.headers().get(header::CONTENT_TYPE) {
        None => true,
        Some(content_type) => content_type.as_bytes().starts_with(b"text/plain"),
    }
}

/// What the framework refused by itself: a path that is not UTF-8, say.
fn framework_error(status: StatusCode) -> ApiError {
    let code = if status.is_server_error() { IssueType::Exception } else { IssueType::Invalid };
    let what = format!("the request was refused ({status}); check its path, its encoding and its headers against /openapi.json");
    ApiError::new(status, code, what)
}

fn log(error: &ApiError, method: &Method, route: &str) {
    let (status, what) = (error.status.as_u16(), error.detail());
    if error.status.is_server_error() {
        tracing::warn!(%method, route, status, what, "request failed");
    } else {
        tracing::debug!(%method, route, status, what, "request refused");
    }
}

/// RFC 9457; `errors` holds each problem where there are several or where it has a place.
fn problem(error: &ApiError) -> serde_json::Value {
    let mut body = serde_json::json!({
        "type": "about:blank",
        "title": error.status.canonical_reason().unwrap_or("Error"),
        "status": error.status.as_u16(),
        "detail": error.detail(),
    });
    if error.issues.len() > 1 || error.issues.iter().any(|i| i.expression.is_some()) {
        let errors: Vec<serde_json::Value> =
            error.issues.iter().map(|i| serde_json::json!({"detail": i.diagnostics, "at": i.expression})).collect();
        body["errors"] = serde_json::Value::Array(errors);
    }
    body
}

/// What a panic in a handler becomes: nothing of it leaves the server.
pub fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    ApiError::internal("a handler panicked").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(at: Option<&str>) -> Issue {
        Issue { severity: Severity::Error, code: IssueType::Value, diagnostics: "not a date".into(), expression: at.map(Into::into) }
    }

    #[test]
    fn a_problem_says_what_and_where() {
        let error = ApiError { issues: vec![issue(Some("http.If-Match"))], ..ApiError::bad_request(IssueType::Value, "") };
        let body = problem(&error);
        assert_eq!(body["status"], 400);
        assert_eq!(body["detail"], "not a date");
        assert_eq!(body["errors"][0]["at"], "http.If-Match");
    }

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let error = ApiError::from(WriteError::Busy { retry_after_s: 3 });
        assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(error.headers, [(header::RETRY_AFTER, HeaderValue::from(3))]);
    }

    #[test]
    fn what_failed_inside_stays_inside() {
        let error = ApiError::from(ReadError("row of Ola Nordmann".into()));
        assert!(!format!("{error:?}").contains("Nordmann"));
    }
}
