//! Code systems and value sets of a holder, as a snapshot has them, before those that come with the program.

use super::search::Page;
use super::{Database, Shared};
use crate::fhir::json;
use crate::ids::HolderId;
use crate::live::Snapshot;
use crate::search::execute::SearchError;
use crate::search::parameters;
use crate::search::query::{Criterion, Hierarchy, Operand, Search, System, Test, Token};
use crate::terminology::builtin::builtin;
use crate::terminology::{CodeSystem, Source, ValueSet, canonical, written};
use bumpalo::Bump;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

/// The definitions that a holder can use.
pub(super) struct Definitions<'d> {
    shared: &'d Shared,
    snapshot: &'d Snapshot,
    /// `None`: a hospital that has never written has those of the program only.
    holder: Option<HolderId>,
    until: Option<Instant>,
    /// Why something could not be looked up, which nobody must take for absence.
    failure: RefCell<Option<SearchError>>,
}

impl<'d> Definitions<'d> {
    pub(super) fn new(shared: &'d Shared, snapshot: &'d Snapshot, holder: Option<HolderId>, until: Option<Instant>) -> Self {
        Self { shared, snapshot, holder, until, failure: RefCell::new(None) }
    }

    /// What could not be looked up.
    pub(super) fn failure(self) -> Result<(), SearchError> {
        self.failure.into_inner().map_or(Ok(()), Err)
    }

    /// What the newest resource of a type with that canonical URL, or of the name `Type/id`, is made to.
    fn find<T>(&self, resource_type: &'static str, name: &str, made: fn(json::Value<'_>) -> T) -> Option<T> {
        let found = self.look(resource_type, name, made);
        found.unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            None
        })
    }

    fn look<T>(&self, resource_type: &'static str, name: &str, made: fn(json::Value<'_>) -> T) -> Result<Option<T>, SearchError> {
        let Some(holder) = self.holder else { return Ok(None) };
        let (url, version) = canonical(name);
        let id = name.strip_prefix(resource_type).and_then(|rest| rest.strip_prefix('/'));
        let any = System::Any;
        let (code, operand) = match id {
            Some(id) => ("_id", Operand::Token(Token { system: any, code: Some(id.to_owned()) })),
            None => ("url", Operand::Uri { uri: url.to_owned(), how: Hierarchy::Exact }),
        };
        let Some(parameter) = parameters::parameter(resource_type, code) else { return Ok(None) };
        let mut criteria = vec![Criterion::Is { parameter, test: Test::Any(vec![operand]) }];
        if let (Some(version), Some(parameter)) = (version, parameters::parameter(resource_type, "version")) {
            let token = Token { system: System::Any, code: Some(version.to_owned()) };
            criteria.push(Criterion::Is { parameter, test: Test::Any(vec![Operand::Token(token)]) });
        }
        let search = Search { criteria, ..Search::all(resource_type) };
        let found = self.shared.search_with(self.snapshot, holder, &search, Page { count: 1, ..Page::default() }, self.until, builtin())?;
        let versions = self.shared.found(holder, resource_type, &found.hits)?;
        let Some(text) = versions.into_iter().flatten().find_map(|version| version.json) else { return Ok(None) };
        let arena = Bump::new();
        Ok(json::parse(&text, &arena).ok().map(made)) // it was parsed when it was written
    }
}

impl Source for Definitions<'_> {
    fn code_system(&self, url: &str) -> Option<Arc<CodeSystem>> {
        let own = self.find("CodeSystem", url, written::code_system).map(Arc::new);
        own.or_else(|| builtin().code_system(url))
    }

    fn value_set(&self, url: &str) -> Option<Arc<ValueSet>> {
        let own = self.find("ValueSet", url, written::value_set).map(Arc::new);
        own.or_else(|| builtin().value_set(url))
    }
}

impl Database {
    /// Shows the definitions that a holder can use, its own first. What cannot be read fails, whatever was made of its absence.
    pub fn with_definitions<T>(
        &self,
        snapshot: &Snapshot,
        holder: Option<HolderId>,
        until: Option<Instant>,
        show: impl FnOnce(&dyn Source) -> T,
    ) -> Result<T, SearchError> {
        let definitions = Definitions::new(&self.shared, snapshot, holder, until);
        let shown = show(&definitions);
        definitions.failure().map(|()| shown)
    }
}
