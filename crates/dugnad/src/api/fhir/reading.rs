//! What a hospital reads by its name: resources, versions, histories.

use super::binary::{Content, SECURITY_CONTEXT, wants_content};
use super::history::Historian;
use super::{Answer, min_commit, pretty_if_asked, readable};
use crate::api::answer::{self, BundleWriter};
use crate::api::auth::Hospital;
use crate::api::headers::{self, DUGNAD_COMMIT, Preferences, value};
use crate::api::interaction::{self, Action, Conditions};
use crate::api::search::{self, Asked, Searcher};
use crate::api::work::{Access, Read};
use crate::api::{ApiError, App, batch};
use crate::limits::MAX_ANSWER_BYTES;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use dugnad_kernel::access::Act;
use dugnad_kernel::database::{Handling, StoredVersion};
use dugnad_kernel::ids::Commit;

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

pub async fn history_of_type(
    state: State<App>,
    hospital: Hospital,
    Path(kind): Path<String>,
    headers: HeaderMap,
    query: RawQuery,
) -> Answer {
    read(state, hospital, &format!("{}/_history", segment(&kind)), headers, query).await
}

pub async fn history_of_system(state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery) -> Answer {
    read(state, hospital, "_history", headers, query).await
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
    let mut action = interaction::action("GET", url, None, Conditions::default())?;
    let content = matches!(&action, Action::Read { resource_type, .. } if wants_content(resource_type, &headers, query.as_deref()));
    if !content {
        headers::require_json_accepted(&headers, query.as_deref())?;
    }
    if let Action::History { query: parameters, .. } = &mut action {
        *parameters = query.clone().unwrap_or_default();
    }
    let part = match (&action, &query) {
        (Action::Read { resource_type, .. }, Some(query)) => search::part(resource_type, query)?,
        _ => None,
    };
    min_commit(&app, &headers).await?;
    let base = headers::base(&headers, app.settings());
    let strict = Preferences::parse(&headers).handling == Some(Handling::Strict);
    let reader = Reader { hospital, base, strict, commit: None };
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let found = reader.read(app, action)?;
        match &found.version {
            Some(version) if headers::is_unchanged(&headers, version.version, version.last_updated) => {
                let mut response = answer::version(version, Vec::new(), found.commit);
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                Ok(response)
            }
            Some(version) if content && part.is_none() => {
                let content = Content::of(&found.body).ok_or_else(|| ApiError::internal("a stored Binary has no base64"))?;
                let mut response = answer::version(version, content.bytes, found.commit);
                let security_context = content.security_context.map(|reference| (SECURITY_CONTEXT, reference));
                // Whatever it is, a browser is not to show it as a page of this server.
                let attachment = (header::CONTENT_DISPOSITION, "attachment".to_owned());
                for (name, text) in [(header::CONTENT_TYPE, content.content_type), attachment].into_iter().chain(security_context) {
                    response.headers_mut().insert(name, value(&text));
                }
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
        let (place, query) = match action {
            Action::Search { place, query } => (place, query),
            Action::History { of, query } => {
                let Self { hospital, base, strict, commit } = self;
                return Historian { hospital, base, strict: *strict, commit: *commit }.read(app, &of, &query);
            }
            action => return read_recorded(app, self, &action),
        };
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
        Action::Write(_) | Action::Search { .. } | Action::History { .. } => {
            return Err(ApiError::internal("a write, a search or a history was sent to the readers"));
        }
    };
    hospital.require(app, Act::Read, kind, &request)?;
    let access = Access { who: hospital.who.clone(), interface: "fhir", request, tables: vec![kind.clone()] };
    app.read_about_at(&access, reader.commit, |published| {
        let found = look_up(app, hospital, action, published);
        // Absence is an answer, not a failure of the access.
        match found {
            Ok(Read { found, rows, patients }) => Ok(Read { found: Ok(found), rows, patients }),
            Err(error) if error.status.is_client_error() => Ok(Read { found: Err(error), rows: 0, patients: None }),
            Err(error) => Err(error),
        }
    })?
}

fn look_up(app: &App, hospital: &Hospital, action: &Action, published: Commit) -> Result<Read<Found>, ApiError> {
    // A hospital that has never written has nothing to read.
    let holder = app.database().holder(&hospital.holder).ok_or_else(interaction::absent)?.id;
    let Action::Read { resource_type, id, version } = action else {
        return Err(ApiError::internal("a write, a search or a history was sent to the readers"));
    };
    let stored = match version {
        None => app.database().read_at(holder, resource_type, id, published)?,
        Some(wanted) => app.database().history_at(holder, resource_type, id, published)?.into_iter().find(|v| v.version == *wanted),
    };
    let stored = stored.filter(|stored| hospital.admits(Act::Read, resource_type, stored.json.as_deref()));
    let mut stored = stored.ok_or_else(interaction::absent)?;
    let body = stored.json.take().ok_or_else(answer::gone)?;
    let patients = Some(app.database().patients_named(holder, resource_type, id, [body.as_slice()])?);
    Ok(Read { found: Found { commit: published, version: Some(stored), body }, rows: 1, patients })
}
