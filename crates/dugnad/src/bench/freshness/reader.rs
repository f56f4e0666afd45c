//! The readers: they know what was acknowledged before they asked, and look whether the answer holds it.

use super::board::{Acknowledged, Board, Demand};
use super::{CODE_SYSTEM, Target};
use crate::bench::Latency;
use crate::cli::client::{self, Client};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use ureq::http::Method;

/// How long a reader waits for news before it asks again for what it knows.
const PATIENCE: Duration = Duration::from_millis(5);

/// How many wrong answers are described.
const TOLD: usize = 10;

/// The ways in which it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// `GET /fhir/Observation/[id]`: of the new one and, by turns, of the updated one.
    Read,
    /// `POST /sql` under a live permit.
    Sql,
    /// `GET /fhir/Observation/[id]/_history/1` of the new one and, by turns, `_history` of the updated one.
    History,
}

impl Interface {
    /// All of them, in the order of [`Seen`].
    pub const ALL: [Interface; 3] = [Interface::Read, Interface::Sql, Interface::History];

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Interface::Read => "read",
            Interface::Sql => "sql",
            Interface::History => "history",
        }
    }
}

/// What was seen on one interface.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers that were checked.
    pub answers: AtomicU64,
    /// Of those, answers that lacked something acknowledged before they were asked for.
    pub stale: AtomicU64,
    /// SQL only: answers that held a part of a transaction.
    pub torn: AtomicU64,
    /// No answer, or none that can be understood.
    pub failed: AtomicU64,
    /// From an acknowledgement's arrival to the end of the first answer that holds it.
    pub visible: Mutex<Latency>,
    /// What was wrong, the first few times.
    pub reasons: Mutex<Vec<String>>,
}

/// What an answer is.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fresh,
    Stale(String),
    Torn(String),
}

/// What the readers share.
pub struct Readers<'r> {
    pub target: &'r Target,
    pub board: &'r Board,
    pub seen: &'r [Seen; 3],
    pub stop: &'r AtomicBool,
}

impl Readers<'_> {
    /// Reads on all interfaces by turns until it is told to stop.
    pub fn read(&self) {
        let mut known = [0; 3];
        for turn in 0_u64.. {
            for ((interface, seen), known) in Interface::ALL.into_iter().zip(self.seen).zip(&mut known) {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                let Some((demand, count)) = self.board.demand(*known, PATIENCE) else { continue };
                let Some(newest) = demand.newest() else { continue };
                let verdict = match interface {
                    Interface::Read => self.check_read(newest, turn),
                    Interface::Sql => self.check_sql(&demand),
                    Interface::History => self.check_history(newest, turn),
                };
                seen.count(verdict, (count > *known).then(|| newest.at.elapsed()));
                *known = count;
            }
        }
    }

    fn get(&self, hospital: usize, path: &str) -> Result<(u16, Value, u64), String> {
        let headers = [("Accept", "application/fhir+json")];
        answer(self.target.writer(hospital), Method::GET, path, &headers, None)
    }

    fn check_read(&self, newest: &Acknowledged, turn: u64) -> Result<Verdict, String> {
        let marker = turn.is_multiple_of(2);
        let id = if marker { &newest.marker } else { &newest.slot };
        let (status, resource, commit) = self.get(newest.hospital, &format!("/fhir/Observation/{id}"))?;
        Ok(judge(status, &resource, id, commit, newest, marker))
    }

    fn check_history(&self, newest: &Acknowledged, turn: u64) -> Result<Verdict, String> {
        if turn.is_multiple_of(2) {
            let path = format!("/fhir/Observation/{}/_history/1", newest.marker);
            let (status, resource, commit) = self.get(newest.hospital, &path)?;
            return Ok(judge(status, &resource, &newest.marker, commit, newest, true));
        }
        let (status, bundle, commit) = self.get(newest.hospital, &format!("/fhir/Observation/{}/_history", newest.slot))?;
        Ok(judge(status, &bundle["entry"][0]["resource"], &newest.slot, commit, newest, false))
    }

    /// One question for the whole window: what of it is there, each new one once and each updated one at its newest.
    fn check_sql(&self, demand: &Demand) -> Result<Verdict, String> {
        let from = demand.recent.iter().map(|a| a.value).min().unwrap_or_default();
        let sql = format!("SELECT code, code_display, value FROM observation WHERE code_system = '{CODE_SYSTEM}' AND value >= {from}");
        let body = json!({"permit": self.target.permit(), "sql": sql, "format": "json"}).to_string();
        let headers = [("Content-Type", "application/json")];
        let (status, rows, commit) = answer(self.target.reader(), Method::POST, "/sql", &headers, Some(body.as_bytes()))?;
        if status != 200 {
            return Err(format!("POST /sql: {status}: {}", rows["detail"].as_str().unwrap_or_default()));
        }
        Ok(judge_rows(&rows, commit, demand))
    }
}

impl Seen {
    fn count(&self, verdict: Result<Verdict, String>, first_after: Option<Duration>) {
        let (counter, why) = match verdict {
            Ok(Verdict::Fresh) => {
                self.answers.fetch_add(1, Ordering::Relaxed);
                if let Some(after) = first_after {
                    self.visible.lock().unwrap_or_else(PoisonError::into_inner).record(after);
                }
                return;
            }
            Ok(Verdict::Stale(why)) => (&self.stale, why),
            Ok(Verdict::Torn(why)) => (&self.torn, why),
            Err(why) => (&self.failed, why),
        };
        if !std::ptr::eq(counter, &self.failed) {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        counter.fetch_add(1, Ordering::Relaxed);
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() < TOLD {
            reasons.push(why);
        }
    }
}

/// Status, body and commit of an answer. An answer that is no answer at all is an error.
fn answer(client: &Client, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<(u16, Value, u64), String> {
    let mut answer = client.send(method, path, headers, body).map_err(|e| e.to_string())?;
    let text = client::text(&mut answer);
    let status = answer.status().as_u16();
    if matches!(status, 429 | 500..) {
        return Err(format!("{path}: {status}: {}", client::explain(status, &text).remove(0).1));
    }
    let commit = answer.headers().get("Dugnad-Commit").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let json = serde_json::from_str(&text).map_err(|e| format!("{path}: {status}: the answer is not JSON: {e}"))?;
    Ok((status, json, commit.unwrap_or_default()))
}

/// Whether an answer shows what was acknowledged: `exactly`, or that or something newer.
fn judge(status: u16, resource: &Value, id: &str, commit: u64, newest: &Acknowledged, exactly: bool) -> Verdict {
    if status != 200 {
        return Verdict::Stale(format!("{id}, acknowledged with commit {}: {status}", newest.commit));
    }
    let value = resource["valueQuantity"]["value"].as_u64();
    let version = resource["meta"]["versionId"].as_str();
    let as_written = if exactly { value == Some(newest.value) && version == Some("1") } else { value >= Some(newest.value) };
    if resource["id"].as_str() == Some(id) && as_written && commit >= newest.commit {
        return Verdict::Fresh;
    }
    let what = format!(
        "{id}: value {value:?} in version {version:?} at commit {commit}; {} was acknowledged with {}",
        newest.value, newest.commit
    );
    Verdict::Stale(what)
}

/// Whether rows hold all that was acknowledged, and nothing by halves.
fn judge_rows(rows: &Value, commit: u64, demand: &Demand) -> Verdict {
    let (mut markers, mut slots, mut twice) = (HashMap::new(), HashMap::new(), false);
    for row in rows.as_array().into_iter().flatten() {
        let (code, slot, value) = (row["code"].as_str(), row["code_display"].as_str().unwrap_or_default(), row["value"].as_f64());
        let value = value.unwrap_or_default() as u64; // whole numbers below 2^53, as they were written
        twice |= match code {
            Some("marker") => markers.insert(value, slot).is_some(),
            _ => slots.insert(slot, value).is_some(),
        };
    }
    if twice {
        return Verdict::Torn(format!("SQL at commit {commit}: an Observation is there twice"));
    }
    if let Some(lacking) = demand.recent.iter().find(|a| !markers.contains_key(&a.value) || commit < a.commit) {
        return Verdict::Stale(format!("SQL at commit {commit} lacks {}, acknowledged with commit {}", lacking.marker, lacking.commit));
    }
    if let Some((slot, _)) = demand.slots().iter().find(|(slot, value)| slots.get(**slot).is_none_or(|found| found < value)) {
        return Verdict::Stale(format!("SQL at commit {commit}: {slot} is older than what was acknowledged"));
    }
    // What has come since is whole too: a new one is there with its update.
    let known: HashSet<u64> = demand.recent.iter().map(|a| a.value).collect();
    let half = markers.iter().find(|(value, slot)| !known.contains(*value) && slots.get(**slot).is_none_or(|found| found < *value));
    half.map_or(Verdict::Fresh, |(value, _)| Verdict::Torn(format!("SQL at commit {commit} holds half of the transaction {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn demand() -> Demand {
        let acknowledged = |value: u64| Acknowledged {
            value,
            marker: format!("marker-{value}").into(),
            slot: "slot-0-0-0".into(),
            hospital: 0,
            commit: value,
            at: Instant::now(),
        };
        Demand { recent: vec![acknowledged(7), acknowledged(8)] }
    }

    fn row(code: &str, value: u64) -> Value {
        json!({"code": code, "code_display": "slot-0-0-0", "value": value as f64})
    }

    #[test]
    fn rows_are_fresh_stale_or_torn() {
        let judge = |rows: &[Value], commit| judge_rows(&json!(rows), commit, &demand());
        let (seven, eight, slot) = (row("marker", 7), row("marker", 8), row("slot", 8));
        assert_eq!(judge(&[seven.clone(), eight.clone(), slot.clone()], 8), Verdict::Fresh);
        assert!(matches!(judge(&[seven.clone(), slot.clone()], 8), Verdict::Stale(_)), "a row lacks");
        assert!(matches!(judge(&[seven.clone(), eight.clone(), slot.clone()], 7), Verdict::Stale(_)), "the commit is too old");
        assert!(matches!(judge(&[seven.clone(), eight.clone(), row("slot", 7)], 8), Verdict::Stale(_)), "an update lacks");
        assert!(matches!(judge(&[seven.clone(), eight.clone(), slot.clone(), row("slot", 7)], 8), Verdict::Torn(_)), "two versions");
        assert!(matches!(judge(&[seven, eight, row("marker", 9), slot], 9), Verdict::Torn(_)), "half of what came since");
    }

    #[test]
    fn a_resource_is_what_was_acknowledged_or_newer() {
        let newest = demand().recent.remove(1);
        let resource = |value: u64, version: &str| json!({"id": "x", "meta": {"versionId": version}, "valueQuantity": {"value": value}});
        assert_eq!(judge(200, &resource(8, "1"), "x", 8, &newest, true), Verdict::Fresh);
        assert_eq!(judge(200, &resource(9, "5"), "x", 9, &newest, false), Verdict::Fresh);
        for (status, value, commit, exactly) in [(404, 8, 8, true), (200, 9, 8, true), (200, 7, 8, false), (200, 8, 7, true)] {
            assert!(matches!(judge(status, &resource(value, "1"), "x", commit, &newest, exactly), Verdict::Stale(_)));
        }
    }
}
