//! Which plans can run again, on other rows than those that they first ran on.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use std::sync::Arc;

/// The operators that hold nothing of a run but what [`renewed`] takes away, by name. Others are planned for each question: those
/// that hold rows (the tables of `information_schema`, `VALUES`), the text of a plan, or the result of a subquery.
const RENEWABLE: [&str; 17] = [
    "AggregateExec",
    "BoundedWindowAggExec",
    "CooperativeExec",
    "FilterExec",
    "FirstOfAll",
    "FirstOfEach",
    "GlobalLimitExec",
    "HashJoinExec",
    "InOrder",
    "LocalLimitExec",
    "PermitScan",
    "ProjectionExec",
    "SortExec",
    "SortExec(TopK)",
    "SortPreservingMergeExec",
    "UnionExec",
    "WindowAggExec",
];

/// Whether a plan may run again after [`renewed`].
pub fn is_renewable(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let other = plan.exists(|node| Ok(!RENEWABLE.contains(&node.name())));
    !other.unwrap_or(true)
}

/// The plan as it was before it ran.
pub fn renewed(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    reset_plan_states(Arc::clone(plan))
}

/// Whether a logical plan depends on when it is made: it calls a function such as `now()`, for which planning puts in a value.
pub fn depends_on_time(plan: &LogicalPlan) -> bool {
    let mut depends = false;
    let stable = |e: &Expr| Ok(matches!(e, Expr::ScalarFunction(f) if f.func.signature().volatility != Volatility::Immutable));
    let looked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|e| {
            depends |= e.exists(stable)?;
            Ok(TreeNodeRecursion::Continue)
        })
    });
    depends || looked.is_err()
}
