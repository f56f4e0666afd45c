//! Exports that run, and those whose files are kept.

use super::files::Folder;
use crate::access::Principal;
use crate::api::{ApiError, App};
use crate::limits::{EXPORT_KEPT, MAX_EXPORTS, MAX_EXPORTS_OF_ONE, MAX_EXPORTS_RUNNING, RETRY_AFTER_S};
use crate::query::format::{Format, encode_counted};
use crate::query::{Basis, Question, Standing};
use dugnad_kernel::ids::Commit;
use futures::StreamExt;
use jiff::Timestamp;
use rand::{Rng as _, rngs::StdRng};
use roaring::RoaringBitmap;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// The folder of all exports, in that of the database.
const FOLDER: &str = "exports";

/// Removes what an earlier run has left in a database's folder, whose lock the caller holds.
pub fn sweep(data: &Path) {
    match std::fs::remove_dir_all(data.join(FOLDER)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => tracing::warn!(%error, "old exports could not be removed"),
        _ => {}
    }
}

/// What is exported under a name.
pub struct Output {
    pub name: String,
    pub sql: String,
}

/// What an output holds.
#[derive(Clone, Debug)]
pub struct Written {
    pub rows: u64,
    /// Whose rows were read for it; none for statistics.
    pub patients: Option<Arc<RoaringBitmap>>,
}

/// How far a job is.
#[derive(Clone, Debug)]
pub enum Progress {
    /// So many outputs are written.
    Running { done: usize },
    /// All are, and the commit that they are of; what the permit allowed when the first was begun.
    Done { ended: Timestamp, commit: Option<Commit>, written: Vec<Written>, under: Box<Standing> },
    /// It ended, and left no files.
    Failed { error: ApiError },
}

/// An export.
pub struct Job {
    /// Drawn at random: nobody guesses it.
    pub id: String,
    pub who: Principal,
    pub permit: String,
    pub format: Format,
    pub tracking: Option<String>,
    pub outputs: Vec<Output>,
    pub started: Timestamp,
    progress: Mutex<Progress>,
}

impl Job {
    pub fn new(who: Principal, permit: String, format: Format, tracking: Option<String>, outputs: Vec<Output>, started: Timestamp) -> Self {
        let mut random: StdRng = rand::make_rng();
        let mut id = [0; 16];
        random.fill_bytes(&mut id);
        let id = id.iter().map(|b| format!("{b:02x}")).collect();
        Self { id, who, permit, format, tracking, outputs, started, progress: Mutex::new(Progress::Running { done: 0 }) }
    }

    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// The file of an output.
    pub fn file_name(&self, output: &Output) -> String {
        format!("{}.{}", output.name, self.format.name())
    }
}

struct Held {
    job: Arc<Job>,
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
    /// Jobs whose files stand in the folder `exports` of a database's folder.
    pub fn new(data: &Path) -> Self {
        let places = Arc::new(Semaphore::new(MAX_EXPORTS_RUNNING));
        Self { root: data.join(FOLDER), jobs: Mutex::default(), places, bytes: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a job.
    pub fn start(&self, app: &App, job: Job) -> Result<Arc<Job>, ApiError> {
        let mut jobs = self.lock();
        jobs.retain(|_, held| job.started < held.job.started + EXPORT_KEPT);
        let of_user = jobs.values().filter(|held| held.job.who.user == job.who.user).count();
        if jobs.len() >= MAX_EXPORTS || of_user >= MAX_EXPORTS_OF_ONE {
            return Err(ApiError::busy("too many exports are kept; DELETE one whose files you have", RETRY_AFTER_S));
        }
        let folder = Folder::make(&self.root, &job.id, Arc::clone(&self.bytes))
            .map_err(|e| ApiError::internal(&format!("no folder for an export: {e}")))?;
        let (job, folder) = (Arc::new(job), Arc::new(folder));
        let (app, work) = (app.clone(), run(app.clone(), Arc::clone(&job), Arc::clone(&folder), Arc::clone(&self.places)));
        let id = job.id.clone();
        let until_it_goes = async move {
            work.await;
            tokio::time::sleep(EXPORT_KEPT).await;
            app.exports().remove(&id);
        };
        let task = tokio::spawn(until_it_goes).abort_handle();
        jobs.insert(job.id.clone(), Held { job: Arc::clone(&job), folder, task });
        Ok(job)
    }

    /// A job that is not too old.
    pub fn find(&self, id: &str, now: Timestamp) -> Option<Arc<Job>> {
        let mut jobs = self.lock();
        jobs.retain(|_, held| now < held.job.started + EXPORT_KEPT);
        jobs.get(id).map(|held| Arc::clone(&held.job))
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

/// Writes all outputs of a job, one after the other.
async fn run(app: App, job: Arc<Job>, folder: Arc<Folder>, places: Arc<Semaphore>) {
    let Ok(_place) = places.acquire_owned().await else { return };
    let (mut commit, mut written) = (None, Vec::new());
    // Before the first output: who goes while they are written has gone when they are fetched.
    let under = match standing(&app, &job.who, &job.permit).await {
        Ok(under) => Box::new(under),
        Err(error) => return job.set(Progress::Failed { error }),
    };
    for (done, output) in job.outputs.iter().enumerate() {
        match write(&app, &job, &folder, output, &mut commit).await {
            Ok(one) => written.push(one),
            Err(error) => {
                folder.clear();
                return job.set(Progress::Failed { error });
            }
        }
        job.set(Progress::Running { done: done + 1 });
    }
    job.set(Progress::Done { ended: app.now(), commit, written, under });
}

/// What a permit allows now.
pub async fn standing(app: &App, who: &Principal, permit: &str) -> Result<Standing, ApiError> {
    let (place, who, permit) = (app.enter_reads().await?, who.clone(), permit.to_owned());
    app.on_thread(place, move |app| Ok(app.query().standing(&who, &permit)?)).await
}

/// Asks for an output as of the job's commit, which the first one sets.
async fn write(app: &App, job: &Job, folder: &Arc<Folder>, output: &Output, commit: &mut Option<Commit>) -> Result<Written, ApiError> {
    let question = Question {
        who: job.who.clone(),
        interface: "export",
        permit: job.permit.clone(),
        sql: output.sql.clone(),
        as_of: *commit,
        min_commit: None,
    };
    let answer = app.query().ask(question).await?;
    if let Basis::Commit(of) = answer.basis {
        *commit = Some(of);
    }
    let delivered = answer.delivered.clone();
    let (mut chunks, rows) = encode_counted(answer, job.format);
    let mut file = folder.create(&job.file_name(output))?;
    while let Some(chunk) = chunks.next().await {
        file = file.append(chunk?).await?;
    }
    file.finish().await?;
    Ok(Written { rows: rows.load(Ordering::Relaxed), patients: delivered.map(|delivered| delivered.set()) })
}
