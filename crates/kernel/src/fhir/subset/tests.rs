#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fhir::json;
use bumpalo::Bump;

const PATIENT: &str = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"3"},"text":{"status":"generated","div":"<div/>"},"extension":[{"url":"u","valueDecimal":1.10}],"identifier":[{"id":"x","extension":[{"url":"u"}],"system":"s","value":"v"}],"name":[{"family":"F"}],"_birthDate":{"extension":[{"url":"u"}]},"maritalStatus":{"text":"M"},"contact":[{"gender":"male"}],"photo":[{"url":"p"}],"link":[{"other":{"reference":"Patient/2"},"type":"seealso"}]}"#;
const TAG: &str = r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}"#;

fn cut(resource: &str, subset: &Subset) -> String {
    let arena = Bump::new();
    let mut out = Vec::new();
    subset.write(&json::parse(resource.as_bytes(), &arena).unwrap(), &mut out);
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    text.replace(TAG, "TAG")
}

#[test]
fn a_summary_has_what_the_definitions_mark_at_each_level() {
    assert_eq!(
        cut(PATIENT, &Subset::Summary),
        r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"3","tag":[TAG]},"identifier":[{"system":"s","value":"v"}],"name":[{"family":"F"}],"_birthDate":{"extension":[{"url":"u"}]},"link":[{"other":{"reference":"Patient/2"},"type":"seealso"}]}"#
    );
}

#[test]
fn text_data_and_elements() {
    let text = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"3","tag":[TAG]},"text":{"status":"generated","div":"<div/>"}}"#;
    assert_eq!(cut(PATIENT, &Subset::Text), text);
    let data = cut(PATIENT, &Subset::Data);
    assert!(!data.contains(r#""text":{"status""#) && data.contains("1.10") && data.contains("photo") && data.contains("TAG"), "{data}");
    let elements = Subset::Elements(vec!["birthDate".into(), "name".into()]);
    assert_eq!(
        cut(PATIENT, &elements),
        r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"3","tag":[TAG]},"name":[{"family":"F"}],"_birthDate":{"extension":[{"url":"u"}]},"link":[{"other":{"reference":"Patient/2"},"type":"seealso"}]}"#
    );
}

/// A choice is asked for by its base name; what is mandatory or changes the meaning comes along.
#[test]
fn what_must_not_be_missed_stays() {
    let observation = r#"{"resourceType":"Observation","status":"final","code":{"text":"c"},"valueQuantity":{"value":1.0},"note":[{"text":"n"}],"implicitRules":"http://rules"}"#;
    let elements = cut(observation, &Subset::Elements(vec!["value".into()]));
    assert_eq!(
        elements,
        r#"{"resourceType":"Observation","status":"final","code":{"text":"c"},"valueQuantity":{"value":1.0},"implicitRules":"http://rules","meta":{"tag":[TAG]}}"#
    );
    assert!(!cut(observation, &Subset::Text).contains("valueQuantity"));
}

#[test]
fn the_tag_is_there_once() {
    let tagged = format!(r#"{{"resourceType":"Basic","meta":{{"tag":[{{"code":"x"}},{TAG}],"source":"s"}},"code":{{}}}}"#);
    assert_eq!(cut(&tagged, &Subset::Data), r#"{"resourceType":"Basic","meta":{"source":"s","tag":[{"code":"x"},TAG]},"code":{}}"#);
}
