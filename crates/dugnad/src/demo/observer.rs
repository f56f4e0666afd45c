//! Reads what the permits see, over HTTP with their users' tokens: for the page, and to find out how fresh the answers are.

use super::EPOCH;
use super::cast::{Cast, STATISTICS, STUDY, SURVEILLANCE};
use super::gauge::Gauge;
use crate::cli::CliError;
use crate::cli::client::{self, Client};
use crate::cli::local::Local;
use crate::web::demo::{AuthorityView, Cell, Checkpoint, DemoState, KindCount, StatisticsView, StudyView, TableRows};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use ureq::http::Method;

/// The tables that the page counts for the authority.
const COUNTED: [&str; 10] = [
    "patient",
    "encounter",
    "condition",
    "procedure",
    "medication_administration",
    "medication_request",
    "observation",
    "diagnostic_report",
    "specimen",
    "treatment",
];

/// The two threads that read.
pub(super) struct Observer {
    threads: Vec<JoinHandle<()>>,
}

/// An answer to SQL: its rows, and the commit that it was computed on.
struct Answered {
    rows: Vec<Value>,
    commit: u64,
    epoch: String,
}

/// A permit's user.
#[derive(Clone)]
struct Reader {
    client: Client,
    permit: &'static str,
}

impl Reader {
    fn new(url: &str, token: &str, permit: &'static str) -> Result<Self, CliError> {
        Ok(Self { client: Client::new(url, Some(token.to_owned()))?, permit })
    }

    fn ask(&self, sql: &str, as_of: Option<u64>) -> Result<Answered, String> {
        let mut body = json!({"permit": self.permit, "sql": sql, "format": "json"});
        if let Some(commit) = as_of {
            body["as_of"] = json!(commit);
        }
        let headers = [("Content-Type", "application/json")];
        let mut answer = self.client.send(Method::POST, "/sql", &headers, Some(body.to_string().as_bytes())).map_err(|e| e.to_string())?;
        let text = client::text(&mut answer);
        if !answer.status().is_success() {
            return Err(format!("{}: {}", answer.status().as_u16(), client::explain(answer.status().as_u16(), &text).remove(0).1));
        }
        let header = |name| answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        Ok(Answered {
            rows: serde_json::from_str(&text).map_err(|e| format!("the answer is not a JSON array: {e}"))?,
            commit: header("dugnad-commit").parse().unwrap_or_default(),
            epoch: header("dugnad-epoch"),
        })
    }

    fn count(&self, sql: &str) -> Result<(u64, u64), String> {
        let answered = self.ask(sql, None)?;
        Ok((answered.rows.first().and_then(|r| r["n"].as_u64()).unwrap_or_default(), answered.commit))
    }
}

impl Observer {
    pub(super) fn start(
        url: &str,
        cast: &Cast,
        local: &Local,
        gauge: Arc<Gauge>,
        state: watch::Sender<DemoState>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, CliError> {
        let authority = Reader::new(url, &cast.authority, SURVEILLANCE)?;
        let base = authority.count(ENCOUNTERS).map_err(CliError::Failed)?.0;
        let (checking, checked, stopping) = (authority.clone(), Arc::clone(&gauge), Arc::clone(&stop));
        let checker = move || check(&checking, &checked, base, &stopping);
        let mut painter = Painter {
            authority,
            study: Reader::new(url, &cast.company, STUDY)?,
            statistics: Reader::new(url, &cast.company, STATISTICS)?,
            study_title: cast.study_title.clone(),
            local: local.clone(),
            gauge,
            commits: VecDeque::new(),
            zone: TimeZone::get("Europe/Oslo").unwrap_or(TimeZone::UTC),
        };
        let paint = move || {
            while !stop.load(Ordering::Acquire) {
                let began = Instant::now();
                match painter.state() {
                    Ok(painted) => state.send_replace(painted),
                    Err(_) if stop.load(Ordering::Acquire) => return,
                    Err(what) => {
                        tracing::error!(what, "the page could not be brought up to date");
                        DemoState::default()
                    }
                };
                std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
            }
        };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let threads = vec![
            spawn("demo-check", Box::new(checker)).map_err(CliError::failed)?,
            spawn("demo-paint", Box::new(paint)).map_err(CliError::failed)?,
        ];
        Ok(Self { threads })
    }

    pub(super) fn stop(self) {
        for thread in self.threads {
            let _: Result<(), _> = thread.join(); // one that panicked has said so
        }
    }
}

/// Every treatment of the feed writes one encounter, so their number tells whether an answer holds it.
const ENCOUNTERS: &str = "SELECT count(*) AS n FROM encounter";

/// Asks as soon as something has been acknowledged, and looks whether the answer holds it.
fn check(reader: &Reader, gauge: &Gauge, base: u64, stop: &AtomicBool) {
    let mut seen = 0;
    while !stop.load(Ordering::Acquire) {
        let Some(demand) = gauge.next_demand(seen, Duration::from_millis(200)) else { continue };
        match reader.count(ENCOUNTERS) {
            Ok((encounters, commit)) => gauge.answered(demand, encounters >= base + demand.acknowledged && commit >= demand.newest.0),
            Err(_) if stop.load(Ordering::Acquire) => return,
            Err(what) => tracing::error!(what, "the authority got no answer"),
        }
        seen = demand.newest.0;
    }
}

/// Paints the page's state, once a second.
struct Painter {
    authority: Reader,
    study: Reader,
    statistics: Reader,
    study_title: String,
    local: Local,
    gauge: Arc<Gauge>,
    /// Commits of the last minute, oldest first: `as_of` the oldest gives what was there a minute ago.
    commits: VecDeque<(Instant, u64)>,
    zone: TimeZone,
}

impl Painter {
    fn state(&mut self) -> Result<DemoState, String> {
        let (hospitals, latest, rate_per_s, freshness) = self.gauge.shown();
        let commit = self.local.database.snapshot().commit().0;
        let minute_ago = self.minute_ago(commit);
        let resources = self.local.database.counters().resources;
        let count =
            |wanted: Option<&str>| resources.iter().filter(|(t, _)| is_fhir(t) && wanted.is_none_or(|w| w == t)).map(|(_, n)| n).sum();
        Ok(DemoState {
            at: Timestamp::now().to_string(),
            commit,
            resources: count(None),
            patients: count(Some("Patient")),
            rate_per_s,
            hospitals,
            latest,
            authority: self.authority(minute_ago)?,
            study: self.study(minute_ago)?,
            statistics: self.statistics()?,
            freshness,
            audit: self.checkpoint(),
        })
    }

    fn minute_ago(&mut self, commit: u64) -> u64 {
        let now = Instant::now();
        self.commits.push_back((now, commit));
        while self.commits.len() > 1 && self.commits.front().is_some_and(|(at, _)| now.duration_since(*at) > Duration::from_secs(60)) {
            self.commits.pop_front();
        }
        self.commits.front().map_or(commit, |(_, c)| *c)
    }

    fn authority(&self, minute_ago: u64) -> Result<AuthorityView, String> {
        let counts: Vec<String> = COUNTED.iter().map(|t| format!("SELECT '{t}' AS t, count(*) AS n FROM {t}")).collect();
        let tables = self.authority.ask(&format!("{} ORDER BY t", counts.join(" UNION ALL ")), None)?;
        let (now, then) = (by_kind(&self.authority, None)?, by_kind(&self.authority, Some(minute_ago))?);
        let by_kind: Vec<KindCount> = arrived(&now.0, &then.0);
        Ok(AuthorityView {
            permit: SURVEILLANCE.to_owned(),
            commit: now.1,
            last_minute: by_kind.iter().map(|k| k.count).sum(),
            by_kind,
            tables: tables.rows.iter().map(|r| TableRows { table: text(r, "t"), rows: r["n"].as_u64().unwrap_or_default() }).collect(),
        })
    }

    fn study(&self, minute_ago: u64) -> Result<StudyView, String> {
        let subjects = self
            .study
            .ask("SELECT count(DISTINCT patient_key) AS subjects, count(DISTINCT holder) AS sites FROM research_subject", None)?;
        let rows = self.study.count(
            "SELECT (SELECT count(*) FROM patient) + (SELECT count(*) FROM condition) + (SELECT count(*) FROM procedure)
              + (SELECT count(*) FROM medication_administration) + (SELECT count(*) FROM observation)
              + (SELECT count(*) FROM adverse_event) + (SELECT count(*) FROM research_subject) AS n",
        )?;
        let (now, then) = (by_kind(&self.study, None)?, by_kind(&self.study, Some(minute_ago))?);
        let number = |name: &str| subjects.rows.first().and_then(|r| r[name].as_u64()).unwrap_or_default();
        Ok(StudyView {
            permit: STUDY.to_owned(),
            title: self.study_title.clone(),
            commit: now.1,
            subjects: number("subjects"),
            sites: number("sites"),
            rows: rows.0,
            last_minute: arrived(&now.0, &then.0).iter().map(|k| k.count).sum(),
            by_kind: arrived(&now.0, &BTreeMap::new()),
        })
    }

    fn statistics(&self) -> Result<StatisticsView, String> {
        let answered = self.statistics.ask("SELECT kind, persons FROM statistics.treatments GROUP BY kind", None)?;
        let period = f64::from(EPOCH);
        let now = Timestamp::now().as_millisecond() as f64 / 1e3;
        Ok(StatisticsView {
            permit: STATISTICS.to_owned(),
            epoch: answered.epoch,
            next_s: period - now.rem_euclid(period),
            epoch_s: period,
            cells: answered
                .rows
                .iter()
                .map(|r| Cell { kind: text(r, "kind"), persons: r["persons"].as_i64().map_or_else(|| "–".to_owned(), |n| n.to_string()) })
                .collect(),
        })
    }

    fn checkpoint(&self) -> Checkpoint {
        let note = self.local.audit.checkpoint();
        let mut lines = note.lines();
        let mut next = || lines.next().unwrap_or_default().to_owned();
        Checkpoint {
            origin: next(),
            size: next().parse().unwrap_or_default(),
            root: next(),
            time: Timestamp::now().to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string(),
        }
    }
}

fn by_kind(reader: &Reader, as_of: Option<u64>) -> Result<(BTreeMap<String, u64>, u64), String> {
    let answered = reader.ask("SELECT kind, count(*) AS n FROM treatment GROUP BY kind", as_of)?;
    Ok((answered.rows.iter().map(|r| (text(r, "kind"), r["n"].as_u64().unwrap_or_default())).collect(), answered.commit))
}

/// What has come since.
fn arrived(now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>) -> Vec<KindCount> {
    let since =
        |(kind, n): (&String, &u64)| KindCount { kind: kind.clone(), count: n.saturating_sub(then.get(kind).copied().unwrap_or_default()) };
    now.iter().map(since).collect()
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned)
}

/// Documents of the centre have kinds in lower case; resource types begin with a capital.
fn is_fhir(kind: &str) -> bool {
    kind.starts_with(|c: char| c.is_ascii_uppercase())
}
