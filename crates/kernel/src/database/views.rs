//! The ViewDefinitions that the centre has registered: documents in the journal, and for each a live table, which is built in the
//! background and then kept current like the built-in ones.

use super::build::{BuildError, Builder};
use super::commit::{Reason, Work};
use super::tables::{Wanted, is_reserved};
use super::{Database, ReadError, WriteError};
use crate::ids::{Commit, HolderId, TableId};
use crate::journal::{JournalError, Lookup};
use crate::limits::{MAX_VIEW_BYTES, MAX_VIEWS};
use crate::live::Damaged;
use crate::views::{View, ViewError};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The kind of the documents.
const KIND: &str = "ViewDefinition";

/// What has become of a registered view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewState {
    /// Its table is being filled from the journal.
    Building {
        /// How many versions of the journal have been looked at.
        done: u64,
        /// How many there are.
        in_all: u64,
    },
    /// Its table holds every commit.
    Live {
        /// The commit at which it was switched on, in this run of the program.
        since: Commit,
    },
    /// It has no table (or still the one of its definition before).
    Failed {
        /// Why.
        reason: String,
    },
}

/// A registered view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewStatus {
    /// The ViewDefinition's id.
    pub id: String,
    /// Its table: `ViewDefinition.name`.
    pub table: String,
    /// The version of the definition.
    pub version: u64,
    /// What has become of it.
    pub state: ViewState,
    /// How many resources have been written since it is live on which the view failed, so that their rows are missing.
    pub failures: u64,
    /// Why the last of them failed.
    pub last_failure: Option<String>,
}

/// Why a view was not registered. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ViewRefused {
    /// The definition cannot be a live table.
    #[error(transparent)]
    Definition(#[from] ViewError),
    /// Another view has this name.
    #[error("{0}")]
    Name(String),
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

#[derive(Clone)]
struct Registered {
    table: String,
    version: u64,
    wanted: Option<Wanted>,
    state: ViewState,
}

/// The registered views by id.
#[derive(Default)]
pub(super) struct Views {
    registered: Mutex<BTreeMap<String, Registered>>,
    /// Their versions, for the committer: a registration holds `registered` while it waits for the committer.
    current: Mutex<BTreeMap<String, u64>>,
}

impl Views {
    /// Reads the registered definitions. Those that compile are wanted.
    pub(super) fn read(lookup: &Lookup<'_>) -> Result<(Self, Vec<(String, Wanted)>), JournalError> {
        let (mut views, mut all) = (BTreeMap::new(), Vec::new());
        let Some(kind) = lookup.kind(KIND)? else { return Ok((Self::default(), all)) };
        for id in lookup.documents(kind)? {
            let Some(head) = lookup.head(HolderId::CENTRE, kind, &id)? else { continue };
            let Some(json) = lookup.version(head.sequence)?.and_then(|v| v.json) else { continue };
            let compiled = wanted(&id, &String::from_utf8_lossy(&json));
            let (table, wanted, state) = match compiled {
                Ok(wanted) => (wanted.schema.name.clone(), Some(wanted), ViewState::Building { done: 0, in_all: 0 }),
                Err(error) => (String::new(), None, ViewState::Failed { reason: error.to_string() }),
            };
            all.extend(wanted.clone().map(|w| (id.clone(), w)));
            views.insert(id, Registered { table, version: head.version, wanted, state });
        }
        let current = views.iter().map(|(id, view)| (id.clone(), view.version)).collect();
        Ok((Self { registered: Mutex::new(views), current: Mutex::new(current) }, all))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Registered>> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this version of a view is the registered one.
    pub(super) fn is_current(&self, id: &str, version: u64) -> bool {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).get(id) == Some(&version)
    }

    /// From now on this version is the registered one, or none.
    fn set_current(&self, id: &str, version: Option<u64>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match version {
            Some(version) => current.insert(id.to_owned(), version),
            None => current.remove(id),
        };
    }

    /// The table of that name has been found on disk.
    pub(super) fn is_live(&self, table: &str, since: Commit) {
        for view in self.lock().values_mut().filter(|v| v.table == table) {
            view.state = ViewState::Live { since };
        }
    }
}

/// A definition as a live table, or why it cannot be one.
fn wanted(id: &str, definition: &str) -> Result<Wanted, ViewError> {
    let wrong = |at: &str, what: String| ViewError::Definition { at: at.to_owned(), what };
    if definition.len() > MAX_VIEW_BYTES {
        return Err(wrong("ViewDefinition", format!("it has {} bytes; at most {MAX_VIEW_BYTES} are taken", definition.len())));
    }
    let json: serde_json::Value = serde_json::from_str(definition).map_err(|e| wrong("ViewDefinition", format!("it is no JSON: {e}")))?;
    let view = View::compile(&json)?;
    let name = view.name().to_owned();
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !fits || name.len() > 63 {
        let what = format!(
            "`{name}` becomes the name of a table: use at most 63 lower-case letters, digits and underscores, beginning with a letter"
        );
        return Err(wrong("ViewDefinition.name", what));
    }
    if let Some(column) = view.columns().iter().find(|c| c.name == "holder") {
        let what = format!("there is a column `{}`: every live table has one of that name; name it otherwise", column.name);
        return Err(wrong("ViewDefinition.select", what));
    }
    let description = json.get("description").or_else(|| json.get("title")).and_then(|d| d.as_str()).unwrap_or_default().to_owned();
    Ok(Wanted { id: Some(id.to_owned()), ..Wanted::of(&name, &description, view, definition, false) })
}

impl Database {
    /// Registers a ViewDefinition under `id`, or a new version of it: its table is built in the background and switched on at one
    /// commit. Until then the table of the version before goes on. Answers the commit that holds the definition.
    pub fn register_view(&self, id: &str, definition: &str) -> Result<Commit, ViewRefused> {
        let wanted = wanted(id, definition)?;
        let name = wanted.schema.name.clone();
        if is_reserved(&name) {
            return Err(ViewRefused::Name(format!("`{name}` is the name of a built-in table; choose another ViewDefinition.name")));
        }
        // Held until the document is written, so that no other registration takes the name in between.
        let mut views = self.shared.views.lock();
        if let Some((other, _)) = views.iter().find(|(other, v)| v.table == name && *other != id) {
            return Err(ViewRefused::Name(format!("the ViewDefinition {other} already has the name `{name}`; choose another")));
        }
        if views.len() >= MAX_VIEWS && !views.contains_key(id) {
            return Err(ViewRefused::Name(format!("there are {MAX_VIEWS} registered views, and no more are taken; delete one first")));
        }
        let commit = self.put_document(KIND, id, definition)?;
        let version = self.read(HolderId::CENTRE, KIND, id)?.map_or(1, |v| v.version);
        let state = ViewState::Building { done: 0, in_all: 0 };
        views.insert(id.to_owned(), Registered { table: name, version, wanted: Some(wanted.clone()), state });
        self.shared.views.set_current(id, Some(version));
        drop(views);
        self.build(Reason::Registered { id: id.to_owned(), version }, wanted);
        Ok(commit)
    }

    /// Takes a view away, and its table at one commit. `None` if there is no such view.
    pub fn remove_view(&self, id: &str) -> Result<Option<Commit>, WriteError> {
        // Held until the document is written: a view that could not be taken away is still there.
        let mut views = self.shared.views.lock();
        if !views.contains_key(id) {
            return Ok(None);
        }
        let commit = self.write_documents(&[(KIND, id, None)])?;
        self.shared.views.set_current(id, None);
        views.remove(id);
        let (reply, answer) = sync_channel(1);
        self.queue.send(Work::Remove { id: id.to_owned(), reply }).map_err(|_| self.stopped())?; // before another can have the name
        drop(views);
        answer.recv().map_err(|_| self.stopped())?;
        Ok(Some(commit))
    }

    /// Builds the table of a registered view anew. False if there is no such view.
    pub fn rebuild_view(&self, id: &str) -> bool {
        let mut views = self.shared.views.lock();
        let Some(view) = views.get_mut(id) else { return false };
        let Some(wanted) = view.wanted.clone() else { return true };
        view.state = ViewState::Building { done: 0, in_all: 0 };
        let version = view.version;
        drop(views);
        self.build(Reason::Registered { id: id.to_owned(), version }, wanted);
        true
    }

    /// The registered views, by id.
    pub fn views(&self) -> Vec<ViewStatus> {
        let tables = self.shared.tables.load();
        let status = |(id, view): (&String, &Registered)| {
            let live = tables.views().iter().find(|v| v.info.schema.name == view.table);
            let (failures, last_failure) = live.map(|v| v.failures.seen()).unwrap_or_default();
            ViewStatus {
                id: id.clone(),
                table: view.table.clone(),
                version: view.version,
                state: view.state.clone(),
                failures,
                last_failure,
            }
        };
        self.shared.views.lock().iter().map(status).collect()
    }

    /// A registered view.
    pub fn view(&self, id: &str) -> Option<ViewStatus> {
        self.views().into_iter().find(|v| v.id == id)
    }

    /// A registered ViewDefinition as it was sent.
    pub fn view_definition(&self, id: &str) -> Result<Option<String>, ReadError> {
        Ok(self.document(KIND, id)?.map(|d| d.json))
    }

    /// A reader has found a file of the live tables damaged: its table is built anew.
    pub fn report(&self, damaged: &Damaged) {
        if let Some(table) = self.snapshot().table_of_file(&damaged.file) {
            self.report_damage(table);
        }
    }

    /// A reader has found a file of this table damaged: it is built anew from the journal, and then takes the damaged one's place.
    pub fn report_damage(&self, table: &str) {
        let Some(id) = self.table_of(table) else { return };
        let tables = self.shared.tables.load();
        if let Some(view) = tables.views().iter().find(|v| v.info.id == id)
            && self.shared.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
        {
            let wanted = Wanted {
                schema: view.info.schema.clone(),
                fingerprint: view.info.fingerprint.clone(),
                source: view.source.clone(),
                id: view.id.clone(),
            };
            self.build(Reason::Anew(id), wanted);
        }
    }

    fn table_of(&self, name: &str) -> Option<TableId> {
        self.shared.tables.load().views().iter().find(|v| v.info.schema.name == name).map(|v| v.info.id)
    }

    /// Builds the tables that were registered and not found on disk when the database was opened.
    pub(super) fn build_what_lacks(&self) {
        let lacking = |(id, view): (&String, &Registered)| {
            let building = matches!(view.state, ViewState::Building { .. });
            Some((id.clone(), view.version, view.wanted.clone().filter(|_| building)?))
        };
        let lacking: Vec<_> = self.shared.views.lock().iter().filter_map(lacking).collect();
        for (id, version, wanted) in lacking {
            self.build(Reason::Registered { id, version }, wanted);
        }
    }

    /// Builds a table on a thread of its own, one after the other.
    fn build(&self, reason: Reason, wanted: Wanted) {
        let (shared, queue) = (self.shared.clone(), self.queue.clone());
        let thread = std::thread::Builder::new().name("view-builder".to_owned()).spawn(move || {
            let _one_at_a_time = shared.building.lock().unwrap_or_else(PoisonError::into_inner);
            let current = |views: &mut BTreeMap<String, Registered>, state: Option<ViewState>| {
                let Reason::Registered { id, version } = &reason else { return true };
                let Some(registered) = views.get_mut(id).filter(|v| v.version == *version) else { return false };
                if let Some(state) = state {
                    registered.state = state;
                }
                true
            };
            let builder = Builder {
                shared: &shared,
                queue: &queue,
                wanted: &|| !shared.closing.load(Ordering::Relaxed) && current(&mut shared.views.lock(), None),
                progress: &|done, in_all| {
                    current(&mut shared.views.lock(), Some(ViewState::Building { done, in_all }));
                },
            };
            let forget = || {
                if let Reason::Anew(table) = &reason {
                    shared.damaged.lock().unwrap_or_else(PoisonError::into_inner).remove(table);
                }
            };
            let table = wanted.schema.name.clone();
            let state = match builder.build(wanted, reason.clone()) {
                Ok(since) => ViewState::Live { since },
                Err(BuildError::GivenUp) => return forget(),
                Err(error) => {
                    tracing::error!(table, %error, "the table of a view was not built");
                    ViewState::Failed { reason: error.to_string() }
                }
            };
            forget();
            current(&mut shared.views.lock(), Some(state));
        });
        if let Err(error) = thread {
            tracing::error!(%error, "no thread to build the table of a view; it is built at the next start");
        }
    }
}
