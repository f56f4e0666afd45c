//! All live tables at one commit.

use super::ends::ERASED;
use super::file::Damaged;
use super::filter::RowFilter;
use super::marks::is_of;
use super::persons::PersonMap;
use super::schema::{Storage, TableSchema};
use super::segment::{Segment, Segments};
use super::statistics::Condition;
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::FilterBuilder;
use arrow::datatypes::{Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::Timestamp;
use roaring::RoaringBitmap;
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// All live tables at one commit. Holding it costs nothing and stops nobody.
#[derive(Clone, Debug)]
pub struct Snapshot {
    commit: Commit,
    time: Timestamp,
    /// Those of the program's own last.
    tables: Arc<[TableSnapshot]>,
    /// Tables of search values. Those without rows may be left out.
    hidden: Arc<[TableSnapshot]>,
}

/// One live table at one commit.
#[derive(Clone)]
pub struct TableSnapshot {
    pub(super) schema: Arc<TableSchema>,
    pub(super) segments: Segments,
    pub(super) history: Segments,
    /// How many rows of the last segment are seen, if it is still growing.
    pub(super) tail_len: Option<usize>,
    /// Why it cannot be read, until it has been built anew.
    pub(super) damaged: Option<Arc<Damaged>>,
    pub(super) at: Commit,
    /// The oldest commit of which rows are asked for: older than `at` where rows of somebody are seen as they stood then.
    pub(super) since: Commit,
    /// Patients whose rows nobody sees, at whatever commit.
    pub(super) hidden: Arc<RoaringBitmap>,
    /// Which Patients are one person.
    pub(super) persons: Arc<PersonMap>,
}

/// A part of a live table that is scanned in one go: at most [`crate::limits::SEGMENT_ROWS`] rows.
#[derive(Clone)]
pub struct Part {
    pub(super) schema: Arc<TableSchema>,
    pub(super) segment: Arc<Segment>,
    pub(super) damaged: Option<Arc<Damaged>>,
    pub(super) len: usize,
    pub(super) at: Commit,
    pub(super) hidden: Arc<RoaringBitmap>,
    pub(super) persons: Arc<PersonMap>,
}

/// What the standing rows of a segment depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentState {
    rows: usize,
    ended: u32,
    hidden: u64,
}

/// When a row was there, as a reader at some commit knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The row's number in its part.
    pub row: usize,
    /// The resource whose version it shows.
    pub resource: ResourceOrdinal,
    /// From which commit on.
    pub begin: Commit,
    /// Until which, exclusive; `None` if it still stands.
    pub end: Option<Commit>,
}

/// Which rows of a part a reader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visible {
    /// None.
    Nothing,
    /// Every row.
    All,
    /// Those whose bit is set: some and not all.
    Rows(BooleanBuffer),
}

impl Snapshot {
    /// All live tables at `commit`, which was made at `time`.
    pub fn new(commit: Commit, time: Timestamp, tables: impl IntoIterator<Item = TableSnapshot>) -> Self {
        let (hidden, seen): (Vec<_>, Vec<_>) = tables.into_iter().partition(|t| t.schema.hidden);
        let (own, others): (Vec<_>, Vec<_>) = seen.into_iter().partition(|t| t.schema.is_internal());
        Self { commit, time, tables: others.into_iter().chain(own).collect(), hidden: hidden.into() }
    }

    /// The same with these persons.
    #[must_use]
    pub fn with_persons(self, persons: &Arc<PersonMap>) -> Self {
        // The hidden ones know no persons.
        let tables = self.tables.iter().map(|t| TableSnapshot { persons: Arc::clone(persons), ..t.clone() }).collect();
        Self { tables, ..self }
    }

    /// The same with every Patient as a person of their own: for those who see logical ids, of which a person may have several.
    #[must_use]
    pub fn by_patient(self) -> Self {
        self.with_persons(&Arc::default())
    }

    /// The same tables without the rows of these patients, at this and any older commit: they were erased.
    #[must_use]
    pub fn hiding(self, patients: &Arc<RoaringBitmap>) -> Self {
        let tables = self.tables.iter().map(|t| TableSnapshot { hidden: Arc::clone(patients), ..t.clone() }).collect();
        Self { tables, ..self }
    }

    /// The same tables as they were at an older commit.
    #[must_use]
    pub fn as_of(&self, commit: Commit, time: Timestamp) -> Self {
        let at = commit.min(self.commit);
        let as_of = |tables: &[TableSnapshot]| tables.iter().map(|t| TableSnapshot { at, since: at, ..t.clone() }).collect();
        Self { commit: at, time, tables: as_of(&self.tables), hidden: as_of(&self.hidden) }
    }

    /// The same, of which rows are also asked for as they stood at an older commit, for persons of [`RowFilter::until`].
    #[must_use]
    pub fn back_to(self, oldest: Commit) -> Self {
        let tables = self.tables.iter().map(|t| TableSnapshot { since: t.since.min(oldest), ..t.clone() }).collect();
        Self { tables, ..self }
    }

    /// The person of a Patient.
    pub fn person_of(&self, patient: u32) -> u32 {
        self.tables.first().map_or(patient, |t| t.persons.person(PatientOrdinal(patient)).0)
    }

    /// All Patients that are one person with one of these.
    pub fn whole_persons(&self, patients: &RoaringBitmap) -> RoaringBitmap {
        self.tables.first().map_or_else(|| patients.clone(), |t| t.persons.whole(patients))
    }

    /// Which Patients are one person at this commit.
    pub fn persons(&self) -> Option<&PersonMap> {
        self.tables.first().map(|table| table.persons.as_ref())
    }

    /// The commit that is seen.
    pub fn commit(&self) -> Commit {
        self.commit
    }

    /// When that commit was made: `now()` of every query on this snapshot.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The live tables, in order of registration; without those of the program's own.
    pub fn tables(&self) -> &[TableSnapshot] {
        let public = self.tables.partition_point(|t| !t.schema.is_internal());
        self.tables.get(..public).unwrap_or_default()
    }

    /// The table that a file is of.
    pub fn table_of_file(&self, file: &str) -> Option<&str> {
        // The file of a segment's ends is called after the segment's.
        let of = |s: &Arc<Segment>| s.file_name().is_some_and(|name| file.starts_with(name));
        let table = self.tables.iter().chain(self.hidden.iter()).find(|t| t.segments.iter().chain(t.history.iter()).any(of))?;
        Some(&table.schema.name)
    }

    /// A live table by name, also one of the program's own.
    pub fn table(&self, name: &str) -> Option<&TableSnapshot> {
        self.tables.iter().find(|t| t.schema.name == name)
    }

    /// A hidden table by name; `None` also if it has no rows and was left out.
    pub fn hidden_table(&self, name: &str) -> Option<&TableSnapshot> {
        self.hidden.iter().find(|t| t.schema.name == name)
    }
}

impl Snapshot {
    /// The first difference between two snapshots: a table that only one of them has, or the rows of a table, in any order of
    /// tables and rows; `None` if they are the same. Texts are compared, not the codes that stand for them.
    pub fn first_difference(&self, other: &Snapshot) -> Option<String> {
        if self.commit != other.commit {
            return Some(format!("commit {}, commit {}", self.commit, other.commit));
        }
        let lacks = |name: &str, side: &str| Some(format!("{name}: only the {side} has this table"));
        if let Some(table) = other.tables.iter().find(|t| self.table(&t.schema.name).is_none()) {
            return lacks(&table.schema.name, "second");
        }
        let seen = self.tables.iter().find_map(|table| match other.table(&table.schema.name) {
            Some(other) => table.difference(other),
            None => lacks(&table.schema.name, "first"),
        });
        // A hidden table without rows may be left out.
        let names: BTreeSet<&str> = self.hidden.iter().chain(other.hidden.iter()).map(|t| &*t.schema.name).collect();
        seen.or_else(|| {
            names.into_iter().find_map(|name| match (self.hidden_table(name), other.hidden_table(name)) {
                (Some(mine), Some(theirs)) => mine.difference(theirs),
                (Some(one), None) | (None, Some(one)) => match one.rows() {
                    Ok(rows) if rows.is_empty() => None,
                    Ok(rows) => Some(format!("{name}: {} rows on one side only", rows.len())),
                    Err(damaged) => Some(format!("{name}: {damaged}")),
                },
                (None, None) => None,
            })
        })
    }
}

impl TableSnapshot {
    fn difference(&self, other: &Self) -> Option<String> {
        let name = &self.schema.name;
        let (mine, theirs) = match (self.rows(), other.rows()) {
            (Ok(mine), Ok(theirs)) => (mine, theirs),
            (Err(damaged), _) | (_, Err(damaged)) => return Some(format!("{name}: {damaged}")),
        };
        if mine.len() != theirs.len() {
            return Some(format!("{name}: {} rows, {} rows", mine.len(), theirs.len()));
        }
        let row = mine.iter().zip(&theirs).position(|(x, y)| x != y)?;
        Some(format!("{name}: visible row {row} differs"))
    }
}

impl TableSnapshot {
    /// All visible rows as text, sorted; for comparisons.
    fn rows(&self) -> Result<Vec<String>, Damaged> {
        let all: Vec<usize> = (0..self.schema.columns.len()).collect();
        let everything = RowFilter { without_patient: true, ..RowFilter::default() };
        let options = FormatOptions::default().with_null("∅");
        let mut rows = Vec::new();
        for part in self.parts() {
            let batch = part.scan(&all, &everything)?;
            let columns: Vec<_> = batch.columns().iter().filter_map(|c| ArrayFormatter::try_new(c, &options).ok()).collect();
            rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|")));
        }
        rows.sort_unstable(); // a merge takes ended rows out of the order of commits
        Ok(rows)
    }

    /// Its schema.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// The commit that is seen.
    pub fn at(&self) -> Commit {
        self.at
    }

    /// Which Patients are one person.
    pub fn persons(&self) -> &PersonMap {
        &self.persons
    }

    /// Its parts, oldest commits first, and then those of its history. Parts of which nothing can be visible are left out.
    pub fn parts(&self) -> Vec<Part> {
        let tail = self.segments.len().wrapping_sub(1);
        let part = |(i, segment): (usize, &Arc<Segment>)| Part {
            schema: Arc::clone(&self.schema),
            segment: Arc::clone(segment),
            damaged: self.damaged.clone(),
            len: self.tail_len.filter(|_| i == tail).unwrap_or_else(|| segment.len()),
            at: self.at,
            hidden: Arc::clone(&self.hidden),
            persons: Arc::clone(&self.persons),
        };
        let seen = |p: &Part| !p.segment.is_outside(self.since, self.at);
        let history = self.history.iter().map(|segment| part((usize::MAX, segment)));
        self.segments.iter().enumerate().map(part).chain(history).filter(seen).collect()
    }

    /// All its parts that have begun, with rows that have ended too: for [`Part::lives`].
    pub fn past_parts(&self) -> Vec<Part> {
        Self { since: Commit(0), ..self.clone() }.parts()
    }
}

/// Whose rows those of a part are, and from when to when they stand: for who looks at single rows.
#[derive(Clone, Copy)]
pub struct Heads<'p> {
    begins: &'p [u64],
    resources: &'p [u64],
    holders: &'p [u16],
    ends: Option<&'p [AtomicU64]>,
    at: u64,
}

impl Heads<'_> {
    /// The rows that begin within these commits, both included.
    pub fn within(&self, first: Commit, last: Commit) -> std::ops::Range<usize> {
        let from = self.begins.partition_point(|b| *b < first.0);
        let to = self.begins.partition_point(|b| *b <= last.0.min(self.at));
        from..to.max(from)
    }

    /// Whether a row is seen at the part's commit, by its holder.
    pub fn stands(&self, row: usize, holder: HolderId) -> bool {
        let begun =
            self.begins.get(row).is_some_and(|begin| *begin <= self.at) && self.holders.get(row).is_some_and(|kept| is_of(*kept, holder));
        begun
            && match self.ends.and_then(|ends| ends.get(row)).map_or(0, |end| end.load(Ordering::Acquire)) {
                0 => true,
                end => end > self.at,
            }
    }

    /// When a row of this holder began and, as the reader knows it, ended; none also for what was erased.
    pub fn life(&self, row: usize, holder: HolderId) -> Option<Life> {
        let (begin, resource) = (*self.begins.get(row)?, *self.resources.get(row)?);
        let end = self.ends.and_then(|ends| ends.get(row)).map_or(0, |end| end.load(Ordering::Acquire));
        let known = begin <= self.at && end != ERASED && self.holders.get(row).is_some_and(|kept| is_of(*kept, holder));
        let end = Some(Commit(end)).filter(|end| end.0 != 0 && end.0 <= self.at);
        known.then_some(Life { row, resource: ResourceOrdinal(resource), begin: Commit(begin), end })
    }

    /// The resource and the commit that wrote this version of it.
    pub fn of(&self, row: usize) -> Option<(ResourceOrdinal, Commit)> {
        Some((ResourceOrdinal(*self.resources.get(row)?), Commit(*self.begins.get(row)?)))
    }
}

impl Part {
    /// Whose rows these are. Rows that the reader does not see yet are not among them.
    pub fn heads(&self) -> Result<Heads<'_>, Damaged> {
        if let Some(damaged) = &self.damaged {
            return Err(Damaged::clone(damaged));
        }
        let begins = self.segment.begins()?;
        let ends = self.segment.ends().commits();
        let (resources, holders) = (self.segment.resources()?, self.segment.holders()?);
        Ok(Heads { begins: begins.get(..self.len).unwrap_or(begins), resources, holders, ends, at: self.at.0 })
    }

    /// Whether a row of it can have begun or ended at a commit or after it.
    pub fn has_changed_since(&self, commit: Commit) -> bool {
        self.segment.range().is_some_and(|(_, last)| last >= commit.0) || self.has_ended_since(commit)
    }

    /// Whether a row of it can have ended at a commit or after it.
    pub fn has_ended_since(&self, commit: Commit) -> bool {
        self.segment.ends().newest() >= commit.0 && self.segment.ends().ended() > 0
    }

    /// The commits of its first and its last row.
    pub fn range(&self) -> Option<(Commit, Commit)> {
        self.segment.range().map(|(first, last)| (Commit(first), Commit(last)))
    }

    /// What readers have made of its rows, or now make, as long as those rows are there. Its rows are those of all parts that give
    /// the same; the tail's grow.
    pub fn attached<T: Any + Send + Sync>(&self, make: impl FnOnce() -> Arc<T>) -> Option<Arc<T>> {
        let attached = self.segment.attached().get_or_init(|| -> Arc<dyn Any + Send + Sync> { make() });
        Arc::clone(attached).downcast::<T>().ok()
    }

    /// The number of the segment that it is of.
    pub fn segment_id(&self) -> u64 {
        self.segment.id()
    }

    /// What its standing rows depend on, or `None` where rows have ended that stand at this commit.
    pub fn state(&self) -> Option<SegmentState> {
        // In this order: whoever sees that a row more has ended sees its commit too.
        let ended = self.segment.ends().ended();
        let newest = self.segment.ends().newest().max(self.segment.range().map_or(0, |(_, last)| last));
        (newest <= self.at.0).then(|| SegmentState { rows: self.len, ended, hidden: self.hidden.len() })
    }

    /// All cells of a column by its name, as [`Self::column`]; `None` if there is no such column.
    pub fn column_named(&self, name: &str) -> Result<Option<ArrayRef>, Damaged> {
        self.schema.index_of(name).map(|position| self.column(position)).transpose()
    }

    /// The Patient that each row is about, whichever person they are part of; `None` where rows do not say whose they are.
    pub fn subjects(&self) -> Result<Option<ArrayRef>, Damaged> {
        self.schema.patient_column().map(|position| self.segment.column(position, self.len)).transpose()
    }

    /// How many rows it holds, visible or not; an upper bound of what a scan returns.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a row of it can meet `condition`, as far as is known without reading it.
    pub fn may_meet(&self, condition: &Condition) -> bool {
        // What is known of a stored column is of patients, and a person may have several.
        matches!(condition, Condition::Patient { .. }) && !self.persons.is_identity() || self.segment.may_meet(condition)
    }

    /// All cells of the column at `position` (in [`TableSchema::columns`]), visible or not, typed as
    /// [`super::schema::Storage::arrow`] says and not copied. A patient is the person that they are at this commit.
    ///
    /// Who shows or computes on it looks at visible rows only. A dictionary's values are also those of hidden rows.
    pub fn column(&self, position: usize) -> Result<ArrayRef, Damaged> {
        if self.schema.columns.get(position).is_some_and(|c| c.storage == Storage::Patient) {
            return self.segment.persons(position, self.len, &self.persons);
        }
        self.segment.column(position, self.len)
    }

    /// The Patients that each row names, a column for each of its references: as they were written, whatever persons they are.
    pub fn patients(&self) -> Result<Vec<ArrayRef>, Damaged> {
        self.patient_columns().map(|position| self.segment.column(position, self.len)).collect()
    }

    /// A bit for each Patient that a row names, visible or not; `None` where nobody has kept that.
    pub fn named(&self) -> Result<Option<Arc<[u64]>>, Damaged> {
        self.segment.named(self.patient_columns())
    }

    fn patient_columns(&self) -> impl Iterator<Item = usize> {
        self.schema.patient_column().into_iter().chain(self.schema.other_patient_columns())
    }

    /// The visible rows that pass `filter`, with the columns at `projection` (positions in
    /// [`TableSchema::columns`]) in that order, typed as [`super::schema::Storage::arrow`] says.
    pub fn scan(&self, projection: &[usize], filter: &RowFilter) -> Result<RecordBatch, Damaged> {
        let (mut fields, mut arrays) = (Vec::with_capacity(projection.len()), Vec::with_capacity(projection.len()));
        for position in projection {
            if let Some(column) = self.schema.columns.get(*position) {
                fields.push(Field::new(&column.name, column.storage.arrow(), true));
                arrays.push(self.column(*position)?);
            }
        }
        let visible = self.visible(filter)?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.len));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options);
        let filtered = batch.and_then(|b| match visible {
            Visible::All => Ok(b),
            Visible::Nothing => Ok(b.slice(0, 0)),
            Visible::Rows(mask) => FilterBuilder::new(&BooleanArray::new(mask, None)).optimize().build().filter_record_batch(&b),
        });
        #[expect(clippy::expect_used, reason = "the arrays are as long as the part and typed as the schema says, by construction")]
        Ok(filtered.expect("the arrays of a part have its length and its types"))
    }

    /// The life of each row that had begun by the commit that is seen, also of those that have ended. What was erased is not there.
    pub fn lives(&self) -> Result<Vec<Life>, Damaged> {
        if let Some(damaged) = &self.damaged {
            return Err(Damaged::clone(damaged));
        }
        let rows = self.segment.begins()?.iter().zip(self.segment.resources()?).take(self.len).enumerate();
        let life = |(row, (begin, resource)): (usize, (&u64, &u64))| {
            let end = self.segment.ends().of(row);
            let end = if end == Some(ERASED) { return None } else { end.filter(|end| *end <= self.at.0).map(Commit) };
            Some(Life { row, resource: ResourceOrdinal(*resource), begin: Commit(*begin), end })
        };
        Ok(rows.take_while(|(_, (begin, _))| **begin <= self.at.0).filter_map(life).collect())
    }

    /// Which rows stand at the commit: begin <= t < end.
    pub(super) fn standing(&self) -> Result<Visible, Damaged> {
        let begun = match self.segment.range() {
            Some((_, last)) if last <= self.at.0 => self.len,
            _ => {
                let begins = self.segment.begins()?;
                begins.get(..self.len).unwrap_or(begins).partition_point(|b| *b <= self.at.0)
            }
        };
        let Some(ends) = self.segment.ends().commits() else { return Ok(Visible::first(begun, self.len)) };
        let stands = |row: usize| match ends.get(row).map_or(0, |end| end.load(Ordering::Acquire)) {
            0 => true,
            end => end > self.at.0,
        };
        Ok(Visible::Rows(BooleanBuffer::collect_bool(self.len, |row| row < begun && stands(row))))
    }
}

impl Visible {
    /// The first `begun` of `rows` rows.
    fn first(begun: usize, rows: usize) -> Self {
        if begun == rows { Visible::All } else { Visible::Rows(BooleanBuffer::collect_bool(rows, |row| row < begun)) }
    }

    /// How many of `rows` rows.
    pub fn count(&self, rows: usize) -> usize {
        match self {
            Visible::Nothing => 0,
            Visible::All => rows,
            Visible::Rows(mask) => mask.count_set_bits(),
        }
    }

    /// Of `rows` rows, those that are in it and that `which` says too.
    pub(super) fn keep(&mut self, rows: usize, which: impl Fn(usize) -> bool) {
        let which = BooleanBuffer::collect_bool(rows, which);
        match self {
            Visible::Nothing => {}
            Visible::All => *self = Visible::Rows(which),
            Visible::Rows(mask) => *self = Visible::Rows(&*mask & &which),
        }
    }

    pub(super) fn simplified(self) -> Self {
        match self {
            Visible::Rows(mask) => match mask.count_set_bits() {
                0 => Visible::Nothing,
                set if set == mask.len() => Visible::All,
                _ => Visible::Rows(mask),
            },
            other => other,
        }
    }
}

impl std::fmt::Debug for TableSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at commit {}", self.schema.name, self.at)
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows of {} at commit {}", self.len, self.schema.name, self.at)
    }
}
