//! What a hospital reads by its name: resources, versions, histories.

use super::{Answer, min_commit, pretty_if_asked, readable};
use crate::api::answer::{self, BundleWriter};
use crate::api::auth::Hospital;
use crate::api::headers::{self, DUGNAD_COMMIT, value};
use crate::api::interaction::{self, Action, Conditions};
use crate::api::search::{self, Asked, Searcher};
use crate::api::work::{Access, Read};
use crate::api::{ApiError, App, batch};
use crate::limits::MAX_ANSWER_BYTES;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use dugnad_kernel::database::StoredVersion;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::Commit;
use serde_json::json;

pub async fn read_current(
    state: State<App>,
    hospital: Hospital,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    query: RawQuery,
) -> Answer {
    read(state, hospital, &format!("{}/{}", segment(&kind), segment(&id)), headers, query).await
}

pub async fn history(
    state: State<App>,
    hospital: Hospital,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    query: RawQuery,
) -> Answer {
    read(state, hospital, &format!("{}/{}/_history", segment(&kind), segment(&id)), headers, query).await
}

pub async fn read_version(
    state: State<App>,
    hospital: Hospital,
    Path((kind, id, version)): Path<(String, String, String)>,
    headers: HeaderMap,
    query: RawQuery,
) -> Answer {
    read(state, hospital, &format!("{}/{}/_history/{}", segment(&kind), segment(&id), segment(&version)), headers, query).await
}

/// A decoded path segment, encoded again where it would change the address: such a one is no type or id anyway.
fn segment(text: &str) -> String {
    text.replace('%', "%25").replace('/', "%2F").replace('?', "%3F")
}

async fn read(State(app): State<App>, hospital: Hospital, url: &str, headers: HeaderMap, RawQuery(query): RawQuery) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    let action = interaction::action("GET", url, None, Conditions::default())?;
    let part = match (&action, &query) {
        (Action::Read { resource_type, .. }, Some(query)) => search::part(resource_type, query)?,
        _ => None,
    };
    min_commit(&app, &headers).await?;
    let reader = Reader { hospital, base: String::new(), strict: false, commit: None };
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let found = reader.read(app, action)?;
        match &found.version {
            Some(version) if headers::has_already(&headers, version.version) => {
                let mut response = answer::version(version, Vec::new(), found.commit);
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                Ok(response)
            }
            Some(version) => {
                let body = match &part {
                    None => found.body,
                    Some(part) => {
                        let mut body = Vec::new();
                        search::write_part(&found.body, part, &mut body)?;
                        body
                    }
                };
                Ok(answer::version(version, pretty_if_asked(body, query.as_deref()), found.commit))
            }
            None => {
                let mut response = readable(StatusCode::OK, found.body, query.as_deref());
                response.headers_mut().insert(DUGNAD_COMMIT, value(&found.commit.to_string()));
                response.headers_mut().insert(header::VARY, value("Authorization"));
                Ok(response)
            }
        }
    })
    .await
}

/// What a read found.
pub struct Found {
    /// As of which commit.
    pub commit: Commit,
    /// The version, without its JSON; none for a history.
    pub version: Option<StoredVersion>,
    /// The resource's or the Bundle's JSON.
    pub body: Vec<u8>,
}

/// Reads what is a hospital's own, on the record.
pub struct Reader {
    /// Who reads.
    pub hospital: Hospital,
    /// The address of `/fhir`, for links.
    pub base: String,
    /// Whether search parameters that are not known refuse a search.
    pub strict: bool,
    /// The commit to read at; `None`: the newest.
    pub commit: Option<Commit>,
}

impl Reader {
    /// Reads. Blocks.
    pub fn read(&self, app: &App, action: Action) -> Result<Found, ApiError> {
        let Action::Search { place, query } = action else { return read_recorded(app, self, &action) };
        let asked = Asked::new(place, &query, "", self.strict)?;
        let searcher = Searcher { hospital: &self.hospital, base: &self.base, method: "GET", commit: self.commit };
        let page = search::run(app, &searcher, &asked)?;
        Ok(Found { commit: page.commit, version: None, body: page.body })
    }

    /// The answer to a GET of a transaction that has been made: what cannot be read is said in its place.
    pub fn read_entry(&self, app: &App, url: &str, bundle: &mut BundleWriter) {
        let action = interaction::action("GET", interaction::relative(url), None, Conditions::default());
        match action.and_then(|action| if bundle.len() < MAX_ANSWER_BYTES { self.read(app, action) } else { Err(batch::too_large()) }) {
            Ok(found) => bundle.entry(&answer::entry_read(&found), Some(&found.body)),
            Err(error) => bundle.entry(&answer::entry_error(&error), None),
        }
    }
}

/// Reads resources by their names. What is absent or deleted is an access too.
fn read_recorded(app: &App, reader: &Reader, action: &Action) -> Result<Found, ApiError> {
    let hospital = &reader.hospital;
    let (kind, request) = match action {
        Action::Read { resource_type, id, version: None } => (resource_type, format!("GET /fhir/{resource_type}/{id}")),
        Action::Read { resource_type, id, version: Some(version) } => {
            (resource_type, format!("GET /fhir/{resource_type}/{id}/_history/{version}"))
        }
        Action::History { resource_type, id } => (resource_type, format!("GET /fhir/{resource_type}/{id}/_history")),
        Action::Write(_) | Action::Search { .. } => return Err(ApiError::internal("a write or a search was sent to the readers")),
    };
    let access = Access { who: hospital.who.clone(), interface: "fhir", request, tables: vec![kind.clone()] };
    app.read_about_at(&access, reader.commit, |published| {
        let found = look_up(app, &hospital.holder, action, published);
        // Absence is an answer, not a failure of the access.
        match found {
            Ok(Read { found, rows, patients }) => Ok(Read { found: Ok(found), rows, patients }),
            Err(error) if error.status.is_client_error() => Ok(Read { found: Err(error), rows: 0, patients: None }),
            Err(error) => Err(error),
        }
    })?
}

fn look_up(app: &App, holder: &str, action: &Action, published: Commit) -> Result<Read<Found>, ApiError> {
    // A hospital that has never written has nothing to read.
    let holder = app.database().holder(holder).ok_or_else(interaction::absent)?.id;
    match action {
        Action::Read { resource_type, id, version } => {
            let stored = match version {
                None => app.database().read_at(holder, resource_type, id, published)?,
                Some(wanted) => app.database().history_at(holder, resource_type, id, published)?.into_iter().find(|v| v.version == *wanted),
            };
            let mut stored = stored.ok_or_else(interaction::absent)?;
            let body = stored.json.take().ok_or_else(answer::gone)?;
            let patients = Some(app.database().patients_named(holder, resource_type, id, [body.as_slice()])?);
            Ok(Read { found: Found { commit: published, version: Some(stored), body }, rows: 1, patients })
        }
        Action::History { resource_type, id } => {
            let versions = app.database().history_at(holder, resource_type, id, published)?;
            if versions.is_empty() {
                return Err(interaction::absent());
            }
            let bodies = versions.iter().filter_map(|version| version.json.as_deref());
            let patients = Some(app.database().patients_named(holder, resource_type, id, bodies)?);
            let (rows, body) = (versions.len() as u64, history_bundle(resource_type, id, &versions)?);
            Ok(Read { found: Found { commit: published, version: None, body }, rows, patients })
        }
        Action::Write(_) | Action::Search { .. } => Err(ApiError::internal("a write or a search was sent to the readers")),
    }
}

fn history_bundle(kind: &str, id: &str, versions: &[StoredVersion]) -> Result<Vec<u8>, ApiError> {
    let mut bundle = BundleWriter::new("history", Some(versions.len()));
    for version in versions {
        let (method, status) = match (&version.json, version.version) {
            (None, _) => ("DELETE", "204 No Content"),
            (Some(_), 1) => ("PUT", "201 Created"),
            (Some(_), _) => ("PUT", "200 OK"),
        };
        let members = json!({
            "request": {"method": method, "url": format!("{kind}/{id}")},
            "response": {"status": status, "etag": headers::etag(version.version), "lastModified": version.last_updated.to_string()},
        });
        bundle.entry(&members, version.json.as_deref());
        if bundle.len() > MAX_ANSWER_BYTES {
            let what = "the history is too large for one answer; read its versions one by one with _history/[vid]";
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, IssueType::TooCostly, what));
        }
    }
    Ok(bundle.finish())
}
