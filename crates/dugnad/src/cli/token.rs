//! `dugnad token`.

use super::CliError;
use crate::access::{Role, TokenRequest, Tokens};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Issue and revoke bearer tokens.
///
/// Works while a server has the database open. Only a token's SHA-256 is kept: it is shown once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad token issue --data ./db --user haukeland --role hospital --holder 'Haukeland universitetssjukehus'
  export DUGNAD_TOKEN=$(dugnad token issue --data ./db --user fhi --role authority --valid-for '30 days')
  dugnad token issue --data ./db --user kari --role patient --holder 'Haukeland universitetssjukehus' --patient 123
  dugnad token revoke --data ./db --user fhi")]
pub struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Issue a token; it is the only thing on stdout.
    Issue {
        /// The database's folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Whose it is, as permits and the audit log name them.
        #[arg(long, value_name = "NAME")]
        user: String,
        /// What they are.
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// For hospitals: the health data holder that they write as. It is registered at its first write. For patients: the
        /// hospital of --patient.
        #[arg(long, value_name = "NAME")]
        holder: Option<String>,
        /// For patients: the logical id of the Patient that they are, at the hospital of --holder.
        #[arg(long, value_name = "ID", requires = "holder")]
        patient: Option<String>,
        /// How long it is valid, such as `90 days` or `12h`.
        #[arg(long, value_name = "SPAN", default_value = "90 days")]
        valid_for: jiff::Span,
    },
    /// Revoke all tokens of a user, from now on.
    Revoke {
        /// The database's folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Whose.
        #[arg(long, value_name = "NAME")]
        user: String,
    },
}

impl Token {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.action {
            Action::Issue { data, user, role, holder, patient: Some(patient), valid_for } => {
                let subject = Some((holder.unwrap_or_default(), patient));
                issue(&data, &TokenRequest { user, role, holder: None, subject, valid_for })
            }
            Action::Issue { data, user, role, holder, patient: None, valid_for } => {
                issue(&data, &TokenRequest { user, role, holder, subject: None, valid_for })
            }
            Action::Revoke { data, user } => {
                let revoked = open(&data)?.revoke(&user).map_err(CliError::failed)?;
                eprintln!("{revoked} token(s) of {user} revoked");
                Ok(())
            }
        }
    }
}

pub(super) fn open(data: &std::path::Path) -> Result<Tokens, CliError> {
    if !data.is_dir() {
        return Err(CliError::Usage(format!(
            "{} is not a folder; make the database first with `dugnad serve` or `dugnad ingest`",
            data.display()
        )));
    }
    Tokens::open(data).map_err(CliError::failed)
}

fn issue(data: &std::path::Path, request: &TokenRequest) -> Result<(), CliError> {
    if request.subject.is_some() && request.role != Role::Patient {
        return Err(CliError::Usage("--patient is for --role patient only".to_owned()));
    }
    match (request.role, &request.holder) {
        (Role::Hospital, None) => {
            return Err(CliError::Usage("a hospital's token needs --holder NAME: the name it writes under".to_owned()));
        }
        (Role::Hospital, Some(_)) | (_, None) => {}
        (_, Some(_)) => return Err(CliError::Usage("--holder is for --role hospital only".to_owned())),
    }
    let token = open(data)?.issue(request).map_err(CliError::failed)?;
    println!("{token}");
    Ok(())
}
