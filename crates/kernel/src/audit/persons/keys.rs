//! The keys of Patients: `persons.keys`, 16 random bytes for each ordinal. An erasure overwrites them with zeros.

use crate::audit::AuditError;
use crate::disk::Disk;
use crate::limits::AUDIT_KEYS_AT_ONCE;
use rand::CryptoRng;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The file.
pub(in crate::audit) const KEYS: &str = "persons.keys";

/// Its first bytes.
const HEADER: &[u8; 24] = b"dugnad audit persons v1\n";

/// A Patient's key. All zeros: destroyed.
pub(super) type Key = [u8; 16];

/// What a destroyed key has become.
pub(super) const DESTROYED: Key = [0; 16];

/// The keys, read when they are first needed.
pub(super) struct Keys {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    random: Mutex<Box<dyn CryptoRng + Send>>,
    loaded: RwLock<Option<Loaded>>,
}

struct Loaded {
    file: File,
    keys: Vec<Key>,
}

impl Keys {
    pub fn new(dir: &Path, disk: Arc<dyn Disk>, random: Box<dyn CryptoRng + Send>) -> Self {
        Self { path: dir.join(KEYS), disk, random: Mutex::new(random), loaded: RwLock::new(None) }
    }

    /// A number that nobody guesses.
    pub fn random(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    /// Gives `work` the keys of at least all ordinals up to `highest`. Keys that are made for it are durable before it begins.
    pub fn with<T>(&self, highest: u32, work: impl FnOnce(&[Key]) -> T) -> Result<T, AuditError> {
        let wanted = highest as usize + 1;
        {
            let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(loaded) = loaded.as_ref().filter(|l| l.keys.len() >= wanted) {
                return Ok(work(&loaded.keys));
            }
        }
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.load(&mut loaded, true)?;
        if let Some(loaded) = loaded {
            self.grow(loaded, wanted)?;
            return Ok(work(&loaded.keys));
        }
        Ok(work(&[]))
    }

    /// The key of a Patient; `None` if none was made yet, or it was destroyed.
    pub fn of(&self, patient: u32) -> Result<Option<Key>, AuditError> {
        let key = |loaded: &Loaded| loaded.keys.get(patient as usize).copied().filter(|key| *key != DESTROYED);
        if let Some(loaded) = self.loaded.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            return Ok(key(loaded));
        }
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        Ok(self.load(&mut loaded, false)?.and_then(|loaded| key(loaded)))
    }

    /// Destroys the keys of these Patients, durably; how many there were.
    pub fn destroy(&self, patients: &[u32]) -> Result<u64, AuditError> {
        let mut guard = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        let Some(loaded) = self.load(&mut guard, false)? else { return Ok(0) };
        let mut destroyed = 0;
        for patient in patients {
            let at = HEADER.len() as u64 + u64::from(*patient) * DESTROYED.len() as u64;
            if let Some(key) = loaded.keys.get_mut(*patient as usize).filter(|key| **key != DESTROYED) {
                self.write(&mut loaded.file, at, &DESTROYED)?;
                *key = DESTROYED;
                destroyed += 1;
            }
        }
        if destroyed > 0 {
            self.disk.sync(&self.path, &loaded.file).map_err(|source| self.io(source))?;
        }
        Ok(destroyed)
    }

    fn io(&self, source: io::Error) -> AuditError {
        AuditError::io(&self.path, source)
    }

    fn write(&self, file: &mut File, at: u64, bytes: &[u8]) -> Result<(), AuditError> {
        file.seek(SeekFrom::Start(at)).and_then(|_| self.disk.append(&self.path, file, bytes)).map_err(|source| self.io(source))
    }

    /// Reads the file, or makes it if it is absent and `make`.
    fn load<'l>(&self, loaded: &'l mut Option<Loaded>, make: bool) -> Result<Option<&'l mut Loaded>, AuditError> {
        if loaded.is_none() {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(make);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = match options.open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened.map_err(|source| self.io(source))?,
            };
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(|source| self.io(source))?;
            let keys = keys(&bytes).ok_or_else(|| AuditError::damaged(KEYS, "its first line is not that of the keys of persons"))?;
            *loaded = Some(Loaded { file, keys });
        }
        Ok(loaded.as_mut())
    }

    /// Makes keys, a block at least, and an eighth of those that are there. The order: written, synced, only then used.
    fn grow(&self, loaded: &mut Loaded, wanted: usize) -> Result<(), AuditError> {
        let have = loaded.keys.len();
        if have >= wanted {
            return Ok(());
        }
        let target = wanted.max(have + have / 8).next_multiple_of(AUDIT_KEYS_AT_ONCE);
        let mut bytes = vec![0; (target - have) * DESTROYED.len()];
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        self.write(&mut loaded.file, 0, HEADER)?;
        self.write(&mut loaded.file, (HEADER.len() + have * DESTROYED.len()) as u64, &bytes)?;
        self.disk.sync(&self.path, &loaded.file).map_err(|source| self.io(source))?;
        if have == 0
            && let Some(folder) = self.path.parent()
        {
            // The file may have been made just now: it must not be gone after a power cut, when entries rest on its keys.
            self.disk.sync_folder(folder).map_err(|source| self.io(source))?;
        }
        loaded.keys.extend_from_slice(bytes.as_chunks().0);
        Ok(())
    }
}

/// The keys in a file, whole blocks only: what a crash left behind them was never used. `None` if it is no such file.
fn keys(bytes: &[u8]) -> Option<Vec<Key>> {
    if bytes.len() < HEADER.len() {
        return HEADER.starts_with(bytes).then(Vec::new);
    }
    let mut keys = bytes.strip_prefix(HEADER.as_slice())?.as_chunks().0.to_vec();
    keys.truncate(keys.len() - keys.len() % AUDIT_KEYS_AT_ONCE);
    Some(keys)
}

/// Whether a file's content is of the form of keys.
pub(in crate::audit) fn is_keys(bytes: &[u8]) -> bool {
    keys(bytes).is_some()
}
