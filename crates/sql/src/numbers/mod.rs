//! Keys and codes stand in a plan as the numbers that they are stored as, and become text where text is looked at.
//!
//! A key is an ordinal, a code is a place in a dictionary of the question, a word that the question itself writes is a place in a
//! list of the plan. All map to text one to one, so that equality, grouping and counting may look at the number. What depends on the text itself (order, patterns, functions, the answer)
//! must see the text: numbers are handed out in the order of arrival and would tell it.

mod compare;
mod distinct;
mod filter;
mod lower;
mod pair;
mod show;
mod table;
mod words;

pub use distinct::{CountDistinctNumbers, CountNumbers};
pub use filter::{Stored, names, on_stored};
pub use lower::lower;
pub(crate) use show::number_shown;
pub use table::Numbered;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use std::fmt::Debug;

/// How many bytes a rank has.
pub const RANK_BYTES: i32 = 16;

/// What a number stands for. Numbers of one kind are equal iff their texts are; those of two kinds have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A patient, as `UInt32`.
    Patient,
    /// Another resource, as `UInt64`.
    Resource,
    /// A text in the question's dictionary, as `UInt32`.
    Code,
    /// A text that the question writes, as `UInt32`.
    Word,
}

impl Kind {
    /// The type of its numbers.
    pub fn number(self) -> DataType {
        match self {
            Kind::Patient | Kind::Code | Kind::Word => DataType::UInt32,
            Kind::Resource => DataType::UInt64,
        }
    }

    /// The type of its texts.
    pub fn text(self) -> DataType {
        match self {
            Kind::Patient | Kind::Resource => DataType::Utf8View,
            Kind::Code => DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8)),
            Kind::Word => DataType::Utf8,
        }
    }

    /// Whether its texts have [`Texts::ranks`].
    fn is_key(self) -> bool {
        matches!(self, Kind::Patient | Kind::Resource)
    }

    fn literal(self, number: u64) -> Option<Expr> {
        let value = match self {
            Kind::Patient | Kind::Code | Kind::Word => ScalarValue::UInt32(Some(u32::try_from(number).ok()?)),
            Kind::Resource => ScalarValue::UInt64(Some(number)),
        };
        Some(Expr::Literal(value, None))
    }
}

/// How the numbers of one question show.
pub trait Texts: Debug + Send + Sync {
    /// The texts of numbers, nulls as nulls.
    fn texts(&self, kind: Kind, numbers: &ArrayRef) -> Result<ArrayRef>;

    /// Of keys, bytes of one length that compare as their texts do, nulls as nulls: for sorting. They are shown to nobody.
    fn ranks(&self, kind: Kind, _numbers: &ArrayRef) -> Result<ArrayRef> {
        Err(DataFusionError::Internal(format!("{kind:?} has no ranks")))
    }

    /// The number of a key's text; `None` if no key has it.
    fn number(&self, _kind: Kind, _text: &str) -> Option<u64> {
        None
    }

    /// The number that a code has in the run under way; `None` if no row that was read has it.
    fn number_of_code(&self, _text: &str) -> Result<Option<u32>> {
        Ok(None)
    }
}
