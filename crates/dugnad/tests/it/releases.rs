//! Taking a result out of the secure processing environment: checked, decided by a second person, signed, the same for everybody.

use crate::people::{People, content};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const BY_SEX: &str = "SELECT gender, count(DISTINCT patient_key) AS persons FROM patient GROUP BY gender ORDER BY gender";

/// Anne's permit `p1` over the patients of a hospital: so many female, so many male.
async fn with_patients(female: usize, male: usize) -> People {
    let people = People::meet().await;
    people.granted(&content()).await;
    write(&people, "female", 0..female).await;
    write(&people, "male", 0..male).await;
    people
}

async fn write(people: &People, gender: &str, numbers: std::ops::Range<usize>) {
    let hospital = people.server.hospital("Haukeland");
    for n in numbers {
        let id = format!("{gender}{n}");
        let patient = json!({"resourceType": "Patient", "id": id, "gender": gender, "birthDate": "1960-05-17"});
        hospital.put(&format!("/fhir/Patient/{id}"), &patient).await.expect(201);
    }
}

fn request(sql: &str) -> Value {
    json!({"permit": "p1", "sql": sql, "title": "Persons by sex", "reason": "For a paper"})
}

async fn requested(people: &People, body: &Value) -> (String, Value) {
    let answer = people.post("anne", "/releases", body).await.expect(200).json();
    (answer["release"]["id"].as_str().unwrap().to_owned(), answer)
}

fn kinds(answer: &Value) -> Vec<&str> {
    answer["release"]["findings"].as_array().unwrap().iter().map(|f| f["kind"].as_str().unwrap()).collect()
}

/// Downloads a release, as `user`, into `to`.
async fn download(people: &People, user: &str, id: &str, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in ["result.csv", "result.parquet", "chart.json", "manifest"] {
        let answer = people.send_from_outside(user, "GET", &format!("/releases/{id}/{file}"), &Value::Null).await.expect(200);
        std::fs::write(to.join(file), answer.body).unwrap();
    }
}

/// `dugnad release verify`, with the key that the server gives.
async fn verifies(people: &People, path: &Path) -> bool {
    let key = String::from_utf8(people.get("", "/releases/key").await.expect(200).body).unwrap();
    let path = path.display().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_dugnad")).args(["release", "verify", &path, "--key", key.trim_end()]).output().unwrap();
    assert!(output.status.success() || !output.stderr.is_empty());
    output.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_parties_get_the_same_signed_bytes() {
    let people = with_patients(6, 7).await;
    let mut body = request(BY_SEX);
    body["recipients"] = json!(["rival"]);
    let (id, asked) = requested(&people, &body).await;
    assert_eq!((kinds(&asked), &asked["state"]), (vec![], &json!("requested")));
    people.send_from_outside("rolf", "GET", &format!("/releases/{id}"), &Value::Null).await.expect(404);
    let approval = json!({"approve": true, "reasons": "No small cells"});
    for (who, status) in [("", 401), ("rolf", 404), ("berit", 404), ("anne", 403), ("erik", 403)] {
        people.post(who, &format!("/releases/{id}/decide"), &approval).await.expect(status);
    }
    let approved = people.post("dag", &format!("/releases/{id}/decide"), &approval).await.expect(200).json();
    assert_eq!(approved["addresses"].as_array().map(Vec::len), Some(4));
    people.post("dag", &format!("/releases/{id}/decide"), &approval).await.expect(409);

    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("anne"), dir.path().join("rolf"));
    download(&people, "anne", &id, &first).await;
    download(&people, "rolf", &id, &second).await;
    for entry in std::fs::read_dir(&first).unwrap() {
        let name = entry.unwrap().file_name();
        assert_eq!(std::fs::read(first.join(&name)).unwrap(), std::fs::read(second.join(&name)).unwrap(), "{name:?}");
    }
    assert_eq!(std::fs::read_to_string(first.join("result.csv")).unwrap(), "gender,persons\r\nfemale,6\r\nmale,7\r\n");
    let chart: Value = serde_json::from_slice(&std::fs::read(first.join("chart.json")).unwrap()).unwrap();
    assert_eq!(chart["rows"], json!([["female", 6], ["male", 7]]));
    assert!(std::fs::read(first.join("result.parquet")).unwrap().starts_with(b"PAR1"));
    let manifest = std::fs::read_to_string(first.join("manifest")).unwrap();
    for part in ["\"commit\":", "\"reviewed\":{\"by\":{\"user\":\"dag\"", "count(DISTINCT patient_key)", "\"permit\":\"p1\""] {
        assert!(manifest.contains(part), "{part}: {manifest}");
    }
    assert!(verifies(&people, &first).await && verifies(&people, &first.join("manifest")).await);
    std::fs::write(second.join("result.csv"), "gender,persons\r\nfemale,6\r\nmale,8\r\n").unwrap();
    assert!(!verifies(&people, &second).await, "a changed file is found");
    std::fs::write(first.join("more.csv"), "a\n").unwrap();
    assert!(!verifies(&people, &first).await, "an added file is found");
    people.get("", &format!("/register/releases/{id}/result.csv")).await.expect(404); // it was not published
    people.send_from_outside("nora", "GET", &format!("/releases/{id}/result.csv"), &Value::Null).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_must_be_let_through_by_name() {
    let people = with_patients(6, 2).await;
    let (id, asked) = requested(&people, &request(BY_SEX)).await;
    assert_eq!(kinds(&asked), ["small_cell"]);
    assert_eq!(asked["release"]["findings"][0]["rows"], json!([2]), "rows by number, no value");
    let path = format!("/releases/{id}/decide");
    let refused = people.post("dag", &path, &json!({"approve": true, "reasons": "R"})).await.expect(400).json();
    assert!(refused["detail"].as_str().unwrap().contains("small_cell"), "{refused}");
    people.post("dag", &path, &json!({"approve": true, "reasons": "Known", "accepts": ["small_cell"]})).await.expect(200);

    let (id, asked) = requested(&people, &request("SELECT patient_key, gender FROM patient")).await;
    assert!(kinds(&asked).contains(&"identifier"));
    let everything =
        json!({"approve": true, "reasons": "R", "accepts": ["identifier", "k_anonymity", "no_person_count", "rows_not_persons"]});
    people.post("dag", &format!("/releases/{id}/decide"), &everything).await.expect(409); // keys never leave
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_of_one_person_is_found() {
    let people = with_patients(10, 12).await;
    let (first, _) = requested(&people, &request(BY_SEX)).await;
    let again = requested(&people, &request(BY_SEX)).await.1;
    assert_eq!(kinds(&again), [] as [&str; 0], "the same again");
    write(&people, "female", 10..11).await;
    let later = requested(&people, &request(BY_SEX)).await.1;
    assert!(kinds(&later).contains(&"difference"), "{later}");
    let finding = later["release"]["findings"].as_array().unwrap().iter().find(|f| f["release"] == first.as_str()).unwrap().clone();
    assert_eq!(finding["rows"], json!([1]));
    let total = requested(&people, &request("SELECT count(DISTINCT patient_key) AS persons FROM patient")).await.1;
    assert!(kinds(&total).contains(&"difference"), "a sum of it, over one person more: {total}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_rejected_request_leaves() {
    let people = with_patients(6, 7).await;
    let (id, _) = requested(&people, &request(BY_SEX)).await;
    let (file, folder) = (format!("/releases/{id}/result.csv"), people.server.dir().join("releases").join(&id));
    // While it waits, who may see it sees it where the permit's rows may be shown.
    for (who, inside, outside) in [("", 401, 401), ("rolf", 404, 404), ("berit", 404, 404), ("anne", 200, 404), ("dag", 200, 404)] {
        people.get(who, &file).await.expect(inside);
        people.send_from_outside(who, "GET", &file, &Value::Null).await.expect(outside);
    }
    people.get("anne", &format!("/releases/{id}/manifest")).await.expect(404);
    people.get("anne", &format!("/releases/{id}/..%2f..%2fjournal.sqlite")).await.expect(404);
    people.send_from_outside("anne", "POST", "/releases", &request(BY_SEX)).await.expect(404);
    assert!(folder.join("result.csv").is_file());
    people.post("dag", &format!("/releases/{id}/decide"), &json!({"approve": false, "reasons": "Not for a paper"})).await.expect(200);
    assert!(!folder.exists());
    for who in ["anne", "dag"] {
        people.get(who, &file).await.expect(404);
        assert_eq!(people.get(who, &format!("/releases/{id}")).await.expect(200).json()["addresses"], json!([]));
    }
    let (id, _) = requested(&people, &request(BY_SEX)).await;
    people.post("dag", &format!("/releases/{id}/withdraw"), &Value::Null).await.expect(403);
    people.post("anne", &format!("/releases/{id}/withdraw"), &Value::Null).await.expect(200);
    assert!(!people.server.dir().join("releases").join(&id).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_result_is_for_everybody() {
    let people = with_patients(6, 7).await;
    let mut body = request(BY_SEX);
    body["publish"] = json!(true);
    let (id, _) = requested(&people, &body).await;
    people.get("", &format!("/register/releases/{id}")).await.expect(404);
    people.post("dag", &format!("/releases/{id}/decide"), &json!({"approve": true, "reasons": "R"})).await.expect(200);
    let entry = people.get("", &format!("/register/releases/{id}")).await.expect(200).json();
    assert!(!entry.to_string().contains("commit") && !entry.to_string().contains("dag"), "{entry}");
    let file = people.get("", &format!("/register/releases/{id}/result.csv")).await.expect(200);
    assert_eq!(file.body, b"gender,persons\r\nfemale,6\r\nmale,7\r\n");
    people.get("", &format!("/register/releases/{id}/manifest")).await.expect(404); // it names a commit and persons
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_can_be_brought_and_is_marked_so() {
    let people = with_patients(1, 0).await;
    let csv = json!({"permit": "p1", "csv": "gender,persons,note\nfemale,20,\"one two three four five six seven\"\n", "title": "T", "reason": "R"});
    let (_, asked) = requested(&people, &csv).await;
    assert_eq!(kinds(&asked), ["free_text", "supplied"]);
    assert_eq!(asked["release"]["files"].as_array().map(Vec::len), Some(2), "no Parquet of what has no types");
    for (wrong, status) in [
        (json!({"permit": "p1", "csv": "a,a\n", "title": "T", "reason": "R"}), 400),
        (json!({"permit": "p1", "title": "T", "reason": "R"}), 400),
        (json!({"permit": "p1", "csv": "a\n1\n", "sql": "SELECT 1", "title": "T", "reason": "R"}), 400),
        (json!({"permit": "p1", "csv": "a\n1\n", "title": " ", "reason": "R"}), 400),
        (json!({"permit": "p1", "csv": "a\n1\n", "title": "T", "reason": "R", "recipients": ["nobody"]}), 400),
        (json!({"permit": "p1", "csv": "a\n1\n", "title": "T", "reason": "R", "columns": {"b": "measure"}}), 400),
        (json!({"permit": "none", "csv": "a\n1\n", "title": "T", "reason": "R"}), 404),
    ] {
        people.post("anne", "/releases", &wrong).await.expect(status);
    }
}

/// What waits may hold a person who is erased: it is gone with them, and has to be asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_takes_along_what_waits() {
    let people = with_patients(6, 7).await;
    let (waits, _) = requested(&people, &request(BY_SEX)).await;
    let (released, _) = requested(&people, &request(BY_SEX)).await;
    let approval = json!({"approve": true, "reasons": "R"});
    people.post("dag", &format!("/releases/{released}/decide"), &approval).await.expect(200);
    people.post("cato", "/erasures", &json!({"holder": "Haukeland", "patient": "male0", "reason": "asked for"})).await.expect(200);
    let gone = people.post("dag", &format!("/releases/{waits}/decide"), &approval).await.expect(409).json();
    assert!(gone["detail"].as_str().unwrap().contains("asked for again"), "{gone}");
    people.send_from_outside("anne", "GET", &format!("/releases/{released}/result.csv"), &Value::Null).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_is_removed_at_the_next_start() {
    let people = with_patients(6, 7).await;
    let (waits, _) = requested(&people, &request(BY_SEX)).await;
    let folder = people.server.dir().join("releases");
    std::fs::create_dir(folder.join("left")).unwrap();
    std::fs::write(folder.join("left").join("result.csv"), "a\n").unwrap();
    dugnad::api::sweep_releases(people.server.dir(), &people.server.local.database);
    assert!(!folder.join("left").exists() && folder.join(&waits).join("result.csv").is_file());
    // Bytes that are not those that were checked are never let out.
    std::fs::write(folder.join(&waits).join("result.csv"), "a\n").unwrap();
    people.post("dag", &format!("/releases/{waits}/decide"), &json!({"approve": true, "reasons": "R"})).await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_nothing_is_asked_for() {
    let people = with_patients(1, 0).await;
    let before = people.server.local.database.snapshot().commit();
    people.server.local.audit.close();
    people.get("anne", "/releases").await.expect(503);
    people.post("anne", "/releases", &request(BY_SEX)).await.expect(503);
    people.post("anne", "/releases", &json!({"permit": "p1", "csv": "n\n9\n", "title": "T", "reason": "R"})).await.expect(503);
    assert_eq!(people.server.local.database.snapshot().commit(), before);
    assert!(!people.server.dir().join("releases").exists(), "and no file is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_has_what_was_let_out_and_not_what_waits() {
    let people = with_patients(6, 7).await;
    let (waits, _) = requested(&people, &request(BY_SEX)).await;
    let (released, _) = requested(&people, &request(BY_SEX)).await;
    people.post("dag", &format!("/releases/{released}/decide"), &json!({"approve": true, "reasons": "R"})).await.expect(200);
    let dir = tempfile::tempdir().unwrap();
    let (data, backup, new) = (people.server.dir().display(), dir.path().join("backup"), dir.path().join("new"));
    let (data, backup_path, new_path) = (data.to_string(), backup.display().to_string(), new.display().to_string());
    for arguments in [
        vec!["backup", "--data", &data, "--to", &backup_path],
        vec!["restore", "--from", &backup_path, "--data", &new_path, "--no-erasures"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_dugnad")).args(&arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(verifies(&people, &new.join("releases").join(&released)).await);
    assert!(!backup.join("releases").join(&waits).exists() && !new.join("releases").join(&waits).exists());
}
