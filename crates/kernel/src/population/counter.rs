//! How many rows of a table that meet a condition each Patient has, kept from one commit to the next.
//!
//! A row meets its condition for ever or never, so each segment is evaluated once; what changes is which of these rows stand. At a
//! newer commit only segments that have grown, lost rows, or are new are looked at again. At an older one all are counted anew.

use super::criteria::Rows;
use crate::ids::Commit;
use crate::live::{Damaged, Part, RowFilter, SegmentState, TableSnapshot, Visible};
use arrow::array::AsArray;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::UInt32Type;
use roaring::RoaringBitmap;
use std::collections::HashMap;

/// The counters of one criterion.
#[derive(Debug)]
pub struct Counter {
    rows: Rows,
    at: Commit,
    segments: HashMap<u64, Counted>,
    counts: HashMap<u32, u32>,
    /// The Patients with as many rows as are asked for, each by itself.
    reached: RoaringBitmap,
}

/// What of a segment has been counted.
#[derive(Debug, Default)]
struct Counted {
    /// The segment as it was: with the same, the same rows stand.
    state: Option<SegmentState>,
    /// The rows that meet the condition, of the first `evaluated`.
    meeting: RoaringBitmap,
    evaluated: usize,
    /// The Patients of the rows that were counted.
    patients: Vec<u32>,
}

impl Counter {
    /// A counter that has not counted yet.
    pub fn new(rows: Rows) -> Self {
        Self { rows, at: Commit(0), segments: HashMap::new(), counts: HashMap::new(), reached: RoaringBitmap::new() }
    }

    /// The persons with at least so many rows, at the table's commit.
    pub fn persons(&mut self, table: &TableSnapshot) -> Result<RoaringBitmap, Damaged> {
        if table.at() < self.at {
            return Self::new(self.rows.clone()).counted(table);
        }
        self.counted(table)
    }

    fn counted(&mut self, table: &TableSnapshot) -> Result<RoaringBitmap, Damaged> {
        let result = self.count(table);
        if result.is_err() {
            *self = Self::new(self.rows.clone()); // half of it may be counted
        }
        result?;
        self.at = table.at();
        Ok(self.of_persons(table))
    }

    /// Brings the counters to a commit.
    fn count(&mut self, table: &TableSnapshot) -> Result<(), Damaged> {
        let mut before = std::mem::take(&mut self.segments);
        for part in table.parts() {
            let id = part.segment_id();
            let mut counted = before.remove(&id).unwrap_or_default();
            let state = part.state();
            if counted.state.is_none() || counted.state != state {
                let patients = self.of_part(&part, &mut counted)?;
                self.replace(std::mem::replace(&mut counted.patients, patients), &counted.patients);
                counted.state = state;
            }
            self.segments.insert(id, counted);
        }
        for gone in before.into_values() {
            self.replace(gone.patients, &[]);
        }
        Ok(())
    }

    /// The Patient of each row of a part that stands, meets the condition and has no mark.
    fn of_part(&self, part: &Part, counted: &mut Counted) -> Result<Vec<u32>, Damaged> {
        if counted.evaluated < part.len() {
            let column = |name: &str| part.column_named(name);
            let met = self.rows.condition.rows(part.len(), &column)?;
            // Ascending, and beyond what is there.
            let fresh = met.set_indices().filter(|row| *row >= counted.evaluated).map(|row| row as u32);
            counted.meeting.extend(fresh);
            counted.evaluated = part.len();
        }
        if counted.meeting.is_empty() {
            return Ok(Vec::new());
        }
        let visible = part.visible(&RowFilter { unmarked: true, ..RowFilter::default() })?;
        let Some(patients) = part.subjects()? else { return Ok(Vec::new()) };
        let patients = patients.as_primitive_opt::<UInt32Type>().map(|p| p.values().as_ref()).unwrap_or_default();
        let stands = |mask: &BooleanBuffer, row: u32| (row as usize) < mask.len() && mask.value(row as usize);
        let rows = counted.meeting.iter().filter(|row| match &visible {
            Visible::All => true,
            Visible::Nothing => false,
            Visible::Rows(mask) => stands(mask, *row),
        });
        Ok(rows.filter_map(|row| patients.get(row as usize).copied()).collect())
    }

    fn replace(&mut self, old: Vec<u32>, new: &[u32]) {
        for patient in new {
            let count = self.counts.entry(*patient).or_insert(0);
            *count += 1;
            if *count >= self.rows.at_least {
                self.reached.insert(*patient);
            }
        }
        for patient in old {
            let Some(count) = self.counts.get_mut(&patient) else { continue };
            *count -= 1;
            let left = *count;
            if left < self.rows.at_least {
                self.reached.remove(patient);
            }
            if left == 0 {
                self.counts.remove(&patient);
            }
        }
    }

    /// Of Patients to persons: those of several Patients have the rows of all.
    fn of_persons(&self, table: &TableSnapshot) -> RoaringBitmap {
        let mut persons = self.reached.clone();
        let mut sums: HashMap<u32, u32> = HashMap::new();
        for (patient, person) in table.persons().renamed() {
            persons.remove(patient);
            *sums.entry(person).or_insert(0) += self.counts.get(&patient).copied().unwrap_or(0);
        }
        for (person, sum) in sums {
            if sum + self.counts.get(&person).copied().unwrap_or(0) >= self.rows.at_least {
                persons.insert(person);
            }
        }
        persons
    }
}
