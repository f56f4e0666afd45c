//! Measures this program on the machine where it runs, through the interfaces that its users have.

pub mod attacks;
pub mod audit;
mod clients;
pub mod fhir;
mod figures;
pub mod freshness;
pub mod ingest;
mod latency;
mod loopback;
mod machine;
mod peer;
pub mod restart;
pub mod search;
pub mod sql;
pub mod statistics;
#[cfg(test)]
mod tests;
pub mod views;

pub use latency::Latency;

use crate::cli::CliError;
use std::path::{Path, PathBuf};

/// A new folder for a database: the one that was named, which must be empty or absent, or a temporary one.
struct Folder {
    path: PathBuf,
    _held: Option<tempfile::TempDir>,
}

impl Folder {
    fn of(named: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = named else {
            let held = tempfile::Builder::new().prefix("dugnad-bench-").tempdir().map_err(CliError::failed)?;
            return Ok(Self { path: held.path().to_owned(), _held: Some(held) });
        };
        let failed = |e: std::io::Error| CliError::Failed(format!("{}: {e}", path.display()));
        std::fs::create_dir_all(path).map_err(failed)?;
        if std::fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(CliError::Usage(format!("{} is not empty; a benchmark makes a database of its own", path.display())));
        }
        Ok(Self { path: path.to_owned(), _held: None })
    }
}
