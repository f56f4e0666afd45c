//! The day of an instant in the question's time zone (`CAST(started AS DATE)`), computed from an offset that is looked up once for each
//! week that occurs and not for each row: what the calendar of a time zone says costs a tenth of a microsecond.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::aggregate::{max, min};
use datafusion::arrow::datatypes::{DataType, Date32Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::{Arc, LazyLock};

const DAY_US: i64 = 24 * 3_600 * 1_000_000;
/// Offsets change twice a year at most, and never there and back within a week.
const WEEK_US: i64 = 7 * DAY_US;
/// Within these bounds, some 3,000 years around 1970, nothing overflows and every instant has a day.
const FAR_US: i64 = 100_000_000_000_000_000;

static DAY: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(Day { signature: Signature::any(1, Volatility::Immutable) })));

/// The same plan, in which casts of instants to days are this function.
pub(crate) fn with_days(plan: LogicalPlan) -> Result<LogicalPlan> {
    let with_days = plan.transform_up_with_subqueries(|node| {
        let (schema, names) = (merge_schema(&node.inputs()), NamePreserver::new(&node));
        node.map_expressions(|e| {
            let saved = names.save(&e);
            let with_days = e.transform_up(|e| match e {
                Expr::Cast(Cast { expr, field }) if *field.data_type() == DataType::Date32 && is_instant(&expr, &schema) => {
                    Ok(Transformed::yes(DAY.call(vec![*expr])))
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
        Ok(ColumnarValue::Array(days(instants)?))
    }
}

/// What casting to `Date32` gives.
fn days(instants: &ArrayRef) -> Result<ArrayRef> {
    let micros = instants.as_primitive_opt::<TimestampMicrosecondType>();
    let near = |us: Option<i64>| us.is_none_or(|us| (-FAR_US..FAR_US).contains(&us));
    match micros {
        Some(micros) if near(min(micros)) && near(max(micros)) => Ok(Arc::new(near_days(micros)?)),
        _ => Ok(cast(instants, &DataType::Date32)?),
    }
}

fn near_days(instants: &TimestampMicrosecondArray) -> Result<Date32Array> {
    // The weeks met so far, in order, and their offsets; `None` for one in which the clocks are changed.
    let mut weeks: Vec<(i64, Option<i64>)> = Vec::new();
    let mut present = (i64::MIN, None);
    let mut values = Vec::with_capacity(instants.len());
    for (row, instant) in instants.values().iter().enumerate() {
        if instants.is_null(row) {
            values.push(0);
            continue;
        }
        let week = instant.div_euclid(WEEK_US);
        if week != present.0 {
            present = match weeks.binary_search_by_key(&week, |(week, _)| *week) {
                Ok(at) => weeks.get(at).copied().unwrap_or(present),
                Err(at) => {
                    let (first, last) = (offset(instants, week * WEEK_US)?, offset(instants, (week + 1) * WEEK_US - 1)?);
                    let found = (week, (first == last).then_some(first));
                    weeks.insert(at, found);
                    found
                }
            };
        }
        let offset = present.1.map_or_else(|| offset(instants, *instant), Ok)?;
        values.push((instant + offset).div_euclid(DAY_US) as i32);
    }
    Ok(Date32Array::new(values.into(), instants.nulls().cloned()))
}

/// How far clocks are ahead of UTC at an instant, in microseconds.
fn offset(like: &TimestampMicrosecondArray, instant: i64) -> Result<i64> {
    let one = TimestampMicrosecondArray::from(vec![instant]).with_data_type(like.data_type().clone());
    let (day, time) = (cast(&one, &DataType::Date32)?, cast(&one, &DataType::Time64(TimeUnit::Microsecond))?);
    let day = day.as_primitive_opt::<Date32Type>().map(|day| i64::from(day.value(0)) * DAY_US);
    let time = time.as_primitive_opt::<Time64MicrosecondType>().map(|time| time.value(0));
    let local = day.zip(time).map(|(day, time)| day + time);
    local.map(|local| local - instant).ok_or_else(|| DataFusionError::Internal("an instant has no local time".to_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn check(instants: impl IntoIterator<Item = Option<i64>>, zone: &str) {
        let instants: TimestampMicrosecondArray = instants.into_iter().collect();
        let instants: ArrayRef = Arc::new(instants.with_timezone(zone));
        assert_eq!(&days(&instants).unwrap(), &cast(&instants, &DataType::Date32).unwrap(), "{zone}");
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
