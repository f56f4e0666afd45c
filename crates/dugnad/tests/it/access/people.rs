//! People of an identity provider: access tokens on the API, and the sign-in of patients. The provider here signs whatever a test wants.

use super::{Signer, encoded};
use crate::support::{Answer, Hospital, Server};
use axum::body::Body;
use axum::http::Request;
use dugnad::access::{ProviderSettings, Role};
use dugnad::api::{self, Settings};
use dugnad::web;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const AUDIENCE: &str = "https://dugnad.example.no";
const SYSTEM: &str = "urn:oid:2.16.578.1.12.4.1.4.1";

/// What the provider answers at its token endpoint, and what it was sent there.
#[derive(Default)]
struct Exchange {
    id_token: String,
    form: String,
}

struct IdentityProvider {
    issuer: String,
    signer: Arc<Signer>,
    exchange: Arc<Mutex<Exchange>>,
}

/// A provider on a port of its own. It ends with the test's process.
fn provide() -> IdentityProvider {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let (signer, exchange) = (Arc::new(Signer::new("k1")), Arc::new(Mutex::new(Exchange::default())));
    let (named, keys, told) = (issuer.clone(), signer.jwks(), Arc::clone(&exchange));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut form = vec![0; length];
            reader.read_exact(&mut form).unwrap();
            let body = match head.split(' ').nth(1).unwrap() {
                "/.well-known/openid-configuration" => json!({"issuer": named, "authorization_endpoint": format!("{named}/authorize"),
                    "token_endpoint": format!("{named}/token"), "jwks_uri": format!("{named}/jwks")})
                .to_string(),
                "/jwks" => keys.clone(),
                _ => {
                    let mut exchange = told.lock().unwrap();
                    exchange.form = String::from_utf8(form).unwrap();
                    json!({"access_token": "x", "token_type": "bearer", "id_token": exchange.id_token}).to_string()
                }
            };
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            _ = reader.get_mut().write_all(format!("{head}{body}").as_bytes());
        }
    });
    IdentityProvider { issuer, signer, exchange }
}

/// The server with that provider.
fn with_provider(server: &mut Server, issuer: &str) {
    let oidc: ProviderSettings =
        serde_json::from_value(json!({"issuer": issuer, "client_id": "dugnad", "audience": AUDIENCE, "user": "name", "rules": [
            {"claim": "groups", "value": "hdab", "role": "centre"},
            {"claim": "groups", "value": "epj", "role": "hospital", "holder": "Haukeland"},
            {"claim": "pid", "role": "patient", "system": SYSTEM},
        ]}))
        .unwrap();
    oidc.check().unwrap();
    let app = server.local.app(Settings { oidc: Some(oidc), ..Settings::default() });
    server.router = api::router(app.clone(), web::served(&app));
}

impl IdentityProvider {
    fn claims(&self, audience: &str, more: Value) -> Value {
        let now = Timestamp::now().as_second();
        let mut claims = json!({"iss": self.issuer, "sub": "1", "aud": audience, "exp": now + 300, "iat": now});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    }

    fn token(&self, more: Value) -> String {
        self.signer.sign(&self.signer.header(), &self.claims(AUDIENCE, more))
    }
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.send(request.body(Body::empty()).unwrap()).await
}

async fn with_token(server: &Server, path: &str, token: &str) -> Answer {
    get(server, path, &[("Authorization", &format!("Bearer {token}"))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_of_the_provider_is_who_the_rules_say() {
    let (mut server, provider) = (Server::open(), provide());
    with_provider(&mut server, &provider.issuer);
    let centre = provider.token(json!({"name": "kari", "groups": ["hdab"]}));
    with_token(&server, "/metrics", &centre).await.expect(200);
    let log = String::from_utf8(with_token(&server, "/audit/log", &centre).await.expect(200).body).unwrap();
    assert!(log.contains("kari"), "{log}");
    let hospital = provider.token(json!({"name": "ola", "groups": ["epj"]}));
    with_token(&server, "/fhir/Patient", &hospital).await.expect(200);
    with_token(&server, "/metrics", &hospital).await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_for_here_is_nobodys() {
    let (mut server, provider, other) = (Server::open(), provide(), provide());
    with_provider(&mut server, &provider.issuer);
    let now = Timestamp::now().as_second();
    let kari = json!({"name": "kari", "groups": ["hdab"]});
    let with = |name: &str, value: Value| {
        let mut more = kari.clone();
        more[name] = value;
        provider.token(more)
    };
    let unsigned = |alg: &str| {
        let header = encoded(json!({"alg": alg, "kid": "k1"}).to_string().as_bytes());
        format!("{header}.{}", encoded(provider.claims(AUDIENCE, kari.clone()).to_string().as_bytes()))
    };
    let message = unsigned("HS256");
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, provider.signer.jwks().as_bytes());
    let hmac = format!("{message}.{}", encoded(ring::hmac::sign(&secret, message.as_bytes()).as_ref()));
    for (what, token) in [
        ("no signature", format!("{}.", unsigned("none"))),
        ("HMAC with the public key", hmac),
        ("another provider's", other.token(kari.clone())),
        ("another provider's, in this one's name", other.signer.sign(&other.signer.header(), &provider.claims(AUDIENCE, kari.clone()))),
        ("for another server", with("aud", json!("https://other.example"))),
        ("an ID token", with("aud", json!("dugnad"))),
        ("expired", with("exp", json!(now - 60))),
        ("without an end", with("exp", Value::Null)),
        ("not yet", with("nbf", json!(now + 600))),
        ("garbage", "a.b.c".to_owned()),
    ] {
        assert_eq!(with_token(&server, "/metrics", &token).await.status.as_u16(), 401, "{what}");
    }
    for (what, token) in [
        ("whom no rule fits", with("groups", json!(["guests"]))),
        ("without a name", with("name", Value::Null)),
        ("a client's name", with("name", json!("client:lab"))),
    ] {
        let answer = with_token(&server, "/metrics", &token).await;
        assert_eq!(answer.status.as_u16(), 403, "{what}");
        assert!(answer.json().to_string().contains("no rule"), "{what}");
    }
    let kari = provider.token(kari);
    let log = String::from_utf8(with_token(&server, "/audit/log", &kari).await.expect(200).body).unwrap();
    assert_eq!(log.matches("no rule fits").count(), 3, "{log}");
}

/// Their tokens end within minutes; what they have asked for goes on, for as long as it says, until the centre revokes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_hospitals_person_stands_behind_what_goes_on_without_them() {
    let (mut server, provider) = (Server::open(), provide());
    with_provider(&mut server, &provider.issuer);
    let ola = Hospital { server: &server, token: provider.token(json!({"name": "ola", "groups": ["epj"]})) };
    let holds = || server.local.tokens.holds("ola", Role::Hospital, "Haukeland").unwrap();
    ola.get("/fhir/Patient").await.expect(200);
    assert!(!holds(), "a read leaves nothing behind");
    let subscription = json!({
        "resourceType": "Subscription", "id": "s", "status": "off", "reason": "a test", "criteria": "Observation?status=final",
        "channel": {"type": "rest-hook", "endpoint": "https://example.org/hook"},
    });
    ola.put("/fhir/Subscription/s", &subscription).await.expect(201);
    assert!(holds());
    server.local.tokens.revoke("ola").unwrap();
    assert!(!holds());
    let line = json!({"resourceType": "Basic", "id": "b", "code": {"text": "x"}}).to_string();
    let begun = ola.send("POST", "/fhir/$import", &[("Content-Type", "application/fhir+ndjson")], line).await.expect(202);
    let address = begun.header("content-location").unwrap().strip_prefix("http://localhost").unwrap().to_owned();
    let done = loop {
        let answer = ola.get(&address).await;
        if answer.status.as_u16() != 202 {
            break answer.expect(200).json();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((done["output"][0]["count"].as_u64(), &done["error"]), (Some(1), &json!([])), "{done}");
    ola.get("/fhir/Basic/b").await.expect(200);
    // Others' tokens stand for themselves.
    server.local.tokens.revoke("ola").unwrap();
    server.hospital("Haukeland").put("/fhir/Subscription/s", &subscription).await.expect(200);
    assert!(!holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_lets_nobody_in() {
    let (mut server, provider) = (Server::open(), provide());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    with_provider(&mut server, &format!("http://{closed}"));
    let mut claims = provider.claims(AUDIENCE, json!({"name": "kari", "groups": ["hdab"]}));
    claims["iss"] = format!("http://{closed}").into();
    let token = provider.signer.sign(&provider.signer.header(), &claims);
    for _ in 0..3 {
        let answer = with_token(&server, "/metrics", &token).await.expect(503);
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(get(&server, "/me/sign-in/provider", &[]).await.status.as_u16(), 503);
    // The centre's own tokens need no provider.
    let own = server.token(dugnad::access::Role::Centre, "centre", None);
    with_token(&server, "/metrics", &own).await.expect(200);
}

/// What a browser has of a sign-in that was begun.
struct Begun {
    cookie: String,
    parameters: Vec<(String, String)>,
}

impl Begun {
    fn parameter(&self, name: &str) -> &str {
        &self.parameters.iter().find(|(n, _)| n == name).unwrap().1
    }
}

async fn begin(server: &Server) -> Begun {
    let answer = get(server, "/me/sign-in/provider", &[]).await.expect(303);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/me/sign-in;"), "{cookie}");
    let (_, query) = answer.header("location").unwrap().split_once("/authorize?").unwrap();
    Begun { cookie: cookie.split(';').next().unwrap().to_owned(), parameters: dugnad_kernel::search::parse::pairs(query).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_signs_in_and_is_bound_to_their_own_data() {
    let (mut server, provider) = (Server::open(), provide());
    with_provider(&mut server, &provider.issuer);
    let national = "01817010055"; // a month beyond 80: made for tests, and nobody's
    let patient = json!({"resourceType": "Patient", "id": "p", "identifier": [{"system": SYSTEM, "value": national}]});
    server.hospital("Haukeland").put("/fhir/Patient/p", &patient).await.expect(201);
    let begun = begin(&server).await;
    assert_eq!((begun.parameter("response_type"), begun.parameter("code_challenge_method")), ("code", "S256"));
    assert_eq!(begun.parameter("redirect_uri"), "http://localhost/me/sign-in/return");
    let id_token = |nonce: &str, more: Value| {
        let mut claims = provider.claims("dugnad", json!({"name": "li", "pid": national, "nonce": nonce}));
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        provider.signer.sign(&provider.signer.header(), &claims)
    };
    let right = id_token(begun.parameter("nonce"), json!({}));
    provider.exchange.lock().unwrap().id_token = right.clone();
    let back = format!("/me/sign-in/return?code=c1&state={}", begun.parameter("state"));
    // Another browser, another state, a wrong nonce, another audience, another party, no patient: none of them comes in.
    get(&server, &back, &[]).await.expect(403);
    get(&server, "/me/sign-in/return?code=c1&state=x", &[("Cookie", &begun.cookie)]).await.expect(403);
    get(&server, "/me/sign-in/return?code=c1&state=", &[("Cookie", "dugnad_sign_in=..")]).await.expect(403);
    get(&server, &format!("{back}&iss=https://evil.example"), &[("Cookie", &begun.cookie)]).await.expect(403);
    get(&server, &back.replace("code=c1", "error=access_denied"), &[("Cookie", &begun.cookie)]).await.expect(403);
    for wrong in [
        id_token("another", json!({})),
        id_token(begun.parameter("nonce"), json!({"aud": AUDIENCE})),
        id_token(begun.parameter("nonce"), json!({"azp": "other"})),
        id_token(begun.parameter("nonce"), json!({"aud": ["dugnad", "other"]})),
        id_token(begun.parameter("nonce"), json!({"exp": 1})),
        id_token(begun.parameter("nonce"), json!({"groups": ["hdab"]})),
        "garbage".to_owned(),
    ] {
        provider.exchange.lock().unwrap().id_token = wrong.clone();
        let answer = get(&server, &back, &[("Cookie", &begun.cookie)]).await;
        assert_eq!(answer.status.as_u16(), 403, "{wrong}");
        assert!(!answer.headers.get_all("set-cookie").iter().any(|c| c.to_str().unwrap().starts_with("dugnad_me")));
    }
    provider.exchange.lock().unwrap().id_token = right;
    let come_in = get(&server, &back, &[("Cookie", &begun.cookie)]).await.expect(200);
    let session = come_in.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap()).find(|c| c.starts_with("dugnad_me=")).unwrap();
    assert!(session.contains("SameSite=Strict"), "the session that a token gives: {session}");
    let form = provider.exchange.lock().unwrap().form.clone();
    let sent = dugnad_kernel::search::parse::pairs(&form).unwrap();
    let verifier = &sent.iter().find(|(name, _)| name == "code_verifier").unwrap().1;
    assert_eq!(encoded(&Sha256::digest(verifier)), begun.parameter("code_challenge"));
    let home = get(&server, "/me", &[("Cookie", session.split(';').next().unwrap())]).await.expect(200);
    assert!(!String::from_utf8(home.body).unwrap().contains("not bound"), "the national identifier has found the Patient");
    assert_eq!(server.local.tokens.subject("li").unwrap(), Some(("Haukeland".to_owned(), "p".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider_there_is_no_such_sign_in() {
    let server = Server::open();
    get(&server, "/me/sign-in/provider", &[]).await.expect(404);
    get(&server, "/me/sign-in/return?code=c&state=s", &[]).await.expect(404);
    assert!(!String::from_utf8(get(&server, "/me/sign-in", &[]).await.expect(200).body).unwrap().contains("identity provider"));
}
