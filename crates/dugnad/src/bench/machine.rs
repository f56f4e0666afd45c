//! What the machine does by itself: its disk, its memory, its processors.

use super::Latency;
use super::figures::{Better, Figures};
use crate::cli::CliError;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One SQLite page and a WAL frame's head: what the smallest commit writes.
const WRITE_BYTES: usize = 8_216;

/// How large the file of the samples grows before it is written from its beginning again.
const FILE_BYTES: u64 = 8 << 20;

/// Writes and syncs a file of its own on the disk of the database, at intervals, while something else is measured.
pub(super) struct DiskSampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Latency>>,
}

impl DiskSampler {
    /// Starts sampling in `dir` every `interval`.
    pub(super) fn start(dir: &Path, interval: Duration) -> Result<Self, CliError> {
        let path = dir.join("fdatasync-sample");
        let file = File::create(&path).map_err(CliError::failed)?;
        let _: std::io::Result<()> = std::fs::remove_file(&path); // it lives until it is closed; if not, it is seen
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let work = move || sample(file, interval, &stopping);
        let thread = std::thread::Builder::new().name("fdatasync".to_owned()).spawn(work).map_err(CliError::failed)?;
        Ok(Self { stop, thread })
    }

    /// The latencies of `fdatasync` until now.
    pub(super) fn stop(self) -> Result<Latency, CliError> {
        self.stop.store(true, Ordering::Relaxed);
        let sampled = self.thread.join().map_err(|_| CliError::Failed("the disk could not be sampled".to_owned()))?;
        sampled.map_err(CliError::failed)
    }
}

fn sample(mut file: File, interval: Duration, stop: &AtomicBool) -> std::io::Result<Latency> {
    let (mut latency, block) = (Latency::default(), vec![0x5a; WRITE_BYTES]);
    while !stop.load(Ordering::Relaxed) {
        if file.stream_position()? > FILE_BYTES {
            file.seek(SeekFrom::Start(0))?;
        }
        file.write_all(&block)?;
        let began = Instant::now();
        file.sync_data()?;
        latency.record(began.elapsed());
        std::thread::sleep(interval);
    }
    Ok(latency)
}

/// The disk's `fdatasync` alone, `count` times.
pub(super) fn fdatasync(dir: &Path, count: usize) -> Result<Latency, CliError> {
    let mut file = tempfile::tempfile_in(dir).map_err(CliError::failed)?;
    let (mut latency, block) = (Latency::default(), vec![0x5a; WRITE_BYTES]);
    for _ in 0..count {
        file.write_all(&block).map_err(CliError::failed)?;
        let began = Instant::now();
        file.sync_data().map_err(CliError::failed)?;
        latency.record(began.elapsed());
    }
    Ok(latency)
}

/// Forgets the highest memory use until now (Linux; elsewhere nothing happens, and [`peak_rss_bytes`] tells nothing).
pub(super) fn forget_peak() {
    let _: std::io::Result<()> = std::fs::write("/proc/self/clear_refs", "5"); // proc(5); may be forbidden: the peak is then of the whole run
}

/// The highest memory use of this process, in bytes; `None` where the system does not tell.
pub(super) fn peak_rss_bytes() -> Option<f64> {
    memory("VmHWM:")
}

/// A field of `/proc/self/status`, in bytes; `None` where the system does not tell.
pub(super) fn memory(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1024.0)
}

/// The processor time of this process until now, in seconds; `None` where the system does not tell.
pub(super) fn cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the command's name, which may hold anything: state is field 3, utime 14, stime 15, in ticks of 1/100 s.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

/// Which of a peer's clocks tells the same as [`ThreadClock`].
pub(super) const CLOCK: &str = if cfg!(target_os = "linux") { "cpu_s" } else { "clock_s" };

/// A clock of the processor time of the calling thread; the time of day where the system does not tell.
pub(super) struct ThreadClock {
    began: Instant,
    cpu_before: Option<Duration>,
}

impl ThreadClock {
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), cpu_before: thread_cpu() }
    }

    /// What has passed since the start.
    pub(super) fn elapsed(&self) -> Duration {
        match (thread_cpu(), self.cpu_before) {
            (Some(now), Some(before)) => now.saturating_sub(before),
            _ => self.began.elapsed(),
        }
    }
}

/// Linux: nanoseconds on a processor are the first field.
fn thread_cpu() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// Under what conditions it is measured: the processors, and how busy they are with everything `at` that moment (the load average of
/// the last minute).
pub(super) fn describe(figures: &mut Figures, at: &str) {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    figures.add("processors", processors as f64, "1", Better::Context, "processors");
    let average = std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok());
    if let Some(average) = average {
        figures.add("load_average", average, "1", Better::Context, format!("load average at the {at} (everything on the machine)"));
    }
}
