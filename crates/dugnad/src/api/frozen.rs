//! Populations that a decision freezes: the list that it makes, and the persons who are named beside an application.
//!
//! Names of persons are looked up when they are handed in, and forgotten: what is kept are ordinals. Whoever hands them in is not told
//! who of them is here, since that would tell who was treated; the centre is told how many.

use super::desk::Refused;
use super::{ApiError, App};
use crate::limits::MAX_NAMED_PERSONS;
use crate::query::PERSON_LIST;
use dugnad_kernel::permit::procedure::ProcedureError;
use dugnad_kernel::permit::{Permit, PersonList, PersonName, Population};
use dugnad_kernel::population::{self, CriteriaError, Formula};
use roaring::RoaringBitmap;

/// The kind of document that the persons named beside an application are, by the application's id.
pub const NAMED_PERSONS: &str = "named_persons";

/// How often it is looked again for a snapshot during which no Patient was first mentioned.
const TRIES: usize = 8;

/// The permit as its decision makes it, and the list that goes with it in the same commit, if there is a new one. `application` is
/// what it comes out of, if it does. Blocks.
pub fn freeze(app: &App, permit: Permit, application: Option<&str>) -> Result<(Permit, Option<String>), Refused> {
    if let Some(commit) = permit.population().list_commit() {
        // Recorded again, changed elsewhere or revoked: the list stays as it was decided.
        return match stored(app, PERSON_LIST, permit.id())?.filter(|list| list.commit() == commit) {
            Some(_) => Ok((permit, None)),
            None => {
                Err(ProcedureError::field("population", "there is no list of this commit; leave `commit` out, and it is made anew").into())
            }
        };
    }
    let list = match permit.population() {
        Population::Frozen { criteria, .. } => frozen(app, criteria)?,
        Population::Listed { .. } => {
            let named = application.map_or(Ok(None), |application| stored(app, NAMED_PERSONS, application))?;
            let none = || ProcedureError::field("population.listed", "persons are named beside an application; there is none here");
            named.ok_or_else(none)?
        }
        _ => return Ok((permit, None)),
    };
    let json = list.to_json()?;
    Ok((permit.frozen_at(list.commit()), Some(json)))
}

fn stored(app: &App, kind: &str, id: &str) -> Result<Option<PersonList>, ApiError> {
    let document = app.database().document(kind, id)?;
    let list = document.map(|document| PersonList::parse(&document.json)).transpose();
    list.map_err(|error| ApiError::internal(&format!("the list of persons of {id} cannot be used: {error}")))
}

/// Whoever meets the criteria now.
fn frozen(app: &App, criteria: &Formula) -> Result<PersonList, Refused> {
    let database = app.database();
    let mut highest = database.highest_patient().map_err(ApiError::from)?;
    let mut snapshot = database.snapshot();
    for _ in 0..TRIES {
        let now = database.highest_patient().map_err(ApiError::from)?;
        if now == highest {
            break;
        }
        (highest, snapshot) = (now, database.snapshot());
    }
    match population::frozen(&snapshot, criteria, highest) {
        Ok(patients) => Ok(PersonList::new(snapshot.commit(), patients)),
        Err(CriteriaError::Form(what)) => Err(ProcedureError::field("population.frozen.criteria", what).into()),
        Err(CriteriaError::Damaged(damaged)) => {
            database.report(&damaged);
            Err(ApiError::internal(&damaged.to_string()).into())
        }
    }
}

/// The list of whoever of `names` is known here. Blocks.
pub fn named(app: &App, names: &[PersonName]) -> Result<PersonList, Refused> {
    if names.is_empty() || names.len() > MAX_NAMED_PERSONS {
        return Err(ProcedureError::field("persons", format!("name at least one person, and at most {MAX_NAMED_PERSONS}")).into());
    }
    let database = app.database();
    let snapshot = database.snapshot();
    let mut patients = RoaringBitmap::new();
    for name in names {
        let found = match name {
            PersonName::Patient { holder, patient } => {
                let holder = database.holder(holder);
                holder.map_or(Ok(None), |holder| database.patient(holder.id, patient)).map(|patient| patient.into_iter().collect())
            }
            PersonName::Identifier { system, value } => database.patients_with(system, value),
        };
        patients.extend(found.map_err(ApiError::from)?.into_iter().map(|patient| patient.0));
    }
    Ok(PersonList::new(snapshot.commit(), snapshot.whole_persons(&patients)))
}

/// How many persons who are known here were named beside an application. Blocks.
pub fn known(app: &App, application: &str) -> Result<Option<u64>, ApiError> {
    let list = stored(app, NAMED_PERSONS, application)?;
    Ok(list.map(|list| list.persons(&app.database().snapshot(), &app.database().erased_patients()).len()))
}
