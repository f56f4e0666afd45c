//! The grammar of UCUM's codes (section 2 of its specification), and the table of its units.

use super::{Unit, one};
use crate::hash::HashMap;
use std::sync::LazyLock;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::load(include_str!("../../data/ucum.tsv")));

/// Units by their codes.
pub(super) struct Table {
    prefixes: Vec<(&'static str, f64)>,
    /// The unit, and whether it takes prefixes.
    units: HashMap<&'static str, (Unit, bool)>,
}

impl Table {
    /// Reads the table, in which a unit may be defined by units that come later. It is part of the program, and a test holds that all
    /// of it is understood.
    fn load(text: &'static str) -> Self {
        let mut table = Self { prefixes: Vec::new(), units: HashMap::default() };
        let mut open: Vec<Vec<&'static str>> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<&str> = line.split('\t').collect();
            match columns.as_slice() {
                ["prefix", code, factor] => table.prefixes.push((code, factor.parse().unwrap_or(1.0))),
                _ => open.push(columns),
            }
        }
        loop {
            let before = open.len();
            open.retain(|columns| !table.define(columns));
            if open.is_empty() || open.len() == before {
                return table;
            }
        }
    }

    /// Adds a unit, if what it is defined by is there.
    fn define(&mut self, columns: &[&'static str]) -> bool {
        let &[code, metric, number, definition] = columns else { return true };
        let unit = match (definition, definition.split_once(" + ")) {
            ("base" | "arbitrary", _) => {
                let mut unit = one();
                unit.dimension.0.insert(code, 1);
                Some(unit)
            }
            (_, Some((of, zero))) => term(self, of).map(|unit| Unit { zero: zero.parse().unwrap_or_default(), ..unit }),
            _ => term(self, definition),
        };
        let Some(mut unit) = unit else { return false };
        unit.factor *= number.parse::<f64>().unwrap_or(1.0);
        self.units.insert(code, (unit, metric == "metric"));
        true
    }

    /// A unit by its code, or one with a prefix.
    fn unit(&self, code: &str) -> Option<Unit> {
        if let Some((unit, _)) = self.units.get(code) {
            return Some(unit.clone());
        }
        self.prefixes.iter().find_map(|(prefix, factor)| {
            let (unit, metric) = self.units.get(code.strip_prefix(prefix)?)?;
            (*metric && unit.zero == 0.0).then(|| Unit { factor: unit.factor * factor, ..unit.clone() })
        })
    }
}

/// The unit of a code.
pub(super) fn unit(code: &str) -> Option<Unit> {
    term(&TABLE, code)
}

/// The codes of the table, for tests.
#[cfg(test)]
pub(super) fn codes() -> impl Iterator<Item = &'static str> {
    TABLE.units.keys().copied()
}

fn term(table: &Table, code: &str) -> Option<Unit> {
    let mut parser = Parser { table, rest: code, special: 0 };
    let first = parser.rest.starts_with('/').then(one);
    let unit = parser.term(first, 0)?;
    // What has a zero of its own is multiplied by nothing.
    (parser.rest.is_empty() && (parser.special == 0 || parser.special == 1 && unit.zero != 0.0)).then_some(unit)
}

/// How deep parentheses nest. UCUM's own examples nest twice.
const MAX_DEPTH: usize = 8;

struct Parser<'p> {
    table: &'p Table,
    rest: &'p str,
    /// How many components are units with a zero of their own.
    special: usize,
}

impl<'p> Parser<'p> {
    /// Components with `.` and `/` between them, from left to right.
    fn term(&mut self, first: Option<Unit>, depth: usize) -> Option<Unit> {
        let mut product = match first {
            Some(unit) => unit,
            None => self.component(depth)?,
        };
        loop {
            let sign = match self.rest.as_bytes().first() {
                Some(b'.') => 1,
                Some(b'/') => -1,
                _ => return Some(product),
            };
            self.rest = self.rest.get(1..)?;
            let next = self.component(depth)?;
            if product.zero != 0.0 || next.zero != 0.0 {
                return None;
            }
            product = times(product, &next, sign)?;
        }
    }

    /// `(term)`, or a unit or number with an exponent, an annotation, or an annotation alone.
    fn component(&mut self, depth: usize) -> Option<Unit> {
        let unit = match self.rest.as_bytes().first()? {
            b'(' => {
                self.rest = self.rest.get(1..)?;
                let unit = self.term(None, (depth < MAX_DEPTH).then_some(depth + 1)?)?;
                self.rest = self.rest.strip_prefix(')')?;
                unit
            }
            b'{' => one(),
            _ => self.simple()?,
        };
        if let Some(annotation) = self.rest.strip_prefix('{') {
            let (inside, rest) = annotation.split_once('}')?;
            if inside.contains('{') {
                return None;
            }
            self.rest = rest;
        }
        Some(unit)
    }

    /// `10*-3`, `100`, `mm[Hg]`, `m2`, `s-1`.
    fn simple(&mut self) -> Option<Unit> {
        let (mut depth, mut end) = (0_usize, self.rest.len());
        for (at, b) in self.rest.bytes().enumerate() {
            match b {
                b'[' => depth += 1,
                b']' => depth = depth.checked_sub(1)?,
                b'.' | b'/' | b'(' | b')' | b'{' if depth == 0 => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().ok().filter(|n: &f64| *n > 0.0).map(|factor| Unit { factor, ..one() });
        }
        let ten = if text.starts_with("10*") || text.starts_with("10^") { 3 } else { 0 };
        let digits = text.len() - text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let mut split = text.len() - if ten > 0 { digits.min(text.len() - ten) } else { digits };
        if split < text.len() && text.get(..split)?.ends_with(['+', '-']) {
            split -= 1;
        }
        let (name, exponent) = text.split_at_checked(split)?;
        let unit = self.table.unit(name)?;
        self.special += usize::from(unit.zero != 0.0);
        match exponent {
            "" => Some(unit),
            _ if unit.zero != 0.0 => None,
            _ => times(one(), &unit, exponent.parse().ok()?),
        }
    }
}

/// `a * b ^ exponent`.
fn times(mut a: Unit, b: &Unit, exponent: i32) -> Option<Unit> {
    if exponent.unsigned_abs() > 99 {
        return None;
    }
    a.factor *= b.factor.powi(exponent);
    for (of, power) in &b.dimension.0 {
        let sum = a.dimension.0.entry(of).or_default();
        *sum = sum.checked_add(power.checked_mul(exponent)?)?;
    }
    a.dimension.0.retain(|_, power| *power != 0);
    (a.factor.is_finite() && a.factor > 0.0).then_some(a)
}
