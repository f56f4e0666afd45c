#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::fhir::json::parse;
use serde_json::json;

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","extension":[{"url":"urn:weight","valueDecimal":1.10},{"url":"urn:x","valueCode":"y"}],"identifier":[{"system":"urn:a","value":"1"},{"system":"urn:b","value":"2"},{"system":"urn:c","value":"3"}],"active":true,"name":[{"use":"official","family":"Moe","given":["Kari","Anne"],"_given":[null,{"id":"g"}]},{"use":"maiden","family":"Dahl"}],"gender":"female","birthDate":"1970-01-01","_birthDate":{"extension":[{"url":"urn:t","valueDateTime":"1970-01-01T10:00:00Z"}]},"deceasedBoolean":false,"maritalStatus":{"text":"married"}}"#;

/// The patched resource, or the code and place of what is wrong.
fn patched(format: Format, patch: &str, resource: &str) -> Result<String, String> {
    let arena = Bump::new();
    let said = |issue: &Issue| format!("{:?} {}", issue.code, issue.expression.as_deref().unwrap_or_default());
    let patch = Patch::read(format, parse(patch.as_bytes(), &arena).unwrap(), &arena).map_err(|issues| said(&issues[0]))?;
    let new = patch.apply(parse(resource.as_bytes(), &arena).unwrap(), &arena).map_err(|issue| said(&issue))?;
    let mut out = Vec::new();
    new.write(&mut out);
    Ok(String::from_utf8(out).unwrap())
}

fn by_json(operations: serde_json::Value) -> Result<String, String> {
    patched(Format::JsonPatch, &operations.to_string(), PATIENT)
}

/// Asserts that the patch replaces one text of the resource by another, and nothing else.
#[track_caller]
fn replaces(result: Result<String, String>, old: &str, new: &str) {
    assert!(PATIENT.contains(old), "{old}");
    assert_eq!(result.unwrap(), PATIENT.replacen(old, new, 1));
}

#[test]
fn json_patch_changes_what_it_names_and_keeps_order_and_digits() {
    let one = |op: &str, path: &str, value: serde_json::Value| by_json(json!([{"op": op, "path": path, "value": value}]));
    replaces(one("replace", "/gender", json!("male")), r#""gender":"female""#, r#""gender":"male""#);
    replaces(one("add", "/gender", json!("male")), r#""gender":"female""#, r#""gender":"male""#);
    replaces(one("add", "/name/0/given/-", json!("Eva")), r#""Anne"]"#, r#""Anne","Eva"]"#);
    replaces(one("add", "/name/0/given/0", json!("Eva")), r#"["Kari""#, r#"["Eva","Kari""#);
    replaces(one("replace", "/identifier/1/value", json!("7")), r#""value":"2""#, r#""value":"7""#);
    replaces(by_json(json!([{"op": "remove", "path": "/identifier/1"}])), r#"{"system":"urn:b","value":"2"},"#, "");
    replaces(
        by_json(json!([{"op": "move", "from": "/name/1", "path": "/name/0"}, {"op": "move", "from": "/name/0", "path": "/name/1"}])),
        "",
        "",
    );
    replaces(
        by_json(json!([{"op": "copy", "from": "/name/0/family", "path": "/name/1/family"}])),
        r#""family":"Dahl""#,
        r#""family":"Moe""#,
    );
    let decimal = r#"[{"op":"replace","path":"/extension/0/valueDecimal","value":2.500}]"#;
    replaces(patched(Format::JsonPatch, decimal, PATIENT), "1.10", "2.500");
}

#[test]
fn json_patch_tests_by_what_values_are_worth() {
    let test =
        |path: &str, value: &str| patched(Format::JsonPatch, &format!(r#"[{{"op":"test","path":"{path}","value":{value}}}]"#), PATIENT);
    for (path, value) in [
        ("/extension/0/valueDecimal", "1.1"),
        ("/extension/0/valueDecimal", "110e-2"),
        ("/identifier/0", r#"{"value":"1","system":"urn:a"}"#),
        ("/name/0/given", r#"["Kari","Anne"]"#),
        ("/active", "true"),
    ] {
        replaces(test(path, value), "", "");
    }
    for (path, value) in [("/extension/0/valueDecimal", "1.11"), ("/name/0/given", r#"["Anne","Kari"]"#), ("/active", r#""true""#)] {
        assert_eq!(test(path, value), Err("Conflict Patch.operation[0]".to_owned()), "{path} {value}");
    }
    assert_eq!(json_patch_number("-0.0"), json_patch_number("0"));
}

fn json_patch_number(text: &str) -> Result<String, String> {
    let resource = format!(r#"{{"n":{text}}}"#);
    patched(Format::JsonPatch, r#"[{"op":"test","path":"/n","value":0},{"op":"remove","path":"/n"}]"#, &resource)
}

#[test]
fn a_json_patch_that_cannot_be_done_says_which_operation() {
    for (operations, expected) in [
        (json!({}), "Structure Patch"),
        (json!([{"op": "remove", "path": "/gender"}, {"op": "turn", "path": "/gender"}]), "Value Patch.operation[1].op"),
        (json!([{"op": "remove", "path": "gender"}]), "Value Patch.operation[0].path"),
        (json!([{"op": "remove", "path": "/a~2b"}]), "Value Patch.operation[0].path"),
        (json!([{"op": "add", "path": "/gender"}]), "Value Patch.operation[0].value"),
        (json!([{"op": "copy", "path": "/gender"}]), "Value Patch.operation[0].from"),
        (
            json!([{"op": "test", "path": "/active", "value": true}, {"op": "replace", "path": "/photo", "value": []}]),
            "NotFound Patch.operation[1]",
        ),
        (json!([{"op": "remove", "path": "/name/2"}]), "NotFound Patch.operation[0]"),
        (json!([{"op": "remove", "path": "/name/01"}]), "Value Patch.operation[0]"),
        (json!([{"op": "remove", "path": "/name/-"}]), "NotFound Patch.operation[0]"),
        (json!([{"op": "add", "path": "/name/3", "value": {}}]), "Value Patch.operation[0]"),
        (json!([{"op": "add", "path": "/contact/-", "value": {}}]), "NotFound Patch.operation[0]"),
        (json!([{"op": "move", "from": "/name", "path": "/name/0"}]), "Value Patch.operation[0]"),
        (json!(vec![json!({"op": "test", "path": "/active", "value": true}); MAX_PATCH_OPERATIONS + 1]), "TooCostly Patch"),
    ] {
        assert_eq!(by_json(operations.clone()), Err(expected.to_owned()), "{operations}");
    }
}

#[test]
fn what_a_removal_leaves_empty_goes_too() {
    replaces(by_json(json!([{"op": "remove", "path": "/maritalStatus/text"}])), r#","maritalStatus":{"text":"married"}"#, "");
    let all = json!([{"op": "remove", "path": "/extension/1"}, {"op": "remove", "path": "/extension/0"}]);
    replaces(by_json(all), r#""extension":[{"url":"urn:weight","valueDecimal":1.10},{"url":"urn:x","valueCode":"y"}],"#, "");
}

/// Copies of copies double with each operation: a few dozen would fill any memory.
#[test]
fn a_patch_makes_no_resource_of_any_size() {
    let wide: Vec<_> = (0..60).map(|n| json!({"op": "copy", "from": "", "path": format!("/x{n}")})).collect();
    assert!(by_json(json!(wide)).is_err_and(|e| e.starts_with("TooCostly")));
    let deep = vec![json!({"op": "copy", "from": "/name", "path": "/name/0/x"}); 200];
    assert!(by_json(json!(deep)).is_err_and(|e| e.starts_with("TooCostly")));
}

/// The part of an operation: (name, member) or (name, value).
fn operation(parts: serde_json::Value) -> serde_json::Value {
    let part = |(name, content): (&String, &serde_json::Value)| {
        let mut part = json!({"name": name});
        match content {
            serde_json::Value::Object(members) => part.as_object_mut().unwrap().extend(members.clone()),
            serde_json::Value::Number(_) => part["valueInteger"] = content.clone(),
            text if name == "type" => part["valueCode"] = text.clone(),
            text => part["valueString"] = text.clone(),
        }
        part
    };
    json!({"name": "operation", "part": parts.as_object().unwrap().iter().map(part).collect::<Vec<_>>()})
}

fn by_path(operations: &[serde_json::Value]) -> Result<String, String> {
    let all: Vec<_> = operations.iter().cloned().map(operation).collect();
    patched(Format::Resource, &json!({"resourceType": "Parameters", "parameter": all}).to_string(), PATIENT)
}

#[test]
fn fhirpath_patch_replaces() {
    let replace = |path: &str, value: serde_json::Value| by_path(&[json!({"type": "replace", "path": path, "value": value})]);
    let date = || json!({"valueDate": "1980-02-02"});
    let without = r#""birthDate":"1970-01-01","_birthDate":{"extension":[{"url":"urn:t","valueDateTime":"1970-01-01T10:00:00Z"}]}"#;
    replaces(replace("Patient.birthDate", date()), without, r#""birthDate":"1980-02-02""#);
    replaces(replace("birthDate", date()), without, r#""birthDate":"1980-02-02""#);
    for path in [
        "Patient.name[1].family",
        "Patient.name.where(use = 'maiden').family",
        "Patient.name.last().family",
        "Patient.name.where(family.startsWith('D') and given.empty()).family",
        "name.where(use='maiden')[0].family.single()",
    ] {
        replaces(replace(path, json!({"valueString": "Lie"})), r#""family":"Dahl""#, r#""family":"Lie""#);
    }
    replaces(replace("Patient.extension('urn:x').value", json!({"valueCode": "z"})), r#""valueCode":"y""#, r#""valueCode":"z""#);
    replaces(
        replace("Patient.extension('urn:x').value.ofType(code)", json!({"valueCode": "z"})),
        r#""valueCode":"y""#,
        r#""valueCode":"z""#,
    );
    // A choice of another type.
    let died = replace("Patient.deceased", json!({"valueDateTime": "2026-01-01"})).unwrap();
    assert!(died.contains(r#""deceasedDateTime":"2026-01-01""#) && !died.contains("deceasedBoolean"), "{died}");
    replaces(replace("Patient.name[0].given[1]", json!({"valueString": "Eva"})), r#""Anne"],"_given":[null,{"id":"g"}]"#, r#""Eva"]"#);
    let number = r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"replace"},{"name":"path","valueString":"Patient.extension[0].value"},{"name":"value","valueDecimal":0.50}]}]}"#;
    replaces(patched(Format::Resource, number, PATIENT), "1.10", "0.50");
}

#[test]
fn fhirpath_patch_adds() {
    let add =
        |path: &str, name: &str, value: serde_json::Value| by_path(&[json!({"type": "add", "path": path, "name": name, "value": value})]);
    let identifier = json!({"valueIdentifier": {"system": "urn:d", "value": "4"}});
    replaces(add("Patient", "identifier", identifier), r#""value":"3"}"#, r#""value":"3"},{"system":"urn:d","value":"4"}"#);
    replaces(
        add("Patient.name[0]", "given", json!({"valueString": "Eva"})),
        r#""Anne"],"_given":[null,{"id":"g"}]"#,
        r#""Anne","Eva"],"_given":[null,{"id":"g"},null]"#,
    );
    let contact = json!({"part": [{"name": "name", "valueHumanName": {"text": "Ola"}}, {"name": "telecom", "valueContactPoint": {"system": "phone", "value": "1"}}, {"name": "telecom", "valueContactPoint": {"system": "phone", "value": "2"}}]});
    replaces(
        add("Patient", "contact", contact),
        r#"{"text":"married"}"#,
        r#"{"text":"married"},"contact":[{"name":{"text":"Ola"},"telecom":[{"system":"phone","value":"1"},{"system":"phone","value":"2"}]}]"#,
    );
    replaces(
        add("Patient", "multipleBirth", json!({"valueInteger": 2})),
        r#"{"text":"married"}"#,
        r#"{"text":"married"},"multipleBirthInteger":2"#,
    );
    let extension = json!({"part": [{"name": "url", "valueUri": "urn:e"}, {"name": "value", "valueBoolean": true}]});
    replaces(
        add("Patient.gender", "extension", extension),
        r#"{"text":"married"}"#,
        r#"{"text":"married"},"_gender":{"extension":[{"url":"urn:e","valueBoolean":true}]}"#,
    );
    let contained = json!({"resource": {"resourceType": "Organization", "id": "o", "name": "x"}});
    assert!(
        add("Patient", "contained", contained).unwrap().contains(r#""contained":[{"resourceType":"Organization","id":"o","name":"x"}]"#)
    );
}

#[test]
fn fhirpath_patch_inserts_deletes_and_moves() {
    let value = json!({"valueIdentifier": {"value": "0"}});
    let insert = |index: usize| by_path(&[json!({"type": "insert", "path": "Patient.identifier", "index": index, "value": value})]);
    replaces(insert(0), r#"[{"system":"urn:a""#, r#"[{"value":"0"},{"system":"urn:a""#);
    replaces(insert(3), r#""value":"3"}"#, r#""value":"3"},{"value":"0"}"#);
    assert_eq!(insert(4), Err("Invalid Parameters.parameter[0]".to_owned()));
    let delete = |path: &str| by_path(&[json!({"type": "delete", "path": path})]);
    replaces(delete("Patient.identifier[1]"), r#"{"system":"urn:b","value":"2"},"#, "");
    replaces(delete("Patient.maritalStatus.text"), r#","maritalStatus":{"text":"married"}"#, "");
    replaces(delete("Patient.name[0].given[0]"), r#"["Kari","Anne"],"_given":[null,{"id":"g"}]"#, r#"["Anne"],"_given":[{"id":"g"}]"#);
    replaces(delete("Patient.photo"), "", ""); // nothing there is nothing to do
    replaces(
        delete("Patient.birthDate.extension('urn:t')"),
        r#","_birthDate":{"extension":[{"url":"urn:t","valueDateTime":"1970-01-01T10:00:00Z"}]}"#,
        "",
    );
    let by_two = by_path(&[json!({"type": "move", "path": "Patient.identifier", "source": 2, "destination": 0})]).unwrap();
    let order: Vec<usize> = ["urn:c", "urn:a", "urn:b"].iter().map(|system| by_two.find(system).unwrap()).collect();
    assert!(order.is_sorted(), "{by_two}");
}

#[test]
fn a_fhirpath_patch_that_cannot_be_done_says_which_operation() {
    let delete = |path: &str| json!({"type": "delete", "path": path});
    for (operation, expected) in [
        (json!({"type": "turn", "path": "Patient.name"}), "Value Parameters.parameter[0]"),
        (json!({"type": "delete"}), "Value Parameters.parameter[0]"),
        (json!({"type": "add", "path": "Patient", "value": "x"}), "Value Parameters.parameter[0]"),
        (json!({"type": "insert", "path": "Patient.name", "index": -1, "value": "x"}), "Value Parameters.parameter[0]"),
        (delete("Patient.name"), "Invalid Parameters.parameter[0]"),
        (delete("Patient"), "Invalid Parameters.parameter[0]"),
        (delete("Observation.code"), "Invalid Parameters.parameter[0]"),
        (delete("Patient.nothing"), "Invalid Parameters.parameter[0]"),
        (delete("Patient.name.where(use = 'official'"), "Value Parameters.parameter[0]"),
        (delete("Patient.name.where(today() > x)"), "Invalid Parameters.parameter[0]"),
        (delete("Patient.name.repeat(x)"), "Value Parameters.parameter[0]"),
        (delete("name | identifier"), "Value Parameters.parameter[0]"),
        (
            json!({"type": "replace", "path": "Patient.photo", "value": {"valueAttachment": {"title": "x"}}}),
            "Invalid Parameters.parameter[0]",
        ),
        (json!({"type": "add", "path": "Patient", "name": "gender", "value": {"valueCode": "male"}}), "Invalid Parameters.parameter[0]"),
        (
            json!({"type": "add", "path": "Patient", "name": "deceased", "value": {"valueDateTime": "2026"}}),
            "Invalid Parameters.parameter[0]",
        ),
        (
            json!({"type": "add", "path": "Patient", "name": "multipleBirth", "value": {"valueString": "x"}}),
            "Invalid Parameters.parameter[0]",
        ),
        (json!({"type": "move", "path": "Patient.name", "source": 0, "destination": 2}), "Invalid Parameters.parameter[0]"),
        (json!({"type": "move", "path": "Patient.gender", "source": 0, "destination": 0}), "Invalid Parameters.parameter[0]"),
    ] {
        assert_eq!(by_path(std::slice::from_ref(&operation)), Err(expected.to_owned()), "{operation}");
    }
    let other = |resource: &str| patched(Format::Resource, resource, PATIENT).unwrap_err();
    assert_eq!(other(r#"{"resourceType":"Patient"}"#), "Structure Resource");
    assert_eq!(other(r#"{"resourceType":"Parameters","parameter":[{"name":"x","valueCode":"y"}]}"#), "Value Parameters.parameter[0]");
    assert!(other(r#"{"resourceType":"Parameters","wrong":1}"#).starts_with("Structure Parameters"));
}

#[test]
fn a_binary_holds_a_json_patch() {
    let binary = |kind: &str, text: &str| json!({"resourceType": "Binary", "contentType": kind, "data": STANDARD.encode(text)}).to_string();
    let operations = r#"[{"op":"replace","path":"/gender","value":"male"}]"#;
    let of = |kind: &str, text: &str| patched(Format::Resource, &binary(kind, text), PATIENT);
    replaces(of(JSON_PATCH, operations), r#""gender":"female""#, r#""gender":"male""#);
    assert_eq!(of("text/plain", operations), Err("Value Binary.contentType".to_owned()));
    assert_eq!(of(JSON_PATCH, "["), Err("Value Binary.data".to_owned()));
}

#[test]
fn merge_patch_follows_rfc_7396() {
    // The RFC's own examples (appendix A) whose target and result are objects; FHIR's JSON holds nothing empty.
    for (target, patch, expected) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"{"e":1}"#, r#"{"a":{"bb":{"ccc":null}},"f":2}"#, r#"{"e":1,"f":2}"#),
    ] {
        assert_eq!(patched(Format::MergePatch, patch, target), Ok(expected.to_owned()), "{patch}");
        assert_eq!(patched(Format::Json, patch, target), Ok(expected.to_owned()), "{patch}");
    }
    replaces(patched(Format::Json, r#"{"gender":"male"}"#, PATIENT), r#""gender":"female""#, r#""gender":"male""#);
    replaces(
        patched(Format::MergePatch, r#"{"maritalStatus":{"coding":[{"code":"M"}]},"deceasedBoolean":null}"#, PATIENT),
        r#""deceasedBoolean":false,"maritalStatus":{"text":"married"}"#,
        r#""maritalStatus":{"text":"married","coding":[{"code":"M"}]}"#,
    );
    assert_eq!(patched(Format::MergePatch, "[1]", PATIENT), Err("Structure Patch".to_owned()));
    // With the media type of FHIR it has to be a resource.
    assert_eq!(patched(Format::Resource, r#"{"gender":"male"}"#, PATIENT), Err("Required Resource".to_owned()));
}

/// Each member is looked for in its object: a hundred thousand of them would be looked for ten thousand million times.
#[test]
fn a_merge_patch_has_no_more_members_than_another_patch_operations() {
    let patch = |members: usize| {
        let inner: Vec<String> = (2..=members).map(|n| format!("\"m{n}\":null")).collect();
        format!(r#"{{"maritalStatus":{{{}}}}}"#, inner.join(","))
    };
    assert_eq!(patched(Format::MergePatch, &patch(MAX_PATCH_OPERATIONS), PATIENT), Ok(PATIENT.to_owned()));
    for format in [Format::MergePatch, Format::Json] {
        assert_eq!(patched(format, &patch(MAX_PATCH_OPERATIONS + 1), PATIENT), Err("TooCostly Patch".to_owned()));
    }
    // What stands in arrays is not looked for.
    let items = vec![r#"{"system":"urn:a","value":"1"}"#; MAX_PATCH_OPERATIONS].join(",");
    assert!(patched(Format::MergePatch, &format!(r#"{{"identifier":[{items}]}}"#), PATIENT).is_ok());
}
