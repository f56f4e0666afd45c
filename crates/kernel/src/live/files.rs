//! The segment files of a process: written under names that are never given out twice, removed once nobody needs them.

use super::ends::Ends;
use super::file::{self, Contents};
use super::schema::TableSchema;
use super::segment::{Attached, Segment};
use super::table::LiveTable;
use crate::disk::Folder;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The segment files that this process has written.
pub struct SegmentFiles {
    folder: Folder,
    next: AtomicU64,
    /// By name; without a segment while it is being written.
    written: Mutex<HashMap<String, Option<Weak<Segment>>>>,
}

impl SegmentFiles {
    /// Files in a folder, of which the first to be written gets the number `next`.
    pub(super) fn new(folder: Folder, next: u64) -> Self {
        Self { folder, next: AtomicU64::new(next), written: Mutex::default() }
    }

    /// Where they are.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The number of the next one.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Stores the full segments of a table that is being built, here and now, so that it does not grow in memory.
    pub fn store_now(&self, table: &mut LiveTable) -> Result<(), String> {
        for segment in table.take_full() {
            let stored = self.store(table.schema(), &segment).map_err(|e| e.to_string())?;
            table.replace_stored(&segment, stored);
        }
        Ok(())
    }

    /// Writes a segment to a file of its own.
    pub(super) fn store(&self, schema: &TableSchema, segment: &Segment) -> io::Result<Arc<Segment>> {
        let contents = segment.contents(schema).map_err(|e| io::Error::other(e.to_string()))?;
        self.write(schema, &contents, Arc::clone(segment.ends()), Arc::clone(segment.attached()))
    }

    pub(super) fn write(&self, schema: &TableSchema, contents: &Contents, ends: Arc<Ends>, attached: Attached) -> io::Result<Arc<Segment>> {
        let name = format!("{:010}.segment", self.next.fetch_add(1, Ordering::Relaxed));
        self.written().insert(name.clone(), None); // before it is there, so that nobody takes it for one that is left over
        match file::write(&self.folder, &name, schema, contents) {
            Ok(file) => {
                let segment = Arc::new(Segment::stored(file, ends, attached));
                self.written().insert(name, Some(Arc::downgrade(&segment)));
                Ok(segment)
            }
            Err(error) => {
                // What there is of it is left over: the next checkpoint removes it, if this cannot.
                self.written().remove(&name);
                let _ = self.folder.remove(&name);
                Err(error)
            }
        }
    }

    fn written(&self) -> MutexGuard<'_, HashMap<String, Option<Weak<Segment>>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are in use: being built or merged, or read by somebody.
    pub(super) fn in_use(&self) -> Vec<String> {
        let mut written = self.written();
        written.retain(|_, segment| segment.as_ref().is_none_or(|s| s.strong_count() > 0));
        written.keys().cloned().collect()
    }
}

/// Removes the segment files that are not among `named`, and what an interrupted replacement has left.
pub(super) fn remove_unnamed(folder: &Folder, named: &HashSet<String>) -> io::Result<()> {
    for name in folder.names()? {
        let segment = name.strip_suffix(".ends").unwrap_or(&name);
        let ours = segment.ends_with(".segment") || name.ends_with(".new");
        if ours && !named.contains(segment) {
            folder.remove(&name)?;
        }
    }
    Ok(())
}
