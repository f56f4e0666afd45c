//! The audit log of a server, checked from its public files.

use super::{earlier, tell_key};
use crate::cli::CliError;
use crate::cli::client::{self, Client};
use crate::cli::query::write_all;
use dugnad_kernel::audit::{Checkpoint, Hash, Nodes, Rotation, Tile, TileKind, VerifierKey, leads, leaf_hash, node_hash, root};
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Read};
use ureq::http::Method;

/// How many leaves a tile holds, and their size in a tile of hashes.
const TILE_LEAVES: u64 = 256;
const TILE_HEIGHT: u32 = 8;
const HASH_BYTES: usize = 32;
/// An entry of an entry bundle: its length as a big-endian u16, and a commitment.
const LEAF_BYTES: usize = 2 + HASH_BYTES;

/// How often tiles are fetched anew when the log has grown past its checkpoint meanwhile.
const TRIES: usize = 5;

fn get(client: &Client, path: &str) -> Result<Option<Vec<u8>>, CliError> {
    let mut response = client.send_patiently(&Method::GET, path, &[], None)?;
    match response.status().as_u16() {
        200 => {
            let mut bytes = Vec::new();
            response.body_mut().as_reader().take(16 << 20).read_to_end(&mut bytes).map_err(CliError::failed)?;
            Ok(Some(bytes))
        }
        404 => Ok(None),
        status => {
            let said: Vec<String> = client::explain(status, &client::text(&mut response)).into_iter().map(|(_, what)| what).collect();
            Err(CliError::Failed(format!("{path}: {}", said.join("; "))))
        }
    }
}

pub fn get_text(client: &Client, path: &str) -> Result<String, CliError> {
    let bytes = get(client, path)?.ok_or_else(|| CliError::Failed(format!("{path} is not there")))?;
    String::from_utf8(bytes).map_err(|_| CliError::Failed(format!("{path} is not text")))
}

/// The JSON at `path`.
pub fn get_json(client: &Client, path: &str) -> Result<serde_json::Value, CliError> {
    let bytes = get(client, path)?.ok_or_else(|| CliError::Failed(format!("{path} is not there")))?;
    serde_json::from_slice(&bytes).map_err(CliError::failed)
}

/// Entries of the log, one a line.
pub fn log(client: &Client, first: Option<u64>, count: usize) -> Result<(), CliError> {
    let mut next = first;
    let mut left = count;
    let mut out = io::stdout().lock();
    while left > 0 {
        let from = next.map_or(String::new(), |first| format!("&first={first}"));
        let answer = get_json(client, &format!("/audit/log?count={left}{from}"))?;
        let entries = answer["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
        for entry in entries {
            if !write_all(&mut out, format!("{entry}\n").as_bytes())? {
                return Ok(());
            }
        }
        // Without a first entry, the last ones were asked for: they are all there is.
        let (Some(last), Some(_)) = (entries.last().and_then(|e| e["index"].as_u64()), next) else { return Ok(()) };
        next = Some(last + 1);
        left -= entries.len().min(left);
    }
    Ok(())
}

/// The accesses that delivered a person's data, one a line.
pub fn who(client: &Client, holder: Option<&str>, patient: Option<&str>, proofs: bool) -> Result<(), CliError> {
    let encoded = |text: &str| -> String {
        text.bytes()
            .map(|b| if b.is_ascii_alphanumeric() || b"-._".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect()
    };
    let holder = holder.map_or(String::new(), |holder| format!("&holder={}", encoded(holder)));
    let path = patient.map_or("me".to_owned(), encoded);
    let mut before = String::new();
    loop {
        let answer = get_json(client, &format!("/audit/persons/{path}?proofs={proofs}{holder}{before}"))?;
        match super::print_accesses(&answer)? {
            Some(next) => before = format!("&before={next}"),
            None => return Ok(()),
        }
    }
}

/// The nodes of a server's tree, from its tiles: only those that are asked for are fetched, each once.
pub struct Tiles<'c> {
    client: &'c Client,
    size: u64,
    fetched: RefCell<HashMap<Tile, Vec<u8>>>,
}

impl<'c> Tiles<'c> {
    /// The tree of `size` leaves.
    pub fn new(client: &'c Client, size: u64) -> Self {
        Self { client, size, fetched: RefCell::default() }
    }

    fn tile(&self, kind: TileKind, index: u64) -> Result<Vec<u8>, CliError> {
        let full = Tile::full(kind, index);
        let partial = || Tile::partials(self.size).into_iter().find(|tile| tile.kind() == kind && tile.index() == index);
        let absent = || CliError::Failed(format!("the tree of {} entries has no {}", self.size, full.path()));
        let tile = if full.is_in(self.size) { full } else { partial().ok_or_else(absent)? };
        if let Some(bytes) = self.fetched.borrow().get(&tile) {
            return Ok(bytes.clone());
        }
        // Where the partial tile is gone, the full one has come (C2SP tlog-tiles).
        let bytes = match get(self.client, &format!("/audit/{}", tile.path()))? {
            Some(bytes) => bytes,
            None => get(self.client, &format!("/audit/{}", full.path()))?
                .ok_or_else(|| CliError::Failed(format!("{} is not there", tile.path())))?,
        };
        self.fetched.borrow_mut().insert(tile, bytes.clone());
        Ok(bytes)
    }
}

impl Nodes for Tiles<'_> {
    type Error = CliError;

    fn node(&self, height: u32, index: u64) -> Result<Hash, CliError> {
        let level = u8::try_from(height / TILE_HEIGHT).unwrap_or(u8::MAX);
        if height.is_multiple_of(TILE_HEIGHT) {
            let bytes = self.tile(TileKind::Hashes(level), index / TILE_LEAVES)?;
            let at = usize::try_from(index % TILE_LEAVES).unwrap_or(0) * HASH_BYTES;
            let hash: Option<[u8; HASH_BYTES]> = bytes.get(at..at + HASH_BYTES).and_then(|hash| hash.try_into().ok());
            return hash.map(Hash::new).ok_or_else(|| CliError::Failed("a tile is too short".to_owned()));
        }
        Ok(node_hash(&self.node(height - 1, index * 2)?, &self.node(height - 1, index * 2 + 1)?))
    }
}

/// Leaf hashes, as the source of all nodes above them.
struct Leaves(Vec<Hash>);

impl Nodes for Leaves {
    type Error = Infallible;

    fn node(&self, height: u32, index: u64) -> Result<Hash, Infallible> {
        if height == 0 {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            return Ok(self.0.get(at).copied().unwrap_or_else(dugnad_kernel::audit::empty_root));
        }
        Ok(node_hash(&self.node(height - 1, index * 2)?, &self.node(height - 1, index * 2 + 1)?))
    }
}

/// Fetches the whole public tree and checks it against the signed checkpoint, and against earlier ones.
pub fn verify(client: &Client, key: Option<VerifierKey>, notes: &[String]) -> Result<(), CliError> {
    let given = key.is_some();
    let served = VerifierKey::parse(get_text(client, "/audit/key")?.trim_end()).map_err(CliError::failed)?;
    let key = key.unwrap_or_else(|| served.clone());
    let mut earlier = earlier(notes, &key)?;
    // The key that was given may have been replaced since: what both keys have signed is held against the tree too.
    let rotations = Rotation::read_all(&get_text(client, "/audit/rotations")?).map_err(CliError::Failed)?;
    earlier.extend(rotations.iter().filter_map(|rotation| rotation.check().ok()).map(|(checkpoint, _)| checkpoint));
    let key = if leads(&rotations, &key, &served) { served } else { key };
    for _ in 0..TRIES {
        let note = get_text(client, "/audit/checkpoint")?;
        let checkpoint = Checkpoint::open(&note, &key).map_err(|e| CliError::Failed(format!("the checkpoint: {e}")))?;
        let Some(leaves) = leaves(client, checkpoint.size)? else { continue };
        check(&leaves, &checkpoint, "the signed checkpoint")?;
        for old in &earlier {
            if old.size > checkpoint.size {
                return Err(CliError::Failed(format!(
                    "an earlier checkpoint has {} entries, this one {}: the log was cut",
                    old.size, checkpoint.size
                )));
            }
            check(&leaves, old, "an earlier checkpoint")?;
        }
        println!("{} entries, all under the signed checkpoint; every tile is as it was written", checkpoint.size);
        println!("root {}", checkpoint.root);
        tell_key(&key.to_string(), given);
        return Ok(());
    }
    Err(CliError::Failed("the log grew faster than its tiles could be fetched; try again".to_owned()))
}

fn check(leaves: &Leaves, checkpoint: &Checkpoint, which: &str) -> Result<(), CliError> {
    let Ok(computed) = root(leaves, checkpoint.size);
    if computed == checkpoint.root {
        return Ok(());
    }
    Err(CliError::Failed(format!(
        "the tiles do not lead to the root of {which} over {} entries: the log has been changed",
        checkpoint.size
    )))
}

/// All leaf hashes of a tree of `size`; `None` if a tile is not there any more because the log has grown.
fn leaves(client: &Client, size: u64) -> Result<Option<Leaves>, CliError> {
    let mut leaves = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    let last = |kind| Tile::partials(size).into_iter().find(move |tile| tile.kind() == kind);
    let tiles = |kind| (0..size / TILE_LEAVES).map(move |n| Tile::full(kind, n)).chain(last(kind));
    for (hashes, entries) in tiles(TileKind::Hashes(0)).zip(tiles(TileKind::Entries)) {
        let (Some(hash_bytes), Some(entry_bytes)) =
            (get(client, &format!("/audit/{}", hashes.path()))?, get(client, &format!("/audit/{}", entries.path()))?)
        else {
            return Ok(None);
        };
        if hash_bytes.len() != hashes.byte_len() || entry_bytes.len() != entries.byte_len() {
            return Err(CliError::Failed(format!("{} or {} has the wrong length", hashes.path(), entries.path())));
        }
        for (hash, entry) in hash_bytes.chunks_exact(HASH_BYTES).zip(entry_bytes.chunks_exact(LEAF_BYTES)) {
            let leaf = leaf_hash(entry.get(2..).unwrap_or_default());
            if leaf.bytes().as_slice() != hash {
                return Err(CliError::Failed(format!("entry {} does not fit its hash in {}", leaves.len(), hashes.path())));
            }
            leaves.push(leaf);
        }
    }
    Ok(Some(Leaves(leaves)))
}
