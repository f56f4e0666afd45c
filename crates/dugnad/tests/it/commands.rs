//! The commands as they are typed.

use dugnad::cli::local::Local;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn dugnad(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dugnad")).args(arguments).stdin(Stdio::null()).env_remove("DUGNAD_TOKEN").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn ends_with_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "stdout: {}\nstderr: {}", text(&output.stdout), text(&output.stderr));
}

/// The counts of a table's row: taken, unchanged, refused.
fn row(output: &Output, name: &str) -> Vec<String> {
    let table = text(&output.stdout);
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap_or_else(|| panic!("no {name} in\n{table}"));
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

fn write(dir: &Path, name: &str, lines: &[&str]) -> String {
    let path = dir.join(name);
    fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

const GOOD: &str = r#"{"resourceType":"Patient","id":"1","gender":"female"}"#;

#[test]
fn what_is_taken_twice_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("db").display().to_string();
    let file = write(dir.path(), "p.ndjson", &[GOOD, r#"{"resourceType":"Patient","gender":"male"}"#]);
    let arguments = ["ingest", "--data", &data, "--holder", "Haukeland", &file];
    let first = dugnad(&arguments);
    ends_with_code(&first, 0);
    assert_eq!(row(&first, "Patient"), ["2", "0", "0"]);
    let second = dugnad(&arguments);
    ends_with_code(&second, 0);
    assert_eq!(row(&second, "Patient"), ["0", "2", "0"]);
}

#[test]
fn refusals_name_file_line_place_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("db").display().to_string();
    let file = write(dir.path(), "p.ndjson", &[GOOD, r#"{"resourceType":"Patient","id":"2","birthDate":"yesterday"}"#, "{"]);
    let output = dugnad(&["ingest", "--data", &data, "--holder", "Haukeland", &file]);
    ends_with_code(&output, 1);
    let said = text(&output.stderr);
    assert!(said.contains("p.ndjson: line 2: Patient.birthDate: "), "{said}");
    assert!(said.contains("p.ndjson: line 3: not JSON: "), "{said}");
    assert!(!said.contains("yesterday"), "no value of a patient in an error: {said}");
    assert_eq!(row(&output, "total"), ["1", "0", "2"]);
}

#[test]
fn usage_is_2_and_each_command_shows_examples() {
    ends_with_code(&dugnad(&["ingest", "--data", "x", "--holder", "H", "/does/not/exist.json"]), 2);
    ends_with_code(&dugnad(&["ingest", "--holder", "H", "x.json"]), 2);
    ends_with_code(&dugnad(&["token", "issue", "--data", "/tmp", "--user", "u", "--role", "hospital"]), 2);
    ends_with_code(&dugnad(&["bench", "fhir", "--resources", "7"]), 2);
    for command in ["demo", "serve", "ingest", "query", "view", "token", "client", "keys", "audit", "bench"] {
        let help = dugnad(&[command, "--help"]);
        ends_with_code(&help, 0);
        assert!(text(&help.stdout).contains("Examples:"), "{command}");
    }
}

#[test]
fn a_view_runs_without_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let view = write(
        dir.path(),
        "v.json",
        &[r#"{"resourceType":"ViewDefinition","resource":"Patient","status":"active","name":"p","select":[{"column":[
            {"name":"id","path":"getResourceKey()"},{"name":"gender","path":"gender","type":"code"},
            {"name":"given","path":"name.given","collection":true}]}]}"#],
    );
    let file = write(
        dir.path(),
        "p.ndjson",
        &[GOOD, r#"{"resourceType":"Patient","id":"2","name":[{"given":["A","B"]}]}"#, r#"{"resourceType":"Basic","code":{"text":"x"}}"#],
    );
    let json = dugnad(&["view", "run", &view, &file, "--format", "json"]);
    ends_with_code(&json, 0);
    let rows: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(rows, serde_json::json!([{"id": "1", "gender": "female", "given": []}, {"id": "2", "gender": null, "given": ["A", "B"]}]));
    assert!(text(&json.stdout).starts_with(r#"[{"id":"1","gender":"female","#), "columns keep the view's order");
    let csv = dugnad(&["view", "run", &view, &file]);
    assert_eq!(text(&csv.stdout), "id,gender,given\n1,female,[]\n2,,\"[\"\"A\"\",\"\"B\"\"]\"\n");
    let parquet = dugnad(&["view", "run", &view, &file, "--format", "parquet"]);
    assert!(parquet.stdout.starts_with(b"PAR1"));
}

#[test]
fn searches_are_measured_in_process_and_over_http() {
    let output = dugnad(&["bench", "search", "--resources", "1000", "--for", "1", "--clients", "2", "--only", "identifier"]);
    ends_with_code(&output, 0);
    let lines: Vec<serde_json::Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|l| l["bench"] == "search" && l["value"].as_f64().is_some()));
    let value = |figure: &str| lines.iter().find(|l| l["figure"] == figure).and_then(|l| l["value"].as_f64()).unwrap();
    assert!(value("identifier_matches") >= 1.0, "what is asked for is there");
    for figure in ["identifier_per_s", "identifier_http_per_s"] {
        assert!(value(figure) > 0.0, "{figure}");
    }
    assert!(lines.iter().all(|l| !l["figure"].as_str().unwrap().starts_with("chain")), "only what was asked for");
}

#[test]
fn the_view_runner_is_measured_without_a_peer_too() {
    let output = dugnad(&["bench", "views", "--resources", "50", "--rounds", "2", "--python", "/does/not/exist"]);
    ends_with_code(&output, 0);
    let lines: Vec<serde_json::Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let figures: Vec<&str> = lines.iter().filter(|l| l["better"] == "higher").map(|l| l["figure"].as_str().unwrap()).collect();
    assert_eq!(
        figures,
        [
            "patient_resources_per_s",
            "observation_resources_per_s",
            "patient_builtin_resources_per_s",
            "observation_builtin_resources_per_s"
        ]
    );
    assert!(lines.iter().all(|l| l["bench"] == "views" && l["value"].as_f64().is_some() && l.get("peer").is_none()));
    let said = text(&output.stderr);
    assert!(said.contains("pysof did not run: /does/not/exist: ") && said.contains("benches/setup.sh"), "{said}");
}

#[test]
fn the_log_can_be_checked_proved_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("db");
    let data = db.display().to_string();
    let file = write(dir.path(), "p.json", &[GOOD]);
    ends_with_code(&dugnad(&["ingest", "--data", &data, "--holder", "Haukeland", &file]), 0);
    let verified = dugnad(&["audit", "verify", "--data", &data]);
    ends_with_code(&verified, 0);
    let log = dugnad(&["audit", "log", "--data", &data]);
    ends_with_code(&log, 0);
    assert!(text(&log.stdout).lines().any(|line| line.contains("\"act\":\"write\"") && line.contains("Haukeland")));
    let proof = dugnad(&["audit", "prove", "--data", &data, "0"]);
    ends_with_code(&proof, 0);
    assert!(serde_json::from_slice::<serde_json::Value>(&proof.stdout).unwrap()["checkpoint"].is_string());
    ends_with_code(&dugnad(&["audit", "prove", "--data", &data, "99999"]), 1);

    let entries = db.join("audit/entries.log");
    let mut bytes = fs::read(&entries).unwrap();
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).unwrap() ^= 1;
    fs::write(&entries, bytes).unwrap();
    ends_with_code(&dugnad(&["audit", "verify", "--data", &data]), 1);
}

#[test]
fn the_demo_shows_everything_from_its_first_second() {
    let output = dugnad(&["demo", "--for", "3", "--rate", "5", "--patients", "50", "--listen", "127.0.0.1:0"]);
    ends_with_code(&output, 0);
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(!errors.contains("ERROR") && !errors.contains("could not"), "{errors}");
    assert!(told.contains("stale answers  0 of") && told.contains("0 failed"), "{told}");
}

/// The attacks run, those that can succeed do so without the defence, and the figures say both.
#[test]
fn attacks_succeed_without_the_defence_and_fail_with_it() {
    let output = dugnad(&["bench", "attacks", "--trials", "60"]);
    ends_with_code(&output, 0);
    let lines: Vec<serde_json::Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let figure =
        |name: String| lines.iter().find(|l| l["figure"] == name).and_then(|l| l["value"].as_f64()).unwrap_or_else(|| panic!("{name}"));
    for attack in [
        "error_oracle",
        "type_oracle",
        "subquery_oracle",
        "link_by_key",
        "another_holders_ids",
        "another_users_jobs",
        "revoked_token",
        "as_of_before",
    ] {
        let (on, off) = (figure(format!("{attack}_advantage")), figure(format!("{attack}_advantage_off")));
        assert!(on < 70.0 && off > 90.0, "{attack}: on {on}, off {off}");
    }
}

/// Older keys of the log lead to the present one, and what releases are signed with stays.
#[test]
fn the_key_of_the_audit_log_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let keys = || {
        let local = Local::open(dir.path(), None).unwrap();
        let keys = (local.audit.verifier_key().to_string(), local.release_key.clone());
        local.audit.close();
        local.database.close();
        keys
    };
    let (first, release) = keys();
    let mut known = vec![first];
    for _ in 0..2 {
        let rotated = dugnad(&["keys", "rotate", "audit", "--data", data]);
        ends_with_code(&rotated, 0);
        let (present, signs) = keys();
        assert_eq!((text(&rotated.stdout).trim(), &signs), (present.as_str(), &release));
        assert!(!known.contains(&present));
        known.push(present);
    }
    for key in &known {
        ends_with_code(&dugnad(&["audit", "verify", "--data", data, "--key", key]), 0);
    }
    let log = dugnad(&["audit", "log", "--data", data]);
    assert!(text(&log.stdout).contains(&format!("the audit log's key {} is replaced", known[1])));
    let open = Local::open(dir.path(), None).unwrap();
    ends_with_code(&dugnad(&["keys", "rotate", "audit", "--data", data]), 1);
    open.audit.close();
}
