//! The automatic checks of a result that is to leave. They find; a person decides.
//!
//! A finding names columns and rows by name and number, never a value.

use super::difference::{Earlier, differences};
use super::table::{Role, Table};
use crate::limits::MAX_FINDING_ROWS;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// How many persons a cell or group has at least, so as not to be found: the threshold that Norwegian health registers publish with.
pub const MIN_PERSONS: u64 = 5;

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Which check.
    pub kind: FindingKind,
    /// What it found, in words, without a value.
    pub what: String,
    /// The column, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The earlier release, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The first rows that it is about, counted from 1 after the header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<usize>,
}

/// The checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A count of fewer than five persons.
    SmallCell,
    /// A group of fewer than five persons, by all that they could be recognised by.
    KAnonymity,
    /// It cannot be told how many persons stand behind a row.
    NoPersonCount,
    /// A count that may be of rows, not of persons.
    RowsNotPersons,
    /// Text that somebody wrote.
    FreeText,
    /// A key or national identifier. It cannot be released.
    Identifier,
    /// The requester says that a column is less than it looks like.
    Declared,
    /// Nearly the same was released before: the difference shows few persons.
    Difference,
    /// The text was supplied, and not computed here: it cannot be repeated.
    Supplied,
}

impl FindingKind {
    /// Its name, as documents write it.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::SmallCell => "small_cell",
            FindingKind::KAnonymity => "k_anonymity",
            FindingKind::NoPersonCount => "no_person_count",
            FindingKind::RowsNotPersons => "rows_not_persons",
            FindingKind::FreeText => "free_text",
            FindingKind::Identifier => "identifier",
            FindingKind::Declared => "declared",
            FindingKind::Difference => "difference",
            FindingKind::Supplied => "supplied",
        }
    }

    /// Whether no decision can let it through.
    pub fn forbids(self) -> bool {
        self == FindingKind::Identifier
    }
}

impl Finding {
    pub(super) fn new(kind: FindingKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), column: None, release: None, rows: Vec::new() }
    }

    fn of(mut self, column: &str) -> Self {
        self.column = Some(column.to_owned());
        self
    }

    pub(super) fn at(mut self, rows: impl Iterator<Item = usize>) -> Self {
        self.rows = rows.map(|row| row + 1).take(MAX_FINDING_ROWS).collect();
        self
    }
}

/// All findings about `table`. `sql` is the statement that it was computed with, if it was; `earlier` are the outputs that the same
/// group of organisations has got, or asked for.
pub fn check(table: &Table, sql: Option<&str>, earlier: &[Earlier]) -> Vec<Finding> {
    let mut findings = Vec::new();
    columns(table, &mut findings);
    small_cells(table, &mut findings);
    if table.places(Role::Count).is_empty() {
        groups(table, &mut findings);
    }
    match sql {
        None => findings.push(Finding::new(
            FindingKind::Supplied,
            "the table was supplied; what is in it was not computed here and cannot be repeated",
        )),
        Some(sql) => counts_of_rows(table, sql, &mut findings),
    }
    findings.extend(differences(table, earlier));
    findings
}

fn columns(table: &Table, findings: &mut Vec<Finding>) {
    for column in table.columns() {
        match column.role {
            Role::Identifier => {
                findings.push(
                    Finding::new(FindingKind::Identifier, "it holds keys or national identifiers, which never leave; take the column out")
                        .of(&column.name),
                );
            }
            Role::FreeText => {
                findings.push(Finding::new(FindingKind::FreeText, "it holds text that somebody wrote; each must be read").of(&column.name))
            }
            _ => {}
        }
        if column.role != column.inferred {
            let what = format!("the requester says {}, by its name and values it is {}", column.role.name(), column.inferred.name());
            findings.push(Finding::new(FindingKind::Declared, what).of(&column.name));
            if column.inferred == Role::Identifier && column.role != Role::Identifier {
                findings.push(
                    Finding::new(FindingKind::Identifier, "it looks like keys or national identifiers; rename the column if it is none")
                        .of(&column.name),
                );
            }
        }
    }
}

/// The number in a count column; a number with a sign or a suppressed cell (`< 5`) is none.
pub(super) fn count(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn small_cells(table: &Table, findings: &mut Vec<Finding>) {
    for at in table.places(Role::Count) {
        let small = |row: &Vec<String>| row.get(at).and_then(|text| count(text)).is_some_and(|n| n < MIN_PERSONS);
        let rows: Vec<usize> = table.rows().iter().enumerate().filter(|(_, row)| small(row)).map(|(number, _)| number).collect();
        if !rows.is_empty() {
            let what = format!("{} of {} counts are below {MIN_PERSONS}", rows.len(), table.rows().len());
            let name = table.columns().get(at).map_or("", |column| column.name.as_str());
            findings.push(Finding::new(FindingKind::SmallCell, what).of(name).at(rows.into_iter()));
        }
    }
}

/// k-anonymity over the quasi-identifiers, where rows have no count: persons are told apart by a key, or each row is one.
fn groups(table: &Table, findings: &mut Vec<Finding>) {
    if table.rows().is_empty() {
        return;
    }
    let (quasi, keys) = (table.places(Role::QuasiIdentifier), table.places(Role::Identifier));
    let person = keys.into_iter().find(|at| table.columns().get(*at).is_some_and(|c| c.name.to_lowercase().ends_with("patient_key")));
    if person.is_none() {
        let what = "there is no column with the number of persons behind a row; each row is taken for one person";
        findings.push(Finding::new(FindingKind::NoPersonCount, what));
    }
    let mut members: HashMap<Vec<&str>, (Vec<usize>, BTreeSet<&str>)> = HashMap::new();
    for (number, row) in table.rows().iter().enumerate() {
        let text = |at: &usize| row.get(*at).map_or("", String::as_str);
        let (rows, persons) = members.entry(quasi.iter().map(text).collect()).or_default();
        rows.push(number);
        persons.extend(person.as_ref().map(text));
    }
    let size = |(rows, persons): &(Vec<usize>, BTreeSet<&str>)| if person.is_some() { persons.len() } else { rows.len() } as u64;
    let small: Vec<_> = members.values().filter(|group| size(group) < MIN_PERSONS).collect();
    if let Some(k) = small.iter().map(|group| size(group)).min() {
        let mut rows: Vec<usize> = small.iter().flat_map(|(rows, _)| rows.iter().copied()).collect();
        rows.sort_unstable();
        let what = format!("{} of {} groups have fewer than {MIN_PERSONS} persons; the smallest has {k}", small.len(), members.len());
        findings.push(Finding::new(FindingKind::KAnonymity, what).at(rows.into_iter()));
    }
}

fn counts_of_rows(table: &Table, sql: &str, findings: &mut Vec<Finding>) {
    if sql.to_lowercase().contains("distinct") || sql.to_lowercase().contains("statistics.") {
        return;
    }
    for column in table.columns().iter().filter(|column| column.role == Role::Count) {
        let what = "the statement counts rows, it seems: count(DISTINCT patient_key) counts persons";
        findings.push(Finding::new(FindingKind::RowsNotPersons, what).of(&column.name));
    }
}
