//! Who is signed in: sessions in memory, found by a secret that the browser keeps in a cookie.
//!
//! The token itself is not in the browser, and a session is nothing without it: each request looks the token up again, so that one
//! that was revoked or has expired ends the session too. A restart ends all.

use crate::limits::{SESSION_IDLE, SESSIONS_OF_A_USER};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rand::{Rng as _, rngs::StdRng};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The cookie's name.
const COOKIE: &str = "dugnad_me";

/// Where the browser sends it.
const PATH: &str = "/me";

/// Somebody who is signed in.
#[derive(Clone)]
pub(super) struct Session {
    /// The patient's token.
    pub token: String,
    /// What every form must carry: another site cannot know it.
    pub csrf: String,
    user: String,
    used: Timestamp,
}

/// All of them, by the SHA-256 of their secrets.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

impl Sessions {
    fn all(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs `user` in, whose token has been looked up; the secret for the cookie.
    pub fn begin(&self, user: &str, token: &str, now: Timestamp) -> String {
        let secret = secret();
        let mut all = self.all();
        all.retain(|_, session| !session.is_over(now));
        let mut own: Vec<_> = all.iter().filter(|(_, session)| session.user == user).map(|(key, session)| (session.used, *key)).collect();
        own.sort_unstable();
        for (_, key) in own.iter().take((own.len() + 1).saturating_sub(SESSIONS_OF_A_USER)) {
            all.remove(key);
        }
        let session = Session { token: token.to_owned(), csrf: self::secret(), user: user.to_owned(), used: now };
        all.insert(key(&secret), session);
        secret
    }

    /// The session of a request, which goes on from now.
    pub fn find(&self, headers: &HeaderMap, now: Timestamp) -> Option<Session> {
        let mut all = self.all();
        let session = all.get_mut(&key(cookie(headers)?))?;
        if session.is_over(now) {
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Ends the session of a request.
    pub fn end(&self, headers: &HeaderMap) {
        if let Some(secret) = cookie(headers) {
            self.all().remove(&key(secret));
        }
    }
}

impl Session {
    fn is_over(&self, now: Timestamp) -> bool {
        let idle = SignedDuration::try_from(SESSION_IDLE).unwrap_or(SignedDuration::ZERO);
        now.duration_since(self.used) > idle
    }
}

/// 256 random bits, as text.
pub(super) fn secret() -> String {
    let mut bytes = [0u8; 32];
    rand::make_rng::<StdRng>().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    cookie_of(headers, COOKIE)
}

/// The value of a cookie.
pub(super) fn cookie_of<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|all| all.split(';')).filter_map(|one| one.trim().split_once('=')).find(|(name, _)| *name == wanted).map(|(_, v)| v)
}

/// `Set-Cookie`: no script reads it, no other site has it sent, and, where the server is reached by HTTPS, no other connection does.
pub(super) fn set_cookie(secret: &str, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    let age = if secret.is_empty() { "; Max-Age=0" } else { "" };
    format!("{COOKIE}={secret}; Path={PATH}; HttpOnly; SameSite=Strict{secure}{age}")
}

/// Whether a form was sent from a page of this server: what the browser says of it (Fetch Metadata), or, if it is older, where
/// the page came from. A browser that says neither is refused.
pub(super) fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => {
            let from = text("origin").and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            from.is_some() && from == text("host")
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn with_cookie(secret: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("other=1; {COOKIE}={secret}").parse().unwrap());
        headers
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_session_ends_when_it_is_not_used() {
        let idle = i64::try_from(SESSION_IDLE.as_secs()).unwrap();
        let sessions = Sessions::default();
        let secret = sessions.begin("kari", "t", at(0));
        assert_eq!(sessions.find(&with_cookie(&secret), at(idle)).unwrap().token, "t");
        assert!(sessions.find(&with_cookie(&secret), at(2 * idle)).is_some(), "it was used meanwhile");
        assert!(sessions.find(&with_cookie(&secret), at(3 * idle + 1)).is_none());
        assert!(sessions.find(&with_cookie("guessed"), at(0)).is_none());
        let other = sessions.begin("kari", "t", at(0));
        sessions.end(&with_cookie(&other));
        assert!(sessions.find(&with_cookie(&other), at(0)).is_none());
    }

    #[test]
    fn a_user_has_few_sessions() {
        let sessions = Sessions::default();
        let first = sessions.begin("kari", "t", at(0));
        let others = sessions.begin("ola", "t", at(0));
        for second in 1..=SESSIONS_OF_A_USER {
            sessions.begin("kari", "t", at(i64::try_from(second).unwrap()));
        }
        assert!(sessions.find(&with_cookie(&first), at(9)).is_none());
        assert!(sessions.find(&with_cookie(&others), at(9)).is_some());
    }

    #[test]
    fn a_form_of_another_site_is_known() {
        let headers =
            |pairs: &[(&'static str, &'static str)]| pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let own = |pairs| is_own(&headers(pairs));
        assert!(own(&[("sec-fetch-site", "same-origin")]));
        assert!(own(&[("origin", "https://dugnad.example"), ("host", "dugnad.example")]));
        assert!(!own(&[("sec-fetch-site", "same-site"), ("origin", "https://dugnad.example"), ("host", "dugnad.example")]));
        assert!(!own(&[("origin", "https://evil.example"), ("host", "dugnad.example")]));
        assert!(!own(&[("origin", "null"), ("host", "dugnad.example")]));
        assert!(!own(&[]));
    }
}
