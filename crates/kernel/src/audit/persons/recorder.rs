//! Putting sets on the record, small.

use super::keys::{DESTROYED, Key, Keys};
use super::{Bytes, Names, Nonce, Persons, mask};
use crate::audit::AuditError;
use crate::audit::disk::Disk;
use crate::limits::{AUDIT_BITS_BYTES, AUDIT_RECENT_SETS, MAX_AUDIT_NAMED, MAX_AUDIT_NAMES};
use rand::CryptoRng;
use roaring::RoaringBitmap;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits that a name takes.
const NAME_BITS: u64 = 64;

/// Knows the keys, and the sets that were recorded last.
pub(in crate::audit) struct Recorder {
    keys: Keys,
    recent: Mutex<VecDeque<Recent>>,
}

/// A set that is on the record.
#[derive(Clone)]
struct Recent {
    nonce: Nonce,
    set: Arc<RoaringBitmap>,
    /// Whether another one may be recorded as its difference.
    is_base: bool,
}

/// How a set goes on the record.
pub(in crate::audit) struct Described {
    /// What the completion says.
    pub persons: Persons,
    /// Entries that stand before it.
    pub before: Vec<Persons>,
    remember: Option<Recent>,
    /// The set that it is a difference of.
    base: Option<Nonce>,
}

impl Recorder {
    pub fn new(dir: &Path, disk: Arc<dyn Disk>, random: Box<dyn CryptoRng + Send>) -> Self {
        Self { keys: Keys::new(dir, disk, random), recent: Mutex::default() }
    }

    /// The keys.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The form that costs least.
    pub fn describe(&self, set: &Arc<RoaringBitmap>) -> Result<Described, AuditError> {
        let (count, nonce) = (set.len(), Nonce(self.keys.random()));
        let Some(highest) = set.max() else {
            let persons = Persons::Named { count, nonce, names: Names(Vec::new()) };
            return Ok(Described { persons, before: Vec::new(), remember: None, base: None });
        };
        if count <= MAX_AUDIT_NAMED {
            let names = self.keys.with(highest, |keys| self.names(keys, set, nonce))?;
            return Ok(Described { persons: Persons::Named { count, nonce, names }, before: Vec::new(), remember: None, base: None });
        }
        let recent: Vec<Recent> = self.recent().iter().cloned().collect();
        if let Some(same) = recent.iter().find(|recent| recent.set == *set) {
            return Ok(Described { persons: Persons::Set { count, set: same.nonce }, before: Vec::new(), remember: None, base: None });
        }
        // What a vector takes, in bits: everybody who has a key has a bit.
        let vector = u64::from(highest) + 1;
        let bases = recent.iter().filter(|recent| recent.is_base).map(|recent| (recent, &*recent.set ^ &**set));
        let nearest = bases.min_by_key(|(_, difference)| difference.len());
        let affordable = |named: u64| named <= MAX_AUDIT_NAMES && named * NAME_BITS < vector;
        let changed = nearest.filter(|(_, difference)| 2 * difference.len() < count && affordable(difference.len()));
        let base = changed.as_ref().map(|(base, _)| base.nonce);
        let (before, is_base) = match changed {
            Some((base, difference)) => {
                let highest = difference.max().unwrap_or_default();
                let names = self.keys.with(highest, |keys| self.names(keys, &difference, nonce))?;
                (vec![Persons::Changed { nonce, base: Some(base.nonce), names }], false)
            }
            None if affordable(count) => {
                let names = self.keys.with(highest, |keys| self.names(keys, set, nonce))?;
                (vec![Persons::Changed { nonce, base: None, names }], true)
            }
            None => (self.keys.with(highest, |keys| self.bits(keys, set, nonce))?, true),
        };
        let remember = Some(Recent { nonce, set: Arc::clone(set), is_base });
        Ok(Described { persons: Persons::Set { count, set: nonce }, before, remember, base })
    }

    /// Others may refer to the set from now on: its entries are in the queue.
    pub fn remember(&self, described: Described) {
        let Some(set) = described.remember else { return };
        let mut recent = self.recent();
        // A base that is used stays.
        if let Some(at) = recent.iter().position(|recent| Some(recent.nonce) == described.base)
            && let Some(base) = recent.remove(at)
        {
            recent.push_front(base);
        }
        recent.push_front(set);
        recent.truncate(AUDIT_RECENT_SETS);
    }

    /// Destroys the keys of Patients who were erased; how many there were.
    pub fn forget(&self, patients: &[u32]) -> Result<u64, AuditError> {
        self.recent().clear();
        self.keys.destroy(patients)
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of a set, ascending, so that their order says nothing.
    fn names(&self, keys: &[Key], set: &RoaringBitmap, nonce: Nonce) -> Names {
        let name = |patient: u32| match keys.get(patient as usize) {
            Some(key) if *key != DESTROYED => mask::of(key, nonce).name,
            _ => self.keys.random(), // erased while the answer was under way
        };
        let mut names: Vec<u64> = set.iter().map(name).collect();
        names.sort_unstable();
        Names(names)
    }

    /// The masked bits of everybody who has a key, in entries of bounded length.
    fn bits(&self, keys: &[Key], set: &RoaringBitmap, nonce: Nonce) -> Vec<Persons> {
        let per_entry = AUDIT_BITS_BYTES * 8;
        let entry = |(number, keys): (usize, &[Key])| {
            let first = (number * per_entry) as u32;
            let mut bits = vec![0u8; keys.len().div_ceil(8)];
            for (at, key) in keys.iter().enumerate() {
                let is_in = set.contains(first + at as u32);
                let shown = if *key == DESTROYED { self.keys.random() & 1 == 1 } else { is_in ^ mask::of(key, nonce).mask };
                if let Some(byte) = bits.get_mut(at / 8) {
                    *byte |= u8::from(shown) << (at % 8);
                }
            }
            Persons::Bits { nonce, first, bits: Bytes(bits) }
        };
        keys.chunks(per_entry).enumerate().map(entry).collect()
    }
}
