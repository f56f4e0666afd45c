//! What is known of a stored column without reading it: whether a question can be about any of its rows.

use serde::{Deserialize, Serialize};

/// The smallest and the largest value of a column, as numbers: days, microseconds, integers, decimals. Integers beyond 2^53
/// are rounded outwards.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Extent {
    pub(super) fn of(values: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let widest = |a: Self, (low, high): (f64, f64)| Self { low: a.low.min(low), high: a.high.max(high) };
        let mut values = values.filter(|(low, high)| !low.is_nan() && !high.is_nan());
        let (low, high) = values.next()?;
        Some(values.fold(Self { low, high }, widest))
    }

    /// An integer as the floating-point numbers just below and above it.
    pub(super) fn integer(value: i64) -> (f64, f64) {
        let near = value as f64;
        if near.abs() < 9.0e15 { (near, near) } else { (near.next_down(), near.next_up()) }
    }
}

/// A condition that every row of an answer meets. A part of a table in which no row can meet it need not be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A `Date`, `Instant`, `Integer` or `Decimal` column is between these numbers, both included (days, microseconds).
    Between {
        /// The column's position.
        column: usize,
        /// At least this.
        low: f64,
        /// At most this.
        high: f64,
    },
    /// A `Code` or `Holder` column is one of these texts.
    OneOf {
        /// The column's position.
        column: usize,
        /// The texts.
        texts: Vec<String>,
    },
    /// A `Patient` column is this ordinal.
    Patient {
        /// The column's position.
        column: usize,
        /// The ordinal.
        ordinal: u32,
    },
    /// A column is not null.
    Present {
        /// The column's position.
        column: usize,
    },
}
