//! Request bodies: bounded in size, in time and in what all of them hold together.

use super::App;
use super::error::ApiError;
use super::headers::require_json_body;
use crate::limits::{BODY_IDLE_TIMEOUT, BODY_TIMEOUT, MAX_BODY_BYTES_HELD, RETRY_AFTER_S};
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use dugnad_kernel::fhir::issue::IssueType;
use futures::StreamExt;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes are claimed in units of this size, so that the count stays small.
const UNIT: usize = 1 << 10;

/// How many bytes of bodies may still be taken in.
#[derive(Clone, Debug)]
pub struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BODY_BYTES_HELD / UNIT)))
    }
}

/// A whole body, and its claim on the budget: drop it once the work on it is done.
#[derive(Debug)]
pub struct HeldBody {
    bytes: Vec<u8>,
    claim: Option<OwnedSemaphorePermit>,
}

impl HeldBody {
    /// The bytes, and the claim that is to be held while they are.
    pub fn into_parts(self) -> (Vec<u8>, Option<OwnedSemaphorePermit>) {
        (self.bytes, self.claim)
    }
}

/// Reads a body of at most `limit` bytes. A body that says that it is larger is refused before it is read.
pub async fn read(app: &App, headers: &HeaderMap, body: Body, limit: usize) -> Result<HeldBody, ApiError> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(ApiError::too_large(limit));
    }
    let mut held = HeldBody { bytes: Vec::with_capacity(length.unwrap_or(0).min(UNIT)), claim: None };
    match timeout(BODY_TIMEOUT, fill(app.bodies(), body, limit, &mut held)).await {
        Ok(Ok(())) => Ok(held),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(too_slow()),
    }
}

/// Reads a body of JSON of at most `limit` bytes, as text.
pub async fn json(app: &App, headers: &HeaderMap, body: Body, limit: usize) -> Result<String, ApiError> {
    require_json_body(headers)?;
    let (bytes, _held) = read(app, headers, body, limit).await?.into_parts();
    text(bytes)
}

/// Reads a body that may be empty; one that is not must be said to be JSON. The bytes, and the claim that is to be held while they are.
pub async fn json_or_none(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ApiError> {
    let held = read(app, headers, body, limit).await?;
    if !held.bytes.iter().all(u8::is_ascii_whitespace) {
        require_json_body(headers)?;
    }
    Ok(held.into_parts())
}

/// A body as text.
pub fn text(bytes: Vec<u8>) -> Result<String, ApiError> {
    String::from_utf8(bytes).map_err(|_| ApiError::bad_request(IssueType::Structure, "the body is not UTF-8"))
}

async fn fill(budget: &BodyBudget, body: Body, limit: usize, held: &mut HeldBody) -> Result<(), ApiError> {
    let mut chunks = body.into_data_stream();
    loop {
        let chunk = match timeout(BODY_IDLE_TIMEOUT, chunks.next()).await {
            Err(_) => return Err(too_slow()),
            Ok(None) => return Ok(()),
            // The connection ended early, or its chunks are malformed.
            Ok(Some(Err(_))) => {
                return Err(ApiError::bad_request(
                    IssueType::Structure,
                    "the body ended before it was complete, or is not gzip as its Content-Encoding says; send it again, whole",
                ));
            }
            Ok(Some(Ok(chunk))) => chunk,
        };
        if held.bytes.len() + chunk.len() > limit {
            return Err(ApiError::too_large(limit));
        }
        held.claim_for(budget, chunk.len())?;
        held.bytes.extend_from_slice(&chunk);
    }
}

impl HeldBody {
    fn claim_for(&mut self, budget: &BodyBudget, more: usize) -> Result<(), ApiError> {
        let claimed = self.claim.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needed = (self.bytes.len() + more).div_ceil(UNIT).saturating_sub(claimed);
        let units = u32::try_from(needed).unwrap_or(u32::MAX);
        // Not waited for: two half-read bodies that wait for each other would never end.
        let permit = Arc::clone(&budget.0)
            .try_acquire_many_owned(units)
            .map_err(|_| ApiError::busy("the server holds as many request bodies as it has room for", RETRY_AFTER_S))?;
        match &mut self.claim {
            Some(claim) => claim.merge(permit),
            None => self.claim = Some(permit),
        }
        Ok(())
    }
}

fn too_slow() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        IssueType::TooCostly,
        "the body came too slowly; send it again over a better line, or in smaller parts",
    )
}
