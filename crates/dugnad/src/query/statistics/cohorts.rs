//! Registered cohorts: who is in one at an epoch.

use dugnad_kernel::database::Database;
use dugnad_kernel::disclosure::{Cohort, check_distances};
use dugnad_kernel::live::Snapshot;
use dugnad_kernel::population::Formula;
use dugnad_sql::QueryError;
use jiff::Timestamp;
use roaring::RoaringBitmap;
use std::collections::HashMap;

/// The kind of document that a cohort is.
pub const COHORT: &str = "cohort";

/// All cohorts that have been proposed, decided on or not.
pub(in crate::query) fn all(database: &Database) -> Result<Vec<Cohort>, QueryError> {
    let documents = database.documents(COHORT).map_err(|e| QueryError::Internal(e.to_string()))?;
    documents.iter().map(|d| Cohort::parse(d.json.as_str()).map_err(|e| QueryError::Internal(e.to_string()))).collect()
}

/// The persons of a cohort, and those of the cohorts that were registered before it.
pub(in crate::query) struct Members {
    pub persons: RoaringBitmap,
    pub before: Vec<RoaringBitmap>,
}

/// The persons of a snapshot that an expression holds for.
pub(in crate::query) fn members(expression: &Formula, snapshot: &Snapshot, everyone: &RoaringBitmap) -> Result<RoaringBitmap, QueryError> {
    let found = expression.members(snapshot, &mut HashMap::new()).map_err(|e| QueryError::Refused(e.to_string()))?;
    Ok(if found.others { everyone - &found.persons } else { everyone & &found.persons })
}

/// Checks that an expression can stand beside the cohorts that are registered, at a snapshot.
pub(in crate::query) fn check(
    id: &str,
    expression: &Formula,
    registered: &[Cohort],
    snapshot: &Snapshot,
    everyone: &RoaringBitmap,
    difference: u32,
) -> Result<RoaringBitmap, QueryError> {
    let own = members(expression, snapshot, everyone)?;
    let mut others: Vec<(String, RoaringBitmap)> = vec![("everyone".to_owned(), everyone.clone())];
    for other in registered.iter().filter(|other| other.id != id) {
        others.push((format!("the cohort {}", other.id), members(&other.expression, snapshot, everyone)?));
    }
    check_distances(&own, others.iter().map(|(name, persons)| (name.as_str(), persons)), difference)
        .map_err(|e| QueryError::Refused(format!("the cohort {id}: {e}")))?;
    Ok(own)
}

/// Those that questions of an epoch may name, which began at `start`.
pub(in crate::query) fn standing(database: &Database, start: Timestamp) -> Result<Vec<Cohort>, QueryError> {
    Ok(all(database)?.into_iter().filter(|cohort| cohort.stands(start)).collect())
}
