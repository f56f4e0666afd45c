//! A database on this machine, opened with all that belongs to it.

use super::CliError;
use super::progress::Progress;
use crate::access::{Keys, PageKey, Tokens};
use crate::api::{App, Parts, Settings, sweep_exports, sweep_releases};
use crate::query::{QueryService, StatisticsSettings};
use dugnad_kernel::audit::Log;
use dugnad_kernel::clock::{Clock, SystemClock};
use dugnad_kernel::database::Database;
use ed25519_dalek::SigningKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The origin of an audit log that nobody named.
pub const DEFAULT_ORIGIN: &str = "dugnad.local/audit";

/// An open database folder.
#[derive(Clone)]
pub struct Local {
    /// The database.
    pub database: Database,
    /// Its audit log.
    pub audit: Arc<Log>,
    /// Answers questions under permits.
    pub query: QueryService,
    /// Who is known.
    pub tokens: Arc<Tokens>,
    /// Makes links to the pages of a search.
    pub page_key: PageKey,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Signs releases.
    pub release_key: SigningKey,
    /// Its folder.
    pub dir: PathBuf,
}

impl Local {
    /// Opens (or makes) the database in `dir`, with progress on stderr. `origin` names a new audit log; one that is there
    /// keeps its name.
    pub fn open(dir: &Path, origin: Option<&str>) -> Result<Self, CliError> {
        Self::open_with(dir, origin, Arc::new(SystemClock), None)
    }

    /// The same with a clock, and with settings for its statistics, if it has none yet.
    pub fn open_with(
        dir: &Path,
        origin: Option<&str>,
        clock: Arc<dyn Clock>,
        statistics: Option<StatisticsSettings>,
    ) -> Result<Self, CliError> {
        let local = Self::assemble(dir, origin, clock, statistics)?;
        match local.check_log(dir) {
            Ok(()) => Ok(local),
            Err(error) => {
                local.audit.close();
                local.database.close();
                Err(error)
            }
        }
    }

    /// Opens what was just restored: its log may know more commits, and says so with the next entry.
    pub(super) fn open_restored(dir: &Path) -> Result<Self, CliError> {
        Self::assemble(dir, None, Arc::new(SystemClock), None)
    }

    /// Refuses a journal that is older than the log: commits that were acknowledged would be gone, and their numbers given anew.
    fn check_log(&self, dir: &Path) -> Result<(), CliError> {
        let (newest, there) = (self.audit.newest().map_err(CliError::failed)?, self.database.snapshot().commit().0);
        let what = match (newest.commit.filter(|commit| *commit > there), newest.timeline) {
            (Some(commit), _) => {
                let entry = newest.entry.unwrap_or_default();
                format!("its entry {entry} names commit {commit}, but the journal ends at commit {there}")
            }
            (None, Some(timeline)) if timeline != self.database.timeline() => {
                format!("it was gone on with on timeline {timeline}, but the journal is of timeline {}", self.database.timeline())
            }
            _ => return Ok(()),
        };
        Err(CliError::Failed(format!(
            "the audit log in {0}/audit is ahead of the journal: {what}. Put back the journal that belongs to the log; if it is lost, \
             restore a backup into a new folder with `dugnad restore --audit {0}/audit`, which goes on as a new timeline",
            dir.display()
        )))
    }

    fn assemble(dir: &Path, origin: Option<&str>, clock: Arc<dyn Clock>, statistics: Option<StatisticsSettings>) -> Result<Self, CliError> {
        let mut progress = Progress::start(format!("opening {}", dir.display()), "versions");
        // The database first: it takes the folder's lock, and everything else in the folder is under it.
        let database = Database::open(dir, Arc::clone(&clock), &mut |done, all| progress.tell(done, all)).map_err(CliError::failed)?;
        progress.finish();
        sweep_exports(dir);
        let keys = Keys::open(dir).map_err(CliError::failed)?;
        let page_key = keys.page_links();
        let folder = dir.join("audit");
        let origin = origin_of(&folder).or_else(|| origin.map(str::to_owned)).unwrap_or_else(|| DEFAULT_ORIGIN.to_owned());
        let audit = Arc::new(Log::open(&folder, &origin, keys.audit, Arc::clone(&clock)).map_err(CliError::failed)?);
        // An erasure that was cut off before it came here, or one that a restore has made again.
        audit.forget(&database.erased_patients()).map_err(CliError::failed)?;
        let tokens = Arc::new(Tokens::open(dir).map_err(CliError::failed)?);
        let (folder, log, time) = (dir.join("statistics"), Arc::clone(&audit), Arc::clone(&clock));
        let query = QueryService::with(database.clone(), log, keys.pseudonym, time, &folder, statistics).map_err(CliError::failed)?;
        query.forget(&database.erased_patients()).map_err(CliError::failed)?;
        sweep_releases(dir, &database);
        Ok(Self { database, audit, query, tokens, page_key, clock, release_key: keys.release, dir: dir.to_owned() })
    }

    /// The server's state over it.
    pub fn app(&self, settings: Settings) -> App {
        self.query.cover_opt_outs(settings.opt_outs);
        App::new(Parts {
            database: self.database.clone(),
            query: self.query.clone(),
            audit: Arc::clone(&self.audit),
            tokens: Arc::clone(&self.tokens),
            page_key: self.page_key.clone(),
            clock: Arc::clone(&self.clock),
            settings,
            release_key: self.release_key.clone(),
            data: self.dir.clone(),
        })
    }
}

/// The origin of a log that exists: the first line of its checkpoint.
fn origin_of(folder: &Path) -> Option<String> {
    let checkpoint = std::fs::read_to_string(folder.join("checkpoint")).ok()?;
    checkpoint.lines().next().filter(|line| !line.is_empty()).map(str::to_owned)
}
