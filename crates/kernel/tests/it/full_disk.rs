//! Files that cannot grow, for real: a process whose files have a limit writes until the journal stops. What it acknowledged is
//! there when the database is opened where there is room.

use dugnad_kernel::clock::SystemClock;
use dugnad_kernel::database::{Database, Handling, Interaction, Outcome, WriteError, WriteRequest};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// The folder, in the process that has the limit.
const FOLDER: &str = "DUGNAD_LIMITED_FOLDER";

fn open(dir: &Path) -> Database {
    Database::open(dir, Arc::new(SystemClock), &mut |_, _| {}).unwrap()
}

/// Writes Observation `n`, of about 20 kB that hardly repeat.
fn write(database: &Database, n: u64) -> Result<Outcome, WriteError> {
    let holder = database.register_holder("Hospital")?.id;
    let text: String =
        (0..2_000).map(|i| format!("{:x} ", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i % 64) >> 28)).collect();
    let body = serde_json::json!({"resourceType": "Observation", "id": format!("o{n}"), "status": "final", "code": {"text": "c"},
        "subject": {"reference": format!("Patient/p{n}")}, "valueString": text});
    let (resource_type, id) = ("Observation".to_owned(), format!("o{n}"));
    let interaction = Interaction::Update { resource_type, id, body: body.to_string().into_bytes(), if_match: None };
    database.write(WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None })
}

/// Writes until it is refused; says what was acknowledged. Reads go on, writes do not.
fn write_until_it_stops(dir: &Path) {
    let database = open(dir);
    for n in 0..10_000 {
        match write(&database, n) {
            Ok(outcome) => println!("acknowledged {}", outcome.commit),
            Err(WriteError::Stopped(why)) => {
                println!("stopped: {why}");
                assert!(matches!(write(&database, n), Err(WriteError::Stopped(_))), "nothing more is taken");
                let holder = database.holder("Hospital").unwrap().id;
                assert_eq!(database.read(holder, "Observation", "o0").unwrap().unwrap().version, 1);
                assert_eq!(database.snapshot().commit().0, n);
                return;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the limit was never met");
}

#[test]
fn what_was_acknowledged_before_the_disk_was_full_is_there() {
    if let Some(dir) = std::env::var_os(FOLDER) {
        return write_until_it_stops(Path::new(&dir));
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "full_disk::what_was_acknowledged_before_the_disk_was_full_is_there";
    // In units of 512 bytes, as POSIX says, or of 1,024. The signal would end the process; without it, writes fail.
    let limited = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" --exact \"$1\" --nocapture";
    let run = Command::new("sh").args(["-c", limited]).arg(std::env::current_exe().unwrap()).arg(name).env(FOLDER, folder.path()).output();
    let run = run.unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("stopped: "), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    let acknowledged = said.matches("acknowledged ").count() as u64;
    assert!(acknowledged > 5, "{said}");

    let database = open(folder.path());
    let commit = database.snapshot().commit().0;
    assert!((acknowledged..=acknowledged + 1).contains(&commit), "commit {commit} of {acknowledged} acknowledged ones");
    let holder = database.holder("Hospital").unwrap().id;
    for n in 0..commit {
        assert_eq!(database.read(holder, "Observation", &format!("o{n}")).unwrap().map(|v| v.commit.0), Some(n + 1));
    }
    assert_eq!(database.counters().resources, [("Observation".to_owned(), commit)]);
    assert_eq!(write(&database, 10_000).unwrap().commit.0, commit + 1);
    let before = database.snapshot();
    database.close();
    std::fs::remove_dir_all(folder.path().join("live")).unwrap();
    assert_eq!(before.first_difference(&open(folder.path()).snapshot()), None);
}
