//! Publishing: at fixed times, if there is something new, the tiles and then the checkpoint over what is durable.

use super::AuditError;
use super::disk::{CHECKPOINT, replace};
use super::note::Checkpoint;
use super::resume::RESUME;
use super::tile::Tile;
use super::writer::Shared;
use crate::clock::Clock;
use crate::disk::Disk;
use ed25519_dalek::SigningKey;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// What the world may see of the log: all of it belongs to one size.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// How many entries.
    pub size: u64,
    /// The signed note.
    pub note: String,
    /// The tiles that are not full.
    pub partials: Vec<(Tile, Vec<u8>)>,
}

/// The thread that publishes.
pub(super) struct Publisher {
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub key: SigningKey,
    pub origin: String,
    pub clock: Arc<dyn Clock>,
    pub interval: Duration,
    pub shared: Arc<Shared>,
}

/// How long from `now_ns` (since the epoch of Unix) to the next whole multiple of `interval`. Checkpoints keep to this grid, so
/// that the moment of one tells no more about the entries under it than the interval does.
fn until_next_tick(now_ns: i128, interval: Duration) -> Duration {
    let Ok(interval_ns) = i128::try_from(interval.as_nanos()) else { return interval };
    if interval_ns == 0 {
        return Duration::ZERO;
    }
    let left = interval_ns - now_ns.rem_euclid(interval_ns);
    u64::try_from(left).map_or(interval, Duration::from_nanos)
}

impl Publisher {
    /// Runs until the log is closed, or the disk fails.
    pub fn run(&self) {
        loop {
            let closing = self.wait_for_news();
            if self.shared.is_stopped() {
                return;
            }
            if let Err(error) = self.publish(false) {
                tracing::error!(%error, "the audit log stops: its checkpoint cannot be written");
                self.shared.stop();
                return;
            }
            if closing {
                return;
            }
        }
    }

    /// Waits until something is new and the next tick has come, or the log is closing; whether it is closing.
    fn wait_for_news(&self) -> bool {
        let published = self.shared.published().size;
        let state = self.shared.state();
        let quiet = |state: &mut super::writer::State| !state.closing && state.growth.size() == published;
        let state = self.shared.news.wait_while(state, quiet).unwrap_or_else(PoisonError::into_inner);
        if state.closing {
            return true;
        }
        let rest = until_next_tick(self.clock.now().as_nanosecond(), self.interval);
        let (state, _) = self.shared.news.wait_timeout_while(state, rest, |state| !state.closing).unwrap_or_else(PoisonError::into_inner);
        state.closing
    }

    /// Publishes what is durable, if it is more than what has been published, or in any case if `anew`.
    ///
    /// The order of writes: (the entries are durable already) full tiles, unfinished tiles, checkpoint, each synced before it
    /// gets its name. So whoever has a checkpoint finds its tiles, and a crash in between leaves an older checkpoint with tiles
    /// that are ahead of it, which opening makes again. Only then are the last checkpoint's unfinished tiles taken away.
    pub fn publish(&self, anew: bool) -> Result<(), AuditError> {
        let before = self.shared.published();
        let (full, partials, size, root, resume) = {
            let mut state = self.shared.state();
            if state.growth.size() == before.size && !anew {
                return Ok(());
            }
            let (partials, size, root) = (state.growth.partials(), state.growth.size(), state.growth.root());
            (std::mem::take(&mut state.full_tiles), partials, size, root, state.resume.take())
        };
        for (tile, bytes) in full.iter().chain(&partials) {
            self.replace(&tile.path(), bytes)?;
        }
        let note = Checkpoint { origin: self.origin.clone(), size, root }.sign(&self.key)?;
        self.replace(CHECKPOINT, note.as_bytes())?;
        self.shared.set_published(Published { size, note, partials });
        if let Some(resume) = resume {
            self.replace(RESUME, resume.bytes())?; // after the checkpoint that covers it
        }
        self.remove_partials(before.size, size)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), AuditError> {
        let _turn = self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        replace(self.disk.as_ref(), &self.dir, path, bytes).map_err(|source| AuditError::io(&self.dir.join(path), source))
    }

    /// Removes the unfinished tiles of an older size. Nobody misses them: a shorter form of a tile is served from the longer.
    fn remove_partials(&self, old: u64, new: u64) -> Result<(), AuditError> {
        let kept = Tile::partials(new);
        for tile in Tile::partials(old).into_iter().filter(|tile| !kept.contains(tile)) {
            let path = self.dir.join(tile.path());
            match self.disk.remove(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => return Err(AuditError::io(&path, source)),
                _ => {}
            }
            if let Some(parent) = path.parent() {
                // Fails while the next unfinished tile is in it, which is as it should be.
                let _ = self.disk.remove_folder(parent);
            }
        }
        Ok(())
    }

    /// Removes unfinished tiles that a crash has kept [`Publisher::publish`] from removing. On opening only: it lists all tiles, or
    /// in a long log the folders beside the unfinished ones.
    pub fn remove_leftovers(&self, whole: bool) -> Result<(), AuditError> {
        let kept = self.shared.published();
        let beside =
            |(tile, _): &(Tile, Vec<u8>)| [tile.index(), tile.index().saturating_sub(1)].map(|n| Tile::full(tile.kind(), n).path() + ".p");
        let mut folders = if whole { vec!["tile".to_owned()] } else { kept.partials.iter().flat_map(beside).collect() };
        while let Some(folder) = folders.pop() {
            let path = self.dir.join(&folder);
            let listing = match fs::read_dir(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                listing => listing.map_err(|source| AuditError::io(&path, source))?,
            };
            for item in listing {
                let item = item.map_err(|source| AuditError::io(&path, source))?;
                let name = format!("{folder}/{}", item.file_name().to_string_lossy());
                if item.path().is_dir() {
                    folders.push(name);
                } else if Tile::parse(&name).is_some_and(|tile| !tile.is_full() && kept.partials.iter().all(|(other, _)| *other != tile)) {
                    self.disk.remove(&item.path()).map_err(|source| AuditError::io(&item.path(), source))?;
                    let _ = self.disk.remove_folder(&path); // fails while others are in it
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) fn tick_for_tests(now_ns: i128, interval: Duration) -> Duration {
    until_next_tick(now_ns, interval)
}
