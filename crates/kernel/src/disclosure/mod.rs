//! Statistical disclosure control. No I/O.
//!
//! A statistic is a table of cells whose rows come from published hierarchies of codes ([`Hierarchy`]), never from the data. What
//! is counted ([`Facts`]) becomes [`Raw`] cells, which can be neither printed nor serialised; what is shown is a [`Released`] cell,
//! which only [`Asked::release`] makes: by the rules about neighbours (`protect`), by noise or rounding ([`Method`]), and by
//! anchors ([`Anchors`]). Data enter at the start of a calendar period ([`Calendars`]), never when something happens. How often
//! somebody may ask is the [`Ledger`]'s. `docs/disclosure-control.md` explains the method.

mod anchor;
mod cell;
mod cohort;
mod count;
mod derived;
mod epoch;
mod facts;
mod hierarchy;
mod keys;
mod ledger;
mod lists;
mod method;
mod perturbation;
mod protect;
mod pseudonym;
mod statistic;
mod table;
#[cfg(test)]
mod tests;

pub use anchor::{Anchors, DamagedAnchors};
pub use cell::{Raw, Released};
pub use cohort::{Cohort, CohortDecision, CohortError, check_distances};
pub use count::{Shape, ShapeError};
pub use derived::{Band, Step, mean, quantile, rate, survival};
pub use epoch::{Calendars, Epoch, Period};
pub use facts::{Facts, FactsBuilder};
pub use hierarchy::{Category, CodeDocument, Hierarchy, HierarchyDocument, HierarchyError, Level, LevelDocument, Node, UNKNOWN, is_name};
pub use keys::Seed;
pub use ledger::{Exhausted, Ledger, Spending};
pub use lists::{band, carried, inhabitants, provider, time};
pub use method::{Method, MethodDocument, MethodError};
pub use perturbation::{NoSuchPerturbation, Perturbation, PerturbationTable};
pub use pseudonym::{Domain, PSEUDONYM_LENGTH, Pseudonyms};
pub use statistic::{Holds, Reading, Statistic, StatisticError, Survival, Value, carried_statistics};
pub use table::{Asked, Cells, RecallError, ReleasedTable};
