//! SQL under a permit, next to DuckDB on the same rows: the same questions, by turns, each answer compared.

mod data;
mod peer;
mod questions;

use super::figures::{Better, Figures, Peer as Beside};
use super::{Folder, machine};
use crate::cli::CliError;
use crate::cli::local::Local;
use crate::query::format::Format;
use data::Asker;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::views::builtin::TREATMENT;
use peer::Peer;
use questions::{QUESTIONS, Question};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Instant;

pub(super) use data::{fill, grant};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many resources the database holds, about.
    pub resources: usize,
    /// How often each question is asked; the medians are shown.
    pub rounds: usize,
    /// The Python that has DuckDB.
    pub python: PathBuf,
    /// Where the database is made; a temporary folder if not given.
    pub data: Option<PathBuf>,
    /// Only questions whose name contains this.
    pub only: Option<String>,
}

/// How many threads DuckDB gets: as many as there are processors, as it comes.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// Where DuckDB finds its rows.
const SCHEMAS: [&str; 2] = ["native", "parquet"];

/// Measures, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    let folder = Folder::of(options.data.as_deref())?;
    let local = Local::open(&folder.path.join("data"), None)?;
    let mut figures = Figures::new("sql");
    machine::describe(&mut figures, "start");
    eprintln!("writing about {} resources", options.resources);
    let resources = fill(&local, options.resources)?;
    figures.add("resources", resources as f64, "1", Better::Context, "resources in the database");
    let asker = Asker::new(&local)?;
    let then = Commit(local.database.snapshot().commit().0 / 2);
    eprintln!("exporting Parquet");
    let now_tables = asker.export(&folder.path.join("now"), None)?;
    let then_tables = asker.export(&folder.path.join("then"), Some(then))?;
    machine::forget_peak();
    let patient = one_patient(&asker)?;
    let chosen = |q: &&Question| options.only.as_ref().is_none_or(|only| q.name.contains(only.as_str()));
    // One after the other: each peer holds all of its tables in memory.
    let mut peak_of_peer = None;
    for (as_of, tables) in [(None, &now_tables), (Some(then), &then_tables)] {
        let questions: Vec<&Question> = QUESTIONS.iter().filter(chosen).filter(|q| q.then == as_of.is_some()).collect();
        if questions.is_empty() {
            continue;
        }
        let mut peer = Peer::start(&options.python, tables, &[TREATMENT], threads())?;
        for question in questions {
            eprintln!("asking {}", question.name);
            let sql = question.sql.replace("{patient}", &patient);
            measure(question, &sql, as_of, &asker, peer.as_mut(), options.rounds, &mut figures)?;
        }
        if let (Some(peer), None) = (&mut peer, &peak_of_peer) {
            peak_of_peer = Some((peer.peak_rss()? / f64::from(1 << 20), peer.name.clone()));
        }
    }
    if let Some(bytes) = machine::peak_rss_bytes() {
        figures.add("peak_rss", bytes / f64::from(1 << 20), "MiB", Better::Lower, "highest memory use (RSS), database and questions");
    }
    if let Some((mebibytes, name)) = peak_of_peer {
        figures.add("peak_rss_of_peer", mebibytes, "MiB", Better::Context, format!("  of {name}, with the same tables in memory"));
    }
    figures.print();
    local.database.close();
    Ok(())
}

/// A question on both engines by turns; the answers are compared first.
fn measure(
    question: &Question,
    sql: &str,
    as_of: Option<Commit>,
    asker: &Asker<'_>,
    mut peer: Option<&mut Peer>,
    rounds: usize,
    figures: &mut Figures,
) -> Result<(), CliError> {
    let ours = answer(asker, sql, as_of)?;
    if let Some(peer) = peer.as_deref_mut() {
        for schema in SCHEMAS {
            same(question.name, &ours, &sorted(peer.ask(schema, sql)?.rows), &format!("{} ({schema})", peer.name))?;
        }
    }
    let (mut mine, mut theirs) = (Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..rounds {
        let began = Instant::now();
        asker.run(sql, as_of)?;
        mine.push(began.elapsed().as_secs_f64());
        if let Some(peer) = peer.as_deref_mut() {
            for (schema, seconds) in SCHEMAS.iter().zip(&mut theirs) {
                seconds.push(peer.ask(schema, sql)?.seconds);
            }
        }
    }
    let kind = if question.counts_patients { "patients" } else { "rows" };
    let (name, value) = (question.name, median(&mut mine) * 1e3);
    let peer = peer.map(|p| p.name.clone());
    let said = format!("{name} ({kind})");
    match peer {
        None => figures.add(name, value, "ms", Better::Lower, said),
        Some(peer) => {
            for (schema, seconds) in SCHEMAS.iter().zip(&mut theirs) {
                let figure = if *schema == "native" { name.to_owned() } else { format!("{name}_{schema}") };
                let beside = Beside { name: format!("{peer}, {schema}"), value: median(seconds) * 1e3 };
                figures.add_beside(figure, value, "ms", Better::Lower, &said, Some(beside));
            }
        }
    }
    Ok(())
}

pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The key of a patient with observations.
fn one_patient(asker: &Asker<'_>) -> Result<String, CliError> {
    let rows = answer(asker, "SELECT patient_key FROM observation ORDER BY patient_key LIMIT 1", None)?;
    Ok(rows.first().and_then(|row| row.first()?.as_str()).unwrap_or_default().to_owned())
}

/// Our answer, as rows in order of their text.
fn answer(asker: &Asker<'_>, sql: &str, as_of: Option<Commit>) -> Result<Vec<Vec<Value>>, CliError> {
    let mut json = Vec::new();
    asker.ask(sql, as_of, Format::Json, |bytes| {
        json.extend_from_slice(bytes);
        Ok(())
    })?;
    let rows: Vec<serde_json::Map<String, Value>> = serde_json::from_slice(&json).map_err(CliError::failed)?;
    Ok(sorted(rows.into_iter().map(|row| row.into_iter().map(|(_, value)| value).collect()).collect()))
}

fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort_by_cached_key(|row| row.iter().map(key).collect::<Vec<_>>().join("\u{1f}"));
    rows
}

/// A value as text. Floating-point numbers to nine digits: the other engine's sums depend on the order of rows.
fn key(value: &Value) -> String {
    match value {
        Value::Number(n) => n.as_f64().map(|f| format!("{f:.8e}")).unwrap_or_default(),
        other => other.to_string(),
    }
}

fn same(name: &str, ours: &[Vec<Value>], theirs: &[Vec<Value>], peer: &str) -> Result<(), CliError> {
    let text = |row: &Vec<Value>| row.iter().map(key).collect::<Vec<_>>();
    let differs = ours.iter().zip(theirs).find(|(a, b)| text(a) != text(b));
    match differs {
        None if ours.len() == theirs.len() => Ok(()),
        None => Err(CliError::Failed(format!("{name}: {} rows, of {peer} {}", ours.len(), theirs.len()))),
        Some((a, b)) => Err(CliError::Failed(format!("{name}: {a:?}, of {peer} {b:?}"))),
    }
}
