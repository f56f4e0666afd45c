//! `/sql/queries`: the questions that are being answered, on whatever interface, and stopping one.

use super::auth::Caller as Known;
use super::routes::{Caller, Doc, Routes};
use super::work::Access;
use super::{ApiError, App};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use dugnad_kernel::audit::Act;
use serde_json::{Value, json};

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let list = Doc {
        description: "Yours, with their SQL; the centre sees all, without it. `running` is false for one that waits for a place. The answer of a question carries its id as `Dugnad-Query`.",
        caller: Caller::Known,
        answer: &["application/json"],
        statuses: &[(200, "`queries`: id, user, role, permit, interface, since, running")],
        ..Doc::new("SQL", "queries", "The questions that are being answered")
    };
    let cancel = Doc {
        description: "Its answer ends with an error that says so. A connection that is closed ends its question too.",
        answer: &[],
        statuses: &[(204, "It stops"), (404, "No question of yours that is being answered")],
        ..Doc { id: "cancelQuery", summary: "Stop a question", ..list }
    };
    routes.add(Method::GET, "/sql/queries", list, all).add(Method::DELETE, "/sql/queries/{id}", cancel, stop)
}

async fn all(State(app): State<App>, Known(who): Known) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let access = Access { who: who.clone(), interface: "sql", request: "GET /sql/queries".to_owned(), tables: Vec::new() };
        app.read_recorded(&access, |_| {
            let queries = app.query().running(&who);
            let count = queries.len() as u64;
            Ok((Json(json!({"queries": queries})), count))
        })
    })
    .await
}

async fn stop(State(app): State<App>, Known(who): Known, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let stopped = app.query().stop(&who, &id);
    let entry = app.entry(if stopped { Act::Decision } else { Act::Refusal }, &who, |e| {
        e.interface = Some("sql".to_owned());
        e.request = Some("DELETE /sql/queries/{id}".to_owned());
        e.outcome = Some(if stopped { "cancelled" } else { "no such question" }.to_owned());
    });
    app.record(entry).await?;
    if stopped { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::not_found("there is no such question of yours that is being answered")) }
}
