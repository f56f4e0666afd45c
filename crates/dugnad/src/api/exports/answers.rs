//! What clients are told of a job: that it has begun, how far it is, what came of it.

use super::Label;
use crate::api::answer;
use crate::api::headers::{http_date, value};
use crate::limits::EXPORT_POLL_S;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use dugnad_kernel::fhir::issue::operation_outcome;
use jiff::Timestamp;
use serde_json::Value;

const X_PROGRESS: HeaderName = HeaderName::from_static("x-progress");

/// 202 with a sentence.
pub fn accepted(what: &str) -> Response<Body> {
    answer::fhir(StatusCode::ACCEPTED, operation_outcome(&[answer::information(what)]).to_string().into_bytes())
}

/// It has begun; `address` is where to ask. `what` names it: `the export`.
pub fn begun(what: &str, address: &str) -> Response<Body> {
    let mut response = accepted(&format!("{what} has begun; Content-Location says where to ask how far it is"));
    response.headers_mut().insert(header::CONTENT_LOCATION, value(address));
    response
}

/// It is under way, and so far.
pub fn under_way(body: Vec<u8>, progress: &str) -> Response<Body> {
    let mut response = answer::fhir(StatusCode::ACCEPTED, body);
    response.headers_mut().insert(X_PROGRESS, value(progress));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(EXPORT_POLL_S));
    response
}

/// The manifest of what came of it (Bulk Data), which stands as long as its files.
pub fn complete(manifest: &Value, label: &Label, now: Timestamp) -> Response<Body> {
    let mut response = Response::new(Body::from(manifest.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::EXPIRES, value(&http_date(label.expires(now))));
    response
}
