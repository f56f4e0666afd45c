//! Live tables: the rows of ViewDefinitions, kept current with every commit, read as Arrow arrays.
//!
//! A row is visible at commit t iff begin <= t < end.

mod column;
mod grow;
pub mod schema;
mod segment;
mod snapshot;
mod table;

pub use column::LiveCell;
pub use segment::RowHead;
pub use snapshot::{Part, RowFilter, Snapshot, TableSnapshot, Visible};
pub use table::LiveTable;
