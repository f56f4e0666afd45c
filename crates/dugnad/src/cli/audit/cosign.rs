//! `dugnad audit cosign`: a small witness (C2SP tlog-cosignature).
//!
//! It remembers one checkpoint: the newest that it signed. A newer one is signed only if a consistency proof leads from the old one to
//! it, computed here from the server's tiles. The order: check, write down, sign, hand in: so that it never signs two histories.

use super::remote::{Tiles, get_text};
use crate::access::private_file;
use crate::cli::CliError;
use crate::cli::client::{self, Client};
use clap::Args;
use dugnad_kernel::audit::{Checkpoint, VerifierKey, WitnessKey, consistency, cosign, root, verify_consistency};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use rand::{Rng as _, rngs::StdRng};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use ureq::http::Method;

/// How often a log that grows while it is looked at is looked at again.
const TRIES: usize = 5;

#[derive(Debug, Args)]
pub struct Cosign {
    /// The server whose log is witnessed; no token is needed.
    #[arg(long, value_name = "URL")]
    server: String,
    /// The witness's name, such as the host and path of its operator; it never changes.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The witness's secret key: a file of 32 bytes, made if it is absent.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What the witness saw last; made at the first time. It is what makes a witness of it: keep it.
    #[arg(long, value_name = "FILE")]
    seen: PathBuf,
    /// The log's public key; without it the server's is believed at the first time, and remembered.
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
}

impl Cosign {
    pub(super) fn run(self) -> Result<(), CliError> {
        let secret = secret(&self.key)?;
        let witness = WitnessKey::new(&self.name, secret.verifying_key()).map_err(|e| CliError::Usage(format!("--name: {e}")))?;
        let client = Client::new(&self.server, None)?;
        let seen = Seen::read(&self.seen)?;
        let given = self.log_key.as_deref().or(seen.as_ref().map(|seen| seen.key.as_str())).map(str::to_owned);
        let text = given.map_or_else(|| get_text(&client, "/audit/key").map(|text| text.trim_end().to_owned()), Ok)?;
        let key = VerifierKey::parse(&text).map_err(|e| CliError::Failed(format!("the log's key: {e}")))?;
        let mut gone = None;
        for _ in 0..TRIES {
            let note = get_text(&client, "/audit/checkpoint")?;
            let checkpoint = Checkpoint::open(&note, &key).map_err(|e| CliError::Failed(format!("the checkpoint: {e}")))?;
            match check(&client, &checkpoint, seen.as_ref(), &key) {
                Ok(()) => {}
                // The tiles of a checkpoint go when the next one comes.
                Err(Refused::Gone(why)) => {
                    gone = Some(why);
                    continue;
                }
                Err(Refused::Wrong(what)) => return Err(CliError::Failed(what)),
            }
            Seen { key: text, note: note.clone() }.write(&self.seen)?;
            let line = cosign(&checkpoint, &self.name, &secret, Timestamp::now()).map_err(CliError::failed)?;
            println!("witness {witness}");
            hand_in(&client, &note, &line)?;
            println!("{} entries of {} cosigned", checkpoint.size, checkpoint.origin);
            return Ok(());
        }
        let grew = || CliError::Failed("the log grew faster than its tiles could be fetched; try again".to_owned());
        Err(gone.unwrap_or_else(grew))
    }
}

/// Why a checkpoint is not signed.
enum Refused {
    /// It could not be looked at.
    Gone(CliError),
    /// It must not be.
    Wrong(String),
}

/// Whether the log has only grown since it was seen; at the first time, whether its tiles lead to its root.
fn check(client: &Client, checkpoint: &Checkpoint, seen: Option<&Seen>, key: &VerifierKey) -> Result<(), Refused> {
    let tiles = Tiles::new(client, checkpoint.size);
    if root(&tiles, checkpoint.size).map_err(Refused::Gone)? != checkpoint.root {
        return Err(Refused::Wrong("the server's tiles do not lead to the root that it signed".to_owned()));
    }
    let Some(seen) = seen else { return Ok(()) };
    let old = Checkpoint::open(&seen.note, key).map_err(|e| Refused::Wrong(format!("what was seen last: {e}")))?;
    if old.size > checkpoint.size {
        return Err(Refused::Wrong(format!(
            "the log had {} entries when it was seen last and has {} now: it was cut. Nothing is signed; keep what was seen, and tell",
            old.size, checkpoint.size
        )));
    }
    let path = consistency(&tiles, old.size, checkpoint.size).map_err(Refused::Gone)?;
    verify_consistency(old.size, checkpoint.size, &old.root, &checkpoint.root, &path).map_err(|e| {
        let what = "Nothing is signed; keep what was seen, and tell";
        Refused::Wrong(format!("the log of {} entries does not go on from the {} that were seen: {e}. {what}", checkpoint.size, old.size))
    })
}

fn hand_in(client: &Client, note: &str, line: &str) -> Result<(), CliError> {
    let note = format!("{note}{line}");
    let mut response =
        client.send_patiently(&Method::POST, "/audit/checkpoint", &[("Content-Type", "text/plain")], Some(note.as_bytes()))?;
    let (status, text) = (response.status(), client::text(&mut response));
    if status.is_success() {
        // The checkpoint may have had cosignatures of others: that it was taken does not say that this one was.
        let taken = text.lines().any(|taken| taken == line.trim_end());
        let unknown = "this is no witness that this server knows; its operator sets them (`witnesses` in the settings)";
        return if taken { Ok(()) } else { Err(CliError::Failed(unknown.to_owned())) };
    }
    let said: Vec<String> = client::explain(status.as_u16(), &text).into_iter().map(|(_, what)| what).collect();
    Err(CliError::Failed(format!("the server did not take the cosignature: {}", said.join("; "))))
}

/// What the witness saw last: the log's key, an empty line, the checkpoint.
struct Seen {
    key: String,
    note: String,
}

impl Seen {
    fn read(path: &Path) -> Result<Option<Self>, CliError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| CliError::Failed(format!("{}: {e}", path.display())))?,
        };
        let damaged = || CliError::Failed(format!("{} is damaged: it must begin with the log's key", path.display()));
        let (key, note) = text.split_once("\n\n").ok_or_else(damaged)?;
        Ok(Some(Self { key: key.to_owned(), note: note.to_owned() }))
    }

    /// Whole or not at all, and durable: before anything is signed.
    fn write(&self, path: &Path) -> Result<(), CliError> {
        let failed = |e: std::io::Error| CliError::Failed(format!("{}: {e}", path.display()));
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let mut file = fs::File::create(&unfinished).map_err(failed)?;
        file.write_all(format!("{}\n\n{}", self.key, self.note).as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&unfinished, path).map_err(failed)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

/// The witness's key, made at the first time.
fn secret(path: &Path) -> Result<SigningKey, CliError> {
    let failed = |e: std::io::Error| CliError::Failed(format!("{}: {e}", path.display()));
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            rand::make_rng::<StdRng>().fill_bytes(&mut bytes);
            let mut file = private_file().create_new(true).open(path).map_err(failed)?;
            file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
            bytes.to_vec()
        }
        bytes => bytes.map_err(failed)?,
    };
    let bytes: [u8; 32] =
        bytes.try_into().map_err(|_| CliError::Failed(format!("{} is no key: it does not have 32 bytes", path.display())))?;
    Ok(SigningKey::from_bytes(&bytes))
}
