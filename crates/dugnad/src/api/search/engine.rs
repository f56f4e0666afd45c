//! Finds.
use crate::api::{ApiError, App};
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_kernel::search::query::Search;

/// A resource that was found.
pub struct Hit {
    pub resource_type: String,
    pub id: String,
    pub json: Vec<u8>,
}

/// A page.
pub struct Found {
    pub matches: Vec<Hit>,
    pub included: Vec<Hit>,
    pub next: Option<Vec<u8>>,
}

pub fn count(_app: &App, _holder: HolderId, _search: &Search, _commit: Commit) -> Result<u64, ApiError> {
    Err(ApiError::internal("WIP"))
}

pub fn page(_app: &App, _holder: HolderId, _search: &Search, _commit: Commit, _cursor: &[u8], _most: usize) -> Result<Found, ApiError> {
    Err(ApiError::internal("WIP"))
}
