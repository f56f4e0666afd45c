//! An import that runs: one file after the other, in the order of its lines.

use super::asked::Input;
use super::fetch::{Stoppable, fetch, unpacked};
use crate::api::auth::Hospital;
use crate::api::exports::{Export, File, Folder, Label, Place};
use crate::api::{ApiError, App};
use crate::intake::source::{Unit, read_lines};
use crate::intake::{Fate, Gone, Refusal, Sink, plan};
use crate::limits::{IMPORT_IDLE_TIMEOUT, IMPORT_TRIES, MAX_IMPORT_ERRORS, MAX_IMPORT_SILENT, RETRY_AFTER_S};
use axum::http::{StatusCode, header};
use bytes::Bytes;
use dugnad_kernel::database::{Handling, Interaction, WriteRequest};
use dugnad_kernel::fhir::issue::{Issue, IssueType, Severity, operation_outcome};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// What was taken of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many lines; those that changed nothing too.
    pub lines: u64,
    /// How many were refused.
    pub refused: u64,
    /// The file that says why.
    pub errors: Option<String>,
}

/// How far an import is.
#[derive(Clone, Debug)]
pub enum Progress {
    /// This file, from 1, and so many lines of all.
    Running { file: usize, lines: u64 },
    /// All were read.
    Done(Vec<Taken>),
    /// It ended before that; what was taken stays.
    Failed(ApiError),
}

/// An import.
pub struct Job {
    pub label: Label,
    pub base: String,
    pub inputs: Vec<Input>,
    hospital: Hospital,
    progress: Mutex<Progress>,
}

impl Export for Job {
    fn label(&self) -> &Label {
        &self.label
    }
}

impl Job {
    /// One that has not begun.
    pub fn new(app: &App, hospital: Hospital, base: String, inputs: Vec<Input>) -> Self {
        let label = Label::new(hospital.who.clone(), app.now());
        Self { label, base, inputs, hospital, progress: Mutex::new(Progress::Running { file: 1, lines: 0 }) }
    }

    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// Where to ask for it.
    pub fn address(&self) -> String {
        format!("{}/$import/{}", self.base, self.label.id)
    }
}

/// Says that an import was cancelled: its task is gone, and its thread has to be told.
struct Cancelled(Arc<AtomicBool>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Takes in what the server fetches.
pub async fn run(app: App, job: Arc<Job>, folder: Arc<Folder>, place: Place) {
    take_all(app, job, folder, place, None).await;
}

/// Takes in what comes with the request.
pub async fn run_body(app: App, job: Arc<Job>, folder: Arc<Folder>, place: Place, body: Box<dyn Read + Send>) {
    take_all(app, job, folder, place, Some(body)).await;
}

/// All on one thread, which has the place: of an import that was cancelled it may still be reading.
async fn take_all(app: App, job: Arc<Job>, folder: Arc<Folder>, place: Place, body: Option<Box<dyn Read + Send>>) {
    let over = Arc::new(AtomicBool::new(false));
    let _cancelled = Cancelled(Arc::clone(&over));
    let importer = Importer { app, job: Arc::clone(&job), folder, over };
    let work = move || {
        let _place = place;
        importer.all(body)
    };
    job.set(match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Progress::Done(done),
        Ok(Err(error)) => Progress::Failed(error),
        Err(_) => Progress::Failed(ApiError::internal("an import panicked")),
    });
}

/// What was refused of a file, as lines.
struct Spool {
    folder: Arc<Folder>,
    name: String,
    file: Option<File>,
}

impl Spool {
    fn say(&mut self, place: &str, refusals: &[Refusal]) -> Result<(), ApiError> {
        let issue = |refusal: &Refusal| Issue {
            severity: Severity::Error,
            code: IssueType::Invalid,
            diagnostics: format!("{place}: {}", refusal.why),
            expression: refusal.at.clone(),
        };
        let mut line = operation_outcome(&refusals.iter().map(issue).collect::<Vec<_>>()).to_string().into_bytes();
        line.push(b'\n');
        let file = match self.file.take() {
            Some(file) => file,
            None => self.folder.create(&self.name)?,
        };
        self.file = Some(Handle::current().block_on(file.append(Bytes::from(line)))?);
        Ok(())
    }

    fn finish(self) -> Result<Option<String>, ApiError> {
        let Some(file) = self.file else { return Ok(None) };
        Handle::current().block_on(file.finish())?;
        Ok(Some(self.name))
    }
}

/// Writes what is read, as the hospital that asked.
struct Importer {
    app: App,
    job: Arc<Job>,
    folder: Arc<Folder>,
    over: Arc<AtomicBool>,
}

/// What there is to read of a file, or why there is nothing.
type Opened = Result<Box<dyn Read + Send>, String>;

impl Importer {
    /// Takes all files in. An error means that nothing more can be taken.
    fn all(&self, mut body: Option<Box<dyn Read + Send>>) -> Result<Vec<Taken>, ApiError> {
        let (mut done, mut before, mut silent) = (Vec::new(), 0, 0);
        for (n, input) in self.job.inputs.iter().enumerate() {
            self.go_on()?;
            let (opened, answered) = match body.take() {
                Some(body) => (self.open(body), true),
                None if silent < MAX_IMPORT_SILENT => self.fetched(&input.url),
                None => (Err(format!("not fetched, since {MAX_IMPORT_SILENT} before it were not answered; import it again")), false),
            };
            silent = if answered { 0 } else { silent + 1 };
            let taken = self.file(opened, n + 1, before)?;
            before += taken.lines + taken.refused;
            done.push(taken);
        }
        Ok(done)
    }

    /// What is at an address, and whether it has answered.
    fn fetched(&self, url: &str) -> (Opened, bool) {
        match fetch(url, IMPORT_IDLE_TIMEOUT) {
            Ok(Ok(reader)) => {
                let opened = self.open(reader);
                let answered = opened.is_ok();
                (opened, answered)
            }
            Ok(Err(status)) => (Err(status), true),
            Err(unreached) => (Err(unreached), false),
        }
    }

    /// What is in it, until the import is cancelled.
    fn open(&self, reader: Box<dyn Read + Send>) -> Opened {
        unpacked(Box::new(Stoppable { inner: reader, over: Arc::clone(&self.over) })).map_err(|error| error.to_string())
    }

    /// Takes a file in, the one of that number; so many lines have been before it.
    fn file(&self, opened: Opened, number: usize, before: u64) -> Result<Taken, ApiError> {
        let mut taken = Taken::default();
        let mut spool = Spool { folder: Arc::clone(&self.folder), name: format!("{number}.errors.ndjson"), file: None };
        let reader = match opened {
            Ok(reader) => reader,
            Err(why) => {
                taken.refused = 1;
                spool.say("the file", &[Refusal { at: None, why }])?;
                return Ok(Taken { errors: spool.finish()?, ..taken });
            }
        };
        let mut failed = None;
        let mut emit = |unit: Unit| match self.unit(unit, &mut taken, &mut spool) {
            Ok(()) => {
                self.job.set(Progress::Running { file: number, lines: before + taken.lines + taken.refused });
                true
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        };
        read_lines("", reader, &mut emit);
        match failed {
            Some(error) => Err(error),
            None => Ok(Taken { errors: spool.finish()?, ..taken }),
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn go_on(&self) -> Result<(), ApiError> {
        if self.is_over() { Err(ApiError::new(StatusCode::GONE, IssueType::NotFound, CANCELLED)) } else { Ok(()) }
    }

    fn unit(&self, unit: Unit, taken: &mut Taken, spool: &mut Spool) -> Result<(), ApiError> {
        self.go_on()?;
        let gone = |Gone(why): Gone| {
            let what = format!("{why}; import again: what was taken is not taken twice");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, IssueType::Exception, what)
        };
        for result in plan::take(unit, self).map_err(gone)? {
            match result.fate {
                Fate::Taken { .. } => taken.lines += result.types.len() as u64,
                Fate::Refused(why) => {
                    taken.refused += 1;
                    if taken.refused <= MAX_IMPORT_ERRORS {
                        let place = result.line.map_or_else(|| "the file".to_owned(), |line| format!("line {line}"));
                        spool.say(&place, &why)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One commit, on the record. Tried again while the database is busy.
    fn write(&self, interaction: Interaction, key: Option<String>) -> Result<Fate, Gone> {
        let hospital = &self.job.hospital;
        let stopped = |error: &dyn std::fmt::Display| Gone(error.to_string());
        // The request is over, or nearly so: its token may be no longer valid.
        if !self.app.holds(&hospital.who.user, &hospital.holder).map_err(|e| stopped(&e))? {
            return Err(Gone("the token of who asked is no longer valid".to_owned()));
        }
        let holder = self.app.holder_for_writing(&hospital.holder).map_err(|e| stopped(&e))?.id;
        for _ in 0..IMPORT_TRIES {
            if self.is_over() {
                return Err(Gone(CANCELLED.to_owned()));
            }
            let place = Handle::current().block_on(self.app.enter_writes());
            let request =
                WriteRequest { holder, interaction: interaction.clone(), handling: Handling::Strict, idempotency_key: key.clone() };
            match place.and_then(|_place| self.app.write_recorded(&hospital.who, request, "POST /fhir/$import")) {
                Ok(outcome) => return Ok(Fate::Taken { entries: plan::taken(&outcome.entries), refused: Vec::new() }),
                Err(error) if is_busy(&error) => std::thread::sleep(Duration::from_secs(RETRY_AFTER_S)),
                Err(error) if error.status.is_client_error() => return Ok(Fate::of_issues(error.issues)),
                Err(error) => return Err(stopped(&error)),
            }
        }
        Err(Gone("the database was busy for too long".to_owned()))
    }
}

const CANCELLED: &str = "the import was cancelled";

/// Whether it may go better later: a database or a log that has stopped does not say when to come back.
fn is_busy(error: &ApiError) -> bool {
    error.status == StatusCode::SERVICE_UNAVAILABLE && error.headers.iter().any(|(name, _)| name == header::RETRY_AFTER)
}

impl Sink for Importer {
    fn transaction(&self, body: Vec<u8>, key: Option<String>) -> Result<Fate, Gone> {
        self.write(Interaction::Transaction { body }, key)
    }

    fn batch(&self, _body: Vec<u8>, _key: String) -> Result<Fate, Gone> {
        Ok(Fate::refused(None, "a Bundle of type batch is sent to /fhir".to_owned())) // lines are resources
    }

    fn single(&self, interaction: Interaction, key: Option<String>) -> Result<Fate, Gone> {
        self.write(interaction, key)
    }
}
