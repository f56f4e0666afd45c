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
    peer: Option<(String, f64)>,
}

impl Figure {
    /// How many times better ours is: more is always better.
    fn ratio(&self, peer: f64) -> f64 {
        match self.better {
            Better::Lower => peer / self.value,
            Better::Higher | Better::Context => self.value / peer,
        }
    }
}

fn rounded(value: f64) -> Value {
    let rounded = (value * 1e3).round() / 1e3;
    if rounded.fract() == 0.0 && rounded.abs() < 1e15 { json!(rounded as i64) } else { json!(rounded) }
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
        self.figures.push(Figure { name: name.into(), value, unit, better, said: said.into(), peer: None });
    }

    /// Adds a figure next to that of a peer that ran in the same run.
    #[expect(clippy::too_many_arguments, reason = "what a figure is, and whose the other one")]
    pub(super) fn compare(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        better: Better,
        said: impl Into<String>,
        peer: impl Into<String>,
        peer_value: f64,
    ) {
        self.figures.push(Figure { name: name.into(), value, unit, better, said: said.into(), peer: Some((peer.into(), peer_value)) });
    }

    /// One JSON object per figure.
    pub(super) fn lines(&self) -> impl Iterator<Item = Value> {
        self.figures.iter().map(|f| {
            let mut line = json!({"bench": self.bench, "figure": f.name, "value": rounded(f.value), "unit": f.unit});
            if let Some((peer, value)) = &f.peer {
                line["peer"] = json!(peer);
                line["peer_value"] = rounded(*value);
                line["ratio"] = rounded(f.ratio(*value));
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
            let unit = if f.unit == "1" { "" } else { f.unit };
            let peer = |(peer, value): &(String, f64)| format!("  {:>10} {unit}  {:>6.2} x  {peer}", number(*value), f.ratio(*value));
            let peer = f.peer.as_ref().map(peer).unwrap_or_default();
            format!("{:<width$}  {:>12} {unit}{peer}\n", f.said, number(f.value))
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
