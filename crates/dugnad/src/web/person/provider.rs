//! Signing in with the centre's identity provider: authorization code with PKCE, state and nonce (OpenID Connect Core, section 3.1).
//!
//! Nothing of an attempt is kept on the server: what has to come back with the browser is in a cookie that only these two addresses
//! get. It ends in the session that a token gives.

use super::{Desk, HOME, Refused, Visit, page, session, with_cookie};
use crate::access::{Attempt, Identity, Provider, Role, SignInError};
use crate::api::{ApiError, headers};
use crate::limits::SIGN_IN_TIME;
use axum::extract::{Query, State};
use axum::http::header::{LOCATION, REFRESH, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;
use std::sync::Arc;

/// Where a browser begins.
pub(super) const BEGIN: &str = "/me/sign-in/provider";

/// Where the provider sends it back to.
pub(super) const RETURN: &str = "/me/sign-in/return";

/// Holds the attempt: `state.nonce.verifier`.
const COOKIE: &str = "dugnad_sign_in";

fn provider(desk: &Desk) -> Result<Arc<Provider>, ApiError> {
    desk.app.provider().ok_or_else(|| ApiError::not_found("nobody signs in with an identity provider here; sign in with a token"))
}

/// The address that the provider knows for [`RETURN`].
fn redirect(desk: &Desk, headers: &HeaderMap) -> Result<String, ApiError> {
    let origin = headers::sure_origin(headers, desk.app.settings());
    let what = "this server has not been told its own address; the centre sets `public_url` in its settings";
    origin.map(|origin| format!("{origin}{RETURN}")).ok_or_else(|| ApiError::internal(what))
}

fn set_cookie(desk: &Desk, value: &str) -> Option<HeaderValue> {
    let secure = if desk.app.settings().is_https() { "; Secure" } else { "" };
    let age = if value.is_empty() { 0 } else { SIGN_IN_TIME.as_secs() };
    // Lax: it has to come along when the provider sends the browser back.
    HeaderValue::from_str(&format!("{COOKIE}={value}; Path=/me/sign-in; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")).ok()
}

/// On to the provider.
pub(super) async fn begin(State(desk): State<Desk>, headers: HeaderMap) -> Result<Response, Refused> {
    let (provider, redirect) = (provider(&desk)?, redirect(&desk, &headers)?);
    let attempt = Attempt { state: session::secret(), nonce: session::secret(), verifier: session::secret() };
    let cookie = set_cookie(&desk, &format!("{}.{}.{}", attempt.state, attempt.nonce, attempt.verifier));
    let url =
        desk.app.with_provider(move |_| Ok(provider.authorization(&attempt, &redirect))).await?.map_err(|e| desk.app.not_signed_in(&e))?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    let location = HeaderValue::from_str(&url).map_err(|_| ApiError::internal("the provider's address cannot be written"))?;
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    Ok(response)
}

/// Back from the provider.
pub(super) async fn end(State(desk): State<Desk>, Query(query): Query<HashMap<String, String>>, visit: Visit) -> Result<Response, Refused> {
    let (provider, redirect) = (provider(&desk)?, redirect(&desk, &visit.headers)?);
    let again = |what: &str| {
        let mut response = (StatusCode::FORBIDDEN, page::sign_in(desk.frame, Some(what), true)).into_response();
        response.headers_mut().extend(set_cookie(&desk, "").map(|cookie| (SET_COOKIE, cookie)));
        response
    };
    let attempt = session::cookie_of(&visit.headers, COOKIE).and_then(|text| {
        let mut parts = text.splitn(3, '.').map(str::to_owned);
        Some(Attempt { state: parts.next()?, nonce: parts.next()?, verifier: parts.next()? })
    });
    let Some(attempt) = attempt.filter(|attempt| !attempt.state.is_empty() && query.get("state") == Some(&attempt.state)) else {
        return Ok(again("This sign-in was not begun in this browser, or took too long. Try again."));
    };
    if query.get("iss").is_some_and(|issuer| !provider.is_issuer(issuer)) {
        return Ok(again("This sign-in came back from another place than it was sent to. Try again."));
    }
    let Some(code) = query.get("code").cloned() else {
        return Ok(again("The sign-in was not completed. Try again, or sign in with a token."));
    };
    let exchanged = desk.app.with_provider(move |app| Ok(provider.exchange(&code, &attempt, &redirect, app.now()))).await?;
    let identity = match exchanged {
        Ok(identity) if identity.role == Role::Patient => identity,
        Ok(_) => {
            desk.app.record_unknown("GET /me/sign-in/return".to_owned(), "signed in, and no patient").await?;
            return Ok(again("You are no patient by what the identity provider says. This page shows patients who read their own data."));
        }
        Err(error @ (SignInError::Provider(_) | SignInError::Secret(_))) => return Err(desk.app.not_signed_in(&error).into()),
        Err(error) => {
            tracing::info!(%error, "a sign-in was refused");
            desk.app.record_unknown("GET /me/sign-in/return".to_owned(), "the sign-in was refused").await?;
            return Ok(again("The sign-in was refused. Try again, or sign in with a token."));
        }
    };
    begin_session(&desk, &visit, identity).await
}

/// The session that a token gives, under a token that is issued for it.
async fn begin_session(desk: &Desk, visit: &Visit, identity: Identity) -> Result<Response, Refused> {
    let user = identity.user.clone();
    let token = desk.app.with_provider(move |app| app.token_for(&identity)).await?;
    desk.app.identify(Some(&token), visit.peer.as_ref(), || "GET /me/sign-in/return".to_owned()).await?;
    desk.sessions.end(&visit.headers);
    let secret = desk.sessions.begin(&user, &token, desk.app.now());
    // The session's cookie does not go with a request that another site has begun: this answer is a page, which goes on by itself.
    let mut response = with_cookie(desk, &secret, page::come_in(desk.frame).into_response());
    response.headers_mut().append(REFRESH, HeaderValue::from_static("0; url=/me"));
    if let Some(cookie) = set_cookie(desk, "") {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    debug_assert_eq!(HOME, "/me");
    Ok(response)
}
