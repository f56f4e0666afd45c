//! `dugnad bench`.

use super::CliError;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Measure on this machine, and print each figure as JSON.
///
/// A table for people goes to stderr, one JSON object a line to stdout, such as
/// {"bench":"freshness","figure":"stale_reads","value":0,"unit":"1"}.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad bench ingest bundles/
  dugnad bench freshness --rate 200 --seconds 60")]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Durable resources per second, with all views live.
    Ingest {
        /// Bundles, NDJSON files, archives or folders of them; the synthetic feed's history if none is given.
        paths: Vec<PathBuf>,
    },
    /// From the hospital's commit to the first answer that holds it, and stale answers, at a given rate of writes.
    Freshness {
        /// Writes per second.
        #[arg(long, default_value_t = 100.0)]
        rate: f64,
        /// How long.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// How many writers.
        #[arg(long, default_value_t = 4)]
        writers: u32,
    },
    /// The view runner, resources per second (comes with a later release).
    Views,
    /// SQL under a permit (comes with a later release).
    Sql,
    /// FHIR search (comes with a later release).
    Search,
    /// Restart after a kill (comes with a later release).
    Restart,
    /// Attacks on the disclosure control (comes with a later release).
    Attacks,
    /// FHIR conformance and speed (comes with a later release).
    Fhir,
}

impl Bench {
    pub(super) fn run(self) -> Result<(), CliError> {
        let name = match self.what {
            What::Ingest { .. } => "ingest",
            What::Freshness { .. } => "freshness",
            What::Views => "views",
            What::Sql => "sql",
            What::Search => "search",
            What::Restart => "restart",
            What::Attacks => "attacks",
            What::Fhir => "fhir",
        };
        Err(CliError::Failed(format!("`bench {name}` comes with a later release; nothing was measured")))
    }
}
