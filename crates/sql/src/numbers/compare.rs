//! A code compared with a text that is written in the question: by its number, which the run under way gives the text.

use super::{Kind, Texts};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, binary_expr,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// No code has this number: there are never so many.
const NO_CODE: u32 = u32::MAX;

/// How many texts one code is compared with; a longer list is looked up as texts, in one table.
const MAX_LIST: usize = 16;

/// The comparison of a code with texts as one of numbers; `None` if `e` is none. `kind` is what a column's numbers stand for.
pub(super) fn compared(e: &Expr, kind: &dyn Fn(&Expr) -> Option<Kind>, texts: &Arc<dyn Texts>) -> Option<Expr> {
    let is_code = |e: &Expr| kind(e) == Some(Kind::Code);
    match e {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares_equality(*op) => {
            let (code, text) = if is_code(left) { (left, right) } else { (right, left) };
            let number = Box::new(number(text, texts).filter(|_| is_code(code))?);
            Some(Expr::BinaryExpr(BinaryExpr { left: code.clone(), op: *op, right: number }))
        }
        // Not as a list of numbers: a list is evaluated when the plan is made.
        Expr::InList(InList { expr, list, negated }) if is_code(expr) && list.len() <= MAX_LIST => {
            let (op, also) = if *negated { (Operator::NotEq, Operator::And) } else { (Operator::Eq, Operator::Or) };
            let each: Option<Vec<Expr>> = list.iter().map(|text| Some(binary_expr(*expr.clone(), op, number(text, texts)?))).collect();
            each?.into_iter().reduce(|one, other| binary_expr(one, also, other))
        }
        _ => None,
    }
}

/// Whether an operator asks whether its sides are equal, and nothing else of them.
pub(super) fn compares_equality(op: Operator) -> bool {
    matches!(op, Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
}

/// What gives the number of a text, if it is written there.
fn number(text: &Expr, texts: &Arc<dyn Texts>) -> Option<Expr> {
    let Expr::Literal(value, _) = text else { return None };
    let text = value.try_as_str()??.to_owned();
    let function = NumberOf {
        name: format!("number of {text}"),
        text,
        texts: texts.clone(),
        // Each batch of rows may bring the text, and with it its number.
        signature: Signature::nullary(Volatility::Volatile),
    };
    Some(ScalarUDF::from(function).call(Vec::new()))
}

#[derive(Debug)]
struct NumberOf {
    /// As plans show it; columns that are computed with it have names of their own by it.
    name: String,
    text: String,
    texts: Arc<dyn Texts>,
    signature: Signature,
}

// All codes in a question have their numbers from one place.
impl PartialEq for NumberOf {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NumberOf {}

impl Hash for NumberOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl ScalarUDFImpl for NumberOf {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(Kind::Code.number())
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let number = self.texts.number_of_code(&self.text)?.unwrap_or(NO_CODE);
        Ok(ColumnarValue::Scalar(ScalarValue::UInt32(Some(number))))
    }
}
