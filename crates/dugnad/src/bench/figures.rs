//! What was measured, for people and for programs.

use serde_json::{Value, json};
use std::io::{self, Write};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Higher,
    Lower,
    /// Neither: it says under what conditions the others were measured.
    Context,
}

struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    better: Better,
    said: String,
    peer: Option<Peer>,
}

/// Another program that did the same in the same run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Peer {
    /// Its name and version.
    pub(super) name: String,
    /// Its figure, in the same unit.
    pub(super) value: f64,
}

impl Figure {
    /// Ours by the peer's, or the peer's by ours where lower is better: more is always better for us.
    fn ratio(&self) -> Option<f64> {
        let peer = self.peer.as_ref()?.value;
        let ratio = if self.better == Better::Lower { peer / self.value } else { self.value / peer };
        ratio.is_finite().then_some(ratio)
    }
}

/// The figures of one benchmark, in the order in which they are shown.
pub(super) struct Figures {
    bench: &'static str,
    figures: Vec<Figure>,
}

impl Figures {
    pub(super) fn new(bench: &'static str) -> Self {
        Self { bench, figures: Vec::new() }
    }

    /// Adds a figure: its name in JSON, its value and unit, and what it is in the words of the table.
    pub(super) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str, better: Better, said: impl Into<String>) {
        self.add_beside(name, value, unit, better, said, None);
    }

    /// Adds a figure, and what the peer's was, if it ran.
    pub(super) fn add_beside(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        better: Better,
        said: impl Into<String>,
        peer: Option<Peer>,
    ) {
        self.figures.push(Figure { name: name.into(), value, unit, better, said: said.into(), peer });
    }

    /// One JSON object per figure.
    pub(super) fn lines(&self) -> impl Iterator<Item = Value> {
        self.figures.iter().map(|f| {
            let mut line = json!({"bench": self.bench, "figure": f.name, "value": rounded(f.value), "unit": f.unit});
            if let Some(peer) = &f.peer {
                line["peer"] = json!(peer.name);
                line["peer_value"] = rounded(peer.value);
                line["ratio"] = f.ratio().map_or(Value::Null, rounded);
            }
            match f.better {
                Better::Higher => line["better"] = json!("higher"),
                Better::Lower => line["better"] = json!("lower"),
                Better::Context => {}
            }
            line
        })
    }

    /// The table.
    pub(super) fn table(&self) -> String {
        let width = self.figures.iter().map(|f| f.said.chars().count()).max().unwrap_or_default();
        let row = |f: &Figure| {
            let beside = match (&f.peer, f.ratio()) {
                (Some(peer), Some(ratio)) => format!("  {}: {}, ratio {ratio:.1}", peer.name, number(peer.value)),
                _ => String::new(),
            };
            format!("{:<width$}  {:>12} {}{beside}\n", f.said, number(f.value), if f.unit == "1" { "" } else { f.unit })
        };
        self.figures.iter().map(row).collect()
    }

    /// The table to stderr, the objects to stdout.
    pub(super) fn print(&self) {
        eprint!("{}", self.table());
        let mut out = io::stdout().lock();
        for line in self.lines() {
            let _: io::Result<()> = writeln!(out, "{line}"); // nobody may be reading
        }
    }
}

/// To three decimals; whole numbers as such.
fn rounded(value: f64) -> Value {
    let rounded = (value * 1e3).round() / 1e3;
    if rounded.fract() == 0.0 && rounded.abs() < 1e15 { json!(rounded as i64) } else { json!(rounded) }
}

/// Thousands apart; decimals only where they say something.
fn number(value: f64) -> String {
    if value.abs() < 100.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
