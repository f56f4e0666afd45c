//! A batch: each entry is a commit or a read of its own, answered for itself, in the order of the entries.

use super::answer::{self, BundleWriter};
use super::auth::Hospital;
use super::fhir::{Of, Reader};
use super::headers::{DUGNAD_COMMIT, Preferences, Return, value};
use super::interaction::{self, Action, BatchEntry};
use super::{ApiError, App};
use crate::limits::{BATCH_PARALLEL, MAX_ANSWER_BYTES};
use axum::body::Body;
use axum::http::{Response, StatusCode};
use dugnad_kernel::database::{Handling, Interaction, WriteRequest};
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::Commit;
use futures::future::join_all;
use std::collections::HashSet;
use tokio::sync::OwnedSemaphorePermit;

/// A batch that was received.
pub struct Batch {
    /// Who sent it.
    pub hospital: Hospital,
    /// What it prefers.
    pub preferences: Preferences,
    /// Each entry's key is this one and the entry's number.
    pub idempotency_key: Option<String>,
    /// The oldest commit that its reads accept; waited for already.
    pub commit: Option<Commit>,
    /// The address of `/fhir`, for links.
    pub base: String,
}

/// An entry's answer.
struct Done {
    members: serde_json::Value,
    resource: Option<Vec<u8>>,
    commit: Option<Commit>,
}

impl Batch {
    /// Runs the entries, to the end even if the caller's connection breaks.
    pub async fn run(self, app: App, body: Vec<u8>, claim: Option<OwnedSemaphorePermit>) -> Result<Response<Body>, ApiError> {
        let entries = interaction::batch_entries(&body)?;
        drop(body);
        let whole = tokio::spawn(async move {
            let _claim = claim;
            self.run_all(&app, entries).await
        });
        whole.await.unwrap_or_else(|_| Err(ApiError::internal("a batch panicked")))
    }

    async fn run_all(&self, app: &App, entries: Vec<BatchEntry>) -> Result<Response<Body>, ApiError> {
        let mut bundle = BundleWriter::new("batch-response");
        let mut newest = self.commit;
        for (first, chunk) in chunks(entries) {
            let running = chunk.into_iter().enumerate().map(|(n, entry)| self.run_one(app, first + n, entry, bundle.len()));
            for done in join_all(running).await {
                newest = newest.max(done.commit);
                bundle.entry(&done.members, done.resource.as_deref());
            }
        }
        let commit = newest.unwrap_or_else(|| app.database().snapshot().commit());
        let mut response = answer::fhir(StatusCode::OK, bundle.finish());
        response.headers_mut().insert(DUGNAD_COMMIT, value(&commit.to_string()));
        Ok(response)
    }

    async fn run_one(&self, app: &App, number: usize, entry: BatchEntry, answered: usize) -> Done {
        let result = match entry {
            Err(error) => Err(error), // its places are those of the Bundle already
            Ok(Action::Write(interaction)) => self.write(app, number, interaction).await.map_err(|e| interaction::placed(e, number)),
            Ok(_) if answered > MAX_ANSWER_BYTES => Err(too_large()),
            Ok(read) => self.read(app, read).await,
        };
        result.unwrap_or_else(|error| Done { members: answer::entry_error(&error), resource: None, commit: None })
    }

    async fn write(&self, app: &App, number: usize, interaction: Interaction) -> Result<Done, ApiError> {
        let place = app.enter_writes().await?;
        let (hospital, handling) = (self.hospital.clone(), self.preferences.handling.unwrap_or_default());
        let wanted = self.preferences.answer.unwrap_or(Return::Minimal);
        let idempotency_key = self.idempotency_key.as_ref().map(|key| format!("{key}/{number}"));
        app.on_thread(place, move |app| {
            let holder = app.holder_for_writing(&hospital.holder)?.id;
            let request = WriteRequest { holder, interaction, handling, idempotency_key };
            let outcome = app.write_recorded(&hospital.who, request, "POST /fhir (batch entry)")?;
            let Some(entry) = outcome.entries.first() else {
                let said = answer::information("taken before under the same Idempotency-Key; nothing has changed");
                let members = serde_json::json!({"response": {"status": "200 OK", "outcome": dugnad_kernel::fhir::issue::operation_outcome(&[said])}});
                return Ok(Done { members, resource: None, commit: Some(outcome.commit) });
            };
            let resource = if wanted == Return::Representation { answer::representation(app, holder, entry)? } else { None };
            let resource = resource.filter(|json| hospital.sees(&entry.resource_type, json));
            Ok(Done { members: answer::entry_response(entry, outcome.time, wanted), resource, commit: Some(outcome.commit) })
        })
        .await
    }

    async fn read(&self, app: &App, action: Action) -> Result<Done, ApiError> {
        let place = app.enter_reads().await?;
        let strict = self.preferences.handling == Some(Handling::Strict);
        let reader = Reader { hospital: self.hospital.clone(), base: self.base.clone(), strict, commit: None };
        app.on_thread(place, move |app| {
            let found = reader.read(app, action)?;
            Ok(Done { members: answer::entry_read(&found), resource: Some(found.body), commit: Some(found.commit) })
        })
        .await
    }
}

/// The answer is full.
pub fn too_large() -> ApiError {
    let what = "the answers to this batch's earlier entries fill the answer; read the rest in another batch";
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, IssueType::TooCostly, what)
}

/// Runs of entries that may run at once: no two of a run touch the same address, and what searches is not in one with what
/// writes, so that each sees what those before it in the batch did, and nothing of those after it.
fn chunks(entries: Vec<BatchEntry>) -> Vec<(usize, Vec<BatchEntry>)> {
    let mut all: Vec<(usize, Vec<BatchEntry>)> = Vec::new();
    let mut touched: HashSet<String> = HashSet::new();
    let (mut writes, mut looks) = (false, false);
    for (number, entry) in entries.into_iter().enumerate() {
        let address = entry.as_ref().ok().and_then(address);
        let is_write = matches!(entry, Ok(Action::Write(_)));
        let is_search = entry.as_ref().is_ok_and(searches);
        let clash = address.as_ref().is_some_and(|a| touched.contains(a)) || is_write && looks || is_search && writes;
        match all.last_mut() {
            Some((_, chunk)) if chunk.len() < BATCH_PARALLEL && !clash => chunk.push(entry),
            _ => {
                all.push((number, vec![entry]));
                touched.clear();
                (writes, looks) = (false, false);
            }
        }
        touched.extend(address);
        (writes, looks) = (writes || is_write, looks || is_search);
    }
    all
}

/// Whether an entry looks for resources by what they hold. An id or an identifier names what is touched.
fn searches(action: &Action) -> bool {
    let named = |pair: &str| matches!(pair.split('=').next(), Some("_id" | "identifier"));
    match action {
        Action::Search { .. } | Action::History { of: Of::System | Of::Type(_), .. } => true,
        Action::Write(
            Interaction::UpdateMatching { query, .. }
            | Interaction::PatchMatching { query, .. }
            | Interaction::DeleteMatching { query, .. },
        )
        | Action::Write(Interaction::Create { if_none_exist: Some(query), .. }) => !query.split('&').all(named),
        _ => false,
    }
}

/// What an entry touches; a plain create touches nothing that is there.
fn address(action: &Action) -> Option<String> {
    match action {
        Action::Search { .. } | Action::History { of: Of::System | Of::Type(_), .. } => None,
        Action::Read { resource_type, id, .. }
        | Action::History { of: Of::Instance(resource_type, id), .. }
        | Action::Write(
            Interaction::Update { resource_type, id, .. }
            | Interaction::Patch { resource_type, id, .. }
            | Interaction::Delete { resource_type, id, .. },
        ) => Some(format!("{resource_type}/{id}")),
        Action::Write(
            Interaction::UpdateMatching { resource_type, query, .. }
            | Interaction::PatchMatching { resource_type, query, .. }
            | Interaction::DeleteMatching { resource_type, query },
        )
        | Action::Write(Interaction::Create { resource_type, if_none_exist: Some(query), .. }) => Some(format!("{resource_type}?{query}")),
        Action::Write(Interaction::Create { if_none_exist: None, .. } | Interaction::Transaction { .. } | Interaction::OptOut { .. }) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::search::Place;

    fn put(id: &str) -> BatchEntry {
        Ok(Action::Write(Interaction::Update { resource_type: "Patient".into(), id: id.into(), body: Vec::new(), if_match: None }))
    }

    #[test]
    fn entries_on_one_resource_keep_their_order() {
        let read = Ok(Action::Read { resource_type: "Patient".into(), id: "1".into(), version: None });
        let runs: Vec<(usize, usize)> =
            chunks(vec![put("1"), put("2"), put("1"), read, put("3")]).iter().map(|(n, c)| (*n, c.len())).collect();
        assert_eq!(runs, [(0, 2), (2, 1), (3, 2)]);
    }

    #[test]
    fn a_search_sees_what_was_written_before_it_and_nothing_after() {
        let search = || Ok(Action::Search { place: Place::System, query: String::new() });
        let runs: Vec<(usize, usize)> =
            chunks(vec![put("1"), put("2"), search(), search(), put("3")]).iter().map(|(n, c)| (*n, c.len())).collect();
        assert_eq!(runs, [(0, 2), (2, 2), (4, 1)]);
        let matching =
            |query: &str| Ok(Action::Write(Interaction::DeleteMatching { resource_type: "Patient".into(), query: query.into() }));
        let runs = chunks(vec![put("1"), matching("identifier=a"), matching("name=b"), matching("name=c"), put("2")]);
        assert_eq!(runs.iter().map(|(n, c)| (*n, c.len())).collect::<Vec<_>>(), [(0, 2), (2, 1), (3, 1), (4, 1)]);
    }

    #[test]
    fn a_run_is_bounded() {
        let all = chunks((0..100).map(|n| put(&n.to_string())).collect());
        assert!(all.iter().all(|(_, c)| c.len() <= BATCH_PARALLEL));
        assert_eq!(all.iter().map(|(_, c)| c.len()).sum::<usize>(), 100);
    }
}
