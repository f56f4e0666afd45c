//! `dugnad keys`.

use super::CliError;
use super::local::Local;
use crate::access::{Keys, done_by_operator};
use clap::{Args, Subcommand};
use dugnad_kernel::audit::rotate;
use std::path::PathBuf;

/// Change a secret key of a database.
///
/// No server may have the database open. Other keys than the audit log's are never changed, or change by themselves: `docs/operations.md`
/// says where each one lives.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad keys rotate audit --data ./db      the audit log's next checkpoints are signed with a new key")]
pub struct KeysCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Replace a key by a new one, and destroy the old one.
    Rotate {
        /// Which.
        key: Which,
        /// The database's folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    /// The one that signs the audit log's checkpoints.
    Audit,
}

impl KeysCommand {
    pub(super) fn run(self) -> Result<(), CliError> {
        let Action::Rotate { key: Which::Audit, data } = self.action;
        // Opening checks that the log is whole, and that the keys are its own.
        let local = Local::open(&data, None)?;
        let entry = done_by_operator(local.clock.now(), format!("the audit log's key {} is replaced", local.audit.verifier_key()));
        let recorded = local.audit.append(&entry);
        local.audit.close();
        local.database.close();
        drop(local);
        recorded.map_err(CliError::failed)?;
        let keys = Keys::open(&data).map_err(CliError::failed)?;
        let folder = data.join("audit");
        let rotation = keys.rotate_audit(&data, |old, new, exchange| rotate(&folder, old, new, exchange)).map_err(CliError::failed)?;
        println!("{}", rotation.to);
        eprintln!("the audit log's checkpoints are signed with this key from now on; before, it was {}", rotation.from);
        eprintln!(
            "tell it to witnesses and to whoever keeps the old one: with the old one, `dugnad audit verify --key` finds the way from it"
        );
        eprintln!("back the folder `keys` up: the old key is gone, and the key of releases has a file of its own now");
        Ok(())
    }
}
