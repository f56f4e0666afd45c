//! SQLViews and SQLQueries that the centre publishes as Libraries.

use crate::support::Hospital;
use crate::views::{Scene, bp, permit, sql};
use dugnad::access::Role;
use serde_json::{Value, json};

const FORM: &str = "application/x-www-form-urlencoded";

fn library(kind: &str, name: &str, sql: &str) -> Value {
    let extension = json!([{"url": "http://hl7.org/fhir/uv/sql-on-fhir/StructureDefinition/sql-text", "valueString": sql}]);
    json!({
        "resourceType": "Library", "name": name, "url": format!("http://example.no/Library/{name}"), "status": "active",
        "type": {"coding": [{"system": "http://hl7.org/fhir/uv/sql-on-fhir/CodeSystem/LibraryTypesCodes", "code": kind}]},
        "relatedArtifact": [{"type": "depends-on", "label": "Measured", "resource": "http://example.no/ViewDefinition/bp"}],
        "content": [{"contentType": "application/sql", "extension": extension}],
    })
}

fn everyone(id: &str, tables: &[&str]) -> Value {
    permit(id, "authority", "statutory_register", json!("everyone"), tables)
}

async fn numbers(caller: &Hospital<'_>, permit: &str, question: &str) -> Value {
    sql(caller, permit, question).await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_view_is_a_table_of_the_permits_that_list_it() {
    let scene = Scene::new().await;
    scene.register("bp", &bp()).await.expect(201);
    let centre = scene.centre();
    let counted = library("sql-view", "PerPatient", "SELECT patient_key, code, COUNT(*) AS n FROM measured GROUP BY patient_key, code");
    let answer = centre.put("/fhir/Library/per-patient", &counted).await.expect(201);
    assert_eq!(answer.json()["id"], "per-patient");
    assert!(answer.header("Dugnad-Commit").is_some());
    scene.grant(&everyone("with", &["perpatient"]));
    scene.grant(&everyone("without", &["bp"]));
    scene.grant(&permit(
        "subjects",
        "sponsor",
        "trial_protocol",
        json!({"study_subjects": {"studies": [{"holder": "Nord", "id": "s"}]}}),
        &["perpatient"],
    ));
    let authority = scene.caller(Role::Authority, "authority");
    let total = "SELECT SUM(n) AS n, COUNT(DISTINCT patient_key) AS persons FROM perpatient";
    assert_eq!(numbers(&authority, "with", total).await, json!([{"n": 2, "persons": 2}]));
    // Its rows are those that the permit shows, from the next write on.
    let company = scene.caller(Role::Company, "sponsor");
    assert_eq!(numbers(&company, "subjects", total).await, json!([{"n": 1, "persons": 1}]));
    let nord = scene.server.hospital("Nord");
    let observation = json!({"resourceType": "Observation", "id": "o3", "status": "final", "code": {"coding": [{"code": "sys"}]},
                             "subject": {"reference": "Patient/p1"}});
    nord.put("/fhir/Observation/o3", &observation).await.expect(201);
    assert_eq!(numbers(&company, "subjects", total).await, json!([{"n": 2, "persons": 1}]));
    // It does not exist for a permit that does not list it, nor do its tables for one that lists only it.
    sql(&authority, "without", "SELECT * FROM perpatient").await.expect(400);
    sql(&authority, "with", "SELECT * FROM bp").await.expect(400);
    assert_eq!(
        numbers(&authority, "with", "SELECT table_name, table_type FROM information_schema.tables").await,
        json!([{"table_name": "perpatient", "table_type": "VIEW"}])
    );
    // Over another view; by reference; taken back.
    let mut over = library("sql-view", "Busy", "SELECT patient_key FROM per WHERE n > 1");
    over["relatedArtifact"] = json!([{"type": "depends-on", "label": "per", "resource": "http://example.no/Library/PerPatient"}]);
    centre.put("/fhir/Library/busy", &over).await.expect(201);
    scene.grant(&everyone("both", &["busy", "perpatient"]));
    let named = "/fhir/$sql-run?subjectReference=Library/busy&permit=both&_format=json";
    assert_eq!(authority.get(named).await.expect(200).json().as_array().map(Vec::len), Some(1));
    authority.get("/fhir/$sql-run?subjectReference=Library/busy&permit=with").await.expect(404);
    centre.send("DELETE", "/fhir/Library/per-patient", &[], "").await.expect(204);
    sql(&authority, "with", total).await.expect(400);
    sql(&authority, "both", "SELECT * FROM busy").await.expect(400);
    centre.get("/fhir/Library/per-patient").await.expect(410);
}

/// A view went on over the table that its ViewDefinition had been, until the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_published_view_follows_the_view_definition_that_it_stands_on() {
    let scene = Scene::new().await;
    scene.register("bp", &bp()).await.expect(201);
    let centre = scene.centre();
    centre.put("/fhir/Library/codes", &library("sql-view", "Codes", "SELECT DISTINCT code FROM measured")).await.expect(201);
    scene.grant(&everyone("with", &["codes"]));
    let authority = scene.caller(Role::Authority, "authority");
    let count = "SELECT COUNT(*) AS n FROM codes";
    assert_eq!(numbers(&authority, "with", count).await, json!([{"n": 2}]));
    let mut renamed = bp();
    renamed["name"] = json!("pressure");
    scene.register("bp", &renamed).await.expect(200);
    assert_eq!(numbers(&authority, "with", count).await, json!([{"n": 2}]), "over the table of the new name");
    let mut another = bp();
    another["url"] = json!("http://example.no/ViewDefinition/other");
    scene.register("other", &another).await.expect(201);
    centre.send("DELETE", "/fhir/ViewDefinition/bp", &[], "").await.expect(204);
    sql(&authority, "with", count).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_query_is_asked_by_reference_and_by_url() {
    let scene = Scene::new().await;
    scene.register("bp", &bp()).await.expect(201);
    let mut query = library("sql-query", "ByCode", "SELECT COUNT(*) AS n FROM measured WHERE code = :code");
    query["parameter"] = json!([{"name": "code", "type": "string", "use": "in"}]);
    scene.centre().put("/fhir/Library/by-code", &query).await.expect(201);
    scene.grant(&everyone("with", &["bp"]));
    scene.grant(&everyone("other", &["patient"]));
    let authority = scene.caller(Role::Authority, "authority");
    let asked = |by: Value, permit: &str| {
        let values = json!({"resourceType": "Parameters", "parameter": [{"name": "code", "valueString": "sys"}]});
        json!({"resourceType": "Parameters", "parameter": [
            by, {"name": "parameters", "resource": values}, {"name": "permit", "valueString": permit}, {"name": "_format", "valueCode": "json"},
        ]})
    };
    let by_reference = json!({"name": "queryReference", "valueReference": {"reference": "Library/by-code"}});
    let by_url = json!({"name": "queryCanonical", "valueCanonical": "http://example.no/Library/ByCode"});
    for by in [by_reference.clone(), by_url] {
        let answer = authority.post("/fhir/$sqlquery-run", &[], &asked(by, "with")).await.expect(200);
        assert_eq!(answer.json(), json!([{"n": 1}]));
    }
    authority.post("/fhir/$sqlquery-run", &[], &asked(by_reference, "other")).await.expect(400);
    let unknown = json!({"name": "queryReference", "valueReference": {"reference": "Library/none"}});
    authority.post("/fhir/$sqlquery-run", &[], &asked(unknown, "with")).await.expect(404);
    assert_eq!(authority.get("/fhir/Library/by-code").await.expect(200).json()["name"], "ByCode");
    assert_eq!(authority.get("/fhir/Library").await.expect(200).json()["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_published_is_refused_with_its_place() {
    let scene = Scene::new().await;
    scene.register("bp", &bp()).await.expect(201);
    let centre = scene.centre();
    for (status, said, library) in [
        (400, "SELECT", library("sql-view", "v", "DROP TABLE bp")),
        (400, "nowhere", library("sql-view", "v", "SELECT * FROM nowhere")),
        (400, "v", library("sql-view", "v", "SELECT * FROM v")),
        (409, "bp", library("sql-view", "BP", "SELECT 1 AS n")),
        (409, "treatment", library("sql-view", "treatment", "SELECT 1 AS n")),
        (409, "patient", library("sql-view", "patient", "SELECT 1 AS n")),
        (422, "Library.name", library("sql-view", "a view", "SELECT 1 AS n")),
        (422, "Library.type", library("logic-library", "v", "SELECT 1 AS n")),
    ] {
        let answer = centre.put("/fhir/Library/v", &library).await.expect(status);
        let text = answer.json().to_string();
        assert!(text.contains(said), "{said}: {text}");
    }
    centre.get("/fhir/Library/v").await.expect(404);
    // Criteria that were passed over would make a second one.
    let view = library("sql-view", "v", "SELECT 1 AS n");
    centre.post("/fhir/Library?url=x", &[], &view).await.expect(400);
    centre.post("/fhir/Library", &[("If-None-Exist", "url=x")], &view).await.expect(400);
    centre.post("/fhir/Library?_format=json", &[], &view).await.expect(201);
    // A ViewDefinition cannot take the name of a view either.
    centre.put("/fhir/Library/v", &library("sql-view", "taken", "SELECT 1 AS n")).await.expect(201);
    let mut view = bp();
    view["name"] = json!("taken");
    scene.register("taken", &view).await.expect(409);
}

/// A Library of a hospital is a resource like any other, and its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_hospitals_library_is_its_own() {
    let scene = Scene::new().await;
    let own = json!({"resourceType": "Library", "id": "l", "status": "active", "type": {"text": "guideline"}});
    scene.server.hospital("Nord").put("/fhir/Library/l", &own).await.expect(201);
    assert_eq!(scene.server.hospital("Nord").get("/fhir/Library/l").await.expect(200).json()["type"]["text"], "guideline");
    scene.server.hospital("Sør").get("/fhir/Library/l").await.expect(404);
    scene.centre().get("/fhir/Library/l").await.expect(404);
    scene.caller(Role::Authority, "authority").put("/fhir/Library/l", &own).await.expect(403);
}

/// `GET /fhir/Library` is a list of what is published for everybody but hospitals, for whom a Library is a resource like any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_hospital_searches_its_own_libraries_and_others_see_what_is_published() {
    let scene = Scene::new().await;
    scene.register("bp", &bp()).await.expect(201);
    let centre = scene.centre();
    let query = library("sql-query", "ByCode", "SELECT COUNT(*) AS n FROM measured");
    centre.put("/fhir/Library/by-code", &query).await.expect(201);
    let (nord, sor) = (scene.server.hospital("Nord"), scene.server.hospital("Sor"));
    let own = json!({"resourceType": "Library", "id": "by-code", "status": "draft", "name": "Own", "type": {"text": "logic"}});
    nord.put("/fhir/Library/by-code", &own).await.expect(201);
    let found = |bundle: Value| -> Vec<String> {
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        entries.iter().filter_map(|e| e["resource"]["name"].as_str()).map(str::to_owned).collect()
    };
    let authority = scene.caller(Role::Authority, "authority");
    for caller in [&centre, &authority] {
        assert_eq!(found(caller.get("/fhir/Library").await.expect(200).json()), ["ByCode"]);
        caller.send("POST", "/fhir/Library/_search", &[("Content-Type", FORM)], "name=own").await.expect(403);
    }
    for search in ["", "?name=own", "?status=draft&_sort=name", "?_id=by-code"] {
        assert_eq!(found(nord.get(&format!("/fhir/Library{search}")).await.expect(200).json()), ["Own"], "{search}");
        assert!(found(sor.get(&format!("/fhir/Library{search}")).await.expect(200).json()).is_empty(), "{search}");
    }
    let by_form = nord.send("POST", "/fhir/Library/_search", &[("Content-Type", FORM)], "name=own").await.expect(200);
    assert_eq!(found(by_form.json()), ["Own"]);
    let changed = json!({"resourceType": "Library", "status": "active", "name": "Own", "type": {"text": "logic"}});
    assert_eq!(nord.put("/fhir/Library?name=own", &changed).await.expect(200).json()["id"], "by-code");
    nord.send("DELETE", "/fhir/Library?name=own", &[], "").await.expect(204);
    authority.send("DELETE", "/fhir/Library?name=ByCode", &[], "").await.expect(403);
    assert_eq!(found(centre.get("/fhir/Library").await.expect(200).json()), ["ByCode"]);
    // ViewDefinition is no resource type of R4: what is registered is listed for hospitals too.
    assert_eq!(
        found(nord.get("/fhir/ViewDefinition").await.expect(200).json()),
        found(sor.get("/fhir/ViewDefinition").await.expect(200).json())
    );
}
