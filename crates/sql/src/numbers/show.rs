//! The function that turns numbers into texts. It is in no registry: nobody can call it.

use super::{Kind, Texts};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// `numbers` as texts.
pub(super) fn shown(numbers: Expr, kind: Kind, texts: &Arc<dyn Texts>) -> Expr {
    let function = Show { kind, texts: texts.clone(), signature: Signature::any(1, Volatility::Immutable) };
    ScalarUDF::from(function).call(vec![numbers])
}

#[derive(Debug)]
struct Show {
    kind: Kind,
    texts: Arc<dyn Texts>,
    signature: Signature,
}

// All numbers of one kind in a question show in the same way.
impl PartialEq for Show {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Show {}

impl Hash for Show {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
    }
}

impl ScalarUDFImpl for Show {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Patient | Kind::Resource => "key",
            Kind::Code => "code",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.kind.text())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let numbers = columns.first().ok_or_else(|| DataFusionError::Internal("no numbers to show".to_owned()))?;
        Ok(ColumnarValue::Array(self.texts.texts(self.kind, numbers)?))
    }
}
