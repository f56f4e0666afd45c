//! Parameters about the answer: its order, its size, what comes along and which part of it is wanted (FHIR R4, section 3.1.1.5).

use super::super::parameters::{Kind, Known};
use super::super::query::{Include, Search, Sort, Total};
use super::criterion::{resource_type_of, target_of};
use super::{Refusal, Unused, known};
use crate::fhir::definitions;
use crate::fhir::issue::Issue;
use crate::fhir::subset::Subset;
use crate::limits::{MAX_SEARCH_INCLUDES, MAX_SEARCH_PAGE, MAX_SORT_KEYS};

/// What has been said about the answer.
#[derive(Debug, Default)]
pub(super) struct Page {
    summary: Option<Summary>,
    elements: Option<Vec<String>>,
    total: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Summary {
    True,
    Text,
    Data,
    Count,
    False,
}

impl Page {
    /// Takes a parameter if it is one about the answer.
    pub(super) fn take(
        &mut self,
        all: &Known,
        resource_type: &'static str,
        name: &str,
        value: &str,
        search: &mut Search,
    ) -> Result<bool, Unused> {
        match name {
            "_format" | "_pretty" => {}
            "_count" => once(search.count.replace(count(value)?))?,
            "_total" => {
                once(std::mem::replace(&mut self.total, true).then_some(()))?;
                search.total = total(value)?;
            }
            "_summary" => once(self.summary.replace(summary(value)?))?,
            "_elements" => self.elements.get_or_insert_default().extend(elements(resource_type, value)?),
            "_sort" => sort(all, resource_type, value, search)?,
            "_contained" if value == "false" => {}
            "_contained" | "_containedType" => {
                return Err(Unused::Unknown(Refusal::unsupported(
                    "contained resources are not searched; `_contained=false` is what is done",
                )));
            }
            _ => return included(all, name, value, search),
        }
        Ok(true)
    }

    /// What part is wanted, and whether only the number is.
    pub(super) fn finish(self, search: &mut Search, problems: &mut Vec<Issue>) -> (Option<Subset>, bool) {
        if let (Some(Summary::True | Summary::Text | Summary::Data), Some(_)) = (self.summary, &self.elements) {
            problems.push(Refusal::value("it does not go together with `_summary`; leave one of them out").about("_elements"));
        }
        if self.summary == Some(Summary::Text) && !search.include.is_empty() {
            let what = "`text` does not go together with `_include` and `_revinclude` (FHIR R4, section 3.1.1.5.8)";
            problems.push(Refusal::value(what).about("_summary"));
        }
        let subset = match self.summary {
            Some(Summary::True) => Some(Subset::Summary),
            Some(Summary::Text) => Some(Subset::Text),
            Some(Summary::Data) => Some(Subset::Data),
            Some(Summary::Count | Summary::False) | None => self.elements.map(Subset::Elements),
        };
        let count_only = self.summary == Some(Summary::Count) || search.count == Some(0);
        if count_only {
            search.total = Total::Accurate;
        }
        (subset, count_only)
    }
}

fn once<T>(before: Option<T>) -> Result<(), Refusal> {
    if before.is_none() { Ok(()) } else { Err(Refusal::value("it is given more than once")) }
}

/// More than a page may have is not refused: a page has as many as it may.
fn count(value: &str) -> Result<usize, Refusal> {
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    let wrong =
        || Refusal::value(format!("expected a whole number, 0 for the number of matches only; a page has at most {MAX_SEARCH_PAGE}"));
    if digits { Ok(value.parse().unwrap_or(usize::MAX).min(MAX_SEARCH_PAGE)) } else { Err(wrong()) }
}

fn total(value: &str) -> Result<Total, Refusal> {
    match value {
        "none" => Ok(Total::None),
        "estimate" | "accurate" => Ok(Total::Accurate),
        _ => Err(Refusal::value("expected one of none, estimate and accurate")),
    }
}

fn summary(value: &str) -> Result<Summary, Refusal> {
    Ok(match value {
        "true" => Summary::True,
        "text" => Summary::Text,
        "data" => Summary::Data,
        "count" => Summary::Count,
        "false" => Summary::False,
        _ => return Err(Refusal::value("expected one of true, text, data, count and false")),
    })
}

fn elements(resource_type: &str, value: &str) -> Result<Vec<String>, Refusal> {
    let definition = definitions::resource_type(resource_type);
    value
        .split(',')
        .map(|name| {
            let known = definition.is_some_and(|d| d.element(name).is_some()) || name == "resourceType";
            let what = || {
                format!("it names what is no element of {resource_type}; elements are those at the top, without `[x]`, such as `id,meta`")
            };
            if known { Ok(name.to_owned()) } else { Err(Refusal::value(what())) }
        })
        .collect()
}

fn sort(all: &Known, resource_type: &'static str, value: &str, search: &mut Search) -> Result<(), Unused> {
    once(search.sort.first())?;
    let keys: Vec<&str> = value.split(',').collect();
    if keys.len() > MAX_SORT_KEYS {
        return Err(Refusal::costly(format!("{} keys are more than {MAX_SORT_KEYS}", keys.len())).into());
    }
    for key in keys {
        let (code, descending) = key.strip_prefix('-').map_or((key, false), |code| (code, true));
        // An order that is not known would be another one: not to be passed over in silence, and not even lenient.
        let parameter = known(all, resource_type, code).map_err(|unused| match unused {
            Unused::Unknown(refusal) | Unused::Wrong(refusal) => refusal,
        })?;
        if matches!(parameter.kind, Kind::Composite | Kind::Special) {
            return Err(Refusal::value(format!("`{code}` is a {} parameter, which has no order", parameter.kind.name())).into());
        }
        search.sort.push(Sort { parameter, descending });
    }
    Ok(())
}

/// `_include=Observation:subject:Patient`, `_revinclude:iterate=Provenance:target`, `_include=*`.
fn included(all: &Known, name: &str, value: &str, search: &mut Search) -> Result<bool, Unused> {
    let (base, modifier) = name.split_once(':').map_or((name, None), |(base, modifier)| (base, Some(modifier)));
    let reverse = match base {
        "_include" => false,
        "_revinclude" => true,
        _ => return Ok(false),
    };
    let iterate = match modifier {
        None => false,
        Some("iterate" | "recurse") => true, // STU3's name
        Some(_) => return Err(Refusal::unsupported("the modifier is not known; `:iterate` is").into()),
    };
    if search.include.len() == MAX_SEARCH_INCLUDES {
        return Err(Refusal::costly(format!("more than {MAX_SEARCH_INCLUDES} of `_include` and `_revinclude`")).into());
    }
    let mut parts = value.split(':');
    let (source, code, target) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let wrong = || {
        Refusal::value(
            "expected `Type:parameter` or `Type:parameter:Target`, such as `Observation:subject:Patient`; `*` for all parameters",
        )
    };
    let (source, code) = match (source, code, parts.next()) {
        ("*", None, None) if !reverse => (search.resource_type, "*"),
        (source, Some(code), None) => (resource_type_of(source)?, code),
        _ => return Err(wrong().into()),
    };
    let parameters = match code {
        "*" => all.references(source),
        code => vec![known(all, source, code).and_then(|p| if p.kind == Kind::Reference { Ok(p) } else { Err(wrong().into()) }).map_err(
            |u| match u {
                Unused::Unknown(refusal) | Unused::Wrong(refusal) => refusal,
            },
        )?],
    };
    let target = match (target, parameters.as_slice()) {
        (None, _) => None,
        (Some(target), [parameter]) if code != "*" => Some(target_of(parameter, target)?),
        (Some(target), _) => Some(resource_type_of(target)?),
    };
    search.include.push(Include { reverse, iterate, source, parameters, target });
    Ok(true)
}
