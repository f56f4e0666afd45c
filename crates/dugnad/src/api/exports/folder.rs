//! The files of exports and imports: the owner's only, within a bound on all of them.

use crate::access::private_file;
use crate::api::ApiError;
use crate::limits::{EXPORT_CHUNK_BYTES, MAX_EXPORTS_BYTES};
use axum::http::StatusCode;
use bytes::Bytes;
use dugnad_kernel::fhir::issue::IssueType;
use futures::stream;
use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder of one job. It goes when nobody holds it any more.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    bytes: AtomicU64,
    /// Those of all jobs.
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
    pub fn create(self: &Arc<Self>, name: &str) -> Result<File, ApiError> {
        let file = private_file().create_new(true).open(self.path.join(name)).map_err(|e| lost(&e))?;
        Ok(File { file, folder: Arc::clone(self) })
    }

    /// A file in it, to be read.
    pub fn open(&self, name: &str) -> Result<fs::File, ApiError> {
        fs::File::open(self.path.join(name)).map_err(|e| lost(&e))
    }

    fn claim(&self, bytes: usize) -> Result<(), ApiError> {
        let bytes = bytes as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.all.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_EXPORTS_BYTES {
            return Ok(());
        }
        let what = "there is no room for more files of exports or imports; DELETE those that have ended and whose files you have";
        Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, IssueType::TooCostly, what))
    }

    /// Removes what is in it. Blocks.
    pub fn clear(&self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(%error, "the files of a job could not be removed"),
            _ => {}
        }
        self.all.fetch_sub(self.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The same, on a thread that may block.
    pub async fn cleared(self: &Arc<Self>) {
        let folder = Arc::clone(self);
        let cleared = tokio::task::spawn_blocking(move || folder.clear()).await;
        let _: Result<(), _> = cleared; // what could not be removed is in the log
    }
}

impl Drop for Folder {
    /// Its job has been removed, and the files with it; what a thread claimed after that is given back.
    fn drop(&mut self) {
        self.clear();
    }
}

fn lost(error: &io::Error) -> ApiError {
    ApiError::internal(&format!("the file of a job: {error}"))
}

/// A file that is being written.
pub struct File {
    file: fs::File,
    folder: Arc<Folder>,
}

impl File {
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

/// A file's bytes. `folder` is held so long; with each chunk `still` says whether it may go on.
pub fn chunks(
    file: fs::File,
    folder: Arc<Folder>,
    still: impl Fn() -> Result<(), ApiError> + Send,
) -> impl stream::Stream<Item = Result<Bytes, ApiError>> {
    stream::try_unfold((file, folder, still), |(file, folder, still)| async move {
        still()?;
        let (file, chunk) = blocking(move || {
            let mut chunk = Vec::with_capacity(EXPORT_CHUNK_BYTES);
            (&file).take(EXPORT_CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            Ok((file, chunk))
        })
        .await?;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), (file, folder, still))))
    })
}
