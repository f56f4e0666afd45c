//! Bearer tokens: 32 random bytes each, of which the store keeps a hash.

use super::clients::{self, CLIENT_USER, scopes_of};
use super::{AccessError, MAX_NAME_BYTES, Principal, Role, add_column, private_file};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dugnad_kernel::access::Scopes;
use dugnad_kernel::audit::{Act, Entry};
use dugnad_kernel::clock::{Clock, SystemClock};
use jiff::Timestamp;
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

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS token (
        sha256 BLOB PRIMARY KEY NOT NULL,
        user TEXT NOT NULL,
        role TEXT NOT NULL,
        holder TEXT,
        issued_us INTEGER NOT NULL,
        expires_us INTEGER NOT NULL,
        revoked_us INTEGER,
        client TEXT,
        scopes TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS token_user ON token (user);
    CREATE TABLE IF NOT EXISTS subject (user TEXT PRIMARY KEY NOT NULL, holder TEXT NOT NULL, patient TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS unrecorded (id INTEGER PRIMARY KEY, entry TEXT NOT NULL) STRICT;
";

/// The tokens of a database: `access.sqlite` in its folder. Only their SHA-256 is kept: a token has 256 random bits, so that its
/// hash cannot be guessed back, and looking the hash up tells nothing by its time. Several processes may open it; what one of
/// them issues or revokes, the others see in their next lookup, for nothing is cached.
pub struct Tokens {
    store: Mutex<Connection>,
    /// For look-ups, which must not wait until something is written durably.
    reading: Mutex<Connection>,
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
    /// For patients: which Patient they are, by holder and logical id. It stays until another is named.
    pub subject: Option<(String, String)>,
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
        store.execute_batch(clients::SCHEMA)?;
        for column in ["client", "scopes"] {
            add_column(&store, "token", column, "TEXT")?;
        }
        let reading = Connection::open(&path)?;
        reading.busy_timeout(BUSY)?;
        reading.pragma_update(None, "query_only", true)?;
        Ok(Self { store: Mutex::new(store), reading: Mutex::new(reading), clock })
    }

    /// Issues a token; this is the only time that it is seen. Durable when this returns.
    pub fn issue(&self, request: &TokenRequest) -> Result<String, AccessError> {
        check(request)?;
        let now = self.clock.now();
        let expires = now.to_zoned(TimeZone::UTC).checked_add(request.valid_for).map(|zoned| zoned.timestamp());
        let expires = expires.ok().filter(|expires| *expires > now);
        let expires = expires.ok_or_else(|| AccessError::Request("its validity must be a span of time into the future".to_owned()))?;
        let store = self.store();
        let transaction = store.unchecked_transaction()?;
        let (user, holder) = (&*request.user, request.holder.as_deref());
        let token = insert(&transaction, &NewToken { user, role: request.role, holder, issued: now, expires, client: None })?;
        let mut what = format!("issue of a token to {user} as {}", request.role.name());
        if let Some(holder) = holder {
            what.push_str(&format!(" of {holder}"));
        }
        if let Some((holder, patient)) = &request.subject {
            bind(&transaction, user, holder, patient)?;
            what.push_str(&format!(", who is a Patient of {holder}"));
        }
        spool(&transaction, &self.done(what))?;
        transaction.commit()?;
        Ok(token)
    }

    /// Says which Patient (holder and logical id) a user is: what they may read about themselves; `None`: that is not known any more.
    pub fn bind(&self, user: &str, subject: Option<(&str, &str)>) -> Result<(), AccessError> {
        let store = self.store();
        let transaction = store.unchecked_transaction()?;
        let what = match subject {
            Some((holder, patient)) => {
                bind(&transaction, user, holder, patient)?;
                format!("this user is a Patient of {holder}")
            }
            None => {
                transaction.execute("DELETE FROM subject WHERE user = ?1", [user])?;
                "this user is no Patient who is known here".to_owned()
            }
        };
        let entry = Entry::new(self.clock.now(), Act::Administration, user, Role::Patient.name());
        spool(&transaction, &Entry { interface: Some("http".to_owned()), request: Some(what), outcome: Some("ok".to_owned()), ..entry })?;
        Ok(transaction.commit()?)
    }

    /// Lets a hospital's user whom the identity provider knows have something done while they are away: for `valid_for` from now, or
    /// until their tokens are revoked here, [`Tokens::holds`] says that they stand behind it.
    pub fn stand(&self, user: &str, holder: &str, valid_for: Duration) -> Result<(), AccessError> {
        let now = self.clock.now();
        let expires = now.checked_add(valid_for).map_err(|e| AccessError::Store(e.to_string()))?;
        // No token has this hash: what is hashed does not begin as tokens do.
        let hash = hash(&format!("standing\n{user}\n{holder}"));
        let new = NewToken { user, role: Role::Hospital, holder: Some(holder), issued: now, expires, client: None };
        put(&self.store(), &hash, &new)
    }

    /// Issues a token for the session of somebody who has signed in elsewhere; those of earlier sessions that have expired go.
    pub fn issue_for_session(&self, user: &str, role: Role, holder: Option<&str>, valid_for: Duration) -> Result<String, AccessError> {
        let now = self.clock.now();
        let expires = now.checked_add(valid_for).map_err(|e| AccessError::Store(e.to_string()))?;
        let store = self.store();
        let transaction = store.unchecked_transaction()?;
        transaction.execute("DELETE FROM token WHERE user = ?1 AND expires_us <= ?2", params![user, now.as_microsecond()])?;
        let token = insert(&transaction, &NewToken { user, role, holder, issued: now, expires, client: None })?;
        transaction.commit()?;
        Ok(token)
    }

    /// The Patient that a user is: holder and logical id.
    pub fn subject(&self, user: &str) -> Result<Option<(String, String)>, AccessError> {
        let store = self.reading();
        let mut lookup = store.prepare_cached("SELECT holder, patient FROM subject WHERE user = ?1")?;
        Ok(lookup.query_row([user], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    /// Remembers what another process than the server has done, for the server to put on the audit log, which it alone writes.
    pub fn leave_record(&self, request: String) -> Result<(), AccessError> {
        spool(&self.store(), &self.done(request))
    }

    /// What the audit log does not have yet, in its order; with a number for [`Tokens::recorded`].
    pub fn unrecorded(&self) -> Result<Vec<(i64, Entry)>, AccessError> {
        let store = self.reading();
        let mut all = store.prepare_cached("SELECT id, entry FROM unrecorded ORDER BY id LIMIT 1000")?;
        let rows = all.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?.collect::<Result<Vec<_>, _>>()?;
        let entry = |(id, json): (i64, String)| match serde_json::from_str(&json) {
            Ok(entry) => Ok((id, entry)),
            Err(error) => Err(AccessError::Store(format!("what is to be recorded cannot be read: {error}"))),
        };
        rows.into_iter().map(entry).collect()
    }

    /// The audit log has it, durably.
    pub fn recorded(&self, number: i64) -> Result<(), AccessError> {
        self.store().execute("DELETE FROM unrecorded WHERE id = ?1", [number])?;
        Ok(())
    }

    /// What the operator of this machine did.
    pub(super) fn done(&self, request: String) -> Entry {
        done_by_operator(self.clock.now(), request)
    }

    /// Who a token belongs to; `None` if it is unknown, expired or revoked. (`inside_spe` is false; the session decides.)
    pub fn authenticate(&self, token: &str) -> Result<Option<Principal>, AccessError> {
        if !token.starts_with(PREFIX) || token.len() > 128 {
            return Ok(None);
        }
        let store = self.reading();
        let mut lookup = store
            .prepare_cached("SELECT user, role, holder, scopes FROM token WHERE sha256 = ?1 AND expires_us > ?2 AND revoked_us IS NULL")?;
        let row: Option<(String, String, Option<String>, Option<String>)> = lookup
            .query_row(params![hash(token), self.clock.now().as_microsecond()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((user, role, holder, scopes)) = row else { return Ok(None) };
        let role = Role::of(&role)
            .ok_or_else(|| AccessError::Store(format!("a token has the role `{role}`, which this version does not know")))?;
        Ok(Some(Principal { scopes: scopes_of(scopes)?, ..Principal::new(user, role, holder) }))
    }

    /// Whether a user has a valid token in this role, and for this holder, or has [stood](Tokens::stand) behind it: for what is done for
    /// them while they are away.
    pub fn holds(&self, user: &str, role: Role, holder: &str) -> Result<bool, AccessError> {
        let store = self.reading();
        let mut lookup = store.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM token WHERE user = ?1 AND role = ?2 AND holder = ?3 AND expires_us > ?4 AND revoked_us IS NULL)",
        )?;
        Ok(lookup.query_row(params![user, role.name(), holder, self.clock.now().as_microsecond()], |row| row.get(0))?)
    }

    /// Revokes all tokens of a user; how many valid ones there were. Durable, and seen by every process, when this returns.
    pub fn revoke(&self, user: &str) -> Result<u64, AccessError> {
        let now = self.clock.now().as_microsecond();
        let store = self.store();
        let transaction = store.unchecked_transaction()?;
        let revoked = transaction
            .execute("UPDATE token SET revoked_us = ?1 WHERE user = ?2 AND revoked_us IS NULL AND expires_us > ?1", params![now, user])?;
        spool(&transaction, &self.done(format!("revocation of {revoked} token(s) of {user}")))?;
        transaction.commit()?;
        Ok(revoked as u64)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Connection> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reading(&self) -> MutexGuard<'_, Connection> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the operator of this machine has done with a command, for the audit log.
pub fn done_by_operator(at: Timestamp, request: String) -> Entry {
    let (interface, outcome) = (Some("cli".to_owned()), Some("ok".to_owned()));
    Entry { interface, request: Some(request), outcome, ..Entry::new(at, Act::Administration, "operator", "centre") }
}

/// What is kept of a token beside its hash.
pub(super) struct NewToken<'t> {
    pub user: &'t str,
    pub role: Role,
    pub holder: Option<&'t str>,
    pub issued: Timestamp,
    pub expires: Timestamp,
    /// The backend service that it is for, and its scopes.
    pub client: Option<(&'t str, &'t Scopes)>,
}

/// Makes a token; this is the only time that it is seen.
pub(super) fn insert(store: &Connection, new: &NewToken<'_>) -> Result<String, AccessError> {
    let mut secret = [0u8; 32];
    rand::make_rng::<StdRng>().fill_bytes(&mut secret);
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
    put(store, &hash(&token), new)?;
    Ok(token)
}

fn put(store: &Connection, hash: &[u8; 32], new: &NewToken<'_>) -> Result<(), AccessError> {
    let (client, scopes) = new.client.map_or((None, None), |(id, scopes)| (Some(id), Some(scopes.to_string())));
    let (issued_us, expires_us) = (new.issued.as_microsecond(), new.expires.as_microsecond());
    store.execute(
        "INSERT OR REPLACE INTO token (sha256, user, role, holder, issued_us, expires_us, client, scopes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![hash, new.user, new.role.name(), new.holder, issued_us, expires_us, client, scopes],
    )?;
    Ok(())
}

fn bind(store: &Connection, user: &str, holder: &str, patient: &str) -> Result<(), AccessError> {
    store.execute("INSERT OR REPLACE INTO subject (user, holder, patient) VALUES (?1, ?2, ?3)", params![user, holder, patient])?;
    Ok(())
}

pub(super) fn spool(store: &Connection, entry: &Entry) -> Result<(), AccessError> {
    let json = serde_json::to_string(entry).map_err(|error| AccessError::Store(error.to_string()))?;
    store.execute("INSERT INTO unrecorded (entry) VALUES (?1)", [json])?;
    Ok(())
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Refuses what is no name. Names stand in logs and on terminals.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), AccessError> {
    if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        let what = format!("the {what} needs a name of at most {MAX_NAME_BYTES} bytes without control characters");
        return Err(AccessError::Request(what));
    }
    Ok(())
}

fn check(request: &TokenRequest) -> Result<(), AccessError> {
    check_name("user", &request.user)?;
    request.holder.as_deref().map_or(Ok(()), |holder| check_name("holder", holder))?;
    if request.subject.is_some() && request.role != Role::Patient {
        return Err(AccessError::Request("only a patient is a Patient of a holder".to_owned()));
    }
    if request.user.starts_with(CLIENT_USER) {
        return Err(AccessError::Request(format!("names that begin with `{CLIENT_USER}` are those of backend services")));
    }
    match (request.role, &request.holder) {
        (Role::Hospital, None) => Err(AccessError::Request("a hospital's token names the holder that it writes for".to_owned())),
        (Role::Hospital, Some(_)) | (_, None) => Ok(()),
        (_, Some(_)) => Err(AccessError::Request("only a hospital's token names a holder".to_owned())),
    }
}
