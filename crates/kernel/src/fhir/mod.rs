//! HL7 FHIR R4: JSON, structure definitions, validation, bundles, references.

pub mod binding;
pub mod bundle;
pub mod criteria;
pub mod definitions;
pub mod invariant;
pub mod issue;
pub mod json;
mod narrative;
pub mod patch;
mod path;
pub mod primitive;
pub mod reference;
pub mod subset;
pub mod validate;

#[cfg(test)]
pub(crate) mod testdata;
