//! COUNT(DISTINCT key): how many numbers there are, counted on the numbers.

mod bitmaps;
mod counts;
mod pairs;

use super::{Kind, Numbered};
use counts::{Counts, One, state_types};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt32Type, UInt64Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, Aggregate, AggregateUDF, AggregateUDFImpl, Expr, GroupsAccumulator, LogicalPlan, Signature, Volatility,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use std::sync::{Arc, LazyLock};

/// The aggregate function `count_numbers`. Planning puts it in the place of COUNT(DISTINCT); it is in no registry.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CountNumbers {
    signature: Signature,
}

static COUNT_NUMBERS: LazyLock<Arc<AggregateUDF>> =
    LazyLock::new(|| Arc::new(AggregateUDF::new_from_impl(CountNumbers { signature: Signature::any(1, Volatility::Immutable) })));

/// The rule that finds COUNT(DISTINCT column) of columns that can be numbers.
#[derive(Debug, Default)]
pub struct CountDistinctNumbers;

impl OptimizerRule for CountDistinctNumbers {
    fn name(&self) -> &str {
        "count_distinct_numbers"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, schema, .. }) = plan else {
            return Ok(Transformed::no(plan));
        };
        let mut changed = false;
        let functions = aggr_expr.into_iter().map(|e| {
            let transformed = e.transform_down(|e| match e {
                Expr::AggregateFunction(f) if counts_numbers(&f, &input) => {
                    let params = AggregateFunctionParams { distinct: false, ..f.params };
                    Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func: COUNT_NUMBERS.clone(), params })))
                }
                other => Ok(Transformed::no(other)),
            })?;
            changed |= transformed.transformed;
            Ok(transformed.data)
        });
        let functions: Result<Vec<Expr>> = functions.collect();
        let functions = functions?;
        let aggregate = LogicalPlan::Aggregate(Aggregate::try_new_with_schema(input, group_expr, functions, schema)?);
        Ok(if changed { Transformed::yes(aggregate) } else { Transformed::no(aggregate) })
    }
}

fn counts_numbers(function: &AggregateFunction, input: &LogicalPlan) -> bool {
    let AggregateFunction { func, params } = function;
    match params.args.as_slice() {
        [Expr::Column(column)] if func.name() == "count" && params.distinct => kind(input, column).is_some(),
        _ => false,
    }
}

/// What the numbers behind a column of a plan stand for, if it hands on a table's column as it is. What the rule takes for a
/// number and [`super::lower`] does not is counted as text.
fn kind(plan: &LogicalPlan, column: &Column) -> Option<Kind> {
    let position = plan.schema().maybe_index_of_column(column)?;
    let (qualifier, field) = plan.schema().qualified_field(position);
    let same = Column::new(qualifier.cloned(), field.name());
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = Numbered::of(&scan.source)?;
            let position = scan.projection.as_ref().map_or(Some(position), |p| p.get(position).copied())?;
            table.kinds.get(position).copied().flatten()
        }
        LogicalPlan::Projection(projection) => match projection.expr.get(position)?.clone().unalias() {
            Expr::Column(inner) => kind(&projection.input, &inner),
            _ => None,
        },
        LogicalPlan::SubqueryAlias(alias) => {
            let (qualifier, field) = alias.input.schema().qualified_field(position);
            kind(&alias.input, &Column::new(qualifier.cloned(), field.name()))
        }
        LogicalPlan::Filter(filter) => kind(&filter.input, &same),
        LogicalPlan::Limit(limit) => kind(&limit.input, &same),
        LogicalPlan::Sort(sort) => kind(&sort.input, &same),
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(position)? {
            Expr::Column(inner) => kind(&aggregate.input, inner),
            _ => None,
        },
        LogicalPlan::Join(join) => kind(&join.left, &same).or_else(|| kind(&join.right, &same)),
        LogicalPlan::Union(union) => {
            let mut kinds = union.inputs.iter().map(|input| {
                let (qualifier, field) = input.schema().qualified_field(position);
                kind(input, &Column::new(qualifier.cloned(), field.name()))
            });
            let first = kinds.next()??;
            kinds.all(|kind| kind == Some(first)).then_some(first)
        }
        _ => None,
    }
}

impl AggregateUDFImpl for CountNumbers {
    fn name(&self) -> &str {
        "count_numbers"
    }

    /// The column keeps the name that the question gave it.
    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        let distinct = AggregateFunctionParams { distinct: true, ..params.clone() };
        datafusion::functions_aggregate::count::count_udaf().schema_name(&distinct)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _data_type: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match args.expr_fields.first().map(|f| f.data_type()) {
            Some(DataType::UInt32) => Ok(Box::new(One::<UInt32Type>::default())),
            Some(DataType::UInt64) => Ok(Box::new(One::<UInt64Type>::default())),
            other => Err(unexpected(other)),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let numbers = args.input_fields.first().map_or(&DataType::UInt32, |field| field.data_type());
        let state = |(part, data_type)| Arc::new(Field::new(format_state_name(args.name, part), data_type, true));
        Ok(["bitmap", "numbers"].into_iter().zip(state_types(numbers)).map(state).collect())
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match args.expr_fields.first().map(|f| f.data_type()) {
            Some(DataType::UInt32) => Ok(Box::<Counts<UInt32Type>>::default()),
            Some(DataType::UInt64) => Ok(Box::<Counts<UInt64Type>>::default()),
            other => Err(unexpected(other)),
        }
    }
}

fn unexpected(data_type: Option<&DataType>) -> DataFusionError {
    DataFusionError::Internal(format!("numbers to count are of type {data_type:?}"))
}
