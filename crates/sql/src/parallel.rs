//! Aggregation, and the search for first rows, on all cores, with the answer of one.
//!
//! A scan is cut into runs of neighbouring rows, each run is filtered, joined and aggregated by a task of its own, and the
//! results are merged in the order of the runs, whichever was ready first. So groups come out in the order of their first
//! row, as from one task; and only functions are admitted whose parts merge to exactly what all rows at once give. How many
//! tasks there are can therefore not be seen in an answer.

use crate::aggregate::mergeable;
use crate::first::{First, Wanted, cannot_fail};
use datafusion::common::JoinType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;
use std::fmt;
use std::sync::Arc;

/// How many first rows a scan may be asked for: what it remembers of them is in nobody's account.
const MOST_BOUNDED: usize = 1 << 16;

/// How many batches of a run wait for the runs before it.
const WAITING: usize = 2;

/// The rule that cuts aggregations into runs.
#[derive(Debug)]
pub(crate) struct Runs {
    /// How many at once.
    pub count: usize,
}

impl PhysicalOptimizerRule for Runs {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|plan| {
            if let Some(aggregate) = plan.downcast_ref::<AggregateExec>().filter(|_| self.count > 1)
                && let Some(cut) = self.cut(aggregate, config)?
            {
                return Ok(Transformed::yes(cut));
            }
            if let Some(first) = plan.downcast_ref::<First>().filter(|_| self.count > 1)
                && let Some(runs) = self.runs(first.input(), config)?
            {
                return Ok(Transformed::yes(of_runs(first, runs)?));
            }
            if let Some((order, input, most)) = sorted_and_cut(&plan)
                && let Some(first) = self.first_rows(order, input, most, config)?
            {
                return Ok(Transformed::yes(first));
            }
            let instead = left_last(&plan)?.or_else(|| in_order(&plan));
            Ok(instead.map_or_else(|| Transformed::no(plan), Transformed::yes))
        })?;
        let plan = plan.data;
        if plan.exists(|node| Ok(takes_as_they_come(node)))? {
            return Err(DataFusionError::Internal("a plan takes rows of several partitions as they come".to_owned()));
        }
        // What runs a plan would take the rows of several partitions as they come.
        Ok(if several(&plan) { Arc::new(InOrder::new(plan)) } else { plan })
    }

    fn name(&self) -> &str {
        "runs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn several(input: &Arc<dyn ExecutionPlan>) -> bool {
    input.output_partitioning().partition_count() > 1
}

/// What a node sorts by, its input, and how many rows it gives, if it gives the first ones.
fn sorted_and_cut(plan: &Arc<dyn ExecutionPlan>) -> Option<(&LexOrdering, &Arc<dyn ExecutionPlan>, usize)> {
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        return Some((sort.expr(), sort.input(), sort.fetch()?));
    }
    let merge = plan.downcast_ref::<SortPreservingMergeExec>().filter(|merge| several(merge.input()))?;
    Some((merge.expr(), merge.input(), merge.fetch()?))
}

/// The first of each run's first rows, in the order of the runs.
fn of_runs(first: &First, runs: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    first.over(Arc::new(InOrder::new(first.over(runs)?)))
}

/// Whether a plan is a scan below what cannot fail and leaves no row out: nobody can tell how its rows come in batches.
fn is_plain(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return projection.expr().iter().all(|e| cannot_fail(&e.expr)) && is_plain(projection.input());
    }
    plan.downcast_ref::<CooperativeExec>().map_or(plan.children().is_empty(), |cooperative| is_plain(cooperative.input()))
}

/// A plain plan whose scan leaves out rows that cannot be among the first `most` by `first`, if it can do that.
fn bounded(plan: &Arc<dyn ExecutionPlan>, first: &PhysicalSortExpr, most: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(column) = first.expr.downcast_ref::<Column>().map(Column::index) else { return Ok(None) };
    let [input] = plan.children()[..] else {
        return Ok(plan.with_new_state(Arc::new(Wanted { column, options: first.options, most })));
    };
    let below = match plan.downcast_ref::<ProjectionExec>().map(|projection| projection.expr().get(column)) {
        Some(Some(below)) => PhysicalSortExpr::new(Arc::clone(&below.expr), first.options),
        Some(None) => return Ok(None),
        None => first.clone(),
    };
    bounded(input, &below, most)?.map(|input| over(plan, vec![input])).transpose()
}

/// Whether the order of a node's rows, or which error it ends with, is the order in which threads finish.
fn takes_as_they_come(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let merges = plan.downcast_ref::<SortPreservingMergeExec>();
    let merges = merges.is_some_and(|merge| several(merge.input()));
    merges || plan.is::<CoalescePartitionsExec>() || plan.is::<InterleaveExec>() || plan.is::<RepartitionExec>()
}

/// In the place of a join that gives rows of its left side when its right side has ended, with a right side in several partitions, one
/// with a right side in order: it is the partition which happens to end last that gives them.
fn left_last(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let by_hash = plan.downcast_ref::<HashJoinExec>().map(HashJoinExec::join_type);
    let kind = by_hash.or_else(|| plan.downcast_ref::<NestedLoopJoinExec>().map(NestedLoopJoinExec::join_type));
    let gives_left = matches!(kind, Some(JoinType::Left | JoinType::Full | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark));
    match plan.children().as_slice() {
        [left, right] if gives_left && several(right) => {
            let right = Arc::new(InOrder::new(Arc::clone(right)));
            Ok(Some(over(plan, vec![Arc::clone(left), right])?))
        }
        _ => Ok(None),
    }
}

/// In the place of a node that takes the rows of several partitions (the inputs of a UNION) as they come, one that takes them
/// in order.
pub(crate) fn in_order(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let sorted = |expr: &LexOrdering, input: &Arc<dyn ExecutionPlan>, fetch| -> Arc<dyn ExecutionPlan> {
        Arc::new(SortExec::new(expr.clone(), Arc::new(InOrder::new(input.clone()))).with_fetch(fetch))
    };
    // Sorted together: what is merged fails with the error of the quickest partition, and the first rows of several are found with one
    // bound for all, so that a partition loses what equals it if another was quicker.
    if let Some(sort) = plan.downcast_ref::<SortExec>().filter(|sort| several(sort.input())) {
        return Some(sorted(sort.expr(), sort.input(), sort.fetch()));
    }
    if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>().filter(|merge| several(merge.input())) {
        return Some(sorted(merge.expr(), merge.input(), merge.fetch()));
    }
    if let Some(gather) = plan.downcast_ref::<RepartitionExec>().filter(|gather| gather.partitioning().partition_count() == 1) {
        let input = gather.input().clone();
        return Some(match input.output_ordering().filter(|_| gather.preserve_order()) {
            Some(order) => sorted(order, &input, None),
            None => Arc::new(InOrder::new(input)),
        });
    }
    let all = plan.downcast_ref::<CoalescePartitionsExec>()?;
    let in_order: Arc<dyn ExecutionPlan> = Arc::new(InOrder::new(all.input().clone()));
    Some(match all.fetch() {
        Some(fetch) => Arc::new(GlobalLimitExec::new(in_order, 0, Some(fetch))),
        None => in_order,
    })
}

impl Runs {
    /// The first `most` rows of `input`, if they are found without sorting all.
    fn first_rows(
        &self,
        order: &LexOrdering,
        input: &Arc<dyn ExecutionPlan>,
        most: usize,
        config: &ConfigOptions,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(first) = First::of_all(Arc::clone(input), most, order)? else { return Ok(None) };
        let mut input = Arc::clone(input);
        if is_plain(&input) {
            if let Some(runs) = self.runs(&input, config)?.filter(|_| self.count > 1) {
                input = runs;
            }
            if let Some(bounded) = bounded(&input, order.first(), most)?.filter(|_| most <= MOST_BOUNDED) {
                input = bounded;
            }
        }
        Ok(Some(if several(&input) { of_runs(&first, input)? } else { first.over(input)? }))
    }

    fn cut(&self, aggregate: &AggregateExec, config: &ConfigOptions) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let whole = matches!(aggregate.mode(), AggregateMode::Single | AggregateMode::SinglePartitioned);
        let part = *aggregate.mode() == AggregateMode::Partial;
        let mut functions = aggregate.aggr_expr().iter();
        let merges = functions.all(|f| mergeable(f.fun().name()) && !f.is_distinct() && f.order_bys().is_empty());
        if !(whole || part) || !merges || !aggregate.group_expr().is_single() || aggregate.limit_options().is_some() {
            return Ok(None);
        }
        let Some(input) = self.runs(aggregate.input(), config)? else { return Ok(None) };
        let (by, functions, schema) = (aggregate.group_expr(), aggregate.aggr_expr().to_vec(), aggregate.input_schema());
        let filters = aggregate.filter_expr().to_vec();
        let none = vec![None; functions.len()];
        let runs = AggregateExec::try_new(AggregateMode::Partial, by.clone(), functions.clone(), filters, input, schema.clone())?;
        if part {
            return Ok(Some(Arc::new(runs)));
        }
        let gathered = Arc::new(InOrder::new(Arc::new(runs)));
        let merged = AggregateExec::try_new(AggregateMode::Final, by.as_final(), functions, none, gathered, schema)?;
        Ok(Some(Arc::new(merged)))
    }

    /// The same rows in runs; `None` if what is below cannot be cut so that the runs, one after the other, are its rows in order.
    fn runs(&self, plan: &Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if plan.fetch().is_some() {
            return Ok(None); // each run would have as many
        }
        if plan.children().is_empty() {
            return plan.repartitioned(self.count, config);
        }
        if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            // The other kinds of join also give rows that found no partner: at the end of a batch, or when the last run ends.
            let by_run = matches!(join.join_type(), JoinType::Inner | JoinType::RightSemi | JoinType::RightAnti);
            if !by_run || *join.partition_mode() != PartitionMode::CollectLeft {
                return Ok(None);
            }
            let Some(right) = self.runs(join.right(), config)? else { return Ok(None) };
            return Ok(Some(over(plan, vec![join.left().clone(), right])?));
        }
        if plan.is::<UnionExec>() {
            let inputs: Result<Option<Vec<_>>> = plan.children().into_iter().map(|input| self.runs(input, config)).collect();
            return inputs?.map(|inputs| over(plan, inputs)).transpose();
        }
        let by_row = plan.is::<FilterExec>() || plan.is::<ProjectionExec>() || plan.is::<CooperativeExec>();
        match plan.children().as_slice() {
            [input] if by_row => match self.runs(input, config)? {
                Some(input) => Ok(Some(over(plan, vec![input])?)),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

/// The input of a node that has one.
pub(crate) fn only(mut inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
    let input = inputs.pop().filter(|_| inputs.is_empty());
    input.ok_or_else(|| DataFusionError::Internal("a node of one input was given another number".to_owned()))
}

fn over(plan: &Arc<dyn ExecutionPlan>, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.clone().replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

/// All runs at once, their batches in the order of the runs.
#[derive(Debug)]
struct InOrder {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl InOrder {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        // Each run may be sorted, or have one value in a column; all of them together are not, and a sort above must not rely on it.
        let mut equivalences = input.equivalence_properties().clone();
        equivalences.clear_orderings();
        equivalences.clear_per_partition_constants();
        let properties = PlanProperties::clone(input.properties())
            .with_partitioning(Partitioning::UnknownPartitioning(1))
            .with_eq_properties(equivalences);
        Self { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for InOrder {
    fn fmt_as(&self, _style: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("InOrder")
    }
}

impl ExecutionPlan for InOrder {
    fn name(&self) -> &str {
        "InOrder"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(&self, _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(only(children)?)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let runs = self.input.output_partitioning().partition_count();
        let run = |run: usize| {
            let mut builder = RecordBatchReceiverStream::builder(self.schema(), WAITING);
            let (mut batches, sender) = (self.input.execute(run, context.clone())?, builder.tx());
            // A task; dropping the stream ends it.
            builder.spawn(async move {
                while let Some(batch) = batches.next().await {
                    let failed = batch.is_err();
                    if sender.send(batch).await.is_err() || failed {
                        break;
                    }
                }
                Ok(())
            });
            Ok(builder.build())
        };
        let runs: Result<Vec<SendableRecordBatchStream>> = (0..runs).map(run).collect();
        let runs = runs?;
        let in_order = futures::stream::iter(runs).flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), in_order)))
    }
}
