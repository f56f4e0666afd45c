//! What operators need: health, metrics, the description of the API.

use super::auth::Centre;
use super::routes::{Caller, Doc, Routes};
use super::{ApiError, App, openapi};
use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use dugnad_kernel::fhir::issue::IssueType;
use serde_json::{Value, json};

/// Adds the routes for operators.
pub fn add(routes: Routes) -> Routes {
    let health = Doc {
        description: "Says nothing about what is in the database.",
        answer: &["application/json"],
        statuses: &[(200, "The server takes writes and answers reads"), (503, "It has stopped: the problem says why")],
        ..Doc::new("Operations", "health", "Whether the server is well")
    };
    let metrics = Doc {
        description: "Prometheus' text format. For the centre, because counts of writes at each moment would time a patient.",
        caller: Caller::Centre,
        answer: &["text/plain"],
        statuses: &[(200, "Counters and gauges"), (403, "For the centre only")],
        ..Doc::new("Operations", "metrics", "Metrics")
    };
    let openapi = Doc { answer: &["application/json"], ..Doc::new("Operations", "openapi", "This description (OpenAPI 3.1)") };
    routes.add(Method::GET, "/healthz", health, healthz).add(Method::GET, "/metrics", metrics, prometheus).add(
        Method::GET,
        "/openapi.json",
        openapi,
        description,
    )
}

async fn healthz(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    if app.log_has_failed() {
        let what = "the audit log cannot be written, so nothing is read or written; mend its disk and restart the server";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, IssueType::Exception, what));
    }
    Ok(Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})))
}

async fn description() -> Json<&'static Value> {
    Json(openapi::description())
}

async fn prometheus(State(app): State<App>, Centre(_): Centre) -> impl IntoResponse {
    let counters = app.database().counters();
    let live = app.database().live_health();
    let mut gauges = vec![
        ("dugnad_commit", "The newest published commit.", String::new(), app.database().snapshot().commit().0),
        ("dugnad_audit_entries", "Entries of the audit log.", String::new(), app.audit().size()),
        ("dugnad_audit_failed", "1 once the audit log has failed.", String::new(), u64::from(app.log_has_failed())),
        (
            "dugnad_live_failing",
            "1 while the disk does not take what the live tables write: they stay in memory, and a restart takes longer.",
            String::new(),
            live.map_or(0, |live| u64::from(live.is_failing())),
        ),
        (
            "dugnad_live_failures",
            "How often that happened since the start.",
            String::new(),
            live.map_or(0, dugnad_kernel::live::StoreHealth::failures),
        ),
        ("dugnad_writes_waiting", "Writes that wait for a place.", String::new(), app.writes().waiting() as u64),
        ("dugnad_reads_waiting", "Reads that wait for a place.", String::new(), app.reads().waiting() as u64),
        (
            "dugnad_resources_outside_views",
            "Versions of resources that an unknown modifierExtension has kept out of the built-in views.",
            String::new(),
            counters.modified,
        ),
    ];
    gauges.extend(app.subscriptions().gauges(app.database().snapshot().commit()));
    let help = "Current resources by type.";
    gauges.extend(counters.resources.iter().map(|(kind, count)| ("dugnad_resources", help, format!("{{type=\"{kind}\"}}"), *count)));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics().render(&gauges))
}
