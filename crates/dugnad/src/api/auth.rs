//! Who asks: bearer tokens (RFC 6750), roles, and what is put on the record when somebody is refused.

use super::App;
use super::error::ApiError;
use super::people::Person;
use super::serve::Peer;
use crate::access::{Principal, Role};
use crate::limits::{MAX_LOGINS_REMEMBERED, RECORDED_STRANGERS_PER_MINUTE};
use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use dugnad_kernel::audit::{Act, Entry};
use dugnad_kernel::fhir::issue::IssueType;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Anybody with a valid token, but for backend services: what their scopes are about is under `/fhir` only.
#[derive(Clone, Debug)]
pub struct Caller(pub Principal);

/// Anybody with a valid token. Who takes a backend service in looks at its scopes.
#[derive(Clone, Debug)]
pub struct CallerOrClient(pub Principal);

/// A hospital: it writes and reads what is its own.
#[derive(Clone, Debug)]
pub struct Hospital {
    /// Who asks.
    pub who: Principal,
    /// The holder that it is.
    pub holder: String,
}

/// A hospital by a token of its own, not that of a backend service: for what goes on when such a token has ended, or is not of types
/// that scopes can name.
#[derive(Clone, Debug)]
pub struct OwnHospital(pub Hospital);

/// The centre.
#[derive(Clone, Debug)]
pub struct Centre(pub Principal);

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let CallerOrClient(who) = CallerOrClient::from_request_parts(parts, app).await?;
        if who.scopes.is_none() {
            return Ok(Caller(who));
        }
        let what = "the token of a backend service is for resources under /fhir, as far as its scopes reach, and for nothing else";
        Err(app.refuse(&who, request_line(parts), what).await)
    }
}

impl FromRequestParts<App> for CallerOrClient {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        app.identify(bearer(parts), parts.extensions.get::<Peer>(), || request_line(parts)).await.map(CallerOrClient)
    }
}

impl Hospital {
    /// The hospital that a caller is, if it is one.
    pub fn of(who: &Principal) -> Option<Self> {
        let holder = who.holder.clone().filter(|_| who.role == Role::Hospital)?;
        Some(Self { who: who.clone(), holder })
    }
}

impl FromRequestParts<App> for Hospital {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let CallerOrClient(who) = CallerOrClient::from_request_parts(parts, app).await?;
        match Hospital::of(&who) {
            Some(hospital) => Ok(hospital),
            None => {
                let what = "FHIR is spoken with health data holders only, about their own patients; read under a permit with POST /sql";
                Err(app.refuse(&who, request_line(parts), what).await)
            }
        }
    }
}

/// What somebody has come with, for an answer that goes on for long: whether it still holds is looked at again. Taken by handlers that
/// take who it is, too.
#[derive(Clone, Debug)]
pub struct Credential(String);

impl FromRequestParts<App> for Credential {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        Ok(Self(bearer(parts).unwrap_or_default().to_owned()))
    }
}

impl App {
    /// Whether what `who` has come with has neither expired nor been revoked. One that the identity provider has signed was verified
    /// then, and nobody takes it back before its end. Blocks.
    pub fn still_holds(&self, who: &Principal, credential: &Credential) -> Result<bool, ApiError> {
        match who.until {
            Some(until) => Ok(self.now() < until),
            None => Ok(self.tokens().authenticate(&credential.0)?.is_some()),
        }
    }

    /// Whether a user of a hospital still has a valid token, or stands behind what is done for them while they are away. Blocks.
    pub fn holds(&self, user: &str, holder: &str) -> Result<bool, ApiError> {
        Ok(self.tokens().holds(user, Role::Hospital, holder)?)
    }

    /// Lets the identity provider's user stand behind what a hospital has asked for and what goes on without them; for others their
    /// token does. Blocks.
    pub fn stand_behind(&self, who: &Principal, valid_for: Duration) -> Result<(), ApiError> {
        match (&who.holder, who.until) {
            (Some(holder), Some(_)) => Ok(self.tokens().stand(&who.user, holder, valid_for)?),
            _ => Ok(()),
        }
    }
}

impl FromRequestParts<App> for OwnHospital {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let hospital = Hospital::from_request_parts(parts, app).await?;
        if hospital.who.scopes.is_none() {
            return Ok(Self(hospital));
        }
        let what = "this is for a hospital's own token; that of a backend service is for resources, as far as its scopes reach";
        Err(app.refuse(&hospital.who, request_line(parts), what).await)
    }
}

impl FromRequestParts<App> for Centre {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Caller(who) = Caller::from_request_parts(parts, app).await?;
        if who.role == Role::Centre {
            Ok(Centre(who))
        } else {
            Err(app.refuse(&who, request_line(parts), "this is for the centre only").await)
        }
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The method and the route's template: no id, no criterion.
fn request_line(parts: &Parts) -> String {
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    format!("{} {route}", parts.method)
}

/// 401 with `WWW-Authenticate` (RFC 6750, section 3).
fn stranger(token: Option<&str>) -> ApiError {
    const INVALID: &str = "Bearer realm=\"dugnad\", error=\"invalid_token\"";
    let (what, challenge) = match token {
        None => ("a token is needed: Authorization: Bearer TOKEN", "Bearer realm=\"dugnad\""),
        Some(token) if super::people::is_signed(token) => {
            ("the signed token is not taken: it is not for this server, or has expired; get a new one from the identity provider", INVALID)
        }
        Some(_) => ("the token is not known, has expired or was revoked; ask the centre for a new one", INVALID),
    };
    ApiError::new(StatusCode::UNAUTHORIZED, IssueType::Login, what)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// How many strangers were recorded in the present minute.
#[derive(Debug, Default)]
pub struct StrangerBudget(Mutex<(i64, u64)>);

impl StrangerBudget {
    /// Whether one more may be recorded at `minute`.
    fn take(&self, minute: i64) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != minute {
            *state = (minute, 0);
        }
        state.1 += 1;
        state.1 <= RECORDED_STRANGERS_PER_MINUTE
    }
}

/// The tokens that were used since the server was started, by their hashes.
#[derive(Debug, Default)]
pub struct Logins(Mutex<HashSet<[u8; 32]>>);

impl Logins {
    fn set(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_known(&self, token: &str) -> bool {
        self.set().contains(&<[u8; 32]>::from(Sha256::digest(token)))
    }

    fn remember(&self, token: &str) {
        let mut set = self.set();
        if set.len() >= MAX_LOGINS_REMEMBERED {
            set.clear();
        }
        set.insert(Sha256::digest(token).into());
    }
}

impl App {
    /// Who has this token, and, if it is nobody, an error with the attempt on the record. `request` says what was asked for.
    pub async fn identify(
        &self,
        token: Option<&str>,
        peer: Option<&Peer>,
        request: impl FnOnce() -> String,
    ) -> Result<Principal, ApiError> {
        let signed = token.filter(|token| super::people::is_signed(token));
        let provider = signed.and_then(|_| self.provider()).filter(|provider| provider.takes_tokens());
        let known = match (token, provider) {
            (Some(token), Some(provider)) => match self.person(provider, token).await? {
                Person::Known(principal) => Some(principal),
                Person::Nobody => None,
                Person::NoRule => {
                    self.record_unknown(request(), "no rule fits what the identity provider says of the user").await?;
                    let what = "the token is the identity provider's, and no rule of this server's settings says who its user is here; \
                                ask the centre for one, or the provider for the claim that a rule looks at";
                    return Err(ApiError::forbidden(what));
                }
            },
            // An indexed look-up of some 20 microseconds: not worth a thread of its own.
            (Some(token), None) => self.tokens().authenticate(token)?,
            (None, _) => None,
        };
        let Some(principal) = known else {
            self.record_stranger(request(), token.is_some()).await?;
            return Err(stranger(token));
        };
        let inside_spe = principal.inside_spe || peer.is_some_and(|peer| self.settings().is_inside_spe(peer.0.ip()));
        self.logged_in(token.unwrap_or_default(), &principal).await?;
        Ok(Principal { inside_spe, ..principal })
    }

    /// Records that `who` was refused and gives the error to answer with.
    pub async fn refuse(&self, who: &Principal, request: String, what: &str) -> ApiError {
        let entry = self.entry(Act::Refusal, who, |e| {
            e.request = Some(request);
            e.outcome = Some(what.to_owned());
        });
        match self.record(entry).await {
            Ok(_) => ApiError::forbidden(what),
            Err(error) => error,
        }
    }

    /// Puts the first use of a token since the start on the record, and before it what other processes have left to be recorded
    /// (the issue of the token, most likely).
    async fn logged_in(&self, token: &str, who: &Principal) -> Result<(), ApiError> {
        // That a client got its token is on the record, and it has another every few minutes.
        if who.scopes.is_some() || self.logins().is_known(token) {
            return Ok(());
        }
        self.record_others().await?;
        let entry = self.entry(Act::Login, who, |e| {
            e.interface = Some("http".to_owned());
            e.request = Some("first use of a token since the server was started".to_owned());
        });
        self.record(entry).await?;
        self.logins().remember(token);
        Ok(())
    }

    /// Puts on the record what other processes have left to be recorded: tokens that were issued and revoked, backups. A crash
    /// in between records it twice.
    pub async fn record_others(&self) -> Result<(), ApiError> {
        for (number, entry) in self.tokens().unrecorded()? {
            self.record(entry).await?;
            self.tokens().recorded(number)?;
        }
        Ok(())
    }

    async fn record_stranger(&self, request: String, had_token: bool) -> Result<(), ApiError> {
        self.record_unknown(request, if had_token { "the token is not valid" } else { "no token" }).await
    }

    /// Puts on the record that somebody who is not known was refused, if there are not too many.
    pub(crate) async fn record_unknown(&self, request: String, outcome: &str) -> Result<(), ApiError> {
        self.metrics().strangers.fetch_add(1, Ordering::Relaxed);
        let at = self.now();
        if !self.strangers().take(at.as_second().div_euclid(60)) {
            return Ok(());
        }
        let mut entry = super::work::blank_entry(at, Act::Refusal);
        entry.user = "unknown".to_owned();
        entry.role = "unknown".to_owned();
        entry.request = Some(request);
        entry.outcome = Some(outcome.to_owned());
        self.record(entry).await.map(|_| ())
    }

    /// An audit entry about `who`, with what `fill` adds.
    pub fn entry(&self, act: Act, who: &Principal, fill: impl FnOnce(&mut Entry)) -> Entry {
        let mut entry = super::work::blank_entry(self.now(), act);
        entry.user = who.user.clone();
        entry.role = who.role.name().to_owned();
        entry.holder = who.holder.clone();
        fill(&mut entry);
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_do_not_fill_the_log() {
        let budget = StrangerBudget::default();
        let recorded = (0..1_000).filter(|_| budget.take(5)).count() as u64;
        assert_eq!(recorded, RECORDED_STRANGERS_PER_MINUTE);
        assert!(budget.take(6), "the next minute has a budget of its own");
    }
}
