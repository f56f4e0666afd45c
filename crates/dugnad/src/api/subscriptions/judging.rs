//! What a Subscription's newest version asks for, and the versions that the server answers with.

use super::state::{Activation, Key, Row};
use super::telling::Told;
use crate::access::{Principal, Role};
use crate::api::{ApiError, App, outgoing};
use crate::limits::{MAX_SUBSCRIPTIONS, MAX_SUBSCRIPTIONS_OF_ONE};
use axum::http::StatusCode;
use bumpalo::Bump;
use dugnad_kernel::audit::Act;
use dugnad_kernel::database::{Handling, Interaction, WriteRequest};
use dugnad_kernel::fhir::json as fhir_json;
use dugnad_kernel::fhir::patch::Format;
use dugnad_kernel::subscription::Status;
use serde_json::json;

const RESTORED: &str = "this database was restored from a backup, and tells nobody of its own accord: PUT it with the status requested";
const NOT_KNOWN: &str = "who asks for it is not known to this server, which was given it in a file: write it again";

/// What is judged: a version, and the newest one that is known of somebody to have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The version.
    pub version: u64,
    /// What somebody wrote; 0: nothing is known.
    pub written: u64,
}

/// What a Subscription's newest version asks for.
pub enum Asked {
    /// Nothing, until it is written again.
    Nothing,
    /// That is not known yet: whoever wrote it may be about to say so. If nobody does, it cannot be.
    Unknown(Judged, &'static str),
    /// To be made active.
    Activate(Box<Told>, Row),
    /// To be told.
    Tell(Box<Told>, Row),
    /// It cannot be.
    Fail(Judged, String),
}

/// What an error says, without its status.
pub fn said(error: ApiError) -> String {
    error.issues.into_iter().next().map_or(String::new(), |issue| issue.diagnostics)
}

/// Why there is no room.
pub fn no_room(activation: Activation) -> Option<String> {
    match activation {
        Activation::Done | Activation::Overtaken => None,
        Activation::ManyOfHolder => Some(format!(
            "{MAX_SUBSCRIPTIONS_OF_ONE} Subscriptions of this hospital are active, as many as may be: turn one off that is not needed, then PUT this one with the status requested"
        )),
        Activation::Many => Some(format!(
            "{MAX_SUBSCRIPTIONS} Subscriptions are active, as many as this server takes, of all hospitals: PUT it with the status requested later"
        )),
    }
}

/// Who asked for it, if they still may.
pub fn owner(app: &App, key: &Key, user: &str) -> Result<Principal, ApiError> {
    if !app.holds(user, &key.holder)? {
        return Err(ApiError::forbidden("who asked for it has no valid token any more; somebody who has one can write it again"));
    }
    Ok(principal(user, Role::Hospital, key))
}

fn principal(user: &str, role: Role, key: &Key) -> Principal {
    Principal::new(user, role, Some(key.holder.clone()))
}

/// The status of a stored Subscription.
fn status_of(json: &[u8]) -> Status {
    let arena = Bump::new();
    fhir_json::parse(json, &arena).map_or(Status::Off, |resource| Status::of(&resource))
}

/// Looks what a Subscription asks for now. Blocks.
///
/// Order: what is known of it, then what stands there. So whatever is done about it is conditional on nobody having written since.
pub fn asked(app: &App, key: &Key) -> Result<Asked, ApiError> {
    let state = app.subscriptions().state()?;
    let row = state.row(key)?;
    let written = row.as_ref().map_or(0, |row| row.written);
    let holder = app.database().holder(&key.holder);
    let stored = match &holder {
        Some(holder) => app.database().read(holder.id, "Subscription", &key.id)?,
        None => None,
    };
    let found = stored.and_then(|stored| Some((stored.version, stored.json?)));
    let (Some(holder), Some((version, json))) = (holder, found) else {
        state.forget(key, written)?;
        return Ok(Asked::Nothing);
    };
    let (status, judged) = (status_of(&json), Judged { version, written });
    if !matches!(status, Status::Requested | Status::Active) {
        state.deactivate(key, written, status)?;
        return Ok(Asked::Nothing);
    }
    let told = match Told::read(key, holder.id, version, &json) {
        Ok(told) => told,
        Err(issue) => return Ok(Asked::Fail(judged, issue.diagnostics)),
    };
    let row = match row {
        Some(row) if row.knows(version) => row,
        Some(row) if row.is_restored() => return Ok(Asked::Unknown(judged, RESTORED)),
        _ => return Ok(Asked::Unknown(judged, NOT_KNOWN)),
    };
    match owner(app, key, &row.user) {
        Err(error) if error.status == StatusCode::FORBIDDEN => return Ok(Asked::Fail(judged, said(error))),
        owner => drop(owner?),
    }
    if let Some(endpoint) = &told.subscription.endpoint
        && let Some(refusal) = outgoing::refusal(&app.settings().endpoints, endpoint)
    {
        return Ok(Asked::Fail(judged, refusal.to_owned()));
    }
    if status == Status::Active && row.activated == version {
        return Ok(Asked::Tell(Box::new(told), row));
    }
    // Before anybody is asked whether they are there; it is looked again when it becomes active.
    match no_room(state.room(key)?) {
        Some(why) => Ok(Asked::Fail(judged, why)),
        None => Ok(Asked::Activate(Box::new(told), row)),
    }
}

/// Writes the status that the server gives it, as a version of its own; false if somebody has written it meanwhile, or it was deleted:
/// that is looked at next. Blocks.
pub fn set_status(app: &App, key: &Key, version: u64, status: Status, why: Option<&str>) -> Result<bool, ApiError> {
    let holder = app.holder_for_writing(&key.holder)?.id;
    let Some(json) = app.database().read(holder, "Subscription", &key.id)?.and_then(|stored| stored.json) else { return Ok(false) };
    let has_error = serde_json::from_slice::<serde_json::Value>(&json).is_ok_and(|resource| resource.get("error").is_some());
    let mut patch = vec![json!({"op": "replace", "path": "/status", "value": status.code()})];
    match why {
        Some(why) => patch.push(json!({"op": "add", "path": "/error", "value": why})),
        None if has_error => patch.push(json!({"op": "remove", "path": "/error"})),
        None => {}
    }
    let interaction = Interaction::Patch {
        resource_type: "Subscription".to_owned(),
        id: key.id.clone(),
        format: Format::JsonPatch,
        body: json!(patch).to_string().into_bytes(),
        if_match: Some(version),
    };
    let server = principal("server", Role::Centre, key);
    let request = WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None };
    let written = app.write_as(Act::Write, &server, request, |e| {
        e.request = Some(format!("Subscription/{} becomes {}", key.id, status.code()));
    });
    match written {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.status, StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND | StatusCode::GONE) => Ok(false),
        Err(error) => Err(error),
    }
}
