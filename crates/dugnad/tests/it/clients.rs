//! Clients that others have made, against a real server: `clients/`. They are skipped where they are not installed; `just clients`
//! installs them.

use crate::process::{Process, Tokens, make_database};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the clients are installed: `DUGNAD_CLIENTS`, or the folder `clients` of the repository.
fn folder() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients");
    std::env::var_os("DUGNAD_CLIENTS").map_or(here, PathBuf::from)
}

/// A program and its first argument, if both are installed; else says that the test is skipped.
fn installed(program: &str, client: &str) -> Option<Command> {
    let folder = folder();
    let (path, client) = (folder.join(program), folder.join(client));
    if !client.exists() || (program.contains('/') && !path.exists()) {
        eprintln!("skipped: {} is not installed; `just clients` installs it", client.display());
        return None;
    }
    let mut command = Command::new(if program.contains('/') { path.as_os_str() } else { program.as_ref() });
    command.current_dir(&folder);
    Some(command)
}

/// A server over an empty database.
fn server() -> (tempfile::TempDir, Process, Tokens) {
    let dir = tempfile::tempdir().unwrap();
    let tokens = make_database(dir.path(), &["patient"]);
    let server = Process::start(dir.path());
    (dir, server, tokens)
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{said}");
    said
}

/// Runs a script of `clients/` with the address and the token of a hospital.
fn script(program: &str, package: &str, name: &str) {
    let Some(mut command) = installed(program, package) else { return };
    let (_dir, server, tokens) = server();
    succeeds(command.arg(name).args([&format!("{}/fhir", server.url), &tokens.hospital]));
}

#[test]
fn fhirpy_works_unchanged() {
    script(".venv/bin/python", ".venv/bin/st", "fhirpy_client.py");
}

#[test]
fn fhir_kit_client_works_unchanged() {
    script("node", "node_modules/fhir-kit-client", "fhir_kit_client.js");
}

#[test]
fn fhirclient_works_unchanged() {
    script("node", "node_modules/fhirclient", "fhirclient.js");
}

/// A backend service whose assertions jose signs, and people of a real identity provider.
#[test]
fn an_identity_provider_works_unchanged() {
    let Some(mut command) = installed("node", "node_modules/oidc-provider") else { return };
    succeeds(command.arg("identity_provider.js").arg(env!("CARGO_BIN_EXE_dugnad")));
}

/// SMART's own client of Bulk Data: `$export` to its end, all resources of it.
#[test]
fn smart_fetch_exports_everything() {
    let Some(mut command) = installed(".venv/bin/smart-fetch", ".venv/bin/smart-fetch") else { return };
    let (dir, server, tokens) = server();
    let client = server.client(&tokens.hospital);
    let entry = |n: usize| {
        let patient = serde_json::json!({"resourceType": "Patient", "id": format!("p{n}"), "gender": "female"});
        serde_json::json!({"resource": patient, "request": {"method": "PUT", "url": format!("Patient/p{n}")}})
    };
    let bundle = serde_json::json!({"resourceType": "Bundle", "type": "transaction", "entry": (0..300).map(entry).collect::<Vec<_>>()});
    let written = crate::process::send(&client, ureq::http::Method::POST, "/fhir", Some(&bundle));
    assert_eq!(written.map(|(status, ..)| status), Some(200));
    let (token, out) = (dir.path().join("token"), dir.path().join("out"));
    std::fs::write(&token, &tokens.hospital).unwrap();
    let url = format!("{}/fhir", server.url);
    command.args(["bulk", "--fhir-url", &url, "--type", "Patient", "--no-compression", "--bearer-token"]).arg(&token).arg(&out);
    let said = succeeds(&mut command);
    let files = walk(&out);
    let lines: usize = files.iter().map(|file| std::fs::read_to_string(file).unwrap().lines().count()).sum();
    assert_eq!(lines, 300, "{said}\n{files:?}");
}

/// The NDJSON files of Patients under a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| {
        if path.is_symlink() {
            Vec::new()
        } else if path.is_dir() {
            walk(&path)
        } else {
            vec![path]
        }
    });
    files
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("Patient") && path.extension().unwrap() == "ndjson")
        .collect()
}

/// Whatever is sent to whatever `/openapi.json` names: no answer is a server's error, and each is one that is documented. More
/// requests of each kind: `DUGNAD_SCHEMATHESIS=30`; other ones: `DUGNAD_SEED=7`.
#[test]
fn schemathesis_finds_nothing() {
    let Some(mut command) = installed(".venv/bin/st", ".venv/bin/st") else { return };
    let (dir, server, tokens) = server();
    let setting = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let checks =
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method,ignored_auth";
    command
        .current_dir(dir.path())
        .args(["run", &format!("{}/openapi.json", server.url), "--checks", checks, "--phases", "coverage,fuzzing"])
        .args(["--header", &format!("Authorization: Bearer {}", tokens.hospital)])
        .args(["--max-examples", &setting("DUGNAD_SCHEMATHESIS", "4"), "--seed", &setting("DUGNAD_SEED", "1")])
        .args(["--no-shrink", "--continue-on-failure", "--warnings", "off", "--no-color", "--request-timeout", "30"]);
    succeeds(&mut command);
}
