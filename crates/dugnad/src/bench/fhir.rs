//! What a hospital's clients do all day, over HTTP: create, read, update, search, and a mix of them, by one client and by many; on a
//! database of a tenth of the size as well, to see that it stays as fast.

use super::clients::{Request, drive};
use super::figures::{Better, Figures, Peer};
use super::loopback::Loopback;
use super::search::{largest_holder, questions, sample};
use super::sql::fill;
use super::{Folder, Latency, machine};
use crate::access::{Role, TokenRequest};
use crate::cli::CliError;
use crate::cli::local::Local;
use jiff::ToSpan;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::Method;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many resources the database holds, about.
    pub resources: usize,
    /// How long each interaction is asked for by each number of clients.
    pub time: Duration,
    /// How many clients at once, one after the other.
    pub clients: Vec<usize>,
    /// Where the databases are made; a temporary folder if not given.
    pub data: Option<PathBuf>,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Create,
    Read,
    Update,
    Search,
    /// Of ten: six reads, two searches, a create, an update.
    Mix,
}

const ACTS: [(Act, &str, &str); 5] = [
    (Act::Create, "create", "create an Observation"),
    (Act::Read, "read", "read a resource"),
    (Act::Update, "update", "update an Observation"),
    (Act::Search, "search", "search patient & code & _sort=-date & _count=20"),
    (Act::Mix, "mix", "6 reads, 2 searches, a create, an update"),
];

/// By how much the smaller database is smaller.
const SMALLER: usize = 10;

/// How many Observations are updated by turns.
const UPDATED: usize = 1_000;

/// One interaction by one number of clients.
struct Measured {
    act: usize,
    clients: usize,
    latency: Latency,
    per_s: f64,
}

/// Measures, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    let folder = Folder::of(options.data.as_deref())?;
    let mut figures = Figures::new("fhir");
    machine::describe(&mut figures, "start");
    let (smaller, few) = measure(&folder.path.join("smaller"), options, options.resources / SMALLER)?;
    machine::forget_peak();
    let (larger, many) = measure(&folder.path.join("larger"), options, options.resources)?;
    figures.add("resources", many as f64, "1", Better::Context, "resources in the database");
    for (small, large) in smaller.iter().zip(&larger) {
        let (_, name, said) = ACTS[large.act];
        let (clients, peer) = (large.clients, |value| Some(Peer { name: format!("{few} resources"), value }));
        let (name, said) = (format!("{name}_{clients}"), format!("{said}, {clients} client{}", if clients == 1 { "" } else { "s" }));
        figures.add_beside(format!("{name}_per_s"), large.per_s, "1/s", Better::Higher, format!("{said}: a second"), peer(small.per_s));
        for (q, of) in [(0.5, "p50"), (0.99, "p99")] {
            let peer = peer(small.latency.quantile_ms(q));
            figures.add_beside(format!("{name}_{of}"), large.latency.quantile_ms(q), "ms", Better::Lower, format!("  {of}"), peer);
        }
    }
    if let Some(bytes) = machine::peak_rss_bytes() {
        figures.add("peak_rss", bytes / f64::from(1 << 20), "MiB", Better::Lower, "highest memory use (RSS), database, server and clients");
    }
    machine::describe(&mut figures, "end");
    figures.print();
    Ok(())
}

/// All interactions by all numbers of clients on a new database, and how many resources it had.
fn measure(dir: &Path, options: &Options, resources: usize) -> Result<(Vec<Measured>, u64), CliError> {
    let local = Local::open(dir, None)?;
    eprintln!("writing about {resources} resources");
    let resources = fill(&local, resources)?;
    let holder = largest_holder(&local.database)?;
    let searches: Vec<String> = questions(&local.database, &holder)?
        .into_iter()
        .take(1)
        .flat_map(|q| q.asked)
        .map(|(kind, text)| format!("{kind}?{text}"))
        .collect();
    let observations = sample(&local.database, &holder, "Observation")?;
    let read: Vec<String> = ["Patient", "Encounter", "Condition", "Procedure"]
        .into_iter()
        .map(|kind| sample(&local.database, &holder, kind))
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .flatten()
        .chain(&observations)
        .filter_map(|r| Some(format!("{}/{}", r["resourceType"].as_str()?, r["id"].as_str()?)))
        .collect();
    let subjects: Vec<&str> = observations.iter().filter_map(|o| o["subject"]["reference"].as_str()).collect();
    if searches.is_empty() || read.is_empty() || subjects.is_empty() {
        return Err(CliError::Usage("these are too few resources: nobody has an Observation".to_owned()));
    }
    let observation = |n: usize, id: Option<String>| {
        let mut observation = json!({
            "resourceType": "Observation", "status": "final", "subject": {"reference": subjects[n % subjects.len()]},
            "code": {"coding": [{"system": "http://loinc.org", "code": "718-7", "display": "Hemoglobin [Mass/volume] in Blood"}]},
            "effectiveDateTime": "2026-11-21T12:00:00+01:00",
            "valueQuantity": {"value": n as f64 / 100.0, "unit": "g/dL", "system": "http://unitsofmeasure.org", "code": "g/dL"},
        });
        if let Some(id) = id {
            observation["id"] = json!(id);
        }
        Some(observation.to_string().into_bytes())
    };
    let request = |act: Act, n: usize| match act {
        Act::Create => Request { method: Method::POST, path: "/fhir/Observation".to_owned(), body: observation(n, None) },
        Act::Update => {
            let id = format!("bench-{}", n % UPDATED);
            Request { method: Method::PUT, path: format!("/fhir/Observation/{id}"), body: observation(n, Some(id)) }
        }
        Act::Search => Request::get(format!("/fhir/{}", searches[n % searches.len()])),
        Act::Read | Act::Mix => Request::get(format!("/fhir/{}", read[n % read.len()])),
    };
    let of_mix = |n: usize| match n % 10 {
        0..=5 => Act::Read,
        6 | 7 => Act::Search,
        8 => Act::Create,
        _ => Act::Update,
    };
    let server = Loopback::start(&local)?;
    let asked = TokenRequest {
        user: "bench".to_owned(),
        role: Role::Hospital,
        holder: Some(holder.name.clone()),
        subject: None,
        valid_for: 24.hours(),
    };
    let token = local.tokens.issue(&asked).map_err(CliError::failed)?;
    let (mut all, mut sent) = (Vec::new(), 0);
    for (place, (act, name, _)) in ACTS.into_iter().enumerate() {
        for clients in &options.clients {
            eprintln!("{name}, clients: {clients}");
            let from = sent; // no value is written twice: an update that changes nothing makes no version
            let next = |n: usize| request(if act == Act::Mix { of_mix(n) } else { act }, from + n);
            let (latency, per_s) = drive((server.url(), &token), *clients, options.time, next)?;
            sent += usize::try_from(latency.count()).unwrap_or(usize::MAX) + clients;
            all.push(Measured { act: place, clients: *clients, latency, per_s });
        }
    }
    server.stop()?;
    Ok((all, resources))
}
