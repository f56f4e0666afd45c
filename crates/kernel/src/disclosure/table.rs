//! A released table: every cell of a shape, as it may be shown in an epoch.

use super::anchor::Anchors;
use super::cell::Released;
use super::count::{Counted, Shape, ShapeError};
use super::facts::Facts;
use super::hierarchy::Hierarchy;
use super::keys::{CellId, Limit, Seed};
use super::method::Method;
use super::protect::{Rules, protect};
use jiff::Timestamp;
use roaring::RoaringBitmap;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Cells of one table that are counted and released together: those of a shape, of everyone or of a cohort.
#[derive(Clone, Debug)]
pub struct Cells {
    /// The name of the statistics table.
    pub table: String,
    /// Its dimensions.
    pub hierarchies: Vec<Arc<Hierarchy>>,
    /// Which levels of them, and which rows count.
    pub shape: Shape,
    /// The id of the registered cohort that alone counts.
    pub cohort: Option<String>,
}

/// Cells, and what they are released from.
pub struct Asked<'a> {
    /// Which.
    pub cells: &'a Cells,
    /// When the epoch began.
    pub epoch: Timestamp,
    /// The rows of their table then, with the dimensions of the cells.
    pub facts: &'a Facts,
    /// The persons of the cohort at the epoch, if they are of one.
    pub members: Option<&'a RoaringBitmap>,
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

/// Why cells of an earlier epoch are not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecallError {
    /// They could not be asked for.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Nobody asked for them then; when they were first asked for.
    #[error(
        "nobody asked for these cells in that epoch, and what was not released then is not released for then{}",
        .0.map_or_else(String::new, |since| format!(": they were first asked for in the epoch {since}"))
    )]
    NotAsked(Option<Timestamp>),
}

/// The ids of some cells: of their table, and of each category of each dimension of the shape.
pub(super) struct Ids {
    table: CellId,
    categories: Vec<Vec<u128>>,
}

impl Ids {
    /// The id of a cell, from its categories in the order of the shape.
    pub fn of(&self, cell: impl IntoIterator<Item = usize>) -> CellId {
        self.categories.iter().zip(cell).filter_map(|(ids, category)| ids.get(category)).copied().fold(self.table, CellId::and)
    }
}

impl Cells {
    /// Checks that a cell has at most as many dimensions as it may have, and that there are not too many cells.
    pub fn check(&self) -> Result<(), ShapeError> {
        self.shape.check(&self.hierarchies)
    }

    /// A name that no other cells have, of 32 hexadecimal digits: the beginning of the SHA-256 of what they are, whatever the order of
    /// their dimensions.
    pub fn name(&self) -> String {
        let level = |(dimension, level): &(usize, usize)| self.hierarchies[*dimension].levels()[*level].name();
        let mut said: Vec<&str> = self.shape.levels.iter().map(level).collect();
        said.sort_unstable();
        let (first, valued) = (self.first(), self.shape.valued.to_string());
        said.extend([first, &valued, self.cohort.as_deref().unwrap_or_default(), &self.table]);
        let hash = Sha256::digest(said.join("\0"));
        hash.iter().take(16).fold(String::new(), |name, byte| format!("{name}{byte:02x}"))
    }

    /// The dimension of time of which only first rows count.
    fn first(&self) -> &str {
        self.shape.first_of.map_or("", |dimension| self.hierarchies[dimension].name())
    }

    /// What they showed in the epoch that began at `epoch`, from their anchors: nothing is counted again, and nothing is shown that was
    /// not released by then.
    pub fn recall(&self, anchors: &Anchors, epoch: Timestamp) -> Result<ReleasedTable, RecallError> {
        let layout = self.shape.layout(&self.hierarchies)?;
        let (ids, epoch) = (self.ids(), epoch.as_second());
        if anchors.since().is_none_or(|since| since > epoch) {
            return Err(RecallError::NotAsked(anchors.since().and_then(|since| Timestamp::from_second(since).ok())));
        }
        let category = |cell: u32, at: usize| layout.category(cell, at) as usize;
        let shown = |cell: u32| {
            let released = anchors.shown_at(ids.of((0..self.shape.levels.len()).map(|at| category(cell, at))), epoch);
            released.persons().is_some().then_some((cell, released))
        };
        let cells = (0..layout.cells as u32).filter_map(shown).collect();
        Ok(ReleasedTable { sizes: layout.sizes, cells })
    }

    pub(super) fn ids(&self) -> Ids {
        let cohort = self.cohort.as_deref().unwrap_or_default();
        let table = CellId::of_table(&format!("{}\0{}\0{cohort}\0{}", self.table, self.first(), self.shape.valued));
        let of_level = |(dimension, level): &(usize, usize)| {
            let level = &self.hierarchies[*dimension].levels()[*level];
            level.categories().iter().map(|category| CellId::of_category(level.name(), &category.code)).collect()
        };
        Ids { table, categories: self.shape.levels.iter().map(of_level).collect() }
    }
}

impl Asked<'_> {
    /// Counts and releases every cell. `anchors` are those of this table, shape and cohort.
    pub fn release(&self, anchors: &mut Anchors) -> Result<ReleasedTable, ShapeError> {
        let shape = &self.cells.shape;
        let counted = Counted::of(self.facts, shape, self.members)?;
        let ids = self.cells.ids();
        let category = |cell: u32, at: usize| counted.layout.category(cell, at) as usize;
        let id = |cell: u32| ids.of((0..shape.levels.len()).map(|at| category(cell, at)));
        let apart = |cell: u32, at: usize| {
            // Which step it is: the category that is left out says it, in whatever order dimensions are asked for.
            let step = ids.categories.get(at).map_or(0, |ids| ids[category(cell, at)]);
            self.method.limit(|| self.seed.limit(id(cell), Limit::Coarser(step)))
        };
        let near = self.near_cohorts(&counted, &apart)?;
        let rules = Rules {
            threshold: self.method.threshold(),
            difference: self.method.difference(),
            most: self.method.most_limit(),
            apart: &apart,
        };
        let protected = protect(self.facts, shape, &counted, &near, &rules);
        let epoch = self.epoch.as_second();
        anchors.begin(epoch);
        let mut cells = HashMap::new();
        let mut kept = 0;
        for (nth, cell) in counted.cells.iter().enumerate() {
            let id = id(*cell);
            if protected.persons(&counted, nth) < self.method.difference() as usize && !anchors.has(id) {
                continue; // it has never been seen, and is not now
            }
            let released = anchors.show(id, &protected.raw(&counted, nth), epoch, self.seed, self.method);
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
                let released = anchors.show_empty(id(cell), epoch);
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
        let Some(members) = self.members else { return Ok(HashSet::new()) };
        let all = Counted::of(self.facts, &self.cells.shape, None)?;
        let mut near = HashSet::new();
        for (nth, cell) in all.cells.iter().enumerate().filter(|(_, cell)| counted.cells.binary_search(cell).is_ok()) {
            let persons: RoaringBitmap = all.contributors(nth).iter().map(|c| c.person).collect();
            let (here, limit) = (&persons & members, apart(*cell, self.cells.shape.levels.len()));
            let away = |other: &RoaringBitmap| here.symmetric_difference_len(other) >= u64::from(limit);
            if !(away(&persons) && self.before.iter().all(|other| away(&(&persons & *other)))) {
                near.insert(*cell);
            }
        }
        Ok(near)
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
}
