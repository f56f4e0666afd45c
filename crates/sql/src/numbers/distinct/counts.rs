//! How many distinct numbers each group has: bitmaps as long as numbers are dense enough, pairs afterwards.
//!
//! What a run hands on has two columns: of each group the words of a bitmap, and a list of numbers. One of the two is empty.

use super::bitmaps::{Bitmaps, numbers, trimmed};
use super::pairs::Pairs;
use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array, ListArray, PrimitiveArray};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::max;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use std::fmt::Debug;
use std::sync::Arc;

/// A type of numbers that can be counted.
pub(super) trait Number: ArrowPrimitiveType<Native: Into<u64> + TryFrom<u64> + Ord> + Debug {}

impl<T: ArrowPrimitiveType<Native: Into<u64> + TryFrom<u64> + Ord> + Debug> Number for T {}

/// The types of what a run hands on.
pub(super) fn state_types(numbers: &DataType) -> [DataType; 2] {
    [DataType::UInt64, numbers.clone()].map(|of| DataType::List(item(of)))
}

fn item(data_type: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(data_type, true))
}

/// Counts, a group each.
#[derive(Debug)]
pub(super) struct Counts<T: Number> {
    /// As long as numbers are dense enough.
    bitmaps: Option<Bitmaps>,
    pairs: Pairs<T::Native>,
    groups: usize,
    /// How many numbers came; a word of a bitmap counts as one.
    came: usize,
}

impl<T: Number> Default for Counts<T> {
    fn default() -> Self {
        Self { bitmaps: Some(Bitmaps::default()), pairs: Pairs::default(), groups: 0, came: 0 }
    }
}

impl<T: Number> Counts<T> {
    /// The bitmaps, with room for so many more numbers up to `most`; `None` if there are none any more.
    fn room(&mut self, most: u64, more: usize, groups: usize) -> Option<&mut Bitmaps> {
        self.came += more;
        self.groups = self.groups.max(groups);
        if self.bitmaps.as_mut().is_some_and(|bitmaps| !bitmaps.reserve(self.groups, most, self.came)) {
            self.leave_bitmaps();
        }
        self.bitmaps.as_mut()
    }

    fn leave_bitmaps(&mut self) {
        let Some(bitmaps) = self.bitmaps.take() else { return };
        for (group, bitmap) in bitmaps.all().enumerate() {
            numbers(bitmap).for_each(|number| push::<T>(&mut self.pairs, group, number));
        }
    }

    /// Of the first groups the distinct numbers, as [`Pairs::take`] gives them.
    fn take(&mut self, emit_to: EmitTo) -> (Vec<usize>, Vec<T::Native>) {
        self.leave_bitmaps();
        let (mut ends, mut numbers) = self.pairs.take(self.groups);
        if let EmitTo::First(n) = emit_to
            && let Some(end) = n.checked_sub(1).and_then(|last| ends.get(last).copied())
        {
            let mut begin = end;
            for (group, end) in ends.split_off(n).into_iter().enumerate() {
                numbers[begin..end].iter().for_each(|number| self.pairs.push(group, *number));
                begin = end;
            }
            numbers.truncate(end);
            self.groups -= n;
            return (ends, numbers);
        }
        *self = Self::default();
        (ends, numbers)
    }
}

fn push<T: Number>(pairs: &mut Pairs<T::Native>, group: usize, number: u64) {
    // What is in a bitmap was a number of this type.
    if let Ok(number) = T::Native::try_from(number) {
        pairs.push(group, number);
    }
}

/// Calls `insert` for each number that counts, with its group.
fn each<T: Number>(numbers: &PrimitiveArray<T>, groups: &[usize], filter: Option<&BooleanArray>, mut insert: impl FnMut(usize, T::Native)) {
    if numbers.null_count() == 0 && filter.is_none() {
        groups.iter().zip(numbers.values()).for_each(|(group, number)| insert(*group, *number));
        return;
    }
    for (row, (group, number)) in groups.iter().zip(numbers.values()).enumerate() {
        if numbers.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row)) {
            insert(*group, *number);
        }
    }
}

fn unexpected() -> DataFusionError {
    DataFusionError::Internal("numbers to count are of another type".to_owned())
}

impl<T: Number> GroupsAccumulator for Counts<T> {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        let numbers: &PrimitiveArray<T> = values.first().and_then(|v| v.as_primitive_opt()).ok_or_else(unexpected)?;
        let most = max(numbers).map_or(0, Into::into);
        if let Some(bitmaps) = self.room(most, numbers.len(), total) {
            each(numbers, groups, filter, |group, number| bitmaps.insert(group, number.into()));
        } else {
            each(numbers, groups, filter, |group, number| self.pairs.push(group, number));
            self.pairs.look(self.groups);
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        if let (Some(bitmaps), EmitTo::All) = (&self.bitmaps, emit_to) {
            let ones = |bitmap: &[u64]| bitmap.iter().map(|word| i64::from(word.count_ones())).sum();
            let mut counts: Vec<i64> = bitmaps.all().map(ones).collect();
            counts.resize(self.groups, 0);
            *self = Self::default();
            return Ok(Arc::new(Int64Array::from(counts)));
        }
        if self.bitmaps.is_none() && emit_to == EmitTo::All {
            let counts = self.pairs.counts(self.groups);
            *self = Self::default();
            return Ok(Arc::new(Int64Array::from(counts)));
        }
        let mut begin = 0;
        let count = |end: usize| (end - std::mem::replace(&mut begin, end)) as i64;
        let counts: Vec<i64> = self.take(emit_to).0.into_iter().map(count).collect();
        Ok(Arc::new(Int64Array::from(counts)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        if let (Some(bitmaps), EmitTo::All) = (&self.bitmaps, emit_to) {
            let (mut ends, mut words) = (Vec::with_capacity(self.groups), Vec::new());
            for bitmap in bitmaps.all() {
                words.extend_from_slice(trimmed(bitmap));
                ends.push(words.len());
            }
            ends.resize(self.groups, words.len());
            let none = vec![0; self.groups];
            *self = Self::default();
            return Ok(vec![list::<UInt64Type>(ends, words)?, list::<T>(none, Vec::new())?]);
        }
        let (ends, numbers) = self.take(emit_to);
        Ok(vec![list::<UInt64Type>(vec![0; ends.len()], Vec::new())?, list::<T>(ends, numbers)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        let [bitmaps, lists] = values else { return Err(unexpected()) };
        let (bitmaps, lists) = (Lists::<UInt64Type>::of(bitmaps)?, Lists::<T>::of(lists)?);
        let longest = bitmaps.each().map(<[u64]>::len).max().unwrap_or(0) as u64;
        let most = (64 * longest).saturating_sub(1).max(max(lists.values).map_or(0, Into::into));
        let more = bitmaps.values.len() + lists.values.len();
        if let Some(room) = self.room(most, more, total) {
            for ((group, bitmap), list) in groups.iter().zip(bitmaps.each()).zip(lists.each()) {
                room.merge(*group, bitmap);
                list.iter().for_each(|number| room.insert(*group, (*number).into()));
            }
            return Ok(());
        }
        for (group, bitmap) in groups.iter().zip(bitmaps.each()) {
            numbers(bitmap).for_each(|number| push::<T>(&mut self.pairs, *group, number));
        }
        self.pairs.add(groups, lists.each(), lists.values.len());
        self.pairs.look(self.groups);
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let numbers: &PrimitiveArray<T> = values.first().and_then(|v| v.as_primitive_opt()).ok_or_else(unexpected)?;
        let rows: Vec<usize> = (0..numbers.len()).collect();
        let (mut ends, mut counted) = (vec![0; rows.len()], Vec::with_capacity(rows.len()));
        each(numbers, &rows, filter, |row, number| {
            counted.push(number);
            ends[row] = counted.len();
        });
        let mut last = 0;
        for end in &mut ends {
            last = last.max(*end);
            *end = last;
        }
        Ok(vec![list::<UInt64Type>(vec![0; rows.len()], Vec::new())?, list::<T>(ends, counted)?])
    }

    fn size(&self) -> usize {
        self.bitmaps.as_ref().map_or(0, Bitmaps::size) + self.pairs.size()
    }
}

/// A list for each group: where each ends, and the values of all.
fn list<T: Number>(ends: Vec<usize>, values: Vec<T::Native>) -> Result<ArrayRef> {
    let too_long = |_| DataFusionError::ResourcesExhausted("a part of a count is too large".to_owned());
    let ends: Result<Vec<i32>, _> = std::iter::once(0).chain(ends).map(i32::try_from).collect();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends.map_err(too_long)?));
    let values = PrimitiveArray::<T>::new(values.into(), None);
    Ok(Arc::new(ListArray::try_new(item(T::DATA_TYPE), offsets, Arc::new(values), None)?))
}

/// What [`list`] made.
struct Lists<'a, T: Number> {
    offsets: &'a [i32],
    values: &'a PrimitiveArray<T>,
}

impl<'a, T: Number> Lists<'a, T> {
    fn of(array: &'a ArrayRef) -> Result<Self> {
        let lists = array.as_list_opt::<i32>().ok_or_else(unexpected)?;
        Ok(Self { offsets: lists.value_offsets(), values: lists.values().as_primitive_opt().ok_or_else(unexpected)? })
    }

    fn each(&self) -> impl Iterator<Item = &'a [T::Native]> {
        let values: &'a [T::Native] = self.values.values();
        self.offsets.windows(2).map(|ends| match ends {
            [begin, end] => values.get(*begin as usize..*end as usize).unwrap_or_default(),
            _ => &[],
        })
    }
}

/// All rows as one group.
#[derive(Debug)]
pub(super) struct One<T: Number> {
    counts: Counts<T>,
    /// The group of each row.
    zeros: Vec<usize>,
}

impl<T: Number> Default for One<T> {
    fn default() -> Self {
        Self { counts: Counts { groups: 1, ..Counts::default() }, zeros: Vec::new() }
    }
}

impl<T: Number> One<T> {
    fn zeros(&mut self, rows: usize) -> Vec<usize> {
        let mut zeros = std::mem::take(&mut self.zeros);
        zeros.resize(rows, 0);
        zeros
    }
}

impl<T: Number> Accumulator for One<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let zeros = self.zeros(values.first().map_or(0, |v| v.len()));
        self.counts.update_batch(values, &zeros, None, 1)?;
        self.zeros = zeros;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.counts.evaluate(EmitTo::All)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.counts.state(EmitTo::All)?.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let zeros = self.zeros(states.first().map_or(0, |v| v.len()));
        self.counts.merge_batch(states, &zeros, 1)
    }

    fn size(&self) -> usize {
        self.counts.size() + 8 * self.zeros.capacity()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use datafusion::arrow::array::{UInt32Array, UInt64Array};
    use datafusion::arrow::datatypes::UInt32Type;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Row = (usize, Option<u64>, Option<bool>);

    fn counted(array: &ArrayRef) -> Vec<i64> {
        array.as_primitive::<datafusion::arrow::datatypes::Int64Type>().values().to_vec()
    }

    /// Counts in parts that are merged, in one accumulator, or from the states of rows; emitted at once or in two.
    fn check(batches: &[Vec<Row>], groups: usize, how: usize, first: usize) {
        let mut sets = vec![BTreeSet::new(); groups];
        let mut merged = Counts::<UInt64Type>::default();
        let all: Vec<usize> = (0..groups).collect();
        for batch in batches {
            let numbers: ArrayRef = Arc::new(batch.iter().map(|r| r.1).collect::<UInt64Array>());
            let of: Vec<usize> = batch.iter().map(|r| r.0).collect();
            let filter: BooleanArray = batch.iter().map(|r| r.2).collect();
            for (group, number, passes) in batch {
                sets[*group].extend(number.filter(|_| *passes == Some(true)));
            }
            match how {
                0 => merged.update_batch(&[numbers], &of, Some(&filter), groups).unwrap(),
                1 => merged.merge_batch(&merged.convert_to_state(&[numbers], Some(&filter)).unwrap(), &of, groups).unwrap(),
                _ => {
                    let mut part = Counts::<UInt64Type>::default();
                    part.update_batch(&[numbers], &of, Some(&filter), groups).unwrap();
                    merged.merge_batch(&part.state(EmitTo::All).unwrap(), &all, groups).unwrap();
                }
            }
        }
        merged.groups = groups;
        let expected: Vec<i64> = sets.iter().map(|set| set.len() as i64).collect();
        let mut counts = if first > 0 { counted(&merged.evaluate(EmitTo::First(first)).unwrap()) } else { Vec::new() };
        assert_eq!(counts.len(), first);
        counts.extend(counted(&merged.evaluate(EmitTo::All).unwrap()));
        assert_eq!(counts, expected);
    }

    fn row() -> impl Strategy<Value = Row> {
        let number = prop_oneof![0..100_u64, 0..5_000_u64, 0..u64::from(u32::MAX), any::<u64>()];
        (0..7_usize, prop::option::weighted(0.9, number), prop::option::weighted(0.9, prop::bool::weighted(0.9)))
    }

    proptest! {
        #[test]
        fn counts_are_those_of_sets(
            batches in prop::collection::vec(prop::collection::vec(row(), 0..300), 0..5), how in 0..3_usize, first in 0..7_usize,
        ) {
            check(&batches, 7, how, first);
        }

        #[test]
        fn dense_numbers_are_counted(numbers in prop::collection::vec((0..7_usize, 0..3_000_u64), 0..2_000), how in 0..3_usize) {
            let batches: Vec<Vec<Row>> = numbers.chunks(300).map(|c| c.iter().map(|(g, n)| (*g, Some(*n), Some(true))).collect()).collect();
            check(&batches, 7, how, 0);
        }
    }

    #[test]
    fn nobody_is_counted_in_nothing() {
        let mut one = One::<UInt32Type>::default();
        assert_eq!(one.evaluate().unwrap(), ScalarValue::Int64(Some(0)));
        let (mut one, states) = (One::<UInt32Type>::default(), One::<UInt32Type>::default().state().unwrap());
        let states: Vec<ArrayRef> = states.iter().map(|state| state.to_array().unwrap()).collect();
        one.merge_batch(&states).unwrap();
        let numbers: ArrayRef = Arc::new(UInt32Array::from(vec![Some(3), None, Some(3), Some(900_000_000)]));
        one.update_batch(&[numbers]).unwrap();
        assert_eq!(one.evaluate().unwrap(), ScalarValue::Int64(Some(2)));
    }

    #[test]
    fn a_number_far_off_costs_no_bitmap() {
        let mut counts = Counts::<UInt32Type>::default();
        let mut count = |numbers: Vec<u32>| {
            let rows = numbers.len();
            counts.update_batch(&[Arc::new(UInt32Array::from(numbers))], &vec![0; rows], None, 1).unwrap();
            counts.size()
        };
        assert!(count((0..10_000).collect()) < 8_192);
        assert!(count(vec![u32::MAX]) < 1 << 20);
        assert_eq!(counted(&counts.evaluate(EmitTo::All).unwrap()), [10_001]);
    }
}
