//! `/cohorts`: groups of persons that statistics may be asked about. One person proposes, another decides.

use crate::api::auth::Caller as Known;
use crate::api::desk::{Deed, Form, Refused, Sent, done, to_json};
use crate::api::routes::{Caller, Doc, Routes};
use crate::api::work::Access;
use crate::api::{ApiError, App};
use crate::query::COHORT;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Response};
use dugnad_kernel::disclosure::Cohort;
use dugnad_kernel::permit::procedure::ProcedureError;
use dugnad_kernel::population::Formula;
use serde::Deserialize;
use serde_json::{Value, json};

const JSON: &str = "application/json";

/// Adds the routes.
pub(super) fn add(routes: Routes) -> Routes {
    let put = Doc {
        description: "`{\"title\", \"expression\", \"justification\"}`; the expression is that of a permit's population: all, any and not over `{\"rows\": {\"table\", \"at_least\"?, \"where\"?}}`. It may be proposed anew until it has been decided on.",
        caller: Caller::Known,
        body: Some(JSON),
        answer: &[JSON],
        statuses: &[
            (200, "Proposed"),
            (400, "Not a cohort; the problem says why"),
            (403, "For organisations and the centre"),
            (409, "It has been decided on"),
        ],
        ..Doc::new("Statistics", "proposeCohort", "Propose a cohort")
    };
    let decide = Doc {
        description: "`{\"registered\", \"reasons\"}`, by another person of the centre. A cohort is registered if it has at least 100 persons and differs from every other, and from everyone, by as many as the method says; questions may name it from the next epoch on.",
        caller: Caller::Centre,
        statuses: &[
            (200, "Decided"),
            (400, "Too few persons, or too much like another"),
            (403, "Not another person of the centre"),
            (404, "There is none"),
            (409, "It has been decided on"),
        ],
        ..Doc { id: "decideCohort", summary: "Decide on a cohort", ..put }
    };
    let list = Doc {
        description: "",
        body: None,
        statuses: &[(200, "The registered cohorts; for the centre and who proposed them, also the others")],
        ..Doc { id: "cohorts", summary: "The cohorts", ..put }
    };
    routes.add(Method::GET, "/cohorts", list, all).add(Method::PUT, "/cohorts/{id}", put, propose).add(
        Method::POST,
        "/cohorts/{id}/decision",
        decide,
        decision,
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    title: String,
    expression: Formula,
    justification: String,
}

impl Form for Proposal {
    const FORM: &'static str = "{\"title\", \"expression\", \"justification\"}";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decided {
    registered: bool,
    reasons: String,
}

impl Form for Decided {
    const FORM: &'static str = "{\"registered\": true or false, \"reasons\"}";
}

async fn all(State(app): State<App>, Known(who): Known) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let actor = app.actor(&who)?;
        let access = Access { who, interface: "cohorts", request: "GET /cohorts".to_owned(), tables: vec![COHORT.to_owned()] };
        app.read_recorded(&access, |_| {
            let registered = |c: &Cohort| c.decision.as_ref().is_some_and(|d| d.registered);
            let sees = |c: &Cohort| actor.centre || registered(c) || c.group == actor.group;
            let cohorts: Vec<Cohort> = app.all(COHORT, Cohort::parse)?.into_iter().filter(sees).collect();
            let rows = cohorts.len() as u64;
            Ok((Json(json!({"cohorts": cohorts})), rows))
        })
    })
    .await
}

async fn propose(State(app): State<App>, Sent { who, id, body }: Sent<Proposal>) -> Result<Response<Body>, ApiError> {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "cohorts", request: format!("PUT /cohorts/{id}") };
        app.at_desk(&deed, |actor| {
            if actor.group.is_empty() && !actor.centre {
                let what = "cohorts are proposed by organisations that the centre knows, and by the centre; ask it to register yours";
                return Err(Refused::Procedure(ProcedureError::Person(what.to_owned())));
            }
            if let Some(known) = app.one(COHORT, &id, Cohort::parse)? {
                if known.decision.is_some() {
                    return Err(ProcedureError::State("it has been decided on; propose another under another id".to_owned()).into());
                }
                if known.group != actor.group {
                    return Err(ProcedureError::Person("another organisation has proposed a cohort of this id".to_owned()).into());
                }
            }
            let cohort = Cohort::propose(&id, &body.title, body.expression, &body.justification, actor, app.now())?;
            let commit = app.put_recorded(&deed, &[(COHORT, &id, &to_json(&cohort)?)], |e| e.outcome = Some("proposed".to_owned()))?;
            Ok(done(commit, json!(cohort)))
        })
    })
    .await
}

async fn decision(State(app): State<App>, Sent { who, id, body }: Sent<Decided>) -> Result<Response<Body>, ApiError> {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "cohorts", request: format!("POST /cohorts/{id}/decision") };
        app.at_desk(&deed, |actor| {
            let known = app.one(COHORT, &id, Cohort::parse)?;
            let known = known.ok_or_else(|| ApiError::not_found("there is no such cohort; GET /cohorts lists them"))?;
            let cohort = known.decide(body.registered, &body.reasons, actor, app.now())?;
            if body.registered {
                app.query().check_cohort(&cohort).map_err(ApiError::from)?;
            }
            let outcome = if body.registered { "registered" } else { "refused" };
            let commit = app.put_recorded(&deed, &[(COHORT, &id, &to_json(&cohort)?)], |e| e.outcome = Some(outcome.to_owned()))?;
            Ok(done(commit, json!(cohort)))
        })
    })
    .await
}
