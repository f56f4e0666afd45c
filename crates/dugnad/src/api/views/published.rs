//! What the centre publishes as resources: SQLQueries and SQLViews (Libraries), and search parameters. A hospital's own of these types
//! are resources like any other; which of the two an address means follows from who asks.

use super::run::{Subject, absent};
use super::{Answer, readable_table, stored};
use crate::access::{Principal, Role};
use crate::api::answer;
use crate::api::auth::{CallerOrClient, Hospital};
use crate::api::work::Access;
use crate::api::{ApiError, App, body, fhir, headers, interaction, search};
use crate::query::library::{LibraryKind, SqlLibrary};
use crate::query::published::LIBRARY;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use dugnad_kernel::database::{ParameterRefused, StoredVersion};
use dugnad_kernel::fhir::issue::{Issue, IssueType};
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_kernel::search::added::{Definition, Wrong};
use std::future::Future;

/// A type of resource that the centre publishes, and of which a hospital may have its own.
pub trait Kept: 'static {
    /// The resource type.
    const KIND: &'static str;
    /// What others than the centre are told who publish one.
    const REFUSED: &'static str;

    /// Checks one before it is written.
    fn check(app: &App, id: &str, json: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Writes one. Blocks.
    fn keep(app: &App, id: &str, json: &str) -> Result<Commit, ApiError>;

    /// Takes one away; `None` if there is none. Blocks.
    fn remove(app: &App, id: &str) -> Result<Option<Commit>, ApiError>;

    /// Whether it is open to `who`.
    fn may_read(app: &App, who: &Principal, json: &[u8]) -> bool;
}

/// SQLQueries and SQLViews.
pub struct Libraries;

impl Kept for Libraries {
    const KIND: &'static str = LIBRARY;
    const REFUSED: &'static str = "queries and views are published by the centre only";

    async fn check(app: &App, id: &str, json: &str) -> Result<(), ApiError> {
        let library = SqlLibrary::parse(json.as_bytes())?;
        Ok(app.query().check_library(id, &library).await?)
    }

    fn keep(app: &App, id: &str, json: &str) -> Result<Commit, ApiError> {
        let commit = app.database().put_document(LIBRARY, id, json)?;
        app.query().find_views();
        Ok(commit)
    }

    fn remove(app: &App, id: &str) -> Result<Option<Commit>, ApiError> {
        let commit = app.database().remove_document(LIBRARY, id)?;
        app.query().find_views();
        Ok(commit)
    }

    /// A query is open to whoever is known; a view to the centre, and to whoever has a permit with its name.
    fn may_read(app: &App, who: &Principal, json: &[u8]) -> bool {
        let Ok(library) = SqlLibrary::parse(json) else { return who.role == Role::Centre };
        library.table.is_none_or(|table| who.role == Role::Centre || readable_table(app, who, &table))
    }
}

/// Search parameters beside HL7's.
pub struct SearchParameters;

impl Kept for SearchParameters {
    const KIND: &'static str = "SearchParameter";
    const REFUSED: &'static str = "search parameters are added by the centre only";

    async fn check(_: &App, _: &str, json: &str) -> Result<(), ApiError> {
        Definition::parse(json).map(|_| ()).map_err(ApiError::from)
    }

    fn keep(app: &App, id: &str, json: &str) -> Result<Commit, ApiError> {
        Ok(app.database().add_search_parameter(id, json)?)
    }

    fn remove(app: &App, id: &str) -> Result<Option<Commit>, ApiError> {
        Ok(app.database().remove_search_parameter(id)?)
    }

    fn may_read(_: &App, _: &Principal, _: &[u8]) -> bool {
        true
    }
}

impl From<Wrong> for ApiError {
    fn from(wrong: Wrong) -> Self {
        let issues = vec![Issue::error(IssueType::Invalid, wrong.at, wrong.what)];
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, issues, headers: Vec::new() }
    }
}

impl From<ParameterRefused> for ApiError {
    fn from(refused: ParameterRefused) -> Self {
        match refused {
            ParameterRefused::Definition(wrong) => wrong.into(),
            ParameterRefused::Write(error) => error.into(),
            ParameterRefused::Read(error) => error.into(),
        }
    }
}

pub async fn create<K: Kept>(
    State(app): State<App>,
    CallerOrClient(who): CallerOrClient,
    headers: HeaderMap,
    query: RawQuery,
    body: Body,
) -> Answer {
    if let Some(hospital) = Hospital::of(&who) {
        return fhir::create(State(app), hospital, Path(K::KIND.to_owned()), headers, query, body).await;
    }
    let (id, summary) = (app.database().new_id(), format!("POST /fhir/{}", K::KIND));
    only_the_centre::<K>(&app, &who, &summary).await?;
    // Passed over, criteria would make a second one where there is one.
    let criteria = interaction::criteria(query.0.as_deref().unwrap_or_default());
    if !criteria.is_empty() || headers::if_none_exist(&headers)?.is_some() {
        let what = "what the centre publishes is not looked for by criteria; PUT it under an id of your choice, which makes or replaces it";
        return Err(ApiError::bad_request(IssueType::NotSupported, what));
    }
    publish::<K>(app, who, id, &headers, body, summary).await
}

pub async fn update<K: Kept>(
    State(app): State<App>,
    CallerOrClient(who): CallerOrClient,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: RawQuery,
    body: Body,
) -> Answer {
    if let Some(hospital) = Hospital::of(&who) {
        return fhir::update(State(app), hospital, Path((K::KIND.to_owned(), id)), headers, query, body).await;
    }
    let id = interaction::writable_id(&id)?;
    let summary = format!("PUT /fhir/{}/{id}", K::KIND);
    publish::<K>(app, who, id, &headers, body, summary).await
}

pub async fn delete<K: Kept>(
    State(app): State<App>,
    CallerOrClient(who): CallerOrClient,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: RawQuery,
) -> Answer {
    if let Some(hospital) = Hospital::of(&who) {
        return fhir::delete(State(app), hospital, Path((K::KIND.to_owned(), id)), headers, query).await;
    }
    let summary = format!("DELETE /fhir/{}/{id}", K::KIND);
    only_the_centre::<K>(&app, &who, &summary).await?;
    let id = interaction::readable_id(&id)?;
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        app.check_log()?;
        let commit = K::remove(app, &id)?.ok_or_else(interaction::absent)?;
        stored::recorded(app, &who, K::KIND, summary, commit)?;
        Ok(stored::removed(commit))
    })
    .await
}

pub async fn read<K: Kept>(
    State(app): State<App>,
    CallerOrClient(who): CallerOrClient,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: RawQuery,
) -> Answer {
    if let Some(hospital) = Hospital::of(&who) {
        return fhir::read_current(State(app), hospital, Path((K::KIND.to_owned(), id)), headers, query).await;
    }
    let id = interaction::readable_id(&id)?;
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let request = format!("GET /fhir/{}/{id}", K::KIND);
        let access = Access { who: who.clone(), interface: "fhir", request, tables: vec![K::KIND.to_owned()] };
        app.read_recorded(&access, |_| {
            let stored = app.database().read(HolderId::CENTRE, K::KIND, &id)?;
            let stored = stored.filter(|s| s.json.as_deref().is_none_or(|json| K::may_read(app, &who, json)));
            let found = stored.ok_or_else(interaction::absent).and_then(|s| if s.json.is_some() { Ok(s) } else { Err(answer::gone()) });
            let count = u64::from(found.is_ok());
            Ok((found, count))
        })?
        .map(|found| stored::shown(&headers, K::KIND, &id, &found, found.commit))
    })
    .await
}

/// All that are published and open to the caller. A hospital searches its own.
pub async fn all<K: Kept>(State(app): State<App>, CallerOrClient(who): CallerOrClient, headers: HeaderMap, query: RawQuery) -> Answer {
    if let Some(hospital) = Hospital::of(&who) {
        return search::on_type_by_get(State(app), hospital, Path(K::KIND.to_owned()), headers, query).await;
    }
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let access =
            Access { who: who.clone(), interface: "fhir", request: format!("GET /fhir/{}", K::KIND), tables: vec![K::KIND.to_owned()] };
        app.read_recorded(&access, |_| {
            let mut found: Vec<(String, StoredVersion)> = Vec::new();
            for document in app.database().documents(K::KIND)? {
                let stored = app.database().read(HolderId::CENTRE, K::KIND, &document.id)?;
                found.extend(
                    stored.filter(|s| s.json.as_deref().is_some_and(|json| K::may_read(app, &who, json))).map(|s| (document.id, s)),
                );
            }
            Ok((stored::bundle(app, K::KIND, &found), found.len() as u64))
        })
    })
    .await
}

/// A hospital's history of its own.
pub async fn history<K: Kept>(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery) -> Answer {
    fhir::history_of_type(state, hospital, Path(K::KIND.to_owned()), headers, query).await
}

/// A hospital's update of its own by criteria.
pub async fn update_matching<K: Kept>(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery, body: Body) -> Answer {
    fhir::update_matching(state, hospital, Path(K::KIND.to_owned()), headers, query, body).await
}

/// A hospital's patch of its own by criteria.
pub async fn patch_matching<K: Kept>(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery, body: Body) -> Answer {
    fhir::patch_matching(state, hospital, Path(K::KIND.to_owned()), headers, query, body).await
}

/// A hospital's patch of its own.
pub async fn patch<K: Kept>(
    state: State<App>,
    hospital: Hospital,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: RawQuery,
    body: Body,
) -> Answer {
    fhir::patch(state, hospital, Path((K::KIND.to_owned(), id)), headers, query, body).await
}

/// A hospital's deletion of its own by criteria.
pub async fn delete_matching<K: Kept>(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery) -> Answer {
    fhir::delete_matching(state, hospital, Path(K::KIND.to_owned()), headers, query).await
}

/// A hospital's search of its own by form.
pub async fn search<K: Kept>(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery, body: Body) -> Answer {
    search::on_type_by_post(state, hospital, Path(K::KIND.to_owned()), headers, query, body).await
}

async fn only_the_centre<K: Kept>(app: &App, who: &Principal, request: &str) -> Result<(), ApiError> {
    if who.role == Role::Centre {
        return Ok(());
    }
    Err(app.refuse(who, request.to_owned(), K::REFUSED).await)
}

async fn publish<K: Kept>(app: App, who: Principal, id: String, headers: &HeaderMap, body: Body, summary: String) -> Answer {
    only_the_centre::<K>(&app, &who, &summary).await?;
    let bytes = stored::received(&app, K::KIND, headers, body).await?;
    if !summary.starts_with("POST") {
        stored::check_id(K::KIND, &bytes, &id)?;
    }
    if interaction::Head::read(&bytes).is_ok_and(|head| head.resource_type.as_deref() != Some(K::KIND)) {
        let what = format!("this must be a resource of type {}", K::KIND);
        return Err(ApiError::bad_request(IssueType::Invalid, what).at(format!("{}.resourceType", K::KIND)));
    }
    let json = body::text(bytes)?;
    K::check(&app, &id, &json).await?;
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        app.check_log()?;
        let created = app.database().document(K::KIND, &id)?.is_none();
        let commit = K::keep(app, &id, &json)?;
        stored::recorded(app, &who, K::KIND, summary, commit)?;
        stored::written(app, K::KIND, &id, created, commit)
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
