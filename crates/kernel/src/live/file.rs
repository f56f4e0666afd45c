//! The file of a stored segment: its columns as Arrow lays them out, mapped into memory and read without copying.
//! docs/formats/live.md describes it byte by byte.
//!
//! Every buffer has a checksum, which is compared when the buffer is first touched. A file that does not fit is `Damaged`: it
//! is rebuilt from the journal, never guessed at.

use super::schema::{Storage, TableSchema, ZONE};
use super::statistics::{Condition, Extent};
use crate::disk::Folder;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, DictionaryArray, Float64Array, Int64Array, StringArray, StringViewArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

/// The first bytes of a segment file; the last of them is the format's version.
const MAGIC: [u8; 8] = *b"DUGSEG\0\x01";
/// Where buffers begin: at a multiple of this, as Arrow recommends.
const ALIGNMENT: usize = 64;
/// Magic, length and checksum of the header.
const PREFIX: usize = 16;

/// A file of the live tables that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged: {what}")]
pub struct Damaged {
    /// The file's name.
    pub file: String,
    /// What is wrong, such as which buffer has another checksum.
    pub what: String,
}

/// Where a buffer is in the file.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place {
    at: u64,
    len: u64,
    crc: u32,
}

/// The buffers of a column.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ColumnPlaces {
    /// The validity bitmap; absent if nothing is null.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    valid: Option<Place>,
    /// The values: numbers, bits, dictionary keys or string views.
    values: Place,
    /// Of a `Code` or `Holder` column: the offsets and bytes of its dictionary. Of a `String` column: its blocks of text.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    texts: Vec<Place>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    extent: Option<Extent>,
    nulls: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    rows: u64,
    /// The commits of the first and the last row.
    first: u64,
    last: u64,
    begins: Place,
    resources: Place,
    holders: Place,
    columns: Vec<ColumnPlaces>,
}

/// A segment in a file. Arrays are made of it when they are first asked for.
pub(super) struct Stored {
    name: String,
    map: Arc<Mmap>,
    header: Header,
    begins: OnceLock<Result<ScalarBuffer<u64>, Damaged>>,
    resources: OnceLock<Result<ScalarBuffer<u64>, Damaged>>,
    holders: OnceLock<Result<ScalarBuffer<u16>, Damaged>>,
    columns: Vec<OnceLock<Result<ArrayRef, Damaged>>>,
    storages: Vec<Storage>,
}

/// Writes buffers one after the other.
struct Layout {
    at: u64,
    bytes: Vec<(u64, Buffer)>,
}

impl Layout {
    fn add(&mut self, buffer: Buffer) -> Place {
        let place = Place { at: self.at, len: buffer.len() as u64, crc: crc32fast::hash(buffer.as_slice()) };
        self.at = (self.at + place.len).next_multiple_of(ALIGNMENT as u64);
        self.bytes.push((place.at, buffer));
        place
    }

    fn column(&mut self, array: &ArrayRef, storage: Storage) -> ColumnPlaces {
        let valid = array.nulls().filter(|n| n.null_count() > 0).map(|n| self.add(bits(n.inner())));
        let nulls = array.null_count() as u64;
        let mut texts = Vec::new();
        let values = match storage {
            Storage::Code | Storage::Holder => {
                let dictionary = array.as_dictionary::<UInt32Type>();
                let values = dictionary.values().as_string::<i32>();
                texts.push(self.add(values.offsets().inner().inner().clone()));
                texts.push(self.add(Buffer::from(values.value_data())));
                self.add(dictionary.keys().values().inner().clone())
            }
            Storage::String => {
                let strings = array.as_string_view();
                texts.extend(strings.data_buffers().iter().map(|b| self.add(b.clone())));
                self.add(strings.views().inner().clone())
            }
            Storage::Boolean => self.add(bits(array.as_boolean().values())),
            _ => self.add(array.to_data().buffers().first().cloned().unwrap_or_default()),
        };
        ColumnPlaces { valid, values, texts, extent: extent(array, storage), nulls }
    }
}

/// A bitmap whose first bit is the first bit of its bytes.
fn bits(bits: &BooleanBuffer) -> Buffer {
    bits.sliced()
}

fn extent(array: &ArrayRef, storage: Storage) -> Option<Extent> {
    match storage {
        Storage::Date => Extent::of(array.as_primitive::<arrow::datatypes::Date32Type>().iter().flatten().map(|d| (d.into(), d.into()))),
        Storage::Instant => Extent::of(array.as_primitive::<TimestampMicrosecondType>().iter().flatten().map(Extent::integer)),
        Storage::Integer => Extent::of(array.as_primitive::<Int64Type>().iter().flatten().map(Extent::integer)),
        Storage::Decimal => Extent::of(array.as_primitive::<Float64Type>().iter().flatten().map(|d| (d, d))),
        Storage::Patient => Extent::of(array.as_primitive::<UInt32Type>().iter().flatten().map(|d| (d.into(), d.into()))),
        Storage::Resource => Extent::of(array.as_primitive::<UInt64Type>().iter().flatten().map(|d| (d as f64, d as f64))),
        Storage::Boolean | Storage::Code | Storage::Holder | Storage::String => None,
    }
}

/// The rows of a segment as arrays, ready to be written.
pub(super) struct Contents {
    pub(super) begins: ScalarBuffer<u64>,
    pub(super) resources: ScalarBuffer<u64>,
    pub(super) holders: ScalarBuffer<u16>,
    pub(super) columns: Vec<ArrayRef>,
}

/// Writes a segment file, durably but for its name, and maps it.
pub(super) fn write(folder: &Folder, name: &str, schema: &TableSchema, contents: &Contents) -> io::Result<Stored> {
    let mut layout = Layout { at: 0, bytes: Vec::new() };
    let header = Header {
        rows: contents.begins.len() as u64,
        first: contents.begins.first().copied().unwrap_or_default(),
        last: contents.begins.last().copied().unwrap_or_default(),
        begins: layout.add(contents.begins.inner().clone()),
        resources: layout.add(contents.resources.inner().clone()),
        holders: layout.add(contents.holders.inner().clone()),
        columns: contents.columns.iter().zip(&schema.columns).map(|(a, c)| layout.column(a, c.storage)).collect(),
    };
    let json = serde_json::to_vec(&header).map_err(io::Error::other)?;
    let mut file = io::BufWriter::with_capacity(1 << 20, folder.create(name)?);
    file.write_all(&MAGIC)?;
    file.write_all(&(json.len() as u32).to_le_bytes())?;
    file.write_all(&crc32fast::hash(&json).to_le_bytes())?;
    file.write_all(&json)?;
    let start = buffers_start(json.len());
    let mut written = PREFIX + json.len();
    for (at, buffer) in layout.bytes {
        let at = start + at as usize;
        file.write_all(&[0; ALIGNMENT][..at - written])?;
        file.write_all(buffer.as_slice())?;
        written = at + buffer.len();
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync()?;
    open(&folder.at(name), schema).map_err(|e| io::Error::other(e.to_string()))
}

/// Where the first buffer is.
fn buffers_start(header: usize) -> usize {
    (PREFIX + header).next_multiple_of(ALIGNMENT)
}

/// Maps a segment file. Its header is checked, its buffers when they are touched.
pub(super) fn open(path: &Path, schema: &TableSchema) -> Result<Stored, Damaged> {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let damaged = |what: String| Damaged { file: name.clone(), what };
    let file = File::open(path).map_err(|e| damaged(e.to_string()))?;
    // SAFETY: files of this folder are written once by this program, before they are mapped, and never changed after; the
    // folder's lock keeps other processes of ours away. A file that something else cuts short ends the process (SIGBUS).
    let map = unsafe { Mmap::map(&file) }.map_err(|e| damaged(e.to_string()))?;
    let prefix = map.get(..PREFIX).ok_or_else(|| damaged("it is too short".to_owned()))?;
    if prefix.get(..8) != Some(&MAGIC) {
        return Err(damaged("it is no segment of this format".to_owned()));
    }
    let number = |at: usize| prefix.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let json = map.get(PREFIX..PREFIX + number(8) as usize).ok_or_else(|| damaged("its header is cut".to_owned()))?;
    if crc32fast::hash(json) != number(12) {
        return Err(damaged("its header has another checksum".to_owned()));
    }
    let header: Header = serde_json::from_slice(json).map_err(|e| damaged(format!("its header cannot be read: {e}")))?;
    if header.columns.len() != schema.columns.len() {
        return Err(damaged(format!("it has {} columns, the table has {}", header.columns.len(), schema.columns.len())));
    }
    let columns = schema.columns.iter().map(|_| OnceLock::new()).collect();
    let storages = schema.columns.iter().map(|c| c.storage).collect();
    let (begins, resources, holders) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
    Ok(Stored { name, map: Arc::new(map), header, begins, resources, holders, columns, storages })
}

impl Stored {
    /// The file's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn len(&self) -> usize {
        self.header.rows as usize
    }

    /// The commits of the first and the last row.
    pub(super) fn range(&self) -> (u64, u64) {
        (self.header.first, self.header.last)
    }

    pub(super) fn begins(&self) -> Result<&[u64], Damaged> {
        numbers(&self.begins, || self.scalars(self.header.begins, "begins"))
    }

    pub(super) fn resources(&self) -> Result<&[u64], Damaged> {
        numbers(&self.resources, || self.scalars(self.header.resources, "resources"))
    }

    pub(super) fn holders(&self) -> Result<&[u16], Damaged> {
        numbers(&self.holders, || self.scalars(self.header.holders, "holders"))
    }

    /// A column, checked when it is first asked for.
    pub(super) fn column(&self, position: usize) -> Result<ArrayRef, Damaged> {
        let column = self.columns.get(position).ok_or_else(|| self.damaged(format!("it has no column {position}")))?;
        column.get_or_init(|| self.array(position)).clone()
    }

    fn damaged(&self, what: String) -> Damaged {
        Damaged { file: self.name.clone(), what }
    }

    /// A buffer of the file, without copying, its checksum compared.
    fn buffer(&self, place: Place, what: &str) -> Result<Buffer, Damaged> {
        let start = buffers_start(self.header_len()) + place.at as usize;
        let bytes = self.map.get(start..start + place.len as usize);
        let bytes = bytes.ok_or_else(|| self.damaged(format!("the {what} are cut")))?;
        if crc32fast::hash(bytes) != place.crc {
            return Err(self.damaged(format!("the {what} have another checksum")));
        }
        let owner = Arc::new(Mapped(Arc::clone(&self.map)));
        // SAFETY: the bytes are in the mapping, which `owner` keeps, and nobody writes to them.
        Ok(unsafe { Buffer::from_custom_allocation(NonNull::from(bytes).cast::<u8>(), bytes.len(), owner) })
    }

    fn header_len(&self) -> usize {
        self.map.get(8..12).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes) as usize
    }

    fn scalars<T: arrow::datatypes::ArrowNativeType>(&self, place: Place, what: &str) -> Result<ScalarBuffer<T>, Damaged> {
        let buffer = self.buffer(place, what)?;
        if buffer.len() != self.len() * size_of::<T>() {
            return Err(self.damaged(format!("the {what} have another length")));
        }
        Ok(ScalarBuffer::from(buffer))
    }

    fn array(&self, position: usize) -> Result<ArrayRef, Damaged> {
        let places = self.header.columns.get(position).ok_or_else(|| self.damaged("a column is missing".to_owned()))?;
        let storage = self.storages.get(position).copied().unwrap_or(Storage::String);
        let what = format!("values of column {position}");
        let rows = self.len();
        let nulls = match places.valid {
            None => None,
            Some(place) => Some(NullBuffer::new(self.bitmap(place, rows, &what)?)),
        };
        let wrong = |e: arrow::error::ArrowError| self.damaged(format!("the {what} do not fit: {e}"));
        Ok(match storage {
            Storage::Boolean => Arc::new(BooleanArray::new(self.bitmap(places.values, rows, &what)?, nulls)),
            Storage::Date => Arc::new(Date32Array::try_new(self.scalars(places.values, &what)?, nulls).map_err(wrong)?),
            Storage::Patient => Arc::new(UInt32Array::try_new(self.scalars(places.values, &what)?, nulls).map_err(wrong)?),
            Storage::Resource => Arc::new(UInt64Array::try_new(self.scalars(places.values, &what)?, nulls).map_err(wrong)?),
            Storage::Integer => Arc::new(Int64Array::try_new(self.scalars(places.values, &what)?, nulls).map_err(wrong)?),
            Storage::Decimal => Arc::new(Float64Array::try_new(self.scalars(places.values, &what)?, nulls).map_err(wrong)?),
            Storage::Instant => {
                let values = TimestampMicrosecondArray::try_new(self.scalars(places.values, &what)?, nulls).map_err(wrong)?;
                Arc::new(values.with_timezone(ZONE))
            }
            Storage::Code | Storage::Holder => {
                let keys = UInt32Array::try_new(self.scalars(places.values, &what)?, nulls).map_err(wrong)?;
                Arc::new(DictionaryArray::try_new(keys, Arc::new(self.dictionary(places)?)).map_err(wrong)?)
            }
            Storage::String => {
                let blocks: Result<Vec<Buffer>, Damaged> = places.texts.iter().map(|p| self.buffer(*p, &what)).collect();
                Arc::new(StringViewArray::try_new(self.scalars(places.values, &what)?, blocks?, nulls).map_err(wrong)?)
            }
        })
    }

    fn bitmap(&self, place: Place, rows: usize, what: &str) -> Result<BooleanBuffer, Damaged> {
        let buffer = self.buffer(place, what)?;
        if buffer.len() < rows.div_ceil(8) {
            return Err(self.damaged(format!("the {what} have another length")));
        }
        Ok(BooleanBuffer::new(buffer, 0, rows))
    }

    fn dictionary(&self, places: &ColumnPlaces) -> Result<StringArray, Damaged> {
        let [offsets, bytes] = places.texts.as_slice() else { return Err(self.damaged("a dictionary is missing".to_owned())) };
        let offsets = self.buffer(*offsets, "offsets of a dictionary")?;
        let offsets: ScalarBuffer<i32> = ScalarBuffer::from(offsets);
        let ordered = offsets.first() == Some(&0) && offsets.windows(2).all(|w| matches!(w, [a, b] if a <= b));
        if !ordered {
            return Err(self.damaged("the offsets of a dictionary do not grow".to_owned()));
        }
        let bytes = self.buffer(*bytes, "texts of a dictionary")?;
        let wrong = |e: arrow::error::ArrowError| self.damaged(format!("the texts of a dictionary do not fit: {e}"));
        StringArray::try_new(OffsetBuffer::new(offsets), bytes, None).map_err(wrong)
    }

    /// Whether a row can meet `condition`, as far as is known without reading the column. A dictionary is read.
    pub(super) fn may_meet(&self, condition: &Condition) -> bool {
        let rows = self.header.rows;
        let places = |column: &usize| self.header.columns.get(*column);
        match condition {
            Condition::Present { column } => places(column).is_none_or(|p| p.nulls < rows),
            Condition::Between { column, low, high } => places(column).is_none_or(|p| match p.extent {
                Some(extent) => extent.high >= *low && extent.low <= *high,
                None => p.nulls < rows,
            }),
            Condition::Patient { column, ordinal } => {
                let ordinal = f64::from(*ordinal);
                places(column).and_then(|p| p.extent).is_none_or(|e| e.low <= ordinal && e.high >= ordinal)
            }
            Condition::OneOf { column, texts } => {
                let Ok(array) = self.column(*column) else { return true }; // reading it will say what is wrong
                let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() else { return true };
                let Some(values) = dictionary.values().as_string_opt::<i32>() else { return true };
                values.iter().flatten().any(|v| texts.iter().any(|t| t == v))
            }
        }
    }
}

fn numbers<T>(
    cell: &OnceLock<Result<ScalarBuffer<T>, Damaged>>,
    read: impl FnOnce() -> Result<ScalarBuffer<T>, Damaged>,
) -> Result<&[T], Damaged>
where
    T: arrow::datatypes::ArrowNativeType,
{
    match cell.get_or_init(read) {
        Ok(values) => Ok(values),
        Err(damaged) => Err(damaged.clone()),
    }
}

/// What keeps a mapping alive for Arrow's buffers.
struct Mapped(#[expect(dead_code, reason = "held, not read")] Arc<Mmap>);

impl std::panic::RefUnwindSafe for Mapped {}
