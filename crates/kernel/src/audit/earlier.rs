//! Reading the beginning of a long log behind its back: the index of persons needs it, and damage shows.
//!
//! It goes slowly, for the server has just started and has other things to do; faster as soon as somebody asks for the index.

use super::disk::ENTRIES;
use super::glance::Glance;
use super::record::{self, FILE_HEADER};
use super::recover::Earlier;
use super::tile::Growth;
use super::writer::Shared;
use crate::limits::AUDIT_INDEX_STEP_BYTES;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The thread that reads.
pub(super) struct Reader {
    pub dir: PathBuf,
    pub earlier: Earlier,
    pub shared: Arc<Shared>,
}

/// Why reading ended early.
enum End {
    /// The log is being closed.
    Closing,
    /// An entry is not what was written.
    Damaged(String),
}

impl Reader {
    /// Reads to the end of the beginning. Damage stops the log: nothing more is read or written.
    pub fn run(&self) {
        let result = match self.read() {
            Ok(()) => Ok(()),
            Err(End::Closing) => Err("it was closed before it was read".to_owned()),
            Err(End::Damaged(what)) => {
                tracing::error!(what, "the audit log stops: its beginning is damaged; `dugnad audit verify` says more");
                self.shared.stop();
                Err(what)
            }
        };
        self.shared.who.complete(result);
    }

    fn read(&self) -> Result<(), End> {
        let io = |error: std::io::Error| End::Damaged(format!("it cannot be read: {error}"));
        let mut file = File::open(self.dir.join(ENTRIES)).map_err(io)?;
        let mut at = FILE_HEADER.len() as u64;
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let mut growth = Growth::default();
        let (mut begun, mut rest_at) = (Instant::now(), at + AUDIT_INDEX_STEP_BYTES);
        while growth.size() < self.earlier.size {
            let index = growth.size();
            let damaged = |what: &str| End::Damaged(format!("entry {index}: {what}"));
            let record = record::read(&mut reader).map_err(io)?.ok_or_else(|| damaged("the file ends before it"))?;
            let record = record.map_err(|flaw| damaged(flaw.describe()))?;
            if record.index != index {
                return Err(damaged("another entry stands in its place"));
            }
            if let Some(glance) = Glance::at(&record.json) {
                self.shared.who.add_earlier(index, at + record::JSON_AT, &glance);
            }
            growth.push(record.commitment, |_, _| {});
            at += record::encoded_len(record.json.len());
            if at >= rest_at {
                rest_at = at + AUDIT_INDEX_STEP_BYTES;
                self.rest(begun.elapsed())?;
                begun = Instant::now();
            }
        }
        let what = format!("the first {} entries are not those that the signed tree holds", self.earlier.size);
        if growth.root() == self.earlier.root { Ok(()) } else { Err(End::Damaged(what)) }
    }

    /// Lets others work for four times as long as `took`, unless somebody waits.
    fn rest(&self, took: Duration) -> Result<(), End> {
        let state = self.shared.state();
        let until = Instant::now() + took * 4;
        let mut closing = state.closing;
        drop(state);
        while !closing && !self.shared.who.is_asked() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
            closing = self.shared.state().closing;
        }
        if closing { Err(End::Closing) } else { Ok(()) }
    }
}
