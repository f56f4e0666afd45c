//! `dugnad bench`.

use super::CliError;
use super::ingest::References;
use crate::api::Settings;
use crate::bench::{attacks, audit, fhir, freshness, ingest, restart, search, sql, statistics, views};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Measure on this machine, and print each figure as JSON.
///
/// A table for people goes to stderr, one JSON object a line to stdout, such as
/// {"bench":"freshness","figure":"stale_sql","value":0,"unit":"1","better":"lower"}. A figure without "better" says under
/// what conditions the others were measured.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad bench ingest                                 200,000 synthetic resources
  dugnad bench ingest bundles/ --data ./bench-db      your own bundles, on the disk that matters
  dugnad bench freshness --rate 1000 --writers 16 --for 60
  dugnad bench freshness --reads 100000 > figures.ndjson
  dugnad bench restart --resources 10000000 --data ./bench-db
  dugnad bench search --resources 1000000 --clients 8
  dugnad bench fhir --resources 1000000 --clients 1,4,16,64
  dugnad bench audit --data ./bench-db
  dugnad bench statistics                             and --data ./db for the accuracy of your own
  dugnad bench attacks --trials 4000 --config dugnad.json    with your settings of statistics
  dugnad bench sql --resources 1000000                beside DuckDB, if benches/setup.sh has been run
  dugnad bench views bundles/                         beside pysof, if benches/setup.sh has been run")]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Durable resources per second with all built-in views live: into a folder, and over HTTP.
    Ingest(Ingest),
    /// From the hospital's commit to the answers that hold it, and stale answers, at a given rate of writes.
    Freshness(Freshness),
    /// The view runner on one thread, resources per second, beside pysof.
    Views(Views),
    /// SQL under a permit, beside DuckDB on the same rows.
    Sql(Sql),
    /// FHIR search over synthetic patients: in process and over HTTP.
    Search(Search),
    /// From SIGKILL at full ingest to the first exact count, and the memory of the opened database.
    Restart(Restart),
    /// What the audit log costs a small query, and how fast "who read my data?" is answered.
    Audit(Audit),
    /// What safe statistics cost: in accuracy beside exact counts, in time beside a count of patients.
    Statistics(Statistics),
    /// How much better than a coin whoever has a permit guesses what it does not show, with the defences on and off.
    Attacks(Attacks),
    /// FHIR create, read, update and search over HTTP, by one client and by many, on a small and on a large database.
    Fhir(Fhir),
}

/// Measures what `dugnad ingest --data` and `dugnad ingest --server` do, each into a fresh database; the server runs in this
/// process, on a loopback address.
#[derive(Debug, Args)]
struct Ingest {
    /// Bundles, NDJSON files, archives or folders of them; synthetic transactions of 100 to 300 resources if none is given.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How many synthetic resources.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=20_000_000), conflicts_with = "paths")]
    resources: u32,
    /// An empty folder for the databases, on the disk that is to be measured; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// References that cannot be resolved: refused, or kept as logical references.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = References::Lenient)]
    references: References,
    /// How many writers at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
}

/// Measures with writers whose transactions are due at fixed times (an open loop: a server that stalls is seen to stall) and
/// readers that know what was acknowledged before they asked. The server runs in this process, over a new database; with
/// --tokens, a running one is measured.
#[derive(Debug, Args)]
struct Freshness {
    /// Transactions per second, of three resources each.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 200.0, value_parser = super::demo::parse_rate)]
    rate: f64,
    /// How many transactions may be under way at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=512))]
    writers: u16,
    /// How many readers.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=512))]
    readers: u16,
    /// For how long, in seconds.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Instead of a time: until so many answers have been checked on each interface.
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    reads: Option<u64>,
    /// How many resources the database holds before.
    #[arg(long, value_name = "RESOURCES", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(0..=20_000_000))]
    load: u32,
    /// An empty folder for the database, on the disk that is to be measured; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The demo.json of a running server, with its tokens and permits: measures that one.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    tokens: Option<PathBuf>,
    /// The running server, if it is not where its demo.json says.
    #[arg(long, value_name = "URL", requires = "tokens")]
    server: Option<String>,
    /// Registers a view of all Observations in the middle of the time, and shows the latency of writes while its table is built.
    #[arg(long, conflicts_with_all = ["tokens", "reads"])]
    register: bool,
}

/// Asks what analysts ask, under a permit over everyone, and asks DuckDB the same of the same rows: once in tables of its own, once
/// in Parquet files that this program wrote. Answers are compared. Without DuckDB only this program is measured.
#[derive(Debug, Args)]
struct Sql {
    /// About how many resources the database holds.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=20_000_000))]
    resources: u32,
    /// How often each question is asked; medians are shown.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// A Python with the module `duckdb`.
    #[arg(long, value_name = "FILE", default_value = "benches/.venv/bin/python")]
    python: PathBuf,
    /// An empty folder for the database; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only questions whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Measures what `dugnad view run --format ndjson` does, from an NDJSON file to one, on one thread: a view of few columns and
/// the built-in view, of Patients and of Observations. pysof gets the same files and views by turns, where a Python has it; the
/// rows of both must be as many. Rates are per second of processor time, so that other programs on the machine count less.
#[derive(Debug, Args)]
struct Views {
    /// Bundles, NDJSON files, archives or folders of them with Patients and Observations; synthetic ones if none is given.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How many Patients, and how many Observations; if there are fewer, they are taken again from the beginning.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    resources: u32,
    /// How often each view is run by each; the median counts.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// The Python that has pysof, as benches/setup.sh makes it.
    #[arg(long, value_name = "FILE", default_value = "benches/.venv/bin/python")]
    python: PathBuf,
}

/// Lets another process of this program take in resources as fast as it can, kills it, and opens the database that it leaves.
#[derive(Debug, Args)]
struct Restart {
    /// How many resources are taken in before the kill.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    resources: u64,
    /// An empty folder for the database, on the disk that is to be measured; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only take resources in, for ever: the process that is killed.
    #[arg(long, hide = true, requires = "data")]
    fill: bool,
}

/// Asks what clients ask of one hospital's records, of which the database has several hospitals': by patient and code, by code and
/// date, by identifier, by the beginning of a name, over a chain, with _has, with _include, and for a total. The values that are
/// asked for are those of records that are there.
#[derive(Debug, Args)]
struct Search {
    /// About how many resources the database holds.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=20_000_000))]
    resources: u32,
    /// How long each question is asked, in process and over HTTP each, in seconds.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How many clients ask over HTTP at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
    /// An empty folder for the database; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only questions whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Does what clients of one hospital do: create, read, update, search, and a mix of them; first on a database of a tenth of the
/// size, then on the whole, whose figures stand beside it.
#[derive(Debug, Args)]
struct Fhir {
    /// About how many resources the larger database holds.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(10_000..=20_000_000))]
    resources: u32,
    /// How long each is done, in seconds.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How many clients at once, one after the other.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 4, 16, 64], value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: Vec<u16>,
    /// An empty folder for the databases; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Puts a small query to a database whose log is on the disk and to one whose log is on a memory disk, by turns; then opens a
/// database with a log of many accesses and asks it who read somebody's data.
#[derive(Debug, Args)]
struct Audit {
    /// How many synthetic resources the query is over.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=20_000_000))]
    resources: u32,
    /// How often the query is put to each.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    questions: u32,
    /// How many entries the log has that is asked.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2..=1_000_000_000))]
    entries: u64,
    /// An empty folder for the databases, on the disk that is to be measured; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A folder on a memory disk.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    memory: PathBuf,
}

/// Accuracy: every statistics table of the database with so many dimensions, on all levels, released for the first time, beside the exact
/// counts. Time: a statistic beside the count of patients under a permit with rows; the clock is moved from epoch to epoch.
#[derive(Debug, Args)]
struct Statistics {
    /// How many synthetic resources the database has, about.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=20_000_000))]
    resources: u32,
    /// A database that is there, which no server has open: its accuracy is measured, and no times.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Up to how many dimensions.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=4))]
    depth: u8,
    /// How many epochs the questions are put in.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
}

/// Plays each attack against a server in this process, over a database of its own: in each trial a bit about somebody whom the
/// attacker's permit does not show is guessed from all that comes back. A figure is the upper 95 % bound of twice the share of right
/// guesses less one, in percentage points; with few trials it cannot be small.
#[derive(Debug, Args)]
struct Attacks {
    /// How many trials each attack has.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=30_000))]
    trials: u32,
    /// An empty folder for the database; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only attacks whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The file of `serve --config`: the method and the budget of its part `statistics` are attacked. Without it, those that databases
    /// have by default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl From<Search> for search::Options {
    fn from(given: Search) -> Self {
        Self {
            resources: given.resources as usize,
            time: Duration::from_secs(given.seconds),
            clients: usize::from(given.clients),
            data: given.data,
            only: given.only,
        }
    }
}

impl From<Fhir> for fhir::Options {
    fn from(given: Fhir) -> Self {
        let (time, clients) = (Duration::from_secs(given.seconds), given.clients.into_iter().map(usize::from).collect());
        Self { resources: given.resources as usize, time, clients, data: given.data }
    }
}

impl From<Statistics> for statistics::Options {
    fn from(given: Statistics) -> Self {
        let (depth, rounds) = (usize::from(given.depth), usize::from(given.rounds));
        Self { resources: given.resources as usize, data: given.data, depth, rounds }
    }
}

impl Attacks {
    fn options(self) -> Result<attacks::Options, CliError> {
        let settings = self.config.as_deref().map(Settings::read).transpose().map_err(CliError::failed)?;
        let statistics = settings.and_then(|settings| settings.statistics).unwrap_or_default();
        Ok(attacks::Options { trials: self.trials as usize, data: self.data, only: self.only, statistics })
    }
}

impl From<Audit> for audit::Options {
    fn from(given: Audit) -> Self {
        let (resources, questions) = (given.resources as usize, given.questions as usize);
        Self { resources, questions, entries: given.entries, data: given.data, memory: given.memory }
    }
}

impl From<Restart> for restart::Options {
    fn from(given: Restart) -> Self {
        Self { resources: given.resources, data: given.data, fill: given.fill }
    }
}

impl Bench {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.what {
            What::Ingest(options) => ingest::run(&options.into()),
            What::Freshness(options) => freshness::run(&options.into()),
            What::Views(options) => views::run(&options.into()),
            What::Restart(options) => restart::run(&options.into()),
            What::Sql(options) => sql::run(&options.into()),
            What::Search(options) => search::run(&options.into()),
            What::Audit(options) => audit::run(&options.into()),
            What::Statistics(options) => statistics::run(&options.into()),
            What::Attacks(options) => attacks::run(&options.options()?),
            What::Fhir(options) => fhir::run(&options.into()),
        }
    }
}

impl From<Ingest> for ingest::Options {
    fn from(given: Ingest) -> Self {
        Self {
            paths: given.paths,
            resources: given.resources as usize,
            data: given.data,
            handling: given.references.handling(),
            jobs: usize::from(given.jobs),
        }
    }
}

impl From<Views> for views::Options {
    fn from(given: Views) -> Self {
        Self { paths: given.paths, resources: given.resources as usize, rounds: usize::from(given.rounds), python: given.python }
    }
}

impl From<Freshness> for freshness::Options {
    fn from(given: Freshness) -> Self {
        let until = given.reads.map_or(freshness::Until::Time(Duration::from_secs(given.seconds)), freshness::Until::Answers);
        Self {
            rate_per_s: given.rate,
            writers: usize::from(given.writers),
            readers: usize::from(given.readers),
            until,
            load: given.load as usize,
            data: given.data,
            tokens: given.tokens,
            server: given.server,
            register: given.register,
        }
    }
}

impl From<Sql> for sql::Options {
    fn from(given: Sql) -> Self {
        Self {
            resources: given.resources as usize,
            rounds: usize::from(given.rounds),
            python: given.python,
            data: given.data,
            only: given.only,
        }
    }
}
