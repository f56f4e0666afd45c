//! An import that runs: one file after the other, in the order of its lines.

use super::asked::Input;
use crate::api::auth::Hospital;
use crate::api::exports::{Export, File, Folder, Label};
use crate::api::{ApiError, App, outgoing};
use crate::intake::source::{Unit, read_lines};
use crate::intake::{Fate, Gone, Refusal, Sink, Taken as Resource, plan};
use crate::limits::{IMPORT_TIME, INGEST_TRIES, MAX_IMPORT_BYTES, MAX_IMPORT_ERRORS, RETRY_AFTER_S};
use axum::http::StatusCode;
use bytes::Bytes;
use dugnad_kernel::database::{Handling, Interaction, Outcome, WriteRequest};
use dugnad_kernel::fhir::issue::{Issue, IssueType, Severity, operation_outcome};
use flate2::read::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};
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
pub async fn run(app: App, job: Arc<Job>, folder: Arc<Folder>) {
    take_all(app, job, folder, None).await;
}

/// Takes in what comes with the request.
pub async fn run_body(app: App, job: Arc<Job>, folder: Arc<Folder>, body: Box<dyn Read + Send>) {
    take_all(app, job, folder, Some(body)).await;
}

async fn take_all(app: App, job: Arc<Job>, folder: Arc<Folder>, mut body: Option<Box<dyn Read + Send>>) {
    let over = Arc::new(AtomicBool::new(false));
    let _cancelled = Cancelled(Arc::clone(&over));
    let mut done = Vec::new();
    for file in 0..job.inputs.len() {
        let (importer, input) = (Importer::new(&app, &job, &over), job.inputs.get(file).cloned());
        let (reader, lines) = (body.take(), done.iter().map(|taken: &Taken| taken.lines + taken.refused).sum::<u64>());
        let (shown, spool) =
            (Arc::clone(&job), Spool { folder: Arc::clone(&folder), name: format!("{}.errors.ndjson", file + 1), file: None });
        let Some(input) = input else { break };
        let work = move || importer.file(&input, reader, spool, &|new| shown.set(Progress::Running { file: file + 1, lines: lines + new }));
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(taken)) => done.push(taken),
            Ok(Err(error)) => return job.set(Progress::Failed(error)),
            Err(_) => return job.set(Progress::Failed(ApiError::internal("an import panicked"))),
        }
    }
    job.set(Progress::Done(done));
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
    over: Arc<AtomicBool>,
}

impl Importer {
    fn new(app: &App, job: &Arc<Job>, over: &Arc<AtomicBool>) -> Self {
        Self { app: app.clone(), job: Arc::clone(job), over: Arc::clone(over) }
    }

    /// Takes a file in. An error means that nothing more can be taken.
    fn file(&self, input: &Input, body: Option<Box<dyn Read + Send>>, mut spool: Spool, shown: &dyn Fn(u64)) -> Result<Taken, ApiError> {
        let mut taken = Taken::default();
        let reader = match body.map_or_else(|| fetch(&input.url), Ok).and_then(|reader| unpacked(reader).map_err(|e| e.to_string())) {
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
                shown(taken.lines + taken.refused);
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

    fn unit(&self, unit: Unit, taken: &mut Taken, spool: &mut Spool) -> Result<(), ApiError> {
        if self.over.load(Ordering::Acquire) {
            return Err(ApiError::new(StatusCode::GONE, IssueType::NotFound, "the import was cancelled"));
        }
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
    fn write(&self, interaction: Interaction, key: &str) -> Result<Fate, Gone> {
        let hospital = &self.job.hospital;
        let stopped = |error: &dyn std::fmt::Display| Gone(error.to_string());
        // The request is over, or nearly so: its token may be no longer valid.
        if !self.app.holds(&hospital.who.user, &hospital.holder).map_err(|e| stopped(&e))? {
            return Err(Gone("the token of who asked is no longer valid".to_owned()));
        }
        let holder = self.app.holder_for_writing(&hospital.holder).map_err(|e| stopped(&e))?.id;
        for _ in 0..INGEST_TRIES {
            let place = Handle::current().block_on(self.app.enter_writes());
            let request = WriteRequest {
                holder,
                interaction: interaction.clone(),
                handling: Handling::Strict,
                idempotency_key: Some(key.to_owned()),
            };
            let written = place.and_then(|_place| self.app.write_recorded(&hospital.who, request, "POST /fhir/$import"));
            match written {
                Ok(outcome) => return Ok(fate(&outcome)),
                Err(error) if error.status == StatusCode::SERVICE_UNAVAILABLE && self.app.check_log().is_ok() => {
                    std::thread::sleep(Duration::from_secs(RETRY_AFTER_S));
                }
                Err(error) if error.status.is_client_error() => return Ok(Fate::of_issues(error.issues)),
                Err(error) => return Err(stopped(&error)),
            }
        }
        Err(Gone("the database was busy for too long".to_owned()))
    }
}

fn fate(outcome: &Outcome) -> Fate {
    let of = |e: &dugnad_kernel::database::EntryOutcome| Resource {
        resource_type: e.resource_type.clone(),
        changed: true,
        warnings: e.issues.len(),
    };
    Fate::Taken { entries: outcome.entries.iter().map(of).collect(), refused: Vec::new() }
}

impl Sink for Importer {
    fn transaction(&self, body: Vec<u8>, key: String) -> Result<Fate, Gone> {
        self.write(Interaction::Transaction { body }, &key)
    }

    fn batch(&self, _body: Vec<u8>, _key: String) -> Result<Fate, Gone> {
        Ok(Fate::refused(None, "a Bundle of type batch is sent to /fhir".to_owned())) // lines are resources
    }

    fn single(&self, interaction: Interaction, key: String) -> Result<Fate, Gone> {
        self.write(interaction, &key)
    }
}

/// What stands at an address, or why there is nothing.
fn fetch(url: &str) -> Result<Box<dyn Read + Send>, String> {
    let request = ureq::http::Request::get(url).header("Accept", "application/fhir+ndjson, application/ndjson, */*;q=0.1");
    let request = request.body(()).map_err(|_| "the address is none".to_owned())?;
    let answer = outgoing::agent(IMPORT_TIME).run(request).map_err(|error| outgoing::unreached(&error).to_owned())?;
    match answer.status().as_u16() {
        200 => Ok(Box::new(answer.into_body().into_reader())),
        300..400 => Err(format!("the address answered {}; redirections are not followed", answer.status().as_u16())),
        status => Err(format!("the address answered {status}")),
    }
}

/// What is in it, if it is gzip; no more than an import may be.
fn unpacked(reader: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut reader = BufReader::new(reader);
    let is_gzip = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let plain: Box<dyn Read + Send> = if is_gzip { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
    Ok(Box::new(Bounded { left: MAX_IMPORT_BYTES, inner: plain }))
}

/// Fails where more comes than may.
struct Bounded {
    inner: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left =
            self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other("the file is larger than an import may be; split it"))?;
        Ok(read)
    }
}
