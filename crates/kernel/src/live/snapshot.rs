//! All live tables at one commit.

use super::column::DictionaryReader;
use super::schema::TableSchema;
use super::segment::Segment;
use crate::ids::{Commit, HolderId};
use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::FilterBuilder;
use arrow::datatypes::{Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::Timestamp;
use roaring::RoaringBitmap;
use std::sync::Arc;

/// All live tables at one commit. Holding it costs nothing and stops nobody.
#[derive(Clone, Debug)]
pub struct Snapshot {
    commit: Commit,
    time: Timestamp,
    tables: Arc<[TableSnapshot]>,
}

/// One live table at one commit.
#[derive(Clone)]
pub struct TableSnapshot {
    schema: Arc<TableSchema>,
    segments: Arc<[Arc<Segment>]>,
    tail_len: usize,
    dictionaries: Arc<[DictionaryReader]>,
    at: Commit,
    /// Patients whose rows nobody sees, at whatever commit.
    hidden: Arc<RoaringBitmap>,
}

/// A part of a live table that is scanned in one go: at most [`crate::limits::SEGMENT_ROWS`] rows.
#[derive(Clone)]
pub struct Part {
    schema: Arc<TableSchema>,
    segment: Arc<Segment>,
    dictionaries: Arc<[DictionaryReader]>,
    len: usize,
    at: Commit,
    hidden: Arc<RoaringBitmap>,
}

/// Which rows a reader may see. Rows outside do not exist.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// Only rows of these patients (`None`: of all).
    pub patients: Option<Arc<RoaringBitmap>>,
    /// Also rows about no patient (tables such as `research_study`).
    pub without_patient: bool,
    /// Only rows that this holder wrote.
    pub holder: Option<HolderId>,
}

impl Snapshot {
    /// All live tables at `commit`, which was made at `time`.
    pub fn new(commit: Commit, time: Timestamp, tables: Arc<[TableSnapshot]>) -> Self {
        Self { commit, time, tables }
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
        Self { commit: at, time, tables: self.tables.iter().map(|t| TableSnapshot { at, ..t.clone() }).collect() }
    }

    /// The commit that is seen.
    pub fn commit(&self) -> Commit {
        self.commit
    }

    /// When that commit was made: `now()` of every query on this snapshot.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The live tables, in order of registration.
    pub fn tables(&self) -> &[TableSnapshot] {
        &self.tables
    }

    /// A live table by name.
    pub fn table(&self, name: &str) -> Option<&TableSnapshot> {
        self.tables.iter().find(|t| t.schema.name == name)
    }
}

impl Snapshot {
    /// The first difference between the rows of two snapshots, table by table in the order of commits: `None` if they are
    /// the same. Texts are compared, not the codes that stand for them.
    pub fn first_difference(&self, other: &Snapshot) -> Option<String> {
        if self.commit != other.commit || self.tables.len() != other.tables.len() {
            return Some(format!(
                "commit {} with {} tables, commit {} with {}",
                self.commit,
                self.tables.len(),
                other.commit,
                other.tables.len()
            ));
        }
        self.tables.iter().zip(other.tables.iter()).find_map(|(a, b)| {
            let (mine, theirs) = (a.rows(), b.rows());
            if mine.len() != theirs.len() {
                return Some(format!("{}: {} rows, {} rows", a.schema.name, mine.len(), theirs.len()));
            }
            let row = mine.iter().zip(&theirs).position(|(x, y)| x != y)?;
            Some(format!("{}: visible row {row} differs", a.schema.name))
        })
    }
}

impl TableSnapshot {
    /// All visible rows as text, in order; for comparisons.
    fn rows(&self) -> Vec<String> {
        let all: Vec<usize> = (0..self.schema.columns.len()).collect();
        let everything = RowFilter { without_patient: true, ..RowFilter::default() };
        let options = FormatOptions::default().with_null("∅");
        let mut rows = Vec::new();
        for batch in self.parts().iter().map(|p| p.scan(&all, &everything)) {
            let columns: Vec<_> = batch.columns().iter().filter_map(|c| ArrayFormatter::try_new(c, &options).ok()).collect();
            rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|")));
        }
        rows
    }

    pub(super) fn new(
        schema: Arc<TableSchema>,
        segments: Arc<[Arc<Segment>]>,
        tail_len: usize,
        dictionaries: Arc<[DictionaryReader]>,
        at: Commit,
    ) -> Self {
        Self { schema, segments, tail_len, dictionaries, at, hidden: Arc::default() }
    }

    /// Its schema.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// The commit that is seen.
    pub fn at(&self) -> Commit {
        self.at
    }

    /// Its parts, oldest commits first.
    pub fn parts(&self) -> Vec<Part> {
        let last = self.segments.len().saturating_sub(1);
        let part = |(i, segment): (usize, &Arc<Segment>)| Part {
            schema: Arc::clone(&self.schema),
            segment: Arc::clone(segment),
            dictionaries: Arc::clone(&self.dictionaries),
            len: if i == last { self.tail_len } else { segment.begins.slice().len() },
            at: self.at,
            hidden: Arc::clone(&self.hidden),
        };
        // Segments that begin after the commit hold nothing of it.
        let begun = |p: &Part| p.segment.begins.slice().first().is_some_and(|b| *b <= self.at.0);
        self.segments.iter().enumerate().map(part).filter(begun).collect()
    }
}

impl Part {
    /// How many rows it holds, visible or not; an upper bound of what a scan returns.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The visible rows that pass `filter`, with the columns at `projection` (positions in
    /// [`TableSchema::columns`]) in that order, typed as [`super::schema::Storage::arrow`] says.
    pub fn scan(&self, projection: &[usize], filter: &RowFilter) -> RecordBatch {
        let visible: Vec<bool> = (0..self.len).map(|row| self.visible(row)).collect();
        let mask = self.apply(filter, visible);
        let mut fields = Vec::with_capacity(projection.len());
        let mut arrays = Vec::with_capacity(projection.len());
        let columns = self.schema.columns.iter().zip(&self.segment.columns).zip(self.dictionaries.iter());
        let columns: Vec<_> = columns.collect();
        for index in projection {
            if let Some(((column, reader), dictionary)) = columns.get(*index) {
                fields.push(Field::new(&column.name, column.storage.arrow(), true));
                arrays.push(reader.array(self.len, dictionary));
            }
        }
        let mask = BooleanArray::from(mask);
        let schema = Arc::new(Schema::new(fields));
        let options = RecordBatchOptions::new().with_row_count(Some(self.len));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options);
        let filtered = batch.and_then(|b| {
            let predicate = FilterBuilder::new(&mask).optimize().build();
            if predicate.count() == b.num_rows() { Ok(b) } else { predicate.filter_record_batch(&b) }
        });
        #[expect(clippy::expect_used, reason = "the arrays are as long as the part and typed as the schema says, by construction")]
        filtered.expect("the arrays of a part have its length and its types")
    }

    /// begin <= t < end.
    fn visible(&self, row: usize) -> bool {
        let begun = self.segment.begins.slice().get(row).is_some_and(|b| *b <= self.at.0);
        begun && self.segment.end(row).is_none_or(|e| e > self.at.0)
    }

    fn apply(&self, filter: &RowFilter, mut mask: Vec<bool>) -> Vec<bool> {
        if let Some(holder) = filter.holder {
            for (keep, h) in mask.iter_mut().zip(self.segment.holders.slice()) {
                *keep &= *h == holder.0;
            }
        }
        let column = self.schema.patient_column().and_then(|i| self.segment.columns.get(i));
        match column.and_then(|c| c.patients()) {
            Some((ordinals, valid)) => {
                for ((keep, ordinal), valid) in mask.iter_mut().zip(ordinals).zip(valid) {
                    *keep &= if *valid { filter.patients.as_ref().is_none_or(|p| p.contains(*ordinal)) } else { filter.without_patient };
                }
                if !self.hidden.is_empty() {
                    for ((keep, ordinal), valid) in mask.iter_mut().zip(ordinals).zip(valid) {
                        *keep &= !(*valid && self.hidden.contains(*ordinal));
                    }
                }
            }
            None if !filter.without_patient => mask.fill(false),
            None => {}
        }
        mask
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
