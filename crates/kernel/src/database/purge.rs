//! The purge after an erasure: a thread that takes the person out of every file, bit by bit, while others write.
//!
//! It overwrites the JSON of all versions that are about the person, a few at a time, and marks their rows as erased. After a
//! restart it begins again: what was overwritten stays so, and its rows are looked for, since a crash may have brought them back.
//! Then files of live tables with such rows are written anew without them, the logs are emptied, and the erasure is done.

use super::Shared;
use super::commit::{Committer, Work};
use super::erased::{About, ErasedOf, chain};
use super::recover::Kinds;
use crate::fhir::{criteria, json};
use crate::ids::{Commit, HolderId, ResourceOrdinal};
use crate::journal::{self, Candidate, ErasureRow, JournalError, Lookup, PersonHash, Purged, identifier_hashes};
use crate::limits::{MAX_PURGE_LOOK, MAX_PURGE_VERSIONS};
use crate::live::{Cleaning, LiveTable};
use bumpalo::Bump;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

impl Committer {
    /// Overwrites a step's versions. The order: journal, fsync, then their rows and counters.
    ///
    /// Nothing happens if one of their resources has got another version since they were looked at: what was the newest version may not
    /// be it any more, nor may an identifier that nobody else had. The eraser looks again.
    fn purge(&mut self, step: Step) -> Result<(), JournalError> {
        for version in step.versions.iter().filter(|version| version.len.is_some()) {
            if self.writer.lookup().newest_version(version.resource)? != version.head {
                return Ok(());
            }
        }
        if step.versions.iter().any(|version| version.len.is_some()) {
            self.writer.begin()?;
            for version in &step.versions {
                self.writer.purge(version)?;
            }
            self.writer.commit()?;
        }
        let (kinds, tables) = (Kinds::read(&self.writer.lookup())?, self.shared.tables.load());
        for version in &step.versions {
            let kind = kinds.name(version.kind);
            for view in tables.of_type(kind) {
                if let Some(table) = self.tables.iter_mut().find(|t| t.info().id == view.info.id) {
                    table.erase(version.resource, version.commit);
                }
            }
            if version.is_head() && version.len.is_some() {
                self.shared.count(kind, -1, false);
            }
        }
        let erasures = self.shared.erasures.load_full();
        let moved = step.persons.iter().filter_map(|person| erasures.get(person)).filter(|row| row.purged == step.from);
        let moved = moved.map(|row| ErasureRow { purged: step.upto, ..row.clone() });
        self.shared.erasures.store(Arc::new(erasures.with(moved)));
        Ok(())
    }

    /// Has the store write anew what holds erased rows, as far as it can now. Whether no file holds any, and the number of the
    /// checkpoint that was begun when no table did.
    fn clean(&mut self, clean: Option<u64>) -> (bool, Option<u64>) {
        let Some(store) = &self.store else { return (true, clean) };
        let dirty = self.tables.iter().any(LiveTable::holds_erased);
        let clean = clean.filter(|_| !dirty);
        match store.cleaning(&self.tables, clean) {
            Cleaning::Done => (true, clean),
            Cleaning::Waits => (false, clean),
            Cleaning::Needs => {
                store.checkpoint(self.newest, self.shared.counted(), &mut self.tables);
                (false, (!dirty).then(|| store.begun()))
            }
        }
    }

    /// Marks the purge as done for those of `persons` whose versions and rows are gone from all files.
    fn finish(&mut self, persons: &[PersonHash]) -> Result<(), JournalError> {
        let now_us = self.shared.clock.now().as_microsecond();
        let erasures = self.shared.erasures.load_full();
        let done = persons.iter().filter_map(|person| erasures.get(person)).filter(|row| row.purged >= row.until);
        let done: Vec<ErasureRow> = done.map(|row| ErasureRow { done_us: Some(now_us), ..row.clone() }).collect();
        self.writer.begin()?;
        for row in &done {
            self.writer.set_erased(&row.person, now_us)?;
        }
        self.writer.commit()?;
        self.shared.erasures.store(Arc::new(erasures.with(done)));
        self.publish();
        Ok(())
    }
}

/// What one step of the purge overwrites.
struct Step {
    /// For whom.
    persons: Vec<PersonHash>,
    /// After which row of `version` this looks, and up to which.
    from: i64,
    upto: i64,
    versions: Vec<Purged>,
}

/// What is to be done next for those whose purge is under way.
enum Next {
    /// Look at versions after the first number, up to the second, for these persons.
    Look(i64, i64, Vec<PersonHash>),
    /// All is overwritten: empty the log.
    Finish(Vec<PersonHash>),
    Nothing,
}

impl Shared {
    /// Those who are furthest behind go first, as far as the next ones are; from there on together.
    fn next(&self) -> Next {
        let erasures = self.erasures.load();
        let under_way: Vec<&ErasureRow> = erasures.rows().filter(|row| row.done_us.is_none() && row.purged < row.until).collect();
        let Some(from) = under_way.iter().map(|row| row.purged).min() else {
            let waiting: Vec<PersonHash> = erasures.rows().filter(|row| row.done_us.is_none()).map(|row| row.person).collect();
            return if waiting.is_empty() { Next::Nothing } else { Next::Finish(waiting) };
        };
        let (behind, ahead): (Vec<&ErasureRow>, Vec<&ErasureRow>) = under_way.into_iter().partition(|row| row.purged == from);
        let until = behind.iter().map(|row| row.until).max().unwrap_or(from);
        let until = ahead.iter().map(|row| row.purged).min().map_or(until, |next| until.min(next));
        Next::Look(from, until, behind.into_iter().map(|row| row.person).collect())
    }

    fn look_for(&self, from: i64, until: i64, persons: Vec<PersonHash>) -> Result<Step, JournalError> {
        self.readers.look(|lookup| {
            let kinds = Kinds::read(lookup)?;
            let under_way = self.erasures.load().rows().filter(|row| row.done_us.is_none()).map(|row| row.commit).collect();
            let (holders, latest, arena) = (HashMap::new(), HashMap::new(), Bump::new());
            let mut search = Search { shared: self, lookup, holders, latest, under_way, arena };
            let (mut versions, mut looked) = (Vec::new(), 0_u32);
            let upto = lookup.each_version(from, until, |candidate| {
                looked += 1;
                versions.extend(search.judge(kinds.name(candidate.kind), candidate)?);
                Ok(versions.len() < MAX_PURGE_VERSIONS && looked < MAX_PURGE_LOOK)
            })?;
            Ok(Step { persons, from, upto, versions })
        })
    }
}

/// A look through versions for what is about erased persons.
struct Search<'s> {
    shared: &'s Shared,
    lookup: &'s Lookup<'s>,
    holders: HashMap<HolderId, ErasedOf>,
    /// The latest erasure of any version of a resource that has versions about nobody.
    latest: HashMap<ResourceOrdinal, Option<Commit>>,
    /// The commits of erasures that are not done.
    under_way: Vec<Commit>,
    arena: Bump,
}

impl Search<'_> {
    fn judge(&mut self, kind: &str, version: &Candidate<'_>) -> Result<Option<Purged>, JournalError> {
        let (head, sequence, resource, commit) = (version.head, version.sequence, version.resource, version.commit);
        let purged = |by, len, identifiers| Purged { sequence, resource, commit, kind: version.kind, len, by, head, identifiers };
        if let Some(by) = version.erased.filter(|by| self.under_way.contains(by)) {
            // Overwritten before a restart; whether its rows were gone from the files then is not known.
            return Ok(Some(purged(by, None, Vec::new())));
        }
        let Some(stored) = version.json else { return Ok(None) };
        let erased = self.holders.entry(version.holder).or_insert_with(|| self.shared.erased_of(version.holder));
        let by = match erased.about(kind, version.id, Some(stored)) {
            About::Others => None,
            About::Erased(commit) => Some(commit),
            About::Nobody if version.number == 1 && version.head == version.sequence => None,
            About::Nobody => {
                let latest = match self.latest.get(&version.resource) {
                    Some(latest) => *latest,
                    None => erased.among(kind, version.id, &chain(self.lookup, version.head)?).into_iter().flatten().max(),
                };
                self.latest.insert(version.resource, latest);
                latest.filter(|commit| version.commit < *commit)
            }
        };
        let Some(by) = by else { return Ok(None) };
        let mut identifiers = self.identifiers(version.holder, version.kind, stored)?;
        if head != sequence
            && let Some(head) = self.lookup.version(head)?.and_then(|head| head.json)
        {
            // The index leads to the newest version; what that is found under stays.
            let kept = self.identifiers(version.holder, version.kind, &head)?;
            identifiers.retain(|hash| !kept.contains(hash));
        }
        Ok(Some(purged(by, Some(stored.len()), identifiers)))
    }

    fn identifiers(&mut self, holder: HolderId, kind: i64, stored: &[u8]) -> Result<Vec<i64>, JournalError> {
        self.arena.reset();
        let resource = json::parse(stored, &self.arena).map_err(|e| JournalError::Inconsistent(format!("a stored resource: {e}")))?;
        Ok(identifier_hashes(holder, kind, criteria::identifiers(&resource).into_iter().map(|(_, value)| value)))
    }
}

/// How long others have the journal to themselves after a step that wrote.
const PAUSE: Duration = Duration::from_millis(5);

/// How often it is looked whether somebody was erased, and whether the log can be emptied.
const INTERVAL: Duration = Duration::from_millis(500);

/// The longest pause between two looks at files that somebody is reading: each look makes a checkpoint.
const LONGEST: Duration = Duration::from_secs(16);

/// The thread that purges until it is dropped.
pub(super) struct Eraser {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Eraser {
    pub(super) fn start(shared: Arc<Shared>, queue: SyncSender<Work>, journal: PathBuf) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let mut work = Purge { shared, queue, journal, clean: None, pause: INTERVAL };
        let known = Arc::clone(&work.shared);
        let thread = std::thread::Builder::new().name("eraser".to_owned()).spawn(move || {
            while !stopping.load(Ordering::Acquire) {
                let pause = work.advance().unwrap_or_else(|error| {
                    tracing::error!(%error, "a purge cannot go on; it is taken up again");
                    LONGEST
                });
                std::thread::park_timeout(pause);
            }
        })?;
        let _ = known.eraser.set(thread.thread().clone()); // there is one
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Eraser {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::warn!("the eraser's thread ended in a panic");
            }
        }
    }
}

/// The thread's state.
struct Purge {
    shared: Arc<Shared>,
    queue: SyncSender<Work>,
    journal: PathBuf,
    /// The checkpoint of the live tables that was begun when none of them held erased rows any more.
    clean: Option<u64>,
    /// How long to wait before it is looked again whether the files are clean.
    pause: Duration,
}

impl Purge {
    /// One step, and how long to pause after it.
    fn advance(&mut self) -> Result<Duration, JournalError> {
        if self.shared.stopped.get().is_some() {
            return Ok(INTERVAL);
        }
        match self.shared.next() {
            Next::Nothing => Ok(INTERVAL),
            Next::Look(from, until, persons) => {
                (self.clean, self.pause) = (None, PAUSE);
                let step = self.shared.look_for(from, until, persons)?;
                Ok(self.alone(move |committer| committer.purge(step)).map_or(INTERVAL, |()| PAUSE))
            }
            Next::Finish(persons) => {
                let done = self.finish(persons)?;
                self.pause = if done { PAUSE } else { (self.pause * 2).min(LONGEST) };
                Ok(self.pause)
            }
        }
    }

    /// The files of the live tables, the write-ahead log, and then the mark that all is done; false if it could not be done now.
    fn finish(&mut self, persons: Vec<PersonHash>) -> Result<bool, JournalError> {
        let before = self.clean;
        let Some((clean, number)) = self.alone(move |committer| Ok(committer.clean(before))) else { return Ok(false) };
        self.clean = number;
        // Who builds a table may have read versions before they were overwritten: its rows are looked at when it is there.
        let shared = Arc::clone(&self.shared);
        let Ok(_nobody_builds) = shared.building.try_lock() else { return Ok(false) };
        if !clean || !journal::truncate(&self.journal)? {
            return Ok(false);
        }
        Ok(self.alone(move |committer| committer.finish(&persons)).is_some())
    }

    /// Has the committer do a piece of work, and waits for it; `None` if it has ended.
    fn alone<T: Send + 'static>(&self, work: impl FnOnce(&mut Committer) -> Result<T, JournalError> + Send + 'static) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        let work = Work::Alone(Box::new(move |committer| {
            let _ = reply.send(work(committer)?); // nobody may be waiting
            Ok(())
        }));
        self.queue.send(work).ok()?;
        answer.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::Interaction;
    use super::super::tests::bench;
    use super::*;

    /// Between the look and the purge the resource got another version, about somebody else and with the same identifier: it was
    /// counted as gone, and not found by its identifier any more.
    #[test]
    fn a_version_that_is_written_after_the_look_stays() {
        let bench = bench();
        let (shared, queue) = (Arc::clone(&bench.database.shared), bench.database.queue.clone());
        // The eraser's steps are made here instead.
        bench.database.committer.lock().unwrap().as_mut().unwrap().eraser = None;
        let observation = |patient: &str| {
            format!(
                r#"{{"resourceType":"Observation","id":"o","status":"final","identifier":[{{"system":"urn:lab","value":"17"}}],
                "code":{{"text":"x"}},"subject":{{"reference":"Patient/{patient}"}}}}"#
            )
        };
        for patient in ["p1", "p2"] {
            bench.put(&format!(r#"{{"resourceType":"Patient","id":"{patient}"}}"#)).unwrap();
        }
        bench.put(&observation("p1")).unwrap();
        bench.database.erase(bench.hospital, "p1", "asked for it").unwrap();
        let look = || match shared.next() {
            Next::Look(from, until, persons) => Some(shared.look_for(from, until, persons).unwrap()),
            _ => None,
        };
        let run = Purge { shared: Arc::clone(&shared), queue, journal: PathBuf::new(), clean: None, pause: PAUSE };
        let mut step = look();
        bench.put(&observation("p2")).unwrap();
        let mut steps = 0;
        while let Some(found) = step {
            run.alone(move |committer| committer.purge(found)).unwrap();
            step = look();
            steps += 1;
        }
        assert_eq!(steps, 2, "the first came too late");
        assert_eq!(bench.database.counters().resources, [("Observation".to_owned(), 1), ("Patient".to_owned(), 1)]);
        assert_eq!(bench.database.history(bench.hospital, "Observation", "o").unwrap().len(), 1);
        let created = bench.write(Interaction::Create {
            resource_type: "Observation".to_owned(),
            body: observation("p2").into_bytes(),
            if_none_exist: Some("identifier=urn:lab|17".to_owned()),
        });
        assert_eq!(created.unwrap().entries.first().map(|e| (e.status, e.id.clone())), Some((200, "o".to_owned())));
    }
}
