//! JSON Web Key sets (RFC 7517): the public keys of a client or of an identity provider.

use super::jwt::Algorithm;
use crate::limits::{MAX_JWKS_BYTES, MAX_JWKS_KEYS};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

/// Why a key set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key set cannot be used: {0}")]
pub struct JwkError(pub String);

/// The public keys of somebody who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet(Vec<Key>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    kid: Option<String>,
    /// The only algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent, big-endian.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point, uncompressed (SEC 1, section 2.3.3).
    P256(Vec<u8>),
    /// The same.
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct JsonSet {
    keys: Vec<JsonKey>,
}

/// The members of a key that are looked at; others are passed over (RFC 7517, section 4).
#[derive(Deserialize)]
struct JsonKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde::de::IgnoredAny>,
    k: Option<serde::de::IgnoredAny>,
}

impl KeySet {
    /// Reads a set. Keys that no signature here is made with are passed over (RFC 7517, section 5).
    ///
    /// # Errors
    /// It is too large, no set, holds a secret, or holds no key that can be used.
    pub fn parse(json: &[u8]) -> Result<Self, JwkError> {
        let wrong = |what: &str| JwkError(what.to_owned());
        if json.len() > MAX_JWKS_BYTES {
            return Err(JwkError(format!("it is larger than {MAX_JWKS_BYTES} bytes; publish the keys that are in use only")));
        }
        let set: JsonSet = serde_json::from_slice(json).map_err(|e| JwkError(format!("expected {{\"keys\": [...]}} (RFC 7517): {e}")))?;
        if set.keys.len() > MAX_JWKS_KEYS {
            return Err(JwkError(format!("it has more than {MAX_JWKS_KEYS} keys; publish those that are in use only")));
        }
        if set.keys.iter().any(|key| key.d.is_some() || key.k.is_some() || key.kty == "oct") {
            return Err(wrong("it holds a secret key, which is nobody else's business; make a new pair, and give the public key"));
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::of).collect();
        if keys.is_empty() {
            return Err(wrong("it has no key that is taken: RSA of 2048 to 8192 bits, EC on P-256 or P-384, or Ed25519, for signatures"));
        }
        Ok(Self(keys))
    }

    /// Whether a key of that id is in it.
    pub fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Whether one of the keys that fit has made a signature; `None`: no key fits.
    pub(super) fn verify(&self, kid: Option<&str>, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Option<bool> {
        let fits = |key: &&Key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid)) && key.is_for(algorithm);
        let mut fitting = self.0.iter().filter(fits).peekable();
        fitting.peek()?;
        Some(fitting.any(|key| key.material.verifies(algorithm, message, signature)))
    }
}

impl Key {
    fn of(json: JsonKey) -> Option<Self> {
        let is_for_signatures = json.usage.as_deref().is_none_or(|usage| usage == "sig")
            && json.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let algorithm = match json.alg.as_deref() {
            None => None,
            Some(name) => Some(Algorithm::of(name)?),
        };
        let bytes = |text: Option<&String>| text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let point = |length: usize| {
            let (x, y) = (bytes(json.x.as_ref())?, bytes(json.y.as_ref())?);
            (x.len() == length && y.len() == length).then(|| [&[4], x.as_slice(), &y].concat())
        };
        let material = match (json.kty.as_str(), json.crv.as_deref()) {
            ("RSA", _) => {
                let without_zeros = |bytes: Vec<u8>| bytes.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
                let n = without_zeros(bytes(json.n.as_ref())?);
                (256..=1024).contains(&n.len()).then_some(())?;
                Material::Rsa { n, e: without_zeros(bytes(json.e.as_ref())?) }
            }
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(json.x.as_ref()).filter(|x| x.len() == 32)?),
            _ => return None,
        };
        let key = Self { kid: json.kid, algorithm, material };
        (is_for_signatures && algorithm.is_none_or(|algorithm| key.material.fits(algorithm))).then_some(key)
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && self.material.fits(algorithm)
    }
}

impl Material {
    /// Whether an algorithm is one of this kind of key: what the token says never decides what a key is taken for.
    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Material::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Material::P256(_) => algorithm == Es256,
            Material::P384(_) => algorithm == Es384,
            Material::Ed25519(_) => algorithm == EdDsa,
        }
    }

    fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let rsa = |parameters| match self {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok(),
            _ => false,
        };
        match (algorithm, self) {
            (Algorithm::Rs256, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            (Algorithm::Rs384, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            (Algorithm::Rs512, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            (Algorithm::Ps256, _) => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            (Algorithm::Ps384, _) => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            (Algorithm::Ps512, _) => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            (Algorithm::Es256, Material::P256(point)) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (Algorithm::Es384, Material::P384(point)) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            (Algorithm::EdDsa, Material::Ed25519(key)) => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature).is_ok()
            }
            (Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa, _) => false,
        }
    }
}
