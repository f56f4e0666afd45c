//! FHIR R4 search: what can be asked of resources, and which resources answer it.
//!
//! [`parameters`] has HL7's search parameters as a table, [`added`] those that a centre adds. A search is a [`query::Search`]: values parsed, parameters looked up.
//! [`values`] are what a resource has for each parameter. [`parse`] reads one from a query string; [`compartment`] has whose
//! resources are a patient's, [`include`] what comes along with matches.

pub mod added;
pub mod care_date;
pub mod compartment;
mod concepts;
pub mod conditions;
pub mod execute;
pub mod fold;
pub mod include;
pub mod index;
pub mod matches;
pub mod parameters;
pub mod parse;
pub mod query;
pub mod ranges;
pub mod values;
