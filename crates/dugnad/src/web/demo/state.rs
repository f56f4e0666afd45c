//! What the demo page shows: one value a second.

use crate::feed::live::Acknowledged;
use crate::feed::{Kind, hospitals};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// How many of the newest treatments a state carries: enough for three seconds at the demo's default rate.
pub const LATEST: usize = 60;

/// How many freshness measurements a state carries for the drawing.
pub const RECENT: usize = 240;

/// Everything the page shows, as of one instant. Sent as JSON, one object per Server-Sent Event.
///
/// It holds no patient: counts per hospital, codes of the newest treatments and what three permits answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemoState {
    /// When it was taken: RFC 3339, UTC.
    pub at: String,
    /// The newest commit.
    pub commit: u64,
    /// Current resources.
    pub resources: u64,
    /// Patients.
    pub patients: u64,
    /// Acknowledged transactions per second, over the last ten seconds or so.
    pub rate_per_s: f64,
    /// Acknowledged treatments since the demo began, per hospital in the order of [`hospitals`].
    pub hospitals: Vec<u64>,
    /// The newest treatments, oldest first, at most [`LATEST`].
    pub latest: Vec<Arrival>,
    /// What the authority's permit sees.
    pub authority: AuthorityView,
    /// What the company's study permit sees.
    pub study: StudyView,
    /// What the company's statistics permit sees.
    pub statistics: StatisticsView,
    /// How long after the acknowledgement the first answer holds a write.
    pub freshness: Freshness,
    /// The newest audit checkpoint.
    pub audit: Checkpoint,
}

/// One treatment, acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// Numbers the treatments since the demo began, from 1: tells a page which it has shown already.
    pub number: u64,
    /// Index into [`hospitals`].
    pub hospital: usize,
    /// What it was.
    pub kind: Kind,
    /// Its code.
    pub code: String,
    /// What the code system calls it.
    pub display: String,
    /// Time of day in Norway, `09:41:07`.
    pub time: String,
    /// Its commit.
    pub commit: u64,
}

impl Arrival {
    /// What a page shows of an acknowledged transaction; `number` counts from 1, `at` is the wall clock then.
    pub fn of(number: u64, acknowledged: &Acknowledged, at: Timestamp) -> Self {
        Arrival {
            number,
            hospital: acknowledged.hospital,
            kind: acknowledged.kind,
            code: acknowledged.code.code.into(),
            display: acknowledged.code.display.into(),
            time: time_in_norway(at),
            commit: acknowledged.commit,
        }
    }
}

/// Time of day in Norway, `09:41:07`.
pub fn time_in_norway(at: Timestamp) -> String {
    let zone = TimeZone::get("Europe/Oslo").unwrap_or(TimeZone::UTC);
    at.to_zoned(zone).strftime("%H:%M:%S").to_string()
}

/// Rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRows {
    /// The table.
    pub table: String,
    /// How many rows the permit sees.
    pub rows: u64,
}

/// A kind of treatment (as the `kind` column has it) and a count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    /// `surgery`, `radiotherapy`, ...
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// The authority: a `statutory_register` permit over everyone, live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityView {
    /// The permit's id.
    pub permit: String,
    /// The commit that the answer was computed on.
    pub commit: u64,
    /// Treatments that reached the database during the last minute.
    pub last_minute: u64,
    /// The same by kind.
    pub by_kind: Vec<KindCount>,
    /// Rows per table of the permit.
    pub tables: Vec<TableRows>,
}

/// The company's study: a `trial_protocol` permit over the subjects of one study, live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudyView {
    /// The permit's id.
    pub permit: String,
    /// The study's title, in Norwegian.
    pub title: String,
    /// The commit that the answer was computed on.
    pub commit: u64,
    /// Subjects.
    pub subjects: u64,
    /// Hospitals that have subjects.
    pub sites: u64,
    /// Rows of all tables of the permit.
    pub rows: u64,
    /// Their treatments during the last minute.
    pub last_minute: u64,
    /// All their treatments by kind.
    pub by_kind: Vec<KindCount>,
}

/// The company's statistics: an `ehds_request` permit, answered by epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatisticsView {
    /// The permit's id.
    pub permit: String,
    /// The epoch's name, such as `2026-03-02T09:41Z`.
    pub epoch: String,
    /// Seconds until the next epoch.
    pub next_s: f64,
    /// Seconds that an epoch lasts.
    pub epoch_s: f64,
    /// Persons by kind of treatment, as released: a number, or `–` where it is not shown.
    pub cells: Vec<Cell>,
}

/// A released cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// `surgery`, `radiotherapy`, ...
    pub kind: String,
    /// As released.
    pub persons: String,
}

/// From the hospital's acknowledgement to the first answer that holds the write, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Freshness {
    /// Measurements so far.
    pub samples: u64,
    /// Answers that lacked an acknowledged write. It is to be 0.
    pub stale: u64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// The newest measurements, oldest first, at most [`RECENT`].
    pub recent_ms: Vec<f32>,
}

/// The signed head of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root hash, base64.
    pub root: String,
    /// When it was signed: time of day in Norway.
    pub time: String,
}

impl Default for DemoState {
    /// Before the first treatment.
    fn default() -> Self {
        DemoState {
            at: String::new(),
            commit: 0,
            resources: 0,
            patients: 0,
            rate_per_s: 0.0,
            hospitals: vec![0; hospitals().len()],
            latest: Vec::new(),
            authority: AuthorityView::default(),
            study: StudyView::default(),
            statistics: StatisticsView::default(),
            freshness: Freshness::default(),
            audit: Checkpoint::default(),
        }
    }
}
