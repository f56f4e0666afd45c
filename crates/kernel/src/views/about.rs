//! Whom the rows of a view are about, which decides who may see them.
//!
//! A row belongs to the patient that its resource is about (FHIR's patient compartment, its one main element). A view shows it
//! where a column is the key of exactly that patient. Another patient's key, such as that of a performer, does not tell whose
//! row it is; and a view that leaves the key out holds rows about somebody, nobody knows whom.

use crate::fhir::definitions;

/// Resource types that are about no patient by their nature: they refer to none, in no element (FHIR R4).
const NOBODY: [&str; 27] = [
    "ActivityDefinition",
    "CapabilityStatement",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "Endpoint",
    "EventDefinition",
    "GraphDefinition",
    "HealthcareService",
    "ImplementationGuide",
    "Location",
    "Medication",
    "MedicationKnowledge",
    "MessageDefinition",
    "NamingSystem",
    "ObservationDefinition",
    "OperationDefinition",
    "Organization",
    "OrganizationAffiliation",
    "Practitioner",
    "PractitionerRole",
    "Questionnaire",
    "ResearchStudy",
    "SearchParameter",
    "SpecimenDefinition",
    "StructureDefinition",
    "ValueSet",
];

/// The types whose main element is not called `patient` or `subject`.
const OTHERWISE: [(&str, &str); 3] = [("Coverage", "beneficiary"), ("ResearchSubject", "individual"), ("Task", "for")];

/// Whom the rows of a view are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// No patient, by the nature of the resource type.
    Nobody,
    /// The patient whose key is in the column at this position.
    Patient(usize),
    /// Patients, but no column says which.
    Somebody,
}

/// Whether a resource type is about no patient.
pub(super) fn nobody(resource_type: &str) -> bool {
    NOBODY.contains(&resource_type)
}

/// Whether `path` is the key of the patient that a resource is about. `at_resource`: whether it is evaluated on the resource
/// itself; `%resource` is that everywhere.
pub(super) fn is_subject(resource_type: &str, path: &str, at_resource: bool) -> bool {
    let path: String = path.chars().filter(|c| !c.is_whitespace()).collect();
    let from_resource = path.strip_prefix("%resource.");
    if !at_resource && from_resource.is_none() {
        return false;
    }
    let path = from_resource.unwrap_or(&path);
    let path = path.strip_prefix(resource_type).and_then(|p| p.strip_prefix('.')).unwrap_or(path);
    if resource_type == "Patient" {
        return path == "getResourceKey()";
    }
    main_element(resource_type).is_some_and(|element| path == format!("{element}.getReferenceKey(Patient)"))
}

/// The element that refers to the one patient a resource is about.
fn main_element(resource_type: &str) -> Option<&'static str> {
    if let Some((_, element)) = OTHERWISE.iter().find(|(name, _)| *name == resource_type) {
        return Some(element);
    }
    let definition = definitions::resource_type(resource_type)?;
    let single = |name: &&str| {
        let element = definition.element(name);
        element.is_some_and(|e| !e.repeats && e.variants.iter().all(|(_, of)| *of == "Reference"))
    };
    ["patient", "subject"].into_iter().find(single)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_element_is_the_one_that_says_whose_the_resource_is() {
        for (resource_type, path) in [
            ("Patient", "getResourceKey()"),
            ("Observation", "subject.getReferenceKey(Patient)"),
            ("Observation", " Observation.subject.getReferenceKey( Patient ) "),
            ("Immunization", "patient.getReferenceKey(Patient)"),
            ("ResearchSubject", "individual.getReferenceKey(Patient)"),
            ("Coverage", "beneficiary.getReferenceKey(Patient)"),
        ] {
            assert!(is_subject(resource_type, path, true), "{resource_type}: {path}");
        }
        for (resource_type, path) in [
            ("Patient", "link.other.getReferenceKey(Patient)"),
            ("Observation", "getResourceKey()"),
            ("Observation", "performer.first().getReferenceKey(Patient)"),
            ("Observation", "subject.getReferenceKey()"),
            ("Observation", "focus.first().getReferenceKey(Patient)"),
            ("Account", "subject.first().getReferenceKey(Patient)"), // it can have several
            ("Location", "subject.getReferenceKey(Patient)"),
        ] {
            assert!(!is_subject(resource_type, path, true), "{resource_type}: {path}");
        }
        assert!(!is_subject("Observation", "subject.getReferenceKey(Patient)", false), "inside a forEach it is another element's");
        assert!(is_subject("Observation", "%resource.subject.getReferenceKey(Patient)", false));
    }

    #[test]
    fn the_types_about_nobody_are_types_without_a_patient() {
        for resource_type in NOBODY {
            assert!(definitions::is_resource_type(resource_type), "{resource_type}");
            assert_eq!(main_element(resource_type), None, "{resource_type}");
        }
    }
}
