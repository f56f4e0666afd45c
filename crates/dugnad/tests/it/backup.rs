//! Backup, restore and erasure, as an operator does them: with the commands, beside a server that is being written to.

use crate::process::{Process, make_database, send, sql};
use dugnad::cli::client::Client;
use dugnad::cli::local::Local;
use dugnad_kernel::clock::SystemClock;
use dugnad_kernel::database::Database;
use dugnad_kernel::ids::{Commit, Timeline};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use ureq::http::Method;

/// Stands in everything about the person who is erased.
const PLANTED: &str = "Xyzzyplugh";

/// How many writes come before, during and after the backup at least.
const SOME: u64 = 50;

fn dugnad(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dugnad")).args(arguments).output().unwrap()
}

#[track_caller]
fn done(arguments: &[&str]) -> String {
    let output = dugnad(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command said that failed.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let output = dugnad(arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn open(dir: &Path) -> Database {
    Database::open(dir, Arc::new(SystemClock), &mut |_, _| {}).unwrap()
}

fn log_verifies(dir: &Path) {
    let report = dugnad_kernel::audit::verify(&dir.join("audit"), None);
    assert!(report.is_ok(), "{report:?}");
}

/// Opens the folder and closes it, whereby entries get a checkpoint that a killed server had not signed yet.
fn sign(dir: &Path) {
    let local = Local::open(dir, None).unwrap();
    local.database.close();
    local.audit.close();
}

fn put(client: &Client, resource: &Value) -> Option<(u16, Value, u64)> {
    let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    send(client, Method::PUT, &path, Some(resource))
}

fn observation(id: &str, patient: &str, text: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": text},
           "subject": {"reference": format!("Patient/{patient}")}, "valueQuantity": {"value": 1.5}})
}

fn patient(id: &str, name: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "gender": "female", "name": [{"family": name}], "identifier": [{"system": "urn:x", "value": name}]})
}

/// A database with some writes, its folder, and the tokens of a hospital, an authority and the centre.
struct Site {
    folder: tempfile::TempDir,
    hospital: String,
    authority: String,
    centre: String,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = make_database(&folder.path().join("db"), &["patient", "observation"]);
        let site = Self { hospital: tokens.hospital, authority: tokens.authority, centre: String::new(), folder };
        let centre = done(&["token", "issue", "--data", &site.path("db"), "--user", "centre", "--role", "centre"]);
        Self { centre: centre.trim().to_owned(), ..site }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.dir(name).display().to_string()
    }

    fn serve(&self, name: &str) -> Process {
        Process::start(&self.dir(name))
    }
}

/// Writes updates and deletions until it is told to stop; how many updates were acknowledged is counted, each a commit.
fn write(client: &Client, writer: u64, written: &AtomicU64, stop: &AtomicBool) {
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let id = |n: u64| format!("o{writer}-{}", n % 20);
        let answer = match n % 7 {
            6 => send(client, Method::DELETE, &format!("/fhir/Observation/{}", id(n - 1)), None),
            _ => put(client, &observation(&id(n), &format!("p{}", n % 5), &format!("write {n}"))),
        };
        if matches!(answer, Some((200 | 201, ..))) {
            written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn wait_for(written: &AtomicU64, more: u64) {
    let from = written.load(Ordering::Relaxed);
    while written.load(Ordering::Relaxed) < from + more {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_backup_made_under_load_is_the_database_at_one_commit() {
    let site = Site::new();
    let server = site.serve("db");
    let clients: Vec<Client> = (0..3).map(|_| server.client(&site.hospital)).collect();
    let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for (writer, client) in clients.iter().enumerate() {
            let (written, stop) = (&written, &stop);
            scope.spawn(move || write(client, writer as u64, written, stop));
        }
        wait_for(&written, SOME);
        done(&["backup", "--data", &site.path("db"), "--to", &site.path("backup")]);
        wait_for(&written, SOME);
        stop.store(true, Ordering::Relaxed);
    });
    server.kill();
    let manifest: Value = serde_json::from_slice(&std::fs::read(site.dir("backup").join("backup.json")).unwrap()).unwrap();
    let commit = Commit(manifest["commit"].as_u64().unwrap());
    let files: Vec<&str> = manifest["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert!(files.iter().all(|f| !f.ends_with("-wal") && !f.ends_with("-shm") && !f.starts_with("live")), "{files:?}");
    let printed = done(&["restore", "--from", &site.path("backup"), "--data", &site.path("new"), "--no-erasures"]);

    let (old, new) = (open(&site.dir("db")), open(&site.dir("new")));
    assert!(
        commit > Commit(SOME) && old.snapshot().commit() > commit,
        "it was made in the middle: {commit} of {}",
        old.snapshot().commit()
    );
    for at in (0..=commit.0).step_by(13).chain([commit.0]).map(Commit) {
        let snapshot = |database: &Database| database.snapshot_at(at).unwrap().unwrap();
        assert_eq!(snapshot(&old).first_difference(&snapshot(&new)), None, "at commit {at}");
    }
    assert_eq!(new.snapshot().commit(), commit);
    assert_ne!(new.timeline(), old.timeline());
    assert_eq!(printed.trim(), format!("timeline {}", new.timeline()));
    let (old_timeline, new_timeline) = (old.timeline(), new.timeline());
    old.close();
    new.close();
    log_verifies(&site.dir("new"));
    let log = done(&["audit", "log", "--data", &site.path("new"), "--count", "1"]);
    let entry: Value = serde_json::from_str(&log).unwrap();
    assert_eq!((&entry["entry"]["timeline"], &entry["entry"]["commit"]), (&json!(new_timeline.to_string()), &json!(commit.0)));

    let server = site.serve("new");
    let client = server.client(&site.hospital);
    assert_eq!(put(&client, &observation("after", "p1", "after the restore")).unwrap().2, commit.0 + 1);
    let read = |timeline: Timeline| {
        let headers = [("Dugnad-Timeline", timeline.to_string())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let answer = client.send(Method::GET, "/fhir/Observation/after", &headers, None).unwrap();
        (answer.status().as_u16(), answer.headers()["Dugnad-Timeline"].to_str().unwrap().to_owned())
    };
    assert_eq!(read(new_timeline), (200, new_timeline.to_string()));
    assert_eq!(read(old_timeline), (412, new_timeline.to_string()), "a number of the old timeline means nothing here");
    server.kill();
}

#[test]
fn what_is_no_whole_backup_is_refused() {
    let site = Site::new();
    let (backup, new) = (site.path("backup"), site.path("new"));
    let restore = ["restore", "--from", backup.as_str(), "--data", new.as_str(), "--no-erasures"];
    done(&["backup", "--data", &site.path("db"), "--to", &backup]);
    assert!(refused(&["backup", "--data", &site.path("db"), "--to", &backup]).contains("not empty"));
    for file in ["journal.sqlite", "audit/entries.log", "keys/pseudonym", "access.sqlite"] {
        let path = site.dir("backup").join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        for bytes in [&damaged[..], &whole[..middle]] {
            std::fs::write(&path, bytes).unwrap();
            let said = refused(&restore);
            assert!(said.contains(file), "{file}: {said}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(refused(&restore).contains(file), "{file} is gone");
        std::fs::write(&path, whole).unwrap();
    }
    let manifest = site.dir("backup").join("backup.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replacen("\"commit\": 1", "\"commit\": 2", 1)).unwrap();
    assert!(refused(&restore).contains("backup.json"));
    std::fs::write(&manifest, text.replacen("\"keys/pseudonym\"", "\"../elsewhere\"", 1)).unwrap();
    assert!(refused(&restore).contains("no path in a backup"));
    std::fs::remove_file(&manifest).unwrap();
    assert!(refused(&restore).contains("interrupted"));
    let left: Vec<_> = std::fs::read_dir(site.dir("new")).unwrap().collect();
    assert!(left.is_empty(), "nothing of a refused restore is left: {left:?}");
    let beside = std::fs::read_dir(site.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(beside.into_iter().all(|name| !name.contains("restore")), "nor beside it");
    std::fs::write(&manifest, text).unwrap();
    done(&restore);
    assert!(refused(&restore).contains("not empty"));
}

/// The files below `dir` whose bytes hold `text`.
fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(files_with(&entry.path(), text));
        } else if std::fs::read(entry.path()).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

/// Erased at a server, then a backup from before the erasure is restored: the person stays erased, and the log goes on.
#[test]
fn an_erased_person_does_not_come_back_with_a_backup() {
    let site = Site::new();
    let server = site.serve("db");
    let client = server.client(&site.hospital);
    for resource in [
        patient("p1", PLANTED),
        patient("p2", "Other"),
        observation("o1", "p1", PLANTED),
        observation("o1", "p1", &format!("again {PLANTED}")),
        observation("o2", "p2", "other"),
    ] {
        assert!(matches!(put(&client, &resource), Some((200 | 201, ..))), "{resource}");
    }
    done(&["backup", "--data", &site.path("db"), "--to", &site.path("backup"), "--without-keys"]);
    let (url, reason) = (server.url.clone(), "a request of 2026-11-21");
    let erase = |token: &str, id: &str| {
        dugnad(&["erase", "--server", &url, "--token", token, "--holder", "Haukeland", "--patient", id, "--reason", reason])
    };
    assert!(!erase(&site.hospital, "p1").status.success(), "the centre alone erases");
    assert!(String::from_utf8_lossy(&erase(&site.centre, "p7").stderr).contains("no such Patient"));
    let erased = erase(&site.centre, "p1");
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    let erasure: Value = serde_json::from_slice(&erased.stdout).unwrap();
    assert!(!erasure["purged_at"].is_null(), "{erasure}");
    let check = |server: &Process, dir: &str| {
        let (client, authority) = (server.client(&site.hospital), server.client(&site.authority));
        for path in ["/fhir/Patient/p1", "/fhir/Observation/o1", "/fhir/Observation/o1/_history", "/fhir/Observation/o1/_history/1"] {
            assert_eq!(send(&client, Method::GET, path, None).unwrap().0, 404, "{path}");
        }
        assert_eq!(send(&client, Method::GET, "/fhir/Observation/o2", None).unwrap().0, 200);
        assert_eq!(put(&client, &observation("o3", "p1", "late")).unwrap().0, 410);
        assert_eq!(sql(&authority, "SELECT count(*) AS n FROM observation")[0]["n"], 1);
        assert_eq!(files_with(&site.dir(dir), PLANTED), [] as [String; 0]);
    };
    check(&server, "db");
    server.kill();
    log_verifies(&site.dir("db"));
    sign(&site.dir("db"));
    let log = done(&["audit", "log", "--data", &site.path("db"), "--first", "0", "--count", "1000"]);
    assert!(log.contains(erasure["person"].as_str().unwrap()) && log.contains(reason), "the erasure is on the record");

    let list = site.dir("db").join("erasures.jsonl").display().to_string();
    let (audit, keys) = (site.dir("db").join("audit").display().to_string(), site.dir("db").join("keys").display().to_string());
    let (backup, new) = (site.path("backup"), site.path("new"));
    let restore = ["restore", "--from", &backup, "--data", &new, "--erasures", &list, "--audit", &audit];
    assert!(refused(&restore).contains("--keys"));
    done(&[&restore[..], &["--keys", &keys]].concat());
    assert_eq!(std::fs::read(&list).unwrap(), std::fs::read(site.dir("new").join("erasures.jsonl")).unwrap());
    let server = site.serve("new");
    let centre = server.client(&site.centre);
    while send(&centre, Method::GET, "/erasures", None).unwrap().1[0]["purged_at"].is_null() {
        std::thread::sleep(Duration::from_millis(20));
    }
    check(&server, "new");
    server.kill();
    log_verifies(&site.dir("new"));
    sign(&site.dir("new"));
    let longer = done(&["audit", "log", "--data", &site.path("new"), "--first", "0", "--count", "2000"]);
    assert!(longer.starts_with(&log), "the log of before the restore goes on");
    // A log that is not the backup's own is not taken.
    let other = Site::new();
    let foreign = other.dir("db").join("audit").display().to_string();
    let again = site.path("again");
    let restore = ["restore", "--from", &backup, "--data", &again, "--no-erasures", "--keys", &keys, "--audit", &foreign];
    assert!(refused(&restore).contains("cannot be gone on with"));
}

/// A restored database tells nobody of its own accord: what was active says that it has to be asked for again.
#[test]
fn a_subscription_is_asked_for_again_after_a_restore() {
    let site = Site::new();
    let wait_for = |server: &Process, status: &str| {
        let client = server.client(&site.hospital);
        for _ in 0..3_000 {
            let now = send(&client, Method::GET, "/fhir/Subscription/s", None).unwrap().1;
            if now["status"] == status {
                return now;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not become {status}");
    };
    let server = site.serve("db");
    let asked = json!({"resourceType": "Subscription", "id": "s", "status": "requested", "reason": "a test", "criteria": "Observation?",
        "channel": {"type": "rest-hook"}});
    assert_eq!(put(&server.client(&site.hospital), &asked).unwrap().0, 201);
    wait_for(&server, "active");
    done(&["backup", "--data", &site.path("db"), "--to", &site.path("backup")]);
    server.kill();
    assert!(site.dir("backup").join("subscriptions.sqlite").is_file());
    done(&["restore", "--from", &site.path("backup"), "--data", &site.path("new"), "--no-erasures"]);
    let server = site.serve("new");
    let stopped = wait_for(&server, "error");
    assert!(stopped["error"].as_str().unwrap().contains("restored from a backup"), "{stopped}");
    assert_eq!(send(&server.client(&site.hospital), Method::GET, "/fhir/Subscription/s/$events-stream", None).unwrap().0, 409);
    assert_eq!(put(&server.client(&site.hospital), &asked).unwrap().0, 200);
    assert!(wait_for(&server, "active").get("error").is_none());
    server.kill();
}

/// Somebody copies an old journal over the newer one and starts the server: numbers that were acknowledged would be given anew.
#[test]
fn a_journal_that_is_older_than_the_log_is_refused() {
    let site = Site::new();
    let journal = site.dir("db").join("journal.sqlite");
    let old = std::fs::read(&journal).unwrap();
    let server = site.serve("db");
    assert_eq!(put(&server.client(&site.hospital), &patient("p1", "New")).unwrap().0, 201);
    server.kill();
    open(&site.dir("db")).close();
    std::fs::write(&journal, old).unwrap();
    let live = refused(&["serve", "--listen", "127.0.0.1:0", "--data", &site.path("db")]);
    assert!(live.contains("the journal is an older one") && live.contains("dugnad restore"), "{live}");
    std::fs::remove_dir_all(site.dir("db").join("live")).unwrap();
    let said = refused(&["serve", "--listen", "127.0.0.1:0", "--data", &site.path("db")]);
    assert!(said.contains("ahead of the journal") && said.contains("commit 2") && said.contains("dugnad restore"), "{said}");
}
