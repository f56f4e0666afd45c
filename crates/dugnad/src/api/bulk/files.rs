//! The files of an export: lines of one type each, in pieces that a client can fetch again.

use crate::api::ApiError;
use crate::api::exports::{File, Folder};
use crate::limits::BULK_FILE_BYTES;
use bytes::Bytes;
use roaring::RoaringBitmap;
use std::sync::Arc;

/// A file of an export.
#[derive(Clone, Debug)]
pub struct Output {
    pub resource_type: &'static str,
    /// Whether it says what was deleted.
    pub deleted: bool,
    /// Its name.
    pub name: String,
    /// How many resources are in it.
    pub count: u64,
    /// Whom they are about.
    pub patients: Arc<RoaringBitmap>,
}

/// Some lines of a file.
#[derive(Default)]
pub struct Lines {
    pub bytes: Vec<u8>,
    pub count: u64,
    pub patients: RoaringBitmap,
}

/// The files of a type: another one where one is full.
pub struct Files<'f> {
    folder: &'f Arc<Folder>,
    resource_type: &'static str,
    deleted: bool,
    open: Option<(File, Output, RoaringBitmap, u64)>,
    done: Vec<Output>,
}

impl<'f> Files<'f> {
    /// Those of a type, or those that say what was `deleted`.
    pub fn new(folder: &'f Arc<Folder>, resource_type: &'static str, deleted: bool) -> Self {
        Self { folder, resource_type, deleted, open: None, done: Vec::new() }
    }

    fn next(&self) -> Result<(File, Output), ApiError> {
        let (resource_type, deleted) = (self.resource_type, self.deleted);
        let name = format!("{}.{}.ndjson", if deleted { "deleted" } else { resource_type }, self.done.len() + 1);
        Ok((self.folder.create(&name)?, Output { resource_type, deleted, name, count: 0, patients: Arc::default() }))
    }

    pub async fn append(&mut self, lines: Lines) -> Result<(), ApiError> {
        if lines.count == 0 {
            return Ok(());
        }
        if self.open.as_ref().is_some_and(|(.., bytes)| *bytes >= BULK_FILE_BYTES) {
            self.close().await?;
        }
        let (file, mut output, mut patients, bytes) = match self.open.take() {
            Some(open) => open,
            None => self.next().map(|(file, output)| (file, output, RoaringBitmap::new(), 0))?,
        };
        let length = lines.bytes.len() as u64;
        let file = file.append(Bytes::from(lines.bytes)).await?;
        output.count += lines.count;
        patients |= lines.patients;
        self.open = Some((file, output, patients, bytes + length));
        Ok(())
    }

    async fn close(&mut self) -> Result<(), ApiError> {
        if let Some((file, output, patients, _)) = self.open.take() {
            file.finish().await?;
            self.done.push(Output { patients: Arc::new(patients), ..output });
        }
        Ok(())
    }

    pub async fn finish(mut self) -> Result<Vec<Output>, ApiError> {
        self.close().await?;
        Ok(self.done)
    }
}
