//! A permit's view of one live table: its columns, after transforms, of its persons. Nothing else can be reached
//! through it, and nothing about rows outside it shows: no statistics, no part counts, no metrics.

use super::pruning::condition;
use super::reading::{Compared, Filter, Opened, Reading, SoFar};
use super::world::{ColumnGrant, Lens};
use crate::limits::SCAN_BATCH_ROWS;
use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
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
use dugnad_kernel::live::schema::TableSchema;
use dugnad_kernel::permit::Transform;
use dugnad_sql::first::Wanted;
use dugnad_sql::numbers::{Kind, Numbered, Stored, names, on_stored};
use futures::{Stream, stream};
use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A table of a permit's schema.
#[derive(Debug)]
pub(super) struct PermitTable {
    table: Arc<TableSchema>,
    columns: Arc<[ColumnGrant]>,
    lens: Lens,
    numbers: bool,
    schema: SchemaRef,
}

impl PermitTable {
    /// The columns that `columns` grants of `table`, as `lens` shows them.
    pub fn new(table: Arc<TableSchema>, columns: Arc<[ColumnGrant]>, lens: Lens) -> Self {
        let schema = lens.schema(&columns, false);
        Self { table, columns, lens, numbers: false, schema }
    }

    /// The table, with what planning needs to put numbers in the place of its keys and codes.
    pub fn numbered(self) -> Numbered {
        let kinds: Arc<[Option<Kind>]> = self.columns.iter().map(|grant| self.lens.kind(grant)).collect();
        let (table, columns, lens) = (self.table.clone(), self.columns.clone(), self.lens.clone());
        let schema = lens.schema(&columns, true);
        let texts = Arc::new(lens.clone());
        let numbers = Arc::new(Self { table, columns, lens, numbers: true, schema });
        Numbered { shown: Arc::new(self), numbers, kinds, texts }
    }

    /// What a question's filter comes to on stored columns, if the scan can evaluate it.
    fn on_stored(&self, filter: &Expr) -> Option<Expr> {
        let stored = |name: &str| match self.columns.iter().find(|c| c.name == name) {
            Some(grant) if grant.blind => Stored::Otherwise,
            Some(grant) if grant.storage.is_key() => self.lens.kind(grant).map_or(Stored::Otherwise, Stored::Number),
            Some(grant) if grant.transform == Transform::Keep => Stored::AsShown,
            _ => Stored::Otherwise,
        };
        on_stored(filter, &stored, &self.lens)
    }

    fn filter(&self, session: &dyn Session, shown: &Expr) -> Result<Filter> {
        let refused = || DataFusionError::Internal("a filter reached a scan that cannot evaluate it".to_owned());
        let stored = self.on_stored(shown).ok_or_else(refused)?;
        let names = names(&stored);
        let columns: Vec<&ColumnGrant> = names.iter().filter_map(|name| self.columns.iter().find(|c| c.name == *name)).collect();
        let fields: Vec<Field> = columns.iter().map(|c| Field::new(&c.name, c.storage.arrow(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let (positions, condition) = (columns.iter().map(|c| c.position).collect(), condition(&stored, &columns));
        let predicate = session.create_physical_expr(stored, &DFSchema::try_from(schema.clone())?)?;
        let compared = Compared::of(&predicate);
        Ok(Filter { positions, schema, predicate, compared, condition, shown: shown.human_display().to_string() })
    }
}

#[async_trait]
impl TableProvider for PermitTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushed = |filter: &&Expr| match self.on_stored(filter) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushed).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns: Arc<[ColumnGrant]> = match projection {
            Some(positions) => positions.iter().filter_map(|p| self.columns.get(*p).cloned()).collect(),
            None => self.columns.clone(),
        };
        let filters: Result<Vec<Filter>> = filters.iter().map(|filter| self.filter(session, filter)).collect();
        let mut filters = filters?;
        filters.sort_by_key(|filter| filter.condition.is_none());
        let schema = self.lens.schema(&columns, self.numbers);
        let (table, lens, numbers) = (self.table.clone(), self.lens.clone(), self.numbers);
        let reading = Reading { table, columns, lens, numbers, filters: filters.into(), schema };
        Ok(Arc::new(PermitScan::new(Arc::new(reading), limit, None, 1)))
    }
}

/// The scan of a permit's table.
#[derive(Clone, Debug)]
struct PermitScan {
    reading: Arc<Reading>,
    limit: Option<usize>,
    /// Which rows are enough, of each run of parts.
    wanted: Option<Wanted>,
    /// How many runs of neighbouring parts are read at once.
    partitions: usize,
    properties: Arc<PlanProperties>,
}

impl PermitScan {
    fn new(reading: Arc<Reading>, limit: Option<usize>, wanted: Option<Wanted>, partitions: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(reading.schema.clone()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { reading, limit, wanted, partitions, properties: Arc::new(properties) }
    }

    /// The parts of a partition: neighbours, so that the partitions one after the other are the table in its order.
    fn parts(&self, opened: &Opened, partition: usize) -> Range<usize> {
        let parts = opened.parts();
        parts * partition / self.partitions..parts * (partition + 1) / self.partitions
    }

    fn batches(&self, partition: usize) -> Result<impl Stream<Item = Result<RecordBatch>> + Send + use<>> {
        let opened = Opened::of(self.reading.clone())?;
        let (parts, left) = (self.parts(&opened, partition), self.limit.unwrap_or(usize::MAX));
        let first = self.wanted.map(|wanted| SoFar::of(&self.reading, wanted)).transpose()?;
        let state = State { opened, parts, rest: None, left, first };
        Ok(stream::try_unfold(state, |mut state| async move { Ok(state.next()?.map(|batch| (batch, state))) }))
    }
}

/// Where a scan is.
struct State {
    opened: Opened,
    parts: Range<usize>,
    rest: Option<RecordBatch>,
    left: usize,
    /// Where only the first rows are wanted.
    first: Option<SoFar>,
}

impl State {
    /// The next batch: of `SCAN_BATCH_ROWS` rows, but for the last. Where a batch ends follows from visible rows alone, for what comes
    /// after has an order that depends on it: of equal rows in a sort, of rows without a partner in a join.
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(first) = &mut self.first {
            // What is left of a part, if anything: whoever finds the first rows cannot be told by batches, and must be able to stop.
            return self.parts.next().map(|part| self.opened.part(part, usize::MAX, Some(first))).transpose();
        }
        let wanted = SCAN_BATCH_ROWS.min(self.left);
        let (mut slices, mut rows) = (Vec::new(), 0);
        while rows < wanted {
            if let Some(batch) = self.rest.take().filter(|b| b.num_rows() > 0) {
                let more = batch.num_rows().min(wanted - rows);
                slices.push(batch.slice(0, more));
                self.rest = Some(batch.slice(more, batch.num_rows() - more));
                rows += more;
            } else if let Some(part) = self.parts.next() {
                self.rest = Some(self.opened.part(part, self.left - rows, None)?);
            } else {
                break;
            }
        }
        self.left -= rows;
        Ok(match slices.as_slice() {
            [] => None,
            [batch] => Some(batch.clone()),
            [first, ..] => Some(concat_batches(first.schema_ref(), &slices)?),
        })
    }
}

impl DisplayAs for PermitScan {
    fn fmt_as(&self, style: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let table = &self.reading.table.name;
        if matches!(style, DisplayFormatType::TreeRender) {
            return write!(f, "table={table}");
        }
        let columns: Vec<&str> = self.reading.columns.iter().map(|c| c.name.as_str()).collect();
        write!(f, "PermitScan: table={table}, columns=[{}]", columns.join(", "))?;
        if !self.reading.filters.is_empty() {
            let filters: Vec<&str> = self.reading.filters.iter().map(|f| f.shown.as_str()).collect();
            write!(f, ", filters=[{}]", filters.join(", "))?;
        }
        if let Some(column) = self.wanted.and_then(|wanted| self.reading.columns.get(wanted.column)) {
            write!(f, ", first by {}", column.name)?;
        }
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

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = Box::pin(self.batches(partition)?);
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.reading.schema.clone(), batches))))
    }

    /// In runs of neighbouring parts; not where a limit says that the first rows are enough.
    fn repartitioned(&self, partitions: usize, _config: &ConfigOptions) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if self.limit.is_some() {
            return Ok(None);
        }
        // Also if there are fewer parts: a plan does not depend on how many rows there are.
        Ok(Some(Arc::new(Self::new(self.reading.clone(), None, self.wanted, partitions))))
    }

    fn with_new_state(&self, state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn ExecutionPlan>> {
        let wanted = *state.downcast_ref::<Wanted>()?;
        let can_be_bounded = self.limit.is_none() && self.reading.can_be_bounded(wanted.column);
        can_be_bounded.then(|| Arc::new(Self { wanted: Some(wanted), ..self.clone() }) as Arc<dyn ExecutionPlan>)
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
