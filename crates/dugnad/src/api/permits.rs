//! `PUT /permits/{id}`: the centre records a permit. `/permits/{id}/extend` and `/revoke`: what becomes of it, by two persons.

use super::auth::{Caller as Known, Centre};
use super::desk::{Deed, EXTENSION, Form, HEARING, PERMIT, Refused, Sent, done, to_json};
use super::frozen::freeze;
use super::routes::{Caller, Doc, Routes};
use super::work::Access;
use super::{ApiError, App, body};
use crate::access::Principal;
use crate::limits::MAX_SQL_BODY_BYTES;
use crate::query::PERSON_LIST;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::permit::hearing::{Extension, ExtensionState, Hearing, HearingState, revoked};
use dugnad_kernel::permit::procedure::{Actor, ProcedureError};
use dugnad_kernel::permit::{Permit, Status, register};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

const JSON: &str = "application/json";

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let grant = Doc {
        description: "The whole permit, as docs/permits.md describes it, with the decision that it is: `decision.by` is the caller. For decisions that were taken elsewhere: by law, by a hospital, by a mandate. Permits of the EHDS bases come out of applications, and one that did is changed with `/extend` and `/revoke` only. It replaces the one of that id from the next question on; `\"status\": \"revoked\"` takes it back. Every version stays in the journal, every decision in the audit log.",
        caller: Caller::Centre,
        body: Some(JSON),
        answer: &[JSON],
        statuses: &[
            (200, "Granted, changed or revoked; `Dugnad-Commit` says from which commit on"),
            (400, "Not a permit, or one that its legal basis does not allow; the problem says why"),
            (403, "For the centre only; or the basis is one that a second person decides on"),
            (409, "It came from an application"),
        ],
        ..Doc::new("SQL", "grant", "Grant, change or revoke a permit")
    };
    let one = Doc {
        caller: Caller::Known,
        answer: &[JSON],
        statuses: &[(200, "The permit, where it stands, and the newest hearing and request to extend it"), (404, "None that you may see")],
        ..Doc::new("Permits", "permit", "A permit, for its users and the centre")
    };
    let extend_doc = Doc {
        description: "Its users ask: `{\"until\", \"reasons\"}`; under the EHDS bases once, a month before its end at the latest, for at most ten years (Art. 68(12)). Another person, of the centre, decides: `{\"grant\": BOOL, \"reasons\"}`.",
        statuses: &[
            (200, "The permit as it stands"),
            (403, "Somebody else has to do this"),
            (404, "None that you may see"),
            (409, "Not now; the problem says why"),
        ],
        body: Some(JSON),
        ..Doc { id: "extend", summary: "Ask for an extension, or decide on it", ..one }
    };
    let revoke_doc = Doc {
        description: "The centre opens a hearing: `{\"findings\", \"until\"?}`. The permit's users state their views: `{\"views\"}`, for at most four weeks (Art. 63(2)). Then another person of the centre decides: `{\"revoke\": BOOL, \"reasons\"}`.",
        ..Doc { id: "revoke", summary: "Revoke a permit, after a hearing", ..extend_doc }
    };
    routes
        .add(Method::PUT, "/permits/{id}", grant, put)
        .add(Method::GET, "/permits/{id}", one, get)
        .add(Method::POST, "/permits/{id}/extend", extend_doc, extend)
        .add(Method::POST, "/permits/{id}/revoke", revoke_doc, revoke)
}

async fn put(
    State(app): State<App>,
    Centre(who): Centre,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let text = body::json(&app, &headers, body, MAX_SQL_BODY_BYTES).await?;
    let permit = Permit::parse(&text).map_err(|e| ApiError::bad_request(IssueType::Invalid, e.to_string()))?;
    if permit.id() != id {
        return Err(ApiError::bad_request(IssueType::Invalid, "the permit's id must be the id of the address").at("permit.id"));
    }
    if permit.document().decision.by != who.user {
        return Err(ApiError::bad_request(IssueType::Invalid, "decision.by must be you: the token's user").at("permit.decision.by"));
    }
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "permits", request: format!("PUT /permits/{id}") };
        app.at_desk(&deed, |_| {
            if let Some(application) = app.application_of(&id)? {
                let what = format!(
                    "this permit came from the application {}, so one person cannot change it; use /permits/{id}/extend or /revoke",
                    application.id()
                );
                return Err(ProcedureError::State(what).into());
            }
            if permit.basis().rules().by_application {
                let what = format!(
                    "who proposes cannot decide: a permit on the basis {} comes out of an application, which a second person decides \
                     (POST /applications); what becomes of it, /permits/{{id}}/extend and /revoke",
                    permit.basis()
                );
                return Err(ProcedureError::Person(what).into());
            }
            let outcome = if permit.document().status == Status::Active { "granted" } else { "revoked" };
            let (permit, list) = freeze(app, permit, None)?;
            let json = to_json(permit.document())?;
            let commit = put_permit(app, &deed, &permit, &json, list.as_deref().map(|list| (PERSON_LIST, list)), outcome)?;
            Ok(done(commit, json!({"id": id, "commit": commit})))
        })
    })
    .await
}

/// One commit of a permit and of the document that it changes by, if there is one (kind and JSON).
fn put_permit(
    app: &App,
    deed: &Deed,
    permit: &Permit,
    json: &str,
    with: Option<(&str, &str)>,
    outcome: &str,
) -> Result<dugnad_kernel::ids::Commit, ApiError> {
    let mut documents = vec![(PERMIT, permit.id(), json)];
    documents.extend(with.map(|(kind, json)| (kind, permit.id(), json)));
    app.put_recorded(deed, &documents, |e| {
        e.permit = Some(permit.id().to_owned());
        e.purpose = Some(permit.document().purpose.clone());
        e.outcome = Some(outcome.to_owned());
    })
}

/// A permit as those see it who have to do with it.
fn shown(permit: &Permit, hearing: Option<&Hearing>, extension: Option<&Extension>, now: Timestamp) -> Value {
    json!({
        "permit": permit.document(),
        "state": register::permit_state(permit, now),
        "standing": register::standing(permit),
        "hearing": hearing.map(|h| json!({"hearing": h, "state": h.state(now), "deadline": h.deadline(now)})),
        "extension": extension.map(|e| json!({"extension": e, "state": e.state()})),
    })
}

/// A permit that the actor has to do with: its users, the people of its organisation, the centre.
fn find(app: &App, id: &str, actor: &Actor) -> Result<Permit, ApiError> {
    let absent = || ApiError::not_found("there is no such permit that you have to do with; GET /permits lists yours");
    let permit = app.stored_permit(id)?.ok_or_else(absent)?;
    let named = permit.document().users.contains(&actor.by.user);
    let own = !actor.group.is_empty() && app.group_of(&permit)? == actor.group;
    if actor.centre || named || own { Ok(permit) } else { Err(absent()) }
}

async fn get(State(app): State<App>, Known(who): Known, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let actor = app.actor(&who)?;
        let access = Access { who, interface: "permits", request: format!("GET /permits/{id}"), tables: vec![PERMIT.to_owned()] };
        app.read_recorded(&access, |_| {
            let permit = find(app, &id, &actor)?;
            let (hearing, extension) = (app.hearing(&id)?, app.extension(&id)?);
            Ok((Json(shown(&permit, hearing.as_ref(), extension.as_ref(), app.now())), 1))
        })
    })
    .await
}

/// What is sent to `/extend`: a request, or a decision on it.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Extending {
    Request { until: Timestamp, reasons: String },
    Decision { grant: bool, reasons: String },
}

impl Form for Extending {
    const FORM: &'static str = "{\"until\", \"reasons\"} or {\"grant\": true|false, \"reasons\"}";
}

/// What is sent to `/revoke`: findings, views, or a decision.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Revoking {
    Findings { findings: String, until: Option<Timestamp> },
    Views { views: String },
    Decision { revoke: bool, reasons: String },
}

impl Form for Revoking {
    const FORM: &'static str = "{\"findings\", \"until\"?}, {\"views\"} or {\"revoke\": true|false, \"reasons\"}";
}

async fn extend(State(app): State<App>, Sent { who, id, body: sent }: Sent<Extending>) -> Result<Response, ApiError> {
    at_permit(app, who, id, "extend", move |app, deed, actor, permit| {
        let (now, before) = (app.now(), app.extension(permit.id())?);
        let extension = match sent {
            Extending::Request { until, reasons } => Extension::request(actor, permit, before.as_ref(), until, &reasons, now)?,
            Extending::Decision { grant, reasons } => {
                let asked = before.ok_or_else(|| ProcedureError::State("nobody has asked to extend this permit".to_owned()))?;
                asked.decide(actor, permit, &app.group_of(permit)?, grant, &reasons, now)?
            }
        };
        let json = to_json(&extension)?;
        match extension.state() {
            ExtensionState::Granted => changed(app, deed, &extension.extended(permit), (EXTENSION, &json), "extended"),
            state => noted(
                app,
                deed,
                permit,
                (EXTENSION, &json),
                if state == ExtensionState::Refused { "extension refused" } else { "extension requested" },
            ),
        }
    })
    .await
}

async fn revoke(State(app): State<App>, Sent { who, id, body: sent }: Sent<Revoking>) -> Result<Response, ApiError> {
    at_permit(app, who, id, "revoke", move |app, deed, actor, permit| {
        let (now, before) = (app.now(), app.hearing(permit.id())?);
        let open = || {
            before
                .clone()
                .ok_or_else(|| ProcedureError::State("no hearing about this permit was opened; send the findings first".to_owned()))
        };
        let hearing = match sent {
            Revoking::Findings { findings, until } => {
                if before.as_ref().is_some_and(|h| matches!(h.state(now), HearingState::Open | HearingState::Heard)) {
                    return Err(ProcedureError::State("a hearing about this permit is open already; decide it first".to_owned()).into());
                }
                Hearing::open(actor, permit, &findings, until, now)?
            }
            Revoking::Views { views } => open()?.state_views(actor, permit, &views, now)?,
            Revoking::Decision { revoke, reasons } => open()?.decide(actor, permit, &app.group_of(permit)?, revoke, &reasons, now)?,
        };
        let json = to_json(&hearing)?;
        match hearing.state(now) {
            HearingState::Revoked => changed(app, deed, &revoked(permit), (HEARING, &json), "revoked"),
            HearingState::Open => noted(app, deed, permit, (HEARING, &json), "hearing opened"),
            HearingState::Heard => noted(app, deed, permit, (HEARING, &json), "heard"),
            HearingState::Kept => noted(app, deed, permit, (HEARING, &json), "kept"),
        }
    })
    .await
}

/// A procedure about a permit.
async fn at_permit(
    app: App,
    who: Principal,
    id: String,
    name: &'static str,
    job: impl FnOnce(&App, &Deed, &Actor, &Permit) -> Result<Response, Refused> + Send + 'static,
) -> Result<Response, ApiError> {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "permits", request: format!("POST /permits/{id}/{name}") };
        app.at_desk(&deed, |actor| {
            let permit = find(app, &id, actor)?;
            job(app, &deed, actor, &permit)
        })
    })
    .await
}

/// The permit changes with the procedure, in one commit.
fn changed<E: std::fmt::Display>(
    app: &App,
    deed: &Deed,
    permit: &Result<Permit, E>,
    with: (&str, &str),
    outcome: &str,
) -> Result<Response, Refused> {
    let permit = permit.as_ref().map_err(|e| ProcedureError::State(e.to_string()))?;
    let commit = put_permit(app, deed, permit, &to_json(permit.document())?, Some(with), outcome)?;
    Ok(done(commit, now_shown(app, permit)?))
}

/// The procedure goes on; the permit stays as it is.
fn noted(app: &App, deed: &Deed, permit: &Permit, (kind, json): (&str, &str), outcome: &str) -> Result<Response, Refused> {
    let commit = app.put_recorded(deed, &[(kind, permit.id(), json)], |e| {
        e.permit = Some(permit.id().to_owned());
        e.outcome = Some(outcome.to_owned());
    })?;
    Ok(done(commit, now_shown(app, permit)?))
}

fn now_shown(app: &App, permit: &Permit) -> Result<Value, ApiError> {
    Ok(shown(permit, app.hearing(permit.id())?.as_ref(), app.extension(permit.id())?.as_ref(), app.now()))
}
