//! The rules about a cell and its neighbours: which cells are hidden, and where the few of hidden cells are counted.
//!
//! 1. A cell below the threshold is hidden, and so is one that differs from a cell one step coarser by fewer than a limit, also by
//!    none: the two together would show who is in the difference. The limit is `difference` at least, and more by a number that is
//!    drawn for each cell and step and that nobody knows ([`super::Method`]): were it known, that a cell is shown would say
//!    whether there is one person more. The same holds for a cell of a cohort and that of everyone, or of an earlier cohort.
//! 2. *Remainders.* Some of the cells that make up a coarser one are hidden. If fewer than `difference` persons of the coarser cell
//!    are in no shown one, then the coarser cell less the shown ones would show those few. So they count in the first shown cell as
//!    well: the coarser cell and its shown parts then hold the same persons, and nothing follows from taking one from the other.

use super::cell::Raw;
use super::count::{Contributor, Counted, Shape};
use super::facts::Facts;
use std::collections::{HashMap, HashSet};

/// How far cells must be from each other, in persons.
pub(super) struct Rules<'a> {
    /// No cell of fewer is shown.
    pub threshold: u32,
    /// By how many two cells must differ at least.
    pub difference: u32,
    /// The largest of all limits.
    pub most: u32,
    /// The limit of a cell, and of the step in a dimension of the shape; of its step to everyone after the last.
    pub apart: &'a dyn Fn(u32, usize) -> u32,
}

/// What the rules say about the cells that have contributors, in the order of [`Counted::cells`].
pub(super) struct Protected {
    hidden: Vec<bool>,
    /// Who is counted with which cell, besides those who are in it.
    added: HashMap<usize, Vec<Contributor>>,
}

impl Protected {
    /// How many persons a cell has.
    pub fn persons(&self, counted: &Counted, nth: usize) -> usize {
        counted.contributors(nth).len() + self.added.get(&nth).map_or(0, Vec::len)
    }

    /// The cell.
    pub fn raw(&self, counted: &Counted, nth: usize) -> Raw {
        Raw::of(counted.contributors(nth), self.added.get(&nth).map_or(&[], Vec::as_slice), self.hidden[nth])
    }
}

/// Applies the rules. Those that are `near` another cohort's are
/// hidden in any case.
pub(super) fn protect(facts: &Facts, shape: &Shape, counted: &Counted, near: &HashSet<u32>, rules: &Rules) -> Protected {
    let neighbours = Neighbours { facts, shape, counted, rules };
    let count = |nth: usize| counted.contributors(nth).len();
    let all = 0..counted.cells.len();
    let mut hidden: Vec<bool> =
        all.map(|nth| count(nth) < rules.threshold as usize || near.contains(&counted.cells[nth]) || neighbours.near(nth, 0)).collect();
    let families: Vec<Vec<Vec<usize>>> = (0..shape.levels.len()).map(|at| neighbours.families(at)).collect();
    // Who is counted with a cell can bring it near a coarser one. Then it is hidden, and all is looked at again; hidden cells
    // only become more, so that this ends.
    let added = loop {
        let added = neighbours.remainders(&families, &hidden);
        let near: Vec<usize> = added.iter().filter(|(nth, more)| neighbours.near(**nth, more.len())).map(|(nth, _)| *nth).collect();
        if near.is_empty() {
            break added;
        }
        near.into_iter().for_each(|nth| hidden[nth] = true);
    };
    Protected { hidden, added }
}

struct Neighbours<'a> {
    facts: &'a Facts,
    shape: &'a Shape,
    counted: &'a Counted,
    rules: &'a Rules<'a>,
}

impl Neighbours<'_> {
    /// Whether a cell with so many persons more is near a coarser one.
    fn near(&self, nth: usize, more: usize) -> bool {
        let persons = (self.counted.contributors(nth).len() + more) as u32;
        let cell = self.counted.cells[nth];
        self.counted.one_step_coarser(self.facts, self.shape, cell).enumerate().any(|(at, coarser)| {
            let apart = coarser.saturating_sub(persons);
            apart < self.rules.difference || (apart < self.rules.most && apart < (self.rules.apart)(cell, at))
        })
    }

    /// The cells that make up each cell that is one step coarser in a dimension: two or more, in the order of the list.
    fn families(&self, at: usize) -> Vec<Vec<usize>> {
        let mut families: HashMap<(u32, Option<usize>), Vec<usize>> = HashMap::new();
        for (nth, cell) in self.counted.cells.iter().enumerate() {
            let coarser = (self.counted.layout.without(*cell, at), self.counted.parent(self.facts, self.shape, *cell, at));
            families.entry(coarser).or_default().push(nth);
        }
        let mut families: Vec<_> = families.into_iter().filter(|(_, parts)| parts.len() > 1).collect();
        families.sort_unstable_by_key(|(coarser, _)| *coarser);
        families.into_iter().map(|(_, parts)| parts).collect()
    }

    /// Who is counted with which cell, besides those who are in it.
    fn remainders(&self, families: &[Vec<Vec<usize>>], hidden: &[bool]) -> HashMap<usize, Vec<Contributor>> {
        let mut added: HashMap<usize, Vec<Contributor>> = HashMap::new();
        for parts in families.iter().flatten() {
            let shown: Vec<usize> = parts.iter().copied().filter(|nth| !hidden[*nth]).collect();
            let Some(first) = shown.first().filter(|_| shown.len() < parts.len()) else { continue };
            if let Some(few) = self.in_none_of(parts.iter().copied().filter(|nth| hidden[*nth]), &shown) {
                few.into_iter().for_each(|contributor| include(added.entry(*first).or_default(), contributor));
            }
        }
        added
    }

    /// Those of the hidden cells who are in none of the shown ones, if they are fewer than `difference`.
    fn in_none_of(&self, hidden: impl Iterator<Item = usize>, shown: &[usize]) -> Option<Vec<Contributor>> {
        let mut few: Vec<Contributor> = Vec::new();
        for contributor in hidden.flat_map(|nth| self.counted.contributors(nth)) {
            if let Some(known) = few.iter_mut().find(|c| c.person == contributor.person) {
                known.rows = known.rows.saturating_add(contributor.rows);
                known.sum += contributor.sum;
                continue;
            }
            let there = |nth: &usize| self.counted.contributors(*nth).binary_search_by_key(&contributor.person, |c| c.person).is_ok();
            if !shown.iter().any(there) {
                if few.len() + 1 >= self.rules.difference as usize {
                    return None;
                }
                few.push(*contributor);
            }
        }
        Some(few)
    }
}

/// Adds a person to those who are counted with a cell. Who is there for another dimension too stays once, with the more they add:
/// whatever the order of dimensions, it is the same.
fn include(with: &mut Vec<Contributor>, new: Contributor) {
    match with.binary_search_by_key(&new.person, |c| c.person) {
        Ok(at) => {
            let known = &mut with[at];
            known.rows = known.rows.max(new.rows);
            known.sum = if new.sum.abs() > known.sum.abs() { new.sum } else { known.sum };
        }
        Err(at) => with.insert(at, new),
    }
}
