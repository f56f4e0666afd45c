//! The whole way of a question over a real database.

use super::block_on;
use crate::access::{Principal, Role};
use crate::query::format::{Format, encode};
use crate::query::{Answer, Basis, QueryService, Question, StatisticsSettings};
use dugnad_kernel::audit::{Act, Entry, Log};
use dugnad_kernel::clock::{Clock, ManualClock};
use dugnad_kernel::database::{Database, Handling, Interaction, WriteRequest};
use dugnad_kernel::disclosure::{Calendars, MethodDocument, Period};
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_sql::QueryError;
use ed25519_dalek::SigningKey;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

const START: &str = "2026-11-21T19:30:00Z";
const COUNT: &str = "SELECT COUNT(*) AS n FROM treatment";

/// A centre with two hospitals and three permits.
pub(super) struct Centre {
    _folder: tempfile::TempDir,
    pub database: Database,
    pub clock: Arc<ManualClock>,
    pub log: Arc<Log>,
    pub service: QueryService,
}

pub(super) fn at(seconds: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

impl Centre {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(at(0)));
        let time: Arc<dyn Clock> = clock.clone();
        let database = Database::open(&folder.path().join("data"), time.clone(), &mut |_, _| ()).unwrap();
        let log = Log::open(&folder.path().join("audit"), "test.example/log", SigningKey::from_bytes(&[1; 32]), time.clone()).unwrap();
        let log = Arc::new(log);
        // Little noise, and small differences: the hospitals are small.
        let method = MethodDocument::CellKey { threshold: 3, difference: 3, bound: 1, variance: 0.5, patience: 0 };
        let settings =
            StatisticsSettings { method, epochs: Calendars::all(Period::Seconds(60)), cells_per_epoch: 100, tables_per_epoch: 10 };
        let kept = folder.path().join("statistics");
        let service = QueryService::with(database.clone(), log.clone(), [7; 32], time, &kept, Some(settings)).unwrap();
        let centre = Self { _folder: folder, database, clock, log, service };
        for hospital in ["nord", "sor"] {
            centre.database.register_holder(hospital).unwrap();
        }
        for permit in [surveillance(), statistics(), study()] {
            centre.database.put_document("permit", permit["id"].as_str().unwrap(), &permit.to_string()).unwrap();
        }
        centre
    }

    pub fn put(&self, holder: &str, resource: &Value) -> Commit {
        let interaction = Interaction::Update {
            resource_type: resource["resourceType"].as_str().unwrap().to_owned(),
            id: resource["id"].as_str().unwrap().to_owned(),
            body: resource.to_string().into_bytes(),
            if_match: None,
        };
        let holder: HolderId = self.database.holder(holder).unwrap().id;
        let request = WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None };
        self.database.write(request).unwrap().commit
    }

    /// A patient who is treated once.
    pub fn treat(&self, holder: &str, id: &str) -> Commit {
        self.put(holder, &json!({"resourceType": "Patient", "id": id, "gender": "female", "birthDate": "1961-05-17"}));
        self.put(
            holder,
            &json!({
                "resourceType": "Procedure", "id": format!("op-{id}"), "status": "completed",
                "subject": {"reference": format!("Patient/{id}")}, "performedDateTime": "2026-11-21T10:00:00+01:00",
                "code": {"coding": [{"system": "urn:oid:2.16.578.1.12.4.1.1.7210", "code": "HAC20"}]},
            }),
        )
    }

    pub fn ask(&self, who: Principal, permit: &str, sql: &str, as_of: Option<Commit>) -> Result<Answer, QueryError> {
        let (permit, sql) = (permit.to_owned(), sql.to_owned());
        block_on(self.service.ask(Question { who, interface: "sql", permit, sql, as_of, min_commit: None }))
    }

    pub fn rows(&self, who: Principal, permit: &str, sql: &str) -> Vec<Value> {
        self.rows_at(who, permit, sql, None)
    }

    pub fn rows_at(&self, who: Principal, permit: &str, sql: &str, as_of: Option<Commit>) -> Vec<Value> {
        let answer = self.ask(who, permit, sql, as_of).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let chunks: Vec<_> = block_on(encode(answer, Format::Json).collect());
        let bytes: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.unwrap().to_vec()).collect();
        serde_json::from_slice(&bytes).unwrap()
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.log.entries(0, 1_000).unwrap().into_iter().map(|(_, entry)| entry).collect()
    }
}

fn permit(id: &str, basis: &str, user: &str, tables: Value, population: Value, cadence: &str) -> Value {
    json!({
        "id": id, "basis": basis, "applicant": "somebody", "users": [user], "purpose": "to test", "tables": tables,
        "population": population, "cadence": cadence, "cadence_reason": "because", "delivery": "remote", "valid_from": at(0),
        "valid_until": at(86_400), "decision": {"by": "centre", "at": at(-120), "reasons": "a test"}, "status": "active",
    })
}

pub(super) fn surveillance() -> Value {
    let tables = json!([
        {"table": "treatment", "columns": "all"}, {"table": "procedure", "columns": "all"},
        {"table": "patient", "columns": ["patient_key", "birth_date"], "transforms": {"birth_date": "year"}},
    ]);
    let mut permit = permit("surveillance", "statutory_register", "authority", tables, json!("everyone"), "live");
    permit["provision"] = json!({"law": "a law", "retention": "P10Y"});
    permit["delivery"] = json!("enclave");
    permit
}

fn statistics() -> Value {
    let tables = json!([{"table": "treatment", "columns": "all"}]);
    permit("statistics", "ehds_request", "company", tables, json!("everyone"), "daily")
}

pub(super) fn study() -> Value {
    let tables = json!([{"table": "treatment", "columns": "all"}, {"table": "research_subject", "columns": "all"}]);
    let population = json!({"study_subjects": {"studies": [{"holder": "nord", "id": "trial"}, {"holder": "sor", "id": "trial"}]}});
    permit("study", "trial_protocol", "company", tables, population, "live")
}

pub(super) fn principal(user: &str, role: Role, inside_spe: bool) -> Principal {
    Principal { inside_spe, ..Principal::new(user, role, None) }
}

pub(super) fn authority() -> Principal {
    principal("authority", Role::Authority, true)
}

pub(super) fn company() -> Principal {
    principal("company", Role::Company, false)
}

pub(super) fn hospital(name: &str) -> Principal {
    Principal { holder: Some(name.to_owned()), ..principal(name, Role::Hospital, false) }
}

#[test]
fn an_acknowledged_write_is_in_the_next_answer() {
    let centre = Centre::new();
    for n in 1..=20 {
        let commit = centre.treat(["nord", "sor"][n % 2], &format!("p{n}"));
        let answer = centre.ask(authority(), "surveillance", COUNT, None).unwrap();
        assert_eq!(answer.basis, Basis::Commit(commit));
        drop(answer);
        assert_eq!(centre.rows(authority(), "surveillance", COUNT), [json!({"n": n})]);
    }
    let row =
        centre.rows(authority(), "surveillance", "SELECT DISTINCT kind, code, birth_date FROM treatment JOIN patient USING (patient_key)");
    assert_eq!(row, [json!({"kind": "surgery", "code": "HAC20", "birth_date": "1961-01-01"})]);
}

#[test]
fn as_of_gives_the_rows_of_that_commit() {
    let centre = Centre::new();
    centre.clock.set(at(1));
    let first = centre.treat("nord", "one");
    centre.treat("nord", "two");
    assert_eq!(centre.rows_at(authority(), "surveillance", COUNT, Some(first)), [json!({"n": 1})]);
    assert_eq!(centre.rows(authority(), "surveillance", COUNT), [json!({"n": 2})]);
    for wrong in [Commit(0), Commit(1_000_000)] {
        assert!(matches!(centre.ask(authority(), "surveillance", COUNT, Some(wrong)), Err(QueryError::Commit(_))), "{wrong}");
    }
}

#[test]
fn every_reason_for_no_permit_looks_the_same() {
    let centre = Centre::new();
    let outside = principal("authority", Role::Authority, false);
    let asked = [
        (authority(), "nonsense"),
        (authority(), "study"),
        (company(), "surveillance"),
        (outside, "surveillance"),
        (authority(), "care"),
        (company(), "care"),
        (principal("x", Role::Centre, true), "surveillance"),
    ];
    for (who, permit) in asked {
        let error = centre.ask(who, permit, COUNT, None).err().unwrap();
        assert_eq!(error.to_string(), format!("there is no permit `{permit}` that you may use now; `GET /permits` lists yours"));
    }
    centre.clock.set(at(86_400));
    assert!(matches!(centre.ask(authority(), "surveillance", COUNT, None), Err(QueryError::NoPermit(_))), "expired");
}

#[test]
fn a_study_sees_its_subjects_only() {
    let centre = Centre::new();
    for (holder, id) in [("nord", "in"), ("nord", "out"), ("sor", "in"), ("sor", "later")] {
        centre.treat(holder, id);
        centre.put(holder, &json!({"resourceType": "ResearchStudy", "id": "trial", "status": "active"}));
    }
    let enrol = |holder: &str, id: &str, status: &str| {
        centre.put(
            holder,
            &json!({
                "resourceType": "ResearchSubject", "id": format!("s-{id}"), "status": status,
                "study": {"reference": "ResearchStudy/trial"}, "individual": {"reference": format!("Patient/{id}")},
            }),
        )
    };
    assert_eq!(centre.rows(company(), "study", COUNT), [json!({"n": 0})]);
    enrol("nord", "in", "on-study");
    enrol("sor", "in", "on-study");
    enrol("sor", "later", "candidate");
    assert_eq!(centre.rows(company(), "study", COUNT), [json!({"n": 2})]);
    enrol("sor", "later", "on-study");
    assert_eq!(centre.rows(company(), "study", COUNT), [json!({"n": 3})], "a population is live");
}

#[test]
fn care_is_a_hospitals_own_patients_by_name() {
    let centre = Centre::new();
    centre.treat("nord", "p1");
    centre.treat("sor", "p1");
    let sql = "SELECT patient_key, resource_id, holder FROM procedure";
    let expected = |holder: &str| [json!({"patient_key": "p1", "resource_id": "op-p1", "holder": holder})];
    assert_eq!(centre.rows(hospital("nord"), "care", sql), expected("nord"));
    assert_eq!(centre.rows(hospital("sor"), "care", sql), expected("sor"));
    assert!(matches!(centre.ask(hospital("vest"), "care", sql, None), Err(QueryError::NoPermit(_))));
}

#[test]
fn statistics_follow_the_calendar() {
    let centre = Centre::new();
    let sql = "SELECT holder, persons FROM statistics.treatments WHERE holder = 'nord' GROUP BY holder";
    let shown = || centre.rows(company(), "statistics", sql)[0]["persons"].as_i64();
    for n in 0..20 {
        centre.treat("sor", &format!("s{n}"));
    }
    assert_eq!(shown(), None);
    centre.clock.set(at(10));
    for n in 0..7 {
        centre.treat("nord", &format!("p{n}"));
    }
    assert_eq!(shown(), None, "the epoch began before");
    centre.clock.set(at(61));
    let answer = centre.ask(company(), "statistics", sql, None).unwrap();
    assert!(matches!(&answer.basis, Basis::Epoch { epoch, .. } if epoch == "2026-11-21T19:31:00Z"));
    drop(answer);
    let first = shown().unwrap();
    assert!((6..=8).contains(&first), "{first}");
    centre.clock.set(at(70));
    centre.treat("nord", "p8");
    assert_eq!(shown(), Some(first));
    centre.clock.set(at(120));
    assert_eq!(shown(), Some(first), "one more person does not move it");
    for n in 10..20 {
        centre.treat("nord", &format!("p{n}"));
    }
    centre.clock.set(at(180));
    block_on(centre.service.renew_statistics()).unwrap();
    let epochs = block_on(centre.service.shared.statistics.epochs());
    assert_eq!(epochs, ["2026-11-21T19:33:00Z".parse().unwrap()], "the rows are there before anybody asks");
    assert!((17..=19).contains(&shown().unwrap()), "eleven do");
    assert_eq!(centre.service.statistics_catalogue().unwrap().epochs[0].epoch, "2026-11-21T19:33:00Z");
}

#[test]
fn a_statistics_permit_has_no_rows_and_no_more_than_its_tables() {
    let centre = Centre::new();
    let refused = [
        (COUNT, "can be run under a permit with rows"),
        ("SELECT sex, persons FROM statistics.patients GROUP BY sex", "there is no table statistics.patients under this permit"),
        ("SELECT sex, persons FROM statistics.treatments GROUP BY sex", "has no sex under this permit: it needs patient.gender"),
    ];
    for (sql, expected) in refused {
        let error = centre.ask(company(), "statistics", sql, None).err().unwrap().to_string();
        assert!(error.contains(expected), "{sql}: {error}");
    }
    let sql = "SELECT kind, persons FROM statistics.treatments GROUP BY kind";
    assert!(matches!(centre.ask(company(), "statistics", sql, Some(Commit(1))), Err(QueryError::Commit(_))));
    assert!(matches!(centre.ask(authority(), "surveillance", sql, None), Err(QueryError::Refused(_))), "and a row permit no statistics");
}

#[test]
fn everything_asked_is_on_the_record() {
    let centre = Centre::new();
    centre.treat("nord", "one");
    centre.rows(authority(), "surveillance", COUNT);
    centre.rows(company(), "statistics", "SELECT kind, persons FROM statistics.treatments GROUP BY kind");
    drop(centre.ask(company(), "surveillance", COUNT, None));
    drop(centre.ask(authority(), "surveillance", "SELECT random()", None));
    let entries = centre.entries();
    let acts: Vec<Act> = entries.iter().map(|e| e.act).collect();
    assert_eq!(acts, [Act::Intent, Act::Completion, Act::Intent, Act::Completion, Act::Refusal, Act::Refusal]);
    assert_eq!((entries[0].tables.as_slice(), entries[0].purpose.as_deref()), (&["treatment".to_owned()][..], Some("to test")));
    assert_eq!((entries[1].intent, entries[1].rows, entries[1].outcome.as_deref()), (Some(0), Some(1), Some("ok")));
    assert!(entries[0].commit.is_some() && entries[0].epoch.is_none());
    assert_eq!((entries[2].commit, entries[2].epoch.as_deref()), (None, Some("2026-11-21T19:30:00Z")));
    assert_eq!((entries[4].user.as_str(), entries[4].role.as_str(), entries[4].purpose.as_deref()), ("company", "company", None));
    assert_eq!(entries[5].request.as_deref(), Some("SELECT random()"));
}
