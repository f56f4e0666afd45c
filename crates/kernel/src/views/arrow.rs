//! Rows as Arrow record batches, for the formats that are made of them.
//!
//! Booleans, integers (64 bits) and decimals (64-bit floats) keep their type, all else is text: dates with the precision
//! that they were written with, keys as ids, elements that are no primitives as JSON. A collection is a list.

use super::render::{Elements, write_row};
use super::{Cell, Column, ColumnType};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::reader::{Decoder, ReaderBuilder};
use std::sync::Arc;

/// How many rows a batch has.
const BATCH_ROWS: usize = 8_192;

/// Rows on their way to batches.
#[derive(Debug)]
pub struct Batches {
    columns: Vec<Column>,
    decoder: Decoder,
    /// Rows as JSON, which the decoder has not seen.
    waiting: Vec<u8>,
    count: usize,
}

/// The Arrow schema of a view's rows; every field may be null.
pub fn schema(columns: &[Column]) -> Schema {
    let field = |column: &Column| {
        let item = match column.column_type {
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Integer => DataType::Int64,
            ColumnType::Decimal => DataType::Float64,
            _ => DataType::Utf8,
        };
        let data_type = if column.collection { DataType::new_list(item, true) } else { item };
        Field::new(&column.name, data_type, true)
    };
    Schema::new(columns.iter().map(field).collect::<Vec<_>>())
}

impl Batches {
    /// No rows yet.
    pub fn new(columns: &[Column]) -> Result<Self, ArrowError> {
        // An untyped column is text, whatever its elements are.
        let decoder =
            ReaderBuilder::new(Arc::new(schema(columns))).with_coerce_primitive(true).with_batch_size(BATCH_ROWS).build_decoder()?;
        Ok(Self { columns: columns.to_vec(), decoder, waiting: Vec::new(), count: 0 })
    }

    /// Adds a row; a batch where it is full.
    pub fn push(&mut self, cells: &[Cell<'_>]) -> Result<Option<RecordBatch>, ArrowError> {
        write_row(&self.columns, cells, Elements::Text, &mut self.waiting);
        self.waiting.push(b'\n');
        self.count += 1;
        if self.count < BATCH_ROWS { Ok(None) } else { self.finish() }
    }

    /// The rows that are left.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        self.decoder.decode(&self.waiting)?;
        self.waiting.clear();
        self.count = 0;
        self.decoder.flush()
    }
}
