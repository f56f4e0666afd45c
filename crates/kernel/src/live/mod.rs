//! Live tables: the rows of ViewDefinitions, kept current with every commit, read as Arrow arrays.
//!
//! A row is visible at commit t iff begin <= t < end. The newest rows of a table are in its [`segment`] in memory, its tail; the
//! others in files ([`file`]), which [`store`] writes, merges and reads again at the next start.

mod change;
mod column;
mod ends;
mod file;
mod grow;
mod log;
mod manifest;
mod merge;
mod persons;
pub mod schema;
mod segment;
mod snapshot;
mod statistics;
pub mod store;
mod table;
mod wire;

pub use change::Change;
pub use column::LiveCell;
pub use file::Damaged;
pub use manifest::Counters;
pub use persons::PersonMap;
pub use segment::RowHead;
pub use snapshot::{Heads, Part, RowFilter, Snapshot, TableSnapshot, Visible};
pub use statistics::Condition;
pub use store::{Cleaning, SegmentFiles, Store, Tuning};
pub use table::{LiveTable, TableInfo};
