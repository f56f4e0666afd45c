//! Where rows come from: a live table at one commit. A small trait, so that scans can be tested on rows made by hand.

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::filter;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::{DataFusionError, Result};
use dugnad_kernel::live::schema::TableSchema;
use dugnad_kernel::live::{Part, RowFilter, Snapshot, TableSnapshot, Visible};
use std::fmt::Debug;
use std::sync::Arc;

/// A table at one commit, in parts.
pub(super) trait Source: Debug + Send + Sync {
    /// Its columns.
    fn schema(&self) -> &Arc<TableSchema>;

    /// How many parts it has.
    fn parts(&self) -> usize;

    /// How many rows a part has, visible or not.
    fn rows(&self, part: usize) -> usize;

    /// Which of them are visible and pass `filter`.
    fn visible(&self, part: usize, filter: &RowFilter) -> Visible;

    /// All cells of one of its columns, also those of rows that are not visible.
    fn column(&self, part: usize, position: usize) -> Option<ArrayRef>;
}

/// A column of a part, or the error that there is none.
pub(super) fn whole_column(source: &dyn Source, part: usize, position: usize) -> Result<ArrayRef> {
    let missing = || DataFusionError::Internal(format!("{} has no column {position}", source.schema().name));
    source.column(part, position).ok_or_else(missing)
}

/// The columns at `positions` of the rows of a part that pass `filter`, as they are stored.
pub(super) fn stored(source: &dyn Source, part: usize, positions: &[usize], rows: &RowFilter) -> Result<Vec<ArrayRef>> {
    let mask = match source.visible(part, rows) {
        Visible::All => None,
        Visible::Nothing => Some(BooleanArray::from(vec![false; source.rows(part)])),
        Visible::Rows(mask) => Some(BooleanArray::new(mask, None)),
    };
    let column = |position: &usize| {
        let column = whole_column(source, part, *position)?;
        Ok(mask.as_ref().map_or(Ok(column.clone()), |mask| filter(&column, mask))?)
    };
    positions.iter().map(column).collect()
}

/// All tables at one commit, by name.
pub(super) trait Sources: Send + Sync {
    /// A table.
    fn table(&self, name: &str) -> Option<Arc<dyn Source>>;
}

/// A live table.
#[derive(Debug)]
struct Live {
    schema: Arc<TableSchema>,
    parts: Vec<Part>,
}

impl Sources for Snapshot {
    fn table(&self, name: &str) -> Option<Arc<dyn Source>> {
        let table: &TableSnapshot = Snapshot::table(self, name)?;
        Some(Arc::new(Live { schema: table.schema().clone(), parts: table.parts() }))
    }
}

impl Source for Live {
    fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    fn parts(&self) -> usize {
        self.parts.len()
    }

    fn rows(&self, part: usize) -> usize {
        self.parts.get(part).map_or(0, Part::len)
    }

    fn visible(&self, part: usize, filter: &RowFilter) -> Visible {
        self.parts.get(part).map_or(Visible::Nothing, |part| part.visible(filter))
    }

    fn column(&self, part: usize, position: usize) -> Option<ArrayRef> {
        self.parts.get(part)?.column(position)
    }
}

/// A batch without columns that still says how many rows it has (`SELECT COUNT(*)` reads no column).
pub(super) fn rows_only(rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
        .unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty())))
}
