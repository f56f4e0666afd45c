#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::access::Role;
use crate::api::Settings;
use crate::cli::local::Local;
use axum::http::{HeaderValue, StatusCode, header};
use dugnad_kernel::clock::ManualClock;
use jiff::ToSpan;
use std::future::{pending, ready};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A job that does what the test says.
struct Any_(Label);

impl Export for Any_ {
    fn label(&self) -> &Label {
        &self.0
    }
}

struct Bench {
    app: App,
    clock: Arc<ManualClock>,
    jobs: Jobs,
    dir: TempDir,
}

fn bench() -> Bench {
    let dir = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::new("2026-11-21T12:00:00Z".parse().unwrap()));
    let app = Local::open_with(dir.path(), None, clock.clone(), None).unwrap().app(Settings::default());
    let jobs = Jobs::new(dir.path(), EXPORTS);
    Bench { app, clock, jobs, dir }
}

fn who(user: &str) -> Principal {
    let (user, holder) = (user.to_owned(), Some("Haukeland".to_owned()));
    Principal::new(user, Role::Hospital, holder)
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Bench {
    fn job(&self, user: &str) -> Any_ {
        Any_(Label::new(who(user), self.app.now()))
    }

    fn start<F: Future<Output = ()> + Send>(&self, user: &str, work: impl FnOnce() -> F + Send + 'static) -> Result<Arc<Any_>, ApiError> {
        self.jobs.start(&self.app, self.job(user), move |_, _, _, place| {
            let work = work();
            async move {
                work.await;
                drop(place);
            }
        })
    }

    fn knows(&self, user: &str, job: &Any_) -> bool {
        self.jobs.find::<Any_>(&job.0.id, &who(user), self.app.now()).is_some()
    }

    fn pass(&self, hours: i64) {
        self.clock.set(self.app.now() + hours.hours());
    }
}

/// One that ran for longer than a day was forgotten, and so stopped, by the first who asked for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_kept_while_it_runs_and_a_day() {
    let bench = bench();
    let (end, ended) = oneshot::channel::<()>();
    let job = bench.start("kari", || async { ended.await.unwrap() }).unwrap();
    bench.pass(30);
    assert!(bench.knows("kari", &job) && !bench.knows("ola", &job));
    end.send(()).unwrap();
    until(|| job.0.ended.get().is_some()).await;
    assert_eq!(job.0.expires(bench.app.now()), bench.app.now() + 24.hours());
    bench.pass(23);
    assert!(bench.knows("kari", &job));
    bench.pass(1);
    assert!(!bench.knows("kari", &job));
}

/// Whoever lost the answers that name their jobs cannot remove them.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_that_has_ended_gives_way_and_one_that_runs_does_not() {
    let bench = bench();
    let mut jobs = Vec::new();
    for _ in 0..=MAX_EXPORTS_OF_ONE {
        let job = bench.start("kari", || ready(())).unwrap();
        until(|| job.0.ended.get().is_some()).await;
        bench.pass(1);
        jobs.push(job);
    }
    let known: Vec<bool> = jobs.iter().map(|job| bench.knows("kari", job)).collect();
    assert!(!known[0] && known[1..].iter().all(|known| *known), "{known:?}");
    for _ in 0..MAX_EXPORTS_OF_ONE {
        bench.start("ola", pending).unwrap();
    }
    let refused = bench.start("ola", pending).err().unwrap();
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers, [(header::RETRY_AFTER, HeaderValue::from(EXPORT_AGAIN_S))]);
    assert!(bench.start("kari", pending).is_ok());
    // The server keeps no more of all.
    for user in 0.. {
        if bench.jobs.lock().len() == MAX_EXPORTS {
            break;
        }
        bench.start(&format!("user {}", user / MAX_EXPORTS_OF_ONE), pending).unwrap();
    }
    let refused = bench.start("late", pending).err().unwrap();
    let first = jobs[2].0.expires(bench.app.now()).duration_since(bench.app.now()).as_secs();
    assert_eq!(refused.headers, [(header::RETRY_AFTER, HeaderValue::from(first))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_wait_gets_a_place_at_once_or_not() {
    let bench = bench();
    let running: Vec<_> = (0..MAX_EXPORTS_RUNNING).map(|_| bench.start("kari", pending).unwrap()).collect();
    until(|| bench.jobs.free_places() == 0).await;
    let now = || bench.jobs.start_now(&bench.app, bench.job("ola"), |_, _, _, place| async move { drop(place) });
    assert_eq!(now().err().unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    bench.jobs.remove(&running[0].0.id).await;
    until(|| bench.jobs.free_places() == 1).await;
    assert!(now().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_removed_leaves_no_file_and_no_claim() {
    let bench = bench();
    let (written, was_written) = oneshot::channel();
    let write = move |_: App, _: Arc<Any_>, folder: Arc<Folder>, place: Place| async move {
        let file = folder.create("a").unwrap().append("0123456789".into()).await.unwrap();
        written.send((file, folder)).ok().unwrap();
        pending::<()>().await;
        drop(place);
    };
    let job = bench.jobs.start(&bench.app, bench.job("kari"), write).unwrap();
    let (file, folder) = was_written.await.unwrap();
    let (bytes, path) = (|| bench.jobs.bytes.load(std::sync::atomic::Ordering::Relaxed), bench.dir.path().join(EXPORTS).join(&job.0.id));
    assert_eq!((bytes(), path.join("a").exists()), (10, true));
    bench.jobs.remove(&job.0.id).await;
    assert_eq!((bytes(), path.exists()), (0, false));
    // Who still writes writes to nothing, and takes nobody's room.
    drop(file.append("01234".into()).await.unwrap());
    assert!(folder.create("b").is_err());
    drop(folder);
    assert_eq!((bytes(), path.exists()), (0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_a_holder_are_removed() {
    let bench = bench();
    let job = bench.start("kari", pending).unwrap();
    bench.jobs.remove_all_of("Ullevål");
    assert!(bench.knows("kari", &job));
    bench.jobs.remove_all_of("Haukeland");
    assert!(!bench.knows("kari", &job));
}
