//! A result that is to leave, as a table of texts: comma-separated values (RFC 4180) with a header, and what each column holds.

use super::ReleaseError;
use crate::limits::{MAX_RELEASE_COLUMNS, MAX_RELEASE_ROWS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a column holds, for the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A number of persons.
    Count,
    /// What a person could be recognised by together with other columns: sex, age, a date, a place, a code.
    QuasiIdentifier,
    /// A figure that was computed: a mean, a rate, a sum.
    Measure,
    /// Text that somebody wrote.
    FreeText,
    /// What stands for one person or record: a key, a national identifier.
    Identifier,
}

impl Role {
    /// Its name, as documents write it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Count => "count",
            Role::QuasiIdentifier => "quasi_identifier",
            Role::Measure => "measure",
            Role::FreeText => "free_text",
            Role::Identifier => "identifier",
        }
    }
}

/// A column: its name, what the requester says it holds, and what its name and values say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it is checked as.
    pub role: Role,
    /// What it would be checked as if nobody had said.
    pub inferred: Role,
}

/// A table of texts. An absent value is an empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads comma-separated values; `declared` are the roles that the requester gives to columns.
    pub fn parse(csv: &str, declared: &BTreeMap<String, Role>) -> Result<Self, ReleaseError> {
        let mut records = records(csv)?.into_iter();
        let header = records.next().ok_or_else(|| ReleaseError::Form("it is empty: the first line names the columns".to_owned()))?;
        let rows: Vec<Vec<String>> = records.collect();
        check_shape(&header, &rows)?;
        if let Some(unknown) = declared.keys().find(|name| !header.contains(name)) {
            return Err(ReleaseError::Form(format!("there is no column `{unknown}` to give a role to")));
        }
        let column = |(at, name): (usize, &String)| {
            let inferred = infer(name, &mut rows.iter().filter_map(|row| row.get(at)).map(String::as_str));
            Column { name: name.clone(), role: declared.get(name).copied().unwrap_or(inferred), inferred }
        };
        let columns = header.iter().enumerate().map(column).collect();
        Ok(Self { columns, rows })
    }

    /// The same table with the roles that were found for it earlier.
    pub fn with_columns(csv: &str, columns: &[Column]) -> Result<Self, ReleaseError> {
        Self::parse(csv, &columns.iter().map(|column| (column.name.clone(), column.role)).collect())
    }

    /// Its columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Its rows, each as long as there are columns.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// Where the columns of a role stand.
    pub fn places(&self, role: Role) -> Vec<usize> {
        self.columns.iter().enumerate().filter(|(_, column)| column.role == role).map(|(at, _)| at).collect()
    }

    /// The table as chart data: columns with their roles, and rows in which numbers are numbers.
    pub fn chart(&self) -> serde_json::Value {
        let value = |text: &String| match text.parse::<serde_json::Number>() {
            _ if text.is_empty() => serde_json::Value::Null,
            Ok(number) => serde_json::Value::Number(number),
            Err(_) => serde_json::Value::String(text.clone()),
        };
        let columns: Vec<_> = self.columns.iter().map(|c| serde_json::json!({"name": c.name, "role": c.role})).collect();
        let rows: Vec<Vec<_>> = self.rows.iter().map(|row| row.iter().map(value).collect()).collect();
        serde_json::json!({"columns": columns, "rows": rows})
    }
}

fn check_shape(header: &[String], rows: &[Vec<String>]) -> Result<(), ReleaseError> {
    if header.len() > MAX_RELEASE_COLUMNS || rows.len() > MAX_RELEASE_ROWS {
        let what = format!("it has more than {MAX_RELEASE_COLUMNS} columns or {MAX_RELEASE_ROWS} rows; release a summary");
        return Err(ReleaseError::Form(what));
    }
    let twice = header.iter().enumerate().find(|(at, name)| name.trim().is_empty() || header.iter().take(*at).any(|other| other == *name));
    if let Some((at, _)) = twice {
        return Err(ReleaseError::Form(format!("column {} has no name of its own", at + 1)));
    }
    match rows.iter().position(|row| row.len() != header.len()) {
        Some(row) => Err(ReleaseError::Form(format!("row {} has another number of fields than there are columns", row + 1))),
        None => Ok(()),
    }
}

/// The records of RFC 4180: fields divided by commas, in quotes where they hold one, a quote in them doubled.
fn records(csv: &str) -> Result<Vec<Vec<String>>, ReleaseError> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut characters = csv.strip_prefix('\u{feff}').unwrap_or(csv).chars().peekable();
    let form = |line: usize, what: &str| ReleaseError::Form(format!("record {}: {what}", line + 1));
    while let Some(first) = characters.next() {
        match first {
            '"' if field.is_empty() => {
                loop {
                    match characters.next() {
                        Some('"') if characters.next_if_eq(&'"').is_some() => field.push('"'),
                        Some('"') => break,
                        Some(other) => field.push(other),
                        None => return Err(form(records.len(), "a quote is not closed")),
                    }
                }
                if !matches!(characters.peek(), None | Some(',' | '\r' | '\n')) {
                    return Err(form(records.len(), "something follows on a closed quote"));
                }
            }
            '"' => return Err(form(records.len(), "a quote stands inside a field that is not quoted")),
            ',' => record.push(std::mem::take(&mut field)),
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' => return Err(form(records.len(), "a carriage return stands alone")),
            '\n' => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    if !record.is_empty() || !field.is_empty() {
        record.push(field);
        records.push(record);
    }
    Ok(records)
}

/// Names that the engine and people give to counts.
const COUNTS: [&str; 7] = ["n", "count", "persons", "patients", "subjects", "antall", "pasienter"];

/// A text from this length on, or of so many words, was written by somebody.
const FREE_TEXT_CHARACTERS: usize = 60;
const FREE_TEXT_WORDS: usize = 7;

/// How many digits a Norwegian national identifier has.
const NATIONAL_ID_DIGITS: usize = 11;

/// What a column holds, by its name and values: the strictest that fits.
fn infer(name: &str, values: &mut dyn Iterator<Item = &str>) -> Role {
    let name = name.to_lowercase();
    if name == "id" || name.ends_with("_key") || name.ends_with("_id") || name.contains("identifier") {
        return Role::Identifier;
    }
    let (mut whole, mut decimal, mut any) = (true, true, false);
    for value in values.filter(|value| !value.is_empty()) {
        any = true;
        if has_national_id(value) {
            return Role::Identifier;
        }
        if value.chars().count() >= FREE_TEXT_CHARACTERS || value.contains('\n') || value.split_whitespace().count() >= FREE_TEXT_WORDS {
            return Role::FreeText;
        }
        whole &= value.parse::<i64>().is_ok() || is_suppressed(value);
        decimal &= value.parse::<f64>().is_ok();
    }
    let counts = COUNTS.contains(&name.as_str()) || name.starts_with("count(") || name.starts_with("n_") || name.ends_with("_count");
    match (any && whole, any && decimal) {
        _ if counts && (whole || !any) => Role::Count,
        (true, _) => Role::QuasiIdentifier,
        (false, true) => Role::Measure,
        (false, false) => Role::QuasiIdentifier,
    }
}

/// A cell that disclosure control has suppressed: `< 5`.
fn is_suppressed(value: &str) -> bool {
    value.strip_prefix("< ").is_some_and(|threshold| threshold.parse::<u64>().is_ok())
}

fn has_national_id(value: &str) -> bool {
    value.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() == NATIONAL_ID_DIGITS)
}
