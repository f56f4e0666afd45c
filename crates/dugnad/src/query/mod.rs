//! SQL under a permit. Only this room and the crate `dugnad_sql` know DataFusion.
//!
//! A question passes: a place ([`run::Gate`]); the permit, and with it the world that exists for it ([`permit`],
//! [`world`]); a session over that world ([`session`], [`scan`], [`view`], [`catalog`]); the guard ([`dugnad_sql::guard`]); the
//! record, begun before anything is read ([`record`]); the run, within its limits ([`run`]); and its bytes
//! ([`format`]). Statistics take another way after the permit ([`statistics`]): no session is opened to them.

mod catalog;
mod delivered;
mod dictionary;
pub mod format;
mod keys;
mod lens;
pub mod library;
mod permit;
mod plans;
mod policy;
mod pruning;
pub mod published;
mod reading;
mod record;
mod run;
mod running;
mod scan;
mod seat;
mod session;
mod source;
mod statistics;
#[cfg(test)]
mod tests;
mod transform;
mod view;
mod world;

pub use delivered::Delivered;
pub use dugnad_sql::QueryError;
pub use policy::{OptOutCover, Subject, UNBLINDING, Unblinding, unblindings};
pub use running::RunningQuestion;
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
use dugnad_kernel::live::RowFilter;
use dugnad_kernel::permit::Permit;
use dugnad_kernel::population;
use jiff::SignedDuration;
use plans::{MadeOf, Plans};
use policy::{Granted, Policy};
use record::{Record, Recorded};
use roaring::RoaringBitmap;
use run::{Bounds, Deadline, Gate, Message, Place, Threads};
use running::{Holding, Listed, Running, Watch};
use session::{Planned, Session};
use source::Tables;
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
    policy: Policy,
    running: Arc<Running>,
    plans: Plans,
    statistics: Mutex<Cache>,
    /// The views over live tables that permits may name.
    views: RwLock<Arc<[SqlView]>>,
}

/// What a permit allowed at some time, as far as it can be taken back.
#[derive(Clone, Debug)]
pub struct Standing {
    permit: Permit,
    without: RoaringBitmap,
}

impl Standing {
    /// Whether what was answered under `earlier` may still be handed out: the permit shows the same, and nobody has gone since.
    pub fn allows(&self, earlier: &Self) -> bool {
        let (now, then) = (self.permit.document(), earlier.permit.document());
        let same = now.tables == then.tables && now.population == then.population && now.cadence == then.cadence;
        same && now.blinding == then.blinding && self.without.is_subset(&earlier.without)
    }
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

/// An answer whose intent is in the log; it is durable before the first batch is handed out, and its completion
/// before the last one is.
///
/// Dropping it cancels the question. An error of the stream is a [`QueryError`] inside DataFusion's `External`;
/// [`QueryError::of_stream`] takes it out.
pub struct Answer {
    /// Under which id it can be stopped.
    pub id: String,
    /// What it was computed on.
    pub basis: Basis,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub batches: SendableRecordBatchStream,
    /// Whose rows have been read for it; none for statistics, which are of nobody.
    pub delivered: Option<Delivered>,
}

/// On what a question rests.
#[derive(Clone, Copy, Debug)]
enum Asked {
    UnderPermit,
    Feasibility,
}

/// What is left to do once a question has been understood.
enum Prepared {
    Rows {
        planned: Box<Planned>,
        made_of: Box<MadeOf>,
        commit: Commit,
        granted: Granted,
    },
    /// Under a permit, or, about feasibility, before there is one.
    Statistics {
        request: Request,
        epoch: Epoch,
        lists: statistics::Lists,
        granted: Option<Granted>,
    },
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
            policy: Policy::default(),
            running: Arc::default(),
            plans: Plans::default(),
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
        Ok(self.granted(who, id)?.permit)
    }

    fn granted(&self, who: &Principal, id: &str) -> Result<Granted, QueryError> {
        permit::find(&self.shared.database, who, id, self.shared.clock.now())
    }

    /// Which permits opt-outs cover.
    pub fn cover_opt_outs(&self, cover: OptOutCover) {
        self.shared.policy.cover(cover);
    }

    /// What the permit of this id allows `who` now. Reads tables; call it from a thread that may block.
    pub fn standing(&self, who: &Principal, id: &str) -> Result<Standing, QueryError> {
        let granted = self.granted(who, id)?;
        let without = self.shared.policy.without(&self.shared.database, &granted)?;
        Ok(Standing { permit: granted.permit, without })
    }

    /// The questions that are not done: the caller's own; for the centre, all.
    pub fn running(&self, who: &Principal) -> Vec<RunningQuestion> {
        self.shared.running.of(who)
    }

    /// Stops a question of the caller's; for the centre, any. Whether there was one.
    pub fn stop(&self, who: &Principal, id: &str) -> bool {
        self.shared.running.stop(who, id)
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

    /// Answers a question, or says why not. Either way it is on the record; the intent of an answer is in the log before anything
    /// is read for it, and durable before anything is handed out.
    pub async fn ask(&self, question: Question) -> Result<Answer, QueryError> {
        self.ask_as(question, Asked::UnderPermit).await
    }

    async fn ask_as(&self, question: Question, asked: Asked) -> Result<Answer, QueryError> {
        let deadline = Deadline::after(self.shared.time);
        let mut listed = self.shared.running.list(&question, self.shared.clock.now());
        let mut recorded = Recorded::new(self.shared.record.clone(), self.shared.clock.clone(), &question);
        let place = tokio::select! {
            biased;
            error = listed.stopped() => return Err(recorded.refusal(error).await),
            place = self.shared.gate.enter(deadline) => place?,
        };
        listed.runs();
        let (shared, about) = (self.shared.clone(), question.clone());
        let work = async move {
            Ok(match asked {
                Asked::UnderPermit => shared.prepare(&about).await,
                Asked::Feasibility => (None, shared.prepare_feasibility(&about)),
            })
        };
        let prepared = tokio::select! {
            biased;
            error = listed.stopped() => (None, Err(error)),
            prepared = self.shared.threads.run(deadline, work) => prepared.unwrap_or_else(|error| (None, Err(error))),
        };
        recorded.under(prepared.0);
        match prepared.1 {
            Ok(prepared) => self.answer(question, prepared, recorded, place, (listed, deadline)).await,
            Err(error) => Err(recorded.refusal(error).await),
        }
    }

    /// The bounds of an answer: the server's, and the permit's where they are narrower.
    fn bounds(&self, question: Question, granted: Option<Granted>, listed: Listed, deadline: Deadline) -> Bounds {
        let limits = granted.as_ref().and_then(|granted| granted.permit.document().limits).unwrap_or_default();
        let deadline = deadline.within(limits.time_s.map(|s| Duration::from_secs(s.into())));
        let watch = Watch::new(listed, granted.map(|granted| Holding::new(self.shared.clone(), question, granted)));
        Bounds { deadline, rows: limits.rows.unwrap_or(u64::MAX), watch }
    }

    async fn answer(
        &self,
        question: Question,
        prepared: Prepared,
        recorded: Recorded,
        place: Place,
        (listed, deadline): (Listed, Deadline),
    ) -> Result<Answer, QueryError> {
        let id = listed.id.clone();
        match prepared {
            Prepared::Rows { planned, made_of, commit, granted } => {
                let bounds = self.bounds(question, Some(granted), listed, deadline);
                let basis = Basis::Commit(commit);
                let delivered = Some(planned.delivered().clone());
                let intended = recorded.intent(&basis, &planned.tables, delivered.clone())?;
                let schema = planned.schema.clone();
                let shared = self.shared.clone();
                let produce = |sender| async move {
                    run::pump(&planned, &sender).await?;
                    shared.plans.keep(*made_of, *planned);
                    Ok(())
                };
                let batches = run::start(&self.shared.threads, schema.clone(), produce, intended, place, bounds)?;
                Ok(Answer { id, basis, schema, batches, delivered })
            }
            Prepared::Statistics { request, epoch, lists, granted } => {
                let bounds = self.bounds(question, granted, listed, deadline);
                let basis = Basis::Epoch(epoch.cite());
                let intended = recorded.intent(&basis, &[request.table_name()], None)?;
                let schema = request.schema();
                let shared = self.shared.clone();
                let produce = |sender: tokio::sync::mpsc::Sender<Message>| async move {
                    let batch = shared.released(&request, epoch, lists).await?;
                    // A reader that is gone needs no answer.
                    drop(sender.send(Message::Batch(batch)).await);
                    Ok(())
                };
                let batches = run::start(&self.shared.threads, schema.clone(), produce, intended, place, bounds)?;
                Ok(Answer { id, basis, schema, batches, delivered: None })
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
        let granted = match permit::find(&self.database, &question.who, &question.permit, now) {
            Ok(granted) => granted,
            Err(error) => return (None, Err(error)),
        };
        let purpose = Some(granted.permit.document().purpose.clone());
        if granted.permit.statistics_only() {
            return (purpose, self.prepare_statistics(question, granted));
        }
        (purpose, self.prepare_rows(question, granted, now).await)
    }

    async fn prepare_rows(&self, question: &Question, granted: Granted, now: jiff::Timestamp) -> Result<Prepared, QueryError> {
        let snapshot = permit::snapshot(&self.database, &granted.permit, question, now)?;
        let commit = snapshot.commit();
        let decided = permit::decide(&self.database, &self.policy, &granted, snapshot)?;
        let views = self.views();
        let made_of = MadeOf::new(question, &granted.permit, &decided, views.clone());
        let planned = match self.plans.take(&made_of) {
            Some(plan) => plan.over(decided.ground(&self.database))?,
            None => {
                let world = permit::world(&self.database, &granted.permit, decided, &self.pseudonym_key, views.to_vec());
                Session::open(&world.for_question(&question.sql)).await?.plan(&question.sql).await?
            }
        };
        Ok(Prepared::Rows { planned: Box::new(planned), made_of: Box::new(made_of), commit, granted })
    }

    fn prepare_statistics(&self, question: &Question, granted: Granted) -> Result<Prepared, QueryError> {
        if question.as_of.is_some() || question.min_commit.is_some() {
            return Err(QueryError::Commit(
                "statistics are those of the last epoch; `as_of` and Dugnad-Min-Commit are for rows".to_owned(),
            ));
        }
        let request = Request::parse(&question.sql)?;
        request.within(&granted.permit)?;
        let (epoch, lists) = self.present();
        request.check(&lists)?;
        Ok(Prepared::Statistics { request, epoch, lists, granted: Some(granted) })
    }

    fn prepare_feasibility(&self, question: &Question) -> Result<Prepared, QueryError> {
        let (epoch, lists) = self.present();
        let request = Request { rounding: Some(FEASIBILITY_ROUNDING), ..Request::parse(&question.sql)? };
        request.check(&lists)?;
        Ok(Prepared::Statistics { request, epoch, lists, granted: None })
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
        // One eligible population for all statistics of an epoch: who was out, or protected, when it began, is not counted.
        let failed = |error| policy::damaged(&self.database, &error);
        let mut without = population::opted_out(&snapshot).map_err(failed)?;
        without |= population::protected(&snapshot).map_err(failed)?;
        let filter = RowFilter { without: Some(Arc::new(without)), unmarked: true, ..RowFilter::default() };
        let sources = Arc::new(Tables::of(snapshot, &self.database));
        let basis = statistics::Basis { epoch, lists, method: self.method, sources, views: self.views().to_vec(), filter };
        let table = cache.table(request, &basis).await?;
        request.answer(&table)
    }
}
