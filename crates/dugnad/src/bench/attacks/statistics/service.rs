//! The statistics as an attacker has them: released with the defence on, exact with the defence off.

use super::super::Defence;
use super::world::{MONTH, Row, Snapshot, categories, category};
use dugnad_kernel::disclosure::{Anchors, Asked, Cells, Ledger, Method, PerturbationTable, ReleasedTable, Seed, Shape, Step, survival};
use jiff::Timestamp;
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
    /// The group that asks, and what was spent in each month.
    group: usize,
    ledgers: HashMap<i32, Ledger>,
    anchors: HashMap<(Levels, String), Anchors>,
}

/// The cells of a shape.
pub(super) enum Table {
    Released(ReleasedTable),
    Exact {
        sizes: Vec<usize>,
        cells: Vec<u32>,
    },
    /// The ledger has nothing left for it.
    Refused,
}

impl Service {
    pub(super) fn new(defence: Defence, method: &Method, tables: usize, seed: &[u8; 32]) -> Self {
        let tables = if defence == Defence::On { tables } else { usize::MAX };
        Self { defence, method: method.clone(), seed: Seed::of(seed), tables, group: 1, ledgers: HashMap::new(), anchors: HashMap::new() }
    }

    /// A table at an epoch.
    pub(super) fn table(&mut self, epoch: &Snapshot, levels: &Levels, cohort: Option<Members>) -> Table {
        if self.defence == Defence::Off {
            return exact(&epoch.rows, levels, cohort.map(|cohort| cohort.persons));
        }
        let cells = Cells {
            table: "treatments".to_owned(),
            hierarchies: epoch.facts.hierarchies().to_vec(),
            shape: Shape { levels: levels.clone(), ..Shape::default() },
            cohort: cohort.map(|cohort| cohort.id.to_owned()),
        };
        if levels.len() + usize::from(cohort.is_some()) > 1 {
            let ledger = self.ledgers.entry(epoch.day.div_euclid(MONTH)).or_default();
            let Ok(spending) = ledger.table(&self.group.to_string(), &cells, self.tables) else { return Table::Refused };
            ledger.spend(spending);
        }
        let asked = Asked {
            cells: &cells,
            epoch: Timestamp::UNIX_EPOCH, // nobody asks for an earlier one
            facts: &epoch.facts,
            members: cohort.map(|cohort| cohort.persons),
            before: cohort.map_or(&[], |cohort| cohort.before),
            seed: &self.seed,
            method: &self.method,
        };
        let anchors = self.anchors.entry((levels.clone(), cells.cohort.clone().unwrap_or_default())).or_default();
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

    /// As somebody else finds it: with a ledger of its own, and without anchors, where nobody has asked before.
    pub(super) fn for_other(&mut self) {
        self.group += 1;
        self.anchors.clear();
    }

    /// How many tables of two dimensions or more an attacker may see in an epoch.
    pub(super) fn tables(&self) -> usize {
        self.tables
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
            Self::Refused => None,
        }
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
