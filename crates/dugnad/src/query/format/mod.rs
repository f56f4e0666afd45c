//! Answers as bytes, chunk by chunk as the rows come.
//!
//! Readers of Parquet and Arrow are served types that all of them know: dictionaries with signed keys (pandas refuses
//! unsigned ones), plain UTF-8 instead of string views, and every column under a name of its own.

pub mod rows;
#[cfg(test)]
mod tests;
mod text;
mod wire;

use super::Answer;
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use dugnad_sql::QueryError;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
pub use wire::Writer;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A table for people, in plain text.
    #[default]
    Table,
    /// RFC 4180, with a header; NULL is an empty field.
    Csv,
    /// One JSON array of row objects; NULL is written.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet, Snappy.
    Parquet,
    /// An Apache Arrow IPC stream.
    Arrow,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 6] = [Format::Table, Format::Csv, Format::Json, Format::Ndjson, Format::Parquet, Format::Arrow];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Table => "text/plain; charset=utf-8",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Parquet => "application/vnd.apache.parquet",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

impl FromStr for Format {
    type Err = QueryError;

    fn from_str(name: &str) -> Result<Self, QueryError> {
        let names = || Format::ALL.map(Format::name).join(", ");
        let found = Format::ALL.into_iter().find(|f| f.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| QueryError::Refused(format!("there is no format `{name}`; there are {}", names())))
    }
}

/// An answer's bytes. An error ends the stream: what came before it is not a whole answer, and no format's end (such as
/// the closing bracket of JSON) has been written.
pub fn encode(answer: Answer, format: Format) -> BoxStream<'static, Result<Bytes, QueryError>> {
    encode_counted(answer, format).0
}

/// The same, and how many rows have been encoded so far.
pub fn encode_counted(answer: Answer, format: Format) -> (BoxStream<'static, Result<Bytes, QueryError>>, Arc<AtomicU64>) {
    let rows: Arc<AtomicU64> = Arc::default();
    let writer = match Writer::new(format, &answer.schema) {
        Ok(writer) => writer,
        Err(error) => return (stream::once(async { Err(error) }).boxed(), rows),
    };
    let state = Encoding { batches: answer.batches, writer: Some(writer), rows: Arc::clone(&rows) };
    (stream::unfold(state, |mut state| async move { state.next().await.map(|item| (item, state)) }).boxed(), rows)
}

/// An answer in several formats at once, each whole, of at most `max_bytes` bytes, and how many rows it has.
pub async fn encode_whole(mut answer: Answer, formats: &[Format], max_bytes: usize) -> Result<(Vec<Vec<u8>>, u64), QueryError> {
    let too_large = || QueryError::Limit(format!("the answer has more than {max_bytes} bytes; ask for a summary"));
    let mut writers = formats.iter().map(|format| Writer::new(*format, &answer.schema)).collect::<Result<Vec<_>, _>>()?;
    let (mut encoded, mut rows) = (vec![Vec::new(); formats.len()], 0);
    while let Some(batch) = answer.batches.next().await {
        let batch = batch.map_err(QueryError::of_stream)?;
        rows += batch.num_rows() as u64;
        for (writer, bytes) in writers.iter_mut().zip(&mut encoded) {
            bytes.extend(writer.write(&batch)?);
            if bytes.len() > max_bytes {
                return Err(too_large());
            }
        }
    }
    for (writer, bytes) in writers.into_iter().zip(&mut encoded) {
        bytes.extend(writer.finish()?);
    }
    if encoded.iter().any(|bytes| bytes.len() > max_bytes) { Err(too_large()) } else { Ok((encoded, rows)) }
}

struct Encoding {
    batches: datafusion::execution::SendableRecordBatchStream,
    writer: Option<Writer>,
    rows: Arc<AtomicU64>,
}

impl Encoding {
    async fn next(&mut self) -> Option<Result<Bytes, QueryError>> {
        loop {
            let mut writer = self.writer.take()?;
            let item = match self.batches.next().await {
                Some(Ok(batch)) => {
                    self.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                    writer.write(&batch).map(|bytes| (bytes, Some(writer)))
                }
                Some(Err(error)) => Err(QueryError::of_stream(error)),
                None => writer.finish().map(|bytes| (bytes, None)),
            };
            match item {
                Ok((bytes, rest)) => {
                    self.writer = rest;
                    if !bytes.is_empty() {
                        return Some(Ok(Bytes::from(bytes)));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Something that writes batches of one schema.
trait Encode: Send {
    /// The bytes that a batch adds.
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError>;

    /// The bytes that end the answer.
    fn finish(self: Box<Self>) -> Result<Vec<u8>, QueryError>;
}

fn failed(what: impl std::fmt::Display) -> QueryError {
    // What a writer says concerns types, such as a list in CSV; it may quote a value, so only its kind is passed on.
    tracing::debug!("an answer cannot be written: {}", what.to_string().split(':').next().unwrap_or_default());
    QueryError::Refused("a column of this answer cannot be written in this format; CAST it to TEXT, or ask for another format".to_owned())
}

fn same_schema(batch: &RecordBatch, schema: &SchemaRef) -> bool {
    batch.num_columns() == schema.fields().len()
}
