//! Cells, before and after disclosure control.

use super::count::Contributor;
use super::keys::{CellId, Seed};
use super::method::{Method, Noise};
use roaring::RoaringBitmap;
use serde::{Serialize, Serializer};
use std::fmt;

/// A cell as it was counted. It implements neither `Debug`, `Display` nor `Serialize`, and has no accessor outside of this
/// module: the only way on is [`release`].
///
/// ```compile_fail
/// println!("{:?}", dugnad_kernel::disclosure::Raw::nobody());
/// ```
/// ```compile_fail
/// println!("{}", dugnad_kernel::disclosure::Raw::nobody().persons);
/// ```
/// ```compile_fail
/// serde_json::to_string(&dugnad_kernel::disclosure::Raw::nobody());
/// ```
pub struct Raw {
    persons: RoaringBitmap,
    rows: u64,
    sum: f64,
    /// The largest contributions to rows and to the sum, the largest first.
    most_rows: Vec<f64>,
    most_sum: Vec<f64>,
    /// Whether a rule about its neighbours hides it.
    hidden: bool,
}

/// A cell as it may be shown. There is no public constructor: [`release`] makes it.
///
/// ```compile_fail
/// let made_up = dugnad_kernel::disclosure::Released { persons: Some(7), rows: None, sum: None };
/// ```
/// ```
/// use dugnad_kernel::disclosure::Released;
/// assert_eq!(Released::default().to_string(), "suppressed");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Released {
    persons: Option<u64>,
    rows: Option<u64>,
    sum: Option<f64>,
}

/// How many of the largest contributions move a sum, and by how much of themselves each (Thompson, Broadfoot and Elazar 2013).
const MAGNITUDES: [f64; 4] = [0.6, 0.4, 0.3, 0.2];

/// The largest contributor may make up so much of a sum.
const DOMINANCE: f64 = 0.5;

/// What is left of a sum without the two largest contributors must be so much of the largest (the p % rule), or the second
/// could tell the first.
const P_PERCENT: f64 = 0.1;

impl Raw {
    /// A cell in which nobody was counted.
    pub fn nobody() -> Self {
        Self { persons: RoaringBitmap::new(), rows: 0, sum: 0.0, most_rows: Vec::new(), most_sum: Vec::new(), hidden: true }
    }

    /// The cell of some contributors, in the order of persons, and of persons of neighbouring cells who count in it.
    pub(super) fn of(contributors: &[Contributor], absorbed: &[Contributor], hidden: bool) -> Self {
        let mut persons: RoaringBitmap = contributors.iter().map(|c| c.person).collect();
        persons.extend(absorbed.iter().map(|c| c.person));
        let all = || contributors.iter().chain(absorbed);
        let largest = |of: &dyn Fn(&Contributor) -> f64| {
            let mut most: Vec<f64> = Vec::new();
            for value in all().map(of) {
                let at = most.partition_point(|m| m.abs() >= value.abs());
                if at < MAGNITUDES.len() {
                    most.insert(at, value);
                    most.truncate(MAGNITUDES.len());
                }
            }
            most
        };
        // In the order of persons, so that a sum has the same bits every time.
        let (rows, sum) = (all().map(|c| u64::from(c.rows)).sum(), all().map(|c| c.sum).sum());
        Self { persons, rows, sum, most_rows: largest(&|c| f64::from(c.rows)), most_sum: largest(&|c| c.sum), hidden }
    }

    /// Who is in it, for the anchor.
    pub(super) fn persons(&self) -> &RoaringBitmap {
        &self.persons
    }

    /// Whether a rule hides it, before any noise.
    #[cfg(test)]
    pub(super) fn hides(&self, method: &Method) -> bool {
        self.hidden || self.persons.len() < u64::from(method.threshold())
    }

    /// Whether the largest contributions make up too much of what is added up.
    fn dominated(total: f64, most: &[f64]) -> bool {
        let [first, second, ..] = most else { return true };
        let (first, second) = (first.abs(), second.abs());
        first > DOMINANCE * total.abs() || total.abs() - first - second < P_PERCENT * first
    }
}

/// Applies disclosure control to a cell.
pub(super) fn release(raw: &Raw, cell: CellId, seed: &Seed, method: &Method) -> Released {
    let persons = raw.persons.len();
    if raw.hidden || persons < u64::from(method.threshold()) {
        return Released::default();
    }
    match method.noise() {
        Noise::Multiple(to) => {
            // A rounded count says little of one person; the sum of values, and many rows of one person, would say much.
            let round = |n: u64| (n + to / 2) / to * to;
            let rows = (!Raw::dominated(raw.rows as f64, &raw.most_rows)).then(|| round(raw.rows));
            Released { persons: Some(round(persons)), rows, sum: None }
        }
        Noise::Table(table) => {
            let draws = seed.draws(cell, seed.cell_key(raw.persons.iter()));
            let noisy = persons.saturating_add_signed(table.noise(persons, draws.noise()));
            if noisy < method.least_shown() {
                return Released::default();
            }
            // Sums move with the number of persons, and by a part of the largest contributions.
            let ratio = noisy as f64 / persons as f64;
            let moved = |total: f64, most: &[f64], from: usize| {
                let by = most.iter().zip(MAGNITUDES).enumerate().map(|(nth, (x, m))| m * draws.direction(from + nth) * x);
                (total + by.sum::<f64>()) * ratio
            };
            let rows = moved(raw.rows as f64, &raw.most_rows, 0).round().max(0.0) as u64;
            let rows = (!Raw::dominated(raw.rows as f64, &raw.most_rows)).then_some(rows.max(noisy));
            let sum = (!Raw::dominated(raw.sum, &raw.most_sum)).then(|| moved(raw.sum, &raw.most_sum, MAGNITUDES.len()));
            Released { persons: Some(noisy), rows, sum }
        }
    }
}

impl Released {
    /// A cell that was released before and has been kept since.
    pub(super) fn kept(persons: Option<u64>, rows: Option<u64>, sum: Option<f64>) -> Self {
        Self { persons, rows, sum }
    }

    /// The number of persons, where it may be shown.
    pub fn persons(&self) -> Option<u64> {
        self.persons
    }

    /// The number of rows, where it may be shown.
    pub fn rows(&self) -> Option<u64> {
        self.rows
    }

    /// The sum of the values, where it may be shown.
    pub fn sum(&self) -> Option<f64> {
        self.sum
    }

    /// The cell with its counts rounded to a multiple of `to`, for feasibility: half goes up. It has no sum.
    pub fn rounded(&self, to: u64) -> Self {
        let round = |n: u64| n.saturating_add(to / 2) / to.max(1) * to.max(1);
        Self { persons: self.persons.map(round), rows: self.rows.map(round), sum: None }
    }
}

impl fmt::Display for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.persons {
            None => f.write_str("suppressed"),
            Some(persons) => persons.fmt(f),
        }
    }
}

impl Serialize for Released {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.persons.serialize(serializer)
    }
}
