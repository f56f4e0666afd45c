#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn all_of_the_table_is_understood() {
    let lines = include_str!("../../../data/fhir-r4.tsv").lines();
    let names: Vec<&str> = lines.clone().filter_map(|line| line.strip_prefix(":\t")?.split('\t').next()).collect();
    for name in &names {
        assert!(type_definition(name).is_some() || Primitive::from_name(name).is_some(), "{name}");
    }
    for of in lines.filter(|line| !line.starts_with(['#', ':', '!'])).flat_map(|line| line.split('\t').nth(3).unwrap().split(' ')) {
        assert!(type_definition(of).is_some() || Primitive::from_name(of).is_some(), "{of}");
    }
    assert_eq!(resource_types().count(), 147);
}

#[test]
fn every_property_is_found_and_elements_fit_into_the_bits() {
    for of in &DEFINITIONS.types {
        assert!(of.elements().len() < 64, "{}", of.name());
        assert!(of.elements().first().is_some_and(|e| e.name == "id"), "{}", of.name());
        for property in of.properties() {
            assert_eq!(
                of.property(property.name).map(|p| (p.element, p.value)),
                Some((property.element, property.value)),
                "{}",
                property.name
            );
            assert!(!property.name.starts_with('_'));
        }
        assert!(of.property("").is_none() && of.property("nonsense").is_none() && of.property("value[x]").is_none());
        if of.kind() != Kind::Resource && of.name() != "Resource" && of.name() != "DomainResource" {
            assert_eq!(of.element_name(of.property("extension").unwrap()), "extension");
            assert_eq!(of.property("extension").unwrap().element, 1, "{}", of.name());
        }
    }
}

#[test]
fn elements_of_types_bases_backbones_and_content_references() {
    let patient = resource_type("Patient").unwrap();
    let names: Vec<&str> = patient.elements().iter().map(|e| e.name).take(9).collect();
    assert_eq!(names, ["id", "meta", "implicitRules", "language", "text", "contained", "extension", "modifierExtension", "identifier"]);
    let deceased = patient.element("deceased").unwrap();
    assert!(deceased.choice && deceased.modifier && !deceased.required && !deceased.repeats);
    assert_eq!(deceased.variants, [("deceasedBoolean", "boolean"), ("deceasedDateTime", "dateTime")]);
    let ValueType::Complex(contact) = patient.property("contact").unwrap().value else { panic!("a backbone element") };
    assert_eq!(contact.definition().name(), "Patient.contact");
    assert!(contact.definition().element("modifierExtension").is_some() && contact.definition().element("gender").is_some());
    let ranges = type_definition("Observation.component").unwrap().property("referenceRange").unwrap();
    assert!(matches!(ranges.value, ValueType::Complex(of) if of.definition().name() == "Observation.referenceRange") && ranges.repeats);
    assert_eq!(type_definition("Age").unwrap().elements().len(), type_definition("Quantity").unwrap().elements().len());
    assert!(patient.property("value").is_none() && type_definition("string").is_none());
}

#[test]
fn resource_types_are_concrete() {
    assert!(is_resource_type("Patient") && is_resource_type("Bundle") && is_resource_type("Parameters"));
    for name in ["Resource", "DomainResource", "HumanName", "Patient.contact", "patient", "", "MetadataResource", "MoneyQuantity"] {
        assert!(!is_resource_type(name), "{name}");
    }
}

#[test]
fn choices_by_base_name() {
    let value = choice_variants("value");
    assert!(value.contains(&("valueQuantity", "Quantity")) && value.contains(&("valueDateTime", "dateTime")));
    assert!(value.iter().all(|(property, _)| property.starts_with("value")));
    let of = |base: &str| choice_variants(base).iter().map(|(_, of)| *of).collect::<Vec<_>>();
    assert_eq!(of("multipleBirth"), ["boolean", "integer"]);
    assert_eq!(of("performed"), ["dateTime", "Period", "string", "Age", "Range"]);
    assert!(choice_variants("birthDate").is_empty() && choice_variants("").is_empty());
}
