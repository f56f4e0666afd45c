//! Work that blocks (the committer's fsync, the audit log's) on threads that may, a bounded number at once; and the order
//! of reading, writing and recording.

use super::App;
use super::error::ApiError;
use super::headers::{DUGNAD_COMMIT, value};
use crate::access::Principal;
use crate::limits::{RETRY_AFTER_S, SUBSCRIBED_FOR};
use dugnad_kernel::audit::{Act, AuditError, Entry};
use dugnad_kernel::database::{Holder, Outcome, WriteError, WriteRequest};
use dugnad_kernel::ids::{Commit, PatientOrdinal};
use jiff::Timestamp;
use roaring::RoaringBitmap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded number of places, and a bounded number who wait for one.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
}

struct Waiting<'g>(&'g AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// A gate with `running` places and room for `waiting` more.
    pub fn new(running: usize, waiting: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(running)), waiting: AtomicUsize::new(0), max_waiting: waiting }
    }

    /// A place, after a wait in the order of arrival; an error at once if too many wait already.
    pub async fn enter(&self, what: &str) -> Result<OwnedSemaphorePermit, ApiError> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.max_waiting {
            return Err(ApiError::busy(what, RETRY_AFTER_S));
        }
        Arc::clone(&self.places).acquire_owned().await.map_err(|_| ApiError::busy("the server is stopping", RETRY_AFTER_S))
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// An entry with nothing but time and act.
pub fn blank_entry(at: Timestamp, act: Act) -> Entry {
    Entry { interface: Some("fhir".to_owned()), ..Entry::new(at, act, "", "") }
}

/// Something that was read.
pub struct Read<T> {
    /// It.
    pub found: T,
    /// How many versions of resources, or other things, that delivers.
    pub rows: u64,
    /// The Patients whom it is about; none where it is about no patient by its nature.
    pub patients: Option<Vec<PatientOrdinal>>,
}

/// A read that goes on the record.
pub struct Access {
    /// Who reads.
    pub who: Principal,
    /// On which interface.
    pub interface: &'static str,
    /// What was asked, without values of patients.
    pub request: String,
    /// Resource types or documents that are read.
    pub tables: Vec<String>,
}

impl App {
    /// Runs `job` on a thread that may block. It runs to its end even if the caller's connection breaks, so that what it
    /// records is complete; it gives up `place` when it ends.
    pub async fn on_thread<T, F>(&self, place: OwnedSemaphorePermit, job: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
    {
        let app = self.clone();
        let run = move || {
            let _place = place;
            job(&app)
        };
        tokio::task::spawn_blocking(run).await.unwrap_or_else(|_| Err(ApiError::internal("a worker thread panicked")))
    }

    /// A place among the writers.
    pub async fn enter_writes(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.counted(self.writes().enter("the write queue is full").await)
    }

    /// A place among the readers.
    pub async fn enter_reads(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.counted(self.reads().enter("too many reads are waiting").await)
    }

    fn counted<T>(&self, result: Result<T, ApiError>) -> Result<T, ApiError> {
        if result.is_err() {
            self.metrics().turned_away.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// One commit and its entry in the log. Blocks.
    ///
    /// Order: the commit is durable and visible, then the entry is durable, then the caller is answered. The entry needs
    /// the commit's number, so it cannot come first; a crash between the two leaves a commit whose own journal row names
    /// the holder and the time. Once the log has failed, nothing is written any more.
    pub fn write_recorded(&self, who: &Principal, request: WriteRequest, summary: &str) -> Result<Outcome, ApiError> {
        self.write_as(Act::Write, who, request, |e| e.request = Some(summary.to_owned()))
    }

    /// The same, as another act; `describe` says more of it.
    pub fn write_as(
        &self,
        act: Act,
        who: &Principal,
        mut request: WriteRequest,
        describe: impl FnOnce(&mut Entry),
    ) -> Result<Outcome, ApiError> {
        self.check_log()?;
        if who.scopes.is_some() {
            // The systems of a hospital number their messages each for itself.
            request.idempotency_key = request.idempotency_key.map(|key| format!("{} {key}", who.user));
        }
        let outcome = match self.database().write_within(request, who.scopes.clone()) {
            Err(WriteError::Refused { status: 403, issues }) => {
                let entry = self.entry(Act::Refusal, who, |e| {
                    describe(e);
                    e.outcome = Some("the scopes of the token do not reach it".to_owned());
                });
                self.append(&entry)?;
                return Err(ApiError { issues, ..super::scopes::insufficient(None, String::new()) });
            }
            written => written?,
        };
        if outcome.entries.iter().any(|entry| entry.resource_type == "Subscription") {
            // The commit is made: who asks again stands behind it then.
            if let Err(error) = self.stand_behind(who, SUBSCRIBED_FOR) {
                tracing::error!(error = error.to_string(), user = who.user, "nobody stands behind a Subscription that was written");
            }
        }
        self.subscriptions().written(who, &outcome);
        let entry = self.entry(act, who, |e| {
            e.commit = Some(outcome.commit.0);
            e.rows = Some(outcome.entries.len() as u64);
            e.outcome = Some(if outcome.replayed { "replayed" } else { "ok" }.to_owned());
            describe(e);
        });
        // The commit is made whatever the log says: the answer names it.
        self.append(&entry).map_err(|e| e.with_header(DUGNAD_COMMIT, value(&outcome.commit.to_string())))?;
        self.metrics().commits.fetch_add(u64::from(!outcome.replayed), Ordering::Relaxed);
        self.metrics().entries_written.fetch_add(outcome.entries.len() as u64, Ordering::Relaxed);
        Ok(outcome)
    }

    /// One read of a small answer that is about no patient, on the record. Blocks. `read` is given the commit to read at, and
    /// returns what it found and how much that is.
    pub fn read_recorded<T>(&self, access: &Access, read: impl FnOnce(Commit) -> Result<(T, u64), ApiError>) -> Result<T, ApiError> {
        self.read_about(access, |commit| read(commit).map(|(found, rows)| Read { found, rows, patients: None }))
    }

    /// One read of a small answer, on the record. Blocks.
    ///
    /// Order: the intent is given to the log, which writes it to its file at once; then it is read; then intent and completion are
    /// durable, with one fsync for both if it was quick; then the caller gets its first byte.
    pub fn read_about<T>(&self, access: &Access, read: impl FnOnce(Commit) -> Result<Read<T>, ApiError>) -> Result<T, ApiError> {
        self.read_about_at(access, None, read)
    }

    /// The same at a commit that has been published; `None`: the newest.
    pub fn read_about_at<T>(
        &self,
        access: &Access,
        commit: Option<Commit>,
        read: impl FnOnce(Commit) -> Result<Read<T>, ApiError>,
    ) -> Result<T, ApiError> {
        self.check_log()?;
        let commit = commit.unwrap_or_else(|| self.database().snapshot().commit());
        let describe = |e: &mut Entry| {
            e.interface = Some(access.interface.to_owned());
            e.request = Some(access.request.clone());
            e.tables.clone_from(&access.tables);
            e.commit = Some(commit.0);
        };
        // Whether it could be written shows at the completion, which comes after it.
        let begun = self.audit().begin_then(&self.entry(Act::Intent, &access.who, describe), Box::new(drop));
        let result = read(commit);
        let patients = result.as_ref().ok().and_then(|read| read.patients.as_ref());
        let patients = patients.map(|patients| Arc::new(patients.iter().map(|patient| patient.0).collect()));
        let completion = self.entry(Act::Completion, &access.who, |e| {
            describe(e);
            e.request = None;
            e.rows = Some(result.as_ref().map_or(0, |read| read.rows));
            e.outcome = Some(if result.is_ok() { "ok" } else { "failed" }.to_owned());
        });
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.audit().complete_then(begun, &completion, patients.as_ref(), Box::new(move |result| _ = sender.send(result)));
        receiver.recv().unwrap_or(Err(AuditError::Stopped)).map_err(|e| self.log_failed(e))?;
        result.map(|read| read.found)
    }

    /// The holder of a hospital that writes; registered at its first write. Blocks then.
    pub fn holder_for_writing(&self, name: &str) -> Result<Holder, ApiError> {
        match self.database().holder(name) {
            Some(holder) => Ok(holder),
            None => Ok(self.database().register_holder(name)?),
        }
    }

    /// Appends to the log, durable on return; remembers a failure. Blocks.
    pub fn append(&self, entry: &Entry) -> Result<u64, ApiError> {
        self.audit().append(entry).map_err(|e| self.log_failed(e))
    }

    /// Appends to the log without a thread of its own.
    pub async fn record(&self, entry: Entry) -> Result<u64, ApiError> {
        self.check_log()?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let done = move |result| {
            let _: Result<(), _> = sender.send(result); // nobody waits any more: the entry is durable all the same
        };
        self.audit().append_then(&entry, Box::new(done));
        match receiver.await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(error)) => Err(self.log_failed(error)),
            Err(_) => Err(self.log_failed(AuditError::Stopped)),
        }
    }

    /// Ends an access that was begun, without a thread of its own.
    pub async fn complete(
        &self,
        access: dugnad_kernel::audit::Access,
        completion: &Entry,
        patients: Option<&Arc<RoaringBitmap>>,
    ) -> Result<u64, ApiError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.audit().complete_then(access, completion, patients, Box::new(move |result| drop(sender.send(result))));
        match receiver.await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(error)) => Err(self.log_failed(error)),
            Err(_) => Err(self.log_failed(AuditError::Stopped)),
        }
    }

    /// Nothing is read or written once the log has failed.
    pub fn check_log(&self) -> Result<(), ApiError> {
        if self.log_has_failed() || self.audit().is_stopped() { Err(AuditError::Stopped.into()) } else { Ok(()) }
    }

    fn log_failed(&self, error: AuditError) -> ApiError {
        self.mark_log_failed();
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    #[tokio::test]
    async fn a_full_queue_turns_away_at_once() -> Result<(), ApiError> {
        let gate = Arc::new(Gate::new(1, 1));
        let first = gate.enter("full").await?;
        let waiter = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter("full").await.map(drop) }
        });
        while gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let turned_away = gate.enter("full").await.err().map(|e| e.status);
        assert_eq!(turned_away, Some(StatusCode::SERVICE_UNAVAILABLE));
        drop(first);
        assert!(waiter.await.is_ok_and(|r| r.is_ok()));
        assert_eq!(gate.waiting(), 0);
        Ok(())
    }
}
