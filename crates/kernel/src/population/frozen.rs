//! A population as it is at one commit, for a list that a decision makes of it.

use super::{CriteriaError, Formula};
use crate::ids::PatientOrdinal;
use crate::live::Snapshot;
use roaring::RoaringBitmap;
use std::collections::HashMap;

/// The Patients of the persons who meet `criteria` at a snapshot. Where that is all but some, it is those up to `highest`, the newest
/// Patient that the list may have: a list does not grow.
pub fn frozen(snapshot: &Snapshot, criteria: &Formula, highest: PatientOrdinal) -> Result<RoaringBitmap, CriteriaError> {
    let members = criteria.members(snapshot, &mut HashMap::new())?;
    let patients = snapshot.whole_persons(&members.persons);
    if !members.others {
        return Ok(patients);
    }
    let mut all = RoaringBitmap::new();
    all.insert_range(0..=highest.0);
    Ok(all - patients)
}
