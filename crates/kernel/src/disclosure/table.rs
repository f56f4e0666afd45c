//! A released table: every cell of a shape, as it may be shown in an epoch.

use super::anchor::Anchors;
use super::cell::Released;
use super::count::{Counted, Shape, ShapeError};
use super::facts::Facts;
use super::keys::{CellId, Seed};
use super::ledger::{Exhausted, Ledger};
use super::method::Method;
use super::protect::protect;
use roaring::RoaringBitmap;
use std::collections::HashMap;

/// Which cells of which table are released, and how.
pub struct Asked<'a> {
    /// The name of the statistics table.
    pub table: &'a str,
    /// Its rows.
    pub facts: &'a Facts,
    /// The cells.
    pub shape: &'a Shape,
    /// The id of the registered cohort that alone counts, with its persons at the epoch.
    pub cohort: Option<(&'a str, &'a RoaringBitmap)>,
    /// What noise follows from.
    pub seed: &'a Seed,
    /// The database's method.
    pub method: &'a Method,
}

/// The cells of a shape. Those that are not kept are suppressed.
#[derive(Clone, Debug, Default)]
pub struct ReleasedTable {
    sizes: Vec<u32>,
    cells: HashMap<u32, Released>,
}

impl Asked<'_> {
    /// Counts and releases every cell. `anchors` are those of this table, shape and cohort.
    pub fn release(&self, anchors: &mut Anchors) -> Result<ReleasedTable, ShapeError> {
        let counted = Counted::of(self.facts, self.shape, self.cohort.map(|(_, members)| members))?;
        let raw = protect(self.facts, self.shape, &counted, self.method);
        let ids = self.ids();
        let id = |cell: u32| {
            let category = |(at, ids): (usize, &Vec<u128>)| ids[counted.layout.category(cell, at) as usize];
            ids.1.iter().enumerate().map(category).fold(ids.0, CellId::and)
        };
        let mut cells = HashMap::new();
        let mut kept = 0;
        for (cell, raw) in counted.cells.iter().zip(&raw) {
            let id = id(*cell);
            let released = anchors.show(id, raw, self.seed, self.method);
            kept += usize::from(anchors.has(id));
            if released.persons().is_some() {
                cells.insert(*cell, released);
            }
        }
        // Cells that have lost everybody show what they showed, until that is a difference.
        if anchors.len() > kept {
            let mut with = counted.cells.iter().copied().peekable();
            for cell in 0..counted.layout.cells as u32 {
                if with.next_if_eq(&cell).is_some() {
                    continue;
                }
                let released = anchors.show_empty(id(cell), self.method);
                if released.persons().is_some() {
                    cells.insert(cell, released);
                }
            }
        }
        Ok(ReleasedTable { sizes: counted.layout.sizes, cells })
    }

    /// The ids of some cells, each a category of each dimension of the shape: what the ledger notes.
    pub fn spend(
        &self,
        ledger: &mut Ledger,
        group: &str,
        cells: impl Iterator<Item = Vec<usize>>,
        budget: usize,
    ) -> Result<Vec<u8>, Exhausted> {
        let ids = self.ids();
        let id =
            |cell: Vec<usize>| ids.1.iter().zip(cell).filter_map(|(ids, category)| ids.get(category)).copied().fold(ids.0, CellId::and);
        ledger.spend(group, &cells.map(id).collect::<Vec<_>>(), budget)
    }

    /// The id of the table, and of each category of each dimension of the shape.
    fn ids(&self) -> (CellId, Vec<Vec<u128>>) {
        let first = self.shape.first_of.map_or("", |dimension| self.facts.hierarchies()[dimension].name());
        let cohort = self.cohort.map_or("", |(id, _)| id);
        let table = CellId::of_table(&format!("{}\0{first}\0{cohort}\0{}", self.table, self.shape.valued));
        let of_level = |(dimension, level): &(usize, usize)| {
            let level = &self.facts.hierarchies()[*dimension].levels()[*level];
            level.categories().iter().map(|category| CellId::of_category(level.name(), &category.code)).collect()
        };
        (table, self.shape.levels.iter().map(of_level).collect())
    }
}

impl ReleasedTable {
    /// The cell of a category of each dimension of the shape, in their order.
    pub fn cell(&self, categories: &[usize]) -> Released {
        if categories.len() != self.sizes.len() {
            return Released::default();
        }
        let number = self.sizes.iter().zip(categories).try_fold(0_u32, |number, (size, category)| {
            number.checked_mul(*size)?.checked_add(u32::try_from(*category).ok().filter(|c| c < size)?)
        });
        number.and_then(|number| self.cells.get(&number)).copied().unwrap_or_default()
    }

    /// How many cells are shown.
    pub fn shown(&self) -> usize {
        self.cells.len()
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.sizes.iter().map(|size| *size as usize).product()
    }

    /// Whether there is no cell; there is one at least.
    pub fn is_empty(&self) -> bool {
        false
    }
}
