//! An OpenID Connect provider: its description, its keys, the tokens it signs, and a sign-in by authorization code with PKCE. All of
//! this blocks; nothing of it is a pass where the provider cannot be reached.

use super::fetched::Fetched;
use super::identity::{Identity, ProviderSettings};
use super::keysets::{FetchError, KeySets, agent, body_of};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dugnad_kernel::access::{Algorithm, Claims, Expected, Jwt, JwtError};
use dugnad_kernel::search::parse::encode;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use ureq::Agent;

/// Why somebody is not let in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SignInError {
    /// The provider cannot be reached, or says what nobody understands.
    #[error(transparent)]
    Provider(#[from] FetchError),
    /// What it has signed is not for here.
    #[error("a token of the identity provider is not taken: {0}")]
    Token(#[from] JwtError),
    /// No rule says who they are here.
    #[error("no rule of the settings fits what the identity provider says of this user")]
    NoRule,
    /// The provider does not take the code that the browser has brought, or not from this server.
    #[error("the identity provider answers {0} to the code of a sign-in: the code has been used or is old, or the client secret is wrong")]
    Code(u16),
    /// The secret cannot be read.
    #[error("the client secret cannot be read: {0}")]
    Secret(String),
}

/// What is looked at of a provider's description (OpenID Connect Discovery 1.0, section 3).
#[derive(Clone, Debug, Deserialize)]
struct Description {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

/// What goes to the provider with a browser and comes back with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Ties the answer to this browser.
    pub state: String,
    /// Ties the ID token to this attempt.
    pub nonce: String,
    /// Shows that whoever brings the code has asked for it (RFC 7636).
    pub verifier: String,
}

/// The provider.
pub struct Provider {
    settings: ProviderSettings,
    agent: Agent,
    keys: KeySets,
    description: Fetched<Description>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl Provider {
    /// The provider of these settings. Nothing is fetched yet.
    pub fn new(settings: ProviderSettings) -> Self {
        Self { settings, agent: agent(), keys: KeySets::default(), description: Fetched::default() }
    }

    /// Whether access tokens for the API are taken at all.
    pub fn takes_tokens(&self) -> bool {
        self.settings.audience.is_some()
    }

    /// Who has this access token, and when it ends.
    pub fn bearer(&self, token: &str, now: Timestamp) -> Result<(Identity, Timestamp), SignInError> {
        let audience = self.settings.audience.clone().ok_or(JwtError::Claim("aud", "cannot name this server, which has no `audience`"))?;
        let claims = self.verified(token, &[audience], now)?;
        let until = claims.exp.and_then(|exp| Timestamp::from_second(exp).ok()).ok_or(JwtError::Claim("exp", "is absent"))?;
        Ok((self.settings.identify(&claims).ok_or(SignInError::NoRule)?, until))
    }

    /// Where a browser goes to sign in.
    pub fn authorization(&self, attempt: &Attempt, redirect: &str) -> Result<String, SignInError> {
        let endpoint = self.describe()?.authorization_endpoint.clone();
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&attempt.verifier));
        let mut url = format!("{endpoint}{}", if endpoint.contains('?') { '&' } else { '?' });
        url.push_str(&form(&[
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", redirect),
            ("scope", &self.settings.scope),
            ("state", &attempt.state),
            ("nonce", &attempt.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]));
        Ok(url)
    }

    /// Who has come back with this code.
    pub fn exchange(&self, code: &str, attempt: &Attempt, redirect: &str, now: Timestamp) -> Result<Identity, SignInError> {
        let url = self.describe()?.token_endpoint.clone();
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("client_id", &self.settings.client_id),
            ("code_verifier", &attempt.verifier),
        ];
        let mut request =
            self.agent.post(&url).header("Content-Type", "application/x-www-form-urlencoded").header("Accept", "application/json");
        if let Some(secret) = self.secret()? {
            let encoded = |text: &str| {
                let mut out = String::new();
                encode(text, &mut out); // RFC 6749, section 2.3.1
                out
            };
            let both = format!("{}:{}", encoded(&self.settings.client_id), encoded(&secret));
            request = request.header("Authorization", format!("Basic {}", STANDARD.encode(both)));
        }
        let sent = request.send(form(&fields));
        if let Some(status) = sent.as_ref().ok().map(|response| response.status()).filter(|status| status.is_client_error()) {
            return Err(SignInError::Code(status.as_u16()));
        }
        let answered = body_of(&url, sent)?;
        let unreadable = |_| FetchError::Unreachable { url: url.clone(), what: "its answer has no ID token".to_owned() };
        let tokens: Tokens = serde_json::from_slice(&answered).map_err(unreadable)?;
        let claims = self.verified(&tokens.id_token, std::slice::from_ref(&self.settings.client_id), now)?;
        // OpenID Connect Core, section 3.1.3.7.
        if claims.nonce.as_ref() != Some(&attempt.nonce) {
            return Err(JwtError::Claim("nonce", "is not of this sign-in").into());
        }
        let party = claims.azp.as_ref();
        if party.is_some_and(|azp| *azp != self.settings.client_id) || party.is_none() && claims.aud.len() > 1 {
            return Err(JwtError::Claim("azp", "is not this server").into());
        }
        self.settings.identify(&claims).ok_or(SignInError::NoRule)
    }

    /// Whether an answer that names its issuer (RFC 9207) is of this provider.
    pub fn is_issuer(&self, named: &str) -> bool {
        named == self.settings.issuer
    }

    fn verified(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Claims, SignInError> {
        let jwt = Jwt::read(token, &Algorithm::ALL)?;
        // Before anything is fetched: a token of somebody else makes nobody ask.
        if jwt.claimed_issuer().as_ref() != Some(&self.settings.issuer) {
            return Err(JwtError::Claim("iss", "is not the provider that is known here").into());
        }
        let keys = self.keys.get(&self.describe()?.jwks_uri, jwt.kid())?;
        let claims = jwt.verify(&keys)?;
        claims.check(&Expected { issuer: &self.settings.issuer, audiences, now })?;
        Ok(claims)
    }

    fn secret(&self) -> Result<Option<String>, SignInError> {
        let read = |path: &std::path::PathBuf| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        self.settings.client_secret_file.as_ref().map(read).transpose().map_err(|e| SignInError::Secret(e.to_string()))
    }

    /// The provider's description; fetched when it is first needed, and again now and then.
    fn describe(&self) -> Result<Arc<Description>, FetchError> {
        self.description.get(|_| true, || self.fetch_description())
    }

    fn fetch_description(&self) -> Result<Description, FetchError> {
        let issuer = &self.settings.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let json = body_of(&url, self.agent.get(&url).header("Accept", "application/json").call())?;
        let wrong = |what: String| FetchError::Unreachable { url: url.clone(), what };
        let description: Description =
            serde_json::from_slice(&json).map_err(|e| wrong(format!("it is no description of a provider: {e}")))?;
        if description.issuer != *issuer {
            return Err(wrong("it describes another issuer than the settings name".to_owned()));
        }
        let endpoints = [&description.authorization_endpoint, &description.token_endpoint, &description.jwks_uri];
        if issuer.starts_with("https://") && !endpoints.iter().all(|endpoint| endpoint.starts_with("https://")) {
            return Err(wrong("it names an address that does not begin with https://".to_owned()));
        }
        Ok(description)
    }
}

/// A form, encoded.
fn form(fields: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        for (before, text) in [("&", name), ("=", value)] {
            out.push_str(before);
            encode(text, &mut out);
        }
    }
    out.trim_start_matches('&').to_owned()
}
