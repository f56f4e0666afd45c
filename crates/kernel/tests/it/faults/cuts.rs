//! Files of the journal that end too early: a bad copy, a file system that lost their tails. The database opens at a commit
//! boundary, or says why it does not.

use super::{Acknowledged, check_left, story_of};
use crate::simulation::folder;
use crate::simulation::model::Model;
use crate::simulation::run::{Run, Trouble};
use dugnad_kernel::clock::{ManualClock, SystemClock};
use dugnad_kernel::database::{Database, Handling, Interaction, OpenError, WriteRequest};
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A database whose write-ahead log holds some commits that are not in its file, and the model of the whole.
struct Cut {
    journal: Vec<u8>,
    log: Vec<u8>,
    model: Model,
    /// What the file alone holds.
    least: Acknowledged,
}

impl Cut {
    fn of(seed: u64) -> Self {
        let folder = folder::folder();
        let mut run = Run::begin(folder.path()).map_err(Trouble::what).unwrap();
        let steps = story_of(seed, 24);
        let (first, second) = steps.split_at(12);
        let tell = |run: &mut Run, steps: &[_]| steps.iter().for_each(|step| run.step(step).map_err(Trouble::what).unwrap());
        tell(&mut run, first);
        run.checkpoint("TRUNCATE").map_err(Trouble::what).unwrap();
        let least = Acknowledged::by(&run);
        tell(&mut run, second);
        let read = |name: &str| std::fs::read(run.dir().join(name)).unwrap();
        let (journal, log) = (read("journal.sqlite"), read("journal.sqlite-wal"));
        Self { journal, log, least, model: run.model }
    }

    /// Opens the two files; `Ok(false)` if the database refuses, and says why.
    fn open(&self, journal: &[u8], log: &[u8], least: &Acknowledged) -> Result<bool, String> {
        let folder = folder::folder();
        let dir = folder.path().join("0");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("journal.sqlite"), journal).unwrap();
        std::fs::write(dir.join("journal.sqlite-wal"), log).unwrap();
        let most = Acknowledged { commit: self.model.newest(), holders: self.model.holders.clone(), ..Acknowledged::default() };
        match refusal(&dir) {
            Some(why) if why.contains("journal.sqlite cannot be read: ") => Ok(false),
            Some(why) => Err(format!("it does not say what is wrong: {why}")),
            None => check_left(folder.path(), &self.model, least, &most).map(|()| true),
        }
    }
}

/// Why the database in a folder does not open.
fn refusal(dir: &Path) -> Option<String> {
    let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
    match folder::open(dir, &clock) {
        Ok(database) => {
            database.close();
            None
        }
        Err(why) => Some(why),
    }
}

/// The length of a page, and of a frame of the log: its header and a page.
const PAGE: usize = 8_192;
const FRAME: usize = 24 + PAGE;

#[test]
fn a_log_that_ends_early_leaves_a_state_at_a_commit() {
    let cut = Cut::of(1);
    let mut opened = 0;
    // In the header, around the ends of all frames, and everywhere in the last two frames, a few bytes apart.
    let last = cut.log.len() - 2 * FRAME;
    let wanted = |n: &usize| *n < 34 || n.saturating_sub(30) % FRAME < 4 || (*n > last && n.is_multiple_of(61));
    for length in (0..cut.log.len()).filter(wanted) {
        let result = cut.open(&cut.journal, &cut.log[..length], &cut.least);
        opened += usize::from(result.unwrap_or_else(|what| panic!("cut to {length} of {} bytes: {what}", cut.log.len())));
    }
    assert!(opened > 300, "{opened} opened");
}

/// Many resources, so that tables have many pages; what is current after each commit.
struct Large {
    journal: Vec<u8>,
    log: Vec<u8>,
    after: Vec<BTreeMap<String, u64>>,
}

impl Large {
    /// With `anew`, the log is begun anew before that write, of twelve that are in it.
    fn make(anew: Option<usize>) -> Self {
        let folder = folder::folder();
        let database = open(folder.path());
        let holder = database.register_holder("Hospital").unwrap().id;
        let mut after = vec![BTreeMap::new()];
        let mut write = |ids: &[usize]| {
            let mut current = after[after.len() - 1].clone();
            let entry = |id: &usize| {
                let version = current.entry(format!("o{id:04}")).or_insert(0);
                *version += 1;
                json!({"request": {"method": "PUT", "url": format!("Observation/o{id:04}")}, "resource": {
                    "resourceType": "Observation", "id": format!("o{id:04}"), "status": "final", "code": {"text": "x".repeat(20)},
                    "identifier": [{"value": format!("{id}")}], "subject": {"reference": format!("Patient/p{id}")}, "valueInteger": version}})
            };
            let entries: Vec<_> = ids.iter().map(entry).collect();
            let body = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string().into_bytes();
            let interaction = Interaction::Transaction { body };
            database.write(WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None }).unwrap();
            after.push(current);
        };
        write(&(0..6_000).collect::<Vec<_>>());
        checkpoint(folder.path(), "TRUNCATE");
        // The database's own thread moves the log into the file whenever it likes, and the next write then begins the log anew. It
        // does not while somebody reads what was there before.
        let mut reader = Some(reader_of(folder.path()));
        for n in 0..12 {
            if anew == Some(n) {
                reader = None;
                checkpoint(folder.path(), "PASSIVE");
            }
            write(&[n * 457, 5_999 - n * 211, 6_000 + n * 3, 6_001 + n * 3]);
            reader.get_or_insert_with(|| reader_of(folder.path()));
        }
        drop(reader);
        checkpoint(folder.path(), "PASSIVE");
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        Self { journal: read("journal.sqlite"), log: read("journal.sqlite-wal"), after }
    }

    /// Whether a database opens, and then is at a commit.
    fn check(&self, log: &[u8]) -> Result<bool, String> {
        let folder = folder::folder();
        std::fs::write(folder.path().join("journal.sqlite"), &self.journal).unwrap();
        std::fs::write(folder.path().join("journal.sqlite-wal"), log).unwrap();
        let database = match Database::open(folder.path(), Arc::new(SystemClock), &mut |_, _| {}) {
            Ok(database) => database,
            Err(OpenError::Journal { .. }) => return Ok(false),
            Err(other) => return Err(other.to_string()),
        };
        let commit = database.snapshot().commit().0;
        let wanted = self.after.get(usize::try_from(commit).unwrap()).ok_or("a commit that never was")?;
        let holder = database.holder("Hospital").ok_or("no holder")?.id;
        for id in self.after[self.after.len() - 1].keys() {
            let found = database.history(holder, "Observation", id).map_err(|e| e.to_string())?;
            let versions: Vec<u64> = found.iter().rev().map(|v| v.version).collect();
            if versions != (1..=wanted.get(id).copied().unwrap_or(0)).collect::<Vec<_>>() {
                return Err(format!("{id} has the versions {versions:?} at commit {commit}"));
            }
        }
        database.close();
        let journal = Connection::open(folder.path().join("journal.sqlite")).unwrap();
        let integrity: String = journal.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0)).unwrap();
        if integrity == "ok" { Ok(true) } else { Err(format!("commit {commit}: {integrity}")) }
    }
}

/// Moves the whole log into the file, whoever else is doing so.
fn checkpoint(folder: &Path, mode: &str) {
    let connection = Connection::open(folder.join("journal.sqlite")).unwrap();
    let all = |r: &rusqlite::Row<'_>| Ok(!r.get::<_, bool>(0)? && r.get::<_, i64>(1)? == r.get::<_, i64>(2)?);
    while !connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], all).unwrap() {
        std::thread::yield_now();
    }
}

/// Somebody who reads what is there now.
fn reader_of(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("journal.sqlite")).unwrap();
    connection.execute_batch("BEGIN; SELECT count(*) FROM commits;").unwrap();
    connection
}

fn open(folder: &Path) -> Database {
    Database::open(folder, Arc::new(SystemClock), &mut |_, _| {}).unwrap()
}

/// The log has been moved into the file, and then lost its tail: the file is newer than what is left of the log, and pages of
/// both are seen beside each other. A copy of the log that was made before the copy of the file looks the same.
///
/// Where the log had been begun anew in between, which the checkpoint thread made happen on a busy machine, the file showed no
/// damage: the database opened, and had resources without their newest versions.
#[test]
fn a_log_that_is_older_than_its_file() {
    for anew in [None, Some(8)] {
        let large = Large::make(anew);
        let (mut opened, mut refused, mut problems) = (0, 0, Vec::new());
        let lengths = (0..large.log.len()).step_by(FRAME).map(|n| n + 32);
        for length in lengths.filter(|n| anew.is_none() || (n / FRAME).is_multiple_of(4) || n + 2 * FRAME > large.log.len()) {
            match large.check(&large.log[..length.min(large.log.len())]) {
                Ok(true) => opened += 1,
                Ok(false) => refused += 1,
                Err(what) => problems.push(format!("cut to {length} of {} bytes: {what}", large.log.len())),
            }
        }
        assert!(problems.is_empty(), "begun anew before {anew:?}: {}", problems.join("\n"));
        assert!(opened > 0 && refused > 0, "begun anew before {anew:?}: {opened} opened, {refused} refused");
    }
}

#[test]
fn a_journal_that_ends_early_is_refused() {
    let cut = Cut::of(1);
    for length in (0..100).chain((cut.journal.len() - 2 * PAGE..cut.journal.len()).filter(|n| n % PAGE < 3 || n.is_multiple_of(53))) {
        let result = cut.open(&cut.journal[..length], &[], &Acknowledged::default());
        let opened = result.unwrap_or_else(|what| panic!("cut to {length} of {} bytes: {what}", cut.journal.len()));
        // Below 512 bytes it is what a crash while it was made may leave, and nothing has been acknowledged yet.
        assert!(!opened || length < 512, "cut to {length} of {} bytes it opens", cut.journal.len());
    }
}
