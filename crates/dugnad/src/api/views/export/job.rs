//! Exports that run, and those whose files are kept.

use crate::access::Principal;
use crate::api::exports::{Export, Folder, Label, Place};
use crate::api::{ApiError, App};
use crate::query::format::{Format, encode_counted};
use crate::query::{Basis, Question, Standing};
use dugnad_kernel::ids::Commit;
use futures::StreamExt;
use jiff::Timestamp;
use roaring::RoaringBitmap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

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
    pub label: Label,
    pub permit: String,
    pub format: Format,
    pub tracking: Option<String>,
    pub outputs: Vec<Output>,
    progress: Mutex<Progress>,
}

impl Job {
    pub fn new(label: Label, permit: String, format: Format, tracking: Option<String>, outputs: Vec<Output>) -> Self {
        Self { label, permit, format, tracking, outputs, progress: Mutex::new(Progress::Running { done: 0 }) }
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

impl Export for Job {
    fn label(&self) -> &Label {
        &self.label
    }
}

/// Writes all outputs of a job, one after the other.
pub async fn run(app: App, job: Arc<Job>, folder: Arc<Folder>, _place: Place) {
    let (mut commit, mut written) = (None, Vec::new());
    // Before the first output: who goes while they are written has gone when they are fetched.
    let under = match standing(&app, &job.label.who, &job.permit).await {
        Ok(under) => Box::new(under),
        Err(error) => return job.set(Progress::Failed { error }),
    };
    for (done, output) in job.outputs.iter().enumerate() {
        match write(&app, &job, &folder, output, &mut commit).await {
            Ok(one) => written.push(one),
            Err(error) => {
                folder.cleared().await;
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
        who: job.label.who.clone(),
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
