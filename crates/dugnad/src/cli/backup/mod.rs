//! `dugnad backup`.

mod manifest;
mod restore;

pub use restore::Restore;

use super::CliError;
use super::progress::Progress;
use crate::access::Tokens;
use crate::api::SUBSCRIPTIONS;
use clap::Args;
use dugnad_kernel::audit;
use dugnad_kernel::database::{JOURNAL, copy_journal, copy_sqlite};
use dugnad_kernel::permit::release::MANIFEST;
use manifest::Manifest;
use std::fs;
use std::path::{Path, PathBuf};

/// The file of the tokens.
const ACCESS: &str = "access.sqlite";
const AUDIT: &str = "audit";
const KEYS: &str = "keys";
const RELEASES: &str = "releases";
const STATISTICS: &str = "statistics";

/// Copy a database, also while a server writes to it.
///
/// The copy is the database at one commit. In it: the journal, the tokens, the audit log up to its newest signed checkpoint,
/// the secret keys, who asked for which Subscription, what was released, what statistics keep from epoch to epoch, and backup.json with the SHA-256 of each file. Not in it: live tables, which follow from the journal, and
/// erasures.jsonl. Keep that file elsewhere, always the newest: `dugnad restore` needs it to erase again whom the backup still has.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad backup --data ./db --to /backups/2026-11-21
  dugnad backup --data ./db --to /backups/2026-11-21 --without-keys     the keys are kept elsewhere
  cp ./db/erasures.jsonl /elsewhere/                                    after every erasure

A folder without backup.json is a backup that was interrupted: remove it.")]
pub struct Backup {
    /// The database's folder; a server may have it open.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A folder that is not there yet, or is empty.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Leave the secret keys out: without them, pseudonyms and the audit log cannot go on.
    #[arg(long)]
    without_keys: bool,
}

impl Backup {
    pub(super) fn run(self) -> Result<(), CliError> {
        let (data, to) = (self.data.as_path(), self.to.as_path());
        if !data.join(JOURNAL).is_file() {
            return Err(CliError::Usage(format!("{} is no database: it has no {JOURNAL}", data.display())));
        }
        make_empty(to)?;
        let made_at = jiff::Timestamp::now();
        // The log first: an entry follows its commit, so that the log in the backup is never ahead of the journal in it.
        let checkpoint = audit::copy(&data.join(AUDIT), &to.join(AUDIT)).map_err(CliError::failed)?;
        // Anchors hold numbers of persons: all that are in the backup's anchors are in its journal.
        if data.join(STATISTICS).is_dir() {
            let whole = |path: &Path| path.extension().is_none_or(|extension| extension != "new");
            copy_files(&data.join(STATISTICS), &to.join(STATISTICS), &whole)?;
        }
        let mut progress = Progress::start("copying the journal".to_owned(), "pages");
        let state = copy_journal(data, &to.join(JOURNAL), &mut |done, all| progress.tell(done, all)).map_err(CliError::failed)?;
        progress.finish();
        // After the journal: a release that the journal in the backup calls approved has its manifest by then.
        copy_releases(&data.join(RELEASES), &to.join(RELEASES))?;
        copy_sqlite(&data.join(ACCESS), &to.join(ACCESS)).map_err(CliError::failed)?;
        if data.join(SUBSCRIPTIONS).is_file() {
            copy_sqlite(&data.join(SUBSCRIPTIONS), &to.join(SUBSCRIPTIONS)).map_err(CliError::failed)?;
        }
        if !self.without_keys {
            copy_folder(&data.join(KEYS), &to.join(KEYS))?;
        }
        let manifest = Manifest::of(to, made_at, state.commit, state.timeline, checkpoint.size)?;
        manifest.write(to)?;
        let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
        // The server writes it to the audit log; without one, the next that starts.
        let what = format!("backup of commit {} of timeline {} to {}", state.commit, state.timeline, to.display());
        Tokens::open(data).and_then(|tokens| tokens.leave_record(what)).map_err(CliError::failed)?;
        eprintln!(
            "backed up commit {} of timeline {}, {} audit entries, {} in {} files",
            state.commit,
            state.timeline,
            checkpoint.size,
            indicatif::HumanBytes(bytes),
            manifest.files.len()
        );
        Ok(())
    }
}

/// Makes a folder that only its owner may read; one that is there must be empty.
fn make_empty(dir: &Path) -> Result<(), CliError> {
    let failed = |error| CliError::Failed(format!("{}: {error}", dir.display()));
    if dir.try_exists().map_err(failed)? {
        let occupied = || CliError::Usage(format!("{} is not empty; nothing is overwritten: name a new folder", dir.display()));
        return if fs::read_dir(dir).map_err(failed)?.next().is_some() { Err(occupied()) } else { Ok(()) };
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir).map_err(failed)
}

/// Copies what was let out. What waits for a decision is not kept: it is asked for again.
fn copy_releases(from: &Path, to: &Path) -> Result<(), CliError> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    make_empty(to)?;
    for entry in entries {
        let entry = entry.map_err(|error| CliError::Failed(format!("{}: {error}", from.display())))?;
        if entry.path().join(MANIFEST).is_file() {
            copy_folder(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Copies a folder with all below it, rights included; synced.
fn copy_folder(from: &Path, to: &Path) -> Result<(), CliError> {
    copy_files(from, to, &|_| true)
}

/// The same of those files that are wanted.
fn copy_files(from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<(), CliError> {
    make_empty(to)?;
    let failed = |error| CliError::Failed(format!("{}: {error}", from.display()));
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_files(&entry.path(), &target, wanted)?;
        } else if wanted(&entry.path()) {
            fs::copy(entry.path(), &target).and_then(|_| fs::File::open(&target)?.sync_all()).map_err(failed)?;
        }
    }
    fs::File::open(to).and_then(|folder| folder.sync_all()).map_err(failed)
}
