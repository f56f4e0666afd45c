//! Rows as text: JSON objects and CSV records, columns in the view's order.

use super::{Cell, Column};
use crate::fhir::json::write_string;

/// How an element that is no primitive is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Elements {
    /// As it is.
    Json,
    /// As a string that holds its JSON.
    Text,
}

/// Writes a row as a JSON object. A key is its id.
pub fn write_json_row(columns: &[Column], cells: &[Cell<'_>], out: &mut Vec<u8>) {
    write_row(columns, cells, Elements::Json, out);
}

pub(super) fn write_row(columns: &[Column], cells: &[Cell<'_>], elements: Elements, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (column, cell)) in columns.iter().zip(cells).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(&column.name, out);
        out.push(b':');
        write_cell(cell, elements, out);
    }
    out.push(b'}');
}

/// Writes a cell as JSON.
pub fn write_json(cell: &Cell<'_>, out: &mut Vec<u8>) {
    write_cell(cell, Elements::Json, out);
}

fn write_cell(cell: &Cell<'_>, elements: Elements, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => out.extend_from_slice(b"null"),
        Cell::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Cell::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Cell::Decimal(text) => out.extend_from_slice(text.as_bytes()),
        Cell::String(text) | Cell::Key { id: text, .. } => write_string(text, out),
        Cell::List(cells) => {
            out.push(b'[');
            for (i, cell) in cells.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_cell(cell, elements, out);
            }
            out.push(b']');
        }
        Cell::Element(value) if elements == Elements::Json => value.write(out),
        Cell::Element(value) => {
            let mut json = Vec::new();
            value.write(&mut json);
            write_string(&String::from_utf8_lossy(&json), out);
        }
    }
}

/// Writes the names of the columns as a CSV record (RFC 4180).
pub fn write_csv_header(columns: &[Column], out: &mut Vec<u8>) {
    record(columns.iter().map(|c| c.name.as_bytes()), out);
}

/// Writes a row as a CSV record. Null is the empty field; lists and elements are JSON.
pub fn write_csv_row(cells: &[Cell<'_>], out: &mut Vec<u8>) {
    let field = |cell: &Cell<'_>| {
        let mut text = Vec::new();
        match cell {
            Cell::Null => {}
            Cell::String(value) | Cell::Key { id: value, .. } => text.extend_from_slice(value.as_bytes()),
            _ => write_json(cell, &mut text),
        }
        text
    };
    record(cells.iter().map(field), out);
}

fn record<F: AsRef<[u8]>>(fields: impl Iterator<Item = F>, out: &mut Vec<u8>) {
    for (i, field) in fields.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let field = field.as_ref();
        if field.iter().any(|b| matches!(b, b',' | b'"' | b'\r' | b'\n')) {
            out.push(b'"');
            for byte in field {
                if *byte == b'"' {
                    out.push(b'"');
                }
                out.push(*byte);
            }
            out.push(b'"');
        } else {
            out.extend_from_slice(field);
        }
    }
    out.extend_from_slice(b"\r\n");
}
