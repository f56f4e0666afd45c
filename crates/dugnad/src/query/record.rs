//! The record of a question: its intent is durable before anything is read, its completion before its last batch is
//! handed out. If the log cannot be written, nothing is read, and what was read is not handed out.

use super::{Basis, Question};
use crate::limits::RECORDED_SQL_BYTES;
use dugnad_kernel::audit::{Act, AuditError, Entry, Log};
use dugnad_kernel::clock::Clock;
use dugnad_sql::QueryError;
use dugnad_sql::limits::MAX_SQL_BYTES;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Where entries go. The audit log; in tests, something that can be made to fail.
pub(super) trait Record: Send + Sync {
    /// Appends without waiting; `done` is called once the entry is durable, or has failed.
    fn append_then(&self, entry: &Entry, done: Box<dyn FnOnce(Result<u64, AuditError>) + Send>);
}

impl Record for Log {
    fn append_then(&self, entry: &Entry, done: Box<dyn FnOnce(Result<u64, AuditError>) + Send>) {
        Log::append_then(self, entry, done);
    }
}

/// Appends an entry; returns its index once it is durable.
async fn append(record: &dyn Record, entry: &Entry) -> Result<u64, QueryError> {
    let (done, durable) = oneshot::channel();
    record.append_then(entry, Box::new(move |result| drop(done.send(result))));
    match durable.await {
        Ok(Ok(index)) => Ok(index),
        Ok(Err(error)) => Err(QueryError::Audit(error.to_string())),
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
            at: clock.now(),
            act: Act::Refusal,
            user: question.who.user.clone(),
            role,
            intent: None,
            interface: Some(question.interface.to_owned()),
            permit: Some(cut(&question.permit, RECORDED_SQL_BYTES).to_owned()),
            purpose: None,
            holder: question.who.holder.clone(),
            request: Some(recorded_sql(&question.sql)),
            commit: None,
            epoch: None,
            timeline: None,
            tables: Vec::new(),
            rows: None,
            outcome: None,
        };
        Self { record, clock, common }
    }

    /// For which purpose, once the permit is known.
    pub fn under(&mut self, purpose: Option<String>) {
        self.common.purpose = purpose;
    }

    /// Puts on the record that the question is about to be answered; consumes nothing until that is durable.
    pub async fn intent(mut self, basis: &Basis, tables: &[String]) -> Result<Intended, QueryError> {
        match basis {
            Basis::Commit(commit) => self.common.commit = Some(commit.0),
            Basis::Epoch(epoch) => self.common.epoch = Some(epoch.clone()),
        }
        self.common.tables = tables.to_vec();
        let entry = Entry { act: Act::Intent, at: self.clock.now(), ..self.common.clone() };
        let index = append(self.record.as_ref(), &entry).await?;
        Ok(Intended { recorded: self, index })
    }

    /// Puts on the record that the question was refused, and why; the error is given back, or replaced if the log fails.
    pub async fn refusal(&self, error: QueryError) -> QueryError {
        if matches!(error, QueryError::Audit(_) | QueryError::Busy { .. }) {
            return error;
        }
        let outcome = Some(cut(&error.to_string(), RECORDED_SQL_BYTES).to_owned());
        let entry = Entry { act: Act::Refusal, at: self.clock.now(), outcome, ..self.common.clone() };
        match append(self.record.as_ref(), &entry).await {
            Ok(_) => error,
            Err(failed) => failed,
        }
    }
}

/// A question whose intent is durable.
pub(super) struct Intended {
    recorded: Recorded,
    index: u64,
}

impl Intended {
    /// Puts on the record how it ended.
    pub async fn complete(&self, rows: u64, outcome: &str) -> Result<(), QueryError> {
        append(self.recorded.record.as_ref(), &self.completion(rows, outcome)).await.map(drop)
    }

    /// The same without waiting, for an answer that nobody waits for any more.
    pub fn abandon(&self, rows: u64, outcome: &str) {
        self.recorded.record.append_then(&self.completion(rows, outcome), Box::new(drop));
    }

    fn completion(&self, rows: u64, outcome: &str) -> Entry {
        // What was asked stands in the intent; the completion names it.
        Entry {
            act: Act::Completion,
            at: self.recorded.clock.now(),
            intent: Some(self.index),
            rows: Some(rows),
            outcome: Some(outcome.to_owned()),
            request: None,
            tables: Vec::new(),
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
