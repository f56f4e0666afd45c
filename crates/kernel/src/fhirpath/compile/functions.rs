//! Function calls.

use super::super::code::{Code, Combine, Filter, Function, Lambda, Operator, Pick, Summary};
use super::super::syntax::{Literal, Node};
use super::super::types::{Class, TypeName};
use super::{CompileError, Compiler, equal_text, error, of_type, path, type_argument};

/// Functions of FHIRPath and FHIR that are refused, and why.
fn refusal(name: &str) -> Option<&'static str> {
    Some(match name {
        "now" | "today" | "timeOfDay" => "the result may depend on the resource only, not on when it is computed",
        "resolve" => "the result may depend on this resource only; use getReferenceKey() and a join",
        "memberOf" | "subsumes" | "subsumedBy" | "validateVS" | "translate" => "there is no terminology service here",
        "trace" | "defineVariable" | "aggregate" | "type" | "toQuantity" | "convertsToQuantity" | "comparable" | "conformsTo"
        | "checkModifiers" | "elementDefinition" | "slice" | "htmlChecks" | "encode" | "decode" | "escape" | "unescape" | "sort"
        | "coalesce" | "sqrt" | "exp" | "ln" | "log" | "power" | "precision" | "repeatAll" => "it is not supported yet",
        _ => return None,
    })
}

impl Compiler<'_> {
    pub(super) fn call(&mut self, from: Option<&Node>, name: &str, arguments: &[Node], at: usize) -> Result<Code, CompileError> {
        if let Some(reason) = refusal(name) {
            return Err(error(at, format!("{name}() is refused: {reason}")));
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
            ("getReferenceKey", []) => Code::ReferenceKey { from, resource_type: None },
            ("getReferenceKey", [argument]) => match type_argument(argument)? {
                TypeName::Resource(resource_type) => Code::ReferenceKey { from, resource_type: Some(resource_type) },
                _ => return Err(error(argument.at, "getReferenceKey() takes the name of a resource type")),
            },
            ("ofType" | "as" | "is" | "getReferenceKey", _) => return Err(arity(name, "one type name", at)),
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
            ("where" | "select" | "repeat" | "all", _) => return Err(arity(name, "one expression", at)),
            ("iif", _) => return Err(arity(name, "two or three expressions", at)),
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

fn arity(name: &str, wanted: &str, at: usize) -> CompileError {
    error(at, format!("{name}() takes {wanted}"))
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
    let (function, counts) = match name {
        "startsWith" => (Function::StartsWith, 1..=1),
        "endsWith" => (Function::EndsWith, 1..=1),
        "contains" => (Function::Contains, 1..=1),
        "indexOf" => (Function::IndexOf, 1..=1),
        "lastIndexOf" => (Function::LastIndexOf, 1..=1),
        "substring" => (Function::Substring, 1..=2),
        "replace" => (Function::Replace, 2..=2),
        "length" => (Function::Length, 0..=0),
        "upper" => (Function::Upper, 0..=0),
        "lower" => (Function::Lower, 0..=0),
        "trim" => (Function::Trim, 0..=0),
        "split" => (Function::Split, 1..=1),
        "toChars" => (Function::ToChars, 0..=0),
        "abs" => (Function::Abs, 0..=0),
        "ceiling" => (Function::Ceiling, 0..=0),
        "floor" => (Function::Floor, 0..=0),
        "round" => (Function::Round, 0..=1),
        "truncate" => (Function::Truncate, 0..=0),
        "lowBoundary" => (Function::LowBoundary, 0..=1),
        "highBoundary" => (Function::HighBoundary, 0..=1),
        _ => match conversion(name) {
            Some(function) => (function, 0..=0),
            None if is_known(name) => return Err(arity(name, "another number of arguments", at)),
            None => return Err(error(at, format!("there is no function {name}()"))),
        },
    };
    if !counts.contains(&arguments.len()) {
        return Err(arity(name, "another number of arguments", at));
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

/// The names that [`plain`] knows with some number of arguments.
fn is_known(name: &str) -> bool {
    matches!(
        name,
        "exists"
            | "empty"
            | "count"
            | "not"
            | "allTrue"
            | "anyTrue"
            | "allFalse"
            | "anyFalse"
            | "isDistinct"
            | "hasValue"
            | "getValue"
            | "distinct"
            | "first"
            | "last"
            | "tail"
            | "single"
            | "skip"
            | "take"
            | "union"
            | "combine"
            | "intersect"
            | "exclude"
            | "subsetOf"
            | "supersetOf"
            | "extension"
            | "getResourceKey"
            | "join"
            | "children"
            | "descendants"
            | "matches"
            | "matchesFull"
            | "replaceMatches"
    )
}
