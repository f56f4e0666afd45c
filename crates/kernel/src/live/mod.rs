//! Live tables: the rows of ViewDefinitions, kept current with every commit, read as Arrow arrays.
//!
//! A row is visible at commit t iff begin <= t < end. The newest rows of a table are in its [`segment`] in memory, its tail; the
//! others in files ([`file`]), which [`store`] writes, merges and reads again at the next start.

mod change;
mod column;
mod derived;
mod ends;
mod file;
mod files;
mod filter;
mod grow;
mod keeper;
mod log;
mod manifest;
mod marks;
mod merge;
mod persons;
pub mod schema;
mod segment;
mod snapshot;
mod statistics;
pub mod store;
mod table;
mod wire;

pub use change::{Change, ChangedRow};
pub use column::LiveCell;
pub use file::Damaged;
pub use files::SegmentFiles;
pub use filter::{Hidden, RowFilter};
pub use manifest::Counters;
pub use marks::{MAX_HOLDER, Marks};
pub use persons::PersonMap;
pub use segment::RowHead;
pub use snapshot::{Heads, Life, Part, SegmentState, Snapshot, TableSnapshot, Visible};
pub use statistics::Condition;
pub use store::{Cleaning, Store, StoreHealth, Tuning};
pub use table::{LiveTable, TableInfo};
