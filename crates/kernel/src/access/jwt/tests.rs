//! Tokens that are right, and those that an attacker would send. `rsa-2048-of-tests.pk8` signs in tests and nowhere else.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::super::claims::Expected;
use super::*;
use crate::limits::{MAX_JWKS_BYTES, MAX_JWKS_KEYS};
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA384, RsaKeyPair};
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;
const URL: &str = "https://dugnad.example.no/auth/token";

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A client's pair on P-384.
fn pair() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key.as_ref(), &random).unwrap()
}

fn jwk(pair: &EcdsaKeyPair, kid: &str) -> Value {
    let point = pair.public_key().as_ref();
    json!({"kty": "EC", "crv": "P-384", "kid": kid, "x": encoded(&point[1..49]), "y": encoded(&point[49..])})
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()))
}

fn signed(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let message = unsigned(header, claims);
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", encoded(signature.as_ref()))
}

fn header(kid: &str) -> Value {
    json!({"alg": "ES384", "typ": "JWT", "kid": kid})
}

fn claims() -> Value {
    json!({"iss": "lab", "sub": "lab", "aud": URL, "exp": NOW + 300, "jti": "1"})
}

fn taken(token: &str, keys: &KeySet) -> Result<String, JwtError> {
    let claims = Jwt::read(token, &Algorithm::OF_CLIENTS)?.verify(keys)?;
    let expected = Expected { issuer: "lab", audiences: &[URL.to_owned()], now: Timestamp::from_second(NOW).unwrap() };
    claims.assertion(&expected).map(|(jti, _)| jti.to_owned())
}

#[test]
fn an_assertion_is_taken_once_it_is_right() {
    let pair = pair();
    let keys = set(&[jwk(&self::pair(), "old"), jwk(&pair, "new")]);
    assert_eq!(taken(&signed(&pair, &header("new"), &claims()), &keys).unwrap(), "1");
    let mut listed = claims();
    listed["aud"] = json!(["https://other.example", URL]);
    listed["exp"] = json!(299.5 + NOW as f64);
    assert_eq!(taken(&signed(&pair, &header("new"), &listed), &keys).unwrap(), "1");
    let without = json!({"alg": "ES384"});
    assert_eq!(taken(&signed(&pair, &without, &claims()), &keys).unwrap(), "1", "any key that fits, where none is named");
}

#[test]
fn one_by_rsa_is_taken() {
    let pair = RsaKeyPair::from_pkcs8(include_bytes!("rsa-2048-of-tests.pk8")).unwrap();
    let public: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
    let key = json!({"kty": "RSA", "kid": "r", "alg": "RS384", "use": "sig", "n": encoded(&public.n), "e": encoded(&public.e)});
    let sign = |header: Value| {
        let message = unsigned(&header, &claims());
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA384, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", encoded(&signature))
    };
    let token = sign(json!({"alg": "RS384", "kid": "r"}));
    assert_eq!(taken(&token, &set(std::slice::from_ref(&key))).unwrap(), "1");
    let mut of_others = key.clone();
    of_others["alg"] = "RS256".into();
    assert_eq!(taken(&token, &set(&[of_others])), Err(JwtError::Key), "the key is for another algorithm");
    // A key of one kind under the name of another: what the token says does not decide what the key is taken for.
    assert_eq!(taken(&sign(json!({"alg": "ES384", "kid": "r"})), &set(&[key])), Err(JwtError::Key));
}

#[test]
fn no_signature_and_no_shared_secret_is_one() {
    let pair = pair();
    let keys = set(&[jwk(&pair, "k")]);
    for alg in ["none", "None", "NONE", "", "HS256", "HS384", "ES256", "RS256", "EdDSA", "es384"] {
        let message = unsigned(&json!({"alg": alg, "kid": "k"}), &claims());
        for token in [format!("{message}."), format!("{message}.{}", encoded(b"x"))] {
            assert!(matches!(taken(&token, &keys), Err(JwtError::Algorithm(_))), "{alg}");
        }
        // An HMAC whose secret is the public key, which everybody knows.
        let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, pair.public_key().as_ref());
        let token = format!("{message}.{}", encoded(ring::hmac::sign(&hmac, message.as_bytes()).as_ref()));
        assert!(matches!(taken(&token, &keys), Err(JwtError::Algorithm(_))), "{alg}");
    }
    let whole = signed(&pair, &header("k"), &claims());
    assert_eq!(taken(whole.rsplit_once('.').unwrap().0, &keys), Err(JwtError::Form("it has not three parts")));
}

#[test]
fn what_was_changed_or_signed_by_others_is_not_taken() {
    let (pair, other) = (pair(), pair());
    let keys = set(&[jwk(&pair, "k")]);
    assert_eq!(taken(&signed(&other, &header("k"), &claims()), &keys), Err(JwtError::Signature));
    assert_eq!(taken(&signed(&pair, &header("unknown"), &claims()), &keys), Err(JwtError::Key));
    // Two keys of one id: the one that has signed is found, whichever comes first.
    let confused = set(&[jwk(&other, "k"), jwk(&pair, "k")]);
    assert!(taken(&signed(&pair, &header("k"), &claims()), &confused).is_ok());
    let token = signed(&pair, &header("k"), &claims());
    let mut more = claims();
    more["sub"] = "admin".into();
    let forged = format!("{}.{}", unsigned(&header("k"), &more), token.rsplit_once('.').unwrap().1);
    assert_eq!(taken(&forged, &keys), Err(JwtError::Signature));
    let mut brought = header("k");
    brought["jwk"] = jwk(&other, "k");
    assert_eq!(taken(&signed(&other, &brought, &claims()), &keys), Err(JwtError::Signature), "a key that comes along is not looked at");
    let mut critical = header("k");
    critical["crit"] = json!(["b64"]);
    assert!(matches!(taken(&signed(&pair, &critical, &claims()), &keys), Err(JwtError::Form(_))));
    for garbage in ["", ".", "..", "a.b.c", "e30.e30.", "e30.e30.AA", &"a".repeat(1 << 20)] {
        assert!(matches!(taken(garbage, &keys), Err(JwtError::Form(_))), "{}", &garbage[..garbage.len().min(20)]);
    }
}

#[test]
fn each_claim_counts() {
    let pair = pair();
    let keys = set(&[jwk(&pair, "k")]);
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        taken(&signed(&pair, &header("k"), &claims), &keys)
    };
    for (name, value) in [
        ("iss", json!("other")),
        ("iss", Value::Null),
        ("sub", json!("other")),
        ("sub", Value::Null),
        ("aud", json!("https://other.example/auth/token")),
        ("aud", json!([])),
        ("exp", json!(NOW - 31)),
        ("exp", json!(NOW + 331)),
        ("nbf", json!(NOW + 31)),
        ("iat", json!(NOW + 31)),
        ("jti", json!("")),
        ("jti", json!("j".repeat(256))),
        ("jti", Value::Null),
    ] {
        let refused = with(name, value.clone());
        assert!(matches!(&refused, Err(JwtError::Claim(claim, _)) if *claim == name || name == "iss"), "{name} {value}: {refused:?}");
    }
    for (name, value) in [("exp", json!("soon")), ("exp", json!(-1)), ("aud", json!(7)), ("exp", Value::Null)] {
        assert!(with(name, value.clone()).is_err(), "{name} {value}");
    }
    assert!(with("nbf", json!(NOW + 29)).is_ok() && with("exp", json!(NOW - 29)).is_ok(), "clocks differ");
    let twice = unsigned(&header("k"), &claims());
    let doubled = format!("{}.{}", twice.split_once('.').unwrap().0, encoded(br#"{"iss":"lab","iss":"x","sub":"lab"}"#));
    let signature = pair.sign(&SystemRandom::new(), doubled.as_bytes()).unwrap();
    assert!(taken(&format!("{doubled}.{}", encoded(signature.as_ref())), &keys).is_err(), "a claim is said once");
}

#[test]
fn key_sets_are_bounded_and_public() {
    let key = jwk(&pair(), "k");
    let parse = |value: &Value| KeySet::parse(value.to_string().as_bytes());
    let mut secret = key.clone();
    secret["d"] = "AAAA".into();
    let mut other_use = key.clone();
    other_use["use"] = "enc".into();
    let mut short = key.clone();
    short["x"] = "AAAA".into();
    for wrong in [
        json!({}),
        json!({"keys": []}),
        json!({"keys": [secret]}),
        json!({"keys": [{"kty": "oct", "k": "AAAA"}, key]}),
        json!({"keys": [other_use]}),
        json!({"keys": [short]}),
        json!({"keys": [{"kty": "RSA", "n": encoded(&[255; 128]), "e": "AQAB"}]}),
        json!({"keys": vec![key.clone(); MAX_JWKS_KEYS + 1]}),
    ] {
        assert!(parse(&wrong).is_err(), "{wrong}");
    }
    assert!(KeySet::parse(format!("{{\"keys\":[{key}]}}{}", " ".repeat(MAX_JWKS_BYTES)).as_bytes()).is_err());
    let beside = parse(&json!({"keys": [{"kty": "new"}, key, {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}]})).unwrap();
    assert!(beside.has("k"), "keys of other kinds are passed over");
}
