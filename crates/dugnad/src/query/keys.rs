//! What a permit shows instead of ordinals.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, StringViewArray, StringViewBuilder};
use datafusion::arrow::datatypes::{DataType, UInt32Type, UInt64Type};

use dugnad_kernel::database::Database;
use dugnad_kernel::disclosure::{Domain, Pseudonyms};
use dugnad_kernel::ids::{PatientOrdinal, ResourceOrdinal};
use dugnad_kernel::live::schema::Storage;
use dugnad_sql::numbers::RANK_BYTES;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Where the logical ids behind ordinals are looked up.
pub(super) trait Names: Send + Sync {
    /// The ids of patients; `None` for one that has no name.
    fn patients(&self, ordinals: &[PatientOrdinal]) -> Result<Vec<Option<String>>, String>;

    /// The ids of resources.
    fn resources(&self, ordinals: &[ResourceOrdinal]) -> Result<Vec<Option<String>>, String>;
}

/// How the keys of one permit show.
#[derive(Clone)]
pub(super) enum Keys {
    /// As pseudonyms of this permit.
    Pseudonyms(Arc<Pseudonyms>),
    /// As logical ids, for identified readers.
    Names(Arc<dyn Names>),
    /// As they are stored. Only for counting inside this module; never for a permit.
    Ordinals,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Keys::Pseudonyms(_) => "pseudonyms",
            Keys::Names(_) => "names",
            Keys::Ordinals => "ordinals",
        })
    }
}

impl Keys {
    /// The type of a column under this permit.
    pub fn data_type(&self, storage: Storage) -> DataType {
        match (self, storage) {
            (Keys::Ordinals, _) => storage.arrow(),
            (_, Storage::Patient | Storage::Resource) => DataType::Utf8View,
            _ => storage.arrow(),
        }
    }

    /// Whether each ordinal has a text of its own, so that one can stand for the other.
    pub fn are_pseudonyms(&self) -> bool {
        matches!(self, Keys::Pseudonyms(_))
    }

    /// A column as this permit shows it. Columns that are no keys pass unchanged.
    pub fn encode(&self, storage: Storage, column: &ArrayRef) -> Result<ArrayRef, String> {
        let domain = match storage {
            Storage::Patient => Domain::Patient,
            Storage::Resource => Domain::Resource,
            _ => return Ok(column.clone()),
        };
        let ordinals = Ordinals::of(domain, column)?;
        match self {
            Keys::Ordinals => Ok(column.clone()),
            Keys::Pseudonyms(pseudonyms) => Ok(Arc::new(ordinals.pseudonyms(domain, pseudonyms))),
            Keys::Names(names) => Ok(Arc::new(ordinals.names(domain, names.as_ref())?)),
        }
    }

    /// For a column of keys that show as pseudonyms, bytes that compare as those do.
    pub fn ranks(&self, storage: Storage, column: &ArrayRef) -> Result<ArrayRef, String> {
        let domain = if storage == Storage::Patient { Domain::Patient } else { Domain::Resource };
        let Keys::Pseudonyms(pseudonyms) = self else { return Err("only pseudonyms have ranks".to_owned()) };
        let ordinals = Ordinals::of(domain, column)?;
        let mut bytes = Vec::with_capacity(ordinals.values.len() * RANK_BYTES as usize);
        pseudonyms.ranks(domain, ordinals.values.iter().copied(), |rank| bytes.extend_from_slice(rank));
        let ranks = FixedSizeBinaryArray::try_new(RANK_BYTES, bytes.into(), column.nulls().cloned());
        Ok(Arc::new(ranks.map_err(|e| e.to_string())?))
    }
}

/// A column of ordinals, with its nulls.
struct Ordinals<'a> {
    values: Vec<u64>,
    column: &'a ArrayRef,
}

impl<'a> Ordinals<'a> {
    fn of(domain: Domain, column: &'a ArrayRef) -> Result<Self, String> {
        let values = match domain {
            Domain::Patient => column.as_primitive_opt::<UInt32Type>().map(|a| a.values().iter().map(|v| u64::from(*v)).collect()),
            Domain::Resource => column.as_primitive_opt::<UInt64Type>().map(|a| a.values().to_vec()),
        };
        let values = values.ok_or_else(|| format!("a key column is stored as {}", column.data_type()))?;
        Ok(Self { values, column })
    }

    fn pseudonyms(&self, domain: Domain, pseudonyms: &Pseudonyms) -> StringViewArray {
        let mut builder = StringViewBuilder::with_capacity(self.values.len());
        let mut row = 0;
        pseudonyms.encode(domain, self.values.iter().copied(), |text| {
            match std::str::from_utf8(text) {
                Ok(text) if self.column.is_valid(row) => builder.append_value(text),
                _ => builder.append_null(),
            }
            row += 1;
        });
        builder.finish()
    }

    fn names(&self, domain: Domain, names: &dyn Names) -> Result<StringViewArray, String> {
        let mut distinct: Vec<u64> = (0..self.values.len()).filter(|r| self.column.is_valid(*r)).map(|r| self.values[r]).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let found = match domain {
            Domain::Patient => {
                let ordinals: Vec<_> = distinct.iter().filter_map(|o| u32::try_from(*o).ok().map(PatientOrdinal)).collect();
                names.patients(&ordinals)?
            }
            Domain::Resource => names.resources(&distinct.iter().map(|o| ResourceOrdinal(*o)).collect::<Vec<_>>())?,
        };
        let by_ordinal: HashMap<u64, Option<String>> = distinct.into_iter().zip(found).collect();
        let name = |row: usize| by_ordinal.get(&self.values[row])?.as_deref().filter(|_| self.column.is_valid(row));
        Ok((0..self.values.len()).map(name).collect())
    }
}

impl Names for Database {
    fn patients(&self, ordinals: &[PatientOrdinal]) -> Result<Vec<Option<String>>, String> {
        let names = self.patient_names(ordinals).map_err(|e| e.to_string())?;
        Ok(names.into_iter().map(|name| name.map(|(_, id)| id)).collect())
    }

    fn resources(&self, ordinals: &[ResourceOrdinal]) -> Result<Vec<Option<String>>, String> {
        let names = self.resource_names(ordinals).map_err(|e| e.to_string())?;
        Ok(names.into_iter().map(|name| name.map(|(_, _, id)| id)).collect())
    }
}
