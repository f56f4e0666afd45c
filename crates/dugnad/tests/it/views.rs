//! Registered ViewDefinitions and the operations of SQL on FHIR, over HTTP.

use crate::support::{Answer, Hospital, Server};
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use dugnad::access::Role;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use std::io::Cursor;

const MATERIALIZE: &str = "/fhir/ViewDefinition/bp/$viewdefinition-materialize";
const RUN: &str = "/fhir/ViewDefinition/bp/$viewdefinition-run";

/// A view of Observations: `patient_key` and more columns.
fn view(name: &str, columns: Value) -> Value {
    let mut all = vec![json!({"name": "resource_id", "path": "getResourceKey()"})];
    all.extend(columns.as_array().unwrap().clone());
    json!({
        "resourceType": "ViewDefinition", "url": format!("http://example.no/ViewDefinition/{name}"), "name": name, "status": "active",
        "description": "Blood pressure.", "resource": "Observation", "select": [{"column": all}],
    })
}

pub fn bp() -> Value {
    view(
        "bp",
        json!([
            {"name": "patient_key", "path": "subject.getReferenceKey(Patient)"},
            {"name": "code", "path": "code.coding.first().code", "type": "code", "description": "What was measured."},
        ]),
    )
}

fn observation(id: &str, patient: &str, code: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final", "code": {"coding": [{"code": code}]},
        "subject": {"reference": format!("Patient/{patient}")},
    })
}

/// A permit of `user` with whole tables.
pub fn permit(id: &str, user: &str, basis: &str, population: Value, tables: &[&str]) -> Value {
    let tables: Vec<Value> = tables.iter().map(|t| json!({"table": t, "columns": "all"})).collect();
    let mut permit = json!({
        "id": id, "basis": basis, "applicant": "somebody", "users": [user], "purpose": "to test", "tables": tables,
        "population": population, "cadence": "live", "cadence_reason": "because", "delivery": "remote",
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2098-01-01T00:00:00Z",
        "decision": {"by": "centre", "at": "2020-01-01T00:00:00Z", "reasons": "a test"}, "status": "active",
    });
    if basis == "statutory_register" {
        permit["provision"] = json!({"law": "a law", "retention": "P5Y"});
    }
    permit
}

/// A server with a hospital that has two patients, one of them in a study, and an Observation of each.
pub struct Scene {
    pub server: Server,
}

impl Scene {
    pub async fn new() -> Self {
        let scene = Self { server: Server::open() };
        let nord = scene.server.hospital("Nord");
        for patient in ["p1", "p2"] {
            nord.put(&format!("/fhir/Patient/{patient}"), &json!({"resourceType": "Patient", "id": patient})).await.expect(201);
        }
        nord.put("/fhir/ResearchStudy/s", &json!({"resourceType": "ResearchStudy", "id": "s", "status": "active"})).await.expect(201);
        let subject = json!({
            "resourceType": "ResearchSubject", "id": "rs", "status": "on-study", "study": {"reference": "ResearchStudy/s"},
            "individual": {"reference": "Patient/p1"},
        });
        nord.put("/fhir/ResearchSubject/rs", &subject).await.expect(201);
        nord.put("/fhir/Observation/o1", &observation("o1", "p1", "sys")).await.expect(201);
        nord.put("/fhir/Observation/o2", &observation("o2", "p2", "dia")).await.expect(201);
        scene
    }

    pub fn grant(&self, permit: &Value) {
        self.server.local.database.put_document("permit", permit["id"].as_str().unwrap(), &permit.to_string()).unwrap();
    }

    /// Somebody with a token of a role.
    pub fn caller(&self, role: Role, user: &str) -> Hospital<'_> {
        Hospital { server: &self.server, token: self.server.token(role, user, None) }
    }

    pub fn centre(&self) -> Hospital<'_> {
        self.caller(Role::Centre, "centre")
    }

    /// Registers a view and waits until its table is there.
    pub async fn register(&self, id: &str, view: &Value) -> Answer {
        let answer = self.centre().put(&format!("/fhir/ViewDefinition/{id}"), view).await;
        if answer.status.is_success() {
            self.built(id).await;
        }
        answer
    }

    async fn built(&self, id: &str) {
        let path = format!("/fhir/ViewDefinition/{id}/$viewdefinition-materialize");
        for _ in 0..2_000 {
            let status = named(&self.centre().get(&path).await.expect(200).json(), "status");
            match status.as_str().unwrap() {
                "fresh" => return,
                "building" => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                other => panic!("the view is {other}"),
            }
        }
        panic!("the view is not built");
    }
}

/// The value of a parameter.
fn named(parameters: &Value, name: &str) -> Value {
    let all = parameters["parameter"].as_array().unwrap();
    let found = all.iter().find(|p| p["name"] == name);
    let value = found.and_then(|p| p.as_object()?.iter().find(|(member, _)| member.starts_with("value")).map(|(_, v)| v.clone()));
    value.unwrap_or(Value::Null)
}

pub async fn sql(caller: &Hospital<'_>, permit: &str, sql: &str) -> Answer {
    caller.post("/sql", &[("Content-Type", "application/json")], &json!({"permit": permit, "sql": sql})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_view_is_a_table_of_the_permits_that_list_it() {
    let scene = Scene::new().await;
    scene.grant(&permit("with", "authority", "statutory_register", json!("everyone"), &["bp", "patient"]));
    scene.grant(&permit("without", "authority", "statutory_register", json!("everyone"), &["patient"]));
    scene.grant(&permit("other", "company", "statutory_register", json!("everyone"), &["patient"]));
    let (authority, company) = (scene.caller(Role::Authority, "authority"), scene.caller(Role::Company, "company"));

    let created = scene.register("bp", &bp()).await.expect(201);
    assert_eq!(created.header("etag"), Some("W/\"1\""));
    assert_eq!(created.header("location"), Some("/fhir/ViewDefinition/bp"));
    let registered: u64 = created.header("dugnad-commit").unwrap().parse().unwrap();
    let status = scene.centre().get(MATERIALIZE).await.expect(200).json();
    assert_eq!((named(&status, "rowCount"), named(&status, "refreshMode")), (json!(2), json!("live")));
    assert_eq!((named(&status, "failures"), named(&status, "name")), (json!(0), json!("bp")));

    // In SQL: a table with descriptions, a WHERE, a LIMIT, and every `as_of`.
    let tables = sql(&authority, "with", "SHOW TABLES").await.expect(200).json().to_string();
    assert!(tables.contains("\"bp\""), "{tables}");
    let described = "SELECT description FROM information_schema.columns WHERE table_name = 'bp' AND column_name = 'code'";
    assert_eq!(sql(&authority, "with", described).await.expect(200).json(), json!([{"description": "What was measured."}]));
    let dia = sql(&authority, "with", "SELECT code FROM bp WHERE code = 'dia' LIMIT 5").await.expect(200);
    assert_eq!(dia.json(), json!([{"code": "dia"}]));
    let nord = scene.server.hospital("Nord");
    let written = nord.put("/fhir/Observation/o3", &observation("o3", "p1", "sys")).await.expect(201);
    let commit: u64 = written.header("dugnad-commit").unwrap().parse().unwrap();
    // Before the view were three permits, and before those the second observation.
    for (as_of, rows) in [(commit, 3), (commit - 1, 2), (registered - 5, 1)] {
        let body = json!({"permit": "with", "sql": "SELECT COUNT(*) AS n FROM bp", "as_of": as_of});
        let answer = authority.post("/sql", &[("Content-Type", "application/json")], &body).await.expect(200);
        assert_eq!(answer.json(), json!([{"n": rows}]), "as of commit {as_of}");
    }

    // Elsewhere it is a table that is not there, and its definition too.
    let lacking = sql(&authority, "without", "SELECT 1 FROM bp").await.expect(400).json();
    let absent = sql(&authority, "without", "SELECT 1 FROM xx").await.expect(400).json();
    assert_eq!(lacking["detail"].as_str().unwrap().replace("bp", "xx"), absent["detail"].as_str().unwrap());
    authority.get("/fhir/ViewDefinition/bp").await.expect(200);
    assert_eq!(authority.get("/fhir/ViewDefinition").await.expect(200).json()["total"], 1);
    assert_eq!(company.get("/fhir/ViewDefinition").await.expect(200).json()["total"], 0);
    let hidden = company.get("/fhir/ViewDefinition/bp").await.expect(404).json();
    assert_eq!(hidden, company.get("/fhir/ViewDefinition/no-such").await.expect(404).json());
    company.get(MATERIALIZE).await.expect(404);
    let hidden = company.get(&format!("{RUN}?permit=other")).await.expect(404).json();
    assert_eq!(hidden, company.get("/fhir/ViewDefinition/no/$viewdefinition-run?permit=other").await.expect(404).json());
    assert_eq!(hidden, company.get(&format!("{RUN}?permit=with")).await.expect(404).json());
    // What the table holds beyond a permit is told to the centre only.
    let told = authority.get(MATERIALIZE).await.expect(200);
    assert_eq!((named(&told.json(), "status"), named(&told.json(), "rowCount")), (json!("fresh"), Value::Null));
    assert_eq!(told.header("dugnad-commit"), None);
    // A hospital's care shows it with its own patients.
    assert_eq!(nord.get(RUN).await.expect(200).body.iter().filter(|b| **b == b'\n').count(), 3);
}

/// A view that leaves the patient's key out, or shows another patient's, must not carry rows across populations.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_say_whose_they_are_are_nobodys() {
    let scene = Scene::new().await;
    let code = json!({"name": "code", "path": "code.coding.first().code", "type": "code"});
    let by = json!({"name": "by", "path": "performer.first().getReferenceKey(Patient)"});
    scene.register("bp", &bp()).await.expect(201);
    scene.register("keyless", &view("keyless", json!([code]))).await.expect(201);
    scene.register("by", &view("by_performer", json!([by, code]))).await.expect(201);
    scene
        .register("both", &view("both", json!([{"name": "whose", "path": "subject.getReferenceKey(Patient)"}, by, code])))
        .await
        .expect(201);
    let nord = scene.server.hospital("Nord");
    // p1, who is in the study, has measured p2, and p2 has measured p1.
    for (id, subject, performer) in [("o3", "p2", "p1"), ("o4", "p1", "p2")] {
        let mut observation = observation(id, subject, "home");
        observation["performer"] = json!([{"reference": format!("Patient/{performer}")}]);
        nord.put(&format!("/fhir/Observation/{id}"), &observation).await.expect(201);
    }
    let tables = ["bp", "keyless", "by_performer", "both"];
    let study = json!({"study_subjects": {"studies": [{"holder": "Nord", "id": "s"}]}});
    scene.grant(&permit("trial", "company", "trial_protocol", study, &tables));
    scene.grant(&permit("all", "authority", "statutory_register", json!("everyone"), &tables));
    let (company, authority) = (scene.caller(Role::Company, "company"), scene.caller(Role::Authority, "authority"));
    let count = async |caller: &Hospital<'_>, permit: &str, table: &str| {
        let answer = sql(caller, permit, &format!("SELECT COUNT(*) AS n FROM {table}")).await.expect(200).json();
        answer[0]["n"].as_u64().unwrap()
    };
    assert_eq!(count(&company, "trial", "bp").await, 1, "o1 is about p1; o4 names somebody whom this table does not show");
    assert_eq!(count(&company, "trial", "keyless").await, 0);
    assert_eq!(count(&company, "trial", "by_performer").await, 0, "o3 is about p2, whoever measured");
    assert_eq!(count(&company, "trial", "both").await, 1, "o4 names p2, who is not in the study");
    assert_eq!(count(&authority, "all", "bp").await, 2, "so for everyone under pseudonyms");
    assert_eq!(count(&authority, "all", "keyless").await, 0);
    assert_eq!(count(&authority, "all", "both").await, 4);
    assert_eq!(count(&nord, "care", "keyless").await, 4, "the hospital wrote them");
    for (table, caller, permit) in [("keyless", &company, "trial"), ("by", &company, "trial"), ("keyless", &authority, "all")] {
        let rows = caller.get(&format!("/fhir/ViewDefinition/{table}/$viewdefinition-run?permit={permit}&_format=json")).await.expect(200);
        assert_eq!(rows.json(), json!([]), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_come_in_every_format() {
    let scene = Scene::new().await;
    scene.register("bp", &bp()).await.expect(201);
    scene.grant(&permit("with", "authority", "statutory_register", json!("everyone"), &["bp"]));
    let authority = scene.caller(Role::Authority, "authority");
    let run = async |more: &str| authority.get(&format!("{RUN}?permit=with{more}")).await;
    let plain = run("").await.expect(200);
    assert_eq!(plain.header("content-type"), Some("application/x-ndjson"));
    assert!(plain.header("dugnad-commit").is_some());
    assert_eq!(String::from_utf8(plain.body).unwrap().lines().count(), 2);
    assert_eq!(run("&_format=json").await.expect(200).json().as_array().unwrap().len(), 2);
    let csv = String::from_utf8(run("&_format=csv").await.expect(200).body).unwrap();
    assert!(csv.starts_with("resource_id,patient_key,code,holder") && csv.lines().count() == 3, "{csv}");
    let parquet = Bytes::from(run("&_format=parquet").await.expect(200).body);
    let batches = ParquetRecordBatchReaderBuilder::try_new(parquet).unwrap().build().unwrap();
    assert_eq!(batches.map(|b| b.unwrap().num_rows()).sum::<usize>(), 2);
    let arrow = run("&_format=arrow").await.expect(200).body;
    assert_eq!(StreamReader::try_new(Cursor::new(arrow), None).unwrap().map(|b| b.unwrap().num_rows()).sum::<usize>(), 2);

    // Its rows can be bounded and narrowed to a patient, by the key that the permit shows.
    let one = run("&_format=json&_limit=1").await.expect(200).json();
    assert_eq!(one.as_array().unwrap().len(), 1);
    let key = one[0]["patient_key"].as_str().unwrap();
    assert_eq!(run(&format!("&_format=json&patient=Patient/{key}")).await.expect(200).json(), one);
    assert_eq!(run("&_format=json&patient=nobody%27%20OR%201=1").await.expect(200).json(), json!([]));
    // The other names of the same.
    for path in ["/fhir/$sql-run?subjectReference=ViewDefinition/bp", "/fhir/$viewdefinition-run?viewReference=ViewDefinition/bp"] {
        assert_eq!(authority.get(&format!("{path}&permit=with&_format=json&_limit=1")).await.expect(200).json(), one, "{path}");
    }
    let canonical = json!({"resourceType": "Parameters", "parameter": [
        {"name": "subjectCanonical", "valueCanonical": "http://example.no/ViewDefinition/bp"}, {"name": "_format", "valueCode": "json"},
        {"name": "_limit", "valueInteger": 1},
    ]});
    assert_eq!(authority.post("/fhir/$sql-run", &[("Dugnad-Permit", "with")], &canonical).await.expect(200).json(), one);
    // What is not answered is refused by name.
    for parameter in ["group=Group/1", "_since=2026-01-01T00:00:00Z", "source=s3://x", "header=false", "_format=fhir", "_limit=-1"] {
        let refused = run(&format!("&{parameter}")).await.expect(400).json();
        let name = parameter.split('=').next().unwrap();
        assert!(refused["issue"][0]["diagnostics"].as_str().unwrap().contains(name), "{refused}");
    }
    authority.get(RUN).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_changed_refreshed_and_deleted() {
    let scene = Scene::new().await;
    scene.register("bp", &bp()).await.expect(201);
    scene.grant(&permit("with", "authority", "statutory_register", json!("everyone"), &["bp"]));
    let (centre, authority) = (scene.centre(), scene.caller(Role::Authority, "authority"));
    let mut changed = bp();
    changed["where"] = json!([{"path": "code.coding.first().code = 'dia'"}]);
    let answer = scene.register("bp", &changed).await.expect(200);
    assert_eq!(answer.header("etag"), Some("W/\"2\""));
    assert_eq!(sql(&authority, "with", "SELECT code FROM bp").await.expect(200).json(), json!([{"code": "dia"}]));
    let read = centre.get("/fhir/ViewDefinition/bp").await.expect(200).json();
    assert_eq!((&read["id"], &read["meta"]["versionId"], &read["name"]), (&json!("bp"), &json!("2"), &json!("bp")));
    let refreshed = centre.send("PUT", MATERIALIZE, &[("Prefer", "respond-async")], "").await.expect(202);
    assert_eq!(refreshed.header("content-location"), Some(MATERIALIZE));
    scene.built("bp").await;
    assert_eq!(sql(&authority, "with", "SELECT code FROM bp").await.expect(200).json(), json!([{"code": "dia"}]));

    let deleted = centre.send("DELETE", "/fhir/ViewDefinition/bp", &[], "").await.expect(204);
    assert!(deleted.header("dugnad-commit").is_some());
    sql(&authority, "with", "SELECT code FROM bp").await.expect(400);
    centre.get("/fhir/ViewDefinition/bp").await.expect(410);
    authority.get("/fhir/ViewDefinition/bp").await.expect(404);
    centre.send("DELETE", "/fhir/ViewDefinition/bp", &[], "").await.expect(404);

    // The operation alone does the same.
    let parameters = json!({"resourceType": "Parameters", "parameter": [
        {"name": "viewResource", "resource": bp()}, {"name": "refreshMode", "valueCode": "live"},
    ]});
    centre.post(MATERIALIZE, &[], &parameters).await.expect(201);
    scene.built("bp").await;
    assert_eq!(sql(&authority, "with", "SELECT COUNT(*) AS n FROM bp").await.expect(200).json(), json!([{"n": 2}]));
    centre.send("DELETE", MATERIALIZE, &[], "").await.expect(204);
    centre.get(MATERIALIZE).await.expect(404);
    let mut lazy = parameters;
    lazy["parameter"][1]["valueCode"] = json!("lazy");
    centre.post(MATERIALIZE, &[], &lazy).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_table_is_refused_with_its_place() {
    let scene = Scene::new().await;
    let centre = scene.centre();
    let refused = async |id: &str, view: &Value, status: u16| {
        let answer = centre.put(&format!("/fhir/ViewDefinition/{id}"), view).await.expect(status).json();
        assert_eq!(answer["resourceType"], "OperationOutcome");
        answer["issue"][0]["expression"][0].as_str().unwrap_or_default().to_owned()
    };
    scene.register("bp", &bp()).await.expect(201);
    assert_eq!(refused("other", &bp(), 409).await, "ViewDefinition.name", "the name is taken");
    assert_eq!(refused("other", &view("patient", json!([])), 409).await, "ViewDefinition.name", "and so are the built-in ones");
    assert_eq!(refused("other", &view("Two words", json!([])), 422).await, "ViewDefinition.name");
    let wrong = view("v", json!([{"name": "x", "path": "today()"}]));
    assert_eq!(refused("other", &wrong, 422).await, "ViewDefinition.select[0].column[1].path");
    let mut named = bp();
    named["id"] = json!("another");
    assert_eq!(refused("bp", &named, 400).await, "ViewDefinition.id");
    assert_eq!(refused("bp", &json!({"resourceType": "Patient"}), 400).await, "ViewDefinition.resourceType");
    let authority = scene.caller(Role::Authority, "authority");
    authority.put("/fhir/ViewDefinition/mine", &bp()).await.expect(403);
    scene.server.hospital("Nord").send("DELETE", "/fhir/ViewDefinition/bp", &[], "").await.expect(403);
    let posted = centre.post("/fhir/ViewDefinition", &[], &view("posted", json!([]))).await.expect(201);
    let id = posted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(posted.header("location"), Some(format!("/fhir/ViewDefinition/{id}").as_str()));
    scene.built(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_runs_over_the_resources_that_come_with_it() {
    let scene = Scene::new().await;
    let company = scene.caller(Role::Company, "company");
    let bundle = json!({"resourceType": "Bundle", "type": "collection", "entry": [
        {"resource": observation("a", "x", "sys")}, {"resource": {"resourceType": "Patient", "id": "x"}},
    ]});
    let mut parameters = json!({"resourceType": "Parameters", "parameter": [
        {"name": "viewResource", "resource": bp()}, {"name": "_format", "valueCode": "json"},
        {"name": "resource", "resource": bundle}, {"name": "resource", "resource": observation("b", "y", "dia")},
    ]});
    let path = "/fhir/ViewDefinition/$viewdefinition-run";
    let rows = company.post(path, &[], &parameters).await.expect(200);
    assert_eq!(
        rows.json(),
        json!([{"resource_id": "a", "patient_key": "x", "code": "sys"}, {"resource_id": "b", "patient_key": "y", "code": "dia"}])
    );
    assert_eq!(rows.header("dugnad-commit"), None, "nothing of the database is read");
    parameters["parameter"].as_array_mut().unwrap().push(json!({"name": "_limit", "valueInteger": 1}));
    assert_eq!(company.post(path, &[], &parameters).await.expect(200).json().as_array().unwrap().len(), 1);
    // Without resources it would read the database.
    let alone = json!({"resourceType": "Parameters", "parameter": [{"name": "viewResource", "resource": bp()}]});
    company.post(path, &[("Dugnad-Permit", "any")], &alone).await.expect(404);
}

/// A view that is not registered sees whole resources: it runs for those who may.
#[tokio::test(flavor = "multi_thread")]
async fn an_unregistered_view_runs_over_what_one_may_see_whole() {
    let scene = Scene::new().await;
    let before = scene.server.local.database.snapshot().commit().0;
    let nord = scene.server.hospital("Nord");
    nord.put("/fhir/Observation/o2", &observation("o2", "p2", "changed")).await.expect(200);
    let asked = |more: Value| {
        let mut parameters = vec![json!({"name": "viewResource", "resource": bp()}), json!({"name": "_format", "valueCode": "json"})];
        parameters.extend(more.as_array().unwrap().clone());
        json!({"resourceType": "Parameters", "parameter": parameters})
    };
    let path = "/fhir/$sql-run";
    let row = |id: &str, patient: &str, code: &str| json!({"resource_id": id, "patient_key": patient, "code": code});
    let answer = nord.post(path, &[], &asked(json!([]))).await.expect(200);
    assert_eq!(answer.header("dugnad-commit"), Some((before + 1).to_string().as_str()));
    assert_eq!(answer.json(), json!([row("o1", "p1", "sys"), row("o2", "p2", "changed")]));
    let of_p2 = json!([{"name": "patient", "valueReference": {"reference": "Patient/p2"}}, {"name": "as_of", "valueInteger": before}]);
    assert_eq!(nord.post(path, &[], &asked(of_p2)).await.expect(200).json(), json!([row("o2", "p2", "dia")]));
    let one = json!([{"name": "_limit", "valueInteger": 1}]);
    assert_eq!(nord.post(path, &[], &asked(one)).await.expect(200).json().as_array().map(Vec::len), Some(1));
    let vest = scene.server.hospital("Vest");
    vest.put("/fhir/Observation/o9", &observation("o9", "p9", "own")).await.expect(201);
    assert_eq!(vest.post(path, &[], &asked(json!([]))).await.expect(200).json(), json!([row("o9", "p9", "own")]));
    // What was read is on the record, and whose it was.
    let kari = scene.server.local.database.patient(scene.server.local.database.holder("Nord").unwrap().id, "p2").unwrap().unwrap();
    assert_eq!(scene.server.local.audit.who(&[kari]).unwrap().len(), 3, "all of p2's, but for the first row alone");
    let subjects = json!({"study_subjects": {"studies": [{"holder": "Nord", "id": "s"}], "consent_versions": ["1"]}});
    let mut narrow = permit("narrow", "reader", "inspection", json!("everyone"), &["observation"]);
    narrow["delivery"] = "enclave".into();
    narrow["provision"] = json!({"law": "a mandate"});
    let mut direct = permit("direct", "reader", "direct_access", subjects, &["observation"]);
    direct["delivery"] = "enclave".into();
    scene.grant(&permit("coded", "reader", "statutory_register", json!("everyone"), &["observation"]));
    let reader = scene.caller(Role::Authority, "reader");
    for (permit, status) in [(&narrow, 404), (&direct, 404)] {
        scene.grant(permit); // only inside the environment
        reader.post(path, &[("Dugnad-Permit", permit["id"].as_str().unwrap())], &asked(json!([]))).await.expect(status);
    }
    let refused = reader.post(path, &[("Dugnad-Permit", "coded")], &asked(json!([]))).await.expect(400).json();
    assert!(refused.to_string().contains("whole resources"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_runs_under_a_permit_with_its_parameters() {
    let scene = Scene::new().await;
    scene.register("bp", &bp()).await.expect(201);
    scene.grant(&permit("with", "authority", "statutory_register", json!("everyone"), &["bp"]));
    let authority = scene.caller(Role::Authority, "authority");
    let query = |sql: &str, code: &str| {
        let extension = json!([{"url": "http://hl7.org/fhir/uv/sql-on-fhir/StructureDefinition/sql-text", "valueString": sql}]);
        json!({"resourceType": "Parameters", "parameter": [
            {"name": "queryResource", "resource": {
                "resourceType": "Library", "parameter": [{"name": "code", "type": "string", "use": "in"}],
                "content": [{"contentType": "application/sql", "extension": extension}],
            }},
            {"name": "parameters", "resource": {"resourceType": "Parameters", "parameter": [{"name": "code", "valueString": code}]}},
            {"name": "_format", "valueCode": "json"}, {"name": "permit", "valueString": "with"},
        ]})
    };
    let counted = "SELECT COUNT(*) AS n FROM bp WHERE code = :code -- not :code";
    for (code, rows) in [("sys", 1), ("' OR '1'='1", 0)] {
        let answer = authority.post("/fhir/$sqlquery-run", &[], &query(counted, code)).await.expect(200);
        assert_eq!(answer.json(), json!([{"n": rows}]), "{code}");
    }
    authority.post("/fhir/$sqlquery-run", &[], &query("SELECT 1 FROM patient", "x")).await.expect(400);
    authority.post("/fhir/$sqlquery-run", &[], &query("DROP TABLE bp", "x")).await.expect(400);
}

/// The address of a `Content-Location` or `Location`, once the export has ended.
async fn exported(caller: &Hospital<'_>, status: &str) -> String {
    for _ in 0..2_000 {
        let answer = caller.get(status).await;
        match answer.status.as_u16() {
            202 => assert!(answer.header("x-progress").unwrap().contains("outputs")),
            303 => return answer.header("location").unwrap().to_owned(),
            other => panic!("{other}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the export does not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_of_one_commit_and_its_users_alone() {
    let scene = Scene::new().await;
    scene.register("bp", &bp()).await.expect(201);
    let mut with = permit("with", "authority", "statutory_register", json!("everyone"), &["bp"]);
    with["users"] = json!(["authority", "colleague"]);
    scene.grant(&with);
    let (authority, colleague) = (scene.caller(Role::Authority, "authority"), scene.caller(Role::Authority, "colleague"));
    let subject = |name: &str| {
        json!({"name": "subject", "part": [
            {"name": "name", "valueString": name}, {"name": "subjectReference", "valueReference": {"reference": "ViewDefinition/bp"}},
        ]})
    };
    let parameters = json!({"resourceType": "Parameters", "parameter": [
        subject("one"), subject("two"), {"name": "_format", "valueCode": "csv"}, {"name": "clientTrackingId", "valueString": "mine"},
    ]});
    let begun = authority.post("/fhir/$sql-export", &[("Dugnad-Permit", "with")], &parameters).await.expect(202);
    let status = begun.header("content-location").unwrap().to_owned();
    let result = exported(&authority, &status).await;
    let manifest = authority.get(&result).await.expect(200);
    let json = manifest.json();
    assert_eq!((named(&json, "status"), named(&json, "clientTrackingId")), (json!("completed"), json!("mine")));
    let outputs = json["parameter"].as_array().unwrap().iter().filter(|p| p["name"] == "output");
    let files: Vec<String> = outputs.map(|o| o["part"][1]["valueUri"].as_str().unwrap().to_owned()).collect();
    assert_eq!(files.len(), 2);
    let before = scene.server.local.audit.size();
    let first = authority.get(&files[0]).await.expect(200);
    assert_eq!(first.header("content-type").unwrap().split(';').next(), Some("text/csv"));
    assert_eq!(String::from_utf8_lossy(&first.body).lines().count(), 3);
    assert_eq!(first.body, authority.get(&files[1]).await.expect(200).body);
    assert_eq!(first.header("dugnad-commit"), manifest.header("dugnad-commit"));
    assert_eq!(scene.server.local.audit.size(), before + 4, "an intent and a completion for each file");

    // Files are the owner's of the database only.
    let folder = std::fs::read_dir(scene.server.dir().join("exports")).unwrap().next().unwrap().unwrap().path();
    #[cfg(unix)]
    for path in std::iter::once(folder.clone()).chain(std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path())) {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }
    // Somebody else, even under the same permit, finds nothing; nor does the user once the permit is gone or out of reach.
    for path in [&status, &result, &files[0]] {
        colleague.get(path).await.expect(404);
    }
    with["status"] = json!("revoked");
    scene.grant(&with);
    for path in [&status, &result, &files[0]] {
        authority.get(path).await.expect(404);
    }
    with["status"] = json!("active");
    with["delivery"] = json!("enclave");
    scene.grant(&with);
    authority.get(&files[0]).await.expect(404);
    with["delivery"] = json!("remote");
    scene.grant(&with);
    authority.get(&files[0]).await.expect(200);
    // Once the permit shows something else, or somebody in the files is out, they are not handed out any more.
    let mut fewer = with.clone();
    fewer["tables"][0]["columns"] = json!(["code"]);
    scene.grant(&fewer);
    authority.get(&files[0]).await.expect(410);
    authority.get(&files[0]).await.expect(404);
    with["provision"]["opt_out"] = json!(true);
    scene.grant(&with);
    let begun = authority.post("/fhir/$sql-export", &[("Dugnad-Permit", "with")], &parameters).await.expect(202);
    let status = begun.header("content-location").unwrap().to_owned();
    let result = exported(&authority, &status).await;
    let json = authority.get(&result).await.expect(200).json();
    let outputs = json["parameter"].as_array().unwrap().iter().find(|p| p["name"] == "output").unwrap();
    let file = outputs["part"][1]["valueUri"].as_str().unwrap().to_owned();
    authority.get(&file).await.expect(200);
    scene.server.hospital("Nord").send("PUT", "/opt-outs/Nord/p1", &[], "").await.expect(200);
    authority.get(&file).await.expect(410);
    for (path, rows) in [
        ("/fhir/$sql-run?permit=with&subjectReference=ViewDefinition/bp", 1),
        ("/fhir/ViewDefinition/bp/$viewdefinition-run?permit=with", 1),
    ] {
        let answer = authority.get(path).await.expect(200);
        assert_eq!(String::from_utf8_lossy(&answer.body).lines().count(), rows, "{path}: the next answer is without the person");
    }
    let begun = authority.post("/fhir/$sql-export", &[("Dugnad-Permit", "with")], &parameters).await.expect(202);
    let status = begun.header("content-location").unwrap().to_owned();
    let folder = scene.server.dir().join("exports").join(status.rsplit('/').next().unwrap());
    exported(&authority, &status).await;
    colleague.send("DELETE", &status, &[], "").await.expect(404);
    authority.send("DELETE", &status, &[], "").await.expect(202);
    authority.get(&status).await.expect(404);
    for _ in 0..200 {
        if !folder.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(!folder.exists(), "its files are gone");
    // A view outside the permit is refused at once.
    let other = json!({"resourceType": "Parameters", "parameter": [{"name": "subject", "part": [
        {"name": "subjectReference", "valueReference": {"reference": "ViewDefinition/no"}},
    ]}]});
    authority.post("/fhir/$sql-export", &[("Dugnad-Permit", "with")], &other).await.expect(404);
    let of_one = authority.send("POST", "/fhir/ViewDefinition/bp/$viewdefinition-export?permit=with", &[], "").await.expect(202);
    exported(&authority, of_one.header("content-location").unwrap()).await;
}

/// Cadence and delivery are those of the permit on every interface.
#[tokio::test(flavor = "multi_thread")]
async fn cadence_and_delivery_hold_on_every_interface() {
    let scene = Scene::new().await;
    scene.register("bp", &bp()).await.expect(201);
    let mut frozen = permit("frozen", "authority", "statutory_register", json!("everyone"), &["bp"]);
    frozen["cadence"] = json!("frozen"); // decided before anything was written
    let mut enclave = permit("enclave", "authority", "statutory_register", json!("everyone"), &["bp"]);
    enclave["delivery"] = json!("enclave");
    scene.grant(&frozen);
    scene.grant(&enclave);
    let authority = scene.caller(Role::Authority, "authority");
    let parameters = json!({"resourceType": "Parameters", "parameter": [{"name": "subject", "part": [
        {"name": "name", "valueString": "one"}, {"name": "subjectReference", "valueReference": {"reference": "ViewDefinition/bp"}},
    ]}]});
    for path in ["/fhir/$sql-run?subjectReference=ViewDefinition/bp&permit=", "/fhir/ViewDefinition/bp/$viewdefinition-run?permit="] {
        let answer = authority.get(&format!("{path}frozen")).await.expect(200);
        assert_eq!((answer.body.len(), answer.header("dugnad-commit")), (0, Some("0")), "{path}");
        authority.get(&format!("{path}enclave")).await.expect(404);
    }
    let asked = |permit: &str| json!({"permit": permit, "sql": "SELECT * FROM bp"});
    let sql = authority.send("POST", "/sql", &[("Content-Type", "application/json")], asked("frozen").to_string()).await.expect(200);
    assert_eq!((sql.json(), sql.header("dugnad-commit")), (json!([]), Some("0")));
    authority.send("POST", "/sql", &[("Content-Type", "application/json")], asked("enclave").to_string()).await.expect(404);
    for export in ["/fhir/$sql-export", "/fhir/$viewdefinition-export"] {
        authority.post(export, &[("Dugnad-Permit", "enclave")], &parameters).await.expect(404);
        let begun = authority.post(export, &[("Dugnad-Permit", "frozen")], &parameters).await.expect(202);
        let result = exported(&authority, begun.header("content-location").unwrap()).await;
        let manifest = authority.get(&result).await.expect(200);
        assert_eq!(manifest.header("dugnad-commit"), Some("0"), "{export}");
        let all = manifest.json();
        let output = all["parameter"].as_array().unwrap().iter().find(|p| p["name"] == "output").unwrap().clone();
        let file = authority.get(output["part"][1]["valueUri"].as_str().unwrap()).await.expect(200);
        assert!(file.body.is_empty(), "{export}");
    }
}
