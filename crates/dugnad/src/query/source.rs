//! Where rows come from: a live table at one commit. A small trait, so that scans can be tested on rows made by hand.

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::Schema;
use dugnad_kernel::live::schema::TableSchema;
use dugnad_kernel::live::{Damaged, Part, RowFilter, Snapshot, TableSnapshot};
use std::fmt::Debug;
use std::sync::Arc;

/// A table at one commit, in parts.
pub(super) trait Source: Debug + Send + Sync {
    /// Its columns.
    fn schema(&self) -> &Arc<TableSchema>;

    /// How many parts it has.
    fn parts(&self) -> usize;

    /// The visible rows of a part that pass `filter`, with the columns at `projection` in that order.
    fn scan(&self, part: usize, projection: &[usize], filter: &RowFilter) -> Result<RecordBatch, Damaged>;
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

    fn scan(&self, part: usize, projection: &[usize], filter: &RowFilter) -> Result<RecordBatch, Damaged> {
        match self.parts.get(part) {
            Some(part) => part.scan(projection, filter),
            None => Ok(RecordBatch::new_empty(Arc::new(Schema::empty()))),
        }
    }
}

/// A batch without columns that still says how many rows it has (`SELECT COUNT(*)` reads no column).
pub(super) fn rows_only(rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
        .unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty())))
}
