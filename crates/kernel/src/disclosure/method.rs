//! Which method of disclosure control a database has: one, for all of it.

use super::perturbation::{NoSuchPerturbation, Perturbation, PerturbationTable};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The method of a database, as its configuration says it. All of it is public.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum MethodDocument {
    /// Random noise that follows from the persons in the cell and from the cell.
    CellKey {
        /// No cell of fewer persons is ever shown.
        #[serde(default = "default_threshold")]
        threshold: u32,
        /// By how many persons a cell must differ from those one step coarser, and from its anchor before it moves.
        #[serde(default = "default_difference")]
        difference: u32,
        /// The largest noise, in persons.
        #[serde(default = "default_bound")]
        bound: u32,
        /// The variance of the noise, in persons squared.
        #[serde(default = "default_variance")]
        variance: f64,
        /// By how many persons more than `difference`, at most, a cell may differ from its anchor before it moves: a number up to it
        /// is drawn for each anchor.
        #[serde(default = "default_patience")]
        patience: u32,
    },
    /// What OpenSAFELY asks of its users: counts of few are redacted, all others rounded.
    Rounding {
        /// Counts up to this are redacted.
        #[serde(default = "default_redact")]
        redact: u32,
        /// To a multiple of which counts are rounded.
        #[serde(default = "default_rounding")]
        to: u32,
        /// As in the other method.
        #[serde(default = "default_difference")]
        difference: u32,
    },
}

fn default_threshold() -> u32 {
    5
}
fn default_difference() -> u32 {
    10
}
fn default_bound() -> u32 {
    15
}
fn default_variance() -> f64 {
    60.0
}
fn default_patience() -> u32 {
    100
}
fn default_redact() -> u32 {
    7
}
fn default_rounding() -> u32 {
    5
}

impl Default for MethodDocument {
    fn default() -> Self {
        Self::CellKey {
            threshold: default_threshold(),
            difference: default_difference(),
            bound: default_bound(),
            variance: default_variance(),
            patience: default_patience(),
        }
    }
}

/// In one line: `method=cell_key; threshold=5; ...`.
impl fmt::Display for MethodDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CellKey { threshold, difference, bound, variance, patience } => write!(
                f,
                "method=cell_key; threshold={threshold}; difference={difference}; bound={bound}; variance={variance}; patience={patience}"
            ),
            Self::Rounding { redact, to, difference } => {
                write!(f, "method=rounding; redact={redact}; to={to}; difference={difference}")
            }
        }
    }
}

/// A method that has been checked.
#[derive(Clone, Debug)]
pub struct Method {
    document: MethodDocument,
    noise: Noise,
}

#[derive(Clone, Debug)]
pub(super) enum Noise {
    Table(PerturbationTable),
    Multiple(u64),
}

/// Why a method cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MethodError {
    /// A threshold or difference that protects nobody.
    #[error("{0} must be at least {1}: less would hide nothing")]
    Low(&'static str, u32),
    /// The noise does not exist.
    #[error(transparent)]
    Noise(#[from] NoSuchPerturbation),
}

impl Method {
    /// Checks a method.
    pub fn new(document: MethodDocument) -> Result<Self, MethodError> {
        let least = |name, value: u32, least| if value < least { Err(MethodError::Low(name, least)) } else { Ok(()) };
        let noise = match document {
            MethodDocument::CellKey { threshold, difference, bound, variance, .. } => {
                least("threshold", threshold, 2)?;
                least("difference", difference, 2)?;
                Noise::Table(PerturbationTable::new(&Perturbation { bound, variance })?)
            }
            MethodDocument::Rounding { redact, to, difference } => {
                least("redact", redact, 1)?;
                least("to", to, 2)?;
                least("difference", difference, 2)?;
                Noise::Multiple(u64::from(to))
            }
        };
        Ok(Self { document, noise })
    }

    /// What it is, in public.
    pub fn document(&self) -> &MethodDocument {
        &self.document
    }

    pub(super) fn noise(&self) -> &Noise {
        &self.noise
    }

    /// No cell of fewer persons is shown.
    pub fn threshold(&self) -> u32 {
        match self.document {
            MethodDocument::CellKey { threshold, .. } => threshold,
            MethodDocument::Rounding { redact, .. } => redact + 1,
        }
    }

    /// By how many persons cells must differ.
    pub fn difference(&self) -> u32 {
        match self.document {
            MethodDocument::CellKey { difference, .. } | MethodDocument::Rounding { difference, .. } => difference,
        }
    }

    /// A limit that nobody knows: at least [`Method::difference`], and more by as much as the largest noise and a noise of `draw`
    /// (from 0 up to but not including 1). That one person passes it tells no more than one cell's noise lets through. With
    /// rounding there is no noise, and it is the difference.
    pub(super) fn limit(&self, draw: impl FnOnce() -> f64) -> u32 {
        match &self.noise {
            Noise::Table(table) => self.difference().saturating_add_signed((table.bound() as i64 + table.noise(u64::MAX, draw())) as i32),
            Noise::Multiple(_) => self.difference(),
        }
    }

    /// By how many persons a cell must differ from its anchor before that moves, which nobody knows: at least [`Method::difference`], and
    /// more by up to the patience, as `draw` (from 0 up to but not including 1) says. With rounding it is the difference.
    pub(super) fn patience(&self, draw: impl FnOnce() -> f64) -> u32 {
        match self.document {
            MethodDocument::CellKey { difference, patience, .. } => difference + (draw() * f64::from(patience + 1)) as u32,
            MethodDocument::Rounding { difference, .. } => difference,
        }
    }

    /// The largest that [`Method::limit`] can be.
    pub(super) fn most_limit(&self) -> u32 {
        self.difference().saturating_add(self.perturbation().map_or(0, |table| 2 * table.bound() as u32))
    }

    /// The least number that is ever shown. Under noise, a cell shows when its *noisy* count is the threshold (or the difference, if
    /// that is more: fewer have no anchor) and the largest noise at least: so no cell below can, and that a cell shows tells no more
    /// than its value would.
    pub fn least_shown(&self) -> u64 {
        match &self.noise {
            Noise::Table(table) => u64::from(self.threshold().max(self.difference())) + table.bound(),
            Noise::Multiple(to) => u64::from(self.threshold()).div_ceil(*to) * to,
        }
    }

    /// The perturbation table, where there is one.
    pub fn perturbation(&self) -> Option<&PerturbationTable> {
        match &self.noise {
            Noise::Table(table) => Some(table),
            Noise::Multiple(_) => None,
        }
    }
}

#[expect(clippy::expect_used, reason = "the default is a constant, and a test makes it")]
impl Default for Method {
    fn default() -> Self {
        Self::new(MethodDocument::default()).expect("the default method is one")
    }
}
