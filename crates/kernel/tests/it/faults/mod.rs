//! Disks that fail, fill up or lose power while a story is written: whatever was acknowledged is there afterwards, nothing is
//! there by halves, and the tables equal the model's.
//!
//! What SQLite does to the journal's files passes through a [`disk::Disk`], which fails at a given change or remembers what
//! has been synced; see `vfs.rs`. `DUGNAD_SEED` says which story.

mod cuts;
mod disk;
mod vfs;

use crate::simulation::model::Model;
use crate::simulation::run::{self, Run, Trouble};
use crate::simulation::story::{Operation, Plot, Step, story};
use disk::{Change, Disk, Event, Fault, Files, Loss};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::Arc;
use vfs::Watch;

/// How many stories lose power after each change, and how many are told with faults.
const POWER_STORIES: u64 = 2;
const FAULT_STORIES: u64 = 1;

fn story_of(seed: u64, operations: usize) -> Vec<Step> {
    story(&mut ChaCha8Rng::seed_from_u64(seed), Plot { operations, drawn_ids: false, views: false, erasures: false, crashes: false })
}

/// The seeds of so many stories, or the one that is asked for.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("DUGNAD_SEED").ok().map(|seed| seed.parse::<u64>().expect("DUGNAD_SEED is a number"));
    asked.map_or(0..usual, |seed| seed..seed + 1)
}

/// One more write, wherever the story has ended.
fn another() -> Step {
    Step { operation: Operation::Document { kind: 0, id: 0, content: 0 }, look_back: None }
}

/// What had been acknowledged: commits and holders.
type Acknowledged = (u64, Vec<String>);

/// A story as a disk and its users saw it.
struct Told {
    log: Vec<Event>,
    /// At its end.
    model: Model,
    /// What had been acknowledged at each [`Event::Acknowledged`].
    states: Vec<Acknowledged>,
}

/// Notes what has been acknowledged.
fn note(disk: &Disk, states: &mut Vec<Acknowledged>, model: &Model) {
    disk.acknowledged(states.len());
    states.push((model.newest(), model.holders.clone()));
}

/// Tells a story on a disk.
fn told(seed: u64, operations: usize) -> Told {
    let (folder, disk) = (run::folder(), Arc::new(Disk::default()));
    let _watch = Watch::on(folder.path(), &disk);
    let mut run = Run::begin(folder.path()).map_err(Trouble::what).unwrap();
    let mut states = vec![(0, Vec::new())];
    note(&disk, &mut states, &run.model);
    for step in story_of(seed, operations) {
        run.step(&step).map_err(Trouble::what).unwrap();
        note(&disk, &mut states, &run.model);
    }
    run.database.close();
    Told { log: disk.log(), model: run.model, states }
}

impl Told {
    /// Loses power after the events that `choose` names, and looks at what is left.
    fn without_power(&self, seed: u64, choose: impl Fn(usize) -> Option<Loss>) -> Result<(), String> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut files, mut known) = (Files::default(), 0);
        for (n, event) in self.log.iter().enumerate() {
            files.after(event);
            if let Event::Acknowledged(state) = event {
                known = *state;
            }
            let Some(loss) = choose(n) else { continue };
            let folder = run::folder();
            std::fs::create_dir(folder.path().join("0")).unwrap();
            files.lose_power(loss, &mut rng, &folder.path().join("0"));
            let next = (known + 1).min(self.states.len() - 1);
            let checked = check_left(folder.path(), &self.model, &self.states[known], &self.states[next]);
            checked.map_err(|what| format!("power lost ({loss:?}) after event {n} of {}, {event:?}: {what}", self.log.len()))?;
        }
        Ok(())
    }
}

/// Opens what a disk has left and looks whether it is a state between what was acknowledged and what was being written.
fn check_left(folder: &Path, whole: &Model, least: &Acknowledged, most: &Acknowledged) -> Result<(), String> {
    let run =
        Run::resume(folder, |database| whole.at(database.snapshot().commit().0, database.holders().into_iter().map(|h| h.name).collect()));
    let mut run = run.map_err(Trouble::what)?;
    let (commit, holders) = (run.database.snapshot().commit().0, run.model.holders.clone());
    if !(least.0..=most.0).contains(&commit) || !holders.starts_with(&least.1) || !most.1.starts_with(&holders) {
        return Err(format!("commit {commit} and {holders:?} are there; {least:?} had been acknowledged, {most:?} was being written"));
    }
    run.compare_all()?;
    run.step(&another()).and_then(|()| run.end()).map_err(Trouble::what)
}

const LOSSES: [Loss; 3] = [Loss::All, Loss::Some, Loss::Nothing];

#[test]
fn power_is_lost_after_each_change_of_the_journal() {
    for seed in seeds(POWER_STORIES) {
        let told = told(seed, 20);
        let checked = told.without_power(seed, |n| Some(LOSSES[n % LOSSES.len()]));
        checked.unwrap_or_else(|what| panic!("DUGNAD_SEED={seed}: {what}"));
        println!("seed {seed}: {} events, {} commits", told.log.len(), told.model.newest());
    }
}

/// From which change on how many fail, how, and what happens when that shows.
#[derive(Clone, Debug)]
struct Plan {
    at: usize,
    count: usize,
    fault: Fault,
    then: Operation,
}

impl Plan {
    fn of(at: usize) -> Self {
        let fault = [Fault::InputOutput, Fault::Full, Fault::DoneButFailed][at % 3];
        let then = if (at / 2).is_multiple_of(2) { Operation::Crash } else { Operation::Close };
        Self { at, count: if at.is_multiple_of(2) { 1 } else { usize::MAX }, fault, then }
    }
}

/// Tells a story on a disk that fails so; once that shows, the disk is mended, the database is closed or the process killed,
/// it is opened again, and the story goes on. Then power is lost at some moments. Whether any change did fail.
fn with_fault(steps: &[Step], plan: &Plan, seed: u64) -> Result<bool, String> {
    let (folder, disk) = (run::folder(), Arc::new(Disk::default()));
    let watch = Watch::on(folder.path(), &disk);
    let (fault, failing) = (plan.fault, plan.at..plan.at.saturating_add(plan.count));
    disk.fail(move |n, _, _| failing.contains(&n).then_some(fault));
    let begun = Run::begin(folder.path()).or_else(|_| {
        disk.mend();
        Run::begin(folder.path())
    });
    let mut run = begun.map_err(Trouble::what)?;
    let mut states = vec![(0, Vec::new())];
    note(&disk, &mut states, &run.model);
    for step in steps {
        match run.step(step) {
            Ok(()) => {}
            Err(Trouble::Stopped(why)) if disk.failed() == 0 => return Err(format!("stopped without a fault: {why}")),
            Err(Trouble::Stopped(_)) => {
                disk.mend();
                if matches!(plan.then, Operation::Crash) {
                    disk.kill();
                }
                run.recover(&plan.then).map_err(|t| format!("opened again: {}", t.what()))?;
            }
            Err(Trouble::Differs(what)) => return Err(what),
        }
        note(&disk, &mut states, &run.model);
    }
    disk.mend();
    run.recover(&Operation::Close).map_err(|t| format!("opened at the end: {}", t.what()))?;
    note(&disk, &mut states, &run.model);
    drop(watch);
    let told = Told { log: disk.log(), model: run.model, states };
    let end = told.log.len() - 1;
    told.without_power(seed, |n| (n == end || n >= plan.at && n % 41 == plan.at % 41).then_some(LOSSES[(n + plan.at) % 2]))?;
    Ok(disk.failed() > 0)
}

#[test]
fn any_change_of_the_journal_may_fail() {
    for seed in seeds(FAULT_STORIES) {
        let steps = story_of(seed, 10);
        let changes = told(seed, 10).log.len();
        let mut met = 0;
        for plan in (0..changes).map(Plan::of) {
            let failed = with_fault(&steps, &plan, seed).unwrap_or_else(|what| panic!("DUGNAD_SEED={seed}, {plan:?}: {what}"));
            met += usize::from(failed);
        }
        assert!(met > changes / 2, "the faults were met");
    }
}

/// A commit's fsync failed, and the process was started again. The log's pages were still in memory, so the commit was there;
/// the next commits were appended after it and synced. But what a failed fsync was to write is never written (fsync says it
/// once), so that the log on the disk had a hole before them, and when power was lost they were lost, acknowledged as they were.
#[test]
fn nothing_is_appended_to_a_log_whose_sync_failed() {
    let (folder, disk) = (run::folder(), Arc::new(Disk::default()));
    let _watch = Watch::on(folder.path(), &disk);
    let mut run = Run::begin(folder.path()).map_err(Trouble::what).unwrap();
    let mut states = vec![(0, Vec::new())];
    run.step(&another()).map_err(Trouble::what).unwrap();
    disk.fail(|_, _, change| matches!(change, Change::Sync).then_some(Fault::InputOutput));
    assert!(matches!(run.step(&another()), Err(Trouble::Stopped(_))));
    // Started again while only the log can be written: what is in it cannot be put elsewhere.
    disk.kill();
    disk.fail(|_, file, _| (file == "journal.sqlite").then_some(Fault::InputOutput));
    if run.recover(&Operation::Crash).is_err() {
        disk.mend();
        run.recover(&Operation::Crash).map_err(Trouble::what).unwrap();
    }
    note(&disk, &mut states, &run.model);
    run.step(&another()).map_err(Trouble::what).unwrap();
    note(&disk, &mut states, &run.model);
    let told = Told { log: disk.log(), model: run.model.clone(), states };
    let end = told.log.len() - 1;
    told.without_power(0, |n| (n == end).then_some(Loss::All)).unwrap();
}
