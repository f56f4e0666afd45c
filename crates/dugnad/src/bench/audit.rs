//! What the audit log costs a question, and what "who read my data?" takes.
//!
//! The same database twice: with its log on the disk, and with its log on a memory disk, where an fsync costs nothing. The same small
//! question is put to both by turns, so that whatever else the machine does meets both.

use super::figures::{Better, Figures};
use super::{Folder, Latency, machine};
use crate::access::{Principal, Role};
use crate::cli::CliError;
use crate::cli::local::Local;
use crate::feed::Feed;
use crate::query::Question;
use crate::query::format::{Format, encode};
use dugnad_kernel::audit::{Act, Entry};
use dugnad_kernel::database::{Handling, Interaction, WriteRequest};
use dugnad_kernel::ids::PatientOrdinal;
use dugnad_kernel::permit::CARE;
use futures::StreamExt;
use roaring::RoaringBitmap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many resources the questions are over.
    pub resources: usize,
    /// How often the question is put to each database.
    pub questions: usize,
    /// How many entries the log has when it is asked who read somebody's data.
    pub entries: u64,
    /// Where the databases are made; a temporary folder if not given.
    pub data: Option<PathBuf>,
    /// A folder on a memory disk.
    pub memory: PathBuf,
}

/// The hospital.
const HOLDER: &str = "Benchmark";

/// Resources in a transaction of the feed.
const TRANSACTION_RESOURCES: usize = 200;

/// The small question: one row, of one table.
const SQL: &str = "SELECT count(*) AS n FROM patient WHERE gender = 'female'";

/// How many persons the log's accesses are of.
const PERSONS: u64 = 100_000;

/// Measures, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    let folder = Folder::of(options.data.as_deref())?;
    let memory = tempfile::Builder::new().prefix("dugnad-bench-").tempdir_in(&options.memory);
    let memory = memory.map_err(|e| CliError::Failed(format!("{}: {e}; name a memory disk with --memory", options.memory.display())))?;
    let mut figures = Figures::new("audit");
    machine::describe(&mut figures, "start");
    questions(options, &folder.path, memory.path(), &mut figures)?;
    who(options, &folder.path.join("who"), &mut figures)?;
    figures.print();
    Ok(())
}

fn questions(options: &Options, disk: &Path, memory: &Path, figures: &mut Figures) -> Result<(), CliError> {
    let (on_disk, in_memory) = (disk.join("disk"), disk.join("memory"));
    std::fs::create_dir_all(&in_memory).map_err(CliError::failed)?;
    #[cfg(unix)]
    std::os::unix::fs::symlink(memory, in_memory.join("audit")).map_err(CliError::failed)?;
    let locals = [filled(&on_disk, options.resources)?, filled(&in_memory, options.resources)?];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::failed)?;
    let mut latencies = [Latency::default(), Latency::default()];
    for local in &locals {
        runtime.block_on(ask(local))?; // whatever is slow once
    }
    for _ in 0..options.questions {
        for (local, latency) in locals.iter().zip(&mut latencies) {
            let began = Instant::now();
            runtime.block_on(ask(local))?;
            latency.record(began.elapsed());
        }
    }
    let sync = machine::fdatasync(disk, 1_000)?;
    let [disk, memory] = &latencies;
    for (quantile, name) in [(0.5, "p50"), (0.99, "p99")] {
        let (on_disk, in_memory, alone) = (disk.quantile_ms(quantile), memory.quantile_ms(quantile), sync.quantile_ms(quantile));
        figures.add(format!("small_query_{name}"), on_disk, "ms", Better::Lower, format!("a small query, {name}"));
        let said = format!("  the same with the log on a memory disk, {name}");
        figures.add(format!("small_query_memory_log_{name}"), in_memory, "ms", Better::Context, said);
        figures.add(format!("fdatasync_{name}"), alone, "ms", Better::Context, format!("  fdatasync alone, {name}"));
        let said = format!("  what is left of the difference after one fdatasync, {name}");
        figures.add(format!("audit_overhead_{name}"), on_disk - in_memory - alone, "ms", Better::Lower, said);
    }
    for local in locals {
        local.audit.close();
        local.database.close();
    }
    Ok(())
}

/// A database with so many resources.
fn filled(dir: &Path, resources: usize) -> Result<Local, CliError> {
    let local = Local::open(dir, None)?;
    let holder = local.database.register_holder(HOLDER).map_err(CliError::failed)?.id;
    let now = local.clock.now();
    let (mut feed, mut taken) = (Feed::new(1, 0, now), 0);
    while taken < resources {
        let transaction = feed.next_transaction(TRANSACTION_RESOURCES, now);
        taken += transaction.resources;
        let interaction = Interaction::Transaction { body: transaction.bundle };
        let request = WriteRequest { holder, interaction, handling: Handling::Lenient, idempotency_key: None };
        local.database.write(request).map_err(CliError::failed)?;
    }
    Ok(local)
}

/// Puts the question, and reads its whole answer.
async fn ask(local: &Local) -> Result<(), CliError> {
    let who = Principal { inside_spe: true, ..Principal::new(HOLDER, Role::Hospital, Some(HOLDER.to_owned())) };
    let (permit, sql) = (CARE.to_owned(), SQL.to_owned());
    let question = Question { who, interface: "sql", permit, sql, as_of: None, min_commit: None };
    let answer = local.query.ask(question).await.map_err(CliError::failed)?;
    let mut chunks = encode(answer, Format::Json);
    while let Some(chunk) = chunks.next().await {
        chunk.map_err(CliError::failed)?;
    }
    Ok(())
}

/// A log of many accesses, each to one person: opened, and asked.
fn who(options: &Options, dir: &Path, figures: &mut Figures) -> Result<(), CliError> {
    let local = Local::open(dir, None)?;
    for number in 0..options.entries / 2 {
        let entry = |act| Entry::new(local.clock.now(), act, HOLDER, "hospital");
        let read = |act| Entry {
            request: Some("GET /fhir/Observation/0123456789abcdef".to_owned()),
            tables: vec!["Observation".to_owned()],
            ..entry(act)
        };
        let access = local.audit.begin_then(&read(Act::Intent), Box::new(drop));
        let person: RoaringBitmap = [u32::try_from(number % PERSONS).unwrap_or_default()].into_iter().collect();
        local.audit.complete_then(access, &entry(Act::Completion), Some(&Arc::new(person)), Box::new(drop));
    }
    local.audit.close();
    local.database.close();
    drop(local);
    let began = Instant::now();
    let local = Local::open(dir, None)?;
    figures.add("entries", local.audit.size() as f64, "1", Better::Context, "entries of the log");
    figures.add("open", began.elapsed().as_secs_f64(), "s", Better::Lower, "opening a database with that log");
    let asked = |person: u32| {
        let began = Instant::now();
        let found = local.audit.who(&[PatientOrdinal(person)]).map_err(CliError::failed)?;
        Ok::<_, CliError>((began.elapsed().as_secs_f64(), found))
    };
    figures.add("who_first", asked(7)?.0, "s", Better::Lower, "who read my data? at once after that, with the reading of the whole log");
    let mut latency = Latency::default();
    let mut accesses = Vec::new();
    for person in 0..100 {
        let began = Instant::now();
        accesses = asked(person)?.1;
        latency.record(began.elapsed());
    }
    figures.add("who_p50", latency.quantile_ms(0.5), "ms", Better::Lower, "who read my data? then, p50");
    figures.add("who_p99", latency.quantile_ms(0.99), "ms", Better::Lower, "who read my data? then, p99");
    figures.add("who_found", accesses.len() as f64, "1", Better::Context, "  accesses found");
    let began = Instant::now();
    for access in &accesses {
        local.audit.prove(access.entry).map_err(CliError::failed)?;
    }
    let each = began.elapsed().as_secs_f64() * 1e3 / accesses.len().max(1) as f64;
    figures.add("proof", each, "ms", Better::Lower, "  the inclusion proof of one of them");
    local.audit.close();
    local.database.close();
    Ok(())
}
