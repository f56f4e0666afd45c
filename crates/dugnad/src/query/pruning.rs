//! What a filter says about whole parts of a table: conditions that every row that passes meets.

use super::world::ColumnGrant;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use dugnad_kernel::live::Condition;
use dugnad_kernel::live::schema::Storage;

/// The conditions of a filter on stored columns. What is not understood says nothing.
pub(super) fn conditions(filter: &Expr, columns: &[&ColumnGrant]) -> Vec<Condition> {
    let column = |e: &Expr| match e {
        Expr::Column(column) => columns.iter().find(|c| c.name == column.name).copied(),
        _ => None,
    };
    let one = match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            return [left, right].into_iter().flat_map(|side| conditions(side, columns)).collect();
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (column(left), column(right)) {
            (Some(grant), None) => compared(grant, *op, right),
            (None, Some(grant)) => op.swap().and_then(|op| compared(grant, op, left)),
            _ => None,
        },
        Expr::InList(InList { expr, list, negated: false }) => column(expr).and_then(|grant| {
            let texts: Option<Vec<String>> = list.iter().map(text).collect();
            texts.filter(|_| is_code(grant)).map(|texts| Condition::OneOf { column: grant.position, texts })
        }),
        Expr::IsNotNull(inner) => column(inner).map(|grant| Condition::Present { column: grant.position }),
        _ => None,
    };
    one.into_iter().collect()
}

fn is_code(grant: &ColumnGrant) -> bool {
    matches!(grant.storage, Storage::Code | Storage::Holder)
}

fn compared(grant: &ColumnGrant, op: Operator, value: &Expr) -> Option<Condition> {
    let column = grant.position;
    match (grant.storage, op) {
        (Storage::Code | Storage::Holder, Operator::Eq) => Some(Condition::OneOf { column, texts: vec![text(value)?] }),
        (Storage::Patient, Operator::Eq) => match value {
            Expr::Literal(ScalarValue::UInt32(Some(ordinal)), _) => Some(Condition::Patient { column, ordinal: *ordinal }),
            _ => None,
        },
        (Storage::Date | Storage::Instant | Storage::Integer | Storage::Decimal, _) => {
            let (low, high) = number(grant.storage, value)?;
            match op {
                Operator::Eq => Some(Condition::Between { column, low, high }),
                Operator::Lt | Operator::LtEq => Some(Condition::Between { column, low: f64::NEG_INFINITY, high }),
                Operator::Gt | Operator::GtEq => Some(Condition::Between { column, low, high: f64::INFINITY }),
                _ => None,
            }
        }
        _ => None,
    }
}

fn text(value: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = value else { return None };
    match value {
        ScalarValue::Dictionary(_, value) => value.try_as_str()?.map(str::to_owned),
        value => value.try_as_str()?.map(str::to_owned),
    }
}

/// A literal in the unit of the column, between two floating-point numbers.
fn number(storage: Storage, value: &Expr) -> Option<(f64, f64)> {
    let Expr::Literal(value, _) = value else { return None };
    let exact = match (storage, value) {
        (Storage::Date, ScalarValue::Date32(Some(days))) => f64::from(*days),
        (Storage::Instant, ScalarValue::TimestampMicrosecond(Some(micros), _)) => *micros as f64,
        (Storage::Integer, ScalarValue::Int64(Some(integer))) => *integer as f64,
        (Storage::Decimal, ScalarValue::Float64(Some(decimal))) if !decimal.is_nan() => *decimal,
        _ => return None,
    };
    // An integer beyond 2^53 may have been rounded.
    Some(if exact.abs() < 9.0e15 { (exact, exact) } else { (exact.next_down(), exact.next_up()) })
}
