//! Disks that fail, fill up or lose power while a story is written: whatever was acknowledged is there afterwards, nothing is
//! there by halves, and the tables equal the model's.
//!
//! What SQLite does to the journal's files passes through a [`disk::Disk`], which fails at a given change or remembers what
//! has been synced; see `vfs.rs`. `DUGNAD_SEED` says which story.

mod disk;
mod vfs;

use crate::simulation::model::Model;
use crate::simulation::run::{self, Run, Trouble};
use crate::simulation::story::{Operation, Plot, Step, story};
use disk::{Disk, Event, Fault, Files, Loss, Plan};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::Arc;
use vfs::Watch;

/// How many stories lose power after each change, and how many are told with faults.
const POWER_STORIES: u64 = 2;
const FAULT_STORIES: u64 = 2;

fn story_of(seed: u64, operations: usize) -> Vec<Step> {
    story(&mut ChaCha8Rng::seed_from_u64(seed), Plot { operations, drawn_ids: false, crashes: false })
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

fn acknowledged(model: &Model) -> Acknowledged {
    (model.newest(), model.holders.clone())
}

/// Tells a story on a disk: its log, its model, and what had been acknowledged after each step.
fn recorded(seed: u64, operations: usize) -> (Vec<Event>, Model, Vec<Acknowledged>) {
    let (folder, disk) = (run::folder(), Arc::new(Disk::default()));
    let _watch = Watch::on(&folder.path().join("0"), &disk);
    let mut run = Run::begin(folder.path()).map_err(Trouble::what).unwrap();
    let mut states = vec![(0, Vec::new()), acknowledged(&run.model)];
    disk.acknowledged(1);
    for step in story_of(seed, operations) {
        run.step(&step).map_err(Trouble::what).unwrap();
        disk.acknowledged(states.len());
        states.push(acknowledged(&run.model));
    }
    run.database.close();
    (disk.log(), run.model, states)
}

/// Opens what a disk has left and looks whether it is a state between what was acknowledged and what was being written.
fn check_left(folder: &Path, whole: &Model, least: &Acknowledged, most: &Acknowledged) -> Result<(), String> {
    let run =
        Run::resume(folder, |database| whole.at(database.snapshot().commit().0, database.holders().into_iter().map(|h| h.name).collect()));
    let mut run = run.map_err(Trouble::what)?;
    let (commit, holders) = acknowledged(&run.model);
    if !(least.0..=most.0).contains(&commit) || !holders.starts_with(&least.1) || !most.1.starts_with(&holders) {
        return Err(format!("commit {commit} and {holders:?} are there; {least:?} had been acknowledged, {most:?} was being written"));
    }
    run.compare_all()?;
    run.step(&another()).and_then(|()| run.end()).map_err(Trouble::what)
}

#[test]
fn power_is_lost_after_each_change_of_the_journal() {
    for seed in seeds(POWER_STORIES) {
        let (log, model, states) = recorded(seed, 20);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut files, mut known) = (Files::default(), 0);
        for (n, event) in log.iter().enumerate() {
            files.after(event);
            if let Event::Acknowledged(state) = event {
                known = *state;
            }
            for loss in [Loss::All, Loss::Some, Loss::Nothing].into_iter().cycle().skip(n).take(1) {
                let folder = run::folder();
                std::fs::create_dir(folder.path().join("0")).unwrap();
                files.lose_power(loss, &mut rng, &folder.path().join("0"));
                let checked = check_left(folder.path(), &model, &states[known], states.get(known + 1).unwrap_or(&states[known]));
                checked.unwrap_or_else(|what| panic!("DUGNAD_SEED={seed}, power lost ({loss:?}) after event {n} {event:?}: {what}"));
            }
        }
        println!("seed {seed}: {} events, {} commits", log.len(), model.newest());
    }
}

/// Tells a story on a disk that fails so; once that shows, the disk is mended, the database opened again, and the story goes
/// on. Then power is lost.
fn with_fault(steps: &[Step], plan: Plan, seed: u64) -> Result<usize, String> {
    let (folder, disk) = (run::folder(), Arc::new(Disk::default()));
    let watch = Watch::on(&folder.path().join("0"), &disk);
    disk.plan(Some(plan));
    let begun = Run::begin(folder.path()).or_else(|_| {
        disk.plan(None);
        Run::begin(folder.path())
    });
    let mut run = begun.map_err(Trouble::what)?;
    for step in steps {
        match run.step(step) {
            Ok(()) => {}
            Err(Trouble::Stopped(why)) if disk.failed() == 0 => return Err(format!("stopped without a fault: {why}")),
            Err(Trouble::Stopped(_)) => {
                disk.plan(None);
                run.recover().map_err(|t| format!("opened again: {}", t.what()))?;
            }
            Err(Trouble::Differs(what)) => return Err(what),
        }
    }
    disk.plan(None);
    run.recover().map_err(|t| format!("opened at the end: {}", t.what()))?;
    drop(watch);
    let mut files = Files::default();
    disk.log().iter().for_each(|event| files.after(event));
    for loss in [Loss::All, Loss::Some] {
        let left = run::folder();
        std::fs::create_dir(left.path().join("0")).unwrap();
        files.lose_power(loss, &mut ChaCha8Rng::seed_from_u64(seed), &left.path().join("0"));
        let all = acknowledged(&run.model);
        check_left(left.path(), &run.model, &all, &all).map_err(|what| format!("power lost ({loss:?}) at the end: {what}"))?;
    }
    Ok(disk.failed())
}

#[test]
fn any_change_of_the_journal_may_fail() {
    let faults = [Fault::InputOutput, Fault::Full, Fault::DoneButFailed];
    for seed in seeds(FAULT_STORIES) {
        let steps = story_of(seed, 10);
        let changes = recorded(seed, 10).0.len();
        let mut shown = 0;
        for at in 0..changes {
            let count = if at % 2 == 0 { 1 } else { usize::MAX };
            let plan = Plan { at, count, fault: faults[at % faults.len()] };
            let failed = with_fault(&steps, plan, seed).unwrap_or_else(|what| panic!("DUGNAD_SEED={seed}, {plan:?}: {what}"));
            shown += usize::from(failed > 0);
        }
        println!("seed {seed}: {shown} runs with a fault");
        assert!(shown > changes / 2, "the faults were met");
    }
}
