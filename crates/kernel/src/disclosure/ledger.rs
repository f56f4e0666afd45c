//! The ledger: how many fine cells a group of organisations has been shown in an epoch.
//!
//! A cell is *fine* if it has two dimensions or more, a cohort among them. A group may see so many different ones in an epoch, of so
//! many different tables (levels, cohort, way of counting); to see one again costs nothing. What one organisation of a group was
//! shown, all have.

use super::keys::CellId;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// The spending of one epoch of one calendar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    spent: HashMap<[u8; 16], HashSet<CellId>>,
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

    /// How many cells a group has seen.
    pub fn spent(&self, group: &str) -> usize {
        self.spent.get(&name(group)).map_or(0, HashSet::len)
    }

    /// Spends a table of fine cells, of which the group may see `budget`.
    pub fn spend_table(&mut self, group: &str, table: &str, budget: usize) -> Result<Vec<u8>, Exhausted> {
        let tables = format!("tables\0{group}"); // no group has this id
        self.spend(&tables, &[CellId::of_table(table)], budget).map_err(|e| Exhausted { what: "tables", ..e })
    }

    /// Spends cells, of which the group may see `budget` in all. The bytes are to be appended to the file, durably, before any is
    /// shown; nothing is spent if there are too many.
    pub(super) fn spend(&mut self, group: &str, cells: &[CellId], budget: usize) -> Result<Vec<u8>, Exhausted> {
        let group = name(group);
        let before = self.spent.get(&group).map_or(0, HashSet::len);
        let known = |cell: &CellId| self.spent.get(&group).is_some_and(|spent| spent.contains(cell));
        let new: HashSet<CellId> = cells.iter().copied().filter(|cell| !known(cell)).collect();
        if before + new.len() > budget {
            return Err(Exhausted { what: "cells", asked: new.len(), budget, left: budget.saturating_sub(before) });
        }
        let entry = |cell: &CellId| group.into_iter().chain(cell.0.to_le_bytes());
        let bytes = new.iter().flat_map(entry).collect();
        if !new.is_empty() {
            self.spent.entry(group).or_default().extend(new);
        }
        Ok(bytes)
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

    #[test]
    fn a_cell_is_paid_once_by_each_group() {
        let cells: Vec<CellId> = (0..10).map(CellId).collect();
        let mut ledger = Ledger::default();
        let mut file = ledger.spend("a", &cells[..6], 8).unwrap();
        assert_eq!(ledger.spend("a", &cells[..6], 8).unwrap(), Vec::<u8>::new(), "again costs nothing");
        assert_eq!(ledger.spend("a", &cells, 8), Err(Exhausted { what: "cells", asked: 4, budget: 8, left: 2 }));
        assert_eq!((ledger.spent("a"), ledger.spent("b")), (6, 0), "what is refused is not spent");
        file.extend(ledger.spend("b", &cells, 10).unwrap());
        file.extend(ledger.spend("a", &cells[6..8], 8).unwrap());
        file.extend(ledger.spend_table("a", "one", 1).unwrap());
        assert_eq!(ledger.spend_table("a", "one", 1), Ok(Vec::new()));
        assert_eq!(ledger.spend_table("a", "two", 1).unwrap_err().what, "tables");
        let mut cut = file.clone();
        cut.extend([1; 31]);
        assert_eq!(Ledger::from_bytes(&cut), ledger);
        assert_eq!(Ledger::from_bytes(&file[..Ledger::ENTRY as usize * 6]).spent("a"), 6);
    }
}
