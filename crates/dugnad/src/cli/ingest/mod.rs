//! `dugnad ingest`.

mod progress;
mod report;
mod sink;

use super::{At, CliError, Place};
use crate::intake::source::{Files, Unit, read_file};
use crate::intake::{Sink, plan};
use crate::limits::INGEST_QUEUE;
use clap::{Args, ValueEnum};
use dugnad_kernel::database::Handling;
use progress::Progress;
pub(crate) use report::Report;
pub(crate) use sink::{Folder, Server};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Take in FHIR R4: bundles, resources, NDJSON, folders and archives of them.
///
/// A Bundle of type transaction is taken as a whole or not at all, one of type batch entry by entry; any other resource is
/// taken under its id (or a new one, if it has none). Lines of NDJSON are taken one by one: a bad line spoils no other.
/// Sending the same file twice changes nothing. A resource with an id is as it was sent last: it is restored if it was
/// changed or deleted since. What has no id, and a Bundle, is known by its content: it is taken once, whatever came after.
///
/// stdout gets a table by resource type at the end (with --server, what has an id counts as taken, changed or not); stderr
/// every refusal with file, entry, place in the resource and reason. The exit code is 0 only if everything was taken.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad ingest --data ./db --holder 'Haukeland' bundles/ more.tar.zst
  dugnad ingest --server http://127.0.0.1:8080 --token \"$TOKEN\" --holder 'Haukeland' Patient.ndjson.gz
  dugnad ingest --data ./db --holder 'Oslo' --references lenient mcode.json

Files: .json, .ndjson (.jsonl), .tar; each plain or as .gz or .zst. Files are taken in parallel; where one resource
comes several times in different versions, use --jobs 1 to keep the order.")]
pub struct Ingest {
    #[command(flatten)]
    place: Place,
    /// The health data holder (hospital) whose data it is. With --server the token decides: it must be that holder's.
    #[arg(long, value_name = "NAME")]
    holder: String,
    /// References that cannot be resolved (`Practitioner?identifier=...` that matches nothing or several, `urn:uuid:...` of no
    /// entry): refused, or kept as logical references.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = References::Strict)]
    references: References,
    /// How many writes at once [default: 8].
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256), hide_default_value = true)]
    jobs: u16,
    /// Files and folders.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum References {
    /// Refused, as the FHIR specification says.
    Strict,
    /// Kept as `Reference.identifier`, with a warning.
    Lenient,
}

impl References {
    /// As the database understands it.
    pub(crate) fn handling(self) -> Handling {
        match self {
            References::Strict => Handling::Strict,
            References::Lenient => Handling::Lenient,
        }
    }
}

impl Ingest {
    pub(super) fn run(self) -> Result<(), CliError> {
        let files = Files::list(&self.paths).map_err(CliError::Usage)?;
        if files.passed_over > 0 {
            eprintln!("{} file(s) passed over: their names end in none of .json, .ndjson, .tar (.gz, .zst)", files.passed_over);
        }
        let handling = self.references.handling();
        let report = match self.place.decide()? {
            At::Server(client) => take_in(&files, usize::from(self.jobs), &Server::new(client, handling)),
            At::Data(dir) => {
                let local = super::local::Local::open(&dir, None)?;
                let sink = Folder::new(&local, &self.holder, handling)?;
                let report = take_in(&files, usize::from(self.jobs), &sink);
                let recorded = sink.finish();
                local.database.close();
                recorded?;
                report
            }
        };
        report.print();
        if let Some(why) = report.stopped() {
            return Err(CliError::Failed(format!("stopped: {why}; what is in the table above was taken")));
        }
        if report.all_taken() { Ok(()) } else { Err(CliError::Told) }
    }
}

/// Takes files in: one thread reads, `jobs` threads prepare and write, this one shows how far they are.
pub(crate) fn take_in(files: &Files, jobs: usize, sink: &dyn Sink) -> Report {
    let read = Arc::new(AtomicU64::new(0));
    let report = Mutex::new(Report::default());
    let stop = AtomicBool::new(false);
    let progress = Progress::start(files.bytes);
    let (units, queue) = mpsc::sync_channel::<Unit>(jobs * INGEST_QUEUE);
    // Held by the workers only: should all of them panic, the reader finds nobody to send to, and ends.
    let queue = Arc::new(Mutex::new(queue));
    let running = AtomicU64::new(jobs as u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let units = units; // dropped at the end: the workers stop then
            for path in &files.files {
                if !read_file(path, &read, &mut |unit| !stop.load(Ordering::Relaxed) && units.send(unit).is_ok()) {
                    return;
                }
            }
        });
        for _ in 0..jobs {
            let queue = Arc::clone(&queue);
            let (running, report, stop, progress) = (&running, &report, &stop, &progress);
            scope.spawn(move || {
                let _running = Running(running);
                work(&queue, sink, report, stop, progress);
            });
        }
        drop(queue);
        while running.load(Ordering::Acquire) > 0 {
            std::thread::sleep(Duration::from_millis(100));
            progress.tell(read.load(Ordering::Relaxed), &report);
        }
    });
    progress.finish();
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a worker as ended, however it ends.
struct Running<'r>(&'r AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Unit>>, sink: &dyn Sink, report: &Mutex<Report>, stop: &AtomicBool, progress: &Progress) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(unit) = next else { return };
        if stop.load(Ordering::Relaxed) {
            continue; // drains the queue, so that the reader does not wait for ever
        }
        let results = match plan::take(unit, sink) {
            Ok(results) => results,
            Err(fatal) => {
                stop.store(true, Ordering::Relaxed);
                report.lock().unwrap_or_else(PoisonError::into_inner).stop(fatal);
                continue;
            }
        };
        let said = report.lock().unwrap_or_else(PoisonError::into_inner).add(results);
        for line in said {
            progress.say(&line);
        }
    }
}

#[cfg(test)]
mod tests;
