//! Statistics as analysts meet them: SQL, JSON-stat and CSV, cohorts, the centre's own dimensions, the ledger, and what stays the
//! same from epoch to epoch.

use crate::support::{Answer, Hospital, Server};
use dugnad::access::Role;
use dugnad::query::StatisticsSettings;
use dugnad_kernel::clock::{Clock, ManualClock};
use dugnad_kernel::disclosure::{Calendars, MethodDocument, Period};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

const START: &str = "2026-11-21T19:30:00Z";

/// Two hospitals with some 240 patients, and a permit for statistics of everything.
struct Scene {
    server: Server,
    clock: Arc<ManualClock>,
}

/// Little noise, and small differences: the hospitals are small.
fn settings() -> StatisticsSettings {
    let method = MethodDocument::CellKey { threshold: 3, difference: 4, bound: 1, variance: 0.5, patience: 0 };
    StatisticsSettings { method, epochs: Calendars::all(Period::Seconds(60)), cells_per_epoch: 200, tables_per_epoch: 10 }
}

fn at(seconds: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn patient(n: usize) -> Value {
    let sex = if n.is_multiple_of(3) { "male" } else { "female" };
    json!({"resourceType": "Patient", "id": format!("p{n}"), "gender": sex, "birthDate": format!("{}-05-17", 1935 + n % 60),
           "deceasedDateTime": if n.is_multiple_of(3) { json!("2026-06-10") } else { Value::Null }})
}

fn resources(n: usize) -> Vec<Value> {
    let subject = json!({"reference": format!("Patient/p{n}")});
    let month = n % 5 + 1;
    let condition = json!({
        "resourceType": "Condition", "id": format!("c{n}"), "subject": subject, "onsetDateTime": format!("2026-0{month}-03"),
        "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": if n.is_multiple_of(2) { "C50.9" } else { "C61" }}]},
    });
    let drug = json!({
        "resourceType": "MedicationAdministration", "id": format!("m{n}"), "status": "completed", "subject": subject,
        "effectiveDateTime": format!("2026-0{month}-10T10:00:00+01:00"),
        "medicationCodeableConcept": {"coding": [{"system": "http://www.whocc.no/atc", "code": if n.is_multiple_of(2) { "L01CD01" } else { "L02BB03" }}]},
    });
    let encounter = json!({
        "resourceType": "Encounter", "id": format!("e{n}"), "status": "finished", "subject": subject,
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "period": {"start": "2026-03-01T08:00:00Z", "end": format!("2026-03-0{}T08:00:00Z", 2 + n % 7)},
    });
    let psa = json!({
        "resourceType": "Observation", "id": format!("o{n}"), "status": "final", "subject": subject,
        "effectiveDateTime": "2026-03-01T08:00:00Z", "code": {"coding": [{"system": "http://loinc.org", "code": if n.is_multiple_of(2) { "2857-1" } else { "1834-1" }}]},
        "valueQuantity": {"value": 4.0 + (n % 3) as f64, "unit": "ug/L", "system": "http://unitsofmeasure.org", "code": "ug/L"},
    });
    vec![condition, drug, encounter, psa]
}

async fn write(hospital: &Hospital<'_>, resources: &[Value]) {
    let entry = |r: &Value| {
        let mut r = r.clone();
        if let Some(fields) = r.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let url = format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap());
        json!({"resource": r, "request": {"method": "PUT", "url": url}})
    };
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": resources.iter().map(entry).collect::<Vec<_>>()});
    hospital.post("/fhir", &[], &bundle).await.expect(200);
}

const TABLES: [&str; 8] =
    ["patient", "condition", "treatment", "procedure", "medication_administration", "observation", "encounter", "consent"];

impl Scene {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(at(-600)));
        let server = Server::open_with(tempfile::tempdir().unwrap(), Arc::clone(&clock) as Arc<dyn Clock>, Some(settings()));
        let scene = Self { server, clock };
        for (holder, patients) in [("OUS Radiumhospitalet", 0..160), ("Haukeland", 160..240)] {
            scene.server.local.database.register_holder(holder).unwrap();
            let hospital = scene.server.hospital(holder);
            let all: Vec<Value> = patients.flat_map(|n| std::iter::once(patient(n)).chain(resources(n))).collect();
            write(&hospital, &all).await;
        }
        for (id, user) in [("statistics", "company"), ("others", "other")] {
            let tables: Vec<Value> = TABLES.iter().map(|t| json!({"table": t, "columns": "all"})).collect();
            let permit = json!({
                "id": id, "basis": "ehds_request", "applicant": user, "users": [user], "purpose": "to test", "tables": tables,
                "population": "everyone", "cadence": "monthly", "delivery": "remote", "valid_from": at(-600), "valid_until": at(86_400),
                "decision": {"by": "centre", "at": at(-500), "reasons": "a test"}, "status": "active",
            });
            scene.server.local.database.put_document("permit", id, &permit.to_string()).unwrap();
        }
        scene.clock.set(at(1));
        scene
    }

    fn company(&self) -> Hospital<'_> {
        Hospital { server: &self.server, token: self.server.token(Role::Company, "company", None) }
    }

    fn centre(&self, user: &str) -> Hospital<'_> {
        Hospital { server: &self.server, token: self.server.token(Role::Centre, user, None) }
    }

    async fn asked(&self, sql: &str) -> Answer {
        let body = json!({"permit": "statistics", "sql": sql});
        self.company().post("/sql", &[("Content-Type", "application/json")], &body).await
    }

    async fn rows(&self, sql: &str) -> Vec<Value> {
        let answer = self.asked(sql).await.expect(200);
        assert!(answer.header("Dugnad-Epoch").is_some() && answer.header("Dugnad-Commit").is_none(), "{sql}");
        answer.json().as_array().unwrap().clone()
    }

    async fn one(&self, sql: &str, column: &str) -> f64 {
        let rows = self.rows(sql).await;
        rows[0][column].as_f64().unwrap_or_else(|| panic!("{sql}: {rows:?}"))
    }
}

fn near(value: f64, wanted: f64, within: f64) {
    assert!((value - wanted).abs() <= within, "{value} is not {wanted} +- {within}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_measure_answers() {
    let scene = Scene::new().await;
    near(scene.one("SELECT persons FROM statistics.patients", "persons").await, 240.0, 1.0);
    let sexes = scene.rows("SELECT sex, persons FROM statistics.patients GROUP BY sex").await;
    assert_eq!(sexes.iter().map(|r| r["sex"].as_str().unwrap()).collect::<Vec<_>>(), ["female", "male", "other", "unknown"]);
    near(sexes[0]["persons"].as_f64().unwrap(), 160.0, 1.0);
    assert_eq!((&sexes[2]["persons"], &sexes[3]["persons"]), (&Value::Null, &Value::Null), "nobody is not shown");
    let counties = "SELECT county, persons, rate FROM statistics.patients WHERE county IN ('03', '46') GROUP BY county ORDER BY county";
    let oslo = &scene.rows(counties).await[0];
    near(oslo["persons"].as_f64().unwrap(), 160.0, 1.0);
    near(oslo["rate"].as_f64().unwrap(), 160.0 / 7.2, 1.0);
    let blocks = scene.rows("SELECT icd10_block, persons, count FROM statistics.conditions WHERE icd10_chapter = 'II' GROUP BY icd10_block HAVING persons > 0").await;
    assert_eq!(blocks.iter().map(|r| r["icd10_block"].as_str().unwrap()).collect::<Vec<_>>(), ["C50-C50", "C60-C63"]);
    near(blocks[0]["persons"].as_f64().unwrap(), 120.0, 1.0);
    near(scene.one("SELECT persons FROM statistics.drugs WHERE atc_2 = 'L02'", "persons").await, 120.0, 1.0);
    let months = scene.rows("SELECT month, starts FROM statistics.drugs WHERE year = '2026' GROUP BY month HAVING starts > 0").await;
    assert_eq!(months.len(), 5, "{months:?}");
    near(months[0]["starts"].as_f64().unwrap(), 48.0, 1.0);
    near(scene.one("SELECT mean FROM statistics.tests WHERE test = '2857-1 ug/L'", "mean").await, 5.0, 0.4);
    near(scene.one("SELECT quantile(stay_days, 0.5) AS median FROM statistics.encounters", "median").await, 4.5, 1.5);
    near(scene.one("SELECT mean AS days FROM statistics.encounters", "days").await, 4.0, 0.5);
    let kinds = scene.rows("SELECT kind, persons FROM statistics.treatments GROUP BY kind").await;
    assert_eq!(kinds.len(), 6);
    let curve = scene.rows("SELECT follow_up_quarter, at_risk, events, survival FROM statistics.survival WHERE icd10_block = 'C50-C50' GROUP BY follow_up_quarter LIMIT 4").await;
    // A third of them died in June, one to five months after the condition.
    near(curve[0]["at_risk"].as_f64().unwrap(), 120.0, 1.0);
    assert!(curve.windows(2).all(|w| w[1]["survival"].as_f64() <= w[0]["survival"].as_f64()), "{curve:?}");
    near(curve[1]["survival"].as_f64().unwrap(), 0.667, 0.06);
    for (sql, told) in [
        ("SELECT sum(persons) AS n FROM statistics.patients GROUP BY sex", "functions that add rows up"),
        ("SELECT persons, row_number() OVER (ORDER BY persons) AS n FROM statistics.patients GROUP BY sex", "functions that add rows up"),
        ("SELECT ward, persons FROM statistics.patients GROUP BY ward", "has no level ward"),
        ("SELECT persons FROM statistics.nothing", "there is no table statistics.nothing"),
        ("SELECT sex, persons FROM statistics.patients WHERE sex = 'robot' GROUP BY sex", "has no code 'robot'"),
        ("SELECT sex, persons FROM statistics.patients WHERE county IN ('03', '46') GROUP BY sex", "cannot be counted together"),
        ("SELECT sex, mean FROM statistics.patients GROUP BY sex", "has no value to add up"),
        ("SELECT sex, mean FROM statistics.tests GROUP BY sex", "group by test"),
        ("SELECT sex, starts FROM statistics.drugs GROUP BY sex", "starts are of a period"),
        ("SELECT holder, rate FROM statistics.patients GROUP BY holder", "ask for counties"),
        ("SELECT follow_up_year, persons FROM statistics.survival GROUP BY follow_up_year", "and nothing else is"),
        ("SELECT sex, survival FROM statistics.patients GROUP BY sex", "has no survival"),
        ("SELECT year, month, persons FROM statistics.drugs GROUP BY year, month", "on one level only"),
        (
            "SELECT sex, age_band, county, kind, year, persons FROM statistics.treatments GROUP BY sex, age_band, county, kind, year",
            "at most 4",
        ),
        ("SELECT persons FROM statistics.patients WHERE EXISTS (SELECT 1 FROM patient)", "WHERE may only say"),
        ("SELECT persons, (SELECT 1 FROM patient) AS n FROM statistics.patients", "patient"),
    ] {
        let answer = scene.asked(sql).await.expect(400);
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(told), "{sql}: {detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_cell_is_the_same_however_it_is_asked_for() {
    let scene = Scene::new().await;
    let female = "SELECT persons FROM statistics.patients WHERE sex = 'female' AND county = '03'";
    let first = scene.one(female, "persons").await;
    for other in [
        "SELECT sex, county, persons FROM statistics.patients WHERE sex = 'female' AND county = '03' GROUP BY sex, county",
        "SELECT county, persons FROM statistics.patients WHERE county = '03' AND sex IN ('female') GROUP BY county",
        "SELECT persons + 0 AS persons FROM statistics.patients WHERE county = '03' AND sex = 'female' ORDER BY 1 LIMIT 1",
    ] {
        near(scene.one(other, "persons").await, first, 0.0);
    }
    let body = json!({"permit": "others", "sql": female});
    let other = Hospital { server: &scene.server, token: scene.server.token(Role::Company, "other", None) };
    let answer = other.post("/sql", &[("Content-Type", "application/json")], &body).await.expect(200).json();
    assert_eq!(answer[0]["persons"].as_f64(), Some(first), "under another permit");
    for n in 1..4 {
        scene.clock.set(at(60 * n + 1));
        near(scene.one(female, "persons").await, first, 0.0);
    }
    // A hospital that is registered within an epoch comes before those that it has cells of, and changes none.
    let places = "SELECT county, persons FROM statistics.patients GROUP BY county";
    let before = scene.rows(places).await;
    assert!(before.iter().any(|row| !row["persons"].is_null()));
    scene.server.local.database.register_holder("Ahus").unwrap();
    let after: Vec<Value> =
        scene.rows(places).await.into_iter().filter(|row| before.iter().any(|b| b["county"] == row["county"])).collect();
    assert_eq!(after, before);
    // After a backup is restored.
    let other = tempfile::tempdir().unwrap();
    let (copy, restored) = (other.path().join("copy"), other.path().join("restored"));
    let command = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_dugnad")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let path = |path: &std::path::Path| path.display().to_string();
    command(&["backup", "--data", &path(scene.server.dir()), "--to", &path(&copy)]);
    command(&["restore", "--from", &path(&copy), "--data", &path(&restored), "--no-erasures"]);
    let kept = |dir: &std::path::Path| {
        let anchors = std::fs::read_dir(dir.join("statistics/anchors")).unwrap();
        let mut files: Vec<_> =
            anchors.map(|file| file.unwrap()).map(|file| (file.file_name(), std::fs::read(file.path()).unwrap())).collect();
        files.sort();
        (files, std::fs::read(dir.join("statistics/settings.json")).unwrap())
    };
    assert!(kept(&restored) == kept(scene.server.dir()) && !kept(&restored).0.is_empty());
    // After a restart too.
    let Scene { server, clock } = scene;
    let scene = Scene { server: Server::open_with(server.close(), Arc::clone(&clock) as Arc<dyn Clock>, None), clock };
    scene.clock.set(at(400));
    near(scene.one(female, "persons").await, first, 0.0);
    let settings = StatisticsSettings { cells_per_epoch: 1, ..settings() };
    let folder = scene.server.close();
    let other = dugnad::cli::local::Local::open_with(folder.path(), None, Arc::new(ManualClock::new(at(400))), Some(settings));
    assert!(other.err().unwrap().to_string().contains("made by other settings"));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_of_is_the_latest_epoch_not_after_it() {
    let scene = Scene::new().await;
    let sql = "SELECT county, sex, persons FROM statistics.patients GROUP BY county, sex";
    let first = scene.rows(sql).await;
    assert!(first.iter().any(|row| !row["persons"].is_null()));
    let hospital = scene.server.hospital("Haukeland");
    write(&hospital, &[patient(300)]).await;
    let commit = scene.server.local.database.snapshot().commit().0;
    scene.clock.set(at(59));
    write(&hospital, &(240..300).map(patient).collect::<Vec<_>>()).await;
    scene.clock.set(at(121));
    assert_ne!(scene.rows(sql).await, first);
    let asked = async |sql: &str, commit: u64| {
        let body = json!({"permit": "statistics", "sql": sql, "as_of": commit});
        scene.company().post("/sql", &[("Content-Type", "application/json")], &body).await
    };
    let then = asked(sql, commit).await.expect(200);
    assert_eq!(then.header("Dugnad-Epoch"), Some("2026-11-21T19:30:00Z"));
    assert_eq!(then.header("Dugnad-Disclosure").unwrap().split(';').next(), Some("method=cell_key"));
    assert_eq!(then.json(), json!(first));
    let path = format!("/statistics/patients?permit=statistics&by=county,sex&as_of={commit}");
    let cells = scene.company().get(&path).await.expect(200).json();
    assert_eq!(cells["value"], first.iter().map(|row| row["persons"].clone()).collect::<Value>());
    let hidden = first.iter().filter(|row| row["persons"].is_null()).count();
    let expected = if hidden == 0 { "none" } else { cells["extension"]["suppressed"].as_str().unwrap() };
    assert!(then.header("Dugnad-Disclosure").unwrap().ends_with(&format!("; suppressed=\"{expected}\"")));
    // What nobody asked for then is not counted now.
    let other = asked("SELECT age_band, persons FROM statistics.patients GROUP BY age_band", commit).await.expect(400).json();
    assert!(other["detail"].as_str().unwrap().contains("nobody asked"), "{other}");
    asked(sql, 1).await.expect(412); // before the permit
    asked(sql, commit + 100).await.expect(412);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_and_an_erasure_do_not_show() {
    let scene = Scene::new().await;
    let sql = "SELECT sex, persons FROM statistics.patients WHERE sex = 'female' GROUP BY sex";
    let before = scene.one(sql, "persons").await;
    let centre = scene.centre("anne");
    let json = [("Content-Type", "application/json")];
    let out = json!({"holder": "Haukeland", "patient": "p161"});
    centre.send("PUT", "/opt-outs/Haukeland/p161", &json, out.to_string()).await;
    let erase = json!({"holder": "OUS Radiumhospitalet", "patient": "p1", "reason": "a test"});
    centre.post("/erasures", &json, &erase).await;
    scene.clock.set(at(61));
    near(scene.one(sql, "persons").await, before, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_as_json_stat_and_csv() {
    let scene = Scene::new().await;
    let company = scene.company();
    let answer = company.get("/statistics/patients?permit=statistics&by=sex,county&county=03,46&measure=persons,rate").await.expect(200);
    let cube = answer.json();
    assert_eq!((&cube["version"], &cube["class"], &cube["id"]), (&json!("2.0"), &json!("dataset"), &json!(["sex", "county", "measure"])));
    assert_eq!((&cube["size"], cube["value"].as_array().map(Vec::len)), (&json!([4, 2, 2]), Some(16)));
    assert_eq!(cube["dimension"]["county"]["category"]["index"], json!(["03", "46"]));
    near(cube["value"][0].as_f64().unwrap(), 106.0, 2.0);
    assert_eq!((&cube["status"]["8"], &cube["value"][8]), (&json!("c"), &Value::Null));
    assert_eq!((&cube["extension"]["suppressed"], &cube["extension"]["disclosure"]["threshold"]), (&json!("50 to 90 %"), &json!(3)));
    assert_eq!(cube["role"], json!({"metric": ["measure"], "geo": ["county"]}));
    let csv = company.send("GET", "/statistics/patients?permit=statistics&by=sex", &[("Accept", "text/csv")], "").await.expect(200);
    let text = String::from_utf8(csv.body).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "DATAFLOW,SEX,MEASURE,OBS_VALUE,OBS_STATUS,CONF_STATUS,EPOCH,METHOD");
    assert!(lines[1].starts_with("DUGNAD:PATIENTS(1.0),female,persons,1") && lines[1].contains(",A,F,2026-11-21T19:30:00Z,"), "{text}");
    assert!(lines[3].starts_with("DUGNAD:PATIENTS(1.0),other,persons,,M,C,"), "{text}");
    company.get("/statistics/patients?by=sex").await.expect(400);
    company.get("/statistics/patients?permit=nobody&by=sex").await.expect(404);
    company.get("/statistics/patients?permit=statistics&by=sex;drop").await.expect(400);
    let told = company.get("/statistics/patients?permit=statistics&by=sex&sex=fe'male").await.expect(400).json();
    assert!(told["detail"].as_str().unwrap().contains("fe'male"), "{told}");
    // The catalogue and the lists are for everybody, and have nothing of the data.
    let catalogue = scene.server.get("/statistics").await.expect(200).json();
    assert_eq!((&catalogue["method"]["method"], &catalogue["least_shown"]), (&json!("cell_key"), &json!(5)));
    assert_eq!(catalogue["tables"].as_array().map(Vec::len), Some(9));
    let icd = scene.server.get("/dimensions/icd10").await.expect(200).json();
    let c50 = icd["codes"].as_array().unwrap().iter().find(|c| c["code"] == "C50").unwrap();
    assert_eq!((&c50["parent"], &c50["level"]), (&json!("C50-C50"), &json!("icd10_category")));
    scene.server.get("/dimensions/nothing").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_centre_publishes_dimensions_and_tables_of_its_own() {
    let scene = Scene::new().await;
    let json = [("Content-Type", "application/json")];
    let dimension = json!({
        "name": "site", "title": "Where the tumour is", "source": "this centre", "levels": [{"name": "site", "title": "Site"}],
        "codes": [{"level": "site", "code": "breast", "label": "Breast", "also": ["C50.9"]}, {"level": "site", "code": "prostate", "label": "Prostate", "also": ["C61"]}],
    });
    let table = json!({
        "name": "tumours", "title": "Tumours", "table": "condition",
        "sql": "SELECT patient_key AS person, started, code FROM condition",
        "dimensions": [{"dimension": "site", "column": "code", "needs": "condition.code"}],
    });
    let centre = scene.centre("anne");
    centre.send("PUT", "/statistics/tumours", &json, table.to_string()).await.expect(400);
    scene.company().send("PUT", "/dimensions/site", &json, dimension.to_string()).await.expect(403);
    centre.send("PUT", "/dimensions/site", &json, dimension.to_string()).await.expect(200);
    centre.send("PUT", "/statistics/tumours", &json, table.to_string()).await.expect(200);
    let sites = scene.rows("SELECT site, persons FROM statistics.tumours GROUP BY site").await;
    near(sites[0]["persons"].as_f64().unwrap(), 120.0, 1.0);
    // Lists that change within an epoch change no cell: a category more, before the others.
    let mut longer = dimension.clone();
    longer["codes"].as_array_mut().unwrap().insert(0, json!({"level": "site", "code": "anus", "label": "Anus"}));
    centre.send("PUT", "/dimensions/site", &json, longer.to_string()).await.expect(200);
    let again = scene.rows("SELECT site, persons FROM statistics.tumours GROUP BY site").await;
    assert_eq!((again[0]["site"].as_str(), &again[0]["persons"]), (Some("anus"), &Value::Null));
    assert_eq!(again[1..], sites[..]);
    // A level has one name, and no measure has it.
    for name in ["county", "persons", "cohort"] {
        let mut wrong = longer.clone();
        wrong["levels"][0]["name"] = json!(name);
        wrong["codes"].as_array_mut().unwrap().iter_mut().for_each(|code| code["level"] = json!(name));
        let answer = centre.send("PUT", "/dimensions/site", &json, wrong.to_string()).await.expect(400).json();
        assert!(answer["detail"].as_str().unwrap().contains(name), "{answer}");
    }
    for (sql, told) in [
        ("SELECT 1 AS person", "no column code"),
        ("SELECT patient_key AS person, code FROM nothing", "nothing"),
        ("DELETE FROM condition", "SELECT"),
    ] {
        let mut wrong = table.clone();
        wrong["sql"] = json!(sql);
        let answer = centre.send("PUT", "/statistics/tumours", &json, wrong.to_string()).await.expect(400).json();
        assert!(answer["detail"].as_str().unwrap().contains(told), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cohorts_are_proposed_reviewed_and_begin_with_the_next_epoch() {
    let scene = Scene::new().await;
    let json = [("Content-Type", "application/json")];
    let propose = |id: &str, code: &str| {
        let path = format!("/cohorts/{id}");
        let expression = json!({"rows": {"table": "condition", "where": {"in": {"column": "code", "codes": [code]}}}});
        (path, json!({"title": "Breast cancer", "expression": expression, "justification": "a study"}))
    };
    let anne = scene.centre("anne");
    let (path, body) = propose("breast", "C50.9");
    scene.company().send("PUT", &path, &json, body.to_string()).await.expect(403);
    anne.send("PUT", &path, &json, body.to_string()).await.expect(200);
    let decide = json!({"registered": true, "reasons": "large enough"});
    anne.post(&format!("{path}/decision"), &json, &decide).await.expect(403);
    scene.centre("bo").post(&format!("{path}/decision"), &json, &decide).await.expect(200);
    scene.centre("bo").post(&format!("{path}/decision"), &json, &decide).await.expect(409);
    let sql = "SELECT sex, persons FROM statistics.patients WHERE cohort = 'breast' GROUP BY sex";
    let early = scene.asked(sql).await.expect(400).json();
    assert!(early["detail"].as_str().unwrap_or_default().contains("no cohort breast"), "{early}");
    scene.clock.set(at(61));
    near(scene.rows(sql).await[0]["persons"].as_f64().unwrap(), 80.0, 1.0);
    for (id, code, told) in [("same", "C50.9", "differs from the cohort breast"), ("few", "C99", "fewer than 100")] {
        let (path, body) = propose(id, code);
        anne.send("PUT", &path, &json, body.to_string()).await.expect(200);
        let answer = scene.centre("bo").post(&format!("{path}/decision"), &json, &decide).await.expect(400).json();
        assert!(answer["detail"].as_str().unwrap().contains(told), "{answer}");
    }
    let seen = scene.company().get("/cohorts").await.expect(200).json();
    assert_eq!(seen["cohorts"].as_array().unwrap().iter().map(|c| c["id"].clone()).collect::<Vec<_>>(), [json!("breast")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_bounds_the_fine_cells_of_an_epoch() {
    let scene = Scene::new().await;
    // Four sexes by eleven age bands are 44 cells, which are paid once; four by sixteen places more are too many.
    let fine = "SELECT sex, age_band, persons FROM statistics.patients GROUP BY sex, age_band";
    for _ in 0..3 {
        assert_eq!(scene.rows(fine).await.len(), 44);
    }
    let more = "SELECT age_band, month, persons FROM statistics.drugs WHERE quarter = '2026-Q1' GROUP BY age_band, month";
    assert_eq!(scene.rows(more).await.len(), 33);
    let most = "SELECT age_band, icd10_block, persons FROM statistics.conditions WHERE icd10_chapter = 'II' GROUP BY age_band, icd10_block";
    let refused = scene.asked(most).await;
    assert!(String::from_utf8_lossy(&refused.body).contains("are left"), "{}", String::from_utf8_lossy(&refused.body));
    scene.rows("SELECT age_band, persons FROM statistics.patients GROUP BY age_band").await;
    // It outlives a restart, and ends with the epoch.
    let Scene { server, clock } = scene;
    let scene = Scene { server: Server::open_with(server.close(), Arc::clone(&clock) as Arc<dyn Clock>, None), clock };
    assert!(scene.asked(most).await.status.is_client_error());
    scene.clock.set(at(61));
    assert_eq!(scene.rows(fine).await.len(), 44);
}
