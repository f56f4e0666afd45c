//! Counting the persons of a statistics table: one pass over the rows of an epoch, one bitmap per category.

use super::{Basis, By, Table};
use crate::query::keys::Keys;
use crate::query::seat::Ground;
use crate::query::session::Session;
use crate::query::world::{Blind, Lens, World, whole};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type, UInt32Type};
use dugnad_kernel::disclosure::{self, Dimension, Raw, Tally};
use dugnad_kernel::ids::PatientOrdinal;
use dugnad_kernel::live::schema::ZONE;
use dugnad_sql::QueryError;
use dugnad_sql::limits::QUESTION_MEMORY;
use futures::StreamExt;
use jiff::civil::{Date, date};
use std::collections::HashMap;

/// The tables that counting reads; they are scanned with the stored ordinals, which never leave this module.
const READ: [&str; 3] = ["patient", "condition", "treatment"];

/// The persons of each category of `dimension`.
pub(super) async fn count(table: Table, by: By, dimension: &Dimension, basis: &Basis) -> Result<Vec<Raw>, QueryError> {
    let session = Session::open(&world(basis)).await?;
    let planned = session.plan(&sql(table, by)).await?;
    let mut classifier = Classifier::new(by, dimension, basis);
    let mut tally = Tally::new(dimension.categories().len());
    let mut batches = planned.execute().map_err(QueryError::running)?;
    while let Some(batch) = batches.next().await {
        classifier.add(&batch.map_err(QueryError::running)?, &mut tally)?;
    }
    Ok(tally.into_raw())
}

/// Everyone's rows of the tables that are read, at the epoch.
fn world(basis: &Basis) -> World {
    World {
        grants: READ.iter().map(|t| ((*t).to_owned(), whole((*t).to_owned()))).collect(),
        views: basis.views.clone(),
        ground: Ground::new(basis.sources.clone(), basis.filter.clone()),
        lens: Lens::new(Keys::Ordinals, Blind::default()),
        now: basis.epoch.start,
        memory: QUESTION_MEMORY,
    }
}

/// The patient, and one or two columns that tell the category.
fn sql(table: Table, by: By) -> String {
    let (from, sound) = match table {
        Table::Patients => ("patient", ""),
        Table::Treatments => ("treatment", ""),
        Table::Conditions => {
            ("condition", " WHERE t.verification_status IS NULL OR t.verification_status NOT IN ('refuted', 'entered-in-error')")
        }
    };
    let person = matches!(by, By::Sex | By::AgeBand) && table != Table::Patients;
    let owner = if person { "p" } else { "t" };
    let join = if person { " LEFT JOIN patient p ON p.patient_key = t.patient_key" } else { "" };
    let category = match by {
        By::Sex => format!("{owner}.gender"),
        By::AgeBand => format!("{owner}.birth_date"),
        By::Holder => "t.holder".to_owned(),
        By::Year => "CAST(date_part('year', t.started) AS BIGINT)".to_owned(),
        By::Kind => "t.kind".to_owned(),
        By::Icd10Chapter | By::NeoplasmBlock => "t.code, t.code_system".to_owned(),
    };
    format!("SELECT t.patient_key, {category} FROM {from} t{join}{sound}")
}

struct Classifier<'a> {
    by: By,
    dimension: &'a Dimension,
    day: Date,
    known: HashMap<(String, Option<String>), usize>,
}

impl<'a> Classifier<'a> {
    fn new(by: By, dimension: &'a Dimension, basis: &Basis) -> Self {
        let start = basis.epoch.start;
        let day = start.in_tz(ZONE).map_or_else(|_| start.to_zoned(jiff::tz::TimeZone::UTC).date(), |zoned| zoned.date());
        Self { by, dimension, day, known: HashMap::new() }
    }

    fn add(&mut self, batch: &RecordBatch, tally: &mut Tally) -> Result<(), QueryError> {
        let uneven = || QueryError::Internal("the rows to count have unexpected columns".to_owned());
        let (Some(patients), Some(values)) = (batch.columns().first(), batch.columns().get(1)) else { return Err(uneven()) };
        let patients = patients.as_primitive_opt::<UInt32Type>().ok_or_else(uneven)?;
        let categories = self.categories(values, batch.columns().get(2)).ok_or_else(uneven)?;
        for (patient, category) in patients.iter().zip(categories) {
            if let Some(patient) = patient {
                tally.add(category, PatientOrdinal(patient));
            }
        }
        Ok(())
    }

    fn categories(&mut self, values: &ArrayRef, systems: Option<&ArrayRef>) -> Option<Vec<usize>> {
        match self.by {
            By::AgeBand => {
                let days = cast(&cast(values, &DataType::Date32).ok()?, &DataType::Int32).ok()?;
                let days = days.as_primitive_opt::<Int32Type>()?;
                Some(days.iter().map(|d| disclosure::age_band(self.dimension, d.and_then(day), self.day)).collect())
            }
            By::Year => {
                let years = cast(values, &DataType::Int64).ok()?;
                let years: &Int64Array = years.as_primitive_opt()?;
                let year = |y: Option<i64>| disclosure::year(self.dimension, y.and_then(|y| i16::try_from(y).ok()));
                Some(years.iter().map(year).collect())
            }
            By::Icd10Chapter | By::NeoplasmBlock => {
                let (codes, systems) = (texts(values)?, texts(systems?)?);
                Some((0..codes.len()).map(|row| self.coded(text(&codes, row), text(&systems, row))).collect())
            }
            By::Sex | By::Holder | By::Kind => {
                let codes = texts(values)?;
                Some((0..codes.len()).map(|row| self.coded(text(&codes, row), None)).collect())
            }
        }
    }

    /// The category of a code; each distinct code is looked up once.
    fn coded(&mut self, code: Option<&str>, system: Option<&str>) -> usize {
        let Some(code) = code else { return self.dimension.unknown() };
        let key = (code.to_owned(), system.map(str::to_owned));
        if let Some(category) = self.known.get(&key) {
            return *category;
        }
        let category = match self.by {
            By::Icd10Chapter => disclosure::icd10_chapter(self.dimension, system, Some(code)),
            By::NeoplasmBlock => disclosure::neoplasm_block(self.dimension, system, Some(code)),
            _ => self.dimension.position_or_unknown(Some(code)),
        };
        self.known.insert(key, category);
        category
    }
}

fn texts(values: &ArrayRef) -> Option<StringViewArray> {
    cast(values, &DataType::Utf8View).ok().and_then(|array| array.as_string_view_opt().cloned())
}

fn text(values: &StringViewArray, row: usize) -> Option<&str> {
    values.is_valid(row).then(|| values.value(row))
}

/// The day that is so many days after 1970-01-01.
fn day(days: i32) -> Option<Date> {
    date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}
