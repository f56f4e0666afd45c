//! SQL under a permit. Only this room and the crate `dugnad_sql` know DataFusion.
//!
//! A question passes: a place ([`run::Gate`]); the permit, and with it the world that exists for it ([`permit`],
//! [`world`]); a session over that world ([`session`], [`scan`], [`view`], [`catalog`]); the guard ([`dugnad_sql::guard`]); the
//! record, durable before anything is read ([`record`]); the run, within its limits ([`run`]); and its bytes
//! ([`format`]). Statistics take another way after the permit ([`statistics`]): no session is opened to them.

mod catalog;
mod dictionary;
pub mod format;
mod keys;
mod lens;
pub mod library;
mod permit;
mod pruning;
pub mod published;
mod reading;
mod record;
mod run;
mod scan;
mod session;
mod source;
mod statistics;
#[cfg(test)]
mod tests;
mod transform;
mod view;
mod world;

pub use dugnad_sql::QueryError;
pub use statistics::{Catalogue, CatalogueDimension, CatalogueTable};

use crate::access::Principal;
use crate::limits::QUESTION_TIME;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use dugnad_kernel::audit::Log;
use dugnad_kernel::clock::{Clock, SystemClock};
use dugnad_kernel::database::Database;
use dugnad_kernel::disclosure::{Calendar, Epoch, Method};
use dugnad_kernel::ids::Commit;
use dugnad_kernel::limits::FEASIBILITY_ROUNDING;
use dugnad_kernel::permit::Permit;
use jiff::SignedDuration;
use record::{Record, Recorded};
use run::{Deadline, Gate, Message, Place, Threads};
use session::{Planned, Session};
use statistics::{Cache, Request};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::sync::Mutex;
use world::SqlView;

/// Answers questions under permits.
#[derive(Clone)]
pub struct QueryService {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    record: Arc<dyn Record>,
    clock: Arc<dyn Clock>,
    pseudonym_key: [u8; 32],
    calendar: Calendar,
    method: Method,
    time: Duration,
    threads: Threads,
    gate: Gate,
    statistics: Mutex<Cache>,
    /// The views over live tables that permits may name.
    views: RwLock<Arc<[SqlView]>>,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks.
    pub who: Principal,
    /// On which interface: `sql`, `cli`, `web`.
    pub interface: &'static str,
    /// Under which permit.
    pub permit: String,
    /// SQL: one SELECT.
    pub sql: String,
    /// As of which commit; the newest if absent.
    pub as_of: Option<Commit>,
    /// Refuse to answer from an older commit than this (`Dugnad-Min-Commit`).
    pub min_commit: Option<Commit>,
}

/// What the answer was computed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Record-level: a commit.
    Commit(Commit),
    /// Statistics: an epoch.
    Epoch(String),
}

/// An answer whose intent is on the record; its completion is recorded before the last batch is handed out.
///
/// Dropping it cancels the question. An error of the stream is a [`QueryError`] inside DataFusion's `External`;
/// [`QueryError::of_stream`] takes it out.
pub struct Answer {
    /// What it was computed on.
    pub basis: Basis,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub batches: SendableRecordBatchStream,
}

/// On what a question rests.
#[derive(Clone, Copy, Debug)]
enum Asked {
    UnderPermit,
    Feasibility,
}

/// What is left to do once a question has been understood.
enum Prepared {
    Rows { planned: Box<Planned>, commit: Commit },
    Statistics { request: Request, epoch: Epoch, lists: statistics::Lists },
}

impl QueryService {
    /// A service over a database, with the machine's clock and daily epochs.
    pub fn new(database: Database, audit: Arc<Log>, pseudonym_key: [u8; 32]) -> Self {
        Self::with(database, audit, pseudonym_key, Arc::new(SystemClock), Calendar::default())
    }

    /// A service with another clock, and epochs of another length (the demo's: a minute).
    pub fn with_epochs(database: Database, audit: Arc<Log>, pseudonym_key: [u8; 32], clock: Arc<dyn Clock>, epoch: SignedDuration) -> Self {
        Self::with(database, audit, pseudonym_key, clock, Calendar::every(epoch))
    }

    fn with(database: Database, record: Arc<dyn Record>, pseudonym_key: [u8; 32], clock: Arc<dyn Clock>, calendar: Calendar) -> Self {
        let shared = Shared {
            database,
            record,
            clock,
            pseudonym_key,
            calendar,
            method: Method::default(),
            time: QUESTION_TIME,
            threads: Threads::new(),
            gate: Gate::new(),
            statistics: Mutex::default(),
            views: RwLock::new(Arc::default()),
        };
        let service = Self { shared: Arc::new(shared) };
        service.find_views();
        service
    }

    /// What statistics permits can ask for now: a function of the calendar and of published lists, so anyone may see it.
    pub fn statistics_catalogue(&self) -> Catalogue {
        let (epoch, lists) = self.shared.present();
        statistics::catalogue(&epoch, &self.shared.method, &lists)
    }

    /// The permit of this id, if `who` may use it now from where they are.
    pub fn permit(&self, who: &Principal, id: &str) -> Result<Permit, QueryError> {
        let (permit, sql) = (id.to_owned(), String::new());
        let question = Question { who: who.clone(), interface: "", permit, sql, as_of: None, min_commit: None };
        permit::find(&self.shared.database, &question, self.shared.clock.now())
    }

    /// How many cells a question about feasibility shows: one of the form that statistics permits have.
    pub fn feasibility_cells(&self, sql: &str) -> Result<usize, QueryError> {
        let (_, lists) = self.shared.present();
        let request = Request::parse(sql)?;
        request.check(&lists)?;
        Ok(request.cells(&lists))
    }

    /// Answers a question about feasibility, before there is a permit: cells of the catalogue of statistics, rounded. The caller
    /// has bounded how many. `question.permit` names the application, for the record.
    pub async fn ask_feasibility(&self, question: Question) -> Result<Answer, QueryError> {
        self.ask_as(question, Asked::Feasibility).await
    }

    /// Answers a question, or says why not. Either way it is on the record; the intent of an answer is durable before
    /// anything is read for it.
    pub async fn ask(&self, question: Question) -> Result<Answer, QueryError> {
        self.ask_as(question, Asked::UnderPermit).await
    }

    async fn ask_as(&self, question: Question, asked: Asked) -> Result<Answer, QueryError> {
        let deadline = Deadline::after(self.shared.time);
        let place = self.shared.gate.enter(deadline).await?;
        let mut recorded = Recorded::new(self.shared.record.clone(), self.shared.clock.clone(), &question);
        let shared = self.shared.clone();
        let work = async move {
            Ok(match asked {
                Asked::UnderPermit => shared.prepare(&question).await,
                Asked::Feasibility => (None, shared.prepare_feasibility(&question)),
            })
        };
        let prepared = self.shared.threads.run(deadline, work).await.unwrap_or_else(|error| (None, Err(error)));
        recorded.under(prepared.0);
        match prepared.1 {
            Ok(prepared) => self.answer(prepared, recorded, place, deadline).await,
            Err(error) => Err(recorded.refusal(error).await),
        }
    }

    async fn answer(&self, prepared: Prepared, recorded: Recorded, place: Place, deadline: Deadline) -> Result<Answer, QueryError> {
        match prepared {
            Prepared::Rows { planned, commit } => {
                let basis = Basis::Commit(commit);
                let intended = recorded.intent(&basis, &planned.tables).await?;
                let schema = planned.schema.clone();
                let produce = |sender| async move { run::pump(&planned, &sender).await };
                let batches = run::start(&self.shared.threads, schema.clone(), produce, intended, place, deadline)?;
                Ok(Answer { basis, schema, batches })
            }
            Prepared::Statistics { request, epoch, lists } => {
                let basis = Basis::Epoch(epoch.cite());
                let intended = recorded.intent(&basis, &[request.table_name()]).await?;
                let schema = request.schema();
                let shared = self.shared.clone();
                let produce = |sender: tokio::sync::mpsc::Sender<Message>| async move {
                    let batch = shared.released(&request, epoch, lists).await?;
                    // A reader that is gone needs no answer.
                    drop(sender.send(Message::Batch(batch)).await);
                    Ok(())
                };
                let batches = run::start(&self.shared.threads, schema.clone(), produce, intended, place, deadline)?;
                Ok(Answer { basis, schema, batches })
            }
        }
    }
}

impl Shared {
    fn present(&self) -> (Epoch, statistics::Lists) {
        let hospitals = self.database.holders().into_iter().filter(|h| h.id != dugnad_kernel::ids::HolderId::CENTRE);
        statistics::present(&self.calendar, self.clock.now(), hospitals.map(|h| h.name).collect())
    }

    /// Understands a question: finds its permit (whose purpose goes on the record), and plans. Reads no row for it; only
    /// the population of a study is looked up.
    async fn prepare(&self, question: &Question) -> (Option<String>, Result<Prepared, QueryError>) {
        let now = self.clock.now();
        let permit = match permit::find(&self.database, question, now) {
            Ok(permit) => permit,
            Err(error) => return (None, Err(error)),
        };
        let purpose = Some(permit.document().purpose.clone());
        if permit.statistics_only() {
            return (purpose, self.prepare_statistics(question, &permit));
        }
        (purpose, self.prepare_rows(question, &permit, now).await)
    }

    async fn prepare_rows(&self, question: &Question, permit: &Permit, now: jiff::Timestamp) -> Result<Prepared, QueryError> {
        let snapshot = permit::snapshot(&self.database, permit, question, now)?;
        let commit = snapshot.commit();
        let world = permit::world(&self.database, permit, &self.pseudonym_key, snapshot, self.views().to_vec())?;
        let planned = Session::open(&world.for_question(&question.sql)).await?.plan(&question.sql).await?;
        Ok(Prepared::Rows { planned: Box::new(planned), commit })
    }

    fn prepare_statistics(&self, question: &Question, permit: &Permit) -> Result<Prepared, QueryError> {
        if question.as_of.is_some() || question.min_commit.is_some() {
            return Err(QueryError::Commit(
                "statistics are those of the last epoch; `as_of` and Dugnad-Min-Commit are for rows".to_owned(),
            ));
        }
        let request = Request::parse(&question.sql)?;
        request.within(permit)?;
        let (epoch, lists) = self.present();
        request.check(&lists)?;
        Ok(Prepared::Statistics { request, epoch, lists })
    }

    fn prepare_feasibility(&self, question: &Question) -> Result<Prepared, QueryError> {
        let (epoch, lists) = self.present();
        let request = Request { rounding: Some(FEASIBILITY_ROUNDING), ..Request::parse(&question.sql)? };
        request.check(&lists)?;
        Ok(Prepared::Statistics { request, epoch, lists })
    }

    /// The answer of a statistics question, from the released table of its epoch.
    async fn released(
        &self,
        request: &Request,
        epoch: Epoch,
        lists: statistics::Lists,
    ) -> Result<datafusion::arrow::array::RecordBatch, QueryError> {
        let mut cache = self.statistics.lock().await;
        if let Some(table) = cache.get(request, &epoch, &lists) {
            return request.answer(&table);
        }
        let commit = self.database.commit_at(epoch.start).map_err(|e| QueryError::Internal(e.to_string()))?;
        let snapshot = self.database.snapshot_at(commit).map_err(|e| QueryError::Internal(e.to_string()))?;
        let snapshot = snapshot.ok_or_else(|| QueryError::Internal("the epoch's commit is not there".to_owned()))?;
        let basis = statistics::Basis { epoch, lists, method: self.method, sources: Arc::new(snapshot), views: self.views().to_vec() };
        let table = cache.table(request, &basis).await?;
        request.answer(&table)
    }
}
