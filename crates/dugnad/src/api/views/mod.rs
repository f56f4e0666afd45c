//! SQL on FHIR over HTTP: registered ViewDefinitions, and the operations on them and on queries.

mod definition;
mod export;
mod inline;
mod library;
mod materialize;
mod published;
mod routes;
mod run;
mod stored;
mod supplied;

pub use routes::add;

use super::{ApiError, App};
use crate::access::{Principal, Role};
use axum::body::Body;
use axum::http::Response;
use dugnad_kernel::permit::Permit;

type Answer = Result<Response<Body>, ApiError>;

/// Whether `who` has a permit, now, with that table. (A hospital sees every table, of its own patients.)
fn readable_table(app: &App, who: &Principal, table: &str) -> bool {
    if who.role == Role::Hospital && who.holder.is_some() {
        return true;
    }
    let now = app.now();
    let permits = app.database().documents("permit").unwrap_or_default();
    permits.iter().filter_map(|d| Permit::parse(&d.json).ok()).any(|p| p.usable_by(&who.user, now) && p.covers_table(table))
}
