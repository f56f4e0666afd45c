//! Rows and cells as JSON.

use super::{Cell, Column};
use crate::fhir::json::write_string;

/// Writes a row as a JSON object, columns in the view's order.
pub fn write_json_row(columns: &[Column], cells: &[Cell<'_>], out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (column, cell)) in columns.iter().zip(cells).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(&column.name, out);
        out.push(b':');
        write_json(cell, out);
    }
    out.push(b'}');
}

/// Writes a cell as JSON. A key is its id.
pub fn write_json(cell: &Cell<'_>, out: &mut Vec<u8>) {
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
                write_json(cell, out);
            }
            out.push(b']');
        }
        Cell::Element(value) => value.write(out),
    }
}
