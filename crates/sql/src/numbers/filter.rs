//! Filters on keys and codes that a scan evaluates on what is stored.

use super::{Kind, Texts};
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// How a column of a scan is stored, as far as filters go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As it shows.
    AsShown,
    /// As a number.
    Number(Kind),
    /// In another way: no filter on it can be evaluated before it is transformed.
    Otherwise,
}

/// No key has this ordinal: they begin at 1.
const NOBODY: u64 = 0;

/// A filter on what shows as a filter on what is stored; `None` if the scan cannot evaluate it. Of keys, it can compare with
/// a text that is written in the question, and nothing else.
pub fn on_stored(filter: &Expr, stored: &dyn Fn(&str) -> Stored, texts: &dyn Texts) -> Option<Expr> {
    let columns: Vec<Stored> = filter.column_refs().iter().map(|c| stored(&c.name)).collect();
    if columns.contains(&Stored::Otherwise) {
        return None;
    }
    if columns.iter().all(|c| *c == Stored::AsShown) {
        return (!filter.is_volatile() && !has_subquery(filter)).then(|| filter.clone());
    }
    let of = |e: &Expr| on_stored(e, stored, texts).map(Box::new);
    let key = |e: &Expr| match e {
        Expr::Column(column) => match stored(&column.name) {
            Stored::Number(kind) => Some((column.clone(), kind)),
            _ => None,
        },
        _ => None,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            Some(Expr::BinaryExpr(BinaryExpr { left: of(left)?, op: *op, right: of(right)? }))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::NotEq), right }) => {
            let ((column, kind), text) = match (key(left), key(right)) {
                (Some(key), None) => (key, right),
                (None, Some(key)) => (key, left),
                _ => return None,
            };
            let number = Box::new(number(text, kind, texts)?);
            Some(Expr::BinaryExpr(BinaryExpr { left: Box::new(Expr::Column(column)), op: *op, right: number }))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let (column, kind) = key(expr)?;
            let list: Option<Vec<Expr>> = list.iter().map(|text| number(text, kind, texts)).collect();
            Some(Expr::InList(InList { expr: Box::new(Expr::Column(column)), list: list?, negated: *negated }))
        }
        Expr::Not(inner) => Some(Expr::Not(of(inner)?)),
        Expr::IsNull(inner) => key(inner).map(|(column, _)| Expr::IsNull(Box::new(Expr::Column(column)))),
        Expr::IsNotNull(inner) => key(inner).map(|(column, _)| Expr::IsNotNull(Box::new(Expr::Column(column)))),
        _ => None,
    }
}

/// The number of a text that is written in the question.
fn number(text: &Expr, kind: Kind, texts: &dyn Texts) -> Option<Expr> {
    let Expr::Literal(value, _) = text else { return None };
    let text = value.try_as_str()??;
    kind.literal(texts.number(kind, text).unwrap_or(NOBODY))
}

fn has_subquery(filter: &Expr) -> bool {
    let subquery = |e: &Expr| {
        Ok(matches!(
            e,
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::OuterReferenceColumn(_, _)
        ))
    };
    filter.exists(subquery).unwrap_or(true)
}

/// The names of the columns that an expression looks at, sorted.
pub fn names(expression: &Expr) -> Vec<String> {
    let mut names: Vec<String> = expression.column_refs().into_iter().map(|c| c.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}
