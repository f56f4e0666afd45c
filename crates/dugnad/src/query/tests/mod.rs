#![expect(clippy::unwrap_used, reason = "tests")]

mod attacks;
mod hospital;
mod numbers;
mod plans;
mod run;
mod service;
mod session;

use super::session::Session;
use super::world::World;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use dugnad_sql::QueryError;
use futures::TryStreamExt;
pub(super) use hospital::{Hospital, codes, grant};

/// A runtime whose threads have the stack that questions get.
pub(super) fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(crate::limits::QUERY_STACK_BYTES);
        thread.spawn_scoped(scope, run).unwrap().join().unwrap()
    })
}

/// The answer to a question in a world.
pub(super) fn ask(world: &World, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    block_on(async {
        let planned = Session::open(world).await?.plan(sql).await?;
        let batches = planned.execute().map_err(QueryError::running)?;
        batches.try_collect().await.map_err(QueryError::running)
    })
}

/// The same as rows of text, cells separated by a bar.
pub(super) fn rows(world: &World, sql: &str) -> Vec<String> {
    let batches = ask(world, sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let table = pretty_format_batches(&batches).unwrap().to_string();
    let row = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|");
    table.lines().filter(|l| l.starts_with('|')).skip(1).map(row).collect()
}

/// The message of a refusal.
pub(super) fn refusal(world: &World, sql: &str) -> String {
    match ask(world, sql) {
        Err(error) => error.to_string(),
        Ok(batches) => panic!("answered {} with {} batches", sql.chars().take(200).collect::<String>(), batches.len()),
    }
}
