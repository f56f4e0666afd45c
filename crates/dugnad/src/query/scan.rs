//! A permit's view of one live table: its columns, after transforms, of its persons. Nothing else can be reached
//! through it, and nothing about rows outside it shows: no statistics, no part counts, no metrics.

use super::source::{Source, rows_only};
use super::transform;
use super::world::{ColumnGrant, Lens};
use crate::limits::SCAN_BATCH_ROWS;
use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, AsArray, DictionaryArray, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef, UInt32Type};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use dugnad_kernel::live::Damaged;
use dugnad_kernel::live::schema::{Storage, TableSchema};
use dugnad_kernel::views::About;
use dugnad_sql::QueryError;
use futures::{Stream, stream};
use std::fmt;
use std::sync::Arc;

/// A table of a permit's schema.
#[derive(Debug)]
pub(super) struct PermitTable {
    source: Arc<dyn Source>,
    columns: Arc<[ColumnGrant]>,
    lens: Lens,
    schema: SchemaRef,
}

impl PermitTable {
    /// The columns that `columns` grants of `source`, as `lens` shows them.
    pub fn new(source: Arc<dyn Source>, columns: Arc<[ColumnGrant]>, lens: Lens) -> Self {
        let lens = lens.for_table(source.schema());
        let schema = schema_of(&columns, &lens);
        Self { source, columns, lens, schema }
    }
}

fn schema_of(columns: &[ColumnGrant], lens: &Lens) -> SchemaRef {
    let field = |c: &ColumnGrant| {
        let stored = lens.keys.data_type(c.storage);
        Field::new(&c.name, transform::data_type(c.transform, &stored), true)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

#[async_trait]
impl TableProvider for PermitTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// The seam for filters that a scan could evaluate itself; until then DataFusion applies each one exactly.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Unsupported; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns: Arc<[ColumnGrant]> = match projection {
            Some(positions) => positions.iter().filter_map(|p| self.columns.get(*p).cloned()).collect(),
            None => self.columns.clone(),
        };
        Ok(Arc::new(PermitScan::new(self.source.clone(), columns, self.lens.clone(), limit)))
    }
}

/// The scan of a permit's table.
#[derive(Clone, Debug)]
struct PermitScan {
    source: Arc<dyn Source>,
    columns: Arc<[ColumnGrant]>,
    lens: Lens,
    limit: Option<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl PermitScan {
    fn new(source: Arc<dyn Source>, columns: Arc<[ColumnGrant]>, lens: Lens, limit: Option<usize>) -> Self {
        let schema = schema_of(&columns, &lens);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { source, columns, lens, limit, schema, properties: Arc::new(properties) }
    }

    /// A part's rows, as the permit shows them.
    fn part(&self, part: usize) -> Result<RecordBatch> {
        if self.columns.is_empty() {
            return Ok(rows_only(self.source.scan(part, &[0], &self.lens.filter).map_err(damaged)?.num_rows()));
        }
        let positions: Vec<usize> = self.columns.iter().map(|c| c.position).collect();
        let stored = self.source.scan(part, &positions, &self.lens.filter).map_err(damaged)?;
        let shown: Result<Vec<ArrayRef>> =
            self.columns.iter().zip(stored.columns()).map(|(grant, column)| self.lens.show(grant, column)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(stored.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), shown?, &options)?)
    }

    fn batches(self) -> impl Stream<Item = Result<RecordBatch>> + Send {
        let limit = self.limit.unwrap_or(usize::MAX);
        let state = State { scan: self, part: 0, rest: None, left: limit };
        stream::try_unfold(state, |mut state| async move { Ok(state.next()?.map(|batch| (batch, state))) })
    }
}

/// A file of the live tables is damaged.
fn damaged(damaged: Damaged) -> DataFusionError {
    tracing::error!(%damaged, "a question was not answered");
    QueryError::Internal("a stored part of a table is damaged; it is built anew when the server is started again".to_owned()).into()
}

/// Where a scan is.
struct State {
    scan: PermitScan,
    part: usize,
    rest: Option<RecordBatch>,
    left: usize,
}

impl State {
    /// The next slice of the present part; parts without a row of the permit are passed over.
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            if let Some(batch) = self.rest.take().filter(|b| b.num_rows() > 0) {
                let rows = batch.num_rows().min(SCAN_BATCH_ROWS).min(self.left);
                self.left -= rows;
                self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
                return Ok(Some(batch.slice(0, rows)));
            }
            if self.part == self.scan.source.parts() {
                return Ok(None);
            }
            self.rest = Some(self.scan.part(self.part)?);
            self.part += 1;
        }
    }
}

impl DisplayAs for PermitScan {
    fn fmt_as(&self, style: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        if matches!(style, DisplayFormatType::TreeRender) {
            return write!(f, "table={}", self.source.schema().name);
        }
        let columns: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
        write!(f, "PermitScan: table={}, columns=[{}]", self.source.schema().name, columns.join(", "))?;
        self.limit.map_or(Ok(()), |limit| write!(f, ", fetch={limit}"))
    }
}

impl ExecutionPlan for PermitScan {
    fn name(&self) -> &str {
        "PermitScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(&self, _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { Err(DataFusionError::Internal("a scan has no children".to_owned())) }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = Box::pin(self.clone().batches());
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))))
    }

    fn supports_limit_pushdown(&self) -> bool {
        false // a leaf: a limit is taken over by `with_fetch`
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { limit, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }
}

impl Lens {
    /// Rows about nobody exist in tables that are about nobody by nature, such as `research_study`. Elsewhere a row that
    /// lacks its patient is in nobody's population, as is every row of a view that leaves the patient's key out; only the
    /// hospital that wrote it sees it.
    fn for_table(mut self, table: &TableSchema) -> Self {
        self.filter.without_patient &= table.about == About::Nobody || self.filter.holder.is_some();
        self
    }

    /// A stored column as the permit shows it: key or transform, never both.
    fn show(&self, grant: &ColumnGrant, column: &ArrayRef) -> Result<ArrayRef> {
        let column = match grant.storage {
            Storage::Code | Storage::Holder => &compact(column)?,
            _ => column,
        };
        let shown = self.keys.encode(grant.storage, column).map_err(DataFusionError::Internal)?;
        transform::apply(grant.transform, &shown)
    }
}

/// A dictionary column with only the values that its rows have, in order of their first row.
///
/// A live table has one dictionary for all its rows: those of other persons, of later commits, of deleted resources. Left
/// as it is, it would be in every Arrow answer; and as operators compute on the values of a dictionary, a CAST could
/// fail, and so tell, because of a value that no visible row has.
fn compact(column: &ArrayRef) -> Result<ArrayRef> {
    const UNSEEN: u32 = u32::MAX;
    let dictionary = column.as_dictionary_opt::<UInt32Type>();
    let dictionary = dictionary.ok_or_else(|| DataFusionError::Internal("a code is not stored in a dictionary".to_owned()))?;
    let mut position = vec![UNSEEN; dictionary.values().len()];
    let mut seen: Vec<u32> = Vec::new();
    let keys = dictionary.keys().iter().map(|key| {
        let key = key?;
        let position = position.get_mut(key as usize)?;
        if *position == UNSEEN {
            *position = seen.len() as u32;
            seen.push(key);
        }
        Some(*position)
    });
    let keys: UInt32Array = keys.collect();
    let values = take(dictionary.values(), &UInt32Array::from(seen), None)?;
    Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
}
