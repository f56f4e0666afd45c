//! The open log.

use super::AuditError;
use super::disk::{COSIGNED, ENTRIES, replace};
use super::earlier;
use super::entry::{Act, Entry};
use super::folder::{self, Proof, TileNodes};
use super::note::VerifierKey;
use super::persons::Recorder;
use super::publish::{Published, Publisher};
use super::recover::{Recovery, recover};
use super::tile::Tile;
use super::tree::{Hash, TILE_WIDTH, consistency};
use super::witness::{CosignError, Cosigned, WitnessKey};
use super::writer::{Done, Link, Message, Shared, State, Writer};
use crate::clock::Clock;
use crate::disk::{Disk, RealDisk};
use crate::ids::PatientOrdinal;
use crate::limits::{AUDIT_QUEUE, MAX_AUDIT_ENTRY_BYTES};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use rand::CryptoRng;
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a log runs.
pub struct Options {
    interval: Duration,
    salts: Box<dyn CryptoRng + Send>,
    secrets: Box<dyn CryptoRng + Send>,
    disk: Arc<dyn Disk>,
}

impl Options {
    /// Checkpoints every second in which there is something new; salts from `salts`.
    pub fn new(salts: Box<dyn CryptoRng + Send>) -> Self {
        let secrets = Box::new(rand::make_rng::<rand::rngs::StdRng>());
        Self { interval: Duration::from_secs(1), salts, secrets, disk: Arc::new(RealDisk) }
    }

    /// Draws the keys of Patients and the numbers of sets from `secrets`, instead of a generator that the operating system seeds.
    #[must_use]
    pub fn secrets(self, secrets: Box<dyn CryptoRng + Send>) -> Self {
        Self { secrets, ..self }
    }

    /// Signs checkpoints at multiples of `interval` (UTC).
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    #[cfg(test)]
    pub(super) fn disk(self, disk: Arc<dyn Disk>) -> Self {
        Self { disk, ..self }
    }
}

/// An access that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(
    /// Its number, since the log was opened.
    pub u64,
);

/// An access that delivered somebody's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersonAccess {
    /// Its completion.
    pub entry: u64,
    /// Whether it is known whose data it delivered. If not, the log ended before it was told, and everybody whom its permit (or its
    /// hospital) could show is taken to have been in it.
    pub certain: bool,
}

/// What the index of an intent adds to a completion's JSON at most.
const INTENT_BYTES: usize = 32;

/// An open log; one writer thread, group fsync; one publisher thread, which signs checkpoints at fixed intervals.
///
/// Dropping it closes it: what is queued is written, and a checkpoint over everything is signed.
pub struct Log {
    dir: PathBuf,
    key: VerifierKey,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    persons: Recorder,
    accesses: AtomicU64,
    recovery: Recovery,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Log {
    /// Opens the log in `dir` (made if absent), checking all of it; a crash's half-written end is cut off. Salts come from
    /// a generator that the operating system seeds.
    pub fn open(dir: &Path, origin: &str, key: SigningKey, clock: Arc<dyn Clock>) -> Result<Self, AuditError> {
        Self::open_with(dir, origin, key, clock, Options::new(Box::new(rand::make_rng::<rand::rngs::StdRng>())))
    }

    /// Opens the log with options.
    pub fn open_with(dir: &Path, origin: &str, key: SigningKey, clock: Arc<dyn Clock>, options: Options) -> Result<Self, AuditError> {
        let verifier = VerifierKey::new(origin, key.verifying_key())?;
        let Options { interval, salts, secrets, disk } = options;
        let recovered = recover(dir, &verifier, disk.as_ref())?;
        let (recovery, entries, end) = (recovered.report, recovered.entries, recovered.end);
        if recovery.cut_bytes > 0 {
            tracing::warn!(bytes = recovery.cut_bytes, entries = recovery.entries, "cut off the half-written end of the audit log");
        }
        let (growth, full_tiles, offsets) = (recovered.growth, recovered.missing, recovered.offsets);
        let state = State { growth, full_tiles, offsets, resume: None, closing: false };
        // What is published at first is replaced below, before anybody sees it; its size says which old tiles can go.
        let published = Published { size: recovered.signed.unwrap_or(0), note: String::new(), partials: Vec::new() };
        let shared = Arc::new(Shared::new(state, published, recovered.who, Cosigned::read(dir, &verifier)?));
        let publisher = Publisher {
            dir: dir.to_owned(),
            disk: Arc::clone(&disk),
            key,
            origin: origin.to_owned(),
            clock: Arc::clone(&clock),
            interval,
            shared: Arc::clone(&shared),
        };
        publisher.publish(true)?;
        publisher.remove_leftovers(recovered.earlier.is_none())?;
        disk.sync_folder(dir).map_err(|source| AuditError::io(dir, source))?;
        let (queue, receiver) = mpsc::sync_channel(AUDIT_QUEUE);
        let persons = Recorder::new(dir, Arc::clone(&disk), secrets);
        let under_way = recovered.under_way.keys().copied().collect();
        let writer = Writer {
            dir: dir.to_owned(),
            entries,
            disk: Arc::clone(&disk),
            salts,
            end,
            queue: receiver,
            shared: Arc::clone(&shared),
            begun: HashMap::new(),
            under_way,
        };
        let mut threads = vec![spawn(dir, "audit-writer", move || writer.run())?, spawn(dir, "audit-publisher", move || publisher.run())?];
        if let Some(earlier) = recovered.earlier {
            let reader = earlier::Reader { dir: dir.to_owned(), earlier, shared: Arc::clone(&shared) };
            threads.push(spawn(dir, "audit-index", move || reader.run())?);
        }
        let (threads, accesses) = (Mutex::new(threads), AtomicU64::new(0));
        let log = Self { dir: dir.to_owned(), key: verifier, queue, shared, disk, persons, accesses, recovery, threads };
        log.assume(&recovered.under_way, clock.now())?;
        Ok(log)
    }

    /// Completes accesses that a crash has cut off: the most that they can have delivered is taken to have been delivered.
    fn assume(&self, under_way: &BTreeMap<u64, Vec<u8>>, now: Timestamp) -> Result<(), AuditError> {
        let (sender, receiver) = mpsc::channel();
        for (index, json) in under_way {
            let intent: Entry = serde_json::from_slice(json)
                .map_err(|error| AuditError::damaged(format!("{ENTRIES}, entry {index}"), format!("it is not an entry: {error}")))?;
            let sender = sender.clone();
            self.append_then(&intent.assumed(*index, now), Box::new(move |result| _ = sender.send(result)));
        }
        drop(sender);
        receiver.iter().try_for_each(|result| result.map(drop))
    }

    /// What opening found and mended.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The public key that checks this log.
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    /// Appends an entry; durable when this returns its index. Blocks for one group fsync.
    pub fn append(&self, entry: &Entry) -> Result<u64, AuditError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.append_then(entry, Box::new(move |result| _ = sender.send(result)));
        receiver.recv().unwrap_or(Err(AuditError::Stopped))
    }

    /// Appends without waiting for the disk; `done` is called from the log's thread once the entry is durable, or at once if it
    /// cannot be taken. `done` must be quick: all entries wait for it. Blocks only while [`AUDIT_QUEUE`] entries are queued.
    pub fn append_then(&self, entry: &Entry, done: Box<dyn FnOnce(Result<u64, AuditError>) + Send>) {
        self.send(entry, Link::None, Done::new(done));
    }

    fn send(&self, entry: &Entry, link: Link, done: Done) {
        if self.shared.is_stopped() {
            return done.tell(Err(AuditError::Stopped));
        }
        let json = match serde_json::to_vec(entry) {
            Ok(json) if json.len() <= MAX_AUDIT_ENTRY_BYTES - INTENT_BYTES => json,
            Ok(json) => return done.tell(Err(AuditError::TooLong { bytes: json.len(), limit: MAX_AUDIT_ENTRY_BYTES - INTENT_BYTES })),
            Err(error) => return done.tell(Err(AuditError::io(&self.dir, error.into()))),
        };
        // If the writer has ended, the message comes back, and dropping it tells the caller.
        let _ = self.queue.send(Message::Append { json, link, done });
    }

    /// Begins an access: its intent is written at once, so that it outlives this process, and synced with what comes next, or a
    /// moment later. `done` is told once it is durable; nothing may leave before that.
    pub fn begin_then(&self, intent: &Entry, done: Box<dyn FnOnce(Result<u64, AuditError>) + Send>) -> Access {
        let access = Access(self.accesses.fetch_add(1, Ordering::Relaxed));
        self.send(intent, Link::Begins(access.0), Done::new(done));
        access
    }

    /// Has what was sent until now synced at once.
    pub fn flush(&self) {
        let _ = self.queue.send(Message::Flush); // a writer that has ended has told everybody
    }

    /// Ends an access: `completion` (whose `intent` the log puts in) and whose data was delivered, if rows of persons were. `done`
    /// is told once all of it is durable, the intent too.
    pub fn complete_then(
        &self,
        access: Access,
        completion: &Entry,
        delivered: Option<&Arc<RoaringBitmap>>,
        done: Box<dyn FnOnce(Result<u64, AuditError>) + Send>,
    ) {
        let Some(set) = delivered else { return self.send(completion, Link::Ends(access.0), Done::new(done)) };
        let described = match self.persons.describe(set) {
            Ok(described) => described,
            Err(error) => return Done::new(done).tell(Err(error)),
        };
        for persons in &described.before {
            let entry = Entry { persons: Some(persons.clone()), ..Entry::new(completion.at, Act::Persons, "dugnad", "system") };
            self.send(&entry, Link::Precedes, Done::new(Box::new(drop)));
        }
        let entry = Entry { persons: Some(described.persons.clone()), ..completion.clone() };
        self.persons.remember(described);
        self.send(&entry, Link::Ends(access.0), Done::new(done));
    }

    /// The accesses that delivered data of one of these Patients, in the order of their entries; exact, but for those that are not
    /// [`PersonAccess::certain`]. Waits for the index if the log has just been opened.
    pub fn who(&self, patients: &[PatientOrdinal]) -> Result<Vec<PersonAccess>, AuditError> {
        let patients: Vec<u32> = patients.iter().map(|patient| patient.0).collect();
        let found = self.shared.who.accesses(&patients, &self.persons)?;
        Ok(found.into_iter().map(|found| PersonAccess { entry: found.entry, certain: found.certain }).collect())
    }

    /// Makes what the log says of these Patients unreadable for ever; durable on return. How many of them the log had named.
    pub fn forget(&self, patients: &[PatientOrdinal]) -> Result<u64, AuditError> {
        self.persons.forget(&patients.iter().map(|patient| patient.0).collect::<Vec<_>>())
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.shared.size()
    }

    /// Whether a failed write has stopped the log.
    pub fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    /// The newest signed checkpoint (C2SP signed note: origin, size, root hash, signature), with the cosignatures that it has.
    pub fn checkpoint(&self) -> String {
        let published = self.shared.published();
        match self.shared.cosigned().as_ref() {
            Some(cosigned) if cosigned.checkpoint.size == published.size => cosigned.note.clone(),
            _ => published.note.clone(),
        }
    }

    /// The newest checkpoint that a witness has cosigned.
    pub fn cosigned(&self) -> Option<String> {
        self.shared.cosigned().as_ref().map(|cosigned| cosigned.note.clone())
    }

    /// Takes cosignatures of `witnesses` on a checkpoint of this log; durable on return. Others are passed over.
    pub fn cosign(&self, note: &str, witnesses: &[WitnessKey]) -> Result<(), CosignError> {
        let _turn = self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (published, before) = (self.shared.published().size, self.shared.cosigned().clone());
        let with = Cosigned::with(before.as_ref(), note, &self.key, witnesses, published)?;
        replace(self.disk.as_ref(), &self.dir, COSIGNED, with.note.as_bytes()).map_err(|e| AuditError::io(&self.dir.join(COSIGNED), e))?;
        *self.shared.cosigned() = Some(with);
        Ok(())
    }

    /// A public file of the log, `checkpoint` or `tile/...`, as C2SP tlog-tiles names them; `None` for any other path, and
    /// for tiles that no published checkpoint covers. Every shorter form of a tile is served too.
    pub fn public_file(&self, path: &str) -> Result<Option<Vec<u8>>, AuditError> {
        let published = self.shared.published();
        if path == super::disk::CHECKPOINT {
            return Ok(Some(self.checkpoint().into_bytes()));
        }
        if path == super::rotation::ROTATIONS {
            return super::disk::read_file(&self.dir, path);
        }
        match Tile::parse(path) {
            Some(tile) if tile.is_in(published.size) => self.nodes(&published).tile(tile).map(Some),
            _ => Ok(None),
        }
    }

    /// Entries from `first`, at most `count`, with their indices.
    pub fn entries(&self, first: u64, count: usize) -> Result<Vec<(u64, Entry)>, AuditError> {
        let (size, offset) = {
            let state = self.shared.state();
            let tile = usize::try_from(first / TILE_WIDTH as u64).unwrap_or(usize::MAX);
            (state.growth.size(), state.offsets.get(tile).copied())
        };
        let Some(offset) = offset else { return Ok(Vec::new()) };
        let at = first - first % TILE_WIDTH as u64;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let records = folder::records(&self.dir, offset, at, first..size.min(first.saturating_add(count)))?;
        records.iter().map(folder::entry).collect()
    }

    /// All that somebody needs to check that entry `index` is in the log; `None` if no published checkpoint covers it yet.
    pub fn prove(&self, index: u64) -> Result<Option<Proof>, AuditError> {
        let published = self.shared.published();
        if index >= published.size {
            return Ok(None);
        }
        let tile = usize::try_from(index / TILE_WIDTH as u64).unwrap_or(usize::MAX);
        let Some(offset) = self.shared.state().offsets.get(tile).copied() else { return Ok(None) };
        let at = index - index % TILE_WIDTH as u64;
        let records = folder::records(&self.dir, offset, at, index..index + 1)?;
        folder::proof(&records, &self.nodes(&published), &published.note, &self.key).map(Some)
    }

    /// The proof that the log of `old` entries is a prefix of the published one, with the published size; `None` if it is not
    /// that long.
    pub fn prove_consistency(&self, old: u64) -> Result<Option<(u64, Vec<Hash>)>, AuditError> {
        let published = self.shared.published();
        if old > published.size {
            return Ok(None);
        }
        Ok(Some((published.size, consistency(&self.nodes(&published), old, published.size)?)))
    }

    /// Writes what is queued, signs a checkpoint over everything and ends. Entries that come later are refused.
    pub fn close(&self) {
        // If the writer has ended already there is nobody to send to, and nothing to do.
        let _ = self.queue.send(Message::Close);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the audit log panicked");
                self.shared.stop();
            }
        }
    }

    fn nodes<'a>(&'a self, published: &'a Published) -> TileNodes<'a> {
        TileNodes { dir: &self.dir, size: published.size, partials: &published.partials }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(dir: &Path, name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, AuditError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|source| AuditError::io(dir, source))
}
