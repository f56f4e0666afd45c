//! What happens to an import while it runs. Its lines come when the test says so.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::access::{Principal, Role, TokenRequest};
use crate::api::Settings;
use crate::cli::local::Local;
use crate::limits::{INGEST_GROUP_LINES, MAX_EXPORTS_RUNNING};
use axum::http::StatusCode;
use jiff::ToSpan;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tempfile::TempDir;

/// Chunks, each when it is sent.
struct Sent(Receiver<Vec<u8>>);

impl Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Ok(chunk) = self.0.recv() else { return Ok(0) };
        buffer[..chunk.len()].copy_from_slice(&chunk);
        Ok(chunk.len())
    }
}

struct Bench {
    local: Local,
    app: App,
    _dir: TempDir,
}

fn bench() -> Bench {
    let dir = TempDir::new().unwrap();
    let local = Local::open(dir.path(), None).unwrap();
    let holder = Some("Haukeland".to_owned());
    local
        .tokens
        .issue(&TokenRequest { user: "kari".to_owned(), role: Role::Hospital, holder, subject: None, valid_for: 1.hour() })
        .unwrap();
    let app = local.app(Settings::default());
    Bench { local, app, _dir: dir }
}

impl Bench {
    /// Begins an import of one file, and sends a group of its lines.
    async fn begun(&self) -> (Arc<Job>, Sender<Vec<u8>>) {
        let who = Principal::new("kari", Role::Hospital, Some("Haukeland".to_owned()));
        let input = asked::Input { resource_type: "Patient".to_owned(), url: String::new() };
        let job = Job::new(&self.app, Hospital::of(&who).unwrap(), String::new(), vec![input]);
        let (sender, receiver) = channel();
        let work = move |app, job, folder, place| job::run_body(app, job, folder, place, Box::new(Sent(receiver)));
        let job = self.app.imports().start_now(&self.app, job, work).unwrap();
        send(&sender, 0);
        until(|| matches!(job.progress(), Progress::Running { lines, .. } if lines == INGEST_GROUP_LINES as u64)).await;
        (job, sender)
    }

    fn commit(&self) -> u64 {
        self.local.database.snapshot().commit().0
    }
}

/// Sends a group of lines, in chunks that fit any buffer.
fn send(sender: &Sender<Vec<u8>>, from: usize) {
    for id in from..from + INGEST_GROUP_LINES {
        sender.send(format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\"}}\n").into_bytes()).unwrap();
    }
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_ends_it_half_way() {
    let bench = bench();
    let (job, sender) = bench.begun().await;
    let before = bench.commit();
    bench.local.tokens.revoke("kari").unwrap();
    send(&sender, 1_000);
    until(|| !matches!(job.progress(), Progress::Running { .. })).await;
    let Progress::Failed(error) = job.progress() else { panic!("it went on") };
    assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(error.to_string().contains("no longer valid"), "{error}");
    assert_eq!(bench.commit(), before);
}

/// Its place is free when nothing of it runs any more, and not before: who begins and cancels imports would have a thread for each.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cancelled_keeps_its_place_until_its_thread_ends() {
    let bench = bench();
    let (job, sender) = bench.begun().await;
    let before = bench.commit();
    bench.app.imports().remove(&job.label.id).await;
    assert!(bench.app.imports().find::<Job>(&job.label.id, &job.label.who, bench.app.now()).is_none());
    assert_eq!(bench.app.imports().free_places(), MAX_EXPORTS_RUNNING - 1, "its thread waits for lines");
    // With the next bytes that come, it ends; blank lines are none that could be taken.
    until(|| sender.send(b"\n".to_vec()).is_err()).await;
    until(|| bench.app.imports().free_places() == MAX_EXPORTS_RUNNING).await;
    assert_eq!(bench.commit(), before, "what was taken stays, and nothing came to it");
}

/// A journal that has stopped says no time to come back, and is not asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_has_stopped_ends_it() {
    let bench = bench();
    let (job, sender) = bench.begun().await;
    bench.local.database.close();
    send(&sender, 1_000);
    until(|| !matches!(job.progress(), Progress::Running { .. })).await;
    assert!(matches!(job.progress(), Progress::Failed(error) if error.to_string().contains("import again")));
}
