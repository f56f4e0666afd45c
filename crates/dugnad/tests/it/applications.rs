//! From application to permit, over HTTP: who may what, what is public, and what is due.

use crate::people::{People, at, content};
use dugnad_kernel::audit::Act;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_application_becomes_a_permit_by_two_persons() {
    let people = People::meet().await;
    let mut asked = content();
    asked.as_object_mut().unwrap().remove("safeguards");
    let id = people.apply(&asked).await;
    let path = |act: &str| format!("/applications/{id}/{act}");
    people.get("cato", &format!("/applications/{id}")).await.expect(404); // a draft is the applicant's
    assert_eq!(people.get("", "/register").await.expect(200).json()["applications"], json!([]));

    let submitted = people.post("berit", &path("submit"), &Value::Null).await.expect(200).json();
    assert_eq!((&submitted["state"], &submitted["missing"][0]["field"]), (&json!("submitted"), &json!("safeguards")));
    let incomplete = people.post("cato", &path("complete"), &json!({"missing": [{"field": "title", "what": "which treatment?"}]})).await;
    let incomplete = incomplete.expect(200).json();
    assert_eq!(incomplete["state"], "incomplete");
    assert_eq!(incomplete["steps"][1]["missing"].as_array().unwrap().len(), 2, "the program's and the person's");
    assert_eq!(incomplete["deadline"]["deadline"]["due"], "2026-04-07T22:00:00Z");
    people.send("anne", "PUT", &format!("/applications/{id}"), &content()).await.expect(200);
    people.post("anne", &path("submit"), &Value::Null).await.expect(200);
    assert_eq!(people.post("cato", &path("complete"), &json!({})).await.expect(200).json()["state"], "complete");
    people.post("cato", &path("decide"), &json!({"grant": true, "reasons": "R"})).await.expect(409);
    people.post("cato", &path("assess"), &json!({"grant": true, "reasons": "Necessary"})).await.expect(200);

    let grant = json!({"grant": true, "reasons": "Proportionate", "permit": "p1"});
    for (who, why) in [("anne", "the applicant"), ("erik", "the applicant's organisation"), ("cato", "who assessed it")] {
        let refused = people.post(who, &path("decide"), &grant).await.expect(403).json();
        assert!(refused["detail"].as_str().is_some_and(|said| !said.is_empty()), "{why}: {refused}");
    }
    let question = json!({"permit": "p1", "sql": "SELECT count(*) AS n FROM patient"});
    people.post("anne", "/sql", &question).await.expect(404);
    let before = people.server.local.database.snapshot().commit().0;
    let granted = people.post("dag", &path("decide"), &grant).await.expect(200);
    assert_eq!(granted.header("dugnad-commit"), Some((before + 1).to_string().as_str()), "application and permit are one commit");
    assert_eq!((&granted.json()["state"], &granted.json()["possible"]), (&json!("granted"), &json!([])));
    assert_eq!(people.post("anne", "/sql", &question).await.expect(200).json(), json!([{"n": 0}]));
    people.send_from_outside("anne", "POST", "/sql", &question).await.expect(404);
    people.post("rolf", "/sql", &question).await.expect(404);

    let entries = people.server.local.audit.entries(0, 1_000).unwrap();
    let outcomes = |act: Act| entries.iter().filter(move |(_, e)| e.act == act && e.interface.as_deref() == Some("applications"));
    let decided: Vec<_> = outcomes(Act::Decision).filter_map(|(_, e)| e.outcome.as_deref()).collect();
    assert_eq!(decided, ["draft", "submitted", "incomplete", "incomplete", "submitted", "complete", "assessed", "granted"]);
    assert_eq!(outcomes(Act::Refusal).count(), 3, "who may not is on the record");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_what() {
    let people = People::meet().await;
    let id = people.apply(&content()).await;
    let path = format!("/applications/{id}");
    let verdict = json!({"grant": true, "reasons": "R"});
    let columns = ["", "nora", "rolf", "anne", "cato"];
    // A draft: it exists for nobody but its organisation. Nobody here may do what the state does not allow either.
    let grid: [(&str, &str, Value, [u16; 5]); 9] = [
        ("GET", "", Value::Null, [401, 404, 404, 200, 404]),
        ("PUT", "", content(), [401, 404, 404, 200, 404]),
        ("POST", "/complete", json!({}), [401, 404, 404, 403, 404]),
        ("POST", "/prolong", json!({"reasons": "R"}), [401, 404, 404, 403, 404]),
        ("POST", "/assess", verdict.clone(), [401, 404, 404, 403, 404]),
        ("POST", "/decide", verdict.clone(), [401, 404, 404, 403, 404]),
        ("POST", "/feasibility", json!({"sql": "SELECT sex, persons FROM statistics.patients GROUP BY sex"}), [401, 404, 404, 200, 404]),
        ("POST", "/submit", Value::Null, [401, 404, 404, 200, 403]),
        ("POST", "/withdraw", Value::Null, [401, 404, 404, 200, 403]),
    ];
    for (method, act, body, expected) in grid {
        for (user, status) in columns.iter().zip(expected) {
            people.send(user, method, &format!("{path}{act}"), &body).await.expect(status);
        }
    }
    for (user, status, seen) in [("", 401, 0), ("nora", 200, 0), ("rolf", 200, 0), ("anne", 200, 1), ("cato", 200, 1)] {
        let listed = people.get(user, "/applications").await.expect(status).json();
        assert_eq!(listed["applications"].as_array().map_or(0, Vec::len), seen, "{user}");
    }
    people.post("nora", "/applications", &content()).await.expect(403);
    people.post("cato", "/applications", &content()).await.expect(403);
    for user in ["nora", "anne"] {
        people.get(user, "/organisations").await.expect(403);
        people
            .send(user, "PUT", "/organisations/x", &json!({"id": "x", "name": "X", "public_body": true, "users": [user]}))
            .await
            .expect(403);
    }
    let stolen = json!({"id": "x", "name": "X", "public_body": true, "users": ["anne"]});
    let refused = people.send("cato", "PUT", "/organisations/x", &stolen).await.expect(400).json();
    assert_eq!(refused["errors"][0]["at"], "users", "a user belongs to one organisation");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_says_what_to_do() {
    let people = People::meet().await;
    let id = people.apply(&content()).await;
    let early = people.post("anne", &format!("/applications/{id}/submit"), &json!({"x": 1})).await.expect(400).json();
    assert!(early["detail"].as_str().unwrap().contains("empty"), "{early}");
    people.post("anne", &format!("/applications/{id}/submit"), &Value::Null).await.expect(200);
    let again = people.post("anne", &format!("/applications/{id}/submit"), &Value::Null).await.expect(409);
    assert_eq!(again.header("content-type"), Some("application/problem+json"));
    assert!(again.json()["detail"].as_str().unwrap().contains("possible is: find_incomplete, find_complete, withdraw"));
    let mut public_only = content();
    public_only["purposes"] = json!(["statistics"]);
    let id = people.apply(&public_only).await;
    let lacks = people.get("anne", &format!("/applications/{id}")).await.expect(200).json();
    assert!(lacks["missing"][0]["what"].as_str().unwrap().contains("Art. 53(2)"), "{lacks}");
    assert!(lacks["questions"]["marketing"].as_str().unwrap().contains("Art. 54(c)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_run_and_what_is_overdue_is_listed() {
    let people = People::meet().await;
    let (first, second) = (people.apply(&content()).await, people.apply(&content()).await);
    for id in [&first, &second] {
        people.post("anne", &format!("/applications/{id}/submit"), &Value::Null).await.expect(200);
    }
    people
        .post("cato", &format!("/applications/{second}/complete"), &json!({"missing": [{"field": "title", "what": "more"}]}))
        .await
        .expect(200);
    let clocks = people.get("cato", "/clocks").await.expect(200).json();
    let due: Vec<_> = clocks["clocks"].as_array().unwrap().iter().map(|c| (&c["about"]["application"], &c["deadline"]["due"])).collect();
    assert_eq!(due, [(&json!(second), &json!("2026-04-07T22:00:00Z")), (&json!(first), &json!("2026-06-10T22:00:00Z"))]);
    assert_eq!((clocks["overdue"].as_u64(), clocks["clocks"][1]["deadline"]["article"].as_str()), (Some(0), Some("Art. 68(4)")));
    assert_eq!(people.get("rolf", "/clocks").await.expect(200).json()["clocks"], json!([]));
    people.get("", "/clocks").await.expect(401);
    people.clock.set(at("2026-06-10T22:00:00Z"));
    let clocks = people.get("anne", "/clocks").await.expect(200).json();
    assert_eq!((clocks["overdue"].as_u64(), clocks["clocks"].as_array().map(Vec::len)), (Some(1), Some(1)), "the other has lapsed");
    let lapsed = people.post("anne", &format!("/applications/{second}/submit"), &Value::Null).await.expect(409).json();
    assert!(lapsed["detail"].as_str().unwrap().contains("apply anew"), "{lapsed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_register_is_public_and_names_no_person() {
    let people = People::meet().await;
    people.granted(&content()).await;
    let id = people.apply(&content()).await;
    for (user, act, body) in [
        ("anne", "submit", Value::Null),
        ("cato", "complete", json!({})),
        ("cato", "assess", json!({"grant": false, "reasons": "Not necessary"})),
        ("dag", "decide", json!({"grant": false, "reasons": "The first permit suffices"})),
    ] {
        people.post(user, &format!("/applications/{id}/{act}"), &body).await.expect(200);
    }
    let answer = people.get("", "/register").await.expect(200);
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("dugnad")), "no commit: {:?}", answer.headers);
    let register = answer.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let applications = register["applications"].as_array().unwrap().iter();
    let mut decided: Vec<_> = applications.map(|a| [text(&a["state"]), text(&a["decision"]["reasons"])]).collect();
    decided.sort();
    let expected = [["granted", "Proportionate"], ["refused", "The first permit suffices"]];
    assert_eq!(decided, expected, "refusals too, with reasons");
    assert_eq!((&register["permits"][0]["state"], &register["permits"][0]["standing"]), (&json!("active"), &json!(true)));
    let text = register.to_string();
    assert!(!["anne", "berit", "cato", "dag", "commit"].iter().any(|word| text.contains(word)), "{text}");
    let own = format!("applications/{id}");
    for (path, status) in [("permits/p1", 200), ("permits/p2", 404), ("nothing/p1", 404), ("releases/p1", 404), (own.as_str(), 200)] {
        people.get("", &format!("/register/{path}")).await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn feasibility_shows_twenty_rounded_cells_to_the_verified() {
    let people = People::meet().await;
    let hospital = people.server.hospital("Haukeland");
    for n in 0..120 {
        let sex = if n % 2 == 0 { "female" } else { "male" };
        let patient = json!({"resourceType": "Patient", "id": format!("p{n}"), "gender": sex, "birthDate": "1960-01-01"});
        hospital.put(&format!("/fhir/Patient/p{n}"), &patient).await.expect(201);
    }
    people.clock.set(at("2026-03-12T09:00:00Z"));
    let id = people.apply(&content()).await;
    let path = format!("/applications/{id}/feasibility");
    let females = json!({"sql": "SELECT sex, persons FROM statistics.patients WHERE sex IN ('female', 'male') GROUP BY sex ORDER BY sex"});
    let shown = people.post("anne", &path, &females).await.expect(200);
    assert!(shown.header("dugnad-epoch").is_some() && shown.header("dugnad-commit").is_none());
    let shown = shown.json();
    let persons: Vec<i64> = shown.as_array().unwrap().iter().filter_map(|r| r["persons"].as_i64()).collect();
    // Sixty each, with noise of at most fifteen, to the next ten.
    assert!(persons.len() == 2 && persons.iter().all(|n| n % 10 == 0 && (50..=80).contains(n)), "{shown}");
    people.post("anne", &path, &json!({"sql": "SELECT * FROM patient"})).await.expect(400);
    for _ in 0..9 {
        people.post("anne", &path, &females).await.expect(200);
    }
    let spent = people.post("anne", &path, &females).await.expect(409).json();
    assert!(spent["detail"].as_str().unwrap().contains("0 are left"), "{spent}");
    let all = json!({"sql": "SELECT icd10_chapter, persons FROM statistics.conditions GROUP BY icd10_chapter ORDER BY persons LIMIT 1"});
    let id = people.apply(&content()).await;
    people.post("anne", &format!("/applications/{id}/feasibility"), &all).await.expect(409); // its order tells of more than 20
    let unverified = people.post("rolf", "/applications", &content()).await.expect(200).json();
    people.post("rolf", &format!("/applications/{}/feasibility", unverified["id"].as_str().unwrap()), &females).await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_is_revoked_after_a_hearing_by_another_person() {
    let people = People::meet().await;
    people.granted(&content()).await;
    let question = json!({"permit": "p1", "sql": "SELECT count(*) AS n FROM patient"});
    let path = "/permits/p1/revoke";
    let decision = json!({"revoke": true, "reasons": "Rows were copied"});
    people.post("dag", path, &decision).await.expect(409);
    people.post("rolf", path, &decision).await.expect(404);
    people.post("anne", path, &json!({"findings": "F"})).await.expect(403);
    people.post("cato", path, &json!({"findings": "Rows were copied", "until": "2026-05-01T00:00:00Z"})).await.expect(400);
    let opened = people.post("cato", path, &json!({"findings": "Rows were copied"})).await.expect(200).json();
    assert_eq!((&opened["hearing"]["state"], &opened["state"]), (&json!("open"), &json!("active")));
    assert_eq!(people.get("anne", "/clocks").await.expect(200).json()["clocks"][0]["deadline"]["article"], "Art. 63(2)");
    people.post("cato", path, &json!({"findings": "again"})).await.expect(409);
    people.post("dag", path, &decision).await.expect(409);
    people.post("anne", "/sql", &question).await.expect(200);
    people.post("anne", path, &json!({"views": "They were not"})).await.expect(200);
    people.post("cato", path, &decision).await.expect(403);
    people.post("erik", path, &decision).await.expect(403);
    let revoked = people.post("dag", path, &decision).await.expect(200).json();
    assert_eq!((&revoked["state"], &revoked["hearing"]["state"]), (&json!("revoked"), &json!("revoked")));
    people.post("anne", "/sql", &question).await.expect(404);
    assert_eq!(people.get("", "/register/permits/p1").await.expect(200).json()["state"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_is_extended_once() {
    let people = People::meet().await;
    people.granted(&content()).await;
    let path = "/permits/p1/extend";
    let ask = json!({"until": "2029-03-10T00:00:00Z", "reasons": "Follow-up"});
    let grant = json!({"grant": true, "reasons": "Justified"});
    people.post("dag", path, &grant).await.expect(409);
    people.post("cato", path, &ask).await.expect(403);
    people.post("anne", path, &ask).await.expect(200);
    people.post("anne", path, &grant).await.expect(403);
    let extended = people.post("dag", path, &grant).await.expect(200).json();
    assert_eq!((&extended["permit"]["valid_until"], &extended["extension"]["state"]), (&json!("2029-03-10T00:00:00Z"), &json!("granted")));
    people.post("anne", path, &json!({"until": "2030-03-10T00:00:00Z", "reasons": "More"})).await.expect(409);
    people.get("berit", "/permits/p1").await.expect(200);
    people.get("rolf", "/permits/p1").await.expect(404);
    people.get("", "/permits/p1").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_persons_decided_one_cannot_change() {
    let people = People::meet().await;
    people.granted(&content()).await;
    let mut permit = people.get("cato", "/permits/p1").await.expect(200).json()["permit"].clone();
    permit["users"] = json!(["anne", "cato"]);
    permit["decision"]["by"] = json!("cato");
    let refused = people.send("cato", "PUT", "/permits/p1", &permit).await.expect(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("/permits/p1/extend"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_nothing_is_decided() {
    let people = People::meet().await;
    let id = people.apply(&content()).await;
    let before = people.server.local.database.snapshot().commit();
    people.server.local.audit.close();
    people.get("anne", "/applications").await.expect(503);
    people.post("anne", &format!("/applications/{id}/submit"), &Value::Null).await.expect(503);
    people.post("anne", "/applications", &content()).await.expect(503);
    assert_eq!(people.server.local.database.snapshot().commit(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standing_permit_is_there_before_the_treatment() {
    let people = People::meet().await;
    people.granted(&content()).await;
    let hospital = people.server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &json!({"resourceType": "Patient", "id": "1", "gender": "female"})).await.expect(201);
    let rows = people.post("anne", "/sql", &json!({"permit": "p1", "sql": "SELECT gender FROM patient"})).await.expect(200).json();
    assert_eq!(rows, json!([{"gender": "female"}]));
}
