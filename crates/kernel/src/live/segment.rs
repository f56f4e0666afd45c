//! A segment: up to [`crate::limits::SEGMENT_ROWS`] rows of a live table, in the order of their commits.
//!
//! The newest segment of a table is its tail: one writer appends, readers look at the published rows. A segment that gets no
//! more rows is stored in a file ([`super::file`]); the stored one takes the place of the one in memory and shares its ends.

use super::column::{ColumnReader, ColumnWriter, LiveCell};
use super::derived::{Derived, of_persons};
use super::ends::Ends;
use super::file::{Contents, Damaged, Stored};
use super::grow::{Reader, Writer};
use super::marks::{Marks, any_marked};
use super::persons::PersonMap;
use super::schema::TableSchema;
use super::statistics::Condition;
use crate::ids::{Commit, HolderId, ResourceOrdinal};
use arrow::array::ArrayRef;
use arrow::buffer::ScalarBuffer;
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The rows of a segment, as readers see them.
pub(super) struct Segment {
    id: u64,
    rows: Rows,
    ends: Arc<Ends>,
    attached: Attached,
    derived: Derived,
}

/// What readers have made of the rows of a segment, such as an index: it goes when the segment goes. The stored form of a segment
/// shares it with the one in memory that it replaces, whose rows it has.
pub(super) type Attached = Arc<OnceLock<Arc<dyn Any + Send + Sync>>>;

enum Rows {
    Memory(Growing),
    File(Box<Stored>, OnceLock<bool>),
}

/// A list of segments. Lists are replaced, never changed.
pub(super) type Segments = Arc<[Arc<Segment>]>;

/// Rows in memory.
struct Growing {
    columns: Vec<ColumnReader>,
    begins: Reader<u64>,
    resources: Reader<u64>,
    holders: Reader<u16>,
}

/// The end of a segment that appends.
pub(super) struct SegmentWriter {
    columns: Vec<ColumnWriter>,
    begins: Writer<u64>,
    resources: Writer<u64>,
    holders: Writer<u16>,
    most: usize,
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
    /// What is known of it besides.
    pub marks: Marks,
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl SegmentWriter {
    pub(super) fn new(schema: &TableSchema, most: usize) -> (Self, Segment) {
        let columns: Vec<ColumnWriter> = schema.columns.iter().map(|c| ColumnWriter::with_capacity(c.storage, most)).collect();
        let (begins, resources, holders) = (Writer::with_capacity(most), Writer::with_capacity(most), Writer::with_capacity(most));
        let rows = Growing {
            columns: columns.iter().zip(&schema.columns).map(|(w, c)| w.reader(c.storage)).collect(),
            begins: begins.reader(),
            resources: resources.reader(),
            holders: holders.reader(),
        };
        let ends = Arc::new(Ends::none(most));
        let segment = Segment { id: next_id(), rows: Rows::Memory(rows), ends, attached: Attached::default(), derived: Derived::default() };
        (Self { columns, begins, resources, holders, most }, segment)
    }

    /// Appends a row; false, and nothing is visible of it, if the segment is full.
    #[must_use]
    pub(super) fn push(&mut self, head: RowHead, cells: &[LiveCell], holder: &LiveCell) -> bool {
        if self.begins.len() == self.most {
            return false;
        }
        debug_assert_eq!(cells.len() + 1, self.columns.len());
        let mut pushed = true;
        for (column, cell) in self.columns.iter_mut().zip(cells.iter().chain(std::iter::once(holder))) {
            pushed &= column.push(cell);
        }
        // `begins` last: its length is the segment's, so a row is whole when it shows.
        pushed && self.resources.push(head.resource.0) && self.holders.push(head.marks.with(head.holder)) && self.begins.push(head.begin.0)
    }

    pub(super) fn len(&self) -> usize {
        self.begins.len()
    }
}

impl Segment {
    /// A segment in a file.
    pub(super) fn stored(file: Stored, ends: Arc<Ends>, attached: Attached) -> Self {
        Self { id: next_id(), rows: Rows::File(Box::new(file), OnceLock::new()), ends, attached, derived: Derived::default() }
    }

    /// A number that no other segment of this process has.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// What readers have attached to it.
    pub(super) fn attached(&self) -> &Attached {
        &self.attached
    }

    /// How many rows are there now.
    pub(super) fn len(&self) -> usize {
        match &self.rows {
            Rows::Memory(rows) => rows.begins.slice().len(),
            Rows::File(file, _) => file.len(),
        }
    }

    /// The commits of its first and its last row.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        match &self.rows {
            Rows::Memory(rows) => Some((*rows.begins.slice().first()?, *rows.begins.slice().last()?)),
            Rows::File(file, _) => Some(file.range()),
        }
    }

    /// The name of its file, if it has one.
    pub(super) fn file_name(&self) -> Option<&str> {
        match &self.rows {
            Rows::Memory(_) => None,
            Rows::File(file, _) => Some(file.name()),
        }
    }

    pub(super) fn ends(&self) -> &Arc<Ends> {
        &self.ends
    }

    pub(super) fn begins(&self) -> Result<&[u64], Damaged> {
        match &self.rows {
            Rows::Memory(rows) => Ok(rows.begins.slice()),
            Rows::File(file, _) => file.begins(),
        }
    }

    pub(super) fn resources(&self) -> Result<&[u64], Damaged> {
        match &self.rows {
            Rows::Memory(rows) => Ok(rows.resources.slice()),
            Rows::File(file, _) => file.resources(),
        }
    }

    pub(super) fn holders(&self) -> Result<&[u16], Damaged> {
        match &self.rows {
            Rows::Memory(rows) => Ok(rows.holders.slice()),
            Rows::File(file, _) => file.holders(),
        }
    }

    /// Whether a row of it has a mark. A file is looked through once.
    pub(super) fn has_marks(&self) -> Result<bool, Damaged> {
        let look = || self.holders().map(any_marked);
        match &self.rows {
            Rows::Memory(_) => look(),
            Rows::File(_, known) => match known.get() {
                Some(known) => Ok(*known),
                None => look().map(|found| *known.get_or_init(|| found)),
            },
        }
    }

    /// The first `len` cells of a column.
    pub(super) fn column(&self, position: usize, len: usize) -> Result<ArrayRef, Damaged> {
        match &self.rows {
            Rows::Memory(rows) => match rows.columns.get(position) {
                Some(column) => Ok(column.array(len)),
                None => Err(Damaged { file: "memory".to_owned(), what: format!("there is no column {position}") }),
            },
            Rows::File(file, _) => {
                let column = file.column(position)?;
                Ok(if column.len() == len { column } else { column.slice(0, len) })
            }
        }
    }

    /// The same of a column of Patients, as persons.
    pub(super) fn persons(&self, position: usize, len: usize, map: &Arc<PersonMap>) -> Result<ArrayRef, Damaged> {
        match &self.rows {
            Rows::File(file, _) if !map.is_identity() => Ok(self.derived.persons(position, file.column(position)?, map).slice(0, len)),
            _ => Ok(of_persons(self.column(position, len)?, map)),
        }
    }

    /// A bit for each Patient that a row names in one of the columns at `positions`, which are always the same; `None` where that is
    /// not known.
    pub(super) fn named(&self, positions: impl Iterator<Item = usize>) -> Result<Option<Arc<[u64]>>, Damaged> {
        match &self.rows {
            Rows::Memory(_) => Ok(None),
            Rows::File(file, _) => {
                let columns: Result<Vec<ArrayRef>, Damaged> = positions.map(|position| file.column(position)).collect();
                Ok(self.derived.named(&columns?))
            }
        }
    }

    /// Whether a row can meet `condition`. What is in memory is not looked at.
    pub(super) fn may_meet(&self, condition: &Condition) -> bool {
        match &self.rows {
            Rows::Memory(_) => true,
            Rows::File(file, _) => file.may_meet(condition),
        }
    }

    /// Whether nobody who looks at commits from `since` to `at` sees a row of it: it begins later, or all its rows had ended.
    pub(super) fn is_outside(&self, since: Commit, at: Commit) -> bool {
        let begins_later = self.range().is_none_or(|(first, _)| first > at.0);
        begins_later || (self.ends.ended() as usize == self.len() && self.ends.newest() <= since.0)
    }

    /// Whether rows that began at `begin` can be in here.
    pub(super) fn may_hold(&self, begin: Commit) -> bool {
        self.range().is_some_and(|(first, last)| first <= begin.0 && last >= begin.0)
    }

    /// Ends the rows of the version of `resource` that began at `begin`. How many there were.
    pub(super) fn end_rows(&self, resource: ResourceOrdinal, begin: Commit, end: Commit) -> Result<usize, Damaged> {
        let begins = self.begins()?;
        let first = begins.partition_point(|b| *b < begin.0);
        let mut ended = 0;
        let rows = begins.iter().zip(self.resources()?).enumerate().skip(first);
        for (row, (_, r)) in rows.take_while(|(_, (b, _))| **b == begin.0) {
            if *r == resource.0 {
                self.ends.set(row, end.0);
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// Its rows, ready to be written to a file.
    pub(super) fn contents(&self, schema: &TableSchema) -> Result<Contents, Damaged> {
        let len = self.len();
        let columns: Result<Vec<ArrayRef>, Damaged> = (0..schema.columns.len()).map(|c| self.column(c, len)).collect();
        Ok(Contents {
            begins: ScalarBuffer::from(self.begins()?.to_vec()),
            resources: ScalarBuffer::from(self.resources()?.to_vec()),
            holders: ScalarBuffer::from(self.holders()?.to_vec()),
            columns: columns?,
        })
    }
}
