//! The rows that may be the first of their partition.

use super::bound::{is_whole, lead};
use super::{Keep, compacted, evaluated, fields};
use datafusion::arrow::array::{BooleanArray, RecordBatch, UInt64Array};
use datafusion::arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::row::RowConverter;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use std::sync::Arc;

/// Up to how many rows are kept without another look at them.
const FEW: usize = 1 << 16;

/// The rows that may be the first of their partition, of those that have come.
///
/// A row is compared by its *lead* at first: the first bytes of the first expression to sort by, in a form in which bytes compare as the
/// values do, so that a row with a greater lead is not the first. Rows with equal leads stay, and are compared in full at the end, or
/// when there are too many of them.
pub(super) struct FirstOfEach {
    schema: SchemaRef,
    by: Vec<Arc<dyn PhysicalExpr>>,
    order: Vec<PhysicalSortExpr>,
    /// The numbers of partitions, in the order in which they came.
    partitions: Box<dyn GroupValues>,
    /// Of each partition the least lead.
    least: Vec<u128>,
    /// Of each partition whether a row with that lead is kept.
    has: Vec<bool>,
    /// What makes leads; `None` where nothing is sorted by.
    leads: Option<RowConverter>,
    /// What compares in full.
    keys: RowConverter,
    /// Whether of two rows with one lead the earlier is the first.
    lead_is_all: bool,
    batches: Vec<Candidates>,
    rows: usize,
    /// How many rows there were after the last look at all of them.
    looked: usize,
    bytes: usize,
    numbers: Vec<usize>,
}

/// Rows, with the number of their partition and their lead.
struct Candidates {
    rows: RecordBatch,
    partitions: Vec<usize>,
    leads: Vec<u128>,
}

impl FirstOfEach {
    pub fn new(schema: SchemaRef, by: &[Arc<dyn PhysicalExpr>], order: &[PhysicalSortExpr]) -> Result<Self> {
        let columns: Result<Vec<Field>> = by.iter().map(|e| Ok(Field::new("", e.data_type(&schema)?, true))).collect();
        let sorted = fields(order, &schema)?;
        let leads = sorted.first().map(|first| RowConverter::new(vec![first.clone()])).transpose()?;
        let lead_is_all = match order {
            [] => true,
            [only] => is_whole(&only.expr.data_type(&schema)?),
            _ => false,
        };
        Ok(Self {
            partitions: new_group_values(Arc::new(Schema::new(columns?)), &GroupOrdering::None)?,
            keys: RowConverter::new(sorted)?,
            leads,
            lead_is_all,
            schema,
            by: by.to_vec(),
            order: order.to_vec(),
            least: Vec::new(),
            has: Vec::new(),
            batches: Vec::new(),
            rows: 0,
            looked: 0,
            bytes: 0,
            numbers: Vec::new(),
        })
    }

    fn leads(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        let (Some(converter), Some(first)) = (&self.leads, self.order.first()) else { return Ok(vec![0; batch.num_rows()]) };
        let rows = converter.convert_columns(&evaluated([&first.expr], batch)?)?;
        Ok(rows.iter().map(|row| lead(row.as_ref())).collect())
    }

    fn keep(&mut self, candidates: Candidates) {
        self.rows += candidates.rows.num_rows();
        self.bytes += candidates.size();
        self.batches.push(candidates);
    }

    /// Has fewer rows afterwards, or as many as there are partitions.
    fn look(&mut self) -> Result<()> {
        self.drop_beaten()?;
        if self.rows > 2 * self.least.len() + FEW {
            self.decide()?;
        }
        self.looked = self.rows;
        Ok(())
    }

    /// Drops the rows whose partition has had a lesser lead since.
    fn drop_beaten(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.batches);
        (self.rows, self.bytes) = (0, 0);
        for candidates in batches {
            let stays: Vec<bool> = candidates.partitions.iter().zip(&candidates.leads).map(|(p, lead)| *lead == self.least[*p]).collect();
            let kept = |of: &[usize]| of.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(p, _)| *p).collect::<Vec<usize>>();
            let partitions = kept(&candidates.partitions);
            if partitions.is_empty() {
                continue;
            }
            let leads = partitions.iter().map(|p| self.least[*p]).collect();
            let rows = filter_record_batch(&candidates.rows, &BooleanArray::from(stays))?;
            self.keep(Candidates { rows: compacted(rows)?, partitions, leads });
        }
        Ok(())
    }

    /// Compares in full: of each partition one row stays.
    fn decide(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.batches);
        (self.rows, self.bytes) = (0, 0);
        if batches.is_empty() {
            return Ok(());
        }
        let all = concat_batches(&self.schema, batches.iter().map(|candidates| &candidates.rows))?;
        let keys = match self.order.is_empty() {
            true => None,
            false => Some(self.keys.convert_columns(&evaluated(self.order.iter().map(|by| &by.expr), &all)?)?),
        };
        let mut first: Vec<Option<usize>> = vec![None; self.least.len()];
        for (row, partition) in batches.iter().flat_map(|candidates| &candidates.partitions).enumerate() {
            let is_less = |other: usize| keys.as_ref().is_some_and(|keys| keys.row(row) < keys.row(other));
            if first[*partition].is_none_or(is_less) {
                first[*partition] = Some(row);
            }
        }
        let chosen: Option<Vec<u64>> = first.iter().map(|row| row.map(|row| row as u64)).collect();
        let chosen = chosen.ok_or_else(|| DataFusionError::Internal("a partition has lost its first row".to_owned()))?;
        let rows = compacted(take_record_batch(&all, &UInt64Array::from(chosen))?)?;
        self.keep(Candidates { rows, partitions: (0..self.least.len()).collect(), leads: self.least.clone() });
        Ok(())
    }
}

impl Keep for FirstOfEach {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut numbers = std::mem::take(&mut self.numbers);
        self.partitions.intern(&evaluated(&self.by, batch)?, &mut numbers)?;
        self.least.resize(self.partitions.len(), u128::MAX);
        self.has.resize(self.partitions.len(), false);
        let leads = self.leads(batch)?;
        for (number, lead) in numbers.iter().zip(&leads) {
            if *lead < self.least[*number] {
                self.least[*number] = *lead;
                self.has[*number] = false;
            }
        }
        let mut chosen: Vec<u64> = Vec::new();
        for (row, (number, lead)) in numbers.iter().zip(&leads).enumerate() {
            if *lead == self.least[*number] && !(self.lead_is_all && self.has[*number]) {
                self.has[*number] = true;
                chosen.push(row as u64);
            }
        }
        if !chosen.is_empty() {
            let of = |row: &u64| *row as usize;
            let partitions = chosen.iter().map(|row| numbers[of(row)]).collect();
            let leads = chosen.iter().map(|row| leads[of(row)]).collect();
            let rows = compacted(take_record_batch(batch, &UInt64Array::from(chosen))?)?;
            self.keep(Candidates { rows, partitions, leads });
        }
        self.numbers = numbers;
        if self.rows > 2 * self.looked + FEW {
            self.look()?;
        }
        Ok(())
    }

    /// In the order of partitions.
    fn finish(mut self: Box<Self>) -> Result<RecordBatch> {
        self.drop_beaten()?;
        self.decide()?;
        Ok(self.batches.pop().map_or_else(|| RecordBatch::new_empty(self.schema), |only| only.rows))
    }

    fn size(&self) -> usize {
        self.bytes + self.partitions.size() + self.least.capacity() * size_of::<u128>() + self.has.capacity()
    }
}

impl Candidates {
    fn size(&self) -> usize {
        get_record_batch_memory_size(&self.rows)
            + self.partitions.capacity() * size_of::<usize>()
            + self.leads.capacity() * size_of::<u128>()
    }
}
