//! What a client searches for: an address, parameters, and whether those that are not known refuse the search.

use super::{everything, link};
use crate::api::ApiError;
use crate::api::interaction::{known_type, readable_id};
use crate::limits::MAX_SEARCH_BYTES;
use axum::http::StatusCode;
use dugnad_kernel::fhir::definitions::{resource_type, resource_types};
use dugnad_kernel::fhir::issue::{Issue, IssueType, Severity};
use dugnad_kernel::fhir::subset::Subset;
use dugnad_kernel::search::compartment;
use dugnad_kernel::search::parse::{self, Environment, Query};
use dugnad_kernel::search::query::Criterion;
use std::collections::BTreeSet;

/// Where is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `/fhir/Patient`
    Type(String),
    /// `/fhir`, with `_type`.
    System,
    /// `/fhir/Patient/1/Observation`; `*` for all types.
    Compartment {
        /// The Patient's id.
        patient: String,
        /// The resource type, or `*`.
        kind: String,
    },
    /// `/fhir/Patient/1/$everything`
    Everything {
        /// The Patient's id.
        patient: String,
    },
}

impl Place {
    /// A type's.
    pub fn of_type(name: &str) -> Result<Self, ApiError> {
        known_type(name).map(Place::Type)
    }

    /// A compartment's. Only Patients have one.
    pub fn compartment(owner: &str, id: &str, kind: &str) -> Result<Self, ApiError> {
        if known_type(owner)? != "Patient" {
            let what = "only the compartment of a Patient is searched, such as /fhir/Patient/1/Observation";
            return Err(ApiError::new(StatusCode::NOT_FOUND, IssueType::NotSupported, what));
        }
        let kind = if kind == "*" { kind.to_owned() } else { known_type(kind)? };
        if kind != "*" && !compartment::types().any(|name| name == kind) {
            let what = format!("a {kind} is never in the compartment of a Patient (FHIR R4, compartmentdefinition-patient)");
            return Err(ApiError::new(StatusCode::NOT_FOUND, IssueType::NotSupported, what));
        }
        Ok(Place::Compartment { patient: readable_id(id)?, kind })
    }

    /// That of all that there is about a Patient.
    pub fn everything(id: &str) -> Result<Self, ApiError> {
        Ok(Place::Everything { patient: readable_id(id)? })
    }

    /// Its path.
    pub fn path(&self) -> String {
        match self {
            Place::Type(name) => format!("/fhir/{name}"),
            Place::System => "/fhir".to_owned(),
            Place::Compartment { patient, kind } => format!("/fhir/Patient/{patient}/{kind}"),
            Place::Everything { patient } => format!("/fhir/Patient/{patient}/$everything"),
        }
    }
}

/// A search, as it was sent.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where.
    pub place: Place,
    /// The parameters, but for `_page`.
    pub parameters: Vec<(String, String)>,
    /// `_page`.
    pub page: Option<String>,
    /// Whether a parameter that is not known refuses the search (`Prefer: handling=strict`).
    pub strict: bool,
}

/// A search that is understood.
pub struct Understood {
    /// One for each type that is searched.
    pub queries: Vec<Query>,
    /// The parameters that were used.
    pub used: Vec<(String, String)>,
    /// What was left out.
    pub ignored: Vec<Issue>,
    /// Of which types resources may come along; `None`: of all that are asked for.
    pub along: Option<BTreeSet<&'static str>>,
}

impl Asked {
    /// Reads a query string, or the body of a form after it.
    pub fn new(place: Place, query: &str, form: &str, strict: bool) -> Result<Self, ApiError> {
        let both = if form.is_empty() { query.to_owned() } else { format!("{query}&{form}") };
        let mut parameters = parse::pairs(&both).map_err(|refusal| refused(vec![refusal.into()]))?;
        if parameters.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_SEARCH_BYTES {
            let what = format!("the parameters have more than {MAX_SEARCH_BYTES} bytes; search in steps");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, IssueType::TooCostly, what));
        }
        let page = parameters.iter().position(|(name, _)| name == link::PAGE).map(|at| parameters.remove(at).1);
        Ok(Self { place, parameters, page, strict })
    }

    /// What is put on the record: the address and the names of the parameters, no value.
    pub fn summary(&self, method: &str) -> String {
        let known = |name: &str| name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-:.".contains(&b));
        let names: Vec<&str> = self.parameters.iter().map(|(name, _)| if known(name) { name.as_str() } else { "?" }).collect();
        let page = if self.page.is_some() { " (further page)" } else { "" };
        format!("{method} {}?{}{page}", self.place.path(), names.join("&"))
    }

    /// The value of a parameter; the first of that name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Looks everything up.
    pub fn understand(&self, environment: &Environment<'_>) -> Result<Understood, ApiError> {
        match &self.place {
            Place::Type(name) => self.one_type(name, environment, None),
            Place::Compartment { patient, kind } if kind != "*" => self.one_type(kind, environment, compartment::of_patient(kind, patient)),
            Place::Compartment { patient, .. } => {
                let types = self.types(compartment::types().collect())?;
                self.many_types(&types, environment, |name| compartment::of_patient(name, patient))
            }
            Place::System => {
                let types = self.types(resource_types().collect())?;
                self.many_types(&types, environment, |_| None)
            }
            Place::Everything { patient } => everything::understand(self, patient, environment),
        }
    }

    fn one_type(&self, name: &str, environment: &Environment<'_>, inside: Option<Criterion>) -> Result<Understood, ApiError> {
        let mut query = parse::query(name, &self.parameters, environment).map_err(refused)?;
        query.search.criteria.extend(inside);
        let (used, ignored) = (std::mem::take(&mut query.used), std::mem::take(&mut query.ignored));
        self.understood(vec![query], used, ignored)
    }

    /// Several types are searched one after the other, so that only what they all know can be asked for.
    fn many_types(
        &self,
        types: &[&'static str],
        environment: &Environment<'_>,
        inside: impl Fn(&str) -> Option<Criterion>,
    ) -> Result<Understood, ApiError> {
        let parameters: Vec<(String, String)> = self.parameters.iter().filter(|(name, _)| name != "_type").cloned().collect();
        if let Some((name, _)) = parameters.iter().find(|(name, _)| name == "_sort" && types.len() > 1) {
            let what = "resources of several types have no common order here; search one type, or leave it out";
            return Err(ApiError::bad_request(IssueType::NotSupported, what).at(format!("http.{name}")));
        }
        // What one of the types does not know would find all of its resources: it is left out for all of them.
        let read = |name: &&'static str, parameters: &[(String, String)]| parse::query(name, parameters, environment).map_err(refused);
        let first: Vec<Query> = types.iter().map(|name| read(name, &parameters)).collect::<Result<_, _>>()?;
        let mut ignored: Vec<Issue> = Vec::new();
        for issue in first.iter().flat_map(|query| &query.ignored) {
            if ignored.iter().all(|known| known.expression != issue.expression) {
                ignored.push(issue.clone());
            }
        }
        let used: Vec<(String, String)> =
            parameters.iter().filter(|pair| first.iter().all(|query| query.used.contains(pair))).cloned().collect();
        let mut queries: Vec<Query> = types.iter().map(|name| read(name, &used)).collect::<Result<_, _>>()?;
        for (query, name) in queries.iter_mut().zip(types) {
            query.search.criteria.extend(inside(name));
        }
        let types = self.parameters.iter().filter(|(name, _)| name == "_type").cloned();
        self.understood(queries, types.chain(used.iter().cloned()).collect(), ignored)
    }

    fn understood(&self, queries: Vec<Query>, used: Vec<(String, String)>, ignored: Vec<Issue>) -> Result<Understood, ApiError> {
        if self.strict && !ignored.is_empty() {
            return Err(refused(ignored.into_iter().map(|issue| Issue { severity: Severity::Error, ..issue }).collect()));
        }
        Ok(Understood { queries, used, ignored, along: None })
    }

    /// The types of `_type` that are among those that can be. Without `_type`: all.
    fn types(&self, all: Vec<&'static str>) -> Result<Vec<&'static str>, ApiError> {
        let given: Vec<_> = self.parameters.iter().filter(|(name, _)| name == "_type").collect();
        let mut types = BTreeSet::new();
        for name in given.iter().flat_map(|(_, value)| value.split(',')) {
            let wrong = || {
                ApiError::bad_request(IssueType::Value, "expected resource types of FHIR R4, such as `Patient,Observation`")
                    .at("http._type")
            };
            types.insert(resource_type(name).ok_or_else(wrong)?.name());
        }
        Ok(if given.is_empty() { all } else { all.into_iter().filter(|name| types.contains(name)).collect() })
    }
}

/// The part of a resource that a read asks for.
pub fn part(resource_type: &str, query: &str) -> Result<Option<Subset>, ApiError> {
    let parameters = parse::pairs(query).map_err(|refusal| refused(vec![refusal.into()]))?;
    parse::part(resource_type, &parameters).map_err(refused)
}

/// 400 with each problem.
pub fn refused(issues: Vec<Issue>) -> ApiError {
    ApiError { issues, ..ApiError::bad_request(IssueType::Invalid, "") }
}

#[cfg(test)]
mod tests;
