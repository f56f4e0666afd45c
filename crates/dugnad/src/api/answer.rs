//! FHIR answers: resources, OperationOutcomes and Bundles, put together as bytes because stored resources are bytes.

use super::App;
use super::error::ApiError;
use super::fhir::Found;
use super::headers::{self, DUGNAD_COMMIT, DUGNAD_REPLAYED, Return, http_date, value};
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use dugnad_kernel::database::{EntryOutcome, Outcome, StoredVersion, Written};
use dugnad_kernel::fhir::issue::{Issue, IssueType, Severity, operation_outcome};
use dugnad_kernel::ids::{Commit, HolderId};
use serde_json::json;

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json; charset=utf-8");

/// An answer with a FHIR body, or without one if it is empty.
pub fn fhir(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if !body.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, FHIR_JSON);
        *response.body_mut() = Body::from(body);
    }
    response
}

/// A resource's version as the answer to a read (FHIR R4, 3.1.0.1.2).
pub fn version(stored: &StoredVersion, body: Vec<u8>, commit: Commit) -> Response<Body> {
    let mut response = fhir(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value(&headers::etag(stored.version)));
    headers.insert(header::LAST_MODIFIED, value(&http_date(stored.last_updated)));
    headers.insert(DUGNAD_COMMIT, value(&commit.to_string()));
    response
}

/// 410 for what was deleted.
pub fn gone() -> ApiError {
    ApiError::new(StatusCode::GONE, IssueType::Deleted, "the resource was deleted; its earlier versions are in its _history")
}

/// The resource as an entry's write left it, even if another write has changed it since.
pub fn representation(app: &App, holder: HolderId, entry: &EntryOutcome) -> Result<Option<Vec<u8>>, ApiError> {
    if entry.status == 204 {
        return Ok(None);
    }
    let (kind, id) = (entry.resource_type.as_str(), entry.id.as_str());
    match app.database().read(holder, kind, id)? {
        Some(current) if current.version == entry.version => Ok(current.json),
        _ => Ok(app.database().history(holder, kind, id)?.into_iter().find(|v| v.version == entry.version).and_then(|v| v.json)),
    }
}

/// An OperationOutcome that says that all went well, with what deserves a look.
pub fn all_well(entry: &EntryOutcome) -> Vec<u8> {
    let said = match entry.status {
        201 => "created",
        204 => "deleted",
        _ => "taken; this is the current version",
    };
    let mut issues = entry.issues.clone();
    if issues.is_empty() {
        issues.push(information(said));
    }
    operation_outcome(&issues).to_string().into_bytes()
}

/// An issue that is none.
pub fn information(said: &str) -> Issue {
    Issue { severity: Severity::Information, code: IssueType::Informational, diagnostics: said.to_owned(), expression: None }
}

/// The answer to a single create, update or delete.
pub fn written(app: &App, outcome: &Outcome, wanted: Return, representation: Option<Vec<u8>>) -> Response<Body> {
    let Some(entry) = outcome.entries.first() else { return replayed(outcome) };
    if entry.version == 0 {
        return nothing_there(outcome, wanted);
    }
    let body = match wanted {
        Return::Minimal => Vec::new(),
        Return::Representation => representation.unwrap_or_default(),
        Return::OperationOutcome => all_well(entry),
    };
    // 204 may have no body: one that was asked for comes with 200 (FHIR R4, 3.1.0.7).
    let status = match StatusCode::from_u16(entry.status) {
        Ok(StatusCode::NO_CONTENT) if !body.is_empty() => StatusCode::OK,
        Ok(status) => status,
        Err(_) => StatusCode::OK,
    };
    let mut response = fhir(status, body);
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value(&headers::etag(entry.version)));
    headers.insert(header::LAST_MODIFIED, value(&http_date(entry.since.unwrap_or(outcome.time))));
    if entry.status != 204 {
        let base = app.settings().public_url.as_deref().unwrap_or_default().trim_end_matches('/');
        let location = format!("{base}/fhir/{}/{}/_history/{}", entry.resource_type, entry.id, entry.version);
        headers.insert(if entry.status == 201 { header::LOCATION } else { header::CONTENT_LOCATION }, value(&location));
    }
    headers.insert(DUGNAD_COMMIT, value(&outcome.commit.to_string()));
    response
}

/// The answer to a deletion of what never was: none, or the OperationOutcome that was asked for (FHIR R4, 3.1.0.7).
fn nothing_there(outcome: &Outcome, wanted: Return) -> Response<Body> {
    let said = information("there is nothing to delete");
    let body = if wanted == Return::OperationOutcome { operation_outcome(&[said]).to_string().into_bytes() } else { Vec::new() };
    let mut response = fhir(if body.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK }, body);
    response.headers_mut().insert(DUGNAD_COMMIT, value(&outcome.commit.to_string()));
    response
}

/// The answer to a write that had been taken before.
pub fn replayed(outcome: &Outcome) -> Response<Body> {
    let said = format!(
        "this request was taken before under the same Idempotency-Key, in commit {} or earlier; nothing has changed",
        outcome.commit
    );
    let mut response = fhir(StatusCode::OK, operation_outcome(&[information(&said)]).to_string().into_bytes());
    response.headers_mut().insert(DUGNAD_COMMIT, value(&outcome.commit.to_string()));
    response.headers_mut().insert(DUGNAD_REPLAYED, HeaderValue::from_static("true"));
    response
}

/// A Bundle under construction: a `transaction-response`, `batch-response`, `history` or plain `searchset`.
pub struct BundleWriter {
    out: Vec<u8>,
    entries: usize,
}

impl BundleWriter {
    /// An empty Bundle.
    pub fn new(kind: &str) -> Self {
        Self { out: format!("{{\"resourceType\":\"Bundle\",\"type\":\"{kind}\"").into_bytes(), entries: 0 }
    }

    /// An empty Bundle with its number of entries in all.
    pub fn counted(kind: &str, total: u64) -> Self {
        let mut bundle = Self::new(kind);
        bundle.out.extend_from_slice(format!(",\"total\":{total}").as_bytes());
        bundle
    }

    /// An empty history, or page of one.
    pub fn history(total: Option<u64>, links: &[(&str, String)]) -> Self {
        let mut bundle = total.map_or_else(|| Self::new("history"), |total| Self::counted("history", total));
        let links: Vec<_> = links.iter().map(|(relation, url)| json!({"relation": relation, "url": url})).collect();
        bundle.out.extend_from_slice(format!(",\"link\":{}", serde_json::Value::Array(links)).as_bytes());
        bundle
    }

    /// Adds a version to a history; `base` is the address of `/fhir`.
    pub fn version(&mut self, base: &str, written: &Written) {
        let Written { resource_type, id, version } = written;
        let status = match (&version.json, version.version) {
            (None, _) => "204 No Content",
            (Some(_), 1) => "201 Created",
            (Some(_), _) => "200 OK",
        };
        let members = json!({
            "fullUrl": format!("{base}/{resource_type}/{id}"),
            "request": {"method": version.method.name(), "url": written.request_url()},
            "response": {"status": status, "etag": headers::etag(version.version), "lastModified": version.last_updated.to_string()},
        });
        self.entry(&members, version.json.as_deref());
    }

    /// Adds an entry: its members (an object), and the resource's bytes as they are stored.
    pub fn entry(&mut self, members: &serde_json::Value, resource: Option<&[u8]>) {
        self.out.extend_from_slice(if self.entries == 0 { b",\"entry\":[" } else { b"," });
        self.entries += 1;
        let members = members.to_string();
        let open = members.strip_suffix('}').unwrap_or(&members);
        self.out.extend_from_slice(open.as_bytes());
        if let Some(resource) = resource {
            self.out.extend_from_slice(if open == "{" { b"\"resource\":" } else { b",\"resource\":" });
            self.out.extend_from_slice(resource);
        }
        self.out.push(b'}');
    }

    /// How large it is so far, in bytes.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// The Bundle's JSON.
    pub fn finish(mut self) -> Vec<u8> {
        if self.entries > 0 {
            self.out.push(b']');
        }
        self.out.push(b'}');
        self.out
    }
}

/// `entry.response` of a write.
pub fn entry_response(entry: &EntryOutcome, time: jiff::Timestamp, wanted: Return) -> serde_json::Value {
    let reason = StatusCode::from_u16(entry.status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default();
    let mut response = json!({"status": format!("{} {reason}", entry.status)});
    if entry.status != 204 {
        response["location"] = format!("{}/{}/_history/{}", entry.resource_type, entry.id, entry.version).into();
    }
    response["etag"] = headers::etag(entry.version).into();
    response["lastModified"] = entry.since.unwrap_or(time).to_string().into();
    if !entry.issues.is_empty() {
        response["outcome"] = operation_outcome(&entry.issues);
    } else if wanted == Return::OperationOutcome {
        response["outcome"] = operation_outcome(&[information("taken")]);
    }
    json!({"response": response})
}

/// `entry.response` of what was read in a batch or transaction.
pub fn entry_read(found: &Found) -> serde_json::Value {
    let mut response = json!({"status": "200 OK"});
    if let Some(version) = &found.version {
        response["etag"] = headers::etag(version.version).into();
        response["lastModified"] = version.last_updated.to_string().into();
    }
    json!({"response": response})
}

/// `entry.response` of a batch's entry that failed.
pub fn entry_error(error: &ApiError) -> serde_json::Value {
    let reason = error.status.canonical_reason().unwrap_or_default();
    json!({"response": {"status": format!("{} {reason}", error.status.as_u16()), "outcome": operation_outcome(&error.issues)}})
}

/// Indented JSON for a person's eyes (`_pretty=true`). Numbers and strings keep their text: nothing is parsed.
pub fn pretty(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                if matches!(bytes.peek(), Some(b'}' | b']')) {
                    out.extend(bytes.next());
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                new_line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => out.push(byte),
        }
    }
    out.push(b'\n');
    out
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth * 2));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_keeps_every_value() {
        let json = br#"{"a":[],"b":[1.10,{"c":"x:{\"y\\"}],"d":{}}"#;
        let pretty = pretty(json);
        assert_eq!(
            String::from_utf8_lossy(&pretty),
            "{\n  \"a\": [],\n  \"b\": [\n    1.10,\n    {\n      \"c\": \"x:{\\\"y\\\\\"\n    }\n  ],\n  \"d\": {}\n}\n"
        );
    }

    #[test]
    fn bundles() {
        assert_eq!(BundleWriter::history(Some(0), &[]).finish(), br#"{"resourceType":"Bundle","type":"history","total":0,"link":[]}"#);
        let mut bundle = BundleWriter::new("batch-response");
        bundle.entry(&json!({"response": {"status": "200 OK"}}), Some(b"{\"a\":1.10}"));
        bundle.entry(&json!({}), Some(b"{}"));
        let text = String::from_utf8(bundle.finish()).unwrap_or_default();
        assert_eq!(
            text,
            r#"{"resourceType":"Bundle","type":"batch-response","entry":[{"response":{"status":"200 OK"},"resource":{"a":1.10}},{"resource":{}}]}"#
        );
    }
}
