//! Cells of a statistics table, before and after disclosure control.

use crate::ids::PatientOrdinal;
use roaring::RoaringBitmap;
use serde::{Serialize, Serializer};
use std::fmt;

/// The number of persons in a cell as it was counted. It implements neither `Debug`, `Display` nor `Serialize`, and has
/// no accessor outside this module: the only way on is [`release`].
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
    persons: u64,
}

/// How cells are released. One method per database, never per permit or user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    threshold: u64,
}

/// A cell as it may be shown. There is no public constructor: [`release`] makes it.
///
/// ```compile_fail
/// let made_up = dugnad_kernel::disclosure::Released(7);
/// ```
/// ```
/// use dugnad_kernel::disclosure::{Method, Raw, release};
/// assert_eq!(release(Raw::nobody(), &Method::default()).to_string(), "< 5");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Released(Shown);

/// In order of what is known of the number, so that sorting released cells reveals nothing more than they show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    Below(u64),
    Persons(u64),
}

/// The persons of each category of one dimension.
pub struct Tally {
    categories: Vec<RoaringBitmap>,
}

impl Tally {
    /// An empty tally of `categories` categories.
    pub fn new(categories: usize) -> Self {
        Self { categories: vec![RoaringBitmap::new(); categories] }
    }

    /// Counts a person in a category; again is the same as once. A category that is not in the list is counted nowhere.
    pub fn add(&mut self, category: usize, patient: PatientOrdinal) {
        if let Some(persons) = self.categories.get_mut(category) {
            persons.insert(patient.0);
        }
    }

    /// The counted cells, in the order of the categories.
    pub fn into_raw(self) -> Vec<Raw> {
        self.categories.into_iter().map(|persons| Raw { persons: persons.len() }).collect()
    }
}

impl Raw {
    /// A cell in which nobody was counted.
    pub const fn nobody() -> Self {
        Self { persons: 0 }
    }
}

impl Method {
    /// 0 and 1..`threshold`-1 persons look the same. A threshold below 2 would hide nothing; it becomes 2.
    pub const fn threshold(threshold: u64) -> Self {
        Self { threshold: if threshold < 2 { 2 } else { threshold } }
    }
}

impl Default for Method {
    /// `< 5`: the threshold that Norwegian health registers publish with.
    fn default() -> Self {
        Self::threshold(5)
    }
}

/// Applies disclosure control to a cell.
pub fn release(raw: Raw, method: &Method) -> Released {
    Released(if raw.persons < method.threshold { Shown::Below(method.threshold) } else { Shown::Persons(raw.persons) })
}

impl Released {
    /// The number of persons, where it may be shown.
    pub fn persons(&self) -> Option<u64> {
        match self.0 {
            Shown::Below(_) => None,
            Shown::Persons(persons) => Some(persons),
        }
    }

    /// The cell with its number rounded to a multiple of `to`, for feasibility: half goes up.
    pub fn rounded(&self, to: u64) -> Self {
        match self.0 {
            Shown::Below(_) => *self,
            Shown::Persons(persons) => Self(Shown::Persons(persons.saturating_add(to / 2) / to.max(1) * to.max(1))),
        }
    }
}

impl fmt::Display for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Shown::Below(threshold) => write!(f, "< {threshold}"),
            Shown::Persons(persons) => persons.fmt(f),
        }
    }
}

impl Serialize for Released {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
