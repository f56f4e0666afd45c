//! Function calls.

use super::super::code::{Code, Combine, Filter, Function, Lambda, Operator, Pick, Summary};
use super::super::evaluate::coding;
use super::super::syntax::{Literal, Node};
use super::super::types::{Class, TypeName};
use super::{CompileError, Compiler, equal_text, error, of_type, path, type_argument};

/// The functions that are supported, by name, with the least and the most arguments of each.
#[rustfmt::skip]
const SUPPORTED: [(&str, usize, usize); 86] = [
    ("abs", 0, 0),
    ("all", 1, 1),
    ("allFalse", 0, 0),
    ("allTrue", 0, 0),
    ("anyFalse", 0, 0),
    ("anyTrue", 0, 0),
    ("as", 1, 1),
    ("ceiling", 0, 0),
    ("children", 0, 0),
    ("coalesce", 1, 20),
    ("combine", 1, 1),
    ("contains", 1, 1),
    ("convertsToBoolean", 0, 0),
    ("convertsToDate", 0, 0),
    ("convertsToDateTime", 0, 0),
    ("convertsToDecimal", 0, 0),
    ("convertsToInteger", 0, 0),
    ("convertsToQuantity", 0, 1),
    ("convertsToString", 0, 0),
    ("convertsToTime", 0, 0),
    ("count", 0, 0),
    ("decode", 1, 1),
    ("descendants", 0, 0),
    ("distinct", 0, 0),
    ("empty", 0, 0),
    ("encode", 1, 1),
    ("endsWith", 1, 1),
    ("exclude", 1, 1),
    ("exists", 0, 1),
    ("exp", 0, 0),
    ("extension", 1, 1),
    ("first", 0, 0),
    ("floor", 0, 0),
    ("getReferenceKey", 0, 1),
    ("getResourceKey", 0, 0),
    ("getValue", 0, 0),
    ("hasValue", 0, 0),
    ("highBoundary", 0, 1),
    ("iif", 2, 3),
    ("indexOf", 1, 1),
    ("intersect", 1, 1),
    ("is", 1, 1),
    ("isDistinct", 0, 0),
    ("join", 0, 1),
    ("last", 0, 0),
    ("lastIndexOf", 1, 1),
    ("length", 0, 0),
    ("ln", 0, 0),
    ("log", 1, 1),
    ("lowBoundary", 0, 1),
    ("lower", 0, 0),
    ("matches", 1, 1),
    ("matchesFull", 1, 1),
    ("not", 0, 0),
    ("ofType", 1, 1),
    ("power", 1, 1),
    ("repeat", 1, 1),
    ("replace", 2, 2),
    ("replaceMatches", 2, 2),
    ("round", 0, 1),
    ("select", 1, 1),
    ("single", 0, 0),
    ("skip", 1, 1),
    ("split", 1, 1),
    ("sqrt", 0, 0),
    ("startsWith", 1, 1),
    ("subsetOf", 1, 1),
    ("substring", 1, 2),
    ("supersetOf", 1, 1),
    ("tail", 0, 0),
    ("take", 1, 1),
    ("toBoolean", 0, 0),
    ("toChars", 0, 0),
    ("toDate", 0, 0),
    ("toDateTime", 0, 0),
    ("toDecimal", 0, 0),
    ("toInteger", 0, 0),
    ("toQuantity", 0, 1),
    ("toString", 0, 0),
    ("toTime", 0, 0),
    ("trace", 1, 2),
    ("trim", 0, 0),
    ("truncate", 0, 0),
    ("union", 1, 1),
    ("upper", 0, 0),
    ("where", 1, 1),
];

/// Functions of FHIRPath, FHIR and SQL on FHIR that are refused, and why.
fn refusal(name: &str) -> Option<&'static str> {
    Some(match name {
        "now" | "today" | "timeOfDay" => "the result may depend on the resource only, not on when it is computed",
        "resolve" => "the result may depend on this resource only; use getReferenceKey() and a join",
        "memberOf" | "subsumes" | "subsumedBy" | "validateVS" | "translate" => "there is no terminology service here",
        "defineVariable" | "aggregate" | "type" | "comparable" | "conformsTo" | "checkModifiers" | "elementDefinition" | "slice"
        | "htmlChecks" | "escape" | "unescape" | "sort" | "precision" | "repeatAll" => "it is not supported yet",
        _ => return None,
    })
}

/// Refuses what is not supported, and another number of arguments than a function takes.
fn check(name: &str, count: usize, at: usize) -> Result<(), CompileError> {
    let Some((_, least, most)) = SUPPORTED.iter().find(|(supported, ..)| *supported == name) else {
        let why = refusal(name).map_or_else(|| format!("there is no function {name}()"), |why| format!("{name}() is refused: {why}"));
        let names: Vec<&str> = SUPPORTED.iter().map(|(name, ..)| *name).collect();
        return Err(error(at, format!("{why}. Supported are {}", names.join(", "))));
    };
    if (*least..=*most).contains(&count) {
        return Ok(());
    }
    let wanted = match (least, most) {
        (0, 0) => "no argument".to_owned(),
        (1, 1) => "1 argument".to_owned(),
        (least, most) if least == most => format!("{least} arguments"),
        (least, most) => format!("{least} to {most} arguments"),
    };
    Err(error(at, format!("{name}() takes {wanted}, not {count}")))
}

impl Compiler<'_> {
    pub(super) fn call(&mut self, from: Option<&Node>, name: &str, arguments: &[Node], at: usize) -> Result<Code, CompileError> {
        check(name, arguments.len(), at)?;
        if name == "coalesce" {
            // What it stands after does not matter: its arguments are of the same `$this`.
            return arguments.iter().map(|a| self.code(a)).collect::<Result<_, _>>().map(Code::Coalesce);
        }
        let from = self.source(from)?;
        let code = match self.typed(from, name, arguments, at)? {
            Called::Done(code) => return Ok(code),
            Called::Not(from) => self.lambda(from, name, arguments, at)?,
        };
        let from = match code {
            Called::Done(code) => return Ok(code),
            Called::Not(from) => from,
        };
        let arguments = arguments.iter().map(|a| self.code(a)).collect::<Result<Vec<_>, _>>()?;
        plain(from, name, arguments, at)
    }

    /// Functions whose argument is a type name.
    fn typed(&mut self, from: Box<Code>, name: &str, arguments: &[Node], at: usize) -> Result<Called, CompileError> {
        let code = match (name, arguments) {
            ("ofType" | "as", [argument]) => of_type(*from, type_argument(argument)?),
            ("is", [argument]) => Code::Is { of: from, name: type_argument(argument)?, at },
            // What is traced would go to a log, where no value of a resource belongs: the collection goes on, and that is all.
            ("trace", _) => *from,
            ("getReferenceKey", []) => Code::ReferenceKey { from, resource_type: None },
            ("getReferenceKey", [argument]) => match type_argument(argument)? {
                TypeName::Resource(resource_type) => Code::ReferenceKey { from, resource_type: Some(resource_type) },
                _ => return Err(error(argument.at, "getReferenceKey() takes the name of a resource type")),
            },
            _ => return Ok(Called::Not(from)),
        };
        Ok(Called::Done(code))
    }

    /// Functions whose argument sees each item as `$this`.
    fn lambda(&mut self, from: Box<Code>, name: &str, arguments: &[Node], at: usize) -> Result<Called, CompileError> {
        let lambda = match (name, arguments.len()) {
            ("where", 1) => Lambda::Where,
            ("select", 1) => Lambda::Select,
            ("repeat", 1) => Lambda::Repeat,
            ("all", 1) => Lambda::All,
            ("exists", 1) => Lambda::Exists,
            ("iif", 2 | 3) => return self.iif(*from, arguments, at).map(Called::Done),
            _ => return Ok(Called::Not(from)),
        };
        self.lambdas += 1;
        let body = arguments.first().map(|a| self.code(a)).transpose()?;
        self.lambdas -= 1;
        Ok(Called::Done(match body {
            Some(Code::Literal(Literal::Boolean(true))) if lambda == Lambda::Where => *from,
            Some(body) => Code::Lambda { from, lambda, body: Box::new(body), at },
            None => *from,
        }))
    }

    fn iif(&mut self, from: Code, arguments: &[Node], at: usize) -> Result<Code, CompileError> {
        let mut arguments = arguments.iter().map(|a| self.code(a)).collect::<Result<Vec<_>, _>>()?.into_iter();
        let mut next = || Box::new(arguments.next().unwrap_or(Code::Nothing));
        let choice = Code::If { condition: next(), then: next(), otherwise: next(), at };
        // `name.first().iif(...)` sees that name as `$this`.
        Ok(match from {
            Code::This => choice,
            from => Code::Lambda { from: Box::new(from), lambda: Lambda::Select, body: Box::new(choice), at },
        })
    }
}

/// Whether a group of functions knew the name; if not, the source is handed on.
enum Called {
    Done(Code),
    Not(Box<Code>),
}

/// Functions whose arguments are ordinary expressions: long because it is a table, one function a line.
fn plain(from: Box<Code>, name: &str, arguments: Vec<Code>, at: usize) -> Result<Code, CompileError> {
    let count = arguments.len();
    let mut values = arguments.into_iter();
    let mut next = || Box::new(values.next().unwrap_or(Code::Nothing));
    let code = match (name, count) {
        ("exists", 0) => summary(from, Summary::Exists),
        ("empty", 0) => summary(from, Summary::Empty),
        ("count", 0) => summary(from, Summary::Count),
        ("not", 0) => summary(from, Summary::Not { at }),
        ("allTrue", 0) => summary(from, Summary::AllTrue { at }),
        ("anyTrue", 0) => summary(from, Summary::AnyTrue { at }),
        ("allFalse", 0) => summary(from, Summary::AllFalse { at }),
        ("anyFalse", 0) => summary(from, Summary::AnyFalse { at }),
        ("isDistinct", 0) => summary(from, Summary::IsDistinct),
        ("hasValue", 0) => summary(from, Summary::HasValue),
        ("getValue", 0) => Code::Filter { from, filter: Filter::Values },
        ("distinct", 0) => Code::Filter { from, filter: Filter::Distinct },
        ("first", 0) => Code::Pick { from, pick: Pick::First, at },
        ("last", 0) => Code::Pick { from, pick: Pick::Last, at },
        ("tail", 0) => Code::Pick { from, pick: Pick::Tail, at },
        ("single", 0) => Code::Pick { from, pick: Pick::Single, at },
        ("skip", 1) => Code::Pick { from, pick: Pick::Skip(next()), at },
        ("take", 1) => Code::Pick { from, pick: Pick::Take(next()), at },
        ("union", 1) => Code::Combine { kind: Combine::Union, left: from, right: next() },
        ("combine", 1) => Code::Combine { kind: Combine::Append, left: from, right: next() },
        ("intersect", 1) => Code::Combine { kind: Combine::Intersect, left: from, right: next() },
        ("exclude", 1) => Code::Combine { kind: Combine::Exclude, left: from, right: next() },
        ("subsetOf", 1) => Code::Binary { operator: Operator::SubsetOf, left: from, right: next(), at },
        ("supersetOf", 1) => Code::Binary { operator: Operator::SupersetOf, left: from, right: next(), at },
        ("extension", 1) => extension(*from, *next(), at),
        ("getResourceKey", 0) => Code::ResourceKey(from),
        ("join", 0) => Code::Join { from, separator: Box::new(Code::Literal(Literal::Text(String::new()))), at },
        ("join", 1) => Code::Join { from, separator: next(), at },
        ("children", 0) => Code::Children { from, deep: false },
        ("descendants", 0) => Code::Children { from, deep: true },
        ("matches", 1) => pattern(from, *next(), None, false, at)?,
        ("matchesFull", 1) => pattern(from, *next(), None, true, at)?,
        ("replaceMatches", 2) => {
            let text = *next();
            pattern(from, text, Some(next()), false, at)?
        }
        _ => return scalar(from, name, values.collect(), at),
    };
    Ok(code)
}

fn summary(from: Box<Code>, summary: Summary) -> Code {
    Code::Summary { from, summary }
}

fn extension(from: Code, url: Code, at: usize) -> Code {
    let is_url = match path(Code::This, "url") {
        element if matches!(url, Code::Literal(Literal::Text(_))) => equal_text(Box::new(element), &url),
        element => Code::Binary { operator: Operator::Equal, left: Box::new(element), right: Box::new(url), at },
    };
    Code::Lambda { from: Box::new(path(from, "extension")), lambda: Lambda::Where, body: Box::new(is_url), at }
}

fn pattern(from: Box<Code>, text: Code, replacement: Option<Box<Code>>, full: bool, at: usize) -> Result<Code, CompileError> {
    let Code::Literal(Literal::Text(text)) = text else {
        return Err(error(at, "a regular expression must be written as a string or be a constant"));
    };
    let text = if full { format!("^(?:{text})$") } else { text };
    let pattern = regex::RegexBuilder::new(&text)
        .dot_matches_new_line(true)
        .size_limit(crate::limits::MAX_REGEX_BYTES)
        .build()
        .map_err(|_| error(at, "this regular expression is not valid, too large, or uses look-around or back-references"))?;
    Ok(Code::Pattern { from, pattern, replacement, at })
}

/// Functions of a single item.
fn scalar(from: Box<Code>, name: &str, arguments: Vec<Code>, at: usize) -> Result<Code, CompileError> {
    let function = match name {
        "startsWith" => Function::StartsWith,
        "endsWith" => Function::EndsWith,
        "contains" => Function::Contains,
        "indexOf" => Function::IndexOf,
        "lastIndexOf" => Function::LastIndexOf,
        "substring" => Function::Substring,
        "replace" => Function::Replace,
        "length" => Function::Length,
        "upper" => Function::Upper,
        "lower" => Function::Lower,
        "trim" => Function::Trim,
        "split" => Function::Split,
        "toChars" => Function::ToChars,
        "encode" => Function::Encode,
        "decode" => Function::Decode,
        "abs" => Function::Abs,
        "ceiling" => Function::Ceiling,
        "floor" => Function::Floor,
        "round" => Function::Round,
        "truncate" => Function::Truncate,
        "sqrt" => Function::Sqrt,
        "exp" => Function::Exp,
        "ln" => Function::Ln,
        "log" => Function::Log,
        "power" => Function::Power,
        "lowBoundary" => Function::LowBoundary,
        "highBoundary" => Function::HighBoundary,
        "toQuantity" => Function::ToQuantity { test: false },
        "convertsToQuantity" => Function::ToQuantity { test: true },
        _ => conversion(name).ok_or_else(|| error(at, format!("there is no function {name}()")))?,
    };
    if let (Function::Encode | Function::Decode, Some(Code::Literal(Literal::Text(name)))) = (function, arguments.first())
        && coding(name).is_none()
    {
        return Err(error(at, format!("encode() and decode() know 'hex', 'base64' and 'urlbase64', not '{name}'")));
    }
    Ok(Code::Scalar { function, from, arguments, at })
}

fn conversion(name: &str) -> Option<Function> {
    let (test, target) = match name.strip_prefix("convertsTo") {
        Some(target) => (true, target),
        None => (false, name.strip_prefix("to")?),
    };
    let to = match target {
        "String" => Class::Text,
        "Integer" => Class::Integer,
        "Decimal" => Class::Decimal,
        "Boolean" => Class::Boolean,
        "Date" => Class::Date,
        "DateTime" => Class::DateTime,
        "Time" => Class::Time,
        _ => return None,
    };
    Some(Function::Convert { to, test })
}

#[cfg(test)]
mod tests {
    use crate::fhirpath::{Environment, Expression};

    #[test]
    fn every_function_that_is_named_as_supported_compiles() {
        for (name, least, most) in super::SUPPORTED {
            for count in least..=most {
                let argument = match name {
                    "ofType" | "as" | "is" | "getReferenceKey" => "Patient",
                    "encode" | "decode" => "'hex'",
                    _ => "'1'",
                };
                let text = format!("name.{name}({})", vec![argument; count].join(", "));
                Expression::compile(&text, &Environment::default()).unwrap_or_else(|e| panic!("{text}: {e}"));
            }
        }
    }
}
