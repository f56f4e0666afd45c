//! Who asks: bearer tokens, roles, registered backend services, people of an identity provider, and the keys of this database.

mod clients;
mod fetched;
mod identity;
mod keys;
mod keysets;
mod provider;
#[cfg(test)]
mod tests;
mod tokens;

pub use clients::{Client, ClientKeys, Granted};
pub use identity::{Identity, ProviderSettings, Rule};
pub use keys::{Keys, PageKey, RotationError};
pub use keysets::{FetchError, KeySets};
pub use provider::{Attempt, Provider, SignInError};
pub use tokens::{TokenRequest, Tokens, done_by_operator};

use dugnad_kernel::access::Scopes;
use jiff::Timestamp;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;

/// The longest name of a user or holder, in bytes.
const MAX_NAME_BYTES: usize = 200;

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

impl Role {
    /// All of them.
    pub const ALL: [Role; 5] = [Role::Hospital, Role::Authority, Role::Company, Role::Centre, Role::Patient];

    /// Its name, as the command line, tokens and the audit log write it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Hospital => "hospital",
            Role::Authority => "authority",
            Role::Company => "company",
            Role::Centre => "centre",
            Role::Patient => "patient",
        }
    }

    /// The role of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
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
    /// What a backend service may do with resources of its holder, and nothing else; `None`: all that the role may.
    pub scopes: Option<Arc<Scopes>>,
    /// When what shows who it is ends, if that is no stored token but one that the identity provider has signed.
    pub until: Option<Timestamp>,
}

impl Principal {
    /// Somebody with a stored token, outside of the secure processing environment.
    pub fn new(user: impl Into<String>, role: Role, holder: Option<String>) -> Self {
        Self { user: user.into(), role, holder, inside_spe: false, scopes: None, until: None }
    }
}

/// Tokens or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The caller's fault: what was asked for cannot be.
    #[error("nothing was issued or registered: {0}")]
    Request(String),
    /// The token store cannot be read or written.
    #[error("the token store cannot be used: {0}")]
    Store(String),
    /// A key cannot be read or made, or others could have read it.
    #[error("the key {path} cannot be used: {what}")]
    Key {
        /// The file or folder.
        path: String,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl AccessError {
    fn key(path: &Path, what: impl std::fmt::Display) -> Self {
        Self::Key { path: path.display().to_string(), what: what.to_string() }
    }
}

/// Whether anybody but its owner may read or write a file.
#[cfg(unix)]
fn open_to_others(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0
}

/// Elsewhere the folder's own protection has to do.
#[cfg(not(unix))]
fn open_to_others(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// Whether what comes from an address comes from whom it names: by TLS, or from this machine.
fn is_safe_address(url: &str) -> bool {
    let Ok(uri) = url.parse::<axum::http::Uri>() else { return false };
    let named = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    let here = || matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    named && (uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && here())
}

/// Adds a column to a table that an earlier version has made without it.
pub(crate) fn add_column(store: &Connection, table: &str, column: &str, of: &str) -> rusqlite::Result<()> {
    let has = "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)";
    match store.query_row(has, [table, column], |row| row.get(0))? {
        true => Ok(()),
        false => store.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {of}")),
    }
}

/// Options that make a file readable by its owner only.
pub(crate) fn private_file() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
