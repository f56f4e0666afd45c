//! HTTP from the command line.

use super::CliError;
use crate::limits::INGEST_TRIES;
use std::io::Read;
use std::time::Duration;
use ureq::{Agent, Body, http};

/// A server and the token to speak to it with. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// An answer whose body has not been read.
pub type Response = http::Response<Body>;

impl Client {
    /// A client of the server at `url`.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, CliError> {
        let base = url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(CliError::Usage(format!("--server must be an address such as http://127.0.0.1:8080, not `{url}`")));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(300)))
            .max_idle_connections_per_host(64)
            .max_redirects(0) // a token goes nowhere but where it was meant to
            .build();
        Ok(Self { agent: config.new_agent(), base, token })
    }

    /// Sends a request: `path` such as `/fhir`, further headers, a body if the method has one.
    pub fn send(&self, method: http::Method, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Response, CliError> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let sent = match body {
            Some(body) => request.body(body).map(|request| self.agent.run(request)),
            None => request.body(()).map(|request| self.agent.run(request)),
        };
        let unreachable =
            |error: &dyn std::fmt::Display| CliError::Failed(format!("{}{path}: {error}; is the server running there?", self.base));
        sent.map_err(|e| unreachable(&e))?.map_err(|e| unreachable(&e))
    }

    /// Like [`Client::send`]; while the server is too busy (429, 503 with Retry-After), it is tried again.
    pub fn send_patiently(
        &self,
        method: &http::Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response, CliError> {
        let mut pause = Backoff::default();
        loop {
            let response = self.send(method.clone(), path, headers, body)?;
            let after = response.headers().get("Retry-After").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
            let busy = matches!(response.status().as_u16(), 429 | 503);
            match after {
                Some(seconds) if busy && pause.wait(Duration::from_secs(seconds)) => {}
                _ => return Ok(response),
            }
        }
    }
}

/// Growing pauses, with a bound on how many.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// Waits a little longer than last time, at most five seconds or as long as `asked`, whichever is less; false if it has
    /// waited often enough.
    pub fn wait(&mut self, asked: Duration) -> bool {
        if self.tries >= INGEST_TRIES {
            return false;
        }
        let own = Duration::from_millis(50 << self.tries.min(7)).min(Duration::from_secs(5));
        self.tries += 1;
        std::thread::sleep(own.min(asked.max(Duration::from_millis(50))));
        true
    }
}

/// A body as text, of at most 64 MB.
pub fn text(response: &mut Response) -> String {
    let mut text = Vec::new();
    // A body that breaks off is shown as far as it came: it is only shown.
    let _: std::io::Result<usize> = response.body_mut().as_reader().take(64 << 20).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// What a problem or an OperationOutcome says, in a line for each problem.
pub fn explain(status: u16, body: &str) -> Vec<(Option<String>, String)> {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let mut said = Vec::new();
    for issue in json["issue"].as_array().into_iter().flatten() {
        let at = issue["expression"][0].as_str().map(str::to_owned);
        said.push((at, issue["diagnostics"].as_str().unwrap_or("no reason given").to_owned()));
    }
    if let Some(detail) = json["detail"].as_str() {
        said.push((json["errors"][0]["at"].as_str().map(str::to_owned), detail.to_owned()));
    }
    if said.is_empty() {
        said.push((None, format!("the server answered {status} without saying why")));
    }
    said
}
