//! The command line, a file per command. Exit codes: 0 all went well, 1 something was refused or failed, 2 usage.

mod application;
mod audit;
mod backup;
mod bench;
pub mod client;
mod clients;
pub mod demo;
mod erase;
pub(crate) mod ingest;
mod keys;
pub mod local;
mod progress;
mod query;
mod release;
pub mod serve;
mod server;
mod token;
pub(crate) mod view;

use clap::{Args, Parser, Subcommand};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The live FHIR database of a national centre for clinical studies.
///
/// Hospitals send HL7 FHIR R4 as they treat; authorities and industry read it at once, each within a permit, and every
/// access is on the record. Start with `dugnad demo`: it needs nothing and shows everything.
#[derive(Debug, Parser)]
#[command(name = "dugnad", version, max_term_width = 120, after_help = EXAMPLES)]
struct Cli {
    /// What is logged to stderr: error, warn, info, debug, or a list such as `warn,dugnad=debug`.
    #[arg(long, global = true, env = "DUGNAD_LOG", default_value = "warn,dugnad=info,dugnad_kernel=info", value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  dugnad demo                                              the whole way on one page, with synthetic patients
  dugnad ingest --data ./db --holder 'Haukeland' bundles/  load FHIR bundles, NDJSON or archives of them
  dugnad token issue --data ./db --user haukeland --role hospital --holder 'Haukeland'
  dugnad serve --data ./db                                 FHIR, SQL and web pages on http://127.0.0.1:8080
  dugnad view run Patient.view.json patients.ndjson.gz     a SQL on FHIR view, without a database

Exit codes: 0 all went well; 1 something was refused or failed (stderr says what, where and what to do); 2 usage.";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Ingest(ingest::Ingest),
    Query(query::Query),
    View(view::View),
    Token(token::Token),
    Client(clients::Client),
    Keys(keys::KeysCommand),
    Application(application::Application),
    Permit(application::Permit),
    Release(release::Release),
    Audit(audit::Audit),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Erase(erase::Erase),
    Bench(bench::Bench),
}

/// Why a command ended badly: said on stderr as `dugnad: ...`.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments cannot be used as they are (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// It failed or was refused (exit code 1).
    #[error("{0}")]
    Failed(String),
    /// What was to be said has been said already (exit code 1).
    #[error("")]
    Told,
}

impl CliError {
    /// Fails with what another error says.
    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs the program with its arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_new(&cli.log).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    let result = match cli.command {
        Command::Demo(command) => command.run(),
        Command::Serve(command) => command.run(),
        Command::Ingest(command) => command.run(),
        Command::Query(command) => command.run(),
        Command::View(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Client(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Application(command) => command.run(),
        Command::Permit(command) => command.run(),
        Command::Release(command) => command.run(),
        Command::Audit(command) => command.run(),
        Command::Backup(command) => command.run(),
        Command::Restore(command) => command.run(),
        Command::Erase(command) => command.run(),
        Command::Bench(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CliError::Told) {
                eprintln!("dugnad: {error}");
            }
            ExitCode::from(if matches!(error, CliError::Usage(_)) { 2 } else { 1 })
        }
    }
}

/// Where a database is: a folder on this machine, or a server.
#[derive(Clone, Debug, Args)]
pub struct Place {
    #[command(flatten)]
    which: Which,
    /// The bearer token for --server.
    #[arg(long, env = "DUGNAD_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The folder of a database on this machine; no server may have it open.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A running server, such as http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// A [`Place`], decided.
#[derive(Clone, Debug)]
pub enum At {
    /// A folder.
    Data(PathBuf),
    /// A server.
    Server(client::Client),
}

impl Place {
    /// Which it is.
    pub fn decide(self) -> Result<At, CliError> {
        match (self.which.data, self.which.server) {
            (Some(dir), _) => Ok(At::Data(dir)),
            (None, Some(url)) => Ok(At::Server(client::Client::new(&url, self.token)?)),
            (None, None) => Err(CliError::Usage("either --data DIR or --server URL is needed".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_contracts_parse() {
        for line in [
            "dugnad demo --listen 127.0.0.1:8080 --data d --patients 100 --rate 5 --for 10",
            "dugnad serve --data d --listen 127.0.0.1:0 --config c.json",
            "dugnad ingest --data d --holder H a.json b.ndjson.gz",
            "dugnad ingest --server http://127.0.0.1:1 --token T --holder H dir --references lenient --jobs 3",
            "dugnad query --data d --permit p --as-of 7 --format csv SELECT",
            "dugnad query --server http://127.0.0.1:1 --token T --permit p SELECT",
            "dugnad view run v.json a.ndjson --format parquet",
            "dugnad token issue --data d --user u --role hospital --holder H",
            "dugnad client add --data d --id c --holder H --jwks k.json --scope system/*.rs --scope system/Patient.c",
            "dugnad client list --data d",
            "dugnad client revoke --data d --id c",
            "dugnad audit verify --data d",
            "dugnad audit prove --data d 7",
            "dugnad audit log --server http://127.0.0.1:1 --token T",
            "dugnad application new --server u --token T a.json",
            "dugnad application decide --server u a --grant --reasons R --permit p",
            "dugnad permit revoke --server u p --keep --reasons R",
            "dugnad permit extend --server u p --until 2031-01-01T00:00:00Z --reasons R",
            "dugnad release request --server u --permit p --title T --reason R SELECT",
            "dugnad release request --server u --permit p --title T --reason R --csv t.csv --column n=measure --publish",
            "dugnad release decide --server u r --approve --reasons R --accept small_cell --accept difference",
            "dugnad release verify d --key k",
            "dugnad backup --data d --to b",
            "dugnad restore --from b --data d --erasures e.jsonl --audit old/audit",
            "dugnad restore --from b --data d --no-erasures --keys k",
            "dugnad erase --data d --holder H --patient p --reason R",
            "dugnad bench views",
            "dugnad bench ingest --resources 1000 --data d",
            "dugnad bench ingest bundles --references strict --jobs 2",
            "dugnad bench freshness --rate 200 --writers 4 --readers 2 --for 30",
            "dugnad bench freshness --reads 100000 --tokens demo.json --server http://127.0.0.1:1",
        ] {
            assert!(
                Cli::try_parse_from(line.split(' ')).is_ok(),
                "{line}: {:?}",
                Cli::try_parse_from(line.split(' ')).err().map(|e| e.to_string())
            );
        }
        for line in [
            "dugnad ingest --holder H a.json",
            "dugnad query --data d --server u --permit p S",
            "dugnad application decide --server u a --reasons R",
            "dugnad application decide --server u a --grant --refuse --reasons R",
            "dugnad permit revoke --server u p --revoke",
            "dugnad release request --server u --permit p --title T --reason R",
            "dugnad restore --from b --data d",
            "dugnad restore --from b --data d --no-erasures --erasures e.jsonl",
            "dugnad",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn every_command_says_what_it_is_for() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands().filter(|c| c.get_name() != "help") {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("xample"), "{} has no example", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }
}
