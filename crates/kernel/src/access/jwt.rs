//! Signed tokens: JSON Web Signatures in their compact form (RFC 7515) over JSON Web Token claims (RFC 7519).
//!
//! Only signatures by a private key are taken. What the token says of its algorithm is compared with what the caller takes and with
//! what the key is for; neither `none` nor a shared secret exists here. Where keys come from is never read from the token.

use super::claims::Claims;
use super::jwk::KeySet;
use crate::limits::MAX_JWT_BYTES;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// How a token is signed (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// The same with SHA-384.
    Rs384,
    /// The same with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// The same with SHA-384.
    Ps384,
    /// The same with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 9] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];

    /// Those that SMART's clients sign their assertions with.
    pub const OF_CLIENTS: [Algorithm; 2] = [Algorithm::Rs384, Algorithm::Es384];

    /// Its name in `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// Why a token is not taken. Nothing of what it holds is in the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// It is none.
    #[error("it is not a signed JSON Web Token: {0}")]
    Form(&'static str),
    /// It is signed in a way that is not taken.
    #[error("it is not signed with one of {0}")]
    Algorithm(String),
    /// The key set has no key of its id that fits its algorithm: a newer set may have one.
    #[error("no key of the key set has the id and the kind that it names")]
    Key,
    /// No key has made its signature.
    #[error("its signature is not of the key that it names")]
    Signature,
    /// A claim is absent or wrong.
    #[error("its claim `{0}` {1}")]
    Claim(&'static str, &'static str),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

/// A token that was read, and that nobody should believe yet.
pub struct Jwt<'t> {
    kid: Option<String>,
    algorithm: Algorithm,
    signed: &'t str,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> Jwt<'t> {
    /// Reads a token that must be signed in one of these ways.
    ///
    /// # Errors
    /// It has another form, or another algorithm.
    pub fn read(token: &'t str, algorithms: &[Algorithm]) -> Result<Self, JwtError> {
        if token.len() > MAX_JWT_BYTES {
            return Err(JwtError::Form("it is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Form("it has no parts"))?;
        let (header, claims) =
            signed.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or(JwtError::Form("it has not three parts"))?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Form("a part is not base64url"));
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| JwtError::Form("its header is not one"))?;
        if header.crit.is_some() {
            return Err(JwtError::Form("its header has critical parts, none of which is known")); // RFC 7515, section 4.1.11
        }
        let algorithm = Algorithm::of(&header.alg).filter(|algorithm| algorithms.contains(algorithm));
        let names = || algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ");
        let algorithm = algorithm.ok_or_else(|| JwtError::Algorithm(names()))?;
        Ok(Self { kid: header.kid, algorithm, signed, claims: decoded(claims)?, signature: decoded(signature)? })
    }

    /// The id of the key that it names.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whose token it says it is (`iss`), before anybody has looked whether that is so: to find the keys to look with.
    pub fn claimed_issuer(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        serde_json::from_slice::<Issuer>(&self.claims).ok().map(|claims| claims.iss)
    }

    /// What it says, once one of the keys is seen to have signed it.
    ///
    /// # Errors
    /// None has, or it says nothing that is a claim.
    pub fn verify(&self, keys: &KeySet) -> Result<Claims, JwtError> {
        match keys.verify(self.kid.as_deref(), self.algorithm, self.signed.as_bytes(), &self.signature) {
            None => Err(JwtError::Key),
            Some(false) => Err(JwtError::Signature),
            Some(true) => {
                Claims::read(&self.claims).map_err(|_| JwtError::Form("its claims are not a JSON object with claims of RFC 7519"))
            }
        }
    }
}
