//! Rows as bytes: CSV, JSON, NDJSON, Parquet, Arrow and a table for people. Shared by `POST /sql`, `query` and `view run`.

use crate::limits::{PARQUET_ROW_GROUP_ROWS, TABLE_ROWS};
use arrow::array::RecordBatch;
use arrow::csv::{Writer as CsvWriter, WriterBuilder as CsvBuilder};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited, Writer as JsonWriter, WriterBuilder as JsonBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// In which form rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Aligned columns for people; at most 10,000 rows.
    Table,
    /// RFC 4180, with a header line.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 6] = [Format::Table, Format::Csv, Format::Json, Format::Ndjson, Format::Parquet, Format::Arrow];

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Table => "text/plain; charset=utf-8",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Parquet => "application/vnd.apache.parquet",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The first of an `Accept` header's media types that is a format's; JSON where any will do.
    pub fn accepted(accept: &str) -> Option<Format> {
        accept.split(',').find_map(|range| match super::headers::media_type(range).0.as_str() {
            "" | "*/*" | "application/*" | "application/json" => Some(Format::Json),
            "text/plain" => Some(Format::Table),
            "text/csv" | "text/*" => Some(Format::Csv),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Format::Ndjson),
            "application/vnd.apache.parquet" => Some(Format::Parquet),
            "application/vnd.apache.arrow.stream" => Some(Format::Arrow),
            _ => None,
        })
    }
}

/// Rows could not be written in the form that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The values have no such form (a list in CSV, say).
    #[error("the rows cannot be written in this format: {0}; try json, parquet or arrow")]
    Arrow(#[from] ArrowError),
    /// The same, for Parquet.
    #[error("the rows cannot be written as Parquet: {0}")]
    Parquet(#[from] ParquetError),
}

/// Bytes that are written but not yet sent.
#[derive(Clone, Debug, Default)]
struct Pending(Arc<Mutex<Vec<u8>>>);

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Turns batches into bytes, a part at a time.
pub struct Encoder {
    pending: Pending,
    kind: Kind,
}

enum Kind {
    Table { batches: Vec<RecordBatch>, rows: usize, left_out: usize },
    Csv(CsvWriter<Pending>),
    Json(JsonWriter<Pending, JsonArray>),
    Ndjson(JsonWriter<Pending, LineDelimited>),
    Parquet(Box<ArrowWriter<Pending>>),
    Arrow(StreamWriter<Pending>),
}

impl Encoder {
    /// An encoder of rows of `schema`. Column headers are written even if no row follows.
    pub fn new(format: Format, schema: &SchemaRef) -> Result<Self, FormatError> {
        let pending = Pending::default();
        let out = pending.clone();
        let empty = RecordBatch::new_empty(Arc::clone(schema));
        let kind = match format {
            Format::Table => Kind::Table { batches: vec![empty], rows: 0, left_out: 0 },
            Format::Csv => {
                let mut writer = CsvBuilder::new().with_header(true).build(out);
                writer.write(&empty)?;
                Kind::Csv(writer)
            }
            Format::Json => Kind::Json(JsonBuilder::new().with_explicit_nulls(true).build(out)),
            Format::Ndjson => Kind::Ndjson(JsonBuilder::new().with_explicit_nulls(true).build(out)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_max_row_group_row_count(Some(PARQUET_ROW_GROUP_ROWS))
                    .build();
                Kind::Parquet(Box::new(ArrowWriter::try_new(out, Arc::clone(schema), Some(properties))?))
            }
            Format::Arrow => Kind::Arrow(StreamWriter::try_new(out, schema)?),
        };
        Ok(Self { pending, kind })
    }

    /// Encodes a batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), FormatError> {
        match &mut self.kind {
            Kind::Table { batches, rows, left_out } => {
                let shown = batch.num_rows().min(TABLE_ROWS - *rows);
                *left_out += batch.num_rows() - shown;
                *rows += shown;
                batches.push(batch.slice(0, shown));
            }
            Kind::Csv(writer) => writer.write(batch)?,
            Kind::Json(writer) => writer.write(batch)?,
            Kind::Ndjson(writer) => writer.write(batch)?,
            Kind::Parquet(writer) => writer.write(batch)?,
            Kind::Arrow(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    /// What is encoded and not yet taken.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.pending.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many bytes are encoded and not yet taken.
    pub fn pending(&self) -> usize {
        self.pending.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The end, with what is left.
    pub fn finish(self) -> Result<Vec<u8>, FormatError> {
        let Self { mut pending, kind } = self;
        match kind {
            Kind::Table { batches, rows, left_out } => {
                let table = arrow::util::pretty::pretty_format_batches(&batches)?;
                let note = if left_out > 0 {
                    format!(", {left_out} more are not shown; ask for csv, json, ndjson, parquet or arrow")
                } else {
                    String::new()
                };
                let _: io::Result<()> = writeln!(pending, "{table}\n{rows} row(s){note}"); // writing to memory cannot fail
            }
            Kind::Csv(writer) => drop(writer),
            Kind::Json(mut writer) => {
                writer.finish()?;
                let _: io::Result<()> = writeln!(pending);
            }
            Kind::Ndjson(mut writer) => writer.finish()?,
            Kind::Parquet(writer) => {
                writer.close()?;
            }
            Kind::Arrow(mut writer) => writer.finish()?,
        }
        let rest = std::mem::take(&mut *pending.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(rest)
    }
}

#[cfg(test)]
mod tests;
