//! SMART App Launch 2.x for backend services: tokens for signed assertions (RFC 6749, RFC 7523), and where clients learn of it.
//!
//! Errors here are those of RFC 6749, section 5.2, with a description that says what to do. What a token may is decided elsewhere
//! (`scopes`, and the kernel's writes).

use super::headers;
use super::routes::{Caller, Doc, Routes};
use super::{ApiError, App, body};
use crate::access::{Client, ClientKeys, Granted};
use crate::limits::{ACCESS_TOKEN_VALID, MAX_TOKEN_FORM_BYTES, RETRY_AFTER_S};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use dugnad_kernel::access::{Act, Algorithm, Expected, Jwt, JwtError, KeySet, Scopes};
use dugnad_kernel::audit::Act as Entered;
use dugnad_kernel::limits::ASSERTION_LIFE;
use dugnad_kernel::search::parse;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where tokens are issued.
const TOKEN: &str = "/auth/token";

/// Where clients find that out.
pub const CONFIGURATION: &str = "/fhir/.well-known/smart-configuration";

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let configuration = Doc {
        description: "SMART App Launch 2.x: the token endpoint, and what it takes.",
        answer: &["application/json"],
        ..Doc::new("FHIR", "smartConfiguration", "How backend services get a token")
    };
    let token = Doc {
        description: "`grant_type=client_credentials` with `client_assertion` (a JWT that the client has signed with RS384 or ES384: `iss` and `sub` its id, `aud` this address, `exp` at most five minutes ahead, a `jti` of its own) and `scope` (SMART 2 or 1). Errors are those of RFC 6749.",
        caller: Caller::Anybody,
        body: Some("application/x-www-form-urlencoded"),
        answer: &["application/json"],
        statuses: &[
            (200, "`access_token`, `expires_in` and the `scope` that it has"),
            (400, "`invalid_request`, `invalid_scope`, `unsupported_grant_type`"),
            (401, "`invalid_client`"),
            (503, "`temporarily_unavailable`: its keys cannot be fetched, or it asks too often"),
        ],
        ..Doc::new("OAuth", "token", "A short-lived token for a backend service")
    };
    routes.add(Method::GET, CONFIGURATION, configuration, configured).add(Method::POST, TOKEN, token, issue)
}

async fn configured(State(app): State<App>, headers: HeaderMap) -> Json<Value> {
    let base = headers::origin(&headers, app.settings());
    Json(json!({
        "token_endpoint": format!("{base}{TOKEN}"),
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": Algorithm::OF_CLIENTS.map(Algorithm::name),
        "grant_types_supported": ["client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["system/*.cruds", "system/*.rs", "system/*.read", "system/*.write", "system/*.*"],
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    }))
}

/// Why no token is given (RFC 6749, section 5.2).
#[derive(Debug)]
enum Refusal {
    Request(String),
    Client(String),
    Scope(String),
    Grant,
    /// And after how many seconds to try again.
    Unavailable(String, u64),
    /// Something that is no fault of the client's.
    Failed(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl From<crate::access::AccessError> for Refusal {
    fn from(error: crate::access::AccessError) -> Self {
        Self::Failed(ApiError::internal(&error.to_string()))
    }
}

impl From<JwtError> for Refusal {
    fn from(error: JwtError) -> Self {
        Self::Client(format!("the client_assertion is not taken: {error}"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let mut retry_after = None;
        let (status, error, what) = match self {
            Self::Failed(failed) => {
                retry_after = failed.headers.iter().find(|(name, _)| *name == header::RETRY_AFTER).map(|(_, value)| value.clone());
                let error = match failed.status.as_u16() {
                    503 => "temporarily_unavailable",
                    500.. => "server_error",
                    _ => "invalid_request",
                };
                (failed.status, error, failed.issues.into_iter().map(|issue| issue.diagnostics).next().unwrap_or_default())
            }
            Self::Request(what) => (StatusCode::BAD_REQUEST, "invalid_request", what),
            Self::Client(what) => (StatusCode::UNAUTHORIZED, "invalid_client", what),
            Self::Scope(what) => (StatusCode::BAD_REQUEST, "invalid_scope", what),
            Self::Grant => {
                let what = "the only grant_type here is client_credentials; people sign in with their provider";
                (StatusCode::BAD_REQUEST, "unsupported_grant_type", what.to_owned())
            }
            Self::Unavailable(what, seconds) => {
                retry_after = Some(HeaderValue::from(seconds));
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", what)
            }
        };
        // RFC 6749, section 5.2, allows ASCII without `"` and `\` in a description.
        let plain = |c: char| if c == '"' || c == '\\' { '\'' } else { c };
        let what: String = what.chars().filter(|c| (' '..='~').contains(c)).map(plain).collect();
        let mut response = (status, Json(json!({"error": error, "error_description": what}))).into_response();
        response.headers_mut().extend(retry_after.map(|value| (header::RETRY_AFTER, value)));
        response
    }
}

/// A request for a token, read.
struct Asked {
    assertion: String,
    scope: String,
    client_id: Option<String>,
}

impl Asked {
    fn read(headers: &HeaderMap, form: &[u8]) -> Result<Self, Refusal> {
        let wrong = |what: &str| Refusal::Request(what.to_owned());
        if headers.contains_key(header::AUTHORIZATION) {
            return Err(wrong("a client shows who it is with client_assertion alone; leave the header Authorization out"));
        }
        let text = std::str::from_utf8(form).map_err(|_| wrong("the form is not UTF-8"))?;
        let mut fields = BTreeMap::new();
        for (name, value) in
            parse::pairs(text).map_err(|_| wrong("the form cannot be read; encode it as application/x-www-form-urlencoded"))?
        {
            if fields.insert(name, value).is_some() {
                return Err(wrong("a field of the form is there twice"));
            }
        }
        match fields.get("grant_type").map(String::as_str) {
            Some("client_credentials") => {}
            Some(_) => return Err(Refusal::Grant),
            None => return Err(wrong("grant_type=client_credentials is missing")),
        }
        if fields.get("client_assertion_type").map(String::as_str) != Some(JWT_BEARER) {
            return Err(Refusal::Client(format!("a client shows who it is with client_assertion_type={JWT_BEARER} and client_assertion")));
        }
        let assertion = fields.remove("client_assertion").ok_or_else(|| Refusal::Client("client_assertion is missing".to_owned()))?;
        let scope = fields.remove("scope").unwrap_or_default();
        Ok(Self { assertion, scope, client_id: fields.remove("client_id") })
    }
}

async fn issue(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Response<Body>, Refusal> {
    let form = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(|v| headers::media_type(v).0);
    if form.as_deref() != Some("application/x-www-form-urlencoded") {
        return Err(Refusal::Request("send a form: Content-Type: application/x-www-form-urlencoded".to_owned()));
    }
    let (bytes, claim) = body::read(&app, &headers, body, MAX_TOKEN_FORM_BYTES).await?.into_parts();
    let audiences = audiences(&app, &headers)?;
    // Whoever it is, the attempt is on the record; how many of strangers are, is bounded.
    let granted = app
        .with_clients(move |app| {
            let _claim = claim;
            app.check_log()?;
            let asked = match Asked::read(&headers, &bytes) {
                Ok(asked) => asked,
                Err(refusal) => return Ok(Err((refusal, None))),
            };
            let mut known = None;
            Ok(grant(app, &asked, &audiences, &mut known).map_err(|refusal| (refusal, known)))
        })
        .await?;
    match granted {
        Ok((token, client, scopes)) => {
            let scope = scopes.to_string();
            let entry = app.client_entry(Entered::Login, &client, &format!("POST {TOKEN} ({scope})"), None);
            app.record(entry).await?;
            let seconds = ACCESS_TOKEN_VALID.as_secs();
            let answer = json!({"access_token": token, "token_type": "bearer", "expires_in": seconds, "scope": scope});
            let mut response = Json(answer).into_response();
            response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
            Ok(response)
        }
        Err((refusal, known)) => {
            app.record_refused_client(&refusal, known.as_ref()).await?;
            Err(refusal)
        }
    }
}

/// What assertions may name as this server: one that was made for another server, and is sent on by it, must not do.
fn audiences(app: &App, headers: &HeaderMap) -> Result<Vec<String>, Refusal> {
    let what = "this server has not been told its own address, which assertions must name; the centre sets `public_url` in its settings";
    let origin = headers::sure_origin(headers, app.settings()).ok_or_else(|| Refusal::Unavailable(what.to_owned(), RETRY_AFTER_S))?;
    Ok(vec![format!("{origin}{TOKEN}")])
}

/// Verifies an assertion and gives a token for it. Blocks. `known` is who has signed it, if it is good now and for the first time: what
/// anybody can send again is recorded as a stranger's, within bounds.
fn grant(app: &App, asked: &Asked, audiences: &[String], known: &mut Option<Client>) -> Result<(String, Client, Scopes), Refusal> {
    let jwt = Jwt::read(&asked.assertion, &Algorithm::OF_CLIENTS)?;
    let id = jwt.claimed_issuer().ok_or(JwtError::Claim("iss", "is absent"))?;
    let unknown = || Refusal::Client("this client is not registered here, or was revoked; ask the centre".to_owned());
    let client = app.tokens().client(&id)?.ok_or_else(unknown)?;
    if asked.client_id.as_ref().is_some_and(|sent| *sent != client.id) {
        return Err(Refusal::Client("client_id is not the client of the assertion; leave it out".to_owned()));
    }
    let keys = keys(app, &client, jwt.kid())?;
    let claims = jwt.verify(&keys)?;
    let expected = Expected { issuer: &client.id, audiences, now: app.now() };
    let (jti, until) = claims.assertion(&expected).map_err(|error| match error {
        JwtError::Claim("aud", _) => {
            Refusal::Client(format!("the client_assertion is not taken: {error}; it must be {}", audiences.concat()))
        }
        error => error.into(),
    })?;
    let scopes = Scopes::parse(&asked.scope).and_then(|scopes| scopes.within(&client.scopes)).map_err(|e| Refusal::Scope(e.to_string()))?;
    *known = Some(client.clone());
    match app.tokens().grant(&client, jti, until, &scopes)? {
        Granted::Token(token) => Ok((token, client, scopes)),
        Granted::Revoked => Err(unknown()),
        Granted::Replayed => {
            *known = None;
            Err(Refusal::Client("this assertion has been used before; sign one for each request".to_owned()))
        }
        Granted::TooMany => {
            let what = "too many tokens in the last minutes; one is good for many requests".to_owned();
            Err(Refusal::Unavailable(what, ASSERTION_LIFE.as_secs()))
        }
    }
}

fn keys(app: &App, client: &Client, kid: Option<&str>) -> Result<Arc<KeySet>, Refusal> {
    match &client.keys {
        ClientKeys::Set(json) => {
            let set = KeySet::parse(json.as_bytes());
            set.map(Arc::new).map_err(|e| Refusal::Failed(ApiError::internal(&format!("a stored key set: {e}"))))
        }
        ClientKeys::Url(url) => app.key_sets().get(url, kid).map_err(|error| {
            tracing::warn!(%error, client = %client.id, "the keys of a client cannot be had");
            let what = "the client's key set cannot be fetched from where it is registered; mend that, and try again";
            Refusal::Unavailable(what.to_owned(), RETRY_AFTER_S)
        }),
    }
}

impl App {
    fn client_entry(&self, act: Entered, client: &Client, request: &str, outcome: Option<&str>) -> dugnad_kernel::audit::Entry {
        let mut entry = super::work::blank_entry(self.now(), act);
        entry.interface = Some("http".to_owned());
        entry.user = client.user();
        entry.role = crate::access::Role::Hospital.name().to_owned();
        entry.holder = Some(client.holder.clone());
        entry.request = Some(request.to_owned());
        entry.outcome = outcome.map(str::to_owned);
        entry
    }

    /// Puts on the record that no token was given; what was sent is not in it.
    async fn record_refused_client(&self, refusal: &Refusal, known: Option<&Client>) -> Result<(), ApiError> {
        let outcome = match refusal {
            Refusal::Failed(_) | Refusal::Unavailable(..) => return Ok(()),
            Refusal::Request(_) | Refusal::Grant => "not a request for a token",
            Refusal::Client(_) => "the client could not be authenticated",
            Refusal::Scope(_) => "the scopes are not given",
        };
        match known {
            Some(client) => {
                self.record(self.client_entry(Entered::Refusal, client, &format!("POST {TOKEN}"), Some(outcome))).await.map(drop)
            }
            None => self.record_unknown(format!("POST {TOKEN}"), outcome).await,
        }
    }
}

/// What a scope would have to be for an act on a type, as a client asks for it.
pub fn needed(act: Act, resource_type: &str) -> String {
    format!("system/{resource_type}.{}", act.letter())
}
