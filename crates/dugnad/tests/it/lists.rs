//! Populations that a decision freezes: whoever met criteria then, and persons who were named.

use crate::people::{People, START, at, content};
use crate::support::Answer;
use dugnad::access::Role;
use serde_json::{Value, json};

const FNR: &str = "urn:oid:2.16.578.1.12.4.1.4.1";
/// Numbers that can be national identifiers and, with 80 added to their month, nobody's.
const NUMBERS: [&str; 2] = ["13872190036", "13872190117"];

/// A Patient of a hospital with an Observation; the commit of the Observation.
async fn treat(people: &People, hospital: &str, id: &str, number: Option<&str>) -> u64 {
    let hospital = people.server.hospital(hospital);
    identify(people, &hospital.token, id, number).await;
    let observation = json!({"resourceType": "Observation", "id": format!("o-{id}"), "status": "final",
        "code": {"coding": [{"code": "BP"}]}, "subject": {"reference": format!("Patient/{id}")}});
    let written = hospital.put(&format!("/fhir/Observation/o-{id}"), &observation).await;
    written.header("dugnad-commit").unwrap().parse().unwrap()
}

async fn identify(people: &People, token: &str, id: &str, number: Option<&str>) {
    let mut patient = json!({"resourceType": "Patient", "id": id, "gender": "female"});
    if let Some(number) = number {
        patient["identifier"] = json!([{"system": FNR, "value": number}]);
    }
    let hospital = crate::support::Hospital { server: &people.server, token: token.to_owned() };
    let status = hospital.put(&format!("/fhir/Patient/{id}"), &patient).await.status;
    assert!(status.is_success());
}

/// How many persons, and rows, somebody sees under a permit.
async fn seen(people: &People, user: &str, permit: &str, as_of: Option<u64>) -> (u64, u64) {
    let sql = "SELECT count(DISTINCT patient_key) AS persons, count(*) AS n FROM observation";
    let body = json!({"permit": permit, "sql": sql, "format": "json", "as_of": as_of});
    let row = people.post(user, "/sql", &body).await.expect(200).json()[0].clone();
    (row["persons"].as_u64().unwrap(), row["n"].as_u64().unwrap())
}

/// An application over the persons who are named beside it.
fn listed() -> Value {
    let mut content = content();
    content["population"] = json!({"value": {"listed": {}}, "justification": "They answered a questionnaire"});
    content["tables"][0]["columns"][0]["names"] = json!(["patient_key"]);
    let mut observation = content["tables"][0].clone();
    observation["table"] = "observation".into();
    observation["columns"].as_array_mut().unwrap().truncate(1);
    content["tables"].as_array_mut().unwrap().push(observation);
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn persons_who_are_named_are_a_list_that_the_decision_freezes() {
    let people = People::meet().await;
    // After the permit's start: `as_of` cannot go behind it.
    people.clock.set(at("2026-03-10T09:01:00Z"));
    treat(&people, "Nord", "p1", Some(NUMBERS[0])).await;
    let first = treat(&people, "Sør", "s1", Some(NUMBERS[0])).await;
    for id in ["p2", "p3", "out", "erased", "other"] {
        treat(&people, "Nord", id, None).await;
    }
    people.send("cato", "PUT", "/opt-outs/Nord/out", &Value::Null).await.expect(200);

    let id = people.apply(&listed()).await;
    let lacks = people.get("anne", &format!("/applications/{id}")).await.expect(200).json();
    assert_eq!(lacks["missing"][0]["field"], "population.listed");
    let patient = |id: &str| json!({"holder": "Nord", "patient": id});
    let persons =
        json!({"persons": [{"system": FNR, "value": NUMBERS[0]}, patient("p2"), patient("out"), patient("erased"), patient("nobody")]});
    let path = format!("/applications/{id}/persons");
    people.send("cato", "PUT", &path, &persons).await.expect(404);
    let named = people.send("anne", "PUT", &path, &persons).await.expect(200).json();
    assert_eq!((&named["persons_named"], named.get("persons_known")), (&json!(5), None), "who of them is here is not said");
    let wrong = people.send("anne", "PUT", &path, &json!({"persons": [{"system": FNR, "value": 13872190036_u64}]})).await.expect(400);
    assert!(!String::from_utf8(wrong.body).unwrap().contains("13872190036"), "no identifier is quoted");
    people.post("anne", &format!("/applications/{id}/submit"), &Value::Null).await.expect(200);
    people.send("anne", "PUT", &path, &persons).await.expect(409);
    let before = people.get("cato", &format!("/applications/{id}")).await.expect(200).json();
    assert_eq!(before["persons_known"], 4, "the centre sees how many");
    // Names are not kept.
    let kept = people.server.local.database.document("named_persons", &id).unwrap().unwrap().json;
    assert!(!kept.contains(NUMBERS[0]) && !kept.contains("erased"), "{kept}");
    for (user, act, body) in [
        ("cato", "complete", json!({})),
        ("cato", "assess", json!({"grant": true, "reasons": "Necessary"})),
        ("dag", "decide", json!({"grant": true, "reasons": "Proportionate", "permit": "p1"})),
    ] {
        people.post(user, &format!("/applications/{id}/{act}"), &body).await.expect(200);
    }
    let permit = people.get("anne", "/permits/p1").await.expect(200).json();
    assert!(permit["permit"]["population"]["listed"]["commit"].is_u64(), "{permit}");
    let public = people.get("", "/register").await.expect(200);
    assert!(!String::from_utf8(public.body).unwrap().contains("commit"));

    assert_eq!(seen(&people, "anne", "p1", None).await, (3, 4), "one person has two Patients; who has opted out is not in it");
    assert_eq!(seen(&people, "anne", "p1", Some(first)).await, (1, 2), "as of before");
    treat(&people, "Nord", "later", None).await;
    assert_eq!(seen(&people, "anne", "p1", None).await, (3, 4), "nobody comes into a list");
    // p3 is p2, and is not: the list follows the map of persons.
    let nord = people.server.hospital("Nord").token;
    identify(&people, &nord, "p2", Some(NUMBERS[1])).await;
    identify(&people, &nord, "p3", Some(NUMBERS[1])).await;
    assert_eq!(seen(&people, "anne", "p1", None).await, (3, 5));
    identify(&people, &nord, "p3", None).await;
    assert_eq!(seen(&people, "anne", "p1", None).await, (3, 4));
    let holder = people.server.local.database.holder("Nord").unwrap().id;
    people.server.local.database.erase(holder, "erased", "asked for").unwrap();
    assert_eq!(seen(&people, "anne", "p1", None).await, (2, 3), "an erased person is in no list");
    let known = people.get("cato", &format!("/applications/{id}")).await.expect(200).json();
    assert_eq!(known["persons_known"], 3);
    let people = people.restarted();
    assert_eq!(seen(&people, "anne", "p1", None).await, (2, 3), "after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn criteria_are_frozen_when_the_centre_decides() {
    let people = People::meet().await;
    treat(&people, "Nord", "p1", None).await;
    let authority = people.server.token(Role::Authority, "authority", None);
    let ask = async |people: &People| {
        let body = json!({"permit": "register", "sql": "SELECT count(*) AS n FROM observation", "format": "json"}).to_string();
        let request = axum::http::Request::post("/sql").header("Authorization", format!("Bearer {authority}"));
        let answer: Answer = people.server.send(request.header("Content-Type", "application/json").body(body.into()).unwrap()).await;
        answer.expect(200).json()[0]["n"].as_u64().unwrap()
    };
    let permit = json!({
        "id": "register", "basis": "statutory_register", "applicant": "an authority", "users": ["authority"], "purpose": "A test",
        "valid_from": START, "valid_until": "2028-01-01T00:00:00Z", "status": "active",
        "decision": {"by": "cato", "at": START, "reasons": "A test."}, "provision": {"law": "made up", "retention": "P1D"},
        "tables": [{"table": "observation", "columns": ["patient_key"]}], "cadence": "live", "cadence_reason": "A test.", "delivery": "remote",
        "population": {"frozen": {"criteria": {"rows": {"table": "observation"}}}},
    });
    let put = |permit: Value| {
        let people = &people;
        async move { people.send("cato", "PUT", "/permits/register", &permit).await }
    };
    put(permit.clone()).await.expect(200);
    assert_eq!(ask(&people).await, 1);
    treat(&people, "Nord", "p2", None).await;
    assert_eq!(ask(&people).await, 1, "whoever meets them later is not in it");
    // The document as it stands, with another purpose: the list stays as it was decided.
    let mut stored = people.get("cato", "/permits/register").await.expect(200).json()["permit"].clone();
    let commit = stored["population"]["frozen"]["commit"].as_u64().unwrap();
    stored["purpose"] = "Another".into();
    put(stored.clone()).await.expect(200);
    assert_eq!(ask(&people).await, 1);
    stored["population"]["frozen"]["commit"] = (commit + 1).into();
    put(stored).await.expect(400);
    // Decided anew, it is who meets them now.
    put(permit.clone()).await.expect(200);
    assert_eq!(ask(&people).await, 2);
    let mut wrong = permit.clone();
    wrong["population"]["frozen"]["criteria"]["rows"]["table"] = "nothing".into();
    let refused = put(wrong).await.expect(400).json();
    assert!(refused["detail"].as_str().unwrap().contains("no table nothing"), "{refused}");
    let mut named = permit;
    named["population"] = json!({"listed": {}});
    put(named).await.expect(400);
}
