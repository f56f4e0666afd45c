#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fhir::json::parse;
use crate::fhir::testdata;
use bumpalo::Bump;
use proptest::prelude::*;

fn issues(json: &str) -> Vec<Issue> {
    let arena = Bump::new();
    validate(&parse(json.as_bytes(), &arena).unwrap())
}

/// Places of the issues.
fn places(json: &str) -> Vec<String> {
    issues(json).into_iter().map(|issue| issue.expression.unwrap()).collect()
}

/// A patient with these members.
fn patient(members: &str) -> String {
    format!(r#"{{"resourceType":"Patient",{members}}}"#)
}

fn assert_valid(members: &str) {
    assert_eq!(issues(&patient(members)), [], "{members}");
}

/// There is one issue, at that place, whose text holds `what`.
fn assert_one(json: &str, code: IssueType, at: &str, what: &str) {
    let found = issues(json);
    let [issue] = found.as_slice() else { panic!("one issue expected in {json}: {found:?}") };
    assert_eq!((issue.code, issue.expression.as_deref()), (code, Some(at)), "{json}: {issue:?}");
    assert!(issue.diagnostics.contains(what), "{issue:?} should say {what}");
}

fn assert_patient(members: &str, code: IssueType, at: &str, what: &str) {
    assert_one(&patient(members), code, at, what);
}

#[test]
fn real_resources_are_valid() {
    let (mut arena, mut wrong) = (Bump::new(), Vec::new());
    let mut look = |name: &str, text: &[u8]| {
        arena.reset();
        wrong.extend(validate(&parse(text, &arena).unwrap()).into_iter().map(|issue| format!("{name}: {issue:?}")));
    };
    testdata::documents().iter().for_each(|(name, text)| look(name, text));
    let bundles = testdata::each_archived(&mut look);
    assert!(wrong.is_empty(), "{} problems:\n{}", wrong.len(), wrong.join("\n"));
    assert!(bundles == 0 || bundles == 365, "{bundles}");
}

#[test]
fn codes_of_required_bindings() {
    use IssueType::CodeInvalid;
    let set = "not in the value set http://hl7.org/fhir/ValueSet/administrative-gender|4.0.1: expected one of `male`, `female`, `other`, `unknown`; found a code that is not one of them";
    assert_patient(r#""gender":"kvinne""#, CodeInvalid, "Patient.gender", set);
    assert_patient(r#""gender":"Female""#, CodeInvalid, "Patient.gender", "found the same code with other capitals");
    assert_patient(r#""gender":"female ""#, IssueType::Value, "Patient.gender", "`gender` is a code");
    assert_patient(r#""name":[{"use":"usual","family":"a"},{"use":"wrong","family":"a"}]"#, CodeInvalid, "Patient.name[1].use", "name-use");
    assert_patient(r#""language":"norsk_bokmål""#, CodeInvalid, "Patient.language", "BCP 47");
    let status = r#"{"resourceType":"Observation","status":"fnal","code":{"text":"a"}}"#;
    assert_one(status, CodeInvalid, "Observation.status", "expected one of `registered`, `preliminary`, `final`");
    let no_value = issues(&patient(r#""gender":"Ola Nordmann""#));
    assert!(no_value.iter().all(|issue| !issue.diagnostics.contains("Ola")), "{no_value:?}");
}

#[test]
fn concepts_of_required_bindings() {
    use IssueType::CodeInvalid;
    let condition = |status: &str| format!(r#"{{"resourceType":"Condition","subject":{{"display":"a"}},"clinicalStatus":{status}}}"#);
    let coding = |system: &str, code: &str| format!(r#"{{"coding":[{{"system":"{system}","code":"{code}"}}]}}"#);
    let own = "http://terminology.hl7.org/CodeSystem/condition-clinical";
    assert_eq!(issues(&condition(&coding(own, "active"))), []);
    let second = format!(r#"{{"coding":[{{"system":"http://snomed.info/sct","code":"55561003"}},{{"system":"{own}","code":"active"}}]}}"#);
    assert_eq!(issues(&condition(&second)), []);
    let says = |status: &str, what: &str| assert_one(&condition(status), CodeInvalid, "Condition.clinicalStatus", what);
    says(
        &coding(own, "aktiv"),
        "one of `active`, `recurrence`, `relapse`, `inactive`, `remission`, `resolved`; found a code that is not in it",
    );
    says(&coding("http://snomed.info/sct", "active"), "found codings of other code systems only");
    says(r#"{"coding":[{"code":"active"}]}"#, "found no coding with a system");
    says(r#"{"text":"active"}"#, "found no coding");
    let why = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}"#;
    assert_eq!(issues(&condition(why)), []);
    assert_valid(
        r#""communication":[{"language":{"text":"norsk"}},{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"nb-NO"}]}}]"#,
    );
    let wrong = r#""communication":[{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"norsk!"}]}}]"#;
    assert_patient(wrong, CodeInvalid, "Patient.communication[0].language", "all-languages");
}

#[test]
fn extensible_bindings_and_good_practice_are_advice() {
    let json = patient(r#""maritalStatus":{"coding":[{"system":"http://example.org","code":"a"}]}"#);
    assert_eq!(issues(&json), []);
    let arena = Bump::new();
    let advice = advise(&parse(json.as_bytes(), &arena).unwrap());
    let brief: Vec<_> = advice.iter().map(|i| (i.severity, i.code, i.expression.as_deref().unwrap())).collect();
    use crate::fhir::issue::Severity::Warning;
    assert_eq!(
        brief,
        [(Warning, IssueType::CodeInvalid, "Patient.maritalStatus"), (Warning, IssueType::Invariant, "Patient")],
        "{advice:?}"
    );
    assert!(advice[1].diagnostics.contains("dom-6"));
}

#[test]
fn invariants() {
    use IssueType::Invariant;
    let observation = |members: &str| format!(r#"{{"resourceType":"Observation","status":"final","code":{{"text":"a"}},{members}}}"#);
    let both = observation(r#""valueString":"a","dataAbsentReason":{"text":"b"}"#);
    assert_one(&both, Invariant, "Observation", "dataAbsentReason SHALL only be present if Observation.value[x] is not present (obs-6)");
    assert_one(
        &observation(r#""valueQuantity":{"value":1,"code":"mg"}"#),
        Invariant,
        "Observation.value",
        "(qty-3): expected code.empty() or system.exists()",
    );
    assert_patient(r#""name":[{"period":{"start":"2020","end":"2019"}}]"#, Invariant, "Patient.name[0].period", "per-1");
    assert_valid(r#""name":[{"period":{"start":"2020-05-01","end":"2020"}}]"#);
    assert_patient(r#""contact":[{"gender":"male"}]"#, Invariant, "Patient.contact[0]", "pat-1");
    let organization = r#"{"resourceType":"Organization","name":"a","telecom":[{"system":"phone","value":"1","use":"work"},{"system":"phone","value":"1","use":"home"}]}"#;
    assert_one(organization, Invariant, "Organization.telecom[1]", "org-3");
    // What a sibling's extension stands for is not known.
    let why = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}"#;
    assert_eq!(issues(&observation(&format!(r#""valueQuantity":{{"value":1,"code":"mg","_system":{why}}}"#))), []);
    let inner =
        r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Bundle","type":"collection","total":1}}]}"#;
    assert_one(inner, Invariant, "Bundle.entry[0].resource", "bdl-1");
}

#[test]
fn references_to_what_is_contained() {
    use IssueType::Invariant;
    let contained = |id: &str, reference: &str| {
        format!(
            r##""contained":[{{"resourceType":"Organization","id":"{id}","name":"a"}}],"managingOrganization":{{"reference":"{reference}"}}"##
        )
    };
    assert_valid(&contained("o", "#o"));
    assert_eq!(places(&patient(&contained("o", "#p"))), ["Patient.managingOrganization", "Patient"]);
    assert_patient(&contained("o", "Organization/1"), Invariant, "Patient", "dom-3");
    assert_patient(r##""managingOrganization":{"reference":"#x"}"##, Invariant, "Patient.managingOrganization", "ref-1");
    let back =
        r##""contained":[{"resourceType":"Observation","id":"o","status":"final","code":{"text":"a"},"subject":{"reference":"#"}}]"##;
    assert_valid(back);
    let chain = r##""contained":[{"resourceType":"Organization","id":"p","name":"a"},{"resourceType":"Organization","id":"o","name":"a","partOf":{"reference":"#p"}}],"managingOrganization":{"reference":"#o"}"##;
    assert_valid(chain);
}

#[test]
fn narratives() {
    use IssueType::Invariant;
    let text =
        |inside: &str| format!(r#""text":{{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">{inside}</div>"}}"#);
    for inside in
        ["a", "<p>a</p>", "<table class='x'><tr><td colspan='2'>a &gt; b</td></tr></table>", "<img src='#a'/>", "<a href='#x'>y</a><br/>"]
    {
        assert_valid(&text(inside));
    }
    for inside in ["<video>a</video>", "<p onclick='a()'>b</p>", "<a href='javascript:a()'>b</a>", "<P ONCLICK='a()'>b</P>"] {
        assert_patient(&text(inside), Invariant, "Patient.text.div", "txt-1");
    }
    // HL7's own examples have empty ones: advice only.
    for inside in ["", "  ", "<p> </p>", "<!-- a -->"] {
        let json = patient(&text(inside));
        assert_eq!(issues(&json), [], "{inside}");
        let arena = Bump::new();
        let advice = advise(&parse(json.as_bytes(), &arena).unwrap());
        assert!(advice.iter().any(|issue| issue.diagnostics.contains("txt-2")), "{advice:?}");
    }
}

#[test]
fn what_is_no_resource() {
    for json in ["[]", "1", "null", "\"Patient\""] {
        assert_one(json, IssueType::Structure, "Resource", "expected a resource");
    }
    assert_one("{}", IssueType::Required, "Resource", "`resourceType` is missing");
    for json in [
        r#"{"resourceType":"Person2"}"#,
        r#"{"resourceType":7}"#,
        r#"{"resourceType":"DomainResource"}"#,
        r#"{"resourceType":"HumanName"}"#,
    ] {
        assert_one(json, IssueType::Structure, "Resource", "does not name a resource type");
    }
    assert_eq!(issues(r#"{"resourceType":"Patient"}"#), []);
    assert_eq!(issues(r#"{"id":"a","resourceType":"Patient"}"#), []);
}

#[test]
fn unknown_elements() {
    use IssueType::Structure;
    assert_patient(r#""nome":1"#, Structure, "Patient.nome", "`nome` is not an element of Patient");
    assert_patient(
        r#""contact":[{"name":{"family":"a"},"sex":"x"}]"#,
        Structure,
        "Patient.contact[0].sex",
        "not an element of Patient.contact",
    );
    assert_patient(r#""_name":[{"id":"a"}]"#, Structure, "Patient._name", "not an element");
    assert_patient(r#""deceased":true"#, Structure, "Patient.deceased", "deceasedBoolean, deceasedDateTime");
    assert_patient(r#""deceasedString":"x""#, Structure, "Patient.deceasedString", "not an element");
    assert_patient(r#""Ola Nordmann 010170":1"#, Structure, "Patient", "a member whose name is not the name of any element");
    assert_patient(r#""01017012345":1"#, Structure, "Patient", "a member whose name is not the name of any element");
    assert_patient(r#""":1"#, Structure, "Patient", "a member whose name is not the name of any element");
}

#[test]
fn json_types() {
    use IssueType::{Structure, Value};
    assert_patient(r#""name":{"family":"a"}"#, Structure, "Patient.name", "must be an array; found an object");
    assert_patient(r#""name":["a"]"#, Structure, "Patient.name[0]", "expected a HumanName (a JSON object), found a string");
    assert_patient(r#""name":[[{"family":"a"}]]"#, Structure, "Patient.name[0]", "found an array");
    assert_patient(r#""maritalStatus":[{"text":"a"}]"#, Structure, "Patient.maritalStatus", "expected one CodeableConcept, found an array");
    assert_patient(r#""maritalStatus":null"#, Structure, "Patient.maritalStatus", "found null");
    assert_patient(r#""active":"true""#, Value, "Patient.active", "expected true or false, without quotes");
    assert_patient(r#""birthDate":1999"#, Value, "Patient.birthDate", "is a date");
    assert_patient(r#""birthDate":{"a":1}"#, Structure, "Patient.birthDate", "found an object");
    assert_patient(r#""birthDate":["1999"]"#, Structure, "Patient.birthDate", "found an array");
    assert_patient(r#""multipleBirthInteger":1.5"#, Value, "Patient.multipleBirth", "whole number");
    assert_patient(r#""name":null"#, Structure, "Patient.name", "must be an array; found null");
    assert_patient(r#""name":[null]"#, Structure, "Patient.name[0]", "found null");
}

#[test]
fn empty_things() {
    use IssueType::{Structure, Value};
    assert_patient(r#""name":[]"#, Structure, "Patient.name", "an array cannot be empty");
    assert_patient(r#""name":[{}]"#, Structure, "Patient.name[0]", "an object cannot be empty");
    assert_patient(r#""birthDate":"""#, Value, "Patient.birthDate", "an empty string");
    assert_patient(r#""birthDate":null"#, Structure, "Patient.birthDate", "null; leave the property out");
    assert_patient(r#""_birthDate":{}"#, Structure, "Patient.birthDate", "");
    assert_patient(r#""birthDate":"1999","_birthDate":{}"#, Structure, "Patient.birthDate", "an object cannot be empty");
    assert_patient(r#""name":[{"id":"a"}]"#, IssueType::Invariant, "Patient.name[0]", "ele-1");
    assert_valid(r#""id":"a""#);
}

#[test]
fn cardinality() {
    use IssueType::{Required, Structure};
    assert_one(r#"{"resourceType":"Observation","status":"final"}"#, Required, "Observation.code", "`code` is missing");
    assert_eq!(places(r#"{"resourceType":"Observation","code":{"text":"a"}}"#), ["Observation.status"]);
    assert_patient(r#""link":[{"type":"refer"}]"#, Required, "Patient.link[0].other", "Patient.link needs it");
    assert_one(
        r#"{"resourceType":"MedicationRequest","status":"active","intent":"order","subject":{"display":"a"}}"#,
        Required,
        "MedicationRequest.medication",
        "`medication[x]` is missing",
    );
    assert_patient(r#""gender":"male","gender":"female""#, Structure, "Patient.gender", "`gender` stands here more than once");
    assert_patient(
        r#""_gender":{"id":"a"},"gender":"male","_gender":{"id":"b"}"#,
        Structure,
        "Patient.gender",
        "`_gender` stands here more than once",
    );
    assert_one(r#"{"resourceType":"Patient","resourceType":"Patient"}"#, Structure, "Patient.resourceType", "more than once");
}

#[test]
fn only_displayed_items_of_questionnaires_may_lack_a_link_id() {
    let item = |members: &str| format!(r#"{{"resourceType":"Questionnaire","status":"draft","item":[{{{members}}}]}}"#);
    assert_eq!(issues(&item(r#""type":"display","text":"a""#)), []);
    assert_eq!(places(&item(r#""type":"string","text":"a""#)), ["Questionnaire.item[0].linkId"]);
    assert_eq!(places(&item(r#""text":"display""#)), ["Questionnaire.item[0].linkId", "Questionnaire.item[0].type"]);
}

#[test]
fn choices_have_one_value() {
    use IssueType::Structure;
    let both = r#""deceasedBoolean":true,"deceasedDateTime":"1999""#;
    assert_patient(both, Structure, "Patient.deceased", "`deceasedDateTime` is a second one");
    let mixed = r#""deceasedBoolean":true,"_deceasedDateTime":{"extension":[{"url":"a","valueCode":"b"}]}"#;
    assert_patient(mixed, Structure, "Patient.deceased", "here are `deceasedBoolean` and `_deceasedDateTime`");
    assert_valid(r#""deceasedBoolean":true,"_deceasedBoolean":{"extension":[{"url":"a","valueCode":"b"}]}"#);
    let quantity = r#"{"resourceType":"Observation","status":"final","code":{"text":"a"},"valueQuantity":{"value":"1"}}"#;
    assert_one(quantity, IssueType::Value, "Observation.value.value", "is a decimal");
}

#[test]
fn formats_name_the_type_and_what_is_expected() {
    use IssueType::Value;
    assert_patient(
        r#""birthDate":"31.12.1999""#,
        Value,
        "Patient.birthDate",
        "`birthDate` is a date: expected a string YYYY, YYYY-MM or YYYY-MM-DD",
    );
    assert_patient(r#""gender":" male""#, Value, "Patient.gender", "is a code");
    assert_patient(r#""id":"a b""#, Value, "Patient.id", "is a id");
    assert_patient(r#""name":[{"given":["a","b\u0000"]}]"#, Value, "Patient.name[0].given[1]", "is a string");
    assert_patient(r#""meta":{"lastUpdated":"1999"}"#, Value, "Patient.meta.lastUpdated", "is a instant");
    assert_patient(r#""photo":[{"contentType":"image/png","data":"AAA"}]"#, Value, "Patient.photo[0].data", "base64");
    assert_patient(r#""text":{"status":"generated","div":"<p/>"}"#, Value, "Patient.text.div", "<div>");
    assert_patient(r#""name":[{"id":"a b","family":"c"}]"#, Value, "Patient.name[0].id", "is a string");
}

#[test]
fn primitives_have_siblings_with_extensions() {
    let why = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}"#;
    assert_valid(&format!(r#""_birthDate":{why}"#));
    assert_valid(&format!(r#""birthDate":"1999","_birthDate":{why}"#));
    assert_valid(r#""birthDate":"1999","_birthDate":{"id":"a"}"#);
    assert_valid(&format!(r#""name":[{{"given":["a",null],"_given":[null,{why}]}}]"#));
    assert_valid(&format!(r#""name":[{{"_given":[{why}],"given":[null]}}]"#));
    assert_valid(&format!(r#""name":[{{"_given":[{why},{why}]}}]"#));
    // A required element may say why it is absent.
    let required = format!(r#"{{"resourceType":"Observation","_status":{why},"code":{{"text":"a"}}}}"#);
    assert_eq!(issues(&required), []);
}

#[test]
fn siblings_that_do_not_fit() {
    use IssueType::{Invariant, Structure};
    assert_patient(r#""_birthDate":{"id":"a"}"#, Invariant, "Patient.birthDate", "ele-1");
    let why = r#"{"extension":[{"url":"a","valueCode":"unknown"}]}"#;
    let name = |members: String| format!(r#""name":[{{{members}}}]"#);
    let given = "Patient.name[0].given";
    assert_patient(&name(r#""given":["a",null]"#.into()), Structure, "Patient.name[0].given[1]", "null stands only where");
    assert_patient(&name(format!(r#""given":["a","b"],"_given":[{why}]"#)), Structure, given, "has 2 items and `_given` 1");
    assert_patient(
        &name(r#""given":["a",null],"_given":[null,null]"#.into()),
        Invariant,
        "Patient.name[0].given[1]",
        "neither a value nor",
    );
    assert_patient(&name(r#""given":["a"],"_given":{"id":"b"}"#.into()), Structure, given, "`_given` must be an array");
    assert_patient(&name(r#""given":["a"],"_given":[]"#.into()), Structure, given, "");
    assert_patient(&name(r#""given":["a"],"_given":["b"]"#.into()), Structure, "Patient.name[0].given[0]", "expected a Element");
    assert_patient(
        r#""birthDate":"1999","_birthDate":{"value":"a","id":"b"}"#,
        Structure,
        "Patient.birthDate.value",
        "not an element of Element",
    );
    for without in [r#""name":[{"family":"a","_id":{"id":"b"}}]"#, r#""extension":[{"url":"a","valueCode":"b","_url":{"id":"c"}}]"#] {
        assert_eq!(issues(&patient(without)).len(), 1, "{without}");
    }
    assert_patient(
        r#""text":{"status":"generated","div":"<div>a</div>","_div":{"id":"a"}}"#,
        Structure,
        "Patient.text._div",
        "not an element",
    );
}

#[test]
fn extensions_have_a_url_and_a_value_or_extensions() {
    use IssueType::{Invariant, Required};
    let extension = |members: &str| format!(r#""extension":[{{{members}}}]"#);
    assert_valid(&extension(r#""url":"a","valueReference":{"reference":"Patient/1"}"#));
    assert_valid(&extension(r#""url":"a","extension":[{"url":"b","valueCode":"c"}]"#));
    assert_valid(&extension(r#""url":"a","_valueCode":{"extension":[{"url":"b","valueCode":"c"}]}"#));
    assert_patient(&extension(r#""valueCode":"c""#), Required, "Patient.extension[0].url", "`url` is missing");
    assert_patient(&extension(r#""url":"a""#), Invariant, "Patient.extension[0]", "neither");
    let both = r#""url":"a","valueCode":"c","extension":[{"url":"b","valueCode":"c"}]"#;
    assert_patient(&extension(both), Invariant, "Patient.extension[0]", "one of the two");
    let two = r#""url":"a","valueCode":"c","valueString":"d""#;
    assert_patient(&extension(two), IssueType::Structure, "Patient.extension[0].value", "a second one");
    let deep = r#""birthDate":"1999","_birthDate":{"extension":[{"url":"a","valueDate":"x"}]}"#;
    assert_patient(deep, IssueType::Value, "Patient.birthDate.extension[0].value", "is a date");
}

#[test]
fn contained_resources() {
    use IssueType::{Invariant, Required, Structure};
    assert_valid(r##""contained":[{"resourceType":"Organization","id":"a","name":"b"}],"managingOrganization":{"reference":"#a"}"##);
    let used = r##""managingOrganization":{"reference":"#a"},"##;
    let contained = |json: &str| format!(r#"{used}"contained":[{json}]"#);
    assert_patient(&format!(r#""contained":[{}]"#, "{}"), Required, "Patient.contained[0]", "`resourceType` is missing");
    assert_patient(
        &contained(r#"{"resourceType":"Organization","id":"a","name":"b","nome":"b"}"#),
        Structure,
        "Patient.contained[0].nome",
        "Organization",
    );
    let nested = r#"{"resourceType":"Organization","id":"a","name":"b","contained":[{"resourceType":"Organization","name":"b"}]}"#;
    assert_patient(&contained(nested), Invariant, "Patient.contained[0].contained", "dom-2");
    let entry = r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","birthDate":"x"}}]}"#;
    assert_one(entry, IssueType::Value, "Bundle.entry[0].resource.birthDate", "is a date");
    let arena = Bump::new();
    assert_eq!(validate_frame(&parse(entry.as_bytes(), &arena).unwrap()), []);
}

#[test]
fn the_number_of_issues_is_bounded() {
    let names = vec![r#"{"family":1,"given":"a","nome":2}"#; 1_000].join(",");
    assert_eq!(issues(&patient(&format!(r#""name":[{names}]"#))).len(), MAX_ISSUES);
    let unknown: Vec<String> = (0..1_000).map(|i| format!(r#""a{i}":1"#)).collect();
    assert_eq!(issues(&patient(&unknown.join(","))).len(), MAX_ISSUES);
}

#[test]
fn messages_hold_no_values() {
    let secret = "Nordmann";
    for members in [
        r#""birthDate":"Nordmann","gender":" Nordmann","active":"Nordmann","name":"Nordmann","id":"Nordmann Nordmann""#,
        r#""name":["Nordmann"],"telecom":[{"value":["Nordmann"]}],"Nordmann Nordmann":1,"_birthDate":"Nordmann""#,
        r#""contained":[{"resourceType":"Nordmann"}],"link":[{"type":"Nordmann"}]"#,
    ] {
        let found = issues(&patient(members));
        assert!(found.len() >= 2 && !format!("{found:?}").contains(secret), "{found:?}");
    }
}

/// What becomes of one value of a document.
#[derive(Clone, Debug)]
enum Change {
    Delete,
    Duplicate,
    Replace(&'static str),
    Rename(&'static str),
    Wrap,
}

fn change() -> impl Strategy<Value = Change> {
    let values = vec![
        "null",
        "true",
        "0",
        "-1.5e3",
        "\"\"",
        "\"a\"",
        "\"1999-02-30\"",
        "[]",
        "{}",
        "[null]",
        "{\"id\":\"a\"}",
        "[[{}]]",
        "{\"resourceType\":\"Bundle\"}",
    ];
    let names = vec![
        "",
        "_",
        "__",
        "_id",
        "id",
        "extension",
        "_extension",
        "value",
        "valueString",
        "_valueString",
        "resourceType",
        "contained",
        "å",
    ];
    prop_oneof![
        Just(Change::Delete),
        Just(Change::Duplicate),
        prop::sample::select(values).prop_map(Change::Replace),
        prop::sample::select(names).prop_map(Change::Rename),
        Just(Change::Wrap),
    ]
}

/// The value with the `at`-th value inside it changed.
fn mutate<'a>(value: Value<'a>, at: &mut usize, change: &Change, arena: &'a Bump) -> Value<'a> {
    match value {
        Value::Array(items) => {
            let items = items.iter().flat_map(|item| mutate_member(("", *item), at, change, arena)).map(|(_, item)| item);
            Value::Array(bumpalo::collections::Vec::from_iter_in(items, arena).into_bump_slice())
        }
        Value::Object(members) => {
            let members = members.iter().flat_map(|member| mutate_member(*member, at, change, arena));
            Value::Object(bumpalo::collections::Vec::from_iter_in(members, arena).into_bump_slice())
        }
        other => other,
    }
}

fn mutate_member<'a>((name, value): Member<'a>, at: &mut usize, change: &Change, arena: &'a Bump) -> Vec<Member<'a>> {
    let here = *at == 0;
    *at = at.wrapping_sub(1);
    if !here {
        return vec![(name, mutate(value, at, change, arena))];
    }
    match change {
        Change::Delete => Vec::new(),
        Change::Duplicate => vec![(name, value), (name, value)],
        Change::Replace(json) => vec![(name, parse(json.as_bytes(), arena).unwrap())],
        Change::Rename(name) => vec![(name, value)],
        Change::Wrap => vec![(name, Value::Array(arena.alloc_slice_copy(&[value])))],
    }
}

fn size(value: Value<'_>) -> usize {
    value.items().iter().map(|item| 1 + size(*item)).sum::<usize>()
        + value.members().iter().map(|(_, value)| 1 + size(*value)).sum::<usize>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Real resources with a few changes: no panic, bounded issues, and places inside the resource.
    #[test]
    fn changed_resources_never_make_it_panic(which in any::<prop::sample::Index>(), changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..4)) {
        static EXAMPLES: std::sync::LazyLock<Vec<(String, Vec<u8>)>> = std::sync::LazyLock::new(|| testdata::files("fhir-r4/hl7-r4-examples"));
        if EXAMPLES.is_empty() {
            return Ok(());
        }
        let arena = Bump::new();
        let mut value = parse(&which.get(&EXAMPLES).1, &arena).unwrap();
        for (at, change) in &changes {
            value = mutate(value, &mut at.index(size(value).max(1)), change, &arena);
        }
        let found = validate(&value);
        prop_assert!(found.len() <= MAX_ISSUES);
        let root = value.str("resourceType").filter(|name| definitions::is_resource_type(name)).unwrap_or("Resource");
        prop_assert!(found.iter().all(|issue| issue.expression.as_ref().is_some_and(|at| at.starts_with(root))));
    }
}
