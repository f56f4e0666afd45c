//! Peers: Python packages that do the same, in the environment that `benches/setup.sh` makes.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A Python with the peers in it.
pub(super) struct Python {
    path: PathBuf,
}

impl Python {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Runs a script on one thread; what it prints is one JSON object. The error says why there is none.
    pub(super) fn run(&self, script: &str, arguments: &[&OsStr]) -> Result<Value, String> {
        let mut command = Command::new(&self.path);
        // The threads of Rust's and of C's usual pools.
        command.args(["-c", script]).args(arguments).env("RAYON_NUM_THREADS", "1").env("OMP_NUM_THREADS", "1").stdin(Stdio::null());
        let output = command.output().map_err(|e| format!("{}: {e}; `bash benches/setup.sh` makes benches/.venv", self.path.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let why = || said.lines().last().unwrap_or("it said nothing").to_owned();
        if !output.status.success() {
            return Err(format!("{}: {}", self.path.display(), why()));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| format!("{}: its answer is not JSON: {e}: {}", self.path.display(), why()))
    }
}
