//! Merges: neighbouring small segments become one, and rows that have ended move to a history segment that only older commits
//! look at. A merge copies; the segments that it was made of serve their readers until the last of them has left.

use super::ends::{ERASED, Ends};
use super::file::{Contents, Damaged};
use super::schema::{Storage, TableSchema};
use super::segment::Segment;
use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::UInt32Type;
use arrow::error::ArrowError;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// How many small neighbours there must be before they are merged: fewer would be copied again and again.
const RUN: usize = 4;

/// The neighbours to merge next into one of `most` rows or fewer, by position; `None` if nothing is worth it. Segments in memory are left alone.
pub(super) fn candidates(segments: &[Arc<Segment>], most: usize) -> Option<Range<usize>> {
    let standing = |s: &Segment| s.len() - s.ends().ended() as usize;
    let stored = |s: &Arc<Segment>| s.file_name().is_some();
    if let Some(at) = with_erased(segments) {
        return Some(at..at + 1);
    }
    // A segment of which a quarter has ended: scans of the newest commit pay for rows that they never see.
    let worn = segments.iter().position(|s| stored(s) && s.ends().ended() as usize * 4 >= s.len());
    if let Some(at) = worn {
        return Some(at..at + 1);
    }
    let (mut start, mut rows) = (0, 0);
    for (at, segment) in segments.iter().enumerate() {
        let more = standing(segment);
        if !stored(segment) || rows + more > most {
            if at - start >= RUN && at > start {
                return Some(start..at);
            }
            (start, rows) = if stored(segment) { (at, more) } else { (at + 1, 0) };
        } else {
            rows += more;
        }
    }
    (segments.len() >= start + RUN).then_some(start..segments.len())
}

/// The first segment that holds erased rows: it is written anew without them.
pub(super) fn with_erased(segments: &[Arc<Segment>]) -> Option<usize> {
    segments.iter().position(|s| s.file_name().is_some() && s.ends().erased() > 0)
}

/// What a merge makes.
pub(super) struct Merged {
    /// The rows that stand, and the history's, with their ends.
    pub(super) standing: Option<Contents>,
    pub(super) history: Option<(Contents, Ends)>,
    /// For each row of the merged segments in order, its place among the standing ones.
    pub(super) moved: Vec<Option<u32>>,
    /// How many rows were left out because they were erased.
    pub(super) erased: u32,
}

/// The segments of a history to merge next, by position.
pub(super) fn history_candidates(history: &[Arc<Segment>], most: usize) -> Option<Range<usize>> {
    let small = |s: &&Arc<Segment>| s.len() * RUN <= most;
    let start = history.iter().position(|s| small(&s))?;
    let run = history.iter().skip(start).take_while(small).take(RUN).count();
    (run == RUN).then_some(start..start + run)
}

/// Merges neighbours, or segments of a history (of which every row has ended, and goes into a history again).
pub(super) fn merge(schema: &TableSchema, segments: &[Arc<Segment>]) -> Result<Merged, Damaged> {
    let mut moved = Vec::new();
    let (mut standing, mut ended, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let (mut row, mut erased) = (0_u32, 0);
    for segment in segments {
        for local in 0..segment.len() {
            match segment.ends().of(local) {
                None => {
                    moved.push(Some(standing.len() as u32));
                    standing.push(row);
                }
                Some(ERASED) => {
                    moved.push(None);
                    erased += 1;
                }
                Some(end) => {
                    moved.push(None);
                    ended.push(row);
                    ends.push(end);
                }
            }
            row += 1;
        }
    }
    let all = Concatenated::of(schema, segments)?;
    // Segments of a history overlap; everywhere else this is the order that the rows have.
    let begin = |row: &u32| all.begins.get(*row as usize).copied().unwrap_or_default();
    let mut past: Vec<(u32, u64)> = ended.into_iter().zip(ends).collect();
    past.sort_by_key(|(row, _)| begin(row));
    let (ended, ends): (Vec<u32>, Vec<u64>) = past.into_iter().unzip();
    let kept = Ends::none(ended.len());
    ends.into_iter().enumerate().for_each(|(row, end)| kept.set(row, end));
    Ok(Merged {
        standing: if standing.is_empty() { None } else { Some(all.rows(schema, standing)?) },
        history: if ended.is_empty() { None } else { Some((all.rows(schema, ended)?, kept)) },
        moved,
        erased,
    })
}

/// The rows of several segments, one after the other.
struct Concatenated {
    begins: Vec<u64>,
    resources: Vec<u64>,
    holders: Vec<u16>,
    columns: Vec<Vec<ArrayRef>>,
}

fn unfit(error: ArrowError) -> Damaged {
    Damaged { file: "a merge".to_owned(), what: error.to_string() }
}

impl Concatenated {
    fn of(schema: &TableSchema, segments: &[Arc<Segment>]) -> Result<Self, Damaged> {
        let (mut begins, mut resources, mut holders) = (Vec::new(), Vec::new(), Vec::new());
        for segment in segments {
            begins.extend_from_slice(segment.begins()?);
            resources.extend_from_slice(segment.resources()?);
            holders.extend_from_slice(segment.holders()?);
        }
        let column = |c: usize| segments.iter().map(|s| s.column(c, s.len())).collect();
        let columns: Result<Vec<Vec<ArrayRef>>, Damaged> = (0..schema.columns.len()).map(column).collect();
        Ok(Self { begins, resources, holders, columns: columns? })
    }

    /// Some of the rows, in order.
    fn rows(&self, schema: &TableSchema, rows: Vec<u32>) -> Result<Contents, Damaged> {
        fn pick<T: Copy>(from: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().filter_map(|r| from.get(*r as usize).copied()).collect()
        }
        let (begins, resources) = (pick(&self.begins, &rows), pick(&self.resources, &rows));
        let holders = pick(&self.holders, &rows);
        let rows = UInt32Array::from(rows);
        let mut columns = Vec::with_capacity(self.columns.len());
        for (arrays, column) in self.columns.iter().zip(&schema.columns) {
            columns.push(picked(arrays, column.storage, &rows).map_err(unfit)?);
        }
        Ok(Contents {
            begins: ScalarBuffer::from(begins),
            resources: ScalarBuffer::from(resources),
            holders: ScalarBuffer::from(holders),
            columns,
        })
    }
}

/// Some rows of the concatenation of `arrays`, with nothing of the others: no text, no dictionary entry.
fn picked(arrays: &[ArrayRef], storage: Storage, rows: &UInt32Array) -> Result<ArrayRef, ArrowError> {
    if matches!(storage, Storage::Code | Storage::Holder) {
        return codes(arrays, rows);
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    let picked = take(&concat(&arrays)?, rows, None)?;
    Ok(match storage {
        Storage::String => Arc::new(picked.as_string_view().gc()),
        _ => picked,
    })
}

/// Dictionary columns with one dictionary, in the order in which its texts appear.
fn codes(arrays: &[ArrayRef], rows: &UInt32Array) -> Result<ArrayRef, ArrowError> {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut texts: Vec<&str> = Vec::new();
    let mut places: Vec<(&StringArray, &UInt32Array)> = Vec::new();
    for array in arrays {
        let dictionary = array.as_dictionary::<UInt32Type>();
        places.push((dictionary.values().as_string::<i32>(), dictionary.keys()));
    }
    let mut starts = Vec::with_capacity(places.len());
    let mut start = 0;
    for (_, keys) in &places {
        starts.push(start);
        start += keys.len();
    }
    let keys: UInt32Array = rows
        .values()
        .iter()
        .map(|row| {
            let part = starts.partition_point(|s| *s <= *row as usize).checked_sub(1)?;
            let (values, keys) = places.get(part)?;
            let local = *row as usize - starts.get(part)?;
            if keys.is_null(local) {
                return None;
            }
            let text = values.value(keys.value(local) as usize);
            Some(*numbers.entry(text).or_insert_with(|| {
                texts.push(text);
                texts.len() as u32 - 1
            }))
        })
        .collect();
    Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(StringArray::from_iter_values(texts)))?))
}
