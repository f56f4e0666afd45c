//! How many resources a second a fresh database takes, durably and with all built-in views live: as `ingest --data` does,
//! and over HTTP as `ingest --server` does. The very code of those commands is measured.

use super::figures::{Better, Figures};
use super::loopback::Loopback;
use super::{Folder, machine};
use crate::access::{Role, TokenRequest};
use crate::cli::CliError;
use crate::cli::client::Client;
use crate::cli::ingest::{Folder as DataSink, Report, Server as ServerSink, take_in};
use crate::cli::local::Local;
use crate::feed::Feed;
use crate::intake::source::Files;
use dugnad_kernel::database::Handling;
use jiff::{Timestamp, ToSpan};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files and folders; the feed's synthetic transactions if there are none.
    pub paths: Vec<PathBuf>,
    /// How many resources the synthetic transactions have together.
    pub resources: usize,
    /// Where the databases are made; a temporary folder if not given.
    pub data: Option<PathBuf>,
    /// What becomes of references that cannot be resolved.
    pub handling: Handling,
    /// How many writers at once.
    pub jobs: usize,
}

/// The hospital that all is written for.
const HOLDER: &str = "Benchmark";

/// Resources in a synthetic transaction: from as few as a patient's first visits to as many as a long story.
const TRANSACTION_RESOURCES: [usize; 5] = [100, 150, 200, 250, 300];

/// How often the disk's own fdatasync is timed before each part.
const DISK_SAMPLES: usize = 300;

/// Measures, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    let folder = Folder::of(options.data.as_deref())?;
    let paths = if options.paths.is_empty() { vec![synthetic(&folder.path, options.resources)?] } else { options.paths.clone() };
    let files = Files::list(&paths).map_err(CliError::Usage)?;
    let mut figures = Figures::new("ingest");
    machine::describe(&mut figures, "start");
    let disk = machine::fdatasync(&folder.path, DISK_SAMPLES)?;
    figures.add("fdatasync_p50", disk.quantile_ms(0.5), "ms", Better::Context, "the disk's fdatasync, p50");
    figures.add("fdatasync_p99", disk.quantile_ms(0.99), "ms", Better::Context, "the disk's fdatasync, p99");
    let data = measure(&folder.path.join("data"), &files, &mut figures, "data", |local| {
        let sink = DataSink::new(local, HOLDER, options.handling)?;
        let report = take_in(&files, options.jobs, &sink);
        sink.finish().map(|()| report)
    })?;
    let http = measure(&folder.path.join("http"), &files, &mut figures, "http", |local| {
        let request = TokenRequest {
            user: "benchmark".to_owned(),
            role: Role::Hospital,
            holder: Some(HOLDER.to_owned()),
            subject: None,
            valid_for: 24.hours(),
        };
        let token = local.tokens.issue(&request).map_err(CliError::failed)?;
        let server = Loopback::start(local)?;
        let client = Client::new(server.url(), Some(token))?;
        let report = take_in(&files, options.jobs, &ServerSink::new(client, options.handling));
        server.stop().map(|()| report)
    })?;
    figures.print();
    if data && http { Ok(()) } else { Err(CliError::Failed("not everything was taken; the rates are of what was".to_owned())) }
}

/// One part: a fresh database, filled by `fill`. Whether everything was taken.
fn measure(
    dir: &Path,
    files: &Files,
    figures: &mut Figures,
    part: &str,
    fill: impl FnOnce(&Local) -> Result<Report, CliError>,
) -> Result<bool, CliError> {
    let local = Local::open(dir, None)?;
    machine::forget_peak();
    let (began, cpu_before) = (Instant::now(), machine::cpu_s());
    let report = fill(&local)?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = machine::cpu_s().zip(cpu_before).map(|(after, before)| after - before);
    if let Some(why) = report.stopped() {
        return Err(CliError::Failed(format!("stopped: {why}")));
    }
    let how = if part == "data" { "as ingest --data" } else { "as ingest --server, over HTTP" };
    let counted: u64 = local.database.counters().resources.iter().map(|(_, n)| n).sum();
    let mut add = |name: &str, value: f64, unit, better, said: &str| figures.add(format!("{part}_{name}"), value, unit, better, said);
    add("resources_per_s", report.taken() as f64 / seconds, "1/s", Better::Higher, &format!("resources a second, {how}"));
    add("bytes_per_s", files.bytes as f64 / seconds / 1e6, "MB/s", Better::Higher, "  input");
    add("resources", report.taken() as f64, "1", Better::Context, "  resources taken");
    add("live", counted as f64, "1", Better::Context, "  resources in the database afterwards");
    add("seconds", seconds, "s", Better::Context, "  time");
    if let Some(cpu) = cpu {
        add("cpu_us_per_resource", cpu * 1e6 / (report.taken() as f64).max(1.0), "us", Better::Lower, "  processor time per resource");
    }
    if let Some(bytes) = machine::peak_rss_bytes() {
        add("peak_rss", bytes / f64::from(1 << 20), "MiB", Better::Lower, "  highest memory use (RSS)");
    }
    local.database.close();
    Ok(report.all_taken())
}

/// Writes the feed's transactions as files, before anything is measured.
fn synthetic(folder: &Path, resources: usize) -> Result<PathBuf, CliError> {
    let dir = folder.join("synthetic");
    let failed = |e: std::io::Error| CliError::Failed(format!("{}: {e}", dir.display()));
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let now = Timestamp::now();
    let mut feed = Feed::new(1, 0, now);
    let mut left = resources;
    let mut told = Instant::now();
    for (number, size) in TRANSACTION_RESOURCES.iter().cycle().enumerate() {
        let transaction = feed.next_transaction((*size).min(left), now);
        std::fs::write(dir.join(format!("{number:06}.json")), &transaction.bundle).map_err(failed)?;
        left = left.saturating_sub(transaction.resources);
        if left == 0 {
            break;
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            eprintln!("making synthetic transactions: {} of {resources} resources", resources - left);
        }
    }
    Ok(dir)
}
