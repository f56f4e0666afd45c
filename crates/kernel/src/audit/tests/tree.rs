//! The tree against a naive recursive one, written as RFC 6962 defines it, and against hashes computed by another program.

use super::super::tile::{Growth, Tile, TileKind, subtree};
use super::super::tree::{
    Hash, Nodes, ProofError, consistency, empty_root, inclusion, leaf_hash, node_hash, root, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::convert::Infallible;

fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        leaves => {
            let (left, right) = leaves.split_at(naive_split(leaves.len()));
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

fn naive_split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

fn naive_inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = naive_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, other) =
        if index < k { (naive_inclusion(index, left), naive_root(right)) } else { (naive_inclusion(index - k, right), naive_root(left)) };
    path.push(other);
    path
}

fn naive_consistency(old: usize, leaves: &[Hash], is_old_tree: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if is_old_tree { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let k = naive_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, other) = if old <= k {
        (naive_consistency(old, left, is_old_tree), naive_root(right))
    } else {
        (naive_consistency(old - k, right, false), naive_root(left))
    };
    path.push(other);
    path
}

struct InMemory<'a>(&'a [Hash]);

impl Nodes for InMemory<'_> {
    type Error = Infallible;
    fn node(&self, height: u32, index: u64) -> Result<Hash, Infallible> {
        let (from, to) = ((index as usize) << height, (index as usize + 1) << height);
        Ok(naive_root(&self.0[from..to]))
    }
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&(number as u64).to_be_bytes())).collect()
}

fn hash(hex: &str) -> Hash {
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    Hash::new(bytes.try_into().unwrap())
}

/// The eight leaves that implementations of Certificate Transparency test with; hashes computed with Python's hashlib.
fn reference_leaves() -> Vec<Hash> {
    let data: [&[u8]; 8] = [b"", b"\x00", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"];
    data.iter().map(|leaf| leaf_hash(leaf)).collect()
}

#[test]
fn roots_of_the_reference_leaves() {
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let leaves = reference_leaves();
    for (size, expected) in roots.into_iter().enumerate() {
        assert_eq!(root(&InMemory(&leaves), size as u64), Ok(hash(expected)), "size {size}");
    }
}

#[test]
fn proofs_of_the_reference_leaves() {
    let leaves = reference_leaves();
    let nodes = InMemory(&leaves);
    let five_of_eight = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(inclusion(&nodes, 5, 8), Ok(five_of_eight.map(hash).to_vec()));
    assert_eq!(inclusion(&nodes, 2, 3), Ok(vec![hash("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125")]));
    let six_to_eight = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(consistency(&nodes, 6, 8), Ok(six_to_eight.map(hash).to_vec()));
    let two_to_five = [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ];
    assert_eq!(consistency(&nodes, 2, 5), Ok(two_to_five.map(hash).to_vec()));
}

#[test]
fn every_proof_of_small_trees_is_the_naive_one_and_verifies() {
    for size in 1..=33usize {
        let leaves = leaves(size);
        let nodes = InMemory(&leaves);
        let top = naive_root(&leaves);
        for index in 0..size {
            let path = inclusion(&nodes, index as u64, size as u64).unwrap();
            assert_eq!(path, naive_inclusion(index, &leaves));
            verify_inclusion(&leaves[index], index as u64, size as u64, &path, &top).unwrap();
        }
        for old in 1..=size {
            let path = consistency(&nodes, old as u64, size as u64).unwrap();
            assert_eq!(path, naive_consistency(old, &leaves, true));
            verify_consistency(old as u64, size as u64, &naive_root(&leaves[..old]), &top, &path).unwrap();
        }
        verify_consistency(0, size as u64, &empty_root(), &top, &[]).unwrap();
    }
}

/// Tiles as a server of the public files has them.
struct Tiles(BTreeMap<(u8, u64), Vec<u8>>);

impl Nodes for Tiles {
    type Error = Infallible;
    fn node(&self, height: u32, index: u64) -> Result<Hash, Infallible> {
        let first = index << (height % 8);
        let bytes = &self.0[&((height / 8) as u8, first >> 8)];
        Ok(subtree(bytes, (first & 255) as usize, height % 8).unwrap())
    }
}

fn tiles_of(count: usize) -> (Growth, Tiles) {
    let mut growth = Growth::default();
    let mut all = Vec::new();
    for number in 0..count {
        growth.push(leaf_hash(&(number as u64).to_be_bytes()), |tile, bytes| all.push((tile, bytes)));
    }
    all.extend(growth.partials());
    let hashes = all.into_iter().filter_map(|(tile, bytes): (Tile, _)| match tile.kind() {
        TileKind::Hashes(level) => Some(((level, tile.index()), bytes)),
        TileKind::Entries => None,
    });
    (growth, Tiles(hashes.collect()))
}

/// The same tree, computed with Python's hashlib, level by level. It has three levels of tiles.
#[test]
fn a_tree_of_three_levels_of_tiles_has_the_root_that_another_program_computes() {
    use sha2::{Digest, Sha256};
    let mut growth = Growth::default();
    for number in 0..70_000 {
        growth.push(Hash::new(Sha256::digest(number.to_string()).into()), |_, _| {});
    }
    assert_eq!(growth.root(), hash("9099396a79018c76d41ef6ae21c1c16a6865effde6a8d78fe34df3e36f944766"));
    let paths: Vec<String> = growth.partials().iter().map(|(tile, _)| tile.path()).collect();
    assert_eq!(paths, ["tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tiles_give_the_naive_root_and_proofs(count in 1usize..1500, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let (growth, tiles) = tiles_of(count);
        let leaves: Vec<Hash> = leaves(count).iter().map(|commitment| leaf_hash(commitment.bytes())).collect();
        let top = naive_root(&leaves);
        prop_assert_eq!(growth.root(), top);
        prop_assert_eq!(root(&tiles, count as u64), Ok(top));
        let (index, old) = (a.index(count), b.index(count) + 1);
        let path = inclusion(&tiles, index as u64, count as u64).unwrap();
        prop_assert_eq!(&path, &naive_inclusion(index, &leaves));
        prop_assert_eq!(verify_inclusion(&leaves[index], index as u64, count as u64, &path, &top), Ok(()));
        let path = consistency(&tiles, old as u64, count as u64).unwrap();
        prop_assert_eq!(&path, &naive_consistency(old, &leaves, true));
        prop_assert_eq!(verify_consistency(old as u64, count as u64, &naive_root(&leaves[..old]), &top, &path), Ok(()));
    }

    #[test]
    fn a_changed_proof_does_not_verify(count in 2usize..200, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), how in 0..5) {
        let leaves = leaves(count);
        let index = a.index(count);
        let top = naive_root(&leaves);
        let mut path = naive_inclusion(index, &leaves);
        let (mut index, mut size) = (index as u64, count as u64);
        let leaf = leaves[index as usize];
        let place = b.index(path.len());
        match how {
            0 => _ = path.remove(place),
            1 => path.insert(place, leaf),
            2 => path[place] = node_hash(&path[place], &path[place]),
            3 => index = (index + 1 + b.index(count - 1) as u64) % size,
            // A size that is a little off can leave a path as it is; one of another height cannot.
            _ => size = 2 * size + 1,
        }
        prop_assert!(verify_inclusion(&leaf, index, size, &path, &top).is_err());
    }
}

#[test]
fn impossible_questions_are_refused() {
    let leaves = leaves(5);
    let top = naive_root(&leaves);
    assert_eq!(verify_inclusion(&leaves[0], 5, 5, &[], &top), Err(ProofError::OutOfRange));
    assert_eq!(verify_consistency(6, 5, &top, &top, &[]), Err(ProofError::OutOfRange));
    assert_eq!(verify_consistency(5, 5, &top, &top, &[top]), Err(ProofError::Length));
    assert_eq!(verify_consistency(0, 5, &top, &top, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(3, 5, &naive_root(&leaves[..3]), &top, &[]), Err(ProofError::Length));
    assert_eq!(verify_consistency(u64::MAX, u64::MAX, &top, &leaves[0], &[]), Err(ProofError::Root));
    let nodes = InMemory(&leaves);
    assert_eq!(inclusion(&nodes, 5, 5), Ok(Vec::new()));
    assert_eq!(consistency(&nodes, 6, 5), Ok(Vec::new()));
}
