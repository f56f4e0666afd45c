//! What a set says of a Patient: AES-128 of the block (domain, nonce) under the Patient's key. The first 64 bits of the result are
//! the Patient's name in the set, the last bit masks their bit in a vector. Without the key both are random.

use super::Nonce;
use super::keys::Key;
use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

/// The first half of every block: no other use of these keys has it.
const DOMAIN: [u8; 8] = *b"dugnad.p";

/// How many blocks are encrypted together: what the processor's AES unit is fast at.
const AT_ONCE: usize = 64;

/// What a set says of a Patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The Patient's name in it.
    pub name: u64,
    /// What their bit is combined with (exclusive or).
    pub mask: bool,
}

fn block(nonce: Nonce) -> aes::Block {
    let mut block = [0; 16];
    let (domain, number) = block.split_at_mut(8);
    domain.copy_from_slice(&DOMAIN);
    number.copy_from_slice(&nonce.0.to_be_bytes());
    Array::from(block)
}

fn said(block: aes::Block) -> Said {
    let number = u128::from_be_bytes(block.into());
    Said { name: (number >> 64) as u64, mask: number & 1 == 1 }
}

/// What the set `nonce` says of the Patient with `key`.
pub(super) fn of(key: &Key, nonce: Nonce) -> Said {
    let mut one = block(nonce);
    Aes128::new(&Array::from(*key)).encrypt_block(&mut one);
    said(one)
}

/// What each of many sets says of the Patient with `key`, in their order.
pub(super) fn of_all(key: &Key, nonces: impl Iterator<Item = Nonce>, mut each: impl FnMut(Said)) {
    let cipher = Aes128::new(&Array::from(*key));
    let mut blocks = Vec::with_capacity(AT_ONCE);
    let mut flush = |blocks: &mut Vec<aes::Block>| {
        cipher.encrypt_blocks(blocks);
        blocks.drain(..).for_each(|block| each(said(block)));
    };
    for nonce in nonces {
        blocks.push(block(nonce));
        if blocks.len() == AT_ONCE {
            flush(&mut blocks);
        }
    }
    flush(&mut blocks);
}
