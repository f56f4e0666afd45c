//! A kept plan must be no way around what has changed since: the answer is that of a service that has kept nothing.

use super::block_on;
use super::service::{Centre, at, authority, company, hospital, surveillance};
use crate::access::Principal;
use crate::query::format::{Format, encode};
use crate::query::{QueryService, Question};
use dugnad_kernel::clock::Clock;
use dugnad_kernel::database::{Handling, Interaction, WriteRequest};
use dugnad_kernel::ids::Commit;
use futures::StreamExt;
use serde_json::{Value, json};
use std::sync::Arc;

/// Questions of every shape whose plan is kept.
const QUESTIONS: [&str; 13] = [
    "SELECT * FROM procedure ORDER BY resource_id",
    "SELECT code, holder, COUNT(*), COUNT(DISTINCT patient_key) FROM procedure GROUP BY code, holder ORDER BY code, holder",
    "SELECT kind, COUNT(DISTINCT patient_key) AS n FROM treatment GROUP BY kind ORDER BY kind",
    "SELECT p.birth_date, t.code FROM treatment t JOIN patient p ON p.patient_key = t.patient_key ORDER BY t.resource_id",
    "SELECT resource_id FROM procedure WHERE status = 'completed' AND code LIKE 'H%' ORDER BY started DESC, resource_id LIMIT 2",
    "SELECT code FROM procedure UNION ALL SELECT code FROM treatment ORDER BY code",
    "SELECT DISTINCT code, holder FROM procedure ORDER BY 1, 2",
    "SELECT * FROM (SELECT resource_id, ROW_NUMBER() OVER (PARTITION BY patient_key ORDER BY started DESC) AS n FROM procedure) AS o \
     ORDER BY resource_id",
    "SELECT resource_id FROM (SELECT resource_id, ROW_NUMBER() OVER (PARTITION BY patient_key ORDER BY started DESC) AS n FROM procedure) AS o \
     WHERE n = 1 ORDER BY resource_id",
    "SELECT COUNT(*) FROM procedure WHERE started < TIMESTAMP '2027-01-01 00:00:00'",
    "SELECT p.patient_key FROM patient p LEFT JOIN procedure q ON q.patient_key = p.patient_key ORDER BY 1",
    "SELECT birth_date FROM patient ORDER BY birth_date",
    "SELECT t.code, u.code FROM treatment t RIGHT JOIN treatment u ON t.patient_key = u.patient_key ORDER BY length(t.kind) % 2",
];

type Told = Result<String, String>;

fn told(service: &QueryService, who: &Principal, permit: &str, sql: &str, as_of: Option<Commit>) -> Told {
    let question = Question { who: who.clone(), interface: "sql", permit: permit.to_owned(), sql: sql.to_owned(), as_of, min_commit: None };
    block_on(async {
        let answer = service.ask(question).await.map_err(|e| e.to_string())?;
        let chunks: Vec<_> = encode(answer, Format::Csv).collect().await;
        let mut text = String::new();
        for chunk in chunks {
            text.push_str(&String::from_utf8_lossy(&chunk.map_err(|e| e.to_string())?));
        }
        Ok(text)
    })
}

impl Centre {
    fn kept(&self) -> usize {
        self.service.shared.plans.kept()
    }

    /// Asks all questions of the service, and the same of one that has kept nothing. The answers.
    fn checked(&self, who: &Principal, permit: &str, as_of: Option<Commit>, what: &str) -> Vec<Told> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let statistics = tempfile::tempdir().unwrap();
        let new = QueryService::with(self.database.clone(), self.log.clone(), [7; 32], clock, statistics.path(), None).unwrap();
        let ask = |sql: &&str| {
            let (kept, expected) = (told(&self.service, who, permit, sql, as_of), told(&new, who, permit, sql, as_of));
            assert_eq!(kept, expected, "{what}: {sql}");
            kept
        };
        QUESTIONS.iter().map(ask).collect()
    }

    fn decide(&self, change: impl FnOnce(&mut Value)) {
        let mut permit = surveillance();
        change(&mut permit);
        self.database.put_document("permit", "surveillance", &permit.to_string()).unwrap();
    }

    fn opt_out(&self, holder: &str, patient: &str, out: bool) {
        let interaction = Interaction::OptOut { patient: patient.to_owned(), out };
        let holder = self.database.holder(holder).unwrap().id;
        self.database.write(WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None }).unwrap();
    }
}

fn centre() -> Centre {
    let centre = Centre::new();
    for n in 0..6 {
        centre.treat(["nord", "sor"][n % 2], &format!("p{n}"));
    }
    centre
}

#[test]
fn a_kept_plan_reads_what_is_there_when_it_runs() {
    let centre = centre();
    for (n, sql) in QUESTIONS.iter().enumerate() {
        assert!(told(&centre.service, &authority(), "surveillance", sql, None).is_ok(), "{sql}");
        assert_eq!(centre.kept(), n + 1, "not kept: {sql}");
    }
    let first = centre.checked(&authority(), "surveillance", None, "at first");
    let then = centre.database.snapshot().commit();
    centre.clock.set(at(1));
    for n in 6..9 {
        centre.treat("sor", &format!("p{n}"));
        let now = centre.checked(&authority(), "surveillance", None, "after a write");
        assert!(now.iter().zip(&first).all(|(now, first)| now != first || !now.as_ref().is_ok_and(|a| a.contains("p8"))));
        assert_eq!(centre.kept(), QUESTIONS.len(), "they ran again");
    }
    assert_eq!(centre.checked(&authority(), "surveillance", Some(then), "as of then"), first);
}

/// The attack: somebody asks, the permit is narrowed, and they ask the very same again.
#[test]
fn a_kept_plan_shows_nothing_that_the_permit_no_longer_holds() {
    let centre = centre();
    let patients = json!({"table": "patient", "columns": ["patient_key"]});
    let procedures = json!({"table": "procedure", "columns": ["code", "holder", "patient_key", "resource_id", "started", "status"]});
    let changes: [(&str, &str, Value); 8] = [
        ("a table goes", "tables", json!([patients])),
        (
            "it comes back, with fewer columns",
            "tables",
            json!([patients, procedures, {"table": "treatment", "columns": ["kind", "patient_key"]}]),
        ),
        (
            "a transform is put on",
            "tables",
            json!([
                {"table": "procedure", "columns": "all", "transforms": {"started": "month", "code": {"generalise": 2}}},
                {"table": "patient", "columns": "all"}, {"table": "treatment", "columns": "all"},
            ]),
        ),
        ("other persons", "population", json!({"own_patients": {"holder": "nord"}})),
        ("a study's subjects", "population", json!({"study_subjects": {"studies": [{"holder": "nord", "id": "none"}]}})),
        ("few rows", "limits", json!({"rows": 1})),
        ("it is revoked", "status", json!("revoked")),
        ("somebody else's", "users", json!(["other"])),
    ];
    for (what, member, value) in changes {
        centre.decide(|_| {});
        let before = centre.checked(&authority(), "surveillance", None, what);
        centre.decide(|permit| permit[member] = value);
        let after = centre.checked(&authority(), "surveillance", None, what);
        assert_ne!(before, after, "{what}: the change is meant to be seen");
    }
    centre.decide(|_| {});
    centre.checked(&authority(), "surveillance", None, "as at first");
    centre.clock.set(at(86_400));
    assert!(centre.checked(&authority(), "surveillance", None, "expired").iter().all(Result::is_err));
}

#[test]
fn a_kept_plan_shows_nobody_who_has_gone() {
    let centre = centre();
    centre.decide(|permit| permit["provision"]["opt_out"] = json!(true));
    let before = centre.checked(&authority(), "surveillance", None, "before");
    centre.opt_out("nord", "p0", true);
    let out = centre.checked(&authority(), "surveillance", None, "somebody has opted out");
    assert_ne!(before, out);
    centre.opt_out("nord", "p0", false);
    assert_eq!(centre.checked(&authority(), "surveillance", None, "and in again"), before);
    centre.put(
        "nord",
        &json!({"resourceType": "Patient", "id": "p2", "gender": "female", "birthDate": "1961-05-17",
        "meta": {"security": [{"code": "R"}]}}),
    );
    assert_ne!(centre.checked(&authority(), "surveillance", None, "somebody is protected"), before);
}

#[test]
fn what_depends_on_time_is_planned_anew() {
    let centre = centre();
    let sql = "SELECT now() AS t, (SELECT COUNT(*) FROM procedure WHERE started < current_date()) AS n";
    let ages = "SELECT COUNT(*) FROM procedure WHERE started < now() - INTERVAL '1 day'";
    let mut answers = Vec::new();
    for day in 0..3 {
        centre.clock.set(at(3_600 * 8 * day));
        centre.treat("nord", &format!("d{day}"));
        answers.push((
            told(&centre.service, &authority(), "surveillance", sql, None),
            told(&centre.service, &authority(), "surveillance", ages, None),
        ));
    }
    assert_eq!(centre.kept(), 0);
    assert!(answers.iter().all(|(t, n)| t.is_ok() && n.is_ok()), "{answers:?}");
    assert!(answers[0].0 != answers[1].0 && answers[1].0 != answers[2].0, "{answers:?}");
}

/// How long a question takes must not tell one user what another one has asked.
#[test]
fn a_plan_is_kept_for_the_user_who_asked() {
    let centre = centre();
    centre.decide(|permit| permit["users"] = json!(["authority", "company"]));
    centre.checked(&authority(), "surveillance", None, "one");
    centre.checked(&Principal { inside_spe: true, ..company() }, "surveillance", None, "another");
    assert_eq!(centre.kept(), 2 * QUESTIONS.len());
    for name in ["nord", "sor"] {
        let rows = centre.checked(&hospital(name), "care", None, "own patients");
        assert!(rows[0].as_ref().is_ok_and(|text| text.contains(name)), "{rows:?}");
    }
}
