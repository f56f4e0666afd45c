#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::permit::document::Blinding;
use crate::permit::procedure::{By, CENTRE};
use crate::permit::purpose::{ProhibitedUse, Purpose};
use serde_json::{Value, json};

const START: &str = "2026-03-10T09:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn organisation(public_body: bool) -> Organisation {
    let json = json!({"id": "pharma", "name": "Pharma AS", "group": "pharma-group", "public_body": public_body, "users": ["anne", "berit"], "verified": "register of entities"});
    Organisation::parse(&json.to_string()).unwrap()
}

fn actor(user: &str, organisation: &str, group: &str, centre: bool) -> Actor {
    Actor { by: By { user: user.into(), organisation: organisation.into() }, group: group.into(), centre }
}

fn anne() -> Actor {
    actor("anne", "pharma", "pharma-group", false)
}

fn centre(user: &str) -> Actor {
    actor(user, CENTRE, CENTRE, true)
}

fn content() -> Value {
    let answers: serde_json::Map<String, Value> = ProhibitedUse::ALL
        .iter()
        .map(|q| (q.name().to_owned(), json!({"intended": false, "explanation": "Ruled out by contract"})))
        .collect();
    json!({
        "basis": "ehds_permit", "title": "Effect of treatment", "users": ["anne"], "purpose": "Which treatment helps whom",
        "purposes": ["research"], "prohibited_uses": answers, "safeguards": "Two-factor login; nobody else has access",
        "tables": [{"table": "patient", "columns": [
            {"names": ["gender"], "transform": "keep", "justification": "Effects differ", "transform_justification": "Three values"},
            {"names": ["birth_date"], "transform": "year", "justification": "Age matters", "transform_justification": "Decades hide it"}]}],
        "population": {"value": "everyone", "justification": "Rare outcomes"},
        "cadence": {"value": "live", "justification": "Safety"},
        "delivery": "enclave", "valid_from": "2026-04-01T00:00:00Z", "valid_until": "2030-04-01T00:00:00Z",
    })
}

fn parsed(json: Value) -> Content {
    serde_json::from_value(json).unwrap()
}

fn draft() -> Application {
    Application::open("a1", &anne(), &organisation(false), parsed(content()), at(START)).unwrap()
}

/// Every act, as somebody who may do it would.
fn what(act: Act) -> Option<(Actor, What)> {
    let reasons = || "Reasons".to_owned();
    Some(match act {
        Act::Edit => return None,
        Act::Submit => (anne(), What::Submit),
        Act::FindIncomplete => {
            (centre("cato"), What::FindIncomplete { missing: vec![Missing { field: "purpose".into(), what: "more".into() }] })
        }
        Act::FindComplete => (centre("cato"), What::FindComplete),
        Act::Prolong => (centre("cato"), What::Prolong { reasons: reasons() }),
        Act::Assess => (centre("cato"), What::Assess { grant: true, reasons: reasons() }),
        Act::Grant => (centre("dag"), What::Grant { permit: "p1".into(), reasons: reasons() }),
        Act::Refuse => (centre("dag"), What::Refuse { reasons: reasons() }),
        Act::Withdraw => (anne(), What::Withdraw),
    })
}

fn try_act(application: &Application, act: Act, now: Timestamp) -> Result<Application, ProcedureError> {
    match what(act) {
        Some((actor, what)) => application.take(&actor, &organisation(false), what, now),
        None => application.edit(&anne(), &organisation(false), parsed(content()), now),
    }
}

fn after(acts: &[Act]) -> Application {
    acts.iter().fold(draft(), |application, act| try_act(&application, *act, at(START)).unwrap())
}

/// An application in each state, and when it is in it.
fn in_state(state: State) -> (Application, Timestamp) {
    use Act::{Assess, FindComplete, FindIncomplete, Grant, Refuse, Submit, Withdraw};
    let acts: &[Act] = match state {
        State::Draft => &[],
        State::Submitted => &[Submit],
        State::Incomplete | State::Lapsed => &[Submit, FindIncomplete],
        State::Complete => &[Submit, FindComplete],
        State::Assessed => &[Submit, FindComplete, Assess],
        State::Granted => &[Submit, FindComplete, Assess, Grant],
        State::Refused => &[Submit, FindComplete, Assess, Refuse],
        State::Withdrawn => &[Submit, Withdraw],
    };
    (after(acts), if state == State::Lapsed { at("2026-04-08T00:00:00Z") } else { at(START) })
}

/// The table of DESIGN.md, section 7, written out: state, then what each act leads to. It is not taken from the code.
const TABLE: [(State, &[(Act, State)]); 9] = [
    (State::Draft, &[(Act::Edit, State::Draft), (Act::Submit, State::Submitted), (Act::Withdraw, State::Withdrawn)]),
    (
        State::Submitted,
        &[(Act::FindIncomplete, State::Incomplete), (Act::FindComplete, State::Complete), (Act::Withdraw, State::Withdrawn)],
    ),
    (State::Incomplete, &[(Act::Edit, State::Incomplete), (Act::Submit, State::Submitted), (Act::Withdraw, State::Withdrawn)]),
    (State::Lapsed, &[]),
    (State::Complete, &[(Act::Prolong, State::Complete), (Act::Assess, State::Assessed), (Act::Withdraw, State::Withdrawn)]),
    (
        State::Assessed,
        &[(Act::Prolong, State::Assessed), (Act::Grant, State::Granted), (Act::Refuse, State::Refused), (Act::Withdraw, State::Withdrawn)],
    ),
    (State::Granted, &[]),
    (State::Refused, &[]),
    (State::Withdrawn, &[]),
];

#[test]
fn every_state_and_every_act() {
    assert_eq!(TABLE.map(|(state, _)| state), State::ALL);
    for (state, leads) in TABLE {
        let (application, now) = in_state(state);
        assert_eq!(application.state(now), state);
        for act in Act::ALL {
            let expected = leads.iter().find(|(possible, _)| *possible == act).map(|(_, to)| *to);
            assert_eq!(state.after(act), expected, "{state} {act}");
            match (try_act(&application, act, now), expected) {
                (Ok(after), Some(to)) => assert_eq!(after.state(now), to, "{state} {act}"),
                (Err(ProcedureError::State(said)), None) => assert!(said.contains(state.name()) && said.contains(act.name()), "{said}"),
                (other, _) => panic!("{state} {act}: {other:?}"),
            }
        }
    }
}

#[test]
fn who_may_do_what() {
    let same_user = actor("anne", CENTRE, CENTRE, true);
    let same_group = actor("erik", "other", "pharma-group", true);
    let stranger = actor("fred", "rival", "rival", false);
    for (state, act, wrong) in [
        (State::Draft, Act::Submit, vec![stranger.clone(), centre("cato")]),
        (State::Draft, Act::Withdraw, vec![stranger.clone(), centre("cato")]),
        (State::Submitted, Act::FindComplete, vec![stranger.clone(), anne()]),
        (State::Submitted, Act::FindIncomplete, vec![stranger.clone(), anne()]),
        (State::Complete, Act::Prolong, vec![stranger.clone(), anne()]),
        (State::Complete, Act::Assess, vec![stranger.clone(), anne(), same_user.clone(), same_group.clone()]),
        (State::Assessed, Act::Grant, vec![stranger.clone(), anne(), same_user.clone(), same_group.clone(), centre("cato")]),
        (State::Assessed, Act::Refuse, vec![stranger, anne(), same_user, same_group, centre("cato")]),
    ] {
        let (application, now) = in_state(state);
        for who in wrong {
            let refused = application.take(&who, &organisation(false), what(act).unwrap().1, now);
            assert!(matches!(refused, Err(ProcedureError::Person(_))), "{act} by {who:?}: {refused:?}");
        }
    }
    assert!(matches!(draft().edit(&centre("cato"), &organisation(false), parsed(content()), at(START)), Err(ProcedureError::Person(_))));
    let foreign = Application::open("a2", &centre("cato"), &organisation(false), parsed(content()), at(START));
    assert!(matches!(foreign, Err(ProcedureError::Person(_))));
}

#[test]
fn what_is_missing_is_named() {
    let organisation = organisation(false);
    let missing_without = |path: &str| {
        let mut json = content();
        json.as_object_mut().unwrap().remove(path);
        missing(&parsed(json), &organisation).into_iter().map(|m| m.field).collect::<Vec<_>>()
    };
    assert_eq!(draft().missing(&organisation), []);
    for field in ["title", "purpose", "users", "purposes", "safeguards", "tables", "population", "cadence", "delivery"] {
        assert_eq!(missing_without(field), [field], "{field}");
    }
    assert_eq!(missing_without("valid_from"), ["valid_until"]);
    assert_eq!(missing_without("prohibited_uses").len(), 5, "each question of Art. 54");
    let changed = |pointer: &str, value: Value| {
        let mut json = content();
        *json.pointer_mut(pointer).unwrap() = value;
        let application = Application::open("a1", &anne(), &organisation, parsed(json), at(START)).unwrap();
        application.missing(&organisation).into_iter().map(|m| m.field).collect::<Vec<_>>()
    };
    assert_eq!(changed("/tables/0/columns/0/justification", json!(" ")), ["tables.patient.gender.justification"]);
    assert_eq!(changed("/tables/0/columns/1/transform_justification", json!("")), ["tables.patient.birth_date.transform_justification"]);
    assert_eq!(changed("/population/justification", json!("")), ["population.justification"]);
    assert_eq!(changed("/cadence/justification", json!("")), ["cadence.justification"]);
    assert_eq!(changed("/prohibited_uses/marketing/explanation", json!("")), ["prohibited_uses.marketing.explanation"]);
    assert_eq!(changed("/valid_until", json!("2036-04-02T00:00:00Z")), ["valid_until"], "at most ten years");
    assert_eq!(changed("/delivery", json!("remote")), ["delivery"], "the rules of the basis");
    assert_eq!(changed("/tables/0/columns/0/names", json!(["birth_date"])), ["tables.patient.columns"], "a column twice");
}

#[test]
fn what_is_incomplete_is_not_found_complete() {
    let mut json = content();
    json.as_object_mut().unwrap().remove("safeguards");
    let submitted = Application::open("a1", &anne(), &organisation(false), parsed(json), at(START)).unwrap();
    let submitted = submitted.take(&anne(), &organisation(false), What::Submit, at(START)).unwrap();
    let found = submitted.take(&centre("cato"), &organisation(false), What::FindComplete, at(START));
    assert!(matches!(found, Err(ProcedureError::Field { field, .. }) if field == "safeguards"));
}

#[test]
fn purposes_by_kind_of_applicant() {
    for purpose in Purpose::ALL {
        let mut json = content();
        json["purposes"] = json!([purpose]);
        let content = parsed(json);
        let for_all = matches!(purpose.point(), 'd' | 'e' | 'f');
        assert_eq!(missing(&content, &organisation(false)).is_empty(), for_all, "{purpose:?}");
        assert_eq!(missing(&content, &organisation(true)), [], "{purpose:?}");
    }
}

#[test]
fn a_prohibited_use_can_only_be_refused() {
    for question in ProhibitedUse::ALL {
        let mut json = content();
        json["prohibited_uses"][question.name()]["intended"] = json!(true);
        let mut application = Application::open("a1", &anne(), &organisation(false), parsed(json), at(START)).unwrap();
        for act in [Act::Submit, Act::FindComplete, Act::Assess] {
            application = try_act(&application, act, at(START)).unwrap();
        }
        let granted = try_act(&application, Act::Grant, at(START));
        assert!(matches!(&granted, Err(ProcedureError::State(said)) if said.contains("Art. 54")), "{granted:?}");
        assert!(try_act(&application, Act::Refuse, at(START)).is_ok());
    }
}

#[test]
fn other_bases_rest_on_other_approvals_and_have_no_clock() {
    let mut json = content();
    json["basis"] = json!("trial_protocol");
    json["population"]["value"] = json!({"study_subjects": {"studies": [{"holder": "H", "id": "s"}]}});
    let lacks = missing(&parsed(json.clone()), &organisation(false));
    assert_eq!(lacks.iter().map(|m| m.field.as_str()).collect::<Vec<_>>(), ["approvals", "approvals", "approvals", "blinding"]);
    let approval = |kind: &str| json!({"kind": kind, "by": "REK", "reference": "2026/1", "at": START});
    json["approvals"] = json!([approval("ethics"), approval("holder"), approval("consent_version")]);
    json["blinding"] = json!({"blinded": {"columns": [{"table": "patient", "columns": ["gender"]}]}});
    json["limits"] = json!({"rows": 1000});
    let application = Application::open("a1", &anne(), &organisation(false), parsed(json), at(START)).unwrap();
    assert_eq!(application.missing(&organisation(false)), []);
    let permit = application.permit(&organisation(false), "p", &centre("cato"), "R", at(START)).unwrap();
    let Some(Blinding::Blinded { columns, .. }) = &permit.document().blinding else { panic!("{:?}", permit.document()) };
    assert_eq!((columns.len(), permit.document().limits.and_then(|limits| limits.rows)), (1, Some(1000)), "as it was asked for");
    let submitted = try_act(&application, Act::Submit, at(START)).unwrap();
    assert_eq!(submitted.deadline(at(START)), None);
    let incomplete = try_act(&submitted, Act::FindIncomplete, at(START)).unwrap();
    assert_eq!(incomplete.state(at("2030-01-01T00:00:00Z")), State::Incomplete, "nothing lapses");
}

#[test]
fn clocks() {
    let due = |application: &Application| application.deadline(at(START)).map(|d| (d.who, d.article, d.due));
    let three_months = Some((Debtor::Centre, "Art. 68(4)", at("2026-06-10T22:00:00Z")));
    assert_eq!(due(&draft()), None);
    for state in [State::Submitted, State::Complete, State::Assessed] {
        assert_eq!(due(&in_state(state).0), three_months, "{state}");
    }
    assert_eq!(due(&in_state(State::Incomplete).0), Some((Debtor::Applicant, "Art. 68(4)", at("2026-04-07T22:00:00Z"))));
    for state in [State::Granted, State::Refused, State::Withdrawn] {
        assert_eq!(due(&in_state(state).0), None, "{state}");
    }
    let prolonged = after(&[Act::Submit, Act::FindComplete, Act::Prolong]);
    assert_eq!(due(&prolonged).map(|d| d.2), Some(at("2026-09-10T22:00:00Z")));
    assert!(matches!(try_act(&prolonged, Act::Prolong, at(START)), Err(ProcedureError::State(_))), "once");
    let late = try_act(&in_state(State::Complete).0, Act::Prolong, at("2026-06-11T00:00:00Z"));
    assert!(matches!(late, Err(ProcedureError::State(_))), "not once it is overdue");
    let mut json = content();
    json["basis"] = json!("ehds_request");
    json["cadence"]["value"] = json!("daily");
    let request = Application::open("a1", &anne(), &organisation(false), parsed(json), at(START)).unwrap();
    assert_eq!(due(&try_act(&request, Act::Submit, at(START)).unwrap()).map(|d| d.1), Some("Art. 69"));
}

/// Art. 69 counts from the receipt of a request, and knows no prolongation.
#[test]
fn the_clock_of_a_request_runs_from_its_receipt() {
    let mut json = content();
    json["basis"] = json!("ehds_request");
    json["cadence"]["value"] = json!("daily");
    let mut request = Application::open("a1", &anne(), &organisation(false), parsed(json), at(START)).unwrap();
    let later = at("2026-03-20T09:00:00Z");
    for (act, now) in [(Act::Submit, at(START)), (Act::FindIncomplete, at(START)), (Act::Submit, later), (Act::FindComplete, later)] {
        request = try_act(&request, act, now).unwrap();
    }
    assert_eq!(request.deadline(later).map(|d| (d.since, d.due)), Some((at(START), at("2026-06-10T22:00:00Z"))));
    let prolonged = try_act(&request, Act::Prolong, later);
    assert!(matches!(&prolonged, Err(ProcedureError::State(said)) if said.contains("Art. 69")), "{prolonged:?}");
    let mut permit = draft();
    for (act, now) in [(Act::Submit, at(START)), (Act::FindIncomplete, at(START)), (Act::Submit, later)] {
        permit = try_act(&permit, act, now).unwrap();
    }
    assert_eq!(permit.deadline(later).map(|d| d.since), Some(later), "that of a permit runs from the complete application");
}

/// Art. 68(6): two months and one more, for public sector bodies with a mandate in the field of public health, and their purposes.
#[test]
fn the_accelerated_procedure() {
    let with_mandate = Organisation { public_health: true, ..organisation(true) };
    let due = |applicant: &Organisation, purposes: Value| {
        let mut json = content();
        json["purposes"] = purposes;
        let draft = Application::open("a1", &anne(), applicant, parsed(json), at(START)).unwrap();
        let submitted = draft.take(&anne(), applicant, What::Submit, at(START)).unwrap();
        let complete = submitted.take(&centre("cato"), applicant, What::FindComplete, at(START)).unwrap();
        let prolonged = complete.take(&centre("cato"), applicant, What::Prolong { reasons: "Many".to_owned() }, at(START)).unwrap();
        let due = |application: &Application| application.deadline(at(START)).map(|d| (d.article, d.due)).unwrap();
        assert_eq!(Application::parse(&complete.to_json().unwrap()).unwrap(), complete);
        (due(&complete), due(&prolonged).1)
    };
    let accelerated = (("Art. 68(6)", at("2026-05-11T22:00:00Z")), at("2026-06-10T22:00:00Z"));
    assert_eq!(due(&with_mandate, json!(["public_health", "statistics"])), accelerated, "10 May 2026 is a Sunday");
    let ordinary = (("Art. 68(4)", at("2026-06-10T22:00:00Z")), at("2026-09-10T22:00:00Z"));
    assert_eq!(due(&with_mandate, json!(["public_health", "research"])), ordinary, "research is for everybody");
    assert_eq!(due(&organisation(true), json!(["public_health"])), ordinary, "no mandate in public health");
    let private = Organisation { public_body: false, ..with_mandate };
    assert!(Organisation::parse(&serde_json::to_string(&private).unwrap()).unwrap_err().to_string().contains("public_body"));
}

#[test]
fn persons_are_named_by_the_applicant_while_it_can_be_changed() {
    let mut json = content();
    json["population"]["value"] = json!({"listed": {}});
    let draft = Application::open("a1", &anne(), &organisation(false), parsed(json), at(START)).unwrap();
    assert_eq!(draft.missing(&organisation(false)).into_iter().map(|m| m.field).collect::<Vec<_>>(), ["population.listed"]);
    let name = |application: &Application, who: &Actor| application.name_persons(who, &organisation(false), 3, at(START));
    assert!(matches!(name(&draft, &centre("cato")), Err(ProcedureError::Person(_))));
    let named = name(&draft, &anne()).unwrap();
    assert_eq!((named.missing(&organisation(false)), named.named().map(|named| named.persons)), (Vec::new(), Some(3)));
    assert_eq!(Application::parse(&named.to_json().unwrap()).unwrap(), named);
    let submitted = try_act(&named, Act::Submit, at(START)).unwrap();
    assert!(matches!(name(&submitted, &anne()), Err(ProcedureError::State(_))), "what was handed in stays as it is");
}

#[test]
fn four_weeks_to_complete_and_then_it_lapses() {
    let (incomplete, _) = in_state(State::Incomplete);
    let last = at("2026-04-07T21:59:59Z");
    assert_eq!(incomplete.state(last), State::Incomplete);
    let completed = try_act(&incomplete, Act::Submit, last).unwrap();
    assert_eq!(completed.state(at("2027-01-01T00:00:00Z")), State::Submitted);
    assert_eq!(completed.deadline(last).map(|d| d.since), Some(last), "from the complete application on");
    assert_eq!(incomplete.state(last + 1.second()), State::Lapsed);
}

#[test]
fn a_grant_makes_the_permit_that_was_applied_for() {
    let (granted, now) = in_state(State::Granted);
    let permit = granted.permit(&organisation(false), "p1", &centre("dag"), "Reasons", now).unwrap();
    let document = permit.document();
    assert_eq!((granted.permit_id(), permit.id(), document.applicant.as_str()), (Some("p1"), "p1", "Pharma AS"));
    assert_eq!((document.decision.by.as_str(), document.decision.at), ("dag", now));
    assert_eq!(permit.covers("patient", "birth_date"), Some(crate::permit::Transform::Year));
    assert_eq!((permit.covers("patient", "gender"), permit.covers("patient", "holder")), (Some(crate::permit::Transform::Keep), None));
}

#[test]
fn what_is_stored_is_replayed() {
    for state in State::ALL {
        let (application, _) = in_state(state);
        assert_eq!(Application::parse(&application.to_json().unwrap()).unwrap(), application, "{state}");
    }
    let (granted, _) = in_state(State::Granted);
    let mut json: Value = serde_json::from_str(&granted.to_json().unwrap()).unwrap();
    json["steps"].as_array_mut().unwrap().remove(2);
    let said = Application::parse(&json.to_string()).unwrap_err().to_string();
    assert!(said.contains("its step grant cannot follow on the state complete"), "{said}");
}

#[test]
fn feasibility_is_twenty_cells_for_the_verified() {
    let verified = organisation(false);
    let first = draft().ask(&anne(), &verified, "SELECT ...", 15, at(START)).unwrap();
    assert!(
        matches!(first.ask(&anne(), &verified, "SELECT ...", 6, at(START)), Err(ProcedureError::State(said)) if said.contains("5 are left"))
    );
    let second = first.ask(&anne(), &verified, "SELECT ...", 5, at(START)).unwrap();
    assert!(second.ask(&anne(), &verified, "SELECT ...", 1, at(START)).is_err());
    assert_eq!(Application::parse(&second.to_json().unwrap()).unwrap(), second);
    let unverified = Organisation { verified: None, ..verified.clone() };
    assert!(matches!(draft().ask(&anne(), &unverified, "", 1, at(START)), Err(ProcedureError::Person(_))));
    assert!(matches!(draft().ask(&centre("cato"), &verified, "", 1, at(START)), Err(ProcedureError::Person(_))));
    assert!(matches!(in_state(State::Granted).0.ask(&anne(), &verified, "", 1, at(START)), Err(ProcedureError::State(_))));
}

#[test]
fn the_register_names_no_person_and_no_draft() {
    let organisation = organisation(false);
    let public = |state| {
        let (application, now) = in_state(state);
        crate::permit::register::application(&application, Some(&organisation), now)
    };
    assert_eq!(public(State::Draft), None);
    for state in State::ALL.into_iter().filter(|s| *s != State::Draft) {
        let shown = public(state).unwrap();
        assert_eq!(shown["state"], state.name());
        let text = shown.to_string();
        assert!(!["anne", "cato", "dag", "commit"].iter().any(|word| text.contains(&format!("\"{word}"))), "{text}");
    }
    assert_eq!(public(State::Refused).unwrap()["decision"], json!({"at": START, "granted": false, "reasons": "Reasons"}));
    assert_eq!(public(State::Granted).unwrap()["decision"]["permit"], "p1");
}
