//! The ledger: how many fine cells a group of organisations has been shown in an epoch.
//!
//! A cell is *fine* if it has two dimensions or more, a cohort among them. A group may see so many different ones in an epoch, and so
//! many different tables (levels, cohort, way of counting) in an epoch of the longest calendar; to see one again costs nothing. What one
//! organisation of a group was shown, all have.

use super::keys::CellId;
use super::table::Cells;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// The spending of one epoch of one calendar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    spent: HashMap<[u8; 16], HashSet<CellId>>,
}

/// What a question would spend.
#[derive(Clone, Debug)]
pub struct Spending {
    group: [u8; 16],
    cells: HashSet<CellId>,
}

/// There is not enough left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error(
    "the question shows {asked} {what} of two dimensions or more that your organisations have not seen in this epoch; of {budget} in an \
     epoch, {left} are left. Ask for fewer codes or coarser levels, or wait for the next epoch"
)]
pub struct Exhausted {
    /// Of what: cells or tables.
    pub what: &'static str,
    /// How many new ones it would show.
    pub asked: usize,
    /// How many there are in an epoch.
    pub budget: usize,
    /// How many are left.
    pub left: usize,
}

impl Ledger {
    /// How many bytes an entry of the file has: the group, and the cell.
    pub const ENTRY: u64 = 32;

    /// Reads what was spent. What a crash left of the last entry is no entry.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut ledger = Self::default();
        for entry in bytes.chunks_exact(Self::ENTRY as usize) {
            if let (Some(group), Some(cell)) = (entry.first_chunk::<16>(), entry.last_chunk::<16>()) {
                ledger.spent.entry(*group).or_default().insert(CellId(u128::from_le_bytes(*cell)));
            }
        }
        ledger
    }

    /// What it takes to see some cells of a table: a table, of which the group may see `budget`.
    pub fn table(&self, group: &str, cells: &Cells, budget: usize) -> Result<Spending, Exhausted> {
        let group = format!("tables\0{group}"); // no group has this id
        self.unseen(&group, [CellId::of_table(&cells.name())], "tables", budget)
    }

    /// What it takes to see those that are `shown` (each a category of each dimension of the shape): cells, of which the group may see
    /// `budget`, of all tables.
    pub fn cells(
        &self,
        group: &str,
        cells: &Cells,
        shown: impl IntoIterator<Item = Vec<usize>>,
        budget: usize,
    ) -> Result<Spending, Exhausted> {
        let ids = cells.ids();
        self.unseen(group, shown.into_iter().map(|cell| ids.of(cell)), "cells", budget)
    }

    /// Those that a group has not seen; an error if it may not see so many.
    fn unseen(
        &self,
        group: &str,
        cells: impl IntoIterator<Item = CellId>,
        what: &'static str,
        budget: usize,
    ) -> Result<Spending, Exhausted> {
        let group = name(group);
        let seen = self.spent.get(&group);
        let cells: HashSet<CellId> = cells.into_iter().filter(|cell| seen.is_none_or(|seen| !seen.contains(cell))).collect();
        let left = budget.saturating_sub(seen.map_or(0, HashSet::len));
        if cells.len() > left { Err(Exhausted { what, asked: cells.len(), budget, left }) } else { Ok(Spending { group, cells }) }
    }

    /// Spends. The bytes are to be appended to the file, durably, before anything is shown.
    pub fn spend(&mut self, spending: Spending) -> Vec<u8> {
        let Spending { group, cells } = spending;
        let entry = |cell: &CellId| group.into_iter().chain(cell.0.to_le_bytes());
        let bytes = cells.iter().flat_map(entry).collect();
        if !cells.is_empty() {
            self.spent.entry(group).or_default().extend(cells);
        }
        bytes
    }
}

fn name(group: &str) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(group.as_bytes()).into();
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::disclosure::{CodeDocument, Hierarchy, HierarchyDocument, LevelDocument, Shape};
    use std::sync::Arc;

    fn cells(cohort: &str) -> Cells {
        let level = LevelDocument { name: "code".to_owned(), title: String::new() };
        let code =
            |n: usize| CodeDocument { level: "code".to_owned(), code: n.to_string(), parent: None, label: String::new(), also: Vec::new() };
        let document = HierarchyDocument {
            name: "list".to_owned(),
            title: String::new(),
            source: String::new(),
            levels: vec![level],
            codes: (0..10).map(code).collect(),
        };
        let shape = Shape { levels: vec![(0, 0)], ..Shape::default() };
        let hierarchies = vec![Arc::new(Hierarchy::new(&document).unwrap())];
        Cells { table: "t".to_owned(), hierarchies, shape, cohort: Some(cohort.to_owned()) }
    }

    #[test]
    fn what_was_seen_is_paid_once_by_each_group() {
        let (one, two) = (cells("one"), cells("two"));
        let of = |range: std::ops::Range<usize>| range.map(|n| vec![n]);
        let mut ledger = Ledger::default();
        let spending = ledger.cells("a", &one, of(0..6), 8).unwrap();
        let mut file = ledger.spend(spending);
        let spending = ledger.table("a", &one, 1).unwrap();
        file.extend(ledger.spend(spending));
        assert_eq!(file.len() as u64, 7 * Ledger::ENTRY);
        let again = ledger.cells("a", &one, of(0..6), 8).unwrap();
        assert_eq!(ledger.spend(again), Vec::<u8>::new(), "again costs nothing");
        assert_eq!(ledger.cells("a", &one, of(0..10), 8).unwrap_err(), Exhausted { what: "cells", asked: 4, budget: 8, left: 2 });
        assert_eq!(ledger.cells("a", &two, of(0..3), 8).unwrap_err().asked, 3, "the same codes of other cells");
        assert!(ledger.table("a", &one, 1).is_ok());
        assert_eq!(ledger.table("a", &two, 1).unwrap_err(), Exhausted { what: "tables", asked: 1, budget: 1, left: 0 });
        let spending = ledger.cells("b", &one, of(0..10), 10).unwrap();
        let more = ledger.spend(spending);
        let cut = [&file[..], &more, &[1; 31]].concat();
        assert_eq!(Ledger::from_bytes(&cut), ledger);
        assert_ne!(Ledger::from_bytes(&file), ledger);
    }
}
