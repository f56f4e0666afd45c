//! The files of statistics: settings, anchors, the ledger of each epoch. A file is replaced whole, or appended to and synced.

use dugnad_kernel::disclosure::{Anchors, Epoch, Ledger, Period, Spending};
use roaring::RoaringBitmap;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The folder of a database's statistics.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    ledgers: HashMap<Epoch, Ledger>,
}

/// Gives a file new content, whole or not at all, durably.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn invalid(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

impl Store {
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder.join("anchors"))?;
        Ok(Self { folder: folder.to_owned(), ledgers: HashMap::new() })
    }

    fn anchors_at(&self, table: &str) -> PathBuf {
        self.folder.join("anchors").join(table)
    }

    /// The anchors of a table of this name: of a shape, a cohort and who counts.
    pub fn anchors(&self, table: &str) -> io::Result<Anchors> {
        let path = self.anchors_at(table);
        match fs::read(&path) {
            Ok(bytes) => Anchors::from_bytes(&bytes).map_err(|e| invalid(&path, e)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Anchors::default()),
            Err(error) => Err(error),
        }
    }

    pub fn keep_anchors(&self, table: &str, anchors: &Anchors) -> io::Result<()> {
        write(&self.anchors_at(table), &anchors.to_bytes()?)
    }

    /// Takes erased persons out of all anchors.
    pub fn erase(&self, persons: &RoaringBitmap) -> io::Result<()> {
        for entry in fs::read_dir(self.folder.join("anchors"))? {
            let path = entry?.path();
            if path.extension().is_some() {
                continue; // the rest of a write that was cut off
            }
            let mut anchors = Anchors::from_bytes(&fs::read(&path)?).map_err(|e| invalid(&path, e))?;
            if anchors.erase(persons) {
                write(&path, &anchors.to_bytes()?)?;
            }
        }
        Ok(())
    }

    fn ledger_at(&self, epoch: &Epoch) -> PathBuf {
        let period = match epoch.period {
            Period::Seconds(seconds) => format!("{seconds}s"),
            Period::Day => "day".to_owned(),
            Period::Week => "week".to_owned(),
            Period::Month => "month".to_owned(),
        };
        self.folder.join(format!("ledger-{period}-{}", epoch.start.as_second()))
    }

    /// The ledger of an epoch. Those of epochs that have passed are forgotten; their files stay.
    pub fn ledger(&mut self, epoch: &Epoch) -> io::Result<&mut Ledger> {
        if !self.ledgers.contains_key(epoch) {
            let ledger = match fs::read(self.ledger_at(epoch)) {
                Ok(bytes) => Ledger::from_bytes(&bytes),
                Err(error) if error.kind() == ErrorKind::NotFound => Ledger::default(),
                Err(error) => return Err(error),
            };
            self.ledgers.retain(|kept, _| kept.period != epoch.period);
            self.ledgers.insert(*epoch, ledger);
        }
        Ok(self.ledgers.entry(*epoch).or_default())
    }

    /// Spends on the ledger of an epoch, durably. If that fails, nothing was spent.
    pub fn spend(&mut self, epoch: &Epoch, spending: Spending) -> io::Result<()> {
        let entries = self.ledger(epoch)?.spend(spending);
        let written = if entries.is_empty() { Ok(()) } else { self.append(epoch, &entries) };
        if written.is_err() {
            self.ledgers.remove(epoch); // it is read again
        }
        written
    }

    fn append(&self, epoch: &Epoch, entries: &[u8]) -> io::Result<()> {
        let path = self.ledger_at(epoch);
        let mut file = private(OpenOptions::new().append(true).create(true)).open(&path)?;
        // What a crash left of an entry must not shift those after it.
        let length = file.metadata()?.len();
        file.set_len(length - length % Ledger::ENTRY)?;
        file.write_all(entries)?;
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }
}
