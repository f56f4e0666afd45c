//! The files of releases: `releases/ID/` in the database's folder, the owner's only.

use super::absent;
use crate::access::private_file;
use crate::api::desk::RELEASE;
use crate::api::{ApiError, App};
use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use dugnad_kernel::database::Database;
use dugnad_kernel::permit::procedure::ProcedureError;
use dugnad_kernel::permit::release::{Document, MANIFEST, Release, ReleaseState, digest};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The folder of all releases, in that of the database.
const FOLDER: &str = "releases";

fn folder(data: &Path, id: &str) -> PathBuf {
    data.join(FOLDER).join(id)
}

fn lost(error: &io::Error) -> ApiError {
    ApiError::internal(&format!("the files of a release: {error}"))
}

/// Writes files of a release, each whole or not at all; durable on return.
pub fn write(data: &Path, id: &str, files: &[(&str, &[u8])]) -> Result<(), ApiError> {
    let write_all = || {
        let folder = folder(data, id);
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder)?;
        for (name, bytes) in files {
            let unfinished = folder.join(format!("{name}.unfinished"));
            let mut file = private_file().create(true).truncate(true).open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, folder.join(name))?;
        }
        for folder in [folder.as_path(), &data.join(FOLDER), data] {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    write_all().map_err(|e| lost(&e))
}

/// The bytes of a file as they were checked: `None` if they are gone, or are others.
pub fn read(data: &Path, document: &Document, name: &str) -> Option<Vec<u8>> {
    let expected = document.files.iter().find(|file| file.name == name)?;
    let bytes = fs::read(folder(data, &document.id).join(name)).ok()?;
    (digest(name, &expected.media_type, &bytes) == *expected).then_some(bytes)
}

/// Refuses a release whose bytes are not those that were checked.
pub fn check_whole(data: &Path, release: &Release) -> Result<(), ProcedureError> {
    let document = release.document();
    if document.files.iter().all(|file| read(data, document, &file.name).is_some()) {
        return Ok(());
    }
    let what = "the files are not those that were checked, or were removed because a person was erased since; reject it and have it asked for again";
    Err(ProcedureError::State(what.to_owned()))
}

/// A file as an answer. The caller has looked whether it may be given.
pub fn bytes_of(app: &App, release: &Release, name: &str) -> Result<Response<Body>, ApiError> {
    let document = release.document();
    let (bytes, media_type) = match document.files.iter().find(|file| file.name == name) {
        Some(file) => {
            let bytes = read(app.data(), document, name).ok_or_else(|| lost(&io::Error::other("they are not what was checked")))?;
            (bytes, file.media_type.clone())
        }
        None if name == MANIFEST && release.state() == ReleaseState::Approved => {
            let bytes = fs::read(folder(app.data(), &document.id).join(MANIFEST)).map_err(|e| lost(&e))?;
            (bytes, "text/plain; charset=utf-8".to_owned())
        }
        None => return Err(absent()),
    };
    let mut response = Response::new(Body::from(bytes));
    let media_type = HeaderValue::from_str(&media_type).unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

/// Removes the files of a release that is not let out.
pub fn remove(data: &Path, id: &str) {
    match fs::remove_dir_all(folder(data, id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, release = id, "the files of a release could not be removed; the next start tries again");
        }
        _ => {}
    }
}

/// Removes the files of requests that wait: they may hold a person who was just erased.
pub fn remove_waiting(data: &Path, database: &Database) {
    each(data, database, |id, state| {
        if state != Some(ReleaseState::Approved) {
            remove(data, id);
        }
    });
}

/// Removes, in a database's folder whose lock the caller holds, what a crash has left of releases that were not let out.
pub fn sweep(data: &Path, database: &Database) {
    each(data, database, |id, state| {
        if !matches!(state, Some(ReleaseState::Approved | ReleaseState::Requested)) {
            remove(data, id);
        }
    });
}

/// Every folder of a release, and where the release stands; `None` if there is no such release.
fn each(data: &Path, database: &Database, mut act: impl FnMut(&str, Option<ReleaseState>)) {
    let Ok(entries) = fs::read_dir(data.join(FOLDER)) else { return };
    for entry in entries.flatten() {
        let Ok(id) = entry.file_name().into_string() else { continue };
        match database.document(RELEASE, &id) {
            Ok(document) => act(&id, document.and_then(|d| Release::parse(&d.json).ok()).map(|release| release.state())),
            Err(error) => tracing::warn!(%error, release = id, "a release cannot be read; its files are left alone"),
        }
    }
}
