//! Making a journal, and bringing an older one to this program's format.

use super::JournalError;
use crate::ids::Timeline;
use rand::RngExt;
use rusqlite::Connection;

/// The format that this program writes.
pub(super) const FORMAT: &str = "3";

/// What format 2 has more than format 1.
const SECOND: &str = "
    CREATE TABLE erasure (
        person BLOB PRIMARY KEY, patient INTEGER, commit_number INTEGER NOT NULL, reason TEXT NOT NULL, until INTEGER NOT NULL,
        done_us INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE person_identifier (hash BLOB NOT NULL, patient INTEGER NOT NULL, PRIMARY KEY (hash, patient)) WITHOUT ROWID;
    CREATE INDEX person_identifier_by_patient ON person_identifier (patient);
    CREATE TABLE person_link (patient INTEGER NOT NULL, other INTEGER NOT NULL, PRIMARY KEY (patient, other)) WITHOUT ROWID;
    CREATE INDEX person_link_by_other ON person_link (other);
    CREATE TABLE person_change (
        sequence INTEGER PRIMARY KEY, commit_number INTEGER NOT NULL, patient INTEGER NOT NULL, person INTEGER NOT NULL
    );";

/// What format 3 has more than format 2. Every row is written anew: one that lacks the column would grow when it is erased, and what
/// is erased is overwritten in place.
const THIRD: &str = "ALTER TABLE version ADD COLUMN method INTEGER; UPDATE version SET method = NULL;";

/// What `format` is while an older journal has all the tables and columns, and its file is not yet written anew.
const UNCLEAN: &str = "3, to be written anew";

/// Makes the tables, or brings those of an older format to this one. Any other format is refused.
pub(super) fn settle(connection: &Connection) -> Result<(), JournalError> {
    let made: bool = connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'meta')", [], |r| r.get(0))?;
    if !made {
        let schema = include_str!("schema.sql");
        let centre = "INSERT INTO holder VALUES (0, 'centre');";
        let format = format!("INSERT INTO meta VALUES ('format', '{FORMAT}');");
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {schema} {centre} {format} {} INSERT INTO meta VALUES ('persons', '1'); COMMIT;",
            drawn()
        ))?;
        return Ok(());
    }
    let format: String = connection.query_row("SELECT value FROM meta WHERE key = 'format'", [], |r| r.get(0))?;
    match format.as_str() {
        FORMAT => Ok(()),
        "1" => upgrade(connection, &format!("{SECOND} {THIRD} {}", drawn())),
        "2" => upgrade(connection, THIRD),
        UNCLEAN => write_anew(connection),
        _ => Err(JournalError::Format(format)),
    }
}

/// Whether journals of a format that this program can open say of which timeline they are; the first did not.
pub(super) fn has_timeline(format: &str) -> bool {
    [FORMAT, UNCLEAN, "2"].contains(&format)
}

fn upgrade(connection: &Connection, changes: &str) -> Result<(), JournalError> {
    tracing::info!("the journal has an older format and is written anew, once; this needs as much free disk as it is large");
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {changes} {} COMMIT;", now_is(UNCLEAN)))?;
    write_anew(connection)
}

/// Format 1 was written without `secure_delete`, and rows have moved since: pages may hold copies of what moved out of them, which no
/// purge would find. A crash on the way leaves [`UNCLEAN`], and it begins again.
fn write_anew(connection: &Connection) -> Result<(), JournalError> {
    connection.execute_batch(&format!("VACUUM; {}", now_is(FORMAT)))?;
    Ok(())
}

fn now_is(format: &str) -> String {
    format!("UPDATE meta SET value = '{format}' WHERE key = 'format';")
}

/// What is random in a journal: its timeline, and the key under which erased persons are named.
fn drawn() -> String {
    let mut rng = rand::rng();
    let key: String = rng.random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
    let timeline = Timeline::new(rng.random());
    format!("INSERT INTO meta VALUES ('timeline', '{timeline}'), ('erasure_key', '{key}');")
}

/// Starts a new timeline in a journal that nobody has open.
pub(super) fn draw_timeline(connection: &Connection) -> Result<Timeline, JournalError> {
    let timeline = Timeline::new(rand::rng().random());
    connection.execute("UPDATE meta SET value = ?1 WHERE key = 'timeline'", [timeline.to_string()])?;
    Ok(timeline)
}
