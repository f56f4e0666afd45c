//! Key sets and other documents of others, fetched when they are needed and kept for a while. All of this blocks.

use crate::limits::{FETCH_AGAIN_AFTER, FETCH_RETRY_AFTER, FETCH_TIME, KEYS_FRESH, KEYS_KEPT, MAX_FETCHED_BYTES};
use dugnad_kernel::access::{JwkError, KeySet};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
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
    slots: Mutex<HashMap<String, Arc<Mutex<Slot>>>>,
}

impl Default for KeySets {
    fn default() -> Self {
        Self { agent: agent(), slots: Mutex::default() }
    }
}

#[derive(Debug, Default)]
struct Slot {
    keys: Option<(Arc<KeySet>, Instant)>,
    tried: Option<Instant>,
    failed: Option<FetchError>,
}

impl KeySets {
    fn slots(&self) -> MutexGuard<'_, HashMap<String, Arc<Mutex<Slot>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key set of `url`, an address that the operator has named. It is fetched again when it has become old, or if it lacks `kid`
    /// and was not fetched in the last minute; an old one is relied on for a while if it cannot be.
    pub fn get(&self, url: &str, kid: Option<&str>) -> Result<Arc<KeySet>, FetchError> {
        let slot = Arc::clone(self.slots().entry(url.to_owned()).or_default());
        // Whoever comes meanwhile waits for this fetch, which is bounded in time, instead of making another.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let lately = slot.tried.is_some_and(|tried| now.duration_since(tried) < FETCH_AGAIN_AFTER);
        if let Some((keys, at)) = &slot.keys {
            let age = now.duration_since(*at);
            let serves = age < KEYS_FRESH && kid.is_none_or(|kid| keys.has(kid));
            if serves || lately && age < KEYS_KEPT {
                return Ok(Arc::clone(keys));
            }
        }
        // Those who have waited for a fetch that failed do not each wait for another.
        if let (Some(error), Some(tried)) = (&slot.failed, slot.tried)
            && tried.elapsed() < FETCH_RETRY_AFTER
        {
            return Err(error.clone());
        }
        let fetched = body_of(url, self.agent.get(url).header("Accept", "application/json").call())
            .and_then(|json| KeySet::parse(&json).map_err(|error| FetchError::Keys { url: url.to_owned(), error }));
        slot.tried = Some(Instant::now());
        slot.failed = fetched.as_ref().err().cloned();
        match (fetched, &slot.keys) {
            (Ok(keys), _) => {
                let keys = Arc::new(keys);
                slot.keys = Some((Arc::clone(&keys), now));
                Ok(keys)
            }
            (Err(error), Some((keys, at))) if now.duration_since(*at) < KEYS_KEPT => {
                tracing::warn!(%error, "a key set could not be fetched again; the one of before is used for a while");
                Ok(Arc::clone(keys))
            }
            (Err(error), _) => Err(error),
        }
    }
}
