//! Who is in a permit and who is out: pure functions of a snapshot of the live tables.
//!
//! What decides is in the tables themselves, those of the program's own among them ([`crate::views::builtin::internal_views`]). So
//! it is as current as any row, as durable, and known as of every commit.

mod condition;
mod counter;
mod criteria;
mod frozen;
mod subjects;

pub use condition::RowCondition;
pub use counter::Counter;
pub use criteria::{CriteriaError, Formula, Members, Rows};
pub use frozen::frozen;
pub use subjects::{Enrolment, Subjects, subjects};

use crate::live::{Damaged, RowFilter, Snapshot};
use crate::views::builtin::{OPT_OUT, PROTECTED};
use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use roaring::RoaringBitmap;

/// The Patients who have opted out (Regulation (EU) 2025/327, Art. 71), with all Patients that are the same person.
pub fn opted_out(snapshot: &Snapshot) -> Result<RoaringBitmap, Damaged> {
    patients_in(snapshot, OPT_OUT)
}

/// The Patients with a label of restricted confidentiality, such as those with a protected address; with all Patients that are
/// the same person.
pub fn protected(snapshot: &Snapshot) -> Result<RoaringBitmap, Damaged> {
    patients_in(snapshot, PROTECTED)
}

/// The persons that a hospital has registered, each by the ordinal that stands for them in rows.
pub fn registered(snapshot: &Snapshot) -> Result<RoaringBitmap, Damaged> {
    let all = patients_in(snapshot, "patient")?;
    Ok(all.iter().map(|patient| snapshot.person_of(patient)).collect())
}

fn patients_in(snapshot: &Snapshot, table: &str) -> Result<RoaringBitmap, Damaged> {
    let missing = || Damaged { file: table.to_owned(), what: "the table is not there".to_owned() };
    let table = snapshot.table(table).ok_or_else(missing)?;
    let mut patients = RoaringBitmap::new();
    if let Some(column) = table.schema().patient_column() {
        for part in table.parts() {
            let batch = part.scan(&[column], &RowFilter::everything())?;
            let ordinals = batch.columns().first().and_then(|c| c.as_primitive_opt::<UInt32Type>());
            patients.extend(ordinals.into_iter().flatten().flatten());
        }
    }
    Ok(snapshot.whole_persons(&patients))
}
