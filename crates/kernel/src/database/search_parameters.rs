//! The SearchParameters that the centre has added: documents in the journal. The table of search values of each of their types is
//! built anew in the background, with their values, and switched on at one commit; from then on searches know them.
//!
//! Each version of such a document has a slot of its own for ever: its place among all that were ever written, deletions counted. So
//! values are found under the same number however lists change, and a restart finds the numbers that the tables were written with.

use super::build::{BuildError, Builder};
use super::commit::Reason;
use super::tables::{Wanted, search_table};
use super::{Database, ReadError, Shared, WriteError};
use crate::ids::{Commit, HolderId};
use crate::journal::{JournalError, Lookup};
use crate::limits::{MAX_ADDED_PARAMETERS, MAX_PARAMETER_CHANGES};
use crate::search::added::{Definition, Known, Wrong, parameters};
use crate::search::parameters::{TypeParameters, of_type};
use crate::search::values;
use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The kind of the documents.
const KIND: &str = "SearchParameter";

/// What has become of an added parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterState {
    /// The tables of its types are being built anew.
    Building,
    /// Searches know it.
    Live,
    /// They do not, and will not before a restart.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Why a SearchParameter was not added. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ParameterRefused {
    /// It cannot be a search parameter here.
    #[error(transparent)]
    Definition(#[from] Wrong),
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

fn taken(what: String) -> ParameterRefused {
    ParameterRefused::Definition(Wrong { at: "SearchParameter.code".to_owned(), what })
}

#[derive(Clone, Debug)]
struct Registered {
    slot: u16,
    definition: Definition,
}

#[derive(Default)]
struct Registry {
    by_id: BTreeMap<String, Registered>,
    /// How many versions were ever written.
    versions: usize,
    /// Types whose table could not be built anew, and why.
    failed: HashMap<&'static str, String>,
}

impl Registry {
    /// What was added to a type, in order of slots.
    fn of_type(&self, base: &str) -> Vec<(u16, &Definition)> {
        let of_base = self.by_id.values().filter(|r| r.definition.bases.contains(&base));
        let mut all: Vec<(u16, &Definition)> = of_base.map(|r| (r.slot, &r.definition)).collect();
        all.sort_unstable_by_key(|(slot, _)| *slot);
        all
    }

    /// The table that a type is to have, and the parameters in it.
    fn wanted(&self, base: &'static str) -> Option<(Wanted, &'static TypeParameters)> {
        let parameters = parameters(base, &self.of_type(base)).or_else(|| of_type(base))?;
        Some((Wanted::search(base, parameters, self.fingerprint(base)), parameters))
    }

    /// What its values follow from.
    fn fingerprint(&self, base: &str) -> String {
        let added = self.of_type(base);
        let mut fingerprint = values::fingerprint();
        if !added.is_empty() {
            let mut hash = Sha256::new_with_prefix(&fingerprint);
            added.iter().for_each(|(slot, definition)| hash.update(format!("{slot} {}\n", definition.fingerprint(base))));
            fingerprint = hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect();
        }
        fingerprint
    }
}

/// The added parameters of a database.
#[derive(Default)]
pub(super) struct SearchParameters {
    registry: Mutex<Registry>,
    known: ArcSwap<Known>,
}

impl SearchParameters {
    /// Reads those that are there; with the tables that their types are to have.
    pub(super) fn read(lookup: &Lookup<'_>) -> Result<(Self, Vec<Wanted>), JournalError> {
        let Some(kind) = lookup.kind(KIND)? else { return Ok((Self::default(), Vec::new())) };
        let (mut sequences, mut current) = (Vec::new(), Vec::new());
        for id in lookup.documents(kind)? {
            let Some(head) = lookup.head(HolderId::CENTRE, kind, &id)? else { continue };
            let mut sequence = head.sequence;
            while let Some(row) = if sequence == 0 { None } else { lookup.version(sequence)? } {
                sequences.push(sequence);
                if sequence == head.sequence
                    && let Some(json) = row.json
                {
                    current.push((id.clone(), sequence, json));
                }
                sequence = row.previous;
            }
        }
        sequences.sort_unstable();
        let mut registry = Registry { versions: sequences.len(), ..Registry::default() };
        for (id, sequence, json) in current {
            let slot = sequences.binary_search(&sequence).ok().and_then(|at| u16::try_from(at).ok());
            match (slot, Definition::parse(&String::from_utf8_lossy(&json))) {
                (Some(slot), Ok(definition)) => drop(registry.by_id.insert(id, Registered { slot, definition })),
                (_, Err(error)) => tracing::error!(id, %error, "an added search parameter cannot be used"),
                (None, _) => tracing::error!(id, "an added search parameter has no number"),
            }
        }
        let types: BTreeSet<&'static str> = registry.by_id.values().flat_map(|r| r.definition.bases.iter().copied()).collect();
        let (mut known, mut wanted) = (Known::default(), Vec::new());
        for base in types {
            if let Some((table, parameters)) = registry.wanted(base) {
                known = known.with(base, parameters);
                wanted.push(table);
            }
        }
        Ok((Self { registry: Mutex::new(registry), known: ArcSwap::from_pointee(known) }, wanted))
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The parameters that searches know now.
    pub(super) fn known_parameters(&self) -> Arc<Known> {
        self.parameters.known.load_full()
    }
}

impl Database {
    /// The parameters that searches know now.
    pub fn search_parameters(&self) -> Arc<Known> {
        self.shared.known_parameters()
    }

    /// Adds a SearchParameter under `id`, or a new version of it; searches know it when the tables of its types have been built anew.
    /// Answers the commit that holds it.
    pub fn add_search_parameter(&self, id: &str, json: &str) -> Result<Commit, ParameterRefused> {
        let definition = Definition::parse(json)?;
        // Held until the document is written, so that no other takes the name or the slot in between.
        let mut registry = self.shared.parameters.lock();
        let others = || registry.by_id.iter().filter(|(other, _)| *other != id);
        let clash = others()
            .find(|(_, r)| r.definition.code == definition.code && r.definition.bases.iter().any(|base| definition.bases.contains(base)));
        if let Some((other, _)) = clash {
            return Err(taken(format!("the SearchParameter {other} has this code for one of these types; choose another")));
        }
        if others().count() >= MAX_ADDED_PARAMETERS || registry.versions >= MAX_PARAMETER_CHANGES {
            let what = format!("{MAX_ADDED_PARAMETERS} at once and {MAX_PARAMETER_CHANGES} in all may be added; delete one first");
            return Err(taken(what));
        }
        if let Some(same) = self.document(KIND, id)?.filter(|present| present.json == json) {
            return Ok(same.commit);
        }
        let commit = self.put_document(KIND, id, json)?;
        let slot = u16::try_from(registry.versions).unwrap_or(u16::MAX);
        registry.versions += 1;
        let mut types = definition.bases.clone();
        if let Some(old) = registry.by_id.insert(id.to_owned(), Registered { slot, definition }) {
            types.extend(old.definition.bases);
        }
        drop(registry);
        self.build_search_tables(types);
        Ok(commit)
    }

    /// Takes an added parameter away; searches know it until the tables of its types have been built anew. `None` if there is none.
    pub fn remove_search_parameter(&self, id: &str) -> Result<Option<Commit>, WriteError> {
        let mut registry = self.shared.parameters.lock();
        if !registry.by_id.contains_key(id) {
            return Ok(None);
        }
        let commit = self.write_documents(&[(KIND, id, None)])?;
        registry.versions += 1;
        let types = registry.by_id.remove(id).map(|r| r.definition.bases).unwrap_or_default();
        drop(registry);
        self.build_search_tables(types);
        Ok(Some(commit))
    }

    /// What has become of the added parameters, by id.
    pub fn search_parameter_states(&self) -> Vec<(String, ParameterState)> {
        let known = self.search_parameters();
        let registry = self.shared.parameters.lock();
        let state = |(id, registered): (&String, &Registered)| {
            let Registered { slot, definition } = registered;
            let number = |base: &str| of_type(base).map(|standard| standard.about() + 1 + usize::from(*slot));
            let live = |base: &&str| known.parameter(base, &definition.code).map(|p| usize::from(p.number)) == number(base);
            let failed = definition.bases.iter().find_map(|base| registry.failed.get(base));
            let state = match failed {
                _ if definition.bases.iter().all(live) => ParameterState::Live,
                Some(reason) => ParameterState::Failed { reason: reason.clone() },
                None => ParameterState::Building,
            };
            (id.clone(), state)
        };
        registry.by_id.iter().map(state).collect()
    }

    /// Builds the tables of search values of these types anew, on a thread of its own.
    fn build_search_tables(&self, types: Vec<&'static str>) {
        let (shared, queue) = (Arc::clone(&self.shared), self.queue.clone());
        let build = move || {
            let _one_at_a_time = shared.building.lock().unwrap_or_else(PoisonError::into_inner);
            for base in types {
                let (name, tables) = (search_table(base), shared.tables.load());
                let Some(present) = tables.views().iter().find(|view| view.info.schema.name == name) else { continue };
                let registry = shared.parameters.lock();
                if present.info.fingerprint == registry.fingerprint(base) {
                    continue; // whoever was before has built it with this change too
                }
                let Some((wanted, parameters)) = registry.wanted(base) else { continue };
                drop(registry);
                let open = || !shared.closing.load(Ordering::Relaxed);
                let builder = Builder { shared: &shared, queue: &queue, wanted: &open, progress: &|_, _| {} };
                match builder.build(wanted, Reason::Anew(present.info.id)) {
                    Ok(_) => {
                        shared.parameters.known.rcu(|known| known.with(base, parameters));
                        shared.parameters.lock().failed.remove(base);
                    }
                    Err(BuildError::GivenUp) => return,
                    Err(error) => {
                        tracing::error!(base, %error, "the table of search values was not built anew");
                        shared.parameters.lock().failed.insert(base, error.to_string());
                    }
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("parameter-builder".to_owned()).spawn(build) {
            tracing::error!(%error, "no thread to build the tables of search values; they are built at the next start");
        }
    }
}
