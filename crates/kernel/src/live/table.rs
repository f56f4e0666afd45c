//! A live table as the committer sees it: rows begin, rows end.

use super::column::LiveCell;
use super::ends::ERASED;
use super::file::Damaged;
use super::schema::TableSchema;
use super::segment::{RowHead, Segment, SegmentWriter, Segments};
use super::snapshot::TableSnapshot;
use crate::ids::{Commit, ResourceOrdinal, TableId};
use std::sync::Arc;

/// What a table is.
#[derive(Debug)]
pub struct TableInfo {
    /// Its number.
    pub id: TableId,
    /// What its rows depend on: the view, the program's way to evaluate it. A stored table with another one is not used.
    pub fingerprint: String,
    /// Its name and columns.
    pub schema: Arc<TableSchema>,
    /// How many rows a segment of it holds at most.
    pub segment_rows: usize,
}

/// A live table. One writer (the committer, or whoever builds it); readers hold [`TableSnapshot`]s.
pub struct LiveTable {
    info: Arc<TableInfo>,
    /// In the order of commits, disjoint. The last may be the tail.
    segments: Segments,
    /// Rows that have all ended, taken out of `segments` by a merge; only older commits see them.
    history: Segments,
    tail: Option<SegmentWriter>,
    /// Segments that will get no more rows and are not stored yet.
    full: Vec<Arc<Segment>>,
    damaged: Option<Arc<Damaged>>,
}

/// Segments that take the place of others, in a table.
pub(super) struct Replacement {
    pub(super) table: TableId,
    /// Neighbours, all of them in `segments`, or one of `history`.
    pub(super) old: Vec<Arc<Segment>>,
    /// Holds the rows of `old` that had not ended, in order; `None` if there were none.
    pub(super) new: Option<Arc<Segment>>,
    /// Holds those that had.
    pub(super) history: Option<Arc<Segment>>,
    /// For each row of `old` in order, its place in `new`; `None` if it went into the history, or was erased.
    pub(super) moved: Vec<Option<u32>>,
    /// How many rows of `old` had been erased and are in neither.
    pub(super) erased: u32,
}

impl LiveTable {
    /// An empty table.
    pub fn new(info: Arc<TableInfo>) -> Self {
        Self::of(info, Vec::new(), Vec::new())
    }

    /// A table of stored segments.
    pub(super) fn of(info: Arc<TableInfo>, segments: Vec<Arc<Segment>>, history: Vec<Arc<Segment>>) -> Self {
        Self { info, segments: segments.into(), history: history.into(), tail: None, full: Vec::new(), damaged: None }
    }

    /// What it is.
    pub fn info(&self) -> &Arc<TableInfo> {
        &self.info
    }

    /// Whether no row of it has ever begun.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.history.is_empty()
    }

    /// What it looks like.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.info.schema
    }

    /// A row begins: `cells` in the order of the view's columns, `holder_name` for the last one. Begins never go back.
    pub fn begin(&mut self, head: RowHead, cells: &[LiveCell], holder_name: &LiveCell) {
        if let Some(tail) = &mut self.tail
            && tail.push(head, cells, holder_name)
        {
            return;
        }
        self.seal();
        let (mut tail, segment) = SegmentWriter::new(&self.info.schema, self.info.segment_rows);
        let pushed = tail.push(head, cells, holder_name);
        debug_assert!(pushed, "an empty segment takes a row");
        self.segments = self.segments.iter().cloned().chain(std::iter::once(Arc::new(segment))).collect();
        self.tail = Some(tail);
    }

    /// The rows of the version of `resource` that began at `begin` end. How many there were.
    pub fn end(&mut self, resource: ResourceOrdinal, begin: Commit, end: Commit) -> usize {
        // A commit's rows may stand in two or more neighbouring segments; begins are in order over all of them.
        let first = self.segments.partition_point(|s| s.range().is_some_and(|(_, last)| last < begin.0));
        let mut ended = 0;
        for segment in self.segments.iter().skip(first).take_while(|s| s.may_hold(begin)) {
            match segment.end_rows(resource, begin, end) {
                Ok(rows) => ended += rows,
                Err(damaged) => {
                    tracing::error!(table = self.info.schema.name, %damaged, "rows could not be ended; the table is built anew");
                    self.damaged = Some(Arc::new(damaged));
                }
            }
        }
        ended
    }

    /// The rows of the version of `resource` that began at `begin` are erased: nobody sees them, at whatever commit, also not
    /// among those that a merge took into the history.
    pub fn erase(&mut self, resource: ResourceOrdinal, begin: Commit) {
        for segment in self.segments.iter().chain(self.history.iter()).filter(|s| s.may_hold(begin)) {
            if let Err(damaged) = segment.end_rows(resource, begin, Commit(ERASED)) {
                tracing::error!(table = self.info.schema.name, %damaged, "rows could not be erased; the table is built anew");
                self.damaged = Some(Arc::new(damaged));
            }
        }
    }

    /// Whether a segment still holds rows that were erased.
    pub fn holds_erased(&self) -> bool {
        self.segments.iter().chain(self.history.iter()).any(|s| s.ends().erased() > 0)
    }

    /// The tail gets no more rows: what begins next goes into a new segment.
    pub fn seal(&mut self) {
        if self.tail.take().is_some() {
            self.full.extend(self.segments.last().cloned());
        }
    }

    /// The segments that get no more rows and have not been handed out to be stored.
    pub(super) fn take_full(&mut self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut self.full)
    }

    /// What was found damaged while ending rows. Its readers are told, and it is not stored again.
    pub(super) fn damaged(&self) -> Option<&Damaged> {
        self.damaged.as_deref()
    }

    /// Puts stored or merged segments in the place of others. Ends that came in the meantime are applied. False if the old
    /// ones are not there (any more), or rows of them were erased in the meantime: then the merge is made again.
    pub(super) fn replace(&mut self, replacement: Replacement) -> bool {
        let Replacement { old, new, history, moved, erased, .. } = replacement;
        let Some(first) = old.first() else { return false };
        if old.iter().map(|s| s.ends().erased()).sum::<u32>() != erased {
            return false;
        }
        let at = |list: &[Arc<Segment>]| list.iter().position(|s| Arc::ptr_eq(s, first));
        if let Some(at) = at(&self.history) {
            self.history = spliced(&self.history, at, old.len(), history);
            return true;
        }
        let Some(at) = at(&self.segments) else { return false };
        let present = self.segments.iter().skip(at).zip(&old).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        if present != old.len() {
            return false;
        }
        if let Some(new) = &new {
            let mut places = moved.iter();
            for segment in &old {
                let rows = places.by_ref().take(segment.len());
                if segment.ends().ended() == 0 {
                    rows.for_each(drop);
                    continue;
                }
                for (row, place) in rows.enumerate() {
                    if let (Some(place), Some(end)) = (place, segment.ends().of(row)) {
                        new.ends().set(*place as usize, end);
                    }
                }
            }
        }
        self.segments = spliced(&self.segments, at, old.len(), new);
        if let Some(history) = history {
            self.history = self.history.iter().cloned().chain(std::iter::once(history)).collect();
        }
        true
    }

    /// Puts the stored form of a segment in its place; both share their ends.
    pub(super) fn replace_stored(&mut self, memory: &Arc<Segment>, stored: Arc<Segment>) -> bool {
        let Some(at) = self.segments.iter().position(|s| Arc::ptr_eq(s, memory)) else { return false };
        self.segments = spliced(&self.segments, at, 1, Some(stored));
        true
    }

    /// Its segments, and those of its history.
    pub(super) fn segments(&self) -> (&Segments, &Segments) {
        (&self.segments, &self.history)
    }

    /// The table at `at`, which holds all that has been appended so far.
    pub fn snapshot(&self, at: Commit) -> TableSnapshot {
        let tail_len = self.tail.as_ref().map(SegmentWriter::len);
        TableSnapshot {
            schema: Arc::clone(&self.info.schema),
            segments: Arc::clone(&self.segments),
            history: Arc::clone(&self.history),
            tail_len,
            damaged: self.damaged.clone(),
            at,
            since: at,
            hidden: Arc::default(),
            persons: Arc::default(),
        }
    }
}

fn spliced(list: &[Arc<Segment>], at: usize, len: usize, new: Option<Arc<Segment>>) -> Segments {
    let (before, rest) = list.split_at(at.min(list.len()));
    before.iter().cloned().chain(new).chain(rest.iter().skip(len).cloned()).collect()
}
