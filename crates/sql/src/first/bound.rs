//! The value behind which no row can be among the first.

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, Scalar};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::kernels::cmp::{gt_eq, lt_eq};
use datafusion::arrow::compute::{SortOptions, filter};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::error::Result;

/// How many rows are compared before the bound may move; few in tests, so that they have many steps.
const STEP: usize = if cfg!(test) { 64 } else { 1 << 12 };

/// How many leads are kept beside twice those that are wanted.
const SPARE: usize = 64;

/// What a scan is asked for whose rows are sorted and cut: it may leave out rows that cannot be among the first, of each partition for
/// itself. It gets it by [`ExecutionPlan::with_new_state`](datafusion::physical_plan::ExecutionPlan::with_new_state).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The column of the scan that is sorted by at first.
    pub column: usize,
    /// How it is sorted.
    pub options: SortOptions,
    /// How many rows: one at least.
    pub most: usize,
}

/// The value that was at place `most` so far, in the order of one column. Rows after it are not among the first `most`, whatever else is
/// sorted by; rows equal to it may be.
///
/// Values are compared by their *leads*: the first sixteen bytes of a form in which bytes compare as the values do.
#[derive(Debug)]
pub struct Bound {
    most: usize,
    options: SortOptions,
    converter: RowConverter,
    /// Whether a lead is all of its value.
    whole: bool,
    /// The least leads so far, up to twice as many as are wanted.
    least: Vec<u128>,
    /// The lead at place `most`, if there have been as many rows.
    last: Option<u128>,
    /// Its value, where a lead is all of it.
    value: Option<ArrayRef>,
}

impl Bound {
    /// Before any row has come.
    pub fn new(data_type: &DataType, options: SortOptions, most: usize) -> Result<Self> {
        let converter = RowConverter::new(vec![SortField::new_with_options(data_type.clone(), options)])?;
        Ok(Self { most, options, converter, whole: is_whole(data_type), least: Vec::new(), last: None, value: None })
    }

    /// Which of more rows, or of those of them whose bit is set, may be among the first of all that have come.
    pub fn passing(&mut self, column: &ArrayRef, rows: Option<&BooleanBuffer>) -> Result<BooleanBuffer> {
        let passed = if self.whole {
            // The end at first: what grows with time is best there, or worst, and then it is best at the beginning. Each row once.
            let end = column.len().saturating_sub(STEP);
            let before = (0..end).step_by(STEP).map(|at| at..end.min(at + STEP));
            for step in std::iter::once(end..column.len()).chain(before) {
                self.step(&column.slice(step.start, step.len()), rows.map(|rows| rows.slice(step.start, step.len())))?;
            }
            self.within(column)?
        } else {
            let leads = self.leads(column)?;
            leads.iter().enumerate().filter(|(row, _)| rows.is_none_or(|rows| rows.value(*row))).for_each(|(_, lead)| self.add(*lead));
            let last = self.last.unwrap_or(u128::MAX);
            BooleanBuffer::collect_bool(leads.len(), |row| leads[row] <= last)
        };
        Ok(rows.map_or_else(|| passed.clone(), |rows| &passed & rows))
    }

    /// How much memory it holds, in bytes.
    pub fn size(&self) -> usize {
        self.least.capacity() * size_of::<u128>()
    }

    fn step(&mut self, column: &ArrayRef, rows: Option<BooleanBuffer>) -> Result<()> {
        let within = self.within(column)?;
        let within = rows.map_or_else(|| within.clone(), |rows| &within & &rows);
        let leads = match within.count_set_bits() {
            0 => return Ok(()),
            all if all == column.len() => self.leads(column)?,
            _ => self.leads(&filter(column, &BooleanArray::new(within, None))?)?,
        };
        let before = self.last;
        leads.into_iter().for_each(|lead| self.add(lead));
        if let Some(last) = self.last.filter(|_| self.last != before) {
            let bytes = last.to_be_bytes();
            let len = column.data_type().primitive_width().map_or(bytes.len(), |width| width + 1);
            self.value = self.converter.convert_rows([self.converter.parser().parse(&bytes[..len])])?.pop();
        }
        Ok(())
    }

    /// Which rows are not after the bound.
    fn within(&self, column: &ArrayRef) -> Result<BooleanBuffer> {
        let Some(value) = &self.value else { return Ok(BooleanBuffer::new_set(column.len())) };
        let nulls = column.logical_nulls();
        if value.is_null(0) {
            return Ok(match nulls {
                _ if !self.options.nulls_first => BooleanBuffer::new_set(column.len()),
                Some(there) => !there.inner(),
                None => BooleanBuffer::new_unset(column.len()),
            });
        }
        let value = Scalar::new(value);
        let compared = if self.options.descending { gt_eq(column, &value)? } else { lt_eq(column, &value)? };
        let (compared, _) = compared.into_parts();
        Ok(match nulls {
            None => compared,
            Some(there) if self.options.nulls_first => &compared | &!there.inner(),
            Some(there) => &compared & there.inner(),
        })
    }

    fn add(&mut self, lead: u128) {
        if self.last.is_some_and(|last| lead > last) {
            return;
        }
        self.least.push(lead);
        if self.least.len() > self.most.saturating_mul(2).saturating_add(SPARE) {
            self.least.select_nth_unstable(self.most - 1);
            self.least.truncate(self.most);
            self.last = self.least.last().copied();
        }
    }

    fn leads(&self, column: &ArrayRef) -> Result<Vec<u128>> {
        let rows = self.converter.convert_columns(std::slice::from_ref(column))?;
        Ok(rows.iter().map(|row| lead(row.as_ref())).collect())
    }
}

/// Whether the lead of a value is all of it: a value of a fixed width has a byte more in this form, which says whether it is null.
pub(super) fn is_whole(data_type: &DataType) -> bool {
    data_type.primitive_width().is_some_and(|width| width < 16)
}

/// The first sixteen bytes, zeros behind them if there are fewer.
pub(super) fn lead(bytes: &[u8]) -> u128 {
    let mut first = [0; 16];
    let len = bytes.len().min(first.len());
    first[..len].copy_from_slice(&bytes[..len]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Date32Array, Float64Array, Int64Array, StringArray};
    use datafusion::arrow::compute::{concat, sort_to_indices};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Of columns one after the other, the rows that pass, as positions in all of them; of each whether it is visible.
    fn passing(columns: &[ArrayRef], visible: &[bool], options: SortOptions, most: usize) -> Result<Vec<usize>> {
        let mut bound = Bound::new(columns[0].data_type(), options, most)?;
        let (mut passing, mut at) = (Vec::new(), 0);
        for column in columns {
            let rows = BooleanBuffer::from(&visible[at..at + column.len()]);
            let all = rows.count_set_bits() == rows.len();
            let passed = bound.passing(column, (!all).then_some(&rows))?;
            passing.extend(passed.set_indices().map(|row| at + row));
            at += column.len();
        }
        Ok(passing)
    }

    /// The first `most` of the visible rows, sorted.
    fn expected(columns: &[ArrayRef], visible: &[bool], options: SortOptions, most: usize) -> Result<Vec<usize>> {
        let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
        let all = concat(&columns)?;
        let order = sort_to_indices(&all, Some(options), None)?;
        Ok(order.values().iter().map(|row| *row as usize).filter(|row| visible[*row]).take(most).collect())
    }

    fn column(kind: usize, values: &[Option<i32>]) -> ArrayRef {
        let values = values.iter().copied();
        match kind {
            0 => Arc::new(values.map(|v| v.map(i64::from)).collect::<Int64Array>()),
            1 => Arc::new(values.map(|v| v.map(|v| f64::from(v) / 8.0)).collect::<Float64Array>()),
            2 => Arc::new(values.collect::<Date32Array>()),
            _ => Arc::new(values.map(|v| v.map(|v| format!("a text that is longer than a lead {v}"))).collect::<StringArray>()),
        }
    }

    proptest! {
        /// No row is lost that may be among the first, no hidden row passes, and hidden rows move no bound.
        #[test]
        fn whatever_may_be_among_the_first_passes(
            kind in 0_usize..4,
            parts in prop::collection::vec(prop::collection::vec((prop::option::weighted(0.9, -30..30), prop::bool::weighted(0.8)), 0..300), 1..6),
            descending: bool,
            nulls_first: bool,
            most in 1_usize..60,
        ) {
            let options = SortOptions { descending, nulls_first };
            let columns: Vec<ArrayRef> =
                parts.iter().map(|part| column(kind, &part.iter().map(|(value, _)| *value).collect::<Vec<_>>())).collect();
            let visible: Vec<bool> = parts.iter().flatten().map(|(_, visible)| *visible).collect();
            let passed = passing(&columns, &visible, options, most)?;
            prop_assert!(passed.iter().all(|row| visible[*row]));
            let values: Vec<Option<i32>> = parts.iter().flatten().map(|(value, _)| *value).collect();
            let mut best: Vec<Option<i32>> = expected(&columns, &visible, options, most)?.iter().map(|row| values[*row]).collect();
            let last = best.pop();
            // Rows with the values before the last one, and all that equal the last one.
            let among = (0..values.len()).filter(|row| visible[*row] && (best.contains(&values[*row]) || last == Some(values[*row])));
            prop_assert!(among.clone().all(|row| passed.contains(&row)), "{:?} of {:?}", among.collect::<Vec<_>>(), passed);
        }
    }

    /// It is of use: of many rows few pass, however they are sorted.
    #[test]
    fn few_rows_pass() -> Result<()> {
        let numbers: Vec<Option<i32>> = (0..100_000).map(|n| Some(n * 7_919 % 100_003)).collect();
        let mut rising = numbers.clone();
        rising.sort_unstable();
        for values in [numbers, rising.clone(), rising.into_iter().rev().collect()] {
            for (descending, kind) in [(false, 0), (true, 0), (false, 1), (true, 2)] {
                let columns: Vec<ArrayRef> = values.chunks(50_000).map(|values| column(kind, values)).collect();
                let options = SortOptions { descending, nulls_first: descending };
                let passed = passing(&columns, &vec![true; values.len()], options, 20)?;
                assert!((20..300).contains(&passed.len()), "{} rows, {options:?}, {kind}", passed.len());
            }
        }
        Ok(())
    }
}
