//! HL7's R4 search parameters, by resource type.
// The table `data/search-r4.tsv` is made from HL7's CC0 files by `examples/reduce_search_parameters.rs`.

use crate::fhir::definitions;
use crate::fhir::json::Value;
use crate::fhirpath::{CompileError, Environment, Expression};
use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

#[cfg(test)]
mod tests;

pub(super) const TABLE: &str = include_str!("../../data/search-r4.tsv");

/// What every resource type has.
const COMMON: &str = "Resource";

/// The type of a search parameter (R4, section 3.1.1.4.7 and the following).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A number.
    Number,
    /// A date, a time or a period.
    Date,
    /// Text.
    String,
    /// A code, an identifier, a boolean.
    Token,
    /// A reference to a resource, or a canonical.
    Reference,
    /// Several of them that must match within one element.
    Composite,
    /// A number with a unit.
    Quantity,
    /// A URI.
    Uri,
    /// `near`: a place.
    Special,
}

impl Kind {
    fn parse(name: &str) -> Self {
        match name {
            "number" => Self::Number,
            "date" => Self::Date,
            "string" => Self::String,
            "token" => Self::Token,
            "reference" => Self::Reference,
            "composite" => Self::Composite,
            "quantity" => Self::Quantity,
            "uri" => Self::Uri,
            _ => Self::Special,
        }
    }

    /// As FHIR writes it: `token`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Date => "date",
            Self::String => "string",
            Self::Token => "token",
            Self::Reference => "reference",
            Self::Composite => "composite",
            Self::Quantity => "quantity",
            Self::Uri => "uri",
            Self::Special => "special",
        }
    }
}

/// A search parameter of one resource type.
#[derive(Debug)]
pub struct Parameter {
    /// The resource type that was asked for, also for what every type has.
    pub resource_type: &'static str,
    /// Its name in a query: `birthdate`.
    pub code: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its place among the parameters of its type, by which packed values name it.
    pub number: u16,
    /// The resource types that a reference may be to; empty if none are named, and for other kinds.
    pub targets: Vec<&'static str>,
    /// The components of a composite, in order.
    pub components: Vec<Component>,
    /// What it is evaluated with, as HL7 (or whoever has added it) writes it for this type.
    pub expression: &'static str,
    pub(super) paths: Vec<Path>,
    pub(super) yields: Vec<Yield>,
}

/// One alternative of an expression.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) expression: Expression,
    /// The element of the resource without which it yields nothing; of a choice without its type. Most resources lack most elements,
    /// and looking for a name is cheaper than evaluating.
    pub(super) root: Option<&'static str>,
}

impl Path {
    pub(super) fn of(expression: Expression, text: &'static str, resource_type: &str) -> Self {
        let text = text.trim_start_matches('(');
        let rest = [resource_type, COMMON].iter().find_map(|name| text.strip_prefix(name)?.strip_prefix('.')).unwrap_or_default();
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric()).next().filter(|name| !name.is_empty());
        // What asks whether there is something yields something where there is nothing.
        Self { expression, root: name.filter(|_| !rest.contains("exists()")) }
    }

    /// Whether it can yield something on a resource, whose initials these are.
    pub(super) fn may_yield(&self, resource: Value<'_>, initials: u32) -> bool {
        self.root.is_none_or(|root| initials & initial(root) != 0 && resource.members().iter().any(|(name, _)| name.starts_with(root)))
    }
}

/// The first letters of a resource's members, a bit each: most absent elements are told by them.
pub(super) fn initials(resource: Value<'_>) -> u32 {
    resource.members().iter().fold(0, |initials, (name, _)| initials | initial(name))
}

fn initial(name: &str) -> u32 {
    name.bytes().next().map_or(0, |letter| 1 << (letter & 31))
}

/// A component of a composite.
#[derive(Debug)]
pub struct Component {
    /// The code of the parameter that it is like.
    pub code: &'static str,
    /// Its type.
    pub kind: Kind,
    pub(super) paths: Vec<Expression>,
    pub(super) yields: Vec<Yield>,
}

/// A FHIR type that an expression yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Yield {
    /// The type's name.
    pub(super) of: &'static str,
    /// Of a code: the system that its value set is bound to.
    pub(super) system: Option<&'static str>,
}

/// The parameters of one resource type: HL7's, or those that were added to them.
#[derive(Debug)]
pub struct TypeParameters {
    own: Vec<Parameter>,
    by_code: HashMap<&'static str, usize>,
    /// HL7's, if these were added.
    standard: Option<&'static TypeParameters>,
}

impl TypeParameters {
    fn of(own: Vec<Parameter>, standard: Option<&'static TypeParameters>) -> Self {
        let by_code = own.iter().enumerate().map(|(at, parameter)| (parameter.code, at)).collect();
        Self { own, by_code, standard }
    }

    /// HL7's: those that all types have first.
    pub fn all(&self) -> &[Parameter] {
        self.standard.map_or(&self.own, |standard| &standard.own)
    }

    /// Those that were added, in order of their numbers.
    pub fn added(&self) -> &[Parameter] {
        if self.standard.is_some() { &self.own } else { &[] }
    }

    /// The number under which packed values say whom they are about; no parameter has it. Added ones have higher numbers.
    pub(crate) fn about(&self) -> usize {
        self.all().len()
    }

    /// The one of that name.
    pub fn get(&self, code: &str) -> Option<&Parameter> {
        let standard = self.standard.and_then(|standard| standard.get(code));
        standard.or_else(|| self.by_code.get(code).and_then(|at| self.own.get(*at)))
    }
}

/// The parameters that the searches of a database know: HL7's, and those that its centre has added.
#[derive(Clone, Debug, Default)]
pub struct Known(HashMap<&'static str, &'static TypeParameters>);

impl Known {
    /// HL7's alone.
    pub fn standard() -> &'static Self {
        static STANDARD: LazyLock<Known> = LazyLock::new(Known::default);
        &STANDARD
    }

    /// The parameters of a resource type; `None` if R4 has no such type.
    pub fn of_type(&self, resource_type: &str) -> Option<&'static TypeParameters> {
        self.0.get(resource_type).copied().or_else(|| of_type(resource_type))
    }

    /// A parameter of a resource type.
    pub fn parameter(&self, resource_type: &str, code: &str) -> Option<&'static Parameter> {
        self.of_type(resource_type)?.get(code)
    }

    /// Those of a resource type whose values are references.
    pub fn references(&self, resource_type: &str) -> Vec<&'static Parameter> {
        let all = self.of_type(resource_type).map(|of_type| of_type.all()).unwrap_or_default();
        all.iter().filter(|parameter| parameter.kind == Kind::Reference).collect()
    }

    /// The same with other parameters of one type.
    pub fn with(&self, resource_type: &'static str, parameters: &'static TypeParameters) -> Self {
        let mut types = self.0.clone();
        types.insert(resource_type, parameters);
        Self(types)
    }

    /// All that were added.
    pub fn added(&self) -> impl Iterator<Item = &'static Parameter> {
        self.0.values().flat_map(|of_type| of_type.added())
    }
}

/// The lines of the table by resource type, and what they are compiled to when it is first asked for.
struct Registry(HashMap<&'static str, (Vec<&'static str>, OnceLock<TypeParameters>)>);

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut lines: HashMap<&'static str, Vec<&'static str>> = HashMap::new();
    let mut current = COMMON;
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix(":\t") {
            Some(name) => current = name,
            None => lines.entry(current).or_default().push(line),
        }
    }
    let common = lines.remove(COMMON).unwrap_or_default();
    let of_type = |name| {
        let own = lines.get(name).into_iter().flatten();
        (name, (common.iter().chain(own).copied().collect(), OnceLock::new()))
    };
    Registry(definitions::resource_types().map(of_type).collect())
});

/// The parameters of a resource type; `None` if R4 has no such type.
pub fn of_type(resource_type: &str) -> Option<&'static TypeParameters> {
    let (name, (lines, compiled)) = REGISTRY.0.get_key_value(resource_type)?;
    Some(compiled.get_or_init(|| compile_all(name, lines)))
}

/// The code systems that value sets of the table are bound to.
pub(super) fn bound_systems() -> impl Iterator<Item = &'static str> {
    let words = TABLE.lines().filter(|line| !line.starts_with('#')).flat_map(|line| line.split(['\t', ' ']));
    words.filter_map(|word| word.strip_prefix("code="))
}

/// A parameter of a resource type.
pub fn parameter(resource_type: &str, code: &str) -> Option<&'static Parameter> {
    of_type(resource_type)?.get(code)
}

fn compile_all(resource_type: &'static str, lines: &[&'static str]) -> TypeParameters {
    let mut all: Vec<Parameter> = Vec::new();
    for line in lines {
        let mut columns = line.split('\t');
        let mut column = || columns.next().unwrap_or_default();
        let code = column();
        if code == "+" {
            let (code, kind, yields) = (column(), Kind::parse(column()), yields(column()));
            if let Some(composite) = all.last_mut() {
                composite.components.push(Component { code, kind, paths: compiled(column()), yields });
            }
            continue;
        }
        let (kind, yields, targets, expression) = (Kind::parse(column()), yields(column()), targets(column()), column());
        let number = u16::try_from(all.len()).unwrap_or(u16::MAX); // a type has some 60
        let paths = compiled(expression).into_iter().zip(expression.split(" | ")).map(|(path, text)| Path::of(path, text, resource_type));
        let paths = paths.collect();
        all.push(Parameter { resource_type, code, kind, number, targets, components: Vec::new(), expression, paths, yields });
    }
    TypeParameters::of(all, None)
}

/// The parameters of a type with those that were added to it; they live as long as the program, as criteria refer to them.
pub(super) fn with_added(resource_type: &str, added: Vec<Parameter>) -> Option<&'static TypeParameters> {
    let standard = of_type(resource_type)?;
    Some(if added.is_empty() { standard } else { Box::leak(Box::new(TypeParameters::of(added, Some(standard)))) })
}

fn yields(column: &'static str) -> Vec<Yield> {
    let one = |text: &'static str| match text.split_once('=') {
        Some((of, system)) => Yield { of, system: Some(system) },
        None => Yield { of: text, system: None },
    };
    column.split(' ').map(one).collect()
}

fn targets(column: &'static str) -> Vec<&'static str> {
    match column {
        "-" => Vec::new(),
        "Any" => definitions::resource_types().collect(),
        names => names.split(' ').filter(|name| definitions::is_resource_type(name)).collect(),
    }
}

/// The alternatives of an expression, each compiled: values are told apart later, not by FHIRPath's `|`.
fn compiled(expression: &str) -> Vec<Expression> {
    try_compiled(expression).unwrap_or_else(|(part, error)| {
        // A test holds that each expression of the table compiles.
        tracing::error!(expression = part, %error, "a search parameter of the table cannot be evaluated");
        Vec::new()
    })
}

pub(super) fn try_compiled(expression: &str) -> Result<Vec<Expression>, (String, CompileError)> {
    let compile = |part: &str| Expression::compile(part, &Environment::default()).map_err(|error| (part.to_owned(), error));
    expression.split(" | ").map(compile).collect()
}
