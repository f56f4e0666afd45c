//! What an expression must say of an element when all that is known is which parts it has.
//!
//! Rules such as `code.empty() or system.exists()` are decided by presence alone, mostly. Whoever knows which elements are there need
//! not evaluate them: that is what [`Known`] is for. It never guesses: what presence does not decide is [`Known::Unknown`].

use super::code::{Code, Combine, Filter, Lambda, Operator, Summary};
use super::syntax::Literal;

/// What is known of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Empty,
    True,
    False,
    /// At least one item.
    Something,
    Unknown,
}

use Known::{Empty, False, Something, True, Unknown};

/// The names of the elements that `code` steps into first, from what it is evaluated on.
pub(super) fn elements<'c>(code: &'c Code, found: &mut Vec<&'c str>) {
    if let Code::Path { from, steps } = code
        && matches!(**from, Code::This)
        && let Some(first) = steps.first()
        && !found.contains(&&*first.name)
    {
        found.push(&first.name);
    }
    each_part(code, &mut |part| elements(part, found));
}

/// What is known of `code`, if `present` says which elements are there (`None`: nobody knows).
pub(super) fn known(code: &Code, present: &dyn Fn(&str) -> Option<bool>) -> Known {
    let of = |code: &Code| known(code, present);
    // Whatever makes nothing of nothing.
    let passed = |from: &Code| if of(from) == Empty { Empty } else { Unknown };
    match code {
        Code::This | Code::Resource | Code::Context => Something,
        Code::Nothing => Empty,
        Code::Literal(Literal::Boolean(value)) => truth(*value),
        Code::Literal(_) => Something,
        Code::Path { from, steps } => match (&**from, steps.as_slice()) {
            (Code::This, [first, rest @ ..]) => match present(&first.name) {
                Some(false) => Empty,
                Some(true) if rest.is_empty() => Something,
                _ => Unknown,
            },
            (from, _) => passed(from),
        },
        Code::Summary { from, summary } => summarised(of(from), *summary),
        Code::Binary { operator, left, right, .. } => binary(*operator, of(left), of(right)),
        Code::Lambda { from, lambda, .. } => match (of(from), lambda) {
            (Empty, Lambda::Exists) => False,
            (Empty, Lambda::All) => True,
            (Empty, _) => Empty,
            _ => Unknown,
        },
        Code::Combine { kind, left, right } => match (kind, of(left), of(right)) {
            (Combine::Union | Combine::Append, Empty, other) | (Combine::Union | Combine::Append, other, Empty) => other,
            (Combine::Union | Combine::Append, Something | True | False, _) => Something,
            (Combine::Union | Combine::Append, _, Something | True | False) => Something,
            (Combine::Intersect | Combine::Exclude, Empty, _) => Empty,
            _ => Unknown,
        },
        Code::If { condition, then, otherwise, .. } => match of(condition) {
            True => of(then),
            False | Empty => of(otherwise),
            _ => Unknown,
        },
        Code::Filter { from, filter: Filter::OfType(_) | Filter::Values | Filter::Distinct }
        | Code::EqualText { from, .. }
        | Code::Pick { from, .. }
        | Code::Scalar { from, .. }
        | Code::Pattern { from, .. }
        | Code::Negate { of: from, .. }
        | Code::Is { of: from, .. }
        | Code::Children { from, .. } => passed(from),
        _ => Unknown,
    }
}

fn truth(value: bool) -> Known {
    if value { True } else { False }
}

fn summarised(of: Known, summary: Summary) -> Known {
    match (summary, of) {
        (Summary::Exists, Empty) | (Summary::Empty, Something | True | False) => False,
        (Summary::Exists, Something | True | False) | (Summary::Empty, Empty) => True,
        (Summary::Not { .. }, True) => False,
        (Summary::Not { .. }, False) => True,
        (Summary::Not { .. }, Empty) => Empty,
        (Summary::HasValue | Summary::AnyTrue { .. } | Summary::AnyFalse { .. }, Empty) => False,
        (Summary::IsDistinct | Summary::AllTrue { .. } | Summary::AllFalse { .. }, Empty) => True,
        _ => Unknown,
    }
}

/// Three-valued logic, and one value more for what is not known here (FHIRPath N1, section 6.5).
fn binary(operator: Operator, left: Known, right: Known) -> Known {
    let open = |side: Known| matches!(side, Unknown | Something);
    match (operator, left, right) {
        (Operator::And, False, _) | (Operator::And, _, False) => False,
        (Operator::And, True, True) => True,
        (Operator::Or, True, _) | (Operator::Or, _, True) => True,
        (Operator::Or, False, False) => False,
        (Operator::Implies, False, _) | (Operator::Implies, _, True) => True,
        (Operator::Implies, True, False) => False,
        (Operator::Xor | Operator::NotEqual, True | False, True | False) => truth(left != right),
        (Operator::Equal, True | False, True | False) => truth(left == right),
        (Operator::And | Operator::Or | Operator::Implies, _, _) if !open(left) && !open(right) => Empty,
        (Operator::Equivalent | Operator::NotEquivalent | Operator::SubsetOf | Operator::SupersetOf | Operator::Concatenate, _, _)
        | (Operator::And | Operator::Or | Operator::Implies, _, _) => Unknown,
        (Operator::In, Empty, _) | (Operator::Contains, _, Empty) => Empty,
        (Operator::In | Operator::Contains, _, _) => Unknown,
        (_, Empty, _) | (_, _, Empty) => Empty,
        _ => Unknown,
    }
}

/// Calls `with` for the parts of `code` that are evaluated on what it is evaluated on itself.
fn each_part<'c>(code: &'c Code, with: &mut dyn FnMut(&'c Code)) {
    match code {
        Code::Path { from, .. }
        | Code::Filter { from, .. }
        | Code::Pick { from, .. }
        | Code::Summary { from, .. }
        | Code::Lambda { from, .. }
        | Code::EqualText { from, .. }
        | Code::Pattern { from, .. }
        | Code::ResourceKey(from)
        | Code::ReferenceKey { from, .. }
        | Code::ResolvesTo { from, .. }
        | Code::Children { from, .. }
        | Code::Negate { of: from, .. }
        | Code::Is { of: from, .. } => with(from),
        Code::Combine { left, right, .. } | Code::Binary { left, right, .. } => {
            with(left);
            with(right);
        }
        Code::Join { from, separator, .. } => {
            with(from);
            with(separator);
        }
        Code::If { condition, then, otherwise, .. } => {
            with(condition);
            with(then);
            with(otherwise);
        }
        Code::Scalar { from, arguments, .. } => {
            with(from);
            arguments.iter().for_each(with);
        }
        Code::Coalesce(choices) => choices.iter().for_each(with),
        Code::This | Code::Index | Code::Resource | Code::Context | Code::RowIndex | Code::Nothing | Code::Literal(_) => {}
    }
}
