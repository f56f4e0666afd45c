//! `CodeSystem/$lookup`, `$validate-code` and `$subsumes`.

use super::value_set::verdict;
use super::{Asked, Coded, codings, missing, parameters_of, unknown};
use crate::api::ApiError;
use crate::api::parameters::Parameters;
use axum::http::StatusCode;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::terminology::{CodeSystem, Content, Source};
use serde_json::{Value, json};
use std::sync::Arc;

/// `$lookup`.
pub fn looked_up(parameters: &mut Parameters, source: &dyn Source, _: &Asked) -> Result<Value, ApiError> {
    let system = parameters.text(&["system"])?;
    let version = parameters.text(&["version"])?;
    let Coded { system, code, .. } = one(codings(parameters, system)?)?;
    let of = code_system(source, system, version)?;
    let Some(concept) = of.concept(&code) else {
        return Err(ApiError::not_found(format!("the code system {} does not have this code here", of.url)));
    };
    let mut answer = vec![json!({"name": "name", "valueString": if of.title.is_empty() { &of.url } else { &of.title }})];
    if !of.version.is_empty() {
        answer.push(json!({"name": "version", "valueString": of.version}));
    }
    let display = if concept.display.is_empty() { &concept.code } else { &concept.display };
    answer.push(json!({"name": "display", "valueString": display}));
    let property = |name: &str, code: &str| json!({"name": "property", "part": [{"name": "code", "valueCode": name}, {"name": "value", "valueCode": code}]});
    answer.extend(of.parents(concept).map(|parent| property("parent", &parent.code)));
    answer.extend(of.children(&code).map(|child| property("child", &child.code)));
    Ok(parameters_of(answer))
}

/// `$validate-code`.
pub fn validated(parameters: &mut Parameters, source: &dyn Source, _: &Asked) -> Result<Value, ApiError> {
    let url = parameters.text(&["url"])?;
    let version = parameters.text(&["version"])?;
    let coding = one(codings(parameters, url.clone())?)?;
    let of = code_system(source, url.or_else(|| coding.system.clone()), version)?;
    if coding.system.as_deref().is_some_and(|system| system != of.url) {
        return Ok(refused("the coding is of another code system"));
    }
    match of.concept(&coding.code) {
        Some(concept) => Ok(verdict(&coding, &concept.display)),
        None if of.content == Content::Part => Err(partial(&of)),
        None => Ok(refused("the code system does not have this code")),
    }
}

/// `$subsumes`.
pub fn subsumes(parameters: &mut Parameters, source: &dyn Source, _: &Asked) -> Result<Value, ApiError> {
    let system = parameters.text(&["system"])?;
    let version = parameters.text(&["version"])?;
    let needed = |code: Option<String>, name: &str| code.ok_or_else(|| missing(name, "and both codes are needed"));
    let a = needed(parameters.text(&["codeA"])?, "codeA")?;
    let b = needed(parameters.text(&["codeB"])?, "codeB")?;
    let of = code_system(source, system, version)?;
    let what = || ApiError::not_found(format!("the code system {} does not have both codes here", of.url));
    let outcome = of.subsumption(&a, &b).ok_or_else(what)?;
    Ok(parameters_of([json!({"name": "outcome", "valueCode": outcome.code()})]))
}

fn one(codings: Vec<Coded>) -> Result<Coded, ApiError> {
    let mut codings = codings.into_iter();
    match (codings.next(), codings.next()) {
        (Some(coding), None) => Ok(coding),
        _ => Err(ApiError::bad_request(IssueType::Invalid, "one code at a time: `code` or `coding`")),
    }
}

fn code_system(source: &dyn Source, url: Option<String>, version: Option<String>) -> Result<Arc<CodeSystem>, ApiError> {
    let url = url.ok_or_else(|| missing("system", "the URL of the code system"))?;
    let canonical = version.map_or_else(|| url.clone(), |version| format!("{url}|{version}"));
    source.code_system(&canonical).ok_or_else(|| unknown("the code system", &canonical))
}

fn refused(message: &str) -> Value {
    parameters_of([json!({"name": "result", "valueBoolean": false}), json!({"name": "message", "valueString": message})])
}

/// A code that is not here may exist all the same.
fn partial(of: &CodeSystem) -> ApiError {
    let what = format!("only a part of the code system {} is here, so that nobody knows whether it has this code", of.url);
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, IssueType::NotSupported, what)
}
