//! The functions of a permit's session: DataFusion's, less those whose answer is not a function of the data, and those
//! that make much out of little.

use crate::limits::MAX_SERIES;
use crate::truncate::Truncate;
use crate::zone::Zone;
use datafusion::catalog::{TableFunction, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateDefaults;
use datafusion::functions_table::generate_series::{GenerateSeriesFunc, RangeFunc};
use datafusion::logical_expr::{Expr, ScalarUDF, Volatility};
use std::collections::HashMap;
use std::sync::Arc;

/// Functions that are refused by name, with the reason.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["random", "rand", "uuid", "gen_random_uuid"],
        "its answer is not a function of the data, so that the question could not be answered again as of this commit",
    ),
    (&["input_file_name", "file_row_index", "version"], "it speaks about the machine and not about the data"),
    (
        &["repeat", "lpad", "rpad", "array_repeat", "list_repeat", "array_resize", "list_resize", "space"],
        "it can make values of any size out of nothing",
    ),
    (&["arrow_metadata", "with_metadata"], "it concerns no data"),
];

/// Functions that make a list of a number of elements: refused as scalars; as tables they are streamed and bounded.
const SERIES: &[&str] = &["range", "generate_series"];

/// Why a function is refused, if it is.
pub fn refusal(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(names, _)| names.contains(&name)).map(|(_, reason)| *reason)
}

/// The scalar functions of a session.
pub fn scalar_functions(zone: &Arc<Zone>) -> Vec<Arc<ScalarUDF>> {
    let refused = |name: &str| refusal(name).is_some() || SERIES.contains(&name);
    let mut functions = SessionStateDefaults::default_scalar_functions();
    functions.retain(|f| {
        f.signature().volatility != Volatility::Volatile && !refused(f.name()) && !f.aliases().iter().any(|alias| refused(alias))
    });
    for function in &mut functions {
        if function.name() == "date_trunc" {
            *function = Arc::new(ScalarUDF::from(Truncate::instead_of(function.clone(), Arc::clone(zone))));
        }
    }
    functions
}

/// The table functions of a session.
pub fn table_functions() -> HashMap<String, Arc<TableFunction>> {
    let series: [(&str, Arc<dyn TableFunctionImpl>); 2] =
        [("generate_series", Arc::new(GenerateSeriesFunc {})), ("range", Arc::new(RangeFunc {}))];
    let bounded = |(name, inner): (&str, Arc<dyn TableFunctionImpl>)| {
        let function = TableFunction::new(name.to_owned(), Arc::new(Bounded { inner }));
        (name.to_owned(), Arc::new(function))
    };
    series.into_iter().map(bounded).collect()
}

/// A series with a bound.
#[derive(Debug)]
struct Bounded {
    inner: Arc<dyn TableFunctionImpl>,
}

impl TableFunctionImpl for Bounded {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        if series_length(args.exprs()) > u128::from(MAX_SERIES) {
            return Err(DataFusionError::Plan(format!("a series may have at most {MAX_SERIES} rows")));
        }
        self.inner.call_with_args(args)
    }
}

/// How many integers a series has at most. Series of dates and instants stream; the limits of the question stop them.
fn series_length(args: &[Expr]) -> u128 {
    let integer = |e: &Expr| match e {
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => Some(i128::from(*n)),
        Expr::Literal(ScalarValue::Int32(Some(n)), _) => Some(i128::from(*n)),
        Expr::Literal(ScalarValue::UInt64(Some(n)), _) => Some(i128::from(*n)),
        _ => None,
    };
    let numbers: Option<Vec<i128>> = args.iter().map(integer).collect();
    match numbers.as_deref() {
        Some([end]) => end.unsigned_abs(),
        Some([start, end]) => end.abs_diff(*start),
        Some([start, end, step]) => end.abs_diff(*start) / step.unsigned_abs().max(1),
        _ => 0,
    }
}
