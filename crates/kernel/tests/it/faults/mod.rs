//! Disks that fail, fill up or lose power while a story is written: whatever was acknowledged is there afterwards, nothing is
//! there by halves, and the tables equal the model's.
//!
//! What SQLite does to the journal's files passes through a [`disk::Disk`] (see `vfs.rs`), and so does what is done to the live
//! tables' files and the erasure list. It fails at a given change or remembers what has been synced. `DUGNAD_SEED` says which
//! story.

mod cuts;
pub mod disk;
pub mod files;
mod vfs;

use crate::simulation::folder::{check_beside, folder};
use crate::simulation::model::Model;
use crate::simulation::run::{Run, Trouble};
use crate::simulation::story::{Draft, Entry, Flaw, Id, IfMatch, Operation, Plot, Reference, Step, Write, story};
use disk::{Change, Disk, Event, Fault, is_journal};
use files::{Files, Loss};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use vfs::Watch;

/// How many stories lose power after each change, and how many are told with faults.
const POWER_STORIES: u64 = 2;
const FAULT_STORIES: u64 = 1;

fn story_of(seed: u64, operations: usize) -> Vec<Step> {
    story(&mut ChaCha8Rng::seed_from_u64(seed), Plot { operations, drawn_ids: false, views: false, erasures: false, crashes: false })
}

/// The same with somebody in its middle who is erased, and waited for until they are gone.
fn story_with_erasure(seed: u64, operations: usize) -> Vec<Step> {
    let mut steps = story_of(seed, operations);
    let (id, reference) = (Id::Chosen(0), Reference::Literal(Id::Chosen(0)));
    let draft = |kind| Draft {
        kind,
        variant: 0,
        identifier: None,
        number: None,
        links: Vec::new(),
        mark: 0xdead_0000 + u32::from(kind),
        subject: reference,
        encounter: None,
        flaw: Flaw::None,
    };
    let entries = [0, 2, 3].map(|kind| Entry::Update { id, draft: draft(kind), if_match: IfMatch::Absent }).into();
    let write = Write { holder: 0, key: None, lenient: true, transaction: true, entries };
    let inserted = [Operation::Write(write), Operation::Erase { holder: 0, id }, Operation::Purged];
    steps.splice(operations / 2..operations / 2, inserted.map(|operation| Step { operation, look_back: None }));
    steps
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

/// What had been acknowledged.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    commit: u64,
    holders: Vec<String>,
    /// Who was on the erasure list.
    listed: BTreeSet<String>,
    /// What was in no file any more.
    gone: BTreeSet<String>,
}

impl Acknowledged {
    fn by(run: &Run) -> Self {
        let (listed, gone) = (run.listed.clone(), run.gone.clone());
        Self { commit: run.model.newest(), holders: run.model.holders.clone(), listed, gone }
    }
}

/// A story as a disk and its users saw it.
struct Told {
    log: Vec<Event>,
    /// At its end.
    model: Model,
    /// What had been acknowledged at each [`Event::Acknowledged`].
    states: Vec<Acknowledged>,
}

/// Notes what has been acknowledged.
fn note(disk: &Disk, states: &mut Vec<Acknowledged>, run: &Run) {
    disk.acknowledged(states.len());
    states.push(Acknowledged::by(run));
}

/// Tells a story on a disk.
fn told(steps: &[Step]) -> (Told, Arc<Disk>) {
    let (folder, disk) = (folder(), Arc::new(Disk::default()));
    let _watch = Watch::on(folder.path(), &disk);
    let mut run = Run::begin_on(&disk, folder.path()).map_err(Trouble::what).unwrap();
    let mut states = vec![Acknowledged::default()];
    note(&disk, &mut states, &run);
    for step in steps {
        run.step(step).map_err(Trouble::what).unwrap();
        note(&disk, &mut states, &run);
    }
    run.database.close();
    (Told { log: disk.log(), model: run.model, states }, disk)
}

impl Told {
    /// Loses power after the events that `choose` names, and looks at what is left.
    fn without_power(&self, seed: u64, choose: impl Fn(usize, &Event) -> &'static [Loss]) -> Result<(), String> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut files, mut known) = (Files::default(), 0);
        for (n, event) in self.log.iter().enumerate() {
            files.after(event);
            if let Event::Acknowledged(state) = event {
                known = *state;
            }
            for loss in choose(n, event) {
                let folder = folder();
                let dir = folder.path().join("0");
                std::fs::create_dir(&dir).unwrap();
                files.lose_power(*loss, &mut rng, &dir);
                let (least, next) = (&self.states[known], (known + 1).min(self.states.len() - 1));
                let checked = check_beside(&dir, &least.listed, &least.gone)
                    .and_then(|()| check_left(folder.path(), &self.model, least, &self.states[next]));
                checked.map_err(|what| format!("power lost ({loss:?}) after event {n} of {}, {event:?}: {what}", self.log.len()))?;
            }
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
    if !(least.commit..=most.commit).contains(&commit) || !holders.starts_with(&least.holders) || !most.holders.starts_with(&holders) {
        return Err(format!("commit {commit} and {holders:?} are there; {least:?} had been acknowledged, {most:?} was being written"));
    }
    run.compare_all()?;
    run.step(&another()).and_then(|()| run.end()).map_err(Trouble::what)
}

const LOSSES: [Loss; 3] = [Loss::All, Loss::Some, Loss::Nothing];

/// One of them, now this and now that.
fn one_loss(n: usize, of: usize) -> &'static [Loss] {
    &LOSSES[n % of..=n % of]
}

#[test]
fn power_is_lost_after_each_change_of_any_file() {
    for seed in seeds(POWER_STORIES) {
        let (told, _) = told(&story_with_erasure(seed, 12));
        // A file that has a new name is where the order of what is durable counts.
        let checked = told.without_power(seed, |n, event| match event {
            Event::Changed { change: Change::Rename(_), .. } => &[Loss::Some; 4],
            _ => one_loss(n, LOSSES.len()),
        });
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

/// Tells a story on a disk that fails so for the journal; once that shows, the disk is mended, the database is closed or the
/// process killed, it is opened again, and the story goes on. Then power is lost at some moments. Whether any change did fail.
fn with_fault(steps: &[Step], plan: &Plan, seed: u64) -> Result<bool, String> {
    let (folder, disk) = (folder(), Arc::new(Disk::default()));
    let watch = Watch::on(folder.path(), &disk);
    let (fault, failing) = (plan.fault, plan.at..plan.at.saturating_add(plan.count));
    disk.fail(move |n, file, _| (is_journal(file) && failing.contains(&n)).then_some(fault));
    let begun = Run::begin_on(&disk, folder.path()).or_else(|_| {
        disk.mend();
        Run::begin_on(&disk, folder.path())
    });
    let mut run = begun.map_err(Trouble::what)?;
    let mut states = vec![Acknowledged::default()];
    note(&disk, &mut states, &run);
    for step in steps {
        match run.step(step) {
            Ok(()) => {}
            Err(Trouble::Stopped(why)) if disk.failed() == 0 => return Err(format!("stopped without a fault: {why}")),
            Err(Trouble::Stopped(_)) => {
                disk.mend();
                run.recover(&plan.then).map_err(|t| format!("opened again: {}", t.what()))?;
            }
            Err(Trouble::Differs(what)) => return Err(what),
        }
        note(&disk, &mut states, &run);
    }
    disk.mend();
    run.recover(&Operation::Close).map_err(|t| format!("opened at the end: {}", t.what()))?;
    note(&disk, &mut states, &run);
    drop(watch);
    let told = Told { log: disk.log(), model: run.model, states };
    let end = told.log.len() - 1;
    let chosen = |n| n == end || n >= plan.at && n % 41 == plan.at % 41;
    told.without_power(seed, |n, _| if chosen(n) { one_loss(n + plan.at, 2) } else { &[] })?;
    Ok(disk.failed() > 0)
}

#[test]
fn any_change_of_the_journal_may_fail() {
    for seed in seeds(FAULT_STORIES) {
        let steps = story_of(seed, 10);
        let [changes, _] = told(&steps).1.changes();
        let mut met = 0;
        for plan in (0..changes).map(Plan::of) {
            let failed = with_fault(&steps, &plan, seed).unwrap_or_else(|what| panic!("DUGNAD_SEED={seed}, {plan:?}: {what}"));
            met += usize::from(failed);
        }
        assert!(met > changes / 2, "the faults were met");
    }
}

/// Tells a story on a disk that fails so for what is not the journal: no write and no answer fails for it, and who was erased is
/// on the list, or whoever asked for it was told. Then power is lost at some moments. Whether any change did fail.
fn with_fault_beside(steps: &[Step], plan: &Plan, seed: u64) -> Result<bool, String> {
    let (folder, disk) = (folder(), Arc::new(Disk::default()));
    let watch = Watch::on(folder.path(), &disk);
    let mut run = Run::begin_on(&disk, folder.path()).map_err(Trouble::what)?;
    let mut states = vec![Acknowledged::default()];
    note(&disk, &mut states, &run);
    for (n, step) in steps.iter().enumerate() {
        let (fault, failing) = (plan.fault, plan.at..plan.at.saturating_add(plan.count));
        disk.fail(move |n, file, _| (!is_journal(file) && failing.contains(&n)).then_some(fault)); // what waits for a purge mends it
        run.step(step).map_err(Trouble::what)?;
        if n + 1 == steps.len() {
            run.step(&Step { operation: plan.then.clone(), look_back: None }).map_err(Trouble::what)?;
        }
        note(&disk, &mut states, &run);
    }
    let failed = disk.failed() > 0;
    run.end().map_err(Trouble::what)?;
    note(&disk, &mut states, &run);
    drop(watch);
    let told = Told { log: disk.log(), model: run.model, states };
    let end = told.log.len() - 1;
    let chosen = |n| n == end || n == end / 2 + plan.at % 50;
    told.without_power(seed, |n, _| if chosen(n) { one_loss(n + plan.at, 2) } else { &[] })?;
    Ok(failed)
}

#[test]
fn any_change_of_the_live_tables_and_the_erasure_list_may_fail() {
    for seed in seeds(FAULT_STORIES) {
        let steps = story_with_erasure(seed, 8);
        let [_, changes] = told(&steps).1.changes();
        let mut met = 0;
        for plan in (0..changes).map(Plan::of) {
            let failed = with_fault_beside(&steps, &plan, seed).unwrap_or_else(|what| panic!("DUGNAD_SEED={seed}, {plan:?}: {what}"));
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
    let (folder, disk) = (folder(), Arc::new(Disk::default()));
    let _watch = Watch::on(folder.path(), &disk);
    let mut run = Run::begin_on(&disk, folder.path()).map_err(Trouble::what).unwrap();
    let mut states = vec![Acknowledged::default()];
    run.step(&another()).map_err(Trouble::what).unwrap();
    disk.fail(|_, file, change| (is_journal(file) && matches!(change, Change::Sync)).then_some(Fault::InputOutput));
    assert!(matches!(run.step(&another()), Err(Trouble::Stopped(_))));
    // Started again while only the log can be written: what is in it cannot be put elsewhere.
    disk.fail(|_, file, _| (file == "journal.sqlite").then_some(Fault::InputOutput));
    if run.recover(&Operation::Crash).is_err() {
        disk.mend();
        run.recover(&Operation::Crash).map_err(Trouble::what).unwrap();
    }
    note(&disk, &mut states, &run);
    run.step(&another()).map_err(Trouble::what).unwrap();
    note(&disk, &mut states, &run);
    let told = Told { log: disk.log(), model: run.model.clone(), states };
    let end = told.log.len() - 1;
    told.without_power(0, |n, _| if n == end { &[Loss::All] } else { &[] }).unwrap();
}
