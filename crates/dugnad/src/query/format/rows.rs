//! Rows of a view as bytes. JSON and CSV are written from the cells as they are; Parquet, Arrow and tables go through Arrow.

use super::{Format, Writer, failed};
use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bumpalo::Bump;
use dugnad_kernel::fhir::json::{Value, write_string};
use dugnad_kernel::views::render::write_json;
use dugnad_kernel::views::{Cell, Column, ColumnType, View, ViewError};
use dugnad_sql::QueryError;
use std::sync::Arc;

/// How many rows a batch holds.
const BATCH_ROWS: usize = 8_192;

/// How many bytes are collected before they are handed on.
const CHUNK_BYTES: usize = 256 << 10;

/// A writer of rows.
pub struct Rows {
    out: Vec<u8>,
    count: u64,
    kind: Kind,
    most: u64,
    room: usize,
    over: bool,
}

enum Kind {
    /// `names` holds `"name":` of each column.
    Json {
        names: Vec<Vec<u8>>,
        lines: bool,
        first: bool,
    },
    Csv,
    Batches(Box<Batches>),
}

impl Rows {
    /// A writer of rows of `columns`.
    pub fn new(format: Format, columns: &[Column]) -> Result<Self, QueryError> {
        let mut out = Vec::new();
        let names = || {
            columns
                .iter()
                .map(|column| {
                    let mut name = Vec::new();
                    write_string(&column.name, &mut name);
                    name.push(b':');
                    name
                })
                .collect()
        };
        let kind = match format {
            Format::Json => {
                out.push(b'[');
                Kind::Json { names: names(), lines: false, first: true }
            }
            Format::Ndjson => Kind::Json { names: names(), lines: true, first: true },
            Format::Csv => {
                out.extend_from_slice(columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(",").as_bytes());
                out.push(b'\n');
                Kind::Csv
            }
            Format::Parquet | Format::Arrow | Format::Table => Kind::Batches(Box::new(Batches::new(format, columns)?)),
        };
        Ok(Self { out, count: 0, kind, most: u64::MAX, room: usize::MAX, over: false })
    }

    /// At most `most` rows, and no more once `room` bytes have not been taken.
    #[must_use]
    pub fn at_most(self, most: u64, room: usize) -> Self {
        Self { most, room, ..self }
    }

    /// Whether rows were left out for lack of room.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Adds the rows of a resource.
    pub fn run<'a>(&mut self, view: &View, resource: Value<'a>, arena: &'a Bump) -> Result<(), ViewError> {
        let Self { out, count, kind, most, room, over } = self;
        // `write` says how many bytes there are then.
        let mut run = |write: &mut dyn FnMut(&[Cell<'a>]) -> usize| {
            view.run(resource, arena, &mut |cells| {
                if *count < *most && !*over {
                    *count += 1;
                    *over = write(cells) > *room;
                }
            })
        };
        match kind {
            Kind::Json { names, lines, first } => run(&mut |cells| {
                json_row(out, names, *lines, first, cells);
                out.len()
            }),
            Kind::Csv => run(&mut |cells| {
                csv_row(out, cells);
                out.len()
            }),
            Kind::Batches(batches) => run(&mut |cells| batches.row(cells)),
        }
    }

    /// How many rows there have been.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What has been collected, if it is enough to be worth handing on.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, QueryError> {
        if let Kind::Batches(batches) = &mut self.kind {
            batches.encode(BATCH_ROWS, &mut self.out)?;
        }
        Ok((self.out.len() >= CHUNK_BYTES).then(|| std::mem::take(&mut self.out)))
    }

    /// The rest and the end.
    pub fn finish(self) -> Result<Vec<u8>, QueryError> {
        let Self { mut out, kind, .. } = self;
        match kind {
            Kind::Json { lines: false, .. } => out.extend_from_slice(b"]\n"),
            Kind::Json { .. } | Kind::Csv => {}
            Kind::Batches(mut batches) => {
                batches.encode(1, &mut out)?;
                out.extend_from_slice(&batches.writer.finish()?);
            }
        }
        Ok(out)
    }
}

fn json_row(out: &mut Vec<u8>, names: &[Vec<u8>], lines: bool, first: &mut bool, cells: &[Cell<'_>]) {
    if !lines && !*first {
        out.extend_from_slice(b",\n");
    }
    *first = false;
    out.push(b'{');
    for (n, (name, cell)) in names.iter().zip(cells).enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        write_json(cell, out);
    }
    out.push(b'}');
    if lines {
        out.push(b'\n');
    }
}

/// RFC 4180, lines ended by LF. An absent value is empty, an empty string is `""`.
fn csv_row(out: &mut Vec<u8>, cells: &[Cell<'_>]) {
    for (n, cell) in cells.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        match cell {
            Cell::Null => {}
            Cell::String(text) | Cell::Key { id: text, .. } => csv_text(out, text.as_bytes()),
            Cell::List(_) | Cell::Element(_) => {
                let mut json = Vec::new();
                write_json(cell, &mut json);
                csv_text(out, &json);
            }
            Cell::Boolean(_) | Cell::Integer(_) | Cell::Decimal(_) => write_json(cell, out),
        }
    }
    out.push(b'\n');
}

fn csv_text(out: &mut Vec<u8>, text: &[u8]) {
    if !text.is_empty() && !text.iter().any(|b| matches!(b, b'"' | b',' | b'\n' | b'\r')) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

struct Batches {
    schema: SchemaRef,
    builders: Vec<Builder>,
    rows: usize,
    bytes: usize,
    writer: Writer,
}

enum Builder {
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Decimal(Float64Builder),
    Text(StringBuilder),
}

impl Batches {
    fn new(format: Format, columns: &[Column]) -> Result<Self, QueryError> {
        let builders: Vec<Builder> = columns.iter().map(Builder::of).collect();
        let fields: Vec<Field> = columns.iter().zip(&builders).map(|(c, b)| Field::new(&c.name, b.data_type(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let writer = Writer::new(format, &schema)?;
        Ok(Self { schema, builders, rows: 0, bytes: 0, writer })
    }

    /// Adds a row; about how many bytes there are then.
    fn row(&mut self, cells: &[Cell<'_>]) -> usize {
        self.rows += 1;
        for (builder, cell) in self.builders.iter_mut().zip(cells) {
            builder.append(cell);
            if let Cell::String(text) | Cell::Decimal(text) = cell {
                self.bytes += text.len();
            }
        }
        self.bytes += cells.len() * size_of::<u64>();
        self.bytes
    }

    /// Encodes the rows that are there, if they are at least `at_least`.
    fn encode(&mut self, at_least: usize, out: &mut Vec<u8>) -> Result<(), QueryError> {
        if self.rows < at_least {
            return Ok(());
        }
        (self.rows, self.bytes) = (0, 0);
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(failed)?;
        out.extend_from_slice(&self.writer.write(&batch)?);
        Ok(())
    }
}

impl Builder {
    fn of(column: &Column) -> Self {
        match column.column_type {
            ColumnType::Boolean if !column.collection => Builder::Boolean(BooleanBuilder::new()),
            ColumnType::Integer if !column.collection => Builder::Integer(Int64Builder::new()),
            ColumnType::Decimal if !column.collection => Builder::Decimal(Float64Builder::new()),
            _ => Builder::Text(StringBuilder::new()),
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Builder::Boolean(_) => DataType::Boolean,
            Builder::Integer(_) => DataType::Int64,
            Builder::Decimal(_) => DataType::Float64,
            Builder::Text(_) => DataType::Utf8,
        }
    }

    /// A value that is not of the column's type is absent: the view has been told its type.
    fn append(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Builder::Boolean(builder), Cell::Boolean(value)) => builder.append_value(*value),
            (Builder::Boolean(builder), _) => builder.append_null(),
            (Builder::Integer(builder), Cell::Integer(value)) => builder.append_value(*value),
            (Builder::Integer(builder), Cell::Decimal(text)) => builder.append_option(text.parse().ok()),
            (Builder::Integer(builder), _) => builder.append_null(),
            (Builder::Decimal(builder), Cell::Decimal(text)) => builder.append_option(text.parse().ok()),
            (Builder::Decimal(builder), Cell::Integer(value)) => builder.append_value(*value as f64),
            (Builder::Decimal(builder), _) => builder.append_null(),
            (Builder::Text(builder), Cell::Null) => builder.append_null(),
            (Builder::Text(builder), Cell::String(text) | Cell::Key { id: text, .. }) => builder.append_value(text),
            (Builder::Text(builder), cell) => {
                let mut json = Vec::new();
                write_json(cell, &mut json);
                builder.append_value(String::from_utf8_lossy(&json));
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Boolean(builder) => Arc::new(builder.finish()),
            Builder::Integer(builder) => Arc::new(builder.finish()),
            Builder::Decimal(builder) => Arc::new(builder.finish()),
            Builder::Text(builder) => Arc::new(builder.finish()),
        }
    }
}

/// The resources of a document: itself, or those of a Bundle's entries unless the view is of Bundles.
pub fn resources<'a>(document: Value<'a>, wanted: &str) -> Vec<(String, Value<'a>)> {
    if wanted == "Bundle" || document.str("resourceType") != Some("Bundle") {
        return vec![(String::new(), document)];
    }
    let entries = document.get("entry").map_or(&[][..], |entry| entry.items());
    let resource = |(n, entry): (usize, &Value<'a>)| entry.get("resource").map(|resource| (format!("Bundle.entry[{n}]: "), resource));
    entries.iter().enumerate().filter_map(resource).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dugnad_kernel::fhir::json;

    #[test]
    fn cells_as_json_and_csv() {
        let list = [Cell::String("a\"b"), Cell::Null];
        let cells = [
            Cell::Key { resource_type: "Patient", id: "1" },
            Cell::Decimal("1.10"),
            Cell::Boolean(true),
            Cell::Null,
            Cell::String(""),
            Cell::List(&list),
            Cell::Integer(-3),
        ];
        let names: Vec<Vec<u8>> = ["k", "d", "b", "n", "s", "l", "i"].iter().map(|n| format!("\"{n}\":").into_bytes()).collect();
        let mut out = Vec::new();
        json_row(&mut out, &names, true, &mut true, &cells);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "{\"k\":\"1\",\"d\":1.10,\"b\":true,\"n\":null,\"s\":\"\",\"l\":[\"a\\\"b\",null],\"i\":-3}\n"
        );
        out.clear();
        csv_row(&mut out, &cells);
        assert_eq!(String::from_utf8_lossy(&out), "1,1.10,true,,\"\",\"[\"\"a\\\"\"b\"\",null]\",-3\n");
    }

    #[test]
    fn a_bundle_gives_its_entries() {
        let arena = Bump::new();
        let text = br#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient"}},{"fullUrl":"x"},{"resource":{"resourceType":"Basic"}}]}"#;
        let bundle = json::parse(text, &arena).unwrap_or(Value::Null);
        let places: Vec<String> = resources(bundle, "Patient").into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, ["Bundle.entry[0]: ", "Bundle.entry[2]: "]);
        assert_eq!(resources(bundle, "Bundle").len(), 1);
    }
}
