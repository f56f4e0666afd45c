//! How far `ingest` is: a bar on a terminal, a line every few seconds otherwise.

use super::report::Report;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two plain lines.
const EVERY: Duration = Duration::from_secs(5);

/// Progress of a run.
pub struct Progress {
    bar: Option<ProgressBar>,
    bytes: u64,
    started: Instant,
    told: Mutex<Instant>,
}

impl Progress {
    /// Of `bytes` in all, as they are stored.
    pub fn start(bytes: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left";
            ProgressBar::new(bytes).with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let now = Instant::now();
        Self { bar, bytes, started: now, told: Mutex::new(now) }
    }

    /// `read` bytes have been read.
    pub fn tell(&self, read: u64, report: &Mutex<Report>) {
        let resources = report.lock().unwrap_or_else(PoisonError::into_inner).resources();
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = resources as f64 / seconds;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{resources} resources, {rate:.0}/s"));
            bar.set_position(read);
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= EVERY {
            *told = Instant::now();
            let left = self.bytes.saturating_sub(read) as f64 * seconds / (read as f64).max(1.0);
            let left = HumanDuration(Duration::try_from_secs_f64(left).unwrap_or_default());
            eprintln!("{} of {}, {resources} resources, {rate:.0}/s, {left} left", HumanBytes(read), HumanBytes(self.bytes));
        }
    }

    /// A line on stderr, above the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// The end.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
