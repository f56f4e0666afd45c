//! How columns show through a permit: as text, or inside a plan as the numbers behind keys and codes.

use super::keys::Keys;
use super::transform;
use super::world::{ColumnGrant, Lens};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use dugnad_kernel::disclosure::Domain;
use dugnad_kernel::live::schema::Storage;
use dugnad_kernel::permit::Transform;
use dugnad_sql::numbers::{Kind, Texts};
use std::sync::Arc;

impl Lens {
    /// What a column's numbers stand for, if it can stand in a plan as numbers.
    pub fn kind(&self, grant: &ColumnGrant) -> Option<Kind> {
        match grant.storage {
            Storage::Patient if self.keys.are_pseudonyms() => Some(Kind::Patient),
            Storage::Resource if self.keys.are_pseudonyms() => Some(Kind::Resource),
            Storage::Code | Storage::Holder if grant.transform == Transform::Keep => Some(Kind::Code),
            _ => None,
        }
    }

    /// The columns as they show, or with numbers for keys and codes.
    pub fn schema(&self, columns: &[ColumnGrant], numbers: bool) -> SchemaRef {
        let field = |c: &ColumnGrant| {
            let shown = || transform::data_type(c.transform, &self.keys.data_type(c.storage));
            let data_type = self.kind(c).filter(|_| numbers).map_or_else(shown, Kind::number);
            Field::new(&c.name, data_type, true)
        };
        Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
    }
}

impl Texts for Lens {
    fn texts(&self, kind: Kind, numbers: &ArrayRef) -> Result<ArrayRef> {
        match kind {
            Kind::Code => self.seat.ground()?.dictionary.texts(numbers),
            Kind::Patient => self.keys.encode(Storage::Patient, numbers).map_err(DataFusionError::Internal),
            Kind::Resource => self.keys.encode(Storage::Resource, numbers).map_err(DataFusionError::Internal),
            Kind::Word => Err(DataFusionError::Internal("words are not the table's".to_owned())),
        }
    }

    fn ranks(&self, kind: Kind, numbers: &ArrayRef) -> Result<ArrayRef> {
        let storage = match kind {
            Kind::Patient => Storage::Patient,
            Kind::Resource => Storage::Resource,
            Kind::Code | Kind::Word => return Err(DataFusionError::Internal(format!("{kind:?} has no ranks"))),
        };
        self.keys.ranks(storage, numbers).map_err(DataFusionError::Internal)
    }

    fn number(&self, kind: Kind, text: &str) -> Option<u64> {
        match (kind, &self.keys) {
            (Kind::Patient, Keys::Pseudonyms(pseudonyms)) => pseudonyms.ordinal(Domain::Patient, text),
            (Kind::Resource, Keys::Pseudonyms(pseudonyms)) => pseudonyms.ordinal(Domain::Resource, text),
            _ => None,
        }
    }

    fn number_of_code(&self, text: &str) -> Result<Option<u32>> {
        Ok(self.seat.ground()?.dictionary.number(text))
    }
}
