//! `dugnad erase`.

use super::client::{self, Client};
use super::local::Local;
use super::{At, CliError, Place};
use crate::api::erasures::{check_reason, describe, shown};
use clap::Args;
use dugnad_kernel::audit::Act;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use ureq::http::Method;

/// How often it is asked whether a purge is done.
const POLL: Duration = Duration::from_millis(200);

/// Erase a person: a Patient of one hospital, and all that names it.
///
/// At once the person is in no answer any more, at any commit. Then every stored version that names the Patient is overwritten;
/// the command waits for that, and a purge that was interrupted goes on when the database is opened again. It cannot be taken
/// back. What stays: commits, the audit log, and statistics that were given out. Afterwards, copy erasures.jsonl to where restores
/// are made from.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad erase --server http://127.0.0.1:8080 --holder 'Haukeland' --patient 123 --reason 'request of 2026-11-21'
  dugnad erase --data ./db --holder 'Haukeland' --patient 123 --reason 'request of 2026-11-21'")]
pub struct Erase {
    #[command(flatten)]
    place: Place,
    /// The hospital, as its token names it.
    #[arg(long, value_name = "NAME")]
    holder: String,
    /// The logical id of the Patient.
    #[arg(long, value_name = "ID")]
    patient: String,
    /// Why; it is kept, so it must not tell who it is.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Erase {
    pub(super) fn run(self) -> Result<(), CliError> {
        check_reason(&self.reason).map_err(CliError::Usage)?;
        match self.place.clone().decide()? {
            At::Data(dir) => self.in_folder(&dir),
            At::Server(client) => self.at_server(&client),
        }
    }

    fn in_folder(&self, dir: &Path) -> Result<(), CliError> {
        let local = Local::open(dir, None)?;
        let erased = self.erase(&local);
        local.audit.close();
        local.database.close();
        erased
    }

    fn erase(&self, local: &Local) -> Result<(), CliError> {
        let unknown = || CliError::Failed(format!("there is no holder `{}`; the name is the one in its token", self.holder));
        let holder = local.database.holder(&self.holder).ok_or_else(unknown)?;
        let erasure = local.database.erase(holder.id, &self.patient, &self.reason).map_err(CliError::failed)?;
        crate::api::releases::remove_waiting(&local.dir, &local.database);
        let erased = local.database.erased_patients();
        local.audit.forget(&erased).map_err(CliError::failed)?;
        local.query.forget(&erased).map_err(CliError::failed)?;
        let mut entry = crate::api::work::blank_entry(local.clock.now(), Act::Decision);
        (entry.user, entry.role) = ("operator".to_owned(), "centre".to_owned());
        describe(&mut entry, "cli", &holder.name, &erasure);
        local.audit.append(&entry).map_err(CliError::failed)?;
        wait(&shown(&erasure), || Ok(local.database.erasures().iter().map(shown).collect()))
    }

    fn at_server(&self, client: &Client) -> Result<(), CliError> {
        let body = json!({"holder": self.holder, "patient": self.patient, "reason": self.reason}).to_string();
        let erasure = ask(client, Method::POST, Some(body.as_bytes()))?;
        wait(&erasure, || match ask(client, Method::GET, None)? {
            Value::Array(erasures) => Ok(erasures),
            _ => Err(CliError::Failed("the server answered with something else than a list of erasures".to_owned())),
        })
    }
}

fn ask(client: &Client, method: Method, body: Option<&[u8]>) -> Result<Value, CliError> {
    let mut response = client.send_patiently(&method, "/erasures", &[("Content-Type", "application/json")], body)?;
    let (status, text) = (response.status(), client::text(&mut response));
    if !status.is_success() {
        let said: Vec<String> = client::explain(status.as_u16(), &text).into_iter().map(|(_, what)| what).collect();
        return Err(CliError::Failed(said.join("\n")));
    }
    serde_json::from_str(&text).map_err(CliError::failed)
}

/// Waits until the purge of an erasure is done, and prints it.
fn wait(erasure: &Value, erasures: impl Fn() -> Result<Vec<Value>, CliError>) -> Result<(), CliError> {
    eprintln!("erased from every answer; overwriting what is stored (Ctrl-C is safe: it goes on by itself)");
    loop {
        let all = erasures()?;
        let same = all.into_iter().find(|e| e["person"] == erasure["person"]);
        match same.filter(|e| !e["purged_at"].is_null()) {
            Some(done) => {
                println!("{done}");
                return Ok(());
            }
            None => std::thread::sleep(POLL),
        }
    }
}
