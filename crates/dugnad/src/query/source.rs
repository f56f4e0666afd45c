//! Where rows come from: a live table at one commit. A small trait, so that scans can be tested on rows made by hand.

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::filter;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::{DataFusionError, Result};
use dugnad_kernel::live::schema::{Storage, TableSchema};
use dugnad_kernel::live::{Condition, Damaged, Part, RowFilter, Snapshot, TableSnapshot, Visible};
use dugnad_sql::QueryError;
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
    fn visible(&self, part: usize, filter: &RowFilter) -> std::result::Result<Visible, Damaged>;

    /// All cells of one of its columns, also those of rows that are not visible.
    fn column(&self, part: usize, position: usize) -> std::result::Result<ArrayRef, Damaged>;

    /// The Patients that each row names, a column for each of its references.
    fn patients(&self, part: usize) -> std::result::Result<Vec<ArrayRef>, Damaged> {
        let columns = self.schema().columns.iter().enumerate().filter(|(_, column)| column.storage == Storage::Patient);
        columns.map(|(position, _)| self.column(part, position)).collect()
    }

    /// Whether a row of a part can meet a condition, as far as is known without reading it.
    fn may_meet(&self, part: usize, condition: &Condition) -> bool;
}

/// The error of a question that meets a damaged file of the live tables.
pub(super) fn damaged(damaged: Damaged) -> DataFusionError {
    tracing::error!(%damaged, "a question was not answered");
    QueryError::Internal("a stored part of a table is damaged; it is built anew when the server is started again".to_owned()).into()
}

/// The columns at `positions` of the rows of a part that pass `filter`, as they are stored.
pub(super) fn stored(source: &dyn Source, part: usize, positions: &[usize], rows: &RowFilter) -> Result<Vec<ArrayRef>> {
    let mask = match source.visible(part, rows).map_err(damaged)? {
        Visible::All => None,
        Visible::Nothing => Some(BooleanArray::from(vec![false; source.rows(part)])),
        Visible::Rows(mask) => Some(BooleanArray::new(mask, None)),
    };
    let column = |position: &usize| {
        let column = source.column(part, *position).map_err(damaged)?;
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

    fn visible(&self, part: usize, filter: &RowFilter) -> std::result::Result<Visible, Damaged> {
        self.parts.get(part).map_or(Ok(Visible::Nothing), |part| part.visible(filter))
    }

    fn column(&self, part: usize, position: usize) -> std::result::Result<ArrayRef, Damaged> {
        let nowhere = || Damaged { file: self.schema.name.clone(), what: format!("there is no part {part}") };
        self.parts.get(part).ok_or_else(nowhere)?.column(position)
    }

    fn patients(&self, part: usize) -> std::result::Result<Vec<ArrayRef>, Damaged> {
        self.parts.get(part).map_or(Ok(Vec::new()), Part::patients)
    }

    fn may_meet(&self, part: usize, condition: &Condition) -> bool {
        self.parts.get(part).is_some_and(|part| part.may_meet(condition))
    }
}

/// A batch without columns that still says how many rows it has (`SELECT COUNT(*)` reads no column).
pub(super) fn rows_only(rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
        .unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty())))
}
