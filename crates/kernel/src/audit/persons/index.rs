//! Which accesses delivered whose data: built from the entries, in their order.
//!
//! It holds what the log says, and cannot say more than the log: whom a name means is computed with a key when somebody asks. That
//! costs one AES block for each set. Some 60 bytes of memory for each access; the bits of vectors stay in the file.

use super::keys::Key;
use super::{Nonce, mask};
use crate::audit::glance::{Glance, Said};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::io;

/// Everybody whom the access could show.
const EVERYONE: u32 = u32::MAX;

/// The index over the entries that were added.
#[derive(Default)]
pub(super) struct Index {
    sets: Vec<Set>,
    /// The names of all sets, one after the other.
    names: Vec<u64>,
    vectors: Vec<Vector>,
    /// Sets that others may refer to.
    by_nonce: HashMap<Nonce, u32>,
    accesses: Vec<Access>,
    /// Restores: the entry, and the highest ordinal that is the same Patient before and after it.
    restores: Vec<(u64, u32)>,
}

struct Set {
    nonce: Nonce,
    /// Where its names begin; they end where those of the next one begin.
    names: usize,
    base: Option<u32>,
}

/// A part of a set's masked bits, in base64 in `entries.log`.
struct Vector {
    set: u32,
    first: u32,
    at: u64,
    length: u32,
}

struct Access {
    entry: u64,
    set: u32,
}

/// An access that delivered a Patient's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::audit) struct Found {
    /// The completion.
    pub entry: u64,
    /// Whether it is known; else the Patient could have been in it, as everybody whom its permit could show.
    pub certain: bool,
}

impl Index {
    /// Adds an entry whose JSON begins at `at` in the file.
    pub fn add(&mut self, entry: u64, at: u64, glance: &Glance) {
        if let Some(highest) = glance.patients {
            self.restores.push((entry, highest));
        }
        match &glance.persons {
            None => {}
            Some(Said::Everyone) => self.accesses.push(Access { entry, set: EVERYONE }),
            Some(Said::Named { nonce, names }) => {
                let set = self.set(*nonce, None);
                self.names.extend_from_slice(&names.0);
                self.accesses.push(Access { entry, set });
            }
            // A set that is not there names nobody; the offline check finds what is missing.
            Some(Said::Set(nonce)) => {
                if let Some(set) = self.by_nonce.get(nonce) {
                    self.accesses.push(Access { entry, set: *set });
                }
            }
            Some(Said::Changed { nonce, base, names }) => {
                let base = base.and_then(|base| self.by_nonce.get(&base).copied());
                let set = self.set(*nonce, base);
                self.names.extend_from_slice(&names.0);
                self.by_nonce.insert(*nonce, set);
            }
            Some(Said::Bits { nonce, first, at: within, length }) => {
                let set = match self.by_nonce.get(nonce) {
                    Some(set) => *set,
                    None => self.set(*nonce, None),
                };
                self.by_nonce.insert(*nonce, set);
                self.vectors.push(Vector { set, first: *first, at: at + u64::from(*within), length: *length });
            }
        }
    }

    fn set(&mut self, nonce: Nonce, base: Option<u32>) -> u32 {
        self.sets.push(Set { nonce, names: self.names.len(), base });
        (self.sets.len() - 1) as u32
    }

    /// The accesses that delivered the data of a Patient with `key`, in their order. `read` reads bytes of the file from an offset on.
    pub fn accesses(&self, patient: u32, key: Option<&Key>, read: &impl Fn(u64, &mut [u8]) -> io::Result<()>) -> io::Result<Vec<Found>> {
        let members = key.map_or(Ok(Vec::new()), |key| self.members(patient, key, read))?;
        // An ordinal that a restore took back was given to another Patient afterwards.
        let since = self.restores.iter().rev().find(|(_, highest)| patient > *highest).map_or(0, |(entry, _)| *entry);
        let found = |access: &Access| {
            let certain = access.set != EVERYONE;
            let is_in = !certain || members.get(access.set as usize).copied().unwrap_or(false);
            is_in.then_some(Found { entry: access.entry, certain })
        };
        let from = self.accesses.partition_point(|access| access.entry < since);
        Ok(self.accesses.iter().skip(from).filter_map(found).collect())
    }

    /// For each set, whether the Patient is in it.
    fn members(&self, patient: u32, key: &Key, read: &impl Fn(u64, &mut [u8]) -> io::Result<()>) -> io::Result<Vec<bool>> {
        let mut members: Vec<bool> = Vec::with_capacity(self.sets.len());
        let mut said = Vec::with_capacity(self.sets.len());
        mask::of_all(key, self.sets.iter().map(|set| set.nonce), |one| said.push(one));
        let ends = self.sets.iter().skip(1).map(|set| set.names).chain([self.names.len()]);
        for ((set, end), said) in self.sets.iter().zip(ends).zip(&said) {
            let names = self.names.get(set.names..end).unwrap_or_default();
            let named = names.binary_search(&said.name).is_ok();
            let base = set.base.and_then(|base| members.get(base as usize).copied()).unwrap_or(false);
            members.push(named ^ base);
        }
        for vector in &self.vectors {
            let Some(bit) = vector.bit(patient, read)? else { continue };
            let mask = said.get(vector.set as usize).is_some_and(|said| said.mask);
            if let Some(member) = members.get_mut(vector.set as usize) {
                *member = bit ^ mask;
            }
        }
        // Differences come after their bases, whose bits were not known yet.
        for at in 0..self.sets.len() {
            let base = self.sets.get(at).and_then(|set| set.base).filter(|base| self.is_vector(*base));
            if let Some(base) = base
                && members.get(base as usize).copied().unwrap_or(false)
                && let Some(member) = members.get_mut(at)
            {
                *member = !*member;
            }
        }
        Ok(members)
    }

    fn is_vector(&self, set: u32) -> bool {
        self.vectors.binary_search_by_key(&set, |vector| vector.set).is_ok()
    }
}

impl Vector {
    /// The masked bit of a Patient, if it is in this part: it takes four characters of base64 to know three bytes.
    fn bit(&self, patient: u32, read: &impl Fn(u64, &mut [u8]) -> io::Result<()>) -> io::Result<Option<bool>> {
        let Some(bit) = patient.checked_sub(self.first) else { return Ok(None) };
        let group = u64::from(bit / 24) * 4;
        if group >= u64::from(self.length) {
            return Ok(None);
        }
        let mut text = [0; 4];
        read(self.at + group, &mut text)?;
        let bytes = STANDARD.decode(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(bytes.get((bit % 24 / 8) as usize).map(|byte| byte >> (bit % 8) & 1 == 1))
    }
}
