//! Whose data an access delivered: sets of Patients on the record, exact, and readable by nobody once a person is erased.
//!
//! Every Patient has a secret key of 128 bits ([`keys`]). What an entry says of a Patient is a function of that key and of the
//! set's *nonce*: a *name* of 64 bits in a list, or one masked bit of a vector ([`mask`]). Whoever has the keys finds all sets
//! that a Patient is in ([`index`]); an erasure destroys the Patient's key, and what the log says of them is random from then on.
//!
//! Sets of few Patients stand in the completion itself. Larger ones are entries of their own (`act: "persons"`), which
//! completions refer to by their nonce, so that a set that is delivered again costs nothing, and one that differs a little from
//! an earlier one costs its difference ([`recorder`]).

mod index;
mod keys;
mod mask;
mod recorder;
#[cfg(test)]
mod tests;
mod who;

pub(super) use keys::{KEYS, is_keys};
pub(super) use recorder::Recorder;
pub(super) use who::Who;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// What an entry says of persons. A *person* here is a Patient of a holder, by its ordinal; who asks about a human asks about
/// all their Patients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Persons {
    /// Few, named in the completion.
    Named {
        /// How many.
        count: u64,
        /// Of this set.
        nonce: Nonce,
        /// Their names, ascending.
        names: Names,
    },
    /// The set of an earlier entry.
    Set {
        /// How many.
        count: u64,
        /// Its nonce.
        set: Nonce,
    },
    /// A set: the Patients of ordinals `first` and on whose masked bit is set. A set may have several such entries.
    Bits {
        /// Of this set.
        nonce: Nonce,
        /// The ordinal of the first bit, a multiple of 8.
        first: u32,
        /// A bit each, the lowest bit of a byte first.
        bits: Bytes,
    },
    /// A set: those who are named here or in the set `base`, but not in both. Without `base`, those who are named.
    Changed {
        /// Of this set.
        nonce: Nonce,
        /// An earlier set that is no difference itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<Nonce>,
        /// Their names, ascending.
        names: Names,
    },
    /// Whoever the permit could show: the log ended before it was told.
    Everyone {
        /// Always true.
        everyone: bool,
    },
}

/// The number of a set, drawn at random. In JSON 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub(super) u64);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u64::from_str_radix(&text, 16).map(Self).map_err(D::Error::custom)?;
        if number.to_string() == text { Ok(number) } else { Err(D::Error::custom("not 16 hexadecimal digits")) }
    }
}

/// Bytes; in JSON base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub(super) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// Names of 64 bits each; in JSON the base64 of their bytes, big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub(super) Vec<u64>);

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(self.0.iter().flat_map(|name| name.to_be_bytes()).collect()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Bytes(bytes) = Bytes::deserialize(deserializer)?;
        match bytes.as_chunks::<8>() {
            (names, []) => Ok(Self(names.iter().map(|name| u64::from_be_bytes(*name)).collect())),
            _ => Err(D::Error::custom("the length of a list of names is no multiple of 8")),
        }
    }
}
