//! Who was erased, and what is about them.
//!
//! A version is *about* the Patients that it names: any text in it that begins with `Patient/ID`, which is how a literal
//! reference to a Patient of the same holder is stored (an absolute URL is another server's Patient). A Patient resource is
//! about itself alone, whatever it is linked to; a Subscription is also about those whom its criteria name. A version that names
//! nobody (a deletion, or one that lost its subject) is about those whom the other versions of its resource named before they were erased.

use super::Shared;
use super::tables::PATIENT;
use crate::fhir::json::{self, Value};
use crate::ids::{Commit, HolderId};
use crate::journal::{ErasureRow, JournalError, Lookup, PersonHash, StoredRow};
use crate::subscription;
use bumpalo::Bump;
use hmac::{Hmac, KeyInit, Mac};
use memchr::memmem;
use roaring::RoaringBitmap;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

const SUBSCRIPTION: &str = "Subscription";

/// Separates the names of erased persons from other uses of a key.
const DOMAIN: &[u8] = b"dugnad.erasure.v1\n";

/// All erasures of a database.
pub(super) struct Erasures {
    key: [u8; 32],
    rows: HashMap<PersonHash, ErasureRow>,
}

impl Erasures {
    /// Reads them from the journal.
    pub(super) fn load(lookup: &Lookup<'_>) -> Result<Self, JournalError> {
        let text = lookup.meta("erasure_key")?;
        let key = parse_hash(&text).ok_or_else(|| JournalError::Inconsistent("its erasure_key is not 64 hexadecimal digits".to_owned()))?;
        Ok(Self { key, rows: lookup.erasures()?.into_iter().map(|row| (row.person, row)).collect() })
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get(&self, person: &PersonHash) -> Option<&ErasureRow> {
        self.rows.get(person)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &ErasureRow> {
        self.rows.values()
    }

    /// The same with rows added or changed.
    pub(super) fn with(&self, rows: impl IntoIterator<Item = ErasureRow>) -> Self {
        let mut all = self.rows.clone();
        all.extend(rows.into_iter().map(|row| (row.person, row)));
        Self { key: self.key, rows: all }
    }

    /// The same, with all purges that are under way to be begun again.
    pub(super) fn begun_again(&self) -> Self {
        let rows = self.rows.values().filter(|row| row.done_us.is_none());
        self.with(rows.map(|row| ErasureRow { purged: 0, ..row.clone() }).collect::<Vec<_>>())
    }

    /// The patients whose rows still stand in live tables. Once a purge is done, no row of theirs is visible at any commit.
    pub(super) fn to_hide(&self) -> RoaringBitmap {
        self.rows.values().filter(|row| row.done_us.is_none()).filter_map(|row| row.patient).map(|patient| patient.0).collect()
    }

    /// What a holder's Patient is called in the journal's table and in the erasure list.
    pub(super) fn person(&self, holder: &str, patient: &str) -> PersonHash {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of 32 bytes");
        for part in [DOMAIN, holder.as_bytes(), b"\0", patient.as_bytes()] {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Tells one database's erasure list from another's, without telling the key.
    pub(super) fn key_id(&self) -> String {
        hex(&Sha256::digest(self.key)).get(..16).unwrap_or_default().to_owned()
    }
}

/// The persons that a version is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// It names none.
    Nobody,
    /// None of whom was erased.
    Others,
    /// One of whom was erased by this commit.
    Erased(Commit),
}

/// The erasures as they concern one holder.
pub(super) struct ErasedOf {
    all: Arc<Erasures>,
    holder: Box<str>,
}

impl Shared {
    /// The erasures as they concern `holder`; the centre's documents are about nobody.
    pub(super) fn erased_of(&self, holder: HolderId) -> ErasedOf {
        let all = self.erasures.load_full();
        if all.rows.is_empty() {
            return ErasedOf { all, holder: "".into() };
        }
        let holders = self.holders.read().unwrap_or_else(PoisonError::into_inner);
        let name = holders.iter().find(|h| h.id == holder && holder != HolderId::CENTRE).map_or("", |h| h.name.as_str());
        ErasedOf { all, holder: name.into() }
    }
}

impl ErasedOf {
    /// How many erasures there are in all: they are never taken back, so that this number says which are known.
    pub(super) fn known(&self) -> usize {
        self.all.len()
    }

    /// Nobody of this holder can be erased.
    pub(super) fn is_empty(&self) -> bool {
        self.holder.is_empty()
    }

    /// Whether a Patient of the holder was erased.
    pub(super) fn is_erased(&self, patient: &str) -> bool {
        !self.is_empty() && self.all.get(&self.all.person(&self.holder, patient)).is_some()
    }

    /// Whom a version is about.
    pub(super) fn about(&self, kind: &str, id: &str, json: Option<&[u8]>) -> About {
        if self.is_empty() {
            return About::Others;
        }
        let erased = |patient: &str| self.all.get(&self.all.person(&self.holder, patient)).map(|row| row.commit);
        if kind == "Patient" {
            return erased(id).map_or(About::Others, About::Erased);
        }
        let mut about = About::Nobody;
        let in_criteria = json.map(|json| patients_in_criteria(kind, json)).unwrap_or_default();
        for patient in json.into_iter().flat_map(patients).chain(in_criteria.iter().map(String::as_str)) {
            match erased(patient) {
                Some(commit) => return About::Erased(commit),
                None => about = About::Others,
            }
        }
        about
    }

    /// By which commit each version of a resource was erased; `versions` are all of them.
    pub(super) fn among(&self, kind: &str, id: &str, versions: &[StoredRow]) -> Vec<Option<Commit>> {
        let about: Vec<About> = versions
            .iter()
            .map(|version| match version.erased {
                Some(commit) => About::Erased(commit),
                None => self.about(kind, id, version.json.as_deref()),
            })
            .collect();
        let latest = about.iter().filter_map(|a| if let About::Erased(commit) = a { Some(*commit) } else { None }).max();
        let by = |(version, about): (&StoredRow, &About)| match about {
            About::Others => None,
            About::Erased(commit) => Some(*commit),
            About::Nobody => latest.filter(|commit| version.commit < *commit),
        };
        versions.iter().zip(&about).map(by).collect()
    }

    /// Whether the newest version of a resource is erased.
    pub(super) fn hides_head(&self, lookup: &Lookup<'_>, kind: &str, id: &str, sequence: i64) -> Result<bool, JournalError> {
        if self.is_empty() {
            return Ok(false);
        }
        let Some(head) = lookup.version(sequence)? else { return Ok(false) };
        match self.about(kind, id, head.json.as_deref()) {
            About::Others => Ok(false),
            About::Erased(_) => Ok(true),
            About::Nobody => Ok(self.among(kind, id, &chain(lookup, sequence)?).first().is_some_and(Option::is_some)),
        }
    }
}

/// All versions of a resource from `sequence` back, newest first.
pub(super) fn chain(lookup: &Lookup<'_>, mut sequence: i64) -> Result<Vec<StoredRow>, JournalError> {
    let mut versions = Vec::new();
    while sequence != 0 {
        let row = lookup.version(sequence)?;
        let row = row.ok_or_else(|| JournalError::Inconsistent(format!("version {sequence} is missing")))?;
        sequence = row.previous;
        versions.push(row);
    }
    Ok(versions)
}

/// The ids of the Patients that a stored version is about, itself apart.
pub(super) fn patients_named(kind: &str, json: &[u8]) -> Vec<String> {
    patients(json).map(str::to_owned).chain(patients_in_criteria(kind, json)).collect()
}

/// The ids of the Patients that the criteria of a stored version name, if it is a Subscription.
fn patients_in_criteria(kind: &str, json: &[u8]) -> Vec<String> {
    if kind != SUBSCRIPTION {
        return Vec::new();
    }
    let arena = Bump::new();
    json::parse(json, &arena).map(|resource| subscription::patients_named(&resource)).unwrap_or_default()
}

/// The ids of the Patients that a stored resource names.
fn patients(json: &[u8]) -> impl Iterator<Item = &str> {
    const BEFORE: &[u8] = b"\"Patient/";
    memmem::find_iter(json, BEFORE).filter_map(|at| {
        let rest = json.get(at + BEFORE.len()..)?;
        let end = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')))?;
        let ends = end > 0 && matches!(rest.get(end), Some(b'"' | b'/' | b'#' | b'?' | b'|'));
        if ends { std::str::from_utf8(rest.get(..end)?).ok() } else { None }
    })
}

/// The ids of the Patients that a resource is about: the same as [`ErasedOf::about`] finds in its JSON.
pub(super) fn patients_of<'a>(resource_type: &str, resource: &Value<'a>) -> Vec<Cow<'a, str>> {
    let mut found: Vec<Cow<'a, str>> = Vec::new();
    if resource_type == SUBSCRIPTION {
        found.extend(subscription::patients_named(resource).into_iter().map(Cow::Owned));
    }
    match (resource_type, resource.str("id")) {
        (PATIENT, Some(id)) => found.push(Cow::Borrowed(id)),
        _ => each_text(resource, &mut |text| {
            let Some(rest) = text.strip_prefix("Patient/") else { return };
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))).unwrap_or(rest.len());
            let (id, after) = rest.split_at(end);
            if !id.is_empty() && (after.is_empty() || after.starts_with(['/', '#', '?', '|'])) && !found.iter().any(|known| known == id) {
                found.push(Cow::Borrowed(id));
            }
        }),
    }
    found
}

fn each_text<'a>(value: &Value<'a>, show: &mut impl FnMut(&'a str)) {
    match value {
        Value::String(text) => show(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, show)),
        Value::Object(members) => members.iter().for_each(|(_, value)| each_text(value, show)),
        Value::Null | Value::Boolean(_) | Value::Number(_) => {}
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hex`] wrote of 32 bytes.
pub(super) fn parse_hash(text: &str) -> Option<PersonHash> {
    let mut hash = PersonHash::default();
    if text.len() != 2 * hash.len() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patients_are_named_by_literal_references() {
        let named = |json: &str| patients(json.as_bytes()).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(named(r#"{"subject":{"reference":"Patient/a.1-B"},"x":["Patient/2/_history/3","Patient/4#x"]}"#), ["a.1-B", "2", "4"]);
        let none = r#"{"a":"https://x.no/Patient/1","b":"Patient/","c":"Patient/å","d":"see Patient/1","e":"Patient/1 and more"}"#;
        assert_eq!(named(none), [] as [&str; 0]);
        assert_eq!(named(r#""Patient/1"#), [] as [&str; 0], "what is cut off names nobody");
    }

    #[test]
    fn hashes_are_read_as_they_are_written() {
        let hash: PersonHash = std::array::from_fn(|i| i as u8 * 7);
        assert_eq!(parse_hash(&hex(&hash)), Some(hash));
        assert_eq!(parse_hash("00"), None);
        assert_eq!(parse_hash(&"+1".repeat(32)), None);
    }
}
