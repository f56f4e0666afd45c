//! How many resources a second a fresh database takes durably, all built-in views live, without HTTP and audit log:
//! `cargo run -p dugnad-kernel --example ingest_throughput -- FOLDER_OF_TRANSACTION_BUNDLES [THREADS [DATA_FOLDER]]`.

use dugnad_kernel::clock::SystemClock;
use dugnad_kernel::database::{Database, Handling, Interaction, WriteRequest};
use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().ok_or("usage: ingest_throughput FOLDER [THREADS [DATA_FOLDER]]")?;
    let threads: usize = arguments.get(1).map_or(Ok(4), |n| n.parse())?;
    let mut bundles = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        bundles.push(std::fs::read(entry?.path())?);
    }
    let bytes: usize = bundles.iter().map(Vec::len).sum();
    let held = tempfile::tempdir()?;
    let dir = arguments.get(2).map_or(held.path(), Path::new);
    let database = Database::open(dir, Arc::new(SystemClock), &mut |_, _| {})?;
    let holder = database.register_holder("Benchmark")?.id;
    let (written, refused, queue) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(bundles.into_iter()));
    let waited = AtomicU64::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(body) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
                    let interaction = Interaction::Transaction { body };
                    let sent = Instant::now();
                    match database.write(WriteRequest { holder, interaction, handling: Handling::Lenient, idempotency_key: None }) {
                        Ok(outcome) => written.fetch_add(outcome.entries.len(), Ordering::Relaxed),
                        Err(error) => {
                            eprintln!("{error}");
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                    waited.fetch_add(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
            });
        }
    });
    let (seconds, written) = (started.elapsed().as_secs_f64(), written.into_inner());
    println!(
        "{written} resources ({:.0} MB) in {seconds:.2} s: {:.0}/s, {:.0} MB/s; {} bundles refused; {threads} threads, {:.0} ms a write",
        bytes as f64 / 1e6,
        written as f64 / seconds,
        bytes as f64 / 1e6 / seconds,
        refused.into_inner(),
        waited.into_inner() as f64 / 1e3 / 365.0,
    );
    database.close();
    Ok(())
}
