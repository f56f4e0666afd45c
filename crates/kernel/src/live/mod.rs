//! Live tables: the rows of ViewDefinitions, kept current with every commit, read as Arrow arrays.
//!
//! A row is visible at commit t iff begin <= t < end.

pub mod schema;
mod snapshot;

pub use snapshot::{Part, RowFilter, Snapshot, TableSnapshot};
