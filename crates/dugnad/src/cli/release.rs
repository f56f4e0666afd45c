//! `dugnad release`.

use super::CliError;
use super::server::Server;
use clap::{Args, Subcommand};
use dugnad_kernel::audit::VerifierKey;
use dugnad_kernel::limits::MAX_RELEASE_BYTES;
use dugnad_kernel::permit::release::{MANIFEST, Manifest, verify_files};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use ureq::http::Method;

/// The public key beside a downloaded release.
const KEY: &str = "key";

/// Take results out of the secure processing environment, and check what was let out.
///
/// A request is computed under a permit, or supplied as CSV, and checked; another person of the centre decides. What is let out has
/// a signed manifest with the SHA-256 of its files: whoever has the files and the key can verify them, without any server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad release request --server http://127.0.0.1:8080 --permit surveillance --title 'By sex' --reason 'a report' \\
    'SELECT gender, count(DISTINCT patient_key) AS persons FROM patient GROUP BY gender'
  dugnad release decide --server http://127.0.0.1:8080 ID --approve --reasons 'no small cells'
  dugnad release get --server http://127.0.0.1:8080 ID --to ./by-sex
  dugnad release verify ./by-sex --key 'dugnad.local/audit/releases+1a2b3c4d+AQ...'")]
pub struct Release {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the releases that you may see, or one.
    List {
        #[command(flatten)]
        server: Server,
        /// The release's id; all without it.
        #[arg(value_name = "ID")]
        id: Option<String>,
    },
    /// Ask to take a table out.
    Request(Box<Request>),
    /// The centre: let it out, or not.
    Decide {
        #[command(flatten)]
        server: Server,
        /// The release's id.
        #[arg(value_name = "ID")]
        id: String,
        /// Let it out.
        #[arg(long, required_unless_present = "reject")]
        approve: bool,
        /// Do not.
        #[arg(long, conflicts_with = "approve")]
        reject: bool,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reasons: String,
        /// A kind of finding that is let through, such as `small_cell`.
        #[arg(long, value_name = "KIND")]
        accept: Vec<String>,
    },
    /// Take a request back.
    Withdraw {
        #[command(flatten)]
        server: Server,
        /// The release's id.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Download a release with its manifest, and verify it.
    Get {
        #[command(flatten)]
        server: Server,
        /// The release's id.
        #[arg(value_name = "ID")]
        id: String,
        /// A folder that is not there yet.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Check a downloaded release, without a server: the signature, and every byte of its files.
    Verify {
        /// The release's folder, or the manifest in it.
        #[arg(value_name = "DIR|FILE")]
        path: PathBuf,
        /// The public key, as `GET /releases/key` gave it; without it the key beside the manifest is believed.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Request {
    #[command(flatten)]
    server: Server,
    /// The permit's id.
    #[arg(long, value_name = "ID")]
    permit: String,
    /// A line that says what it shows.
    #[arg(long, value_name = "TEXT")]
    title: String,
    /// Why it has to leave.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// What a column holds, where that is not what it looks like: count, quasi_identifier, measure, free_text or identifier.
    #[arg(long, value_name = "NAME=ROLE")]
    column: Vec<String>,
    /// The id of an organisation that gets it too.
    #[arg(long, value_name = "ID")]
    recipient: Vec<String>,
    /// Make it public once it is let out.
    #[arg(long)]
    publish: bool,
    /// Compute it as of this commit.
    #[arg(long, value_name = "COMMIT")]
    as_of: Option<u64>,
    /// A table that was made inside the environment, instead of SQL.
    #[arg(long, value_name = "FILE", conflicts_with = "sql")]
    csv: Option<PathBuf>,
    /// One SELECT.
    #[arg(value_name = "SQL", required_unless_present = "csv")]
    sql: Option<String>,
}

impl Request {
    fn send(&self) -> Result<(), CliError> {
        let role = |text: &String| {
            let pair = text.split_once('=').map(|(name, role)| (name.to_owned(), json!(role)));
            pair.ok_or_else(|| CliError::Usage(format!("--column is NAME=ROLE, not `{text}`")))
        };
        let columns: serde_json::Map<String, Value> = self.column.iter().map(role).collect::<Result<_, _>>()?;
        let csv = self.csv.as_deref().map(|path| fs::read_to_string(path).map_err(|e| CliError::Usage(format!("{}: {e}", path.display()))));
        let body = json!({
            "permit": self.permit, "title": self.title, "reason": self.reason, "columns": columns, "recipients": self.recipient,
            "publish": self.publish, "as_of": self.as_of, "sql": self.sql, "csv": csv.transpose()?,
        });
        self.server.print(&Method::POST, "/releases", Some(&body))
    }
}

impl Release {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.action {
            Action::List { server, id: None } => server.print(&Method::GET, "/releases", None),
            Action::List { server, id: Some(id) } => server.print(&Method::GET, &format!("/releases/{id}"), None),
            Action::Request(request) => request.send(),
            Action::Decide { server, id, approve, reject, reasons, accept } => {
                let body = json!({"approve": approve && !reject, "reasons": reasons, "accepts": accept});
                server.print(&Method::POST, &format!("/releases/{id}/decide"), Some(&body))
            }
            Action::Withdraw { server, id } => server.print(&Method::POST, &format!("/releases/{id}/withdraw"), None),
            Action::Get { server, id, to } => get(&server, &id, &to),
            Action::Verify { path, key } => verify(&path, key.as_deref()),
        }
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> CliError + '_ {
    |error| CliError::Failed(format!("{}: {error}", path.display()))
}

/// Downloads the files that the manifest names, and nothing else; a name never leads out of the folder.
fn get(server: &Server, id: &str, to: &Path) -> Result<(), CliError> {
    let key = server.bytes(&Method::GET, "/releases/key", None)?;
    let manifest = server.bytes(&Method::GET, &format!("/releases/{id}/{MANIFEST}"), None)?;
    let opened = open(&manifest, &String::from_utf8_lossy(&key))?;
    fs::create_dir(to).map_err(failed(to))?;
    for file in &opened.files {
        let plain = file.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) && !file.name.starts_with('.');
        if !plain || [MANIFEST, KEY].contains(&file.name.as_str()) {
            return Err(CliError::Failed(format!("`{}` is no name of a file of a release", file.name)));
        }
        let bytes = server.bytes(&Method::GET, &format!("/releases/{id}/{}", file.name), None)?;
        fs::write(to.join(&file.name), bytes).map_err(failed(to))?;
    }
    fs::write(to.join(MANIFEST), manifest).map_err(failed(to))?;
    fs::write(to.join(KEY), key).map_err(failed(to))?;
    verify(to, None)
}

fn open(manifest: &[u8], key: &str) -> Result<Manifest, CliError> {
    let key = VerifierKey::parse(key.trim_end()).map_err(|e| CliError::Usage(format!("the key: {e}")))?;
    let text = std::str::from_utf8(manifest).map_err(|_| CliError::Failed("the manifest is not UTF-8: it was changed".to_owned()))?;
    Manifest::open(text, &key).map_err(|e| CliError::Failed(format!("the manifest: {e}")))
}

fn verify(path: &Path, key: Option<&str>) -> Result<(), CliError> {
    let (folder, manifest) = match path.is_dir() {
        true => (path.to_owned(), path.join(MANIFEST)),
        false => (path.parent().unwrap_or(Path::new(".")).to_owned(), path.to_owned()),
    };
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    let beside = folder.join(KEY);
    let key_text = match key {
        Some(key) => key.to_owned(),
        None => fs::read_to_string(&beside).map_err(|e| {
            CliError::Usage(format!("{}: {e}; give the key that the centre publishes (GET /releases/key) with --key", beside.display()))
        })?,
    };
    let opened = open(&read(&manifest)?, &key_text)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
        let entry = entry.map_err(failed(&folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path() != manifest && name != KEY {
            files.push((name, read(&entry.path())?));
        }
    }
    let wrong = verify_files(&opened, &files);
    if !wrong.is_empty() {
        let said: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        return Err(CliError::Failed(format!("{} is not as it was released: {}", folder.display(), said.join("; "))));
    }
    println!("release  {}: {}", opened.id, opened.title);
    println!("permit   {}", opened.permit);
    match opened.source.sql() {
        Some(sql) => println!("source   {sql}"),
        None => println!("source   supplied by the requester"),
    }
    println!("reviewed {} by {}: {}", opened.reviewed.at, opened.reviewed.by.user, opened.reasons);
    println!("{} files, every byte as it was released", opened.files.len());
    println!("key      {}", key_text.trim_end());
    if key.is_none() {
        eprintln!("the key is the one that lies beside the release: to find one that somebody else signed, give the centre's with --key");
    }
    Ok(())
}

/// A file of a release; a longer one is none.
fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_RELEASE_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(failed(path))?;
    Ok(bytes)
}
