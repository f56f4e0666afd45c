//! How soon a database answers after its process has been killed while it took in resources as fast as it could: `SIGKILL`, then
//! the time until everything is open and the first exact count has been made. And how much memory the opened database needs.

use super::figures::{Better, Figures};
use super::{Folder, machine};
use crate::cli::CliError;
use crate::cli::local::Local;
use crate::feed::Feed;
use dugnad_kernel::database::{Database, Handling, Interaction, WriteRequest};
use dugnad_kernel::live::{RowFilter, Snapshot};
use jiff::Timestamp;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many resources are taken in before the kill.
    pub resources: u64,
    /// Where the database is made; a temporary folder if not given.
    pub data: Option<PathBuf>,
    /// Only take resources in, for ever: what the killed process does.
    pub fill: bool,
}

/// How many transactions are written at once, so that they share an fsync.
const WRITERS: usize = 4;

/// Resources in a transaction of the feed.
const TRANSACTION_RESOURCES: usize = 200;

/// Measures, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    if options.fill {
        let dir = options.data.as_deref().ok_or_else(|| CliError::Usage("--fill needs --data".to_owned()))?;
        return fill(dir);
    }
    let folder = Folder::of(options.data.as_deref())?;
    let dir = folder.path.join("data");
    kill_while_filling(&dir, options.resources)?;
    let mut figures = Figures::new("restart");
    machine::describe(&mut figures, "kill");
    machine::forget_peak();
    let began = Instant::now();
    let local = Local::open(&dir, None)?;
    let opened = began.elapsed();
    let snapshot = local.database.snapshot();
    let patients = count(&snapshot, "patient")?;
    let counted = began.elapsed();
    figures.add("first_count", counted.as_secs_f64(), "s", Better::Lower, "from the start to the first exact count");
    figures.add("open", opened.as_secs_f64(), "s", Better::Lower, "  of that, until everything is open");
    let resources: u64 = local.database.counters().resources.iter().map(|(_, n)| n).sum();
    figures.add("resources", resources as f64, "1", Better::Context, "resources in the database");
    figures.add("commits", snapshot.commit().0 as f64, "1", Better::Context, "commits");
    let began = Instant::now();
    for table in snapshot.tables() {
        count(&snapshot, &table.schema().name)?;
    }
    figures.add("count_all_tables", began.elapsed().as_secs_f64(), "s", Better::Lower, "counting the rows of every table");
    memory(&mut figures);
    let expected = patients_of_the_journal(&local.database);
    local.database.close();
    figures.print();
    if patients == expected {
        Ok(())
    } else {
        Err(CliError::Failed(format!("{patients} patients were counted, the journal has {expected}")))
    }
}

/// Fills a database in another process and kills it once it has `resources`.
fn kill_while_filling(dir: &Path, resources: u64) -> Result<(), CliError> {
    let program = std::env::current_exe().map_err(CliError::failed)?;
    let mut child = Command::new(program)
        .args(["bench", "restart", "--fill", "--data"])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(CliError::failed)?;
    let counts = child.stdout.take().ok_or_else(|| CliError::Failed("the filling process has no output".to_owned()))?;
    let mut told = Instant::now();
    for line in BufReader::new(counts).lines() {
        let taken: u64 = line.map_err(CliError::failed)?.trim().parse().map_err(CliError::failed)?;
        if told.elapsed().as_secs() >= 10 {
            told = Instant::now();
            eprintln!("taken in: {taken} of {resources} resources");
        }
        if taken >= resources {
            child.kill().map_err(CliError::failed)?; // SIGKILL, in the middle of whatever it does
            child.wait().map_err(CliError::failed)?;
            return Ok(());
        }
    }
    let status = child.wait().map_err(CliError::failed)?;
    Err(CliError::Failed(format!("the filling process ended by itself: {status}")))
}

/// Takes in transactions of the feed until the process is killed, and prints after each how many resources that makes.
fn fill(dir: &Path) -> Result<(), CliError> {
    let local = Local::open(dir, None)?;
    let holder = local.database.register_holder("Benchmark").map_err(CliError::failed)?.id;
    let (bundles, taking) = sync_channel::<(Vec<u8>, usize)>(WRITERS);
    let taking = std::sync::Mutex::new(taking);
    let taken = std::sync::Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                loop {
                    let next = taking.lock().map(|queue| queue.recv());
                    let Ok(Ok((body, resources))) = next else { return };
                    let request = WriteRequest {
                        holder,
                        interaction: Interaction::Transaction { body },
                        handling: Handling::Lenient,
                        idempotency_key: None,
                    };
                    if let Err(error) = local.database.write(request) {
                        eprintln!("a transaction was not taken: {error}");
                        return;
                    }
                    let Ok(mut taken) = taken.lock() else { return };
                    *taken += resources;
                    if writeln!(std::io::stdout(), "{taken}").is_err() {
                        return;
                    }
                }
            });
        }
        let now = Timestamp::now();
        let mut feed = Feed::new(1, 0, now);
        loop {
            let transaction = feed.next_transaction(TRANSACTION_RESOURCES, now);
            if bundles.send((transaction.bundle, transaction.resources)).is_err() {
                return Err(CliError::Failed("nobody takes the transactions any more".to_owned()));
            }
        }
    })
}

fn count(snapshot: &Snapshot, table: &str) -> Result<u64, CliError> {
    let everyone = RowFilter { without_patient: true, ..RowFilter::default() };
    let parts = snapshot.table(table).map(|t| t.parts()).unwrap_or_default();
    let mut rows = 0;
    for part in parts {
        rows += part.visible(&everyone).map_err(CliError::failed)?.count(part.len()) as u64;
    }
    Ok(rows)
}

fn patients_of_the_journal(database: &Database) -> u64 {
    database.counters().resources.iter().find(|(kind, _)| kind == "Patient").map_or(0, |(_, n)| *n)
}

fn memory(figures: &mut Figures) {
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let mut add = |name: &str, bytes: Option<f64>, said: &str| {
        if let Some(bytes) = bytes {
            figures.add(name, mib(bytes), "MiB", Better::Lower, said);
        }
    };
    add("rss_anonymous", machine::memory("RssAnon:"), "anonymous memory after counting every table");
    add("rss", machine::memory("VmRSS:"), "  all memory, mapped files included");
    add("peak_rss", machine::peak_rss_bytes(), "  highest until then");
}
