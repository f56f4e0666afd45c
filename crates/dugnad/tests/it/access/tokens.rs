//! Tokens for assertions: what is right, and what an attacker would send.

use super::{Signer, ask, claims, client, encoded, post, register};
use crate::support::{Answer, Hospital, Server};
use dugnad::access::{ClientKeys, Role, Tokens};
use serde_json::{Value, json};

fn registered(server: &Server) -> Signer {
    let signer = Signer::new("k1");
    register(server, "lab", "Haukeland", ClientKeys::Set(signer.jwks()), "system/Observation.cruds system/Patient.rs");
    signer
}

#[track_caller]
fn refused(answer: &Answer, status: u16, error: &str) {
    let told = answer.json();
    assert_eq!((answer.status.as_u16(), told["error"].as_str()), (status, Some(error)), "{told}");
    assert!(told["error_description"].as_str().unwrap().len() > 20, "{told}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_service_reads_and_writes_for_its_hospital() {
    let server = Server::open();
    let signer = registered(&server);
    let configured = server.get("/fhir/.well-known/smart-configuration").await.expect(200).json();
    assert_eq!(configured["token_endpoint"], super::TOKEN_URL);
    let described = server.get("/fhir/metadata").await.expect(200).json();
    assert_eq!(described["rest"][0]["security"]["service"][0]["coding"][0]["code"], "SMART-on-FHIR");
    let answer = ask(&server, &signer.assertion("lab"), "system/*.read system/Observation.c").await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let given = answer.json();
    assert_eq!(given["token_type"], "bearer");
    assert_eq!(given["expires_in"], 300);
    assert_eq!(given["scope"], "system/Observation.crs system/Patient.rs", "what it may have of what it asked for");
    let token = given["access_token"].as_str().unwrap().to_owned();
    let client = Hospital { server: &server, token };
    let observation = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}});
    let created = client.post("/fhir/Observation", &[], &observation).await.expect(201).json();
    let path = format!("/fhir/Observation/{}", created["id"].as_str().unwrap());
    client.get(&path).await.expect(200);
    // It is the hospital's, and nobody else's.
    server.hospital("Haukeland").get(&path).await.expect(200);
    server.hospital("Ullevaal").get(&path).await.expect(404);
    let centre = server.token(Role::Centre, "centre", None);
    let log = Hospital { server: &server, token: centre }.get("/audit/log").await.expect(200);
    let log = String::from_utf8(log.body).unwrap();
    assert!(
        log.contains("client:lab") && log.contains("POST /fhir/Observation") && log.contains("registration of the client lab"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_assertion_of_a_registered_client_gives_no_token() {
    let server = Server::open();
    let (signer, other) = (registered(&server), Signer::new("k1"));
    register(&server, "other", "Ullevaal", ClientKeys::Set(other.jwks()), "system/*.cruds");
    let scope = "system/Observation.r";
    let changed = |name: &str, value: Value| {
        let mut claims = claims("lab");
        claims[name] = value;
        signer.sign(&signer.header(), &claims)
    };
    let now = jiff::Timestamp::now().as_second();
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "kid": "k1"}).to_string();
        format!("{}.{}", encoded(header.as_bytes()), encoded(claims("lab").to_string().as_bytes()))
    };
    let hmac = |alg: &str| {
        let message = unsigned(alg);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, signer.jwks().as_bytes());
        format!("{message}.{}", encoded(ring::hmac::sign(&key, message.as_bytes()).as_ref()))
    };
    for (what, assertion) in [
        ("no signature", format!("{}.", unsigned("none"))),
        ("HMAC with the public key", hmac("HS256")),
        ("HMAC under the name of ES384", hmac("ES384")),
        ("another's key", other.assertion("lab")),
        ("another's name", signer.assertion("other")),
        ("nobody's name", signer.assertion("nobody")),
        ("a kid that is not there", signer.sign(&json!({"alg": "ES384", "kid": "k2"}), &claims("lab"))),
        ("another server's", changed("aud", json!("https://other.example/auth/token"))),
        ("of an address beside it", changed("aud", json!("http://localhost/auth/token/"))),
        ("another subject", changed("sub", json!("other"))),
        ("expired", changed("exp", json!(now - 60))),
        ("too far ahead", changed("exp", json!(now + 3_600))),
        ("not yet", changed("nbf", json!(now + 3_600))),
        ("without an id", changed("jti", Value::Null)),
        ("garbage", "a.b.c".to_owned()),
    ] {
        let answer = ask(&server, &assertion, scope).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (401, &json!("invalid_client")), "{what}: {}", answer.json());
        refused(&answer, 401, "invalid_client");
    }
    ask(&server, &signer.assertion("lab"), scope).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_good_once() {
    let server = Server::open();
    let signer = registered(&server);
    let assertion = signer.assertion("lab");
    ask(&server, &assertion, "system/Observation.r").await.expect(200);
    refused(&ask(&server, &assertion, "system/Observation.r").await, 401, "invalid_client");
    // After a restart too.
    let server = server.restarted(std::sync::Arc::new(dugnad_kernel::clock::SystemClock));
    refused(&ask(&server, &assertion, "system/Observation.r").await, 401, "invalid_client");
    // Not the id of it makes it another: one that another client has used is no obstacle.
    let other = Signer::new("k");
    register(&server, "other", "Ullevaal", ClientKeys::Set(other.jwks()), "system/*.cruds");
    let mut claims = claims("other");
    claims["jti"] = "same".into();
    ask(&server, &other.sign(&other.header(), &claims), "system/Patient.r").await.expect(200);
    (claims["iss"], claims["sub"]) = ("lab".into(), "lab".into());
    ask(&server, &signer.sign(&signer.header(), &claims), "system/Patient.r").await.expect(200);
}

/// Somebody has one that is old, or was used: they can send it as often as they like, and the log names the client for none of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_anybody_can_send_again_is_nothing_that_the_client_did() {
    let server = Server::open();
    let signer = registered(&server);
    let mut old = claims("lab");
    old["exp"] = json!(jiff::Timestamp::now().as_second() - 600);
    let (old, used) = (signer.sign(&signer.header(), &old), signer.assertion("lab"));
    ask(&server, &used, "system/Observation.r").await.expect(200);
    let began = std::time::Instant::now();
    for _ in 0..100 {
        refused(&ask(&server, &old, "system/Observation.r").await, 401, "invalid_client");
        refused(&ask(&server, &used, "system/Observation.r").await, 401, "invalid_client");
    }
    let centre = Hospital { server: &server, token: server.token(Role::Centre, "centre", None) };
    let log = String::from_utf8(centre.get("/audit/log").await.expect(200).body).unwrap();
    let of = |user: &str| log.lines().filter(|line| line.contains(&format!("\"{user}\"")) && line.contains("auth/token")).count();
    assert_eq!(of("client:lab"), 1, "the one that was good");
    // 60 a minute, and the minute may have been a new one at any time.
    let most = 60 * (began.elapsed().as_secs() as usize / 60 + 2);
    assert!((1..=most).contains(&of("unknown")), "{}", of("unknown"));
}

/// Both number their messages from 1.
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_one_system_are_not_those_of_another() {
    let server = Server::open();
    let (lab, epj) = (client(&server, "Haukeland", "system/*.cruds").await, client(&server, "Haukeland", "system/*.cruds").await);
    let basic = |text: &str| json!({"resourceType": "Basic", "code": {"text": text}});
    let key = [("Idempotency-Key", "1")];
    lab.post("/fhir/Basic", &key, &basic("of the laboratory")).await.expect(201);
    epj.post("/fhir/Basic", &key, &basic("of the EHR")).await.expect(201);
    let again = lab.post("/fhir/Basic", &key, &basic("of the laboratory")).await;
    assert!(again.header("dugnad-replayed").is_some(), "{}", again.status);
    assert_eq!(lab.get("/fhir/Basic").await.expect(200).json()["entry"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_none_says_what_is_wrong() {
    let server = Server::open();
    let signer = registered(&server);
    let kind = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let assertion = signer.assertion("lab");
    let (grant, assertion, scope) =
        (("grant_type", "client_credentials"), ("client_assertion", assertion.as_str()), ("scope", "system/*.rs"));
    refused(&post(&server, &[]).await, 400, "invalid_request");
    refused(&post(&server, &[("grant_type", "password"), kind, assertion, scope]).await, 400, "unsupported_grant_type");
    refused(&post(&server, &[grant, assertion, scope]).await, 401, "invalid_client");
    refused(&post(&server, &[grant, kind, scope]).await, 401, "invalid_client");
    refused(&post(&server, &[grant, ("client_secret", "x"), ("client_id", "lab"), scope]).await, 401, "invalid_client");
    refused(&post(&server, &[grant, grant, kind, assertion, scope]).await, 400, "invalid_request");
    refused(&post(&server, &[grant, kind, assertion, ("client_id", "other"), scope]).await, 401, "invalid_client");
    for wrong in ["", "openid", "patient/*.read", "system/Observation.xyz", "system/Encounter.rs", "system/Patient.d"] {
        refused(&ask(&server, &signer.assertion("lab"), wrong).await, 400, "invalid_scope");
    }
    let large = "x".repeat(40_000);
    assert_eq!(post(&server, &[grant, kind, ("client_assertion", &large), scope]).await.status.as_u16(), 413);
    post(&server, &[grant, kind, assertion, ("client_id", "lab"), scope]).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_revoked_has_no_tokens() {
    let server = Server::open();
    let signer = registered(&server);
    let given = ask(&server, &signer.assertion("lab"), "system/Observation.s").await.expect(200).json();
    let client = Hospital { server: &server, token: given["access_token"].as_str().unwrap().to_owned() };
    client.get("/fhir/Observation").await.expect(200);
    // By another process.
    let tool = Tokens::open(server.dir()).unwrap();
    assert!(tool.revoke_client("lab").unwrap() && !tool.revoke_client("lab").unwrap());
    client.get("/fhir/Observation").await.expect(401);
    refused(&ask(&server, &signer.assertion("lab"), "system/Observation.s").await, 401, "invalid_client");
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        register(&server, "lab", "Haukeland", ClientKeys::Set(signer.jwks()), "system/*.rs");
    }));
    assert!(again.is_err(), "the id names one client for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_stranger_says_is_not_ours() {
    let server = Server::open();
    let signer = registered(&server);
    let mut claims = claims("lab");
    claims["aud"] = "http://evil.example/auth/token".into();
    let assertion = signer.sign(&signer.header(), &claims);
    let form = format!(
        "grant_type=client_credentials&scope=system/Observation.r&client_assertion={assertion}\
         &client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    let request =
        axum::http::Request::post("/auth/token").header("Host", "evil.example").header("Content-Type", "application/x-www-form-urlencoded");
    let answer = server.send(request.body(form.into()).unwrap()).await;
    refused(&answer, 503, "temporarily_unavailable");
}
