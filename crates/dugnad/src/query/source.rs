//! Where rows come from: a live table at one commit. A small trait, so that scans can be tested on rows made by hand.

use super::code_group::{CODE_GROUP, CodeGroups, SCHEMA};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::Schema;
use datafusion::error::DataFusionError;
use dugnad_kernel::database::Database;
use dugnad_kernel::live::schema::{Storage, TableSchema};
use dugnad_kernel::live::{Condition, Damaged, Part, RowFilter, Snapshot, TableSnapshot, Visible};
use dugnad_sql::QueryError;
use std::fmt::{self, Debug};
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
    fn visible(&self, part: usize, filter: &RowFilter) -> Result<Visible, Damaged>;

    /// All cells of one of its columns, also those of rows that are not visible.
    fn column(&self, part: usize, position: usize) -> Result<ArrayRef, Damaged>;

    /// The Patients that each row names, a column for each of its references.
    fn patients(&self, part: usize) -> Result<Vec<ArrayRef>, Damaged> {
        let columns = self.schema().columns.iter().enumerate().filter(|(_, column)| column.storage == Storage::Patient);
        columns.map(|(position, _)| self.column(part, position)).collect()
    }

    /// A bit for each Patient that a row of a part names, visible or not; `None` where that is not known.
    fn named(&self, _part: usize) -> Result<Option<Arc<[u64]>>, Damaged> {
        Ok(None)
    }

    /// Whether a row of a part can meet a condition, as far as is known without reading it.
    fn may_meet(&self, part: usize, condition: &Condition) -> bool;

    /// A file of it was found damaged.
    fn report(&self, _damaged: &Damaged) {}
}

/// The error of a question that meets a damaged file of the live tables.
pub(super) fn damaged(source: &dyn Source) -> impl Fn(Damaged) -> DataFusionError {
    move |damaged| {
        tracing::error!(%damaged, "a question was not answered");
        source.report(&damaged);
        QueryError::Internal("a stored part of a table is damaged; it is being built anew".to_owned()).into()
    }
}

/// All tables at one commit, by name.
pub(super) trait Sources: Send + Sync {
    /// The columns of a table.
    fn schema(&self, name: &str) -> Option<Arc<TableSchema>>;

    /// A table.
    fn table(&self, name: &str) -> Option<Arc<dyn Source>>;
}

/// The live tables of a database at one commit; not those of the program's own.
pub(super) struct Tables {
    snapshot: Snapshot,
    database: Database,
}

impl Tables {
    pub fn of(snapshot: Snapshot, database: &Database) -> Self {
        Self { snapshot, database: database.clone() }
    }
}

/// A live table.
struct Live {
    schema: Arc<TableSchema>,
    parts: Vec<Part>,
    database: Database,
}

impl Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("table", &self.schema.name).finish_non_exhaustive()
    }
}

impl Tables {
    fn of_name(&self, name: &str) -> Option<&TableSnapshot> {
        self.snapshot.table(name).filter(|t| !t.schema().is_internal())
    }
}

impl Sources for Tables {
    fn schema(&self, name: &str) -> Option<Arc<TableSchema>> {
        if name == CODE_GROUP {
            return Some(SCHEMA.clone());
        }
        Some(self.of_name(name)?.schema().clone())
    }

    fn table(&self, name: &str) -> Option<Arc<dyn Source>> {
        if name == CODE_GROUP {
            return Some(CodeGroups::published(&self.database));
        }
        let table = self.of_name(name)?;
        Some(Arc::new(Live { schema: table.schema().clone(), parts: table.parts(), database: self.database.clone() }))
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

    fn visible(&self, part: usize, filter: &RowFilter) -> Result<Visible, Damaged> {
        self.parts.get(part).map_or(Ok(Visible::Nothing), |part| part.visible(filter))
    }

    fn column(&self, part: usize, position: usize) -> Result<ArrayRef, Damaged> {
        let nowhere = || Damaged { file: self.schema.name.clone(), what: format!("there is no part {part}") };
        self.parts.get(part).ok_or_else(nowhere)?.column(position)
    }

    fn patients(&self, part: usize) -> Result<Vec<ArrayRef>, Damaged> {
        self.parts.get(part).map_or(Ok(Vec::new()), Part::patients)
    }

    fn named(&self, part: usize) -> Result<Option<Arc<[u64]>>, Damaged> {
        self.parts.get(part).map_or(Ok(None), Part::named)
    }

    fn may_meet(&self, part: usize, condition: &Condition) -> bool {
        self.parts.get(part).is_some_and(|part| part.may_meet(condition))
    }

    fn report(&self, damaged: &Damaged) {
        self.database.report(damaged);
    }
}

/// A batch without columns that still says how many rows it has (`SELECT COUNT(*)` reads no column).
pub(super) fn rows_only(rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
        .unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty())))
}
