//! What the centre keeps as FHIR resources, ViewDefinitions and Libraries: how they are written, shown and put on the record.

use super::Answer;
use crate::access::Principal;
use crate::api::answer::{self, BundleWriter};
use crate::api::headers::{self, DUGNAD_COMMIT, value};
use crate::api::{ApiError, App, body, interaction};
use crate::limits::MAX_VIEW_BODY_BYTES;
use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};
use bumpalo::Bump;
use dugnad_kernel::audit::Act;
use dugnad_kernel::database::StoredVersion;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::fhir::json::{self, write_string};
use dugnad_kernel::ids::{Commit, HolderId};
use serde_json::json;

/// The body of a write, which cannot be conditional.
pub async fn received(app: &App, kind: &str, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, ApiError> {
    headers::require_json_body(headers)?;
    for condition in [header::IF_MATCH, headers::IF_NONE_EXIST] {
        if headers.contains_key(&condition) {
            let what = format!("a {kind} of the centre is written without {condition}; leave it out");
            return Err(ApiError::bad_request(IssueType::NotSupported, what).at(format!("http.{condition}")));
        }
    }
    Ok(body::read(app, headers, body, MAX_VIEW_BODY_BYTES).await?.into_parts().0)
}

/// The id in a resource, if it has one, is that of the address.
pub fn check_id(kind: &str, json: &[u8], id: &str) -> Result<(), ApiError> {
    match interaction::Head::of(json).id {
        Some(other) if other != id => {
            let what = "the resource's id must be the id of the address";
            Err(ApiError::bad_request(IssueType::Value, what).at(format!("{kind}.id")))
        }
        _ => Ok(()),
    }
}

/// Puts a write on the record.
pub fn recorded(app: &App, who: &Principal, kind: &str, summary: String, commit: Commit) -> Result<(), ApiError> {
    let entry = app.entry(Act::Write, who, |e| {
        e.request = Some(summary);
        e.tables = vec![kind.to_owned()];
        e.commit = Some(commit.0);
        e.rows = Some(1);
        e.outcome = Some("ok".to_owned());
    });
    app.append(&entry).map(|_| ()).map_err(|e| e.with_header(DUGNAD_COMMIT, value(&commit.to_string())))
}

/// Where the resources of this server are.
pub fn address(app: &App, kind: &str, id: &str) -> String {
    let base = app.settings().public_url.as_deref().unwrap_or_default().trim_end_matches('/');
    format!("{base}/fhir/{kind}/{id}")
}

/// The answer to a write: what there is now. Blocks.
pub fn written(app: &App, kind: &str, id: &str, created: bool, commit: Commit) -> Answer {
    let stored = app.database().read(HolderId::CENTRE, kind, id)?.ok_or_else(interaction::absent)?;
    let mut response = answer::version(&stored, stamped(kind, id, &stored), commit);
    let location = value(&address(app, kind, id));
    response.headers_mut().insert(if created { header::LOCATION } else { header::CONTENT_LOCATION }, location);
    if created {
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}

/// The answer to a deletion.
pub fn removed(commit: Commit) -> Response<Body> {
    let mut response = answer::fhir(StatusCode::NO_CONTENT, Vec::new());
    response.headers_mut().insert(DUGNAD_COMMIT, value(&commit.to_string()));
    response
}

/// The answer to a read; 304 to whoever has this version.
pub fn shown(headers: &HeaderMap, kind: &str, id: &str, stored: &StoredVersion, commit: Commit) -> Response<Body> {
    if headers::is_unchanged(headers, stored.version, stored.last_updated) {
        let mut response = answer::version(stored, Vec::new(), commit);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    answer::version(stored, stamped(kind, id, stored), commit)
}

/// A searchset of all that was found.
pub fn bundle(app: &App, kind: &str, found: &[(String, StoredVersion)]) -> Response<Body> {
    let mut bundle = BundleWriter::counted("searchset", found.len() as u64);
    for (id, stored) in found {
        let members = json!({"fullUrl": address(app, kind, id), "search": {"mode": "match"}});
        bundle.entry(&members, Some(&stamped(kind, id, stored)));
    }
    answer::fhir(StatusCode::OK, bundle.finish())
}

/// A document as it was sent, with its id and its version.
fn stamped(kind: &str, id: &str, stored: &StoredVersion) -> Vec<u8> {
    let arena = Bump::new();
    let Ok(definition) = json::parse(stored.json.as_deref().unwrap_or_default(), &arena) else { return Vec::new() };
    let mut out = format!("{{\"resourceType\":\"{kind}\",\"id\":\"{id}\",\"meta\":{{").into_bytes();
    let others = definition.get("meta").map_or(&[][..], |meta| meta.members());
    for (name, value) in others.iter().filter(|(name, _)| !matches!(*name, "versionId" | "lastUpdated")) {
        write_string(name, &mut out);
        out.push(b':');
        value.write(&mut out);
        out.push(b',');
    }
    out.extend_from_slice(format!("\"versionId\":\"{}\",\"lastUpdated\":\"{}\"}}", stored.version, stored.last_updated).as_bytes());
    for (name, value) in definition.members().iter().filter(|(name, _)| !matches!(*name, "resourceType" | "id" | "meta")) {
        out.push(b',');
        write_string(name, &mut out);
        out.push(b':');
        value.write(&mut out);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "ViewDefinition";

    #[test]
    fn a_definition_is_stamped_and_otherwise_left_as_it_was() {
        let json = br#"{"name":"v","id":"old","meta":{"versionId":"9","tag":[{"code":"t"}]},"constant":[{"valueDecimal":1.10}]}"#;
        let last_updated = jiff::Timestamp::UNIX_EPOCH;
        let stored = StoredVersion {
            version: 2,
            commit: Commit(7),
            last_updated,
            json: Some(json.to_vec()),
            method: dugnad_kernel::database::Method::Put,
        };
        assert_eq!(
            String::from_utf8_lossy(&stamped(KIND, "v1", &stored)),
            r#"{"resourceType":"ViewDefinition","id":"v1","meta":{"tag":[{"code":"t"}],"versionId":"2","lastUpdated":"1970-01-01T00:00:00Z"},"name":"v","constant":[{"valueDecimal":1.10}]}"#
        );
    }
}
