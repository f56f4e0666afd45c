//! A syntax tree to [`Code`]: operators, paths, constants and type names. Functions are in [`functions`].

mod functions;

use super::code::{Choice, Code, Combine, Filter, Operator, Pick, Step};
use super::syntax::{Kind, Literal, Node};
use super::temporal::Unit;
use super::types::{self, TypeName};
use super::{CompileError, Environment};

/// Compiles a tree. The flag says whether `%rowIndex` is used.
pub(super) fn compile(node: &Node, environment: &Environment) -> Result<(Code, bool), CompileError> {
    let mut compiler = Compiler { environment, lambdas: 0, row_index: false };
    let code = compiler.code(node)?;
    Ok((code, compiler.row_index))
}

struct Compiler<'e> {
    environment: &'e Environment,
    /// How many functions with `$this` of their own surround the node.
    lambdas: usize,
    row_index: bool,
}

fn error(at: usize, what: impl Into<String>) -> CompileError {
    CompileError { at, what: what.into() }
}

impl Compiler<'_> {
    fn code(&mut self, node: &Node) -> Result<Code, CompileError> {
        match &node.kind {
            Kind::Literal(literal) => Ok(Code::Literal(literal.clone())),
            Kind::Empty => Ok(Code::Nothing),
            Kind::Special(name) => self.special(name, node.at),
            Kind::Constant(name) => self.constant(name, node.at),
            Kind::Member { from, name } => self.member(from.as_deref(), name),
            Kind::Call { from, name, arguments } => self.call(from.as_deref(), name, arguments, node.at),
            Kind::At { from, index } => {
                let index = Box::new(self.code(index)?);
                Ok(Code::Pick { from: Box::new(self.code(from)?), pick: Pick::At(index), at: node.at })
            }
            Kind::Negate(of) => Ok(match self.code(of)? {
                Code::Literal(Literal::Integer(value)) if value > 0 => Code::Literal(Literal::Integer(-value)),
                of => Code::Negate { of: Box::new(of), at: node.at },
            }),
            Kind::Binary { operator, left, right } => self.binary(operator, left, right, node.at),
            Kind::Type { operator, of, name } => {
                let name = type_named(name, node.at)?;
                // What a reference is to can be known without the resource itself; `resolve()` alone is refused.
                if let (Kind::Call { from, name: call, arguments }, "is", TypeName::Resource(resource_type)) = (&of.kind, *operator, name)
                    && call == "resolve"
                    && arguments.is_empty()
                {
                    return Ok(Code::ResolvesTo { from: self.source(from.as_deref())?, resource_type, at: node.at });
                }
                let of = self.code(of)?;
                Ok(if *operator == "is" { Code::Is { of: Box::new(of), name, at: node.at } } else { of_type(of, name) })
            }
        }
    }

    fn special(&self, name: &str, at: usize) -> Result<Code, CompileError> {
        match name {
            "this" => Ok(Code::This),
            "index" if self.lambdas > 0 => Ok(Code::Index),
            "index" => Err(error(at, "`$index` stands only inside where(), select(), all(), exists() and repeat()")),
            _ => Err(error(at, format!("`${name}` is not supported"))),
        }
    }

    fn constant(&mut self, name: &str, at: usize) -> Result<Code, CompileError> {
        if let Some(literal) = self.environment.get(name) {
            return Ok(Code::Literal(literal.clone()));
        }
        let text = match name {
            "resource" | "rootResource" => return Ok(Code::Resource),
            "context" => return Ok(Code::Context),
            "rowIndex" => {
                self.row_index = true;
                return Ok(Code::RowIndex);
            }
            "sct" => "http://snomed.info/sct",
            "loinc" => "http://loinc.org",
            "ucum" => "http://unitsofmeasure.org",
            _ => return Err(error(at, format!("no constant is named `%{name}`"))),
        };
        Ok(Code::Literal(Literal::Text(text.to_owned())))
    }

    fn member(&mut self, from: Option<&Node>, name: &str) -> Result<Code, CompileError> {
        match from {
            // `Patient.name`: the resource itself, if it is one. No element starts with a capital.
            None => match TypeName::parse(name) {
                Some(name @ (TypeName::Resource(_) | TypeName::AnyResource { .. })) => {
                    Ok(Code::Filter { from: Box::new(Code::This), filter: Filter::OfType(name) })
                }
                _ => Ok(path(Code::This, name)),
            },
            Some(from) => Ok(path(self.code(from)?, name)),
        }
    }

    fn source(&mut self, from: Option<&Node>) -> Result<Box<Code>, CompileError> {
        Ok(Box::new(match from {
            Some(from) => self.code(from)?,
            None => Code::This,
        }))
    }

    fn binary(&mut self, operator: &str, left: &Node, right: &Node, at: usize) -> Result<Code, CompileError> {
        let (left, right) = (Box::new(self.code(left)?), Box::new(self.code(right)?));
        let operator = match operator {
            "|" => return Ok(Code::Combine { kind: Combine::Union, left, right }),
            "=" => match (left, right) {
                (from, text) | (text, from) if is_text(&text) && !is_text(&from) => return Ok(equal_text(from, &text)),
                (left, right) => return Ok(Code::Binary { operator: Operator::Equal, left, right, at }),
            },
            "and" => Operator::And,
            "or" => Operator::Or,
            "xor" => Operator::Xor,
            "implies" => Operator::Implies,
            "!=" => Operator::NotEqual,
            "~" => Operator::Equivalent,
            "!~" => Operator::NotEquivalent,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            "in" => Operator::In,
            "contains" => Operator::Contains,
            "+" => Operator::Add,
            "-" => Operator::Subtract,
            "*" => Operator::Multiply,
            "/" => Operator::Divide,
            "div" => Operator::Div,
            "mod" => Operator::Mod,
            "&" => Operator::Concatenate,
            _ => return Err(error(at, format!("the operator `{operator}` is not supported"))),
        };
        check_quantities(operator, &left, &right, at)?;
        Ok(Code::Binary { operator, left, right, at })
    }
}

/// With a quantity that is written in the expression, only what can be computed passes: a duration after a date.
fn check_quantities(operator: Operator, left: &Code, right: &Code, at: usize) -> Result<(), CompileError> {
    use Operator::{Add, Concatenate, Div, Divide, Mod, Multiply, Subtract};
    match (operator, unit_of(left), unit_of(right)) {
        (Add | Subtract, None, Some(unit)) if Unit::of_duration(unit).is_some() => Ok(()),
        (Add | Subtract, None, Some(unit)) => {
            let known = "years, months, weeks, days, hours, minutes, seconds, milliseconds are, such as 18 years";
            Err(error(at, format!("'{unit}' is no calendar duration: {known}")))
        }
        (Add | Subtract | Multiply | Divide | Div | Mod | Concatenate, Some(_), _)
        | (Multiply | Divide | Div | Mod | Concatenate, _, Some(_)) => {
            Err(error(at, "quantities can be compared and a duration added to a date; for other arithmetic use their value"))
        }
        _ => Ok(()),
    }
}

/// The unit of a quantity that is written in the expression.
fn unit_of(code: &Code) -> Option<&str> {
    if let Code::Literal(Literal::Quantity { unit, .. }) = code { Some(unit) } else { None }
}

fn is_text(code: &Code) -> bool {
    matches!(code, Code::Literal(Literal::Text(_)))
}

fn equal_text(from: Box<Code>, text: &Code) -> Code {
    match text {
        Code::Literal(Literal::Text(text)) => Code::EqualText { from, text: text.as_str().into() },
        _ => Code::Nothing,
    }
}

/// `from.name`
fn path(from: Code, name: &str) -> Code {
    let choice = if types::is_choice(name) { Choice::Any } else { Choice::No };
    let step = Step { name: name.into(), choice, shadow: None };
    let (from, mut steps) = match from {
        Code::Path { from, steps } => (from, steps),
        from => (Box::new(from), Vec::new()),
    };
    // Extensions of a primitive element `birthDate` stand in `_birthDate` (FHIR R4, section 2.6.2.3).
    if name == "extension"
        && let Some(last) = steps.last_mut()
    {
        last.shadow = Some(format!("_{}", last.name).into());
    }
    steps.push(step);
    Code::Path { from, steps }
}

/// `from.ofType(name)`
fn of_type(from: Code, name: TypeName) -> Code {
    match (from, name) {
        (Code::Path { from, mut steps }, TypeName::Data(data_type)) if matches!(steps.last(), Some(Step { choice: Choice::Any, .. })) => {
            if let Some(last) = steps.last_mut() {
                last.choice = Choice::Only(data_type.family());
            }
            Code::Path { from, steps }
        }
        (from, name) => Code::Filter { from: Box::new(from), filter: Filter::OfType(name) },
    }
}

fn type_named(name: &str, at: usize) -> Result<TypeName, CompileError> {
    TypeName::parse(name).ok_or_else(|| error(at, format!("`{name}` is no type of FHIR R4")))
}

/// The type name that an argument such as the one of `ofType(FHIR.Quantity)` is.
fn type_argument(node: &Node) -> Result<TypeName, CompileError> {
    let name = match &node.kind {
        Kind::Member { from: None, name } => name.clone(),
        Kind::Member { from: Some(from), name } => match &from.kind {
            Kind::Member { from: None, name: namespace } => format!("{namespace}.{name}"),
            _ => return Err(error(node.at, "a type name was expected here")),
        },
        _ => return Err(error(node.at, "a type name was expected here")),
    };
    type_named(&name, node.at)
}
