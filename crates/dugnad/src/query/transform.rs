//! What a permit does to a column before anybody sees it.

use datafusion::arrow::array::{ArrayRef, AsArray, Date32Array, StringViewArray};
use datafusion::arrow::compute::{DatePart, cast, date_part, unary};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use datafusion::error::{DataFusionError, Result};
use dugnad_kernel::permit::Transform;
use jiff::civil::Date;
use std::sync::Arc;

/// The type of a transformed column. An instant that is known to its month only is a date.
pub(super) fn data_type(transform: Transform, stored: &DataType) -> DataType {
    match transform {
        Transform::Keep | Transform::Band(_) => stored.clone(),
        Transform::Year | Transform::Month => DataType::Date32,
        Transform::Generalise(_) => DataType::Utf8View,
    }
}

/// Whether a transform can be applied to values of this type: [`Transform::fits`] for a column of a view, whose storage
/// is not known.
pub(super) fn fits(transform: Transform, data_type: &DataType) -> bool {
    match transform {
        Transform::Keep => true,
        Transform::Year | Transform::Month => matches!(data_type, DataType::Date32 | DataType::Timestamp(_, _)),
        Transform::Band(width) => width > 0 && matches!(data_type, DataType::Int64 | DataType::Float64),
        Transform::Generalise(_) => matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::Dictionary(_, _)),
    }
}

/// The transformed column.
pub(super) fn apply(transform: Transform, column: &ArrayRef) -> Result<ArrayRef> {
    match transform {
        Transform::Keep => Ok(column.clone()),
        Transform::Year => first_days(column, false),
        Transform::Month => first_days(column, true),
        Transform::Band(width) => bands(column, width),
        Transform::Generalise(length) => prefixes(column, usize::from(length)),
    }
}

/// What a transform does, for the catalogue.
pub(super) fn describe(description: &str, transform: Transform) -> String {
    match transform {
        Transform::Keep => description.to_owned(),
        Transform::Year => format!("{description} Under this permit the first day of its year."),
        Transform::Month => format!("{description} Under this permit the first day of its month."),
        Transform::Band(width) => format!("{description} Under this permit the lower end of its band of {width}."),
        Transform::Generalise(length) => format!("{description} Under this permit its first {length} characters."),
    }
}

/// The first day of the month or year; of instants in the zone of the column (Europe/Oslo).
fn first_days(column: &ArrayRef, of_month: bool) -> Result<ArrayRef> {
    let (years, months) = (date_part(column, DatePart::Year)?, date_part(column, DatePart::Month)?);
    let unexpected = || DataFusionError::Internal("date parts are not Int32".to_owned());
    let years = years.as_primitive_opt::<Int32Type>().ok_or_else(unexpected)?;
    let months = months.as_primitive_opt::<Int32Type>().ok_or_else(unexpected)?;
    let day = |(year, month): (Option<i32>, Option<i32>)| {
        let month = if of_month { i8::try_from(month?).ok()? } else { 1 };
        days(Date::new(i16::try_from(year?).ok()?, month, 1).ok()?)
    };
    Ok(Arc::new(years.iter().zip(months.iter()).map(day).collect::<Date32Array>()))
}

/// How many days a date is after 1970-01-01.
fn days(date: Date) -> Option<i32> {
    date.since(jiff::civil::date(1970, 1, 1)).ok().map(|span| span.get_days())
}

fn bands(column: &ArrayRef, width: u32) -> Result<ArrayRef> {
    if let Some(integers) = column.as_primitive_opt::<Int64Type>() {
        let width = i64::from(width);
        let band = |value: i64| value.div_euclid(width).saturating_mul(width);
        return Ok(Arc::new(unary::<Int64Type, _, Int64Type>(integers, band)));
    }
    let numbers = column.as_primitive_opt::<Float64Type>();
    let numbers = numbers.ok_or_else(|| DataFusionError::Internal("bands are of numbers".to_owned()))?;
    let width = f64::from(width);
    Ok(Arc::new(unary::<Float64Type, _, Float64Type>(numbers, |value| (value / width).floor() * width)))
}

fn prefixes(column: &ArrayRef, length: usize) -> Result<ArrayRef> {
    let texts = cast(column, &DataType::Utf8View)?;
    let texts = texts.as_string_view_opt().ok_or_else(|| DataFusionError::Internal("prefixes are of texts".to_owned()))?;
    let end = |text: &str| text.char_indices().nth(length).map_or(text.len(), |(at, _)| at);
    let prefixes = texts.iter().map(|text| text.map(|t| t.get(..end(t)).unwrap_or(t)));
    Ok(Arc::new(prefixes.collect::<StringViewArray>()))
}
