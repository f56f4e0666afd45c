//! Bearer tokens: 32 random bytes each, of which the store keeps a hash.

use super::{AccessError, Principal, Role, private_file};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dugnad_kernel::clock::{Clock, SystemClock};
use jiff::tz::TimeZone;
use rand::{Rng as _, rngs::StdRng};
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const FILE: &str = "access.sqlite";

/// What every token begins with, so that one is recognised where it does not belong.
const PREFIX: &str = "dgn_";

/// How long one process waits for another that is writing.
const BUSY: Duration = Duration::from_secs(5);

/// The longest name of a user or holder, in bytes.
const MAX_NAME_BYTES: usize = 200;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS token (
        sha256 BLOB PRIMARY KEY NOT NULL,
        user TEXT NOT NULL,
        role TEXT NOT NULL,
        holder TEXT,
        issued_us INTEGER NOT NULL,
        expires_us INTEGER NOT NULL,
        revoked_us INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS token_user ON token (user);
";

/// The tokens of a database: `access.sqlite` in its folder. Only their SHA-256 is kept: a token has 256 random bits, so that its
/// hash cannot be guessed back, and looking the hash up tells nothing by its time. Several processes may open it; what one of
/// them issues or revokes, the others see in their next lookup, for nothing is cached.
pub struct Tokens {
    store: Mutex<Connection>,
    clock: Arc<dyn Clock>,
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

impl From<rusqlite::Error> for AccessError {
    fn from(error: rusqlite::Error) -> Self {
        AccessError::Store(error.to_string())
    }
}

impl Tokens {
    /// Opens or makes the store in a database's folder.
    pub fn open(dir: &Path) -> Result<Self, AccessError> {
        Self::open_with(dir, Arc::new(SystemClock))
    }

    /// Opens or makes the store, with expiry by `clock`.
    pub fn open_with(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, AccessError> {
        let path = dir.join(FILE);
        // SQLite gives its log the rights of its file, which are those that it is made with here.
        private_file()
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| AccessError::Store(format!("{}: {error}", path.display())))?;
        let store = Connection::open(&path)?;
        store.busy_timeout(BUSY)?;
        store.pragma_update(None, "journal_mode", "WAL")?;
        store.pragma_update(None, "synchronous", "FULL")?;
        store.execute_batch(SCHEMA)?;
        Ok(Self { store: Mutex::new(store), clock })
    }

    /// Issues a token; this is the only time that it is seen. Durable when this returns.
    pub fn issue(&self, request: &TokenRequest) -> Result<String, AccessError> {
        check(request)?;
        let now = self.clock.now();
        let expires = now.to_zoned(TimeZone::UTC).checked_add(request.valid_for).map(|zoned| zoned.timestamp());
        let expires = expires.ok().filter(|expires| *expires > now);
        let expires = expires.ok_or_else(|| AccessError::Request("its validity must be a span of time into the future".to_owned()))?;
        let mut secret = [0u8; 32];
        rand::make_rng::<StdRng>().fill_bytes(&mut secret);
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        self.store().execute(
            "INSERT INTO token (sha256, user, role, holder, issued_us, expires_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![hash(&token), request.user, request.role.name(), request.holder, now.as_microsecond(), expires.as_microsecond()],
        )?;
        Ok(token)
    }

    /// Who a token belongs to; `None` if it is unknown, expired or revoked. (`inside_spe` is false; the session decides.)
    pub fn authenticate(&self, token: &str) -> Result<Option<Principal>, AccessError> {
        if !token.starts_with(PREFIX) || token.len() > 128 {
            return Ok(None);
        }
        let store = self.store();
        let mut lookup =
            store.prepare_cached("SELECT user, role, holder FROM token WHERE sha256 = ?1 AND expires_us > ?2 AND revoked_us IS NULL")?;
        let row: Option<(String, String, Option<String>)> = lookup
            .query_row(params![hash(token), self.clock.now().as_microsecond()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((user, role, holder)) = row else { return Ok(None) };
        let role = Role::of(&role)
            .ok_or_else(|| AccessError::Store(format!("a token has the role `{role}`, which this version does not know")))?;
        Ok(Some(Principal { user, role, holder, inside_spe: false }))
    }

    /// Revokes all tokens of a user; how many valid ones there were. Durable, and seen by every process, when this returns.
    pub fn revoke(&self, user: &str) -> Result<u64, AccessError> {
        let now = self.clock.now().as_microsecond();
        let revoked = self
            .store()
            .execute("UPDATE token SET revoked_us = ?1 WHERE user = ?2 AND revoked_us IS NULL AND expires_us > ?1", params![now, user])?;
        Ok(revoked as u64)
    }

    fn store(&self) -> MutexGuard<'_, Connection> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn check(request: &TokenRequest) -> Result<(), AccessError> {
    let names = [("user", Some(&request.user)), ("holder", request.holder.as_ref())];
    for (what, name) in names {
        // Names stand in logs and on terminals.
        if name.is_some_and(|name| name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control)) {
            return Err(AccessError::Request(format!(
                "the {what} needs a name of at most {MAX_NAME_BYTES} bytes without control characters"
            )));
        }
    }
    match (request.role, &request.holder) {
        (Role::Hospital, None) => Err(AccessError::Request("a hospital's token names the holder that it writes for".to_owned())),
        // A patient's token names the holder, and as its user the logical id of its Patient there.
        (Role::Hospital | Role::Patient, Some(_)) | (_, None) => Ok(()),
        (_, Some(_)) => Err(AccessError::Request("only a hospital's and a patient's token name a holder".to_owned())),
    }
}
