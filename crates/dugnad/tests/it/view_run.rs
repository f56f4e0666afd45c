//! The official SQL on FHIR suite on `dugnad view run`, as a process.

#[path = "../../../kernel/tests/it/sql_on_fhir/suite.rs"]
mod suite;

use std::process::{Command, Stdio};
use suite::Case;

/// Columns and rows that the command prints; where it fails, what it says.
fn run(case: &Case) -> Result<(Vec<String>, Vec<serde_json::Value>), String> {
    let dir = tempfile::tempdir().unwrap();
    let (view, resources) = (dir.path().join("view.json"), dir.path().join("resources.ndjson"));
    std::fs::write(&view, case.view.to_string()).unwrap();
    let lines: Vec<String> = case.resources.iter().map(ToString::to_string).collect();
    std::fs::write(&resources, lines.join("\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dugnad"));
    let output = command.args(["view", "run", "--format", "json"]).args([&view, &resources]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => {}
        Some(1 | 2) => return Err(said),
        code => panic!("{}: exit code {code:?}: {said}", case.name),
    }
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let columns = rows.first().and_then(|row| row.as_object()).map(|row| row.keys().cloned().collect());
    Ok((columns.unwrap_or_default(), rows))
}

fn check(case: &Case) {
    case.check(run(case));
}

macro_rules! define {
    ($($file:ident { $($case:ident),* $(,)? })*) => {
        $(mod $file {
            $(#[test]
            fn $case() {
                super::suite::Case::of(stringify!($file), stringify!($case)).iter().for_each(super::check);
            })*
        })*

        #[test]
        fn the_suite_has_144_tests_of_which_11_expect_an_error() {
            suite::check_complete(&[$((stringify!($file), &[$(stringify!($case)),*])),*]);
        }
    };
}

suite::for_each_case!(define);
