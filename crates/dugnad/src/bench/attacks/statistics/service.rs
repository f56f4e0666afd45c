//! The statistics as an attacker has them: released with the defence on, exact with the defence off.

use super::super::Defence;
use super::world::{Row, Snapshot, categories, category};
use dugnad_kernel::disclosure::{Anchors, Asked, Method, PerturbationTable, ReleasedTable, Seed, Shape, Step, survival};
use roaring::RoaringBitmap;
use std::collections::HashMap;

/// A level of each of some dimensions.
pub(super) type Levels = Vec<(usize, usize)>;

/// A registered cohort: its id and its persons, and those that were registered before.
#[derive(Clone, Copy)]
pub(super) struct Members<'a> {
    pub(super) id: &'a str,
    pub(super) persons: &'a RoaringBitmap,
    pub(super) before: &'a [&'a RoaringBitmap],
}

/// One database's statistics.
pub(super) struct Service {
    defence: Defence,
    method: Method,
    seed: Seed,
    /// How many tables of two dimensions or more a group may see in an epoch; a cohort counts as a dimension.
    tables: usize,
    anchors: HashMap<(Levels, String), Anchors>,
}

/// The cells of a shape.
pub(super) enum Table {
    Released(ReleasedTable),
    Exact { sizes: Vec<usize>, cells: Vec<u32> },
}

impl Service {
    pub(super) fn new(defence: Defence, method: &Method, tables: usize, seed: &[u8; 32]) -> Self {
        let tables = if defence == Defence::On { tables } else { usize::MAX };
        Self { defence, method: method.clone(), seed: Seed::of(seed), tables, anchors: HashMap::new() }
    }

    /// A table at an epoch.
    pub(super) fn table(&mut self, epoch: &Snapshot, levels: &Levels, cohort: Option<Members>) -> Table {
        if self.defence == Defence::Off {
            return exact(&epoch.rows, levels, cohort.map(|cohort| cohort.persons));
        }
        let anchors = self.anchors.entry((levels.clone(), cohort.map_or(String::new(), |c| c.id.to_owned()))).or_default();
        let shape = Shape { levels: levels.clone(), ..Shape::default() };
        let asked = Asked {
            table: "treatments",
            facts: &epoch.facts,
            shape: &shape,
            cohort: cohort.map(|cohort| (cohort.id, cohort.persons)),
            before: cohort.map_or(&[], |cohort| cohort.before),
            seed: &self.seed,
            method: &self.method,
        };
        Table::Released(asked.release(anchors).unwrap_or_default())
    }

    /// By how many persons cells and cohorts must differ: by none with the defence off.
    pub(super) fn difference(&self) -> u32 {
        if self.defence == Defence::On { self.method.difference() } else { 0 }
    }

    /// The noise of a large cell, and its probabilities, as they are published.
    pub(super) fn noise(&self) -> Vec<(i64, f64)> {
        let published = self.method.perturbation().map(PerturbationTable::published);
        if self.defence == Defence::Off {
            return vec![(0, 1.0)];
        }
        published.and_then(|mut rows| rows.pop()).unwrap_or_default()
    }

    /// The exact counts.
    pub(super) fn exact(epoch: &Snapshot, levels: &Levels) -> Table {
        exact(&epoch.rows, levels, None)
    }

    /// As somebody else finds it: without anchors, where nobody has asked before.
    pub(super) fn forget(&mut self) {
        self.anchors.clear();
    }

    /// What an attacker asks for who has so many `forms` of each shape to see: the coarsest shapes, for their cells are shown.
    pub(super) fn afford(&self, mut shapes: Vec<Levels>, forms: usize) -> Vec<Levels> {
        let size = |levels: &Levels| levels.iter().map(|(dimension, level)| categories(*dimension, *level)).product::<usize>();
        shapes.sort_by_key(size);
        let (mut left, single) = (self.tables, forms == 1);
        shapes.retain(|levels| {
            let costs = if single && levels.len() < 2 { 0 } else { forms };
            let afforded = costs <= left;
            left -= if afforded { costs } else { 0 };
            afforded
        });
        shapes
    }

    /// Erases persons, at once.
    pub(super) fn erase(&mut self, persons: &RoaringBitmap) {
        self.anchors.values_mut().for_each(|anchors| _ = anchors.erase(persons));
    }
}

impl Table {
    /// The persons of a cell, where it is shown.
    pub(super) fn cell(&self, categories: &[usize]) -> Option<f64> {
        match self {
            Self::Released(table) => table.cell(categories).persons().map(|persons| persons as f64),
            Self::Exact { sizes, cells } => {
                let at = sizes.iter().zip(categories).fold(0, |at, (size, category)| at * size + category);
                Some(f64::from(cells[at]))
            }
        }
    }

    /// Every cell of a table of exact counts.
    pub(super) fn every(&self) -> Vec<Vec<usize>> {
        let Self::Exact { sizes, .. } = self else { return Vec::new() };
        let more =
            |all: Vec<Vec<usize>>, size: &usize| all.iter().flat_map(|cell| (0..*size).map(move |c| [&cell[..], &[c]].concat())).collect();
        sizes.iter().fold(vec![Vec::new()], more)
    }

    /// The survival curve of a cell, from events and censored of each month.
    pub(super) fn curve(
        all: &Self,
        cell: &[usize],
        steps: &Self,
        months: impl Iterator<Item = (Vec<usize>, Vec<usize>)>,
    ) -> Option<Vec<Step>> {
        match (all, steps) {
            (Self::Released(all), Self::Released(steps)) => {
                let grid: Vec<_> = months.zip(1..).map(|((e, c), month)| (month, steps.cell(&e), steps.cell(&c))).collect();
                Some(survival(all.cell(cell).persons()?, &grid))
            }
            _ => {
                let (mut at_risk, mut survival) = (all.cell(cell)?, 1.0);
                let step = |((e, c), month): ((Vec<usize>, Vec<usize>), u32)| {
                    let of = |cell: &[usize]| steps.cell(cell).unwrap_or(0.0);
                    let (events, censored) = (of(&e), of(&c));
                    survival *= 1.0 - events / (at_risk - censored / 2.0).max(1.0);
                    let step = Step { month, at_risk: at_risk as u64, events: events as u64, censored: censored as u64, survival };
                    at_risk -= events + censored;
                    step
                };
                Some(months.zip(1..).map(step).collect())
            }
        }
    }
}

/// The persons of every cell.
fn exact(rows: &[Row], levels: &Levels, members: Option<&RoaringBitmap>) -> Table {
    let sizes: Vec<usize> = levels.iter().map(|(dimension, level)| categories(*dimension, *level)).collect();
    let all: usize = sizes.iter().product();
    let (mut cells, mut last) = (vec![0_u32; all], vec![u32::MAX; all]);
    for row in rows.iter().filter(|row| members.is_none_or(|members| members.contains(row.person))) {
        let at = cell_of(row, levels).iter().zip(&sizes).fold(0, |at, (category, size)| at * size + category);
        if last[at] != row.person {
            last[at] = row.person;
            cells[at] += 1;
        }
    }
    Table::Exact { sizes, cells }
}

/// The categories of the cell that a row is in.
pub(super) fn cell_of(row: &Row, levels: &Levels) -> Vec<usize> {
    levels.iter().map(|(dimension, level)| category(*dimension, *level, row.codes[*dimension])).collect()
}
