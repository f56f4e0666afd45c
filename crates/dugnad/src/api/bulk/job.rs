//! An export that runs: pages of each type's search, as lines of files.

use super::asked::{Asked, Level, OfType, members};
use super::deleted;
use super::files::{Files, Lines, Output};
use crate::api::auth::Hospital;
use crate::api::exports::{Export, Folder, Label, Place};
use crate::api::search::write_part;
use crate::api::work::{self, Read};
use crate::api::{ApiError, App, answer, interaction};
use crate::limits::EXPORT_CHUNK_BYTES;
use bumpalo::Bump;
use dugnad_kernel::access::Act as Reached;
use dugnad_kernel::audit::{Access, Act, Entry};
use dugnad_kernel::database::Page;
use dugnad_kernel::fhir::json;
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_kernel::limits::{MAX_SEARCH_JOINED, MAX_SEARCH_PAGE, SEARCH_TIME};
use dugnad_kernel::live::Snapshot;
use dugnad_kernel::search::compartment;
use dugnad_kernel::search::execute::{Cursor, Hit};
use dugnad_kernel::search::parse::Environment;
use dugnad_kernel::search::query::{Moments, Resources, Search};
use jiff::Timestamp;
use roaring::RoaringBitmap;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How far an export is.
#[derive(Clone, Debug)]
pub enum Progress {
    /// So many types are written.
    Running { done: usize },
    /// All are.
    Done(Vec<Output>),
    /// It ended, and left no files.
    Failed(ApiError),
}

/// An export.
pub struct Job {
    pub label: Label,
    /// Whose resources they are; none have any where the hospital has never written.
    pub(super) holder: Option<HolderId>,
    /// As of which commit.
    pub commit: Commit,
    /// When that was made.
    pub time: Timestamp,
    /// All tables at that commit, until they are read: a job that is kept for its files keeps no tables.
    snapshot: Mutex<Option<Snapshot>>,
    pub types: Vec<OfType>,
    pub(super) whose: Whose,
    /// Deletions by these commits, from the first to the last, are told.
    pub(super) deletions: Option<(Commit, Commit)>,
    base: String,
    /// As it was asked for.
    pub request: String,
    /// The same without values, for the record.
    summary: &'static str,
    progress: Mutex<Progress>,
}

/// Of whom an export is.
pub(super) enum Whose {
    Everything,
    /// What is about any patient.
    Patients,
    /// What is about one of these.
    Members(Arc<Resources>),
}

impl Whose {
    /// Whether a resource is exported.
    pub(super) fn has(&self, stored: &[u8]) -> Result<bool, ApiError> {
        let arena = Bump::new();
        let resource = || json::parse(stored, &arena).map_err(|e| ApiError::internal(&format!("a stored resource: {e}")));
        Ok(match self {
            Whose::Everything => true,
            Whose::Patients => compartment::has_patient(resource()?),
            Whose::Members(members) => compartment::has_one_of(resource()?, members),
        })
    }
}

impl Export for Job {
    fn label(&self) -> &Label {
        &self.label
    }
}

impl Job {
    /// Looks up what is to be exported. Blocks.
    pub fn new(app: &App, hospital: Hospital, asked: &Asked, base: String, request: String) -> Result<Self, ApiError> {
        // Before the snapshot: what is searched for by them must be in its tables.
        let known = app.database().search_parameters();
        let snapshot = app.database().snapshot();
        let holder = app.database().holder(&hospital.holder).map(|holder| holder.id);
        let (whose, summary) = match &asked.level {
            Level::System => (Whose::Everything, "GET /fhir/$export"),
            Level::Patients => (Whose::Patients, "GET /fhir/Patient/$export"),
            Level::Group(id) => {
                let members = group(app, &hospital, holder, id, &snapshot)?;
                (Whose::Members(Arc::new(members)), "GET /fhir/Group/{id}/$export")
            }
        };
        let members = if let Whose::Members(members) = &whose { Some(members) } else { None };
        let environment = Environment { now: app.now(), base: &base, known: &known };
        let mut types = asked.of_types(&environment, members)?;
        limit(app, &hospital, asked, &mut types, summary)?;
        let deletions = deletions(app, asked, snapshot.commit())?;
        let label = Label::new(hospital.who, app.now());
        let progress = Mutex::new(Progress::Running { done: 0 });
        let (commit, time, snapshot) = (snapshot.commit(), snapshot.time(), Mutex::new(Some(snapshot)));
        Ok(Self { label, holder, commit, time, snapshot, types, whose, deletions, base, request, summary, progress })
    }

    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// Where to ask for it.
    pub fn address(&self) -> String {
        format!("{}/$export/{}", self.base, self.label.id)
    }

    /// What is said of it in the log.
    pub fn describe(&self, entry: &mut Entry, act: &str) {
        entry.interface = Some("export".to_owned());
        entry.request = Some(format!("{}{act}", self.summary));
        entry.tables = self.types.iter().map(|of| of.resource_type.to_owned()).collect();
        entry.commit = Some(self.commit.0);
    }
}

/// The commits of `_since` and `_until`, as of one. Without `_since` there is nothing that a client could have had before.
fn deletions(app: &App, asked: &Asked, commit: Commit) -> Result<Option<(Commit, Commit)>, ApiError> {
    let before = |moments: Moments| -> Result<Commit, ApiError> {
        let at = Timestamp::from_microsecond(moments.low.saturating_sub(1)).unwrap_or(Timestamp::MIN);
        Ok(app.database().commit_at(at)?)
    };
    let Some(since) = asked.since else { return Ok(None) };
    let until = asked.until.map_or(Ok(commit), before)?;
    Ok(Some((Commit(before(since)?.0 + 1), until.min(commit))))
}

/// Leaves of an export what the scopes of whoever asks reach: what they may search for and read. What they name must be reached.
fn limit(app: &App, hospital: &Hospital, asked: &Asked, types: &mut Vec<OfType>, request: &str) -> Result<(), ApiError> {
    const ACTS: [Reached; 2] = [Reached::Search, Reached::Read];
    let require = |name: &str| ACTS.iter().try_for_each(|act| hospital.require(app, *act, name, request));
    asked.named().try_for_each(require)?;
    let there_were = !types.is_empty();
    types.retain(|of| ACTS.iter().all(|act| hospital.reaches(*act, of.resource_type)));
    if there_were && types.is_empty() {
        require("*")?;
    }
    for of in types.iter_mut() {
        of.whole = ACTS.iter().all(|act| hospital.reaches_all(*act, of.resource_type));
    }
    for search in types.iter_mut().flat_map(|of| &mut of.searches) {
        let narrowed = ACTS.iter().try_for_each(|act| hospital.narrow(search, *act));
        narrowed.map_err(|error| app.refuse_scope(&hospital.who, request, error))?;
    }
    Ok(())
}

/// The members of a Group, on the record.
fn group(app: &App, hospital: &Hospital, holder: Option<HolderId>, id: &str, snapshot: &Snapshot) -> Result<Resources, ApiError> {
    let request = "GET /fhir/Group/{id}/$export (its members)";
    hospital.require(app, Reached::Read, "Group", request)?;
    let access =
        work::Access { who: hospital.who.clone(), interface: "fhir", request: request.to_owned(), tables: vec!["Group".to_owned()] };
    app.read_about_at(&access, Some(snapshot.commit()), |commit| {
        let nothing = |error| Ok(Read { found: Err(error), rows: 0, patients: None });
        let Some(holder) = holder else { return nothing(interaction::absent()) };
        let stored = app.database().read_at(holder, "Group", id, commit)?;
        let stored = stored.filter(|stored| hospital.admits(Reached::Read, "Group", stored.json.as_deref()));
        let Some(stored) = stored else { return nothing(interaction::absent()) };
        let Some(json) = stored.json else { return nothing(answer::gone()) };
        let patients = Some(app.database().patients_named(holder, "Group", id, [json.as_slice()])?);
        Ok(Read { found: Ok(members(&json)), rows: 1, patients })
    })?
}

/// The access that an export is, in the log. It ends as `cancelled` where nobody else has ended it: an export that was removed
/// delivers nothing.
struct Recorded {
    app: App,
    job: Arc<Job>,
    access: Option<Access>,
}

impl Recorded {
    fn begin(app: &App, job: &Arc<Job>) -> Self {
        let intent = app.entry(Act::Intent, &job.label.who, |e| job.describe(e, ""));
        let access = app.audit().begin_then(&intent, Box::new(drop));
        Self { app: app.clone(), job: Arc::clone(job), access: Some(access) }
    }

    fn completion(&self, rows: u64, outcome: &str) -> Entry {
        self.app.entry(Act::Completion, &self.job.label.who, |e| {
            self.job.describe(e, "");
            (e.request, e.rows, e.outcome) = (None, Some(rows), Some(outcome.to_owned()));
        })
    }

    async fn end(mut self, outputs: &[Output], outcome: &str) -> Result<(), ApiError> {
        let patients: RoaringBitmap = outputs.iter().flat_map(|output| output.patients.iter()).collect();
        let completion = self.completion(outputs.iter().map(|output| output.count).sum(), outcome);
        match self.access.take() {
            Some(access) => self.app.complete(access, &completion, Some(&Arc::new(patients))).await.map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(access) = self.access.take() {
            let completion = self.completion(0, "cancelled");
            self.app.audit().complete_then(access, &completion, Some(&Arc::default()), Box::new(drop));
        }
    }
}

/// Writes all files of an export.
///
/// Order: the intent is given to the log, then it is read; the completion, with all Patients who are in the files, is durable before
/// the manifest names them.
pub async fn run(app: App, job: Arc<Job>, folder: Arc<Folder>, _place: Place) {
    let recorded = Recorded::begin(&app, &job);
    let written = match app.check_log() {
        Ok(()) => write(&app, &job, &folder).await,
        Err(error) => Err(error),
    };
    let outputs = written.as_ref().map(Vec::as_slice).unwrap_or_default();
    let ended = recorded.end(outputs, if written.is_ok() { "ok" } else { "failed" }).await;
    match written.and_then(|outputs| ended.map(|()| outputs)) {
        Ok(outputs) => job.set(Progress::Done(outputs)),
        Err(error) => {
            folder.cleared().await;
            job.set(Progress::Failed(error));
        }
    }
}

async fn write(app: &App, job: &Arc<Job>, folder: &Arc<Folder>) -> Result<Vec<Output>, ApiError> {
    let snapshot = job.snapshot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let snapshot = snapshot.ok_or_else(|| ApiError::internal("an export was run twice"))?;
    let mut outputs = Vec::new();
    for (done, of) in job.types.iter().enumerate() {
        let mut files = Files::new(folder, of.resource_type, false);
        let mut seen = HashSet::new();
        for search in &of.searches {
            let mut after = None;
            loop {
                let (hits, next) = page(app, job, &snapshot, search, after).await?;
                let new = hits.into_iter().filter(|hit| of.searches.len() == 1 || seen.insert(hit.resource)).collect();
                if seen.len() > MAX_SEARCH_JOINED {
                    return Err(too_many());
                }
                lines(app, job, of, new, &mut files).await?;
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        outputs.extend(files.finish().await?);
        job.set(Progress::Running { done: done + 1 });
    }
    outputs.extend(deleted::write(app, job, &snapshot, folder).await?);
    Ok(outputs)
}

fn too_many() -> ApiError {
    let what = format!("several searches of one type find more than {MAX_SEARCH_JOINED} resources; export them one by one");
    ApiError::bad_request(dugnad_kernel::fhir::issue::IssueType::TooCostly, what).at("http._typeFilter")
}

/// The next matches of a search.
async fn page(
    app: &App,
    job: &Job,
    snapshot: &Snapshot,
    search: &Search,
    after: Option<Cursor>,
) -> Result<(Vec<Hit>, Option<Cursor>), ApiError> {
    let Some(holder) = job.holder else { return Ok((Vec::new(), None)) };
    let (place, snapshot, search) = (app.enter_reads().await?, snapshot.clone(), search.clone());
    app.on_thread(place, move |app| {
        let page = Page { after, count: MAX_SEARCH_PAGE, ..Page::default() };
        let found = app.database().search_in(&snapshot, holder, &search, page, Some(Instant::now() + SEARCH_TIME))?;
        Ok((found.hits, found.next))
    })
    .await
}

/// Appends what was found, some of it at a time.
async fn lines(app: &App, job: &Arc<Job>, of: &OfType, hits: Vec<Hit>, files: &mut Files<'_>) -> Result<(), ApiError> {
    let (hits, mut from) = (Arc::new(hits), 0);
    while from < hits.len() {
        let (place, job, of, found) = (app.enter_reads().await?, Arc::clone(job), of.clone(), Arc::clone(&hits));
        let read = move |app: &App| {
            let (mut lines, mut at) = (Lines::default(), from);
            while lines.bytes.len() < EXPORT_CHUNK_BYTES
                && let Some(hit) = found.get(at)
            {
                line(app, &job, &of, hit, &mut lines)?;
                at += 1;
            }
            Ok((lines, at))
        };
        let (lines, to) = app.on_thread(place, read).await?;
        files.append(lines).await?;
        from = to;
    }
    Ok(())
}

/// Appends a resource, unless it was erased meanwhile, or is about nobody and only what is about patients is wanted.
fn line(app: &App, job: &Job, of: &OfType, hit: &Hit, lines: &mut Lines) -> Result<(), ApiError> {
    let Some(holder) = job.holder else { return Ok(()) };
    let found = app.database().found(holder, of.resource_type, std::slice::from_ref(hit))?;
    let Some(stored) = found.into_iter().flatten().next().and_then(|version| version.json) else { return Ok(()) };
    // What is about members of a Group has been searched for as that.
    if matches!(job.whose, Whose::Patients) && !job.whose.has(&stored)? {
        return Ok(());
    }
    match &of.subset {
        None => lines.bytes.extend_from_slice(&stored),
        Some(subset) => write_part(&stored, subset, &mut lines.bytes)?,
    }
    lines.bytes.push(b'\n');
    lines.count += 1;
    let patients = app.database().patients_named(holder, of.resource_type, &hit.id, [stored.as_slice()])?;
    lines.patients.extend(patients.into_iter().map(|patient| patient.0));
    Ok(())
}
