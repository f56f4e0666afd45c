//! The suite on live tables: each view is registered in a database of its own, the resources are written, and the rows of the
//! table are compared. A live table is typed, so what is expected is read in the type of its column: partial dates as their first
//! day or instant, keys as the ids that they stand for, numbers of columns without a type as text.

use super::suite::{self, Case, canonical};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use dugnad_kernel::clock::SystemClock;
use dugnad_kernel::database::{Database, Handling, Interaction, ViewState, WriteRequest};
use dugnad_kernel::ids::{HolderId, PatientOrdinal, ResourceOrdinal};
use dugnad_kernel::live::RowFilter;
use dugnad_kernel::live::schema::{LiveColumn, Storage, ZONE};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The id and, where it has none, the name of the view.
const VIEW: &str = "suite";

fn check(case: &Case) {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path(), Arc::new(SystemClock), &mut |_, _| {}).unwrap();
    let outcome = register(&database, &case.view).inspect(|_| write(&database, case));
    let failure = database.view(VIEW).and_then(|view| view.last_failure);
    match (&case.rows, outcome, failure) {
        (None, Err(error), _) | (None, Ok(_), Some(error)) => case.check_error(&error),
        (None, Ok(_), None) => panic!("{}: an error was expected", case.name),
        (Some(_), Err(error), _) | (Some(_), Ok(_), Some(error)) => panic!("{}: {error}", case.name),
        (Some(expected), Ok(table), None) => {
            let snapshot = database.snapshot();
            let table = snapshot.table(&table).unwrap();
            let columns = &table.schema().columns;
            let columns = columns.get(..columns.len() - 1).unwrap(); // the holder's is the last
            let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            assert!(case.columns.is_empty() || case.columns == names, "{}: columns {names:?}, expected {:?}", case.name, case.columns);
            let everything = RowFilter { without_patient: true, ..RowFilter::default() };
            let projection: Vec<usize> = (0..columns.len()).collect();
            let mut rows = Vec::new();
            for part in table.parts() {
                let batch = part.scan(&projection, &everything).unwrap();
                rows.extend(
                    (0..batch.num_rows()).map(|row| shown(&batch.columns().iter().map(|c| cell(c, row, &database)).collect::<Vec<_>>())),
                );
            }
            let expected = expected.iter().map(|row| shown(&columns.iter().map(|c| read(&row[&c.name], c)).collect::<Vec<_>>()));
            let mut expected: Vec<String> = expected.collect();
            rows.sort();
            expected.sort();
            assert_eq!(rows, expected, "{}: rows of {names:?}", case.name);
        }
    }
    database.close();
}

/// Registers the view and waits until its table is live; its name.
fn register(database: &Database, definition: &Value) -> Result<String, String> {
    let mut definition = definition.clone();
    definition["name"] = json!(VIEW);
    database.register_view(VIEW, &definition.to_string()).map_err(|e| e.to_string())?;
    let began = Instant::now();
    loop {
        match database.view(VIEW).unwrap().state {
            ViewState::Live { .. } => return Ok(VIEW.to_owned()),
            ViewState::Failed { reason } => return Err(reason),
            ViewState::Building { .. } => assert!(began.elapsed() < Duration::from_secs(60), "the table is not built"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn write(database: &Database, case: &Case) {
    let holder: HolderId = database.register_holder("Haukeland").unwrap().id;
    for resource in &case.resources {
        let resource_type = resource["resourceType"].as_str().unwrap().to_owned();
        let body = resource.to_string().into_bytes();
        let interaction = match resource["id"].as_str() {
            Some(id) => Interaction::Update { resource_type, id: id.to_owned(), body, if_match: None },
            None => Interaction::Create { resource_type, body, if_none_exist: None },
        };
        let request = WriteRequest { holder, interaction, handling: Handling::Lenient, idempotency_key: None };
        database.write(request).unwrap_or_else(|e| panic!("{}: {resource}: {e:?}", case.name));
    }
}

/// One row as text.
fn shown(cells: &[Value]) -> String {
    cells.iter().map(canonical).collect::<Vec<_>>().join(" | ")
}

/// A cell of a live table.
fn cell(column: &ArrayRef, row: usize, database: &Database) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => json!(column.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(..) => json!(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Utf8View => untyped(column.as_string_view().value(row)),
        DataType::UInt32 => {
            let ordinal = PatientOrdinal(column.as_primitive::<UInt32Type>().value(row));
            json!(database.patient_names(&[ordinal]).unwrap()[0].as_ref().unwrap().1)
        }
        DataType::UInt64 => {
            let ordinal = ResourceOrdinal(column.as_primitive::<UInt64Type>().value(row));
            json!(database.resource_names(&[ordinal]).unwrap()[0].as_ref().unwrap().2)
        }
        _ => {
            let codes = column.as_dictionary::<UInt32Type>();
            untyped(codes.values().as_string::<i32>().value(codes.key(row).unwrap()))
        }
    }
}

/// Text, or the JSON that it is.
fn untyped(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

/// What is expected of a cell, as the column stores it.
fn read(expected: &Value, column: &LiveColumn) -> Value {
    let text = match expected {
        Value::Null => return Value::Null,
        Value::String(text) => text,
        other => return other.clone(),
    };
    match column.storage {
        Storage::Date => {
            let first: Date = format!("{text}{}", "-01-01".get(text.len().saturating_sub(4)..).unwrap_or_default()).parse().unwrap();
            json!(first.since(Date::new(1970, 1, 1).unwrap()).unwrap().get_days())
        }
        Storage::Instant => {
            let zone = TimeZone::get(ZONE).unwrap();
            let here = || text.parse::<DateTime>().unwrap().to_zoned(zone).unwrap().timestamp();
            json!(text.parse::<jiff::Timestamp>().unwrap_or_else(|_| here()).as_microsecond())
        }
        Storage::Code | Storage::String => untyped(text),
        _ => expected.clone(),
    }
}

macro_rules! define {
    ($($file:ident { $($case:ident),* $(,)? })*) => {
        $(mod $file {
            $(#[test]
            fn $case() {
                crate::sql_on_fhir::suite::Case::of(stringify!($file), stringify!($case)).iter().for_each(super::check);
            })*
        })*
    };
}

suite::for_each_case!(define);
