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
        self.figures.push(Figure { name: name.into(), value, unit, better, said: said.into() });
    }

    /// One JSON object per figure.
    pub(super) fn lines(&self) -> impl Iterator<Item = Value> {
        self.figures.iter().map(|f| {
            let rounded = (f.value * 1e3).round() / 1e3;
            let value = if rounded.fract() == 0.0 && rounded.abs() < 1e15 { json!(rounded as i64) } else { json!(rounded) };
            let mut line = json!({"bench": self.bench, "figure": f.name, "value": value, "unit": f.unit});
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
        let row = |f: &Figure| format!("{:<width$}  {:>12} {}\n", f.said, number(f.value), if f.unit == "1" { "" } else { f.unit });
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
