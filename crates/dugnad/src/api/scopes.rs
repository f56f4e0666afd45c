//! What a backend service's scopes leave of reading: types that they do not reach, and parts of types.
//!
//! What is outside of a part is as absent as what another hospital has; a type that no scope reaches is refused (403,
//! `insufficient_scope`), and that is on the record. Writes are looked at where they are prepared (`Database::write_within`).

use super::auth::Hospital;
use super::smart::needed;
use super::{ApiError, App};
use crate::access::Principal;
use axum::http::{HeaderValue, header};
use dugnad_kernel::access::{Act, Reach};
use dugnad_kernel::audit::Act as Entered;
use dugnad_kernel::search::query::{Criterion, Search};

/// 403 with what is missing (RFC 6750, section 3.1).
pub fn insufficient(scope: Option<&str>, what: String) -> ApiError {
    let named = scope.map_or(String::new(), |scope| format!(", scope=\"{scope}\""));
    let challenge = HeaderValue::from_str(&format!("Bearer realm=\"dugnad\", error=\"insufficient_scope\"{named}"));
    let error = ApiError::forbidden(what);
    match challenge {
        Ok(challenge) => error.with_header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => error,
    }
}

impl Hospital {
    /// Whether scopes leave anything of an act on a type.
    pub fn reaches(&self, act: Act, resource_type: &str) -> bool {
        self.who.scopes.as_ref().is_none_or(|scopes| scopes.reaches(act, resource_type))
    }

    /// Whether they leave all of it.
    pub fn reaches_all(&self, act: Act, resource_type: &str) -> bool {
        self.who.scopes.as_ref().is_none_or(|scopes| matches!(scopes.reach(act, resource_type), Reach::Everything))
    }

    /// Whether an act reaches a stored version; `None`: a deletion.
    pub fn admits(&self, act: Act, resource_type: &str, stored: Option<&[u8]>) -> bool {
        self.who.scopes.as_ref().is_none_or(|scopes| scopes.admits_stored(act, resource_type, stored))
    }

    /// Whether a resource may come along with others, or be shown after a write: by its name or by a search.
    pub fn sees(&self, resource_type: &str, stored: &[u8]) -> bool {
        self.admits(Act::Read, resource_type, Some(stored)) || self.admits(Act::Search, resource_type, Some(stored))
    }

    /// Has a search find no more than an act reaches. Conditions on other resources are looked at through searches of those, so that
    /// types which are not reached as a whole are none that a chain can go to.
    pub fn narrow(&self, search: &mut Search, act: Act) -> Result<(), ApiError> {
        let Some(scopes) = &self.who.scopes else { return Ok(()) };
        let own = scopes.criteria(act, search.resource_type).ok_or_else(|| missing(act, search.resource_type))?;
        search.criteria.iter_mut().try_for_each(|criterion| self.narrow_criterion(criterion))?;
        search.criteria.extend(own);
        Ok(())
    }

    fn narrow_criterion(&self, criterion: &mut Criterion) -> Result<(), ApiError> {
        match criterion {
            Criterion::Is { .. } => Ok(()),
            Criterion::Chain { of, .. } => {
                let named = of.first().map_or("Resource", |(target, _)| target);
                of.retain(|(target, _)| self.reaches_all(Act::Search, target));
                if of.is_empty() {
                    return Err(missing(Act::Search, named));
                }
                of.iter_mut().try_for_each(|(_, criterion)| self.narrow_criterion(criterion))
            }
            Criterion::Has { resource_type, criterion, .. } => {
                if !self.reaches_all(Act::Search, resource_type) {
                    return Err(missing(Act::Search, resource_type));
                }
                self.narrow_criterion(criterion)
            }
            Criterion::Either(of) => of.iter_mut().try_for_each(|criterion| self.narrow_criterion(criterion)),
        }
    }

    /// Refuses an act on a type that no scope reaches, on the record. Blocks.
    pub fn require(&self, app: &App, act: Act, resource_type: &str, request: &str) -> Result<(), ApiError> {
        if self.reaches(act, resource_type) {
            return Ok(());
        }
        Err(app.refuse_scope(&self.who, request, missing(act, resource_type)))
    }
}

fn missing(act: Act, resource_type: &str) -> ApiError {
    let scope = needed(act, resource_type);
    let what =
        format!("the scopes of this token do not reach it: `{scope}` is needed, for all of {resource_type}; ask for a token that has it");
    insufficient(Some(&scope), what)
}

impl App {
    /// Puts on the record that scopes did not reach. Blocks.
    pub fn refuse_scope(&self, who: &Principal, request: &str, error: ApiError) -> ApiError {
        let entry = self.entry(Entered::Refusal, who, |e| {
            e.request = Some(request.to_owned());
            e.outcome = Some("the scopes of the token do not reach it".to_owned());
        });
        match self.append(&entry) {
            Ok(_) => error,
            Err(error) => error,
        }
    }
}
