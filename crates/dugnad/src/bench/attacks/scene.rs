//! Who plays: a hospital with two patients for each trial, another hospital, and readers under permits that show everybody or nobody
//! of them.

use super::super::Folder;
use super::super::loopback::Loopback;
use crate::access::{Role, TokenRequest};
use crate::cli::CliError;
use crate::cli::client::{Client, text};
use crate::cli::local::Local;
use dugnad_kernel::database::{Handling, Interaction, WriteRequest};
use dugnad_kernel::ids::{Commit, HolderId};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use ureq::http::Method;

/// The hospital of the patients, and another.
pub(super) const OWNER: &str = "Nord";
pub(super) const OTHER: &str = "Vest";

/// The permits: identified ones that show everybody and nobody of the trials, and two pseudonymised ones of one reader.
pub(super) const SEES: &str = "sees";
pub(super) const SEES_NOT: &str = "sees-not";
pub(super) const LATER: &str = "later";
pub(super) const CODES: &str = "codes";
pub(super) const BIRTHS: &str = "births";
pub(super) const BOTH: &str = "both";

/// The reader under all of them, and another.
pub(super) const READER: &str = "reader";
pub(super) const STRANGER: &str = "another reader";

/// Resources in a transaction.
const CHUNK: usize = 500;

/// A running server with its data.
pub(super) struct Scene {
    pub(super) local: Local,
    server: Loopback,
    clients: BTreeMap<&'static str, Client>,
    _folder: Folder,
    pub(super) trials: usize,
    /// The commit of the first version of everything.
    pub(super) before: Commit,
}

/// The secret of a trial. Half of all are set, in no order.
pub(super) fn bit(trial: usize) -> bool {
    // Of each two, one: which of them is a hash's choice.
    let hash = (trial as u64 / 2).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 63 == 1) == trial.is_multiple_of(2)
}

/// A day of birth that only this trial's patient has.
pub(super) fn birth(trial: usize) -> String {
    let day = jiff::civil::date(1900, 1, 1).checked_add((trial as i64).days()).unwrap_or_default();
    day.to_string()
}

impl Scene {
    /// Makes it.
    pub(super) fn new(data: Option<&Path>, trials: usize) -> Result<Self, CliError> {
        let folder = Folder::of(data)?;
        let local = Local::open(&folder.path, None)?;
        let holder = local.database.register_holder(OWNER).map_err(CliError::failed)?.id;
        write(&local, holder, study().into_iter().chain((0..trials).flat_map(of_trial)))?;
        let before = local.database.snapshot().commit();
        // What was told before the permit `later` is told no more.
        write(&local, holder, (0..trials).map(|n| condition(&format!("h{n}"), n, "0")))?;
        // A permit's start is a time: nothing of before may have the time of its decision.
        std::thread::sleep(std::time::Duration::from_millis(2));
        for permit in permits(local.clock.now()) {
            let id = permit["id"].as_str().unwrap_or_default();
            local.database.put_document("permit", id, &permit.to_string()).map_err(CliError::failed)?;
        }
        let server = Loopback::start(&local)?;
        let mut clients = BTreeMap::new();
        for (user, role) in [(OWNER, Role::Hospital), (OTHER, Role::Hospital), (READER, Role::Company), (STRANGER, Role::Company)] {
            let token = token(&local, user, role)?;
            clients.insert(user, Client::new(server.url(), Some(token))?);
        }
        Ok(Self { local, server, clients, _folder: folder, trials, before })
    }

    /// Stops the server.
    pub(super) fn close(self) -> Result<(), CliError> {
        self.server.stop()?;
        self.local.audit.close();
        self.local.database.close();
        Ok(())
    }

    /// A client with another token.
    pub(super) fn with(&self, token: String) -> Result<Client, CliError> {
        Client::new(self.server.url(), Some(token))
    }

    /// All that comes back to `user`: status, headers but for the time and the newest commit (which a live permit may know), body.
    /// `secret` is what the attacker put into the request, and is blotted out.
    pub(super) fn seen(&self, user: &str, method: Method, path: &str, body: Option<&Value>, secret: &str) -> Result<String, CliError> {
        let client = self.clients.get(user).ok_or_else(|| CliError::Failed(format!("nobody is {user}")))?;
        seen(client, method, path, body, secret)
    }

    /// The rows that the reader gets.
    pub(super) fn rows(&self, permit: &str, sql: &str) -> Result<Vec<Value>, CliError> {
        let body = json!({"permit": permit, "sql": sql, "format": "json"}).to_string();
        let client = self.clients.get(READER).ok_or_else(|| CliError::Failed("there is no reader".to_owned()))?;
        let mut answer = client.send(Method::POST, "/sql", &[("Content-Type", "application/json")], Some(body.as_bytes()))?;
        let text = text(&mut answer);
        serde_json::from_str(&text).map_err(|_| CliError::Failed(format!("{sql}: {text}")))
    }

    /// What the reader sees of a question.
    pub(super) fn asked(&self, permit: &str, sql: &str, as_of: Option<Commit>, secret: &str) -> Result<String, CliError> {
        let mut body = json!({"permit": permit, "sql": sql, "format": "json"});
        if let Some(commit) = as_of {
            body["as_of"] = commit.0.into();
        }
        self.seen(READER, Method::POST, "/sql", Some(&body), secret)
    }
}

/// All that comes back to a client.
pub(super) fn seen(client: &Client, method: Method, path: &str, body: Option<&Value>, secret: &str) -> Result<String, CliError> {
    let body = body.map(Value::to_string);
    let mut answer = client.send(method, path, &[("Content-Type", "application/json")], body.as_deref().map(str::as_bytes))?;
    let mut seen = format!("{}\n", answer.status());
    let mut headers: Vec<(&str, &[u8])> = answer.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    headers.retain(|(name, _)| !matches!(*name, "date" | "dugnad-commit" | "dugnad-query"));
    headers.sort_unstable();
    for (name, value) in headers {
        seen.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value)));
    }
    seen.push_str(&text(&mut answer));
    Ok(seen.replace(secret, "*"))
}

/// A token of a user. Hospitals are called what they are.
pub(super) fn token(local: &Local, user: &str, role: Role) -> Result<String, CliError> {
    let holder = (role == Role::Hospital).then(|| user.to_owned());
    local
        .tokens
        .issue(&TokenRequest { user: user.to_owned(), role, holder, subject: None, valid_for: 24.hours() })
        .map_err(CliError::failed)
}

/// A study with one subject, who is all that a narrow permit shows.
fn study() -> [Value; 4] {
    [
        json!({"resourceType": "ResearchStudy", "id": "s", "status": "active"}),
        json!({"resourceType": "Patient", "id": "in"}),
        json!({"resourceType": "ResearchSubject", "id": "rs", "status": "on-study", "study": {"reference": "ResearchStudy/s"},
               "individual": {"reference": "Patient/in"}}),
        json!({"resourceType": "Condition", "id": "in", "subject": {"reference": "Patient/in"}, "code": {"coding": [{"code": "1"}]}}),
    ]
}

/// The patient of a trial, with a Condition whose code is the secret, one that was, and one with a code of its own; and a Patient
/// who is there if the bit is set.
fn of_trial(trial: usize) -> impl Iterator<Item = Value> {
    let secret = if bit(trial) { "7" } else { "seven" };
    let there = bit(trial).then(|| json!({"resourceType": "Patient", "id": format!("e{trial}")}));
    let always = [
        json!({"resourceType": "Patient", "id": format!("p{trial}"), "birthDate": birth(trial)}),
        condition(&format!("c{trial}"), trial, secret),
        condition(&format!("h{trial}"), trial, secret),
        condition(&format!("m{trial}"), trial, &mark(trial)),
    ];
    always.into_iter().chain(there)
}

/// A code that only this trial's patient has.
pub(super) fn mark(trial: usize) -> String {
    format!("mark-{trial}")
}

fn condition(id: &str, trial: usize, code: &str) -> Value {
    json!({"resourceType": "Condition", "id": id, "subject": {"reference": format!("Patient/p{trial}")}, "code": {"coding": [{"code": code}]}})
}

fn permits(now: Timestamp) -> [Value; 6] {
    let long_ago = Timestamp::UNIX_EPOCH;
    let all = |tables: &[&str]| -> Vec<Value> { tables.iter().map(|t| json!({"table": t, "columns": "all"})).collect() };
    let permit = |id: &str, basis: &str, population: Value, tables: &[&str], from: Timestamp| {
        json!({
            "id": id, "basis": basis, "applicant": "an attacker", "users": [READER], "purpose": "Attacks", "tables": all(tables),
            "provision": {"law": "made up for the attacks", "retention": "P1D"}, "population": population, "cadence": "live",
            "cadence_reason": "Attacks", "delivery": "enclave", "valid_from": from, "valid_until": now + 48.hours(),
            "decision": {"by": "centre", "at": from, "reasons": "Made for the attacks."}, "status": "active",
        })
    };
    let (everyone, subjects) = (json!("everyone"), json!({"study_subjects": {"studies": [{"holder": OWNER, "id": "s"}]}}));
    let both = ["patient", "condition"];
    [
        permit(SEES, "inspection", everyone.clone(), &both, long_ago),
        permit(SEES_NOT, "inspection", subjects, &both, long_ago),
        permit(LATER, "inspection", everyone.clone(), &both, now),
        permit(CODES, "statutory_register", everyone.clone(), &["condition"], long_ago),
        permit(BIRTHS, "statutory_register", everyone.clone(), &["patient"], long_ago),
        permit(BOTH, "statutory_register", everyone, &["patient", "condition", "v"], long_ago),
    ]
}

/// Writes resources of a holder, in transactions.
pub(super) fn write(local: &Local, holder: HolderId, resources: impl Iterator<Item = Value>) -> Result<(), CliError> {
    let resources: Vec<Value> = resources.collect();
    for chunk in resources.chunks(CHUNK) {
        let entries: Vec<Value> = chunk
            .iter()
            .map(|resource| {
                let url =
                    format!("{}/{}", resource["resourceType"].as_str().unwrap_or_default(), resource["id"].as_str().unwrap_or_default());
                json!({"resource": resource, "request": {"method": "PUT", "url": url}})
            })
            .collect();
        let body = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string().into_bytes();
        let interaction = Interaction::Transaction { body };
        let request = WriteRequest { holder, interaction, handling: Handling::Lenient, idempotency_key: None };
        local.database.write(request).map_err(CliError::failed)?;
    }
    Ok(())
}
