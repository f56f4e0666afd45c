//! What disclosure control costs in accuracy: released cells beside the exact counts of the same. What leaves are errors of many cells
//! together, for `dugnad bench statistics`.

use super::published::Table;
use super::rows::{self, Population, Rows};
use super::{Statistics, failed};
use dugnad_kernel::disclosure::{Anchors, Asked, Cells, FactsBuilder, Node, ReleasedTable, Shape};
use dugnad_kernel::ids::PatientOrdinal;
use dugnad_sql::QueryError;
use std::collections::{BTreeMap, HashMap};

/// The sizes of cells, in persons: from, and up to but not including.
const SIZES: [(u64, u64); 6] = [(1, 10), (10, 25), (25, 50), (50, 100), (100, 500), (500, u64::MAX)];

/// The figures of the cells of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OfSize {
    /// From so many persons up to the next size.
    pub from: u64,
    /// How many cells there are.
    pub cells: usize,
    /// How many of them are shown.
    pub shown: usize,
    /// The errors of those that are shown, relative to the truth, added up.
    errors: f64,
    /// The largest of them.
    pub most: f64,
}

/// The figures of all tables of one number of dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Utility {
    /// By size.
    pub sizes: Vec<OfSize>,
    /// What the shown cells add up to, and the truth of the same, and of all.
    shown: f64,
    truth: f64,
    all: f64,
}

impl OfSize {
    /// The mean error of the shown cells, relative to the truth.
    pub fn mean(&self) -> f64 {
        self.errors / self.shown.max(1) as f64
    }
}

impl Default for Utility {
    fn default() -> Self {
        let sizes = SIZES.iter().map(|(from, _)| OfSize { from: *from, ..OfSize::default() }).collect();
        Self { sizes, shown: 0.0, truth: 0.0, all: 0.0 }
    }
}

impl Utility {
    /// The share of the cells with anybody in them that are not shown.
    pub fn suppressed(&self) -> f64 {
        let (cells, shown) = self.sizes.iter().fold((0, 0), |(c, s), of| (c + of.cells, s + of.shown));
        1.0 - shown as f64 / f64::max(cells as f64, 1.0)
    }

    /// What the shown cells add up to, less the truth of the same, relative to it.
    pub fn bias(&self) -> f64 {
        self.shown / self.truth.max(1.0) - 1.0
    }

    /// What the shown cells add up to, relative to the truth of all.
    pub fn covered(&self) -> f64 {
        self.shown / self.all.max(1.0)
    }

    fn add(&mut self, exact: &HashMap<Vec<usize>, u64>, released: &ReleasedTable) {
        for (cell, real) in exact {
            let (real, shown) = (*real, released.cell(cell).persons());
            self.all += real as f64;
            let size = SIZES.iter().zip(&mut self.sizes).find(|((from, to), _)| (*from..*to).contains(&real));
            let Some((_, of)) = size else { continue };
            of.cells += 1;
            if let Some(shown) = shown {
                let error = shown.abs_diff(real) as f64 / real as f64;
                (of.shown, of.errors, of.most) = (of.shown + 1, of.errors + error, of.most.max(error));
                (self.shown, self.truth) = (self.shown + shown as f64, self.truth + real as f64);
            }
        }
    }
}

/// The rows as they are, beside those that are counted.
struct Both {
    facts: FactsBuilder,
    rows: Vec<(u32, Vec<Node>)>,
}

impl Rows for Both {
    fn add(&mut self, person: PatientOrdinal, day: Option<i32>, nodes: &[Node], value: Option<f64>) {
        self.rows.push((person.0, nodes.to_vec()));
        self.facts.add(person, day, nodes, value);
    }
}

/// The persons of each cell that has any. `rows` are in the order of persons.
fn exact(rows: &[(u32, Vec<Node>)], cells: &Cells) -> HashMap<Vec<usize>, u64> {
    let mut persons: HashMap<Vec<usize>, (u32, u64)> = HashMap::new();
    for (person, nodes) in rows {
        let category = |(dimension, level): &(usize, usize)| cells.hierarchies[*dimension].levels()[*level].category(nodes[*dimension]);
        let (last, count) = persons.entry(cells.shape.levels.iter().map(category).collect()).or_insert((u32::MAX, 0));
        if *last != *person {
            (*last, *count) = (*person, *count + 1);
        }
    }
    persons.into_iter().map(|(cell, (_, count))| (cell, count)).collect()
}

/// All ways to choose a level of so many dimensions.
fn shapes(table: &Table, depth: usize) -> Vec<Shape> {
    let mut all: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
    for (dimension, hierarchy) in table.hierarchies.iter().enumerate() {
        let with = |levels: &Vec<(usize, usize)>| {
            (0..hierarchy.levels().len()).map(|l| [&levels[..], &[(dimension, l)]].concat()).collect::<Vec<_>>()
        };
        let more: Vec<_> = all.iter().flat_map(with).collect();
        all.extend(more);
    }
    all.into_iter().filter(|levels| levels.len() == depth).map(|levels| Shape { levels, ..Shape::default() }).collect()
}

impl Statistics {
    /// The accuracy of all tables with 1 to `depth` dimensions, each released for the first time; nothing of it is kept.
    pub async fn utility(&self, tables: &[Table], population: &Population, depth: usize) -> Result<BTreeMap<usize, Utility>, QueryError> {
        let mut found: BTreeMap<usize, Utility> = (1..=depth).map(|depth| (depth, Utility::default())).collect();
        for table in tables {
            let facts = FactsBuilder::new(table.hierarchies.clone(), table.statistic.value.is_some());
            let mut both = rows::read(table, population, Both { facts, rows: Vec::new() }).await?;
            both.rows.sort_by_key(|(person, _)| *person);
            let facts = both.facts.finish();
            for (depth, utility) in &mut found {
                for shape in shapes(table, *depth) {
                    let (hierarchies, name) = (table.hierarchies.clone(), table.statistic.name.clone());
                    let cells = Cells { table: name, hierarchies, shape, cohort: None };
                    if cells.check().is_err() {
                        continue; // it cannot be asked for either
                    }
                    let (epoch, before) = (population.epoch.start, &[]);
                    let asked =
                        Asked { cells: &cells, epoch, facts: &facts, members: None, before, seed: &self.seed, method: &self.method };
                    let released = asked.release(&mut Anchors::default()).map_err(|e| failed(&std::io::Error::other(e)))?;
                    utility.add(&exact(&both.rows, &cells), &released);
                }
            }
        }
        Ok(found)
    }
}
