//! Terminology over HTTP: the operations of CodeSystem and ValueSet that searching and data entry need (R4, section 4.7).
//!
//! A hospital has its own definitions before those that come with the program, and using them goes on the record as reading them does.
//! Others have the program's only, which are public and no record. What cannot be answered as a whole is refused, never half answered.

mod code_system;
mod value_set;

use super::auth::{CallerOrClient, Hospital};
use super::headers::{self, DUGNAD_COMMIT, value};
use super::parameters::Parameters;
use super::routes::{Caller, Doc, Parameter, Routes};
use super::work::Access;
use super::{ApiError, App, answer, body};
use crate::limits::MAX_TERMINOLOGY_BYTES;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use bumpalo::Bump;
use dugnad_kernel::access::Act;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::fhir::json;
use dugnad_kernel::limits::SEARCH_TIME;
use dugnad_kernel::terminology::{ExpandError, Source};
use serde_json::Value;
use std::time::Instant;

type Answer = Result<Response<Body>, ApiError>;

const FHIR: &str = "application/fhir+json";

const fn query(name: &'static str, description: &'static str) -> Parameter {
    Parameter { place: "query", name, description }
}

const URL: Parameter = query("url", "The canonical URL, perhaps with `|version`.");
const SYSTEM: Parameter = query("system", "The code system's URL.");
const CODE: Parameter = query("code", "The code.");
const DISPLAY: Parameter = query("display", "What the code is said to mean.");
const VERSION: Parameter = query("version", "The version of the code system.");
const CODE_A: Parameter = query("codeA", "The first code.");
const CODE_B: Parameter = query("codeB", "The second code.");
const FILTER: Parameter = query("filter", "Only codes whose display or code has this text in it.");
const COUNT: Parameter = query("count", "How many at most.");
const OFFSET: Parameter = query("offset", "How many are left out before them.");
const STATUSES: &[(u16, &str)] = &[
    (200, "The answer"),
    (400, "A parameter is missing, wrong or not supported"),
    (404, "The code system, the value set or the code is not known here"),
    (413, "Too many codes: `too-costly`"),
    (422, "It needs definitions that are not here, or a filter that is not supported"),
];

/// An operation: what it makes of its parameters and the definitions that the caller can use.
type Operation = fn(&mut Parameters, &dyn Source, &Asked) -> Result<Value, ApiError>;

/// What is known of a request besides its parameters.
struct Asked {
    /// The id of the address, if it has one.
    id: Option<String>,
    /// The time of the answer.
    now: jiff::Timestamp,
}

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let get = |summary, description, parameters, operation| Doc {
        caller: Caller::Known,
        answer: &[FHIR],
        statuses: STATUSES,
        description,
        parameters,
        operation: Some(operation),
        ..Doc::new("FHIR", "", summary)
    };
    let expand = get(
        "The codes of a value set",
        "A ValueSet with an `expansion`. One that needs code systems which are not here is refused, and so is one of which only a part is known.",
        &[URL, FILTER, COUNT, OFFSET],
        ("expand", "http://hl7.org/fhir/OperationDefinition/ValueSet-expand"),
    );
    let in_set = get(
        "Whether a code is in a value set",
        "Parameters with `result`, and `message` if it is not. Takes `code` and `system`, `coding` or `codeableConcept`.",
        &[URL, SYSTEM, CODE, DISPLAY],
        ("validate-code", "http://hl7.org/fhir/OperationDefinition/ValueSet-validate-code"),
    );
    let lookup = get(
        "What a code means",
        "Parameters with `name`, `version`, `display` and the codes directly above (`parent`) and below it (`child`).",
        &[SYSTEM, CODE, VERSION],
        ("lookup", "http://hl7.org/fhir/OperationDefinition/CodeSystem-lookup"),
    );
    let in_system = get(
        "Whether a code is in a code system",
        "Parameters with `result`, and `message` if it is not. Takes `code` or `coding`.",
        &[URL, CODE, VERSION, DISPLAY],
        ("validate-code", "http://hl7.org/fhir/OperationDefinition/CodeSystem-validate-code"),
    );
    let subsumes = get(
        "How one code stands to another",
        "Parameters with `outcome`: `equivalent`, `subsumes`, `subsumed-by` or `not-subsumed`.",
        &[SYSTEM, CODE_A, CODE_B],
        ("subsumes", "http://hl7.org/fhir/OperationDefinition/CodeSystem-subsumes"),
    );
    let routes = both(routes, "/fhir/ValueSet/$expand", ["expand", "expandPost"], expand, value_set::expanded);
    let routes = both(routes, "/fhir/ValueSet/{id}/$expand", ["expandInstance", "expandInstancePost"], expand, value_set::expanded);
    let routes = both(routes, "/fhir/ValueSet/$validate-code", ["validateCode", "validateCodePost"], in_set, value_set::validated);
    let of_one = "/fhir/ValueSet/{id}/$validate-code";
    let routes = both(routes, of_one, ["validateCodeInstance", "validateCodeInstancePost"], in_set, value_set::validated);
    let routes = both(routes, "/fhir/CodeSystem/$lookup", ["lookup", "lookupPost"], lookup, code_system::looked_up);
    let of_system = "/fhir/CodeSystem/$validate-code";
    let routes = both(routes, of_system, ["validateSystemCode", "validateSystemCodePost"], in_system, code_system::validated);
    both(routes, "/fhir/CodeSystem/$subsumes", ["subsumes", "subsumesPost"], subsumes, code_system::subsumes)
}

/// `GET` with the parameters in the address, and `POST` with Parameters.
fn both(routes: Routes, path: &'static str, [get, post]: [&'static str; 2], doc: Doc, operation: Operation) -> Routes {
    let asked = Doc { id: get, ..doc };
    let sent = Doc { id: post, body: Some(FHIR), parameters: &[], ..doc };
    if path.contains("{id}") {
        let handler =
            move |app: State<App>, who: CallerOrClient, Path(id): Path<String>, headers: HeaderMap, query: RawQuery, body: Body| {
                answered(app, who, Some(id), headers, query, body, (path, operation))
            };
        return routes.add(Method::GET, path, asked, handler).add(Method::POST, path, sent, handler);
    }
    let handler = move |app: State<App>, who: CallerOrClient, headers: HeaderMap, query: RawQuery, body: Body| {
        answered(app, who, None, headers, query, body, (path, operation))
    };
    routes.add(Method::GET, path, asked, handler).add(Method::POST, path, sent, handler)
}

async fn answered(
    State(app): State<App>,
    CallerOrClient(who): CallerOrClient,
    id: Option<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
    (path, operation): (&'static str, Operation),
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    let (bytes, claim) = body::json_or_none(&app, &headers, body, MAX_TERMINOLOGY_BYTES).await?;
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let _claim = claim;
        let mut parameters = Parameters::read(query.as_deref(), &bytes)?;
        parameters.text(&["_format"])?;
        let pretty = parameters.text(&["_pretty"])?.as_deref() == Some("true");
        let snapshot = app.database().snapshot();
        let commit = snapshot.commit();
        let asked = Asked { id, now: app.now() };
        let mut run = |holder| {
            let until = Some(Instant::now() + SEARCH_TIME);
            app.database().with_definitions(&snapshot, holder, until, |source| {
                let found = operation(&mut parameters, source, &asked)?;
                parameters.finish()?;
                Ok(found)
            })?
        };
        let found: Value = match Hospital::of(&who) {
            None => run(None)?,
            Some(hospital) => {
                // A client that may not read all of the hospital's definitions has the program's.
                let may = ["ValueSet", "CodeSystem"].iter().all(|name| hospital.reaches_all(Act::Read, name));
                let holder = app.database().holder(&hospital.holder).filter(|_| may).map(|holder| holder.id);
                let tables = vec!["ValueSet".to_owned(), "CodeSystem".to_owned()];
                let access = Access { who, interface: "fhir", request: path.to_owned(), tables };
                app.read_recorded(&access, |_| run(holder).map(|found| (found, 1)))?
            }
        };
        let body = found.to_string().into_bytes();
        let mut response = answer::fhir(StatusCode::OK, if pretty { answer::pretty(&body) } else { body });
        response.headers_mut().insert(DUGNAD_COMMIT, value(&commit.to_string()));
        response.headers_mut().insert(header::VARY, value("Authorization"));
        Ok(response)
    })
    .await
}

/// A code as somebody names it.
struct Coded {
    system: Option<String>,
    code: String,
    display: Option<String>,
}

/// `code` with `system` and `display`, `coding`, or the codings of `codeableConcept`.
fn codings(parameters: &mut Parameters, system: Option<String>) -> Result<Vec<Coded>, ApiError> {
    let display = parameters.text(&["display"])?;
    let mut found = Vec::new();
    if let Some(code) = parameters.text(&["code"])? {
        found.push(Coded { system, code, display });
    }
    for (name, list) in [("coding", false), ("codeableConcept", true)] {
        let Some(bytes) = parameters.element(name)? else { continue };
        let arena = Bump::new();
        let element = json::parse(&bytes, &arena).map_err(|e| ApiError::bad_request(IssueType::Structure, e.to_string()))?;
        let one = [element];
        let codings = if list { element.get("coding").map_or(&[][..], |codings| codings.items()) } else { &one };
        for coding in codings {
            let text = |name: &str| coding.str(name).map(str::to_owned);
            found.extend(text("code").map(|code| Coded { system: text("system"), code, display: text("display") }));
        }
    }
    if found.is_empty() {
        return Err(missing("code", "or a `coding` that has one"));
    }
    Ok(found)
}

/// 400: a parameter that is needed.
fn missing(name: &str, or: &str) -> ApiError {
    ApiError::bad_request(IssueType::Required, format!("the parameter `{name}` is missing, {or}"))
}

/// 404: nothing is known by that URL.
fn unknown(what: &str, url: &str) -> ApiError {
    let shown: String = url.chars().filter(char::is_ascii_graphic).take(200).collect();
    ApiError::not_found(format!("{what} {shown} is not known here; write it first, or check its URL and version"))
}

impl From<ExpandError> for ApiError {
    fn from(error: ExpandError) -> Self {
        match error {
            ExpandError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, IssueType::TooCostly, error.to_string()),
            _ => Self::new(StatusCode::UNPROCESSABLE_ENTITY, IssueType::NotSupported, error.to_string()),
        }
    }
}

/// Parameters of an answer.
fn parameters_of(parameters: impl IntoIterator<Item = Value>) -> Value {
    serde_json::json!({"resourceType": "Parameters", "parameter": parameters.into_iter().collect::<Vec<_>>()})
}
