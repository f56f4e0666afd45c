#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn every_expression_of_r4_compiles() {
    let (mut parameters, mut types) = (0, 0);
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let expression = line.rsplit('\t').next().unwrap();
        if line.starts_with(":\t") {
            assert!(expression == COMMON || definitions::is_resource_type(expression), "{expression}");
            types += 1;
            continue;
        }
        parameters += usize::from(!line.starts_with("+\t"));
        if let Err((part, error)) = try_compiled(expression) {
            panic!("{part}: {error}");
        }
    }
    // HL7's file has 1,709 pairs of parameter and resource type; `_text`, `_content` and `_query` have no expression.
    assert_eq!((parameters, types), (1_706, 134));
}

#[test]
fn a_type_has_what_all_have_and_its_own() {
    let observation = of_type("Observation").unwrap();
    let codes: Vec<_> = observation.all().iter().map(|p| p.code).collect();
    assert_eq!(codes[..6], ["_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"]);
    let date = observation.get("date").unwrap();
    assert_eq!((date.kind, date.code, date.resource_type), (Kind::Date, "date", "Observation"));
    assert_eq!(observation.all()[usize::from(date.number)].code, "date");
    let of: Vec<_> = date.yields.iter().map(|y| y.of).collect();
    assert_eq!(of, ["dateTime", "Period", "Timing", "instant"]);
    let composite = observation.get("code-value-quantity").unwrap();
    assert_eq!((composite.kind, composite.components.len(), composite.components[1].kind), (Kind::Composite, 2, Kind::Quantity));
    assert_eq!(parameter("Observation", "patient").unwrap().targets, ["Patient"]);
    assert!(parameter("Observation", "focus").unwrap().targets.len() > 140);
    assert_eq!(parameter("Patient", "gender").unwrap().yields[0].system, Some("http://hl7.org/fhir/administrative-gender"));
    assert!(of_type("Resource").is_none() && of_type("Patients").is_none() && parameter("Patient", "code").is_none());
}

#[test]
fn every_resource_type_can_be_searched() {
    for name in definitions::resource_types() {
        let parameters = of_type(name).unwrap();
        assert!(parameters.get("_id").is_some(), "{name}");
        for (at, parameter) in parameters.all().iter().enumerate() {
            assert_eq!(usize::from(parameter.number), at);
            assert!(!parameter.paths.is_empty() && parameters.get(parameter.code).is_some(), "{name} {}", parameter.code);
        }
    }
}

#[test]
fn a_path_is_left_out_where_its_element_is_missing() {
    let roots = |resource_type: &str, code: &str| -> Vec<_> {
        parameter(resource_type, code).unwrap().paths.iter().map(|path| path.root).collect()
    };
    assert_eq!(roots("Observation", "combo-code"), [Some("code"), Some("component")]);
    assert_eq!(roots("Observation", "value-quantity"), [Some("value"), Some("value")]);
    assert_eq!(roots("Observation", "patient"), [Some("subject")]);
    assert_eq!(roots("Observation", "code-value-quantity"), [None]);
    assert_eq!(roots("Patient", "_tag"), [Some("meta")]);
    assert_eq!(roots("Patient", "deceased"), [None], "nobody without the element is dead");
}
