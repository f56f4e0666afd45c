//! The centre's desk: documents are read, decided about, written and put on the record one at a time.
//!
//! What may be done is decided in `dugnad_kernel::permit`; here its documents are found and kept.

use super::auth::Caller;
use super::headers::{DUGNAD_COMMIT, value};
use super::{ApiError, App, body, headers};
use crate::access::{Principal, Role};
use crate::limits::MAX_CASE_BODY_BYTES;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use dugnad_kernel::audit::{Act, Entry};
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::permit::Permit;
use dugnad_kernel::permit::application::Application;
use dugnad_kernel::permit::hearing::{Extension, Hearing};
use dugnad_kernel::permit::organisation::Organisation;
use dugnad_kernel::permit::procedure::{Actor, By, CENTRE, ProcedureError};
use dugnad_kernel::permit::release::Release;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::PoisonError;

/// The kinds of documents.
pub const APPLICATION: &str = "application";
pub const ORGANISATION: &str = "organisation";
pub const PERMIT: &str = "permit";
pub const HEARING: &str = "hearing";
pub const EXTENSION: &str = "extension";
pub const RELEASE: &str = "release";

impl From<ProcedureError> for ApiError {
    fn from(error: ProcedureError) -> Self {
        let said = error.to_string();
        match error {
            ProcedureError::Form { .. } => Self::bad_request(IssueType::Structure, said),
            ProcedureError::Field { field, what } => Self::bad_request(IssueType::Invalid, what).at(field),
            ProcedureError::Person(_) => Self::forbidden(said),
            ProcedureError::State(_) => Self::new(StatusCode::CONFLICT, IssueType::Conflict, said),
        }
    }
}

/// Something that somebody does at the desk, for the record.
pub struct Deed {
    /// Who.
    pub who: Principal,
    /// Which part of the API.
    pub interface: &'static str,
    /// The request, by method and path.
    pub request: String,
}

/// The answer to a deed: the commit that it made, and what there is now.
pub fn done(commit: Commit, shown: Value) -> Response {
    ([(DUGNAD_COMMIT, value(&commit.to_string()))], axum::Json(shown)).into_response()
}

/// A small JSON body.
pub trait Form: DeserializeOwned {
    /// How a refusal describes it.
    const FORM: &'static str;
    /// How large it may be.
    const BYTES: usize = MAX_CASE_BODY_BYTES;
    /// Whether a refusal may quote it: not where it names patients.
    const QUOTED: bool = true;
}

/// No body, or an empty object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Form for Nothing {
    const FORM: &'static str = "empty";
}

/// What somebody sends to the desk: who, about which document (the id of the address), and the body. An absent body is an empty
/// object.
pub struct Sent<T, Id = String> {
    pub who: Principal,
    pub id: Id,
    pub body: T,
}

impl<T: Form, Id: DeserializeOwned + Send> FromRequest<App> for Sent<T, Id> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Caller(who) = Caller::from_request_parts(&mut parts, app).await.map_err(IntoResponse::into_response)?;
        let Path(id) = Path::from_request_parts(&mut parts, app).await.map_err(IntoResponse::into_response)?;
        let body = json_body(app, &parts.headers, body).await.map_err(IntoResponse::into_response)?;
        Ok(Self { who, id, body })
    }
}

async fn json_body<T: Form>(app: &App, headers: &HeaderMap, body: Body) -> Result<T, ApiError> {
    let (bytes, _held) = body::read(app, headers, body, T::BYTES).await?.into_parts();
    if !bytes.is_empty() {
        headers::require_json_body(headers)?;
    }
    let bytes = if bytes.is_empty() { b"{}".as_slice() } else { bytes.as_slice() };
    serde_json::from_slice(bytes).map_err(|e| {
        let why = if T::QUOTED { format!(": {e}") } else { format!(", but is not at line {}, column {}", e.line(), e.column()) };
        ApiError::bad_request(IssueType::Structure, format!("the body must be {}{why}", T::FORM))
    })
}

/// A document as it is kept.
pub fn to_json(document: &impl Serialize) -> Result<String, ApiError> {
    serde_json::to_string(document).map_err(|e| ApiError::internal(&e.to_string()))
}

/// A stored document that is none any more is the server's fault, not the caller's.
fn stored<T>(kind: &str, id: &str, read: Result<T, impl std::fmt::Display>) -> Result<T, ApiError> {
    read.map_err(|error| ApiError::internal(&format!("the {kind} {id} cannot be used: {error}")))
}

impl App {
    /// Does `job` at the desk: nothing else is decided meanwhile. Whoever may not do it is put on the record. Blocks.
    pub fn at_desk<T>(&self, deed: &Deed, job: impl FnOnce(&Actor) -> Result<T, Refused>) -> Result<T, ApiError> {
        self.check_log()?;
        let _desk = self.desk().lock().unwrap_or_else(PoisonError::into_inner);
        let actor = self.actor(&deed.who)?;
        job(&actor).map_err(|refused| match refused {
            Refused::Error(error) => error,
            Refused::Procedure(error) => {
                let person = matches!(error, ProcedureError::Person(_));
                let entry = person.then(|| {
                    self.entry(Act::Refusal, &deed.who, |e| {
                        e.interface = Some(deed.interface.to_owned());
                        e.request = Some(deed.request.clone());
                        e.outcome = Some(error.to_string());
                    })
                });
                match entry.map(|entry| self.append(&entry)) {
                    Some(Err(log)) => log,
                    _ => error.into(),
                }
            }
        })
    }

    /// One commit of documents, as (kind, id, JSON), and its entry in the log; the order is that of `write_recorded`. Blocks.
    pub fn put_recorded(
        &self,
        deed: &Deed,
        documents: &[(&str, &str, &str)],
        describe: impl FnOnce(&mut Entry),
    ) -> Result<Commit, ApiError> {
        self.check_log()?;
        let commit = self.database().put_documents(documents)?;
        let entry = self.entry(Act::Decision, &deed.who, |e| {
            e.interface = Some(deed.interface.to_owned());
            e.request = Some(deed.request.clone());
            e.commit = Some(commit.0);
            describe(e);
        });
        self.append(&entry).map_err(|e| e.with_header(DUGNAD_COMMIT, value(&commit.to_string())))?;
        Ok(commit)
    }

    /// Who acts: what their token and the register of organisations say. Blocks.
    pub fn actor(&self, who: &Principal) -> Result<Actor, ApiError> {
        let centre = who.role == Role::Centre;
        let own = self.organisations()?.into_iter().find(|organisation| organisation.has(&who.user));
        let (organisation, group) = match own {
            Some(own) => (own.id.clone(), own.group().to_owned()),
            None if centre => (CENTRE.to_owned(), CENTRE.to_owned()),
            None => (String::new(), String::new()),
        };
        Ok(Actor { by: By { user: who.user.clone(), organisation }, group, centre })
    }

    /// All documents of a kind.
    pub fn all<T, E: std::fmt::Display>(&self, kind: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, ApiError> {
        let documents = self.database().documents(kind)?;
        documents.iter().map(|document| stored(kind, &document.id, parse(&document.json))).collect()
    }

    /// One document of a kind.
    pub fn one<T, E: std::fmt::Display>(&self, kind: &str, id: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>, ApiError> {
        let document = self.database().document(kind, id)?;
        document.map(|document| stored(kind, id, parse(&document.json))).transpose()
    }

    /// All organisations. Blocks, as all of these do.
    pub fn organisations(&self) -> Result<Vec<Organisation>, ApiError> {
        self.all(ORGANISATION, Organisation::parse)
    }

    /// An organisation.
    pub fn organisation(&self, id: &str) -> Result<Option<Organisation>, ApiError> {
        self.one(ORGANISATION, id, Organisation::parse)
    }

    /// All applications, drafts too.
    pub fn applications(&self) -> Result<Vec<Application>, ApiError> {
        self.all(APPLICATION, Application::parse)
    }

    /// An application.
    pub fn application(&self, id: &str) -> Result<Option<Application>, ApiError> {
        self.one(APPLICATION, id, Application::parse)
    }

    /// The application that a permit came from, if it came from one.
    pub fn application_of(&self, permit: &str) -> Result<Option<Application>, ApiError> {
        Ok(self.applications()?.into_iter().find(|application| application.permit_id() == Some(permit)))
    }

    /// A permit, whoever may use it.
    pub fn stored_permit(&self, id: &str) -> Result<Option<Permit>, ApiError> {
        self.one(PERMIT, id, Permit::parse)
    }

    /// The group of the organisation that a permit was granted to: that of its application, else that of its first user who
    /// belongs to one; empty if none does.
    pub fn group_of(&self, permit: &Permit) -> Result<String, ApiError> {
        let organisations = self.organisations()?;
        let applied = self.application_of(permit.id())?.map(|application| application.organisation().to_owned());
        let holds = |organisation: &&Organisation| match &applied {
            Some(id) => organisation.id == *id,
            None => permit.document().users.iter().any(|user| organisation.has(user)),
        };
        Ok(organisations.iter().find(holds).map(|organisation| organisation.group().to_owned()).unwrap_or_default())
    }

    /// The newest hearing about a permit.
    pub fn hearing(&self, permit: &str) -> Result<Option<Hearing>, ApiError> {
        self.one(HEARING, permit, Hearing::parse)
    }

    /// The newest request to extend a permit.
    pub fn extension(&self, permit: &str) -> Result<Option<Extension>, ApiError> {
        self.one(EXTENSION, permit, Extension::parse)
    }

    /// All releases.
    pub fn releases(&self) -> Result<Vec<Release>, ApiError> {
        self.all(RELEASE, Release::parse)
    }

    /// A release.
    pub fn release(&self, id: &str) -> Result<Option<Release>, ApiError> {
        self.one(RELEASE, id, Release::parse)
    }
}

/// Why something was not done at the desk.
pub enum Refused {
    /// The procedure does not allow it.
    Procedure(ProcedureError),
    /// Anything else.
    Error(ApiError),
}

impl From<ProcedureError> for Refused {
    fn from(error: ProcedureError) -> Self {
        Self::Procedure(error)
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}
