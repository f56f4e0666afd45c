//! ViewDefinitions as resources: registered, changed, read and deleted.

use super::{Answer, readable_table, stored};
use crate::access::{Principal, Role};
use crate::api::answer;
use crate::api::auth::{Caller, Centre};
use crate::api::headers::{DUGNAD_COMMIT, value};
use crate::api::work::Access;
use crate::api::{ApiError, App, body, interaction};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use dugnad_kernel::database::{StoredVersion, ViewRefused};
use dugnad_kernel::fhir::issue::{Issue, IssueType};
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_kernel::views::ViewError;

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
    stored::check_id(KIND, definition.as_bytes(), &id)?;
    let summary = format!("PUT /fhir/{KIND}/{id}");
    write(app, who, id, definition, summary).await
}

async fn received(app: &App, headers: &HeaderMap, body: Body) -> Result<String, ApiError> {
    text(stored::received(app, KIND, headers, body).await?)
}

/// A definition's JSON as text.
pub fn text(bytes: Vec<u8>) -> Result<String, ApiError> {
    if interaction::Head::read(&bytes).is_ok_and(|head| head.resource_type.as_deref() != Some(KIND)) {
        let what = "this must be a resource of type ViewDefinition";
        return Err(ApiError::bad_request(IssueType::Invalid, what).at("ViewDefinition.resourceType"));
    }
    body::text(bytes)
}

async fn write(app: App, who: Principal, id: String, definition: String, summary: String) -> Answer {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let (created, commit) = register(app, &who, &id, &definition, summary)?;
        stored::written(app, KIND, &id, created, commit)
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
    // Published Libraries may stand on it, or on what it was.
    app.query().find_views();
    stored::recorded(app, who, KIND, summary, commit)?;
    Ok((created, commit))
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
        app.query().find_views();
        stored::recorded(app, &who, KIND, summary, commit)?;
        Ok(stored::removed(commit))
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
        .map(|(commit, found)| stored::shown(&headers, KIND, &id, &found, commit))
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
            let mut response = stored::bundle(app, KIND, &found);
            if who.role == Role::Centre {
                response.headers_mut().insert(DUGNAD_COMMIT, value(&commit.to_string()));
            }
            Ok((response, found.len() as u64))
        })
    })
    .await
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
