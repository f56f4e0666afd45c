//! A live table as the committer sees it: rows begin, rows end.

use super::column::{Dictionary, DictionaryReader, LiveCell};
use super::schema::TableSchema;
use super::segment::{RowHead, Segment, SegmentWriter};
use super::snapshot::TableSnapshot;
use crate::ids::{Commit, ResourceOrdinal};
use std::sync::Arc;

/// A live table. One writer (the committer); readers hold [`TableSnapshot`]s.
pub struct LiveTable {
    schema: Arc<TableSchema>,
    segments: Arc<[Arc<Segment>]>,
    tail: Option<SegmentWriter>,
    dictionaries: Vec<Dictionary>,
    readers: Arc<[DictionaryReader]>,
}

impl LiveTable {
    /// An empty table.
    pub fn new(schema: TableSchema) -> Self {
        let dictionaries: Vec<Dictionary> = schema.columns.iter().map(|_| Dictionary::default()).collect();
        let readers = dictionaries.iter().map(Dictionary::reader).collect();
        Self { schema: Arc::new(schema), segments: Arc::new([]), tail: None, dictionaries, readers }
    }

    /// What it looks like.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// A row begins: `cells` in the order of the view's columns, `holder_name` for the last one. Begins never go back.
    pub fn begin(&mut self, head: RowHead, cells: &[LiveCell], holder_name: &LiveCell) {
        if let Some(tail) = &mut self.tail
            && tail.push(head, cells, holder_name, &mut self.dictionaries)
        {
            return;
        }
        let (mut tail, segment) = SegmentWriter::new(&self.schema);
        let pushed = tail.push(head, cells, holder_name, &mut self.dictionaries);
        debug_assert!(pushed, "an empty segment takes a row");
        self.segments = self.segments.iter().cloned().chain(std::iter::once(Arc::new(segment))).collect();
        self.tail = Some(tail);
    }

    /// The rows of the version of `resource` that began at `begin` end. How many there were.
    pub fn end(&self, resource: ResourceOrdinal, begin: Commit, end: Commit) -> usize {
        // A commit's rows may stand in two or more neighbouring segments; begins are in order over all of them.
        let first = self.segments.partition_point(|s| s.begins.slice().last().is_some_and(|b| *b < begin.0));
        let segments = self.segments.iter().skip(first).take_while(|s| s.may_hold(begin));
        segments.map(|s| s.end_rows(resource, begin, end)).sum()
    }

    /// The table at `at`, which holds all that has been appended so far.
    pub fn snapshot(&self, at: Commit) -> TableSnapshot {
        let tail_len = self.tail.as_ref().map_or(0, SegmentWriter::len);
        TableSnapshot::new(Arc::clone(&self.schema), Arc::clone(&self.segments), tail_len, Arc::clone(&self.readers), at)
    }
}
