//! Stories: lists of operations drawn from a seed, run on a database and on a model of what it is to its users. After every
//! step both must say the same, at the newest commit and at an older one.
//!
//! `DUGNAD_SEEDS` says how many stories are run, `DUGNAD_SEED` with which seed they begin (and alone: that one story).
//! `just simulate` runs many. A story that fails is made shorter while it goes on failing, and printed with the command that repeats it.

pub mod definition;
mod erasure;
pub mod model;
mod request;
pub mod rows;
pub mod run;
pub mod story;
mod together;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use run::Failure;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use story::{Operation, Plot, Step};

/// How many stories the suite runs: in memory, and where every commit waits for a disk.
const SEEDS: (u64, u64) = (800, 40);

const PLOT: Plot = Plot { operations: 30, drawn_ids: true, views: true, erasures: true, crashes: true };

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// The stories that are asked for: the first seed and how many.
fn seeds() -> (u64, u64) {
    let in_memory = run::folder().path().starts_with("/dev/shm");
    let usual = if in_memory { SEEDS.0 } else { SEEDS.1 };
    match (from_environment("DUGNAD_SEED"), from_environment("DUGNAD_SEEDS")) {
        (Some(seed), count) => (seed, count.unwrap_or(1)),
        (None, count) => (0, count.unwrap_or(usual)),
    }
}

fn story_of(seed: u64) -> Vec<Step> {
    story::story(&mut ChaCha8Rng::seed_from_u64(seed), PLOT)
}

/// Runs a story; a panic is a failure too.
fn run_story(story: &[Step]) -> Result<(), Failure> {
    catch_unwind(AssertUnwindSafe(|| run::run(story))).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or(""), String::as_str);
        Err(Failure { step: story.len(), what: format!("a panic: {what}") })
    })
}

/// Leaves out what is not needed for the story to fail: half of it, a quarter, and so on to single operations; then single
/// entries of transactions.
fn shrink(mut story: Vec<Step>, mut failure: Failure) -> (Vec<Step>, Failure) {
    story.truncate(failure.step);
    let mut size = story.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < story.len() {
            let mut shorter = story.clone();
            shorter.drain(at..(at + size).min(story.len()));
            if !try_instead(shorter, &mut story, &mut failure) {
                at += size;
            }
        }
        if size <= 1 {
            break;
        }
        size = size.div_ceil(2);
    }
    for at in (0..story.len()).rev() {
        let mut entry = 0;
        while let Some(shorter) = without_entry(&story, at, entry) {
            entry += usize::from(!try_instead(shorter, &mut story, &mut failure));
        }
    }
    (story, failure)
}

/// Takes a shorter story if it fails too.
fn try_instead(mut shorter: Vec<Step>, story: &mut Vec<Step>, failure: &mut Failure) -> bool {
    let Err(again) = run_story(&shorter) else { return false };
    shorter.truncate(again.step);
    (*story, *failure) = (shorter, again);
    true
}

/// The story without an entry of a transaction of several; `None` if there is no such entry.
fn without_entry(story: &[Step], at: usize, entry: usize) -> Option<Vec<Step>> {
    let mut shorter = story.to_vec();
    let Operation::Write(write) = &mut shorter.get_mut(at)?.operation else { return None };
    if !write.transaction || write.entries.len() < 2 || entry >= write.entries.len() {
        return None;
    }
    write.entries.remove(entry);
    Some(shorter)
}

fn tell(seed: u64, story: &[Step], failure: &Failure) -> String {
    let steps: Vec<String> = story.iter().enumerate().map(|(i, step)| format!("{:3}. {:?}", i + 1, step.operation)).collect();
    format!(
        "the story of seed {seed}, shortened:\n{}\nafter step {}: {}\nto repeat it: DUGNAD_SEED={seed} cargo test -p dugnad-kernel --test it simulation::",
        steps.join("\n"),
        failure.step,
        failure.what
    )
}

#[test]
fn the_database_says_what_the_model_says() {
    let (first, count) = seeds();
    let (next, failed, stories) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Vec::new()));
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let seed = match next.fetch_add(1, Ordering::Relaxed) {
                n if n < count => first.wrapping_add(n),
                _ => break,
            };
            let story = story_of(seed);
            if let Err(failure) = run_story(&story) {
                failed.store(true, Ordering::Relaxed);
                let (story, failure) = shrink(story, failure);
                stories.lock().unwrap().push(tell(seed, &story, &failure));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let stories = stories.into_inner().unwrap();
    assert!(stories.is_empty(), "{}", stories.join("\n\n"));
}
