//! The questions that are being answered or wait for a place: who may list and stop them, and what ends an answer early.

use super::policy::Granted;
use super::{Question, Shared, permit};
use crate::access::{Principal, Role};
use crate::limits::PERMIT_POLL;
use dugnad_sql::QueryError;
use jiff::Timestamp;
use rand::{Rng as _, rngs::StdRng};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A question that is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningQuestion {
    /// Its id, drawn at random.
    pub id: String,
    /// Who asks.
    pub user: String,
    /// In which role.
    pub role: Role,
    /// Under which permit.
    pub permit: String,
    /// On which interface.
    pub interface: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// Whether it has a place, or waits for one.
    pub running: bool,
    /// What was asked; for the one who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

struct Entry {
    told: RunningQuestion,
    running: Arc<AtomicBool>,
    stop: watch::Sender<Option<String>>,
}

/// All questions that are not done, by id.
#[derive(Default)]
pub(super) struct Running(Mutex<BTreeMap<String, Entry>>);

/// A place in the list, until it is dropped.
pub(super) struct Listed {
    pub id: String,
    all: Arc<Running>,
    running: Arc<AtomicBool>,
    stop: watch::Receiver<Option<String>>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a question.
    pub fn list(self: &Arc<Self>, question: &Question, since: Timestamp) -> Listed {
        let mut random: StdRng = rand::make_rng();
        let mut id = [0; 16];
        random.fill_bytes(&mut id);
        let id: String = id.iter().map(|b| format!("{b:02x}")).collect();
        let (stop, stopped) = watch::channel(None);
        let running = Arc::new(AtomicBool::new(false));
        let told = RunningQuestion {
            id: id.clone(),
            user: question.who.user.clone(),
            role: question.who.role,
            permit: question.permit.chars().take(64).collect(),
            interface: question.interface,
            since,
            running: false,
            sql: Some(question.sql.clone()),
        };
        self.lock().insert(id.clone(), Entry { told, running: Arc::clone(&running), stop });
        Listed { id, all: Arc::clone(self), running, stop: stopped }
    }

    /// The caller's own; the centre sees those of all, without what they ask.
    pub fn of(&self, who: &Principal) -> Vec<RunningQuestion> {
        let told = |entry: &Entry| {
            let own = is_own(who, &entry.told);
            let running = entry.running.load(Ordering::Relaxed);
            let sql = entry.told.sql.clone().filter(|_| own);
            (own || who.role == Role::Centre).then(|| RunningQuestion { running, sql, ..entry.told.clone() })
        };
        self.lock().values().filter_map(told).collect()
    }

    /// Stops a question of the caller's, or any for the centre. Whether there was one.
    pub fn stop(&self, who: &Principal, id: &str) -> bool {
        let entries = self.lock();
        let Some(entry) = entries.get(id).filter(|e| is_own(who, &e.told) || who.role == Role::Centre) else { return false };
        let by = if is_own(who, &entry.told) { "you" } else { "the centre" };
        entry.stop.send_replace(Some(format!("the question was cancelled by {by}; what came before is not a whole answer")));
        true
    }
}

fn is_own(who: &Principal, told: &RunningQuestion) -> bool {
    told.user == who.user && told.role == who.role
}

impl Listed {
    /// It has got its place.
    pub fn runs(&self) {
        self.running.store(true, Ordering::Relaxed);
    }

    /// Waits until somebody stops it.
    pub async fn stopped(&mut self) -> QueryError {
        loop {
            if let Some(why) = self.stop.borrow_and_update().clone() {
                return QueryError::Cancelled(why);
            }
            if self.stop.changed().await.is_err() {
                std::future::pending::<()>().await; // nobody can stop it any more
            }
        }
    }
}

/// What ends an answer early.
pub(super) struct Watch {
    listed: Option<Listed>,
    permit: Option<Holding>,
}

/// The permit that an answer is given under, as it was last looked at.
pub(super) struct Holding {
    shared: Arc<Shared>,
    question: Question,
    granted: Granted,
}

impl Holding {
    pub fn new(shared: Arc<Shared>, question: Question, granted: Granted) -> Self {
        Self { shared, question, granted }
    }

    /// Whether the permit still holds. It costs a look at the clock and at a number, unless something was written.
    fn check(&mut self) -> Result<(), QueryError> {
        let now = self.shared.clock.now();
        let over = || QueryError::Revoked(self.question.permit.chars().take(64).collect());
        if now >= self.granted.permit.document().valid_until {
            return Err(over());
        }
        let newest = self.shared.database.snapshot().commit();
        if newest != self.granted.seen {
            self.granted =
                permit::find(&self.shared.database, &self.question.who, &self.question.permit, now).map_err(|error| match error {
                    QueryError::NoPermit(_) => over(),
                    other => other,
                })?;
        }
        Ok(())
    }
}

impl Watch {
    /// Nothing ends it.
    #[cfg(test)]
    pub fn nothing() -> Self {
        Self { listed: None, permit: None }
    }

    /// A question that is in the list, under a permit or before there is one.
    pub fn new(listed: Listed, permit: Option<Holding>) -> Self {
        Self { listed: Some(listed), permit }
    }

    /// Whether the permit still holds now.
    pub fn check(&mut self) -> Result<(), QueryError> {
        self.permit.as_mut().map_or(Ok(()), Holding::check)
    }

    /// Waits until there is a reason to end the answer.
    pub async fn ended(&mut self) -> QueryError {
        loop {
            if let Err(error) = self.check() {
                return error;
            }
            let look_again = tokio::time::sleep(PERMIT_POLL);
            match &mut self.listed {
                Some(listed) => tokio::select! {
                    biased;
                    error = listed.stopped() => return error,
                    () = look_again => {}
                },
                None => look_again.await,
            }
        }
    }
}
