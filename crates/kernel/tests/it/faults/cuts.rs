//! Files of the journal that end too early: a bad copy, a file system that lost their tails. The database opens at a commit
//! boundary, or says why it does not.

use super::{Acknowledged, check_left, story_of};
use crate::simulation::model::Model;
use crate::simulation::run::{self, Run, Trouble};
use std::path::Path;

/// A database whose write-ahead log holds some commits that are not in its file, and the model of the whole.
struct Cut {
    journal: Vec<u8>,
    log: Vec<u8>,
    model: Model,
    /// What the file alone holds.
    least: Acknowledged,
}

/// The last pages of a file, or frames of a log, that are cut.
const TAIL: usize = 2 * 8_192 + 100;

impl Cut {
    /// `checkpointed`: whether what the log holds is in the file too.
    fn of(seed: u64, checkpointed: bool) -> Self {
        let folder = run::folder();
        let mut run = Run::begin(folder.path()).map_err(Trouble::what).unwrap();
        let steps = story_of(seed, 24);
        let (first, second) = steps.split_at(12);
        let tell = |run: &mut Run, steps: &[_]| steps.iter().for_each(|step| run.step(step).map_err(Trouble::what).unwrap());
        tell(&mut run, first);
        run.checkpoint("TRUNCATE").map_err(Trouble::what).unwrap();
        let least = (run.model.newest(), run.model.holders.clone());
        tell(&mut run, second);
        if checkpointed {
            run.checkpoint("PASSIVE").map_err(Trouble::what).unwrap();
        }
        let read = |name: &str| std::fs::read(run.dir().join(name)).unwrap();
        let (journal, log) = (read("journal.sqlite"), read("journal.sqlite-wal"));
        Self { journal, log, least, model: run.model }
    }

    /// Opens the two files; `Ok(false)` if the database refuses, and says why.
    fn open(&self, journal: &[u8], log: &[u8], least: &Acknowledged) -> Result<bool, String> {
        let folder = run::folder();
        let dir = folder.path().join("0");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("journal.sqlite"), journal).unwrap();
        std::fs::write(dir.join("journal.sqlite-wal"), log).unwrap();
        let most = (self.model.newest(), self.model.holders.clone());
        match refusal(&dir) {
            Some(why) if why.contains("journal.sqlite cannot be read: ") => Ok(false),
            Some(why) => Err(format!("it does not say what is wrong: {why}")),
            None => check_left(folder.path(), &self.model, least, &most).map(|()| true),
        }
    }
}

/// Why the database in a folder does not open.
fn refusal(dir: &Path) -> Option<String> {
    let clock = std::sync::Arc::new(dugnad_kernel::clock::ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
    match run::open(dir, &clock) {
        Ok(database) => {
            database.close();
            None
        }
        Err(why) => Some(why),
    }
}

/// Lengths around every 512th byte, and a few others.
fn lengths(whole: usize, first: usize) -> impl Iterator<Item = usize> {
    (first..whole).filter(|n| n % 512 < 2 || n % 512 == 511 || n % 97 == 0)
}

#[test]
fn a_log_that_ends_early_leaves_a_state_at_a_commit() {
    let cut = Cut::of(1, false);
    let mut opened = 0;
    for length in lengths(cut.log.len(), 0).filter(|n| *n < 64 || n % 3 == 0 || *n + TAIL > cut.log.len()) {
        let result = cut.open(&cut.journal, &cut.log[..length], &cut.least);
        opened += usize::from(result.unwrap_or_else(|what| panic!("cut to {length} of {} bytes: {what}", cut.log.len())));
    }
    println!("{opened} opened");
    assert!(opened > 100);
}

/// The log has been moved into the file, and then lost its tail: the file is newer than what is left of the log.
#[test]
fn a_log_that_ends_early_after_a_checkpoint() {
    let cut = Cut::of(1, true);
    let (mut opened, mut problems) = (0, Vec::new());
    for length in lengths(cut.log.len(), 0).filter(|n| *n < 64 || n % 3 == 0 || *n + TAIL > cut.log.len()) {
        match cut.open(&cut.journal, &cut.log[..length], &(0, Vec::new())) {
            Ok(open) => opened += usize::from(open),
            Err(what) => problems.push(format!("cut to {length} of {} bytes: {what}", cut.log.len())),
        }
    }
    println!("{opened} opened, {} problems", problems.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_journal_that_ends_early_is_refused() {
    let cut = Cut::of(1, true);
    for length in lengths(cut.journal.len(), cut.journal.len() - TAIL).chain(0..100) {
        let result = cut.open(&cut.journal[..length], &[], &(0, Vec::new()));
        let opened = result.unwrap_or_else(|what| panic!("cut to {length} of {} bytes: {what}", cut.journal.len()));
        assert!(!opened || length == 0, "cut to {length} of {} bytes it opens", cut.journal.len());
    }
}
