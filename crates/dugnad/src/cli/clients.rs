//! `dugnad client`.

use super::CliError;
use super::token::open;
use crate::access::{Client as Registered, ClientKeys};
use clap::{Args, Subcommand};
use dugnad_kernel::access::{KeySet, Scopes};
use dugnad_kernel::limits::MAX_JWKS_BYTES;
use jiff::Timestamp;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Register and revoke backend services: systems that get tokens for assertions which they sign (SMART Backend Services).
///
/// Works while a server has the database open. A client never has a secret here: its public keys are registered, or where it
/// publishes them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad client add --data ./db --id lab-1 --holder 'Haukeland universitetssjukehus' --jwks lab-1.jwks.json \\
      --scope 'system/Observation.cruds?category=laboratory system/Patient.rs'
  dugnad client add --data ./db --id epj --holder 'Haukeland universitetssjukehus' --jwks https://epj.example.no/jwks --scope 'system/*.cruds'
  dugnad client list --data ./db
  dugnad client revoke --data ./db --id lab-1

Scopes are SMART's: system/TYPE.LETTERS with c (create), r (read), u (update), d (delete) and s (search), in this order, perhaps
with ?PARAMETER=VALUE for a part of the type; docs/access.md says more.")]
pub struct Client {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Register a client.
    Add {
        /// The database's folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Its id: `iss` and `sub` of its assertions. In the audit log it is `client:ID`.
        #[arg(long, value_name = "ID")]
        id: String,
        /// The health data holder that it reads and writes for. It is registered at its first write.
        #[arg(long, value_name = "NAME")]
        holder: String,
        /// Its public keys (RFC 7517): a file, which is copied, or an address, which is asked now and then.
        #[arg(long, value_name = "FILE|URL")]
        jwks: String,
        /// What it may have at most: SMART scopes with blanks between them; may be given several times.
        #[arg(long, value_name = "SCOPES", required = true)]
        scope: Vec<String>,
    },
    /// List all clients, those that were revoked too: id, holder, state, keys, scopes.
    List {
        /// The database's folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
    /// Revoke a client and all its tokens, from now on. Its id is not given again.
    Revoke {
        /// The database's folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Which.
        #[arg(long, value_name = "ID")]
        id: String,
    },
}

impl Client {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.action {
            Action::Add { data, id, holder, jwks, scope } => {
                let scopes = Scopes::parse(&scope.join(" ")).map_err(|e| CliError::Usage(e.to_string()))?;
                let keys = keys(&jwks)?;
                let client = Registered { id, holder, keys, scopes, registered: Timestamp::now(), revoked: false };
                open(&data)?.register(&client).map_err(CliError::failed)?;
                eprintln!("client {} registered for {} with {}", client.id, client.holder, client.scopes);
                Ok(())
            }
            Action::List { data } => {
                for client in open(&data)?.clients().map_err(CliError::failed)? {
                    let state = if client.revoked { "revoked" } else { "registered" };
                    let keys = match &client.keys {
                        ClientKeys::Set(_) => "(stored)",
                        ClientKeys::Url(url) => url,
                    };
                    println!("{}\t{}\t{state} {}\t{keys}\t{}", client.id, client.holder, client.registered, client.scopes);
                }
                Ok(())
            }
            Action::Revoke { data, id } => {
                if !open(&data)?.revoke_client(&id).map_err(CliError::failed)? {
                    return Err(CliError::Failed(format!("there is no registered client `{id}`; `dugnad client list` shows them")));
                }
                eprintln!("client {id} and its tokens revoked");
                Ok(())
            }
        }
    }
}

/// The keys that are meant. A set that is published elsewhere may not be reachable yet: it is looked at when it is needed.
fn keys(place: &str) -> Result<ClientKeys, CliError> {
    if place.starts_with("https://") || place.starts_with("http://") {
        return Ok(ClientKeys::Url(place.to_owned()));
    }
    let failed = |error: &dyn std::fmt::Display| CliError::Usage(format!("{place}: {error}"));
    let mut json = Vec::new();
    let file = std::fs::File::open(Path::new(place)).map_err(|e| failed(&e))?;
    file.take(MAX_JWKS_BYTES as u64 + 1).read_to_end(&mut json).map_err(|e| failed(&e))?;
    KeySet::parse(&json).map_err(|e| failed(&e))?;
    String::from_utf8(json).map(ClientKeys::Set).map_err(|e| failed(&e))
}
