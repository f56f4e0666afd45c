//! A view over the resources that come with the request. Nothing of the database is read, so no permit is needed.

use super::Answer;
use crate::api::ApiError;
use crate::limits::{MAX_ANSWER_BYTES, QUESTION_TIME};
use crate::query::format::Format;
use crate::query::format::rows::{Rows, resources};
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bumpalo::Bump;
use dugnad_kernel::fhir::issue::{Issue, IssueType};
use dugnad_kernel::fhir::json;
use dugnad_kernel::views::View;
use std::time::Instant;

/// One run.
pub struct Run {
    pub view: Vec<u8>,
    pub resources: Vec<Vec<u8>>,
    pub limit: Option<u64>,
    pub format: Format,
}

impl Run {
    /// Runs the view. Blocks.
    pub fn answer(self) -> Answer {
        let wrong = |e: serde_json::Error| ApiError::bad_request(IssueType::Structure, e.to_string()).at("ViewDefinition");
        let view = View::compile(&serde_json::from_slice(&self.view).map_err(wrong)?)?;
        let mut rows = Rows::new(self.format, view.columns())?.at_most(self.limit.unwrap_or(u64::MAX), MAX_ANSWER_BYTES);
        let (mut out, started) = (Vec::new(), Instant::now());
        let mut arena = Bump::new();
        for (i, resource) in self.resources.iter().enumerate() {
            let at = format!("Parameters.parameter.where(name='resource')[{i}]");
            let wrong = |e: json::JsonError| ApiError::bad_request(IssueType::Structure, e.to_string()).at(at.clone());
            let document = json::parse(resource, &arena).map_err(wrong)?;
            for (place, resource) in resources(document, "") {
                let failed = |e: dugnad_kernel::views::ViewError| Issue::error(IssueType::Invalid, at.clone(), format!("{place}{e}"));
                rows.run(&view, resource, &arena).map_err(failed).map_err(unprocessable)?;
                out.extend(rows.take()?.unwrap_or_default());
                if rows.is_over() || out.len() > MAX_ANSWER_BYTES || started.elapsed() > QUESTION_TIME {
                    let what = "the rows of these resources are too many for one answer; send fewer, or use `dugnad view run`";
                    return Err(unprocessable(Issue::error(IssueType::TooCostly, at, what)));
                }
            }
            arena.reset();
        }
        out.extend(rows.finish()?);
        let mut response = Response::new(Body::from(out));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.format.content_type()));
        Ok(response)
    }
}

fn unprocessable(issue: Issue) -> ApiError {
    ApiError { status: StatusCode::UNPROCESSABLE_ENTITY, issues: vec![issue], headers: Vec::new() }
}
