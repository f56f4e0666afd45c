//! The one thread that writes entries: takes what is queued, writes it, syncs once, and only then tells the callers.

use super::AuditError;
use super::disk::{Disk, ENTRIES};
use super::entry::SALT_BYTES;
use super::glance::Glance;
use super::persons::Who;
use super::publish::Published;
use super::record;
use super::resume::Resume;
use super::tile::{Growth, Tile};
use super::tree::{Hash, TILE_WIDTH};
use super::witness::Cosigned;
use crate::limits::{AUDIT_INTENT_SYNC_MS, AUDIT_RESUME_ENTRIES, MAX_AUDIT_GROUP, MAX_AUDIT_GROUP_BYTES};
use rand::CryptoRng;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    Append { json: Vec<u8>, link: Link, done: Done },
    /// Somebody waits for what came before this.
    Flush,
    /// Write what came before this, then end.
    Close,
}

/// What an entry has to do with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing.
    None,
    /// It begins the access of this number. Nobody waits for it yet.
    Begins(u64),
    /// It belongs to the completion that comes next: nobody waits for it by itself.
    Precedes,
    /// It ends it: the writer puts in the index of its intent.
    Ends(u64),
}

/// What the durable entries amount to.
pub(super) struct State {
    /// The tree over them.
    pub growth: Growth,
    /// Full tiles that the publisher has not written yet.
    pub full_tiles: Vec<(Tile, Vec<u8>)>,
    /// Where every 256th entry begins in `entries.log`.
    pub offsets: Vec<u64>,
    /// Where opening could begin to read, once a checkpoint covers it.
    pub resume: Option<Resume>,
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
    /// Who read whose data.
    pub who: Who,
    cosigned: Mutex<Option<Cosigned>>,
    /// Held by whoever makes a file.
    pub turn: Mutex<()>,
}

impl Shared {
    pub fn new(state: State, published: Published, who: Who, cosigned: Option<Cosigned>) -> Self {
        let size = AtomicU64::new(state.growth.size());
        let published = Mutex::new(Arc::new(published));
        Self {
            state: Mutex::new(state),
            news: Condvar::new(),
            size,
            stopped: AtomicBool::new(false),
            published,
            who,
            cosigned: Mutex::new(cosigned),
            turn: Mutex::new(()),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest checkpoint that witnesses have cosigned.
    pub fn cosigned(&self) -> MutexGuard<'_, Option<Cosigned>> {
        self.cosigned.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// The intents of accesses that have begun: their indices by the access's number.
    pub begun: HashMap<u64, u64>,
    /// Intents whose completion is not durable yet.
    pub under_way: BTreeSet<u64>,
}

struct CloseAtEnd(Arc<Shared>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Entries that have been taken since the last sync. All of them are synced together.
#[derive(Default)]
struct Group {
    /// Records that have not been written yet.
    bytes: Vec<u8>,
    entries: Vec<Taken>,
    /// Somebody waits for it to be durable.
    awaited: bool,
}

struct Taken {
    commitment: Hash,
    /// Of its record.
    length: u64,
    glance: Option<Glance>,
    done: Done,
}

impl Writer {
    /// Runs until the log is closed. After a failure it goes on taking messages, to refuse them.
    pub fn run(mut self) {
        // The publisher must end too, even if this thread were to panic.
        let _closing = CloseAtEnd(Arc::clone(&self.shared));
        let mut group = Group::default();
        let mut open = true;
        while open {
            match self.next(&group) {
                Ok(message) => open = self.collect(message, &mut group),
                Err(RecvTimeoutError::Timeout) => group.awaited = true,
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
            group.awaited |= !open;
            self.write(&mut group);
        }
    }

    /// The next message; a timeout once an intent has stood unsynced for long enough.
    fn next(&self, group: &Group) -> Result<Message, RecvTimeoutError> {
        if group.entries.is_empty() {
            return self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        self.queue.recv_timeout(Duration::from_millis(AUDIT_INTENT_SYNC_MS))
    }

    /// Encodes `message` and what else is queued already; whether the log stays open.
    fn collect(&mut self, message: Message, group: &mut Group) -> bool {
        let mut next = Some(message);
        while let Some(message) = next.take() {
            match message {
                Message::Append { json, link, done } => self.take(json, link, done, group),
                Message::Flush => group.awaited = true,
                Message::Close => return false,
            }
            if !group.is_full() {
                next = self.queue.try_recv().ok();
            }
        }
        true
    }

    fn take(&mut self, mut json: Vec<u8>, link: Link, done: Done, group: &mut Group) {
        let first = self.shared.size();
        let index = first + group.entries.len() as u64;
        match link {
            Link::None | Link::Precedes => {}
            Link::Begins(access) => _ = self.begun.insert(access, index),
            Link::Ends(access) => {
                let Some(intent) = self.begun.remove(&access) else { return done.tell(Err(AuditError::Stopped)) };
                name_intent(&mut json, intent);
            }
        }
        let mut salt = [0u8; SALT_BYTES];
        self.salts.fill_bytes(&mut salt);
        let commitment = record::encode(&mut group.bytes, index, first, &salt, &json);
        let (length, glance) = (record::encoded_len(json.len()), Glance::at(&json));
        group.entries.push(Taken { commitment, length, glance, done });
        group.awaited |= !matches!(link, Link::Begins(_) | Link::Precedes);
    }

    /// The commit point. The order: write the records; fdatasync; only then count them in the tree that checkpoints are
    /// signed over; only then tell the callers their index. An intent that nobody waits for is written at once, so that it
    /// outlives this process, and synced with what comes next. If writing or syncing fails, nobody knows what is on the disk: the
    /// group is refused, the log has stopped, and opening it again finds out.
    fn write(&mut self, group: &mut Group) {
        if self.shared.is_stopped() {
            *group = Group::default(); // dropping the group tells its callers
            return;
        }
        let sync = group.awaited || group.is_full();
        let written = if group.bytes.is_empty() { Ok(()) } else { self.disk.append(&self.entries, &group.bytes) };
        group.bytes.clear();
        let synced = written.and_then(|()| if sync && !group.entries.is_empty() { self.disk.sync(&self.entries) } else { Ok(()) });
        match synced {
            Ok(()) if sync => self.apply(std::mem::take(group)),
            Ok(()) => {}
            Err(error) => self.fail(std::mem::take(group), &error),
        }
    }

    fn fail(&self, group: Group, error: &std::io::Error) {
        self.shared.stop();
        let path = self.dir.join(ENTRIES);
        tracing::error!(%error, "the audit log has stopped: an entry cannot be written");
        for entry in group.entries {
            entry.done.tell(Err(AuditError::io(&path, std::io::Error::new(error.kind(), error.to_string()))));
        }
    }

    fn apply(&mut self, group: Group) {
        let first = self.shared.size();
        let (mut glances, mut told) = (Vec::new(), Vec::with_capacity(group.entries.len()));
        let mut state = self.shared.state();
        for (index, entry) in (first..).zip(group.entries) {
            let State { growth, full_tiles, offsets, .. } = &mut *state;
            if index.is_multiple_of(TILE_WIDTH as u64) {
                offsets.push(self.end);
            }
            growth.push(entry.commitment, |tile, bytes| full_tiles.push((tile, bytes)));
            if let Some(glance) = entry.glance {
                glance.follow(index, &mut self.under_way);
                glances.push((index, self.end + record::JSON_AT, glance));
            }
            self.end += entry.length;
            if (index + 1).is_multiple_of(AUDIT_RESUME_ENTRIES) {
                state.resume = Some(Resume::new(&state.growth, self.end, self.under_way.first().copied(), &state.offsets));
            }
            told.push(entry.done);
        }
        self.shared.size.store(state.growth.size(), Ordering::Release);
        drop(state);
        self.shared.news.notify_all();
        self.shared.who.add(glances);
        for (index, done) in (first..).zip(told) {
            done.tell(Ok(index));
        }
    }
}

impl Group {
    fn is_full(&self) -> bool {
        self.entries.len() >= MAX_AUDIT_GROUP || self.bytes.len() >= MAX_AUDIT_GROUP_BYTES
    }
}

/// Puts the index of its intent into a completion's JSON, which is an object with members.
fn name_intent(json: &mut Vec<u8>, intent: u64) {
    json.pop();
    json.extend_from_slice(format!(",\"intent\":{intent}}}").as_bytes());
}
