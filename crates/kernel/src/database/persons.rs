//! Who is one person: Patients of any holder with the same national identifier, and Patients that `Patient.link` joins. A corrected
//! identifier or a removed link splits them again. Only the map changes, no row of a table.

use super::commit::Committer;
use super::recover::{Kinds, REPLAY_CHUNK};
use crate::fhir::criteria;
use crate::fhir::json::{self, Value};
use crate::fhir::reference;
use crate::ids::{Commit, HolderId, PatientOrdinal};
use crate::journal::{JournalError, NationalHash};
use crate::limits::{MAX_PERSON_PATIENTS, PAST_COMMITS_KEPT};
use crate::live::PersonMap;
use bumpalo::Bump;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Identifier systems in which a value is one human's: fødselsnummer and D-number (Volven's OIDs).
const NATIONAL_SYSTEMS: [&str; 2] = ["urn:oid:2.16.578.1.12.4.1.4.1", "urn:oid:2.16.578.1.12.4.1.4.2"];

/// What a version of a Patient says of who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PersonKeys {
    identifiers: Vec<NationalHash>,
    /// Logical ids of Patients of the same holder.
    links: Vec<Box<str>>,
}

impl PersonKeys {
    pub(super) fn of(patient: &Value<'_>) -> Self {
        let national = criteria::identifiers(patient).into_iter().filter_map(|(system, value)| national(system, value));
        let links = patient.get("link").map(|l| l.items().to_vec()).unwrap_or_default();
        let other = |link: &Value<'_>| {
            let reference = link.get("other")?;
            let (kind, id) = reference::literal(reference.str("reference")?)?;
            (kind == "Patient").then(|| Box::from(id))
        };
        Self { identifiers: national.collect(), links: links.iter().filter_map(other).collect() }
    }
}

/// What a national identifier is kept as; `None` if it is none. The two systems share one space of numbers: it is of the number alone.
pub(super) fn national(system: &str, value: &str) -> Option<NationalHash> {
    if !NATIONAL_SYSTEMS.contains(&system) || !is_national(value) {
        return None;
    }
    let digest = Sha256::digest(value.as_bytes());
    let mut first = NationalHash::default();
    first.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    Some(first)
}

/// What was true at past commits that were asked for lately. It never changes.
#[derive(Default)]
pub(super) struct Past(Mutex<VecDeque<(Commit, Was)>>);

/// The time of a commit, and who was one person.
type Was = (Timestamp, Arc<PersonMap>);

impl Past {
    /// How it was at `commit`, looked up by `look` if that is not known.
    pub(super) fn at<E>(&self, commit: Commit, look: impl FnOnce() -> Result<Was, E>) -> Result<Was, E> {
        let lately = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, was)) = lately().iter().find(|(known, _)| *known == commit) {
            return Ok(was.clone());
        }
        let was = look()?;
        let mut lately = lately();
        lately.truncate(PAST_COMMITS_KEPT - 1);
        lately.push_front((commit, was.clone()));
        Ok(was)
    }
}

/// Whether a text can be a fødselsnummer or D-number: eleven digits that begin with a day (plus 40 in a D-number) and a month (plus
/// 40, 65 or 80 in synthetic numbers), with both control digits right (Skatteetaten, "Fødselsnummer"). Placeholders are none.
fn is_national(value: &str) -> bool {
    let digits: Vec<u32> = value.chars().filter_map(|c| c.to_digit(10)).collect();
    if value.len() != 11 || digits.len() != 11 {
        return false;
    }
    let two = |at: usize| digits.iter().skip(at).take(2).fold(0, |n, d| n * 10 + d);
    let day = (1..=31).contains(&two(0)) || (41..=71).contains(&two(0));
    let month = [0, 40, 65, 80].iter().any(|plus| (plus + 1..=plus + 12).contains(&two(2)));
    let control = |weights: &[u32]| weights.iter().zip(&digits).map(|(w, d)| w * d).sum::<u32>() % 11 == 0;
    day && month && control(&[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) && control(&[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1])
}

impl Committer {
    /// What the new version of a Patient changes in who is one person, written into the open transaction.
    pub(super) fn identify(
        &mut self,
        holder: HolderId,
        patient: PatientOrdinal,
        keys: &PersonKeys,
        commit: Commit,
    ) -> Result<(), JournalError> {
        let kind = self.writer.kind("Patient")?;
        let mut links = Vec::with_capacity(keys.links.len());
        for id in &keys.links {
            links.extend(self.ordinal(holder, kind, id.clone(), true)?.1.filter(|other| *other != patient));
        }
        let mut affected = self.joined(patient)?;
        if !self.writer.set_person(patient, &keys.identifiers, &links)? {
            return Ok(());
        }
        let mut map = PersonMap::clone(&self.persons);
        affected.extend(self.joined(patient)?);
        while let Some(first) = affected.pop_first() {
            let together = self.joined(first)?;
            let many = together.len() > MAX_PERSON_PATIENTS;
            let person = together.first().copied().unwrap_or(first);
            for one in &together {
                let person = if many { *one } else { person };
                if map.person(*one) != person {
                    self.writer.add_person_change(commit, *one, person)?;
                    map.set(*one, person);
                }
                affected.remove(one);
            }
            if many {
                tracing::warn!(commit = commit.0, "more than {MAX_PERSON_PATIENTS} Patients share identifiers or links; they stay apart");
            }
        }
        if map != *self.persons {
            self.persons = Arc::new(map);
        }
        Ok(())
    }

    /// Reads who is one person. A journal of a time before persons is read from its first Patient on.
    pub(super) fn load_persons(&mut self) -> Result<(), JournalError> {
        if self.writer.lookup().meta("persons").is_err() {
            self.writer.begin()?;
            let kind = Kinds::read(&self.writer.lookup())?.number("Patient");
            let mut after = 0;
            loop {
                let (last, versions) = self.writer.lookup().replay_of(kind, after, REPLAY_CHUNK)?;
                let done = versions.len() < REPLAY_CHUNK as usize;
                for version in versions {
                    let arena = Bump::new();
                    let stored = version.json.as_deref().map(|stored| json::parse(stored, &arena));
                    let resource = stored.transpose().map_err(|e| JournalError::Inconsistent(format!("a stored Patient: {e}")))?;
                    let keys = resource.map(|r| PersonKeys::of(&r)).unwrap_or_default();
                    if let Some(patient) = self.writer.lookup().patient(version.resource)? {
                        self.identify(version.holder, patient, &keys, version.commit)?;
                    }
                }
                if done {
                    break;
                }
                after = last;
            }
            self.writer.set_meta("persons", "1")?;
            self.writer.commit()?;
        }
        self.persons = Arc::new(map_of(self.writer.lookup().person_changes(self.newest)?));
        Ok(())
    }

    /// All Patients that are joined with this one, itself included, by what the journal says now.
    fn joined(&self, patient: PatientOrdinal) -> Result<BTreeSet<PatientOrdinal>, JournalError> {
        let lookup = self.writer.lookup();
        let (mut seen, mut next) = (BTreeSet::from([patient]), vec![patient]);
        while let Some(one) = next.pop() {
            if seen.len() > MAX_PERSON_PATIENTS {
                break;
            }
            for other in lookup.neighbours(one)? {
                if seen.insert(other) {
                    next.push(other);
                }
            }
        }
        Ok(seen)
    }
}

/// The map that changes until some commit make.
pub(super) fn map_of(changes: Vec<(PatientOrdinal, PatientOrdinal)>) -> PersonMap {
    let mut map = PersonMap::default();
    for (patient, person) in changes {
        map.set(patient, person);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_a_date_and_right_control_digits_are_national_identifiers() {
        for national in ["13872190036", "13872190117"] {
            assert!(is_national(national), "{national}");
        }
        for other in ["13872199999", "00000000000", "11111111111", "1387219003", "138721900361", "1387219003x", ""] {
            assert!(!is_national(other), "{other}");
        }
    }
}
