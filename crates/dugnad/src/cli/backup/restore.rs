//! `dugnad restore`.

use super::manifest::{FileDigest, Manifest, digest};
use super::{AUDIT, KEYS, copy_folder, make_empty};
use crate::access::done_by_operator;
use crate::cli::CliError;
use crate::cli::local::Local;
use crate::cli::progress::Progress;
use clap::Args;
use dugnad_kernel::audit::{self, Folder};
use dugnad_kernel::database::{ERASURE_LIST, inspect_journal, start_timeline};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Make a database of a backup: a new timeline.
///
/// Every file is checked against backup.json, the audit log against its signatures; then the database is opened once, persons on
/// the erasure list are erased again, and the restore is put on the record. Nothing is at DIR before all of that went well.
/// Commit numbers after the restore mean other commits than before it, so the database gets a new timeline, which is printed and
/// sent with every commit number (Dugnad-Timeline).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dugnad restore --from /backups/2026-11-21 --data ./db --erasures /elsewhere/erasures.jsonl
  dugnad restore --from /backups/2026-11-21 --data ./db --erasures old/erasures.jsonl --audit old/audit   the log is still there
  dugnad restore --from /backups/2026-11-21 --data ./db --no-erasures                                     nobody was ever erased

Afterwards: revoke again the tokens that were revoked since the backup, and have the hospitals send again what they
sent since (`Idempotency-Key` and ids make that safe) and ask again for their Subscriptions: those tell nobody until then.")]
pub struct Restore {
    /// The backup's folder.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Where the database is to be; not there yet, or empty.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The newest erasures.jsonl of the database: who is on it is erased again.
    #[arg(long, value_name = "FILE", required_unless_present = "no_erasures", conflicts_with = "no_erasures")]
    erasures: Option<PathBuf>,
    /// Nobody was erased since the backup.
    #[arg(long)]
    no_erasures: bool,
    /// The folder of the newer audit log, if it is still there. It must go on from the backup's: a log is never rolled back.
    #[arg(long, value_name = "DIR")]
    audit: Option<PathBuf>,
    /// The folder of the keys, for a backup that was made without them.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
}

impl Restore {
    pub(in crate::cli) fn run(self) -> Result<(), CliError> {
        let manifest = Manifest::read(&self.from)?;
        make_empty(&self.data)?;
        let failed = |error| CliError::Failed(format!("{}: {error}", self.data.display()));
        let data = std::path::absolute(&self.data).map_err(failed)?;
        let parent = data.parent().unwrap_or(&data);
        // Beside its place, under another name: removed if anything goes wrong.
        let building = tempfile::Builder::new().prefix(".dugnad-restore-").tempdir_in(parent).map_err(failed)?;
        let dir = building.path();
        copy_checked(&self.from, dir, &manifest)?;
        self.take_keys(dir)?;
        self.take_log(dir)?;
        check_journal(dir, &manifest)?;
        if let Some(list) = &self.erasures {
            fs::copy(list, dir.join(ERASURE_LIST)).map_err(|e| CliError::Failed(format!("{}: {e}", list.display())))?;
        }
        let state = start_timeline(dir).map_err(CliError::failed)?;
        let erased = self.open_once(dir, manifest.commit)?;
        let built = building.keep();
        fs::rename(&built, &data).and_then(|()| File::open(parent)?.sync_all()).map_err(failed)?;
        eprintln!("restored commit {} as {}; {erased} person(s) were erased again", manifest.commit, self.data.display());
        eprintln!("tokens that were revoked after {} are valid again: revoke them again", manifest.made_at);
        println!("timeline {}", state.timeline);
        Ok(())
    }

    fn take_keys(&self, dir: &Path) -> Result<(), CliError> {
        match (&self.keys, dir.join(KEYS).exists()) {
            (Some(_), true) => Err(CliError::Usage("--keys: the backup has its keys; leave it out".to_owned())),
            (Some(keys), false) => copy_folder(keys, &dir.join(KEYS)),
            (None, true) => Ok(()),
            (None, false) => Err(CliError::Usage("the backup was made without keys; give their folder with --keys".to_owned())),
        }
    }

    /// Checks the backup's log, and puts the newer one in its place if that goes on from it.
    fn take_log(&self, dir: &Path) -> Result<(), CliError> {
        let own = dir.join(AUDIT);
        let folder = Folder::open(&own).map_err(CliError::failed)?;
        let (checkpoint, _) = folder.checkpoint().map_err(CliError::failed)?;
        let key = folder.verifier_key().clone();
        let place = match &self.audit {
            Some(newer) => {
                fs::remove_dir_all(&own).map_err(|e| CliError::Failed(format!("{}: {e}", own.display())))?;
                copy_folder(newer, &own)?;
                newer.display().to_string()
            }
            None => format!("{}/{AUDIT}", self.from.display()),
        };
        let report = audit::verify_since(&own, Some(&key), &[checkpoint]);
        match report.problems.first() {
            None => Ok(()),
            Some(problem) => {
                let what = format!("{}: {}", problem.file, problem.what);
                Err(CliError::Failed(format!("the audit log {place} cannot be gone on with: {what}; `dugnad audit verify` says more")))
            }
        }
    }

    /// Opens the database, which rebuilds its live tables and erases whom the list names, and records the restore. How many
    /// persons were erased again.
    fn open_once(&self, dir: &Path, commit: u64) -> Result<usize, CliError> {
        let local = Local::open_restored(dir)?;
        let again = local.database.erasures().iter().filter(|erasure| erasure.commit.0 > commit).count();
        let mut entry = done_by_operator(local.clock.now(), format!("restore of commit {commit}; {again} person(s) erased again"));
        entry.commit = Some(local.database.snapshot().commit().0);
        entry.timeline = Some(local.database.timeline().to_string());
        entry.patients = Some(local.database.highest_patient().map_err(CliError::failed)?.0);
        let recorded = local.audit.append(&entry);
        local.audit.close();
        local.database.close();
        recorded.map(|_| again).map_err(CliError::failed)
    }
}

/// Copies each file and compares it with what the backup says that it is.
fn copy_checked(from: &Path, to: &Path, manifest: &Manifest) -> Result<(), CliError> {
    let all: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let (mut progress, mut done) = (Progress::start("copying the backup".to_owned(), "bytes"), 0);
    for file in &manifest.files {
        copy_file(from, to, file)?;
        done += file.bytes;
        progress.tell(done, all);
    }
    progress.finish();
    Ok(())
}

fn copy_file(from: &Path, to: &Path, file: &FileDigest) -> Result<(), CliError> {
    let (source, target) = (from.join(&file.path), to.join(&file.path));
    let failed = |error: std::io::Error| CliError::Failed(format!("{}: {error}", target.display()));
    if let Some(folder) = target.parent() {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(folder).map_err(failed)?;
    }
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut copy = options.open(&target).map_err(failed)?;
    let (bytes, sha256) = digest(&source, &mut copy)?;
    if (bytes, sha256.as_str()) != (file.bytes, file.sha256.as_str()) {
        let what = format!("{} is not what was backed up: its length or SHA-256 is another one. Take another backup", source.display());
        return Err(CliError::Failed(what));
    }
    copy.sync_all().map_err(failed)
}

fn check_journal(dir: &Path, manifest: &Manifest) -> Result<(), CliError> {
    let state = inspect_journal(dir).map_err(CliError::failed)?;
    if (state.commit.0, state.timeline.to_string()) == (manifest.commit, manifest.timeline.clone()) {
        return Ok(());
    }
    Err(CliError::Failed(
        "backup.json is damaged: the journal is of another commit or timeline than it says. Take another backup".to_owned(),
    ))
}
