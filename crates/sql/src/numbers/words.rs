//! Texts that a question itself writes, as numbers: what a CASE chooses from, and literals that a UNION puts into one column.

use super::{Kind, Texts};
use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::UInt32Type;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use std::sync::{PoisonError, RwLock};

/// The words of one plan, in the order in which it was gone through: their numbers tell nothing of the data.
#[derive(Debug, Default)]
pub(super) struct Words(RwLock<Vec<String>>);

/// Whether an expression is a word, or null in the place of one.
pub(super) fn is_word(e: &Expr) -> bool {
    matches!(e, Expr::Literal(ScalarValue::Utf8(_), _))
}

impl Words {
    /// The number of a word; anything else is handed back.
    pub fn number(&self, word: Expr) -> Expr {
        let Expr::Literal(ScalarValue::Utf8(word), _) = word else { return word };
        Expr::Literal(ScalarValue::UInt32(word.map(|word| self.number_of(word))), None)
    }

    fn number_of(&self, word: String) -> u32 {
        let mut words = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let number = words.iter().position(|known| *known == word).unwrap_or_else(|| {
            words.push(word);
            words.len() - 1
        });
        number as u32 // a question is not so long
    }
}

impl Texts for Words {
    fn texts(&self, kind: Kind, numbers: &ArrayRef) -> Result<ArrayRef> {
        let numbers = numbers.as_primitive_opt::<UInt32Type>().filter(|_| kind == Kind::Word);
        let numbers = numbers.ok_or_else(|| DataFusionError::Internal("a word is not a number".to_owned()))?;
        let words = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let text = |number: Option<u32>| words.get(number? as usize);
        Ok(std::sync::Arc::new(numbers.iter().map(text).collect::<StringArray>()))
    }
}
