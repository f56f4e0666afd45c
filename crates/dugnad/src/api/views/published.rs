//! SQLQueries and SQLViews as resources: Libraries that the centre publishes. A hospital's own Libraries are resources like any
//! other; which of the two an address means follows from who asks.

use super::run::{Subject, absent};
use super::{Answer, readable_table, stored};
use crate::access::{Principal, Role};
use crate::api::answer;
use crate::api::auth::{CallerOrClient, Hospital};
use crate::api::work::Access;
use crate::api::{ApiError, App, body, fhir, interaction, search};
use crate::query::library::{LibraryKind, SqlLibrary};
use crate::query::published::LIBRARY;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use dugnad_kernel::database::StoredVersion;
use dugnad_kernel::ids::HolderId;

pub async fn create(
    State(app): State<App>,
    CallerOrClient(who): CallerOrClient,
    headers: HeaderMap,
    query: RawQuery,
    body: Body,
) -> Answer {
    if let Some(hospital) = Hospital::of(&who) {
        return fhir::create(State(app), hospital, Path(LIBRARY.to_owned()), headers, query, body).await;
    }
    let id = app.database().new_id();
    publish(app, who, id, &headers, body, format!("POST /fhir/{LIBRARY}")).await
}

pub async fn update(
    State(app): State<App>,
    CallerOrClient(who): CallerOrClient,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: RawQuery,
    body: Body,
) -> Answer {
    if let Some(hospital) = Hospital::of(&who) {
        return fhir::update(State(app), hospital, Path((LIBRARY.to_owned(), id)), headers, query, body).await;
    }
    let id = interaction::writable_id(&id)?;
    let summary = format!("PUT /fhir/{LIBRARY}/{id}");
    publish(app, who, id, &headers, body, summary).await
}

pub async fn delete(
    State(app): State<App>,
    CallerOrClient(who): CallerOrClient,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: RawQuery,
) -> Answer {
    if let Some(hospital) = Hospital::of(&who) {
        return fhir::delete(State(app), hospital, Path((LIBRARY.to_owned(), id)), headers, query).await;
    }
    let summary = format!("DELETE /fhir/{LIBRARY}/{id}");
    only_the_centre(&app, &who, &summary).await?;
    let id = interaction::readable_id(&id)?;
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        app.check_log()?;
        let commit = app.database().remove_document(LIBRARY, &id)?.ok_or_else(interaction::absent)?;
        app.query().find_views();
        stored::recorded(app, &who, LIBRARY, summary, commit)?;
        Ok(stored::removed(commit))
    })
    .await
}

pub async fn read(
    State(app): State<App>,
    CallerOrClient(who): CallerOrClient,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: RawQuery,
) -> Answer {
    if let Some(hospital) = Hospital::of(&who) {
        return fhir::read_current(State(app), hospital, Path((LIBRARY.to_owned(), id)), headers, query).await;
    }
    let id = interaction::readable_id(&id)?;
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let request = format!("GET /fhir/{LIBRARY}/{id}");
        let access = Access { who: who.clone(), interface: "fhir", request, tables: vec![LIBRARY.to_owned()] };
        app.read_recorded(&access, |_| {
            let stored = app.database().read(HolderId::CENTRE, LIBRARY, &id)?;
            let stored = stored.filter(|s| s.json.as_deref().is_none_or(|json| may_read(app, &who, json)));
            let found = stored.ok_or_else(interaction::absent).and_then(|s| if s.json.is_some() { Ok(s) } else { Err(answer::gone()) });
            let count = u64::from(found.is_ok());
            Ok((found, count))
        })?
        .map(|found| stored::shown(&headers, LIBRARY, &id, &found, found.commit))
    })
    .await
}

/// All that are published and open to the caller. A hospital searches its own.
pub async fn all(State(app): State<App>, CallerOrClient(who): CallerOrClient, headers: HeaderMap, query: RawQuery) -> Answer {
    if let Some(hospital) = Hospital::of(&who) {
        return search::on_type_by_get(State(app), hospital, Path(LIBRARY.to_owned()), headers, query).await;
    }
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let access =
            Access { who: who.clone(), interface: "fhir", request: format!("GET /fhir/{LIBRARY}"), tables: vec![LIBRARY.to_owned()] };
        app.read_recorded(&access, |_| {
            let mut found: Vec<(String, StoredVersion)> = Vec::new();
            for document in app.database().documents(LIBRARY)? {
                let stored = app.database().read(HolderId::CENTRE, LIBRARY, &document.id)?;
                found.extend(stored.filter(|s| s.json.as_deref().is_some_and(|json| may_read(app, &who, json))).map(|s| (document.id, s)));
            }
            Ok((stored::bundle(app, LIBRARY, &found), found.len() as u64))
        })
    })
    .await
}

/// A hospital's history of its own.
pub async fn history(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery) -> Answer {
    fhir::history_of_type(state, hospital, Path(LIBRARY.to_owned()), headers, query).await
}

/// A hospital's update of its own by criteria.
pub async fn update_matching(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery, body: Body) -> Answer {
    fhir::update_matching(state, hospital, Path(LIBRARY.to_owned()), headers, query, body).await
}

/// A hospital's patch of its own by criteria.
pub async fn patch_matching(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery, body: Body) -> Answer {
    fhir::patch_matching(state, hospital, Path(LIBRARY.to_owned()), headers, query, body).await
}

/// A hospital's patch of its own.
pub async fn patch(
    state: State<App>,
    hospital: Hospital,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: RawQuery,
    body: Body,
) -> Answer {
    fhir::patch(state, hospital, Path((LIBRARY.to_owned(), id)), headers, query, body).await
}

/// A hospital's deletion of its own by criteria.
pub async fn delete_matching(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery) -> Answer {
    fhir::delete_matching(state, hospital, Path(LIBRARY.to_owned()), headers, query).await
}

/// A hospital's search of its own by form.
pub async fn search(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery, body: Body) -> Answer {
    search::on_type_by_post(state, hospital, Path(LIBRARY.to_owned()), headers, query, body).await
}

/// A query is open to whoever is known; a view to the centre, and to whoever has a permit with its name.
fn may_read(app: &App, who: &Principal, json: &[u8]) -> bool {
    let Ok(library) = SqlLibrary::parse(json) else { return who.role == Role::Centre };
    library.table.is_none_or(|table| who.role == Role::Centre || readable_table(app, who, &table))
}

async fn only_the_centre(app: &App, who: &Principal, request: &str) -> Result<(), ApiError> {
    if who.role == Role::Centre {
        return Ok(());
    }
    Err(app.refuse(who, request.to_owned(), "queries and views are published by the centre only").await)
}

async fn publish(app: App, who: Principal, id: String, headers: &HeaderMap, body: Body, summary: String) -> Answer {
    only_the_centre(&app, &who, &summary).await?;
    let bytes = stored::received(&app, LIBRARY, headers, body).await?;
    if !summary.starts_with("POST") {
        stored::check_id(LIBRARY, &bytes, &id)?;
    }
    let json = body::text(bytes)?;
    let library = SqlLibrary::parse(json.as_bytes())?;
    app.query().check_library(&id, &library).await?;
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        app.check_log()?;
        let created = app.database().document(LIBRARY, &id)?.is_none();
        let commit = app.database().put_document(LIBRARY, &id, &json)?;
        app.query().find_views();
        stored::recorded(app, &who, LIBRARY, summary, commit)?;
        stored::written(app, LIBRARY, &id, created, commit)
    })
    .await
}

/// What runs when a request names a published Library by its id.
pub fn find(app: &App, id: &str) -> Result<Subject, ApiError> {
    subject(app.query().libraries().into_iter().find(|(other, _)| other == id).map(|(_, library)| library))
}

/// The same by its canonical URL.
pub fn of_canonical(app: &App, canonical: &str) -> Result<Subject, ApiError> {
    subject(app.query().libraries().into_iter().find(|(_, library)| library.is(canonical)).map(|(_, library)| library))
}

fn subject(found: Option<SqlLibrary>) -> Result<Subject, ApiError> {
    let library = found.ok_or_else(absent)?;
    Ok(match (library.kind, library.table.clone()) {
        (LibraryKind::View, Some(table)) => Subject::Table(table),
        _ => Subject::Library(Box::new(library)),
    })
}
