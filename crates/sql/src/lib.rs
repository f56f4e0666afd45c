//! The SQL that a permit answers, as text and as a plan: which dialect, which statements, which functions, how it is planned,
//! and how its errors are put. Nothing here knows permits or live tables: a catalogue is passed in.
//!
//! A crate of its own because of what it costs to build: the visitors of the syntax tree and DataFusion's planner are generic
//! or asynchronous, so that they are compiled anew in every crate that calls them. Every such call stands in here.

pub mod again;
mod aggregate;
pub mod bind;
mod days;
mod dialect;
pub mod engine;
mod error;
mod expansion;
pub mod first;
pub mod functions;
pub mod guard;
mod labels;
pub mod limits;
pub mod numbers;
mod parallel;
mod truncate;
mod zone;

pub use engine::Engine;
pub use error::QueryError;
pub use labels::with_labels;
pub use zone::Zone;

/// The name of the one catalog.
pub const CATALOG: &str = "dugnad";
/// The name of the schema that holds the permit's tables.
pub const SCHEMA: &str = "public";
/// The name of the schema that describes them.
pub const INFORMATION_SCHEMA: &str = "information_schema";
