//! The rows that may be among the first of all.

use super::bound::Bound;
use super::{Keep, compacted, evaluated, fields};
use datafusion::arrow::array::{BooleanArray, RecordBatch, UInt64Array};
use datafusion::arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::RowConverter;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalSortExpr;

/// Rows are looked at again when there are twice as many as are wanted and these.
const FEW: usize = 1 << 13;

/// In up to how many batches they are kept: each may hold on to a dictionary.
const BATCHES: usize = 256;

/// The rows that may be among the first `most`, of those that have come. They are compared in full at the end, or when there are too many.
pub(super) struct FirstOfAll {
    schema: SchemaRef,
    order: Vec<PhysicalSortExpr>,
    most: usize,
    bound: Bound,
    /// What compares in full.
    keys: RowConverter,
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl FirstOfAll {
    /// `first` is what is sorted by at first, `order` all that is.
    pub fn new(schema: SchemaRef, first: &PhysicalSortExpr, order: &[PhysicalSortExpr], most: usize) -> Result<Self> {
        let bound = Bound::new(&first.expr.data_type(&schema)?, first.options, most)?;
        let keys = RowConverter::new(fields(order, &schema)?)?;
        Ok(Self { schema, order: order.to_vec(), most, bound, keys, batches: Vec::new(), rows: 0, bytes: 0 })
    }

    fn keep(&mut self, rows: RecordBatch) -> Result<()> {
        let rows = compacted(rows)?;
        self.rows += rows.num_rows();
        self.bytes += get_record_batch_memory_size(&rows);
        self.batches.push(rows);
        Ok(())
    }

    /// Compares in full: the first `most` rows stay, of equal rows those that came first.
    fn decide(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.batches);
        (self.rows, self.bytes) = (0, 0);
        let all = concat_batches(&self.schema, &batches)?;
        let keys = self.keys.convert_columns(&evaluated(self.order.iter().map(|by| &by.expr), &all)?)?;
        let mut chosen: Vec<u64> = (0..all.num_rows() as u64).collect();
        let key = |row: &u64| keys.row(*row as usize);
        if chosen.len() > self.most {
            chosen.select_nth_unstable_by(self.most, |a, b| key(a).cmp(&key(b)).then(a.cmp(b)));
            chosen.truncate(self.most);
        }
        chosen.sort_unstable_by(|a, b| key(a).cmp(&key(b)).then(a.cmp(b)));
        self.keep(take_record_batch(&all, &UInt64Array::from(chosen))?)
    }
}

impl Keep for FirstOfAll {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(first) = evaluated(self.order.iter().take(1).map(|by| &by.expr), batch)?.pop() else { return Ok(()) };
        let passing = self.bound.passing(&first, None)?;
        if passing.count_set_bits() > 0 {
            self.keep(filter_record_batch(batch, &BooleanArray::new(passing, None))?)?;
        }
        if self.rows / 2 > self.most.saturating_add(FEW) || self.batches.len() > BATCHES { self.decide() } else { Ok(()) }
    }

    /// In order.
    fn finish(mut self: Box<Self>) -> Result<RecordBatch> {
        self.decide()?;
        Ok(self.batches.pop().unwrap_or_else(|| RecordBatch::new_empty(self.schema)))
    }

    fn size(&self) -> usize {
        self.bytes + self.bound.size()
    }
}
