//! What the log itself has to know of an entry: which access it begins or ends, and of whom it speaks.

use super::entry::Act;
use super::persons::{Names, Nonce};
use serde::Deserialize;
use std::collections::BTreeSet;

/// An entry, as far as the log looks at it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Glance {
    pub act: Act,
    /// For a completion: its intent.
    pub intent: Option<u64>,
    /// What it says of persons.
    pub persons: Option<Said>,
    /// For a restore: the highest patient ordinal that it kept.
    pub patients: Option<u32>,
}

/// What an entry says of persons, without the bits of a vector: those are read where they stand.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Named {
        nonce: Nonce,
        names: Names,
    },
    Set(Nonce),
    Changed {
        nonce: Nonce,
        base: Option<Nonce>,
        names: Names,
    },
    Bits {
        nonce: Nonce,
        first: u32,
        /// Where the base64 of the bits begins in the entry's JSON, and its length.
        at: u32,
        length: u32,
    },
    Everyone,
}

#[derive(Deserialize)]
struct Form<'a> {
    act: Act,
    intent: Option<u64>,
    #[serde(borrow)]
    persons: Option<PersonsForm<'a>>,
    patients: Option<u32>,
}

#[derive(Deserialize)]
struct PersonsForm<'a> {
    count: Option<u64>,
    nonce: Option<Nonce>,
    set: Option<Nonce>,
    base: Option<Nonce>,
    first: Option<u32>,
    names: Option<Names>,
    /// Base64 has nothing that JSON escapes, so it is borrowed.
    #[serde(borrow)]
    bits: Option<&'a str>,
    everyone: Option<bool>,
}

impl Glance {
    /// Looks at an entry's JSON; `None` if it is none that this log wrote.
    pub fn at(json: &[u8]) -> Option<Self> {
        let form: Form<'_> = serde_json::from_slice(json).ok()?;
        let persons = match form.persons {
            Some(persons) => Some(persons.said(json)?),
            None => None,
        };
        Some(Self { act: form.act, intent: form.intent, persons, patients: form.patients })
    }

    /// Keeps account of the intents that have no completion yet; this is entry `index`.
    pub fn follow(&self, index: u64, under_way: &mut BTreeSet<u64>) {
        match (self.act, self.intent) {
            (Act::Intent, _) => _ = under_way.insert(index),
            (Act::Completion, Some(intent)) => _ = under_way.remove(&intent),
            _ => {}
        }
    }
}

impl PersonsForm<'_> {
    fn said(self, json: &[u8]) -> Option<Said> {
        Some(match self {
            Self { count: Some(_), nonce: Some(nonce), names: Some(names), .. } => Said::Named { nonce, names },
            Self { count: Some(_), set: Some(set), .. } => Said::Set(set),
            Self { nonce: Some(nonce), bits: Some(bits), first: Some(first), .. } => {
                let at = (bits.as_ptr() as usize).checked_sub(json.as_ptr() as usize)?;
                Said::Bits { nonce, first, at: u32::try_from(at).ok()?, length: u32::try_from(bits.len()).ok()? }
            }
            Self { nonce: Some(nonce), names: Some(names), base, .. } => Said::Changed { nonce, base, names },
            Self { everyone: Some(_), .. } => Said::Everyone,
            _ => return None,
        })
    }
}
