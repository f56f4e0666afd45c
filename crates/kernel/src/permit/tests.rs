#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::live::schema::Storage;
use serde_json::{Value, json};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// An authority's permit, which each test changes a little.
fn surveillance() -> Value {
    json!({
        "id": "surveillance",
        "basis": "statutory_register",
        "applicant": "Institute of Public Health",
        "users": ["authority"],
        "purpose": "Surveillance of cancer treatment",
        "provision": {"law": "Health Register Act, section 11", "retention": "P10Y"},
        "tables": [
            {"table": "patient", "columns": ["patient_key", "gender", "birth_date"], "transforms": {"birth_date": "year"}},
            {"table": "treatment", "columns": "all", "transforms": {"code": {"generalise": 3}}},
            {"table": "observation", "columns": ["patient_key", "value"], "transforms": {"value": {"band": 10}}},
        ],
        "population": "everyone",
        "cadence": "live",
        "delivery": "enclave",
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2031-01-01T00:00:00Z",
        "decision": {"by": "centre", "at": "2025-12-01T09:00:00Z", "reasons": "The law provides for it"},
        "status": "active",
    })
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut permit = surveillance();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = permit.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.shift_remove(name);
        } else {
            parent.insert(name.to_owned(), value.clone());
        }
    }
    permit
}

fn parse(value: &Value) -> Result<Permit, PermitError> {
    Permit::parse(&value.to_string())
}

fn refusal(changes: &[(&str, Value)]) -> String {
    parse(&with(changes)).unwrap_err().to_string()
}

#[test]
fn a_permit_is_read_and_written_alike() {
    let permit = parse(&surveillance()).unwrap();
    assert_eq!(serde_json::to_value(permit.document()).unwrap(), surveillance());
    assert_eq!((permit.id(), permit.basis(), permit.cadence()), ("surveillance", Basis::StatutoryRegister, Cadence::Live));
    assert!(!permit.identified() && !permit.statistics_only());
}

#[test]
fn what_is_not_named_does_not_exist() {
    let permit = parse(&surveillance()).unwrap();
    assert_eq!(permit.covers("patient", "gender"), Some(Transform::Keep));
    assert_eq!(permit.covers("patient", "birth_date"), Some(Transform::Year));
    assert_eq!(permit.covers("patient", "postal_code"), None);
    assert_eq!(permit.covers("treatment", "code"), Some(Transform::Generalise(3)));
    assert_eq!(permit.covers("treatment", "started"), Some(Transform::Keep));
    assert_eq!(permit.covers("observation", "value"), Some(Transform::Band(10)));
    assert_eq!(permit.covers("condition", "code"), None);
    assert_eq!(permit.covers("Patient", "gender"), None);
    assert!(permit.covers_table("patient") && !permit.covers_table("condition"));
}

#[test]
fn a_permit_is_used_by_its_users_while_it_is_valid() {
    let permit = parse(&surveillance()).unwrap();
    assert!(permit.usable_by("authority", at("2026-01-01T00:00:00Z")));
    assert!(permit.usable_by("authority", at("2030-12-31T23:59:59.999Z")));
    assert!(!permit.usable_by("authority", at("2025-12-31T23:59:59.999Z")));
    assert!(!permit.usable_by("authority", at("2031-01-01T00:00:00Z")));
    assert!(!permit.usable_by("company", at("2026-06-01T00:00:00Z")));
    assert!(!permit.usable_by("Authority", at("2026-06-01T00:00:00Z")));
    assert!(!permit.usable_by("", at("2026-06-01T00:00:00Z")));
    let revoked = parse(&with(&[("/status", json!("revoked"))])).unwrap();
    assert!(!revoked.usable_by("authority", at("2026-06-01T00:00:00Z")));
}

#[test]
fn an_enclave_permit_is_reached_from_inside_only() {
    let enclave = parse(&surveillance()).unwrap();
    assert!(enclave.reachable(true) && !enclave.reachable(false));
    let remote = parse(&with(&[("/delivery", json!("remote"))])).unwrap();
    assert!(remote.reachable(true) && remote.reachable(false));
}

#[test]
fn care_covers_the_own_patients_of_the_hospital() {
    let permit = Permit::care("Oslo universitetssykehus", "ous");
    assert!(permit.identified() && !permit.statistics_only());
    assert_eq!(permit.covers("anything", "at_all"), Some(Transform::Keep));
    assert_eq!(permit.population(), &Population::OwnPatients { holder: "Oslo universitetssykehus".into() });
    assert!(permit.usable_by("ous", at("2026-01-01T00:00:00Z")) && permit.reachable(false));
    assert!(!permit.usable_by("authority", at("2026-01-01T00:00:00Z")));
    let refused =
        refusal(&[("/basis", json!("care")), ("/provision", Value::Null), ("/population", json!({"own_patients": {"holder": "H"}}))]);
    assert!(refused.contains("needs no permit"), "{refused}");
    assert!(refusal(&[("/id", json!("care"))]).contains("choose another"));
}

/// The whole grid, one line a basis: what Permit::parse takes, tried out for every combination.
#[test]
fn the_grid_of_the_legal_bases() {
    let populations = [
        ("everyone", json!("everyone")),
        ("study", json!({"study_subjects": {"studies": [{"holder": "H", "id": "s1"}], "consent_versions": ["2.0"]}})),
        ("criteria", json!({"criteria": {"rows": {"table": "condition", "where": {"in": {"column": "code", "codes": ["C50"]}}}}})),
        ("frozen", json!({"frozen": {"criteria": {"rows": {"table": "condition"}}}})),
        ("listed", json!({"listed": {}})),
        ("own", json!({"own_patients": {"holder": "H"}})),
    ];
    let mut grid = String::new();
    for basis in Basis::ALL {
        let rules = basis.rules();
        let provision = if rules.provision { json!({"law": "A law", "retention": "P1Y"}) } else { Value::Null };
        let mut line = Vec::new();
        for (population, value) in &populations {
            for delivery in ["enclave", "remote"] {
                let cadences = ["live", "daily", "weekly", "monthly", "frozen"].map(|cadence| {
                    let changes = [
                        ("/basis", json!(basis)),
                        ("/provision", provision.clone()),
                        ("/population", value.clone()),
                        ("/delivery", json!(delivery)),
                        ("/cadence", json!(cadence)),
                        ("/cadence_reason", json!("Outbreaks are seen within hours")),
                    ];
                    if parse(&with(&changes)).is_ok() { cadence.chars().next().unwrap() } else { '-' }
                });
                let cadences: String = cadences.iter().collect();
                if cadences.contains(|c| c != '-') {
                    line.push(format!("{population}/{delivery}/{cadences}"));
                }
            }
        }
        let level = if rules.statistics_only {
            "statistics"
        } else if rules.identified {
            "identified"
        } else {
            "pseudonymised"
        };
        grid.push_str(&format!("{basis}: {level} {}\n", line.join(" ")));
    }
    let expected = "\
ehds_permit: pseudonymised everyone/enclave/ldwmf criteria/enclave/ldwmf frozen/enclave/ldwmf listed/enclave/ldwmf
ehds_request: statistics everyone/enclave/-dwmf everyone/remote/-dwmf
statutory_register: pseudonymised everyone/enclave/ldwmf everyone/remote/ldwmf criteria/enclave/ldwmf criteria/remote/ldwmf \
frozen/enclave/ldwmf frozen/remote/ldwmf listed/enclave/ldwmf listed/remote/ldwmf
trial_protocol: pseudonymised study/enclave/ldwmf study/remote/ldwmf
direct_access: identified study/enclave/l---f
inspection: identified everyone/enclave/l---f study/enclave/l---f
care: identified \n";
    assert_eq!(grid, expected);
}

#[test]
fn a_refusal_says_what_and_why() {
    let study = json!({"study_subjects": {"studies": [{"holder": "H", "id": "s1"}]}});
    let cases: Vec<(Vec<(&str, Value)>, &str)> = vec![
        (
            vec![("/basis", json!("trial_protocol")), ("/provision", Value::Null)],
            "the legal basis trial_protocol does not cover everyone; it may cover study_subjects",
        ),
        (
            vec![("/basis", json!("ehds_request")), ("/provision", Value::Null)],
            "the legal basis ehds_request cannot be live; it may be daily, weekly, monthly, frozen",
        ),
        (
            vec![("/basis", json!("ehds_permit")), ("/provision", Value::Null), ("/delivery", json!("remote"))],
            "cannot deliver remote; it may deliver enclave",
        ),
        (vec![("/basis", json!("ehds_permit")), ("/provision", Value::Null)], "needs a reason for the cadence live"),
        (vec![("/basis", json!("trial_protocol")), ("/population", study)], "leave it out"),
        (vec![("/provision", Value::Null)], "rests on a legal provision"),
        (vec![("/provision/law", json!(" "))], "rests on a legal provision"),
        (vec![("/provision/retention", Value::Null)], "says how long rows are kept"),
        (vec![("/provision/retention", json!("ten years"))], "ISO 8601"),
        (vec![("/provision/retention", json!("-P1Y"))], "ISO 8601"),
        (vec![("/tables", json!("all"))], "opens named tables only"),
        (vec![("/tables", json!([]))], "at least one table"),
        (vec![("/tables", json!([{"table": "patient", "columns": []}]))], "at least one column"),
        (vec![("/tables", json!([{"table": "patient", "columns": ["a", "a"]}]))], "`a` is named twice"),
        (vec![("/tables", json!([{"table": "a", "columns": "all"}, {"table": "a", "columns": "all"}]))], "`a` is named twice"),
        (vec![("/tables", json!([{"table": "p; drop", "columns": "all"}]))], "no name of a table"),
        (vec![("/tables", json!([{"table": "patient", "columns": ["A"]}]))], "no name of a table or column"),
        (vec![("/tables", json!([{"table": "patient", "columns": ["a"], "transforms": {"b": "year"}}]))], "`b` is not among the columns"),
        (vec![("/tables", json!([{"table": "patient", "columns": ["a"], "transforms": {"a": {"band": 1}}}]))], "at least 2 wide"),
        (
            vec![("/tables", json!([{"table": "patient", "columns": ["a"], "transforms": {"a": {"generalise": 0}}}]))],
            "at least 1 character",
        ),
        (vec![("/tables", json!([{"table": "patient", "columns": "some"}]))], "\"all\" or a list"),
        (vec![("/tables", json!([{"table": "patient", "columns": ["a"], "where": "1=1"}]))], "unknown field `where`"),
        (vec![("/population", json!({"study_subjects": {"studies": []}}))], "at least one ResearchStudy"),
        (vec![("/population", json!({"study_subjects": {"studies": [{"holder": "", "id": "x"}]}}))], "no ResearchStudy"),
        (
            vec![("/population", json!({"study_subjects": {"studies": [{"holder": "H", "id": "s"}], "consent_versions": []}}))],
            "at least one version",
        ),
        (
            vec![
                ("/basis", json!("direct_access")),
                ("/provision", Value::Null),
                ("/population", json!({"study_subjects": {"studies": [{"holder": "H", "id": "s"}]}})),
            ],
            "needs a consent that allows it",
        ),
        (vec![("/population", json!({"criteria": {"rows": {"table": "condition", "at_least": 0}}}))], "write 1 or more"),
        (vec![("/population", json!({"criteria": {"all": []}}))], "at least one table"),
        (vec![("/population", json!({"criteria": {"rows": {"table": "condition", "where": {"now": {}}}}}))], "unknown variant `now`"),
        (vec![("/blinding", json!("open"))], "only the reader of a study"),
        (vec![("/limits", json!({"rows": 0}))], "answers nothing"),
        (vec![("/population", json!("nobody"))], "unknown variant `nobody`"),
        (vec![("/users", json!([]))], "at least one user"),
        (vec![("/users", json!(["a", "a"]))], "`a` is named twice"),
        (vec![("/users", json!(["a", " "]))], "a user has no name"),
        (vec![("/purpose", json!("  "))], "write something"),
        (vec![("/decision/by", json!(""))], "decision.by"),
        (vec![("/decision", Value::Null)], "missing field `decision`"),
        (vec![("/status", json!("draft"))], "unknown variant `draft`"),
        (vec![("/basis", json!("consent"))], "unknown variant `consent`"),
        (vec![("/valid_until", json!("2026-01-01T00:00:00Z"))], "after valid_from"),
        (vec![("/valid_until", json!("tomorrow"))], "cannot be read"),
        (vec![("/id", json!("a/b"))], "1 to 64 of the characters"),
        (vec![("/id", json!(""))], "1 to 64 of the characters"),
        (vec![("/opt_out", json!(false))], "unknown field `opt_out`"),
    ];
    for (changes, expected) in cases {
        let message = refusal(&changes);
        assert!(message.contains(expected), "{changes:?}: {message}");
    }
    assert!(matches!(Permit::parse("{"), Err(PermitError::Form(_))));
    assert!(matches!(Permit::parse(&" ".repeat(MAX_PERMIT_BYTES + 1)), Err(PermitError::Form(_))));
    let twice = surveillance().to_string().replacen("\"status\"", "\"id\":\"x\",\"status\"", 1);
    assert!(Permit::parse(&twice).unwrap_err().to_string().contains("duplicate field"));
}

#[test]
fn a_transform_fits_what_it_can_change() {
    assert!(Transform::Keep.fits(Storage::Patient));
    assert!(Transform::Year.fits(Storage::Date) && Transform::Month.fits(Storage::Instant) && !Transform::Year.fits(Storage::String));
    assert!(Transform::Band(5).fits(Storage::Decimal) && !Transform::Band(5).fits(Storage::Resource));
    assert!(Transform::Generalise(3).fits(Storage::Code) && !Transform::Generalise(3).fits(Storage::Holder));
}

#[test]
fn rules_of_the_bases_hold_together() {
    for basis in Basis::ALL {
        let rules = basis.rules();
        assert_eq!(json!(basis), json!(basis.name()));
        assert!(!(rules.identified && rules.statistics_only), "{basis}");
        assert!(!rules.retention || rules.provision, "{basis}");
        assert!(!rules.populations.is_empty() && !rules.cadences.is_empty() && !rules.deliveries.is_empty(), "{basis}");
        assert!(!rules.all_tables || basis == Basis::Care, "{basis}: data minimisation names its tables");
        assert!(!rules.statistics_only || !rules.cadences.contains(&Cadence::Live), "{basis}");
    }
}

#[test]
fn only_the_bases_that_the_centre_decides_on_take_an_application() {
    let by_application: Vec<Basis> = Basis::ALL.into_iter().filter(|basis| basis.rules().by_application).collect();
    assert_eq!(by_application, [Basis::EhdsPermit, Basis::EhdsRequest]);
    assert!(by_application.iter().all(|basis| basis.is_ehds()));
}

#[test]
fn the_commit_of_a_list_is_in_the_permit_and_not_in_the_register() {
    let frozen = json!({"frozen": {"criteria": {"rows": {"table": "condition"}}}});
    let permit = parse(&with(&[("/population", frozen.clone())])).unwrap();
    assert_eq!(permit.population().list_commit(), None);
    let permit = permit.frozen_at(Commit(7));
    let stored = serde_json::to_value(permit.document()).unwrap();
    assert_eq!((stored["population"]["frozen"]["commit"].clone(), permit.population().list_commit()), (json!(7), Some(Commit(7))));
    assert_eq!(parse(&stored).unwrap(), permit);
    let public = register::permit(&permit, at("2026-06-01T00:00:00Z"));
    assert!(!public.to_string().contains("commit") && public["population"]["frozen"].is_object());
    let empty = json!({"frozen": {"criteria": {"all": []}}});
    assert!(refusal(&[("/population", empty)]).contains("name at least one table"));
}
