//! `$validate`: what the write of a resource would be told, and what could be better, without writing it (R4, Resource/$validate).
//!
//! A resource that comes with the request touches no record, and so is none of the audit log's business. Without one, a resource of
//! the hospital's own is read, which goes on the record as any read does.

use super::auth::Hospital;
use super::fhir::{Reader, readable};
use super::headers;
use super::interaction::{self, Action};
use super::parameters::Parameters;
use super::routes::{Caller, Doc, Parameter, Routes};
use super::{ApiError, App, body};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use bumpalo::Bump;
use dugnad_kernel::fhir::issue::{Issue, IssueType, Severity, operation_outcome};
use dugnad_kernel::fhir::json::{self, Value};
use dugnad_kernel::fhir::validate::advise;
use dugnad_kernel::limits::MAX_BODY_BYTES;

type Answer = Result<Response<Body>, ApiError>;

const FHIR: &str = "application/fhir+json";

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let doc = Doc {
        caller: Caller::Hospital,
        description: "The body is the resource, or Parameters with `resource`, `mode` (`create`, `update`, `delete`) and `profile`. Answered with 200 and an OperationOutcome that has every problem: errors are what a write would be refused for; warnings and information are advice. Nothing is written.",
        parameters: &[
            Parameter { place: "query", name: "mode", description: "`create`, `update` or `delete`: what is meant to be done." },
            Parameter {
                place: "query",
                name: "profile",
                description: "A profile to validate against. Only the base definitions of R4 are known: another one is an error of the outcome.",
            },
        ],
        body: Some(FHIR),
        answer: &[FHIR],
        statuses: &[
            (200, "An OperationOutcome; without an issue of severity `error`, the resource would be taken"),
            (400, "Not JSON, no resource, or a parameter that is not known"),
            (404, "Without a resource in the body: not there, or not yours"),
            (413, "Too large"),
        ],
        operation: Some(("validate", "http://hl7.org/fhir/OperationDefinition/Resource-validate")),
        ..Doc::new("FHIR", "", "")
    };
    let of_type = Doc { id: "validate", summary: "Validate a resource", ..doc };
    let of_library = Doc { id: "validateLibrary", summary: "Validate a Library", ..doc };
    let of_one =
        Doc { id: "validateInstance", summary: "Validate a resource as the next version of this one, or this one as it is stored", ..doc };
    routes
        .add(Method::POST, "/fhir/{type}/$validate", of_type, on_type)
        .add(Method::POST, "/fhir/Library/$validate", of_library, on_library)
        .add(Method::POST, "/fhir/{type}/{id}/$validate", of_one, on_instance)
}

async fn on_type(
    State(app): State<App>,
    hospital: Hospital,
    Path(kind): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    validated(app, hospital, kind, None, &headers, query, body).await
}

async fn on_library(State(app): State<App>, hospital: Hospital, headers: HeaderMap, RawQuery(query): RawQuery, body: Body) -> Answer {
    validated(app, hospital, "Library".to_owned(), None, &headers, query, body).await
}

async fn on_instance(
    State(app): State<App>,
    hospital: Hospital,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    validated(app, hospital, kind, Some(id), &headers, query, body).await
}

async fn validated(
    app: App,
    hospital: Hospital,
    kind: String,
    id: Option<String>,
    headers: &HeaderMap,
    query: Option<String>,
    body: Body,
) -> Answer {
    headers::require_json_accepted(headers, query.as_deref())?;
    let resource_type = interaction::known_type(&kind)?;
    let id = id.map(|id| interaction::readable_id(&id)).transpose()?;
    let (bytes, claim) = body::json_or_none(&app, headers, body, MAX_BODY_BYTES).await?;
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let _claim = claim;
        let asked = Asked::read(&resource_type, query.as_deref(), bytes)?;
        let issues = asked.issues(app, hospital, &resource_type, id.as_deref())?;
        let body = operation_outcome(&issues).to_string().into_bytes();
        Ok(readable(StatusCode::OK, body, query.as_deref()))
    })
    .await
}

/// What is meant to be done with the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Create,
    Update,
    Delete,
}

/// What is asked.
struct Asked {
    mode: Option<Mode>,
    profiles: Vec<String>,
    resource: Option<Vec<u8>>,
}

impl Asked {
    fn read(resource_type: &str, query: Option<&str>, body: Vec<u8>) -> Result<Self, ApiError> {
        let wrapped = is_wrapped(resource_type, &body)?;
        let mut parameters = Parameters::read(query, if wrapped { &body } else { b"" })?;
        parameters.text(&["_pretty"])?;
        parameters.text(&["_format"])?;
        let mode = match parameters.text(&["mode"])?.as_deref() {
            None => None,
            Some("create") => Some(Mode::Create),
            Some("update") => Some(Mode::Update),
            Some("delete") => Some(Mode::Delete),
            Some(_) => return Err(ApiError::bad_request(IssueType::Value, "the parameter mode is one of create, update and delete")),
        };
        let profiles = parameters.texts("profile")?;
        let inside = parameters.resource(&["resource"])?;
        parameters.finish()?;
        let resource = if wrapped { inside } else { Some(body).filter(|body| !body.iter().all(u8::is_ascii_whitespace)) };
        Ok(Self { mode, profiles, resource })
    }

    fn issues(&self, app: &App, hospital: Hospital, resource_type: &str, id: Option<&str>) -> Result<Vec<Issue>, ApiError> {
        let stored;
        let text = match (&self.resource, id) {
            (Some(resource), _) if self.mode != Some(Mode::Delete) => resource,
            (_, Some(id)) => {
                stored = read_stored(app, hospital, resource_type, id)?;
                &stored
            }
            _ => {
                let what = "there is nothing to validate: send the resource, alone or as the parameter `resource`; a deletion is validated at the resource's own address";
                return Err(ApiError::bad_request(IssueType::Required, what));
            }
        };
        let mut issues = self.about_profiles(resource_type);
        if self.mode == Some(Mode::Delete) {
            issues.push(note(IssueType::Informational, resource_type, "it is there, and a deletion would be taken"));
            return Ok(issues);
        }
        let arena = Bump::new();
        let wrong = |e: json::JsonError| ApiError::bad_request(IssueType::Structure, e.to_string());
        let resource = json::parse(text, &arena).map_err(wrong)?;
        self.about_address(&resource, resource_type, id, &mut issues);
        issues.extend(advise(&resource));
        if resource.get("meta").is_some_and(|meta| meta.get("profile").is_some()) {
            let what = "the profiles that it claims are not looked at: only the base definitions of R4 are known here";
            issues.push(note(IssueType::NotSupported, &format!("{resource_type}.meta.profile"), what));
        }
        if issues.is_empty() {
            issues.push(note(IssueType::Informational, resource_type, "nothing is wrong with it by the base definitions of R4"));
        }
        Ok(issues)
    }

    /// Nobody must take the answer for one about a profile that was not looked at.
    fn about_profiles(&self, resource_type: &str) -> Vec<Issue> {
        let base = format!("http://hl7.org/fhir/StructureDefinition/{resource_type}");
        let is_base = |profile: &&String| profile.split('|').next() == Some(&base);
        let unknown = self.profiles.iter().filter(|profile| !is_base(profile));
        unknown
            .map(|_| {
                let what = format!("the profile is not known here, so nobody can say whether it is met; only {base} is");
                Issue::error(IssueType::NotSupported, "Parameters.parameter.where(name='profile')", what)
            })
            .collect()
    }

    /// Whether the resource is what its address says.
    fn about_address(&self, resource: &Value<'_>, resource_type: &str, id: Option<&str>, issues: &mut Vec<Issue>) {
        if resource.str("resourceType").is_some_and(|name| name != resource_type) {
            let what = format!("the address is one of {resource_type}; the resource is of another type");
            issues.push(Issue::error(IssueType::Invalid, format!("{resource_type}.resourceType"), what));
        }
        let is_update = self.mode == Some(Mode::Update) || self.mode.is_none() && id.is_some();
        if let Some(id) = id.filter(|id| is_update && resource.str("id") != Some(id)) {
            let what = format!("an update needs the id of its address in the resource: `{id}`");
            issues.push(Issue::error(IssueType::Invalid, format!("{resource_type}.id"), what));
        }
    }
}

/// Whether a body is the operation's Parameters, rather than the resource itself (which may be Parameters too).
fn is_wrapped(resource_type: &str, body: &[u8]) -> Result<bool, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(false);
    }
    let arena = Bump::new();
    let resource = json::parse(body, &arena).map_err(|e| ApiError::bad_request(IssueType::Structure, e.to_string()))?;
    let given = resource.get("parameter").unwrap_or(Value::Null).items();
    let has_resource = given.iter().any(|p| p.str("name") == Some("resource") && p.get("resource").is_some());
    Ok(resource.str("resourceType") == Some("Parameters") && (has_resource || resource_type != "Parameters"))
}

/// The resource as it is stored, on the record.
fn read_stored(app: &App, hospital: Hospital, resource_type: &str, id: &str) -> Result<Vec<u8>, ApiError> {
    let action = Action::Read { resource_type: resource_type.to_owned(), id: id.to_owned(), version: None };
    let reader = Reader { hospital, base: String::new(), strict: false, commit: None };
    Ok(reader.read(app, action)?.body)
}

fn note(code: IssueType, at: &str, what: &str) -> Issue {
    Issue { severity: Severity::Information, ..Issue::error(code, at, what) }
}
