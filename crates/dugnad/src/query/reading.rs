//! What a scan reads of one part: first which rows are visible, then the columns that filters look at, then the others, of
//! the rows that are left.
//!
//! The order is a promise. A filter that can fail is never evaluated on a row outside the permit, nor on a code that only such rows
//! have: its failure would tell.

use super::dictionary::{compact, in_order_of_rows, occurring};
use super::policy::shown_of;
use super::seat::Ground;
use super::source::{Source, damaged, rows_only};
use super::transform;
use super::world::{ColumnGrant, Lens};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, DictionaryArray, Float64Array, RecordBatch, RecordBatchOptions, Scalar,
    UInt32Array,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::kernels::cmp::{eq, gt, gt_eq, lt, lt_eq, neq};
use datafusion::arrow::compute::{FilterBuilder, FilterPredicate, take};
use datafusion::arrow::datatypes::{DataType, SchemaRef, UInt32Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use dugnad_kernel::live::schema::{Storage, TableSchema};
use dugnad_kernel::live::{Condition, RowFilter, Visible};
use dugnad_kernel::permit::Transform;
use dugnad_sql::QueryError;
use dugnad_sql::first::{Bound, Wanted};
use dugnad_sql::numbers::Kind;
use std::sync::Arc;

/// A filter that a scan evaluates.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// The columns that it looks at, by position in the live table.
    pub positions: Arc<[usize]>,
    /// These columns as they are stored.
    pub schema: SchemaRef,
    /// On [`Self::schema`].
    pub predicate: Arc<dyn PhysicalExpr>,
    /// The same as a comparison, where it is one of a decimal with a number that is no zero.
    pub compared: Option<Compared>,
    /// What every row that passes meets; parts without such a row are not read. A filter that has one cannot fail, and comes
    /// before those that have none.
    pub condition: Option<Condition>,
    /// As the question has it.
    pub shown: String,
}

/// A comparison of a decimal with a number that is no zero. DataFusion's own goes through the column before, so that its two zeros are one.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    op: Operator,
    number: Scalar<Float64Array>,
}

impl Compared {
    /// What a predicate on one column comes to.
    pub fn of(predicate: &Arc<dyn PhysicalExpr>) -> Option<Self> {
        let binary = predicate.downcast_ref::<BinaryExpr>()?;
        let (op, literal) = match (binary.left().is::<Column>(), binary.right().is::<Column>()) {
            (true, false) => (*binary.op(), binary.right()),
            (false, true) => (binary.op().swap()?, binary.left()),
            _ => return None,
        };
        let ScalarValue::Float64(Some(number)) = *literal.downcast_ref::<Literal>()?.value() else { return None };
        let compares = matches!(op, Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
        (compares && number != 0.0).then(|| Self { op, number: Float64Array::new_scalar(number) })
    }

    fn evaluate(&self, column: &ArrayRef) -> Result<BooleanArray> {
        Ok(match self.op {
            Operator::Eq => eq(column, &self.number)?,
            Operator::NotEq => neq(column, &self.number)?,
            Operator::Lt => lt(column, &self.number)?,
            Operator::LtEq => lt_eq(column, &self.number)?,
            Operator::Gt => gt(column, &self.number)?,
            _ => gt_eq(column, &self.number)?,
        })
    }
}

/// What is read of a table.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub table: Arc<TableSchema>,
    pub columns: Arc<[ColumnGrant]>,
    pub lens: Lens,
    /// Keys and codes as numbers.
    pub numbers: bool,
    pub filters: Arc<[Filter]>,
    pub schema: SchemaRef,
}

impl Reading {
    /// Whether rows may be left out by their values of a column: it is shown as it is stored, and is a date or a number.
    pub fn can_be_bounded(&self, column: usize) -> bool {
        let Some(grant) = self.columns.get(column) else { return false };
        let stored = matches!(grant.storage, Storage::Date | Storage::Instant | Storage::Integer | Storage::Decimal);
        stored && grant.transform == Transform::Keep && !grant.blind
    }
}

/// What a run of parts has found of the first rows, in the order of one column.
pub(super) struct SoFar {
    /// The column, by position in the live table.
    position: usize,
    bound: Bound,
}

impl SoFar {
    /// Nothing yet.
    pub fn of(reading: &Reading, wanted: Wanted) -> Result<Self> {
        let grant = reading.columns.get(wanted.column);
        let grant = grant.ok_or_else(|| DataFusionError::Internal("a scan is sorted by a column that it has not".to_owned()))?;
        Ok(Self { position: grant.position, bound: Bound::new(&grant.storage.arrow(), wanted.options, wanted.most)? })
    }
}

/// A scan that has begun: what is read, and of which rows.
pub(super) struct Opened {
    reading: Arc<Reading>,
    source: Arc<dyn Source>,
    filter: RowFilter,
    ground: Arc<Ground>,
}

impl std::ops::Deref for Opened {
    type Target = Reading;

    fn deref(&self) -> &Reading {
        &self.reading
    }
}

impl Opened {
    /// Finds the rows.
    pub fn of(reading: Arc<Reading>) -> Result<Self> {
        let ground = reading.lens.seat.ground()?;
        let gone = || QueryError::Internal(format!("the table {} is not there any more", reading.table.name));
        let source = ground.sources.table(&reading.table.name).ok_or_else(gone)?;
        let filter = ground.filter(&reading.table);
        Ok(Self { source, filter, ground, reading })
    }

    /// How many parts the table has.
    pub fn parts(&self) -> usize {
        self.source.parts()
    }

    /// The first `most` rows of a part that the permit shows and that pass the filters; where only the first in the order of a column are
    /// wanted, without rows that are not among them.
    pub fn part(&self, part: usize, most: usize, first: Option<&mut SoFar>) -> Result<RecordBatch> {
        let met = |condition: &Condition| self.source.may_meet(part, condition);
        if !self.filters.iter().filter_map(|filter| filter.condition.as_ref()).all(met) {
            return Ok(if self.columns.is_empty() { rows_only(0) } else { RecordBatch::new_empty(self.schema.clone()) });
        }
        let rows = self.source.rows(part);
        let mut selection = Selection::of(self.source.visible(part, &self.filter).map_err(damaged(self.source.as_ref()))?, rows);
        for filter in self.filters.iter().take_while(|_| most > 0) {
            if selection.count == 0 {
                break;
            }
            if filter.condition.is_some() && selection.is_dense() {
                selection.keep(&self.passed(filter, part, None)?);
            } else {
                selection.narrow(&self.passed(filter, part, Some(&selection))?);
            }
        }
        selection.truncate(most);
        if selection.count > 0 {
            self.deliver(part, &selection)?;
            if let Some(SoFar { position, bound }) = first {
                let column = self.column(part, *position, None)?;
                selection.keep(&bound.passing(&column, selection.mask.as_ref())?);
            }
        }
        if self.columns.is_empty() {
            return Ok(rows_only(selection.count));
        }
        if selection.count == 0 {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let rows = selection.predicate();
        let shown: Result<Vec<ArrayRef>> = self.columns.iter().map(|grant| self.shown(grant, part, rows.as_ref())).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(selection.count));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), shown?, &options)?)
    }

    /// Remembers whose rows these are.
    fn deliver(&self, part: usize, selection: &Selection) -> Result<()> {
        if selection.mask.is_none()
            && let Some(patients) = self.source.named(part).map_err(damaged(self.source.as_ref()))?
        {
            self.ground.delivered.add_all(&patients);
            return Ok(());
        }
        for patients in self.source.patients(part).map_err(damaged(self.source.as_ref()))? {
            if let Some(patients) = patients.as_primitive_opt() {
                self.ground.delivered.add(patients, selection.mask.as_ref());
            }
        }
        Ok(())
    }

    /// Which of the selected rows pass a filter; which of all rows, hidden ones among them, if it cannot fail and there is no selection.
    fn passed(&self, filter: &Filter, part: usize, selection: Option<&Selection>) -> Result<BooleanBuffer> {
        let rows = selection.and_then(Selection::predicate);
        let column = |position: &usize| self.column(part, *position, rows.as_ref());
        let columns: Result<Vec<ArrayRef>> = filter.positions.iter().map(column).collect();
        let mut columns = columns?;
        if let [codes] = columns.as_slice()
            && let Some(codes) = codes.as_dictionary_opt()
        {
            return filter.on_values(codes);
        }
        for column in columns.iter_mut().filter(|c| matches!(c.data_type(), DataType::Dictionary(_, _))) {
            *column = compact(column)?;
        }
        let count = selection.map_or_else(|| self.source.rows(part), |selection| selection.count);
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        filter.evaluate(&RecordBatch::try_new_with_options(filter.schema.clone(), columns, &options)?)
    }

    fn column(&self, part: usize, position: usize, rows: Option<&FilterPredicate>) -> Result<ArrayRef> {
        selected(&self.source.column(part, position).map_err(damaged(self.source.as_ref()))?, rows)
    }

    /// A column of the selected rows as the permit shows it: number, key or transform.
    fn shown(&self, grant: &ColumnGrant, part: usize, rows: Option<&FilterPredicate>) -> Result<ArrayRef> {
        let mut stored = self.column(part, grant.position, rows)?;
        if grant.blind {
            let subject = self.source.schema().patient_column();
            let persons = subject.map(|position| self.column(part, position, rows)).transpose()?;
            stored = shown_of(&stored, persons.as_ref(), &self.lens.blind.seen)?;
        }
        if self.numbers
            && let Some(kind) = self.lens.kind(grant)
        {
            return if kind == Kind::Code { self.ground.dictionary.numbers(&stored) } else { Ok(stored) };
        }
        let column = match grant.storage {
            Storage::Code | Storage::Holder => &compact(&stored)?,
            _ => &stored,
        };
        let shown = self.lens.keys.encode(grant.storage, column).map_err(DataFusionError::Internal)?;
        transform::apply(grant.transform, &shown)
    }
}

impl Filter {
    fn evaluate(&self, batch: &RecordBatch) -> Result<BooleanBuffer> {
        let passed = match (&self.compared, batch.columns()) {
            (Some(compared), [column]) => compared.evaluate(column)?,
            _ => {
                let passed = self.predicate.evaluate(batch)?.into_array(batch.num_rows())?;
                let passed = passed.as_boolean_opt().cloned();
                passed.ok_or_else(|| DataFusionError::Internal("a filter is not a condition".to_owned()))?
            }
        };
        // Null is not true.
        let (passed, nulls) = passed.into_parts();
        Ok(match nulls {
            Some(valid) => &passed & valid.inner(),
            None => passed,
        })
    }

    /// Which rows of one column of codes pass: evaluated once for each value, and once for null.
    fn on_values(&self, codes: &DictionaryArray<UInt32Type>) -> Result<BooleanBuffer> {
        let seen = match self.condition.is_some() {
            // Where it can fail only values that a row has, that of the first row at first: the order of a dictionary tells who else has
            // its values.
            false => in_order_of_rows(codes),
            true if codes.values().len() > codes.len() => occurring(codes),
            true => (0..codes.values().len() as u32).collect(),
        };
        let has_null = codes.null_count() > 0;
        let values = take(codes.values(), &UInt32Array::from(seen.clone()), None)?;
        let each = (0..seen.len() as u32).map(Some).chain(has_null.then_some(None));
        let each: ArrayRef = Arc::new(DictionaryArray::<UInt32Type>::try_new(each.collect(), values)?);
        let passed = self.evaluate(&RecordBatch::try_new(self.schema.clone(), vec![each])?)?;
        let mut passes = vec![false; codes.values().len()];
        for (value, passed) in seen.iter().zip(passed.iter()) {
            passes[*value as usize] = passed;
        }
        let keys = codes.keys().values();
        let mut passing = passes.iter().zip(0..).filter(|(passes, _)| **passes).map(|(_, key)| key);
        let of_values = match (passing.next(), passing.next()) {
            (None, _) => BooleanBuffer::new_unset(keys.len()),
            (Some(only), None) => eq(codes.keys(), &UInt32Array::new_scalar(only))?.values().clone(),
            // The key of a null may be anything.
            _ => BooleanBuffer::collect_bool(keys.len(), |row| passes.get(keys[row] as usize).copied().unwrap_or_default()),
        };
        Ok(match codes.nulls().filter(|_| has_null) {
            None => of_values,
            Some(there) if passed.value(seen.len()) => &of_values | &!there.inner(),
            Some(there) => &of_values & there.inner(),
        })
    }
}

/// Rows of a part.
struct Selection {
    /// All if absent.
    mask: Option<BooleanBuffer>,
    count: usize,
    rows: usize,
}

impl Selection {
    fn of(visible: Visible, rows: usize) -> Self {
        let count = visible.count(rows);
        let mask = match visible {
            Visible::All => None,
            Visible::Nothing => Some(BooleanBuffer::new_unset(rows)),
            Visible::Rows(mask) => Some(mask),
        };
        Self { mask, count, rows }
    }

    /// Whether looking at all rows costs less than picking these out.
    fn is_dense(&self) -> bool {
        self.count > self.rows / 4
    }

    /// Keeps the rows whose bit is set: `passed` has a bit for each row, selected or not.
    fn keep(&mut self, passed: &BooleanBuffer) {
        let mask = self.mask.as_ref().map_or_else(|| passed.clone(), |mask| mask & passed);
        let count = mask.count_set_bits();
        if count < self.count {
            *self = Self { mask: Some(mask), count, rows: self.rows };
        }
    }

    /// Keeps those of the selected rows whose bit is set: `passed` has a bit for each of them.
    fn narrow(&mut self, passed: &BooleanBuffer) {
        let count = passed.count_set_bits();
        if count == self.count {
            return;
        }
        let mask = match &self.mask {
            None => passed.clone(),
            Some(mask) => {
                let mut narrowed = BooleanBufferBuilder::new(self.rows);
                narrowed.append_n(self.rows, false);
                for (row, _) in mask.set_indices().zip(passed.iter()).filter(|(_, passed)| *passed) {
                    narrowed.set_bit(row, true);
                }
                narrowed.finish()
            }
        };
        *self = Self { mask: Some(mask), count, rows: self.rows };
    }

    /// Keeps the first `most` rows.
    fn truncate(&mut self, most: usize) {
        if self.count <= most {
            return;
        }
        let first = match &self.mask {
            None => most,
            Some(mask) => mask.set_indices().nth(most).unwrap_or(self.rows),
        };
        let mask = self.mask.take().unwrap_or_else(|| BooleanBuffer::new_set(self.rows));
        let cut = BooleanBuffer::collect_bool(self.rows, |row| row < first);
        *self = Self { mask: Some(&mask & &cut), count: most, rows: self.rows };
    }

    fn predicate(&self) -> Option<FilterPredicate> {
        let mask = self.mask.as_ref()?;
        Some(FilterBuilder::new(&BooleanArray::new(mask.clone(), None)).optimize().build())
    }
}

fn selected(column: &ArrayRef, rows: Option<&FilterPredicate>) -> Result<ArrayRef> {
    Ok(rows.map_or_else(|| Ok(column.clone()), |rows| rows.filter(column))?)
}
