//! The one thread that writes entries: takes what is queued, writes it, syncs once, and only then tells the callers.

use super::AuditError;
use super::disk::ENTRIES;
use super::entry::SALT_BYTES;
use super::publish::Published;
use super::record;
use super::tile::{Growth, Tile};
use super::tree::{Hash, TILE_WIDTH};
use crate::disk::Disk;
use crate::limits::{MAX_AUDIT_GROUP, MAX_AUDIT_GROUP_BYTES};
use rand::CryptoRng;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Whom to tell once the entry is durable, or cannot be. One that is dropped untold is told [`AuditError::Stopped`].
pub(super) struct Done(Option<Callback>);

pub(super) type Callback = Box<dyn FnOnce(Result<u64, AuditError>) + Send>;

impl Done {
    pub fn new(callback: Callback) -> Self {
        Self(Some(callback))
    }

    /// Calls back. A caller that panics must not take the log with it.
    pub fn tell(mut self, result: Result<u64, AuditError>) {
        self.call(result);
    }

    fn call(&mut self, result: Result<u64, AuditError>) {
        if let Some(callback) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| callback(result))).is_err()
        {
            tracing::error!("a callback of the audit log panicked");
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.call(Err(AuditError::Stopped));
    }
}

/// What is sent to the writer.
pub(super) enum Message {
    /// An entry's JSON.
    Append { json: Vec<u8>, done: Done },
    /// Write what came before this, then end.
    Close,
}

/// What the durable entries amount to.
pub(super) struct State {
    /// The tree over them.
    pub growth: Growth,
    /// Full tiles that the publisher has not written yet.
    pub full_tiles: Vec<(Tile, Vec<u8>)>,
    /// Where every 256th entry begins in `entries.log`.
    pub offsets: Vec<u64>,
    /// Nothing more will come.
    pub closing: bool,
}

/// What the threads of a log share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Signalled when entries became durable, and on closing.
    pub news: Condvar,
    size: AtomicU64,
    stopped: AtomicBool,
    published: Mutex<Arc<Published>>,
}

impl Shared {
    pub fn new(state: State, published: Published) -> Self {
        let size = AtomicU64::new(state.growth.size());
        let published = Mutex::new(Arc::new(published));
        Self { state: Mutex::new(state), news: Condvar::new(), size, stopped: AtomicBool::new(false), published }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set_published(&self, published: Published) {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(published);
    }

    /// How many entries are durable.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// From now on nothing is taken.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub fn close(&self) {
        self.state().closing = true;
        self.news.notify_all();
    }
}

/// The writer.
pub(super) struct Writer {
    pub dir: PathBuf,
    pub entries: File,
    pub disk: Arc<dyn Disk>,
    pub salts: Box<dyn CryptoRng + Send>,
    /// Where the next record goes.
    pub end: u64,
    pub queue: Receiver<Message>,
    pub shared: Arc<Shared>,
}

struct CloseAtEnd(Arc<Shared>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A group that is about to be written.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    commitments: Vec<(Hash, u64)>,
    done: Vec<Done>,
}

impl Writer {
    /// Runs until the log is closed. After a failure it goes on taking messages, to refuse them.
    pub fn run(mut self) {
        // The publisher must end too, even if this thread were to panic.
        let _closing = CloseAtEnd(Arc::clone(&self.shared));
        let mut open = true;
        while open && let Ok(message) = self.queue.recv() {
            let (group, more) = self.collect(message);
            open = more;
            if !group.done.is_empty() {
                self.commit(group);
            }
        }
    }

    /// Encodes `message` and what else is queued already; and whether the log stays open.
    fn collect(&mut self, message: Message) -> (Group, bool) {
        let first = self.shared.size();
        let mut group = Group::default();
        let mut next = Some(message);
        while let Some(message) = next.take() {
            let Message::Append { json, done } = message else { return (group, false) };
            let mut salt = [0u8; SALT_BYTES];
            self.salts.fill_bytes(&mut salt);
            let index = first + group.done.len() as u64;
            let commitment = record::encode(&mut group.bytes, index, first, &salt, &json);
            group.commitments.push((commitment, record::encoded_len(json.len())));
            group.done.push(done);
            if group.done.len() < MAX_AUDIT_GROUP && group.bytes.len() < MAX_AUDIT_GROUP_BYTES {
                next = self.queue.try_recv().ok();
            }
        }
        (group, true)
    }

    /// The commit point. The order: write the records; fdatasync; only then count them in the tree that checkpoints are
    /// signed over; only then tell the callers their index. If writing or syncing fails, nobody knows what is on the disk: the
    /// group is refused, the log has stopped, and opening it again finds out.
    fn commit(&mut self, group: Group) {
        if self.shared.is_stopped() {
            return; // dropping the group tells its callers
        }
        let (first, path) = (self.shared.size(), self.dir.join(ENTRIES));
        if let Err(error) = self.disk.append(&path, &self.entries, &group.bytes).and_then(|()| self.disk.sync(&path, &self.entries)) {
            self.shared.stop();
            tracing::error!(%error, "the audit log has stopped: an entry cannot be written");
            for done in group.done {
                done.tell(Err(AuditError::io(&path, std::io::Error::new(error.kind(), error.to_string()))));
            }
            return;
        }
        self.apply(&group.commitments);
        for (index, done) in (first..).zip(group.done) {
            done.tell(Ok(index));
        }
    }

    fn apply(&mut self, commitments: &[(Hash, u64)]) {
        let mut state = self.shared.state();
        let State { growth, full_tiles, offsets, .. } = &mut *state;
        for (commitment, length) in commitments {
            if growth.size().is_multiple_of(TILE_WIDTH as u64) {
                offsets.push(self.end);
            }
            growth.push(*commitment, |tile, bytes| full_tiles.push((tile, bytes)));
            self.end += length;
        }
        self.shared.size.store(state.growth.size(), Ordering::Release);
        drop(state);
        self.shared.news.notify_all();
    }
}
