//! What is known of an expression's result before it is evaluated.

use super::code::{Code, Filter, Function, Lambda, Operator, Pick, Summary};
use super::syntax::Literal;
use super::types::{Class, TypeName};

/// The type of an expression's items, as far as it can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultType {
    /// Nothing is known.
    Unknown,
    /// A primitive.
    Primitive(Class),
    /// The key of the resource itself.
    ResourceKey,
    /// The key of a resource that is referred to: of this type, or of any.
    ReferenceKey(Option<&'static str>),
}

/// The type of the items that `code` yields.
pub(super) fn result(code: &Code) -> ResultType {
    use ResultType::{Primitive, Unknown};
    match code {
        Code::Index | Code::RowIndex => Primitive(Class::Integer),
        Code::Literal(literal) => Primitive(match literal {
            Literal::Boolean(_) => Class::Boolean,
            Literal::Integer(_) => Class::Integer,
            Literal::Decimal(_) => Class::Decimal,
            Literal::Text(_) => Class::Text,
            Literal::Date(_) => Class::Date,
            Literal::DateTime(_) => Class::DateTime,
            Literal::Time(_) => Class::Time,
            Literal::Quantity { .. } => return Unknown,
        }),
        Code::Path { steps, .. } => match steps.last().map(|s| &s.choice) {
            Some(super::code::Choice::Only(types)) => types.iter().map(|t| class(t.class)).reduce(common).unwrap_or(Unknown),
            _ => Unknown,
        },
        Code::Filter { from, filter } => match filter {
            Filter::OfType(TypeName::Data(data_type)) => class(data_type.class),
            Filter::OfType(TypeName::System(system)) => class(*system),
            Filter::OfType(_) => Unknown,
            Filter::Distinct | Filter::Values => result(from),
        },
        Code::Pick {
            from,
            pick: Pick::First | Pick::Last | Pick::Tail | Pick::Single | Pick::At(_) | Pick::Skip(_) | Pick::Take(_),
            ..
        } => result(from),
        Code::Combine { left, right, .. } => either(left, right),
        Code::Summary { summary: Summary::Count, .. } => Primitive(Class::Integer),
        Code::Summary { .. } | Code::EqualText { .. } | Code::Is { .. } | Code::ResolvesTo { .. } => Primitive(Class::Boolean),
        Code::Lambda { from, lambda, body, .. } => match lambda {
            Lambda::Where => result(from),
            Lambda::Select | Lambda::Repeat => result(body),
            Lambda::All | Lambda::Exists => Primitive(Class::Boolean),
        },
        Code::If { then, otherwise, .. } => either(then, otherwise),
        // A date stays one with a duration added.
        Code::Binary { operator: Operator::Add | Operator::Subtract, left, .. } => match result(left) {
            date @ Primitive(Class::Date | Class::DateTime | Class::Time) => date,
            _ => Unknown,
        },
        Code::Binary { operator, .. } => binary(*operator),
        Code::Scalar { function, .. } => scalar(*function),
        Code::Pattern { replacement, .. } => Primitive(if replacement.is_some() { Class::Text } else { Class::Boolean }),
        Code::ResourceKey(_) => ResultType::ResourceKey,
        Code::ReferenceKey { resource_type, .. } => ResultType::ReferenceKey(*resource_type),
        Code::Join { .. } => Primitive(Class::Text),
        Code::Coalesce(choices) => choices.iter().filter(|c| !matches!(c, Code::Nothing)).map(result).reduce(common).unwrap_or(Unknown),
        Code::This | Code::Resource | Code::Context | Code::Nothing | Code::Negate { .. } | Code::Children { .. } => Unknown,
    }
}

fn class(class: Class) -> ResultType {
    if class == Class::Complex { ResultType::Unknown } else { ResultType::Primitive(class) }
}

/// The type of items that come from one or the other.
fn either(a: &Code, b: &Code) -> ResultType {
    match (a, b) {
        (Code::Nothing, code) | (code, Code::Nothing) => result(code),
        _ => common(result(a), result(b)),
    }
}

fn common(a: ResultType, b: ResultType) -> ResultType {
    use ResultType::{ReferenceKey, ResourceKey, Unknown};
    match (a, b) {
        _ if a == b => a,
        (ResourceKey | ReferenceKey(_), ResourceKey | ReferenceKey(_)) => ReferenceKey(None),
        _ => Unknown,
    }
}

fn binary(operator: Operator) -> ResultType {
    match operator {
        Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Mod => ResultType::Unknown,
        Operator::Divide => ResultType::Primitive(Class::Decimal),
        Operator::Div => ResultType::Primitive(Class::Integer),
        Operator::Concatenate => ResultType::Primitive(Class::Text),
        _ => ResultType::Primitive(Class::Boolean),
    }
}

fn scalar(function: Function) -> ResultType {
    let class = match function {
        Function::StartsWith
        | Function::EndsWith
        | Function::Contains
        | Function::Convert { test: true, .. }
        | Function::ToQuantity { test: true } => Class::Boolean,
        Function::IndexOf | Function::LastIndexOf | Function::Length | Function::Ceiling | Function::Floor | Function::Truncate => {
            Class::Integer
        }
        Function::Substring | Function::Replace | Function::Upper | Function::Lower | Function::Trim => Class::Text,
        Function::Split | Function::ToChars | Function::Encode | Function::Decode => Class::Text,
        Function::Convert { to, .. } => to,
        Function::Round | Function::Sqrt | Function::Exp | Function::Ln | Function::Log => Class::Decimal,
        Function::Abs | Function::Power | Function::LowBoundary | Function::HighBoundary | Function::ToQuantity { test: false } => {
            return ResultType::Unknown;
        }
    };
    ResultType::Primitive(class)
}
