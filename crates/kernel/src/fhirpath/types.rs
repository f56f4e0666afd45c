//! The type names of FHIR R4 (4.0.1) that FHIRPath expressions and choice elements use.
//!
//! Source: HL7's StructureDefinitions (`profiles-types.json`, `profiles-resources.json`, CC0).

use crate::fhir::definitions;

/// How the JSON of a type is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `true` or `false`
    Boolean,
    /// A number without a fraction.
    Integer,
    /// A number.
    Decimal,
    /// A string.
    Text,
    /// A string: a date or part of one.
    Date,
    /// A string: a date, or a date and a time.
    DateTime,
    /// A string: a time of day.
    Time,
    /// An object.
    Complex,
}

/// A data type of FHIR R4.
#[derive(Debug, PartialEq, Eq)]
pub struct DataType {
    /// As it ends the name of a choice element: `DateTime` of `valueDateTime`.
    suffix: &'static str,
    /// Its name: `dateTime`.
    pub name: &'static str,
    /// What it specialises; "" for the roots.
    base: &'static str,
    /// How its JSON is read.
    pub class: Class,
}

const fn data_type(suffix: &'static str, name: &'static str, base: &'static str, class: Class) -> DataType {
    DataType { suffix, name, base, class }
}

/// Sorted by suffix.
static DATA_TYPES: [DataType; 63] = [
    data_type("Address", "Address", "Element", Class::Complex),
    data_type("Age", "Age", "Quantity", Class::Complex),
    data_type("Annotation", "Annotation", "Element", Class::Complex),
    data_type("Attachment", "Attachment", "Element", Class::Complex),
    data_type("BackboneElement", "BackboneElement", "Element", Class::Complex),
    data_type("Base64Binary", "base64Binary", "Element", Class::Text),
    data_type("Boolean", "boolean", "Element", Class::Boolean),
    data_type("Canonical", "canonical", "uri", Class::Text),
    data_type("Code", "code", "string", Class::Text),
    data_type("CodeableConcept", "CodeableConcept", "Element", Class::Complex),
    data_type("Coding", "Coding", "Element", Class::Complex),
    data_type("ContactDetail", "ContactDetail", "Element", Class::Complex),
    data_type("ContactPoint", "ContactPoint", "Element", Class::Complex),
    data_type("Contributor", "Contributor", "Element", Class::Complex),
    data_type("Count", "Count", "Quantity", Class::Complex),
    data_type("DataRequirement", "DataRequirement", "Element", Class::Complex),
    data_type("Date", "date", "Element", Class::Date),
    data_type("DateTime", "dateTime", "Element", Class::DateTime),
    data_type("Decimal", "decimal", "Element", Class::Decimal),
    data_type("Distance", "Distance", "Quantity", Class::Complex),
    data_type("Dosage", "Dosage", "BackboneElement", Class::Complex),
    data_type("Duration", "Duration", "Quantity", Class::Complex),
    data_type("Element", "Element", "", Class::Complex),
    data_type("ElementDefinition", "ElementDefinition", "BackboneElement", Class::Complex),
    data_type("Expression", "Expression", "Element", Class::Complex),
    data_type("Extension", "Extension", "Element", Class::Complex),
    data_type("HumanName", "HumanName", "Element", Class::Complex),
    data_type("Id", "id", "string", Class::Text),
    data_type("Identifier", "Identifier", "Element", Class::Complex),
    data_type("Instant", "instant", "Element", Class::DateTime),
    data_type("Integer", "integer", "Element", Class::Integer),
    data_type("Integer64", "integer64", "Element", Class::Integer),
    data_type("Markdown", "markdown", "string", Class::Text),
    data_type("MarketingStatus", "MarketingStatus", "BackboneElement", Class::Complex),
    data_type("Meta", "Meta", "Element", Class::Complex),
    data_type("MetadataResource", "MetadataResource", "DomainResource", Class::Text),
    data_type("Money", "Money", "Element", Class::Complex),
    data_type("Narrative", "Narrative", "Element", Class::Complex),
    data_type("Oid", "oid", "uri", Class::Text),
    data_type("ParameterDefinition", "ParameterDefinition", "Element", Class::Complex),
    data_type("Period", "Period", "Element", Class::Complex),
    data_type("Population", "Population", "BackboneElement", Class::Complex),
    data_type("PositiveInt", "positiveInt", "integer", Class::Integer),
    data_type("ProdCharacteristic", "ProdCharacteristic", "BackboneElement", Class::Complex),
    data_type("ProductShelfLife", "ProductShelfLife", "BackboneElement", Class::Complex),
    data_type("Quantity", "Quantity", "Element", Class::Complex),
    data_type("Range", "Range", "Element", Class::Complex),
    data_type("Ratio", "Ratio", "Element", Class::Complex),
    data_type("Reference", "Reference", "Element", Class::Complex),
    data_type("RelatedArtifact", "RelatedArtifact", "Element", Class::Complex),
    data_type("SampledData", "SampledData", "Element", Class::Complex),
    data_type("Signature", "Signature", "Element", Class::Complex),
    data_type("String", "string", "Element", Class::Text),
    data_type("SubstanceAmount", "SubstanceAmount", "BackboneElement", Class::Complex),
    data_type("Time", "time", "Element", Class::Time),
    data_type("Timing", "Timing", "BackboneElement", Class::Complex),
    data_type("TriggerDefinition", "TriggerDefinition", "Element", Class::Complex),
    data_type("UnsignedInt", "unsignedInt", "integer", Class::Integer),
    data_type("Uri", "uri", "Element", Class::Text),
    data_type("Url", "url", "uri", Class::Text),
    data_type("UsageContext", "UsageContext", "Element", Class::Complex),
    data_type("Uuid", "uuid", "uri", Class::Text),
    data_type("Xhtml", "xhtml", "Element", Class::Text),
];

/// A type as an expression names it: `Quantity`, `FHIR.Patient`, `System.String`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TypeName {
    /// A data type of FHIR.
    Data(&'static DataType),
    /// A resource type of FHIR.
    Resource(&'static str),
    /// Any resource: `Resource`, or `DomainResource` (all but Bundle, Binary and Parameters).
    AnyResource {
        /// Whether `DomainResource` was asked for.
        domain: bool,
    },
    /// A type of FHIRPath itself.
    System(Class),
}

impl TypeName {
    /// Reads a type name, with its namespace or without. Without, FHIR's types come first.
    pub fn parse(name: &str) -> Option<TypeName> {
        match name.split_once('.') {
            Some(("FHIR", name)) => Self::fhir(name),
            Some(("System", name)) => Self::system(name),
            Some(_) => None,
            None => Self::fhir(name).or_else(|| Self::system(name)),
        }
    }

    fn fhir(name: &str) -> Option<TypeName> {
        match name {
            "Resource" => Some(TypeName::AnyResource { domain: false }),
            "DomainResource" => Some(TypeName::AnyResource { domain: true }),
            _ => resource_type(name).map(TypeName::Resource).or_else(|| DATA_TYPES.iter().find(|t| t.name == name).map(TypeName::Data)),
        }
    }

    fn system(name: &str) -> Option<TypeName> {
        let class = match name {
            "Boolean" => Class::Boolean,
            "Integer" => Class::Integer,
            "Decimal" => Class::Decimal,
            "String" => Class::Text,
            "Date" => Class::Date,
            "DateTime" => Class::DateTime,
            "Time" => Class::Time,
            _ => return None,
        };
        Some(TypeName::System(class))
    }
}

impl DataType {
    /// Whether this is `other` or a specialisation of it.
    pub fn is_a(&self, other: &DataType) -> bool {
        self.name == other.name || DATA_TYPES.iter().any(|t| t.name == self.base && t.is_a(other))
    }

    /// Whether a choice element of this type ends so.
    pub fn is_suffix(&self, suffix: &str) -> bool {
        self.suffix == suffix
    }

    /// This type and all its specialisations.
    pub fn family(&self) -> Vec<&'static DataType> {
        DATA_TYPES.iter().filter(|t| t.is_a(self)).collect()
    }
}

/// The data type of a choice element's variant from the end of its name: `DateTime` of `valueDateTime`.
pub fn variant_type(suffix: &str) -> Option<&'static DataType> {
    DATA_TYPES.binary_search_by(|t| t.suffix.cmp(suffix)).ok().and_then(|i| DATA_TYPES.get(i))
}

/// The data type of that name.
pub fn data_type_named(name: &str) -> Option<&'static DataType> {
    DATA_TYPES.iter().find(|t| t.name == name)
}

/// The name of a concrete resource type, if it is one.
pub fn resource_type(name: &str) -> Option<&'static str> {
    definitions::resource_type(name).map(|definition| definition.name())
}

/// Whether some resource or data type has an element `name[x]`.
pub fn is_choice(name: &str) -> bool {
    !definitions::choice_variants(name).is_empty()
}
