#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn scopes(text: &str) -> Scopes {
    Scopes::parse(text).unwrap()
}

fn observation(category: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"1","status":"final","category":[{{"coding":[{{"code":"{category}"}}]}}],"code":{{"text":"x"}}}}"#
    )
}

fn admits(scopes: &Scopes, act: Act, json: &str) -> bool {
    let arena = Bump::new();
    let resource = json::parse(json.as_bytes(), &arena).unwrap();
    let admitted = scopes.admits(act, &resource);
    let name = resource.str("resourceType").unwrap();
    assert_eq!(admitted, scopes.admits_stored(act, name, Some(json.as_bytes())));
    admitted
}

#[test]
fn both_versions_of_smart_are_read() {
    for (text, canonical) in [
        ("system/Observation.cruds", "system/Observation.cruds"),
        ("system/*.rs", "system/*.rs"),
        ("system/*.read", "system/*.rs"),
        ("system/Patient.write", "system/Patient.cud"),
        ("system/Patient.*", "system/Patient.cruds"),
        ("system/Patient.r  system/Patient.s", "system/Patient.rs"),
        ("system/Observation.rs?category=laboratory", "system/Observation.rs?category=laboratory"),
        (
            "system/Observation.r?status=final&code=http://loinc.org%7C8867-4",
            "system/Observation.r?code=http://loinc.org%7C8867-4&status=final",
        ),
        ("system/*.rs system/Observation.r", "system/*.rs"),
        ("system/Observation.rs system/Observation.r?status=final", "system/Observation.rs"),
    ] {
        assert_eq!(scopes(text).to_string(), canonical, "{text}");
        assert_eq!(scopes(canonical), scopes(text), "{text}");
    }
}

#[test]
fn what_cannot_be_enforced_is_refused() {
    for text in [
        "",
        "  ",
        "openid",
        "patient/Observation.rs",
        "user/*.read",
        "launch/patient",
        "system/Observation",
        "system/Observation.",
        "system/Observation.sr",
        "system/Observation.rr",
        "system/Observation.reads",
        "system/observation.r",
        "system/Patience.r",
        "system/.r",
        "System/Patient.r",
        "system/*.rs?_id=1",
        "system/Observation.read?category=laboratory",
        "system/Observation.rs?",
        "system/Observation.rs?shoe-size=44",
        "system/Observation.rs?_lastUpdated=gt2026",
        "system/Observation.rs?subject:Patient.name=peter",
        "system/Observation.rs?code:in=http://example.no/set",
        "system/Observation.rs?_count=10",
        "system/Observation.rs?date=ap2026",
        "system/Patient.rs?_has:Observation:patient:code=1",
        "system/Observation.rs?category=%zz",
    ] {
        assert!(Scopes::parse(text).is_err(), "{text}");
    }
    let many = (0..=MAX_SCOPES).map(|n| format!("system/Observation.r?_id={n}")).collect::<Vec<_>>().join(" ");
    assert!(Scopes::parse(&many).is_err());
    assert!(Scopes::parse(&format!("system/Observation.r?_id={}", "1".repeat(MAX_SCOPE_BYTES))).is_err());
    let deep: Vec<String> = (0..10).map(|n| format!("system/Observation.r?_id={n}&status=final&code={n}&category={n}")).collect();
    assert!(matches!(Scopes::parse(&deep.join(" ")), Err(ScopeError::Wrong { .. })), "4^10 alternatives");
}

#[test]
fn an_act_reaches_its_types_only() {
    let scopes = scopes("system/Observation.rs system/Patient.cu");
    for (act, name, reaches) in [
        (Act::Read, "Observation", true),
        (Act::Search, "Observation", true),
        (Act::Create, "Observation", false),
        (Act::Update, "Observation", false),
        (Act::Delete, "Observation", false),
        (Act::Create, "Patient", true),
        (Act::Update, "Patient", true),
        (Act::Read, "Patient", false),
        (Act::Read, "Condition", false),
    ] {
        assert_eq!(scopes.reaches(act, name), reaches, "{act:?} {name}");
    }
    let all = self::scopes("system/*.r");
    assert!(all.reaches(Act::Read, "Basic") && !all.reaches(Act::Search, "Basic"));
}

#[test]
fn a_part_of_a_type_is_decided_on_each_resource() {
    let scopes = scopes("system/Observation.r?category=laboratory system/Observation.r?category=exam system/Observation.c?status=final");
    assert!(admits(&scopes, Act::Read, &observation("laboratory")) && admits(&scopes, Act::Read, &observation("exam")));
    assert!(!admits(&scopes, Act::Read, &observation("vital-signs")));
    assert!(admits(&scopes, Act::Create, &observation("vital-signs")));
    assert!(!admits(&scopes, Act::Create, &observation("vital-signs").replace("final", "amended")));
    assert!(!scopes.admits_stored(Act::Read, "Observation", None), "whose a deletion was cannot be seen");
    assert!(!scopes.admits_stored(Act::Read, "Observation", Some(b"{")));
    assert!(!admits(&scopes, Act::Read, r#"{"resourceType":"Patient","id":"1"}"#));
}

#[test]
fn a_search_asks_for_what_the_scopes_reach() {
    assert!(scopes("system/Patient.s").criteria(Act::Search, "Observation").is_none());
    assert_eq!(scopes("system/*.s").criteria(Act::Search, "Observation").map(|c| c.len()), Some(0));
    let two = scopes("system/Observation.s?category=laboratory&status=final system/Observation.s?category=exam&code=1&_id=7");
    let criteria = two.criteria(Act::Search, "Observation").unwrap();
    assert_eq!(criteria.len(), 6);
    assert!(criteria.iter().all(|criterion| matches!(criterion, Criterion::Either(of) if of.len() == 2)));
    assert_eq!(scopes("system/Observation.s?category=a&status=final").criteria(Act::Search, "Observation").unwrap().len(), 2);
}

#[test]
fn a_token_has_no_more_than_its_client() {
    let within = |asked: &str, given: &str| scopes(asked).within(&scopes(given)).map(|scopes| scopes.to_string());
    assert_eq!(within("system/*.cruds", "system/Observation.rs").unwrap(), "system/Observation.rs");
    assert_eq!(within("system/Observation.rs", "system/*.cruds").unwrap(), "system/Observation.rs");
    assert_eq!(within("system/*.r", "system/Observation.rs?category=laboratory").unwrap(), "system/Observation.r?category=laboratory");
    let both = within("system/Observation.rs?status=final", "system/Observation.rs?category=laboratory").unwrap();
    assert_eq!(both, "system/Observation.rs?category=laboratory&status=final");
    assert_eq!(
        within("system/Observation.rs?status=final", "system/Observation.rs?status=final").unwrap(),
        "system/Observation.rs?status=final"
    );
    assert!(within("system/Patient.r", "system/Observation.rs").is_err());
    assert!(within("system/Observation.d", "system/Observation.rs").is_err());
    assert_eq!(within("system/Patient.r system/Observation.r", "system/Observation.rs").unwrap(), "system/Observation.r");
}
