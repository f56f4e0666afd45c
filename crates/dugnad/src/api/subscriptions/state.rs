//! How far each Subscription is: `subscriptions.sqlite` beside the database. The journal is the queue; here are only a place in it
//! for each, who asked for it, and which events were the last.
//!
//! Who asked for what, and what was made active, is synced before anybody is answered. A place is written after what it says has
//! happened, and synced by the next of those or by SQLite's checkpoints: a crash takes back some of it, and what was told since is
//! told again. What the server does about a version is conditional on the write that it has looked at: somebody may have written
//! another one meanwhile. Without the file nobody is told anything until they ask again.

use crate::access::{add_column, private_file};
use crate::api::ApiError;
use crate::limits::{EVENTS_KEPT, MAX_SUBSCRIPTIONS, MAX_SUBSCRIPTIONS_OF_ONE};
use dugnad_kernel::database::end_of;
use dugnad_kernel::ids::{Commit, ResourceOrdinal};
use dugnad_kernel::limits::MAX_NOTIFICATION_EVENTS;
use dugnad_kernel::search::execute::Cursor;
use dugnad_kernel::subscription::Status;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(test)]
mod tests;

/// The file's name.
pub const FILE: &str = "subscriptions.sqlite";

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS subscription (
        holder TEXT NOT NULL,
        id TEXT NOT NULL,
        timeline TEXT NOT NULL,
        user TEXT NOT NULL,         -- who wrote its newest version
        activated INTEGER NOT NULL, -- the version that the server made active, 0: none
        begun INTEGER NOT NULL,     -- the commit after which it counts, 0: not yet
        commit_number INTEGER NOT NULL, resource INTEGER NOT NULL, -- the last place that was told of
        events INTEGER NOT NULL,
        written INTEGER NOT NULL DEFAULT 0, -- the newest version that somebody wrote, 0: on another timeline
        status TEXT NOT NULL DEFAULT 'requested',
        PRIMARY KEY (holder, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS event (
        holder TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, commit_number INTEGER NOT NULL, resource INTEGER NOT NULL,
        PRIMARY KEY (holder, id, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS subscription_active ON subscription (holder) WHERE activated > 0;
";

/// A hospital's Subscription: its name and the logical id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The hospital.
    pub holder: String,
    /// The id.
    pub id: String,
}

/// What somebody has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Of which Subscription.
    pub key: Key,
    /// The version.
    pub version: u64,
    /// Whether it is a deletion.
    pub gone: bool,
}

/// What is known of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who asked for it.
    pub user: String,
    /// The newest version that somebody wrote.
    pub written: u64,
    /// The version that the server made active; 0: none.
    pub activated: u64,
    /// The commit after which it counts; 0: it has not begun.
    pub begun: Commit,
    /// Up to here everybody was told.
    pub cursor: Cursor,
    /// How many events that were.
    pub events: u64,
}

impl Row {
    /// Whether it is of this version: somebody wrote it, or the server made it.
    pub fn knows(&self, version: u64) -> bool {
        [self.written, self.activated].contains(&version)
    }

    /// Whether it was known on another timeline only.
    pub fn is_restored(&self) -> bool {
        (self.written, self.activated) == (0, 0)
    }
}

/// What came of making one active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// It is.
    Done,
    /// Somebody has written another version.
    Overtaken,
    /// As many of the hospital's are as may be.
    ManyOfHolder,
    /// As many are as may be.
    Many,
}

/// The file.
pub struct State {
    store: Mutex<Connection>,
    timeline: String,
}

fn failed(error: &rusqlite::Error) -> ApiError {
    ApiError::internal(&format!("{FILE}: {error}"))
}

/// Opens the file with its tables; of an earlier version, with the columns that it lacks.
fn opened(path: &Path) -> rusqlite::Result<Connection> {
    let store = Connection::open(path)?;
    store.pragma_update(None, "journal_mode", "WAL")?;
    store.pragma_update(None, "synchronous", "NORMAL")?;
    store.execute_batch(SCHEMA)?;
    for (column, of) in [("written", "INTEGER NOT NULL DEFAULT 0"), ("status", "TEXT NOT NULL DEFAULT 'requested'")] {
        add_column(&store, "subscription", column, of)?;
    }
    Ok(store)
}

fn transact<T>(store: &Connection, job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let transaction = store.unchecked_transaction()?;
    let done = job(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

/// Whether there is room for one beside the others that are active; if not, why.
fn room(store: &Connection, key: &Key) -> rusqlite::Result<Activation> {
    let sql = "SELECT coalesce(sum(holder = ?1), 0), count(*) FROM subscription WHERE activated > 0 AND (holder <> ?1 OR id <> ?2)";
    let (own, all): (usize, usize) = store.prepare_cached(sql)?.query_row(params![key.holder, key.id], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(if own >= MAX_SUBSCRIPTIONS_OF_ONE {
        Activation::ManyOfHolder
    } else if all >= MAX_SUBSCRIPTIONS {
        Activation::Many
    } else {
        Activation::Done
    })
}

fn forget(transaction: &Transaction<'_>, key: &Key, written: u64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM subscription WHERE holder = ?1 AND id = ?2 AND written <= ?3";
    if transaction.prepare_cached(sql)?.execute(params![key.holder, key.id, written])? > 0 {
        forget_events(transaction, key)?;
    }
    Ok(())
}

fn forget_events(transaction: &Transaction<'_>, key: &Key) -> rusqlite::Result<()> {
    let sql = "DELETE FROM event WHERE holder = ?1 AND id = ?2";
    transaction.prepare_cached(sql)?.execute(params![key.holder, key.id]).map(drop)
}

fn put_events(transaction: &Transaction<'_>, key: &Key, events: &[(u64, Cursor)]) -> rusqlite::Result<()> {
    for (number, at) in events {
        let sql = "INSERT OR REPLACE INTO event (holder, id, number, commit_number, resource) VALUES (?1, ?2, ?3, ?4, ?5)";
        transaction.prepare_cached(sql)?.execute(params![key.holder, key.id, number, at.commit.0, at.resource.0])?;
    }
    Ok(())
}

impl State {
    /// Opens or makes it. Of what was known on another timeline only who asked is kept: a restored database tells nobody of its own
    /// accord, and its commits are others.
    pub fn open(dir: &Path, timeline: &str) -> Result<Self, ApiError> {
        let path = dir.join(FILE);
        private_file().create(true).truncate(false).open(&path).map_err(|e| ApiError::internal(&format!("{FILE}: {e}")))?;
        let open = || {
            let store = opened(&path)?;
            let of_others = "DELETE FROM event WHERE (holder, id) IN (SELECT holder, id FROM subscription WHERE timeline <> ?1)";
            store.execute(of_others, [timeline])?;
            store.execute(
                "UPDATE subscription SET timeline = ?1, written = 0, activated = 0, begun = 0, events = 0, status = 'error'
                 WHERE timeline <> ?1",
                [timeline],
            )?;
            Ok(store)
        };
        let store = open().map_err(|e| failed(&e))?;
        Ok(Self { store: Mutex::new(store), timeline: timeline.to_owned() })
    }

    fn store(&self) -> MutexGuard<'_, Connection> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transact<T>(&self, job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, ApiError> {
        transact(&self.store(), job).map_err(|e| failed(&e))
    }

    /// The same, durable on return.
    fn transact_durably<T>(&self, job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, ApiError> {
        let store = self.store();
        let synced = |how: &str| store.pragma_update(None, "synchronous", how);
        let done = synced("FULL").and_then(|()| transact(&store, job));
        synced("NORMAL").and(done).map_err(|e| failed(&e))
    }

    /// Somebody has written these in a commit: they are to be judged anew, and go on from where they were; those that had no place
    /// count from this commit on. Durable on return.
    pub fn written(&self, user: &str, commit: Commit, all: &[Written]) -> Result<(), ApiError> {
        let from = end_of(commit);
        self.transact_durably(|transaction| {
            for Written { key, version, gone } in all {
                if *gone {
                    forget(transaction, key, *version)?;
                    continue;
                }
                let sql = "INSERT INTO subscription
                     (holder, id, timeline, user, written, activated, begun, commit_number, resource, events, status)
                     VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?6, ?7, 0, 'requested') ON CONFLICT (holder, id) DO UPDATE SET
                     user = excluded.user, written = excluded.written,
                     activated = CASE WHEN excluded.written > written THEN 0 ELSE activated END,
                     status = CASE WHEN excluded.written > written THEN 'requested' ELSE status END,
                     begun = CASE begun WHEN 0 THEN excluded.begun ELSE begun END,
                     resource = CASE begun WHEN 0 THEN excluded.resource ELSE resource END,
                     commit_number = CASE begun WHEN 0 THEN excluded.commit_number ELSE commit_number END
                     WHERE excluded.written >= written";
                let with = params![key.holder, key.id, self.timeline, user, version, from.commit.0, from.resource.0];
                transaction.prepare_cached(sql)?.execute(with)?;
            }
            Ok(())
        })
    }

    /// What is known of one.
    pub fn row(&self, key: &Key) -> Result<Option<Row>, ApiError> {
        let store = self.store();
        let find = || {
            let sql =
                "SELECT user, written, activated, begun, commit_number, resource, events FROM subscription WHERE holder = ?1 AND id = ?2";
            let read = |r: &rusqlite::Row<'_>| {
                Ok(Row {
                    user: r.get(0)?,
                    written: r.get(1)?,
                    activated: r.get(2)?,
                    begun: Commit(r.get(3)?),
                    cursor: Cursor { commit: Commit(r.get(4)?), resource: ResourceOrdinal(r.get(5)?) },
                    events: r.get(6)?,
                })
            };
            store.prepare_cached(sql)?.query_row(params![key.holder, key.id], read).optional()
        };
        find().map_err(|e| failed(&e))
    }

    /// All that something is known of: of a hospital, or of all.
    pub fn keys(&self, holder: Option<&str>) -> Result<Vec<Key>, ApiError> {
        let store = self.store();
        let find = || {
            let mut statement = store.prepare_cached("SELECT holder, id FROM subscription WHERE ?1 IS NULL OR holder = ?1")?;
            statement.query_map([holder], |r| Ok(Key { holder: r.get(0)?, id: r.get(1)? }))?.collect::<Result<Vec<_>, _>>()
        };
        find().map_err(|e| failed(&e))
    }

    /// How many have each status.
    pub fn by_status(&self) -> Result<Vec<(String, u64)>, ApiError> {
        let store = self.store();
        let count = || {
            let mut statement = store.prepare_cached("SELECT status, count(*) FROM subscription GROUP BY status")?;
            statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<Vec<_>, _>>()
        };
        count().map_err(|e| failed(&e))
    }

    /// The server makes `version` active, having looked at what was `written`, if there is room. Durable on return.
    pub fn activate(&self, key: &Key, written: u64, version: u64) -> Result<Activation, ApiError> {
        self.transact_durably(|transaction| {
            let room = room(transaction, key)?;
            if room != Activation::Done {
                return Ok(room);
            }
            let sql = "UPDATE subscription SET activated = ?3, status = 'active' WHERE holder = ?1 AND id = ?2 AND written = ?4";
            let changed = transaction.prepare_cached(sql)?.execute(params![key.holder, key.id, version, written])?;
            Ok(if changed > 0 { Activation::Done } else { Activation::Overtaken })
        })
    }

    /// What would come of making one active now.
    pub fn room(&self, key: &Key) -> Result<Activation, ApiError> {
        room(&self.store(), key).map_err(|e| failed(&e))
    }

    /// The version that was to be active was not written: somebody was quicker.
    pub fn not_activated(&self, key: &Key, version: u64) -> Result<(), ApiError> {
        let sql = "UPDATE subscription SET activated = 0, status = 'requested' WHERE holder = ?1 AND id = ?2 AND activated = ?3";
        self.transact(|transaction| transaction.prepare_cached(sql)?.execute(params![key.holder, key.id, version]).map(drop))
    }

    /// What was `written` is not active any more. It keeps its place; if it is off, it is over.
    pub fn deactivate(&self, key: &Key, written: u64, status: Status) -> Result<(), ApiError> {
        let over = status == Status::Off;
        self.transact(|transaction| {
            let sql = "UPDATE subscription SET activated = 0, status = ?4, begun = CASE ?5 WHEN 1 THEN 0 ELSE begun END,
                       events = CASE ?5 WHEN 1 THEN 0 ELSE events END WHERE holder = ?1 AND id = ?2 AND written = ?3";
            let changed = transaction.prepare_cached(sql)?.execute(params![key.holder, key.id, written, status.code(), over])?;
            if over && changed > 0 { forget_events(transaction, key) } else { Ok(()) }
        })
    }

    /// What was `written` is not there any more.
    pub fn forget(&self, key: &Key, written: u64) -> Result<(), ApiError> {
        self.transact(|transaction| forget(transaction, key, written))
    }

    /// These are about to be sent, under numbers beyond those that were told of: each is sent again under its own, and no other event
    /// under it, also if it is erased before it was taken.
    pub fn sending(&self, key: &Key, events: &[(u64, Cursor)]) -> Result<(), ApiError> {
        self.transact(|transaction| put_events(transaction, key, events))
    }

    /// Those that were sent, and that nobody has taken yet.
    pub fn sent(&self, key: &Key, told: u64) -> Result<Vec<(u64, Cursor)>, ApiError> {
        self.events(key, told + 1, u64::MAX, MAX_NOTIFICATION_EVENTS)
    }

    /// Everything up to `upto` was told: these events by their numbers, and nothing else. Nothing is done if its place is there already
    /// or beyond: it was begun anew meanwhile.
    pub fn told(&self, key: &Key, upto: Cursor, events: &[(u64, Cursor)]) -> Result<(), ApiError> {
        let last = events.last().map(|(number, _)| *number);
        self.transact(|transaction| {
            let sql = "UPDATE subscription SET commit_number = ?3, resource = ?4, events = coalesce(?5, events)
                       WHERE holder = ?1 AND id = ?2 AND begun > 0 AND (commit_number, resource) < (?3, ?4)";
            let with = params![key.holder, key.id, upto.commit.0, upto.resource.0, last];
            if transaction.prepare_cached(sql)?.execute(with)? == 0 {
                return Ok(());
            }
            put_events(transaction, key, events)?;
            let sql = "DELETE FROM event WHERE holder = ?1 AND id = ?2 AND number <= ?3";
            let kept_after = last.unwrap_or(0).saturating_sub(EVENTS_KEPT);
            transaction.prepare_cached(sql)?.execute(params![key.holder, key.id, kept_after]).map(drop)
        })
    }

    /// The events of these numbers, both included, that are still known, at most `count`.
    pub fn events(&self, key: &Key, from: u64, to: u64, count: usize) -> Result<Vec<(u64, Cursor)>, ApiError> {
        let (store, most) = (self.store(), i64::MAX.unsigned_abs());
        let find = || {
            let sql = "SELECT number, commit_number, resource FROM event WHERE holder = ?1 AND id = ?2 AND number BETWEEN ?3 AND ?4
                       ORDER BY number LIMIT ?5";
            let read = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, Cursor { commit: Commit(r.get(1)?), resource: ResourceOrdinal(r.get(2)?) }));
            let mut statement = store.prepare_cached(sql)?;
            statement.query_map(params![key.holder, key.id, from.min(most), to.min(most), count], read)?.collect::<Result<Vec<_>, _>>()
        };
        find().map_err(|e| failed(&e))
    }
}
