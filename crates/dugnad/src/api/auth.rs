//! Who asks: bearer tokens (RFC 6750), roles, and what is put on the record when somebody is refused.

use super::App;
use super::error::ApiError;
use super::serve::Peer;
use crate::access::{Principal, Role};
use crate::limits::{MAX_LOGINS_REMEMBERED, RECORDED_STRANGERS_PER_MINUTE};
use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dugnad_kernel::audit::{Act, Entry};
use dugnad_kernel::fhir::issue::IssueType;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// What somebody was let in with, for an answer that goes on for long: whether it still holds is looked at again. Taken by handlers
/// that take who it is, too.
#[derive(Clone, Debug)]
pub struct Credential(String);

impl FromRequestParts<App> for Credential {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        Ok(Self(bearer(parts).unwrap_or_default().to_owned()))
    }
}

impl App {
    /// Whether what somebody was let in with has neither expired nor been revoked. Of one that the identity provider has signed only
    /// its end is looked at: it was verified when they came, and nobody takes it back. Blocks.
    pub fn still_holds(&self, credential: &Credential) -> Result<bool, ApiError> {
        if super::people::is_signed(&credential.0) {
            return Ok(end_of_signed(&credential.0).is_some_and(|end| self.now() < end));
        }
        let known = self.tokens().authenticate(&credential.0).map_err(|e| ApiError::internal(&e.to_string()))?;
        Ok(known.is_some())
    }

    /// Whether a user of a hospital still has a valid token: for what is done for them while they are away. Blocks.
    pub fn holds(&self, user: &str, holder: &str) -> Result<bool, ApiError> {
        self.tokens().holds(user, Role::Hospital, holder).map_err(|e| ApiError::internal(&e.to_string()))
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

/// `exp` of a signed token that has been verified (RFC 7519, section 4.1.4).
fn end_of_signed(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: serde_json::Number,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let whole = claims.exp.to_string();
    Timestamp::from_second(whole.split('.').next()?.parse().ok()?).ok()
}

/// The method and the route's template: no id, no criterion.
fn request_line(parts: &Parts) -> String {
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    format!("{} {route}", parts.method)
}

/// 401 with `WWW-Authenticate` (RFC 6750, section 3).
fn stranger(had_token: bool) -> ApiError {
    let (what, challenge) = if had_token {
        (
            "the token is not known, has expired or was revoked; ask the centre for a new one",
            "Bearer realm=\"dugnad\", error=\"invalid_token\"",
        )
    } else {
        ("a token is needed: Authorization: Bearer TOKEN", "Bearer realm=\"dugnad\"")
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
            (Some(token), Some(provider)) => self.person(provider, token).await?,
            // An indexed look-up of some 20 microseconds: not worth a thread of its own.
            (Some(token), None) => self.tokens().authenticate(token).map_err(|e| ApiError::internal(&e.to_string()))?,
            (None, _) => None,
        };
        let Some(principal) = known else {
            self.record_stranger(request(), token.is_some()).await?;
            return Err(stranger(token.is_some()));
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
        let failed = |e: crate::access::AccessError| ApiError::internal(&e.to_string());
        for (number, entry) in self.tokens().unrecorded().map_err(failed)? {
            self.record(entry).await?;
            self.tokens().recorded(number).map_err(failed)?;
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
    fn the_end_of_a_signed_token() {
        let token = |claims: &str| format!("e30.{}.AA", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(end_of_signed(&token(r#"{"sub":"x","exp":1700000000}"#)), Timestamp::from_second(1_700_000_000).ok());
        assert_eq!([end_of_signed(&token(r#"{"sub":"x"}"#)), end_of_signed("a.b"), end_of_signed("dgn_x")], [None; 3]);
    }

    #[test]
    fn strangers_do_not_fill_the_log() {
        let budget = StrangerBudget::default();
        let recorded = (0..1_000).filter(|_| budget.take(5)).count() as u64;
        assert_eq!(recorded, RECORDED_STRANGERS_PER_MINUTE);
        assert!(budget.take(6), "the next minute has a budget of its own");
    }
}
