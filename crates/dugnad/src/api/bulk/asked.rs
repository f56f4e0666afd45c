//! What is to be exported.

use crate::api::ApiError;
use crate::api::parameters::Parameters;
use crate::api::search::refused;
use crate::limits::MAX_TYPE_FILTERS;
use bumpalo::Bump;
use dugnad_kernel::fhir::definitions::{resource_type, resource_types};
use dugnad_kernel::fhir::issue::{Issue, IssueType, Severity};
use dugnad_kernel::fhir::json;
use dugnad_kernel::fhir::reference;
use dugnad_kernel::fhir::subset::Subset;
use dugnad_kernel::search::compartment;
use dugnad_kernel::search::parse::{self, Environment};
use dugnad_kernel::search::query::{Moments, Resources, Search};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// All resources.
    System,
    /// Those in the compartment of a patient.
    Patients,
    /// Those in the compartment of a member of this Group.
    Group(String),
}

/// An export as it was asked for.
pub struct Asked {
    /// Of whom.
    pub level: Level,
    types: Option<Vec<&'static str>>,
    /// `_since`.
    pub since: Option<Moments>,
    /// `_until`.
    pub until: Option<Moments>,
    /// Both, as criteria.
    written: Vec<(String, String)>,
    /// Searches by type.
    filters: BTreeMap<&'static str, Vec<String>>,
    /// Elements by type; of all types under `""`.
    elements: BTreeMap<&'static str, Vec<String>>,
    lenient: bool,
}

/// What is exported of a type.
#[derive(Clone)]
pub struct OfType {
    /// The type.
    pub resource_type: &'static str,
    /// What matches one of these.
    pub searches: Vec<Search>,
    /// Which part of it.
    pub subset: Option<Subset>,
    /// Whether whoever asks may read all of it: of a deletion nobody can say which part it was of.
    pub whole: bool,
}

fn wrong(name: &str, what: impl Into<String>) -> ApiError {
    ApiError::bad_request(IssueType::Value, what).at(format!("http.{name}"))
}

impl Asked {
    /// Reads the parameters. Those that are not known are refused, unless the client is lenient.
    pub fn read(level: Level, mut parameters: Parameters, lenient: bool) -> Result<Self, ApiError> {
        let format = parameters.text(&["_outputFormat"])?;
        if format.is_some_and(|f| !matches!(f.replace(' ', "+").as_str(), "application/fhir+ndjson" | "application/ndjson" | "ndjson")) {
            return Err(wrong("_outputFormat", "only application/fhir+ndjson is written"));
        }
        let mut asked = Self {
            level,
            types: None,
            since: None,
            until: None,
            written: Vec::new(),
            filters: BTreeMap::new(),
            elements: BTreeMap::new(),
            lenient,
        };
        asked.since = asked.add_written(&mut parameters, "_since", "ge")?;
        asked.until = asked.add_written(&mut parameters, "_until", "lt")?;
        for name in parameters.texts("_type")?.iter().flat_map(|text| text.split(',')) {
            let known = resource_type(name.trim()).ok_or_else(|| wrong("_type", "expected resource types of R4: `Patient,Observation`"))?;
            asked.types.get_or_insert_default().push(known.name());
        }
        for filter in parameters.texts("_typeFilter")? {
            asked.add_filter(&filter)?;
        }
        for element in parameters.texts("_elements")?.iter().flat_map(|text| text.split(',')) {
            asked.add_element(element.trim())?;
        }
        if !lenient {
            parameters.finish()?;
            asked.require_of_patients()?;
        }
        Ok(asked)
    }

    /// Refuses types that are in nobody's compartment, where only what is about patients is exported: there would be none of them.
    fn require_of_patients(&self) -> Result<(), ApiError> {
        let outside = |name: &&str| self.level != Level::System && !compartment::types().any(|of| of == *name);
        let Some(name) = self.named().find(outside) else { return Ok(()) };
        Err(wrong("_type", format!("{name} is in no patient's compartment; export it with /fhir/$export")))
    }

    fn add_written(&mut self, parameters: &mut Parameters, name: &str, prefix: &str) -> Result<Option<Moments>, ApiError> {
        let Some(text) = parameters.text(&[name])? else { return Ok(None) };
        let text = text.replace(' ', "+"); // an unescaped + of a query is a blank
        let moments = Moments::parse(&text).ok_or_else(|| wrong(name, "expected an instant, such as 2026-01-31T12:00:00Z"))?;
        self.written.push(("_lastUpdated".to_owned(), format!("{prefix}{text}")));
        Ok(Some(moments))
    }

    /// `Observation?code=1&date=ge2026,Condition?code=2`: each begins with a type and `?`; other commas are of a search's values.
    fn add_filter(&mut self, text: &str) -> Result<(), ApiError> {
        let shape = || wrong("_typeFilter", "expected searches with their types, such as `Observation?code=1234-5`");
        let mut filters: Vec<String> = Vec::new();
        for part in text.split(',') {
            let begins = part.split_once('?').is_some_and(|(name, _)| resource_type(name).is_some());
            match filters.last_mut() {
                Some(last) if !begins => *last = format!("{last},{part}"),
                _ => filters.push(part.to_owned()),
            }
        }
        for filter in filters {
            let (name, search) = filter.split_once('?').ok_or_else(shape)?;
            let known = resource_type(name).ok_or_else(shape)?.name();
            let of_type = self.filters.entry(known).or_default();
            if of_type.len() == MAX_TYPE_FILTERS {
                return Err(wrong("_typeFilter", format!("a type may have {MAX_TYPE_FILTERS} searches")));
            }
            of_type.push(search.to_owned());
        }
        Ok(())
    }

    fn add_element(&mut self, text: &str) -> Result<(), ApiError> {
        let (of, name) = match text.split_once('.') {
            Some((of, name)) => {
                let what = "expected elements at the top of resources, such as `id` or `Patient.name`";
                (resource_type(of).ok_or_else(|| wrong("_elements", what))?.name(), name)
            }
            None => ("", text),
        };
        self.elements.entry(of).or_default().push(name.to_owned());
        Ok(())
    }

    /// The types that it names: in `_type`, and in searches.
    pub fn named(&self) -> impl Iterator<Item = &'static str> {
        self.types.iter().flatten().chain(self.filters.keys()).copied()
    }

    /// What it comes to. `members` are the patients of the Group, where it is of one.
    pub fn of_types(&self, environment: &Environment<'_>, members: Option<&Arc<Resources>>) -> Result<Vec<OfType>, ApiError> {
        let inside = |name: &&'static str| self.level == Level::System || compartment::types().any(|of| of == *name);
        let wanted = |name: &&'static str| self.types.as_ref().is_none_or(|types| types.contains(name));
        let mut all = Vec::new();
        for name in resource_types().filter(inside).filter(wanted) {
            let filters = self.filters.get(name).map_or(&[][..], Vec::as_slice);
            let one = [String::new()];
            let mut searches = Vec::new();
            for filter in if filters.is_empty() { &one[..] } else { filters } {
                let mut search = self.search(name, filter, environment)?;
                search.criteria.extend(members.and_then(|members| compartment::of_patients(name, members)));
                searches.push(search);
            }
            let of_all = self.elements.get("").into_iter().chain(self.elements.get(name));
            let elements: Vec<String> = of_all.flatten().cloned().collect();
            let subset = Some(elements).filter(|elements| !elements.is_empty()).map(Subset::Elements);
            all.push(OfType { resource_type: name, searches, subset, whole: true });
        }
        Ok(all)
    }

    fn search(&self, name: &str, filter: &str, environment: &Environment<'_>) -> Result<Search, ApiError> {
        let mut pairs = parse::pairs(filter).map_err(|refusal| refused(vec![refusal.into()]))?;
        if let Some((name, _)) = pairs.iter().find(|(name, _)| name.starts_with("_include") || name.starts_with("_revinclude")) {
            return Err(wrong("_typeFilter", format!("`{name}` is not taken in an export")));
        }
        pairs.extend(self.written.iter().cloned());
        let query = parse::query(name, &pairs, environment).map_err(refused)?;
        if !query.ignored.is_empty() && !self.lenient {
            return Err(refused(query.ignored.into_iter().map(|issue| Issue { severity: Severity::Error, ..issue }).collect()));
        }
        Ok(Search { sort: Vec::new(), include: Vec::new(), count: None, total: Default::default(), ..query.search })
    }
}

/// The patients who are members of a Group: those of its `member` that are Patients of this holder, and not inactive.
pub fn members(group: &[u8]) -> Resources {
    let arena = Bump::new();
    let mut members = Resources::default();
    let Ok(group) = json::parse(group, &arena) else { return members };
    let listed = group.get("member").unwrap_or(json::Value::Array(&[]));
    for member in listed.items().iter().filter(|member| member.get("inactive") != Some(json::Value::Boolean(true))) {
        let reference = member.get("entity").and_then(|entity| entity.str("reference"));
        if let Some(("Patient", id)) = reference.and_then(reference::literal) {
            members.insert("Patient", id);
        }
    }
    members
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use dugnad_kernel::search::parameters::Known;
    use jiff::Timestamp;

    fn asked(query: &str) -> Result<Asked, ApiError> {
        Asked::read(Level::System, Parameters::read(Some(query), b"")?, false)
    }

    fn searches(query: &str) -> Vec<(&'static str, usize, Vec<usize>)> {
        let all =
            asked(query).unwrap().of_types(&Environment { now: Timestamp::UNIX_EPOCH, base: "", known: Known::standard() }, None).unwrap();
        all.iter().map(|of| (of.resource_type, of.searches.len(), of.searches.iter().map(|s| s.criteria.len()).collect())).collect()
    }

    #[test]
    fn filters_are_told_apart_from_values_with_commas() {
        let found = searches("_type=Observation,Patient&_typeFilter=Observation%3Fcode%3Da%2Cb%26status%3Dfinal%2CObservation%3Fcode%3Dc");
        assert_eq!(found, [("Observation", 2, vec![2, 1]), ("Patient", 1, vec![0])]);
        assert_eq!(searches("_type=Patient&_since=2026-01-01T00:00:00Z&_until=2027")[0], ("Patient", 1, vec![2]));
        assert!(searches("").len() > 140);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in [
            "_type=Patience",
            "_since=yesterday",
            "_outputFormat=text/csv",
            "_typeFilter=code%3D1",
            "_elements=Patience.name",
            "colour=red",
        ] {
            assert_eq!(asked(query).err().map(|e| e.status.as_u16()), Some(400), "{query}");
        }
        let of_patients = |query: &str, lenient| Asked::read(Level::Patients, Parameters::read(Some(query), b"").unwrap(), lenient);
        for query in ["_type=Patient,Organization", "_typeFilter=Organization%3Fname%3Dx"] {
            assert!(of_patients(query, false).is_err() && of_patients(query, true).is_ok() && asked(query).is_ok(), "{query}");
        }
        let unknown = asked("_type=Patient&_typeFilter=Patient%3Fshoe-size%3D44").unwrap();
        assert!(unknown.of_types(&Environment { now: Timestamp::UNIX_EPOCH, base: "", known: Known::standard() }, None).is_err());
    }

    #[test]
    fn members_are_patients_that_are_active() {
        let group = br#"{"resourceType":"Group","member":[{"entity":{"reference":"Patient/1"}},{"entity":{"reference":"Patient/2"},"inactive":true},
            {"entity":{"reference":"Practitioner/3"}},{"entity":{"reference":"https://other.example/Patient/4"}}]}"#;
        let members = members(group);
        assert_eq!((members.len(), members.contains("Patient", "1")), (1, true));
    }
}
