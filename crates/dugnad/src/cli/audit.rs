//! `dugnad audit`.

mod cosign;
mod remote;

use super::local::Local;
use super::query::write_all;
use super::{At, CliError, Place};
use crate::access::{Principal, Role};
use crate::api::persons::{self, Page};
use crate::api::{ApiError, Settings};
use crate::limits::MAX_ACCESSES;
use clap::{Args, Subcommand};
use dugnad_kernel::audit::{Checkpoint, Folder, Proof, VerifierKey, verify_since};
use std::io;
use std::path::{Path, PathBuf};

/// Check the audit log, prove an entry, read it, ask who read whose data, or witness it.
///
/// Every access to the database is in an append-only Merkle log (RFC 6962) with signed checkpoints. Anyone who has a copy
/// of its public files can check that nothing was changed or taken out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad audit verify --data ./db                   every entry, tile and signature
  dugnad audit verify --server http://127.0.0.1:8080 --since checkpoint-of-last-year
  dugnad audit prove --data ./db 1234 > proof.json
  dugnad audit check proof.json --key 'dugnad.example/audit+20324abe+AZms...'          offline, with nothing else
  dugnad audit log --data ./db --first 1200 --count 20
  dugnad audit who --server http://127.0.0.1:8080 --holder 'Haukeland' --patient 123    as the centre
  dugnad audit who --server http://127.0.0.1:8080                                       as a patient, about oneself
  dugnad audit cosign --server http://127.0.0.1:8080 --name witness.example/w1 --key w1.key --seen w1.seen")]
pub struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check the whole log; exit code 1 and the first wrong entry if a byte has changed.
    Verify {
        #[command(flatten)]
        place: Place,
        /// The log's public key, as an earlier run printed it; without it the key beside the log is believed.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// An earlier checkpoint that you kept (`GET /audit/checkpoint`): proves that the log has only grown since.
        #[arg(long, value_name = "FILE")]
        since: Vec<PathBuf>,
    },
    /// Prove that an entry is in the log: JSON that can be checked with the log's public key alone.
    Prove {
        #[command(flatten)]
        place: Place,
        /// The entry's number, from 0.
        #[arg(value_name = "INDEX")]
        index: u64,
    },
    /// Check a proof, offline: that the log which the key speaks for holds the entry. Exit code 1 if it does not.
    Check {
        /// The proof: a file that `prove`, `who --proofs` or a patient's page made.
        #[arg(value_name = "PROOF.json")]
        proof: PathBuf,
        /// The log's public key (`GET /audit/key`).
        #[arg(long, value_name = "KEY")]
        key: String,
    },
    /// Print the accesses that delivered a person's data, one JSON object a line, the newest first.
    Who {
        #[command(flatten)]
        place: Place,
        /// The hospital whose Patient it is (for the centre; a hospital asks about its own).
        #[arg(long, value_name = "NAME")]
        holder: Option<String>,
        /// The logical id of the Patient; without it, whose token it is.
        #[arg(long, value_name = "ID")]
        patient: Option<String>,
        /// With the proof that each entry is in the log.
        #[arg(long)]
        proofs: bool,
    },
    /// Witness the log of a server: check that it has only grown since the last time, sign its checkpoint, hand the signature in.
    Cosign(cosign::Cosign),
    /// Print entries, one JSON object a line.
    Log {
        #[command(flatten)]
        place: Place,
        /// The first entry; by default the last ones are printed.
        #[arg(long, value_name = "INDEX")]
        first: Option<u64>,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        count: usize,
    },
}

impl Audit {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.action {
            Action::Verify { place, key, since } => {
                let key = key.map(|k| VerifierKey::parse(&k)).transpose().map_err(|e| CliError::Usage(format!("--key: {e}")))?;
                let notes = since.iter().map(read).collect::<Result<Vec<_>, _>>()?;
                match place.decide()? {
                    At::Data(dir) => verify_folder(&dir.join("audit"), key.as_ref(), &notes),
                    At::Server(client) => remote::verify(&client, key, &notes),
                }
            }
            Action::Prove { place, index } => match place.decide()? {
                At::Data(dir) => {
                    let proof = Folder::open(&dir.join("audit")).and_then(|f| f.prove(index)).map_err(CliError::failed)?;
                    let proof = proof.ok_or_else(|| CliError::Failed(format!("no checkpoint covers entry {index} yet")))?;
                    print_json(&proof)
                }
                At::Server(client) => print_json(&remote::get_json(&client, &format!("/audit/proof/{index}"))?),
            },
            Action::Check { proof, key } => check(&proof, &key),
            Action::Who { place, holder, patient, proofs } => match place.decide()? {
                At::Data(dir) => who_in_folder(&dir, holder.as_deref(), patient.as_deref(), proofs),
                At::Server(client) => remote::who(&client, holder.as_deref(), patient.as_deref(), proofs),
            },
            Action::Cosign(cosign) => cosign.run(),
            Action::Log { place, first, count } => match place.decide()? {
                At::Data(dir) => log_of_folder(&dir.join("audit"), first, count),
                At::Server(client) => remote::log(&client, first, count),
            },
        }
    }
}

fn check(path: &PathBuf, key: &str) -> Result<(), CliError> {
    let key = VerifierKey::parse(key).map_err(|e| CliError::Usage(format!("--key: {e}")))?;
    let proof: Proof = serde_json::from_str(&read(path)?).map_err(|e| CliError::Usage(format!("{}: no proof: {e}", path.display())))?;
    let checkpoint = proof.verify(&key).map_err(|e| CliError::Failed(format!("{}: {e}; it proves nothing", path.display())))?;
    println!("entry {} is in the log {}, among its first {} entries:", proof.index, key.name(), checkpoint.size);
    println!("{}", proof.entry);
    Ok(())
}

fn read(path: &PathBuf) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|e| CliError::Usage(format!("{}: {e}", path.display())))
}

fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(CliError::failed)?;
    write_all(&mut io::stdout().lock(), format!("{text}\n").as_bytes()).map(|_| ())
}

/// Earlier checkpoints, each signed by `key`.
fn earlier(notes: &[String], key: &VerifierKey) -> Result<Vec<Checkpoint>, CliError> {
    notes.iter().map(|note| Checkpoint::open(note, key).map_err(|e| CliError::Failed(format!("an earlier checkpoint: {e}")))).collect()
}

fn verify_folder(dir: &Path, key: Option<&VerifierKey>, notes: &[String]) -> Result<(), CliError> {
    let stored;
    let earlier = match (key, notes) {
        (_, []) => Vec::new(),
        (Some(key), notes) => earlier(notes, key)?,
        (None, notes) => {
            stored = Folder::open(dir).map_err(CliError::failed)?;
            earlier(notes, stored.verifier_key())?
        }
    };
    let report = verify_since(dir, key, &earlier);
    for problem in &report.problems {
        match problem.entry {
            Some(entry) => println!("{}: entry {entry}: {}", problem.file, problem.what),
            None => println!("{}: {}", problem.file, problem.what),
        }
    }
    if !report.is_ok() {
        return Err(CliError::Failed(format!("the audit log in {} is not as it was written; see above", dir.display())));
    }
    println!("{} entries, {} of them signed; every byte is as it was written", report.entries, report.signed);
    if let Some(root) = report.root {
        println!("root {root}");
    }
    tell_key(report.key.as_deref().unwrap_or("none"), key.is_some());
    Ok(())
}

fn tell_key(shown: &str, given: bool) {
    println!("key  {shown}");
    if !given {
        eprintln!(
            "the key is the one that lies beside the log: to find a log that somebody signed anew, give the key that you kept with --key"
        );
    }
}

/// The accesses to the data of a Patient of a database that no server has open. The operator asks as the centre, on the record.
fn who_in_folder(dir: &Path, holder: Option<&str>, patient: Option<&str>, proofs: bool) -> Result<(), CliError> {
    let (Some(holder), Some(patient)) = (holder, patient) else {
        return Err(CliError::Usage("with --data, say who: --holder NAME --patient ID".to_owned()));
    };
    let local = Local::open(dir, None)?;
    let app = local.app(Settings::default());
    let operator = Principal::new("operator", Role::Centre, None);
    let mut page = Page { before: u64::MAX, count: MAX_ACCESSES, proofs };
    let told = loop {
        let told = persons::told(&app, &operator, Some(patient), Some(holder), &page);
        match told.map_err(|e| CliError::Failed(said(&e))).and_then(|answer| print_accesses(&answer)) {
            Ok(Some(next)) => page.before = next,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    local.audit.close();
    local.database.close();
    told
}

/// What an error of the API says.
fn said(error: &ApiError) -> String {
    error.issues.iter().map(|issue| issue.diagnostics.as_str()).collect::<Vec<_>>().join("; ")
}

/// Prints a page of accesses; where the next one begins.
fn print_accesses(answer: &serde_json::Value) -> Result<Option<u64>, CliError> {
    let mut out = io::stdout().lock();
    for access in answer["accesses"].as_array().map(Vec::as_slice).unwrap_or_default() {
        if !write_all(&mut out, format!("{access}\n").as_bytes())? {
            return Ok(None);
        }
    }
    Ok(answer["next"].as_u64())
}

fn log_of_folder(dir: &Path, first: Option<u64>, count: usize) -> Result<(), CliError> {
    let folder = Folder::open(dir).map_err(CliError::failed)?;
    let (checkpoint, _) = folder.checkpoint().map_err(CliError::failed)?;
    let first = first.unwrap_or_else(|| checkpoint.size.saturating_sub(count as u64));
    let entries = folder.entries(first, count).map_err(CliError::failed)?;
    let mut out = io::stdout().lock();
    for (index, entry) in entries {
        let line = serde_json::json!({"index": index, "entry": entry});
        if !write_all(&mut out, format!("{line}\n").as_bytes())? {
            break;
        }
    }
    Ok(())
}
