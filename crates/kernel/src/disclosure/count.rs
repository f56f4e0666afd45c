//! Counting: the contributors of each cell of a table, and how many persons the cells have that are one step coarser.

use super::facts::Facts;
use super::hierarchy::Hierarchy;
use crate::limits::{MAX_CELL_DIMENSIONS, MAX_TABLE_CELLS};
use roaring::RoaringBitmap;
use std::sync::Arc;

/// Which cells a table has: a level of each of some dimensions, and who counts in a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Dimension and level, in the order of dimensions.
    pub levels: Vec<(usize, usize)>,
    /// The dimension of time of which only a person's first row of the other dimensions' cell counts; all rows if there is none.
    pub first_of: Option<usize>,
    /// Whether only rows with a value count: those that sums and means are of.
    pub valued: bool,
}

/// Why a table cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Too many dimensions.
    #[error("{0} dimensions; a cell may have at most {MAX_CELL_DIMENSIONS}, for people in small cells are easily told apart")]
    Dimensions(usize),
    /// A dimension more than once.
    #[error("a dimension may be asked for on one level only")]
    Twice,
    /// Too many cells.
    #[error("{0} cells; a table may have at most {MAX_TABLE_CELLS}: ask for coarser levels")]
    Cells(u128),
}

/// How the cells of a shape are numbered.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// How many categories each dimension of the shape has, unknown among them.
    pub sizes: Vec<u32>,
    /// How far apart two neighbouring categories of it are.
    pub strides: Vec<u32>,
    /// How many cells there are.
    pub cells: usize,
}

/// The contributors of the cells that have any.
pub(super) struct Counted {
    pub layout: Layout,
    /// The numbers of the cells that have contributors, ascending.
    pub cells: Vec<u32>,
    /// Where the contributors of each begin, and where those of the last end.
    starts: Vec<u32>,
    contributors: Vec<Contributor>,
    /// For each dimension: how many persons the cells have that lack it, and, where its level has one above, those on that level.
    coarser: Vec<Coarser>,
}

/// What a person adds to a cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contributor {
    pub person: u32,
    pub rows: u32,
    pub sum: f64,
}

struct Coarser {
    without: Vec<u32>,
    above: Option<Vec<u32>>,
}

const NOBODY: u32 = u32::MAX;

impl Shape {
    /// Checks that it has at most as many dimensions as a cell may have, each once, and not too many cells.
    pub fn check(&self, hierarchies: &[Arc<Hierarchy>]) -> Result<(), ShapeError> {
        self.layout(hierarchies).map(drop)
    }

    pub(super) fn layout(&self, hierarchies: &[Arc<Hierarchy>]) -> Result<Layout, ShapeError> {
        if self.levels.len() > MAX_CELL_DIMENSIONS {
            return Err(ShapeError::Dimensions(self.levels.len()));
        }
        if self.levels.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(ShapeError::Twice);
        }
        let sizes: Vec<u32> = self.levels.iter().map(|(d, l)| hierarchies[*d].levels()[*l].categories().len() as u32).collect();
        let all: u128 = sizes.iter().map(|size| u128::from(*size)).product();
        let cells = usize::try_from(all).ok().filter(|all| *all <= MAX_TABLE_CELLS).ok_or(ShapeError::Cells(all))?;
        let strides = (0..sizes.len()).map(|at| sizes[at + 1..].iter().product()).collect();
        Ok(Layout { sizes, strides, cells })
    }
}

impl Layout {
    /// The category of a cell in a dimension of the shape.
    pub fn category(&self, cell: u32, at: usize) -> u32 {
        cell / self.strides[at] % self.sizes[at]
    }

    /// The number of the cell without a dimension, among the cells that lack it.
    pub fn without(&self, cell: u32, at: usize) -> u32 {
        cell / (self.strides[at] * self.sizes[at]) * self.strides[at] + cell % self.strides[at]
    }
}

impl Counted {
    /// Counts the cells of a shape. `members`, where given, are the persons of a cohort: nobody else counts.
    pub fn of(facts: &Facts, shape: &Shape, members: Option<&RoaringBitmap>) -> Result<Self, ShapeError> {
        let layout = shape.layout(facts.hierarchies())?;
        let met = contributors(facts, shape, &layout, members);
        let coarser = (0..shape.levels.len()).map(|at| Coarser::of(facts, shape, &layout, at, &met)).collect();
        // By cell; persons stay in their order.
        let mut ends = vec![0_u32; layout.cells + 1];
        met.iter().for_each(|(cell, _)| ends[*cell as usize + 1] += 1);
        let cells: Vec<u32> = (0..layout.cells as u32).filter(|cell| ends[*cell as usize + 1] > 0).collect();
        (0..layout.cells).for_each(|cell| ends[cell + 1] += ends[cell]);
        let starts = cells.iter().map(|cell| ends[*cell as usize]).chain([met.len() as u32]).collect();
        let mut sorted = vec![Contributor { person: 0, rows: 0, sum: 0.0 }; met.len()];
        for (cell, contributor) in met {
            let place = &mut ends[cell as usize];
            sorted[*place as usize] = contributor;
            *place += 1;
        }
        Ok(Self { layout, cells, starts, contributors: sorted, coarser })
    }

    /// Those who are in the `nth` cell that has contributors, in the order of persons.
    pub fn contributors(&self, nth: usize) -> &[Contributor] {
        &self.contributors[self.starts[nth] as usize..self.starts[nth + 1] as usize]
    }

    /// How many persons the cell one step coarser has, by each way of making one step: without a dimension that is on its first
    /// level, or unknown; on the level above otherwise.
    pub fn one_step_coarser(&self, facts: &Facts, shape: &Shape, cell: u32) -> impl Iterator<Item = u32> {
        self.coarser.iter().enumerate().map(move |(at, coarser)| {
            let without = self.layout.without(cell, at);
            match (&coarser.above, self.parent(facts, shape, cell, at)) {
                (Some(above), Some(parent)) => {
                    let (dimension, level) = shape.levels[at];
                    let parents = facts.hierarchies()[dimension].levels()[level - 1].categories().len();
                    above[without as usize * parents + parent]
                }
                _ => coarser.without[without as usize],
            }
        })
    }

    /// The category on the level above of a cell's category, where it has one that says something.
    pub fn parent(&self, facts: &Facts, shape: &Shape, cell: u32, at: usize) -> Option<usize> {
        let (dimension, level) = shape.levels[at];
        let levels = facts.hierarchies()[dimension].levels();
        let category = self.layout.category(cell, at) as usize;
        (level > 0 && category != levels[level].unknown()).then(|| levels[level].above(category))
    }
}

/// Each cell that each person is in, with what they add: persons in their order.
fn contributors(facts: &Facts, shape: &Shape, layout: &Layout, members: Option<&RoaringBitmap>) -> Vec<(u32, Contributor)> {
    // What a node of each dimension adds to the number of a cell.
    let steps: Vec<(&[u16], Vec<u32>)> = shape
        .levels
        .iter()
        .enumerate()
        .map(|(at, (dimension, level))| {
            let hierarchy = &facts.hierarchies()[*dimension];
            let nodes = 0..=hierarchy.nothing().0;
            let step = nodes.map(|node| u32::from(hierarchy.levels()[*level].of(super::Node(node))) * layout.strides[at]).collect();
            (facts.nodes(*dimension), step)
        })
        .collect();
    let time = shape.first_of.and_then(|first| shape.levels.iter().position(|(dimension, _)| *dimension == first));
    let mut met: Vec<(u32, Contributor)> = Vec::new();
    let mut place = vec![NOBODY; layout.cells];
    let mut first = time.map(|at| vec![NOBODY; layout.cells / layout.sizes[at] as usize]);
    let (mut person, mut counts, mut begin) = (NOBODY, false, 0);
    for row in 0..facts.len() {
        if facts.person(row) != person {
            person = facts.person(row);
            counts = members.is_none_or(|members| members.contains(person));
            begin = met.len();
        }
        if !counts || (shape.valued && !facts.has_value(row)) {
            continue;
        }
        let cell: u32 = steps.iter().map(|(nodes, step)| step[usize::from(nodes[row])]).sum();
        if let (Some(first), Some(at)) = (&mut first, time) {
            let seen = &mut first[layout.without(cell, at) as usize];
            if *seen == person {
                continue;
            }
            *seen = person;
        }
        let known = place[cell as usize] as usize;
        if known >= begin && known < met.len() {
            met[known].1.rows = met[known].1.rows.saturating_add(1);
            met[known].1.sum += facts.value(row);
        } else {
            place[cell as usize] = met.len() as u32;
            met.push((cell, Contributor { person, rows: 1, sum: facts.value(row) }));
        }
    }
    met
}

impl Coarser {
    fn of(facts: &Facts, shape: &Shape, layout: &Layout, at: usize, met: &[(u32, Contributor)]) -> Self {
        let (dimension, level) = shape.levels[at];
        let levels = facts.hierarchies()[dimension].levels();
        let without = layout.cells / layout.sizes[at] as usize;
        let mut counts = Self { without: vec![0; without], above: None };
        let count = |cells: usize, cell: &dyn Fn(u32) -> usize| {
            let (mut counts, mut last) = (vec![0_u32; cells], vec![NOBODY; cells]);
            for (fine, contributor) in met {
                let cell = cell(*fine);
                if last[cell] != contributor.person {
                    last[cell] = contributor.person;
                    counts[cell] += 1;
                }
            }
            counts
        };
        counts.without = count(without, &|cell| layout.without(cell, at) as usize);
        if level > 0 {
            let parents = levels[level - 1].categories().len();
            counts.above = Some(count(without * parents, &|cell| {
                layout.without(cell, at) as usize * parents + levels[level].above(layout.category(cell, at) as usize)
            }));
        }
        counts
    }
}
