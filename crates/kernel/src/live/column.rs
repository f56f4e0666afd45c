//! The growing columns of a tail.

use super::grow::{Reader, Writer};
use super::schema::{Storage, ZONE};
use crate::hash::HashMap;
use crate::ids::{PatientOrdinal, ResourceOrdinal};
use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, DictionaryArray, Float64Array, Int64Array, StringArray, StringViewArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array, make_view,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use std::sync::{Arc, PoisonError, RwLock};

/// A cell of a live row, owned, its keys resolved to ordinals.
#[derive(Clone, Debug, PartialEq)]
pub enum LiveCell {
    /// No value.
    Null,
    /// A boolean.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A decimal.
    Decimal(f64),
    /// Text: of a `Code` or `String` column.
    Text(Box<str>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Instant(i64),
    /// A patient.
    Patient(PatientOrdinal),
    /// A resource.
    Resource(ResourceOrdinal),
}

/// The largest block of text that strings are packed into; a longer string gets a block of its own.
const TEXT_BLOCK_BYTES: usize = 256 << 10;

/// The distinct texts of one column of one segment, numbered in order of appearance.
#[derive(Default)]
struct Dictionary {
    codes: HashMap<Box<str>, u32>,
    shared: Arc<RwLock<Shared>>,
}

#[derive(Default)]
struct Shared {
    texts: Vec<Box<str>>,
    // The texts as an array, made when a scan first needs it and again once it has grown.
    array: Option<Arc<StringArray>>,
}

/// A dictionary as scans see it.
#[derive(Clone)]
struct DictionaryReader(Arc<RwLock<Shared>>);

impl Dictionary {
    fn code(&mut self, text: &str) -> u32 {
        if let Some(code) = self.codes.get(text) {
            return *code;
        }
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        let code = u32::try_from(shared.texts.len()).unwrap_or(u32::MAX); // at most one text for each row of a segment
        shared.texts.push(text.into());
        self.codes.insert(text.into(), code);
        code
    }

    fn reader(&self) -> DictionaryReader {
        DictionaryReader(Arc::clone(&self.shared))
    }
}

impl DictionaryReader {
    fn array(&self) -> Arc<StringArray> {
        {
            let shared = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(array) = shared.array.as_ref().filter(|a| a.len() == shared.texts.len()) {
                return Arc::clone(array);
            }
        }
        let mut shared = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let array = Arc::new(StringArray::from_iter_values(shared.texts.iter()));
        shared.array = Some(Arc::clone(&array));
        array
    }
}

/// Writes one column of one segment.
pub(super) struct ColumnWriter {
    valid: Writer<bool>,
    values: Values<Writing>,
}

/// Reads one column of one segment.
pub(super) struct ColumnReader {
    valid: Reader<bool>,
    values: Values<Reading>,
    storage: Storage,
}

/// The writing or the reading end of growing vectors.
trait End {
    type Of<T>;
    type Code;
    type Text;
}

struct Writing;
struct Reading;

impl End for Writing {
    type Of<T> = Writer<T>;
    type Code = (Writer<u32>, Dictionary);
    type Text = TextWriter;
}

impl End for Reading {
    type Of<T> = Reader<T>;
    type Code = (Reader<u32>, DictionaryReader);
    type Text = TextReader;
}

enum Values<E: End> {
    Boolean(E::Of<u8>),
    Date(E::Of<i32>),
    /// Numbers into a dictionary.
    Code(E::Code),
    Patient(E::Of<u32>),
    /// Integers and instants.
    Integer(E::Of<i64>),
    Resource(E::Of<u64>),
    Decimal(E::Of<f64>),
    String(E::Text),
}

struct TextWriter {
    views: Writer<u128>,
    block: Writer<u8>,
    blocks: Arc<RwLock<Vec<Reader<u8>>>>,
}

struct TextReader {
    views: Reader<u128>,
    blocks: Arc<RwLock<Vec<Reader<u8>>>>,
}

impl TextWriter {
    fn with_capacity(rows: usize) -> Self {
        Self { views: Writer::with_capacity(rows), block: Writer::with_capacity(0), blocks: Arc::default() }
    }

    fn push(&mut self, text: &str) -> bool {
        let bytes = text.as_bytes();
        if bytes.len() <= 12 {
            return self.views.push(make_view(bytes, 0, 0)); // a short string stands in its view
        }
        let mut offset = self.block.len();
        if !self.block.extend(bytes) {
            self.block = Writer::with_capacity(TEXT_BLOCK_BYTES.max(bytes.len()));
            offset = 0;
            let fits = self.block.extend(bytes);
            debug_assert!(fits, "a new block holds the string it was made for");
            self.blocks.write().unwrap_or_else(PoisonError::into_inner).push(self.block.reader());
        }
        let block = self.blocks.read().unwrap_or_else(PoisonError::into_inner).len() - 1;
        // Blocks and offsets stay below 2^32: a segment has 65,536 rows and a body 32 MiB.
        self.views.push(make_view(bytes, block as u32, offset as u32))
    }
}

impl ColumnWriter {
    pub(super) fn with_capacity(storage: Storage, rows: usize) -> Self {
        let values = match storage {
            Storage::Boolean => Values::Boolean(Writer::with_capacity(rows)),
            Storage::Date => Values::Date(Writer::with_capacity(rows)),
            Storage::Code | Storage::Holder => Values::Code((Writer::with_capacity(rows), Dictionary::default())),
            Storage::Patient => Values::Patient(Writer::with_capacity(rows)),
            Storage::Integer | Storage::Instant => Values::Integer(Writer::with_capacity(rows)),
            Storage::Resource => Values::Resource(Writer::with_capacity(rows)),
            Storage::Decimal => Values::Decimal(Writer::with_capacity(rows)),
            Storage::String => Values::String(TextWriter::with_capacity(rows)),
        };
        Self { valid: Writer::with_capacity(rows), values }
    }

    /// Appends a cell; one that does not fit the column's storage becomes null. False if the segment is full.
    #[must_use]
    pub(super) fn push(&mut self, cell: &LiveCell) -> bool {
        let (valid, pushed) = match (&mut self.values, cell) {
            (Values::Boolean(w), LiveCell::Boolean(b)) => (true, w.push(u8::from(*b))),
            (Values::Date(w), LiveCell::Date(d)) => (true, w.push(*d)),
            (Values::Code((w, dictionary)), LiveCell::Text(t)) => (true, w.push(dictionary.code(t))),
            (Values::Patient(w), LiveCell::Patient(p)) => (true, w.push(p.0)),
            (Values::Integer(w), LiveCell::Integer(i) | LiveCell::Instant(i)) => (true, w.push(*i)),
            (Values::Resource(w), LiveCell::Resource(r)) => (true, w.push(r.0)),
            (Values::Decimal(w), LiveCell::Decimal(d)) => (true, w.push(*d)),
            (Values::String(w), LiveCell::Text(t)) => (true, w.push(t)),
            (Values::Boolean(w), _) => (false, w.push(0)),
            (Values::Date(w), _) => (false, w.push(0)),
            (Values::Code((w, _)), _) | (Values::Patient(w), _) => (false, w.push(0)),
            (Values::Integer(w), _) => (false, w.push(0)),
            (Values::Resource(w), _) => (false, w.push(0)),
            (Values::Decimal(w), _) => (false, w.push(0.0)),
            (Values::String(w), _) => (false, w.push("")),
        };
        pushed && self.valid.push(valid)
    }

    pub(super) fn reader(&self, storage: Storage) -> ColumnReader {
        let values = match &self.values {
            Values::Boolean(w) => Values::Boolean(w.reader()),
            Values::Date(w) => Values::Date(w.reader()),
            Values::Code((w, dictionary)) => Values::Code((w.reader(), dictionary.reader())),
            Values::Patient(w) => Values::Patient(w.reader()),
            Values::Integer(w) => Values::Integer(w.reader()),
            Values::Resource(w) => Values::Resource(w.reader()),
            Values::Decimal(w) => Values::Decimal(w.reader()),
            Values::String(w) => Values::String(TextReader { views: w.views.reader(), blocks: Arc::clone(&w.blocks) }),
        };
        ColumnReader { valid: self.valid.reader(), values, storage }
    }
}

impl ColumnReader {
    /// The first `len` cells as an Arrow array of [`Storage::arrow`]'s type. Values are not copied, only the null bitmap is made.
    pub(super) fn array(&self, len: usize) -> ArrayRef {
        let nulls = self.nulls(len);
        match &self.values {
            Values::Boolean(r) => {
                let values = r.slice();
                Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(len, |i| values.get(i) == Some(&1)), nulls))
            }
            Values::Date(r) => Arc::new(Date32Array::new(ScalarBuffer::from(r.buffer(len)), nulls)),
            Values::Patient(r) => Arc::new(UInt32Array::new(ScalarBuffer::from(r.buffer(len)), nulls)),
            Values::Code((r, dictionary)) => {
                let keys = UInt32Array::new(ScalarBuffer::from(r.buffer(len)), nulls);
                // SAFETY: every valid key is a code that the dictionary gave out, and it is read after the keys, so it has them
                // all; a null's key is 0 and is not looked up. Checking each key would cost more than the scan.
                Arc::new(unsafe { DictionaryArray::new_unchecked(keys, dictionary.array()) })
            }
            Values::Integer(r) => {
                let values = ScalarBuffer::from(r.buffer(len));
                if self.storage == Storage::Instant {
                    return Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone(ZONE));
                }
                Arc::new(Int64Array::new(values, nulls))
            }
            Values::Resource(r) => Arc::new(UInt64Array::new(ScalarBuffer::from(r.buffer(len)), nulls)),
            Values::Decimal(r) => Arc::new(Float64Array::new(ScalarBuffer::from(r.buffer(len)), nulls)),
            Values::String(r) => {
                // Views first: a block is listed before a view that points into it is published.
                let views = ScalarBuffer::from(r.views.buffer(len));
                let blocks = r.blocks.read().unwrap_or_else(PoisonError::into_inner);
                let blocks: Vec<_> = blocks.iter().map(|b| b.buffer(usize::MAX)).collect();
                // SAFETY: each view was made by `make_view` from a &str, with the block and offset that hold its bytes.
                Arc::new(unsafe { StringViewArray::new_unchecked(views, blocks, nulls) })
            }
        }
    }

    fn nulls(&self, len: usize) -> Option<NullBuffer> {
        let valid = self.valid.slice();
        let valid = valid.get(..len).unwrap_or(valid);
        if valid.iter().all(|v| *v) {
            return None;
        }
        Some(NullBuffer::new(BooleanBuffer::collect_bool(valid.len(), |i| valid.get(i) == Some(&true))))
    }
}
