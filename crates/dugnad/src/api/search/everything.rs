//! `Patient/$everything` (<http://hl7.org/fhir/R4/operation-patient-everything.html>): a search of the Patient's compartment, type by
//! type, the Patient first. What its resources refer to comes along, if it is of a type that is in no patient's compartment
//! (practitioners, organisations, medications); the rest is in this one, or is another patient's.

use super::asked::{Asked, Understood, refused};
use crate::api::ApiError;
use crate::limits::MAX_EVERYTHING_PAGE;
use dugnad_kernel::fhir::definitions::{resource_type, resource_types};
use dugnad_kernel::fhir::issue::{Issue, IssueType, Severity};
use dugnad_kernel::search::parse::{self, Environment};
use dugnad_kernel::search::query::{Include, Moments};
use dugnad_kernel::search::{care_date, compartment};
use std::collections::BTreeSet;

/// What is asked for.
#[derive(Default)]
struct Wanted {
    start: Option<Moments>,
    end: Option<Moments>,
    since: Option<String>,
    count: Option<usize>,
    types: Option<BTreeSet<&'static str>>,
    used: Vec<(String, String)>,
    ignored: Vec<Issue>,
}

impl Wanted {
    fn read(asked: &Asked) -> Result<Self, ApiError> {
        let mut wanted = Self::default();
        for (name, text) in &asked.parameters {
            let wrong = |what: &str| ApiError::bad_request(IssueType::Value, what).at(format!("http.{name}"));
            let moments = || Moments::parse(&text.replace(' ', "+")).ok_or_else(|| wrong("expected a date, such as 2026-01-31"));
            match name.as_str() {
                "start" => wanted.start = Some(moments()?),
                "end" => wanted.end = Some(moments()?),
                "_since" => {
                    moments()?;
                    wanted.since = Some(text.replace(' ', "+"));
                }
                "_count" => {
                    let count = text.parse().ok().filter(|count| *count > 0);
                    wanted.count = Some(count.ok_or_else(|| wrong("expected a number of resources from 1 on"))?);
                }
                "_type" => {
                    for name in text.split(',') {
                        let known = resource_type(name).ok_or_else(|| wrong("expected resource types of R4: `Observation,Condition`"))?;
                        wanted.types.get_or_insert_default().insert(known.name());
                    }
                }
                "_format" | "_pretty" => {}
                _ => {
                    let what = "$everything takes start, end, _since, _type and _count; this one was left out";
                    wanted.ignored.push(Issue::warning(IssueType::NotSupported, format!("http.{name}"), what));
                    continue;
                }
            }
            wanted.used.push((name.clone(), text.clone()));
        }
        Ok(wanted)
    }

    fn has(&self, name: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(name))
    }
}

/// The searches that it comes to.
pub fn understand(asked: &Asked, patient: &str, environment: &Environment<'_>) -> Result<Understood, ApiError> {
    let wanted = Wanted::read(asked)?;
    if asked.strict && !wanted.ignored.is_empty() {
        return Err(refused(wanted.ignored.into_iter().map(|issue| Issue { severity: Severity::Error, ..issue }).collect()));
    }
    let since = wanted.since.as_ref().map(|since| ("_lastUpdated".to_owned(), format!("ge{since}")));
    let since: Vec<(String, String)> = since.into_iter().collect();
    let mut queries = Vec::new();
    for name in std::iter::once("Patient").chain(compartment::types().filter(|name| *name != "Patient")) {
        if !wanted.has(name) {
            continue;
        }
        let mut query = parse::query(name, &since, environment).map_err(refused)?;
        query.search.criteria.extend(compartment::of_patient(name, patient));
        query.search.criteria.extend(care_date::between(name, wanted.start, wanted.end));
        query.search.include.push(Include {
            reverse: false,
            iterate: false,
            source: name,
            parameters: environment.known.references(name),
            target: None,
        });
        query.search.count = Some(wanted.count.unwrap_or(MAX_EVERYTHING_PAGE).min(MAX_EVERYTHING_PAGE));
        queries.push(query);
    }
    let inside: BTreeSet<&str> = compartment::types().collect();
    let along = resource_types().filter(|name| !inside.contains(name) && wanted.has(name)).collect();
    Ok(Understood { queries, used: wanted.used, ignored: wanted.ignored, along: Some(along) })
}
