#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fhir::definitions;
use std::collections::BTreeSet;

fn binding(of: &str, element: &str) -> &'static Binding {
    definitions::type_definition(of).unwrap().element(element).unwrap().binding.unwrap()
}

#[test]
fn required_bindings_are_checked_but_for_these() {
    let bound = definitions::types().flat_map(|of| of.properties().iter().filter_map(|p| p.binding));
    let required: Vec<_> = bound.filter(|b| b.strength == Strength::Required).collect();
    let sets: BTreeSet<&str> = required.iter().map(|b| b.value_set).collect();
    assert!(required.len() > 369 && sets.len() > 220, "{} to {}", required.len(), sets.len());
    let unchecked: BTreeSet<&str> =
        required.iter().filter(|b| matches!(b.rule(), Rule::Unchecked(_))).map(|b| canonical(b.value_set).0).collect();
    // Of UCUM, of LOINC, and of three that HL7's R4 definitions name from later versions of FHIR without having them.
    let known = [
        "http://hl7.org/fhir/ValueSet/characteristic-combination",
        "http://hl7.org/fhir/ValueSet/subscription-notification-type",
        "http://hl7.org/fhir/ValueSet/subscription-status",
        "http://hl7.org/fhir/ValueSet/ucum-units",
        "http://loinc.org/vs/LL379-9",
    ];
    assert_eq!(unchecked, BTreeSet::from(known));
    let by_form = |rule: fn(&Rule) -> bool| required.iter().any(|b| rule(b.rule()));
    assert!(
        by_form(|r| matches!(r, Rule::MediaType)) && by_form(|r| matches!(r, Rule::Language)) && by_form(|r| matches!(r, Rule::Currency))
    );
}

#[test]
fn codes_of_a_value_set() {
    let gender = binding("Patient", "gender").rule();
    for code in ["male", "female", "other", "unknown"] {
        assert!(gender.accepts(code));
    }
    for code in ["Male", "", "m", "females", "mal"] {
        assert!(!gender.accepts(code), "{code}");
    }
    assert_eq!(gender.expected("m"), "one of `male`, `female`, `other`, `unknown`");
    let types = binding("CompartmentDefinition.resource", "code").rule();
    assert!(types.accepts("Observation") && !types.accepts("Observations"));
    let expected = types.expected("observations");
    assert!(expected.starts_with("one of its 148 codes, such as `Observation`"), "{expected}");
    let clinical = binding("Condition", "clinicalStatus").rule();
    assert!(clinical.accepts_coding(Some("http://terminology.hl7.org/CodeSystem/condition-clinical"), "active"));
    assert!(!clinical.accepts_coding(Some("http://snomed.info/sct"), "active") && !clinical.accepts_coding(None, "active"));
    assert!(binding("Timing.repeat", "durationUnit").rule().accepts("wk") && binding("Quantity", "comparator").rule().accepts(">="));
    assert!(!binding("Quantity", "comparator").rule().accepts("="));
}

#[test]
fn every_code_of_every_value_set_is_found() {
    for binding in definitions::types().flat_map(|of| of.properties().iter().filter_map(|p| p.binding)) {
        if let Rule::Codes(set) = binding.rule() {
            for member in set.members() {
                assert!(set.has(&member.system, &member.code) && set.has_code(&member.code), "{member:?}");
                assert!(!set.has_code(&format!("{}?", member.code)));
            }
        }
    }
}

#[test]
fn media_types_languages_and_currencies_by_their_form() {
    let media = binding("Attachment", "contentType").rule();
    for code in
        ["application/pdf", "text/plain; charset=utf-8", "application/fhir+json;fhirVersion=4.0", "image/svg+xml", "json", "text/cql"]
    {
        assert!(media.accepts(code), "{code}");
    }
    for code in ["pdf", "application/", "/pdf", "a b/c", "text/plain;", "text/plain;x", "application/pdf/x"] {
        assert!(!media.accepts(code), "{code}");
    }
    let language = binding("Patient", "language").rule();
    for code in ["nb", "nb-NO", "en-US", "zh-Hant-TW", "x-klingon", "i-default", "de-CH-1996"] {
        assert!(language.accepts(code), "{code}");
    }
    for code in ["norsk bokmål", "n", "nb_NO", "nb-", "-nb", "123", "x", "norwegianish"] {
        assert!(!language.accepts(code), "{code}");
    }
    let currency = binding("Money", "currency").rule();
    assert!(currency.accepts("NOK") && !currency.accepts("kr") && !currency.accepts("nok") && !currency.accepts("KRON"));
}

#[test]
fn near_codes() {
    assert_eq!((distance("male", "Mael"), distance("final", "finla"), distance("", "abc"), distance("abc", "")), (2, 2, 3, 3));
    assert_eq!((distance("same", "SAME"), distance("amended", "amend")), (0, 2));
}
