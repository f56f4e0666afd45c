//! Who asks: bearer tokens, roles and the keys of this database.

use std::path::Path;

/// What somebody may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A health data holder: writes FHIR under its own name, reads its own patients (care).
    Hospital,
    /// A public authority with a permit.
    Authority,
    /// A health data user from industry with a permit.
    Company,
    /// The centre itself: health data access body.
    Centre,
    /// A patient.
    Patient,
}

/// Somebody whose token was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user's name.
    pub user: String,
    /// The role.
    pub role: Role,
    /// The holder that a hospital's token writes for.
    pub holder: Option<String>,
    /// Whether this session counts as inside the secure processing environment.
    pub inside_spe: bool,
}

/// A token store failed.
#[derive(Debug, thiserror::Error)]
#[error("the token store cannot be used: {0}")]
pub struct AccessError(pub String);

/// The tokens of a database: `access.sqlite` in its folder. Only their SHA-256 is kept. Several processes may open it.
pub struct Tokens {
    _private: (),
}

/// What a new token is for.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The user's name.
    pub user: String,
    /// The role.
    pub role: Role,
    /// For hospitals: the holder.
    pub holder: Option<String>,
    /// How long it is valid.
    pub valid_for: jiff::Span,
}

impl Tokens {
    /// Opens or makes the store in a database's folder.
    pub fn open(_dir: &Path) -> Result<Self, AccessError> {
        todo!()
    }

    /// Issues a token; this is the only time that it is seen.
    pub fn issue(&self, _request: &TokenRequest) -> Result<String, AccessError> {
        todo!()
    }

    /// Who a token belongs to; `None` if it is unknown, expired or revoked. (`inside_spe` is false; the session decides.)
    pub fn authenticate(&self, _token: &str) -> Result<Option<Principal>, AccessError> {
        todo!()
    }

    /// Revokes all tokens of a user; how many there were.
    pub fn revoke(&self, _user: &str) -> Result<u64, AccessError> {
        todo!()
    }
}

/// The secret keys of a database: `keys/` in its folder, readable by its owner only.
pub struct Keys {
    /// Signs checkpoints.
    pub audit: ed25519_dalek::SigningKey,
    /// Every permit's pseudonyms derive from it.
    pub pseudonym: [u8; 32],
}

impl Keys {
    /// Reads the keys, making them on first use.
    pub fn open(_dir: &Path) -> Result<Self, AccessError> {
        todo!()
    }
}
