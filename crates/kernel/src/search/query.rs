//! A search, parsed: parameters are looked up, values are ranges, codes and references instead of text.
//!
//! Everything here is what FHIR R4 says in section 3.1.1 (Search), in types that cannot hold nonsense as far as that is cheap:
//! an [`Operand`] must fit the [`Kind`](super::parameters::Kind) of its parameter; one that does not matches nothing.

use super::parameters::Parameter;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What is asked of the resources of one type. An empty one asks for all of them.
#[derive(Clone, Debug)]
pub struct Search {
    /// The resource type.
    pub resource_type: &'static str,
    /// All of them must hold.
    pub criteria: Vec<Criterion>,
    /// The order of the answer; ties are in the order of [`Sort::default`]. Empty: the newest version first.
    pub sort: Vec<Sort>,
    /// What comes along with the matches.
    pub include: Vec<Include>,
    /// How many matches a page has; `None`: as many as the server likes.
    pub count: Option<usize>,
    /// Whether the number of all matches is wanted.
    pub total: Total,
}

/// One condition.
#[derive(Clone, Debug)]
pub enum Criterion {
    /// A parameter of the resource itself: `code=a,b`
    Is {
        /// The parameter.
        parameter: &'static Parameter,
        /// What its values must be.
        test: Test,
    },
    /// What a reference points to: `subject:Patient.name=peter`. One of the types must hold.
    Chain {
        /// The parameter, of kind `Reference`.
        parameter: &'static Parameter,
        /// By type of the resource that is referred to, the condition on it.
        of: Vec<(&'static str, Criterion)>,
    },
    /// What refers to the resource: `_has:Observation:patient:code=1234-5`
    Has {
        /// The type of the resource that refers.
        resource_type: &'static str,
        /// Its parameter, of kind `Reference`.
        reference: &'static Parameter,
        /// The condition on it.
        criterion: Box<Criterion>,
    },
    /// One of them must hold: what is in a compartment.
    Either(Vec<Criterion>),
}

/// What the values of a parameter must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `:missing`: whether there must be none.
    Missing(bool),
    /// One of its values matches one of these.
    Any(Vec<Operand>),
    /// None of its values matches any of these; also where there is no value at all: `:not`, `:not-in`.
    None(Vec<Operand>),
}

/// One value that is asked for. Which of them fit is said by the kind of the parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// Token.
    Token(Token),
    /// Token with `:of-type`: the type of an Identifier (system and code), and its value.
    OfType {
        /// System and code of `Identifier.type`; `system` [`System::Any`] if none is given.
        of: Token,
        /// `Identifier.value`
        value: String,
    },
    /// Token with `:in`, `:above`, `:below` (and `:not-in` in [`Test::None`]): the codes of the expanded value set or hierarchy.
    Codes(Arc<Codes>),
    /// The same before the definitions were looked up. It matches nothing: [`super::execute`] puts the codes in its place.
    Concepts(Concepts),
    /// Token and reference with `:text`: the display text begins with it, without regard to case and accents.
    Text(String),
    /// String.
    String {
        /// As it was sent.
        text: String,
        /// The modifier.
        how: Match,
    },
    /// Reference.
    Reference(Reference),
    /// Reference: one of these resources, which a chain has found.
    Resources(Arc<Resources>),
    /// Reference with `:identifier`: `Reference.identifier`
    Identifier(Token),
    /// Date.
    Date(Comparison<Moments>),
    /// Number.
    Number(Comparison<Number>),
    /// Quantity.
    Quantity {
        /// The number.
        number: Comparison<Number>,
        /// Its unit.
        unit: Unit,
    },
    /// Uri.
    Uri {
        /// As it was sent.
        uri: String,
        /// The modifier.
        how: Hierarchy,
    },
    /// Composite: one operand for each component, all of which must match within one element.
    Composite(Vec<Operand>),
    /// `near`: within so far of a place.
    Near {
        /// Degrees, WGS 84.
        latitude: f64,
        /// Degrees, WGS 84.
        longitude: f64,
        /// Metres.
        distance_m: f64,
    },
}

/// The system of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum System {
    /// `code`: any, or none.
    Any,
    /// `|code`: none.
    Absent,
    /// `system|code`
    Is(String),
}

/// `system|code`, `|code`, `code` or `system|`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The system.
    pub system: System,
    /// The code; `None`: any of the system.
    pub code: Option<String>,
}

/// Which codes a token is to have, by a definition that has to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concepts {
    /// `:in`, `:not-in`: those of a value set, by its canonical URL or as `ValueSet/id`.
    In(String),
    /// `:below`: this code and what is below it.
    Below {
        /// The code system.
        system: String,
        /// The code.
        code: String,
    },
    /// `:above`: this code and what is above it.
    Above {
        /// The code system.
        system: String,
        /// The code.
        code: String,
    },
}

/// Codes of a value set or a hierarchy, by system (`""`: any system or none) and code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codes {
    named: HashMap<String, Vec<String>>,
    /// System and the beginning of codes: in some hierarchies, what begins with a code is below it.
    beginning: Vec<(String, String)>,
}

impl Codes {
    /// Whether the code is one of them.
    pub fn contains(&self, system: &str, code: &str) -> bool {
        self.named.get(code).is_some_and(|systems| systems.iter().any(|s| s.is_empty() || s == system))
            || self.beginning.iter().any(|(of, start)| of == system && code.starts_with(start.as_str()))
    }

    /// Adds all codes of a system that begin so.
    pub fn add_beginning(&mut self, system: &str, start: &str) {
        self.beginning.push((system.to_owned(), start.to_owned()));
    }

    /// Systems and codes; `None` if nobody can name them all.
    pub fn named(&self) -> Option<impl Iterator<Item = (&str, &str)>> {
        let named = self.named.iter().flat_map(|(code, systems)| systems.iter().map(|system| (&**system, &**code)));
        self.beginning.is_empty().then_some(named)
    }
}

impl FromIterator<(String, String)> for Codes {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(codes: I) -> Self {
        let mut all: HashMap<String, Vec<String>> = HashMap::new();
        for (system, code) in codes {
            all.entry(code).or_default().push(system);
        }
        Self { named: all, beginning: Vec::new() }
    }
}

/// Resources of one holder, by type and logical id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(HashMap<&'static str, HashSet<Box<str>>>);

impl Resources {
    /// Adds one.
    pub fn insert(&mut self, resource_type: &'static str, id: &str) {
        self.0.entry(resource_type).or_default().insert(id.into());
    }

    /// Whether it is one of them.
    pub fn contains(&self, resource_type: &str, id: &str) -> bool {
        self.0.get(resource_type).is_some_and(|ids| ids.contains(id))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(HashSet::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().map(|id| &**id)
    }
}

/// How a string is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It begins with the text, without regard to case and accents.
    Begins,
    /// `:contains`: the text is anywhere in it, without regard to case and accents.
    Contains,
    /// `:exact`: it is the text.
    Exact,
}

/// How a URI is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// It is the same.
    Exact,
    /// `:below`: it begins with the one that is asked for, at a boundary of its path.
    Below,
    /// `:above`: the one that is asked for begins with it, at a boundary of its path.
    Above,
}

/// What a reference points to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `Patient/1`, or `1` with the modifier `:Patient`: a resource of the same holder.
    Resource {
        /// Its type.
        resource_type: &'static str,
        /// Its logical id.
        id: String,
    },
    /// `1`: of whatever type.
    Id(String),
    /// An absolute URL or URN that is not of this server, or a canonical (`url` or `url|version`).
    Url(String),
}

/// A prefix of a number, date or quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefix {
    /// `eq`
    #[default]
    Equal,
    /// `ne`
    NotEqual,
    /// `gt`
    Greater,
    /// `lt`
    Less,
    /// `ge`
    GreaterOrEqual,
    /// `le`
    LessOrEqual,
    /// `sa`
    StartsAfter,
    /// `eb`
    EndsBefore,
    /// `ap`; the range must be widened already: the specification suggests 10 % of the number, or of the time from now to the date.
    Approximately,
}

/// A value with its prefix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison<T> {
    /// The prefix.
    pub prefix: Prefix,
    /// The value.
    pub value: T,
}

/// A range of time, in microseconds since 1970-01-01T00:00:00Z: `low <= t < high`. What a date implies by its precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    /// Its first microsecond; `i64::MIN`: no beginning.
    pub low: i64,
    /// The first after it; `i64::MAX`: no end.
    pub high: i64,
}

/// A number, and the range that its digits imply: `100` is `99.5 <= n < 100.5`, `1e2` is `50 <= n < 150`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// The number.
    pub value: f64,
    /// Where its range begins.
    pub low: f64,
    /// Where its range ends; not in it.
    pub high: f64,
}

/// The unit of a quantity that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `5.4`: any.
    Any,
    /// `5.4||mg`: a code or a unit as people write it.
    Named(String),
    /// `5.4|http://unitsofmeasure.org|mg`
    Coded {
        /// The system.
        system: String,
        /// The code.
        code: String,
    },
}

/// One key of the order.
#[derive(Clone, Copy, Debug)]
pub struct Sort {
    /// A parameter of the resource type.
    pub parameter: &'static Parameter,
    /// `-date`
    pub descending: bool,
}

/// `_include` and `_revinclude`
#[derive(Clone, Debug)]
pub struct Include {
    /// `_revinclude`: what refers to the matches, instead of what they refer to.
    pub reverse: bool,
    /// `:iterate`: also of what has been included.
    pub iterate: bool,
    /// The type of the resource that refers.
    pub source: &'static str,
    /// Its parameter; of `*`, all of kind `Reference`.
    pub parameters: Vec<&'static Parameter>,
    /// Only references to this type.
    pub target: Option<&'static str>,
}

/// `_total`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Total {
    /// Not wanted.
    #[default]
    None,
    /// Wanted, exactly: also for `estimate`.
    Accurate,
}

impl Search {
    /// All resources of a type.
    pub fn all(resource_type: &'static str) -> Self {
        Self { resource_type, criteria: Vec::new(), sort: Vec::new(), include: Vec::new(), count: None, total: Total::None }
    }
}
