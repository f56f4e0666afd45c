//! The record of a question: its intent is given to the log before anything is read, which writes it to its file at once, and is
//! durable before anything is handed out; its completion is durable before its last batch is. If the log cannot be written, nothing is read, and what was read is not handed out.
//!
//! The intent is not waited for until there is something to hand out: the disk syncs it while the question runs, and for an answer of
//! one batch together with the completion.

use super::delivered::Delivered;
use super::{Basis, Question};
use crate::limits::RECORDED_SQL_BYTES;
use dugnad_kernel::audit::{Access, Act, AuditError, Entry, Log};
use dugnad_kernel::clock::Clock;
use dugnad_sql::QueryError;
use dugnad_sql::limits::MAX_SQL_BYTES;
use roaring::RoaringBitmap;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// Who is told that an entry is durable, or cannot be.
pub(super) type Done = Box<dyn FnOnce(Result<u64, AuditError>) + Send>;

/// Where entries go. The audit log; in tests, something that can be made to fail.
pub(super) trait Record: Send + Sync {
    /// Appends without waiting.
    fn append_then(&self, entry: &Entry, done: Done);

    /// Begins an access.
    fn begin_then(&self, intent: &Entry, done: Done) -> Access;

    /// Ends it; with whose data was delivered, if rows were.
    fn complete_then(&self, access: Access, completion: &Entry, delivered: Option<&Arc<RoaringBitmap>>, done: Done);

    /// Somebody waits for what came before.
    fn flush(&self);
}

impl Record for Log {
    fn append_then(&self, entry: &Entry, done: Done) {
        Log::append_then(self, entry, done);
    }

    fn begin_then(&self, intent: &Entry, done: Done) -> Access {
        Log::begin_then(self, intent, done)
    }

    fn complete_then(&self, access: Access, completion: &Entry, delivered: Option<&Arc<RoaringBitmap>>, done: Done) {
        Log::complete_then(self, access, completion, delivered, done);
    }

    fn flush(&self) {
        Log::flush(self);
    }
}

/// The end of an entry's way to the disk.
type Durable = oneshot::Receiver<Result<u64, AuditError>>;

fn told() -> (Done, Durable) {
    let (done, durable) = oneshot::channel();
    (Box::new(move |result| drop(done.send(result))), durable)
}

fn failed(error: &AuditError) -> QueryError {
    QueryError::Audit(error.to_string())
}

async fn wait(durable: Durable) -> Result<(), QueryError> {
    match durable.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(QueryError::Audit("the audit log has stopped; nothing is read without it".to_owned())),
    }
}

/// One question on the record.
#[derive(Clone)]
pub(super) struct Recorded {
    record: Arc<dyn Record>,
    clock: Arc<dyn Clock>,
    common: Entry,
}

impl Recorded {
    /// What all entries about a question share.
    pub fn new(record: Arc<dyn Record>, clock: Arc<dyn Clock>, question: &Question) -> Self {
        let role = serde_json::to_value(question.who.role).ok().and_then(|r| r.as_str().map(str::to_owned)).unwrap_or_default();
        let common = Entry {
            interface: Some(question.interface.to_owned()),
            permit: Some(cut(&question.permit, RECORDED_SQL_BYTES).to_owned()),
            holder: question.who.holder.clone(),
            request: Some(recorded_sql(&question.sql)),
            ..Entry::new(clock.now(), Act::Refusal, &question.who.user, &role)
        };
        Self { record, clock, common }
    }

    /// For which purpose, once the permit is known.
    pub fn under(&mut self, purpose: Option<String>) {
        self.common.purpose = purpose;
    }

    /// Puts on the record that the question is about to be answered; not if the log takes nothing any more. `delivered` is where the
    /// Patients come to stand whose rows are read.
    pub fn intent(mut self, basis: &Basis, tables: &[String], delivered: Option<Delivered>) -> Result<Intended, QueryError> {
        match basis {
            Basis::Commit(commit) => self.common.commit = Some(commit.0),
            Basis::Epoch { epoch, .. } => self.common.epoch = Some(epoch.clone()),
        }
        self.common.tables = tables.to_vec();
        let entry = Entry { act: Act::Intent, at: self.clock.now(), ..self.common.clone() };
        let (done, mut durable) = told();
        let access = self.record.begin_then(&entry, done);
        match durable.try_recv() {
            Ok(Err(error)) => Err(failed(&error)),
            Ok(Ok(_)) => Ok(Intended { recorded: self, access, durable: None, delivered }),
            Err(TryRecvError::Closed) => Err(failed(&AuditError::Stopped)),
            Err(TryRecvError::Empty) => Ok(Intended { recorded: self, access, durable: Some(durable), delivered }),
        }
    }

    /// Puts on the record that the question was refused, and why; the error is given back, or replaced if the log fails.
    pub async fn refusal(&self, error: QueryError) -> QueryError {
        if matches!(error, QueryError::Audit(_) | QueryError::Busy { .. }) {
            return error;
        }
        let outcome = Some(cut(&error.to_string(), RECORDED_SQL_BYTES).to_owned());
        let entry = Entry { act: Act::Refusal, at: self.clock.now(), outcome, ..self.common.clone() };
        let (done, durable) = told();
        self.record.append_then(&entry, done);
        match wait(durable).await {
            Ok(()) => error,
            Err(failed) => failed,
        }
    }
}

/// A question whose intent is in the log.
pub(super) struct Intended {
    recorded: Recorded,
    access: Access,
    /// Tells when the intent is durable; none once it has.
    durable: Option<Durable>,
    delivered: Option<Delivered>,
}

impl Intended {
    /// Waits until the intent is durable: nothing is handed out before.
    pub async fn durable(&mut self) -> Result<(), QueryError> {
        let Some(durable) = self.durable.take() else { return Ok(()) };
        self.recorded.record.flush();
        wait(durable).await
    }

    /// Puts on the record how it ended; with that the intent is durable too.
    pub async fn complete(&self, rows: u64, outcome: &str) -> Result<(), QueryError> {
        let (done, durable) = told();
        self.end(rows, outcome, done);
        wait(durable).await
    }

    /// The same without waiting, for an answer that nobody waits for any more.
    pub fn abandon(&self, rows: u64, outcome: &str) {
        self.end(rows, outcome, Box::new(drop));
    }

    fn end(&self, rows: u64, outcome: &str, done: Done) {
        let delivered = self.delivered.as_ref().map(Delivered::set);
        self.recorded.record.complete_then(self.access, &self.completion(rows, outcome), delivered.as_ref(), done);
    }

    fn completion(&self, rows: u64, outcome: &str) -> Entry {
        // What was asked stands in the intent; the completion names it. The log puts in which it is.
        Entry {
            act: Act::Completion,
            at: self.recorded.clock.now(),
            rows: Some(rows),
            outcome: Some(outcome.to_owned()),
            request: None,
            ..self.recorded.common.clone()
        }
    }
}

/// The question as it was sent; only its beginning if it is longer than any that is answered.
fn recorded_sql(sql: &str) -> String {
    if sql.len() <= MAX_SQL_BYTES { sql.to_owned() } else { format!("{} [cut]", cut(sql, RECORDED_SQL_BYTES)) }
}

fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}
