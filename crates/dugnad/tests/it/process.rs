//! A server in a process of its own, which can be killed.

use dugnad::access::{Role, TokenRequest};
use dugnad::cli::client::{self, Client};
use dugnad::cli::local::Local;
use jiff::ToSpan;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use ureq::http::Method;

/// Who speaks to the server.
pub struct Tokens {
    pub hospital: String,
    pub authority: String,
}

/// Makes a database in `dir` with a hospital, an authority and its live permit `live` over `tables`.
pub fn make_database(dir: &Path, tables: &[&str]) -> Tokens {
    let local = Local::open(dir, None).unwrap();
    let token = |user: &str, role, holder: Option<&str>| {
        let request = TokenRequest { user: user.to_owned(), role, holder: holder.map(str::to_owned), subject: None, valid_for: 24.hours() };
        local.tokens.issue(&request).unwrap()
    };
    let tokens =
        Tokens { hospital: token("Haukeland", Role::Hospital, Some("Haukeland")), authority: token("authority", Role::Authority, None) };
    let permit = live_permit(local.clock.now(), tables);
    local.database.put_document("permit", "live", &permit.to_string()).unwrap();
    local.database.close();
    tokens
}

/// A live permit `live` of the user `authority` over everyone's rows of `tables`.
pub fn live_permit(now: jiff::Timestamp, tables: &[&str]) -> Value {
    let tables: Vec<Value> = tables.iter().map(|t| json!({"table": t, "columns": "all"})).collect();
    json!({
        "id": "live", "basis": "statutory_register", "applicant": "an authority", "users": ["authority"], "purpose": "A test",
        "valid_from": now, "valid_until": now + 48.hours(), "status": "active",
        "decision": {"by": "centre", "at": now, "reasons": "A test."}, "provision": {"law": "made up", "retention": "P1D"},
        "tables": tables, "population": "everyone", "cadence": "live", "cadence_reason": "A test.", "delivery": "enclave",
    })
}

/// A running server.
pub struct Process {
    child: Child,
    pub url: String,
    /// What it has said on stderr.
    said: Arc<Mutex<Vec<String>>>,
}

/// Starts `dugnad serve`, and does not wait until it serves.
pub fn spawn(dir: &Path) -> Child {
    // Beside the folder: nothing of ours is in it.
    let config = dir.with_extension("config.json");
    std::fs::write(&config, r#"{"inside_spe": ["127.0.0.0/8"], "endpoints": ["http://127.0.0.1:*"]}"#).unwrap();
    Command::new(env!("CARGO_BIN_EXE_dugnad"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir)
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

impl Process {
    /// Starts a server and waits until it serves.
    pub fn start(dir: &Path) -> Self {
        let mut child = spawn(dir);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let said = Arc::new(Mutex::new(Vec::new()));
        let address = lines.by_ref().find_map(|line| {
            let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).map(str::to_owned);
            said.lock().unwrap().push(line);
            address
        });
        let Some(address) = address else { panic!("the server did not start: {}", said.lock().unwrap().join("\n")) };
        let keep = Arc::clone(&said);
        std::thread::spawn(move || lines.for_each(|line| keep.lock().unwrap().push(line)));
        Self { child, url: format!("http://{address}"), said }
    }

    pub fn client(&self, token: &str) -> Client {
        Client::new(&self.url, Some(token.to_owned())).unwrap()
    }

    /// SIGKILL; nothing is finished or flushed.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let panicked: Vec<String> = self.said.lock().unwrap().iter().filter(|line| line.contains("panicked")).cloned().collect();
        assert!(panicked.is_empty(), "{panicked:?}");
    }

    /// The highest memory use until now, in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// Status, body and commit of an answer; `None` if there was no whole answer.
pub fn send(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Option<(u16, Value, u64)> {
    let body = body.map(Value::to_string);
    let kind = if path == "/sql" { "application/json" } else { "application/fhir+json" };
    let mut answer = client.send(method, path, &[("Content-Type", kind)], body.as_deref().map(str::as_bytes)).ok()?;
    let text = client::text(&mut answer);
    let commit = answer.headers().get("Dugnad-Commit").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok()).unwrap_or_default();
    Some((answer.status().as_u16(), serde_json::from_str(&text).ok()?, commit))
}

/// The rows that a question under the permit `live` gets.
#[track_caller]
pub fn sql(client: &Client, sql: &str) -> Vec<Value> {
    for _ in 0..3 {
        match send(client, Method::POST, "/sql", Some(&json!({"permit": "live", "sql": sql, "format": "json"}))) {
            Some((200, Value::Array(rows), _)) => return rows,
            Some((503, ..)) | None => std::thread::sleep(Duration::from_millis(200)),
            other => panic!("{sql}: {other:?}"),
        }
    }
    panic!("{sql}: no answer")
}
