//! A database on this machine, opened with all that belongs to it.

use super::CliError;
use crate::access::{Keys, Tokens};
use crate::api::{App, Parts, Settings};
use crate::query::QueryService;
use dugnad_kernel::audit::Log;
use dugnad_kernel::clock::{Clock, SystemClock};
use dugnad_kernel::database::Database;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The origin of an audit log that nobody named.
pub const DEFAULT_ORIGIN: &str = "dugnad.local/audit";

/// How long an epoch of statistics lasts: one dimension is published daily.
const EPOCH: SignedDuration = SignedDuration::from_hours(24);

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
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Local {
    /// Opens (or makes) the database in `dir`, with progress on stderr. `origin` names a new audit log; one that is there
    /// keeps its name.
    pub fn open(dir: &Path, origin: Option<&str>) -> Result<Self, CliError> {
        Self::open_with(dir, origin, Arc::new(SystemClock), EPOCH)
    }

    /// The same with a clock, and with statistics epochs of another length.
    pub fn open_with(dir: &Path, origin: Option<&str>, clock: Arc<dyn Clock>, epoch: SignedDuration) -> Result<Self, CliError> {
        let mut progress = OpenProgress::start(dir);
        // The database first: it takes the folder's lock, and everything else in the folder is under it.
        let database = Database::open(dir, Arc::clone(&clock), &mut |done, all| progress.tell(done, all)).map_err(CliError::failed)?;
        progress.finish();
        let keys = Keys::open(dir).map_err(CliError::failed)?;
        let folder = dir.join("audit");
        let origin = origin_of(&folder).or_else(|| origin.map(str::to_owned)).unwrap_or_else(|| DEFAULT_ORIGIN.to_owned());
        let audit = Arc::new(Log::open(&folder, &origin, keys.audit, Arc::clone(&clock)).map_err(CliError::failed)?);
        let tokens = Arc::new(Tokens::open(dir).map_err(CliError::failed)?);
        let query = QueryService::with_epochs(database.clone(), Arc::clone(&audit), keys.pseudonym, Arc::clone(&clock), epoch);
        Ok(Self { database, audit, query, tokens, clock })
    }

    /// The server's state over it.
    pub fn app(&self, settings: Settings) -> App {
        App::new(Parts {
            database: self.database.clone(),
            query: self.query.clone(),
            audit: Arc::clone(&self.audit),
            tokens: Arc::clone(&self.tokens),
            clock: Arc::clone(&self.clock),
            settings,
        })
    }
}

/// The origin of a log that exists: the first line of its checkpoint.
fn origin_of(folder: &Path) -> Option<String> {
    let checkpoint = std::fs::read_to_string(folder.join("checkpoint")).ok()?;
    checkpoint.lines().next().filter(|line| !line.is_empty()).map(str::to_owned)
}

/// Progress of opening: a bar on a terminal, a line every few seconds otherwise, nothing if it is quick.
struct OpenProgress {
    bar: Option<ProgressBar>,
    started: Instant,
    told: Instant,
    dir: String,
}

impl OpenProgress {
    fn start(dir: &Path) -> Self {
        let now = Instant::now();
        Self { bar: None, started: now, told: now, dir: dir.display().to_string() }
    }

    fn tell(&mut self, done: u64, all: u64) {
        if self.started.elapsed() < Duration::from_millis(500) {
            return;
        }
        if std::io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("opening: {bar:40} {human_pos}/{human_len} versions, {eta} left");
                ProgressBar::new(all).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
            bar.set_length(all);
            bar.set_position(done);
        } else if self.told.elapsed() > Duration::from_secs(5) {
            self.told = Instant::now();
            eprintln!("opening {}: {done} of {all} versions", self.dir);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
