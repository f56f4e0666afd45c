//! FHIR search over the feed's history: in process, which is the engine alone, and over HTTP, which is what a hospital has: with
//! the record of each access durable before the answer.

mod questions;

use super::clients::{Request, drive};
use super::figures::{Better, Figures};
use super::loopback::Loopback;
use super::sql::fill;
use super::{Folder, Latency, machine};
use crate::access::{Role, TokenRequest};
use crate::cli::CliError;
use crate::cli::local::Local;
use dugnad_kernel::database::{Database, Holder, Page};
use dugnad_kernel::search::parameters::Known;
use dugnad_kernel::search::parse::{Environment, pairs, query};
use dugnad_kernel::search::query::{Search, Total};
use jiff::{Timestamp, ToSpan};
use questions::Question;
pub(super) use questions::{questions, sample};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many resources the database holds, about.
    pub resources: usize,
    /// How long each question is asked, in process and over HTTP each.
    pub time: Duration,
    /// How many clients ask over HTTP at once.
    pub clients: usize,
    /// Where the database is made; a temporary folder if not given.
    pub data: Option<PathBuf>,
    /// Only questions whose name contains this.
    pub only: Option<String>,
}

/// Matches of a page if the question does not say.
const PAGE: usize = 50;

/// Measures, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    let folder = Folder::of(options.data.as_deref())?;
    let local = Local::open(&folder.path.join("data"), None)?;
    let mut figures = Figures::new("search");
    machine::describe(&mut figures, "start");
    eprintln!("writing about {} resources", options.resources);
    figures.add("resources", fill(&local, options.resources)? as f64, "1", Better::Context, "resources in the database");
    figures.add("clients", options.clients as f64, "1", Better::Context, "clients over HTTP");
    let holder = largest_holder(&local.database)?;
    let questions = questions(&local.database, &holder)?;
    machine::forget_peak();
    let server = Loopback::start(&local)?;
    let request = TokenRequest {
        user: "bench".to_owned(),
        role: Role::Hospital,
        holder: Some(holder.name.clone()),
        subject: None,
        valid_for: 24.hours(),
    };
    let token = local.tokens.issue(&request).map_err(CliError::failed)?;
    let asked = ask_all(options, &local.database, &holder, &questions, (server.url(), &token), &mut figures);
    server.stop()?;
    asked?;
    if let Some(bytes) = machine::peak_rss_bytes() {
        figures.add("peak_rss", bytes / f64::from(1 << 20), "MiB", Better::Lower, "highest memory use (RSS), database and searches");
    }
    figures.print();
    Ok(())
}

fn ask_all(
    options: &Options,
    database: &Database,
    holder: &Holder,
    questions: &[Question],
    server: (&str, &str),
    figures: &mut Figures,
) -> Result<(), CliError> {
    let chosen = |question: &&Question| options.only.as_ref().is_none_or(|only| question.name.contains(only.as_str()));
    for question in questions.iter().filter(chosen).filter(|question| !question.asked.is_empty()) {
        eprintln!("asking {}", question.name);
        let began = Instant::now();
        let searches = question.asked.iter().map(|(kind, text)| parsed(kind, text)).collect::<Result<Vec<_>, _>>()?;
        let first = ask_once(database, holder, searches.first())?;
        let name = question.name;
        figures.add(
            format!("{name}_first"),
            began.elapsed().as_secs_f64() * 1e3,
            "ms",
            Better::Lower,
            format!("{}: the very first", question.said),
        );
        figures.add(format!("{name}_matches"), first as f64, "1", Better::Context, "  matches on its page, or counted");
        let (latency, rate) = in_process(options.time, database, holder, &searches)?;
        add(figures, name, "", "  in process, one thread", &latency, rate);
        let asked = |n: usize| {
            let (kind, text) = &question.asked[n % question.asked.len()];
            Request::get(format!("/fhir/{kind}?{text}"))
        };
        let (latency, rate) = drive(server, options.clients, options.time, asked)?;
        add(figures, name, "_http", "  over HTTP", &latency, rate);
    }
    Ok(())
}

fn add(figures: &mut Figures, name: &str, how: &str, said: &str, latency: &Latency, rate: f64) {
    figures.add(format!("{name}{how}_per_s"), rate, "1/s", Better::Higher, format!("{said}: searches a second"));
    figures.add(format!("{name}{how}_p50"), latency.quantile_ms(0.5), "ms", Better::Lower, format!("{said}: p50"));
    figures.add(format!("{name}{how}_p99"), latency.quantile_ms(0.99), "ms", Better::Lower, format!("{said}: p99"));
}

fn parsed(resource_type: &str, text: &str) -> Result<Search, CliError> {
    let environment = Environment { now: Timestamp::now(), base: "", known: Known::standard() };
    let wrong = || CliError::Failed(format!("the question {resource_type}?{text} was not understood"));
    let query = query(resource_type, &pairs(text).map_err(|_| wrong())?, &environment).map_err(|_| wrong())?;
    if !query.ignored.is_empty() {
        return Err(wrong());
    }
    Ok(Search { count: if query.count_only { Some(0) } else { query.search.count }, ..query.search })
}

/// The matches of one page with their JSON, or the number of all.
fn ask_once(database: &Database, holder: &Holder, search: Option<&Search>) -> Result<u64, CliError> {
    let Some(search) = search else { return Ok(0) };
    let page = Page { at: None, after: None, count: search.count.unwrap_or(PAGE) };
    let found = database.search(holder.id, search, page).map_err(CliError::failed)?;
    if search.total == Total::Accurate {
        return Ok(found.total.unwrap_or_default());
    }
    Ok(database.found(holder.id, search.resource_type, &found.hits).map_err(CliError::failed)?.len() as u64)
}

fn in_process(time: Duration, database: &Database, holder: &Holder, searches: &[Search]) -> Result<(Latency, f64), CliError> {
    let (mut latency, start) = (Latency::default(), Instant::now());
    for search in searches.iter().cycle() {
        let began = Instant::now();
        ask_once(database, holder, Some(search))?;
        latency.record(began.elapsed());
        if start.elapsed() >= time {
            break;
        }
    }
    let rate = latency.count() as f64 / start.elapsed().as_secs_f64();
    Ok((latency, rate))
}

/// The hospital with the most patients: a search is of one hospital's.
pub(super) fn largest_holder(database: &Database) -> Result<Holder, CliError> {
    let mut largest = None;
    for holder in database.holders() {
        let search = Search { total: Total::Accurate, ..Search::all("Patient") };
        let patients = database.search(holder.id, &search, Page::default()).map_err(CliError::failed)?.total;
        if largest.as_ref().is_none_or(|(most, _)| *most < patients) {
            largest = Some((patients, holder));
        }
    }
    largest.map(|(_, holder)| holder).ok_or_else(|| CliError::Failed("the feed has written nothing".to_owned()))
}
