//! Which rows a reader may see. Whatever a permit says of persons and records ends here: in bitmaps, and in conditions on a row
//! that cost nothing where no row of a part meets them.

use super::file::Damaged;
use super::marks::{is_marked, is_of};
use super::snapshot::{Part, Visible};
use crate::ids::{Commit, HolderId};
use arrow::array::{Array, AsArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::UInt32Type;
use roaring::RoaringBitmap;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Which rows a reader may see. Rows outside do not exist.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// Only rows of these persons (`None`: of all).
    pub patients: Option<Arc<RoaringBitmap>>,
    /// Never rows of these Patients, whichever person they are part of at the commit that is seen.
    pub without: Option<Arc<RoaringBitmap>>,
    /// Never rows of these persons.
    pub others_than: Option<Arc<RoaringBitmap>>,
    /// Rows of these persons as they stood at a commit, where that is older than the one that is seen: nothing was collected after
    /// it. (The snapshot must go [`super::Snapshot::back_to`] the oldest of them.)
    pub until: Option<Arc<HashMap<u32, Commit>>>,
    /// Only rows without a mark.
    pub unmarked: bool,
    /// Rows that are absent because of what stands in them.
    pub hidden: Arc<[Hidden]>,
    /// Also rows about no patient (tables such as `research_study`).
    pub without_patient: bool,
    /// Only rows that this holder wrote.
    pub holder: Option<HolderId>,
}

/// Rows of a table that are absent: those with one of these texts in a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Hidden {
    /// The table.
    pub table: String,
    /// A column of texts or codes. If the table has no such column, all its rows are absent: better too little than too much.
    pub column: String,
    /// The texts.
    pub texts: BTreeSet<String>,
    /// Persons whose rows are there all the same.
    pub except: Arc<RoaringBitmap>,
}

impl RowFilter {
    /// Every row that nobody has erased.
    pub fn everything() -> Self {
        Self { without_patient: true, ..Self::default() }
    }

    /// Whether it looks at persons, and not at Patients alone.
    fn is_of_persons(&self) -> bool {
        self.patients.is_some() || self.others_than.is_some() || self.until.is_some() || !self.hidden.is_empty()
    }
}

/// Whose rows a part holds: the Patients, and the persons that they are part of.
struct Subjects {
    patients: UInt32Array,
    /// `None` where they are the same, or nobody looks at them.
    persons: Option<UInt32Array>,
}

impl Subjects {
    fn of(part: &Part, position: usize, filter: &RowFilter) -> Result<Option<Self>, Damaged> {
        let column = part.segment.column(position, part.len)?;
        let patients = column.as_primitive_opt::<UInt32Type>().cloned();
        let looked_at = filter.is_of_persons() && !part.persons.is_identity();
        let persons = if looked_at { Some(part.segment.persons(position, part.len, &part.persons)?) } else { None };
        Ok(patients.map(|patients| Self { patients, persons: persons.and_then(|p| p.as_primitive_opt::<UInt32Type>().cloned()) }))
    }

    fn is_null(&self, row: usize) -> bool {
        self.patients.is_null(row)
    }

    fn patient(&self, row: usize) -> Option<u32> {
        self.patients.values().get(row).copied().filter(|_| self.patients.is_valid(row))
    }

    fn person(&self, row: usize) -> Option<u32> {
        let persons = self.persons.as_ref().unwrap_or(&self.patients);
        persons.values().get(row).copied().filter(|_| persons.is_valid(row))
    }
}

impl Part {
    /// Which rows are visible and pass `filter`. It costs next to nothing where every row has begun, none has ended and the
    /// filter lets everyone through.
    pub fn visible(&self, filter: &RowFilter) -> Result<Visible, Damaged> {
        if let Some(damaged) = &self.damaged {
            return Err(Damaged::clone(damaged));
        }
        let subjects = match self.schema.patient_column() {
            Some(position) => Subjects::of(self, position, filter)?,
            None => None,
        };
        if subjects.is_none() && !filter.without_patient {
            return Ok(Visible::Nothing);
        }
        let mut mask = match (&filter.until, &subjects) {
            (Some(until), Some(subjects)) if !until.is_empty() => self.standing_until(until, subjects)?,
            _ => self.standing()?,
        };
        if let Some(holder) = filter.holder {
            let holders = self.segment.holders()?;
            mask.keep(self.len, |row| holders.get(row).is_some_and(|kept| is_of(*kept, holder)));
        }
        if filter.unmarked && self.segment.has_marks()? {
            let holders = self.segment.holders()?;
            mask.keep(self.len, |row| holders.get(row).is_some_and(|kept| !is_marked(*kept)));
        }
        if let Some(subjects) = &subjects {
            if !filter.without_patient && subjects.patients.null_count() > 0 {
                mask.keep(self.len, |row| !subjects.is_null(row));
            }
            self.keep_known(&mut mask, filter, subjects);
        }
        if filter.patients.is_some() || filter.others_than.is_some() || filter.without.is_some() || !self.hidden.is_empty() {
            for position in self.schema.other_patient_columns() {
                // A row that names further persons needs all of them.
                let Some(further) = Subjects::of(self, position, filter)? else { continue };
                self.keep_known(&mut mask, filter, &further);
            }
        }
        for hidden in filter.hidden.iter().filter(|hidden| hidden.table == self.schema.name) {
            self.keep_shown(&mut mask, hidden, subjects.as_ref())?;
        }
        Ok(mask.simplified())
    }

    /// The rows whose person the filter lets through, and those about nobody.
    fn keep_known(&self, mask: &mut Visible, filter: &RowFilter, subjects: &Subjects) {
        if let Some(only) = &filter.patients {
            mask.keep(self.len, |row| subjects.is_null(row) || subjects.person(row).is_some_and(|person| only.contains(person)));
        }
        if let Some(out) = &filter.others_than {
            mask.keep(self.len, |row| !subjects.person(row).is_some_and(|person| out.contains(person)));
        }
        // Whoever is erased, or out, is so as a Patient: a person of several at one commit may be another one at the next.
        for out in [Some(&self.hidden), filter.without.as_ref()].into_iter().flatten().filter(|out| !out.is_empty()) {
            mask.keep(self.len, |row| !subjects.patient(row).is_some_and(|patient| out.contains(patient)));
        }
    }

    /// The rows that `hidden` leaves.
    fn keep_shown(&self, mask: &mut Visible, hidden: &Hidden, subjects: Option<&Subjects>) -> Result<(), Damaged> {
        let column = match self.schema.index_of(&hidden.column) {
            Some(position) => Some(self.segment.column(position, self.len)?),
            None => None,
        };
        let excepted = |row: usize| subjects.and_then(|s| s.person(row)).is_some_and(|person| hidden.except.contains(person));
        let codes = column.as_ref().and_then(|c| c.as_dictionary_opt::<UInt32Type>());
        let texts = column.as_ref().and_then(|c| c.as_string_view_opt());
        if let Some(codes) = codes
            && let Some(values) = codes.values().as_string_opt::<i32>()
        {
            let meant: Vec<bool> = values.iter().map(|text| text.is_some_and(|text| hidden.texts.contains(text))).collect();
            let is = |row: usize| codes.keys().is_valid(row) && meant.get(codes.keys().value(row) as usize) == Some(&true);
            mask.keep(self.len, |row| !is(row) || excepted(row));
        } else if let Some(texts) = texts {
            mask.keep(self.len, |row| texts.is_null(row) || !hidden.texts.contains(texts.value(row)) || excepted(row));
        } else {
            mask.keep(self.len, excepted);
        }
        Ok(())
    }

    /// Which rows stand: those of the persons in `until` at the commit there, where that is older.
    fn standing_until(&self, until: &HashMap<u32, Commit>, subjects: &Subjects) -> Result<Visible, Damaged> {
        let begins = self.segment.begins()?;
        let ends = self.segment.ends().commits();
        let stands = |row: usize| {
            let at = subjects.person(row).and_then(|person| until.get(&person)).map_or(self.at, |then| self.at.min(*then)).0;
            let end = ends.and_then(|ends| ends.get(row)).map_or(0, |end| end.load(Ordering::Acquire));
            begins.get(row).is_some_and(|begin| *begin <= at) && (end == 0 || end > at)
        };
        Ok(Visible::Rows(BooleanBuffer::collect_bool(self.len, stands)))
    }
}
