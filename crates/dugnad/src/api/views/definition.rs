//! ViewDefinitions as resources: registered, changed, read and deleted.

use super::{Answer, readable_table};
use crate::access::{Principal, Role};
use crate::api::answer::{self, BundleWriter};
use crate::api::auth::{Caller, Centre};
use crate::api::headers::{self, DUGNAD_COMMIT, value};
use crate::api::work::Access;
use crate::api::{ApiError, App, body, interaction};
use crate::limits::MAX_VIEW_BODY_BYTES;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use bumpalo::Bump;
use dugnad_kernel::audit::Act;
use dugnad_kernel::database::{StoredVersion, ViewRefused};
use dugnad_kernel::fhir::issue::{Issue, IssueType};
use dugnad_kernel::fhir::json::{self, write_string};
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_kernel::views::ViewError;
use serde_json::json;

/// The resource type.
pub const KIND: &str = "ViewDefinition";

pub async fn create(State(app): State<App>, Centre(who): Centre, headers: HeaderMap, body: Body) -> Answer {
    let definition = received(&app, &headers, body).await?;
    let id = app.database().new_id();
    write(app, who, id, definition, format!("POST /fhir/{KIND}")).await
}

pub async fn update(State(app): State<App>, Centre(who): Centre, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Answer {
    let id = interaction::writable_id(&id)?;
    let definition = received(&app, &headers, body).await?;
    check_id(&definition, &id)?;
    let summary = format!("PUT /fhir/{KIND}/{id}");
    write(app, who, id, definition, summary).await
}

/// The id in a definition, if it has one, is that of the address.
pub fn check_id(definition: &str, id: &str) -> Result<(), ApiError> {
    let head = interaction::Head::of(definition.as_bytes());
    match head.id {
        Some(other) if other != id => {
            Err(ApiError::bad_request(IssueType::Value, "the resource's id must be the id of the address").at("ViewDefinition.id"))
        }
        _ => Ok(()),
    }
}

async fn received(app: &App, headers: &HeaderMap, body: Body) -> Result<String, ApiError> {
    headers::require_json_body(headers)?;
    for condition in [header::IF_MATCH, headers::IF_NONE_EXIST] {
        if headers.contains_key(&condition) {
            let what = format!("ViewDefinitions are written without {condition}; leave it out");
            return Err(ApiError::bad_request(IssueType::NotSupported, what).at(format!("http.{condition}")));
        }
    }
    let bytes = body::read(app, headers, body, MAX_VIEW_BODY_BYTES).await?.into_parts().0;
    text(bytes)
}

/// A definition's JSON as text.
pub fn text(bytes: Vec<u8>) -> Result<String, ApiError> {
    if interaction::Head::read(&bytes).is_ok_and(|head| head.resource_type.as_deref() != Some(KIND)) {
        let what = "this must be a resource of type ViewDefinition";
        return Err(ApiError::bad_request(IssueType::Invalid, what).at("ViewDefinition.resourceType"));
    }
    String::from_utf8(bytes).map_err(|_| ApiError::bad_request(IssueType::Structure, "the body is not UTF-8"))
}

async fn write(app: App, who: Principal, id: String, definition: String, summary: String) -> Answer {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let (created, commit) = register(app, &who, &id, &definition, summary)?;
        let stored = app.database().read(HolderId::CENTRE, KIND, &id)?.ok_or_else(interaction::absent)?;
        let mut response = answer::version(&stored, stamped(KIND, &id, &stored), commit);
        let base = app.settings().public_url.as_deref().unwrap_or_default().trim_end_matches('/');
        let location = value(&format!("{base}/fhir/{KIND}/{id}"));
        response.headers_mut().insert(if created { header::LOCATION } else { header::CONTENT_LOCATION }, location);
        if created {
            *response.status_mut() = StatusCode::CREATED;
        }
        Ok(response)
    })
    .await
}

/// Registers a definition, on the record: whether it is a new one, and its commit. Blocks.
///
/// Order: the definition is durable, then the entry is durable, then the caller is answered, as with other writes.
pub fn register(app: &App, who: &Principal, id: &str, definition: &str, summary: String) -> Result<(bool, Commit), ApiError> {
    app.check_log()?;
    let name = serde_json::from_str(definition).ok().and_then(|d: serde_json::Value| d.get("name")?.as_str().map(str::to_owned));
    if let Some(name) = name.filter(|name| app.query().has_view(name)) {
        return Err(ViewRefused::Name(format!("there is a SQLView of the name {name} already; choose another")).into());
    }
    let created = app.database().view(id).is_none();
    let commit = app.database().register_view(id, definition)?;
    recorded(app, who, summary, commit)?;
    Ok((created, commit))
}

fn recorded(app: &App, who: &Principal, summary: String, commit: Commit) -> Result<(), ApiError> {
    let entry = app.entry(Act::Write, who, |e| {
        e.request = Some(summary);
        e.tables = vec![KIND.to_owned()];
        e.commit = Some(commit.0);
        e.rows = Some(1);
        e.outcome = Some("ok".to_owned());
    });
    app.append(&entry).map(|_| ()).map_err(|e| e.with_header(DUGNAD_COMMIT, value(&commit.to_string())))
}

pub async fn delete(State(app): State<App>, Centre(who): Centre, Path(id): Path<String>) -> Answer {
    let id = interaction::readable_id(&id)?;
    let summary = format!("DELETE /fhir/{KIND}/{id}");
    remove(app, who, id, summary).await
}

/// Takes a view and its table away, on the record.
pub async fn remove(app: App, who: Principal, id: String, summary: String) -> Answer {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        app.check_log()?;
        let commit = app.database().remove_view(&id)?.ok_or_else(interaction::absent)?;
        recorded(app, &who, summary, commit)?;
        let mut response = answer::fhir(StatusCode::NO_CONTENT, Vec::new());
        response.headers_mut().insert(DUGNAD_COMMIT, value(&commit.to_string()));
        Ok(response)
    })
    .await
}

pub async fn read(State(app): State<App>, Caller(who): Caller, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let id = interaction::readable_id(&id)?;
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let access =
            Access { who: who.clone(), interface: "fhir", request: format!("GET /fhir/{KIND}/{id}"), tables: vec![KIND.to_owned()] };
        app.read_recorded(&access, |commit| {
            let found = find(app, &who, &id)?;
            let count = u64::from(found.is_ok());
            // Who reads under a permit does not learn the newest commit here: its cadence may be another.
            let shown = |stored: StoredVersion| (if who.role == Role::Centre { commit } else { stored.commit }, stored);
            Ok((found.map(shown), count))
        })?
        .map(|(commit, stored)| {
            if headers::has_already(&headers, stored.version) {
                let mut response = answer::version(&stored, Vec::new(), commit);
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                return response;
            }
            answer::version(&stored, stamped(KIND, &id, &stored), commit)
        })
    })
    .await
}

/// A definition that `who` may read; what is absent and what is hidden look the same.
fn find(app: &App, who: &Principal, id: &str) -> Result<Result<StoredVersion, ApiError>, ApiError> {
    let stored = app.database().read(HolderId::CENTRE, KIND, id)?;
    let Some(stored) = stored.filter(|_| who.role == Role::Centre || may_read(app, who, id)) else {
        return Ok(Err(interaction::absent()));
    };
    Ok(if stored.json.is_some() { Ok(stored) } else { Err(answer::gone()) })
}

/// Whether a view's definition is open to `who`: to the centre, and to whoever has a permit with its table.
pub fn may_read(app: &App, who: &Principal, id: &str) -> bool {
    app.database().view(id).is_some_and(|view| who.role == Role::Centre || readable_table(app, who, &view.table))
}

pub async fn all(State(app): State<App>, Caller(who): Caller) -> Answer {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let access = Access { who: who.clone(), interface: "fhir", request: format!("GET /fhir/{KIND}"), tables: vec![KIND.to_owned()] };
        app.read_recorded(&access, |commit| {
            let ids = app.database().views().into_iter().map(|v| v.id).filter(|id| may_read(app, &who, id));
            let mut found = Vec::new();
            for id in ids {
                let stored = app.database().read(HolderId::CENTRE, KIND, &id)?;
                found.extend(stored.filter(|s| s.json.is_some()).map(|s| (id, s)));
            }
            let mut bundle = BundleWriter::new("searchset", Some(found.len()));
            let base = app.settings().public_url.as_deref().unwrap_or_default().trim_end_matches('/');
            for (id, stored) in &found {
                let members = json!({"fullUrl": format!("{base}/fhir/{KIND}/{id}"), "search": {"mode": "match"}});
                bundle.entry(&members, Some(&stamped(KIND, id, stored)));
            }
            let mut response = answer::fhir(StatusCode::OK, bundle.finish());
            if who.role == Role::Centre {
                response.headers_mut().insert(DUGNAD_COMMIT, value(&commit.to_string()));
            }
            Ok((response, found.len() as u64))
        })
    })
    .await
}

/// A document as it was sent, with its id and its version.
pub fn stamped(kind: &str, id: &str, stored: &StoredVersion) -> Vec<u8> {
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

impl From<ViewRefused> for ApiError {
    fn from(refused: ViewRefused) -> Self {
        match refused {
            ViewRefused::Definition(error) => error.into(),
            ViewRefused::Name(what) => Self::new(StatusCode::CONFLICT, IssueType::Conflict, what).at("ViewDefinition.name"),
            ViewRefused::Write(error) => error.into(),
            ViewRefused::Read(error) => error.into(),
        }
    }
}

impl From<ViewError> for ApiError {
    fn from(error: ViewError) -> Self {
        let (at, what) = match error {
            ViewError::Definition { at, what } => (at, what),
            ViewError::Evaluation { .. } => ("ViewDefinition".to_owned(), error.to_string()),
        };
        let issues = vec![Issue::error(IssueType::Invalid, at, what)];
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, issues, headers: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_stamped_and_otherwise_left_as_it_was() {
        let json = br#"{"name":"v","id":"old","meta":{"versionId":"9","tag":[{"code":"t"}]},"constant":[{"valueDecimal":1.10}]}"#;
        let last_updated = jiff::Timestamp::UNIX_EPOCH;
        let stored = StoredVersion { version: 2, commit: Commit(7), last_updated, json: Some(json.to_vec()) };
        assert_eq!(
            String::from_utf8_lossy(&stamped(KIND, "v1", &stored)),
            r#"{"resourceType":"ViewDefinition","id":"v1","meta":{"tag":[{"code":"t"}],"versionId":"2","lastUpdated":"1970-01-01T00:00:00Z"},"name":"v","constant":[{"valueDecimal":1.10}]}"#
        );
    }
}
