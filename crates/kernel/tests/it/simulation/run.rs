//! Runs a story on a database and on the model, and says where they differ.

use super::model::{Expected, Model};
use super::request::Request;
use super::rows::{self, Names};
use super::story::{Operation, Step, Write};
use dugnad_kernel::clock::{Clock, ManualClock};
use dugnad_kernel::database::{Database, Outcome, StoredVersion, WriteError};
use dugnad_kernel::ids::{Commit, HolderId};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The kinds of the documents of the stories.
const DOCUMENTS: [&str; 2] = ["permit", "study"];

/// What went wrong, and after how many steps.
pub struct Failure {
    pub step: usize,
    pub what: String,
}

/// A story that is being run.
pub struct Run {
    folder: TempDir,
    lives: u32,
    clock: Arc<ManualClock>,
    database: Database,
    model: Model,
    names: Names,
}

/// A folder for a database: in memory where the system has such a place, since what is tested here is not the disk.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Opens a database.
pub fn open(dir: &Path, clock: &Arc<ManualClock>) -> Result<Database, String> {
    Database::open(dir, Arc::clone(clock) as Arc<dyn Clock>, &mut |_, _| {}).map_err(|e| e.to_string())
}

/// Copies what a process that is killed leaves behind. SQLite's index of its log is shared memory: it is made anew.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The whole story: `Ok`, or the first step after which database and model differ.
pub fn run(story: &[Step]) -> Result<(), Failure> {
    let failed = |step: usize| move |what: String| Failure { step, what };
    let mut run = Run::new().map_err(failed(0))?;
    for (i, step) in story.iter().enumerate() {
        run.step(step).map_err(failed(i + 1))?;
    }
    run.restart(&Operation::Close).and_then(|()| run.compare_all()).map_err(failed(story.len()))
}

impl Run {
    fn new() -> Result<Self, String> {
        let folder = folder();
        let start: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let database = open(&folder.path().join("0"), &clock)?;
        let mut run = Self { folder, lives: 0, clock, database, model: Model::new(start), names: Names::default() };
        run.register(0)?;
        run.register(1)?;
        Ok(run)
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join(self.lives.to_string())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match &step.operation {
            Operation::Write(write) => self.write(write)?,
            Operation::Batch(writes) => writes.iter().try_for_each(|write| self.write(write))?,
            Operation::Holder(n) => self.register(*n)?,
            Operation::Document { kind, id, content } => self.put_document(DOCUMENTS[usize::from(*kind)], *id, *content)?,
            Operation::Close | Operation::Crash => {
                self.restart(&step.operation)?;
                self.compare_all()?;
            }
            Operation::Clock(seconds) => {
                self.model.clock += SignedDuration::from_secs(i64::from(*seconds));
                self.clock.set(self.model.clock);
            }
        }
        self.compare(self.model.newest())?;
        self.compare(self.model.newest() * u64::from(step.look_back) / 256)
    }

    fn register(&mut self, n: u8) -> Result<(), String> {
        let name = format!("Hospital {n}");
        let holder = self.database.register_holder(&name).map_err(|e| e.to_string())?;
        if !self.model.holders.contains(&name) {
            self.model.holders.push(name.clone());
        }
        let number = self.model.holders.iter().position(|h| *h == name).map(|i| i + 1);
        equal("the holder's number", &Some(usize::from(holder.id.0)), &number)
    }

    fn put_document(&mut self, kind: &str, id: u8, content: u8) -> Result<(), String> {
        let (id, content) = (format!("d{id}"), json!({"content": content}));
        let commit = self.database.put_document(kind, &id, &content.to_string()).map_err(|e| e.to_string())?;
        self.model.put_document(kind, &id, content);
        equal("the document's commit", &commit.0, &self.model.newest())?;
        self.compare_history(HolderId::CENTRE, kind, &id)
    }

    fn write(&mut self, write: &Write) -> Result<(), String> {
        let request = Request::of(write, &self.model);
        if request.entries.is_empty() {
            return Ok(());
        }
        let result = self.database.write(request.write());
        let expected = self.model.expect(&request, &|entry| drawn(result.as_ref().ok(), entry));
        match (&expected, &result) {
            (Expected::Refused(wanted), Err(WriteError::Refused { status, .. })) if status == wanted => return Ok(()),
            (Expected::Replayed(commit), Ok(outcome)) if outcome.replayed && outcome.commit.0 == *commit => return Ok(()),
            (Expected::Done(done), Ok(outcome)) if !outcome.replayed => {
                let entries: Vec<_> = outcome.entries.iter().map(|e| (e.status, e.id.clone(), e.version)).collect();
                equal("the entries", &entries, &done.entries)?;
                self.model.apply(&request, done);
                equal("the outcome's commit", &outcome.commit.0, &self.model.newest())?;
            }
            _ => return Err(format!("the database says\n  {result:?}\nthe model says\n  {expected:?}\nto\n  {request:?}")),
        }
        let ids = result.into_iter().flat_map(|outcome| outcome.entries);
        ids.into_iter().try_for_each(|entry| self.compare_history(request.holder, &entry.resource_type, &entry.id))
    }

    /// Opens the database again: closed before, or from the files that a killed process leaves.
    fn restart(&mut self, how: &Operation) -> Result<(), String> {
        let before = self.database.snapshot();
        if matches!(how, Operation::Close) {
            self.database.close();
        } else {
            let old = self.dir();
            self.lives += 1;
            copy(&old, &self.dir());
        }
        self.database = open(&self.dir(), &self.clock)?;
        before.first_difference(&self.database.snapshot()).map_or(Ok(()), |d| Err(format!("after {how:?}: before, now: {d}")))
    }

    /// The live tables at a commit.
    fn compare(&mut self, commit: u64) -> Result<(), String> {
        equal("the newest commit", &self.database.snapshot().commit().0, &self.model.newest())?;
        let snapshot = self.database.snapshot_at(Commit(commit)).map_err(|e| e.to_string())?;
        let snapshot = snapshot.ok_or_else(|| format!("there is no commit {commit}"))?;
        let time = commit.checked_sub(1).map_or(Timestamp::UNIX_EPOCH, |i| self.model.commits[usize::try_from(i).unwrap()]);
        equal(&format!("the time of commit {commit}"), &snapshot.time(), &time)?;
        let found = rows::of_snapshot(&snapshot, &self.database, &mut self.names)?;
        let wanted = self.model.rows(commit);
        for table in found.keys().map(String::as_str).chain(wanted.keys().copied()) {
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

    /// Everything.
    pub fn compare_all(&mut self) -> Result<(), String> {
        self.names.check(&self.database)?;
        for commit in 0..=self.model.newest() {
            self.compare(commit)?;
        }
        for (holder, kind, id) in self.model.resources.keys() {
            self.compare_history(HolderId(*holder), kind, id)?;
        }
        let holders: Vec<String> = self.database.holders().into_iter().map(|h| h.name).collect();
        equal("the holders", &holders, &self.model.holders)?;
        let counters: BTreeMap<String, u64> = self.database.counters().resources.into_iter().collect();
        equal("the counters", &counters, &self.model.counts())?;
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
        let wanted: Vec<_> = wanted.iter().map(|v| (v.number, v.commit, v.time, v.content.clone())).collect();
        equal(&format!("the history of {name:?}"), &found, &wanted)?;
        let current = self.database.read(holder, kind, id).map_err(|e| e.to_string())?;
        equal(&format!("the current version of {name:?}"), &current.as_ref().map(seen), &wanted.last().cloned())
    }
}

fn seen(version: &StoredVersion) -> (u64, u64, Timestamp, Option<Value>) {
    let json = version.json.as_ref().map(|json| serde_json::from_slice(json).unwrap());
    (version.version, version.commit.0, version.last_updated, json)
}

/// The id that the server gave an entry.
fn drawn(outcome: Option<&Outcome>, entry: usize) -> String {
    outcome.and_then(|o| o.entries.get(entry)).map_or_else(|| format!("drawn-{entry}"), |e| e.id.clone())
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, database: &T, model: &T) -> Result<(), String> {
    if database == model { Ok(()) } else { Err(format!("{what}: the database says\n  {database:?}\nthe model says\n  {model:?}")) }
}
