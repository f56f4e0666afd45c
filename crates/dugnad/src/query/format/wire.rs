//! The writers behind the formats.

use super::text::TextTable;
use super::{Encode, Format, QueryError, failed, same_schema};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// The writer of rows of one schema.
pub struct Writer {
    /// The columns as readers know them.
    schema: SchemaRef,
    encode: Box<dyn Encode>,
}

impl Writer {
    /// A writer of rows of `schema`.
    pub fn new(format: Format, schema: &SchemaRef) -> Result<Self, QueryError> {
        let schema = readable(schema, format);
        if !schema.fields().iter().all(|field| rewritten(field.data_type())) {
            return Err(failed("a type that is not rewritten"));
        }
        let encode: Box<dyn Encode> = match format {
            Format::Table => Box::new(TextTable::new(&schema)),
            Format::Csv => Box::new(Csv::new(&schema)?),
            Format::Json => Box::new(Json::array()),
            Format::Ndjson => Box::new(Json::lines()),
            Format::Parquet => Box::new(Parquet::new(&schema)?),
            Format::Arrow => Box::new(Ipc::new(&schema)?),
        };
        Ok(Self { schema, encode })
    }

    /// The bytes that a batch adds.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        if !same_schema(batch, &self.schema) {
            return Err(QueryError::Internal("a batch has other columns than the answer".to_owned()));
        }
        let adapt = |(column, field): (&ArrayRef, &Arc<Field>)| -> Result<ArrayRef, QueryError> {
            if column.data_type() == field.data_type() { Ok(column.clone()) } else { cast(column, field.data_type()).map_err(failed) }
        };
        let columns: Result<Vec<ArrayRef>, QueryError> = batch.columns().iter().zip(self.schema.fields()).map(adapt).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns?, &options).map_err(failed)?;
        self.encode.write(&batch)
    }

    /// The bytes that end it.
    pub fn finish(self) -> Result<Vec<u8>, QueryError> {
        self.encode.finish()
    }
}

/// The schema with types that every reader knows, and a name for each column that no other has.
fn readable(schema: &SchemaRef, format: Format) -> SchemaRef {
    let mut names: Vec<String> = Vec::with_capacity(schema.fields().len());
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let mut name = field.name().clone();
        let mut copy = 1;
        while names.contains(&name) {
            copy += 1;
            name = format!("{}_{copy}", field.name());
        }
        names.push(name.clone());
        fields.push(Field::new(name, known_type(field.data_type(), format), true));
    }
    Arc::new(Schema::new(fields))
}

fn known_type(data_type: &DataType, format: Format) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        // A column that is NULL everywhere; readers of Parquet differ in what they make of the type "null".
        DataType::Null => DataType::Utf8,
        DataType::Dictionary(_, value) => match format {
            Format::Parquet | Format::Arrow => DataType::Dictionary(Box::new(DataType::Int32), Box::new(known_type(value, format))),
            _ => known_type(value, format),
        },
        DataType::List(item) => DataType::List(known_field(item, format)),
        DataType::LargeList(item) => DataType::LargeList(known_field(item, format)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(known_field(item, format), *size),
        DataType::Map(entries, sorted) => DataType::Map(known_field(entries, format), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| known_field(f, format)).collect()),
        other => other.clone(),
    }
}

/// Whether a column of this type is copied value by value. A view or dictionary that is passed on as it is would carry
/// values of rows that are not in the answer.
fn rewritten(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView | DataType::ListView(_) | DataType::LargeListView(_) => false,
        DataType::Union(_, _) | DataType::RunEndEncoded(_, _) => false,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) | DataType::Map(item, _) => {
            rewritten(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| rewritten(field.data_type())),
        DataType::Dictionary(_, value) => rewritten(value),
        _ => true,
    }
}

fn known_field(field: &Field, format: Format) -> Arc<Field> {
    // Inside lists and structs a dictionary saves little and few readers know it.
    let data_type = match field.data_type() {
        DataType::Dictionary(_, value) => known_type(value, format),
        other => known_type(other, format),
    };
    Arc::new(Field::new(field.name(), data_type, true))
}

/// Bytes that a writer has written and nobody has taken yet.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Csv {
    header: Vec<u8>,
}

impl Csv {
    fn new(schema: &SchemaRef) -> Result<Self, QueryError> {
        let mut header = Vec::new();
        let empty = RecordBatch::new_empty(schema.clone());
        csv::WriterBuilder::new().with_header(true).build(&mut header).write(&empty).map_err(failed)?;
        Ok(Self { header: crlf(header) })
    }
}

impl Encode for Csv {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        let mut bytes = Vec::new();
        csv::WriterBuilder::new().with_header(false).build(&mut bytes).write(batch).map_err(failed)?;
        let mut chunk = std::mem::take(&mut self.header);
        chunk.append(&mut crlf(bytes));
        Ok(chunk)
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, QueryError> {
        Ok(self.header) // of an answer without rows
    }
}

/// Lines end with CRLF in RFC 4180; a line feed inside a quoted field stays as it is.
fn crlf(text: Vec<u8>) -> Vec<u8> {
    let mut quoted = false;
    let mut lines = Vec::with_capacity(text.len() + text.len() / 16);
    for byte in text {
        quoted ^= byte == b'"';
        if byte == b'\n' && !quoted {
            lines.push(b'\r');
        }
        lines.push(byte);
    }
    lines
}

enum Json {
    Array(datafusion::arrow::json::Writer<Shared, JsonArray>, Shared),
    Lines(datafusion::arrow::json::Writer<Shared, LineDelimited>, Shared),
}

impl Json {
    fn array() -> Self {
        let out = Shared::default();
        Json::Array(WriterBuilder::new().with_explicit_nulls(true).build(out.clone()), out)
    }

    fn lines() -> Self {
        let out = Shared::default();
        Json::Lines(WriterBuilder::new().with_explicit_nulls(true).build(out.clone()), out)
    }
}

impl Encode for Json {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        match self {
            Json::Array(writer, out) => writer.write(batch).map(|()| out.take()).map_err(failed),
            Json::Lines(writer, out) => writer.write(batch).map(|()| out.take()).map_err(failed),
        }
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, QueryError> {
        match *self {
            Json::Array(mut writer, out) => writer.finish().map(|()| [out.take(), b"\n".to_vec()].concat()).map_err(failed),
            Json::Lines(mut writer, out) => writer.finish().map(|()| out.take()).map_err(failed),
        }
    }
}

struct Parquet {
    writer: ArrowWriter<Shared>,
    out: Shared,
}

impl Parquet {
    fn new(schema: &SchemaRef) -> Result<Self, QueryError> {
        let out = Shared::default();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("dugnad ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_max_row_group_row_count(Some(crate::limits::PARQUET_ROW_GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(out.clone(), schema.clone(), Some(properties)).map_err(failed)?;
        Ok(Self { writer, out })
    }
}

impl Encode for Parquet {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        self.writer.write(batch).map(|()| self.out.take()).map_err(failed)
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, QueryError> {
        self.writer.close().map_err(failed)?;
        Ok(self.out.take())
    }
}

struct Ipc {
    writer: StreamWriter<Shared>,
    out: Shared,
}

impl Ipc {
    fn new(schema: &SchemaRef) -> Result<Self, QueryError> {
        let out = Shared::default();
        Ok(Self { writer: StreamWriter::try_new(out.clone(), schema).map_err(failed)?, out })
    }
}

impl Encode for Ipc {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        self.writer.write(batch).map(|()| self.out.take()).map_err(failed)
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<u8>, QueryError> {
        self.writer.finish().map_err(failed)?;
        Ok(self.out.take())
    }
}
