//! Statistical disclosure control of cells. No I/O.
//!
//! A statistic is a table whose rows come from published code lists ([`Dimension`]), never from the data. What is
//! counted is a [`Raw`] cell, which can be neither printed nor serialised; what is shown is a [`Released`] cell, which
//! only [`release`] makes. Data enter at the start of a calendar period ([`Calendar`]), never when something happens.
//! `docs/disclosure-control.md` says which parts of the method of the design are in place.

mod cell;
mod classify;
mod dimension;
mod epoch;
mod icd10;
mod pseudonym;
#[cfg(test)]
mod tests;

pub use cell::{Method, Raw, Released, Tally, release};
pub use classify::{age_band, icd10_chapter, neoplasm_block, year};
pub use dimension::{Category, Dimension, UNKNOWN};
pub use epoch::{Calendar, Epoch};
pub use pseudonym::{Domain, PSEUDONYM_LENGTH, Pseudonyms};
