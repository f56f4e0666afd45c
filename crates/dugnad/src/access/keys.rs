//! The secret keys of a database: `keys/` in its folder, readable by its owner only.

use super::{AccessError, open_to_others, private_file};
use dugnad_kernel::audit::{AuditError, ROTATIONS};
use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::{Rng as _, rngs::StdRng};
use sha2::Sha256;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

const FOLDER: &str = "keys";
const AUDIT: &str = "audit.ed25519";
const PSEUDONYM: &str = "pseudonym";
/// Where the log is, in the database's folder.
const AUDIT_LOG: &str = "audit";
const RELEASE: &str = "release.ed25519";

/// The secret keys of a database. Each is a file of 32 random bytes.
pub struct Keys {
    /// Signs checkpoints.
    pub audit: SigningKey,
    /// Every permit's pseudonyms derive from it.
    pub pseudonym: [u8; 32],
    /// Signs releases, and nothing else. It derives from the log's first key, so that there is no further secret to keep; when that is
    /// changed, it gets a file of its own and stays what it was, so that earlier releases stay verifiable.
    pub release: SigningKey,
}

/// The key of links to the pages of a search, derived from that of pseudonyms: a database that has one has both.
#[derive(Clone)]
pub struct PageKey(pub [u8; 32]);

impl Keys {
    /// Reads the keys, making them on first use. They are made all together or not at all: a folder that lacks one is an
    /// error, for a new pseudonym key would silently change every pseudonym that was ever given out.
    pub fn open(dir: &Path) -> Result<Self, AccessError> {
        let folder = dir.join(FOLDER);
        if !folder.try_exists().map_err(|error| AccessError::key(&folder, error))? {
            make(dir, &folder)?;
        }
        let audit = read(&folder, AUDIT)?;
        let pseudonym = read(&folder, PSEUDONYM)?;
        let has = |path: &Path| path.try_exists().map_err(|error| AccessError::key(path, error));
        // Once the log's key has been changed, no other release key derives from it than the one that was kept.
        let release = match has(&folder.join(RELEASE))? || has(&dir.join(AUDIT_LOG).join(ROTATIONS))? {
            true => SigningKey::from_bytes(&read(&folder, RELEASE)?),
            false => release_key(&audit).ok_or_else(|| AccessError::key(&folder, "no key can be derived from it"))?,
        };
        Ok(Self { audit: SigningKey::from_bytes(&audit), pseudonym, release })
    }

    /// Gives the log another key. `log` prepares it for the new one, and calls what puts the key in its place.
    pub fn rotate_audit<T>(
        self,
        dir: &Path,
        log: impl FnOnce(&SigningKey, &SigningKey, &mut dyn FnMut() -> io::Result<()>) -> Result<T, AuditError>,
    ) -> Result<T, RotationError> {
        let folder = dir.join(FOLDER);
        let problem = |error| AccessError::key(&folder, error);
        let mut key = [0u8; 32];
        rand::make_rng::<StdRng>().fill_bytes(&mut key);
        if !folder.join(RELEASE).exists() {
            replace(&folder, RELEASE, self.release.as_bytes()).map_err(problem)?;
        }
        Ok(log(&self.audit, &SigningKey::from_bytes(&key), &mut || replace(&folder, AUDIT, &key))?)
    }

    /// The key of page links: `HMAC-SHA256(pseudonym key, "dugnad/page-link/1")`.
    pub fn page_links(&self) -> PageKey {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.pseudonym).expect("a key of 32 bytes");
        mac.update(b"dugnad/page-link/1");
        PageKey(mac.finalize().into_bytes().into())
    }
}

/// Why the log's key was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The keys cannot be read or written.
    #[error(transparent)]
    Keys(#[from] AccessError),
    /// The log cannot be prepared.
    #[error(transparent)]
    Log(#[from] AuditError),
}

/// Gives a key's file new content, whole or not at all; durable on return.
fn replace(folder: &Path, name: &str, key: &[u8; 32]) -> io::Result<()> {
    let unfinished = folder.join(format!("{name}.new"));
    _ = fs::remove_file(&unfinished); // of a change that was cut off
    let mut file = private_file().create_new(true).open(&unfinished)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// HMAC-SHA256 under the log's secret key.
fn release_key(audit: &[u8; 32]) -> Option<SigningKey> {
    let mut mac = Hmac::<Sha256>::new_from_slice(audit).ok()?;
    mac.update(b"dugnad/release/1");
    Some(SigningKey::from_bytes(&mac.finalize().into_bytes().into()))
}

fn read(folder: &Path, name: &str) -> Result<[u8; 32], AccessError> {
    let path = folder.join(name);
    let problem = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => AccessError::key(&path, "it is absent; restore the folder `keys` from its backup"),
        _ => AccessError::key(&path, error),
    };
    if open_to_others(&fs::metadata(&path).map_err(problem)?) {
        return Err(AccessError::key(&path, "others may read it; `chmod 600` it, and make new keys if they could have"));
    }
    let bytes = fs::read(&path).map_err(problem)?;
    bytes.try_into().map_err(|_| AccessError::key(&path, "it does not have 32 bytes; restore it from its backup"))
}

/// The order: both keys in a folder of another name, synced; then the folder gets its name, which only one process can do; then
/// that name is synced, before anything is signed or encrypted with them.
fn make(dir: &Path, folder: &Path) -> Result<(), AccessError> {
    let mut random: StdRng = rand::make_rng();
    let unfinished = dir.join(format!("{FOLDER}.{:016x}", random.next_u64()));
    let made = write_all(&unfinished, &mut random).and_then(|()| fs::rename(&unfinished, folder));
    match made {
        // Another process was faster; its keys are as good.
        Err(_) if folder.join(PSEUDONYM).exists() => _ = fs::remove_dir_all(&unfinished),
        made => made.map_err(|error| AccessError::key(folder, error))?,
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| AccessError::key(folder, error))
}

fn write_all(folder: &Path, random: &mut StdRng) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    for name in [AUDIT, PSEUDONYM] {
        let mut key = [0u8; 32];
        random.fill_bytes(&mut key);
        let mut file = private_file().create_new(true).open(folder.join(name))?;
        file.write_all(&key)?;
        file.sync_all()?;
    }
    File::open(folder)?.sync_all()
}
