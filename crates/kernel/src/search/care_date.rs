//! When the care was given that a resource of a patient tells of, as `start` and `end` of `Patient/$everything` ask for it
//! (<http://hl7.org/fhir/R4/operation-patient-everything.html>): "care dates, not record currency dates".
//!
//! The operation's definition leaves it to servers which element that is. Here it is the one that HL7's search parameters have for
//! it: what was done or observed, else what was planned or asked for, else when it was written down.

use super::parameters::parameter;
use super::query::{Comparison, Criterion, Moments, Operand, Prefix, Test};

/// Resource types of a patient's compartment and their search parameter. Others, such as Coverage, are not of a time of care.
const CARE_DATE: &[(&str, &str)] = &[
    ("AdverseEvent", "date"),
    ("AllergyIntolerance", "onset"),
    ("Appointment", "date"),
    ("CarePlan", "date"),
    ("CareTeam", "date"),
    ("ChargeItem", "occurrence"),
    ("Claim", "created"),
    ("ClaimResponse", "created"),
    ("ClinicalImpression", "date"),
    ("Communication", "sent"),
    ("CommunicationRequest", "occurrence"),
    ("Composition", "date"),
    ("Condition", "onset-date"),
    ("DetectedIssue", "identified"),
    ("DeviceRequest", "event-date"),
    ("DiagnosticReport", "date"),
    ("DocumentManifest", "created"),
    ("DocumentReference", "date"),
    ("Encounter", "date"),
    ("EpisodeOfCare", "date"),
    ("ExplanationOfBenefit", "created"),
    ("FamilyMemberHistory", "date"),
    ("Flag", "date"),
    ("Goal", "start-date"),
    ("ImagingStudy", "started"),
    ("Immunization", "date"),
    ("ImmunizationEvaluation", "date"),
    ("ImmunizationRecommendation", "date"),
    ("Invoice", "date"),
    ("List", "date"),
    ("Media", "created"),
    ("MedicationAdministration", "effective-time"),
    ("MedicationDispense", "whenhandedover"),
    ("MedicationRequest", "authoredon"),
    ("MedicationStatement", "effective"),
    ("NutritionOrder", "datetime"),
    ("Observation", "date"),
    ("Procedure", "date"),
    ("QuestionnaireResponse", "authored"),
    ("RequestGroup", "authored"),
    ("RiskAssessment", "date"),
    ("ServiceRequest", "occurrence"),
    ("Specimen", "collected"),
    ("SupplyRequest", "date"),
    ("Task", "period"),
    ("VisionPrescription", "datewritten"),
];

/// What a resource must be so that the care it tells of was given between two dates, each of which may be absent. What has no care
/// date cannot be told to be outside.
pub fn between(resource_type: &str, start: Option<Moments>, end: Option<Moments>) -> Vec<Criterion> {
    let code = CARE_DATE.iter().find(|(name, _)| *name == resource_type).map(|(_, code)| *code);
    let Some(parameter) = code.and_then(|code| parameter(resource_type, code)) else { return Vec::new() };
    let bound = |value: Option<Moments>, prefix: Prefix| {
        let date = Operand::Date(Comparison { prefix, value: value? });
        let is = |test: Test| Criterion::Is { parameter, test };
        Some(Criterion::Either(vec![is(Test::Any(vec![date])), is(Test::Missing(true))]))
    };
    [bound(start, Prefix::GreaterOrEqual), bound(end, Prefix::LessOrEqual)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::compartment;
    use crate::search::parameters::Kind;

    /// Each is a date, and of a type that can be in a patient's compartment.
    #[test]
    fn the_table_is_that_of_the_parameters() {
        for (resource_type, code) in CARE_DATE {
            let found = parameter(resource_type, code);
            assert!(found.is_some_and(|p| p.kind == Kind::Date), "{resource_type}.{code}");
            assert!(compartment::types().any(|name| name == *resource_type), "{resource_type}");
        }
        let day = Moments::parse("2026-01-01");
        assert_eq!([between("Observation", day, day).len(), between("Observation", None, day).len()], [2, 1]);
        assert!(between("Coverage", day, day).is_empty() && between("Observation", None, None).is_empty());
    }
}
