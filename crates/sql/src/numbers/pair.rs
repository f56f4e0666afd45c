//! Two numbers as one, for grouping: a group of one column of integers is found several times as fast as one of two columns. The
//! functions are in no registry: nobody can call them.

use super::Kind;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt32Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, UInt32Type, UInt64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::{Arc, LazyLock};

/// In the place of null. No Patient, code or word has this number: there are never so many.
const NULL: u32 = u32::MAX;

static PAIR: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Part::Both));
static FIRST: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Part::First));
static SECOND: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(Part::Second));

fn function(part: Part) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Pair { part, signature: Signature::any(part.arguments(), Volatility::Immutable) }))
}

/// Whether numbers of this kind can be in a pair.
pub(super) fn fits(kind: Option<Kind>) -> bool {
    matches!(kind, Some(Kind::Patient | Kind::Code | Kind::Word))
}

/// Two numbers, or nulls, as one that is never null.
pub(super) fn pair(first: Expr, second: Expr) -> Expr {
    PAIR.call(vec![first, second])
}

/// The two numbers of a pair.
pub(super) fn parts(pair: &Expr) -> [Expr; 2] {
    [FIRST.call(vec![pair.clone()]), SECOND.call(vec![pair.clone()])]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Both,
    First,
    Second,
}

impl Part {
    fn arguments(self) -> usize {
        if self == Part::Both { 2 } else { 1 }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Pair {
    part: Part,
    signature: Signature,
}

impl ScalarUDFImpl for Pair {
    fn name(&self) -> &str {
        match self.part {
            Part::Both => "pair",
            Part::First => "first",
            Part::Second => "second",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(if self.part == Part::Both { DataType::UInt64 } else { DataType::UInt32 })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let unexpected = || DataFusionError::Internal("a pair is of numbers".to_owned());
        let done: Option<ArrayRef> = match (self.part, columns.as_slice()) {
            (Part::Both, [first, second]) => paired(first, second).map(|pairs| Arc::new(pairs) as ArrayRef),
            (Part::First, [pairs]) => part(pairs, 32).map(|numbers| Arc::new(numbers) as ArrayRef),
            (Part::Second, [pairs]) => part(pairs, 0).map(|numbers| Arc::new(numbers) as ArrayRef),
            _ => None,
        };
        Ok(ColumnarValue::Array(done.ok_or_else(unexpected)?))
    }
}

fn paired(first: &ArrayRef, second: &ArrayRef) -> Option<UInt64Array> {
    let (first, second) = (first.as_primitive_opt::<UInt32Type>()?, second.as_primitive_opt::<UInt32Type>()?);
    let both = |first: u32, second: u32| u64::from(first) << 32 | u64::from(second);
    if first.null_count() + second.null_count() == 0 {
        return Some(first.values().iter().zip(second.values()).map(|(first, second)| both(*first, *second)).collect());
    }
    Some(first.iter().zip(second).map(|(first, second)| both(first.unwrap_or(NULL), second.unwrap_or(NULL))).collect())
}

fn part(pairs: &ArrayRef, shift: u32) -> Option<UInt32Array> {
    let pairs = pairs.as_primitive_opt::<UInt64Type>()?;
    let number = |pair: &u64| Some((pair >> shift) as u32).filter(|number| *number != NULL);
    Some(pairs.values().iter().map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pair_has_its_parts(rows in prop::collection::vec((prop::option::of(0..u32::MAX), prop::option::of(0..u32::MAX)), 0..50)) {
            let (first, second): (UInt32Array, UInt32Array) = (rows.iter().map(|r| r.0).collect(), rows.iter().map(|r| r.1).collect());
            let (one, other): (ArrayRef, ArrayRef) = (Arc::new(first.clone()), Arc::new(second.clone()));
            let pairs: ArrayRef = Arc::new(paired(&one, &other).unwrap_or_else(|| UInt64Array::from(Vec::<u64>::new())));
            prop_assert_eq!(pairs.null_count(), 0);
            prop_assert_eq!(part(&pairs, 32), Some(first));
            prop_assert_eq!(part(&pairs, 0), Some(second));
        }
    }
}
