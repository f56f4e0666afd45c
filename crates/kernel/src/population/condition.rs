//! A condition on one row: what stands in its columns, and nothing else. There is no present date in it, so that a row meets it
//! for ever or never.

use crate::live::Damaged;
use crate::live::schema::{Storage, TableSchema};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A condition on a row. A comparison with what is null is false, and its `not` is true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RowCondition {
    /// Each of them.
    All(Vec<RowCondition>),
    /// At least one of them.
    Any(Vec<RowCondition>),
    /// Not this.
    Not(Box<RowCondition>),
    /// A code or text is one of these.
    In {
        /// The column.
        column: String,
        /// The texts.
        codes: BTreeSet<String>,
    },
    /// A number is within these bounds.
    Number {
        /// The column.
        column: String,
        /// At least this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<f64>,
        /// Less than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        below: Option<f64>,
    },
    /// A date or an instant is within these bounds.
    Date {
        /// The column.
        column: String,
        /// On or after this day.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Date>,
        /// Before this day. Days begin in UTC.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        below: Option<Date>,
    },
    /// A column has this truth value.
    Is {
        /// The column.
        column: String,
        /// The value.
        value: bool,
    },
    /// A column is not null.
    Present {
        /// The column.
        column: String,
    },
}

impl RowCondition {
    /// What is wrong with it for rows of this table, if anything is.
    pub fn problem(&self, schema: &TableSchema) -> Option<String> {
        let fits = |column: &String, fits: &dyn Fn(Storage) -> bool, what: &str| match schema.index_of(column) {
            None => Some(format!("the table {} has no column {column}", schema.name)),
            Some(at) if schema.columns.get(at).is_none_or(|c| !fits(c.storage)) => Some(format!("the column {column} is no {what}")),
            Some(_) => None,
        };
        match self {
            Self::All(conditions) | Self::Any(conditions) => conditions.iter().find_map(|c| c.problem(schema)),
            Self::Not(condition) => condition.problem(schema),
            Self::In { column, .. } => fits(column, &|s| matches!(s, Storage::Code | Storage::Holder | Storage::String), "code or text"),
            Self::Number { column, .. } => fits(column, &|s| matches!(s, Storage::Integer | Storage::Decimal), "number"),
            Self::Date { column, .. } => fits(column, &|s| matches!(s, Storage::Date | Storage::Instant), "date or instant"),
            Self::Is { column, .. } => fits(column, &|s| s == Storage::Boolean, "truth value"),
            Self::Present { column } => fits(column, &|_| true, "column"),
        }
    }

    /// How many conditions it consists of.
    pub fn size(&self) -> usize {
        match self {
            Self::All(conditions) | Self::Any(conditions) => 1 + conditions.iter().map(Self::size).sum::<usize>(),
            Self::Not(condition) => 1 + condition.size(),
            _ => 1,
        }
    }

    /// Which of `rows` rows meet it; `column` gives a column's cells.
    pub(super) fn rows(&self, rows: usize, column: &dyn Fn(&str) -> Result<Option<ArrayRef>, Damaged>) -> Result<BooleanBuffer, Damaged> {
        let each = |conditions: &[Self]| conditions.iter().map(|c| c.rows(rows, column)).collect::<Result<Vec<_>, _>>();
        Ok(match self {
            Self::All(conditions) => each(conditions)?.iter().fold(BooleanBuffer::new_set(rows), |all, c| &all & c),
            Self::Any(conditions) => each(conditions)?.iter().fold(BooleanBuffer::new_unset(rows), |any, c| &any | c),
            Self::Not(condition) => !&condition.rows(rows, column)?,
            Self::In { column: name, codes } => met(rows, column(name)?, |cells, row| text(cells, row).is_some_and(|t| codes.contains(t))),
            Self::Number { column: name, from, below } => met(rows, column(name)?, |cells, row| {
                number(cells, row).is_some_and(|n| from.is_none_or(|from| n >= from) && below.is_none_or(|below| n < below))
            }),
            Self::Date { column: name, from, below } => {
                let start = |day: &Option<Date>| day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok()).map(|z| z.timestamp());
                let (from, below) = (start(from), start(below));
                met(rows, column(name)?, |cells, row| {
                    instant(cells, row).is_some_and(|at| from.is_none_or(|from| at >= from) && below.is_none_or(|below| at < below))
                })
            }
            Self::Is { column: name, value } => {
                met(rows, column(name)?, |cells, row| cells.as_boolean_opt().is_some_and(|cells| cells.value(row) == *value))
            }
            Self::Present { column: name } => met(rows, column(name)?, |_, _| true),
        })
    }
}

/// The rows whose cell is not null and meets `is`; none where there is no such column.
fn met(rows: usize, cells: Option<ArrayRef>, is: impl Fn(&ArrayRef, usize) -> bool) -> BooleanBuffer {
    let Some(cells) = cells else { return BooleanBuffer::new_unset(rows) };
    BooleanBuffer::collect_bool(rows, |row| row < cells.len() && cells.is_valid(row) && is(&cells, row))
}

fn text(cells: &ArrayRef, row: usize) -> Option<&str> {
    if let Some(codes) = cells.as_dictionary_opt::<UInt32Type>() {
        return codes.values().as_string_opt::<i32>().map(|texts| texts.value(codes.keys().value(row) as usize));
    }
    cells.as_string_view_opt().map(|texts| texts.value(row))
}

fn number(cells: &ArrayRef, row: usize) -> Option<f64> {
    let integer = cells.as_primitive_opt::<Int64Type>().map(|cells| cells.value(row) as f64);
    integer.or_else(|| cells.as_primitive_opt::<Float64Type>().map(|cells| cells.value(row)))
}

fn instant(cells: &ArrayRef, row: usize) -> Option<Timestamp> {
    let day = |days: i32| Timestamp::from_second(i64::from(days) * 86_400).ok();
    let micros = cells.as_primitive_opt::<TimestampMicrosecondType>().map(|cells| Timestamp::from_microsecond(cells.value(row)).ok());
    micros.or_else(|| cells.as_primitive_opt::<Date32Type>().map(|cells| day(cells.value(row)))).flatten()
}
