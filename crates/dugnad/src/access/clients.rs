//! Backend services that the centre has registered, and the short-lived tokens that they get for their signed assertions.

use super::tokens::{NewToken, Tokens, check_name, insert, spool};
use super::{AccessError, Role, is_safe_address};
use crate::limits::{ACCESS_TOKEN_VALID, MAX_ASSERTIONS_KEPT, MAX_CLIENT_ID_BYTES, MAX_CLIENTS};
use dugnad_kernel::access::{KeySet, Scopes};
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What the user's name of a client's token begins with: no person's does.
pub(super) const CLIENT_USER: &str = "client:";

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS client (
        id TEXT PRIMARY KEY NOT NULL,
        holder TEXT NOT NULL,
        jwks TEXT,
        jwks_url TEXT,
        scopes TEXT NOT NULL,
        registered_us INTEGER NOT NULL,
        revoked_us INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS assertion (
        client TEXT NOT NULL,
        jti_sha256 BLOB NOT NULL,
        until_us INTEGER NOT NULL,
        PRIMARY KEY (client, jti_sha256)
    ) STRICT, WITHOUT ROWID;
";

/// The public keys of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKeys {
    /// A set as it was given.
    Set(String),
    /// Where the set is published.
    Url(String),
}

/// A backend service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its id: `iss` and `sub` of its assertions.
    pub id: String,
    /// The holder that it reads and writes for.
    pub holder: String,
    /// What its assertions are verified with.
    pub keys: ClientKeys,
    /// What it may have at most.
    pub scopes: Scopes,
    /// Since when it is registered.
    pub registered: Timestamp,
    /// Whether it is not any more.
    pub revoked: bool,
}

impl Client {
    /// Its name in the audit log, and as the user of its tokens.
    pub fn user(&self) -> String {
        user_of(&self.id)
    }
}

fn user_of(id: &str) -> String {
    format!("{CLIENT_USER}{id}")
}

/// What became of a request for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The token; this is the only time that it is seen.
    Token(String),
    /// The assertion has been used before.
    Replayed,
    /// The client is not registered any more.
    Revoked,
    /// It has asked for too many in the last minutes.
    TooMany,
}

impl Tokens {
    /// Registers a client. Durable when this returns.
    ///
    /// # Errors
    /// Its id is taken, also by one that was revoked: what the log says of an id is about one client.
    pub fn register(&self, client: &Client) -> Result<(), AccessError> {
        check(client)?;
        let (set, url) = match &client.keys {
            ClientKeys::Set(json) => (Some(json), None),
            ClientKeys::Url(url) => (None, Some(url)),
        };
        let store = self.store();
        let transaction = store.unchecked_transaction()?;
        let known: usize = transaction.query_row("SELECT count(*) FROM client", [], |row| row.get(0))?;
        if known >= MAX_CLIENTS {
            return Err(AccessError::Request(format!("there are {MAX_CLIENTS} clients already; one system needs one")));
        }
        let added = transaction.execute(
            "INSERT OR IGNORE INTO client (id, holder, jwks, jwks_url, scopes, registered_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![client.id, client.holder, set, url, client.scopes.to_string(), client.registered.as_microsecond()],
        )?;
        if added == 0 {
            let what = format!("the client id `{}` has been given before; take another, so that the log names one client by it", client.id);
            return Err(AccessError::Request(what));
        }
        let what = format!("registration of the client {} for {} with the scopes {}", client.id, client.holder, client.scopes);
        spool(&transaction, &self.done(what))?;
        Ok(transaction.commit()?)
    }

    /// All clients, those that were revoked too, by id.
    pub fn clients(&self) -> Result<Vec<Client>, AccessError> {
        let store = self.store();
        let mut all = store.prepare_cached(&format!("SELECT {COLUMNS} FROM client ORDER BY id"))?;
        let rows = all.query_map([], Stored::of)?.collect::<Result<Vec<_>, _>>()?;
        rows.into_iter().map(Stored::client).collect()
    }

    /// The client of that id that is registered and not revoked.
    pub fn client(&self, id: &str) -> Result<Option<Client>, AccessError> {
        let store = self.reading();
        let mut one = store.prepare_cached(&format!("SELECT {COLUMNS} FROM client WHERE id = ?1 AND revoked_us IS NULL"))?;
        one.query_row([id], Stored::of).optional()?.map(Stored::client).transpose()
    }

    /// Revokes a client and all its tokens; whether there was one. Durable, and seen by every process, when this returns.
    pub fn revoke_client(&self, id: &str) -> Result<bool, AccessError> {
        let now = self.now().as_microsecond();
        let store = self.store();
        let transaction = store.unchecked_transaction()?;
        let revoked = transaction.execute("UPDATE client SET revoked_us = ?1 WHERE id = ?2 AND revoked_us IS NULL", params![now, id])?;
        transaction.execute("UPDATE token SET revoked_us = ?1 WHERE client = ?2 AND revoked_us IS NULL", params![now, id])?;
        if revoked > 0 {
            spool(&transaction, &self.done(format!("revocation of the client {id}")))?;
        }
        transaction.commit()?;
        Ok(revoked > 0)
    }

    /// Issues a token to a client for an assertion that was verified, once: `jti` is remembered `until` the assertion has expired.
    pub fn grant(&self, client: &Client, jti: &str, until: Timestamp, scopes: &Scopes) -> Result<Granted, AccessError> {
        let now = self.now();
        if until <= now {
            return Ok(Granted::Replayed); // it expired on the way here: it is not remembered any more
        }
        let expires = now.checked_add(ACCESS_TOKEN_VALID).map_err(|e| AccessError::Store(e.to_string()))?;
        let store = self.store();
        let transaction = store.unchecked_transaction()?;
        // A write first: it takes the store's lock, so that what is read next stays so.
        transaction.execute("DELETE FROM assertion WHERE until_us <= ?1", [now.as_microsecond()])?;
        let current = "SELECT 1 FROM client WHERE id = ?1 AND revoked_us IS NULL";
        if transaction.query_row(current, [&client.id], |_| Ok(())).optional()?.is_none() {
            return Ok(Granted::Revoked);
        }
        let kept: usize = transaction.query_row("SELECT count(*) FROM assertion WHERE client = ?1", [&client.id], |row| row.get(0))?;
        if kept >= MAX_ASSERTIONS_KEPT {
            return Ok(Granted::TooMany);
        }
        let jti: [u8; 32] = Sha256::digest(jti).into();
        let first = transaction.execute(
            "INSERT OR IGNORE INTO assertion (client, jti_sha256, until_us) VALUES (?1, ?2, ?3)",
            params![client.id, jti, until.as_microsecond()],
        )?;
        if first == 0 {
            return Ok(Granted::Replayed);
        }
        // There are as many tokens of clients as are asked for within their life, not as ever were.
        transaction.execute("DELETE FROM token WHERE client IS NOT NULL AND expires_us <= ?1", [now.as_microsecond()])?;
        let (user, holder) = (client.user(), Some(&*client.holder));
        let new = NewToken { user: &user, role: Role::Hospital, holder, issued: now, expires, client: Some((&client.id, scopes)) };
        let token = insert(&transaction, &new)?;
        transaction.commit()?;
        Ok(Granted::Token(token))
    }
}

const COLUMNS: &str = "id, holder, jwks, jwks_url, scopes, registered_us, revoked_us";

/// A row of the table `client`.
struct Stored {
    id: String,
    holder: String,
    set: Option<String>,
    url: Option<String>,
    scopes: String,
    registered_us: i64,
    revoked: bool,
}

impl Stored {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            holder: row.get(1)?,
            set: row.get(2)?,
            url: row.get(3)?,
            scopes: row.get(4)?,
            registered_us: row.get(5)?,
            revoked: row.get::<_, Option<i64>>(6)?.is_some(),
        })
    }

    fn client(self) -> Result<Client, AccessError> {
        let Self { id, holder, set, url, scopes, registered_us, revoked } = self;
        let unreadable = |what: &str| AccessError::Store(format!("the client `{id}` {what}"));
        let keys = set.map(ClientKeys::Set).or(url.map(ClientKeys::Url)).ok_or_else(|| unreadable("has no keys"))?;
        let scopes = stored_scopes(&scopes)?;
        let registered = Timestamp::from_microsecond(registered_us).map_err(|_| unreadable("has no time of registration"))?;
        Ok(Client { id, holder, keys, scopes, registered, revoked })
    }
}

/// Scopes as they were stored.
pub(super) fn stored_scopes(text: &str) -> Result<Scopes, AccessError> {
    Scopes::parse(text).map_err(|e| AccessError::Store(format!("stored scopes, which this version does not give: {e}")))
}

/// The scopes of a token's row.
pub(super) fn scopes_of(text: Option<String>) -> Result<Option<Arc<Scopes>>, AccessError> {
    text.map(|text| stored_scopes(&text).map(Arc::new)).transpose()
}

fn check(client: &Client) -> Result<(), AccessError> {
    let wrong = |what: String| Err(AccessError::Request(what));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/".contains(&b);
    if client.id.is_empty() || client.id.len() > MAX_CLIENT_ID_BYTES || !client.id.bytes().all(plain) {
        return wrong(format!("a client's id has 1 to {MAX_CLIENT_ID_BYTES} letters, digits and `-._~:/`"));
    }
    check_name("holder", &client.holder)?;
    match &client.keys {
        ClientKeys::Set(json) => _ = KeySet::parse(json.as_bytes()).map_err(|e| AccessError::Request(e.to_string()))?,
        ClientKeys::Url(url) if !is_safe_address(url) => {
            return wrong(format!("`{url}` is no address from which keys may come: https://... (http:// from this machine alone)"));
        }
        ClientKeys::Url(_) => {}
    }
    Ok(())
}
