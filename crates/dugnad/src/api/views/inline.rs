//! A view that is not registered, over what is stored: for whoever may see whole resources.
//!
//! Which resources those are is a question under the permit like any other, over the built-in table of their type, so that guard,
//! record, population, cadence and revocation are those of `POST /sql`. Each resource is read as it was at the answer's commit, and
//! the view is run on it.

use super::{Answer, run};
use crate::api::parameters::unsupported;
use crate::api::sql::streamed_chunks;
use crate::api::{ApiError, App};
use crate::query::format::rows::Rows;
use crate::query::format::{Format, encode};
use crate::query::{Basis, Question};
use bumpalo::Bump;
use bytes::Bytes;
use dugnad_kernel::database::builtin_table;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::fhir::json;
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_kernel::permit::{Permit, Population, Tables};
use dugnad_kernel::views::View;
use dugnad_sql::QueryError;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use serde::Deserialize;
use std::collections::HashMap;

/// Whether whole resources may be seen under a permit: with their identifiers, all tables of them, and each as it stands. (Of who has
/// withdrawn from a study, rows stand as they stood.)
fn opens_resources(permit: &Permit) -> bool {
    let as_it_stands = matches!(permit.population(), Population::Everyone | Population::OwnPatients { .. });
    permit.identified() && as_it_stands && matches!(permit.document().tables, Tables::All)
}

/// Runs a view; `question` says who asks, under which permit and as of when.
pub async fn answered(app: &App, question: Question, definition: &[u8], patients: &[String], limit: Option<u64>, format: Format) -> Answer {
    let permit = app.query().permit(&question.who, &question.permit)?;
    if !opens_resources(&permit) {
        return Err(unsupported("viewResource", run::UNREGISTERED));
    }
    let wrong = |e: serde_json::Error| ApiError::bad_request(IssueType::Structure, e.to_string()).at("ViewDefinition");
    let view = View::compile(&serde_json::from_slice(definition).map_err(wrong)?)?;
    let table = builtin_table(view.resource_type()).ok_or_else(|| {
        let what = format!("{} has no built-in table to find its resources by; the centre can register the view", view.resource_type());
        ApiError::bad_request(IssueType::NotSupported, what).at("ViewDefinition.resource")
    })?;
    let sql = run::rows_of(app, &permit, "holder, resource_id", table, patients, None)?;
    let rows = Rows::new(format, view.columns())?.at_most(limit.unwrap_or(u64::MAX), usize::MAX);
    let answer = app.query().ask(Question { sql, ..question }).await?;
    let (basis, id) = (answer.basis.clone(), answer.id.clone());
    let Basis::Commit(commit) = basis else { return Err(ApiError::internal("rows of an epoch")) };
    let holders = app.database().holders().into_iter().map(|holder| (holder.name, holder.id)).collect();
    let work = Work { app: app.clone(), view, rows, most: limit.unwrap_or(u64::MAX), commit, holders, unread: Vec::new(), last: None };
    streamed_chunks(chunks(encode(answer, Format::Ndjson), Box::new(work)), basis, &id, format).await
}

type Chunks = BoxStream<'static, Result<Bytes, QueryError>>;

/// The rows of the resources whose ids come.
fn chunks(ids: Chunks, work: Box<Work>) -> Chunks {
    let more = |state: Option<(Chunks, Box<Work>)>| async move {
        let Some((mut ids, mut work)) = state else { return Ok(None) };
        loop {
            let Some(found) = ids.next().await.transpose()? else {
                return Ok(Some((Bytes::from(work.rows.finish()?), None)));
            };
            let run = move || work.take(&found).map(|out| (work, out));
            let out;
            (work, out) = tokio::task::spawn_blocking(run).await.map_err(|e| QueryError::Internal(e.to_string()))??;
            if work.rows.count() >= work.most {
                let rest = work.rows.finish()?;
                return Ok(Some((Bytes::from([out.unwrap_or_default(), rest].concat()), None)));
            }
            if let Some(out) = out {
                return Ok(Some((Bytes::from(out), Some((ids, work)))));
            }
        }
    };
    stream::try_unfold(Some((ids, work)), more).boxed()
}

/// A run under way.
struct Work {
    app: App,
    view: View,
    rows: Rows,
    most: u64,
    commit: Commit,
    holders: HashMap<String, HolderId>,
    /// The beginning of a line whose rest has not come.
    unread: Vec<u8>,
    /// The resource that was read last: its rows in a table follow one another.
    last: Option<Id>,
}

#[derive(PartialEq, Deserialize)]
struct Id {
    holder: String,
    resource_id: String,
}

impl Work {
    /// Runs the view on the resources of some lines; what is worth handing on. Blocks.
    fn take(&mut self, lines: &[u8]) -> Result<Option<Vec<u8>>, QueryError> {
        self.unread.extend_from_slice(lines);
        let end = self.unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole: Vec<u8> = self.unread.drain(..end).collect();
        let internal = |e: &dyn std::fmt::Display| QueryError::Internal(e.to_string());
        let mut arena = Bump::new();
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let id: Id = serde_json::from_slice(line).map_err(|e| internal(&e))?;
            if self.last.as_ref() == Some(&id) {
                continue;
            }
            let Some(holder) = self.holders.get(&id.holder) else { continue };
            let kind = self.view.resource_type();
            let stored = self.app.database().read_at(*holder, kind, &id.resource_id, self.commit).map_err(|e| internal(&e))?;
            if let Some(resource) = stored.and_then(|version| version.json) {
                let resource = json::parse(&resource, &arena).map_err(|e| internal(&e))?;
                let failed = |e| QueryError::Refused(format!("the view cannot be run on {kind}/{}: {e}", id.resource_id));
                self.rows.run(&self.view, resource, &arena).map_err(failed)?;
            }
            arena.reset();
            if self.rows.count() >= self.most {
                break;
            }
            self.last = Some(id);
        }
        self.rows.take()
    }
}
