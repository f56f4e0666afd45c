//! The files of exports: the owner's only, within a bound on all of them.

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
