//! From a question's permit to the world that it opens.

use super::Question;
use super::code_group::CODE_GROUP;
use super::keys::Keys;
use super::policy::{Decided, Granted, Policy};
use super::seat::Ground;
use super::source::Tables;
use super::world::{Lens, SqlView, World, whole};
use crate::access::{Principal, Role};
use dugnad_kernel::database::Database;
use dugnad_kernel::disclosure::Pseudonyms;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::live::Snapshot;
use dugnad_kernel::live::schema::ZONE;
use dugnad_kernel::permit::{self, CARE, Cadence, Permit, TableGrant};
use dugnad_sql::QueryError;
use dugnad_sql::limits::QUESTION_MEMORY;
use jiff::{Timestamp, ToSpan, Unit, Zoned, ZonedRound};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The permit of this id, if `who` may use it now from where they are. Every reason why not looks the same.
pub(super) fn find(database: &Database, who: &Principal, id: &str, now: Timestamp) -> Result<Granted, QueryError> {
    let none = || QueryError::NoPermit(id.chars().take(64).collect());
    let seen = database.snapshot().commit();
    let granted = if id == CARE {
        match (&who.role, &who.holder) {
            (Role::Hospital, Some(holder)) => Granted { permit: Permit::care(holder, &who.user), at: Commit(0), seen },
            _ => return Err(none()),
        }
    } else {
        let document = database.document("permit", id).map_err(|e| internal(&e))?.ok_or_else(none)?;
        let permit = Permit::parse(&document.json).map_err(|e| {
            tracing::error!("permit {} cannot be used: {e}", id);
            none()
        })?;
        Granted { permit, at: document.commit, seen }
    };
    let permit = &granted.permit;
    let usable = permit.id() == id && permit.usable_by(&who.user, now) && permit.reachable(who.inside_spe);
    if usable { Ok(granted) } else { Err(none()) }
}

fn internal(error: &impl std::fmt::Display) -> QueryError {
    QueryError::Internal(error.to_string())
}

/// The snapshot that a question is answered on: what the permit's cadence gives, or `as_of` if that is not newer and not
/// before the permit's start.
pub(super) fn snapshot(database: &Database, permit: &Permit, question: &Question, now: Timestamp) -> Result<Snapshot, QueryError> {
    let at = |time: Timestamp| database.commit_at(time).map_err(|e| internal(&e));
    let newest = match period_start(permit.cadence(), permit.document().decision.at, now) {
        None => database.snapshot(),
        Some(start) => there(database, at(start)?)?,
    };
    if let Some(least) = question.min_commit.filter(|least| *least > newest.commit()) {
        return Err(QueryError::Commit(format!(
            "commit {least} is not in the newest answer of this permit, which is of commit {}",
            newest.commit()
        )));
    }
    let Some(wanted) = question.as_of.filter(|wanted| *wanted != newest.commit()) else { return Ok(newest) };
    within(database, permit, wanted, newest.commit())?;
    there(database, wanted)
}

/// The time of a commit that a permit of statistics is asked about.
pub(super) fn time_of(database: &Database, permit: &Permit, wanted: Commit) -> Result<Timestamp, QueryError> {
    within(database, permit, wanted, database.snapshot().commit())?;
    Ok(there(database, wanted)?.time())
}

/// Checks that a commit is not before the permit's start, and not after the newest that it shows.
fn within(database: &Database, permit: &Permit, wanted: Commit, newest: Commit) -> Result<(), QueryError> {
    let first = database.commit_at(permit.document().valid_from).map_err(|e| internal(&e))?;
    if (first..=newest).contains(&wanted) {
        return Ok(());
    }
    Err(QueryError::Commit(format!("commit {wanted} is not among those that this permit can be asked about, {first} to {newest}")))
}

fn there(database: &Database, commit: Commit) -> Result<Snapshot, QueryError> {
    let snapshot = database.snapshot_at(commit).map_err(|e| QueryError::Internal(e.to_string()))?;
    snapshot.ok_or_else(|| QueryError::Commit(format!("commit {commit} is not there yet")))
}

/// When the period began whose data a cadence shows; `None` for live. Days are those of Europe/Oslo, weeks begin on
/// Monday.
fn period_start(cadence: Cadence, decided: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let day = |zoned: Zoned| zoned.round(ZonedRound::new().smallest(Unit::Day).mode(jiff::RoundMode::Trunc)).ok();
    let today = now.in_tz(ZONE).ok().and_then(day);
    let start = match cadence {
        Cadence::Live => return None,
        Cadence::Frozen => return Some(decided),
        Cadence::Daily => today,
        Cadence::Weekly => today.and_then(|t| {
            let back = i64::from(t.weekday().to_monday_zero_offset());
            t.checked_sub(back.days()).ok()
        }),
        Cadence::Monthly => today.and_then(|t| t.first_of_month().ok()),
    };
    // A calendar that cannot be computed shows the least: what was there at the decision.
    Some(start.map_or(decided, |zoned| zoned.timestamp()))
}

/// Whose rows a permit shows of a snapshot, and what a blinded reader lacks.
pub(super) fn decide(database: &Database, policy: &Policy, granted: &Granted, snapshot: Snapshot) -> Result<Decided, QueryError> {
    // Who sees logical ids sees Patients; who sees pseudonyms sees persons.
    let snapshot = if granted.permit.identified() { snapshot.by_patient() } else { snapshot };
    policy.decide(database, granted, snapshot)
}

impl Decided {
    /// The rows.
    pub fn ground(&self, database: &Database) -> Ground {
        Ground::new(Arc::new(Tables::of(self.snapshot.clone(), database)), self.filter.clone())
    }
}

/// What exists under a permit.
pub(super) fn world(database: &Database, permit: &Permit, decided: Decided, master: &[u8; 32], views: Vec<SqlView>) -> World {
    let keys = if permit.identified() {
        Keys::Names(Arc::new(database.clone()))
    } else {
        Keys::Pseudonyms(Arc::new(Pseudonyms::of_permit(master, permit.id())))
    };
    let limits = permit.document().limits.unwrap_or_default();
    let memory = limits.memory_mib.map_or(QUESTION_MEMORY, |mib| (mib as usize) << 20).min(QUESTION_MEMORY);
    World {
        grants: grants(permit, &decided.snapshot, &views),
        views,
        ground: decided.ground(database),
        now: decided.snapshot.time(),
        lens: Lens::new(keys, decided.blind),
        memory,
    }
}

fn grants(of: &Permit, snapshot: &Snapshot, views: &[SqlView]) -> BTreeMap<String, TableGrant> {
    match &of.document().tables {
        permit::Tables::List(grants) => grants.iter().map(|g| (g.table.clone(), g.clone())).collect(),
        permit::Tables::All => {
            let tables = snapshot.tables().iter().map(|t| t.schema().name.clone());
            let views = views.iter().map(|view| view.name.to_string());
            tables.chain(views).chain([CODE_GROUP.to_owned()]).map(|name| (name.clone(), whole(name))).collect()
        }
    }
}
