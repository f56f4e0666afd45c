//! The files of exports: the owner's only, within a bound on all of them, fetched on the record.

use super::job::{Job, Progress, standing};
use super::{Answer, absent};
use crate::access::{Principal, private_file};
use crate::api::headers::{DUGNAD_COMMIT, value};
use crate::api::{ApiError, App};
use crate::limits::{EXPORT_CHUNK_BYTES, MAX_EXPORTS_BYTES};
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use dugnad_kernel::audit::{Act, Entry};
use dugnad_kernel::fhir::issue::IssueType;
use futures::stream;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder of one export. It goes when nobody holds it any more.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    bytes: AtomicU64,
    /// Those of all exports.
    all: Arc<AtomicU64>,
}

impl Folder {
    /// Makes the folder `id` in `root`.
    pub fn make(root: &Path, id: &str, all: Arc<AtomicU64>) -> io::Result<Self> {
        let path = root.join(id);
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self { path, bytes: AtomicU64::new(0), all })
    }

    /// A new file in it.
    pub fn create(self: &Arc<Self>, name: &str) -> Result<Written, ApiError> {
        let file = private_file().create_new(true).open(self.path.join(name)).map_err(|e| lost(&e))?;
        Ok(Written { file, folder: Arc::clone(self) })
    }

    fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }

    fn claim(&self, bytes: usize) -> Result<(), ApiError> {
        let bytes = bytes as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.all.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_EXPORTS_BYTES {
            return Ok(());
        }
        let what = "the exports that are kept have no room for more; DELETE those whose files you have, or export less";
        Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, IssueType::TooCostly, what))
    }

    /// Removes what is in it.
    pub fn clear(&self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, "the files of an export could not be removed");
        }
        self.all.fetch_sub(self.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.path.exists() {
            self.clear();
        }
    }
}

fn lost(error: &io::Error) -> ApiError {
    ApiError::internal(&format!("the file of an export: {error}"))
}

/// A file that is being written.
pub struct Written {
    file: File,
    folder: Arc<Folder>,
}

impl Written {
    /// Appends, on a thread that may block.
    pub async fn append(mut self, chunk: Bytes) -> Result<Self, ApiError> {
        self.folder.claim(chunk.len())?;
        blocking(move || self.file.write_all(&chunk).map(|()| self)).await
    }

    /// Puts it on the disk.
    pub async fn finish(self) -> Result<(), ApiError> {
        blocking(move || self.file.sync_all()).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|e| lost(&e)),
        Err(_) => Err(ApiError::internal("a worker thread panicked")),
    }
}

/// Hands out a file.
///
/// Order: the intent and the completion, which counts all its rows as delivered, are durable, then the first byte goes out. A
/// transfer that breaks off has delivered fewer, never more.
pub async fn fetched(app: App, who: Principal, job: Arc<Job>, name: String) -> Answer {
    let Progress::Done { commit, written, under, .. } = job.progress() else { return Err(absent()) };
    if !standing(&app, &who, &job.permit).await?.allows(&under) {
        // Whoever has opted out since is in the files, or the permit says something else now.
        app.exports().remove(&job.id);
        return Err(outdated());
    }
    let at = job.outputs.iter().position(|o| job.file_name(o) == name).ok_or_else(absent)?;
    let folder = app.exports().folder(&job.id).ok_or_else(absent)?;
    let purpose = app.query().permit(&who, &job.permit)?.document().purpose.clone();
    let describe = |e: &mut Entry| {
        e.interface = Some("export".to_owned());
        e.permit = Some(job.permit.clone());
        e.purpose = Some(purpose.clone());
        e.request = job.outputs.get(at).map(|o| format!("fetch of the export of: {}", o.sql));
        e.commit = commit.map(|c| c.0);
    };
    app.check_log()?;
    let access = app.audit().begin_then(&app.entry(Act::Intent, &who, describe), Box::new(drop));
    let written = written.get(at);
    let (file, held) = (folder.open(&name).map_err(|e| lost(&e)), Arc::clone(&folder));
    let completion = app.entry(Act::Completion, &who, |e| {
        describe(e);
        e.request = None;
        e.rows = Some(written.filter(|_| file.is_ok()).map_or(0, |written| written.rows));
        e.outcome = Some(if file.is_ok() { "ok" } else { "failed" }.to_owned());
    });
    let patients = written.and_then(|written| written.patients.as_ref()).filter(|_| file.is_ok());
    app.complete(access, &completion, patients).await?;
    let still = Still { app: app.clone(), who: who.clone(), permit: job.permit.clone() };
    let mut response = Response::new(Body::from_stream(chunks(file?, held, still)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(job.format.content_type()));
    if let Some(commit) = commit {
        response.headers_mut().insert(DUGNAD_COMMIT, value(&commit.to_string()));
    }
    Ok(response)
}

fn outdated() -> ApiError {
    let what = "the permit was changed, or somebody in these files has opted out, since they were written; export again";
    ApiError::new(StatusCode::GONE, IssueType::Deleted, what)
}

/// The right to a file, asked for again with each chunk.
struct Still {
    app: App,
    who: Principal,
    permit: String,
}

/// A file's bytes. `folder` is held so long.
fn chunks(file: File, folder: Arc<Folder>, still: Still) -> impl stream::Stream<Item = Result<Bytes, ApiError>> {
    stream::try_unfold((file, folder, still), |(file, folder, still)| async move {
        still.app.query().permit(&still.who, &still.permit)?;
        let (file, chunk) = blocking(move || {
            let mut chunk = Vec::with_capacity(EXPORT_CHUNK_BYTES);
            (&file).take(EXPORT_CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            Ok((file, chunk))
        })
        .await?;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), (file, folder, still))))
    })
}
