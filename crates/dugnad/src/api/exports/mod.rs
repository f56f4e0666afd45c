//! Exports and imports: jobs that write files, which are kept for a day. What is exported is said elsewhere: rows of views and of
//! queries in `views/export`, resources in `bulk`; what is taken in, in `imports`, whose files say what was refused.
//!
//! Jobs and their files end with the server: they are made anew sooner than a client would look for them after a restart.

mod answers;
mod folder;
#[cfg(test)]
mod tests;

pub use answers::{accepted, begun, complete, under_way};
pub use folder::{File, Folder, chunks};

use super::{ApiError, App};
use crate::access::Principal;
use crate::limits::{EXPORT_AGAIN_S, EXPORT_KEPT, MAX_EXPORTS, MAX_EXPORTS_OF_ONE, MAX_EXPORTS_RUNNING};
use jiff::Timestamp;
use rand::{Rng as _, rngs::StdRng};
use std::any::Any;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
    ended: Arc<OnceLock<Timestamp>>,
}

impl Label {
    /// That of a new export.
    pub fn new(who: Principal, started: Timestamp) -> Self {
        let mut random: StdRng = rand::make_rng();
        let mut id = [0; 16];
        random.fill_bytes(&mut id);
        Self { id: id.iter().map(|b| format!("{b:02x}")).collect(), who, started, ended: Arc::default() }
    }

    /// Until when it is kept: as long as it runs, and a day.
    pub fn expires(&self, now: Timestamp) -> Timestamp {
        self.ended.get().copied().unwrap_or(now).saturating_add(EXPORT_KEPT).unwrap_or(Timestamp::MAX)
    }
}

/// An export of some kind.
pub trait Export: Any + Send + Sync {
    /// What it has in common with others.
    fn label(&self) -> &Label;
}

/// One of the places of jobs that run. Whoever has it keeps it until nothing of the job runs any more.
pub type Place = OwnedSemaphorePermit;

struct Held {
    label: Label,
    job: Arc<dyn Any + Send + Sync>,
    folder: Arc<Folder>,
    task: AbortHandle,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
        self.folder.clear();
    }
}

/// Jobs by their ids.
type All = Mutex<HashMap<String, Held>>;

/// All jobs, by id. They are forgotten, and their files removed, when the server ends or a day after they have ended.
pub struct Jobs {
    root: PathBuf,
    jobs: Arc<All>,
    places: Arc<Semaphore>,
    bytes: Arc<AtomicU64>,
}

impl Jobs {
    /// Jobs whose files stand in this folder of a database's folder.
    pub fn new(data: &Path, folder: &str) -> Self {
        let places = Arc::new(Semaphore::new(MAX_EXPORTS_RUNNING));
        Self { root: data.join(folder), jobs: Arc::default(), places, bytes: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        lock(&self.jobs)
    }

    #[cfg(test)]
    pub fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// Starts a job: `work` writes its files, once there is a place for it.
    pub fn start<J, W, F>(&self, app: &App, job: J, work: W) -> Result<Arc<J>, ApiError>
    where
        J: Export,
        W: FnOnce(App, Arc<J>, Arc<Folder>, Place) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        self.start_in(app, job, None, work)
    }

    /// The same, if there is a place for it now: for whoever cannot wait.
    pub fn start_now<J, W, F>(&self, app: &App, job: J, work: W) -> Result<Arc<J>, ApiError>
    where
        J: Export,
        W: FnOnce(App, Arc<J>, Arc<Folder>, Place) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| ApiError::busy("as many of these run as may at once", EXPORT_AGAIN_S))?;
        self.start_in(app, job, Some(place), work)
    }

    fn start_in<J, W, F>(&self, app: &App, job: J, place: Option<Place>, work: W) -> Result<Arc<J>, ApiError>
    where
        J: Export,
        W: FnOnce(App, Arc<J>, Arc<Folder>, Place) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let label = job.label().clone();
        let mut jobs = self.lock();
        let mut over = expired(&mut jobs, label.started);
        over.extend(make_room(&mut jobs, &label.who.user, label.started)?);
        let folder = Folder::make(&self.root, &label.id, Arc::clone(&self.bytes))
            .map_err(|e| ApiError::internal(&format!("no folder for a job: {e}")))?;
        let (job, folder, places, kept) = (Arc::new(job), Arc::new(folder), Arc::clone(&self.places), Arc::downgrade(&self.jobs));
        let (app, worked, filled, ending) = (app.clone(), Arc::clone(&job), Arc::clone(&folder), label.clone());
        let until_it_goes = async move {
            let place = match place {
                Some(place) => Ok(place),
                None => places.acquire_owned().await,
            };
            if let Ok(place) = place {
                work(app.clone(), worked, filled, place).await;
            }
            let _: Result<(), _> = ending.ended.set(app.now()); // it ends once
            drop(app);
            tokio::time::sleep(EXPORT_KEPT).await;
            if let Some(jobs) = kept.upgrade() {
                let held = lock(&jobs).remove(&ending.id);
                gone(held.into_iter().collect());
            }
        };
        let task = tokio::spawn(until_it_goes).abort_handle();
        jobs.insert(label.id.clone(), Held { label, job: Arc::clone(&job) as Arc<dyn Any + Send + Sync>, folder, task });
        drop(jobs);
        gone(over);
        Ok(job)
    }

    /// A job of that kind, of this user in this role and with these scopes, that is not too old.
    pub fn find<J: Export>(&self, id: &str, who: &Principal, now: Timestamp) -> Option<Arc<J>> {
        let mut jobs = self.lock();
        gone(expired(&mut jobs, now));
        let is_theirs = |of: &Principal| of.user == who.user && of.role == who.role && of.holder == who.holder && of.scopes == who.scopes;
        let held = jobs.get(id).filter(|held| is_theirs(&held.label.who))?;
        Arc::clone(&held.job).downcast::<J>().ok()
    }

    /// Where a job's files are.
    pub fn folder(&self, id: &str) -> Option<Arc<Folder>> {
        self.lock().get(id).map(|held| Arc::clone(&held.folder))
    }

    /// Stops a job and removes its files.
    pub async fn remove(&self, id: &str) {
        let held = self.lock().remove(id);
        let removed = tokio::task::spawn_blocking(move || drop(held)).await;
        let _: Result<(), _> = removed; // what could not be removed is in the log
    }

    /// Removes all jobs with their files: after an erasure they hold what must not be. Blocks.
    pub fn remove_all(&self) {
        let all = std::mem::take(&mut *self.lock());
        drop(all);
    }

    /// The same of those of a holder.
    pub fn remove_all_of(&self, holder: &str) {
        let of_holder: Vec<Held> =
            self.lock().extract_if(|_, held| held.label.who.holder.as_deref() == Some(holder)).map(|(_, h)| h).collect();
        drop(of_holder);
    }
}

fn lock(jobs: &All) -> MutexGuard<'_, HashMap<String, Held>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes those out that are too old.
fn expired(jobs: &mut HashMap<String, Held>, now: Timestamp) -> Vec<Held> {
    jobs.extract_if(|_, held| held.label.expires(now) <= now).map(|(_, held)| held).collect()
}

/// Where there is no room for one more of a user's, takes the one out whose end is longest ago: their client may not know that it is
/// there.
fn make_room(jobs: &mut HashMap<String, Held>, user: &str, now: Timestamp) -> Result<Option<Held>, ApiError> {
    let of_user = || jobs.values().map(|held| &held.label).filter(|label| label.who.user == user);
    let own = of_user().count();
    if jobs.len() < MAX_EXPORTS && own < MAX_EXPORTS_OF_ONE {
        return Ok(None);
    }
    if let Some((_, id)) = of_user().filter_map(|label| Some((*label.ended.get()?, label.id.clone()))).min() {
        return Ok(jobs.remove(&id));
    }
    if own >= MAX_EXPORTS_OF_ONE {
        return Err(ApiError::busy("as many of yours run or wait as may at once; DELETE one", EXPORT_AGAIN_S));
    }
    let first = jobs.values().filter(|held| held.label.ended.get().is_some()).map(|held| held.label.expires(now)).min();
    let seconds = first.map_or(0, |expires| u64::try_from(expires.duration_since(now).as_secs()).unwrap_or(0));
    Err(ApiError::busy("as many of these are kept as the server keeps", seconds.max(EXPORT_AGAIN_S)))
}

/// Removes files on a thread that may block.
fn gone(held: Vec<Held>) {
    if !held.is_empty() {
        tokio::task::spawn_blocking(move || drop(held));
    }
}
