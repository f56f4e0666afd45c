//! `/opt-outs`: a person's opt-out (Regulation (EU) 2025/327, Art. 71), made and taken back at any time, without a reason.
//!
//! It is a Consent of the holder whose Patient it is, which nobody writes otherwise. A hospital's own Consents count beside it: who
//! is out by one of them stays out until that one is taken back too.

use super::auth::Caller as Known;
use super::headers::{DUGNAD_COMMIT, value};
use super::persons;
use super::routes::{Caller, Doc, Routes};
use super::work::{Access, Read};
use super::{ApiError, App};
use crate::access::{Principal, Role};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, Method};
use dugnad_kernel::audit::Act;
use dugnad_kernel::database::{Handling, Holder, Interaction, WriteRequest};
use dugnad_kernel::ids::Commit;
use dugnad_kernel::population;
use serde_json::{Value, json};

/// An answer, with the commit that it is of.
pub type Answer = Result<([(HeaderName, HeaderValue); 1], Json<Value>), ApiError>;

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let path = "/opt-outs/{holder}/{patient}";
    let put = Doc {
        description: "For the centre, for the hospital of that name, and for the patient (whose token is bound to that Patient). From the next question on, no record-level answer under a permit that it covers has the person, at whatever commit; statistics are without them from the next epoch. docs/enforcement.md says which permits it covers. Again changes nothing.",
        caller: Caller::Known,
        answer: &["application/json"],
        statuses: &[
            (200, "`opted_out`, and the `commit` from which on"),
            (404, "No such Patient, or one that is not yours"),
            (503, "Busy, or the server has stopped writing"),
        ],
        ..Doc::new("Operations", "optOut", "Opt a person out")
    };
    let delete = Doc {
        description: "`opted_out` stays true where a Consent of a hospital says so too.",
        ..Doc { id: "optIn", summary: "Take an opt-out back", ..put }
    };
    let get = Doc {
        description: "",
        statuses: &[(200, "`opted_out`"), (404, "No such Patient, or one that is not yours")],
        ..Doc { id: "optOutStatus", summary: "Whether a person is out", ..put }
    };
    routes.add(Method::PUT, path, put, opt_out).add(Method::DELETE, path, delete, opt_in).add(Method::GET, path, get, status)
}

async fn opt_out(State(app): State<App>, Known(who): Known, Path((holder, patient)): Path<(String, String)>) -> Answer {
    change(app, who, holder, patient, true).await
}

async fn opt_in(State(app): State<App>, Known(who): Known, Path((holder, patient)): Path<(String, String)>) -> Answer {
    change(app, who, holder, patient, false).await
}

/// What is not there, and what is not the caller's, look the same.
fn absent() -> ApiError {
    ApiError::not_found("there is no such Patient of yours; check the holder's name and the Patient's logical id")
}

/// The holder, if the caller may speak for the Patient and there is one.
fn found(app: &App, who: &Principal, holder: &str, patient: &str) -> Result<Holder, ApiError> {
    let may = match who.role {
        Role::Centre => true,
        Role::Hospital => who.holder.as_deref() == Some(holder),
        Role::Patient => persons::own(app, who)?.is_some_and(|(at, id)| at == holder && id == patient),
        Role::Authority | Role::Company => false,
    };
    let holder = app.database().holder(holder).filter(|_| may).ok_or_else(absent)?;
    let current = app.database().read(holder.id, "Patient", patient)?;
    current.filter(|version| version.json.is_some()).map(|_| holder).ok_or_else(absent)
}

/// Opts a person out, or takes that back, if the caller may speak for them.
pub async fn change(app: App, who: Principal, holder: String, patient: String, out: bool) -> Answer {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let holder = found(app, &who, &holder, &patient)?;
        let interaction = Interaction::OptOut { patient: patient.clone(), out };
        let request = WriteRequest { holder: holder.id, interaction, handling: Handling::Strict, idempotency_key: None };
        // The commit says who it is; the entry need not.
        let outcome = app.write_as(Act::Decision, &who, request, |e| {
            e.interface = Some("opt-outs".to_owned());
            e.holder = Some(holder.name.clone());
            e.request = Some(if out { "opt out" } else { "opt in" }.to_owned());
        })?;
        told(app, &holder, &patient, outcome.commit)
    })
    .await
}

async fn status(State(app): State<App>, Known(who): Known, Path((holder, patient)): Path<(String, String)>) -> Answer {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let request = "GET /opt-outs".to_owned();
        let access = Access { who: who.clone(), interface: "opt-outs", request, tables: vec!["Consent".to_owned()] };
        app.read_about(&access, |commit| {
            Ok(match found(app, &who, &holder, &patient) {
                Ok(holder) => {
                    let patients = app.database().patient(holder.id, &patient)?.map(|patient| vec![patient]);
                    Read { found: told(app, &holder, &patient, commit), rows: 1, patients }
                }
                Err(error) => Read { found: Err(error), rows: 0, patients: None },
            })
        })?
    })
    .await
}

fn told(app: &App, holder: &Holder, patient: &str, commit: Commit) -> Answer {
    let snapshot = app.database().snapshot();
    let out = population::opted_out(&snapshot).map_err(|damaged| {
        app.database().report(&damaged);
        ApiError::internal(&damaged.to_string())
    })?;
    let ordinal = app.database().patient(holder.id, patient)?;
    let opted_out = ordinal.is_some_and(|patient| out.contains(patient.0));
    Ok(([(DUGNAD_COMMIT, value(&commit.to_string()))], Json(json!({"opted_out": opted_out, "commit": commit}))))
}
