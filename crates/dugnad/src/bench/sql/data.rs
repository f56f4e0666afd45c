//! The database that is asked: the feed's history, a permit over everyone, and the same rows as Parquet for the other engine.

use crate::access::{Principal, Role};
use crate::cli::CliError;
use crate::cli::local::Local;
use crate::feed::{self, Feed, Transaction};
use crate::query::Question;
use crate::query::format::{Format, encode};
use dugnad_kernel::database::{Handling, Interaction, WriteError, WriteRequest};
use dugnad_kernel::ids::Commit;
use dugnad_kernel::permit::Permit;
use futures::StreamExt;
use jiff::{Timestamp, ToSpan};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

/// The permit that is asked under.
const PERMIT: &str = "bench-sql";

/// Resources of a patient's story in the feed's history, about.
const STORY_RESOURCES: usize = 33;

/// How many threads write the history.
const WRITERS: usize = 8;

/// The tables that questions name.
pub(super) const TABLES: [&str; 7] =
    ["observation", "condition", "encounter", "patient", "procedure", "medication_administration", "immunization"];

/// Writes stories of the feed until there are about `resources`. How many there are.
pub(in crate::bench) fn fill(local: &Local, resources: usize) -> Result<u64, CliError> {
    let now = Timestamp::now();
    let mut feed = Feed::new(1, (resources / STORY_RESOURCES).max(1), now);
    let holders: Result<Vec<_>, _> = feed::hospitals().iter().map(|h| local.database.register_holder(h.name)).collect();
    let holders = holders.map_err(CliError::failed)?;
    let transactions = Mutex::new(feed.history(now));
    let work = || -> Result<(), CliError> {
        loop {
            let next = transactions.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(Transaction { hospital, bundle, .. }) = next else { return Ok(()) };
            let Some(holder) = holders.get(hospital) else { continue };
            let interaction = Interaction::Transaction { body: bundle };
            let request = WriteRequest { holder: holder.id, interaction, handling: Handling::Strict, idempotency_key: None };
            while let Err(error) = local.database.write(request.clone()) {
                match error {
                    WriteError::Busy { .. } => std::thread::sleep(Duration::from_millis(5)),
                    error => return Err(CliError::failed(error)),
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(work)).collect();
        let joined = |w: std::thread::ScopedJoinHandle<'_, _>| {
            w.join().unwrap_or_else(|_| Err(CliError::Failed("the history could not be made".to_owned())))
        };
        writers.into_iter().try_for_each(joined)
    })?;
    Ok(local.database.counters().resources.iter().map(|(_, n)| n).sum())
}

/// Somebody who asks under a permit over everyone.
pub(super) struct Asker<'l> {
    local: &'l Local,
    runtime: Runtime,
    who: Principal,
}

impl<'l> Asker<'l> {
    pub fn new(local: &'l Local) -> Result<Self, CliError> {
        grant(local)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(CliError::failed)?;
        let who = Principal { inside_spe: true, ..Principal::new("authority", Role::Authority, None) };
        Ok(Self { local, runtime, who })
    }

    /// Asks, and reads the whole answer in a format, chunk by chunk.
    pub fn ask(
        &self,
        sql: &str,
        as_of: Option<Commit>,
        format: Format,
        mut each: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let question =
            Question { who: self.who.clone(), interface: "cli", permit: PERMIT.to_owned(), sql: sql.to_owned(), as_of, min_commit: None };
        self.runtime.block_on(async {
            let answer = self.local.query.ask(question).await.map_err(|e| CliError::Failed(format!("{e}: {sql}")))?;
            let mut chunks = encode(answer, format);
            while let Some(chunk) = chunks.next().await {
                each(&chunk.map_err(|e| CliError::Failed(format!("{e}: {sql}")))?)?;
            }
            Ok(())
        })
    }

    /// Asks, and reads the rows as batches, as a program that uses the database does.
    pub fn run(&self, sql: &str, as_of: Option<Commit>) -> Result<usize, CliError> {
        let question =
            Question { who: self.who.clone(), interface: "cli", permit: PERMIT.to_owned(), sql: sql.to_owned(), as_of, min_commit: None };
        self.runtime.block_on(async {
            let mut answer = self.local.query.ask(question).await.map_err(CliError::failed)?;
            let mut rows = 0;
            while let Some(batch) = answer.batches.next().await {
                rows += batch.map_err(CliError::failed)?.num_rows();
            }
            Ok(rows)
        })
    }

    /// Writes all tables as Parquet files; their paths by name.
    pub fn export(&self, dir: &Path, as_of: Option<Commit>) -> Result<BTreeMap<String, PathBuf>, CliError> {
        std::fs::create_dir_all(dir).map_err(CliError::failed)?;
        let export = |table: &&str| {
            let path = dir.join(format!("{table}.parquet"));
            let mut file = std::io::BufWriter::new(std::fs::File::create(&path).map_err(CliError::failed)?);
            let write = |bytes: &[u8]| file.write_all(bytes).map_err(CliError::failed);
            self.ask(&format!("SELECT * FROM {table}"), as_of, Format::Parquet, write)?;
            file.flush().map_err(CliError::failed)?;
            Ok(((*table).to_owned(), path))
        };
        TABLES.iter().map(export).collect()
    }
}

/// A live permit over everyone, for the user `authority`; its id.
pub(in crate::bench) fn grant(local: &Local) -> Result<&'static str, CliError> {
    let now = local.clock.now();
    let until = now.checked_add(24.hours() * 36_500).unwrap_or(now);
    let tables: Vec<_> = TABLES.iter().chain(&["treatment"]).map(|table| json!({"table": table, "columns": "all"})).collect();
    let permit = json!({
        "id": PERMIT, "basis": "statutory_register", "applicant": "a public authority", "users": ["authority"],
        "purpose": "Measuring", "valid_from": "2020-01-01T00:00:00Z", "valid_until": until, "status": "active",
        "decision": {"by": "centre", "at": now, "reasons": "Made for a benchmark; nobody in the data exists."},
        "provision": {"law": "made up for the benchmark", "retention": "P7D"},
        "tables": tables,
        "population": "everyone", "cadence": "live", "cadence_reason": "Speed is what is measured", "delivery": "enclave",
    });
    let text = permit.to_string();
    Permit::parse(&text).map_err(CliError::failed)?;
    local.database.put_document("permit", PERMIT, &text).map_err(CliError::failed)?;
    Ok(PERMIT)
}
