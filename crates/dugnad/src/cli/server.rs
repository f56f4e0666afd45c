//! Commands that speak to a running server only: who acts is what their token says.

use super::CliError;
use super::client::{self, Client};
use super::query::write_all;
use clap::Args;
use serde_json::Value;
use std::io::{self, Read};
use std::path::Path;
use ureq::http::Method;

/// A running server.
#[derive(Clone, Debug, Args)]
pub struct Server {
    /// A running server, such as http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    server: String,
    /// The bearer token for --server.
    #[arg(long, env = "DUGNAD_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
}

impl Server {
    /// Sends JSON, if there is some, and gives the bytes of the answer.
    pub fn bytes(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Vec<u8>, CliError> {
        let client = Client::new(&self.server, self.token.clone())?;
        let body = body.map(Value::to_string);
        let headers = [("Content-Type", "application/json")];
        let headers = if body.is_some() { headers.as_slice() } else { &[] };
        let mut response = client.send_patiently(method, path, headers, body.as_deref().map(str::as_bytes))?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let said = client::explain(status, &client::text(&mut response));
            let said: Vec<String> = said.into_iter().map(|(at, what)| at.map_or(what.clone(), |at| format!("{at}: {what}"))).collect();
            return Err(CliError::Failed(said.join("\n")));
        }
        let mut bytes = Vec::new();
        response.body_mut().as_reader().take(64 << 20).read_to_end(&mut bytes).map_err(CliError::failed)?;
        Ok(bytes)
    }

    /// The same, as JSON.
    pub fn json(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        serde_json::from_slice(&self.bytes(method, path, body)?).map_err(CliError::failed)
    }

    /// The same, printed.
    pub fn print(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<(), CliError> {
        let answer = self.json(method, path, body)?;
        write_all(&mut io::stdout().lock(), format!("{answer:#}\n").as_bytes()).map(drop)
    }
}

/// A file of JSON.
pub fn json_file(path: &Path) -> Result<Value, CliError> {
    let text = std::fs::read(path).map_err(|e| CliError::Usage(format!("{}: {e}", path.display())))?;
    serde_json::from_slice(&text).map_err(|e| CliError::Usage(format!("{}: {e}", path.display())))
}
