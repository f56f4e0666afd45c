//! The synthetic hospital feed: Norwegian hospitals that treat cancer patients who do not exist.
//!
//! Everything here is a pure function of a seed and of the instants that are passed in. All numbers (how common a cancer
//! is, at what age, how it is treated, where) are illustrative; see [`site`]. Identifiers have the shape of a
//! fødselsnummer and can belong to nobody; see [`identifier`]. No resource carries a name of a person.
//!
//! Shapes follow mCODE on FHIR R4; codes are ICD-10, NCSP, ATC, LOINC, NLK (NPU) and SNOMED CT. Each hospital writes a
//! patient's resources under its own ids, and a patient who is irradiated elsewhere is a Patient of both hospitals with
//! one national identifier.

pub mod code;
mod draft;
pub mod hospital;
pub mod identifier;
pub mod live;
mod patient;
pub mod site;
pub mod study;
#[cfg(test)]
mod tests;
mod visit;

pub use hospital::{Hospital, hospitals};
pub use study::{OPEN_LABEL_STUDY, Study, studies};

use code::Code;
use draft::{Draft, Style, bundle};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use patient::{Patient, Register};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::collections::VecDeque;
use visit::Purpose;

/// How many resources the story of one patient in the history aims at; a story stops at the first visit that passes it.
const STORY_RESOURCES: usize = 39;

/// How many of the newest patients are not treated again yet.
const NEWEST: usize = 50;

/// A FHIR transaction of one hospital.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Index into [`hospitals`].
    pub hospital: usize,
    /// A Bundle of type transaction, as JSON.
    pub bundle: Vec<u8>,
    /// How many entries it has.
    pub resources: usize,
}

/// What a treatment was, in the words of the live table `treatment` and two more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An operation.
    Surgery,
    /// A fraction of radiotherapy.
    Radiotherapy,
    /// A drug was given.
    DrugAdministration,
    /// A vaccine was given.
    Immunization,
    /// A new patient: biopsy, staging, diagnosis.
    OtherProcedure,
    /// A control: tumour marker and disease status. No row of `treatment`.
    Assessment,
}

impl Kind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Kind; 6] =
        [Kind::Surgery, Kind::Radiotherapy, Kind::DrugAdministration, Kind::OtherProcedure, Kind::Immunization, Kind::Assessment];

    /// Its name in the `kind` column and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Surgery => "surgery",
            Kind::Radiotherapy => "radiotherapy",
            Kind::DrugAdministration => "drug_administration",
            Kind::Immunization => "immunization",
            Kind::OtherProcedure => "other_procedure",
            Kind::Assessment => "assessment",
        }
    }
}

/// One visit, as it arrives.
#[derive(Clone, Debug, PartialEq)]
pub struct Treatment {
    /// Its transaction.
    pub transaction: Transaction,
    /// What it was.
    pub kind: Kind,
    /// What was done.
    pub code: Code,
    /// Whether it is the first of a new patient.
    pub new_patient: bool,
    /// Whether the patient is a subject of [`OPEN_LABEL_STUDY`].
    pub study_subject: bool,
}

/// The feed. Two feeds of the same seed that are asked the same give the same bytes; feeds of different seeds write
/// under different ids, so that several can write for the same hospitals.
pub struct Feed {
    seed: u64,
    rng: ChaCha8Rng,
    zone: TimeZone,
    register: Register,
    patients: Vec<Patient>,
    waiting: VecDeque<usize>,
    subjects: Vec<usize>,
}

impl Feed {
    /// A feed about `patients` patients who were diagnosed during the year before `now`.
    pub fn new(seed: u64, patients: usize, now: Timestamp) -> Self {
        let mut feed = Feed {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            zone: TimeZone::get("Europe/Oslo").unwrap_or(TimeZone::UTC),
            register: Register::new(),
            patients: Vec::with_capacity(patients),
            waiting: VecDeque::new(),
            subjects: Vec::new(),
        };
        for _ in 0..patients {
            let days = feed.rng.random_range(8..400);
            let diagnosed = in_the_day(now, -days, &mut feed.rng);
            feed.admit(diagnosed);
        }
        feed
    }

    /// How many patients it knows.
    pub fn patients(&self) -> usize {
        self.patients.len()
    }

    fn admit(&mut self, diagnosed: Timestamp) -> usize {
        let number = self.patients.len();
        let patient = self.register.draw(number, diagnosed, &mut self.rng);
        if patient.study.is_some_and(|study| study.id == OPEN_LABEL_STUDY) {
            self.subjects.push(number);
        }
        self.patients.push(patient);
        number
    }

    /// The studies that hospitals take part in: one transaction per hospital. To be sent before anything else.
    pub fn study_setup(&self) -> Vec<Transaction> {
        let setup = |(index, hospital): (usize, &Hospital)| {
            let entries: Vec<Value> = studies().iter().filter(|study| study.has_site(hospital)).map(study_entry).collect();
            (!entries.is_empty()).then(|| Transaction { hospital: index, resources: entries.len(), bundle: bundle(entries) })
        };
        hospitals().iter().enumerate().filter_map(setup).collect()
    }

    /// The story of every patient up to `until`, patient by patient: diagnosis, staging, treatments. One transaction per
    /// hospital that treated, of about 30 to 40 resources together. Live treatments go on from there.
    pub fn history(&mut self, until: Timestamp) -> impl Iterator<Item = Transaction> + '_ {
        (0..self.patients.len()).flat_map(move |number| self.story(number, until))
    }

    fn story(&mut self, number: usize, until: Timestamp) -> Vec<Transaction> {
        let Feed { seed, rng, zone, patients, waiting, .. } = self;
        let Some(patient) = patients.get_mut(number) else { return Vec::new() };
        let mut at = patient.diagnosed;
        let mut purposes = vec![(patient.home, Purpose::Diagnosis, at)];
        // What is done is decided first and written per hospital afterwards: a Draft belongs to one hospital.
        let mut planned = patient.clone();
        let mut resources = 14;
        while resources < STORY_RESOURCES {
            at = in_the_day(at, rng.random_range(5..22), rng);
            if at + SignedDuration::from_hours(24) > until {
                break;
            }
            let purpose = next_purpose(&planned, rng);
            anticipate(&mut planned, purpose);
            resources += if purpose == Purpose::Operation { 7 } else { 4 };
            purposes.push((place(&planned, purpose), purpose, at));
        }
        let mut written = Vec::new();
        for hospital in [patient.home, patient.centre()] {
            let mut draft = Draft::new(hospital, Style::Put, *seed, patient, zone, rng);
            for &(_, purpose, at) in purposes.iter().filter(|(place, ..)| *place == hospital) {
                draft.visit(purpose, patient, at);
            }
            if draft.len() > 0 {
                written.push(Transaction { hospital, resources: draft.len(), bundle: draft.finish() });
            }
            if patient.home == patient.centre() {
                break;
            }
        }
        if patient.course.operation_pending {
            waiting.push_back(number);
        }
        written
    }

    /// The next visit, which ends at `now`: mostly of a patient who is known, now and then of a new one.
    pub fn next_treatment(&mut self, now: Timestamp) -> Treatment {
        let dice: f64 = self.rng.random();
        if dice < 0.07 || self.patients.is_empty() {
            return self.newcomer(now);
        }
        let operated = if dice < 0.13 { self.waiting.pop_front() } else { None };
        let (number, purpose) = match operated {
            Some(number) => (number, Purpose::Operation),
            // Subjects of the demo's study come more often than chance would have it, so that its permit has something to show.
            None if dice > 0.95 => self.routine(&self.subjects.clone()),
            None => self.routine(&[]),
        };
        self.treat(number, purpose, now, false)
    }

    /// Who of `among` (of all, if that is empty) comes next and why. Most controls are passed over: the demo is about
    /// treatments. The newest patients wait a while: their first transaction may still be on its way.
    fn routine(&mut self, among: &[usize]) -> (usize, Purpose) {
        let arrived = self.patients.len().saturating_sub(NEWEST).max(1);
        let among: Vec<usize> = among.iter().copied().filter(|number| *number < arrived).collect();
        loop {
            let number = if among.is_empty() { self.rng.random_range(0..arrived) } else { among[self.rng.random_range(0..among.len())] };
            let purpose = next_routine(&self.patients[number], &mut self.rng);
            if purpose != Purpose::Control || self.rng.random_bool(0.3) {
                return (number, purpose);
            }
        }
    }

    fn newcomer(&mut self, now: Timestamp) -> Treatment {
        // The biopsy was four days ago; the diagnosis is sent when pathology has answered.
        let number = self.admit(now - SignedDuration::from_hours(96));
        if self.patients[number].course.operation_pending {
            self.waiting.push_back(number);
        }
        self.treat(number, Purpose::Diagnosis, now, true)
    }

    /// `number` comes from `admit`, `waiting` or `routine`: it is always an index of `patients`.
    fn treat(&mut self, number: usize, purpose: Purpose, now: Timestamp, new_patient: bool) -> Treatment {
        let Feed { seed, rng, zone, patients, .. } = self;
        let patient = &mut patients[number];
        let style = if rng.random_bool(0.5) { Style::Put } else { Style::Post };
        let began =
            if purpose == Purpose::Diagnosis { patient.diagnosed } else { now - SignedDuration::from_mins(rng.random_range(300..420)) };
        let mut draft = Draft::new(place(patient, purpose), style, *seed, patient, zone, rng);
        let code = draft.visit(purpose, patient, began);
        let transaction = Transaction { hospital: draft.hospital, resources: draft.len(), bundle: draft.finish() };
        let study_subject = patient.study.is_some_and(|study| study.id == OPEN_LABEL_STUDY);
        Treatment { transaction, kind: kind_of(purpose, code), code, new_patient, study_subject }
    }

    /// A transaction of exactly `resources` resources (at least 1) about one patient, for benchmarks: a new patient when
    /// it begins with a diagnosis (8 or more), otherwise visits of known ones. All of them have ids of their own.
    pub fn next_transaction(&mut self, resources: usize, now: Timestamp) -> Transaction {
        let new = resources >= 8 || self.patients.is_empty();
        let number =
            if new { self.admit(now - SignedDuration::from_hours(24 * 90)) } else { self.rng.random_range(0..self.patients.len()) };
        let Feed { seed, rng, zone, patients, .. } = self;
        let patient = &mut patients[number];
        let mut at = now - SignedDuration::from_hours(24 * 80);
        let mut draft = Draft::new(patient.home, Style::Put, *seed, patient, zone, rng);
        if new {
            draft.visit(Purpose::Diagnosis, patient, at);
        }
        while draft.len() < resources {
            at = (at + SignedDuration::from_hours(20)).min(now);
            let purpose = if patient.site.drugs.is_empty() { Purpose::Control } else { Purpose::Drug };
            draft.visit(purpose, patient, at);
        }
        draft.truncate(resources);
        Transaction { hospital: draft.hospital, resources: draft.len(), bundle: draft.finish() }
    }
}

/// Some time between about eight and three o'clock in Norway, `days` after the day of `at`.
fn in_the_day(at: Timestamp, days: i64, rng: &mut ChaCha8Rng) -> Timestamp {
    const DAY_S: i64 = 86_400;
    let midnight = at.as_second().div_euclid(DAY_S) * DAY_S;
    Timestamp::from_second(midnight + days * DAY_S + rng.random_range(7 * 60..14 * 60) * 60).unwrap_or(at)
}

fn study_entry(study: &Study) -> Value {
    let id = study.resource_id();
    json!({
        "resource": {
            "resourceType": "ResearchStudy",
            "id": id,
            "title": study.title,
            "status": "active",
            "category": [{"text": study.status}],
        },
        "request": {"method": "PUT", "url": format!("ResearchStudy/{id}")},
    })
}

/// What is done next in a story: operation first, then the rest by turns.
fn next_purpose(patient: &Patient, rng: &mut ChaCha8Rng) -> Purpose {
    if patient.course.operation_pending && rng.random_bool(0.7) { Purpose::Operation } else { next_routine(patient, rng) }
}

fn next_routine(patient: &Patient, rng: &mut ChaCha8Rng) -> Purpose {
    let dice: f64 = rng.random();
    let irradiated = patient.course.fractions_left > 0;
    match (patient.course.medicated, irradiated) {
        _ if dice < 0.02 => Purpose::Vaccination,
        (true, true) if dice < 0.45 => Purpose::Radiotherapy,
        (false, true) if dice < 0.8 => Purpose::Radiotherapy,
        (true, _) if dice < 0.85 => Purpose::Drug,
        _ => Purpose::Control,
    }
}

/// What a visit will change, as far as the choice of the next one depends on it.
fn anticipate(patient: &mut Patient, purpose: Purpose) {
    match purpose {
        Purpose::Operation => patient.course.operation_pending = false,
        Purpose::Radiotherapy => patient.course.fractions_left = patient.course.fractions_left.saturating_sub(1),
        _ => {}
    }
}

/// Where a visit takes place.
fn place(patient: &Patient, purpose: Purpose) -> usize {
    match purpose {
        Purpose::Radiotherapy => patient.centre(),
        Purpose::Operation if !patient.home_hospital().surgery => patient.centre(),
        _ => patient.home,
    }
}

fn kind_of(purpose: Purpose, code: Code) -> Kind {
    match purpose {
        // A visit whose drug or operation does not exist for this site was a control instead.
        _ if code == visit::DISEASE_STATUS => Kind::Assessment,
        Purpose::Operation => Kind::Surgery,
        Purpose::Radiotherapy => Kind::Radiotherapy,
        Purpose::Drug => Kind::DrugAdministration,
        Purpose::Vaccination => Kind::Immunization,
        Purpose::Diagnosis => Kind::OtherProcedure,
        Purpose::Control => Kind::Assessment,
    }
}
