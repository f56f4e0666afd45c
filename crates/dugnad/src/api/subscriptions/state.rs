//! How far each Subscription is: `subscriptions.sqlite` beside the database. The journal is the queue; here are only a place in it
//! for each, who asked for it, and which events were the last.
//!
//! It is written after what it says has happened, and synced by SQLite's checkpoints only: a crash takes back some of it, and what
//! was told since is told again. Without the file nobody is told anything until they ask again.

use crate::access::private_file;
use crate::api::ApiError;
use crate::limits::EVENTS_KEPT;
use dugnad_kernel::ids::{Commit, ResourceOrdinal};
use dugnad_kernel::search::execute::Cursor;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

const FILE: &str = "subscriptions.sqlite";

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
        PRIMARY KEY (holder, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS event (
        holder TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, commit_number INTEGER NOT NULL, resource INTEGER NOT NULL,
        PRIMARY KEY (holder, id, number)
    ) STRICT, WITHOUT ROWID;
";

/// A hospital's Subscription: its name and the logical id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The hospital.
    pub holder: String,
    /// The id.
    pub id: String,
}

/// What is known of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who asked for it.
    pub user: String,
    /// The version that the server made active; 0: none.
    pub activated: u64,
    /// The commit after which it counts; 0: it has not begun.
    pub begun: Commit,
    /// Up to here everybody was told.
    pub cursor: Cursor,
    /// How many events that were.
    pub events: u64,
}

/// The file.
pub struct State {
    store: Mutex<Connection>,
    timeline: String,
}

fn failed(error: &rusqlite::Error) -> ApiError {
    ApiError::internal(&format!("{FILE}: {error}"))
}

impl State {
    /// Opens or makes it. What was known on another timeline is forgotten: a restored database tells nobody of its own accord.
    pub fn open(dir: &Path, timeline: &str) -> Result<Self, ApiError> {
        let path = dir.join(FILE);
        private_file().create(true).truncate(false).open(&path).map_err(|e| ApiError::internal(&format!("{FILE}: {e}")))?;
        let open = || {
            let store = Connection::open(&path)?;
            store.pragma_update(None, "journal_mode", "WAL")?;
            store.pragma_update(None, "synchronous", "NORMAL")?;
            store.execute_batch(SCHEMA)?;
            store.execute(
                "DELETE FROM event WHERE (holder, id) IN (SELECT holder, id FROM subscription WHERE timeline <> ?1)",
                [timeline],
            )?;
            store.execute("DELETE FROM subscription WHERE timeline <> ?1", [timeline])?;
            Ok(store)
        };
        let store = open().map_err(|e| failed(&e))?;
        Ok(Self { store: Mutex::new(store), timeline: timeline.to_owned() })
    }

    fn store(&self) -> MutexGuard<'_, Connection> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, sql: &str, with: impl rusqlite::Params) -> Result<(), ApiError> {
        let store = self.store();
        let run = || store.prepare_cached(sql)?.execute(with);
        run().map(|_| ()).map_err(|e| failed(&e))
    }

    /// Somebody has written it: it is to be judged anew, and goes on from where it was.
    pub fn written(&self, key: &Key, user: &str) -> Result<(), ApiError> {
        self.run(
            "INSERT INTO subscription (holder, id, timeline, user, activated, begun, commit_number, resource, events)
             VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0, 0) ON CONFLICT (holder, id) DO UPDATE SET user = excluded.user, activated = 0",
            params![key.holder, key.id, self.timeline, user],
        )
    }

    /// What is known of one.
    pub fn row(&self, key: &Key) -> Result<Option<Row>, ApiError> {
        let store = self.store();
        let find = || {
            let sql = "SELECT user, activated, begun, commit_number, resource, events FROM subscription WHERE holder = ?1 AND id = ?2";
            let read = |r: &rusqlite::Row<'_>| {
                Ok(Row {
                    user: r.get(0)?,
                    activated: r.get(1)?,
                    begun: Commit(r.get(2)?),
                    cursor: Cursor { commit: Commit(r.get(3)?), resource: ResourceOrdinal(r.get(4)?) },
                    events: r.get(5)?,
                })
            };
            store.prepare_cached(sql)?.query_row(params![key.holder, key.id], read).optional()
        };
        find().map_err(|e| failed(&e))
    }

    /// How many are active: of a hospital, and in all.
    pub fn active(&self, holder: &str) -> Result<(usize, usize), ApiError> {
        let store = self.store();
        let count = || {
            let sql = "SELECT coalesce(sum(holder = ?1), 0), count(*) FROM subscription WHERE activated > 0";
            store.prepare_cached(sql)?.query_row([holder], |r| Ok((r.get(0)?, r.get(1)?)))
        };
        count().map_err(|e| failed(&e))
    }

    /// The server makes this version active. If it has not begun, it counts from the commit `from` on.
    pub fn activate(&self, key: &Key, version: u64, from: Cursor) -> Result<(), ApiError> {
        self.run(
            "UPDATE subscription SET activated = ?3, begun = CASE begun WHEN 0 THEN ?4 ELSE begun END,
             resource = CASE begun WHEN 0 THEN ?5 ELSE resource END, commit_number = CASE begun WHEN 0 THEN ?4 ELSE commit_number END
             WHERE holder = ?1 AND id = ?2",
            params![key.holder, key.id, version, from.commit.0, from.resource.0],
        )
    }

    /// It is not active any more. It keeps its place, unless it is over.
    pub fn deactivate(&self, key: &Key, over: bool) -> Result<(), ApiError> {
        self.run(
            "UPDATE subscription SET activated = 0, begun = CASE ?3 WHEN 1 THEN 0 ELSE begun END, events = CASE ?3 WHEN 1 THEN 0 ELSE events END
             WHERE holder = ?1 AND id = ?2",
            params![key.holder, key.id, over],
        )?;
        if over { self.run("DELETE FROM event WHERE holder = ?1 AND id = ?2", params![key.holder, key.id]) } else { Ok(()) }
    }

    /// It was deleted.
    pub fn forget(&self, key: &Key) -> Result<(), ApiError> {
        self.run("DELETE FROM event WHERE holder = ?1 AND id = ?2", params![key.holder, key.id])?;
        self.run("DELETE FROM subscription WHERE holder = ?1 AND id = ?2", params![key.holder, key.id])
    }

    /// Everything up to `upto` was told: these events, numbered on from those before, and nothing else.
    pub fn told(&self, key: &Key, upto: Cursor, first: u64, events: &[Cursor]) -> Result<(), ApiError> {
        let store = self.store();
        let write = || {
            let transaction = store.unchecked_transaction()?;
            let last = first + events.len() as u64 - u64::from(!events.is_empty());
            let sql = "UPDATE subscription SET commit_number = ?3, resource = ?4, events = CASE ?6 WHEN 1 THEN ?5 ELSE events END
                       WHERE holder = ?1 AND id = ?2";
            let some = !events.is_empty();
            transaction.prepare_cached(sql)?.execute(params![key.holder, key.id, upto.commit.0, upto.resource.0, last, some])?;
            for (number, at) in (first..).zip(events) {
                let sql = "INSERT OR REPLACE INTO event (holder, id, number, commit_number, resource) VALUES (?1, ?2, ?3, ?4, ?5)";
                transaction.prepare_cached(sql)?.execute(params![key.holder, key.id, number, at.commit.0, at.resource.0])?;
            }
            if some {
                let sql = "DELETE FROM event WHERE holder = ?1 AND id = ?2 AND number <= ?3";
                transaction.prepare_cached(sql)?.execute(params![key.holder, key.id, last.saturating_sub(EVENTS_KEPT)])?;
            }
            transaction.commit()
        };
        write().map_err(|e| failed(&e))
    }

    /// The events of these numbers, both included, that are still known, at most `count`.
    pub fn events(&self, key: &Key, from: u64, to: u64, count: usize) -> Result<Vec<(u64, Cursor)>, ApiError> {
        let store = self.store();
        let find = || {
            let sql = "SELECT number, commit_number, resource FROM event WHERE holder = ?1 AND id = ?2 AND number BETWEEN ?3 AND ?4
                       ORDER BY number LIMIT ?5";
            let read = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, Cursor { commit: Commit(r.get(1)?), resource: ResourceOrdinal(r.get(2)?) }));
            let mut statement = store.prepare_cached(sql)?;
            statement
                .query_map(params![key.holder, key.id, from, to.min(i64::MAX.unsigned_abs()), count], read)?
                .collect::<Result<Vec<_>, _>>()
        };
        find().map_err(|e| failed(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(commit: u64) -> Cursor {
        Cursor { commit: Commit(commit), resource: ResourceOrdinal(7) }
    }

    #[test]
    fn a_place_outlives_errors_and_not_what_is_over() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let key = Key { holder: "Haukeland".to_owned(), id: "s".to_owned() };
        let state = State::open(dir.path(), "one")?;
        assert_eq!(state.row(&key)?, None);
        state.written(&key, "kari")?;
        state.activate(&key, 2, at(5))?;
        state.told(&key, at(9), 1, &[at(6), at(9)])?;
        state.told(&key, at(12), 3, &[])?;
        let row = state.row(&key)?.ok_or("it is there")?;
        assert_eq!((row.cursor, row.events, row.begun, state.active("Haukeland")?), (at(12), 2, Commit(5), (1, 1)));
        // Given up, asked for again by somebody else: on from where it stopped.
        state.deactivate(&key, false)?;
        state.written(&key, "ola")?;
        state.activate(&key, 5, at(40))?;
        let state = State::open(dir.path(), "one")?;
        let row = state.row(&key)?.ok_or("it is there")?;
        assert_eq!((row.user.as_str(), row.activated, row.cursor, row.begun), ("ola", 5, at(12), Commit(5)));
        assert_eq!(state.events(&key, 2, u64::MAX, 9)?, [(2, at(9))]);
        // Off, and on again: anew.
        state.deactivate(&key, true)?;
        state.activate(&key, 7, at(50))?;
        let row = state.row(&key)?.ok_or("it is there")?;
        assert_eq!((row.cursor, row.events), (at(50), 0));
        assert!(state.events(&key, 0, 9, 9)?.is_empty());
        drop(state);
        assert_eq!(State::open(dir.path(), "two")?.row(&key)?, None, "another timeline");
        Ok(())
    }
}
