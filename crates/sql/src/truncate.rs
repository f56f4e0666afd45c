//! `date_trunc` of instants, computed once for each day, month or year that occurs and not for each row: what the calendar of a
//! time zone says costs a microsecond.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use std::sync::Arc;

/// In the place of DataFusion's function, which it asks.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Truncate {
    inner: Arc<ScalarUDF>,
}

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

impl Truncate {
    pub(crate) fn instead_of(inner: Arc<ScalarUDF>) -> Self {
        Self { inner }
    }

    /// From the beginning of a period, how far it is into the next one, whatever their lengths.
    fn into_the_next(granularity: &str) -> Option<i64> {
        match granularity.to_lowercase().as_str() {
            "day" => Some(26 * HOUR_US), // a day in which the clocks go back has 25 hours
            "week" => Some(8 * DAY_US),
            "month" => Some(32 * DAY_US),
            "quarter" => Some(93 * DAY_US),
            "year" => Some(367 * DAY_US),
            _ => None,
        }
    }

    fn asked(&self, args: &ScalarFunctionArgs, instant: i64) -> Result<i64> {
        let unexpected = || DataFusionError::Internal("date_trunc gave something else".to_owned());
        let one = TimestampMicrosecondArray::from(vec![instant]).with_data_type(args.return_field.data_type().clone());
        let granularity = args.args.first().cloned().ok_or_else(unexpected)?;
        let (arg_fields, return_field, config_options) = (args.arg_fields.clone(), args.return_field.clone(), args.config_options.clone());
        let args = vec![granularity, ColumnarValue::Array(Arc::new(one))];
        let one = ScalarFunctionArgs { args, arg_fields, number_rows: 1, return_field, config_options };
        let truncated = self.inner.invoke_with_args(one)?.into_array(1)?;
        truncated.as_primitive_opt::<TimestampMicrosecondType>().map(|a| a.value(0)).ok_or_else(unexpected)
    }

    fn truncated(&self, args: &ScalarFunctionArgs, instants: &TimestampMicrosecondArray, next: i64) -> Result<ArrayRef> {
        // The periods met so far, in order of time: beginning, and beginning of the next.
        let mut periods: Vec<(i64, i64)> = Vec::new();
        let mut present = (0, 0);
        let mut values = Vec::with_capacity(instants.len());
        for (row, instant) in instants.values().iter().enumerate() {
            if instants.is_null(row) {
                values.push(0);
                continue;
            }
            if !(present.0..present.1).contains(instant) {
                let place = periods.partition_point(|(begin, _)| begin <= instant);
                let known = place.checked_sub(1).and_then(|p| periods.get(p)).filter(|(_, end)| instant < end);
                present = match known {
                    Some(period) => *period,
                    None => {
                        let begin = self.asked(args, *instant)?;
                        let end = begin.checked_add(next).map_or(Ok(begin), |within| self.asked(args, within))?;
                        let whole = *instant < end && self.asked(args, end - 1)? == begin;
                        // What does not behave like a period is asked for by itself.
                        let period = if whole { (begin, end) } else { (begin, begin) };
                        if whole {
                            periods.insert(place, period);
                        }
                        period
                    }
                };
            }
            values.push(present.0);
        }
        let truncated = TimestampMicrosecondArray::new(values.into(), instants.nulls().cloned());
        Ok(Arc::new(truncated.with_data_type(args.return_field.data_type().clone())))
    }
}

impl ScalarUDFImpl for Truncate {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(arguments)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [ColumnarValue::Scalar(granularity), ColumnarValue::Array(instants)] = args.args.as_slice()
            && let Some(Some(granularity)) = granularity.try_as_str()
            && let Some(next) = Self::into_the_next(granularity)
            && matches!(instants.data_type(), DataType::Timestamp(TimeUnit::Microsecond, Some(_)))
            && instants.data_type() == args.return_field.data_type()
            && let Some(instants) = instants.as_primitive_opt::<TimestampMicrosecondType>()
        {
            return Ok(ColumnarValue::Array(self.truncated(&args, instants, next)?));
        }
        self.inner.invoke_with_args(args)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use datafusion::arrow::datatypes::Field;
    use datafusion::common::ScalarValue;
    use datafusion::config::ConfigOptions;
    use proptest::prelude::*;

    fn ask(function: &dyn Fn(ScalarFunctionArgs) -> Result<ColumnarValue>, granularity: &str, instants: &ArrayRef) -> ArrayRef {
        let field = Arc::new(Field::new("t", instants.data_type().clone(), true));
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Scalar(ScalarValue::from(granularity)), ColumnarValue::Array(instants.clone())],
            arg_fields: vec![Arc::new(Field::new("g", DataType::Utf8, false)), field.clone()],
            number_rows: instants.len(),
            return_field: field,
            config_options: Arc::new(ConfigOptions::default()),
        };
        function(args).unwrap().into_array(instants.len()).unwrap()
    }

    proptest! {
        /// The same as DataFusion's own, over the changes of the clocks and before 1970.
        #[test]
        fn truncates_as_datafusion_does(
            near in prop::collection::vec(prop::option::of(1_750_000_000_000_000..1_800_000_000_000_000_i64), 0..80),
            far in prop::collection::vec(-2_000_000_000_000_000..4_000_000_000_000_000_i64, 0..20),
            granularity in prop::sample::select(vec!["day", "week", "MONTH", "quarter", "year", "hour"]),
        ) {
            let inner = datafusion::functions::datetime::date_trunc();
            let ours = Truncate::instead_of(inner.clone());
            let instants: TimestampMicrosecondArray = near.into_iter().chain(far.into_iter().map(Some)).collect();
            let instants: ArrayRef = Arc::new(instants.with_timezone("Europe/Oslo"));
            let expected = ask(&|args| inner.invoke_with_args(args), granularity, &instants);
            let truncated = ask(&|args| ours.invoke_with_args(args), granularity, &instants);
            prop_assert_eq!(&truncated, &expected);
        }
    }
}
