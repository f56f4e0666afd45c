//! From a question's permit to the world that it opens.

use super::Question;
use super::dictionary::Dictionary;
use super::keys::Keys;
use super::source::{Source, Sources, stored};
use super::world::{Lens, SqlView, World, whole};
use crate::access::Role;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{UInt32Type, UInt64Type};
use dugnad_kernel::database::Database;
use dugnad_kernel::disclosure::Pseudonyms;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::live::schema::ZONE;
use dugnad_kernel::live::{RowFilter, Snapshot};
use dugnad_kernel::permit::{CARE, Cadence, Permit, Population, StudyReference, TableGrant, Tables};
use dugnad_sql::QueryError;
use jiff::{Timestamp, ToSpan, Unit, Zoned, ZonedRound};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The permit of a question, if its user may use it now from where they are. Every reason why not looks the same.
pub(super) fn find(database: &Database, question: &Question, now: Timestamp) -> Result<Permit, QueryError> {
    let none = || QueryError::NoPermit(question.permit.chars().take(64).collect());
    let who = &question.who;
    let permit = if question.permit == CARE {
        match (&who.role, &who.holder) {
            (Role::Hospital, Some(holder)) => Permit::care(holder, &who.user),
            _ => return Err(none()),
        }
    } else {
        let document = database.document("permit", &question.permit).map_err(|e| internal(&e))?.ok_or_else(none)?;
        Permit::parse(&document.json).map_err(|e| {
            tracing::error!("permit {} cannot be used: {e}", question.permit);
            none()
        })?
    };
    let usable = permit.id() == question.permit && permit.usable_by(&who.user, now) && permit.reachable(who.inside_spe);
    if usable { Ok(permit) } else { Err(none()) }
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
    let first = at(permit.document().valid_from)?;
    if wanted > newest.commit() || wanted < first {
        return Err(QueryError::Commit(format!(
            "commit {wanted} is not among those that this permit can be asked about, {first} to {}",
            newest.commit()
        )));
    }
    there(database, wanted)
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

/// What exists under a permit at a snapshot.
pub(super) fn world(
    database: &Database,
    permit: &Permit,
    master: &[u8; 32],
    snapshot: Snapshot,
    views: Vec<SqlView>,
) -> Result<World, QueryError> {
    let now = snapshot.time();
    // Who sees logical ids sees Patients; who sees pseudonyms sees persons.
    let snapshot = if permit.identified() { snapshot.by_patient() } else { snapshot };
    let filter = filter(database, permit, &snapshot)?;
    let keys = if permit.identified() {
        Keys::Names(Arc::new(database.clone()))
    } else {
        Keys::Pseudonyms(Arc::new(Pseudonyms::of_permit(master, permit.id())))
    };
    Ok(World {
        grants: grants(permit, &snapshot, &views),
        views,
        sources: Arc::new(snapshot),
        lens: Lens { filter, keys, dictionary: Dictionary::default() },
        now,
    })
}

fn grants(permit: &Permit, snapshot: &Snapshot, views: &[SqlView]) -> BTreeMap<String, TableGrant> {
    match &permit.document().tables {
        Tables::List(grants) => grants.iter().map(|g| (g.table.clone(), g.clone())).collect(),
        Tables::All => {
            let tables = snapshot.tables().iter().map(|t| t.schema().name.clone());
            let views = views.iter().map(|view| view.name.to_string());
            tables.chain(views).map(|name| (name.clone(), whole(name))).collect()
        }
    }
}

/// Whose rows exist. (Which tables may have rows about nobody is decided per table, in [`Lens`].)
fn filter(database: &Database, permit: &Permit, snapshot: &Snapshot) -> Result<RowFilter, QueryError> {
    match permit.population() {
        Population::Everyone => Ok(RowFilter { patients: None, without_patient: true, holder: None }),
        Population::OwnPatients { holder } => {
            let holder = database.holder(holder).ok_or_else(|| QueryError::NoPermit(permit.id().to_owned()))?;
            Ok(RowFilter { patients: None, without_patient: true, holder: Some(holder.id) })
        }
        Population::StudySubjects { studies } => {
            let subjects = subjects(database, studies, snapshot)?;
            Ok(RowFilter { patients: Some(Arc::new(subjects)), without_patient: true, holder: None })
        }
    }
}

/// The subjects of studies: patients with a ResearchSubject of one of them.
fn subjects(database: &Database, studies: &[StudyReference], snapshot: &Snapshot) -> Result<RoaringBitmap, QueryError> {
    let mut ordinals = HashSet::new();
    for study in studies {
        let Some(holder) = database.holder(&study.holder) else { continue };
        let ordinal = database.resource_ordinal(holder.id, "ResearchStudy", &study.id).map_err(|e| internal(&e))?;
        ordinals.extend(ordinal.map(|o| o.0));
    }
    let Some(table) = Sources::table(snapshot, "research_subject") else { return Ok(RoaringBitmap::new()) };
    Ok(enrolled(table.as_ref(), &ordinals))
}

/// Statuses of a ResearchSubject that is not, or not yet, a subject (FHIR value set research-subject-status). Who is off
/// the study or has withdrawn stays in: what was collected until then stays as the protocol says.
const NOT_ENROLLED: [&str; 5] = ["candidate", "eligible", "ineligible", "potential-candidate", "screening"];

pub(super) fn enrolled(table: &dyn Source, studies: &HashSet<u64>) -> RoaringBitmap {
    let mut patients = RoaringBitmap::new();
    let columns: Option<Vec<usize>> = ["patient_key", "study_key", "status"].iter().map(|c| table.schema().index_of(c)).collect();
    let Some(columns) = columns else { return patients };
    let everyone = RowFilter { patients: None, without_patient: false, holder: None };
    for part in 0..table.parts() {
        let stored = stored(table, part, &columns, &everyone).unwrap_or_default();
        let [patient, study, status] = stored.as_slice() else { continue };
        let (Some(patient), Some(study)) = (patient.as_primitive_opt::<UInt32Type>(), study.as_primitive_opt::<UInt64Type>()) else {
            continue;
        };
        let status = super::statistics::texts(status);
        for (row, (patient, study)) in patient.iter().zip(study.iter()).enumerate() {
            let out = status.as_ref().and_then(|s| super::statistics::text(s, row)).is_some_and(|s| NOT_ENROLLED.contains(&s));
            if let (Some(patient), Some(study), false) = (patient, study, out)
                && studies.contains(&study)
            {
                patients.insert(patient);
            }
        }
    }
    patients
}
