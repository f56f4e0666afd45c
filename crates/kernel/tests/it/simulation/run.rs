//! Runs a story on a database and on the model, and says where they differ.

use super::definition::definition;
use super::erasure;
use super::model::{Expected, Model};
use super::request::{MARK, Request};
use super::rows::{self, Names};
use super::story::{Id, Operation, Step, Write};
use super::together;
use dugnad_kernel::clock::{Clock, ManualClock};
use dugnad_kernel::database::{
    Database, ERASURE_LIST, EntryOutcome, EraseError, JOURNAL, Outcome, StoredVersion, ViewRefused, ViewState, WriteError, copy_journal,
    start_timeline,
};
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_kernel::live::Tuning;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The kinds of the documents of the stories.
const DOCUMENTS: [&str; 2] = ["permit", "study"];

/// What went wrong, and after how many steps.
pub struct Failure {
    pub step: usize,
    pub what: String,
}

/// Why a step did not end as the model says.
#[derive(Debug)]
pub enum Trouble {
    /// The database and the model differ.
    Differs(String),
    /// The database has stopped, or does not open; it says why. Without a fault of the disk that is a failure too.
    Stopped(String),
}

impl From<String> for Trouble {
    fn from(what: String) -> Self {
        Self::Differs(what)
    }
}

impl From<WriteError> for Trouble {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(_) => Self::Stopped(error.to_string()),
            other => Self::Differs(other.to_string()),
        }
    }
}

impl Trouble {
    pub fn what(self) -> String {
        match self {
            Self::Differs(what) => what,
            Self::Stopped(why) => format!("stopped: {why}"),
        }
    }
}

/// A story that is being run.
pub struct Run {
    folder: PathBuf,
    lives: u32,
    clock: Arc<ManualClock>,
    pub database: Database,
    pub model: Model,
    /// With the write that was not answered, if there is one.
    unanswered: Option<Model>,
    names: Names,
    /// The commit at which the live tables were compared last.
    compared: u64,
    /// The copy of the journal, and what was in it.
    backup: Option<(PathBuf, Model)>,
}

/// A folder for a database: in memory where the system has such a place, since what is tested here is not the disk.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Small, so that a story has full segments, files of them, merges and histories.
const TUNING: Tuning = Tuning { segment_rows: 6, checkpoint_log_bytes: 1_500 };

/// Opens a database.
pub fn open(dir: &Path, clock: &Arc<ManualClock>) -> Result<Database, String> {
    Database::open_tuned(dir, Arc::clone(clock) as Arc<dyn Clock>, TUNING, &mut |_, _| {}).map_err(|e| e.to_string())
}

/// Waits until the tables of all registered views are built.
pub fn wait_for_views(database: &Database) -> Result<(), String> {
    for _ in 0..10_000 {
        let views = database.views();
        if views.iter().all(|v| matches!(v.state, ViewState::Live { .. })) {
            return Ok(());
        }
        if let Some(view) = views.iter().find(|v| matches!(v.state, ViewState::Failed { .. })) {
            return Err(format!("the view {} has failed: {:?}", view.id, view.state));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(format!("the views are not built: {:?}", database.views()))
}

/// Copies what a process that is killed leaves behind. Threads in the background may still be writing: what is copied is what
/// is there twice in a row, so that it has been there at one moment.
pub fn copy(from: &Path, to: &Path) {
    let mut files = contents(from);
    loop {
        let again = contents(from);
        if again.is_some() && again == files {
            break;
        }
        files = again;
    }
    for (path, bytes) in files.unwrap() {
        let target = to.join(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, bytes).unwrap();
    }
}

/// Cuts the logs of the live tables, which nobody syncs, each elsewhere.
fn cut_logs(live: &Path, left: u8) {
    let logs = contents(live).into_iter().flatten().filter(|(path, _)| path.extension().is_some_and(|e| e == "log"));
    for ((path, bytes), share) in logs.zip((0..).map(|n: u8| left.wrapping_add(n.wrapping_mul(101)))) {
        std::fs::write(live.join(path), &bytes[..bytes.len() * usize::from(share) / 256]).unwrap();
    }
}

/// The files in a folder and those in it, by their paths in it; `None` if one is removed meanwhile. SQLite's index of its log
/// is shared memory, and is not one of them.
fn contents(folder: &Path) -> Option<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        let name = PathBuf::from(entry.file_name());
        if entry.file_type().ok()?.is_dir() {
            files.extend(contents(&entry.path())?.into_iter().map(|(path, bytes)| (name.join(path), bytes)));
        } else if !name.to_string_lossy().ends_with("-shm") {
            files.insert(name, std::fs::read(entry.path()).ok()?);
        }
    }
    Some(files)
}

/// The whole story: `Ok`, or the first step after which database and model differ.
pub fn run(story: &[Step]) -> Result<(), Failure> {
    let failed = |step: usize| move |trouble: Trouble| Failure { step, what: trouble.what() };
    let folder = folder();
    let mut run = Run::begin(folder.path()).map_err(failed(0))?;
    for (i, step) in story.iter().enumerate() {
        run.step(step).map_err(failed(i + 1))?;
    }
    run.end().map_err(failed(story.len()))
}

impl Run {
    /// Makes a database in the folder `0` of `folder`.
    pub fn begin(folder: &Path) -> Result<Self, Trouble> {
        let start: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let mut run = Self::resume(folder, |_| Model::new(start))?;
        run.register(0)?;
        run.register(1)?;
        Ok(run)
    }

    /// Opens the database in the folder `0` of `folder`, of which the model is made.
    pub fn resume(folder: &Path, model: impl FnOnce(&Database) -> Model) -> Result<Self, Trouble> {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let database = open(&folder.join("0"), &clock).map_err(Trouble::Stopped)?;
        let model = model(&database);
        clock.set(model.clock);
        let (folder, names) = (folder.to_owned(), Names::default());
        Ok(Self { folder, lives: 0, clock, database, model, unanswered: None, names, compared: 0, backup: None })
    }

    /// The database's folder.
    pub fn dir(&self) -> PathBuf {
        self.folder.join(self.lives.to_string())
    }

    /// Does a step and compares.
    pub fn step(&mut self, step: &Step) -> Result<(), Trouble> {
        match &step.operation {
            Operation::Write(write) => self.write(write)?,
            Operation::Batch(writes) => writes.iter().try_for_each(|write| self.write(write))?,
            Operation::Together(writes) => together::write(&self.database, &mut self.model, writes)?,
            Operation::Holder(n) => self.register(*n)?,
            Operation::Document { kind, id, content } => self.put_document(DOCUMENTS[usize::from(*kind)], *id, *content)?,
            Operation::Close | Operation::Crash | Operation::PowerLoss { .. } => {
                self.restart(&step.operation)?;
                self.compare_all()?;
            }
            Operation::Checkpoint(mode) => self.checkpoint(mode)?,
            Operation::View { id, definition } => self.register_view(*id, *definition)?,
            Operation::WithoutView { id } => self.remove_view(*id)?,
            Operation::Erase { holder, id } => self.erase(*holder, *id)?,
            Operation::Purged => self.purged()?,
            Operation::Backup(writes) => self.back_up(writes)?,
            Operation::Restore => self.restore()?,
            Operation::Clock(seconds) => {
                self.model.clock += SignedDuration::from_secs(i64::from(*seconds));
                self.clock.set(self.model.clock);
            }
        }
        if self.model.newest() > self.compared {
            self.compared = self.model.newest();
            self.compare(self.compared)?;
        }
        Ok(step.look_back.map_or(Ok(()), |share| self.compare(self.model.newest() * u64::from(share) / 256))?)
    }

    /// Closes it, opens it and compares every commit.
    pub fn end(&mut self) -> Result<(), Trouble> {
        wait_for_views(&self.database)?;
        self.restart(&Operation::Close)?;
        wait_for_views(&self.database)?;
        self.compare_all()?;
        self.purged()?;
        (0..=self.model.newest()).try_for_each(|commit| self.compare(commit))?;
        self.compare_with_rebuild()
    }

    fn register(&mut self, n: u8) -> Result<(), Trouble> {
        let name = format!("Hospital {n}");
        let mut after = self.model.clone();
        if !after.holders.contains(&name) {
            after.holders.push(name.clone());
        }
        let holder = self.answered(|database| database.register_holder(&name), after)?;
        let number = self.model.holders.iter().position(|h| *h == name).map(|i| i + 1);
        Ok(equal("the holder's number", &Some(usize::from(holder.id.0)), &number)?)
    }

    fn put_document(&mut self, kind: &str, id: u8, content: u8) -> Result<(), Trouble> {
        let (id, content) = (format!("d{id}"), json!({"content": content}));
        let mut after = self.model.clone();
        after.put_document(kind, &id, content.clone());
        let commit = self.answered(|database| database.put_document(kind, &id, &content.to_string()), after)?;
        equal("the document's commit", &commit.0, &self.model.newest())?;
        Ok(self.compare_history(HolderId::CENTRE, kind, &id)?)
    }

    fn register_view(&mut self, id: u8, seed: u32) -> Result<(), Trouble> {
        let definition = definition(seed, &format!("view_{id}"));
        let name = definition["name"].as_str().unwrap();
        let mut after = self.model.clone();
        after.register_view(&definition);
        let register = |database: &Database| match database.register_view(name, &definition.to_string()) {
            Ok(commit) => Ok(commit),
            Err(ViewRefused::Write(error)) => Err(error),
            Err(other) => panic!("{other}"),
        };
        let commit = self.answered(register, after)?;
        Ok(equal("the view's commit", &commit.0, &self.model.newest())?)
    }

    fn remove_view(&mut self, id: u8) -> Result<(), Trouble> {
        let name = format!("view_{id}");
        let mut after = self.model.clone();
        after.remove_view(&name);
        let there = after.newest() > self.model.newest();
        let commit = self.answered(|database| database.remove_view(&name), after)?;
        Ok(equal("the commit without the view", &commit.map(|c| c.0), &there.then(|| self.model.newest()))?)
    }

    fn erase(&mut self, holder: u8, id: Id) -> Result<(), Trouble> {
        let holder = self.model.holder(holder);
        let id = self.model.id(holder, "Patient", id);
        let person = (self.model.holders[usize::from(holder.0) - 1].clone(), id.clone());
        let mut after = self.model.clone();
        if !after.erased.contains_key(&person) {
            after.erase(std::slice::from_ref(&person));
        }
        match self.database.erase(holder, &id, "asked for") {
            Ok(erasure) => equal("the erasure's commit", &erasure.commit.0, &after.erased[&person])?,
            // Hidden all the same; on the list when the database is opened again.
            Err(EraseError::List(_)) => {}
            // One whom a reference has mentioned can be erased too.
            Err(EraseError::Unknown) if !self.model.resources.contains_key(&(holder.0, "Patient".to_owned(), id.clone())) => return Ok(()),
            Err(EraseError::Write(error)) => {
                self.unanswered = Some(after);
                return Err(error.into());
            }
            Err(other) => return Err(Trouble::Differs(other.to_string())),
        }
        self.model = after;
        Ok(self.compare_all()?)
    }

    fn is_purged(&self) -> bool {
        self.database.erasures().iter().all(|e| e.purged_at.is_some())
    }

    /// Waits for the purge; then no file has what was erased.
    pub fn purged(&mut self) -> Result<(), Trouble> {
        let patience = (0..20_000).find(|_| {
            std::thread::sleep(Duration::from_millis(1));
            self.is_purged()
        });
        patience.ok_or_else(|| "the purge does not end".to_owned())?;
        let gone = erasure::marks_gone(&self.model);
        let files = if gone.is_empty() { None } else { (0..100).find_map(|_| contents(&self.dir())) };
        for (path, bytes) in files.unwrap_or_default() {
            let found =
                memchr::memmem::find_iter(&bytes, MARK).filter_map(|at| std::str::from_utf8(bytes.get(at..at + MARK.len() + 8)?).ok());
            if let Some(mark) = found.filter(|mark| gone.contains(*mark)).last() {
                return Err(Trouble::Differs(format!("{} has {mark}, which was erased", path.display())));
            }
        }
        Ok(self.compare_all()?)
    }

    /// Copies the journal, and writes meanwhile.
    fn back_up(&mut self, writes: &[Write]) -> Result<(), Trouble> {
        let to = self.folder.join(format!("backup-{}-{}", self.lives, self.model.newest()));
        let _ = std::fs::remove_file(&to); // of a story's step before
        let (dir, mut states) = (self.dir(), vec![self.model.clone()]);
        let copied = std::thread::scope(|scope| {
            let copying = scope.spawn(|| copy_journal(&dir, &to, &mut |_, _| {}));
            for write in writes {
                self.write(write)?;
                states.push(self.model.clone());
            }
            copying.join().unwrap().map_err(|e| Trouble::Stopped(e.to_string()))
        })?;
        let state = states.into_iter().find(|state| state.newest() == copied.commit.0);
        let state = state.ok_or_else(|| format!("the copy has commit {:?}, which is none that was made meanwhile", copied.commit))?;
        equal("the copy's timeline", &copied.timeline, &self.database.timeline())?;
        self.backup = Some((to, state));
        Ok(())
    }

    /// Puts the copy in the journal's place: a new timeline, in which the persons on the list are erased again.
    fn restore(&mut self) -> Result<(), Trouble> {
        let Some((copy, model)) = self.backup.clone() else { return Ok(()) };
        let before = self.database.timeline();
        self.database.close();
        let old = self.dir();
        self.lives += 1;
        std::fs::create_dir(self.dir()).unwrap();
        std::fs::copy(copy, self.dir().join(JOURNAL)).unwrap();
        if old.join(ERASURE_LIST).exists() {
            std::fs::copy(old.join(ERASURE_LIST), self.dir().join(ERASURE_LIST)).unwrap();
        }
        start_timeline(&self.dir()).map_err(|e| Trouble::Stopped(e.to_string()))?;
        let clock = self.model.clock;
        let again: Vec<(String, String)> = self.model.erased.keys().filter(|person| !model.erased.contains_key(*person)).cloned().collect();
        self.model = model;
        self.model.clock = clock;
        if !again.is_empty() {
            self.model.erase(&again);
        }
        self.database = open(&self.dir(), &self.clock).map_err(Trouble::Stopped)?;
        if self.database.timeline() == before {
            return Err(Trouble::Differs("a restored database has the timeline of the one before".to_owned()));
        }
        (self.names, self.compared) = (Names::default(), self.model.newest());
        Ok(self.compare_all()?)
    }

    /// The live tables equal those that are made of the journal alone, at every commit.
    fn compare_with_rebuild(&mut self) -> Result<(), Trouble> {
        let dir = self.folder.join("rebuilt");
        copy(&self.dir(), &dir);
        std::fs::remove_dir_all(dir.join("live")).unwrap();
        let rebuilt = open(&dir, &self.clock).map_err(Trouble::Stopped)?;
        wait_for_views(&rebuilt)?;
        let named = |database: &Database| -> Vec<String> { database.snapshot().tables().iter().map(|t| t.schema().name.clone()).collect() };
        let same = named(&self.database) == named(&rebuilt); // the tables of views come in the order in which they are built
        for commit in (0..=self.model.newest()).filter(|_| same) {
            let at = |database: &Database| database.snapshot_at(Commit(commit)).unwrap().unwrap();
            if let Some(difference) = at(&self.database).first_difference(&at(&rebuilt)) {
                return Err(Trouble::Differs(format!("a rebuild, at commit {commit} of {}: {difference}", self.model.newest())));
            }
        }
        rebuilt.close();
        Ok(())
    }

    /// Does what makes `after` of the model. Without an answer it is not known whether it has.
    fn answered<T>(&mut self, work: impl Fn(&Database) -> Result<T, WriteError>, after: Model) -> Result<T, Trouble> {
        match work(&self.database) {
            Ok(done) => {
                self.model = after;
                Ok(done)
            }
            Err(error) => {
                self.unanswered = Some(after);
                Err(error.into())
            }
        }
    }

    fn write(&mut self, write: &Write) -> Result<(), Trouble> {
        let request = Request::of(write, &self.model);
        if request.entries.is_empty() {
            return Ok(());
        }
        let result = self.database.write(request.write());
        let expected = self.model.expect(&request, &|entry| drawn(result.as_ref().ok(), entry));
        match (&expected, result) {
            (Expected::Refused(wanted), Err(WriteError::Refused { status, .. })) if status == *wanted => Ok(()),
            (Expected::Replayed(commit), Ok(outcome)) if outcome.replayed && outcome.commit.0 == *commit => Ok(()),
            (Expected::Done(done), Ok(outcome)) if !outcome.replayed => {
                let entries: Vec<_> = outcome.entries.iter().map(|e| (e.status, e.id.clone(), e.version)).collect();
                equal("the entries", &entries, &done.entries)?;
                self.model.apply(&request, done);
                equal("the outcome's commit", &outcome.commit.0, &self.model.newest())?;
                let compare = |entry: &EntryOutcome| self.compare_history(request.holder, &entry.resource_type, &entry.id);
                Ok(outcome.entries.iter().try_for_each(compare)?)
            }
            (_, Err(error @ WriteError::Stopped(_))) => {
                let mut after = self.model.clone();
                if let Expected::Done(done) = &expected {
                    after.apply(&request, done);
                }
                self.unanswered = Some(after);
                Err(error.into())
            }
            (_, result) => {
                Err(Trouble::Differs(format!("the database says\n  {result:?}\nthe model says\n  {expected:?}\nto\n  {request:?}")))
            }
        }
    }

    /// From a connection of its own, as the checkpoint thread does, but when the story says so.
    pub fn checkpoint(&self, mode: &str) -> Result<(), Trouble> {
        let path = self.dir().join("journal.sqlite");
        let done = Connection::open(path).and_then(|c| c.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())));
        done.map_err(|e| Trouble::Stopped(e.to_string()))
    }

    /// Opens the database after a fault, and finds out what became of the write that was not answered: all or nothing.
    pub fn recover(&mut self, how: &Operation) -> Result<(), Trouble> {
        self.reopen(how)?;
        if let Some(after) = self.unanswered.take() {
            let there = |model: &Model| {
                let holders: Vec<String> = self.database.holders().into_iter().map(|h| h.name).collect();
                self.database.snapshot().commit().0 == model.newest() && holders == model.holders
            };
            if there(&after) && !there(&self.model) {
                self.model = after;
            }
        }
        Ok(self.compare_all()?)
    }

    /// Opens the database again: what is there is what was there.
    fn restart(&mut self, how: &Operation) -> Result<(), Trouble> {
        let before = self.database.snapshot();
        self.reopen(how)?;
        // The tables of registered views come when they are built, and in that order.
        let views = self.model.tables.iter().any(|t| !t.builtin);
        let difference = if views || !self.model.erased.is_empty() { None } else { before.first_difference(&self.database.snapshot()) };
        difference.map_or(Ok(()), |d| Err(Trouble::Differs(format!("after {how:?}: before, now: {d}"))))
    }

    /// Opens the database again: closed before, or from the files that a killed process leaves.
    fn reopen(&mut self, how: &Operation) -> Result<(), Trouble> {
        if matches!(how, Operation::Close) {
            self.database.close();
        } else {
            let old = self.dir();
            self.lives += 1;
            copy(&old, &self.dir());
        }
        if let Operation::PowerLoss { left } = how {
            cut_logs(&self.dir().join("live"), *left);
        }
        self.database = open(&self.dir(), &self.clock).map_err(Trouble::Stopped)?;
        Ok(())
    }

    /// The live tables at a commit.
    fn compare(&mut self, commit: u64) -> Result<(), String> {
        equal("the newest commit", &self.database.snapshot().commit().0, &self.model.newest())?;
        let purged = self.is_purged(); // before the tables are looked at
        // A table that is being built is not there yet, or still that of the definition before.
        let views = self.database.views();
        let building: Vec<&str> = views.iter().filter(|v| !matches!(v.state, ViewState::Live { .. })).map(|v| v.table.as_str()).collect();
        let snapshot = self.database.snapshot_at(Commit(commit)).map_err(|e| e.to_string())?;
        let snapshot = snapshot.ok_or_else(|| format!("there is no commit {commit}"))?;
        let time = commit.checked_sub(1).map_or(Timestamp::UNIX_EPOCH, |i| self.model.commits[usize::try_from(i).unwrap()]);
        equal(&format!("the time of commit {commit}"), &snapshot.time(), &time)?;
        let found = rows::of_snapshot(&snapshot.clone().by_patient(), &self.database, &mut self.names)?;
        rows::compare_persons(&snapshot, &self.database, &mut self.names, &erasure::persons(&self.model, commit))?;
        let wanted = self.model.rows(commit);
        let mut found = found;
        if !purged {
            for (table, lingering) in erasure::lingering(&self.model, commit) {
                let rows = found.entry(table.to_owned()).or_default();
                let wanted = wanted.get(table).map(Vec::as_slice).unwrap_or_default();
                leave_out(rows, wanted, lingering);
            }
        }
        let tables = found.keys().map(String::as_str).chain(wanted.keys().copied());
        for table in tables.filter(|table| !building.contains(table)) {
            let none = (Vec::new(), Vec::new());
            let (found, wanted) = (found.get(table).unwrap_or(&none.0), wanted.get(table).unwrap_or(&none.1));
            if !found.iter().eq(wanted.iter()) {
                return Err(format!(
                    "table {table} at commit {commit} of {}: the database has\n  {}\nthe model has\n  {}",
                    self.model.newest(),
                    found.join("\n  "),
                    wanted.join("\n  ")
                ));
            }
        }
        Ok(())
    }

    /// Everything but the rows of older commits.
    pub fn compare_all(&mut self) -> Result<(), String> {
        self.names.check(&self.database)?;
        self.compare(self.model.newest())?;
        for (holder, kind, id) in self.model.resources.keys() {
            self.compare_history(HolderId(*holder), kind, id)?;
        }
        let holders: Vec<String> = self.database.holders().into_iter().map(|h| h.name).collect();
        equal("the holders", &holders, &self.model.holders)?;
        let purged = self.is_purged();
        let counters: BTreeMap<String, u64> = self.database.counters().resources.into_iter().collect();
        if purged {
            equal("the counters", &counters, &self.model.counts())?;
        }
        for kind in DOCUMENTS {
            let found = self.database.documents(kind).map_err(|e| e.to_string())?;
            let ids: Vec<String> = found.into_iter().map(|d| d.id).collect();
            let wanted: Vec<String> = self.model.resources.keys().filter(|(_, k, _)| k == kind).map(|(.., id)| id.clone()).collect();
            equal("the documents", &ids, &wanted)?;
        }
        self.model.commits.iter().try_for_each(|time| {
            let wanted = self.model.commits.iter().filter(|t| *t <= time).count() as u64;
            equal("the commit at a time", &self.database.commit_at(*time).map_err(|e| e.to_string())?.0, &wanted)
        })
    }

    /// Read and history of one resource.
    fn compare_history(&self, holder: HolderId, kind: &str, id: &str) -> Result<(), String> {
        let found = self.database.history(holder, kind, id).map_err(|e| e.to_string())?;
        let name = (holder.0, kind.to_owned(), id.to_owned());
        let wanted = self.model.resources.get(&name).map(Vec::as_slice).unwrap_or_default();
        let found: Vec<_> = found.iter().rev().map(seen).collect();
        let current_is_seen = wanted.last().is_some_and(|v| !erasure::hides(&self.model, &name, v));
        let wanted = wanted.iter().filter(|v| !erasure::hides(&self.model, &name, v));
        let wanted: Vec<_> = wanted.map(|v| (v.number, v.commit, v.time, v.content.clone())).collect();
        equal(&format!("the history of {name:?}"), &found, &wanted)?;
        let current = self.database.read(holder, kind, id).map_err(|e| e.to_string())?;
        equal(&format!("the current version of {name:?}"), &current.as_ref().map(seen), &wanted.last().filter(|_| current_is_seen).cloned())
    }
}

/// Takes rows out of those found that may still stand there, as many as are too many.
fn leave_out(found: &mut Vec<String>, wanted: &[&str], lingering: Vec<&str>) {
    let count = |rows: &[String], row: &str| rows.iter().filter(|r| *r == row).count();
    for row in lingering {
        if count(found, row) > wanted.iter().filter(|w| **w == row).count()
            && let Some(at) = found.iter().position(|f| f == row)
        {
            found.remove(at);
        }
    }
}

fn seen(version: &StoredVersion) -> (u64, u64, Timestamp, Option<Value>) {
    let json = version.json.as_ref().map(|json| serde_json::from_slice(json).unwrap());
    (version.version, version.commit.0, version.last_updated, json)
}

/// The id that the server gave an entry.
pub fn drawn(outcome: Option<&Outcome>, entry: usize) -> String {
    outcome.and_then(|o| o.entries.get(entry)).map_or_else(|| format!("drawn-{entry}"), |e| e.id.clone())
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, database: &T, model: &T) -> Result<(), String> {
    if database == model { Ok(()) } else { Err(format!("{what}: the database says\n  {database:?}\nthe model says\n  {model:?}")) }
}
