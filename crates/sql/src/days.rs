//! The day of an instant in the question's time zone (`CAST(started AS DATE)`), by a table of the zone's offsets.

use crate::zone::Zone;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// The function that takes the day of an instant of a zone.
pub(crate) fn day(zone: &Arc<Zone>) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Day { zone: Arc::clone(zone), signature: Signature::any(1, Volatility::Immutable) }))
}

/// The same plan, in which casts of instants to days are that function.
pub(crate) fn with_days(plan: LogicalPlan, day: &ScalarUDF) -> Result<LogicalPlan> {
    let with_days = plan.transform_up_with_subqueries(|node| {
        let (schema, names) = (merge_schema(&node.inputs()), NamePreserver::new(&node));
        node.map_expressions(|e| {
            let saved = names.save(&e);
            let with_days = e.transform_up(|e| match e {
                Expr::Cast(Cast { expr, field }) if *field.data_type() == DataType::Date32 && is_instant(&expr, &schema) => {
                    Ok(Transformed::yes(day.call(vec![*expr])))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(with_days.update_data(|e| saved.restore(e)))
        })
    });
    with_days.map(|t| t.data)
}

fn is_instant(e: &Expr, schema: &datafusion::common::DFSchema) -> bool {
    // What is written in the question has been computed by now, or stays as it is.
    !matches!(e, Expr::Literal(_, _)) && matches!(e.get_type(schema), Ok(DataType::Timestamp(TimeUnit::Microsecond, Some(_))))
}

/// The function. It is in no registry: nobody can call it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Day {
    zone: Arc<Zone>,
    signature: Signature,
}

impl ScalarUDFImpl for Day {
    fn name(&self) -> &str {
        "day"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let instants = ColumnarValue::values_to_arrays(&args.args)?;
        let instants = instants.first().ok_or_else(|| DataFusionError::Internal("no instant to take the day of".to_owned()))?;
        Ok(ColumnarValue::Array(days(&self.zone, instants)?))
    }
}

/// What casting to `Date32` gives.
fn days(zone: &Zone, instants: &ArrayRef) -> Result<ArrayRef> {
    let micros = instants.as_primitive_opt::<TimestampMicrosecondType>().filter(|_| zone.is_of(instants.data_type()));
    match micros.and_then(|micros| near_days(zone, micros)) {
        Some(days) => Ok(Arc::new(days)),
        None => Ok(cast(instants, &DataType::Date32)?),
    }
}

/// The days of instants; `None` if one is far from the present.
fn near_days(zone: &Zone, instants: &TimestampMicrosecondArray) -> Option<Date32Array> {
    let mut values = Vec::with_capacity(instants.len());
    // The day of the row before: neighbours often have the same.
    let (mut present, mut day) = (0..0, 0);
    for (row, instant) in instants.values().iter().enumerate() {
        if !present.contains(instant) && instants.is_valid(row) {
            day = zone.day(*instant)?;
            present = zone.midnight(day).zip(zone.midnight(day + 1)).map_or(0..0, |(begin, end)| begin..end);
        }
        values.push(day); // of a null anything
    }
    Some(Date32Array::new(values.into(), instants.nulls().cloned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn check(instants: impl IntoIterator<Item = Option<i64>>, zone: &str) {
        let instants: TimestampMicrosecondArray = instants.into_iter().collect();
        let instants: ArrayRef = Arc::new(instants.with_timezone(zone));
        let zone = Zone::new(zone);
        assert_eq!(&days(&zone, &instants).unwrap(), &cast(&instants, &DataType::Date32).unwrap(), "{zone:?}");
    }

    #[test]
    fn days_change_where_the_clocks_say() {
        // Minutes around both changes of 2026 and around midnights.
        let around = |at: &str| {
            let at = at.parse::<i64>().unwrap() * 1_000_000;
            (-300..300).map(move |minute| Some(at + minute * 60_000_000 + 1))
        };
        check(around("1774746000").chain(around("1792890000")).chain(around("1767222000")).chain([None]), "Europe/Oslo");
    }

    #[test]
    fn a_day_goes_on_after_a_midnight_that_comes_twice() {
        // Newfoundland's clocks were put back at one minute past midnight, here on 1 November 2009.
        check((-90..90).map(|minute| Some((1_257_042_660 + minute * 60) * 1_000_000)), "America/St_Johns");
    }

    proptest! {
        #[test]
        fn days_are_those_of_a_cast(
            near in prop::collection::vec(prop::option::of(1_500_000_000_000_000..1_900_000_000_000_000_i64), 0..60),
            far in prop::collection::vec(-3_000_000_000_000_000..6_000_000_000_000_000_i64, 0..20),
            zone in prop::sample::select(vec!["Europe/Oslo", "UTC", "America/St_Johns", "+05:30"]),
        ) {
            check(near.into_iter().chain(far.into_iter().map(Some)), zone);
        }
    }
}
