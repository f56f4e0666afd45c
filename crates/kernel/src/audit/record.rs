//! Records of `entries.log`: the private side of the log. `docs/formats/audit-log.md` has the layout byte by byte.

use super::entry::{SALT_BYTES, commitment};
use super::tree::Hash;
use crate::limits::MAX_AUDIT_ENTRY_BYTES;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Seek};

/// The first bytes of the file.
pub const FILE_HEADER: &[u8] = b"dugnad audit entries v1\n";

/// The first bytes of a record. 0xFF never stands in UTF-8, so no JSON holds them.
const MAGIC: [u8; 4] = *b"\xffDE1";

/// Magic, length (u32), index (u64), group (u64), salt; all numbers big-endian.
const HEAD_BYTES: usize = 4 + 4 + 8 + 8 + SALT_BYTES;

/// Where the JSON begins in a record.
pub(crate) const JSON_AT: u64 = HEAD_BYTES as u64;

/// Bytes of the checksum after the JSON.
const CHECKSUM_BYTES: usize = 8;

/// Separates the checksum from other hashes.
const CHECKSUM_DOMAIN: &[u8] = b"dugnad.audit.record.v1\n";

/// One entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its number, from 0.
    pub index: u64,
    /// The index of the first entry that was synced together with it: a later group proves that this one was synced.
    pub group: u64,
    /// Its salt.
    pub salt: [u8; SALT_BYTES],
    /// The entry's JSON.
    pub json: Vec<u8>,
    /// What the public tree holds of it.
    pub commitment: Hash,
}

/// Why there is no record at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The file ends before the record does.
    Short,
    /// The bytes are not those that were written.
    Wrong(&'static str),
}

impl Flaw {
    pub fn describe(self) -> &'static str {
        match self {
            Flaw::Short => "the file ends inside the entry",
            Flaw::Wrong(what) => what,
        }
    }
}

fn checksum(head: &[u8; HEAD_BYTES], commitment: &Hash) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = Sha256::new();
    hasher.update(CHECKSUM_DOMAIN);
    hasher.update(head);
    // The commitment covers salt and JSON, so that they are hashed once.
    hasher.update(commitment.bytes());
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hasher.finalize());
    [a, b, c, d, e, f, g, h]
}

/// Appends a record to `out`; its commitment.
pub(crate) fn encode(out: &mut Vec<u8>, index: u64, group: u64, salt: &[u8; SALT_BYTES], json: &[u8]) -> Hash {
    let mut head = [0u8; HEAD_BYTES];
    let length = json.len() as u32; // bounded by MAX_AUDIT_ENTRY_BYTES
    for (part, bytes) in [(0, &MAGIC[..]), (4, &length.to_be_bytes()), (8, &index.to_be_bytes()), (16, &group.to_be_bytes()), (24, salt)] {
        if let Some(place) = head.get_mut(part..part + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    let commitment = commitment(salt, json);
    out.extend_from_slice(&head);
    out.extend_from_slice(json);
    out.extend_from_slice(&checksum(&head, &commitment));
    commitment
}

/// How many bytes a record takes.
pub(crate) fn encoded_len(json_len: usize) -> u64 {
    (HEAD_BYTES + json_len + CHECKSUM_BYTES) as u64
}

/// The next record of a stream: `Ok(None)` at its end, `Ok(Some(Err))` where there is none although bytes follow.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Result<Record, Flaw>>> {
    let mut head = [0u8; HEAD_BYTES];
    let got = read_up_to(from, &mut head)?;
    if got == 0 {
        return Ok(None);
    }
    let [m0, m1, m2, m3, l0, l1, l2, l3, rest @ ..] = head;
    if got >= 4 && [m0, m1, m2, m3] != MAGIC {
        return Ok(Some(Err(Flaw::Wrong("no entry begins here"))));
    }
    if got < HEAD_BYTES {
        return Ok(Some(Err(Flaw::Short)));
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > MAX_AUDIT_ENTRY_BYTES {
        return Ok(Some(Err(Flaw::Wrong("its length is impossible"))));
    }
    let mut json = vec![0u8; length + CHECKSUM_BYTES];
    if read_up_to(from, &mut json)? < json.len() {
        return Ok(Some(Err(Flaw::Short)));
    }
    let sum = json.split_off(length);
    let (index, rest) = take_u64(&rest);
    let (group, rest) = take_u64(rest);
    let mut salt = [0u8; SALT_BYTES];
    salt.copy_from_slice(rest);
    let commitment = commitment(&salt, &json);
    if sum != checksum(&head, &commitment) {
        return Ok(Some(Err(Flaw::Wrong("its checksum does not fit"))));
    }
    Ok(Some(Ok(Record { index, group, salt, json, commitment })))
}

/// Passes over a record without looking at more than its length; whether there was one.
pub(crate) fn skip(from: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut head = [0u8; HEAD_BYTES];
    if read_up_to(from, &mut head)? < HEAD_BYTES {
        return Ok(false);
    }
    let [m0, m1, m2, m3, l0, l1, l2, l3, ..] = head;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if [m0, m1, m2, m3] != MAGIC || length > MAX_AUDIT_ENTRY_BYTES {
        return Ok(false);
    }
    from.seek_relative((length + CHECKSUM_BYTES) as i64)?;
    Ok(true)
}

fn take_u64(bytes: &[u8]) -> (u64, &[u8]) {
    match bytes.split_first_chunk::<8>() {
        Some((number, rest)) => (u64::from_be_bytes(*number), rest),
        None => (0, bytes),
    }
}

fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..)
        && !free.is_empty()
    {
        match from.read(free) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether `rest`, the end of the file from a flawed record `index` on, holds a whole record of a later group. Groups are
/// synced one after the other: if so, the flawed record had been synced, and this is damage rather than the end of a crash.
pub(crate) fn later_group_follows(rest: &[u8], index: u64) -> bool {
    record_follows(rest, |record| record.group > index)
}

/// Whether `rest` holds, anywhere, a whole record that is `wanted`.
pub(crate) fn record_follows(rest: &[u8], wanted: impl Fn(&Record) -> bool) -> bool {
    let candidates = rest.windows(MAGIC.len()).enumerate().filter(|(_, window)| **window == MAGIC);
    candidates.filter_map(|(at, _)| rest.get(at..)).any(|mut bytes| matches!(read(&mut bytes), Ok(Some(Ok(record))) if wanted(&record)))
}

/// Whether `rest`, a record that seems to go on behind the end of the file, is whole but for its length.
pub(crate) fn only_length_is_wrong(rest: &[u8]) -> bool {
    let Some(length) = rest.len().checked_sub(HEAD_BYTES + CHECKSUM_BYTES) else { return false };
    let mut mended = rest.to_vec();
    if let Some(place) = mended.get_mut(4..8) {
        place.copy_from_slice(&(length as u32).to_be_bytes());
    }
    matches!(read(&mut mended.as_slice()), Ok(Some(Ok(_))))
}
