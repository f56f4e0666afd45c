//! `/me`: the patient's own page. Who read their data, with proofs; opting out and back in; the consents that stand for them.
//!
//! A patient signs in with their token, or with the centre's identity provider. Nothing here needs a script. Every form carries what only this session's pages know, and is
//! taken from a page of this server only.

mod page;
mod provider;
mod session;

use super::assets;
use super::pages::Pages;
use crate::access::{Principal, Role};
use crate::api::{ApiError, App, Peer, body, mine};
use crate::limits::MAX_FORM_BYTES;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use dugnad_kernel::search::parse;
use maud::Markup;
use page::Frame;
use session::{Session, Sessions};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

const HOME: &str = "/me";
const SIGN_IN: &str = "/me/sign-in";

/// The pages, and who is signed in.
#[derive(Clone)]
struct Desk {
    app: App,
    sessions: Arc<Sessions>,
    frame: Frame,
}

/// Adds the pages.
pub(super) fn add(pages: Pages, app: &App, synthetic: bool) -> Pages {
    let desk = Desk { app: app.clone(), sessions: Arc::default(), frame: Frame::of(synthetic) };
    let router = Router::new()
        .route(HOME, get(home))
        .route(SIGN_IN, get(sign_in_form).post(sign_in))
        .route(provider::BEGIN, get(provider::begin))
        .route(provider::RETURN, get(provider::end))
        .route("/me/sign-out", post(sign_out))
        .route("/me/opt-out", post(opt_out))
        .route("/me/accesses/{entry}", get(access))
        .route("/me/accesses/{entry}/proof", get(proof))
        .layer(map_response_with_state(desk.frame, explained))
        .with_state(desk);
    let all = [
        (Method::GET, HOME),
        (Method::GET, SIGN_IN),
        (Method::POST, SIGN_IN),
        (Method::GET, provider::BEGIN),
        (Method::GET, provider::RETURN),
        (Method::POST, "/me/opt-out"),
        (Method::GET, "/me/accesses/{entry}"),
        (Method::GET, "/me/accesses/{entry}/proof"),
        (Method::POST, "/me/sign-out"),
    ];
    pages.add(&all, assets::secured_with_forms(router))
}

/// What is answered instead of a page.
enum Refused {
    /// Nobody is signed in.
    SignIn,
    /// Something else.
    Problem(ApiError),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Problem(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn => see(SIGN_IN),
            Self::Problem(error) => error.into_response(), // `explained` makes a page of it
        }
    }
}

/// Errors as pages.
async fn explained(State(frame): State<Frame>, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    match parts.extensions.remove::<Arc<ApiError>>() {
        Some(error) => (parts.status, page::problem(frame, &error)).into_response(),
        None => Response::from_parts(parts, body),
    }
}

/// On to another page, which is read with `GET`.
fn see(place: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static(place))]).into_response()
}

/// What of a request says who sent it.
struct Visit {
    headers: HeaderMap,
    peer: Option<Peer>,
}

impl Visit {
    fn of(parts: &Parts) -> Self {
        Self { headers: parts.headers.clone(), peer: parts.extensions.get::<Peer>().copied() }
    }
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

/// The patient who is signed in, and their session.
async fn signed_in(desk: &Desk, visit: &Visit, request: &str) -> Result<(Principal, Session), Refused> {
    let session = desk.sessions.find(&visit.headers, desk.app.now()).ok_or(Refused::SignIn)?;
    match desk.app.identify(Some(&session.token), visit.peer.as_ref(), || request.to_owned()).await {
        Ok(who) => Ok((who, session)),
        Err(error) if error.status == StatusCode::UNAUTHORIZED => {
            desk.sessions.end(&visit.headers);
            Err(Refused::SignIn)
        }
        Err(error) => Err(error.into()),
    }
}

/// The fields of a form that a page of this server sent.
async fn form(desk: &Desk, request: Request) -> Result<(Visit, HashMap<String, String>), Refused> {
    let (parts, body) = request.into_parts();
    let visit = Visit::of(&parts);
    if !session::is_own(&visit.headers) {
        return Err(ApiError::forbidden("this form did not come from a page of this server; open the page and send it from there").into());
    }
    let (bytes, _held) = body::read(&desk.app, &visit.headers, body, MAX_FORM_BYTES).await?.into_parts();
    let text = String::from_utf8(bytes).unwrap_or_default();
    let pairs = parse::pairs(&text).map_err(|_| ApiError::forbidden("the form cannot be read; open the page again"))?;
    Ok((visit, pairs.into_iter().collect()))
}

async fn home(State(desk): State<Desk>, Query(query): Query<HashMap<String, String>>, visit: Visit) -> Result<Markup, Refused> {
    let (who, session) = signed_in(&desk, &visit, "GET /me").await?;
    let before = query.get("before").and_then(|before| before.parse().ok()).unwrap_or(u64::MAX);
    let place = desk.app.enter_reads().await?;
    let asking = who.clone();
    let mine = desk.app.on_thread(place, move |app| mine::mine(app, &asking, before)).await?;
    Ok(match mine {
        Some(mine) => page::home(desk.frame.signed_in(), &who.user, &mine, &session.csrf, before != u64::MAX, desk.app.settings().opt_outs),
        None => page::unknown(desk.frame.signed_in()),
    })
}

async fn sign_in_form(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    if desk.sessions.find(&headers, desk.app.now()).is_some() {
        see(HOME)
    } else {
        page::sign_in(desk.frame, None, desk.app.provider().is_some()).into_response()
    }
}

async fn sign_in(State(desk): State<Desk>, request: Request) -> Result<Response, Refused> {
    let (visit, fields) = form(&desk, request).await?;
    let token = fields.get("token").map(|token| token.trim()).unwrap_or_default();
    let again = |what: &str| (StatusCode::FORBIDDEN, page::sign_in(desk.frame, Some(what), desk.app.provider().is_some())).into_response();
    let who = match desk.app.identify(Some(token), visit.peer.as_ref(), || "POST /me/sign-in".to_owned()).await {
        Ok(who) => who,
        Err(error) if error.status == StatusCode::UNAUTHORIZED => {
            return Ok(again("This token is not known, has expired, or was revoked. Ask for a new one."));
        }
        Err(error) => return Err(error.into()),
    };
    if who.role != Role::Patient {
        let refused = desk.app.refuse(&who, "POST /me/sign-in".to_owned(), "this page is for patients").await;
        let what = "This token is not a patient’s. This page shows patients who read their own data.";
        return if refused.status == StatusCode::FORBIDDEN { Ok(again(what)) } else { Err(refused.into()) };
    }
    // Whoever was signed in with this browser is not any more.
    desk.sessions.end(&visit.headers);
    let secret = desk.sessions.begin(&who.user, token, desk.app.now());
    Ok(with_cookie(&desk, &secret, see(HOME)))
}

async fn sign_out(State(desk): State<Desk>, request: Request) -> Result<Response, Refused> {
    let (visit, _) = form(&desk, request).await?;
    desk.sessions.end(&visit.headers);
    Ok(with_cookie(&desk, "", see(SIGN_IN)))
}

fn with_cookie(desk: &Desk, secret: &str, mut response: Response) -> Response {
    let https = desk.app.settings().is_https();
    if let Ok(cookie) = HeaderValue::from_str(&session::set_cookie(secret, https)) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

async fn opt_out(State(desk): State<Desk>, request: Request) -> Result<Response, Refused> {
    let (visit, fields) = form(&desk, request).await?;
    let (who, session) = signed_in(&desk, &visit, "POST /me/opt-out").await?;
    if fields.get("csrf") != Some(&session.csrf) {
        return Err(ApiError::forbidden("this form is of an earlier visit; open your page again and send it from there").into());
    }
    let out = match fields.get("opt").map(String::as_str) {
        Some("out") => true,
        Some("in") => false,
        _ => return Err(ApiError::forbidden("the form does not say whether to opt out; open your page again").into()),
    };
    mine::opt(desk.app.clone(), who, out).await?;
    Ok(see(HOME))
}

async fn found(desk: &Desk, entry: u64, visit: &Visit) -> Result<serde_json::Value, Refused> {
    let (who, _) = signed_in(desk, visit, "GET /me/accesses/{entry}").await?;
    let place = desk.app.enter_reads().await?;
    let access = desk.app.on_thread(place, move |app| mine::access(app, &who, entry)).await?;
    access.ok_or_else(|| ApiError::not_found("there is no such access to your data").into())
}

async fn access(State(desk): State<Desk>, Path(entry): Path<u64>, visit: Visit) -> Result<Markup, Refused> {
    let access = found(&desk, entry, &visit).await?;
    Ok(page::access(desk.frame.signed_in(), &access, &desk.app.audit().verifier_key().to_string()))
}

/// The proof as a file, for `dugnad audit check`.
async fn proof(State(desk): State<Desk>, Path(entry): Path<u64>, visit: Visit) -> Result<Response, Refused> {
    let access = found(&desk, entry, &visit).await?;
    let proof = access.get("proof").filter(|proof| !proof.is_null());
    let proof = proof.ok_or_else(|| ApiError::not_found("the entry is not in a signed checkpoint yet; try again in some seconds"))?;
    let mut response = Response::new(Body::from(proof.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"proof-{entry}.json\"")) {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}
