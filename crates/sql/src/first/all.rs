//! The rows that may be among the first of all.

use super::bound::Bound;
use super::{Keep, compacted, evaluated, fields};
use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::RowConverter;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use std::sync::Arc;

/// Rows are compared in full when there are twice as many as are wanted and these.
const FEW: usize = 1 << 14;

/// The rows that may be among the first `most`, of those that have come. They are compared in full at the end, or when there are too many.
pub(super) struct FirstOfAll {
    schema: SchemaRef,
    /// What is sorted by at first.
    first: Arc<dyn PhysicalExpr>,
    /// All that is sorted by.
    order: Vec<PhysicalSortExpr>,
    most: usize,
    bound: Bound,
    /// What compares in full.
    keys: RowConverter,
    batches: Vec<RecordBatch>,
    rows: usize,
    held: RecordBatchMemoryCounter,
}

impl FirstOfAll {
    pub fn new(schema: SchemaRef, order: &[PhysicalSortExpr], most: usize) -> Result<Self> {
        let first = order.first().ok_or_else(|| DataFusionError::Internal("the first rows in no order".to_owned()))?;
        let bound = Bound::new(&first.expr.data_type(&schema)?, first.options, most)?;
        let (keys, first) = (RowConverter::new(fields(order, &schema)?)?, Arc::clone(&first.expr));
        Ok(Self {
            schema,
            first,
            order: order.to_vec(),
            most,
            bound,
            keys,
            batches: Vec::new(),
            rows: 0,
            held: RecordBatchMemoryCounter::new(),
        })
    }

    fn keep(&mut self, rows: RecordBatch) -> Result<()> {
        let rows = compacted(rows)?;
        self.rows += rows.num_rows();
        self.held.count_batch(&rows);
        self.batches.push(rows);
        Ok(())
    }

    /// Compares in full: the first `most` rows stay, of equal rows those that came first.
    fn decide(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.batches);
        (self.rows, self.held) = (0, RecordBatchMemoryCounter::new());
        if batches.is_empty() {
            return Ok(());
        }
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
        let first = self.first.evaluate(batch)?.into_array(batch.num_rows())?;
        let passing = self.bound.passing(&first, None)?;
        let chosen: UInt64Array = passing.set_indices().map(|row| row as u64).collect();
        if !chosen.is_empty() {
            // A copy, also of all: a slice would hold on to whatever its rows are a part of.
            self.keep(take_record_batch(batch, &chosen)?)?;
        }
        let many = self.most.saturating_mul(2).saturating_add(FEW);
        if self.rows > many { self.decide() } else { Ok(()) }
    }

    /// In order.
    fn finish(mut self: Box<Self>) -> Result<RecordBatch> {
        self.decide()?;
        Ok(self.batches.pop().unwrap_or_else(|| RecordBatch::new_empty(self.schema)))
    }

    fn size(&self) -> usize {
        // What is compared in full is copied.
        2 * self.held.memory_usage() + self.bound.size()
    }
}
