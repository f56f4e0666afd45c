//! Rows as text that can be compared: what a view makes of one resource, and what a scan of a live table returns.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use bumpalo::Bump;
use dugnad_kernel::database::Database;
use dugnad_kernel::fhir::json;
use dugnad_kernel::ids::{HolderId, PatientOrdinal, ResourceOrdinal};
use dugnad_kernel::live::schema::{Storage, ZONE};
use dugnad_kernel::live::{Part, RowFilter, Snapshot, TableSnapshot};
use dugnad_kernel::views::builtin::{Builtin, builtin_views};
use dugnad_kernel::views::render::write_json;
use dugnad_kernel::views::{Cell, Column, ColumnType, View, has_modifier_extension};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

const NULL: &str = "∅";

static BUILTIN: LazyLock<Vec<Arc<Table>>> = LazyLock::new(|| {
    let table = |b: Builtin| Arc::new(Table { name: b.table.to_owned(), view: b.view, builtin: true });
    builtin_views().into_iter().map(table).collect()
});

/// A view and its table.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    pub view: View,
    pub builtin: bool,
}

/// The tables that every database has.
pub fn builtin() -> Vec<Arc<Table>> {
    BUILTIN.clone()
}

/// Table and row of each row that the views make of a resource.
pub fn of_resource(resource: &Value, holder: HolderId, holders: &[String], tables: &[Arc<Table>]) -> Vec<(String, String)> {
    let arena = Bump::new();
    let text = resource.to_string();
    let parsed = json::parse(text.as_bytes(), &arena).unwrap();
    let mut rows = Vec::new();
    let modified = has_modifier_extension(&parsed);
    for table in tables.iter().filter(|t| resource["resourceType"] == t.view.resource_type() && !(t.builtin && modified)) {
        let take = &mut |cells: &[Cell<'_>]| {
            let mut row: Vec<String> = cells.iter().zip(table.view.columns()).map(|(cell, column)| text_of(cell, column, holder)).collect();
            row.push(holders[usize::from(holder.0) - 1].clone());
            rows.push((table.name.clone(), row.join("|")));
        };
        table.view.run(parsed, &arena, take).unwrap();
    }
    rows
}

/// The ids of the Patients that a row names as such.
pub fn patients<'r>(row: &'r str, table: &Table, holder: u16) -> Vec<&'r str> {
    let (cells, before) = (row.split('|'), format!("{holder}:Patient/"));
    let named = cells.zip(table.view.columns()).filter(|(_, column)| column.column_type == ColumnType::Key(Some("Patient")));
    named.filter_map(|(cell, _)| cell.strip_prefix(&before)).collect()
}

/// Whether each Patient in a snapshot is of the person of whom the model says so: they are called by their smallest ordinal.
pub fn compare_persons(snapshot: &Snapshot, database: &Database, names: &mut Names, groups: &[BTreeSet<String>]) -> Result<(), String> {
    for ordinal in 1.. {
        if names.patients.contains_key(&ordinal) {
            continue;
        }
        if patient_name(database, ordinal).is_none() {
            break;
        }
        names.patient(database, ordinal)?;
    }
    let ordinals: HashMap<&str, u32> = names.patients.iter().map(|(ordinal, name)| (name.as_str(), *ordinal)).collect();
    let person = |patient: u32| {
        let group = groups.iter().find(|group| group.contains(&names.patients[&patient]));
        group.and_then(|group| group.iter().filter_map(|name| ordinals.get(name.as_str())).min()).copied().unwrap_or(patient)
    };
    let everything = RowFilter { without_patient: true, ..RowFilter::default() };
    let alone = snapshot.clone().by_patient();
    for (table, patients) in snapshot.tables().iter().zip(alone.tables()) {
        let columns: Vec<usize> =
            (0..table.schema().columns.len()).filter(|c| table.schema().columns[*c].storage == Storage::Patient).collect();
        for (part, patients) in table.parts().iter().zip(patients.parts()) {
            let scan = |part: &Part| part.scan(&columns, &everything).map_err(|damaged| damaged.to_string());
            let (found, patients) = (scan(part)?, scan(&patients)?);
            for (found, patients) in found.columns().iter().zip(patients.columns()) {
                let pairs = found.as_primitive::<UInt32Type>().iter().zip(patients.as_primitive::<UInt32Type>().iter());
                for (found, patient) in pairs.filter_map(|(found, patient)| found.zip(patient)) {
                    if found != person(patient) {
                        let name = &names.patients[&patient];
                        return Err(format!(
                            "{name} is of person {found} and not of {} at {:?}; {groups:?}",
                            person(patient),
                            snapshot.commit()
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

fn text_of(cell: &Cell<'_>, column: &Column, holder: HolderId) -> String {
    match (cell, column.column_type) {
        (Cell::Null, _) => NULL.to_owned(),
        (Cell::List(_), _) if column.collection => {
            let mut json = Vec::new();
            write_json(cell, &mut json);
            String::from_utf8(json).unwrap()
        }
        (Cell::Boolean(value), ColumnType::Boolean) => value.to_string(),
        (Cell::Integer(value), ColumnType::Integer) => value.to_string(),
        (Cell::Integer(value), ColumnType::Decimal) => format!("{:?}", *value as f64),
        (Cell::Decimal(text), ColumnType::Decimal) => format!("{:?}", text.parse::<f64>().unwrap()),
        (Cell::String(text), ColumnType::Date) => days(text).to_string(),
        (Cell::String(text), ColumnType::DateTime) => microseconds(text).to_string(),
        (Cell::String(text), ColumnType::Code | ColumnType::String) => (*text).to_owned(),
        (Cell::Key { resource_type, id }, ColumnType::Key(_)) => name(holder, resource_type, id),
        other => panic!("{other:?} in column {}", column.name),
    }
}

fn name(holder: HolderId, kind: &str, id: &str) -> String {
    format!("{}:{kind}/{id}", holder.0)
}

/// The first day of a date that may be partial.
fn first_day(text: &str) -> Date {
    let whole = match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        _ => text.to_owned(),
    };
    whole.parse().unwrap()
}

fn days(text: &str) -> i32 {
    let epoch = Date::constant(1970, 1, 1);
    first_day(text).since((Unit::Day, epoch)).unwrap().get_days()
}

fn microseconds(text: &str) -> i64 {
    let zone = || TimeZone::get(ZONE).unwrap();
    let at = text.parse::<Timestamp>().unwrap_or_else(|_| first_day(text).to_zoned(zone()).unwrap().timestamp());
    at.as_microsecond()
}

/// The names behind ordinals, as they were first seen: they must never change.
#[derive(Default)]
pub struct Names {
    resources: HashMap<u64, String>,
    patients: HashMap<u32, String>,
}

impl Names {
    /// Looks every name up again: what has been given out is what it was.
    pub fn check(&self, database: &Database) -> Result<(), String> {
        let known = |ordinal: &u64| resource_name(database, *ordinal);
        let resource = self.resources.iter().find(|(ordinal, name)| known(ordinal).as_ref() != Some(*name));
        let patient = self.patients.iter().find(|(ordinal, name)| patient_name(database, **ordinal).as_ref() != Some(*name));
        match (resource, patient) {
            (None, None) => Ok(()),
            changed => Err(format!("ordinals have been reassigned: {changed:?}")),
        }
    }

    fn resource(&mut self, database: &Database, ordinal: u64) -> Result<&str, String> {
        if !self.resources.contains_key(&ordinal) {
            let name = resource_name(database, ordinal).ok_or_else(|| format!("resource ordinal {ordinal} is nobody's"))?;
            once(&self.resources, &name)?;
            self.resources.insert(ordinal, name);
        }
        Ok(&self.resources[&ordinal])
    }

    fn patient(&mut self, database: &Database, ordinal: u32) -> Result<&str, String> {
        if !self.patients.contains_key(&ordinal) {
            let name = patient_name(database, ordinal).ok_or_else(|| format!("patient ordinal {ordinal} is nobody's"))?;
            once(&self.patients, &name)?;
            self.patients.insert(ordinal, name);
        }
        Ok(&self.patients[&ordinal])
    }
}

fn once<K>(names: &HashMap<K, String>, name: &str) -> Result<(), String> {
    if names.values().any(|known| known == name) { Err(format!("{name} has two ordinals")) } else { Ok(()) }
}

fn resource_name(database: &Database, ordinal: u64) -> Option<String> {
    let found = database.resource_names(&[ResourceOrdinal(ordinal)]).unwrap().pop().flatten();
    found.map(|(holder, kind, id)| name(holder, &kind, &id))
}

fn patient_name(database: &Database, ordinal: u32) -> Option<String> {
    let found = database.patient_names(&[PatientOrdinal(ordinal)]).unwrap().pop().flatten();
    found.map(|(holder, id)| name(holder, "Patient", &id))
}

/// The visible rows of all tables of a snapshot, sorted; without the tables that have none.
pub fn of_snapshot(snapshot: &Snapshot, database: &Database, names: &mut Names) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut tables = BTreeMap::new();
    for table in snapshot.tables() {
        let mut rows = of_table(table, database, names)?;
        rows.sort_unstable();
        if !rows.is_empty() {
            tables.insert(table.schema().name.clone(), rows);
        }
    }
    Ok(tables)
}

fn of_table(table: &TableSnapshot, database: &Database, names: &mut Names) -> Result<Vec<String>, String> {
    let columns = &table.schema().columns;
    let all: Vec<usize> = (0..columns.len()).collect();
    let everything = RowFilter { without_patient: true, ..RowFilter::default() };
    let mut rows = Vec::new();
    for part in table.parts() {
        let batch = part.scan(&all, &everything).map_err(|damaged| damaged.to_string())?;
        for row in 0..batch.num_rows() {
            let mut text = String::new();
            for (i, (column, array)) in columns.iter().zip(batch.columns()).enumerate() {
                text.push_str(if i == 0 { "" } else { "|" });
                write_cell(&mut text, array, row, column.storage, database, names)?;
            }
            rows.push(text);
        }
    }
    Ok(rows)
}

fn write_cell(
    out: &mut String,
    array: &ArrayRef,
    row: usize,
    storage: Storage,
    database: &Database,
    names: &mut Names,
) -> Result<(), String> {
    if array.is_null(row) {
        out.push_str(NULL);
        return Ok(());
    }
    let written = match storage {
        Storage::Boolean => write!(out, "{}", array.as_boolean().value(row)),
        Storage::Integer => write!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
        Storage::Decimal => write!(out, "{:?}", array.as_primitive::<Float64Type>().value(row)),
        Storage::Code | Storage::Holder => {
            let codes = array.as_dictionary::<UInt32Type>();
            let code = usize::try_from(codes.keys().value(row)).unwrap();
            out.write_str(codes.values().as_string::<i32>().value(code))
        }
        Storage::String => out.write_str(array.as_string_view().value(row)),
        Storage::Date => write!(out, "{}", array.as_primitive::<Date32Type>().value(row)),
        Storage::Instant => write!(out, "{}", array.as_primitive::<TimestampMicrosecondType>().value(row)),
        Storage::Patient => out.write_str(names.patient(database, array.as_primitive::<UInt32Type>().value(row))?),
        Storage::Resource => out.write_str(names.resource(database, array.as_primitive::<UInt64Type>().value(row))?),
    };
    written.map_err(|e| e.to_string())
}
