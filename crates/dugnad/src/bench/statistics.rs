//! What safe statistics cost: in accuracy, all tables of a database beside the exact counts of the same; in time, beside the count of
//! patients that they take the place of.

use super::figures::{Better, Figures, Peer};
use super::sql::{fill, grant, median};
use super::{Folder, machine};
use crate::access::{Principal, Role};
use crate::cli::CliError;
use crate::cli::local::Local;
use crate::query::{Question, Utility};
use dugnad_kernel::clock::{Clock, ManualClock};
use futures::StreamExt;
use jiff::{Timestamp, ToSpan};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Runtime;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many resources of the feed the database has, about.
    pub resources: usize,
    /// A database that is there already: its accuracy is measured, and nothing else.
    pub data: Option<PathBuf>,
    /// Up to how many dimensions tables have.
    pub depth: usize,
    /// How often each question is put.
    pub rounds: usize,
}

/// The permit for statistics.
const CELLS: &str = "bench-statistics";

/// The tables that the statistics need.
const TABLES: [&str; 3] = ["treatment", "patient", "condition"];

/// Questions of both: the name, the count of patients, the statistic.
const QUESTIONS: [(&str, &str, &str); 3] = [
    (
        "kind",
        "SELECT kind, COUNT(DISTINCT patient_key) FROM treatment GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind",
    ),
    (
        "holder_and_kind",
        "SELECT holder, kind, COUNT(DISTINCT patient_key) FROM treatment GROUP BY holder, kind",
        "SELECT holder, kind, persons FROM statistics.treatments GROUP BY holder, kind",
    ),
    (
        "sex_and_kind",
        "SELECT p.gender, t.kind, COUNT(DISTINCT t.patient_key) FROM treatment t JOIN patient p ON p.patient_key = t.patient_key \
         GROUP BY p.gender, t.kind",
        "SELECT sex, kind, persons FROM statistics.treatments GROUP BY sex, kind",
    ),
];

/// Measures, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    let mut figures = Figures::new("statistics");
    machine::describe(&mut figures, "start");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(CliError::failed)?;
    if let Some(dir) = &options.data {
        let local = Local::open(dir, None)?;
        accuracy(&mut figures, &local, &runtime, options.depth)?;
        local.audit.close();
        local.database.close();
        figures.print();
        return Ok(());
    }
    let folder = Folder::of(None)?;
    let clock = Arc::new(ManualClock::new(Timestamp::now()));
    let local = Local::open_with(&folder.path, None, Arc::clone(&clock) as Arc<dyn Clock>, None)?;
    eprintln!("writing about {} resources", options.resources);
    let resources = fill(&local, options.resources)?;
    figures.add("resources", resources as f64, "1", Better::Context, "resources in the database");
    time(&mut figures, &local, &runtime, &clock, options.rounds)?;
    accuracy(&mut figures, &local, &runtime, options.depth)?;
    local.audit.close();
    local.database.close();
    figures.print();
    Ok(())
}

/// The first question of an epoch, which counts; a further one about other cells of the same rows; and the same one again.
fn time(figures: &mut Figures, local: &Local, runtime: &Runtime, clock: &ManualClock, rounds: usize) -> Result<(), CliError> {
    let rows = grant(local)?;
    permit(local)?;
    let ask = |role: Role, user: &str, permit: &str, sql: &str| {
        let who = Principal { inside_spe: true, ..Principal::new(user, role, None) };
        let question = Question { who, interface: "cli", permit: permit.to_owned(), sql: sql.to_owned(), as_of: None, min_commit: None };
        let began = Instant::now();
        runtime.block_on(async {
            let mut answer = local.query.ask(question).await.map_err(|e| CliError::Failed(format!("{e}: {sql}")))?;
            while let Some(batch) = answer.batches.next().await {
                batch.map_err(CliError::failed)?;
            }
            Ok::<_, CliError>(())
        })?;
        Ok::<_, CliError>(began.elapsed().as_secs_f64() * 1e3)
    };
    let mut taken = QUESTIONS.map(|_| [const { Vec::new() }; 3]);
    for _ in 0..rounds {
        // The longest epoch is a month: everything is counted anew, and the ledger is empty.
        clock.set(clock.now() + (24 * 32).hours());
        for ((name, counted, released), [counts, news, again]) in QUESTIONS.iter().zip(&mut taken) {
            eprintln!("asking {name}");
            news.push(ask(Role::Company, "company", CELLS, released)?);
            again.push(ask(Role::Company, "company", CELLS, released)?);
            counts.push(ask(Role::Authority, "authority", rows, counted)?);
        }
    }
    for (nth, ((name, ..), mut taken)) in QUESTIONS.iter().zip(taken).enumerate() {
        let [count, new, again] = [0, 1, 2].map(|at| median(&mut taken[at]));
        let beside = || Some(Peer { name: "the count of patients".to_owned(), value: count });
        let first = if nth == 0 { "the first of an epoch, which reads the rows" } else { "a new table of an epoch" };
        figures.add_beside(format!("{name}_new"), new, "ms", Better::Lower, format!("{name}: {first}"), beside());
        figures.add_beside(format!("{name}_again"), again, "ms", Better::Lower, format!("{name}: asked again in the epoch"), beside());
    }
    Ok(())
}

/// A permit for statistics that began before all epochs.
fn permit(local: &Local) -> Result<(), CliError> {
    let decided = local.clock.now();
    let tables: Vec<_> = TABLES.iter().map(|table| json!({"table": table, "columns": "all"})).collect();
    let permit = json!({
        "id": CELLS, "basis": "ehds_request", "applicant": "a company", "users": ["company"], "purpose": "Measuring", "tables": tables,
        "population": "everyone", "cadence": "daily", "delivery": "remote", "valid_from": decided, "valid_until": decided + (24 * 36_500).hours(),
        "decision": {"by": "centre", "at": decided, "reasons": "Made for a benchmark; nobody in the data exists."}, "status": "active",
    });
    local.database.put_document("permit", CELLS, &permit.to_string()).map_err(CliError::failed)?;
    Ok(())
}

fn accuracy(figures: &mut Figures, local: &Local, runtime: &Runtime, depth: usize) -> Result<(), CliError> {
    eprintln!("releasing every table with up to {depth} dimensions");
    let found = runtime.block_on(local.query.statistics_utility(depth)).map_err(CliError::failed)?;
    for (depth, utility) in found {
        let mut add = |name: &str, value: f64, said: &str| {
            figures.add(format!("{name}_{depth}"), value, "%", Better::Context, format!("{depth} dimension(s): {said}"));
        };
        sizes(&utility, &mut add);
        add("suppressed", 100.0 * utility.suppressed(), "share of the cells with anybody that are not shown");
        add("bias", 100.0 * utility.bias(), "what shown cells add up to, beside the truth of the same");
        add("covered", 100.0 * utility.covered(), "what shown cells add up to, beside the truth of all");
    }
    Ok(())
}

fn sizes(utility: &Utility, add: &mut dyn FnMut(&str, f64, &str)) {
    for of in utility.sizes.iter().filter(|of| of.cells > 0) {
        let from = of.from;
        let said = |what: &str| format!("cells of {from} persons or more, up to the next size: {what}");
        add(&format!("shown_from_{from}"), 100.0 * of.shown as f64 / of.cells as f64, &said("share that is shown"));
        if of.shown > 0 {
            add(&format!("error_from_{from}"), 100.0 * of.mean(), &said("mean relative error of the shown"));
            add(&format!("most_error_from_{from}"), 100.0 * of.most, &said("largest relative error of the shown"));
        }
    }
}
