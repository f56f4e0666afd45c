//! Exports and imports: jobs that write files, which are kept for a day. What is exported is said elsewhere: rows of views and of
//! queries in `views/export`, resources in `bulk`; what is taken in, in `imports`, whose files say what was refused.
//!
//! Jobs and their files end with the server: they are made anew sooner than a client would look for them after a restart.

mod answers;
mod folder;

pub use answers::{accepted, begun, complete, under_way};
pub use folder::{File, Folder, chunks};

use super::{ApiError, App};
use crate::access::Principal;
use crate::limits::{EXPORT_KEPT, MAX_EXPORTS, MAX_EXPORTS_OF_ONE, MAX_EXPORTS_RUNNING, RETRY_AFTER_S};
use jiff::Timestamp;
use rand::{Rng as _, rngs::StdRng};
use std::any::Any;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// The folders of all exports and imports, in that of the database.
pub const EXPORTS: &str = "exports";
/// See [`EXPORTS`].
pub const IMPORTS: &str = "imports";

/// Removes what an earlier run has left in a database's folder, whose lock the caller holds.
pub fn sweep(data: &Path) {
    for folder in [EXPORTS, IMPORTS] {
        match std::fs::remove_dir_all(data.join(folder)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => tracing::warn!(%error, "old {folder} could not be removed"),
            _ => {}
        }
    }
}

/// What every export has.
#[derive(Clone, Debug)]
pub struct Label {
    /// Drawn at random: nobody guesses it.
    pub id: String,
    /// Whose it is.
    pub who: Principal,
    /// When it was asked for.
    pub started: Timestamp,
}

impl Label {
    /// That of a new export.
    pub fn new(who: Principal, started: Timestamp) -> Self {
        let mut random: StdRng = rand::make_rng();
        let mut id = [0; 16];
        random.fill_bytes(&mut id);
        Self { id: id.iter().map(|b| format!("{b:02x}")).collect(), who, started }
    }

    /// Until when it is kept.
    pub fn expires(&self) -> Timestamp {
        self.started.saturating_add(EXPORT_KEPT).unwrap_or(Timestamp::MAX)
    }
}

/// An export of some kind.
pub trait Export: Any + Send + Sync {
    /// What it has in common with others.
    fn label(&self) -> &Label;
}

struct Held {
    label: Label,
    job: Arc<dyn Any + Send + Sync>,
    folder: Arc<Folder>,
    task: AbortHandle,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All jobs, by id. They are forgotten, and their files removed, when the server ends or after a day.
pub struct Jobs {
    root: PathBuf,
    jobs: Mutex<HashMap<String, Held>>,
    places: Arc<Semaphore>,
    bytes: Arc<AtomicU64>,
}

impl Jobs {
    /// Jobs whose files stand in this folder of a database's folder.
    pub fn new(data: &Path, folder: &str) -> Self {
        let places = Arc::new(Semaphore::new(MAX_EXPORTS_RUNNING));
        Self { root: data.join(folder), jobs: Mutex::default(), places, bytes: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a job: `work` writes its files, once there is a place for it.
    pub fn start<J, W, F>(&self, app: &App, job: J, work: W) -> Result<Arc<J>, ApiError>
    where
        J: Export,
        W: FnOnce(App, Arc<J>, Arc<Folder>) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let label = job.label().clone();
        let mut jobs = self.lock();
        jobs.retain(|_, held| label.started < held.label.expires());
        let of_user = jobs.values().filter(|held| held.label.who.user == label.who.user).count();
        if jobs.len() >= MAX_EXPORTS || of_user >= MAX_EXPORTS_OF_ONE {
            return Err(ApiError::busy("too many of these are kept; DELETE one that is done", RETRY_AFTER_S));
        }
        let folder = Folder::make(&self.root, &label.id, Arc::clone(&self.bytes))
            .map_err(|e| ApiError::internal(&format!("no folder for an export: {e}")))?;
        let (job, folder, places) = (Arc::new(job), Arc::new(folder), Arc::clone(&self.places));
        let (app, worked, filled, id) = (app.clone(), Arc::clone(&job), Arc::clone(&folder), label.id.clone());
        let until_it_goes = async move {
            if let Ok(place) = places.acquire_owned().await {
                work(app.clone(), worked, filled).await;
                drop(place);
            }
            tokio::time::sleep(EXPORT_KEPT).await;
            app.exports().remove(&id);
            app.imports().remove(&id);
        };
        let task = tokio::spawn(until_it_goes).abort_handle();
        jobs.insert(label.id.clone(), Held { label, job: Arc::clone(&job) as Arc<dyn Any + Send + Sync>, folder, task });
        Ok(job)
    }

    /// A job of that kind, of this user in this role and with these scopes, that is not too old.
    pub fn find<J: Export>(&self, id: &str, who: &Principal, now: Timestamp) -> Option<Arc<J>> {
        let mut jobs = self.lock();
        jobs.retain(|_, held| now < held.label.expires());
        let is_theirs = |of: &Principal| of.user == who.user && of.role == who.role && of.holder == who.holder && of.scopes == who.scopes;
        let held = jobs.get(id).filter(|held| is_theirs(&held.label.who))?;
        Arc::clone(&held.job).downcast::<J>().ok()
    }

    /// Where a job's files are.
    pub fn folder(&self, id: &str) -> Option<Arc<Folder>> {
        self.lock().get(id).map(|held| Arc::clone(&held.folder))
    }

    /// Stops a job and removes its files.
    pub fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Removes all jobs with their files: after an erasure they hold what must not be.
    pub fn remove_all(&self) {
        self.lock().clear();
    }
}
