//! FHIR R4 search: what can be asked of resources, and which resources answer it.
//!
//! [`parameters`] has HL7's search parameters as a table. A search is a [`query::Search`]: values parsed, parameters looked up.

pub mod compartment;
pub mod parameters;
pub mod parse;
pub mod query;
