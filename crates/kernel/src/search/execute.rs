//! Runs a search on the hidden tables of one snapshot.
//!
//! Chains and `_has` are searches of their own: what they find takes their place in the criteria. Then part by part: the smallest
//! look-up gives candidates, further ones narrow them where they are many, and [`super::matches`] decides on each that is left and
//! could be on the page. Whose records are seen is not a criterion: nothing runs without a holder.

mod page;
mod resolve;
mod sort;

pub use page::{Cursor, Found, Hit};

use super::index::{Indexes, PackedRows, Probe};
use super::matches::{Candidate, holds};
use super::parameters;
use super::query::{Criterion, Search};
use super::values::Value;
use super::values::packed::Packed;
use crate::ids::{Commit, HolderId, ResourceOrdinal};
use crate::live::{Damaged, Part, Snapshot, TableSnapshot};
use crate::terminology::Source;
use resolve::Begins;
use std::ops::ControlFlow;
use std::time::Instant;

/// Why a search has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// A file of the live tables is damaged; the table is being built anew.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The journal cannot be read.
    #[error("{0}")]
    Journal(String),
    /// It asks for too much.
    #[error("{0}")]
    TooCostly(String),
    /// It asks for codes by a definition that is not known, or that cannot be followed.
    #[error("{0}")]
    Terminology(String),
    /// There is no such commit.
    #[error("there is no commit {0} yet, or it belongs to another timeline; search without it")]
    NoCommit(Commit),
    /// The resource after which the page begins is not there any more.
    #[error("the page cannot be found: the resource before it was erased; search again from the first page")]
    NoPage,
    /// It has run beyond the time that it was given.
    #[error("the search takes too long; ask for less at once, such as a smaller span of time, fewer types, or no `_total`")]
    TooLong,
}

/// What a search runs on.
pub struct Reader<'r> {
    /// The tables, at the commit that is searched.
    pub snapshot: &'r Snapshot,
    /// Whose records exist.
    pub holder: HolderId,
    /// The indexes of the database.
    pub indexes: &'r Indexes,
    /// The name of the table of a resource type.
    pub table: &'r dyn Fn(&str) -> String,
    /// The newest commit made at or before a time in microseconds.
    pub commit_at: &'r dyn Fn(i64) -> Result<Commit, SearchError>,
    /// Whether a Patient of the holder was erased; `None` while nobody's records are being erased.
    pub erased: Option<&'r dyn Fn(&str) -> bool>,
    /// The definitions of codes.
    pub terminology: &'r dyn Source,
    /// When it is to end at the latest; `None`: it takes its time.
    pub until: Option<Instant>,
}

/// A row that meets the look-ups. Whether it is a match may still have to be asked.
struct Row<'p> {
    packed: Packed<'p>,
    resource: ResourceOrdinal,
    begin: Commit,
}

/// Criteria, ready to be asked of each part.
struct Plan {
    criteria: Vec<Criterion>,
    probes: Vec<(usize, Probe)>,
    begins: Vec<Begins>,
}

/// After so many rows it is looked whether the time is over.
const ROWS_AT_ONCE: usize = 1_024;

/// Beyond so many candidates of a part, a further look-up is cheaper than looking at each.
const MANY: usize = 256;

impl Plan {
    fn new((criteria, begins): (Vec<Criterion>, Vec<Begins>)) -> Self {
        let probes = criteria.iter().enumerate().filter_map(|(at, criterion)| Some((at, Probe::of(criterion)?))).collect();
        Self { criteria, probes, begins }
    }

    /// The rows of a part that can match, in order, and which criteria are still to be asked of each.
    fn candidates(&self, reader: &Reader<'_>, part: &Part) -> Result<(Vec<u32>, Vec<&Criterion>), Damaged> {
        let mut open: Vec<bool> = vec![true; self.criteria.len()];
        let mut probes = Vec::with_capacity(self.probes.len());
        for (at, probe) in &self.probes {
            let estimate = probe.estimate(reader.indexes, part)?;
            if estimate == 0 {
                return Ok((Vec::new(), Vec::new()));
            }
            probes.push((estimate, *at, probe));
        }
        probes.sort_by_key(|(estimate, ..)| *estimate);
        let mut rows: Option<Vec<u32>> = None;
        for (_, at, probe) in probes {
            if rows.as_ref().is_some_and(|rows| rows.len() <= MANY) {
                break;
            }
            let found = probe.rows(reader.indexes, part)?;
            rows = Some(match rows {
                None => found,
                Some(rows) => both(&rows, &found),
            });
            if let Some(open) = open.get_mut(at) {
                *open = !probe.is_exact();
            }
        }
        let rows = match rows {
            Some(rows) => rows,
            None => (0..part.len() as u32).collect(), // a segment has 65,536 rows
        };
        Ok((rows, self.criteria.iter().zip(open).filter(|(_, open)| *open).map(|(criterion, _)| criterion).collect()))
    }
}

/// What is in both lists, which are in order.
fn both(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut b = b.iter().peekable();
    let held = |row: &&u32| {
        while b.peek().is_some_and(|other| *other < *row) {
            b.next();
        }
        b.peek() == Some(row)
    };
    a.iter().filter(held).copied().collect()
}

/// Whether a row matches what is left to be asked.
fn is_match(packed: Packed<'_>, open: &[&Criterion]) -> bool {
    // The time of the commit is no part of the values; criteria on it were made ranges of commits.
    open.iter().all(|criterion| holds(criterion, Candidate { values: packed, last_updated_us: 0 }))
}

impl Reader<'_> {
    /// Runs a search: one page of what matches, after `after`, of at most `count` resources.
    pub fn run(&self, search: &Search, after: Option<Cursor>, count: usize) -> Result<Found, SearchError> {
        let Some(table) = self.table_of(search.resource_type) else { return Ok(Found::nothing(self.snapshot, search.total)) };
        let plan = Plan::new(self.resolve(search.resource_type, &search.criteria, 0)?);
        page::run(self, table, &plan, search, after, count)
    }

    /// # Errors
    /// The time is over.
    fn check_time(&self) -> Result<(), SearchError> {
        let over = self.until.is_some_and(|until| Instant::now() > until);
        if over { Err(SearchError::TooLong) } else { Ok(()) }
    }

    fn table_of(&self, resource_type: &str) -> Option<&TableSnapshot> {
        self.snapshot.hidden_table(&(self.table)(resource_type))
    }

    /// Shows the packed values of every resource of a type that matches, until `show` breaks.
    fn each_match(
        &self,
        resource_type: &'static str,
        criteria: &[Criterion],
        depth: usize,
        show: &mut dyn FnMut(Packed<'_>) -> ControlFlow<()>,
    ) -> Result<(), SearchError> {
        let Some(table) = self.table_of(resource_type) else { return Ok(()) };
        let plan = Plan::new(self.resolve(resource_type, criteria, depth)?);
        for part in table.parts() {
            self.check_time()?;
            let (rows, open) = plan.candidates(self, &part)?;
            let packed = PackedRows::of(&part)?;
            let mut stopped = false;
            self.each_row(&plan, &part, &packed, resource_type, &rows, &mut |_, row| {
                if is_match(row.packed, &open) && show(row.packed).is_break() {
                    stopped = true;
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            if stopped {
                break;
            }
        }
        Ok(())
    }

    /// Shows those of the candidates that are there for the holder at the commit, with their place among the candidates.
    fn each_row(
        &self,
        plan: &Plan,
        part: &Part,
        packed: &PackedRows,
        resource_type: &str,
        rows: &[u32],
        show: &mut dyn FnMut(usize, Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), SearchError> {
        let heads = part.heads()?;
        let about = parameters::of_type(resource_type).map_or(0, parameters::TypeParameters::about);
        for (at, row) in rows.iter().enumerate() {
            if at % ROWS_AT_ONCE == 0 {
                self.check_time()?;
            }
            let row = *row as usize;
            let Some((resource, begin)) = heads.of(row).filter(|_| heads.stands(row, self.holder)) else { continue };
            if !plan.begins.iter().all(|begins| begins.hold(begin)) {
                continue;
            }
            let packed = packed.get(row);
            if let Some(erased) = self.erased {
                let named = |value: Value<'_>| matches!(value, Value::Reference { id, .. } if erased(id));
                if packed.values(about).any(named) {
                    continue;
                }
            }
            if show(at, Row { packed, resource, begin }).is_break() {
                break;
            }
        }
        Ok(())
    }
}
