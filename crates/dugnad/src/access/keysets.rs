//! Key sets at the addresses of others, and what a fetch from there may do. All of this blocks.

use super::fetched::Fetched;
use crate::limits::{FETCH_TIME, MAX_FETCHED_BYTES};
use dugnad_kernel::access::{JwkError, KeySet};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use ureq::Agent;

/// What is wrong with somebody else's server. The message names its address and nothing of an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// It does not answer, or not as it should.
    #[error("{url} cannot be fetched: {what}")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong.
        what: String,
    },
    /// What it answers is no key set.
    #[error("{url}: {error}")]
    Keys {
        /// The address.
        url: String,
        /// What is wrong.
        error: JwkError,
    },
}

/// An agent for requests to others: bounded in time, and led nowhere else by what they answer.
pub(crate) fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(FETCH_TIME)).max_redirects(0);
    config.build().new_agent()
}

/// The body of an answer with status 200, of bounded size.
pub(crate) fn body_of(url: &str, sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Vec<u8>, FetchError> {
    let unreachable = |what: String| FetchError::Unreachable { url: url.to_owned(), what };
    let mut response = sent.map_err(|e| unreachable(e.to_string()))?;
    if response.status() != 200 {
        return Err(unreachable(format!("it answers {}", response.status())));
    }
    let read = response.body_mut().with_config().limit(MAX_FETCHED_BYTES).read_to_vec();
    read.map_err(|e| unreachable(e.to_string()))
}

/// The key sets at some addresses, as long as they may be relied on.
#[derive(Debug)]
pub struct KeySets {
    agent: Agent,
    sets: Mutex<HashMap<String, Arc<Fetched<KeySet>>>>,
}

impl Default for KeySets {
    fn default() -> Self {
        Self { agent: agent(), sets: Mutex::default() }
    }
}

impl KeySets {
    /// The key set of `url`, an address that the operator has named; with the key `kid`, if it has that now.
    pub fn get(&self, url: &str, kid: Option<&str>) -> Result<Arc<KeySet>, FetchError> {
        let set = Arc::clone(self.sets.lock().unwrap_or_else(PoisonError::into_inner).entry(url.to_owned()).or_default());
        set.get(
            |keys| kid.is_none_or(|kid| keys.has(kid)),
            || {
                let json = body_of(url, self.agent.get(url).header("Accept", "application/json").call())?;
                KeySet::parse(&json).map_err(|error| FetchError::Keys { url: url.to_owned(), error })
            },
        )
    }
}
