//! What was taken, by resource type, and what was not.

use crate::intake::plan::Result_;
use crate::intake::{Fate, Gone, Refusal};
use crate::limits::INGEST_ISSUES_SHOWN;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    taken: u64,
    unchanged: u64,
    refused: u64,
}

/// The sum of a run.
#[derive(Debug)]
pub struct Report {
    by_type: BTreeMap<String, Counts>,
    warnings: u64,
    stopped: Option<String>,
    started: Instant,
}

impl Default for Report {
    fn default() -> Self {
        Self { by_type: BTreeMap::new(), warnings: 0, stopped: None, started: Instant::now() }
    }
}

impl Report {
    /// Adds results; what is to be said of them on stderr.
    pub fn add(&mut self, results: Vec<Result_>) -> Vec<String> {
        let mut said = Vec::new();
        for result in results {
            let place = match result.line {
                Some(line) => format!("{}: line {line}", result.origin),
                None => result.origin.to_string(),
            };
            match result.fate {
                Fate::Refused(why) => {
                    self.count(&result.types, |c| c.refused += 1);
                    say(&mut said, &place, &why);
                }
                Fate::Taken { entries, refused } if entries.is_empty() && refused.is_empty() => {
                    self.count(&result.types, |c| c.unchanged += 1)
                }
                Fate::Taken { entries, refused } => {
                    self.add_taken(&entries, &result.types, refused.len());
                    say(&mut said, &place, &refused);
                }
            }
        }
        said
    }

    fn add_taken(&mut self, entries: &[crate::intake::Taken], types: &[String], refused: usize) {
        // Answers name a type where there is one to name; deletions and replays are counted by what was sent.
        let unnamed = entries.iter().filter(|e| e.resource_type.is_empty()).count();
        for entry in entries.iter().filter(|e| !e.resource_type.is_empty()) {
            let counts = self.by_type.entry(entry.resource_type.clone()).or_default();
            if entry.changed {
                counts.taken += 1
            } else {
                counts.unchanged += 1
            }
            self.warnings += entry.warnings as u64;
        }
        if unnamed + refused > 0 {
            let mut left: BTreeMap<&str, u64> = BTreeMap::new();
            for kind in types {
                *left.entry(kind).or_default() += 1;
            }
            for entry in entries {
                if let Some(count) = left.get_mut(entry.resource_type.as_str()) {
                    *count = count.saturating_sub(1);
                }
            }
            let mut unnamed = unnamed as u64;
            for (kind, count) in left {
                let unchanged = count.min(unnamed);
                unnamed -= unchanged;
                let counts = self.by_type.entry(kind.to_owned()).or_default();
                counts.unchanged += unchanged;
                counts.refused += count - unchanged;
            }
        }
    }

    fn count(&mut self, types: &[String], add: impl Fn(&mut Counts)) {
        for kind in types {
            add(self.by_type.entry(kind.clone()).or_default());
        }
    }

    /// Nothing more can be taken.
    pub fn stop(&mut self, gone: Gone) {
        self.stopped.get_or_insert(gone.0);
    }

    /// Why nothing more was taken, if so.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Whether everything was taken.
    pub fn all_taken(&self) -> bool {
        self.stopped.is_none() && self.total().refused == 0
    }

    /// How many resources were taken.
    pub fn taken(&self) -> u64 {
        self.total().taken
    }

    /// How many resources have been dealt with.
    pub fn resources(&self) -> u64 {
        let total = self.total();
        total.taken + total.unchanged + total.refused
    }

    fn total(&self) -> Counts {
        self.by_type.values().fold(Counts::default(), |a, b| Counts {
            taken: a.taken + b.taken,
            unchanged: a.unchanged + b.unchanged,
            refused: a.refused + b.refused,
        })
    }

    /// The table.
    pub fn table(&self) -> String {
        let total = self.total();
        let width = self.by_type.keys().map(String::len).max().unwrap_or(0).max("resource type".len());
        let mut out = format!("{:<width$} {:>10} {:>10} {:>10}\n", "resource type", "taken", "unchanged", "refused");
        for (kind, counts) in self.by_type.iter().chain([(&"total".to_owned(), &total)]) {
            out.push_str(&format!("{kind:<width$} {:>10} {:>10} {:>10}\n", counts.taken, counts.unchanged, counts.refused));
        }
        out
    }

    /// The table to stdout, the rest to stderr.
    pub fn print(&self) {
        let _: io::Result<()> = io::stdout().write_all(self.table().as_bytes()); // nobody may be reading
        if self.warnings > 0 {
            eprintln!(
                "{} warning(s): references that could not be resolved were kept as logical references (Reference.identifier)",
                self.warnings
            );
        }
        let (count, seconds) = (self.resources(), self.started.elapsed().as_secs_f64());
        eprintln!("{count} resources in {seconds:.1} s, {:.0} resources/s", count as f64 / seconds.max(0.001));
    }
}

fn say(said: &mut Vec<String>, place: &str, refusals: &[Refusal]) {
    for refusal in refusals.iter().take(INGEST_ISSUES_SHOWN) {
        match &refusal.at {
            Some(at) => said.push(format!("{place}: {at}: {}", refusal.why)),
            None => said.push(format!("{place}: {}", refusal.why)),
        }
    }
    if refusals.len() > INGEST_ISSUES_SHOWN {
        said.push(format!("{place}: and {} more problems", refusals.len() - INGEST_ISSUES_SHOWN));
    }
}
