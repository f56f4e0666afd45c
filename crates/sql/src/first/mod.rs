//! The first row of each partition: `ROW_NUMBER() OVER (PARTITION BY p ORDER BY o) = 1`, which is how analysts write "the newest
//! value of each patient"; and the first rows of all: `ORDER BY o LIMIT n`. Elsewhere all rows are sorted for the one, and for the other
//! equal rows come in an order that follows from where batches end; here those that are first so far are kept while rows go by, and of
//! equal rows those that came first.

mod all;
mod bound;
mod each;
mod exec;

pub use bound::{Bound, Wanted};
pub(crate) use exec::First;

use crate::numbers::number_shown;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal, lit};
use datafusion::physical_expr::utils::conjunction;
use datafusion::physical_expr::window::StandardWindowExpr;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowUDFExpr};
use std::sync::Arc;

/// The rule that finds a filter on `ROW_NUMBER() = 1`. It runs before anything is sorted for the window.
#[derive(Debug)]
pub(crate) struct FirstRows;

impl PhysicalOptimizerRule for FirstRows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let found = |plan| Ok(first_rows(&plan)?.map_or_else(|| Transformed::no(plan), Transformed::yes));
        plan.transform_down(found).data()
    }

    fn name(&self) -> &str {
        "first_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// In the place of a filter over projections over a window, the projections over the first row of each partition.
fn first_rows(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = plan.downcast_ref::<FilterExec>() else { return Ok(None) };
    if filter.projection().is_some() || filter.fetch().is_some() {
        return Ok(None);
    }
    let conditions = split_conjunction(filter.predicate());
    for (position, condition) in conditions.iter().enumerate() {
        let Some(number) = is_one(condition) else { continue };
        let Some(first) = without_window(filter.input(), number)? else { continue };
        let rest: Vec<_> = conditions.iter().enumerate().filter(|(p, _)| *p != position).map(|(_, c)| Arc::clone(c)).collect();
        return Ok(Some(if rest.is_empty() { first } else { Arc::new(FilterExec::try_new(conjunction(rest), first)?) }));
    }
    Ok(None)
}

/// The column that a condition says is 1, or at most 1, for a number that is never less.
fn is_one(condition: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    let binary = condition.downcast_ref::<BinaryExpr>()?;
    let (column, op, literal) = match binary.left().downcast_ref::<Column>() {
        Some(column) => (column, *binary.op(), binary.right()),
        None => (binary.right().downcast_ref()?, binary.op().swap()?, binary.left()),
    };
    let value = literal.downcast_ref::<Literal>()?.value().cast_to(&ScalarValue::Int64(None).data_type()).ok()?;
    let ScalarValue::Int64(Some(value)) = value else { return None };
    matches!((op, value), (Operator::Eq | Operator::LtEq, 1) | (Operator::Lt, 2)).then_some(column.index())
}

/// The rows of `plan` whose column `number` is 1, if that is the ROW_NUMBER() of a window below projections.
fn without_window(plan: &Arc<dyn ExecutionPlan>, number: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let Some(below) = projection.expr().get(number).and_then(|e| e.expr.downcast_ref::<Column>()) else { return Ok(None) };
        let Some(first) = without_window(projection.input(), below.index())? else { return Ok(None) };
        return Ok(Some(Arc::new(ProjectionExec::try_new(projection.expr().to_vec(), first)?)));
    }
    let Some(window) = plan.downcast_ref::<BoundedWindowAggExec>() else { return Ok(None) };
    let [expression] = window.window_expr() else { return Ok(None) };
    let (input, schema) = (window.input(), window.input().schema());
    let numbered = expression.as_any().downcast_ref::<StandardWindowExpr>().is_some_and(|function| {
        let function = function.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>();
        function.is_some_and(|function| function.fun().name() == "row_number")
    });
    let (by, order) = (expression.partition_by(), expression.order_by());
    if !numbered || number != schema.fields().len() || by.is_empty() || !can_be_kept(order, &schema)? {
        return Ok(None);
    }
    // For a window -0.0 and 0.0 are two partitions, for groups they are one.
    let is_float = |e: &Arc<dyn PhysicalExpr>| Ok::<bool, DataFusionError>(e.data_type(&schema)?.is_floating());
    if by.iter().map(is_float).collect::<Result<Vec<bool>>>()?.contains(&true) {
        return Ok(None);
    }
    let by = by.iter().map(|e| Arc::clone(number_shown(e).unwrap_or(e))).collect();
    let first: Arc<dyn ExecutionPlan> = Arc::new(First::of_each(Arc::clone(input), by, order.to_vec())?);
    let handed_on = schema.fields().iter().enumerate().map(|(at, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), at));
        ProjectionExpr::new(column, field.name().clone())
    });
    let windowed = plan.schema();
    let one = lit(ScalarValue::UInt64(Some(1)));
    let one = ProjectionExpr::new(one, windowed.field(number).name().clone());
    Ok(Some(Arc::new(ProjectionExec::try_new(handed_on.chain([one]), first)?)))
}

/// Keeps the rows that may be first, of those that have come.
trait Keep: Send {
    /// Looks at more rows, which come after those before.
    fn add(&mut self, batch: &RecordBatch) -> Result<()>;

    /// The rows that are first.
    fn finish(self: Box<Self>) -> Result<RecordBatch>;

    /// How much memory it holds, in bytes.
    fn size(&self) -> usize;
}

/// Whether rows can be compared by their bytes, and whether only the first expression to sort by can fail: the others are evaluated
/// for ties alone, and which rows those are depends on how the rows are cut into runs.
fn can_be_kept(order: &[PhysicalSortExpr], schema: &Schema) -> Result<bool> {
    Ok(order.iter().skip(1).all(|by| cannot_fail(&by.expr)) && RowConverter::supports_fields(&fields(order, schema)?))
}

/// Whether an expression is a column, or how its number shows.
pub(crate) fn cannot_fail(e: &Arc<dyn PhysicalExpr>) -> bool {
    number_shown(e).unwrap_or(e).is::<Column>()
}

/// How the expressions to sort by compare.
fn fields(order: &[PhysicalSortExpr], schema: &Schema) -> Result<Vec<SortField>> {
    order.iter().map(|by| Ok(SortField::new_with_options(by.expr.data_type(schema)?, by.options))).collect()
}

/// Expressions as columns.
fn evaluated<'a>(expressions: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    expressions.into_iter().map(|e| e.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

/// The rows without the texts of others: a view holds on to all of its buffers.
fn compacted(batch: RecordBatch) -> Result<RecordBatch> {
    let is_view = |field: &Arc<Field>| matches!(field.data_type(), DataType::Utf8View | DataType::BinaryView);
    if !batch.schema_ref().fields().iter().any(is_view) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()) as ArrayRef,
        _ => Arc::clone(column),
    });
    Ok(RecordBatch::try_new(Arc::clone(batch.schema_ref()), columns.collect())?)
}
