//! `Bundle.entry.request`: which interaction it is, and whether the resource fits it.

use super::{Interaction, Target};
use crate::fhir::criteria::Criteria;
use crate::fhir::issue::{Issue, IssueType};
use crate::fhir::json::Value;
use crate::fhir::patch::{Format, Patch};
use crate::fhir::{definitions, primitive};
use crate::search::parameters::Known;
use bumpalo::Bump;

/// Reads the request of entry `i`, whose frame is valid.
pub(super) fn read<'a>(entry: &Value<'a>, i: usize, known: &Known, arena: &'a Bump) -> Result<Interaction<'a>, Vec<Issue>> {
    let at = |element: &str| format!("Bundle.entry[{i}].{element}");
    let Some(request) = entry.get("request") else {
        return Err(vec![Issue::error(IssueType::Required, at("request"), "an entry of a transaction or batch needs a `request`")]);
    };
    let request = Request { value: request, resource: entry.get("resource"), known, at: &at };
    let read = match request.value.str("method") {
        Some("POST") => request.create(),
        Some("PUT") => request.update(),
        Some("PATCH") => return request.patch(arena),
        Some("DELETE") => request.delete(),
        Some("GET") => request.read(),
        Some("HEAD") => {
            let what = "HEAD is not supported here; GET, POST, PUT, PATCH and DELETE are";
            Err(Issue::error(IssueType::NotSupported, at("request.method"), what))
        }
        _ => Err(Issue::error(IssueType::Value, at("request.method"), "the method is none of GET, POST, PUT, PATCH and DELETE")),
    };
    read.map_err(|issue| vec![issue])
}

struct Request<'a, 'f> {
    value: Value<'a>,
    resource: Option<Value<'a>>,
    known: &'f Known,
    at: &'f dyn Fn(&str) -> String,
}

impl<'a> Request<'a, '_> {
    fn create(&self) -> Result<Interaction<'a>, Issue> {
        self.without(&["ifMatch", "ifNoneMatch", "ifModifiedSince"])?;
        let (path, query) = self.url()?;
        let resource_type = match (type_alone(path), query) {
            (Some(resource_type), None) => resource_type,
            _ => return Err(self.bad_url("POST needs the url `[type]`, such as `Patient`")),
        };
        self.resource_of(resource_type)?;
        let if_none_exist = match self.value.str("ifNoneExist") {
            Some(text) => Some(self.criteria(resource_type, query_of(resource_type, text), "request.ifNoneExist")?),
            None => None,
        };
        Ok(Interaction::Create { resource_type, if_none_exist })
    }

    fn update(&self) -> Result<Interaction<'a>, Issue> {
        self.without(&["ifNoneMatch", "ifModifiedSince", "ifNoneExist"])?;
        let target = self.target("PUT")?;
        match &target {
            Target::Id { resource_type, id } => {
                let resource = self.resource_of(resource_type)?;
                if resource.str("id") != Some(id) {
                    let what = "the resource needs an `id` that equals the id in request.url";
                    return Err(Issue::error(IssueType::Invalid, (self.at)("resource.id"), what));
                }
            }
            Target::Match(criteria) => {
                self.resource_of(&criteria.resource_type)?;
            }
        }
        Ok(Interaction::Update { target, if_match: self.if_match()? })
    }

    fn patch(&self, arena: &'a Bump) -> Result<Interaction<'a>, Vec<Issue>> {
        let one = |issue| vec![issue];
        self.without(&["ifNoneMatch", "ifModifiedSince", "ifNoneExist"]).map_err(one)?;
        let (target, if_match) = (self.target("PATCH").map_err(one)?, self.if_match().map_err(one)?);
        let Some(resource) = self.resource else {
            let what = "PATCH needs a resource: Parameters (FHIRPath Patch), or a Binary that holds a JSON Patch";
            return Err(one(Issue::error(IssueType::Required, (self.at)("resource"), what)));
        };
        let within = |issues: Vec<Issue>| issues.into_iter().map(|issue| issue.within(&(self.at)("resource"))).collect::<Vec<_>>();
        Ok(Interaction::Patch { target, if_match, patch: Patch::read(Format::Resource, resource, arena).map_err(within)? })
    }

    fn delete(&self) -> Result<Interaction<'a>, Issue> {
        self.without(&["ifNoneMatch", "ifModifiedSince", "ifNoneExist"])?;
        Ok(Interaction::Delete { target: self.target("DELETE")?, if_match: self.if_match()? })
    }

    /// `ifNoneMatch` and `ifModifiedSince` only save an answer the way; they may be ignored.
    fn read(&self) -> Result<Interaction<'a>, Issue> {
        self.without(&["ifMatch", "ifNoneExist"])?;
        let url = self.value.str("url").unwrap_or_default();
        if url.is_empty() { Err(self.bad_url("GET needs a url")) } else { Ok(Interaction::Read { url }) }
    }

    /// A condition that is ignored would do what its sender wanted to prevent, so it is refused.
    fn without(&self, names: &[&str]) -> Result<(), Issue> {
        match names.iter().find(|name| self.value.get(name).is_some()) {
            Some(name) => {
                let what = format!("`{name}` is not supported with this method; leave it out");
                Err(Issue::error(IssueType::NotSupported, (self.at)(&format!("request.{name}")), what))
            }
            None => Ok(()),
        }
    }

    /// The resource, of that type.
    fn resource_of(&self, resource_type: &str) -> Result<Value<'a>, Issue> {
        let Some(resource) = self.resource else {
            return Err(Issue::error(IssueType::Required, (self.at)("resource"), "POST and PUT need a resource"));
        };
        if resource.str("resourceType") != Some(resource_type) {
            let what = format!("request.url asks for a {resource_type}; the resource's `resourceType` is not that");
            return Err(Issue::error(IssueType::Invalid, (self.at)("resource"), what));
        }
        Ok(resource)
    }

    fn target(&self, method: &str) -> Result<Target<'a>, Issue> {
        let (path, query) = self.url()?;
        let wrong = || {
            self.bad_url(&format!(
                "{method} needs the url `[type]/[id]` or `[type]?criteria`, with a resource type of FHIR R4 and a FHIR id"
            ))
        };
        if let Some(query) = query {
            let resource_type = type_alone(path).ok_or_else(wrong)?;
            return self.criteria(resource_type, query, "request.url").map(Target::Match);
        }
        let (before, id) = path.rsplit_once('/').ok_or_else(wrong)?;
        let resource_type = type_alone(before).filter(|_| primitive::is_id(id.as_bytes())).ok_or_else(wrong)?;
        Ok(Target::Id { resource_type, id })
    }

    /// The url without `http://host/base/` or a leading `/`, split at `?`. Types and ids need no percent-encoding, so
    /// a path that has some is refused with the rest that is no type or id; criteria are decoded.
    fn url(&self) -> Result<(&'a str, Option<&'a str>), Issue> {
        let url = self.value.str("url").unwrap_or_default();
        let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        if path.contains('#') {
            return Err(self.bad_url("the url has a fragment (`#`)"));
        }
        let absolute = path.strip_prefix("http://").or_else(|| path.strip_prefix("https://"));
        let Some(absolute) = absolute else {
            return Ok((path.strip_prefix('/').unwrap_or(path), query));
        };
        // The last one or two parts are what is asked for; what is before them is a server's base.
        let (before, last) = absolute.rsplit_once('/').unwrap_or_default();
        let from = match before.rsplit_once('/') {
            Some((_, name)) if !definitions::is_resource_type(last) && definitions::is_resource_type(name) => before.len() - name.len(),
            _ => absolute.len() - last.len(),
        };
        Ok((absolute.get(from..).unwrap_or_default(), query))
    }

    fn criteria(&self, resource_type: &str, query: &str, at: &str) -> Result<Criteria, Issue> {
        Criteria::parse(resource_type, query, self.known).map_err(|issue| issue.within(&(self.at)(at)))
    }

    /// `W/"3"`, and `"3"` as many write it.
    fn if_match(&self) -> Result<Option<u64>, Issue> {
        let Some(text) = self.value.str("ifMatch") else { return Ok(None) };
        let tag = text.strip_prefix("W/").unwrap_or(text);
        let version =
            tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        match version.and_then(|digits| digits.parse().ok()) {
            Some(version) => Ok(Some(version)),
            None => Err(Issue::error(IssueType::Value, (self.at)("request.ifMatch"), "expected W/\"n\", where n is the version, a number")),
        }
    }

    fn bad_url(&self, what: &str) -> Issue {
        Issue::error(IssueType::Value, (self.at)("request.url"), what)
    }
}

fn type_alone(path: &str) -> Option<&str> {
    Some(path).filter(|path| definitions::is_resource_type(path))
}

/// `ifNoneExist` is what comes after `?`; some write the `?`, or the type before it, too.
fn query_of<'q>(resource_type: &str, text: &'q str) -> &'q str {
    text.split_once('?').filter(|(before, _)| before.is_empty() || *before == resource_type).map_or(text, |(_, query)| query)
}
