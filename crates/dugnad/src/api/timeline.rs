//! `Dugnad-Timeline`, wherever there is a `Dugnad-Commit`.
//!
//! After a restore, commit numbers are given anew: a number that a client remembers may mean another commit. So every answer
//! that names a commit names its timeline too, and a request that names a timeline is answered on that one only.

use super::headers::{self, DUGNAD_COMMIT, DUGNAD_TIMELINE, value};
use super::{ApiError, App};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dugnad_kernel::fhir::issue::IssueType;

/// Refuses requests about another timeline, and adds the header to answers.
pub async fn settle(State(app): State<App>, request: Request, next: Next) -> Response {
    let ours = app.database().timeline();
    let mut response = match headers::timeline(request.headers()) {
        Err(error) => error.into_response(),
        Ok(Some(theirs)) if theirs != ours => {
            let what = "this database was restored since: Dugnad-Timeline is another one now, and commit numbers of the old one mean \
                        nothing here. Read again what you know from it, and go on with the timeline of this answer";
            let refusal = ApiError::new(StatusCode::PRECONDITION_FAILED, IssueType::Conflict, what).at("http.Dugnad-Timeline");
            refusal.with_header(DUGNAD_TIMELINE, value(&ours.to_string())).into_response()
        }
        Ok(_) => next.run(request).await,
    };
    if response.headers().contains_key(DUGNAD_COMMIT) {
        response.headers_mut().insert(DUGNAD_TIMELINE, value(&ours.to_string()));
    }
    response
}
