//! COUNT(DISTINCT key): how many numbers there are, counted on the numbers, with a bitmap for each group that has many.

use super::{Kind, Numbered};
use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, Int64Array, PrimitiveArray};
use datafusion::arrow::compute::max;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt32Type, UInt64Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, Aggregate, AggregateUDF, AggregateUDFImpl, EmitTo, Expr, GroupsAccumulator, LogicalPlan, Signature, Volatility,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

/// The aggregate function `count_numbers`. Planning puts it in the place of COUNT(DISTINCT); it is in no registry.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CountNumbers {
    signature: Signature,
}

static COUNT_NUMBERS: LazyLock<Arc<AggregateUDF>> =
    LazyLock::new(|| Arc::new(AggregateUDF::new_from_impl(CountNumbers { signature: Signature::any(1, Volatility::Immutable) })));

/// The rule that finds COUNT(DISTINCT column) of columns that can be numbers.
#[derive(Debug, Default)]
pub struct CountDistinctNumbers;

impl OptimizerRule for CountDistinctNumbers {
    fn name(&self) -> &str {
        "count_distinct_numbers"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, schema, .. }) = plan else {
            return Ok(Transformed::no(plan));
        };
        let mut changed = false;
        let functions = aggr_expr.into_iter().map(|e| {
            let transformed = e.transform_down(|e| match e {
                Expr::AggregateFunction(f) if counts_numbers(&f, &input) => {
                    let params = AggregateFunctionParams { distinct: false, ..f.params };
                    Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func: COUNT_NUMBERS.clone(), params })))
                }
                other => Ok(Transformed::no(other)),
            })?;
            changed |= transformed.transformed;
            Ok(transformed.data)
        });
        let functions: Result<Vec<Expr>> = functions.collect();
        let functions = functions?;
        let aggregate = LogicalPlan::Aggregate(Aggregate::try_new_with_schema(input, group_expr, functions, schema)?);
        Ok(if changed { Transformed::yes(aggregate) } else { Transformed::no(aggregate) })
    }
}

fn counts_numbers(function: &AggregateFunction, input: &LogicalPlan) -> bool {
    let AggregateFunction { func, params } = function;
    match params.args.as_slice() {
        [Expr::Column(column)] if func.name() == "count" && params.distinct => kind(input, column).is_some(),
        _ => false,
    }
}

/// What the numbers behind a column of a plan stand for, if it hands on a table's column as it is. What the rule takes for a
/// number and [`super::lower`] does not is counted as text.
fn kind(plan: &LogicalPlan, column: &Column) -> Option<Kind> {
    let position = plan.schema().maybe_index_of_column(column)?;
    let (qualifier, field) = plan.schema().qualified_field(position);
    let same = Column::new(qualifier.cloned(), field.name());
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = Numbered::of(&scan.source)?;
            let position = scan.projection.as_ref().map_or(Some(position), |p| p.get(position).copied())?;
            table.kinds.get(position).copied().flatten()
        }
        LogicalPlan::Projection(projection) => match projection.expr.get(position)?.clone().unalias() {
            Expr::Column(inner) => kind(&projection.input, &inner),
            _ => None,
        },
        LogicalPlan::SubqueryAlias(alias) => {
            let (qualifier, field) = alias.input.schema().qualified_field(position);
            kind(&alias.input, &Column::new(qualifier.cloned(), field.name()))
        }
        LogicalPlan::Filter(filter) => kind(&filter.input, &same),
        LogicalPlan::Limit(limit) => kind(&limit.input, &same),
        LogicalPlan::Sort(sort) => kind(&sort.input, &same),
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(position)? {
            Expr::Column(inner) => kind(&aggregate.input, inner),
            _ => None,
        },
        LogicalPlan::Join(join) => kind(&join.left, &same).or_else(|| kind(&join.right, &same)),
        LogicalPlan::Union(union) => {
            let mut kinds = union.inputs.iter().map(|input| {
                let (qualifier, field) = input.schema().qualified_field(position);
                kind(input, &Column::new(qualifier.cloned(), field.name()))
            });
            let first = kinds.next()??;
            kinds.all(|kind| kind == Some(first)).then_some(first)
        }
        _ => None,
    }
}

impl AggregateUDFImpl for CountNumbers {
    fn name(&self) -> &str {
        "count_numbers"
    }

    /// The column keeps the name that the question gave it.
    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        let distinct = AggregateFunctionParams { distinct: true, ..params.clone() };
        datafusion::functions_aggregate::count::count_udaf().schema_name(&distinct)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _data_type: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match args.expr_fields.first().map(|f| f.data_type()) {
            Some(DataType::UInt32) => Ok(Box::new(One(Counts::<UInt32Type>::default()))),
            Some(DataType::UInt64) => Ok(Box::new(One(Counts::<UInt64Type>::default()))),
            other => Err(unexpected(other)),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "numbers"), DataType::Binary, true))])
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match args.expr_fields.first().map(|f| f.data_type()) {
            Some(DataType::UInt32) => Ok(Box::<Counts<UInt32Type>>::default()),
            Some(DataType::UInt64) => Ok(Box::<Counts<UInt64Type>>::default()),
            other => Err(unexpected(other)),
        }
    }
}

fn unexpected(data_type: Option<&DataType>) -> DataFusionError {
    DataFusionError::Internal(format!("numbers to count are of type {data_type:?}"))
}

/// A set of numbers: a bitmap as far as they are dense, and a list beyond. It never takes more than a few words for each number.
#[derive(Clone, Debug, Default)]
struct Set {
    bits: Vec<u64>,
    /// Numbers beyond the bitmap; the first `sorted` are in order and distinct.
    few: Vec<u64>,
    sorted: usize,
}

impl Set {
    /// From how many numbers on a list is looked through for doubles.
    const FEW: usize = 64;

    fn insert(&mut self, number: u64) {
        if let Some(word) = self.bits.get_mut((number / 64) as usize) {
            *word |= 1 << (number % 64);
            return;
        }
        if self.few.last() == Some(&number) {
            return; // neighbouring rows are often about the same patient
        }
        self.few.push(number);
        if self.few.len() >= Self::FEW.max(2 * self.sorted) {
            self.settle();
        }
    }

    /// Drops doubles, and makes the bitmap longer if that takes no more memory than the list.
    fn settle(&mut self) {
        self.few.sort_unstable();
        self.few.dedup();
        let words = self.few.last().map_or(0, |most| (most / 64) as usize + 1);
        if self.few.len() >= Self::FEW / 2 && words <= self.bits.len() + self.few.len() {
            self.bits.resize(words.max(self.bits.len()), 0);
        }
        let bits = &mut self.bits;
        self.few.retain(|number| match bits.get_mut((number / 64) as usize) {
            Some(word) => {
                *word |= 1 << (number % 64);
                false
            }
            None => true,
        });
        self.sorted = self.few.len();
    }

    fn count(&mut self) -> i64 {
        self.settle();
        self.few.len() as i64 + self.bits.iter().map(|word| i64::from(word.count_ones())).sum::<i64>()
    }

    fn size(&self) -> usize {
        8 * (self.few.capacity() + self.bits.capacity())
    }

    /// The length of the bitmap in words, the bitmap, the list.
    fn write(&mut self) -> Vec<u8> {
        self.settle();
        let words = std::iter::once(self.bits.len() as u64).chain(self.bits.iter().copied()).chain(self.few.iter().copied());
        words.flat_map(u64::to_le_bytes).collect()
    }

    fn merge(&mut self, bytes: &[u8]) {
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let dense = words.next().unwrap_or(0) as usize;
        if dense > self.bits.len() {
            self.bits.resize(dense, 0);
        }
        self.bits.iter_mut().zip(words.by_ref().take(dense)).for_each(|(mine, theirs)| *mine |= theirs);
        words.for_each(|number| self.insert(number));
    }
}

/// A set for each group.
#[derive(Debug)]
struct Counts<T> {
    /// As long as numbers are dense enough; afterwards empty.
    table: Option<Table>,
    sets: Vec<Set>,
    rows: usize,
    numbers: PhantomData<fn(T)>,
}

impl<T> Default for Counts<T> {
    fn default() -> Self {
        Self { table: Some(Table::default()), sets: Vec::new(), rows: 0, numbers: PhantomData }
    }
}

/// A bitmap for each group, all of the same length, one after the other.
#[derive(Debug, Default)]
struct Table {
    words: Vec<u64>,
    /// How many words a bitmap has.
    stride: usize,
    groups: usize,
}

impl Table {
    /// How many words it may have in any case: 256 KiB.
    const SMALL: usize = 1 << 15;

    /// Makes room for so many groups and for numbers up to `most`; false if that is too much for `rows` rows: it would be
    /// mostly empty.
    fn reserve(&mut self, groups: usize, most: u64, rows: usize) -> bool {
        let needed = usize::try_from(most / 64).map_or(usize::MAX, |word| word.saturating_add(1));
        if needed > self.stride {
            let stride = needed.checked_next_power_of_two().unwrap_or(usize::MAX);
            if stride.saturating_mul(groups.max(1)) > Self::SMALL + rows / 2 {
                return false;
            }
            let mut words = vec![0; stride * groups];
            for group in 0..self.groups {
                words[group * stride..][..self.stride].copy_from_slice(self.of(group));
            }
            *self = Self { words, stride, groups };
        }
        if groups > self.groups {
            if self.stride.saturating_mul(groups) > Self::SMALL + rows / 2 {
                return false;
            }
            self.words.resize(groups * self.stride, 0);
            self.groups = groups;
        }
        true
    }

    fn of(&self, group: usize) -> &[u64] {
        &self.words[group * self.stride..][..self.stride]
    }

    fn insert(&mut self, group: usize, number: u64) {
        self.words[group * self.stride + (number / 64) as usize] |= 1 << (number % 64);
    }

    fn into_sets(self) -> Vec<Set> {
        (0..self.groups).map(|group| Set { bits: trimmed(self.of(group)).to_vec(), ..Set::default() }).collect()
    }
}

fn trimmed(words: &[u64]) -> &[u64] {
    let len = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
    &words[..len]
}

impl<T: ArrowPrimitiveType> Counts<T>
where
    T::Native: Into<u64>,
{
    /// Calls `insert` for each number that counts, with its group.
    fn each(numbers: &PrimitiveArray<T>, groups: &[usize], filter: Option<&BooleanArray>, mut insert: impl FnMut(usize, u64)) {
        if numbers.null_count() == 0 && filter.is_none() {
            groups.iter().zip(numbers.values()).for_each(|(group, number)| insert(*group, (*number).into()));
            return;
        }
        for (row, (group, number)) in groups.iter().zip(numbers.values()).enumerate() {
            if numbers.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row)) {
                insert(*group, (*number).into());
            }
        }
    }

    /// All sets, from the table if they are there. Nothing is left.
    fn take(&mut self, emit_to: EmitTo, total: usize) -> Vec<Set> {
        self.leave_table(total);
        emit_to.take_needed(&mut self.sets)
    }

    /// From now on each group has a set of its own.
    fn leave_table(&mut self, total: usize) {
        if let Some(table) = self.table.take() {
            self.sets = table.into_sets();
        }
        if self.sets.len() < total {
            self.sets.resize_with(total, Set::default);
        }
    }
}

impl<T: ArrowPrimitiveType> GroupsAccumulator for Counts<T>
where
    T::Native: Into<u64>,
{
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        let numbers: Option<&PrimitiveArray<T>> = values.first().and_then(|v| v.as_primitive_opt());
        let numbers = numbers.ok_or_else(|| DataFusionError::Internal("numbers to count are of another type".to_owned()))?;
        self.rows += numbers.len();
        let most: u64 = max(numbers).map_or(0, Into::into);
        if let Some(table) = &mut self.table
            && table.reserve(total, most, self.rows)
        {
            Self::each(numbers, groups, filter, |group, number| table.insert(group, number));
            return Ok(());
        }
        self.leave_table(total);
        let sets = &mut self.sets;
        Self::each(numbers, groups, filter, |group, number| sets[group].insert(number));
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        if let (Some(table), EmitTo::All) = (&self.table, emit_to) {
            let ones = |group| table.of(group).iter().map(|word| i64::from(word.count_ones())).sum();
            let counts = Int64Array::from_iter_values((0..table.groups).map(ones));
            *self = Self::default();
            return Ok(Arc::new(counts));
        }
        let mut sets = self.take(emit_to, 0);
        Ok(Arc::new(Int64Array::from_iter_values(sets.iter_mut().map(Set::count))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut sets = self.take(emit_to, 0);
        Ok(vec![Arc::new(BinaryArray::from_iter_values(sets.iter_mut().map(Set::write)))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.leave_table(total);
        let states = values.first().and_then(|v| v.as_binary_opt::<i32>());
        let states = states.ok_or_else(|| DataFusionError::Internal("the state of a count is something else".to_owned()))?;
        for (group, state) in groups.iter().zip(states) {
            self.sets[*group].merge(state.unwrap_or_default());
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows: Vec<usize> = (0..values.first().map_or(0, |v| v.len())).collect();
        // Not a bitmap for each row.
        let mut one_each = Self { table: None, ..Self::default() };
        one_each.update_batch(values, &rows, filter, rows.len())?;
        one_each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        let table = self.table.as_ref().map_or(0, |t| 8 * t.words.capacity());
        table + self.sets.capacity() * size_of::<Set>() + self.sets.iter().map(Set::size).sum::<usize>()
    }
}

/// All rows as one group.
#[derive(Debug)]
struct One<T>(Counts<T>);

impl<T: ArrowPrimitiveType + Debug> Accumulator for One<T>
where
    T::Native: Into<u64>,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values.first().map_or(0, |v| v.len())], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.leave_table(1);
        ScalarValue::try_from_array(&self.0.evaluate(EmitTo::All)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.leave_table(1);
        self.0.state(EmitTo::All)?.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states.first().map_or(0, |v| v.len())], 1)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(numbers: &[u64]) -> Set {
        let mut set = Set::default();
        numbers.iter().for_each(|number| set.insert(*number));
        set
    }

    #[test]
    fn a_number_far_off_costs_no_bitmap() {
        let mut far = set(&(0..10_000).collect::<Vec<_>>());
        assert!(far.bits.len() > 100 && far.size() < 8_192);
        far.insert(u64::from(u32::MAX));
        assert_eq!(far.count(), 10_001);
        assert!(far.size() < 8_192, "{}", far.size());
    }

    proptest! {
        #[test]
        fn sets_count_and_merge(parts in prop::collection::vec(
            prop::collection::vec(prop_oneof![0..100_u64, 0..5_000_u64, 0..u64::from(u32::MAX), any::<u64>()], 0..600), 1..4,
        )) {
            let expected: BTreeSet<u64> = parts.iter().flatten().copied().collect();
            let mut merged = Set::default();
            for part in &parts {
                let mut part_set = set(part);
                prop_assert_eq!(part_set.count(), part.iter().collect::<BTreeSet<_>>().len() as i64);
                merged.merge(&part_set.write());
            }
            prop_assert_eq!(merged.count(), expected.len() as i64);
            let mut all = set(&parts.concat());
            prop_assert_eq!(all.count(), expected.len() as i64);
            prop_assert!(all.size() <= 8 * (4 * expected.len() + 2 * Set::FEW), "{} for {}", all.size(), expected.len());
        }
    }
}
