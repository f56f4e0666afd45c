//! The kernel of Dugnad: everything that decides, nothing that talks to a network.
//!
//! No DataFusion, no async and no HTTP in here. Time and randomness are passed in. `ARCHITECTURE.md` at the root of
//! the project has the map of the rooms below and the invariants that hold between them.

pub mod access;
pub mod audit;
pub mod clock;
pub mod database;
pub mod disclosure;
pub mod disk;
pub mod fhir;
pub mod fhirpath;
mod hash;
pub mod ids;
pub mod journal;
pub mod limits;
pub mod live;
pub mod permit;
pub mod population;
pub mod search;
pub mod subscription;
pub mod terminology;
pub mod ucum;
pub mod views;
