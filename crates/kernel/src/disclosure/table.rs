//! A released table: every cell of a shape, as it may be shown in an epoch.

use super::anchor::Anchors;
use super::cell::Released;
use super::count::{Counted, Shape, ShapeError};
use super::facts::Facts;
use super::keys::{CellId, Limit, Seed};
use super::ledger::{Exhausted, Ledger};
use super::method::Method;
use super::protect::{Rules, protect};
use roaring::RoaringBitmap;
use std::collections::{HashMap, HashSet};

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
    /// The persons of all cohorts that were registered before it: its cells are kept away from theirs.
    pub before: &'a [&'a RoaringBitmap],
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
        let ids = self.ids();
        let category = |cell: u32, at: usize| ids.1[at][counted.layout.category(cell, at) as usize];
        let id = |cell: u32| (0..ids.1.len()).map(|at| category(cell, at)).fold(ids.0, CellId::and);
        let apart = |cell: u32, at: usize| {
            // Which step it is: the category that is left out says it, in whatever order dimensions are asked for.
            let step = ids.1.get(at).map_or(0, |_| category(cell, at));
            self.method.limit(|| self.seed.limit(id(cell), Limit::Coarser(step)))
        };
        let near = self.near_cohorts(&counted, &apart)?;
        let rules = Rules {
            threshold: self.method.threshold(),
            difference: self.method.difference(),
            most: self.method.most_limit(),
            apart: &apart,
        };
        let protected = protect(self.facts, self.shape, &counted, &near, &rules);
        let mut cells = HashMap::new();
        let mut kept = 0;
        for (nth, cell) in counted.cells.iter().enumerate() {
            let id = id(*cell);
            if protected.persons(&counted, nth) < self.method.difference() as usize && !anchors.has(id) {
                continue; // it has never been seen, and is not now
            }
            let released = anchors.show(id, &protected.raw(&counted, nth), self.seed, self.method);
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
                let released = anchors.show_empty(id(cell));
                if released.persons().is_some() {
                    cells.insert(cell, released);
                }
            }
        }
        Ok(ReleasedTable { sizes: counted.layout.sizes, cells })
    }

    /// The cells of a cohort that are too like the same cell of everyone, or of a cohort that was registered before: the cell
    /// without the cohort is one step coarser, and of two cohorts' cells the difference would show who is in the one only.
    fn near_cohorts(&self, counted: &Counted, apart: &dyn Fn(u32, usize) -> u32) -> Result<HashSet<u32>, ShapeError> {
        let Some((_, members)) = self.cohort else { return Ok(HashSet::new()) };
        let all = Counted::of(self.facts, self.shape, None)?;
        let mut near = HashSet::new();
        for (nth, cell) in all.cells.iter().enumerate().filter(|(_, cell)| counted.cells.binary_search(cell).is_ok()) {
            let persons: RoaringBitmap = all.contributors(nth).iter().map(|c| c.person).collect();
            let (here, limit) = (&persons & members, apart(*cell, self.shape.levels.len()));
            let away = |other: &RoaringBitmap| here.symmetric_difference_len(other) >= u64::from(limit);
            if !(away(&persons) && self.before.iter().all(|other| away(&(&persons & *other)))) {
                near.insert(*cell);
            }
        }
        Ok(near)
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
