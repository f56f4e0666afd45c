//! `$status` and `$events` of the backport.

use super::state::Key;
use super::telling::{Standing, Telling, Told};
use crate::api::auth::{Hospital, OwnHospital};
use crate::api::headers::{self, DUGNAD_COMMIT, value};
use crate::api::parameters::Parameters;
use crate::api::work::{Access, Read};
use crate::api::{ApiError, App, answer, body, interaction};
use crate::limits::MAX_SEARCH_BYTES;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Response, StatusCode};
use dugnad_kernel::fhir::issue::{Issue, IssueType};
use dugnad_kernel::ids::HolderId;
use dugnad_kernel::limits::MAX_NOTIFICATION_EVENTS;
use dugnad_kernel::subscription::notification::Kind;
use dugnad_kernel::subscription::{Content, Status};
use serde_json::{Value, json};

type Answer = Result<Response<Body>, ApiError>;

/// What is asked, of the address and of a body, and whether the answer is to be indented.
async fn parameters(app: &App, headers: &HeaderMap, query: Option<&str>, body: Body) -> Result<(Parameters, bool), ApiError> {
    headers::require_json_accepted(headers, query)?;
    let (bytes, _held) = body::json_or_none(app, headers, body, MAX_SEARCH_BYTES).await?;
    let mut parameters = Parameters::read(query, &bytes)?;
    parameters.text(&["_format"])?;
    let pretty = parameters.text(&["_pretty"])?.as_deref() == Some("true");
    Ok((parameters, pretty))
}

fn answered(app: &App, bytes: Vec<u8>, pretty: bool) -> Response<Body> {
    let mut response = answer::fhir(StatusCode::OK, if pretty { answer::pretty(&bytes) } else { bytes });
    response.headers_mut().insert(DUGNAD_COMMIT, value(&app.database().snapshot().commit().to_string()));
    response
}

/// Whose status is asked for, and how it is answered.
struct Wanted {
    request: &'static str,
    ids: Vec<String>,
    statuses: Vec<String>,
    /// Whether it is one, whose absence is said.
    one: bool,
    /// The address of `/fhir`.
    base: String,
    pretty: bool,
}

pub async fn status(
    State(app): State<App>,
    OwnHospital(hospital): OwnHospital,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    let (asked, pretty) = parameters(&app, &headers, query.as_deref(), body).await?;
    asked.finish()?;
    let (request, ids) = ("GET /fhir/Subscription/{id}/$status", vec![interaction::readable_id(&id)?]);
    let base = headers::base(&headers, app.settings());
    shown(app, hospital, Wanted { request, ids, statuses: Vec::new(), one: true, base, pretty }).await
}

pub async fn statuses(
    State(app): State<App>,
    OwnHospital(hospital): OwnHospital,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    let (mut asked, pretty) = parameters(&app, &headers, query.as_deref(), body).await?;
    let (ids, statuses) = (asked.texts("id")?, asked.texts("status")?);
    asked.finish()?;
    let base = headers::base(&headers, app.settings());
    shown(app, hospital, Wanted { request: "GET /fhir/Subscription/$status", ids, statuses, one: false, base, pretty }).await
}

/// The status of these Subscriptions, or of all.
async fn shown(app: App, hospital: Hospital, wanted: Wanted) -> Answer {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let (request, tables) = (wanted.request.to_owned(), vec!["Subscription".to_owned()]);
        let access = Access { who: hospital.who.clone(), interface: "fhir", request, tables };
        let entries = app.read_about(&access, |_| {
            let ids = if wanted.ids.is_empty() { all(app, &hospital)? } else { wanted.ids.clone() };
            let mut entries = Vec::new();
            for id in ids {
                let key = Key { holder: hospital.holder.clone(), id };
                match standing(app, &key) {
                    Ok(of) if wanted.statuses.is_empty() || wanted.statuses.iter().any(|status| status == of.status.code()) => {
                        entries.push(entry(app, &of, &wanted.base)?);
                    }
                    Ok(_) => {}
                    // Absence is an answer, not a failure of the access.
                    Err(error) if wanted.one && error.status.is_client_error() => {
                        return Ok(Read { found: Err(error), rows: 0, patients: None });
                    }
                    Err(error) if error.status.is_client_error() => {}
                    Err(error) => return Err(error),
                }
            }
            let rows = entries.len() as u64;
            Ok(Read { found: Ok(entries), rows, patients: None })
        })??;
        let bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": entries.len(), "entry": entries});
        Ok(answered(app, bundle.to_string().into_bytes(), wanted.pretty))
    })
    .await
}

fn entry(app: &App, of: &Standing, base: &str) -> Result<Value, ApiError> {
    let events = app.subscriptions().state()?.row(&of.key)?.map_or(0, |row| row.events);
    let address = format!("{base}/Subscription/{}/$status", of.key.id);
    Ok(json!({"fullUrl": address, "resource": of.shown(base, events), "search": {"mode": "match"}}))
}

/// The Subscriptions of a hospital.
fn all(app: &App, hospital: &Hospital) -> Result<Vec<String>, ApiError> {
    app.database().holder(&hospital.holder).map_or(Ok(Vec::new()), |holder| super::of_holder(app, holder.id))
}

/// A hospital's own Subscription as it is stored now: the holder, the version and the JSON.
fn stored(app: &App, key: &Key) -> Result<(HolderId, u64, Vec<u8>), ApiError> {
    let holder = app.database().holder(&key.holder).ok_or_else(interaction::absent)?.id;
    let stored = app.database().read(holder, "Subscription", &key.id)?.ok_or_else(interaction::absent)?;
    Ok((holder, stored.version, stored.json.ok_or_else(answer::gone)?))
}

fn unreadable(issue: Issue) -> ApiError {
    ApiError { issues: vec![issue], ..ApiError::new(StatusCode::CONFLICT, IssueType::Conflict, "") }
}

/// How a hospital's own Subscription stands, also if it is off and cannot be judged.
fn standing(app: &App, key: &Key) -> Result<Standing, ApiError> {
    let (_, _, json) = stored(app, key)?;
    Standing::read(key, &json).map_err(unreadable)
}

/// A hospital's own Subscription as it is now.
pub fn find(app: &App, key: &Key) -> Result<Told, ApiError> {
    let (holder, version, json) = stored(app, key)?;
    Told::read(key, holder, version, &json).map_err(unreadable)
}

pub async fn events(
    State(app): State<App>,
    OwnHospital(hospital): OwnHospital,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    let (mut asked, pretty) = parameters(&app, &headers, query.as_deref(), body).await?;
    let number = |text: Option<String>, name: &str, default: u64| match text {
        None => Ok(default),
        Some(text) => text
            .parse::<u64>()
            .map_err(|_| ApiError::bad_request(IssueType::Value, "expected the number of an event, from 1 on").at(format!("http.{name}"))),
    };
    let from = number(asked.text(&["eventsSinceNumber"])?, "eventsSinceNumber", 0)?;
    let to = number(asked.text(&["eventsUntilNumber"])?, "eventsUntilNumber", u64::MAX)?;
    let content = match asked.text(&["content"])? {
        None => None,
        Some(code) => Some(Content::of(&code).ok_or_else(|| {
            ApiError::bad_request(IssueType::CodeInvalid, "content is empty, id-only or full-resource").at("http.content")
        })?),
    };
    asked.finish()?;
    let key = Key { holder: hospital.holder.clone(), id: interaction::readable_id(&id)? };
    let (place, base) = (app.enter_reads().await?, headers::base(&headers, app.settings()));
    app.on_thread(place, move |app| {
        let told = find(app, &key)?;
        let state = app.subscriptions().state()?;
        // What was sent and not taken is not told of yet.
        let so_far = state.row(&key)?.map_or(0, |row| row.events);
        let kept = state.events(&key, from, to.min(so_far), MAX_NOTIFICATION_EVENTS)?;
        let content = content.unwrap_or(told.subscription.content);
        let how = Telling { kind: Kind::QueryEvent, content, base: &base, so_far: Some(so_far), until: Some(to.min(so_far)) };
        let message = told.tell(app, &hospital.who, &how, &kept)?;
        Ok(answered(app, message.body.unwrap_or_default(), pretty))
    })
    .await
}

/// Refuses what is not active.
pub fn require_active(told: &Told) -> Result<(), ApiError> {
    if told.status == Status::Active {
        return Ok(());
    }
    let what = "the Subscription is not active; its `status` and `error` say why, and a PUT with the status requested asks for it again";
    Err(ApiError::new(StatusCode::CONFLICT, IssueType::Conflict, what))
}
