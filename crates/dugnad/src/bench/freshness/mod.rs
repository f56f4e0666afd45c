//! How soon what a hospital wrote is seen, and whether any answer lacks it: writers and readers over real HTTP.
//!
//! Each transaction has three resources: an Encounter of the synthetic feed, an Observation that is new and an Observation
//! that has been there and gets a new version; both hold a number that only this transaction wrote. Readers take note of
//! what has been acknowledged, then ask, then look for those numbers in the answer: an answer that lacks one is stale.

mod board;
mod load;
mod reader;
mod target;

pub use target::Target;

use super::figures::{Better, Figures};
use super::{Latency, machine};
use crate::cli::CliError;
use crate::cli::client;
use crate::feed::Feed;
use board::Board;
use jiff::Timestamp;
use load::{Load, Written};
use reader::{Interface, Readers, Seen};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::Method;

/// The permit of a server of our own.
const PERMIT: &str = "freshness";

/// The system of the Observations' codes.
const CODE_SYSTEM: &str = "urn:dugnad:bench";

/// How often the disk's fdatasync is timed during the run: too seldom to matter to the commits.
const DISK_INTERVAL: Duration = Duration::from_millis(50);

/// Resources of a patient's story in the feed's history, about.
const STORY_RESOURCES: usize = 39;

/// How many requests load the history at once.
const LOADERS: usize = 8;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Transactions per second, all writers together.
    pub rate_per_s: f64,
    /// How many transactions may be under way at once.
    pub writers: usize,
    /// How many readers; each asks on all interfaces by turns.
    pub readers: usize,
    /// When to stop.
    pub until: Until,
    /// How many resources the database holds before anything is measured.
    pub load: usize,
    /// Where the new database is made; a temporary folder if not given.
    pub data: Option<PathBuf>,
    /// The `demo.json` of a server that runs, instead of a new database.
    pub tokens: Option<PathBuf>,
    /// Its address, if not that of the file.
    pub server: Option<String>,
    /// Register a view in the middle of the time.
    pub register: bool,
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After a time.
    Time(Duration),
    /// When so many answers have been checked on each interface.
    Answers(u64),
}

/// What was measured.
pub struct Outcome {
    written: Written,
    seen: [Seen; 3],
    seconds: f64,
    disk: Latency,
    /// How long the table of the view took, in seconds.
    built_s: Option<f64>,
}

/// Measures, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    let target = match &options.tokens {
        Some(path) => Target::running(path, options.server.as_deref())?,
        None => Target::own(options.data.as_deref())?,
    };
    let measured = measure(options, &target);
    target.stop()?;
    let outcome = measured?;
    let figures = outcome.figures(options);
    figures.print();
    for (why, interface) in outcome.complaints() {
        eprintln!("{interface}: {why}");
    }
    if outcome.is_clean() { Ok(()) } else { Err(CliError::Failed("answers were stale, or requests failed: see above".to_owned())) }
}

/// Loads the history, then writes and reads until the end.
pub fn measure(options: &Options, target: &Target) -> Result<Outcome, CliError> {
    let now = Timestamp::now();
    let seed = now.as_second().unsigned_abs();
    let mut feed = Feed::new(seed, (options.load / STORY_RESOURCES).max(20), now);
    load_history(&mut feed, target, now)?;
    machine::forget_peak();
    let sampler = machine::DiskSampler::start(&target.dir, DISK_INTERVAL)?;
    let (board, stop, seen) = (Board::default(), AtomicBool::new(false), <[Seen; 3]>::default());
    let building = AtomicBool::new(false);
    let start = Instant::now();
    let load = Load {
        target,
        board: &board,
        feed: Mutex::new(feed),
        base: seed * 1_000_000, // below 2^53, and above that of any run before
        rate_per_s: options.rate_per_s,
        start,
        next: AtomicU64::new(0),
        stop: &stop,
        building: &building,
        result: Mutex::default(),
    };
    let readers = Readers { target, board: &board, seen: &seen, stop: &stop };
    let built = std::thread::scope(|scope| {
        for writer in 0..options.writers {
            let load = &load;
            scope.spawn(move || load.write(writer));
        }
        for _ in 0..options.readers {
            scope.spawn(|| readers.read());
        }
        let register = || {
            let Until::Time(time) = options.until else { return Ok(None) };
            std::thread::sleep(time / 2);
            building.store(true, Ordering::Relaxed);
            let begun = Instant::now();
            let registered = target.register(&stop).map(|()| Some(begun.elapsed().as_secs_f64()));
            building.store(false, Ordering::Relaxed);
            registered
        };
        let registering = options.register.then(|| scope.spawn(register));
        wait(options.until, start, &seen, &board);
        stop.store(true, Ordering::Release);
        let failed = || Err(CliError::Failed("the view could not be registered".to_owned()));
        registering.map_or(Ok(None), |thread| thread.join().unwrap_or_else(|_| failed()))
    });
    let written = load.result.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome { written, seen, seconds: start.elapsed().as_secs_f64(), disk: sampler.stop()?, built_s: built? })
}

fn wait(until: Until, start: Instant, seen: &[Seen; 3], board: &Board) {
    let mut told = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let answers = seen.iter().map(|s| s.answers.load(Ordering::Relaxed)).min().unwrap_or_default();
        let over = match until {
            Until::Time(time) => start.elapsed() >= time,
            // Where every request fails, the count is never reached.
            Until::Answers(wanted) => answers >= wanted || seen.iter().any(|s| s.failed.load(Ordering::Relaxed) > wanted),
        };
        if over {
            return;
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("{} transactions acknowledged, {answers} answers checked on each interface", board.count());
        }
    }
}

/// Sends the feed's history, several requests at once.
fn load_history(feed: &mut Feed, target: &Target, now: Timestamp) -> Result<(), CliError> {
    let transactions = Mutex::new(feed.history(now));
    let work = || -> Result<(), CliError> {
        let headers = [("Content-Type", "application/fhir+json"), ("Prefer", "return=minimal")];
        loop {
            let next = transactions.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(transaction) = next else { return Ok(()) };
            let client = target.writer(target.hospital(transaction.hospital));
            let mut answer = client.send_patiently(&Method::POST, "/fhir", &headers, Some(&transaction.bundle))?;
            let text = client::text(&mut answer);
            if !answer.status().is_success() {
                let why = client::explain(answer.status().as_u16(), &text).remove(0).1;
                return Err(CliError::Failed(format!("the history was refused: {why}")));
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..LOADERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| Err(CliError::Failed("the history could not be made".to_owned()))))
    })
}

impl Outcome {
    /// Whether nothing was stale, torn or failed.
    pub fn is_clean(&self) -> bool {
        let zero = |n: &AtomicU64| n.load(Ordering::Relaxed) == 0;
        self.written.failed == 0 && self.seen.iter().all(|s| zero(&s.stale) && zero(&s.torn) && zero(&s.failed))
    }

    /// What was wrong, and where.
    pub fn complaints(&self) -> Vec<(String, &'static str)> {
        let mut complaints: Vec<_> = self.written.reasons.iter().map(|why| (why.clone(), "write")).collect();
        for (seen, interface) in self.seen.iter().zip(Interface::ALL) {
            let reasons = seen.reasons.lock().unwrap_or_else(PoisonError::into_inner);
            complaints.extend(reasons.iter().map(|why| (why.clone(), interface.name())));
        }
        complaints
    }

    /// How many answers were checked on all interfaces.
    pub fn answers(&self) -> u64 {
        self.seen.iter().map(|s| s.answers.load(Ordering::Relaxed)).sum()
    }

    fn figures(&self, options: &Options) -> Figures {
        let mut figures = Figures::new("freshness");
        machine::describe(&mut figures, "end");
        figures.add("rate", options.rate_per_s, "1/s", Better::Context, "transactions due");
        let acknowledged = &self.written.acknowledged;
        figures.add("transactions_per_s", acknowledged.count() as f64 / self.seconds, "1/s", Better::Context, "transactions acknowledged");
        figures.add("resources", self.written.resources as f64, "1", Better::Context, "resources written");
        figures.add("busy", self.written.busy as f64, "1", Better::Lower, "writes told to come back later");
        quantiles(&mut figures, "fdatasync", &self.disk, "the disk's fdatasync in this run", Better::Context);
        quantiles(&mut figures, "acknowledge", acknowledged, "acknowledged, from the due time", Better::Lower);
        if let Some(seconds) = self.built_s {
            figures.add("view_built", seconds, "s", Better::Lower, "a view of all Observations was registered: until its table was live");
            let said = "acknowledged while it was built";
            quantiles(&mut figures, "acknowledge_building", &self.written.while_building, said, Better::Lower);
        }
        for (seen, interface) in self.seen.iter().zip(Interface::ALL) {
            let name = interface.name();
            let visible = seen.visible.lock().unwrap_or_else(PoisonError::into_inner);
            quantiles(
                &mut figures,
                &format!("visible_{name}"),
                &visible,
                &format!("seen by {name}, from the acknowledgement"),
                Better::Lower,
            );
        }
        for (seen, interface) in self.seen.iter().zip(Interface::ALL) {
            let name = interface.name();
            let count = |n: &AtomicU64| n.load(Ordering::Relaxed) as f64;
            figures.add(format!("answers_{name}"), count(&seen.answers), "1", Better::Context, format!("{name}: answers checked"));
            figures.add(format!("stale_{name}"), count(&seen.stale), "1", Better::Lower, format!("{name}: stale"));
            if interface == Interface::Sql {
                figures.add("torn_sql", count(&seen.torn), "1", Better::Lower, "sql: held half a transaction");
            }
            figures.add(format!("failed_{name}"), count(&seen.failed), "1", Better::Lower, format!("{name}: no answer"));
        }
        if let Some(bytes) = machine::peak_rss_bytes() {
            figures.add("peak_rss", bytes / f64::from(1 << 20), "MiB", Better::Lower, "highest memory use (RSS) of this process");
        }
        figures
    }
}

fn quantiles(figures: &mut Figures, name: &str, latency: &Latency, said: &str, better: Better) {
    figures.add(format!("{name}_p50"), latency.quantile_ms(0.5), "ms", better, format!("{said}: p50"));
    figures.add(format!("{name}_p99"), latency.quantile_ms(0.99), "ms", better, format!("{said}: p99"));
    figures.add(format!("{name}_max"), latency.max_ms(), "ms", better, format!("{said}: max"));
}
