//! What a signed token says, and whether it says it to us, now.

use super::jwt::JwtError;
use crate::limits::{ASSERTION_LIFE, CLOCK_SKEW, MAX_JTI_BYTES};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The claims of a token whose signature was verified (RFC 7519, section 4.1).
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    /// Who says it.
    pub iss: Option<String>,
    /// About whom.
    pub sub: Option<String>,
    /// To whom.
    #[serde(default, deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Seconds since 1970 from which on it is not to be taken.
    #[serde(default, deserialize_with = "seconds")]
    pub exp: Option<i64>,
    /// Before which it is not to be taken.
    #[serde(default, deserialize_with = "seconds")]
    pub nbf: Option<i64>,
    /// At which it was made.
    #[serde(default, deserialize_with = "seconds")]
    pub iat: Option<i64>,
    /// Its own id.
    pub jti: Option<String>,
    /// What ties an ID token to the request for it (OpenID Connect Core, section 3.1.3.7).
    pub nonce: Option<String>,
    /// The party that it was issued to.
    pub azp: Option<String>,
    /// All of them, as they came.
    #[serde(skip)]
    pub all: Value,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// A NumericDate: seconds, perhaps with a fraction.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    if (0.0..1e12).contains(&seconds) { Ok(Some(seconds as i64)) } else { Err(serde::de::Error::custom("no date")) }
}

/// What a token has to say.
pub struct Expected<'e> {
    /// Whose it must be.
    pub issuer: &'e str,
    /// To whom it must be addressed: one of these.
    pub audiences: &'e [String],
    /// The time.
    pub now: Timestamp,
}

impl Claims {
    /// Reads them.
    ///
    /// # Errors
    /// It is no JSON object, a claim is not of its type, or one of RFC 7519 is there twice.
    pub fn read(json: &[u8]) -> serde_json::Result<Self> {
        let claims: Self = serde_json::from_slice(json)?;
        let all: Value = serde_json::from_slice(json)?;
        if all.is_object() { Ok(Self { all, ..claims }) } else { Err(serde::de::Error::custom("no object")) }
    }

    /// Whether it says that to us, now. `exp` must be there; clocks may differ by [`CLOCK_SKEW`].
    ///
    /// # Errors
    /// The first claim that is wrong.
    pub fn check(&self, expected: &Expected<'_>) -> Result<(), JwtError> {
        if self.iss.as_deref() != Some(expected.issuer) {
            return Err(JwtError::Claim("iss", "is not the issuer that is known here"));
        }
        if !self.aud.iter().any(|audience| expected.audiences.contains(audience)) {
            return Err(JwtError::Claim("aud", "does not name this server"));
        }
        let (now, skew) = (expected.now.as_second(), CLOCK_SKEW.as_secs() as i64);
        match self.exp {
            None => return Err(JwtError::Claim("exp", "is absent")),
            Some(exp) if exp <= now - skew => return Err(JwtError::Claim("exp", "has passed; sign a new one, and compare the clocks")),
            Some(_) => {}
        }
        let later = |at: Option<i64>| at.is_some_and(|at| at > now + skew);
        if later(self.nbf) {
            return Err(JwtError::Claim("nbf", "is in the future; compare the clocks"));
        }
        if later(self.iat) {
            return Err(JwtError::Claim("iat", "is in the future; compare the clocks"));
        }
        Ok(())
    }

    /// Whether it is a client's own assertion of who it is (RFC 7523, section 3; SMART App Launch 2.x, "Client Authentication:
    /// Asymmetric"): its id, and until when that must be remembered.
    ///
    /// # Errors
    /// The first claim that is wrong.
    pub fn assertion(&self, expected: &Expected<'_>) -> Result<(&str, Timestamp), JwtError> {
        self.check(expected)?;
        if self.sub != self.iss {
            return Err(JwtError::Claim("sub", "is not the client's id, as `iss` is"));
        }
        let (exp, now) = (self.exp.unwrap_or_default(), expected.now.as_second());
        let skew = CLOCK_SKEW.as_secs() as i64;
        if exp > now + ASSERTION_LIFE.as_secs() as i64 + skew {
            return Err(JwtError::Claim("exp", "is more than five minutes ahead; sign one for each request"));
        }
        let jti = self.jti.as_deref().filter(|jti| (1..=MAX_JTI_BYTES).contains(&jti.len()));
        let jti = jti.ok_or(JwtError::Claim("jti", "is absent or too long; give each assertion a random id"))?;
        let until = Timestamp::from_second(exp).unwrap_or(expected.now).saturating_add(SignedDuration::from_secs(skew));
        Ok((jti, until.unwrap_or(Timestamp::MAX)))
    }
}
