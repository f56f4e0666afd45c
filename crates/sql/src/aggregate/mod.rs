//! Aggregate functions of our own: SUM and AVG of floating-point numbers that do not depend on the order of rows.
//!
//! What else is computed on floating-point numbers (variance, correlation, regression) is DataFusion's and does depend on it;
//! questions that use them run in one partition, in the order of commits.

mod exact;
mod float;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::AggregateUDF;
use float::ExactFloat;
use std::sync::Arc;

/// The aggregate functions of a session.
pub fn functions() -> Vec<Arc<AggregateUDF>> {
    let exact = |f: Arc<AggregateUDF>| match f.name() {
        "sum" | "avg" => Arc::new(AggregateUDF::new_from_impl(ExactFloat::instead_of(f))),
        _ => f,
    };
    SessionStateDefaults::default_aggregate_functions().into_iter().map(exact).collect()
}

/// Whether a function of a part of the rows can be merged with that of the rest, with the same result as of all rows at once.
pub fn mergeable(name: &str) -> bool {
    matches!(name, "count" | "count_numbers" | "sum" | "avg" | "min" | "max" | "bool_and" | "bool_or")
}
