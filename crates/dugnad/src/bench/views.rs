//! How many resources a second the view runner takes: the code of `dugnad view run`, NDJSON in and NDJSON out, on one thread;
//! beside it pysof (Helios), which gets the same files by turns.

use super::figures::{Better, Figures, Peer};
use super::peer::Python;
use super::{Folder, machine};
use crate::cli::CliError;
use crate::cli::view::rows_of;
use crate::feed::Feed;
use crate::intake::source::{Files, Unit, read_file};
use crate::query::format::Format;
use crate::query::format::rows::resources;
use bumpalo::Bump;
use dugnad_kernel::fhir::json;
use dugnad_kernel::views::View;
use dugnad_kernel::views::builtin::builtin_views;
use jiff::Timestamp;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files and folders with Patients and Observations; the feed's synthetic transactions if there are none.
    pub paths: Vec<PathBuf>,
    /// How many Patients, and how many Observations.
    pub resources: usize,
    /// How often each is measured; the median counts.
    pub rounds: usize,
    /// The Python that has pysof.
    pub python: PathBuf,
}

const PYSOF: &str = include_str!("../../../../benches/pysof_views.py");

/// Views of few columns, as people write them.
const FEW_COLUMNS: [(&str, &str); 2] = [
    ("patient", include_str!("../../../../benches/views/patient.json")),
    ("observation", include_str!("../../../../benches/views/observation.json")),
];

/// A run of ours is repeated until it has taken so long: the clock of the processor time must be small beside it.
const LEAST: Duration = Duration::from_millis(200);

/// Resources of a synthetic transaction.
const TRANSACTION_RESOURCES: usize = 300;

/// One view on one file.
struct Trial {
    /// In figures.
    name: String,
    /// In the table.
    said: String,
    view: View,
    definition: PathBuf,
    input: Input,
}

/// Resources of one type as NDJSON.
#[derive(Clone)]
struct Input {
    path: PathBuf,
    resources: usize,
    bytes: usize,
}

/// Seconds that one pass over a file took, and the rows that it gave.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pass {
    seconds: f64,
    rows: u64,
}

/// Measures, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    let folder = Folder::of(None)?;
    let trials = trials(options, &folder.path)?;
    let mut figures = Figures::new("views");
    machine::describe(&mut figures, "start");
    let mut python = Some(Python::new(options.python.clone()));
    for trial in &trials {
        let (mut ours, mut theirs, mut peer) = (Vec::new(), Vec::new(), String::new());
        for _ in 0..options.rounds {
            let pass = trial.ours(&folder.path.join("ours.ndjson"))?;
            ours.push(pass.seconds);
            let Some(running) = &python else { continue };
            match trial.theirs(running, &folder.path.join("theirs.ndjson")) {
                Ok((name, their)) if their.rows == pass.rows => {
                    peer = name;
                    theirs.push(their.seconds);
                }
                Ok((name, their)) => {
                    return Err(CliError::Failed(format!("{}: {} rows here, {} of {name}", trial.said, pass.rows, their.rows)));
                }
                Err(why) => {
                    eprintln!("pysof did not run: {why}");
                    python = None;
                }
            }
        }
        let rate = |seconds: &mut Vec<f64>| trial.input.resources as f64 / median(seconds);
        let beside = (!theirs.is_empty()).then(|| Peer { name: peer, value: rate(&mut theirs) });
        let input = &trial.input;
        let said = format!("{}, resources a second ({} bytes each)", trial.said, input.bytes / input.resources.max(1));
        figures.add_beside(format!("{}_resources_per_s", trial.name), rate(&mut ours), "1/s", Better::Higher, said, beside);
    }
    figures.print();
    Ok(())
}

/// The views of few columns, then the built-in ones.
fn trials(options: &Options, dir: &Path) -> Result<Vec<Trial>, CliError> {
    let patients = input("Patient", options, dir)?;
    let observations = input("Observation", options, dir)?;
    let builtin = builtin_views();
    let builtin = builtin.iter().filter(|b| FEW_COLUMNS.iter().any(|(table, _)| *table == b.table)).map(|b| (b.table, b.definition));
    let few = FEW_COLUMNS.into_iter().map(|(table, text)| (table, table.to_owned(), text));
    let all = few.chain(builtin.map(|(table, text)| (table, format!("{table}_builtin"), text)));
    all.map(|(table, name, text)| {
        let parsed = serde_json::from_str(text).map_err(CliError::failed)?;
        let view = View::compile(&parsed).map_err(CliError::failed)?;
        let definition = dir.join(format!("{name}.json"));
        std::fs::write(&definition, text).map_err(CliError::failed)?;
        let kind = if name == table { "a view" } else { "the built-in view" };
        let said = format!("{kind} of {} columns of {}", view.columns().len(), view.resource_type());
        let input = if table == "patient" { patients.clone() } else { observations.clone() };
        Ok(Trial { name, said, view, definition, input })
    })
    .collect()
}

/// Writes the resources of one type to a file, from the beginning again until there are as many as are wanted.
fn input(resource_type: &str, options: &Options, dir: &Path) -> Result<Input, CliError> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut take = |bytes: &[u8]| {
        let arena = Bump::new();
        if let Ok(document) = json::parse(bytes, &arena) {
            for (_, resource) in resources(document, resource_type) {
                if resource.str("resourceType") == Some(resource_type) {
                    let mut line = Vec::new();
                    resource.write(&mut line);
                    line.push(b'\n');
                    lines.push(line);
                }
            }
        }
        lines.len() < options.resources
    };
    if options.paths.is_empty() {
        let now = Timestamp::now();
        let mut feed = Feed::new(1, 0, now);
        // One patient in about 40 resources: the Patients are repeated below.
        for _ in 0..=options.resources / TRANSACTION_RESOURCES * 4 {
            if !take(&feed.next_transaction(TRANSACTION_RESOURCES, now).bundle) {
                break;
            }
        }
    } else {
        for path in Files::list(&options.paths).map_err(CliError::Usage)?.files {
            let wanted = read_file(&path, &Arc::default(), &mut |unit| match unit {
                Unit::Document { bytes, .. } => take(&bytes),
                Unit::Lines { lines, .. } => lines.iter().all(|(_, line)| take(line)),
                Unit::Unreadable { origin, why, .. } => {
                    eprintln!("{origin}: {why}");
                    true
                }
            });
            if !wanted {
                break;
            }
        }
    }
    if lines.is_empty() {
        return Err(CliError::Usage(format!("there is no {resource_type} in what was given; both views are measured")));
    }
    let text: Vec<u8> = lines.iter().cycle().take(options.resources).flatten().copied().collect();
    let path = dir.join(format!("{resource_type}.ndjson"));
    std::fs::write(&path, &text).map_err(CliError::failed)?;
    Ok(Input { path, resources: options.resources, bytes: text.len() })
}

impl Trial {
    /// As `dugnad view run --format ndjson` does, into a file.
    fn ours(&self, out: &Path) -> Result<Pass, CliError> {
        let files = Files::list(std::slice::from_ref(&self.input.path)).map_err(CliError::Usage)?;
        let clock = machine::ThreadClock::start();
        let (mut passes, mut rows) = (0, 0);
        while passes == 0 || clock.elapsed() < LEAST {
            let file = BufWriter::with_capacity(256 << 10, File::create(out).map_err(CliError::failed)?);
            rows = rows_of(&self.view, &files, Format::Ndjson, file)?;
            passes += 1;
        }
        Ok(Pass { seconds: clock.elapsed().as_secs_f64() / f64::from(passes), rows })
    }

    /// The peer's name and pass.
    fn theirs(&self, python: &Python, out: &Path) -> Result<(String, Pass), String> {
        let answer = python.run(PYSOF, &[self.definition.as_os_str(), self.input.path.as_os_str(), out.as_os_str()])?;
        let read = || Some((answer["peer"].as_str()?.to_owned(), answer["rows"].as_u64()?, answer[machine::CLOCK].as_f64()?));
        let (name, rows, seconds) = read().ok_or("its answer lacks a figure")?;
        Ok((name, Pass { seconds, rows }))
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.get(middle.wrapping_sub(1))) {
        (Some(upper), Some(lower)) if values.len().is_multiple_of(2) => f64::midpoint(*lower, *upper),
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}
