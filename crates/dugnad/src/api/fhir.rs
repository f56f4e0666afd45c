//! FHIR R4 REST: what a hospital writes and reads of its own.
//!
//! The holder comes from the token, so that a resource of another hospital is as absent as one that never was.

use super::answer::{self, BundleWriter};
use super::auth::Hospital;
use super::headers::{self, DUGNAD_COMMIT, Preferences, Return, parameter, value};
use super::interaction::{self, Action, Conditions, Head};
use super::routes::{Caller, Doc, Parameter, Routes};
use super::search::{self, Asked, Searcher};
use super::work::Access;
use super::{ApiError, App, batch, body, capability};
use crate::limits::{MAX_ANSWER_BYTES, MIN_COMMIT_POLL, MIN_COMMIT_WAIT, RETRY_AFTER_S};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use dugnad_kernel::database::{Handling, Interaction, WriteRequest};
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::limits::MAX_BODY_BYTES;
use serde_json::json;

type Answer = Result<Response<Body>, ApiError>;

const FHIR: &str = "application/fhir+json";
const PREFER: Parameter = Parameter {
    place: "header",
    name: "Prefer",
    description: "`return=minimal|representation|OperationOutcome`; `handling=lenient` keeps conditional references that match nothing as logical references (`Reference.identifier`), with a warning, where `strict` (the default) refuses them.",
};
const IDEMPOTENCY: Parameter = Parameter {
    place: "header",
    name: "Idempotency-Key",
    description: "The same request, sent again under the same key by the same holder, changes nothing and is answered with `Dugnad-Replayed: true`.",
};
const IF_MATCH: Parameter =
    Parameter { place: "header", name: "If-Match", description: "Only if this is the current version, such as `W/\"3\"`; else 412." };
const IF_NONE_EXIST: Parameter = Parameter {
    place: "header",
    name: "If-None-Exist",
    description: "Create only if nothing matches, such as `identifier=urn:system|value`; what matches is answered with 200.",
};
const MIN_COMMIT: Parameter = Parameter {
    place: "header",
    name: "Dugnad-Min-Commit",
    description: "Answer from no older commit than this; waits up to two seconds for it, then 503.",
};
const PRETTY: Parameter = Parameter { place: "query", name: "_pretty", description: "`true`: indented." };
const SUMMARY: Parameter =
    Parameter { place: "query", name: "_summary", description: "`true`, `text` or `data`: that part, with the tag SUBSETTED." };
const ELEMENTS: Parameter = Parameter {
    place: "query",
    name: "_elements",
    description: "These elements and mandatory ones, with the tag SUBSETTED: `name,birthDate`.",
};
const WRITE_STATUSES: &[(u16, &str)] = &[
    (200, "Updated, or nothing to do"),
    (201, "Created"),
    (400, "Not well-formed, or the body was cut off"),
    (409, "Somebody else changed it first"),
    (410, "About a Patient who was erased"),
    (412, "A condition does not hold"),
    (413, "Too large"),
    (415, "Not JSON, or compressed"),
    (422, "Not valid FHIR R4: each problem with its place"),
    (503, "The write queue is full (see Retry-After), or the server has stopped writing"),
];
const READ_STATUSES: &[(u16, &str)] = &[
    (200, "The resource"),
    (304, "The version in If-None-Match is the current one"),
    (404, "Not there, or not yours: nobody can tell which"),
    (410, "Deleted"),
    (503, "The audit log cannot be written, or Dugnad-Min-Commit has not come"),
];

/// Adds the routes of FHIR REST.
pub fn add(routes: Routes) -> Routes {
    let write = Doc { caller: Caller::Hospital, body: Some(FHIR), answer: &[FHIR], statuses: WRITE_STATUSES, ..Doc::new("FHIR", "", "") };
    let read = Doc {
        caller: Caller::Hospital,
        parameters: &[MIN_COMMIT, PRETTY, SUMMARY, ELEMENTS],
        answer: &[FHIR],
        statuses: READ_STATUSES,
        ..Doc::new("FHIR", "", "")
    };
    routes
        .add(Method::GET, "/fhir/metadata", Doc { answer: &[FHIR], ..Doc::new("FHIR", "capabilities", "What of FHIR R4 is spoken here (CapabilityStatement)") }, metadata)
        .add(
            Method::POST,
            "/fhir",
            Doc {
                id: "transaction",
                summary: "Take a Bundle of type transaction or batch",
                description: "A transaction is one commit: all or nothing. Each entry of a batch is a commit of its own, answered for itself, in the order of the entries; entries may not depend on each other.",
                parameters: &[PREFER, IDEMPOTENCY],
                interactions: &["transaction", "batch"],
                ..write
            },
            transaction,
        )
        .add(
            Method::POST,
            "/fhir/{type}",
            Doc { id: "create", summary: "Create a resource", parameters: &[PREFER, IDEMPOTENCY, IF_NONE_EXIST], interactions: &["create"], ..write },
            create,
        )
        .add(
            Method::PUT,
            "/fhir/{type}",
            Doc {
                id: "updateMatching",
                summary: "Update the one resource that matches, or create it",
                description: "The criteria are the query, such as `?identifier=urn:system|value`.",
                parameters: &[PREFER, IDEMPOTENCY],
                interactions: &["conditional-update"],
                ..write
            },
            update_matching,
        )
        .add(
            Method::PUT,
            "/fhir/{type}/{id}",
            Doc { id: "update", summary: "Update a resource, or create it under this id", parameters: &[PREFER, IDEMPOTENCY, IF_MATCH], interactions: &["update"], ..write },
            update,
        )
        .add(
            Method::DELETE,
            "/fhir/{type}/{id}",
            Doc {
                id: "delete",
                summary: "Delete a resource; its versions stay in its history",
                parameters: &[PREFER, IF_MATCH],
                body: None,
                statuses: &[(204, "Deleted"), (200, "Deleted, with the OperationOutcome asked for"), (404, "Not there"), (412, "Another version is current"), (503, "Busy or stopped")],
                interactions: &["delete"],
                ..write
            },
            delete,
        )
        .add(Method::GET, "/fhir/{type}/{id}", Doc { id: "read", summary: "Read a resource", interactions: &["read"], ..read }, read_current)
        .add(Method::GET, "/fhir/{type}/{id}/_history", Doc { id: "history", summary: "All versions of a resource, newest first", interactions: &["history-instance"], ..read }, history)
        .add(Method::GET, "/fhir/{type}/{id}/_history/{version}", Doc { id: "vread", summary: "Read a version of a resource", interactions: &["vread"], ..read }, read_version)
}

async fn metadata(headers: HeaderMap, RawQuery(query): RawQuery) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    Ok(readable(StatusCode::OK, capability::statement().to_string().into_bytes(), query.as_deref()))
}

/// An answer that `_pretty` applies to.
fn readable(status: StatusCode, body: Vec<u8>, query: Option<&str>) -> Response<Body> {
    answer::fhir(status, pretty_if_asked(body, query))
}

fn pretty_if_asked(body: Vec<u8>, query: Option<&str>) -> Vec<u8> {
    if parameter(query, "_pretty").as_deref() == Some("true") { answer::pretty(&body) } else { body }
}

async fn transaction(State(app): State<App>, hospital: Hospital, headers: HeaderMap, RawQuery(query): RawQuery, body: Body) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    headers::require_json_body(&headers)?;
    let idempotency_key = headers::idempotency_key(&headers)?;
    let preferences = Preferences::parse(&headers);
    let (bytes, claim) = body::read(&app, &headers, body, MAX_BODY_BYTES).await?.into_parts();
    let bundle_type = Head::of(&bytes).bundle_type().map(str::to_owned);
    if bundle_type.as_deref() == Some("batch") {
        let (commit, base) = (min_commit(&app, &headers).await?, headers::base(&headers, app.settings()));
        let batch = batch::Batch { hospital, preferences, idempotency_key, commit, base };
        return batch.run(app, bytes, claim).await;
    }
    let base = headers::base(&headers, app.settings());
    let place = app.enter_writes().await?;
    let wanted = preferences.answer.unwrap_or(Return::Minimal);
    app.on_thread(place, move |app| {
        let _claim = claim;
        let holder = app.holder_for_writing(&hospital.holder)?.id;
        let request = WriteRequest {
            holder,
            interaction: Interaction::Transaction { body: bytes },
            handling: preferences.handling.unwrap_or_default(),
            idempotency_key,
        };
        let outcome = app.write_recorded(&hospital.who, request, "POST /fhir (transaction)")?;
        if outcome.replayed {
            return Ok(answer::replayed(&outcome));
        }
        let strict = preferences.handling == Some(Handling::Strict);
        let reader = Reader { hospital, base, strict, commit: Some(outcome.commit) };
        let mut bundle = BundleWriter::new("transaction-response", None);
        for entry in &outcome.entries {
            if let Some(url) = &entry.read {
                reader.read_entry(app, url, &mut bundle);
                continue;
            }
            // Once the answer is large enough, the rest is answered without bodies: the transaction is done and must be told.
            let resource = if wanted == Return::Representation && bundle.len() < MAX_ANSWER_BYTES {
                answer::representation(app, holder, entry)?
            } else {
                None
            };
            bundle.entry(&answer::entry_response(entry, outcome.time, wanted), resource.as_deref());
        }
        let mut response = answer::fhir(StatusCode::OK, bundle.finish());
        response.headers_mut().insert(DUGNAD_COMMIT, value(&outcome.commit.to_string()));
        Ok(response)
    })
    .await
}

pub async fn create(
    State(app): State<App>,
    hospital: Hospital,
    Path(kind): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    headers::require_json_body(&headers)?;
    let resource_type = interaction::known_type(&kind)?;
    let if_none_exist = headers::if_none_exist(&headers)?;
    let summary = format!("POST /fhir/{resource_type}{}", if if_none_exist.is_some() { " (conditional)" } else { "" });
    let make = move |body| Interaction::Create { resource_type, body, if_none_exist };
    write(app, hospital, headers, body, summary, make).await
}

pub async fn update(
    State(app): State<App>,
    hospital: Hospital,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    headers::require_json_body(&headers)?;
    let (resource_type, id) = (interaction::known_type(&kind)?, interaction::writable_id(&id)?);
    let if_match = headers::if_match(&headers)?;
    let summary = format!("PUT /fhir/{resource_type}/{id}");
    let make = move |body| Interaction::Update { resource_type, id, body, if_match };
    write(app, hospital, headers, body, summary, make).await
}

async fn update_matching(
    State(app): State<App>,
    hospital: Hospital,
    Path(kind): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    headers::require_json_body(&headers)?;
    let resource_type = interaction::known_type(&kind)?;
    let query = interaction::criteria(query.as_deref().unwrap_or_default());
    if query.is_empty() {
        let what = "an update needs an id (PUT /fhir/Patient/1) or criteria (PUT /fhir/Patient?identifier=system|value)";
        return Err(ApiError::bad_request(IssueType::Required, what));
    }
    let summary = format!("PUT /fhir/{resource_type} (conditional)");
    let make = move |body| Interaction::UpdateMatching { resource_type, query, body };
    write(app, hospital, headers, body, summary, make).await
}

pub async fn delete(
    State(app): State<App>,
    hospital: Hospital,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    let (resource_type, id) = (interaction::known_type(&kind)?, interaction::readable_id(&id)?);
    let if_match = headers::if_match(&headers)?;
    let summary = format!("DELETE /fhir/{resource_type}/{id}");
    let interaction = Interaction::Delete { resource_type, id, if_match };
    commit(app, hospital, &headers, summary, interaction, None).await
}

async fn write(
    app: App,
    hospital: Hospital,
    headers: HeaderMap,
    body: Body,
    summary: String,
    make: impl FnOnce(Vec<u8>) -> Interaction,
) -> Answer {
    let (bytes, claim) = body::read(&app, &headers, body, MAX_BODY_BYTES).await?.into_parts();
    commit(app, hospital, &headers, summary, make(bytes), claim).await
}

/// One commit, recorded and answered. `claim` is held as long as the body is.
async fn commit(
    app: App,
    hospital: Hospital,
    headers: &HeaderMap,
    summary: String,
    interaction: Interaction,
    claim: Option<tokio::sync::OwnedSemaphorePermit>,
) -> Answer {
    let preferences = Preferences::parse(headers);
    let wanted = preferences.answer.unwrap_or(if matches!(interaction, Interaction::Delete { .. }) {
        Return::Minimal
    } else {
        Return::Representation
    });
    let idempotency_key = headers::idempotency_key(headers)?;
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let _claim = claim;
        let holder = app.holder_for_writing(&hospital.holder)?.id;
        let request = WriteRequest { holder, interaction, handling: preferences.handling.unwrap_or_default(), idempotency_key };
        let outcome = app.write_recorded(&hospital.who, request, &summary)?;
        let resource = match outcome.entries.first() {
            Some(entry) if wanted == Return::Representation => answer::representation(app, holder, entry)?,
            _ => None,
        };
        Ok(answer::written(app, &outcome, wanted, resource))
    })
    .await
}

/// `Dugnad-Min-Commit`: waits until it is published. Gives it back for what is read later.
pub async fn min_commit(app: &App, headers: &HeaderMap) -> Result<Option<Commit>, ApiError> {
    let Some(wanted) = headers::min_commit(headers)? else { return Ok(None) };
    let deadline = tokio::time::Instant::now() + MIN_COMMIT_WAIT;
    while app.database().snapshot().commit() < wanted {
        if tokio::time::Instant::now() >= deadline {
            let what = "the commit in Dugnad-Min-Commit is not here; check the number (Dugnad-Commit of a write's answer), or come back";
            return Err(ApiError::busy(what, RETRY_AFTER_S).at("http.Dugnad-Min-Commit"));
        }
        tokio::time::sleep(MIN_COMMIT_POLL).await;
    }
    Ok(Some(wanted))
}

pub async fn read_current(
    state: State<App>,
    hospital: Hospital,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    query: RawQuery,
) -> Answer {
    read(state, hospital, &format!("{}/{}", segment(&kind), segment(&id)), headers, query).await
}

async fn history(
    state: State<App>,
    hospital: Hospital,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    query: RawQuery,
) -> Answer {
    read(state, hospital, &format!("{}/{}/_history", segment(&kind), segment(&id)), headers, query).await
}

async fn read_version(
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
    pub version: Option<dugnad_kernel::database::StoredVersion>,
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
    fn read_entry(&self, app: &App, url: &str, bundle: &mut BundleWriter) {
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
    app.read_recorded_at(&access, reader.commit, |published| {
        let found = look_up(app, &hospital.holder, action, published);
        // Absence is an answer, not a failure of the access.
        match found {
            Ok(found) => {
                let rows = found.1;
                Ok((Ok(found.0), rows))
            }
            Err(error) if error.status.is_client_error() => Ok((Err(error), 0)),
            Err(error) => Err(error),
        }
    })?
}

fn look_up(app: &App, holder: &str, action: &Action, published: Commit) -> Result<(Found, u64), ApiError> {
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
            Ok((Found { commit: published, version: Some(stored), body }, 1))
        }
        Action::History { resource_type, id } => {
            let versions = app.database().history_at(holder, resource_type, id, published)?;
            if versions.is_empty() {
                return Err(interaction::absent());
            }
            let (count, body) = (versions.len() as u64, history_bundle(resource_type, id, &versions)?);
            Ok((Found { commit: published, version: None, body }, count))
        }
        Action::Write(_) | Action::Search { .. } => Err(ApiError::internal("a write or a search was sent to the readers")),
    }
}

fn history_bundle(kind: &str, id: &str, versions: &[dugnad_kernel::database::StoredVersion]) -> Result<Vec<u8>, ApiError> {
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
