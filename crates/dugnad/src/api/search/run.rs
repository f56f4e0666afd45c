//! A search, run on the record: from what was asked to a Bundle.

use super::asked::{Asked, Place, Understood};
use super::bundle::{Entries, Link, Mode};
use super::engine::{Engine, Found};
use super::link::{self, Owner, Pin};
use crate::api::auth::Hospital;
use crate::api::work::{Access, Read};
use crate::api::{ApiError, App, answer, interaction};
use crate::limits::{DEFAULT_SEARCH_COUNT, MAX_ANSWER_BYTES, PAGE_LINK_VALID};
use axum::http::StatusCode;
use dugnad_kernel::fhir::issue::{Issue, IssueType};
use dugnad_kernel::fhir::subset::Subset;
use dugnad_kernel::ids::{Commit, PatientOrdinal};
use dugnad_kernel::limits::{MAX_SEARCH_INCLUDED, SEARCH_TIME};
use dugnad_kernel::live::Snapshot;
use dugnad_kernel::search::execute::SearchError;
use dugnad_kernel::search::parse::{Environment, Query};
use dugnad_kernel::search::query::{Criterion, Include, Search, Total};
use std::collections::BTreeSet;
use std::time::Instant;

/// Who searches, and how it is told.
pub struct Searcher<'s> {
    /// The hospital.
    pub hospital: &'s Hospital,
    /// The address of `/fhir` as the client knows it.
    pub base: &'s str,
    /// `GET` or `POST`, for the record.
    pub method: &'static str,
    /// The commit to search at, where that is not the newest: inside a transaction.
    pub commit: Option<Commit>,
}

/// A page that was found.
pub struct Page {
    /// As of which commit.
    pub commit: Commit,
    /// The Bundle's JSON.
    pub body: Vec<u8>,
}

/// Runs a search. Blocks.
pub fn run(app: &App, searcher: &Searcher<'_>, asked: &Asked) -> Result<Page, ApiError> {
    let understood = asked.understand(&Environment { now: app.now(), base: searcher.base, known: &app.database().search_parameters() })?;
    let path = asked.place.path();
    let owner = Owner { who: &searcher.hospital.who, timeline: app.database().timeline(), path: &path, parameters: &asked.parameters };
    let pin = asked.page.as_deref().map(|page| link::open(app.page_key(), &owner, page, app.now())).transpose()?;
    let access = Access {
        who: searcher.hospital.who.clone(),
        interface: "fhir",
        request: asked.summary(searcher.method),
        tables: types_asked(&understood).into_iter().map(str::to_owned).collect(),
    };
    let snapshot = match pin.as_ref().map(|pin| pin.commit).or(searcher.commit) {
        None => app.database().snapshot(),
        Some(commit) => app.database().snapshot_at(commit)?.ok_or(SearchError::NoCommit(commit))?,
    };
    let running = Running { app, searcher, asked, understood: &understood, owner: &owner, snapshot };
    app.read_about_at(&access, Some(running.snapshot.commit()), |commit| match running.page(pin, commit) {
        Ok(Read { found, rows, patients }) => Ok(Read { found: Ok(found), rows, patients }),
        // Absence is an answer, not a failure of the access.
        Err(error) if matches!(error.status, StatusCode::NOT_FOUND | StatusCode::GONE) => {
            Ok(Read { found: Err(error), rows: 0, patients: None })
        }
        Err(error) => Err(error),
    })?
}

struct Running<'r> {
    app: &'r App,
    searcher: &'r Searcher<'r>,
    asked: &'r Asked,
    understood: &'r Understood,
    owner: &'r Owner<'r>,
    snapshot: Snapshot,
}

impl Running<'_> {
    fn page(&self, pin: Option<Pin>, commit: Commit) -> Result<Read<Page>, ApiError> {
        let start = pin.unwrap_or(Pin { commit, total: None, kind: 0, cursor: Vec::new() });
        let first = self.asked.page.is_none();
        let mut filling =
            Filling { entries: Entries::new(self.searcher.base), total: start.total, said: Vec::new(), patients: BTreeSet::new() };
        if first {
            filling.said.clone_from(&self.understood.ignored);
        }
        // A hospital that has never written has nothing to find.
        let holder = self.app.database().holder(&self.searcher.hospital.holder);
        if let Place::Everything { patient } = &self.asked.place {
            let holder = holder.as_ref().ok_or_else(interaction::absent)?.id;
            let current = self.app.database().read_at(holder, "Patient", patient, commit)?.ok_or_else(interaction::absent)?;
            current.json.ok_or_else(answer::gone)?;
        }
        let next = match holder {
            Some(holder) => {
                let until = Instant::now() + SEARCH_TIME;
                self.fill(&Engine { app: self.app, holder: holder.id, snapshot: &self.snapshot, until }, &start, &mut filling)?
            }
            None => None,
        };
        let Filling { mut entries, mut total, said, patients } = filling;
        if first && next.is_none() {
            total = total.or(Some(entries.matches() as u64)); // what is all on one page has been counted
        }
        let rows = entries.resources() as u64;
        if !said.is_empty() {
            entries.add_outcome(&said);
        }
        let next = next.map(|(kind, cursor)| Pin { commit, total, kind, cursor });
        let page = Page { commit, body: entries.finish(total, &self.links(&start, next.as_ref())) };
        Ok(Read { found: page, rows, patients: Some(patients.into_iter().collect()) })
    }

    fn wants_total(&self) -> bool {
        self.understood.queries.iter().any(|query| query.search.total == Total::Accurate)
    }

    fn count_only(&self) -> bool {
        self.understood.queries.iter().any(|query| query.count_only)
    }

    /// Fills a page; where the next one begins, if there may be one.
    fn fill(&self, engine: &Engine<'_>, start: &Pin, filling: &mut Filling) -> Result<Option<(u16, Vec<u8>)>, ApiError> {
        let queries = &self.understood.queries;
        if self.count_only() || queries.len() > 1 && self.wants_total() && start.total.is_none() {
            filling.total = Some(queries.iter().map(|query| engine.count(&query.search)).sum::<Result<u64, ApiError>>()?);
        }
        if self.count_only() {
            return Ok(None);
        }
        let mut left = queries.first().and_then(|q| q.search.count).unwrap_or(DEFAULT_SEARCH_COUNT);
        let (mut kind, mut cursor) = (start.kind, start.cursor.clone());
        while let Some(query) = queries.get(usize::from(kind)) {
            if left == 0 {
                return Ok(Some((kind, cursor)));
            }
            let counted = filling.total.is_some() || query.search.total == Total::None;
            let total = if counted { Total::None } else { Total::Accurate };
            let mut found = engine.page(&Search { total, ..query.search.clone() }, &cursor, left)?;
            if let Some(along) = &self.understood.along {
                found.included.resources.retain(|resource| along.contains(resource.resource_type));
            }
            filling.total = filling.total.or(found.total);
            left = left.saturating_sub(found.matches.len());
            filling.add(query, &found)?;
            filling.patients.extend(engine.patients(&found)?);
            match found.next {
                Some(next) => return Ok(Some((kind, next))),
                None => (kind, cursor) = (kind + 1, Vec::new()),
            }
        }
        Ok(None)
    }

    fn links(&self, start: &Pin, next: Option<&Pin>) -> Vec<Link> {
        let sealed = |pin: &Pin| link::seal(self.app.page_key(), self.owner, pin, self.app.now() + PAGE_LINK_VALID);
        let own = match &self.asked.page {
            Some(page) => self.address(&self.asked.parameters, Some(page)),
            None => self.address(&self.understood.used, None),
        };
        let mut links = vec![("self", own)];
        if next.is_some() || self.asked.page.is_some() {
            let first = Pin { commit: start.commit, total: start.total.or(next.and_then(|n| n.total)), kind: 0, cursor: Vec::new() };
            links.push(("first", self.address(&self.asked.parameters, Some(&sealed(&first)))));
        }
        links.extend(next.map(|next| ("next", self.address(&self.asked.parameters, Some(&sealed(next))))));
        links
    }

    /// The address of a page. It is one of a GET, also where the search came as a form (FHIR R4, section 3.1.1.5.1).
    fn address(&self, parameters: &[(String, String)], page: Option<&str>) -> String {
        link::address(self.searcher.base, self.owner.path, parameters, page)
    }
}

/// A page under construction.
struct Filling {
    entries: Entries,
    total: Option<u64>,
    said: Vec<Issue>,
    /// Whom the page is about.
    patients: BTreeSet<PatientOrdinal>,
}

impl Filling {
    fn add(&mut self, query: &Query, found: &Found) -> Result<(), ApiError> {
        // `_elements` is about the matches only (FHIR R4, section 3.1.1.5.9).
        let of_included = query.subset.as_ref().filter(|subset| !matches!(subset, Subset::Elements(_)));
        let matches = found.matches.iter().map(|resource| (Mode::Match, resource, query.subset.as_ref()));
        let included = found.included.resources.iter().map(|resource| (Mode::Include, resource, of_included));
        for (mode, resource, subset) in matches.chain(included) {
            self.entries.add(mode, resource.resource_type, &resource.id, &resource.json, subset)?;
            if self.entries.bytes() > MAX_ANSWER_BYTES {
                let what =
                    format!("a page of so many resources has more than {MAX_ANSWER_BYTES} bytes; ask for smaller ones with `_count`");
                return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, IssueType::TooCostly, what).at("http._count"));
            }
        }
        if found.included.more {
            let what = format!(
                "more than {MAX_SEARCH_INCLUDED} resources would come along with this page, and are not all here; ask for smaller pages with `_count`"
            );
            self.said.push(Issue::warning(IssueType::TooCostly, "http._include", what));
        }
        Ok(())
    }
}

/// The resource types that a search is about, named ones only: what may be referred to by a reference to anything is not listed.
fn types_asked(understood: &Understood) -> BTreeSet<&'static str> {
    let mut types = BTreeSet::new();
    for Query { search, .. } in &understood.queries {
        types.insert(search.resource_type);
        search.criteria.iter().for_each(|criterion| add_types(criterion, &mut types));
        for Include { source, target, .. } in &search.include {
            types.insert(source);
            types.extend(*target);
        }
    }
    types
}

fn add_types(criterion: &Criterion, types: &mut BTreeSet<&'static str>) {
    match criterion {
        Criterion::Is { .. } => {}
        Criterion::Chain { of, .. } => {
            for (target, criterion) in of {
                types.insert(target);
                add_types(criterion, types);
            }
        }
        Criterion::Has { resource_type, criterion, .. } => {
            types.insert(resource_type);
            add_types(criterion, types);
        }
        Criterion::Either(of) => of.iter().for_each(|criterion| add_types(criterion, types)),
    }
}
