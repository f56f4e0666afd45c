//! `ValueSet/$expand` and `ValueSet/$validate-code`.

use super::{Asked, Coded, codings, missing, parameters_of, unknown};
use crate::api::ApiError;
use crate::api::parameters::Parameters;
use bumpalo::Bump;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::fhir::json;
use dugnad_kernel::terminology::{Member, Source, ValueSet, expand, written};
use serde_json::{Value, json};
use std::sync::Arc;

/// `$expand`.
pub fn expanded(parameters: &mut Parameters, source: &dyn Source, asked: &Asked) -> Result<Value, ApiError> {
    let set = value_set(parameters, source, asked)?;
    let filter = parameters.text(&["filter"])?;
    let (count, offset) = (parameters.number("count")?, parameters.number("offset")?.unwrap_or(0));
    let mut members = expand(&set, source)?;
    if let Some(filter) = &filter {
        let wanted = filter.to_lowercase();
        members.retain(|m| m.display.to_lowercase().contains(&wanted) || m.code.to_lowercase().contains(&wanted));
    }
    let total = members.len();
    let bounded = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let shown: Vec<Value> = members.iter().skip(bounded(offset)).take(count.map_or(usize::MAX, bounded)).map(shown).collect();
    let mut given = Vec::new();
    given.extend(filter.map(|filter| json!({"name": "filter", "valueString": filter})));
    given.extend(count.map(|count| json!({"name": "count", "valueInteger": count})));
    let mut expansion = json!({"timestamp": asked.now.to_string(), "total": total, "offset": offset});
    for (name, list) in [("parameter", given), ("contains", shown)] {
        if !list.is_empty() {
            expansion[name] = list.into(); // FHIR has no empty arrays
        }
    }
    let mut resource = json!({"resourceType": "ValueSet", "status": "active"});
    for (name, text) in [("url", &set.url), ("version", &set.version), ("title", &set.title)] {
        if !text.is_empty() {
            resource[name] = Value::from(text.to_string());
        }
    }
    resource["expansion"] = expansion;
    Ok(resource)
}

fn shown(member: &Member) -> Value {
    let mut shown = json!({"system": member.system, "code": member.code});
    if !member.display.is_empty() {
        shown["display"] = Value::from(member.display.to_string());
    }
    shown
}

/// `$validate-code`: true if one of the codings is in the value set, and means what it is said to.
pub fn validated(parameters: &mut Parameters, source: &dyn Source, asked: &Asked) -> Result<Value, ApiError> {
    let set = value_set(parameters, source, asked)?;
    let system = parameters.text(&["system"])?;
    let codings = codings(parameters, system)?;
    if codings.iter().all(|coding| coding.system.is_none()) {
        return Err(missing("system", "without which a code may mean anything"));
    }
    let members = expand(&set, source)?;
    let is = |coding: &Coded, m: &&Member| coding.system.as_deref() == Some(&*m.system) && coding.code == m.code;
    let found = codings.iter().find_map(|coding| members.iter().find(|m| is(coding, m)).map(|m| (coding, m)));
    Ok(match found {
        Some((coding, member)) => verdict(coding, &member.display),
        None => {
            let message = format!("no such code is in the value set {}", set.url);
            parameters_of([json!({"name": "result", "valueBoolean": false}), json!({"name": "message", "valueString": message})])
        }
    })
}

/// The answer for a code that is there. What it is said to mean must be what it means, case aside.
pub fn verdict(coding: &Coded, display: &str) -> Value {
    let right = coding.display.as_ref().is_none_or(|said| display.is_empty() || said.to_lowercase() == display.to_lowercase());
    let mut answer = vec![json!({"name": "result", "valueBoolean": right})];
    if !right {
        answer.push(json!({"name": "message", "valueString": "the code is there, and its display is another one"}));
    }
    if !display.is_empty() {
        answer.push(json!({"name": "display", "valueString": display}));
    }
    parameters_of(answer)
}

/// The value set of the address, of `url` (and `valueSetVersion`), or the one that came along.
fn value_set(parameters: &mut Parameters, source: &dyn Source, asked: &Asked) -> Result<Arc<ValueSet>, ApiError> {
    if let Some(bytes) = parameters.resource(&["valueSet"])? {
        let arena = Bump::new();
        let wrong = |what: String| ApiError::bad_request(IssueType::Structure, what).at("ValueSet");
        let resource = json::parse(&bytes, &arena).map_err(|e| wrong(e.to_string()))?;
        if resource.str("resourceType") != Some("ValueSet") {
            return Err(wrong("the parameter valueSet must be a resource of type ValueSet".to_owned()));
        }
        return Ok(Arc::new(written::value_set(resource)));
    }
    let url = parameters.text(&["url"])?;
    let version = parameters.text(&["valueSetVersion"])?;
    let name = match (&asked.id, url, version) {
        (Some(id), ..) => format!("ValueSet/{id}"),
        (None, Some(url), Some(version)) => format!("{url}|{version}"),
        (None, Some(url), None) => url,
        (None, None, _) => return Err(missing("url", "or the parameter `valueSet`")),
    };
    source.value_set(&name).ok_or_else(|| unknown("the value set", &name))
}
