//! The CapabilityStatement: what of FHIR R4 is spoken here, made from the routes that exist.

use super::routes::Route;
use serde_json::{Value, json};
use std::sync::OnceLock;

/// The concrete resource types of R4 (HL7's profiles-resources, CC0), for the statement only: what is accepted is decided by
/// the definitions of the kernel.
const TYPES: &str = "Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent Basic Binary \
    BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam CatalogEntry ChargeItem ChargeItemDefinition \
    Claim ClaimResponse ClinicalImpression CodeSystem Communication CommunicationRequest CompartmentDefinition Composition ConceptMap \
    Condition Consent Contract Coverage CoverageEligibilityRequest CoverageEligibilityResponse DetectedIssue Device DeviceDefinition \
    DeviceMetric DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference EffectEvidenceSynthesis \
    Encounter Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare EventDefinition Evidence EvidenceVariable ExampleScenario \
    ExplanationOfBenefit FamilyMemberHistory Flag Goal GraphDefinition Group GuidanceResponse HealthcareService ImagingStudy \
    Immunization ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide InsurancePlan Invoice Library Linkage List \
    Location Measure MeasureReport Media Medication MedicationAdministration MedicationDispense MedicationKnowledge MedicationRequest \
    MedicationStatement MedicinalProduct MedicinalProductAuthorization MedicinalProductContraindication MedicinalProductIndication \
    MedicinalProductIngredient MedicinalProductInteraction MedicinalProductManufactured MedicinalProductPackaged \
    MedicinalProductPharmaceutical MedicinalProductUndesirableEffect MessageDefinition MessageHeader MolecularSequence NamingSystem \
    NutritionOrder Observation ObservationDefinition OperationDefinition OperationOutcome Organization OrganizationAffiliation \
    Parameters Patient PaymentNotice PaymentReconciliation Person PlanDefinition Practitioner PractitionerRole Procedure Provenance \
    Questionnaire QuestionnaireResponse RelatedPerson RequestGroup ResearchDefinition ResearchElementDefinition ResearchStudy \
    ResearchSubject RiskAssessment RiskEvidenceSynthesis Schedule SearchParameter ServiceRequest Slot Specimen SpecimenDefinition \
    StructureDefinition StructureMap Subscription SubscriptionStatus Substance SubstanceNucleicAcid SubstancePolymer SubstanceProtein \
    SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification SupplyDelivery SupplyRequest Task \
    TerminologyCapabilities TestReport TestScript ValueSet VerificationResult VisionPrescription";

/// The statement.
pub fn statement() -> &'static Value {
    static STATEMENT: OnceLock<Value> = OnceLock::new();
    STATEMENT.get_or_init(|| build(super::api_routes().all()))
}

fn build(routes: &[Route]) -> Value {
    let has = |code: &str| routes.iter().any(|r| r.doc.interactions.contains(&code));
    let of = |codes: &[&'static str]| -> Vec<Value> { codes.iter().filter(|c| has(c)).map(|c| json!({"code": c})).collect() };
    let on_type = of(&["read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"]);
    let resources: Vec<Value> = TYPES
        .split_whitespace()
        .map(|name| {
            json!({
                "type": name,
                "interaction": on_type,
                "versioning": "versioned",
                "readHistory": has("vread"),
                "updateCreate": has("update"),
                "conditionalCreate": has("create"),
                "conditionalRead": "not-match",
                "conditionalUpdate": has("conditional-update"),
                "conditionalDelete": if has("conditional-delete") { "single" } else { "not-supported" },
            })
        })
        .collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json"],
        "software": {"name": "Dugnad", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": "A live FHIR database of a national centre for clinical studies"},
        "rest": [{
            "mode": "server",
            "documentation": "A health data holder sees what it wrote itself. Search comes with a later release; until then, rows are read with POST /sql under a permit.",
            "security": {
                "description": "Bearer tokens (RFC 6750), issued by the centre.",
                "cors": false,
            },
            "resource": resources,
            "interaction": of(&["transaction", "batch", "search-system", "history-system"]),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_promises_only_what_there_is() {
        let statement = statement();
        let codes: Vec<&str> = statement["rest"][0]["resource"][0]["interaction"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|i| i["code"].as_str())
            .collect();
        assert_eq!(codes, ["read", "vread", "update", "delete", "history-instance", "create"]);
        assert_eq!(statement["rest"][0]["resource"].as_array().map(Vec::len), Some(TYPES.split_whitespace().count()));
        assert!(!statement.to_string().contains("search-type"));
    }

    #[test]
    fn every_type_is_one_that_the_kernel_takes() {
        for name in TYPES.split_whitespace() {
            assert!(dugnad_kernel::fhir::definitions::is_resource_type(name), "{name}");
        }
    }
}
