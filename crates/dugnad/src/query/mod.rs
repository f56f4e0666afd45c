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
pub use policy::{OptOutCover, PERSON_LIST, Subject, UNBLINDING, Unblinding, unblindings};
pub use running::RunningQuestion;
pub use statistics::{
    COHORT, Catalogue, CatalogueDimension, CatalogueLevel, CatalogueTable, CellRow, DIMENSION, STATISTIC, StatisticsSettings, Suppressed,
    Utility, cell_rows,
};

use crate::access::Principal;
use crate::limits::QUESTION_TIME;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use dugnad_kernel::audit::Log;
use dugnad_kernel::clock::{Clock, SystemClock};
use dugnad_kernel::database::Database;
use dugnad_kernel::disclosure::{Cohort, Epoch, Hierarchy, MethodDocument, Period, Statistic};
use dugnad_kernel::ids::{Commit, PatientOrdinal};
use dugnad_kernel::limits::FEASIBILITY_ROUNDING;
use dugnad_kernel::live::{RowFilter, Snapshot};
use dugnad_kernel::permit::Permit;
use dugnad_kernel::permit::organisation::Organisation;
use dugnad_kernel::population;
use plans::{MadeOf, Plans};
use policy::{Granted, Policy};
use record::{Record, Recorded};
use roaring::RoaringBitmap;
use run::{Bounds, Deadline, Gate, Message, Place, Threads};
use running::{Holding, Listed, Running, Watch};
use session::{Planned, Session};
use source::Tables;
use statistics::{Asker, Population, Published, Request, Resolved, Statistics};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;
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
    time: Duration,
    threads: Threads,
    gate: Gate,
    policy: Policy,
    running: Arc<Running>,
    plans: Plans,
    statistics: Statistics,
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
#[derive(Clone, Debug, PartialEq)]
pub enum Basis {
    /// Record-level: a commit.
    Commit(Commit),
    /// Statistics: an epoch, and what disclosure control did.
    Epoch {
        /// The instant at which it began; several with commas, where the cells of a question have several calendars.
        epoch: String,
        /// The method with its parameters.
        method: MethodDocument,
        /// How much of the answer is not shown.
        suppressed: Suppressed,
    },
}

impl Basis {
    /// What disclosure control did to an answer that has been computed: the method, its parameters, and how much is not shown.
    pub fn disclosure(&self) -> Option<String> {
        match self {
            Self::Commit(_) => None,
            Self::Epoch { method, suppressed, .. } => Some(format!("{method}; suppressed=\"{}\"", suppressed.band())),
        }
    }
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
        resolved: Box<Resolved>,
        asker: Asker,
        schema: SchemaRef,
        granted: Option<Granted>,
    },
}

impl QueryService {
    /// A service over a database, with the machine's clock. `statistics` is the folder of what statistics keep.
    pub fn new(database: Database, audit: Arc<Log>, pseudonym_key: [u8; 32], statistics: &Path) -> io::Result<Self> {
        Self::with(database, audit, pseudonym_key, Arc::new(SystemClock), statistics, None)
    }

    /// A service with another clock, and with these settings of its statistics.
    pub fn with(
        database: Database,
        record: Arc<Log>,
        pseudonym_key: [u8; 32],
        clock: Arc<dyn Clock>,
        statistics: &Path,
        settings: Option<StatisticsSettings>,
    ) -> io::Result<Self> {
        let shared = Shared {
            database,
            record,
            clock,
            pseudonym_key,
            time: QUESTION_TIME,
            threads: Threads::new(),
            gate: Gate::new(),
            policy: Policy::default(),
            running: Arc::default(),
            plans: Plans::default(),
            statistics: Statistics::open(statistics, &pseudonym_key, settings)?,
            views: RwLock::new(Arc::default()),
        };
        let service = Self { shared: Arc::new(shared) };
        service.find_views();
        Ok(service)
    }

    /// What statistics permits can ask for now: a function of the calendar and of published documents, so anyone may see it.
    pub fn statistics_catalogue(&self) -> Result<Catalogue, QueryError> {
        let now = self.shared.clock.now();
        Ok(self.shared.statistics.catalogue(self.shared.published()?.as_ref(), now))
    }

    /// Reads what statistics count anew where an epoch has begun since it was last read. To be called now and then.
    pub async fn renew_statistics(&self) -> Result<(), QueryError> {
        let shared = Arc::clone(&self.shared);
        let deadline = run::Deadline::after(shared.time);
        let renew = async move { shared.statistics.renew(shared.published()?.as_ref(), shared.as_ref(), shared.clock.now()).await };
        self.shared.threads.run(deadline, renew).await
    }

    /// A published dimension.
    pub fn dimension(&self, name: &str) -> Result<Option<Arc<Hierarchy>>, QueryError> {
        Ok(self.shared.published()?.dimension(name).cloned())
    }

    /// Checks that a dimension can be published: that its levels have names of their own.
    pub fn check_dimension(&self, dimension: &Hierarchy) -> Result<(), QueryError> {
        self.shared.published()?.check_dimension(dimension)
    }

    /// Takes erased persons out of what statistics keep from epoch to epoch.
    pub fn forget(&self, persons: &[PatientOrdinal]) -> io::Result<()> {
        futures::executor::block_on(self.shared.statistics.erase(persons))
    }

    /// Checks that a statistic can be counted: that its SQL can be planned, and that it has the columns that its dimensions name.
    pub async fn check_statistic(&self, statistic: &Statistic) -> Result<(), QueryError> {
        let epoch = self.shared.statistics.settings.epochs.one.epoch(self.shared.clock.now());
        let population = statistics::Data::population(self.shared.as_ref(), &epoch)?;
        statistics::check_statistic(statistic, self.shared.published()?.as_ref(), &population).await
    }

    /// How accurate all tables with 1 to `depth` dimensions are at the newest commit.
    pub async fn statistics_utility(&self, depth: usize) -> Result<BTreeMap<usize, Utility>, QueryError> {
        let shared = &self.shared;
        let start = shared.clock.now();
        let epoch = Epoch { period: Period::Seconds(1), start, next: start };
        let published = shared.published()?;
        let tables: Vec<_> = published.tables().filter_map(|name| published.table(name)).collect();
        let population = statistics::Data::population(shared.as_ref(), &epoch)?;
        shared.statistics.utility(&tables, &population, depth).await
    }

    /// Checks that a cohort can be registered beside those that are, at the newest commit. Says how many persons it has, to those who
    /// decide.
    pub fn check_cohort(&self, cohort: &Cohort) -> Result<u64, QueryError> {
        self.shared.check_cohort(cohort)
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
        Ok(self.shared.resolve(Request::parse(sql)?, self.shared.clock.now())?.cells())
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
                Asked::Feasibility => (None, shared.prepare_feasibility(&about).await),
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
            Prepared::Statistics { resolved, asker, schema, granted } => {
                let bounds = self.bounds(question, granted, listed, deadline);
                let suppressed = Suppressed::default();
                let method = *self.shared.statistics.method().document();
                let basis = Basis::Epoch { epoch: resolved.cite(), method, suppressed: suppressed.clone() };
                let intended = recorded.intent(&basis, &[format!("statistics.{}", resolved.request.table)], None)?;
                let shared = self.shared.clone();
                let produce = |sender: tokio::sync::mpsc::Sender<Message>| async move {
                    let batch = shared.released(&resolved, &asker, &suppressed).await?;
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
    /// What statistics can be asked for now.
    fn published(&self) -> Result<Arc<Published>, QueryError> {
        self.statistics.published(&self.database, self.clock.now())
    }

    /// Finds the cells of the epochs that `at` lies in.
    fn resolve(&self, request: Request, at: jiff::Timestamp) -> Result<Resolved, QueryError> {
        Resolved::of(request, self.published()?.as_ref(), &self.statistics.settings.epochs, at)
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
            return (purpose, self.prepare_statistics(question, granted).await);
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

    async fn prepare_statistics(&self, question: &Question, granted: Granted) -> Result<Prepared, QueryError> {
        if question.min_commit.is_some() {
            return Err(QueryError::Commit("statistics are those of an epoch; Dugnad-Min-Commit is for rows".to_owned()));
        }
        let at = match question.as_of {
            Some(commit) => permit::time_of(&self.database, &granted.permit, commit)?,
            None => self.clock.now(),
        };
        let resolved = self.resolve(Request::parse(&question.sql)?, at)?;
        resolved.within(&granted.permit)?;
        statistics::has_begun(granted.permit.document().decision.at, &resolved)?;
        let group = self.group(&granted.permit)?;
        self.prepared(resolved, group, Some(granted)).await
    }

    async fn prepare_feasibility(&self, question: &Question) -> Result<Prepared, QueryError> {
        let request = Request { rounding: Some(FEASIBILITY_ROUNDING), ..Request::parse(&question.sql)? };
        // Of an application, twenty cells are shown in all; they are on no ledger.
        self.prepared(self.resolve(request, self.clock.now())?, None, None).await
    }

    async fn prepared(&self, resolved: Resolved, group: Option<String>, granted: Option<Granted>) -> Result<Prepared, QueryError> {
        let schema = resolved.schema(self.clock.now()).await?;
        Ok(Prepared::Statistics { resolved: Box::new(resolved), asker: Asker { group }, schema, granted })
    }

    /// The group of organisations that an applicant belongs to; one that is not registered is a group of its own.
    fn group(&self, permit: &Permit) -> Result<Option<String>, QueryError> {
        let internal = |e: &dyn std::fmt::Display| QueryError::Internal(e.to_string());
        let documents = self.database.documents("organisation").map_err(|e| internal(&e))?;
        let organisations = documents.iter().filter_map(|d| Organisation::parse(d.json.as_str()).ok());
        let (applicant, users) = (&permit.document().applicant, &permit.document().users);
        let is_own = |o: &Organisation| o.id == *applicant || o.name == *applicant || users.iter().any(|user| o.has(user));
        let own = organisations.into_iter().find(is_own);
        Ok(Some(own.map_or_else(|| applicant.clone(), |own| own.group().to_owned())))
    }

    /// The data at the start of an epoch, without those who were out, or protected, when it began: one eligible population for all its
    /// statistics.
    fn at_epoch(&self, epoch: &Epoch) -> Result<(Snapshot, RowFilter), QueryError> {
        let internal = |e: &dyn std::fmt::Display| QueryError::Internal(e.to_string());
        let commit = self.database.commit_at(epoch.start).map_err(|e| internal(&e))?;
        let snapshot = self.database.snapshot_at(commit).map_err(|e| internal(&e))?;
        let snapshot = snapshot.ok_or_else(|| QueryError::Internal("the epoch's commit is not there".to_owned()))?;
        let failed = |error| policy::damaged(&self.database, &error);
        let mut without = population::opted_out(&snapshot).map_err(failed)?;
        without |= population::protected(&snapshot).map_err(failed)?;
        let filter = RowFilter { without: Some(Arc::new(without)), unmarked: true, ..RowFilter::default() };
        Ok((snapshot, filter))
    }

    /// Everyone who counts at a snapshot.
    fn everyone(&self, snapshot: &Snapshot, filter: &RowFilter) -> Result<RoaringBitmap, QueryError> {
        let mut everyone = population::registered(snapshot).map_err(|error| policy::damaged(&self.database, &error))?;
        filter.without.iter().for_each(|without| everyone -= without.as_ref());
        Ok(everyone)
    }

    fn check_cohort(&self, cohort: &Cohort) -> Result<u64, QueryError> {
        let snapshot = self.database.snapshot();
        let everyone = self.everyone(&snapshot, &RowFilter::default())?;
        let registered: Vec<Cohort> =
            statistics::all(&self.database)?.into_iter().filter(|c| c.decision.as_ref().is_some_and(|d| d.registered)).collect();
        let difference = self.statistics.method().difference();
        Ok(statistics::check(&cohort.id, &cohort.expression, &registered, &snapshot, &everyone, difference)?.len())
    }

    /// The answer of a statistics question, from released tables.
    async fn released(&self, resolved: &Resolved, asker: &Asker, suppressed: &Suppressed) -> Result<RecordBatch, QueryError> {
        self.statistics.answer(resolved, asker, self, self.clock.now(), suppressed).await
    }
}

impl statistics::Data for Shared {
    fn population(&self, epoch: &Epoch) -> Result<Population, QueryError> {
        let (snapshot, filter) = self.at_epoch(epoch)?;
        let sources = Arc::new(Tables::of(snapshot, &self.database));
        Ok(Population { epoch: *epoch, sources, views: self.views().to_vec(), filter })
    }

    fn cohort(&self, id: &str, epoch: &Epoch) -> Result<statistics::Members, QueryError> {
        let standing = statistics::standing(&self.database, epoch.start)?;
        let absent = || QueryError::Refused(format!("there is no cohort {id} that was registered before {}", epoch.start));
        let cohort = standing.iter().find(|cohort| cohort.id == id).ok_or_else(absent)?;
        let (snapshot, filter) = self.at_epoch(epoch)?;
        let everyone = self.everyone(&snapshot, &filter)?;
        let difference = self.statistics.method().difference();
        let persons = statistics::check(id, &cohort.expression, &standing, &snapshot, &everyone, difference)?;
        let decided = |c: &Cohort| c.decision.as_ref().map(|d| (d.decided.at, c.id.clone()));
        let earlier = standing.iter().filter(|other| decided(other) < decided(cohort));
        let before = earlier.map(|other| statistics::members(&other.expression, &snapshot, &everyone)).collect::<Result<_, _>>()?;
        Ok(statistics::Members { persons, before })
    }
}
