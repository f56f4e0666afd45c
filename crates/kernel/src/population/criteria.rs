//! A live population: AND, OR and NOT over "has at least n rows in this table where ...".

use super::condition::RowCondition;
use super::counter::Counter;
use crate::limits::{MAX_CRITERIA, MAX_CRITERIA_DEPTH};
use crate::live::schema::TableSchema;
use crate::live::{Damaged, Snapshot};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Who belongs to a live population.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Formula {
    /// Who is in each of them.
    All(Vec<Formula>),
    /// Who is in at least one of them.
    Any(Vec<Formula>),
    /// Who is not in this.
    Not(Box<Formula>),
    /// Who has so many rows.
    Rows(Rows),
}

/// Persons with at least so many rows in a table that meet a condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// The live table.
    pub table: String,
    /// At least so many rows; 1 if it is left out.
    #[serde(default = "one")]
    pub at_least: u32,
    /// Which rows count; all if it is left out.
    #[serde(default = "every", rename = "where")]
    pub condition: RowCondition,
}

fn one() -> u32 {
    1
}

fn every() -> RowCondition {
    RowCondition::All(Vec::new())
}

/// Why a formula cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum CriteriaError {
    /// It names a table or column that is not there, or not of that type: the caller's fault.
    #[error("the population cannot be evaluated: {0}")]
    Form(String),
    /// A table cannot be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// A set of persons: these, or all but these.
#[derive(Clone, Debug, PartialEq)]
pub struct Members {
    /// The persons.
    pub persons: RoaringBitmap,
    /// Whether it is all others.
    pub others: bool,
}

impl Members {
    fn none() -> Self {
        Self { persons: RoaringBitmap::new(), others: false }
    }

    fn not(self) -> Self {
        Self { others: !self.others, ..self }
    }

    fn and(self, other: Self) -> Self {
        match (self.others, other.others) {
            (false, false) => Self { persons: self.persons & other.persons, others: false },
            (false, true) => Self { persons: self.persons - other.persons, others: false },
            (true, false) => Self { persons: other.persons - self.persons, others: false },
            (true, true) => Self { persons: self.persons | other.persons, others: true },
        }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    /// Whether a person is in it.
    pub fn contains(&self, person: u32) -> bool {
        self.persons.contains(person) != self.others
    }
}

impl Formula {
    /// What is wrong with its size, if anything is: it is evaluated by recursion, and each part of it keeps counters.
    pub fn problem(&self) -> Option<String> {
        let rows = self.rows();
        let size: usize = rows.iter().map(|rows| rows.condition.size()).sum();
        if rows.is_empty() || rows.len() > MAX_CRITERIA || size > MAX_CRITERIA {
            return Some(format!("name at least one table, and at most {MAX_CRITERIA} tables and conditions"));
        }
        if self.depth() > MAX_CRITERIA_DEPTH {
            return Some(format!("it nests deeper than {MAX_CRITERIA_DEPTH}"));
        }
        let never = rows.iter().find(|rows| rows.at_least == 0);
        never.map(|rows| format!("at least 0 rows in {} are what everybody has; write 1 or more", rows.table))
    }

    fn depth(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => 1 + parts.iter().map(Self::depth).max().unwrap_or(0),
            Self::Not(part) => 1 + part.depth(),
            Self::Rows(_) => 1,
        }
    }

    /// Its parts that look at rows.
    pub fn rows(&self) -> Vec<&Rows> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::rows).collect(),
            Self::Not(part) => part.rows(),
            Self::Rows(rows) => vec![rows],
        }
    }

    /// Who is in it at a snapshot. `counters` are kept from one time to the next: then only what has changed is counted.
    pub fn members(&self, snapshot: &Snapshot, counters: &mut HashMap<String, Counter>) -> Result<Members, CriteriaError> {
        let each = |parts: &[Self], counters: &mut HashMap<String, Counter>| {
            parts.iter().map(|part| part.members(snapshot, counters)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match self {
            Self::All(parts) => each(parts, counters)?.into_iter().fold(Members::none().not(), Members::and),
            Self::Any(parts) => each(parts, counters)?.into_iter().fold(Members::none(), Members::or),
            Self::Not(part) => part.members(snapshot, counters)?.not(),
            Self::Rows(rows) => Members { persons: rows.persons(snapshot, counters)?, others: false },
        })
    }
}

impl Rows {
    /// What is wrong with it for this table, if anything is.
    pub fn problem(&self, schema: &TableSchema) -> Option<String> {
        if schema.patient_column().is_none() {
            return Some(format!("the rows of {} do not say whose they are", schema.name));
        }
        self.condition.problem(schema)
    }

    fn persons(&self, snapshot: &Snapshot, counters: &mut HashMap<String, Counter>) -> Result<RoaringBitmap, CriteriaError> {
        let wrong = |what: String| CriteriaError::Form(what);
        // A table of the program's own is as absent as one that nobody has.
        let table = snapshot.table(&self.table).filter(|t| !t.schema().is_internal());
        let table = table.ok_or_else(|| wrong(format!("there is no table {}", self.table)))?;
        if let Some(problem) = self.problem(table.schema()) {
            return Err(wrong(problem));
        }
        let key = serde_json::to_string(self).map_err(|e| wrong(e.to_string()))?;
        let counter = counters.entry(key).or_insert_with(|| Counter::new(self.clone()));
        Ok(counter.persons(table)?)
    }
}
