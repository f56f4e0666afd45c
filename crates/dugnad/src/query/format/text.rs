//! A table for people. Column widths come from the first rows, so that a long answer streams; later rows keep them.

use super::{Encode, QueryError, failed};
use crate::limits::{TABLE_COLUMN_WIDTH, TABLE_WIDTH_ROWS};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use std::fmt::Write;

pub(super) struct TextTable {
    names: Vec<String>,
    right: Vec<bool>,
    waiting: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    rows: u64,
}

impl TextTable {
    pub fn new(schema: &SchemaRef) -> Self {
        let names = schema.fields().iter().map(|f| f.name().clone()).collect();
        let right = schema.fields().iter().map(|f| f.data_type().is_numeric()).collect();
        Self { names, right, waiting: Vec::new(), widths: None, rows: 0 }
    }

    /// Decides the widths, and writes the header and the rows that wait.
    fn begin(&mut self) -> Vec<u8> {
        let width = |(column, name): (usize, &String)| {
            let cells = self.waiting.iter().map(|row| row[column].chars().count());
            cells.chain([name.chars().count()]).max().unwrap_or(0).min(TABLE_COLUMN_WIDTH)
        };
        let widths: Vec<usize> = self.names.iter().enumerate().map(width).collect();
        let mut text = self.line(&self.names, &widths);
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        text.push_str(&self.line(&rules, &widths));
        for row in std::mem::take(&mut self.waiting) {
            text.push_str(&self.line(&row, &widths));
        }
        self.widths = Some(widths);
        text.into_bytes()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), right) in cells.iter().zip(widths).zip(&self.right) {
            let separator = if line.is_empty() { "" } else { "  " };
            // Writing to a string cannot fail.
            let _ = if *right { write!(line, "{separator}{cell:>width$}") } else { write!(line, "{separator}{cell:<width$}") };
        }
        format!("{}\n", line.trim_end())
    }
}

impl Encode for TextTable {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        let options = FormatOptions::default().with_null("").with_display_error(false);
        let formatters: Result<Vec<_>, _> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options)).collect();
        let formatters = formatters.map_err(failed)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            let cells: Result<Vec<String>, _> = formatters.iter().map(|f| f.value(row).try_to_string().map(|t| one_line(&t))).collect();
            let cells = cells.map_err(failed)?;
            match &self.widths {
                Some(widths) => text.push_str(&self.line(&cells, widths)),
                None => self.waiting.push(cells),
            }
        }
        self.rows += batch.num_rows() as u64;
        if self.widths.is_none() && self.waiting.len() >= TABLE_WIDTH_ROWS {
            return Ok(self.begin());
        }
        Ok(text.into_bytes())
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<u8>, QueryError> {
        let mut bytes = if self.widths.is_none() { self.begin() } else { Vec::new() };
        let rows = if self.rows == 1 { "row" } else { "rows" };
        bytes.extend_from_slice(format!("({} {rows})\n", self.rows).as_bytes());
        Ok(bytes)
    }
}

/// Control characters could move a terminal's cursor; a line feed would break the table.
fn one_line(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
