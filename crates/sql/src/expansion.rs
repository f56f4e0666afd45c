//! How large a plan becomes when columns are replaced by the expressions behind them, as an optimiser does when it moves
//! filters down. Each level that uses a column twice doubles it: thirty levels are 2^30 nodes, made by a page of SQL.

use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The number of expression nodes of a plan, written out; an upper bound that saturates.
pub fn size(plan: &LogicalPlan) -> u64 {
    let mut total = 0;
    columns(plan, &mut total);
    total
}

/// The size of the expression behind each output column of `plan`; adds the sizes of all its expressions to `total`.
fn columns(plan: &LogicalPlan, total: &mut u64) -> Vec<u64> {
    let inputs: Vec<(&LogicalPlan, Vec<u64>)> = plan.inputs().into_iter().map(|input| (input, columns(input, total))).collect();
    let width = plan.schema().fields().len();
    let heaviest = inputs.iter().flat_map(|(_, sizes)| sizes).copied().max().unwrap_or(1);
    let behind = |column: &Column| {
        let found = inputs.iter().find_map(|(input, sizes)| {
            let position = input.schema().maybe_index_of_column(column)?;
            sizes.get(position).copied()
        });
        found.unwrap_or(heaviest)
    };
    let mut sizes = Vec::new();
    let _ = plan.apply_expressions(|expression| {
        let size = written_out(expression, &behind);
        *total = total.saturating_add(size);
        sizes.push(size);
        Ok(TreeNodeRecursion::Continue)
    });
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => fit(sizes, width, heaviest),
        LogicalPlan::Window(_) => {
            let input = inputs.into_iter().flat_map(|(_, sizes)| sizes);
            fit(input.chain(sizes).collect(), width, heaviest)
        }
        LogicalPlan::Union(_) => vec![heaviest; width],
        _ => fit(inputs.into_iter().flat_map(|(_, sizes)| sizes).collect(), width, heaviest),
    }
}

/// Sizes by position where there is one for each column; else every column counts as the heaviest.
fn fit(sizes: Vec<u64>, width: usize, heaviest: u64) -> Vec<u64> {
    if sizes.len() == width { sizes } else { vec![sizes.iter().copied().max().unwrap_or(1).max(heaviest); width] }
}

fn written_out(expression: &Expr, behind: &impl Fn(&Column) -> u64) -> u64 {
    let mut size: u64 = 0;
    let _ = expression.apply(|node| {
        let weight = match node {
            Expr::Column(column) => behind(column),
            Expr::ScalarSubquery(subquery) => self::size(&subquery.subquery),
            Expr::Exists(exists) => self::size(&exists.subquery.subquery),
            Expr::InSubquery(within) => self::size(&within.subquery.subquery),
            Expr::SetComparison(set) => self::size(&set.subquery.subquery),
            _ => 1,
        };
        size = size.saturating_add(weight.max(1));
        Ok(TreeNodeRecursion::Continue)
    });
    size
}
