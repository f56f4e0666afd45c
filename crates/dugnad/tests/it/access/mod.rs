//! Who may: backend services with their assertions and scopes, people of an identity provider.

mod keys;
mod people;
mod scopes;
mod tokens;

use crate::support::{Answer, Hospital, Server};
use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dugnad::access::{Client, ClientKeys};
use dugnad_kernel::access::Scopes;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// What the servers of tests are called by those who send no `Host`.
pub const TOKEN_URL: &str = "http://localhost/auth/token";

pub fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Somebody with a key on P-384.
pub struct Signer {
    pair: EcdsaKeyPair,
    pub kid: &'static str,
}

impl Signer {
    pub fn new(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key.as_ref(), &random).unwrap();
        Self { pair, kid }
    }

    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-384", "kid": self.kid, "use": "sig", "x": encoded(&point[1..49]), "y": encoded(&point[49..])})
    }

    pub fn jwks(&self) -> String {
        json!({"keys": [self.jwk()]}).to_string()
    }

    pub fn header(&self) -> Value {
        json!({"alg": "ES384", "typ": "JWT", "kid": self.kid})
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encoded(signature.as_ref()))
    }

    /// A right assertion of the client `id`, with an id that no other has.
    pub fn assertion(&self, id: &str) -> String {
        self.sign(&self.header(), &claims(id))
    }
}

/// The claims of a right assertion.
pub fn claims(id: &str) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let jti = format!("jti-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    json!({"iss": id, "sub": id, "aud": TOKEN_URL, "exp": Timestamp::now().as_second() + 240, "jti": jti})
}

pub fn register(server: &Server, id: &str, holder: &str, keys: ClientKeys, scopes: &str) {
    let scopes = Scopes::parse(scopes).unwrap();
    let client = Client { id: id.into(), holder: holder.into(), keys, scopes, registered: Timestamp::now(), revoked: false };
    server.local.tokens.register(&client).unwrap();
}

/// `POST /auth/token` with these fields.
pub async fn post(server: &Server, fields: &[(&str, &str)]) -> Answer {
    let escaped = |text: &str| {
        text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect::<String>()
    };
    let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let request = Request::post("/auth/token").header("Content-Type", "application/x-www-form-urlencoded");
    server.send(request.body(Body::from(form.join("&"))).unwrap()).await
}

pub async fn ask(server: &Server, assertion: &str, scope: &str) -> Answer {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let fields = [("grant_type", "client_credentials"), ("client_assertion_type", kind), ("client_assertion", assertion), ("scope", scope)];
    post(server, &fields).await
}

/// A client of `holder` with a token that has these scopes.
pub async fn client<'s>(server: &'s Server, holder: &str, scopes: &str) -> Hospital<'s> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = format!("client-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let signer = Signer::new("k");
    register(server, &id, holder, ClientKeys::Set(signer.jwks()), "system/*.cruds");
    let given = ask(server, &signer.assertion(&id), scopes).await.expect(200).json();
    Hospital { server, token: given["access_token"].as_str().unwrap().to_owned() }
}
