//! HL7's R4 structure definitions, reduced to a table.
// The table `data/fhir-r4.tsv` is made from HL7's CC0 files by `examples/reduce_definitions.rs`.

/// Whether `name` is a concrete resource type of R4.
pub fn is_resource_type(_name: &str) -> bool {
    todo!()
}

/// The name of a resource type, as the definitions hold it for ever.
pub fn resource_type(_name: &str) -> Option<&'static str> {
    todo!()
}
