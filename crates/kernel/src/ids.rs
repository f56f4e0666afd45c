//! Identifiers. One newtype each, so that none can be passed for another.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The number of a journal commit; grows by one per commit. 0 is the empty database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commit(pub u64);

/// A health data holder (hospital), in order of registration. 0 is the centre itself, which holds documents only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HolderId(pub u16);

impl HolderId {
    /// The centre: the holder of permits, studies and other documents.
    pub const CENTRE: HolderId = HolderId(0);
}

/// A resource of one holder, numbered densely from 1 at its first mention (written or referred to), never reassigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceOrdinal(pub u64);

/// A Patient resource of one holder, numbered densely from 1 at its first mention, never reassigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatientOrdinal(pub u32);

/// Which history of commits a number belongs to. Drawn when a database is made and again at each restore: after a restore the
/// same numbers are given to other commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeline(u64);

impl Timeline {
    /// A new one, from 64 random bits.
    pub fn new(random: u64) -> Self {
        Self(random)
    }

    /// Reads what `Display` writes: 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits { u64::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A live table, numbered from 1 when it is built. A table that is built anew, because its view has changed, gets a new number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableId(pub u32);

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
