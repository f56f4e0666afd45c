//! Pseudonyms: what a permit shows instead of keys.
//!
//! A pseudonym is a keyed permutation of a number: AES-128 of the block (domain, ordinal) under a key that is derived
//! per permit, `HMAC-SHA256(master key, "dugnad/pseudonym/1" 0x00 permit id)`, its first 16 bytes. So the same patient has
//! the same pseudonym in all tables of one permit and at all times, pseudonyms of two permits do not join, and nobody
//! without the master key can compute one or turn it back. (The database can: a question for one patient looks up one number.) Rendered as 26 characters of base32 (RFC 4648, lowercase).

use crate::ids::{PatientOrdinal, ResourceOrdinal};
use aes::Aes128;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The length of every pseudonym, in bytes and characters: 128 bits in base32.
pub const PSEUDONYM_LENGTH: usize = 26;

/// What kind of thing a key names. Equal numbers in two domains have unrelated pseudonyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Patients.
    Patient,
    /// All other resources.
    Resource,
}

/// The pseudonyms of one permit.
#[derive(Clone)]
pub struct Pseudonyms {
    cipher: Aes128,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms(..)") // never the key
    }
}

impl Pseudonyms {
    /// The pseudonyms of a permit, from the database's master key.
    pub fn of_permit(master: &[u8; 32], permit: &str) -> Self {
        let mut padded = [0; 64]; // HMAC itself pads a short key with zeros to the hash's block
        padded[..32].copy_from_slice(master);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&Array::from(padded));
        mac.update(b"dugnad/pseudonym/1\0");
        mac.update(permit.as_bytes());
        let derived: [u8; 32] = mac.finalize().into_bytes().into();
        let mut key = [0; 16];
        key.copy_from_slice(&derived[..16]);
        Self { cipher: Aes128::new(&Array::from(key)) }
    }

    /// The pseudonym of a patient.
    pub fn patient(&self, ordinal: PatientOrdinal) -> [u8; PSEUDONYM_LENGTH] {
        self.one(Domain::Patient, u64::from(ordinal.0))
    }

    /// The pseudonym of a resource.
    pub fn resource(&self, ordinal: ResourceOrdinal) -> [u8; PSEUDONYM_LENGTH] {
        self.one(Domain::Resource, ordinal.0)
    }

    /// The pseudonyms of many, in their order; `each` gets them one by one. Blocks are encrypted many at a time, which
    /// is what the processor's AES unit is fast at.
    pub fn encode(&self, domain: Domain, ordinals: impl Iterator<Item = u64>, mut each: impl FnMut(&[u8; PSEUDONYM_LENGTH])) {
        self.encrypt(domain, ordinals, |block| each(&base32(block)));
    }

    /// For each of many a number that compares with the others as their pseudonyms do, most significant byte first: for sorting, at a
    /// part of what the texts cost.
    pub fn ranks(&self, domain: Domain, ordinals: impl Iterator<Item = u64>, mut each: impl FnMut(&[u8; 16])) {
        self.encrypt(domain, ordinals, |block| each(&rank(u128::from_be_bytes(*block)).to_be_bytes()));
    }

    fn encrypt(&self, domain: Domain, ordinals: impl Iterator<Item = u64>, mut each: impl FnMut(&[u8; 16])) {
        const AT_ONCE: usize = 64;
        let mut blocks = [Array::from([0; 16]); AT_ONCE];
        let mut filled = 0;
        let mut flush = |blocks: &mut [aes::Block]| {
            self.cipher.encrypt_blocks(blocks);
            blocks.iter().for_each(|b| each(&(*b).into()));
        };
        for ordinal in ordinals {
            blocks[filled] = Array::from(block(domain, ordinal));
            filled += 1;
            if filled == AT_ONCE {
                flush(&mut blocks);
                filled = 0;
            }
        }
        flush(&mut blocks[..filled]);
    }

    /// The ordinal behind a pseudonym of this permit; `None` if `text` is none of this domain.
    pub fn ordinal(&self, domain: Domain, text: &str) -> Option<u64> {
        let mut decrypted = Array::from(from_base32(text)?);
        self.cipher.decrypt_block(&mut decrypted);
        let decrypted: [u8; 16] = decrypted.into();
        let ordinal = u64::from_be_bytes(*decrypted.last_chunk()?);
        (decrypted == block(domain, ordinal)).then_some(ordinal)
    }

    fn one(&self, domain: Domain, ordinal: u64) -> [u8; PSEUDONYM_LENGTH] {
        let mut block = Array::from(block(domain, ordinal));
        self.cipher.encrypt_block(&mut block);
        base32(&block.into())
    }
}

fn block(domain: Domain, ordinal: u64) -> [u8; 16] {
    let mut block = [0; 16];
    block[0] = match domain {
        Domain::Patient => 1,
        Domain::Resource => 2,
    };
    block[8..].copy_from_slice(&ordinal.to_be_bytes());
    block
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The 128 bits of a text that [`base32`] made; `None` of any other.
fn from_base32(text: &str) -> Option<[u8; 16]> {
    if text.len() != PSEUDONYM_LENGTH {
        return None;
    }
    let bits = text.bytes().enumerate().try_fold(0_u128, |bits, (i, character)| {
        let group = ALPHABET.iter().position(|c| *c == character)? as u128;
        Some(if i < 25 { bits | group << (123 - 5 * i) } else { bits | group >> 2 })
    })?;
    let block = bits.to_be_bytes();
    (base32(&block) == text.as_bytes()).then_some(block)
}

/// The bits of every second group of [`base32`], from the first one on.
const EVEN_GROUPS: u128 = even_groups(31);

const fn even_groups(group: u128) -> u128 {
    let (mut bits, mut i) = (0, 0);
    while i < 25 {
        bits |= group << (123 - 5 * i);
        i += 2;
    }
    bits
}

/// The bits of a text with its characters numbered as they compare: digits, the last six of the alphabet, before letters. So 6 is
/// added to each group, modulo 32; the last group, three bits with two zeros behind them, gets 1 modulo 8.
fn rank(bits: u128) -> u128 {
    const LAST: u128 = 7;
    let (even, odd) = (bits & EVEN_GROUPS, bits & !EVEN_GROUPS & !LAST);
    let (six_even, six_odd) = (even_groups(6), (even_groups(6) >> 5) & !LAST);
    // Above each group that is added to stands one of zeros, which takes the carry and is masked.
    let even = even.wrapping_add(six_even) & EVEN_GROUPS;
    let odd = odd.wrapping_add(six_odd) & !EVEN_GROUPS & !LAST;
    even | odd | (bits.wrapping_add(1) & LAST)
}

fn base32(block: &[u8; 16]) -> [u8; PSEUDONYM_LENGTH] {
    let bits = u128::from_be_bytes(*block);
    let mut text = [0; PSEUDONYM_LENGTH];
    for (i, character) in text.iter_mut().enumerate() {
        // 25 groups of five bits from the top; the 26th holds the last three bits, padded with zeros as RFC 4648 says.
        let group = if i < 25 { (bits >> (123 - 5 * i)) & 31 } else { (bits & 7) << 2 };
        *character = ALPHABET[group as usize];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Any two blocks, also such as differ in few bits, which ciphers seldom give.
        #[test]
        fn the_rank_of_a_block_compares_as_its_text(block in any::<u128>(), at in 0..128_u32, other in any::<u128>(), near in any::<bool>()) {
            let other = if near { block ^ 1 << at } else { other };
            let text = |block: u128| base32(&block.to_be_bytes());
            prop_assert_eq!(rank(block).cmp(&rank(other)), text(block).cmp(&text(other)));
        }
    }
}
