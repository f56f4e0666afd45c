//! Attacks on what a permit does not show: rows of others, keys of another permit, ids of another holder, jobs of another user,
//! commits of before, tokens that are none any more.

use super::game::{Score, Seen, by_guess, by_number, by_text};
use super::scene::{self, BIRTHS, BOTH, CODES, LATER, OTHER, OWNER, READER, SEES, SEES_NOT, STRANGER, Scene, birth, bit, mark};
use super::{Attack, Defence};
use crate::access::Role;
use crate::cli::CliError;
use dugnad_kernel::database::ViewState;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use ureq::http::Method;

/// All of them.
pub(super) const ATTACKS: [Attack<Scene>; 12] = [
    Attack { name: "error_oracle", said: "errors: 1/0 where a hidden row says so", play: errors },
    Attack { name: "type_oracle", said: "errors: a hidden text that is no number is cast", play: casts },
    Attack { name: "subquery_oracle", said: "subqueries, HAVING, windows and LIMIT over a hidden row", play: subqueries },
    Attack { name: "explain", said: "EXPLAIN of a question about a hidden row", play: explain },
    Attack { name: "timing_hidden_row", said: "the time of a question about a hidden row, best of 3", play: timing },
    Attack { name: "link_by_key", said: "one person's keys under two permits", play: link_by_key },
    Attack { name: "link_by_key_order", said: "the order of keys under two permits", play: link_by_key_order },
    Attack { name: "link_by_row_order", said: "the order of rows under two permits", play: link_by_row_order },
    Attack { name: "another_holders_ids", said: "ids of another holder: FHIR, opt-outs, who read", play: another_holders_ids },
    Attack { name: "another_users_jobs", said: "exports and running questions of another user", play: another_users_jobs },
    Attack { name: "revoked_token", said: "a token that was revoked, against one that never was", play: revoked_token },
    Attack { name: "as_of_before", said: "as_of before the permit's start", play: as_of_before },
];

/// The permit under which the attacker asks.
fn permit(defence: Defence) -> &'static str {
    if defence == Defence::On { SEES_NOT } else { SEES }
}

/// Plays trials that are seen as texts.
fn texts(scene: &Scene, mut see: impl FnMut(usize) -> Result<String, CliError>) -> Result<Score, CliError> {
    let seen = (0..scene.trials).map(|n| Ok(Seen { what: see(n)?, bit: bit(n) })).collect::<Result<Vec<_>, CliError>>()?;
    Ok(by_text(&seen))
}

/// Puts questions about the hidden Condition of each trial, which stands as ID in them.
fn questions(scene: &Scene, defence: Defence, sql: &[&str]) -> Result<Score, CliError> {
    texts(scene, |n| {
        let id = format!("c{n}");
        sql.iter().map(|sql| scene.asked(permit(defence), &sql.replace("ID", &id), None, &id)).collect()
    })
}

fn errors(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    let exists = "SELECT CASE WHEN EXISTS (SELECT 1 FROM condition WHERE resource_id = 'ID' AND code = '7') THEN 1 / (SELECT COUNT(*) - COUNT(*) FROM patient) ELSE 0 END AS n";
    questions(scene, defence, &["SELECT 1 / (CASE WHEN code = '7' THEN 0 ELSE 1 END) AS n FROM condition WHERE resource_id = 'ID'", exists])
}

fn casts(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    let all = "SELECT SUM(CAST(code AS INT)) AS n FROM condition WHERE resource_id = 'ID'";
    // A filter that is looked at before the permit's would fail on a hidden row.
    questions(scene, defence, &[all, "SELECT COUNT(*) AS n FROM condition WHERE CAST(code AS INT) > 0 AND resource_id IN ('ID', 'in')"])
}

fn subqueries(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    let asked = [
        "SELECT COUNT(*) AS n FROM patient p WHERE EXISTS (SELECT 1 FROM condition c WHERE c.resource_id = 'ID' AND c.code = '7')",
        "SELECT code FROM condition WHERE resource_id = 'ID' GROUP BY code HAVING MAX(code) < 'a'",
        "SELECT ROW_NUMBER() OVER (ORDER BY code) AS n FROM condition WHERE resource_id IN ('ID', 'in') ORDER BY code LIMIT 2",
        "SELECT COALESCE((SELECT code FROM condition WHERE resource_id = 'ID'), 'none') AS code UNION ALL SELECT 'x'",
    ];
    questions(scene, defence, &asked)
}

fn explain(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    // Plans here are made without looking at rows, so that this fails without the permit's bounds as well.
    questions(scene, defence, &["EXPLAIN SELECT patient_key FROM condition WHERE resource_id = 'ID' AND code = '7'"])
}

fn timing(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    let seen = (0..scene.trials).map(|n| {
        let sql = format!("SELECT COUNT(*) AS n FROM patient WHERE resource_id = 'e{n}'");
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let began = Instant::now();
            scene.rows(permit(defence), &sql)?;
            best = best.min(began.elapsed().as_secs_f64());
        }
        Ok(Seen { what: best, bit: bit(n) })
    });
    Ok(by_number(&seen.collect::<Result<Vec<_>, CliError>>()?))
}

/// The key and the place of each row, by what tells its trial.
struct Rows {
    keys: HashMap<String, (String, usize)>,
}

impl Rows {
    /// The rows that say `tells`, in the order in which they come, or in that of their keys.
    fn of(scene: &Scene, permit: &str, table: &str, tells: &str, by_key: bool) -> Result<Self, CliError> {
        let order = if by_key { " ORDER BY patient_key" } else { "" };
        let rows = scene.rows(permit, &format!("SELECT patient_key, {tells} AS tells FROM {table}{order}"))?;
        let text = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
        let known = rows.iter().filter_map(|row| Some((text(row, "tells")?, text(row, "patient_key")?)));
        // Only rows that tell a trial count (`mark-1`, `1900-01-02`), so that places compare.
        let known = known.filter(|(tells, _)| tells.contains('-'));
        Ok(Self { keys: known.enumerate().map(|(place, (tells, key))| (tells, (key, place))).collect() })
    }

    fn get(&self, tells: &str) -> Result<&(String, usize), CliError> {
        self.keys.get(tells).ok_or_else(|| CliError::Failed(format!("no row says {tells}")))
    }
}

/// In each trial there is somebody's code under one permit and a day of birth under another: are they one person's? For each bit
/// that is set they are; else the day is that of the patient of another trial.
fn linked<T>(
    scene: &Scene,
    defence: Defence,
    by_key: bool,
    seen: impl Fn(&(String, usize), &(String, usize)) -> T,
) -> Result<Vec<Seen<T>>, CliError> {
    let (codes, births) = if defence == Defence::On { (CODES, BIRTHS) } else { (BOTH, BOTH) };
    let codes = Rows::of(scene, codes, "condition", "code", by_key)?;
    let births = Rows::of(scene, births, "patient", "CAST(birth_date AS VARCHAR)", by_key)?;
    let pair = |n: usize| {
        let other = if bit(n) { n } else { (n * 31 + 17) % scene.trials };
        Ok(Seen { what: seen(codes.get(&mark(n))?, births.get(&birth(other))?), bit: bit(n) || other == n })
    };
    (0..scene.trials).map(pair).collect()
}

fn link_by_key(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    Ok(by_guess(&linked(scene, defence, false, |one, other| one.0 == other.0)?))
}

fn link_by_key_order(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    Ok(by_number(&linked(scene, defence, true, |one, other| one.1.abs_diff(other.1) as f64)?))
}

fn link_by_row_order(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    Ok(by_number(&linked(scene, defence, false, |one, other| one.1.abs_diff(other.1) as f64)?))
}

fn another_holders_ids(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    let user = if defence == Defence::On { OTHER } else { OWNER };
    texts(scene, |n| {
        let id = format!("e{n}");
        let reads = [format!("/fhir/Patient/{id}"), format!("/fhir/Patient/{id}/_history"), format!("/fhir/Patient/{id}/_history/1")];
        let others = [format!("/opt-outs/{OWNER}/{id}"), format!("/audit/persons/{id}"), format!("/fhir/AuditEvent?patient={id}")];
        let get = |path: &String| scene.seen(user, Method::GET, path, None, &id);
        let mut seen = reads.iter().chain(&others).map(get).collect::<Result<String, _>>()?;
        seen += &scene.seen(user, Method::DELETE, &format!("/opt-outs/{OWNER}/{id}"), None, &id)?;
        // As a reference, in what is refused for another reason, so that nothing is kept.
        let entry = |resource: Value, url: String| json!({"resource": resource, "request": {"method": "PUT", "url": url}});
        let subject = json!({"reference": format!("Patient/{id}")});
        let good = json!({"resourceType": "Condition", "id": format!("x{n}"), "subject": subject});
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
            entry(good, format!("Condition/x{n}")), entry(json!({"resourceType": "Condition", "id": "y"}), "Condition/y".to_owned())]});
        seen += &scene.seen(user, Method::POST, "/fhir", Some(&bundle), &id)?.replace(&format!("x{n}"), "*");
        Ok(seen)
    })
}

fn another_users_jobs(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    let user = if defence == Defence::On { STRANGER } else { READER };
    let view = json!({"resourceType": "ViewDefinition", "id": "v", "name": "v", "status": "active", "resource": "Patient",
                      "select": [{"column": [{"name": "id", "path": "getResourceKey()"}]}]});
    scene.local.database.register_view("v", &view.to_string()).map_err(CliError::failed)?;
    while !scene.local.database.view("v").is_some_and(|view| matches!(view.state, ViewState::Live { .. })) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let part = json!([{"name": "viewReference", "valueReference": {"reference": "ViewDefinition/v"}}]);
    let wanted =
        json!({"resourceType": "Parameters", "parameter": [{"name": "permit", "valueString": BOTH}, {"name": "view", "part": part}]});
    let begun = scene.seen(READER, Method::POST, "/fhir/$sql-export", Some(&wanted), "no secret")?;
    let place = begun.lines().find_map(|line| line.strip_prefix("content-location: ")).and_then(|place| place.rsplit('/').next());
    let real = place.ok_or_else(|| CliError::Failed(format!("no export was begun: {begun}")))?.to_owned();
    texts(scene, |n| {
        // Of the same form: the same letters, turned.
        let (head, tail) = real.split_at(1 + n % (real.len() - 1));
        let id = if bit(n) { real.clone() } else { format!("{tail}{head}") };
        let paths = ["", "/result", "/0.ndjson"].map(|more| format!("/fhir/$sql-export/{id}{more}"));
        let mut seen = paths.iter().map(|path| scene.seen(user, Method::GET, path, None, &id)).collect::<Result<String, _>>()?;
        seen += &scene.seen(user, Method::GET, &format!("/releases/{id}"), None, &id)?;
        Ok(seen + &scene.seen(user, Method::DELETE, &format!("/sql/queries/{id}"), None, &id)?)
    })
}

fn revoked_token(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    texts(scene, |n| {
        let user = format!("user {n} {defence:?}");
        let mut token = scene::token(&scene.local, &user, Role::Company)?;
        if !bit(n) {
            // Of the same form, and never issued.
            let last = if token.ends_with('A') { "B" } else { "A" };
            token.replace_range(token.len() - 1.., last);
        } else if defence == Defence::On {
            scene.local.tokens.revoke(&user).map_err(CliError::failed)?;
        }
        let client = scene.with(token)?;
        let asked = json!({"permit": SEES, "sql": "SELECT COUNT(*) AS n FROM patient"});
        let mut seen = scene::seen(&client, Method::GET, "/permits", None, &user)?;
        seen += &scene::seen(&client, Method::POST, "/sql", Some(&asked), &user)?;
        Ok(seen)
    })
}

fn as_of_before(scene: &Scene, defence: Defence) -> Result<Score, CliError> {
    let permit = if defence == Defence::On { LATER } else { SEES };
    texts(scene, |n| {
        let id = format!("h{n}");
        let sql = format!("SELECT code FROM condition WHERE resource_id = '{id}'");
        Ok(scene.asked(permit, &sql, None, &id)? + &scene.asked(permit, &sql, Some(scene.before), &id)?)
    })
}
