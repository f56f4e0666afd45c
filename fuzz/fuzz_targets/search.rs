//! Search: a resource type and a query string. What is taken can be asked about a resource, and means the same when it is sent as the
//! `self` link says.
#![no_main]

use bumpalo::Bump;
use dugnad_kernel::fhir::json::parse;
use dugnad_kernel::search::matches::{Candidate, matches};
use dugnad_kernel::search::parameters::of_type;
use dugnad_kernel::search::parse::{Environment, pairs, query};
use dugnad_kernel::search::values::packed::Packed;
use dugnad_kernel::search::values::values_of;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"o","status":"final","category":[{"coding":[{"system":"urn:c","code":"laboratory"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"718-7"}],"text":"Hemoglobin"},"subject":{"reference":"Patient/p"},"effectiveDateTime":"2026-01-31","valueQuantity":{"value":13.40,"comparator":"<","unit":"g/dL","system":"http://unitsofmeasure.org","code":"g/dL"},"component":[{"code":{"coding":[{"code":"a"}]},"valueString":"x"}]}"#;
const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","identifier":[{"system":"urn:a","value":"1","type":{"coding":[{"code":"MR"}]}}],"name":[{"family":"Ærlig","given":["Kari"]}],"gender":"female","birthDate":"1970-02","telecom":[{"system":"phone","value":"1"}],"generalPractitioner":[{"reference":"Practitioner/1"}]}"#;

fuzz_target!(|text: &str| {
    let now = Timestamp::UNIX_EPOCH;
    let environment = Environment { now, base: "http://example.org/fhir" };
    for resource in [OBSERVATION, PATIENT] {
        let arena = Bump::new();
        let resource = parse(resource.as_bytes(), &arena).expect("it is JSON");
        let kind = resource.str("resourceType").expect("it is a resource");
        let parameters = of_type(kind).expect("it is a type");
        let Ok(asked) = pairs(text) else { return };
        let Ok(parsed) = query(kind, &asked, &environment) else { continue };
        let packed = values_of(parameters, resource, std::iter::empty());
        let candidate = Candidate { values: Packed::new(&packed), last_updated_us: 1_000_000 };
        let found = matches(&parsed.search.criteria, candidate);
        let again = query(kind, &parsed.used, &environment).expect("what was used can be asked again");
        assert_eq!(matches(&again.search.criteria, candidate), found, "and finds the same");
    }
});
