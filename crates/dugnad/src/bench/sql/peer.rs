//! DuckDB in a process of its own (`peer.py`), asked line by line.

use crate::cli::CliError;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PROGRAM: &str = include_str!("peer.py");

/// A running DuckDB.
pub(super) struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// `DuckDB` and its version.
    pub name: String,
}

/// What it answered.
pub(super) struct Answered {
    pub seconds: f64,
    pub rows: Vec<Vec<Value>>,
}

impl Peer {
    /// Starts it with these tables; `None`, with the reason on stderr, where `python` has no module `duckdb`.
    pub fn start(
        python: &Path,
        tables: &BTreeMap<String, PathBuf>,
        views: &[(&str, &str)],
        threads: usize,
    ) -> Result<Option<Self>, CliError> {
        let there = Command::new(python).args(["-c", "import duckdb"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            eprintln!("DuckDB is not measured: `{}` has no module duckdb (`pip install duckdb`)", python.display());
            return Ok(None);
        }
        let mut command = Command::new(python);
        let child = command.args(["-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(CliError::failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.ok_or_else(|| CliError::Failed("DuckDB cannot be heard".to_owned()))?;
        let mut peer = Self { child, stdin, stdout: BufReader::new(stdout), name: String::new() };
        let views: BTreeMap<&str, &str> = views.iter().copied().collect();
        let version = peer.send(&json!({"tables": tables, "views": views, "threads": threads}))?;
        peer.name = format!("DuckDB {}", version["version"].as_str().unwrap_or_default());
        Ok(Some(peer))
    }

    /// Asks a question of the tables in `schema`.
    pub fn ask(&mut self, schema: &str, sql: &str) -> Result<Answered, CliError> {
        let reply = self.send(&json!({"in": schema, "sql": sql}))?;
        let rows = reply["rows"].as_array().ok_or_else(|| CliError::Failed(format!("DuckDB: {}: {sql}", reply["error"])))?;
        let rows = rows.iter().map(|row| row.as_array().cloned().unwrap_or_default()).collect();
        Ok(Answered { seconds: reply["seconds"].as_f64().unwrap_or_default(), rows })
    }

    /// Its highest memory use until now, in bytes.
    pub fn peak_rss(&mut self) -> Result<f64, CliError> {
        Ok(self.send(&json!({"memory": true}))?["peak_rss"].as_f64().unwrap_or_default())
    }

    fn send(&mut self, request: &Value) -> Result<Value, CliError> {
        let mut line = String::new();
        let sent = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{request}").and_then(|()| stdin.flush()));
        if matches!(sent, Some(Ok(()))) {
            self.stdout.read_line(&mut line).map_err(CliError::failed)?;
        }
        match line.is_empty() {
            true => Err(self.ended()),
            false => serde_json::from_str(&line).map_err(|e| CliError::Failed(format!("DuckDB's answer is not JSON ({e}): {line}"))),
        }
    }

    /// How it ended.
    fn ended(&mut self) -> CliError {
        drop(self.stdin.take());
        let how = self.child.wait().map_or_else(|why| why.to_string(), |status| status.to_string());
        CliError::Failed(format!(
            "DuckDB has ended ({how}); if it was killed, its tables do not fit into memory: measure with fewer --resources"
        ))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.stdin.take()); // it ends at the end of its input
        let _: std::io::Result<_> = self.child.wait();
    }
}
