//! A segment: up to [`SEGMENT_ROWS`] rows of a live table, in the order of their commits.
//!
//! The newest segment of a table is its tail: one writer appends, readers look at the published rows. A full one is left as it
//! is: nothing is copied. When a version of a resource ends, the end commit is written into the atomic array `ends` before
//! the commit is published; a reader at an older commit ignores it.

use super::column::{ColumnReader, ColumnWriter, Dictionary, LiveCell};
use super::grow::{Reader, Writer};
use super::schema::TableSchema;
use crate::ids::{Commit, HolderId, ResourceOrdinal};
use crate::limits::SEGMENT_ROWS;
use std::sync::atomic::{AtomicU64, Ordering};

/// The rows of a segment, as readers see them.
pub(super) struct Segment {
    pub(super) columns: Vec<ColumnReader>,
    pub(super) begins: Reader<u64>,
    pub(super) resources: Reader<u64>,
    pub(super) holders: Reader<u16>,
    // 0: not ended. Commits start at 1.
    ends: Box<[AtomicU64]>,
}

/// The end of a segment that appends.
pub(super) struct SegmentWriter {
    columns: Vec<ColumnWriter>,
    begins: Writer<u64>,
    resources: Writer<u64>,
    holders: Writer<u16>,
}

/// Whose row it is and since when.
#[derive(Clone, Copy, Debug)]
pub struct RowHead {
    /// The commit from which on it is visible.
    pub begin: Commit,
    /// The resource whose version it shows.
    pub resource: ResourceOrdinal,
    /// The holder that wrote it.
    pub holder: HolderId,
}

impl SegmentWriter {
    pub(super) fn new(schema: &TableSchema) -> (Self, Segment) {
        let columns: Vec<ColumnWriter> = schema.columns.iter().map(|c| ColumnWriter::with_capacity(c.storage, SEGMENT_ROWS)).collect();
        let (begins, resources, holders) =
            (Writer::with_capacity(SEGMENT_ROWS), Writer::with_capacity(SEGMENT_ROWS), Writer::with_capacity(SEGMENT_ROWS));
        let segment = Segment {
            columns: columns.iter().zip(&schema.columns).map(|(w, c)| w.reader(c.storage)).collect(),
            begins: begins.reader(),
            resources: resources.reader(),
            holders: holders.reader(),
            ends: std::iter::repeat_with(|| AtomicU64::new(0)).take(SEGMENT_ROWS).collect(),
        };
        (Self { columns, begins, resources, holders }, segment)
    }

    /// Appends a row; false, and nothing is visible of it, if the segment is full.
    #[must_use]
    pub(super) fn push(&mut self, head: RowHead, cells: &[LiveCell], holder: &LiveCell, dictionaries: &mut [Dictionary]) -> bool {
        if self.begins.len() == SEGMENT_ROWS {
            return false;
        }
        debug_assert_eq!(cells.len() + 1, self.columns.len());
        let cells = cells.iter().chain(std::iter::once(holder));
        let mut pushed = true;
        for ((column, cell), dictionary) in self.columns.iter_mut().zip(cells).zip(dictionaries) {
            pushed &= column.push(cell, dictionary);
        }
        // `begins` last: its length is the segment's, so a row is whole when it shows.
        pushed && self.resources.push(head.resource.0) && self.holders.push(head.holder.0) && self.begins.push(head.begin.0)
    }

    pub(super) fn len(&self) -> usize {
        self.begins.len()
    }
}

impl Segment {
    /// The commit that ended a row, if one has.
    pub(super) fn end(&self, row: usize) -> Option<u64> {
        self.ends.get(row).map(|e| e.load(Ordering::Acquire)).filter(|e| *e != 0)
    }

    /// Ends the rows of the version of `resource` that began at `begin`. How many there were.
    pub(super) fn end_rows(&self, resource: ResourceOrdinal, begin: Commit, end: Commit) -> usize {
        let begins = self.begins.slice();
        let first = begins.partition_point(|b| *b < begin.0);
        let mut ended = 0;
        let rows = begins.iter().zip(self.resources.slice()).zip(&self.ends).skip(first);
        for ((_, r), e) in rows.take_while(|((b, _), _)| **b == begin.0) {
            if *r == resource.0 {
                e.store(end.0, Ordering::Release);
                ended += 1;
            }
        }
        ended
    }

    /// Whether rows that began at `begin` can be in here.
    pub(super) fn may_hold(&self, begin: Commit) -> bool {
        let begins = self.begins.slice();
        begins.first().is_some_and(|b| *b <= begin.0) && begins.last().is_some_and(|b| *b >= begin.0)
    }
}
