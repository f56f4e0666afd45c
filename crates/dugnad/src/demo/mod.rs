//! `dugnad demo`: the whole way on one screen. Everything in it goes through the interfaces that others use: hospitals write
//! FHIR over HTTP with tokens of their own, and what the page shows of each permit was answered to that permit's user.

mod cast;
mod gauge;
mod observer;

use crate::access::{Role, TokenRequest};
use crate::api::{self, Network, Prefix, Settings};
use crate::cli::CliError;
use crate::cli::demo::Demo;
use crate::cli::local::Local;
use crate::cli::serve::stop_signal;
use crate::feed::live::{LiveConfig, LiveFeed, Report};
use crate::feed::{self, Feed, Transaction};
use crate::query::StatisticsSettings;
use crate::web;
use cast::Cast;
use dugnad_kernel::clock::SystemClock;
use dugnad_kernel::database::{Database, Handling, Interaction, WriteError, WriteRequest};
use dugnad_kernel::disclosure::{Calendars, Period};
use dugnad_kernel::ids::HolderId;
use gauge::Gauge;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use observer::Observer;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use web::demo::DemoState;

/// How long an epoch of the demo lasts. Real ones are a day or longer; this one can be short because nobody is in the data.
const EPOCH: u32 = 60;

/// The origin of the demo's audit log.
const ORIGIN: &str = "dugnad.demo/audit";

/// The document that marks a database as synthetic. A folder without it, but with hospitals, is somebody's: it is left alone.
const MARK: (&str, &str) = ("demo", "synthetic");

/// How many requests the feed has under way at once.
const FEED_WORKERS: usize = 8;

/// Runs the demo until it is stopped or its time is over.
pub fn run(options: &Demo) -> Result<(), CliError> {
    let folder = Folder::of(options.data.as_deref())?;
    let statistics = StatisticsSettings { epochs: Calendars::all(Period::Seconds(EPOCH)), ..StatisticsSettings::default() };
    let local = Local::open_with(&folder.path, Some(ORIGIN), Arc::new(SystemClock), Some(statistics))?;
    let run = claim(&local.database)?;
    let hospitals = register(&local)?;
    let cast = Cast::introduce(&local, &hospitals)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::failed)?;
    let ended = runtime.block_on(serve(options, &folder, &local, &cast, hospitals, run));
    local.database.close();
    ended
}

/// A hospital of the feed, as this database knows it.
struct Registered {
    holder: HolderId,
    token: String,
}

async fn serve(options: &Demo, folder: &Folder, local: &Local, cast: &Cast, hospitals: Vec<Registered>, run: u64) -> Result<(), CliError> {
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.map_err(|e| CliError::Failed(format!("cannot listen on {}: {e}; choose another --listen", options.listen)))?;
    let address = listener.local_addr().map_err(CliError::failed)?;
    let url = url_of(address);
    let (state, shown) = watch::channel(DemoState::default());
    let settings = Settings { inside_spe: Network::loopback(), endpoints: Prefix::loopback(), ..Settings::default() };
    let (stop, stopped) = watch::channel(false);
    let app = local.app(settings);
    let pages = web::demo::routes(shown).merge(web::for_people(&app, true).into_router());
    let served = tokio::spawn(api::serve(app, pages, listener, wait_for(stopped)));
    cast.write_json(&url, &folder.path)?;
    cast.tell(&url, &folder.path, folder.temporary);
    let stopping = Arc::new(AtomicBool::new(false));
    let story = Story {
        options: options.clone(),
        url,
        local: local.clone(),
        cast: cast.clone(),
        hospitals,
        run,
        state,
        stop: Arc::clone(&stopping),
    };
    let mut told = tokio::task::spawn_blocking(move || story.tell());
    let ended = tokio::select! {
        ended = &mut told => ended,
        () = stop_signal() => {
            stopping.store(true, Ordering::Release);
            told.await
        }
    };
    let _ = stop.send(true); // fails if the server has ended already
    let result = served.await.map_err(CliError::failed)?.map_err(CliError::failed);
    let summary = ended.map_err(CliError::failed)??;
    result?;
    for line in summary.lines() {
        println!("{line}");
    }
    if summary.is_clean() { Ok(()) } else { Err(CliError::Told) }
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await; // an error means that nobody is left to stop it: stop too
}

/// The address that a browser on this machine can use.
fn url_of(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("http://127.0.0.1:{}", address.port()) } else { format!("http://{address}") }
}

/// The folder of the demo's database. A temporary one is removed at the end.
struct Folder {
    path: PathBuf,
    temporary: bool,
    _held: Option<tempfile::TempDir>,
}

impl Folder {
    fn of(given: Option<&Path>) -> Result<Self, CliError> {
        match given {
            Some(path) => Ok(Self { path: path.to_owned(), temporary: false, _held: None }),
            None => {
                let held = tempfile::Builder::new().prefix("dugnad-demo-").tempdir().map_err(CliError::failed)?;
                Ok(Self { path: held.path().to_owned(), temporary: true, _held: Some(held) })
            }
        }
    }
}

/// Marks the database as synthetic, or finds that it is; a database of real hospitals is refused. Which run of it this is.
fn claim(database: &Database) -> Result<u64, CliError> {
    let (kind, id) = MARK;
    let mark = database.document(kind, id).map_err(CliError::failed)?;
    if mark.is_none() && !database.holders().is_empty() {
        let what = "this folder holds a database that no demo made; the demo writes synthetic patients and does not touch it. Choose another --data";
        return Err(CliError::Failed(what.to_owned()));
    }
    database.put_document(kind, id, r#"{"synthetic":true}"#).map_err(CliError::failed)?;
    Ok(mark.map_or(1, |m| m.version + 1))
}

fn register(local: &Local) -> Result<Vec<Registered>, CliError> {
    let register = |hospital: &feed::Hospital| {
        let holder = local.database.register_holder(hospital.name).map_err(CliError::failed)?.id;
        let request = TokenRequest {
            user: hospital.name.to_owned(),
            role: Role::Hospital,
            holder: Some(hospital.name.to_owned()),
            subject: None,
            valid_for: cast::token_life(),
        };
        Ok(Registered { holder, token: local.tokens.issue(&request).map_err(CliError::failed)? })
    };
    feed::hospitals().iter().map(register).collect()
}

/// What happens while the server serves: history, then the feed, watched all the time.
struct Story {
    options: Demo,
    url: String,
    local: Local,
    cast: Cast,
    hospitals: Vec<Registered>,
    run: u64,
    state: watch::Sender<DemoState>,
    stop: Arc<AtomicBool>,
}

impl Story {
    fn tell(self) -> Result<gauge::Summary, CliError> {
        let now = self.local.clock.now();
        let mut feed = Feed::new(self.run, self.options.patients as usize, now);
        self.load_history(&mut feed, now)?;
        cast::bind_patient(&self.local)?;
        let gauge = Arc::new(Gauge::new(feed::hospitals().len()));
        let observer = Observer::start(&self.url, &self.cast, &self.local, Arc::clone(&gauge), self.state, Arc::clone(&self.stop))?;
        let config = LiveConfig {
            base_url: self.url.clone(),
            tokens: self.hospitals.iter().map(|h| h.token.clone()).collect(),
            rate_per_s: self.options.rate,
            workers: FEED_WORKERS,
        };
        let reporting = Arc::clone(&gauge);
        let live = LiveFeed::start(config, feed, Arc::clone(&self.stop), move |report: Report| reporting.record(report))
            .map_err(CliError::failed)?;
        let end = self.options.duration.map(|s| Instant::now() + Duration::from_secs(s));
        while !self.stop.load(Ordering::Acquire) && end.is_none_or(|end| Instant::now() < end) {
            std::thread::sleep(Duration::from_millis(50));
        }
        live.stop();
        observer.stop();
        Ok(gauge.summary(&self.local.audit.checkpoint()))
    }

    /// Writes the studies and the patients' stories into the database, as a hospital's first load does, on two threads.
    fn load_history(&self, feed: &mut Feed, now: Timestamp) -> Result<(), CliError> {
        let started = Instant::now();
        let setup = feed.study_setup();
        let story: Vec<Transaction> = feed.history(now).collect();
        let in_all: u64 = setup.iter().chain(&story).map(|t| t.resources as u64).sum();
        let bar = progress(in_all);
        for transaction in setup {
            bar.inc(transaction.resources as u64);
            self.write(transaction)?;
        }
        let queue = Mutex::new(story.into_iter());
        let work = || -> Result<(), CliError> {
            while !self.stop.load(Ordering::Acquire) {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(transaction) = next else { return Ok(()) };
                let resources = transaction.resources as u64;
                self.write(transaction)?;
                bar.inc(resources);
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * 2;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|w| w.join().unwrap_or_else(|_| Err(CliError::Failed("the history could not be made".to_owned()))))
        })?;
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("history: {in_all} resources of {} patients in {seconds:.1} s; the hospitals begin to treat now", self.options.patients);
        Ok(())
    }

    fn write(&self, transaction: Transaction) -> Result<(), CliError> {
        let Some(hospital) = self.hospitals.get(transaction.hospital) else { return Ok(()) };
        let request = WriteRequest {
            holder: hospital.holder,
            interaction: Interaction::Transaction { body: transaction.bundle },
            handling: Handling::Strict,
            idempotency_key: None,
        };
        match self.local.database.write(request) {
            Ok(_) => Ok(()),
            Err(WriteError::Refused { issues, .. }) => {
                let first = issues.first().map(|i| format!("{}: {}", i.expression.as_deref().unwrap_or("Bundle"), i.diagnostics));
                Err(CliError::Failed(format!("the synthetic history was refused: {}", first.unwrap_or_default())))
            }
            Err(error) => Err(CliError::failed(error)),
        }
    }
}

fn progress(resources: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("history {bar:40} {human_pos}/{human_len} resources, {per_sec}, {eta} left");
    ProgressBar::new(resources).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
