//! Attacks on statistics by way of the server: what SQL over released cells, headers, times and public pages tell of a cell that is
//! hidden. The secret of a trial is whether one person has a code that nobody else has.

use super::super::Folder;
use super::super::loopback::Loopback;
use super::game::{Score, Seen, by_number, by_text};
use super::scene::{bit, seen, token, write};
use super::{Attack, Defence};
use crate::access::Role;
use crate::cli::CliError;
use crate::cli::client::Client;
use crate::cli::local::Local;
use dugnad_kernel::clock::{Clock, ManualClock};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use ureq::http::Method;

/// Codes of trials in a group of the dimension; each group has a large code besides.
const OF_GROUP: usize = 10;
/// Persons with the large code of a group.
const LARGE: usize = 30;
const READER: &str = "reader";
const ROWS: &str = "rows";
const CELLS: &str = "cells";

/// A server with a dimension that has a code for each trial.
pub(super) struct Surface {
    local: Local,
    server: Loopback,
    reader: Client,
    stranger: Client,
    _folder: Folder,
    trials: usize,
}

/// All of them.
pub(super) const ATTACKS: [Attack<Surface>; 6] = [
    Attack { name: "statistics_having", said: "statistics: HAVING about a hidden cell", play: having },
    Attack { name: "statistics_order", said: "statistics: ORDER BY and LIMIT over a hidden cell", play: order },
    Attack { name: "statistics_case", said: "statistics: CASE about a hidden cell", play: case },
    Attack { name: "statistics_division", said: "statistics: division by a hidden cell", play: division },
    Attack { name: "statistics_time", said: "statistics: the time of a question about a hidden cell, best of 3", play: time },
    Attack { name: "statistics_public", said: "statistics: catalogue, metrics, headers of a hidden cell's page", play: public },
];

impl Surface {
    /// Makes it.
    pub(super) fn new(data: Option<&Path>, trials: usize) -> Result<Self, CliError> {
        let folder = Folder::of(data)?;
        let start: Timestamp = "2026-01-05T06:00:00Z".parse().map_err(CliError::failed)?;
        let clock = Arc::new(ManualClock::new(start));
        let local = Local::open_with(&folder.path, None, Arc::clone(&clock) as Arc<dyn Clock>, None)?;
        let holder = local.database.register_holder("Nord").map_err(CliError::failed)?.id;
        let mut resources = Vec::new();
        for group in 0..trials.div_ceil(OF_GROUP) {
            (0..LARGE).for_each(|n| resources.extend(patient(&format!("l{group}-{n}"), &format!("large{group}"))));
        }
        (0..trials).filter(|n| bit(*n)).for_each(|n| resources.extend(patient(&format!("t{n}"), &format!("code{n}"))));
        write(&local, holder, resources.into_iter())?;
        for (kind, id, document) in documents(trials, start) {
            local.database.put_document(kind, &id, &document.to_string()).map_err(CliError::failed)?;
        }
        clock.set(start + 72.hours());
        let server = Loopback::start(&local)?;
        let client = |user: &str| Client::new(server.url(), Some(token(&local, user, Role::Company)?));
        let (reader, stranger) = (client(READER)?, Client::new(server.url(), None)?);
        Ok(Self { local, server, reader, stranger, _folder: folder, trials })
    }

    /// Stops the server.
    pub(super) fn close(self) -> Result<(), CliError> {
        self.server.stop()?;
        self.local.audit.close();
        self.local.database.close();
        Ok(())
    }

    /// Puts a question about the cell of each trial: of statistics, or with the defence off the same of rows. `CODE` stands for the code
    /// in both.
    fn asked(&self, defence: Defence, statistics: &str, rows: &str) -> Result<Score, CliError> {
        let see = |n: usize| {
            let code = format!("code{n}");
            let (permit, sql) = if defence == Defence::On { (CELLS, statistics) } else { (ROWS, rows) };
            let body = json!({"permit": permit, "sql": sql.replace("CODE", &code), "format": "json"});
            Ok(Seen { what: seen(&self.reader, Method::POST, "/sql", Some(&body), &code)?, bit: bit(n) })
        };
        Ok(by_text(&(0..self.trials).map(see).collect::<Result<Vec<_>, CliError>>()?))
    }
}

fn having(surface: &Surface, defence: Defence) -> Result<Score, CliError> {
    surface.asked(
        defence,
        "SELECT trial_code, persons FROM statistics.trials WHERE trial_code = 'CODE' GROUP BY trial_code HAVING persons >= 1 OR persons * 2 > 0",
        "SELECT code, COUNT(DISTINCT patient_key) AS persons FROM condition WHERE code = 'CODE' GROUP BY code HAVING COUNT(*) >= 1",
    )
}

fn order(surface: &Surface, defence: Defence) -> Result<Score, CliError> {
    // Of two that are equal, the code of nobody comes first.
    surface.asked(
        defence,
        "SELECT trial_code FROM statistics.trials WHERE trial_code IN ('CODE', 'nobody') GROUP BY trial_code ORDER BY persons DESC, \
         CASE WHEN trial_code = 'nobody' THEN 0 ELSE 1 END LIMIT 1",
        "SELECT c.code FROM (SELECT 'nobody' AS code, 0 AS n UNION ALL SELECT 'CODE', COUNT(*) FROM condition WHERE code = 'CODE') c \
         ORDER BY c.n DESC, CASE WHEN c.code = 'nobody' THEN 0 ELSE 1 END LIMIT 1",
    )
}

fn case(surface: &Surface, defence: Defence) -> Result<Score, CliError> {
    surface.asked(
        defence,
        "SELECT CASE WHEN persons IS NULL THEN 'a' WHEN persons = 0 THEN 'b' ELSE 'c' END AS a, count FROM statistics.trials \
         WHERE trial_code = 'CODE' GROUP BY trial_code",
        "SELECT CASE WHEN COUNT(*) = 0 THEN 'b' ELSE 'c' END AS a FROM condition WHERE code = 'CODE'",
    )
}

fn division(surface: &Surface, defence: Defence) -> Result<Score, CliError> {
    surface.asked(
        defence,
        "SELECT 1 / (persons - 1) AS a, 1 / persons AS b FROM statistics.trials WHERE trial_code = 'CODE' GROUP BY trial_code",
        "SELECT 1 / COUNT(*) AS a FROM condition WHERE code = 'CODE'",
    )
}

fn time(surface: &Surface, defence: Defence) -> Result<Score, CliError> {
    let see = |n: usize| {
        let (permit, sql) = match defence {
            Defence::On => (CELLS, format!("SELECT persons FROM statistics.trials WHERE trial_code = 'code{n}'")),
            Defence::Off => (ROWS, format!("SELECT COUNT(*) AS n FROM condition WHERE code = 'code{n}'")),
        };
        let body = json!({"permit": permit, "sql": sql, "format": "json"});
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            seen(&surface.reader, Method::POST, "/sql", Some(&body), "-")?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(Seen { what: best, bit: bit(n) })
    };
    Ok(by_number(&(0..surface.trials).map(see).collect::<Result<Vec<_>, CliError>>()?))
}

fn public(surface: &Surface, defence: Defence) -> Result<Score, CliError> {
    let see = |n: usize| {
        let code = format!("code{n}");
        if defence == Defence::Off {
            let body =
                json!({"permit": ROWS, "sql": format!("SELECT COUNT(*) AS n FROM condition WHERE code = '{code}'"), "format": "json"});
            return Ok(Seen { what: seen(&surface.reader, Method::POST, "/sql", Some(&body), &code)?, bit: bit(n) });
        }
        let mut told = String::new();
        for path in ["/statistics", "/metrics", "/dimensions/trial", "/healthz"] {
            let _ = writeln!(told, "{}", seen(&surface.stranger, Method::GET, path, None, &code)?.len());
        }
        let path = format!("/statistics/trials?permit={CELLS}&by=trial_code&trial_code={code}&measure=persons,count");
        told.push_str(&seen(&surface.reader, Method::GET, &path, None, &code)?);
        Ok(Seen { what: told, bit: bit(n) })
    };
    Ok(by_text(&(0..surface.trials).map(see).collect::<Result<Vec<_>, CliError>>()?))
}

/// A Patient with a Condition of a code.
fn patient(id: &str, code: &str) -> [Value; 2] {
    let subject = json!({"reference": format!("Patient/{id}")});
    [
        json!({"resourceType": "Patient", "id": id}),
        json!({"resourceType": "Condition", "id": id, "subject": subject, "code": {"coding": [{"code": code}]}}),
    ]
}

/// The dimension, the statistic over it, and two permits: of cells, and of rows.
fn documents(trials: usize, start: Timestamp) -> Vec<(&'static str, String, Value)> {
    let mut codes = Vec::new();
    for group in 0..trials.div_ceil(OF_GROUP) {
        codes.push(json!({"level": "trial_group", "code": format!("group{group}"), "label": "A group"}));
        let in_group = (group * OF_GROUP..((group + 1) * OF_GROUP).min(trials)).map(|n| format!("code{n}"));
        for code in std::iter::once(format!("large{group}")).chain(in_group) {
            codes.push(json!({"level": "trial_code", "code": code, "parent": format!("group{group}"), "label": "A code"}));
        }
    }
    codes.push(json!({"level": "trial_code", "code": "nobody", "parent": "group0", "label": "A code of nobody"}));
    let levels = json!([{"name": "trial_group", "title": "Group"}, {"name": "trial_code", "title": "Code"}]);
    let dimension = json!({"name": "trial", "title": "Trials", "source": "made up for the attacks", "levels": levels, "codes": codes});
    let statistic = json!({
        "name": "trials", "title": "Trials", "table": "condition", "sql": "SELECT patient_key AS person, code FROM condition",
        "dimensions": [{"dimension": "trial", "column": "code", "needs": "condition.code"}],
    });
    let permit = |id: &str, basis: &str| {
        json!({
            "id": id, "basis": basis, "applicant": "an attacker", "users": [READER], "purpose": "Attacks",
            "tables": [{"table": "condition", "columns": "all"}], "population": "everyone",
            "provision": if basis == "ehds_request" { Value::Null } else { json!({"law": "made up for the attacks", "retention": "P1D"}) },
            "cadence": if basis == "ehds_request" { "daily" } else { "live" }, "cadence_reason": "Attacks",
            "delivery": if basis == "ehds_request" { "remote" } else { "enclave" }, "valid_from": start, "valid_until": start + 4_800.hours(),
            "decision": {"by": "centre", "at": start, "reasons": "Made for the attacks."}, "status": "active",
        })
    };
    vec![
        ("dimension", "trial".to_owned(), dimension),
        ("statistic", "trials".to_owned(), statistic),
        ("permit", CELLS.to_owned(), permit(CELLS, "ehds_request")),
        ("permit", ROWS.to_owned(), permit(ROWS, "statutory_register")),
    ]
}
