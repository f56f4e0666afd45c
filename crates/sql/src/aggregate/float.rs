//! SUM and AVG of `Float64`. Of all other types they are DataFusion's.

use super::exact::Exact;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature};
use std::sync::Arc;

/// SUM or AVG.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ExactFloat {
    inner: Arc<AggregateUDF>,
    mean: bool,
}

impl ExactFloat {
    /// In the place of DataFusion's function of the same name.
    pub(super) fn instead_of(inner: Arc<AggregateUDF>) -> Self {
        let mean = inner.name() == "avg";
        Self { inner, mean }
    }

    fn ours(args: &AccumulatorArgs) -> bool {
        let of_floats = args.expr_fields.first().is_some_and(|f| *f.data_type() == DataType::Float64);
        of_floats && *args.return_field.data_type() == DataType::Float64 && !args.is_distinct
    }
}

impl AggregateUDFImpl for ExactFloat {
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
        self.inner.return_type(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !Self::ours(&args) {
            return self.inner.accumulator(args);
        }
        Ok(Box::new(Total { mean: self.mean, sum: Exact::default(), count: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let of_floats = args.input_fields.first().is_some_and(|f| *f.data_type() == DataType::Float64);
        if !of_floats || *args.return_field.data_type() != DataType::Float64 || args.is_distinct {
            return self.inner.state_fields(args);
        }
        let field = |what: &str, data_type| Arc::new(Field::new(format_state_name(args.name, what), data_type, true));
        Ok(vec![field("sum", DataType::Binary), field("count", DataType::Int64)])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        Self::ours(&args) || self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if !Self::ours(&args) {
            return self.inner.create_groups_accumulator(args);
        }
        Ok(Box::new(Totals { mean: self.mean, ..Totals::default() }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if Self::ours(&args) { self.accumulator(args) } else { self.inner.create_sliding_accumulator(args) }
    }
}

/// NULL of no terms, else the sum or the mean.
fn result(mean: bool, sum: &Exact, count: i64) -> Option<f64> {
    (count > 0).then(|| if mean { sum.value() / count as f64 } else { sum.value() })
}

fn floats(values: &[ArrayRef]) -> Result<&Float64Array> {
    let floats = values.first().and_then(|v| v.as_primitive_opt::<Float64Type>());
    floats.ok_or_else(|| DataFusionError::Internal("a sum of floats got something else".to_owned()))
}

fn states(values: &[ArrayRef]) -> Result<(&BinaryArray, &Int64Array)> {
    let states = match values {
        [sums, counts] => sums.as_binary_opt::<i32>().zip(counts.as_primitive_opt::<Int64Type>()),
        _ => None,
    };
    states.ok_or_else(|| DataFusionError::Internal("the state of a sum is something else".to_owned()))
}

fn read(bytes: &[u8]) -> Result<Exact> {
    Exact::read(bytes).ok_or_else(|| DataFusionError::Internal("the state of a sum is broken".to_owned()))
}

#[derive(Debug)]
struct Total {
    mean: bool,
    sum: Exact,
    count: i64,
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in floats(values)?.iter().flatten() {
            self.sum.add(value);
            self.count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in floats(values)?.iter().flatten() {
            self.sum.take_back(value);
            self.count -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(result(self.mean, &self.sum, self.count)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        self.sum.write(&mut bytes);
        Ok(vec![ScalarValue::Binary(Some(bytes)), ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (sums, counts) = states(values)?;
        for (sum, count) in sums.iter().zip(counts).filter_map(|(sum, count)| sum.zip(count)) {
            self.sum.merge(&read(sum)?);
            self.count += count;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sum.size()
    }
}

#[derive(Debug, Default)]
struct Totals {
    mean: bool,
    sums: Vec<Exact>,
    counts: Vec<i64>,
}

impl Totals {
    fn resize(&mut self, groups: usize) {
        self.sums.resize_with(groups, Exact::default);
        self.counts.resize(groups, 0);
    }

    fn take(&mut self, emit_to: EmitTo) -> (Vec<Exact>, Vec<i64>) {
        (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts))
    }
}

/// Calls `each` with the group and the value of every row that is to be counted.
fn each(values: &Float64Array, groups: &[usize], filter: Option<&BooleanArray>, mut each: impl FnMut(usize, f64)) {
    if values.null_count() == 0 && filter.is_none() {
        groups.iter().zip(values.values()).for_each(|(group, value)| each(*group, *value));
        return;
    }
    for (row, (group, value)) in groups.iter().zip(values.values()).enumerate() {
        if values.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row)) {
            each(*group, *value);
        }
    }
}

impl GroupsAccumulator for Totals {
    fn update_batch(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.resize(total);
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        each(floats(values)?, groups, filter, |group, value| {
            sums[group].add(value);
            counts[group] += 1;
        });
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (sums, counts) = self.take(emit_to);
        let results = sums.iter().zip(counts).map(|(sum, count)| result(self.mean, sum, count));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, counts) = self.take(emit_to);
        let bytes = |sum: &Exact| {
            let mut bytes = Vec::new();
            sum.write(&mut bytes);
            bytes
        };
        let sums = BinaryArray::from_iter_values(sums.iter().map(bytes));
        Ok(vec![Arc::new(sums), Arc::new(Int64Array::from(counts))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.resize(total);
        let (sums, counts) = states(values)?;
        for (group, (sum, count)) in groups.iter().zip(sums.iter().zip(counts)) {
            if let (Some(sum), Some(count)) = (sum, count) {
                self.sums[*group].merge(&read(sum)?);
                self.counts[*group] += count;
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = floats(values)?;
        let rows: Vec<usize> = (0..values.len()).collect();
        let mut one_each = Totals::default();
        one_each.update_batch(&[Arc::new(values.clone())], &rows, filter, rows.len())?;
        one_each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Exact>() + self.counts.capacity() * 8 + self.sums.iter().map(Exact::size).sum::<usize>()
    }
}
