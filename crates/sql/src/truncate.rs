//! `date_trunc` of instants to days, months or years, by a table of the zone's offsets: what the calendar of a time zone says costs a
//! microsecond.

use crate::zone::Zone;
use chrono::{Datelike, NaiveDate};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use std::ops::Range;
use std::sync::Arc;

/// In the place of DataFusion's function, which it asks for what the table does not say.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Truncate {
    inner: Arc<ScalarUDF>,
    zone: Arc<Zone>,
}

/// Periods that begin at a midnight.
#[derive(Clone, Copy, Debug)]
enum Period {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Period {
    fn of(granularity: &str) -> Option<Self> {
        Some(match granularity.to_lowercase().as_str() {
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// From its first day, how many days are into the next period, whatever their lengths.
    fn into_the_next(self) -> i32 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 32,
            Self::Quarter => 93,
            Self::Year => 367,
        }
    }

    /// The period that an instant is in, if the table says it.
    fn around(self, instant: i64, zone: &Zone) -> Option<Range<i64>> {
        let first = self.first_day(zone.day(instant)?)?;
        let next = self.first_day(first.checked_add(self.into_the_next())?)?;
        Some(zone.midnight(first)?..zone.midnight(next)?)
    }

    /// The first day of the period that a day is in, both as days since 1970.
    fn first_day(self, day: i32) -> Option<i32> {
        let date = NaiveDate::from_epoch_days(day)?;
        let first = match self {
            Self::Day => return Some(day),
            Self::Week => return day.checked_sub(date.weekday().num_days_from_monday().cast_signed()),
            Self::Month => date.with_day(1),
            Self::Quarter => NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1),
            Self::Year => NaiveDate::from_ymd_opt(date.year(), 1, 1),
        };
        first.map(|first| first.to_epoch_days())
    }
}

impl Truncate {
    pub(crate) fn instead_of(inner: Arc<ScalarUDF>, zone: Arc<Zone>) -> Self {
        Self { inner, zone }
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

    fn truncated(&self, args: &ScalarFunctionArgs, instants: &TimestampMicrosecondArray, period: Period) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(instants.len());
        // The period of the row before: neighbours often have the same.
        let mut present = 0..0;
        for (row, instant) in instants.values().iter().enumerate() {
            if instants.is_null(row) {
                values.push(0);
                continue;
            }
            if !present.contains(instant) {
                present = match period.around(*instant, &self.zone) {
                    Some(around) => around,
                    None => {
                        let begin = self.asked(args, *instant)?;
                        begin..begin
                    }
                };
            }
            values.push(present.start);
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
            && let Some(period) = Period::of(granularity)
            && self.zone.is_of(instants.data_type())
            && instants.data_type() == args.return_field.data_type()
            && let Some(instants) = instants.as_primitive_opt::<TimestampMicrosecondType>()
        {
            return Ok(ColumnarValue::Array(self.truncated(&args, instants, period)?));
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

    fn check(instants: impl IntoIterator<Item = Option<i64>>, granularity: &str, zone: &str) {
        let inner = datafusion::functions::datetime::date_trunc();
        let ours = Truncate::instead_of(inner.clone(), Arc::new(Zone::new(zone)));
        let instants: TimestampMicrosecondArray = instants.into_iter().collect();
        let instants: ArrayRef = Arc::new(instants.with_timezone(zone));
        let expected = ask(&|args| inner.invoke_with_args(args), granularity, &instants);
        let truncated = ask(&|args| ours.invoke_with_args(args), granularity, &instants);
        assert_eq!(&truncated, &expected, "{granularity} {zone}");
    }

    #[test]
    fn a_month_begins_at_the_second_of_two_midnights() {
        // Newfoundland's clocks were put back at one minute past midnight, here on 1 November 2009.
        for granularity in ["day", "week", "month", "quarter", "year"] {
            check((-90..90).map(|minute| Some((1_257_042_660 + minute * 60) * 1_000_000)), granularity, "America/St_Johns");
        }
    }

    proptest! {
        /// The same as DataFusion's own, over the changes of the clocks and before 1970.
        #[test]
        fn truncates_as_datafusion_does(
            near in prop::collection::vec(prop::option::of(1_750_000_000_000_000..1_800_000_000_000_000_i64), 0..80),
            far in prop::collection::vec(-2_000_000_000_000_000..4_000_000_000_000_000_i64, 0..20),
            granularity in prop::sample::select(vec!["day", "week", "MONTH", "quarter", "year", "hour"]),
            zone in prop::sample::select(vec!["Europe/Oslo", "America/St_Johns"]),
        ) {
            check(near.into_iter().chain(far.into_iter().map(Some)), granularity, zone);
        }
    }
}
