//! The subjects of studies: who consented to what, and until when.
//!
//! A subject is the patient of a ResearchSubject of the study. Where a version of consent is asked for, its Consent must stand with
//! that version. Who withdraws ends the collection with that commit: what stood then stays as it was then, and nothing that begins
//! later is there. It is another thing than an opt-out, and concerns this study alone.

use crate::ids::Commit;
use crate::live::{Damaged, Life, Part, Snapshot, TableSnapshot};
use crate::views::builtin::STUDY_CONSENT;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{UInt32Type, UInt64Type};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Statuses of a ResearchSubject that is not, or not yet, a subject (FHIR value set research-subject-status). Who is off the study
/// stays in, and so does who has withdrawn, as they stood then.
const NOT_ENROLLED: [&str; 5] = ["candidate", "eligible", "ineligible", "potential-candidate", "screening"];

/// The status of who has withdrawn.
const WITHDRAWN: &str = "withdrawn";

/// The status of a Consent that stands.
const STANDING: &str = "active";

/// Which subjects are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enrolment {
    /// The ordinals of the ResearchStudies.
    pub studies: HashSet<u64>,
    /// The versions of consent that allow it; `None`: whatever was consented to.
    pub versions: Option<BTreeSet<String>>,
}

/// The subjects of studies at a commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subjects {
    /// The persons.
    pub persons: RoaringBitmap,
    /// Those of them whose data were collected until a commit only.
    pub until: HashMap<u32, Commit>,
}

/// A version of a ResearchSubject.
struct Enrolled {
    life: Life,
    person: Option<u32>,
    study: Option<u64>,
    consent: Option<u64>,
    status: Option<String>,
}

/// A version of a Consent.
struct Consented {
    life: Life,
    standing: bool,
    version: Option<String>,
}

/// The subjects of an enrolment at a snapshot. Persons are those of the snapshot.
pub fn subjects(snapshot: &Snapshot, wanted: &Enrolment) -> Result<Subjects, Damaged> {
    let mut subjects = Subjects::default();
    let Some(table) = snapshot.table("research_subject") else { return Ok(subjects) };
    let current: Vec<(Vec<Enrolled>, u64, u32)> = enrolled(table)?.into_values().filter_map(|versions| present(versions, wanted)).collect();
    let consents: HashSet<u64> = current.iter().filter_map(|(versions, ..)| versions.last()?.consent).collect();
    let consents = if consents.is_empty() { HashMap::new() } else { consented(snapshot, &consents)? };
    let mut open = RoaringBitmap::new();
    for (versions, _, person) in &current {
        let consent = versions.last().and_then(|v| v.consent);
        let Some(consent) = consent_until(consent.map(|c| consents.get(&c).map_or(&[][..], Vec::as_slice)), wanted) else { continue };
        subjects.persons.insert(*person);
        match [withdrawn(versions), consent].into_iter().flatten().min() {
            None => drop(open.insert(*person)),
            Some(commit) => {
                let until = subjects.until.entry(*person).or_insert(commit);
                *until = commit.max(*until);
            }
        }
    }
    // Who takes part in one of the studies is collected from.
    subjects.until.retain(|person, _| !open.contains(*person));
    Ok(subjects)
}

/// A ResearchSubject that is one of the studies' now: its versions, the study and the person.
fn present(versions: Vec<Enrolled>, wanted: &Enrolment) -> Option<(Vec<Enrolled>, u64, u32)> {
    let last = versions.last().filter(|v| v.life.end.is_none())?;
    let study = last.study.filter(|study| wanted.studies.contains(study))?;
    let out = last.status.as_deref().is_some_and(|status| NOT_ENROLLED.contains(&status));
    let person = last.person.filter(|_| !out)?;
    Some((versions, study, person))
}

/// The commit that a ResearchSubject has been withdrawn since.
fn withdrawn(versions: &[Enrolled]) -> Option<Commit> {
    let is = |v: &&Enrolled| v.status.as_deref() == Some(WITHDRAWN);
    versions.iter().rev().take_while(is).last().map(|v| v.life.begin)
}

/// Until when a consent allows the collection: `Some(None)` if it does now, `None` if it never did. `versions` of the Consent that
/// is referred to, if one is.
fn consent_until(versions: Option<&[Consented]>, wanted: &Enrolment) -> Option<Option<Commit>> {
    let allows = |v: &&Consented| {
        let named = |versions: &BTreeSet<String>| v.version.as_ref().is_some_and(|version| versions.contains(version));
        v.standing && wanted.versions.as_ref().is_none_or(named)
    };
    match versions {
        // Whoever keeps consents elsewhere refers to none, or to one that is not here: enough where no version is asked for.
        None | Some([]) => wanted.versions.is_none().then_some(None),
        Some(versions) => versions.iter().rfind(allows).map(|v| v.life.end),
    }
}

/// The versions of every ResearchSubject, in order.
fn enrolled(table: &TableSnapshot) -> Result<BTreeMap<u64, Vec<Enrolled>>, Damaged> {
    let mut found: BTreeMap<u64, Vec<Enrolled>> = BTreeMap::new();
    for part in table.past_parts() {
        let person = column(&part, table, "patient_key")?;
        let (study, consent) = (column(&part, table, "study_key")?, column(&part, table, "consent_key")?);
        let status = column(&part, table, "status")?;
        for life in part.lives()? {
            let version = Enrolled {
                person: patient(&person, life.row),
                study: resource(&study, life.row),
                consent: resource(&consent, life.row),
                status: code(&status, life.row).map(str::to_owned),
                life,
            };
            found.entry(life.resource.0).or_default().push(version);
        }
    }
    found.values_mut().for_each(|versions| versions.sort_by_key(|v| v.life.begin));
    Ok(found)
}

/// The versions of some Consents, in order.
fn consented(snapshot: &Snapshot, wanted: &HashSet<u64>) -> Result<HashMap<u64, Vec<Consented>>, Damaged> {
    let missing = || Damaged { file: STUDY_CONSENT.to_owned(), what: "the table is not there".to_owned() };
    let table = snapshot.table(STUDY_CONSENT).ok_or_else(missing)?;
    let mut found: HashMap<u64, Vec<Consented>> = HashMap::new();
    for part in table.past_parts() {
        let (status, version) = (column(&part, table, "status")?, column(&part, table, "version")?);
        for life in part.lives()?.into_iter().filter(|life| wanted.contains(&life.resource.0)) {
            let standing = code(&status, life.row) == Some(STANDING);
            let version = code(&version, life.row).map(str::to_owned);
            found.entry(life.resource.0).or_default().push(Consented { life, standing, version });
        }
    }
    found.values_mut().for_each(|versions| versions.sort_by_key(|v| v.life.begin));
    Ok(found)
}

fn column(part: &Part, table: &TableSnapshot, name: &str) -> Result<ArrayRef, Damaged> {
    let missing = || Damaged { file: table.schema().name.clone(), what: format!("it has no column {name}") };
    part.column(table.schema().index_of(name).ok_or_else(missing)?)
}

fn patient(column: &ArrayRef, row: usize) -> Option<u32> {
    column.as_primitive_opt::<UInt32Type>().filter(|c| c.is_valid(row)).map(|c| c.value(row))
}

fn resource(column: &ArrayRef, row: usize) -> Option<u64> {
    column.as_primitive_opt::<UInt64Type>().filter(|c| c.is_valid(row)).map(|c| c.value(row))
}

fn code(column: &ArrayRef, row: usize) -> Option<&str> {
    let codes = column.as_dictionary_opt::<UInt32Type>().filter(|c| c.is_valid(row))?;
    codes.values().as_string_opt::<i32>().map(|texts| texts.value(codes.keys().value(row) as usize))
}
