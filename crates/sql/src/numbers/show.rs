//! The functions that turn numbers into texts, or into what sorts as their texts do. They are in no registry: nobody can call them.

use super::{Kind, RANK_BYTES, Texts};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// `numbers` as texts.
pub(super) fn shown(numbers: Expr, kind: Kind, texts: &Arc<dyn Texts>) -> Expr {
    call(numbers, kind, As::Text, texts)
}

/// What sorts as the texts of `numbers` do, which are keys.
pub(super) fn ranked(numbers: Expr, kind: Kind, texts: &Arc<dyn Texts>) -> Expr {
    call(numbers, kind, As::Rank, texts)
}

/// The numbers behind an expression that is how they show, or how they rank: they are equal iff those are.
pub(crate) fn number_shown(e: &Arc<dyn PhysicalExpr>) -> Option<&Arc<dyn PhysicalExpr>> {
    let function: &ScalarFunctionExpr = e.downcast_ref()?;
    function.args().first().filter(|_| function.fun().inner().is::<Show>())
}

fn call(numbers: Expr, kind: Kind, shown_as: As, texts: &Arc<dyn Texts>) -> Expr {
    let function = Show { kind, shown_as, texts: texts.clone(), signature: Signature::any(1, Volatility::Immutable) };
    ScalarUDF::from(function).call(vec![numbers])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum As {
    Text,
    Rank,
}

#[derive(Debug)]
struct Show {
    kind: Kind,
    shown_as: As,
    texts: Arc<dyn Texts>,
    signature: Signature,
}

// All numbers of one kind in a question show in the same way.
impl PartialEq for Show {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, self.shown_as) == (other.kind, other.shown_as)
    }
}

impl Eq for Show {}

impl Hash for Show {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.kind, self.shown_as).hash(state);
    }
}

impl ScalarUDFImpl for Show {
    fn name(&self) -> &str {
        match (self.shown_as, self.kind) {
            (As::Rank, _) => "rank",
            (As::Text, Kind::Patient | Kind::Resource) => "key",
            (As::Text, Kind::Code) => "code",
            (As::Text, Kind::Word) => "word",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.shown_as {
            As::Text => self.kind.text(),
            As::Rank => DataType::FixedSizeBinary(RANK_BYTES),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let numbers = columns.first().ok_or_else(|| DataFusionError::Internal("no numbers to show".to_owned()))?;
        Ok(ColumnarValue::Array(match self.shown_as {
            As::Text => self.texts.texts(self.kind, numbers)?,
            As::Rank => self.texts.ranks(self.kind, numbers)?,
        }))
    }
}
