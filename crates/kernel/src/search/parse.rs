//! From the names and values of a query to a [`Search`].
//!
//! A parameter that is not known is ignored, and the answer says so, or refuses the search, as the client prefers (`Prefer:
//! handling`): [`Query::ignored`] has them. Everything else that is wrong is refused: a modifier that is ignored would give other
//! resources than those that were asked for (FHIR R4, section 3.1.1.4.4). What is told names parameters, never their values.

mod criterion;
mod page;
mod range;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub use text::{encode, pairs};

use super::parameters::{Known, Parameter};
use super::query::Search;
use crate::fhir::definitions;
use crate::fhir::issue::{Issue, IssueType, Severity};
use crate::fhir::subset::Subset;
use crate::limits::{MAX_ISSUES, MAX_SEARCH_CRITERIA, MAX_SEARCH_VALUES};
use jiff::Timestamp;
use std::cell::Cell;

/// What a query is read with.
#[derive(Clone, Copy, Debug)]
pub struct Environment<'e> {
    /// The present: `ap` of a date is a share of the time from now to it.
    pub now: Timestamp,
    /// The address of this server's `/fhir`, such as `https://example.org/fhir`: absolute references that begin with it are to its
    /// own resources.
    pub base: &'e str,
    /// The parameters that there are.
    pub known: &'e Known,
}

/// A query, parsed.
#[derive(Clone, Debug)]
pub struct Query {
    /// What is searched for.
    pub search: Search,
    /// Which part of each match is wanted; all of it if none is said.
    pub subset: Option<Subset>,
    /// Only the number of matches: `_summary=count`, `_count=0`.
    pub count_only: bool,
    /// The parameters that were used, as they came: what the answer's `self` link says.
    pub used: Vec<(String, String)>,
    /// What was not understood, and left out.
    pub ignored: Vec<Issue>,
}

/// Why a parameter cannot be taken, without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of which kind.
    pub code: IssueType,
    /// What is wrong and what is allowed.
    pub what: String,
}

impl Refusal {
    fn new(code: IssueType, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }

    fn value(what: impl Into<String>) -> Self {
        Self::new(IssueType::Value, what)
    }

    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Self::new(IssueType::NotSupported, what)
    }

    fn costly(what: impl Into<String>) -> Self {
        Self::new(IssueType::TooCostly, what)
    }

    /// The issue, about the parameter of that name.
    pub(super) fn about(self, name: &str) -> Issue {
        let (place, shown) = shown(name);
        Issue { severity: Severity::Error, code: self.code, diagnostics: format!("{shown}: {}", self.what), expression: Some(place) }
    }
}

impl From<Refusal> for Issue {
    fn from(refusal: Refusal) -> Self {
        Issue { severity: Severity::Error, code: refusal.code, diagnostics: refusal.what, expression: None }
    }
}

/// How a parameter's name is told: what is not a name may be anything, a patient's data included.
fn shown(name: &str) -> (String, String) {
    let plain = name.len() <= 128 && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = plain && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'.' | b'*'));
    if plain {
        (format!("http.{name}"), format!("`{name}`"))
    } else {
        ("http.query".to_owned(), "a parameter whose name is not one".to_owned())
    }
}

/// Why a parameter was not used.
enum Unused {
    /// It is not known: ignored or refused, as the client prefers.
    Unknown(Refusal),
    /// It is known, and wrong.
    Wrong(Refusal),
}

impl From<Refusal> for Unused {
    fn from(refusal: Refusal) -> Self {
        Self::Wrong(refusal)
    }
}

/// What is counted while a query is read, so that a short one cannot ask for endless work.
#[derive(Debug)]
struct Budget {
    values: Cell<usize>,
    criteria: Cell<usize>,
}

impl Budget {
    fn new() -> Self {
        Self { values: Cell::new(MAX_SEARCH_VALUES), criteria: Cell::new(MAX_SEARCH_CRITERIA) }
    }

    fn take_values(&self, n: usize) -> Result<(), Refusal> {
        let left = self.values.get().checked_sub(n);
        self.values.set(left.unwrap_or_default());
        left.map(|_| ())
            .ok_or_else(|| Refusal::costly(format!("the search has more than {MAX_SEARCH_VALUES} values; split it into several")))
    }

    fn take_criterion(&self) -> Result<(), Refusal> {
        let left = self.criteria.get().checked_sub(1);
        self.criteria.set(left.unwrap_or_default());
        left.map(|_| ()).ok_or_else(|| {
            let what = format!(
                "the search has more than {MAX_SEARCH_CRITERIA} criteria, those on each type that a chain may lead to counted; name the types, as in `subject:Patient.name`"
            );
            Refusal::costly(what)
        })
    }
}

/// Reads a query about one resource type.
///
/// # Errors
/// Each problem, with places such as `http.birthdate`; at most [`MAX_ISSUES`].
pub fn query(resource_type: &str, pairs: &[(String, String)], environment: &Environment<'_>) -> Result<Query, Vec<Issue>> {
    let Some(definition) = definitions::resource_type(resource_type) else {
        return Err(vec![Refusal::value("what is searched for is not a resource type of FHIR R4").into()]);
    };
    let reader = Reader { environment, resource_type: definition.name(), budget: Budget::new() };
    let mut page = page::Page::default();
    let mut query =
        Query { search: Search::all(definition.name()), subset: None, count_only: false, used: Vec::new(), ignored: Vec::new() };
    let mut problems = Vec::new();
    for (name, value) in pairs {
        match reader.read(name, value, &mut query.search, &mut page) {
            Ok(()) => query.used.push((name.clone(), value.clone())),
            Err(Unused::Unknown(refusal)) => {
                query.ignored.push(Issue { severity: Severity::Warning, ..refusal.about(name) });
            }
            Err(Unused::Wrong(refusal)) => problems.push(refusal.about(name)),
        }
    }
    (query.subset, query.count_only) = page.finish(&mut query.search, &mut problems);
    query.ignored.truncate(MAX_ISSUES);
    problems.truncate(MAX_ISSUES);
    if problems.is_empty() { Ok(query) } else { Err(problems) }
}

/// Which part of one resource is wanted: `_summary` and `_elements` of a read. Other parameters are not looked at.
///
/// # Errors
/// Each problem, with places such as `http._elements`.
pub fn part(resource_type: &str, pairs: &[(String, String)]) -> Result<Option<Subset>, Vec<Issue>> {
    let environment = Environment { now: Timestamp::UNIX_EPOCH, base: "", known: Known::standard() };
    let about: Vec<_> = pairs.iter().filter(|(name, _)| matches!(&**name, "_summary" | "_elements")).cloned().collect();
    Ok(query(resource_type, &about, &environment)?.subset)
}

/// Reads the parameters of one query.
struct Reader<'e> {
    environment: &'e Environment<'e>,
    resource_type: &'static str,
    budget: Budget,
}

impl Reader<'_> {
    fn read(&self, name: &str, value: &str, search: &mut Search, page: &mut page::Page) -> Result<(), Unused> {
        if value.is_empty() {
            return Err(Unused::Unknown(Refusal::value("the value is empty, and so the parameter was left out")));
        }
        if page.take(self.environment.known, self.resource_type, name, value, search)? {
            return Ok(());
        }
        let depth = criterion::Depth::default();
        search.criteria.push(criterion::read(self, self.resource_type, name, value, depth)?);
        Ok(())
    }
}

/// The parameter of that name, or what there is instead.
fn known(all: &Known, resource_type: &str, code: &str) -> Result<&'static Parameter, Unused> {
    all.parameter(resource_type, code).filter(|p| !p.expression.is_empty()).ok_or_else(|| {
        let all = all.of_type(resource_type);
        let codes: Vec<&str> = all.iter().flat_map(|of_type| of_type.all().iter().chain(of_type.added())).map(|p| p.code).collect();
        Unused::Unknown(Refusal::unsupported(format!("{resource_type} has no such search parameter; it has {}", codes.join(", "))))
    })
}
