//! All live tables at one commit.

use super::schema::TableSchema;
use crate::ids::{Commit, HolderId};
use arrow::array::RecordBatch;
use jiff::Timestamp;
use roaring::RoaringBitmap;
use std::sync::Arc;

/// All live tables at one commit. Holding it costs nothing and stops nobody.
#[derive(Clone, Debug)]
pub struct Snapshot {
    commit: Commit,
    time: Timestamp,
    tables: Arc<[TableSnapshot]>,
}

/// One live table at one commit.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    schema: Arc<TableSchema>,
    at: Commit,
}

/// A part of a live table that is scanned in one go: at most [`crate::limits::SEGMENT_ROWS`] rows.
#[derive(Clone, Debug)]
pub struct Part {
    _private: (),
}

/// Which rows a reader may see. Rows outside do not exist.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// Only rows of these patients (`None`: of all).
    pub patients: Option<Arc<RoaringBitmap>>,
    /// Also rows about no patient (tables such as `research_study`).
    pub without_patient: bool,
    /// Only rows that this holder wrote.
    pub holder: Option<HolderId>,
}

impl Snapshot {
    /// The commit that is seen.
    pub fn commit(&self) -> Commit {
        self.commit
    }

    /// When that commit was made: `now()` of every query on this snapshot.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The live tables, in order of registration.
    pub fn tables(&self) -> &[TableSnapshot] {
        &self.tables
    }

    /// A live table by name.
    pub fn table(&self, name: &str) -> Option<&TableSnapshot> {
        self.tables.iter().find(|t| t.schema.name == name)
    }
}

impl TableSnapshot {
    /// Its schema.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// The commit that is seen.
    pub fn at(&self) -> Commit {
        self.at
    }

    /// Its parts, oldest commits first.
    pub fn parts(&self) -> Vec<Part> {
        todo!()
    }
}

impl Part {
    /// How many rows it holds, visible or not; an upper bound of what a scan returns.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The visible rows that pass `filter`, with the columns at `projection` (positions in
    /// [`TableSchema::columns`]) in that order, typed as [`super::schema::Storage::arrow`] says.
    pub fn scan(&self, _projection: &[usize], _filter: &RowFilter) -> RecordBatch {
        todo!()
    }
}
