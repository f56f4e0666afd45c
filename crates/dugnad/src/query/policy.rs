//! Who and what is out under a permit: opt-outs, protected persons, withheld records, withdrawn consent, blinding.
//!
//! Opt-outs, protection and unblinding are those of the newest commit, whatever commit is asked about; populations and consents
//! are those of that commit. All of it ends in a [`RowFilter`], but for the columns that a blinded reader lacks.

use super::world::Blind;
use crate::limits::MAX_COUNTERS;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::nullif;
use datafusion::arrow::datatypes::UInt32Type;
use dugnad_kernel::database::Database;
use dugnad_kernel::ids::{Commit, PatientOrdinal};
use dugnad_kernel::live::{Damaged, Hidden, RowFilter, Snapshot};
use dugnad_kernel::permit::{BlindedRows, Blinding, OptOut, Permit, PersonList, Population, StudyReference};
use dugnad_kernel::population::{self, Counter, CriteriaError, Enrolment, Formula};
use dugnad_sql::QueryError;
use jiff::Timestamp;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Which permits a person's opt-out covers (Regulation (EU) 2025/327, Art. 71).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptOutCover {
    /// Those granted after it, as the regulation says.
    #[default]
    LaterPermits,
    /// All, where national law goes further.
    AllPermits,
}

/// The kind of document that the persons of a frozen population are, by the permit's id.
pub const PERSON_LIST: &str = "person_list";

/// The kind of document that an unblinding is.
pub const UNBLINDING: &str = "unblinding";

/// An unblinding: a subject's, or that of the whole study.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Unblinding {
    /// Under which permit.
    pub permit: String,
    /// The Patient; the whole study if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Who asked for it.
    pub requested_by: String,
    /// Who did it: somebody else.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// A Patient of a holder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The holder's name.
    pub holder: String,
    /// The logical id of its Patient.
    pub patient: String,
}

/// A permit that somebody may use, and since when it is what it is.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub permit: Permit,
    /// The commit of the decision that it is: of its newest version.
    pub at: Commit,
    /// The newest commit when it was looked up.
    pub seen: Commit,
}

/// Whom and what a permit does not show, besides what it does not name.
pub(super) struct Decided {
    pub filter: RowFilter,
    /// The snapshot, going back as far as the filter asks.
    pub snapshot: Snapshot,
    pub blind: Blind,
}

/// What decides besides the permits: the operator's choice, and the counters of live populations.
#[derive(Default)]
pub(super) struct Policy {
    all_permits: AtomicBool,
    counters: Mutex<HashMap<String, Counter>>,
}

impl Policy {
    pub fn cover(&self, cover: OptOutCover) {
        self.all_permits.store(cover == OptOutCover::AllPermits, Ordering::Relaxed);
    }

    /// What a permit shows of a snapshot.
    pub fn decide(&self, database: &Database, granted: &Granted, snapshot: Snapshot) -> Result<Decided, QueryError> {
        let mut filter = RowFilter::everything();
        let mut snapshot = snapshot;
        match granted.permit.population() {
            Population::Everyone => {}
            Population::OwnPatients { holder } => {
                let holder = database.holder(holder).ok_or_else(|| QueryError::NoPermit(granted.permit.id().to_owned()))?;
                filter.holder = Some(holder.id);
            }
            Population::StudySubjects { studies, consent_versions } => {
                let wanted = Enrolment { studies: ordinals(database, studies)?, versions: consent_versions.clone() };
                let subjects = population::subjects(&snapshot, &wanted).map_err(|d| damaged(database, &d))?;
                if let Some(oldest) = subjects.until.values().min() {
                    snapshot = snapshot.back_to(*oldest);
                }
                filter.patients = Some(Arc::new(subjects.persons));
                filter.until = Some(Arc::new(subjects.until)).filter(|until| !until.is_empty());
            }
            Population::Criteria(formula) => {
                let members = self.members(database, formula, &snapshot)?;
                let persons = Some(Arc::new(members.persons));
                if members.others { filter.others_than = persons } else { filter.patients = persons }
            }
            Population::Frozen { commit, .. } | Population::Listed { commit } => {
                let list = person_list(database, granted.permit.id(), *commit)?;
                filter.patients = Some(Arc::new(list.persons(&snapshot, &database.erased_patients())));
            }
        }
        filter.unmarked = !granted.permit.identified();
        filter.without = Some(Arc::new(self.without(database, granted)?)).filter(|out| !out.is_empty());
        let blind = self.blind(database, &granted.permit, &snapshot, &mut filter)?;
        Ok(Decided { filter, snapshot, blind })
    }

    /// The Patients who are out under a permit now: who has opted out, and, where rows are not identified, who is protected.
    pub fn without(&self, database: &Database, granted: &Granted) -> Result<RoaringBitmap, QueryError> {
        let newest = database.snapshot();
        let failed = |d: Damaged| damaged(database, &d);
        let permit = &granted.permit;
        let mut out = RoaringBitmap::new();
        let (covers, later_only) = match permit.basis().rules().opt_out {
            OptOut::Article71 => (true, !self.all_permits.load(Ordering::Relaxed)),
            OptOut::AsTheLawSays => (permit.document().provision.as_ref().is_some_and(|provision| provision.opt_out), false),
            OptOut::StudyConsent | OptOut::None => (false, false),
        };
        if covers {
            out = population::opted_out(&newest).map_err(failed)?;
            if later_only && !out.is_empty() {
                // Who was out when it was granted, and is out now; persons as they are known now.
                out &= population::opted_out(&newest.as_of(granted.at, newest.time())).map_err(failed)?;
            }
        }
        if !permit.identified() {
            out |= population::protected(&newest).map_err(failed)?;
        }
        Ok(out)
    }

    fn members(&self, database: &Database, formula: &Formula, snapshot: &Snapshot) -> Result<population::Members, QueryError> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() > MAX_COUNTERS {
            counters.clear();
        }
        formula.members(snapshot, &mut counters).map_err(|error| match error {
            CriteriaError::Form(what) => QueryError::Refused(format!("{what}; ask the centre to mend the permit")),
            CriteriaError::Damaged(error) => damaged(database, &error),
        })
    }

    /// The columns that a blinded reader lacks; the rows go into the filter.
    fn blind(&self, database: &Database, permit: &Permit, snapshot: &Snapshot, filter: &mut RowFilter) -> Result<Blind, QueryError> {
        let Some(Blinding::Blinded { columns, rows }) = &permit.document().blinding else { return Ok(Blind::default()) };
        let mut seen = RoaringBitmap::new();
        for act in unblindings(database, permit.id())? {
            let Some(subject) = act.subject else { return Ok(Blind::default()) };
            let holder = database.holder(&subject.holder);
            let ordinal = holder.map_or(Ok(None), |holder| database.patient(holder.id, &subject.patient));
            if let Some(PatientOrdinal(patient)) = ordinal.map_err(|e| QueryError::Internal(e.to_string()))? {
                seen.insert(snapshot.person_of(patient));
            }
        }
        let seen = Arc::new(seen);
        let hidden = |rows: &BlindedRows| Hidden {
            table: rows.table.clone(),
            column: rows.column.clone(),
            texts: rows.codes.iter().cloned().collect(),
            except: Arc::clone(&seen),
        };
        filter.hidden = rows.iter().map(hidden).collect();
        let columns = columns.iter().flat_map(|of| of.columns.iter().map(|column| (of.table.clone(), column.clone())));
        Ok(Blind { columns: columns.collect::<BTreeSet<_>>(), seen, behind_views: false })
    }
}

/// The unblindings under a permit, oldest first.
pub fn unblindings(database: &Database, permit: &str) -> Result<Vec<Unblinding>, QueryError> {
    let documents = database.documents(UNBLINDING).map_err(|e| QueryError::Internal(e.to_string()))?;
    let read = |json: &str| serde_json::from_str::<Unblinding>(json).map_err(|e| QueryError::Internal(format!("an unblinding: {e}")));
    let mut acts = documents.iter().map(|d| read(&d.json)).collect::<Result<Vec<_>, _>>()?;
    acts.retain(|act| act.permit == permit);
    acts.sort_by_key(|act| act.at);
    Ok(acts)
}

/// The list that the decision on a permit made, at the commit that the permit names.
fn person_list(database: &Database, permit: &str, commit: Option<Commit>) -> Result<PersonList, QueryError> {
    let document = database.document(PERSON_LIST, permit).map_err(|e| QueryError::Internal(e.to_string()))?;
    let list = document.map(|document| PersonList::parse(&document.json)).transpose();
    let list = list.map_err(|e| QueryError::Internal(e.to_string()))?.filter(|list| Some(list.commit()) == commit);
    list.ok_or_else(|| QueryError::Internal(format!("the list of persons of the permit {permit} is not there")))
}

fn ordinals(database: &Database, studies: &[StudyReference]) -> Result<std::collections::HashSet<u64>, QueryError> {
    let mut ordinals = std::collections::HashSet::new();
    for study in studies {
        let Some(holder) = database.holder(&study.holder) else { continue };
        let ordinal = database.resource_ordinal(holder.id, "ResearchStudy", &study.id);
        ordinals.extend(ordinal.map_err(|e| QueryError::Internal(e.to_string()))?.map(|o| o.0));
    }
    Ok(ordinals)
}

/// Who is in a permit cannot be told while a table is damaged, so that nothing is answered.
pub(super) fn damaged(database: &Database, error: &Damaged) -> QueryError {
    tracing::error!(damaged = %error, "a question was not answered");
    database.report(error);
    QueryError::Internal("a stored part of a table is damaged; it is being built anew".to_owned())
}

/// A column of which only rows of some persons show a value.
pub(super) fn shown_of(
    column: &ArrayRef,
    persons: Option<&ArrayRef>,
    seen: &RoaringBitmap,
) -> Result<ArrayRef, datafusion::error::DataFusionError> {
    let persons = persons.and_then(|p| p.as_primitive_opt::<UInt32Type>());
    let is_blind = |row: usize| !persons.is_some_and(|p| p.is_valid(row) && seen.contains(p.value(row)));
    let blind: BooleanArray = (0..column.len()).map(|row| Some(is_blind(row))).collect();
    Ok(nullif(column, &blind)?)
}
