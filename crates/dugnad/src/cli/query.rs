//! `dugnad query`.

use super::client::{self, Client};
use super::local::Local;
use super::{At, CliError, Place};
use crate::access::{Principal, Role};
use crate::query::format::{Format, encode};
use crate::query::{Basis, Question};
use clap::Args;
use dugnad_kernel::ids::Commit;
use futures::StreamExt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// Ask one SQL SELECT under a permit.
///
/// A permit is a schema: what is not in it does not exist. With --data, you are the local operator: the question is put as
/// --user, or as the first user that the permit names, from inside the secure processing environment, and is on the record
/// like any other. stderr says which commit or epoch was answered from.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad query --server http://127.0.0.1:8080 --permit surveillance 'SELECT kind, count(*) FROM treatment GROUP BY kind'
  dugnad query --data ./db --permit surveillance --as-of 1200 --format csv 'SELECT * FROM procedure' > procedures.csv
  dugnad query --data ./db --permit care --holder 'Haukeland' 'SELECT * FROM patient LIMIT 10'")]
pub struct Query {
    #[command(flatten)]
    place: Place,
    /// The permit's id; `GET /permits` lists yours.
    #[arg(long, value_name = "ID")]
    permit: String,
    /// Answer as of this commit.
    #[arg(long, value_name = "COMMIT")]
    as_of: Option<u64>,
    /// The form of the rows [default: table on a terminal, else csv].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// With --data: as which user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// With --data and --permit care: as which hospital.
    #[arg(long, value_name = "NAME")]
    holder: Option<String>,
    /// One SELECT.
    #[arg(value_name = "SQL")]
    sql: String,
}

impl Query {
    pub(super) fn run(self) -> Result<(), CliError> {
        let format = self.format.unwrap_or_else(|| default_format(Format::Csv));
        match self.place.clone().decide()? {
            At::Data(dir) => self.ask_folder(&dir, format),
            At::Server(client) => self.ask_server(&client, format),
        }
    }

    fn ask_server(&self, client: &Client, format: Format) -> Result<(), CliError> {
        let mut body = serde_json::json!({"permit": self.permit, "sql": self.sql, "format": format.name()});
        if let Some(commit) = self.as_of {
            body["as_of"] = commit.into();
        }
        let headers = [("Content-Type", "application/json")];
        let mut response = client.send_patiently(&ureq::http::Method::POST, "/sql", &headers, Some(body.to_string().as_bytes()))?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let said: Vec<String> = client::explain(status, &client::text(&mut response)).into_iter().map(|(_, what)| what).collect();
            return Err(CliError::Failed(said.join("\n")));
        }
        for (name, what) in [("Dugnad-Commit", "commit"), ("Dugnad-Epoch", "epoch")] {
            if let Some(value) = response.headers().get(name).and_then(|v| v.to_str().ok()) {
                eprintln!("answered from {what} {value}");
            }
        }
        let mut reader = response.body_mut().as_reader();
        match io::copy(&mut reader, &mut io::stdout().lock()) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(CliError::Failed(format!("the answer broke off: {error}; what was printed is not all"))),
        }
    }

    fn ask_folder(self, dir: &Path, format: Format) -> Result<(), CliError> {
        let local = Local::open(dir, None)?;
        let who = self.principal(&local)?;
        let question =
            Question { who, interface: "cli", permit: self.permit, sql: self.sql, as_of: self.as_of.map(Commit), min_commit: None };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::failed)?;
        let answered = runtime.block_on(answer(&local, question, format));
        local.database.close();
        answered
    }

    /// As whom the local operator asks.
    fn principal(&self, local: &Local) -> Result<Principal, CliError> {
        if let Some(holder) = &self.holder {
            let user = self.user.clone().unwrap_or_else(|| holder.clone());
            return Ok(Principal { inside_spe: true, ..Principal::new(user, Role::Hospital, Some(holder.clone())) });
        }
        let named = || -> Option<String> {
            let permit = local.database.document("permit", &self.permit).ok()??;
            let json: serde_json::Value = serde_json::from_str(&permit.json).ok()?;
            json["users"][0].as_str().map(str::to_owned)
        };
        let user = self.user.clone().or_else(named).unwrap_or_else(|| "operator".to_owned());
        Ok(Principal { inside_spe: true, ..Principal::new(user, Role::Centre, None) })
    }
}

async fn answer(local: &Local, question: Question, format: Format) -> Result<(), CliError> {
    let answer = local.query.ask(question).await.map_err(CliError::failed)?;
    let basis = answer.basis.clone();
    if let Basis::Commit(commit) = &basis {
        eprintln!("answered from commit {commit}");
    }
    let mut chunks = encode(answer, format);
    let mut out = io::stdout().lock();
    while let Some(chunk) = chunks.next().await {
        if !write_all(&mut out, &chunk.map_err(CliError::failed)?)? {
            return Ok(());
        }
    }
    if let (Basis::Epoch { epoch, .. }, Some(disclosure)) = (&basis, basis.disclosure()) {
        eprintln!("answered from epoch {epoch}; {disclosure}");
    }
    Ok(())
}

/// Writes; false if nobody reads any more (`| head`).
pub fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<bool, CliError> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::Failed(format!("stdout cannot be written: {error}"))),
    }
}

/// A table for people; `otherwise` for programs.
pub fn default_format(otherwise: Format) -> Format {
    if io::stdout().is_terminal() { Format::Table } else { otherwise }
}
