#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::permit::procedure::{By, CENTRE};
use serde_json::json;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-03-10T09:00:00Z")
}

fn actor(user: &str, organisation: &str, centre: bool) -> Actor {
    Actor { by: By { user: user.into(), organisation: organisation.into() }, group: organisation.into(), centre }
}

fn anne() -> Actor {
    actor("anne", "pharma", false)
}

fn centre(user: &str) -> Actor {
    actor(user, CENTRE, true)
}

fn permit(basis: &str) -> Permit {
    let mut json = json!({
        "id": "p1", "basis": basis, "applicant": "Pharma AS", "users": ["anne"], "purpose": "Research",
        "tables": [{"table": "patient", "columns": "all"}], "population": "everyone", "cadence": "daily", "delivery": "enclave",
        "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z", "status": "active",
        "decision": {"by": "dag", "at": "2026-01-01T00:00:00Z", "reasons": "Reasons"},
    });
    if basis == "statutory_register" {
        json["provision"] = json!({"law": "made up", "retention": "P1Y"});
    }
    Permit::parse(&json.to_string()).unwrap()
}

fn open() -> Hearing {
    Hearing::open(&centre("cato"), &permit("ehds_permit"), "Used for marketing", None, now()).unwrap()
}

/// A hearing in each state, and when it is in it; twice where there are two ways.
fn in_states() -> Vec<(HearingState, Hearing, Timestamp)> {
    let permit = permit("ehds_permit");
    let heard = open().state_views(&anne(), &permit, "It was not", now()).unwrap();
    let decide = |revoke| heard.decide(&centre("dag"), &permit, "pharma", revoke, "Reasons", now()).unwrap();
    vec![
        (HearingState::Open, open(), now()),
        (HearingState::Heard, heard.clone(), now()),
        (HearingState::Heard, open(), at("2026-04-07T22:00:00Z")),
        (HearingState::Revoked, decide(true), now()),
        (HearingState::Kept, decide(false), now()),
    ]
}

#[test]
fn every_state_of_a_hearing_and_every_act() {
    let permit = permit("ehds_permit");
    for (state, hearing, now) in in_states() {
        assert_eq!(hearing.state(now), state);
        assert_eq!(Hearing::parse(&serde_json::to_string(&hearing).unwrap()).unwrap(), hearing);
        let views = hearing.state_views(&anne(), &permit, "Views", now);
        assert_eq!(views.is_ok(), state == HearingState::Open, "{state:?}");
        assert_eq!(hearing.deadline(now).is_some(), state == HearingState::Open);
        for (revoke, to) in [(true, HearingState::Revoked), (false, HearingState::Kept)] {
            match hearing.decide(&centre("dag"), &permit, "pharma", revoke, "Reasons", now) {
                Ok(decided) => assert_eq!((state, decided.state(now)), (HearingState::Heard, to)),
                Err(error) => assert!(state != HearingState::Heard && matches!(error, ProcedureError::State(_)), "{state:?}: {error}"),
            }
        }
    }
}

#[test]
fn the_user_is_heard_for_at_most_four_weeks_and_another_person_decides() {
    let permit = permit("ehds_permit");
    let until = |until: &str| Hearing::open(&centre("cato"), &permit, "Findings", Some(at(until)), now());
    assert!(until("2026-04-07T22:00:00Z").is_ok());
    assert!(until("2026-04-07T22:00:01Z").is_err() && until("2026-03-10T09:00:00Z").is_err());
    assert!(matches!(Hearing::open(&anne(), &permit, "Findings", None, now()), Err(ProcedureError::Person(_))));
    assert!(matches!(open().state_views(&actor("berit", "pharma", false), &permit, "Views", now()), Err(ProcedureError::Person(_))));
    let heard = open().state_views(&anne(), &permit, "Views", now()).unwrap();
    for who in [centre("cato"), anne(), actor("anne", CENTRE, true), actor("erik", "pharma", true)] {
        let decided = heard.decide(&who, &permit, "pharma", true, "Reasons", now());
        assert!(matches!(decided, Err(ProcedureError::Person(_))), "{who:?}");
    }
    let gone = revoked(&permit).unwrap();
    assert_eq!(gone.document().status, Status::Revoked);
    assert!(Hearing::open(&centre("cato"), &gone, "Findings", None, now()).is_err());
}

fn request(basis: &str, before: Option<&Extension>, until: &str, now: Timestamp) -> Result<Extension, ProcedureError> {
    Extension::request(&anne(), &permit(basis), before, at(until), "More to do", now)
}

#[test]
fn every_state_of_an_extension_and_every_act() {
    let permit = permit("ehds_permit");
    let requested = request("ehds_permit", None, "2028-01-01T00:00:00Z", now()).unwrap();
    let decide = |extension: &Extension, grant| extension.decide(&centre("dag"), &permit, "pharma", grant, "Reasons", now());
    let (granted, refused) = (decide(&requested, true).unwrap(), decide(&requested, false).unwrap());
    for (state, extension) in
        [(ExtensionState::Requested, &requested), (ExtensionState::Granted, &granted), (ExtensionState::Refused, &refused)]
    {
        assert_eq!(extension.state(), state);
        assert_eq!(Extension::parse(&serde_json::to_string(extension).unwrap()).unwrap(), *extension);
        for grant in [true, false] {
            assert_eq!(decide(extension, grant).is_ok(), state == ExtensionState::Requested, "{state:?}");
        }
        let again = request("ehds_permit", Some(extension), "2028-01-01T00:00:00Z", now());
        assert_eq!(again.is_ok(), state == ExtensionState::Refused, "{state:?}: once, and one at a time");
        let other = request("statutory_register", Some(extension), "2028-01-01T00:00:00Z", now());
        assert_eq!(other.is_ok(), state != ExtensionState::Requested, "{state:?}: as often as the law says");
    }
    assert_eq!(granted.extended(&permit).unwrap().document().valid_until, at("2028-01-01T00:00:00Z"));
    for who in [anne(), actor("anne", CENTRE, true), actor("erik", "pharma", true)] {
        assert!(matches!(requested.decide(&who, &permit, "pharma", true, "Reasons", now()), Err(ProcedureError::Person(_))), "{who:?}");
    }
    let gone = revoked(&permit).unwrap();
    assert!(requested.decide(&centre("dag"), &gone, "pharma", true, "Reasons", now()).is_err());
    assert!(requested.decide(&centre("dag"), &gone, "pharma", false, "Reasons", now()).is_ok());
}

#[test]
fn an_extension_is_asked_for_in_time_and_has_an_end() {
    let until = "2028-01-01T00:00:00Z";
    for (basis, until, now, ok) in [
        ("ehds_permit", until, "2026-11-30T23:00:00Z", true),
        ("ehds_permit", until, "2026-12-01T12:00:00Z", false),
        ("statutory_register", until, "2026-12-01T12:00:00Z", true),
        ("statutory_register", until, "2027-01-01T00:00:00Z", false),
        ("ehds_permit", "2027-01-01T00:00:00Z", "2026-03-10T09:00:00Z", false),
        ("ehds_permit", "2037-01-01T00:00:00Z", "2026-03-10T09:00:00Z", true),
        ("ehds_permit", "2037-01-01T00:00:01Z", "2026-03-10T09:00:00Z", false),
        ("statutory_register", "2047-01-01T00:00:00Z", "2026-03-10T09:00:00Z", true),
    ] {
        assert_eq!(request(basis, None, until, at(now)).is_ok(), ok, "{basis} {until} {now}");
    }
}
