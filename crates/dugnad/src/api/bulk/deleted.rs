//! What an export says of deletions: for a client that keeps a copy, what to take out of it.
//!
//! A file of Bundles of type transaction, one for each resource, whose only entry deletes it. What a resource was before its deletion says
//! whom it was about; which of the searches of `_typeFilter` it matched, nobody asks any more.

use super::files::{Files, Lines, Output};
use super::job::Job;
use crate::api::exports::Folder;
use crate::api::{ApiError, App};
use dugnad_kernel::ids::{HolderId, ResourceOrdinal};
use dugnad_kernel::limits::{MAX_SEARCH_PAGE, SEARCH_TIME};
use dugnad_kernel::live::Snapshot;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Writes what was deleted since the time that was asked for, and is not there.
pub(super) async fn write(app: &App, job: &Arc<Job>, snapshot: &Snapshot, folder: &Arc<Folder>) -> Result<Vec<Output>, ApiError> {
    let (Some(holder), Some(span)) = (job.holder, job.deletions) else { return Ok(Vec::new()) };
    let mut files = Files::new(folder, "Bundle", true);
    for name in job.types.iter().filter(|of| of.whole).map(|of| of.resource_type) {
        let (place, seen) = (app.enter_reads().await?, snapshot.clone());
        let found =
            app.on_thread(place, move |app| Ok(app.database().deleted(&seen, holder, name, span, Instant::now() + SEARCH_TIME)?)).await?;
        for some in found.chunks(MAX_SEARCH_PAGE) {
            let (place, job, seen, some) = (app.enter_reads().await?, Arc::clone(job), snapshot.clone(), some.to_vec());
            let lines = app.on_thread(place, move |app| lines(app, &job, &seen, holder, name, &some)).await?;
            files.append(lines).await?;
        }
    }
    files.finish().await
}

fn lines(
    app: &App,
    job: &Job,
    snapshot: &Snapshot,
    holder: HolderId,
    resource_type: &str,
    resources: &[ResourceOrdinal],
) -> Result<Lines, ApiError> {
    let mut lines = Lines::default();
    for deleted in app.database().last_of(snapshot, holder, resource_type, resources)? {
        if !job.whose.has(&deleted.last)? {
            continue;
        }
        let request = json!({"method": "DELETE", "url": format!("{resource_type}/{}", deleted.id)});
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [{"request": request}]});
        lines.bytes.extend_from_slice(bundle.to_string().as_bytes());
        lines.bytes.push(b'\n');
        lines.count += 1;
        let patients = app.database().patients_named(holder, resource_type, &deleted.id, [deleted.last.as_slice()])?;
        lines.patients.extend(patients.into_iter().map(|patient| patient.0));
    }
    Ok(lines)
}
