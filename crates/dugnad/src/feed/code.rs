//! Codes that the feed writes.

use serde_json::{Value, json};

/// ICD-10, the Norwegian edition.
pub const ICD10: &str = "urn:oid:2.16.578.1.12.4.1.1.7110";
/// Anatomical Therapeutic Chemical classification.
pub const ATC: &str = "http://www.whocc.no/atc";
/// NCSP: surgical procedures, the Norwegian edition.
pub const NCSP: &str = "urn:oid:2.16.578.1.12.4.1.1.7210";
/// NLK: the Norwegian laboratory code list, which holds the NPU codes.
pub const NLK: &str = "urn:oid:2.16.578.1.12.4.1.1.7280";
/// LOINC.
pub const LOINC: &str = "http://loinc.org";
/// SNOMED CT.
pub const SNOMED: &str = "http://snomed.info/sct";
/// ICD-O-3 morphology.
pub const ICDO3: &str = "http://terminology.hl7.org/CodeSystem/icd-o-3";
/// AJCC staging categories, as mCODE codes them.
pub const AJCC: &str = "http://cancerstaging.org";
/// Units of measure.
pub const UCUM: &str = "http://unitsofmeasure.org";
/// Fødselsnummer.
pub const NATIONAL_ID: &str = "urn:oid:2.16.578.1.12.4.1.4.1";
/// Organisation number in Enhetsregisteret.
pub const ORGANISATION_NUMBER: &str = "urn:oid:2.16.578.1.12.4.1.4.101";

/// A code with its system and display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code system's URI.
    pub system: &'static str,
    /// The code.
    pub code: &'static str,
    /// What the code system calls it.
    pub display: &'static str,
}

impl Code {
    /// A Coding.
    pub fn coding(&self) -> Value {
        json!({"system": self.system, "code": self.code, "display": self.display})
    }

    /// A CodeableConcept of one Coding.
    pub fn concept(&self) -> Value {
        json!({"coding": [self.coding()]})
    }
}

pub(super) const fn icd10(code: &'static str, display: &'static str) -> Code {
    Code { system: ICD10, code, display }
}

pub(super) const fn atc(code: &'static str, display: &'static str) -> Code {
    Code { system: ATC, code, display }
}

pub(super) const fn ncsp(code: &'static str, display: &'static str) -> Code {
    Code { system: NCSP, code, display }
}

pub(super) const fn nlk(code: &'static str, display: &'static str) -> Code {
    Code { system: NLK, code, display }
}

pub(super) const fn loinc(code: &'static str, display: &'static str) -> Code {
    Code { system: LOINC, code, display }
}

pub(super) const fn snomed(code: &'static str, display: &'static str) -> Code {
    Code { system: SNOMED, code, display }
}

pub(super) const fn icdo3(code: &'static str, display: &'static str) -> Code {
    Code { system: ICDO3, code, display }
}
