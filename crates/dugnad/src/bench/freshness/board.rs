//! What has been acknowledged, for those who check that it is seen.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many of the newest acknowledgements an answer is checked against.
const WINDOW: usize = 64;

/// A transaction that was acknowledged. It created `marker` and brought `slot` to `value`.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The value that it wrote, unique to it; later ones are larger.
    pub value: u64,
    /// The id of the Observation that it created.
    pub marker: Arc<str>,
    /// The id of the Observation that it updated; its writer waits for one transaction before it sends the next.
    pub slot: Arc<str>,
    /// Whose it is: index of a token.
    pub hospital: usize,
    /// Its commit.
    pub commit: u64,
    /// When the acknowledgement had arrived.
    pub at: Instant,
}

/// What an answer must hold that is asked for now.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The newest acknowledgements, oldest first; not empty.
    pub recent: Vec<Acknowledged>,
}

impl Demand {
    /// The newest of them.
    pub fn newest(&self) -> Option<&Acknowledged> {
        self.recent.last()
    }

    /// The value that each slot has reached, as far as the window goes.
    pub fn slots(&self) -> HashMap<&str, u64> {
        let mut slots = HashMap::new();
        for acknowledged in &self.recent {
            let value = slots.entry(&*acknowledged.slot).or_insert(0);
            *value = acknowledged.value.max(*value);
        }
        slots
    }
}

/// Shared by writers and readers.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    recent: VecDeque<Acknowledged>,
    count: u64,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has been acknowledged.
    pub fn acknowledge(&self, acknowledged: Acknowledged) {
        let mut inner = self.lock();
        if inner.recent.len() == WINDOW {
            inner.recent.pop_front();
        }
        inner.recent.push_back(acknowledged);
        inner.count += 1;
        self.news.notify_all();
    }

    /// How many have been acknowledged.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// What to ask for now, and how many had been acknowledged then. Waits for something newer than `seen` (such a
    /// count), but no longer than `patience`; `None` if there is nothing at all yet.
    pub fn demand(&self, seen: u64, patience: Duration) -> Option<(Demand, u64)> {
        let waiting = |inner: &mut Inner| inner.count <= seen;
        let (inner, _) = self.news.wait_timeout_while(self.lock(), patience, waiting).unwrap_or_else(PoisonError::into_inner);
        (inner.count > 0).then(|| (Demand { recent: inner.recent.iter().cloned().collect() }, inner.count))
    }
}
