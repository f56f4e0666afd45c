//! `dugnad demo`.

use super::CliError;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Show the whole way at once: synthetic hospitals treat, and authority and industry read it live.
///
/// Makes a database with a history of synthetic patients, starts a feed in which the Norwegian hospitals treat them, and
/// serves a page that shows what arrives and what each permit sees of it. Nobody in it exists. The terminal shows the
/// addresses, a token for each role, and a curl line to try each.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad demo                                  then open http://127.0.0.1:8080
  dugnad demo --for 60 --rate 50               a minute at 50 treatments a second, then a summary
  dugnad demo --data ./demo-db --patients 200  keep the database")]
pub struct Demo {
    /// Where to serve the page and the API.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where to keep the database; a temporary folder if not given, which is named and removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// How many synthetic patients the history holds (about 33 resources each).
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub patients: u32,
    /// How many treatments the hospitals send per second.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 3.0, value_parser = parse_rate)]
    pub rate: f64,
    /// Stop by itself after so many seconds, with the summary as the last lines.
    #[arg(long = "for", value_name = "SECONDS")]
    pub duration: Option<u64>,
}

pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.01 to 100000".to_owned()),
    }
}

impl Demo {
    /// Runs the demo.
    pub fn run(self) -> Result<(), CliError> {
        crate::demo::run(&self)
    }
}
