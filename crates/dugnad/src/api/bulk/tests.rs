//! An export that is cancelled while it runs.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::access::{Principal, Role};
use crate::api::Settings;
use crate::cli::local::Local;
use crate::limits::MAX_READS_RUNNING;
use dugnad_kernel::audit::{ASSUMED, Act};
use std::time::Duration;

/// Nobody gets a file of it. An access that is never completed is taken, at the next start, to have delivered everybody.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cancelled_says_so_in_the_log() {
    let dir = tempfile::TempDir::new().unwrap();
    let local = Local::open(dir.path(), None).unwrap();
    local.database.register_holder("Haukeland").unwrap();
    let app = local.app(Settings::default());
    let who = Principal::new("kari", Role::Hospital, Some("Haukeland".to_owned()));
    let asked = Asked::read(Level::System, Parameters::default(), false).unwrap();
    let job = Job::new(&app, Hospital::of(&who).unwrap(), &asked, String::new(), String::new()).unwrap();
    // It waits for its turn to read.
    let mut places = Vec::new();
    for _ in 0..MAX_READS_RUNNING {
        places.push(app.enter_reads().await.unwrap());
    }
    let job = app.exports().start(&app, job, job::run).unwrap();
    let entries = || local.audit.entries(0, 100).unwrap();
    let acts = |act: Act| entries().into_iter().filter(|(_, entry)| entry.act == act).map(|(_, entry)| entry).collect::<Vec<_>>();
    while acts(Act::Intent).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(acts(Act::Completion).is_empty());
    app.exports().remove(&job.label.id).await;
    while acts(Act::Completion).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let completion = acts(Act::Completion).remove(0);
    assert_eq!((completion.outcome.as_deref(), completion.rows), (Some("cancelled"), Some(0)));
    drop((places, job, app));
    local.audit.close();
    local.database.close();
    drop(local);
    let local = Local::open(dir.path(), None).unwrap();
    let assumed = |entry: &dugnad_kernel::audit::Entry| entry.outcome.as_deref() == Some(ASSUMED);
    assert!(!local.audit.entries(0, 100).unwrap().iter().any(|(_, entry)| assumed(entry)));
}
