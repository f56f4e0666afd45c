//! How far something long is: a bar on a terminal, a line every few seconds otherwise, nothing if it is quick.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Progress towards a number that is known.
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    told: Instant,
    what: String,
    unit: &'static str,
}

impl Progress {
    /// Of `what`, such as `opening ./db`, counted in `unit`.
    pub fn start(what: String, unit: &'static str) -> Self {
        let now = Instant::now();
        Self { bar: None, started: now, told: now, what, unit }
    }

    /// So far, and in all.
    pub fn tell(&mut self, done: u64, all: u64) {
        if self.started.elapsed() < Duration::from_millis(500) {
            return;
        }
        if std::io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let template = format!("{{msg}}: {{bar:40}} {{human_pos}}/{{human_len}} {}, {{eta}} left", self.unit);
                let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(all).with_style(style).with_message(self.what.clone())
            });
            bar.set_length(all);
            bar.set_position(done);
        } else if self.told.elapsed() > Duration::from_secs(5) {
            self.told = Instant::now();
            eprintln!("{}: {done} of {all} {}", self.what, self.unit);
        }
    }

    /// It is done.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
