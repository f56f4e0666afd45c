//! SQL under permits, over HTTP.

use crate::support::{Answer, Server};
use axum::body::Body;
use axum::http::Request;
use dugnad::access::Role;
use serde_json::{Value, json};

async fn ask(server: &Server, token: &str, body: Value) -> Answer {
    let request = Request::post("/sql").header("Authorization", format!("Bearer {token}")).header("Content-Type", "application/json");
    server.send(request.body(Body::from(body.to_string())).unwrap()).await
}

/// A statutory register's permit over everyone, for `authority`: three columns of one table.
fn surveillance() -> Value {
    json!({
        "id": "surveillance", "basis": "statutory_register", "applicant": "Institute of Public Health", "users": ["authority"],
        "purpose": "Surveillance",
        "provision": {"law": "Health Registry Act, section 11", "retention": "P5Y"},
        "tables": [{"table": "patient", "columns": ["resource_id", "gender", "holder"]}],
        "population": "everyone", "cadence": "live", "cadence_reason": "Outbreaks", "delivery": "remote",
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2098-01-01T00:00:00Z",
        "decision": {"by": "centre", "at": "2020-01-01T00:00:00Z", "reasons": "The law"}, "status": "active",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_is_a_schema() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let written = hospital.put("/fhir/Patient/1", &json!({"resourceType": "Patient", "id": "1", "gender": "female"})).await.expect(201);
    server.local.database.put_document("permit", "surveillance", &surveillance().to_string()).unwrap();
    let authority = server.token(Role::Authority, "authority", None);
    let rows = "SELECT gender, holder FROM patient";

    let answer = ask(&server, &authority, json!({"permit": "surveillance", "sql": rows})).await.expect(200);
    assert_eq!(answer.json(), json!([{"gender": "female", "holder": "Haukeland"}]));
    let commit: u64 = answer.header("dugnad-commit").unwrap().parse().unwrap();
    assert!(commit >= written.header("dugnad-commit").unwrap().parse().unwrap(), "what was acknowledged is seen");
    assert!(answer.header("dugnad-epoch").is_none());
    let csv = ask(&server, &authority, json!({"permit": "surveillance", "sql": rows, "format": "csv"})).await.expect(200);
    assert_eq!(String::from_utf8_lossy(&csv.body).replace("\r\n", "\n"), "gender,holder\nfemale,Haukeland\n");

    // A column and a table that the permit lacks are answered as ones that nobody has.
    for (there, nowhere) in
        [("SELECT birth_date FROM patient", "SELECT no_such FROM patient"), ("SELECT 1 FROM condition", "SELECT 1 FROM no_such")]
    {
        let lacking = ask(&server, &authority, json!({"permit": "surveillance", "sql": there})).await.expect(400).json();
        let absent = ask(&server, &authority, json!({"permit": "surveillance", "sql": nowhere})).await.expect(400).json();
        let name =
            |said: &Value| said["detail"].as_str().unwrap().replace("birth_date", "X").replace("condition", "X").replace("no_such", "X");
        assert_eq!(name(&lacking), name(&absent));
    }
    // So is a permit that is somebody else's.
    let company = server.token(Role::Company, "company", None);
    let foreign = ask(&server, &company, json!({"permit": "surveillance", "sql": rows})).await.expect(404).json();
    let absent = ask(&server, &company, json!({"permit": "no_such_permit", "sql": rows})).await.expect(404).json();
    assert_eq!(
        foreign["detail"].as_str().unwrap().replace("surveillance", "X"),
        absent["detail"].as_str().unwrap().replace("no_such_permit", "X")
    );

    let ahead = ask(&server, &authority, json!({"permit": "surveillance", "sql": rows, "as_of": 1_000_000})).await;
    assert_eq!(ahead.status, 412);
    let unknown = ask(&server, &authority, json!({"permit": "surveillance", "sql": rows, "formt": "csv"})).await.expect(400);
    assert_eq!(unknown.header("content-type"), Some("application/problem+json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_their_own_permits() {
    let server = Server::open();
    server.local.database.put_document("permit", "surveillance", &surveillance().to_string()).unwrap();
    let permits = async |role, user: &str, holder| {
        let token = server.token(role, user, holder);
        let request = Request::get("/permits").header("Authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
        let answer = server.send(request).await.expect(200).json();
        answer["permits"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(permits(Role::Authority, "authority", None).await, ["surveillance"]);
    assert_eq!(permits(Role::Centre, "centre", None).await, ["surveillance"]);
    assert!(permits(Role::Company, "company", None).await.is_empty());
    assert_eq!(permits(Role::Hospital, "haukeland", Some("Haukeland")).await, ["care"]);
}

/// Codes are joined with the groups of published dimensions: those that the program carries, and a centre's own.
#[tokio::test(flavor = "multi_thread")]
async fn codes_are_joined_with_their_groups() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    for (n, code) in ["C50.9", "C50.1", "I10", "Q87.4", "no code"].iter().enumerate() {
        let condition = json!({
            "resourceType": "Condition", "id": format!("c{n}"), "subject": {"reference": format!("Patient/{n}")},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": code}]},
        });
        hospital.put(&format!("/fhir/Condition/c{n}"), &condition).await.expect(201);
    }
    let mut permit = surveillance();
    permit["tables"] = json!([{"table": "condition", "columns": ["code", "patient_key"]}, {"table": "code_group", "columns": "all"}]);
    server.local.database.put_document("permit", "surveillance", &permit.to_string()).unwrap();
    let authority = server.token(Role::Authority, "authority", None);
    let sql = "SELECT g.group_code AS chapter, count(DISTINCT c.patient_key) AS persons FROM condition c JOIN code_group g \
               ON g.code = left(c.code, 3) AND g.dimension = 'icd10' AND g.group_level = 'icd10_chapter' GROUP BY 1 ORDER BY 1";
    let expected = json!([{"chapter": "II", "persons": 2}, {"chapter": "IX", "persons": 1}, {"chapter": "XVII", "persons": 1}]);
    let asked = async |sql: &str| ask(&server, &authority, json!({"permit": "surveillance", "sql": sql})).await.expect(200).json();
    assert_eq!(asked(sql).await, expected);
    let carried = asked("SELECT count(*) AS n FROM code_group WHERE dimension = 'atc' AND level <> group_level").await;
    assert!(carried[0]["n"].as_u64().unwrap() > 200, "{carried}");

    // A centre's own list, from its next question on.
    let own = json!({
        "name": "clinic", "title": "Clinics", "source": "this centre", "levels": [{"name": "division", "title": "Division"}, {"name": "clinic", "title": "Clinic"}],
        "codes": [
            {"level": "division", "code": "D1", "label": "Cancer"},
            {"level": "clinic", "code": "K1", "parent": "D1", "label": "Breast", "also": ["K1-old"]},
        ],
    });
    server.local.database.put_document("dimension", "clinic", &own.to_string()).unwrap();
    let rows = asked("SELECT code, group_level, group_code, group_display FROM code_group WHERE dimension = 'clinic' ORDER BY 1, 2").await;
    let row = |code: &str, level: &str, group: &str, display: &str| json!({"code": code, "group_level": level, "group_code": group, "group_display": display});
    assert_eq!(
        rows,
        json!([
            row("D1", "division", "D1", "Cancer"),
            row("K1", "clinic", "K1", "Breast"),
            row("K1", "division", "D1", "Cancer"),
            row("K1-old", "clinic", "K1", "Breast"),
            row("K1-old", "division", "D1", "Cancer"),
        ])
    );
    assert_eq!(asked(sql).await, expected, "the others are still there");

    // A hospital has it beside its own rows; who has no permit with it has not.
    let care = ask(&server, &hospital.token, json!({"permit": "care", "sql": "SELECT count(*) AS n FROM code_group"})).await.expect(200);
    assert!(care.json()[0]["n"].as_u64().unwrap() > 1_000);
    server.local.database.put_document("permit", "surveillance", &surveillance().to_string()).unwrap();
    ask(&server, &authority, json!({"permit": "surveillance", "sql": "SELECT count(*) FROM code_group"})).await.expect(400);
}
