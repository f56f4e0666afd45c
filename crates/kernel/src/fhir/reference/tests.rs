#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fhir::json::parse;
use crate::fhir::testdata;

/// What `decide` was asked, and the rewritten resource as JSON.
fn run(json: &str, with: &dyn Fn(&str) -> Option<&'static str>) -> (Vec<(String, String, bool)>, String) {
    let arena = Bump::new();
    let mut asked = Vec::new();
    let resource = parse(json.as_bytes(), &arena).unwrap();
    let new = rewrite(resource, &arena, &mut |text, place, reference| {
        asked.push((text.to_owned(), place.to_owned(), reference));
        with(text).map_or(Rewrite::Keep, Rewrite::Literal)
    });
    let mut out = Vec::new();
    new.write(&mut out);
    (asked, String::from_utf8(out).unwrap())
}

fn places(json: &str) -> Vec<(String, bool)> {
    run(json, &|_| None).0.into_iter().map(|(_, place, reference)| (place, reference)).collect()
}

fn place(name: &str, reference: bool) -> (String, bool) {
    (name.to_owned(), reference)
}

#[test]
fn references_and_uris_are_found_by_their_definition() {
    let patient = r#"{"resourceType":"Patient","implicitRules":"a","meta":{"profile":["b","c"],"source":"d"},
        "managingOrganization":{"reference":"e","type":"f"},"generalPractitioner":[{"display":"g"},{"reference":"h"}],
        "identifier":[{"system":"i","value":"urn:uuid:1","assigner":{"reference":"j"}}],"birthDate":"urn:uuid:2",
        "contact":[{"organization":{"reference":"k"}}],"photo":[{"url":"l"}],"reference":"m"}"#;
    let expected = [
        place("Patient.implicitRules", false),
        place("Patient.meta.profile[0]", false),
        place("Patient.meta.profile[1]", false),
        place("Patient.meta.source", false),
        place("Patient.managingOrganization.reference", true),
        place("Patient.managingOrganization.type", false),
        place("Patient.generalPractitioner[1].reference", true),
        place("Patient.identifier[0].system", false),
        place("Patient.identifier[0].assigner.reference", true),
        place("Patient.contact[0].organization.reference", true),
        place("Patient.photo[0].url", false),
    ];
    assert_eq!(places(patient), expected);
}

#[test]
fn extensions_siblings_and_contained_resources_are_visited() {
    let patient = r##"{"resourceType":"Patient","extension":[{"url":"a","valueReference":{"reference":"b"}},{"url":"a","valueUri":"c"},
        {"url":"a","valueString":"urn:uuid:1"},{"url":"a","extension":[{"url":"a","valueCanonical":"d"}]}],
        "_birthDate":{"extension":[{"url":"a","valueReference":{"reference":"e"}}]},
        "name":[{"given":["x"],"_given":[{"extension":[{"url":"a","valueUuid":"f"}]}]}],
        "contained":[{"resourceType":"Observation","subject":{"reference":"#g"}}]}"##;
    let expected = [
        place("Patient.extension[0].value.reference", true),
        place("Patient.extension[1].value", false),
        place("Patient.extension[3].extension[0].value", false),
        place("Patient.birthDate.extension[0].value.reference", true),
        place("Patient.name[0].given[0].extension[0].value", false),
        place("Patient.contained[0].subject.reference", true),
    ];
    assert_eq!(places(patient), expected);
}

#[test]
fn only_what_is_decided_changes() {
    let with = |text: &str| (text == "urn:uuid:1").then_some("Patient/1");
    let json = r#"{"resourceType":"Observation","status":"final","code":{"text":"urn:uuid:1"},"subject":{"reference":"urn:uuid:1","display":"a"},"hasMember":[{"reference":"urn:uuid:2"},{"reference":"urn:uuid:1"}],"valueQuantity":{"value":1.10}}"#;
    let expected = json.replace(r#"reference":"urn:uuid:1"#, r#"reference":"Patient/1"#);
    assert_eq!(run(json, &with).1, expected);
    let link = r#"{"resourceType":"Patient","meta":{"profile":["urn:uuid:1"]},"photo":[{"url":"urn:uuid:1"}]}"#;
    assert_eq!(run(link, &with).1, link.replace("urn:uuid:1", "Patient/1"));
}

#[test]
fn what_does_not_change_is_not_copied() {
    let arena = Bump::new();
    let json =
        r#"{"resourceType":"Observation","subject":{"reference":"a"},"performer":[{"reference":"b"}],"code":{"coding":[{"code":"c"}]}}"#;
    let old = parse(json.as_bytes(), &arena).unwrap();
    let same = |a: Value<'_>, b: Value<'_>| std::ptr::eq(a.members(), b.members()) && std::ptr::eq(a.items(), b.items());
    assert!(same(rewrite(old, &arena, &mut |_, _, _| Rewrite::Keep), old));
    let new = rewrite(old, &arena, &mut |text, _, _| if text == "b" { Rewrite::Literal("d") } else { Rewrite::Keep });
    assert!(!same(new, old) && !same(new.get("performer").unwrap(), old.get("performer").unwrap()));
    assert!(same(new.get("subject").unwrap(), old.get("subject").unwrap()) && same(new.get("code").unwrap(), old.get("code").unwrap()));
}

#[test]
fn logical_references() {
    let logical = |json: &str, system: Option<&'static str>| {
        let arena = Bump::new();
        let resource = parse(json.as_bytes(), &arena).unwrap();
        let new = rewrite(resource, &arena, &mut |text, _, _| match text {
            "c" => Rewrite::Logical { resource_type: Some("Practitioner"), system, value: "1" },
            "l" => Rewrite::Literal("Patient/1"),
            _ => Rewrite::Keep,
        });
        let mut out = Vec::new();
        new.write(&mut out);
        String::from_utf8(out).unwrap()
    };
    let observation = |reference: &str| format!(r#"{{"resourceType":"Observation","subject":{{{reference}}}}}"#);
    let conditional = observation(r#""reference":"c","display":"d""#);
    assert_eq!(
        logical(&conditional, Some("s")),
        observation(r#""type":"Practitioner","identifier":{"system":"s","value":"1"},"display":"d""#)
    );
    assert_eq!(logical(&conditional, None), observation(r#""type":"Practitioner","identifier":{"value":"1"},"display":"d""#));
    let own = observation(r#""_reference":{"id":"x"},"reference":"c","type":"T","identifier":{"value":"2","assigner":{"reference":"l"}}"#);
    let kept = observation(r#""type":"Practitioner","identifier":{"value":"2","assigner":{"reference":"Patient/1"}}"#);
    assert_eq!(logical(&own, None), kept);
    let uri = r#"{"resourceType":"Patient","implicitRules":"c"}"#;
    assert_eq!(logical(uri, None), uri);
}

#[test]
fn what_does_not_fit_stays() {
    for json in [
        "[]",
        r#"{"resourceType":"Nothing","subject":{"reference":"a"}}"#,
        r#"{"subject":{"reference":"a"}}"#,
        r#"{"resourceType":"Patient","managingOrganization":"a","name":[["a"]],"_birthDate":"a","meta":{"profile":"b","source":["c"]},"generalPractitioner":{"reference":1}}"#,
        r#"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"a","resource":{"resourceType":"Patient","managingOrganization":{"reference":"a"}}}]}"#,
    ] {
        let changed = run(json, &|text| (text == "a").then_some("z")).1;
        assert_eq!(changed, json);
    }
}

#[test]
fn real_resources_are_the_same_when_nothing_is_decided_and_lose_every_uuid_otherwise() {
    for (name, text) in testdata::documents() {
        let arena = Bump::new();
        let document = parse(&text, &arena).unwrap();
        for resource in
            document.get("entry").map_or(vec![document], |entries| entries.items().iter().filter_map(|e| e.get("resource")).collect())
        {
            assert_eq!(rewrite(resource, &arena, &mut |_, _, _| Rewrite::Keep), resource, "{name}");
            let new = rewrite(resource, &arena, &mut |text, _, reference| {
                if reference && text.starts_with("urn:uuid:") { Rewrite::Literal("x") } else { Rewrite::Keep }
            });
            let mut out = Vec::new();
            new.write(&mut out);
            let left = memchr::memmem::find(&out, b"\"reference\":\"urn:uuid:");
            assert!(left.is_none() || new.str("resourceType") == Some("Bundle"), "{name}");
        }
    }
}

#[test]
fn literals() {
    for (reference, expected) in [
        ("Patient/1", Some(("Patient", "1"))),
        ("Patient/1/_history/2", Some(("Patient", "1"))),
        ("http://host/fhir/Patient/1", None),
        ("https://host:8080/Patient/a-b.c/_history/x", None),
        ("#Patient/1", None),
        ("#a", None),
        ("", None),
        ("Patient", None),
        ("Patient/", None),
        ("/Patient/1", None),
        ("fhir/Patient/1", None),
        ("ftp://host/Patient/1", None),
        ("http:///Patient/1", None),
        ("http://Patient/1", None),
        ("http://host/?a=/Patient/1", None),
        ("patient/1", None),
        ("DomainResource/1", None),
        ("Patient/a b", None),
        ("Patient/1/_history/", None),
        ("Patient?identifier=a", None),
        ("Patient/1#a", None),
        ("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", None),
    ] {
        assert_eq!(literal(reference), expected, "{reference}");
    }
}
