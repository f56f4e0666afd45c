//! Where `ingest` writes: a folder, or a server.

use crate::cli::CliError;
use crate::cli::client::{self, Backoff, Client};
use crate::cli::local::Local;
use crate::intake::plan::{batch_writes, taken};
use crate::intake::{Fate, Gone, Refusal, Sink, Taken, refusals};
use dugnad_kernel::audit::{Act, AuditError, Log};
use dugnad_kernel::clock::Clock;
use dugnad_kernel::database::{Database, Handling, Holder, Interaction, Outcome, WriteError, WriteRequest};
use dugnad_kernel::fhir::issue::Issue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use ureq::http::Method;

/// A database on this machine.
pub struct Folder {
    database: Database,
    audit: Arc<Log>,
    clock: Arc<dyn Clock>,
    holder: Holder,
    handling: Handling,
    log_failed: Arc<AtomicBool>,
}

impl Folder {
    /// Writes as `holder`, which is registered if it is new.
    pub fn new(local: &Local, holder: &str, handling: Handling) -> Result<Self, CliError> {
        let holder = local.database.register_holder(holder).map_err(CliError::failed)?;
        let (database, audit, clock) = (local.database.clone(), Arc::clone(&local.audit), Arc::clone(&local.clock));
        Ok(Self { database, audit, clock, holder, handling, log_failed: Arc::default() })
    }

    /// Waits until all that was written is on the record.
    pub fn finish(&self) -> Result<(), CliError> {
        // The log keeps the order of its entries: once this one is durable, so are those before it.
        let entry = self.entry(Act::Administration, None, "ingest ended");
        self.audit.append(&entry).map(|_| ()).map_err(CliError::failed)
    }

    fn entry(&self, act: Act, outcome: Option<&Outcome>, request: &str) -> dugnad_kernel::audit::Entry {
        let mut entry = crate::api::work::blank_entry(self.clock.now(), act);
        entry.user = "operator".to_owned();
        entry.role = "operator".to_owned();
        entry.interface = Some("cli".to_owned());
        entry.holder = Some(self.holder.name.clone());
        entry.request = Some(request.to_owned());
        entry.commit = outcome.map(|o| o.commit.0);
        entry.rows = outcome.map(|o| o.entries.len() as u64);
        entry
    }

    /// One commit, tried again while the database is busy. Its entry in the log is waited for at the end of the run: nobody
    /// is answered before.
    fn write(&self, interaction: Interaction, key: Option<String>) -> Result<Result<Outcome, Vec<Issue>>, Gone> {
        if self.log_failed.load(Ordering::Relaxed) {
            return Err(Gone(AuditError::Stopped.to_string()));
        }
        let mut pause = Backoff::default();
        loop {
            let request = WriteRequest {
                holder: self.holder.id,
                interaction: interaction.clone(),
                handling: self.handling,
                idempotency_key: key.clone(),
            };
            match self.database.write(request) {
                Ok(outcome) => {
                    let failed = Arc::clone(&self.log_failed);
                    let done = move |result: Result<u64, AuditError>| failed.store(result.is_err(), Ordering::Relaxed);
                    self.audit.append_then(&self.entry(Act::Write, Some(&outcome), "ingest"), Box::new(done));
                    return Ok(Ok(outcome));
                }
                Err(WriteError::Refused { issues, .. }) => return Ok(Err(issues)),
                Err(WriteError::Busy { retry_after_s }) if pause.wait(Duration::from_secs(retry_after_s)) => {}
                Err(error) => return Err(Gone(error.to_string())),
            }
        }
    }

    fn write_one(&self, interaction: Interaction, key: Option<String>) -> Result<Fate, Gone> {
        Ok(match self.write(interaction, key)? {
            Ok(outcome) => {
                Fate::Taken { entries: if outcome.replayed { Vec::new() } else { taken(&outcome.entries) }, refused: Vec::new() }
            }
            Err(issues) => Fate::of_issues(issues),
        })
    }
}

impl Sink for Folder {
    fn transaction(&self, body: Vec<u8>, key: Option<String>) -> Result<Fate, Gone> {
        self.write_one(Interaction::Transaction { body }, key)
    }

    fn batch(&self, body: Vec<u8>, key: String) -> Result<Fate, Gone> {
        let (mut entries, mut refused) = (Vec::new(), Vec::new());
        for (n, write) in batch_writes(&body).into_iter().enumerate() {
            let result = match write {
                Ok(interaction) => {
                    let kind = type_of(&interaction).to_owned();
                    let within = |i: Issue| i.within(&format!("Bundle.entry[{n}].resource"));
                    let result = self.write(interaction, Some(format!("{key}/{n}")))?;
                    result.map(|o| (o, kind)).map_err(|issues| issues.into_iter().map(within).collect())
                }
                Err(issues) => Err(issues),
            };
            match result {
                Ok((outcome, kind)) if outcome.replayed => entries.push(Taken { resource_type: kind, changed: false, warnings: 0 }),
                Ok((outcome, _)) => entries.extend(taken(&outcome.entries)),
                Err(issues) => refused.extend(refusals(issues).into_iter().take(1)),
            }
        }
        Ok(if entries.is_empty() && !refused.is_empty() { Fate::Refused(refused) } else { Fate::Taken { entries, refused } })
    }

    fn single(&self, interaction: Interaction, key: Option<String>) -> Result<Fate, Gone> {
        self.write_one(interaction, key)
    }
}

fn type_of(interaction: &Interaction) -> &str {
    match interaction {
        Interaction::Transaction { .. } => "Bundle",
        Interaction::Create { resource_type, .. }
        | Interaction::Update { resource_type, .. }
        | Interaction::UpdateMatching { resource_type, .. }
        | Interaction::DeleteMatching { resource_type, .. }
        | Interaction::Patch { resource_type, .. }
        | Interaction::PatchMatching { resource_type, .. }
        | Interaction::Delete { resource_type, .. } => resource_type,
        Interaction::OptOut { .. } => "Consent",
    }
}

/// A server.
pub struct Server {
    client: Client,
    prefer: &'static str,
}

impl Server {
    /// Writes through `client`.
    pub fn new(client: Client, handling: Handling) -> Self {
        let prefer = if handling == Handling::Lenient { "return=minimal, handling=lenient" } else { "return=minimal, handling=strict" };
        Self { client, prefer }
    }

    fn send(&self, method: &Method, path: &str, key: Option<&str>, body: &[u8]) -> Result<(client::Response, String), Gone> {
        let mut headers = vec![("Content-Type", "application/fhir+json"), ("Prefer", self.prefer)];
        headers.extend(key.map(|key| ("Idempotency-Key", key)));
        let mut response = self.client.send_patiently(method, path, &headers, Some(body)).map_err(|e| Gone(e.to_string()))?;
        let text = client::text(&mut response);
        match response.status().as_u16() {
            // Not about this file: no token, wrong role, a server that has stopped.
            status @ (401 | 403 | 429 | 503) => {
                let said: Vec<String> = client::explain(status, &text).into_iter().map(|(_, what)| what).collect();
                Err(Gone(said.join("; ")))
            }
            _ => Ok((response, text)),
        }
    }
}

fn refused_by_server(status: u16, text: &str) -> Fate {
    Fate::Refused(client::explain(status, text).into_iter().map(|(at, why)| Refusal { at, why }).collect())
}

fn was_replayed(response: &client::Response) -> bool {
    response.headers().contains_key("Dugnad-Replayed")
}

impl Server {
    fn bundle(&self, body: &[u8], key: Option<&str>) -> Result<Fate, Gone> {
        let (response, text) = self.send(&Method::POST, "/fhir", key, body)?;
        if !response.status().is_success() {
            return Ok(refused_by_server(response.status().as_u16(), &text));
        }
        if was_replayed(&response) {
            return Ok(Fate::Taken { entries: Vec::new(), refused: Vec::new() });
        }
        let answer: serde_json::Value = serde_json::from_str(&text).map_err(|e| Gone(format!("the server's answer is not JSON: {e}")))?;
        let (mut entries, mut refused) = (Vec::new(), Vec::new());
        for entry in answer["entry"].as_array().into_iter().flatten() {
            let response = &entry["response"];
            let issues = response["outcome"]["issue"].as_array().map_or(&[][..], Vec::as_slice);
            if response["status"].as_str().is_some_and(|s| s.starts_with('2')) {
                let location = response["location"].as_str().unwrap_or_default();
                let warnings = issues.iter().filter(|i| i["severity"] == "warning").count();
                entries.push(Taken {
                    resource_type: location.split('/').next().unwrap_or_default().to_owned(),
                    changed: !location.is_empty(),
                    warnings,
                });
            } else {
                let first = issues.first().cloned().unwrap_or_default();
                let why = first["diagnostics"].as_str().unwrap_or("no reason given").to_owned();
                refused.push(Refusal { at: first["expression"][0].as_str().map(str::to_owned), why });
            }
        }
        Ok(if entries.is_empty() && !refused.is_empty() { Fate::Refused(refused) } else { Fate::Taken { entries, refused } })
    }
}

impl Sink for Server {
    fn transaction(&self, body: Vec<u8>, key: Option<String>) -> Result<Fate, Gone> {
        self.bundle(&body, key.as_deref())
    }

    fn batch(&self, body: Vec<u8>, key: String) -> Result<Fate, Gone> {
        self.bundle(&body, Some(&key))
    }

    fn single(&self, interaction: Interaction, key: Option<String>) -> Result<Fate, Gone> {
        let kind = type_of(&interaction).to_owned();
        let (method, path, body) = match interaction {
            Interaction::Create { resource_type, body, .. } => (Method::POST, format!("/fhir/{resource_type}"), body),
            Interaction::Update { resource_type, id, body, .. } => (Method::PUT, format!("/fhir/{resource_type}/{id}"), body),
            _ => return Ok(Fate::refused(None, "not a resource".to_owned())),
        };
        let (response, text) = self.send(&method, &path, key.as_deref(), &body)?;
        if !response.status().is_success() {
            return Ok(refused_by_server(response.status().as_u16(), &text));
        }
        let entries = if was_replayed(&response) { Vec::new() } else { vec![Taken { resource_type: kind, changed: true, warnings: 0 }] };
        Ok(Fate::Taken { entries, refused: Vec::new() })
    }
}
