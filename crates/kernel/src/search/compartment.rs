//! The Patient compartment: whose resources are a patient's (<http://hl7.org/fhir/R4/compartmentdefinition-patient.html>, HL7, CC0).

use super::parameters::{Parameter, parameter};
use super::query::{Criterion, Operand, Reference, Resources, System, Test, Token};
use super::values::references_of;
use crate::fhir::json::Value;
use std::sync::Arc;

/// Resource types and the parameters of which one must refer to the Patient; HL7's CompartmentDefinition `patient`, 4.0.1.
const PATIENT: &[(&str, &[&str])] = &[
    ("Account", &["subject"]),
    ("AdverseEvent", &["subject"]),
    ("AllergyIntolerance", &["patient", "recorder", "asserter"]),
    ("Appointment", &["actor"]),
    ("AppointmentResponse", &["actor"]),
    ("AuditEvent", &["patient"]),
    ("Basic", &["patient", "author"]),
    ("BodyStructure", &["patient"]),
    ("CarePlan", &["patient", "performer"]),
    ("CareTeam", &["patient", "participant"]),
    ("ChargeItem", &["subject"]),
    ("Claim", &["patient", "payee"]),
    ("ClaimResponse", &["patient"]),
    ("ClinicalImpression", &["subject"]),
    ("Communication", &["subject", "sender", "recipient"]),
    ("CommunicationRequest", &["subject", "sender", "recipient", "requester"]),
    ("Composition", &["subject", "author", "attester"]),
    ("Condition", &["patient", "asserter"]),
    ("Consent", &["patient"]),
    ("Coverage", &["policy-holder", "subscriber", "beneficiary", "payor"]),
    ("CoverageEligibilityRequest", &["patient"]),
    ("CoverageEligibilityResponse", &["patient"]),
    ("DetectedIssue", &["patient"]),
    ("DeviceRequest", &["subject", "performer"]),
    ("DeviceUseStatement", &["subject"]),
    ("DiagnosticReport", &["subject"]),
    ("DocumentManifest", &["subject", "author", "recipient"]),
    ("DocumentReference", &["subject", "author"]),
    ("Encounter", &["subject"]),
    ("EnrollmentRequest", &["subject"]),
    ("EpisodeOfCare", &["patient"]),
    ("ExplanationOfBenefit", &["patient", "payee"]),
    ("FamilyMemberHistory", &["patient"]),
    ("Flag", &["patient"]),
    ("Goal", &["patient"]),
    ("Group", &["member"]),
    ("ImagingStudy", &["patient"]),
    ("Immunization", &["patient"]),
    ("ImmunizationEvaluation", &["patient"]),
    ("ImmunizationRecommendation", &["patient"]),
    ("Invoice", &["subject", "patient", "recipient"]),
    ("List", &["subject", "source"]),
    ("MeasureReport", &["patient"]),
    ("Media", &["subject"]),
    ("MedicationAdministration", &["patient", "performer", "subject"]),
    ("MedicationDispense", &["subject", "patient", "receiver"]),
    ("MedicationRequest", &["subject"]),
    ("MedicationStatement", &["subject"]),
    ("MolecularSequence", &["patient"]),
    ("NutritionOrder", &["patient"]),
    ("Observation", &["subject", "performer"]),
    ("Patient", &["link"]),
    ("Person", &["patient"]),
    ("Procedure", &["patient", "performer"]),
    ("Provenance", &["patient"]),
    ("QuestionnaireResponse", &["subject", "author"]),
    ("RelatedPerson", &["patient"]),
    ("RequestGroup", &["subject", "participant"]),
    ("ResearchSubject", &["individual"]),
    ("RiskAssessment", &["subject"]),
    ("Schedule", &["actor"]),
    ("ServiceRequest", &["subject", "performer"]),
    ("Specimen", &["subject"]),
    ("SupplyDelivery", &["patient"]),
    ("SupplyRequest", &["subject"]),
    ("Task", &["patient", "focus"]),
    ("VisionPrescription", &["patient"]),
];

/// The resource types that can be in a patient's compartment.
pub fn types() -> impl Iterator<Item = &'static str> {
    PATIENT.iter().map(|(resource_type, _)| *resource_type)
}

/// What a resource must be to be in the compartment of a Patient; `None` for types that never are. A Patient is in their own.
pub fn of_patient(resource_type: &str, id: &str) -> Option<Criterion> {
    inside(resource_type, Operand::Reference(Reference::Resource { resource_type: "Patient", id: id.to_owned() }), [id].into_iter())
}

/// What a resource must be to be in the compartment of one of these Patients.
pub fn of_patients(resource_type: &str, patients: &Arc<Resources>) -> Option<Criterion> {
    inside(resource_type, Operand::Resources(Arc::clone(patients)), patients.ids())
}

fn inside<'i>(resource_type: &str, reference: Operand, ids: impl Iterator<Item = &'i str>) -> Option<Criterion> {
    let (_, codes) = PATIENT.iter().find(|(name, _)| *name == resource_type)?;
    let is = |code: &str, operands: Vec<Operand>| {
        let parameter = parameter(resource_type, code)?;
        Some(Criterion::Is { parameter, test: Test::Any(operands) })
    };
    let mut one_of: Vec<Criterion> = codes.iter().filter_map(|code| is(code, vec![reference.clone()])).collect();
    if resource_type == "Patient" {
        let token = |id: &str| Operand::Token(Token { system: System::Any, code: Some(id.to_owned()) });
        one_of.extend(is("_id", ids.map(token).collect()));
    }
    Some(if one_of.len() == 1 { one_of.remove(0) } else { Criterion::Either(one_of) })
}

/// Whether a resource is in the compartment of any Patient of its holder.
pub fn has_patient(resource: Value<'_>) -> bool {
    is_of(resource, |_| true)
}

/// Whether it is in the compartment of one of these Patients.
pub fn has_one_of(resource: Value<'_>, patients: &Resources) -> bool {
    is_of(resource, |id| patients.contains("Patient", id))
}

fn is_of(resource: Value<'_>, wanted: impl Fn(&str) -> bool) -> bool {
    let resource_type = resource.str("resourceType").unwrap_or_default();
    let Some((_, codes)) = PATIENT.iter().find(|(name, _)| *name == resource_type) else { return false };
    if resource_type == "Patient" && resource.str("id").is_some_and(&wanted) {
        return true;
    }
    let parameters: Vec<&Parameter> = codes.iter().filter_map(|code| parameter(resource_type, code)).collect();
    references_of(&parameters, resource).iter().any(|(target, id)| target == "Patient" && wanted(id))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::search::parameters::Kind;

    /// Each parameter is there, and can refer to a Patient.
    #[test]
    fn the_table_is_that_of_the_parameters() {
        for (resource_type, codes) in PATIENT {
            for code in *codes {
                let parameter = parameter(resource_type, code);
                assert!(parameter.is_some_and(|p| p.kind == Kind::Reference && p.targets.contains(&"Patient")), "{resource_type}.{code}");
            }
        }
        assert!(types().count() > 60 && of_patient("Practitioner", "1").is_none());
    }

    #[test]
    fn a_resource_has_a_patient_if_one_of_its_parameters_names_one() {
        let has = |json: &str| has_patient(crate::fhir::json::parse(json.as_bytes(), &bumpalo::Bump::new()).unwrap());
        assert!(has(r#"{"resourceType":"Patient","id":"1"}"#));
        assert!(has(r#"{"resourceType":"Observation","performer":[{"reference":"Patient/1"}]}"#));
        for json in [
            r#"{"resourceType":"Observation","subject":{"reference":"Group/1"},"focus":[{"reference":"Patient/1"}]}"#,
            r#"{"resourceType":"Observation","subject":{"reference":"https://other.example/Patient/1"}}"#,
            r#"{"resourceType":"Organization","id":"1"}"#,
        ] {
            assert!(!has(json), "{json}");
        }
    }

    #[test]
    fn one_parameter_of_several_is_enough() {
        assert!(matches!(of_patient("Observation", "1"), Some(Criterion::Either(of)) if of.len() == 2));
        assert!(matches!(of_patient("Encounter", "1"), Some(Criterion::Is { .. })));
        assert!(matches!(of_patient("Patient", "1"), Some(Criterion::Either(of)) if of.len() == 2));
    }

    #[test]
    fn a_group_has_what_one_of_its_members_has() {
        let mut members = Resources::default();
        members.insert("Patient", "1");
        let has = |json: &str| has_one_of(crate::fhir::json::parse(json.as_bytes(), &bumpalo::Bump::new()).unwrap(), &members);
        assert!(has(r#"{"resourceType":"Patient","id":"1"}"#));
        assert!(has(r#"{"resourceType":"Observation","subject":{"reference":"Patient/2"},"performer":[{"reference":"Patient/1"}]}"#));
        assert!(!has(r#"{"resourceType":"Patient","id":"2"}"#) && !has(r#"{"resourceType":"Organization","id":"1"}"#));
        assert!(!has(r#"{"resourceType":"Observation","subject":{"reference":"Patient/2"}}"#));
    }
}
