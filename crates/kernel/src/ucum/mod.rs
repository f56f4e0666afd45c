//! Units of UCUM: what a code means in base units, so that quantities of different units can be compared.
//!
//! The codes are the case-sensitive ones (`c/s`) that FHIR uses. The units are those of `data/ucum.tsv`; a code that has another one in
//! it has no canonical form here, and is compared as the text that it is. What the units of the table cannot say (molar masses,
//! international units of different substances) is not guessed.

mod parse;

#[cfg(test)]
mod tests;

use crate::hash::HashMap;
use crate::limits::{MAX_UNIT_LENGTH, MAX_UNITS_KEPT};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// The URL of UCUM as a code system.
pub const SYSTEM: &str = "http://unitsofmeasure.org";

/// What a unit is in base units: `value * factor + zero`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    factor: f64,
    zero: f64,
    dimension: Dimension,
}

/// Codes as they were understood.
type Known = HashMap<Box<str>, Option<Arc<Unit>>>;

/// Powers of base units and of units that can be compared with themselves only. None: a plain number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dimension(BTreeMap<&'static str, i32>);

impl Unit {
    /// The unit of a code, such as `mg/dL`; `None` if it is not understood.
    pub fn parse(code: &str) -> Option<Arc<Unit>> {
        // Codes repeat: each is understood once. Strangers send codes too, so that there is a bound.
        static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);
        if code.len() > MAX_UNIT_LENGTH {
            return None;
        }
        if let Some(known) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(code) {
            return known.clone();
        }
        let unit = parse::unit(code).map(Arc::new);
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_UNITS_KEPT {
            known.insert(code.into(), unit.clone());
        }
        unit
    }

    /// What it is of: quantities can be compared if this is the same.
    pub fn dimension(&self) -> &Dimension {
        &self.dimension
    }

    /// A value in base units. The last digits of the binary number are those of the computation: see [`is_near`].
    pub fn canonical(&self, value: f64) -> f64 {
        value * self.factor + self.zero
    }
}

/// Whether two numbers are the same but for the rounding of what they were computed with: to 12 digits, of the 16 that a double has.
pub fn is_near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// A unit that is no unit: 1.
fn one() -> Unit {
    Unit { factor: 1.0, zero: 0.0, dimension: Dimension::default() }
}
