//! From a request to what the committer writes: parse, validate, resolve, evaluate the views.
//!
//! Runs outside the commit lock, on one read transaction of the journal, and records whatever it read there. The committer
//! compares that with what has been committed since; if anything differs, the request is prepared again.

use super::erased::{About, ErasedOf};
use super::opt_out::{OPT_OUT_ID, opt_out, opt_out_id, refusal};
use super::persons::PersonKeys;
use super::references::References;
use super::stamp::{Stamped, same_but_stamp, stamped, with_id};
use super::tables::{PreparedRow, Tables};
use super::write::{EntryOutcome, Interaction, WriteError, WriteRequest};
use super::{Page, Shared, timestamp};
use crate::access::{Act, Scopes};
use crate::fhir::bundle::{self, BundleKind, Entry, Interaction as Request, Target};
use crate::fhir::criteria::{self, Criteria};
use crate::fhir::definitions;
use crate::fhir::issue::{Issue, IssueType};
use crate::fhir::json::{self, Value};
use crate::fhir::patch::{Format, Patch};
use crate::fhir::validate::validate;
use crate::ids::{Commit, HolderId};
use crate::journal::{Head, JournalError, Lookup, Method};
use crate::limits::{MAX_BODY_BYTES, MAX_CONDITION_MATCHES, MAX_ISSUES, SEARCH_TIME};
use crate::search::execute::SearchError;
use crate::search::parameters::Known;
use crate::search::query::Search;
use crate::subscription;
use bumpalo::Bump;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// What the committer writes, and what must still be true when it does.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) holder: HolderId,
    /// The [`Tables::generation`] whose views gave the rows.
    pub(super) generation: u64,
    pub(super) idempotency_key: Option<String>,
    pub(super) operations: Vec<Operation>,
    pub(super) matched: Vec<Matched>,
    /// What entries that change nothing have found.
    pub(super) unchanged: Vec<Found>,
    pub(super) entries: Vec<EntryOutcome>,
    /// How many erasures were known.
    pub(super) erasures: usize,
}

/// What was current when an entry found that it has nothing to change: it must still be when the others are written.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) seen: Option<Head>,
}

impl Prepared {
    /// What one entry has only found, another may write: the version that is current is then the one it writes.
    fn current_versions(&mut self) {
        let name = |o: &Operation| ((o.kind.clone(), o.id.clone()), o.seen.map_or(1, |h| h.version + 1));
        if self.entries.len() > self.operations.len() {
            let written: HashMap<(String, String), u64> = self.operations.iter().map(name).collect();
            for entry in &mut self.entries {
                let version = written.get(&(entry.resource_type.clone(), entry.id.clone()));
                entry.version = version.copied().unwrap_or(entry.version);
            }
        }
    }
}

/// One version to be written.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kind: String,
    pub(super) id: String,
    /// What was current; the new version follows it.
    pub(super) seen: Option<Head>,
    /// False for an id that has just been drawn: nothing can be there.
    pub(super) looked_up: bool,
    /// `None`: a deletion.
    pub(super) json: Option<Stamped>,
    pub(super) method: Method,
    pub(super) rows: Vec<PreparedRow>,
    pub(super) identifiers: Vec<String>,
    /// Kept out of the built-in views by an unknown `modifierExtension`.
    pub(super) modified: bool,
    /// Of a Patient: who it says it is.
    pub(super) person: Option<PersonKeys>,
}

/// A criterion, and the ids that matched it.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) criteria: Criteria,
    pub(super) ids: Vec<String>,
    /// What was written up to this commit has been looked at.
    pub(super) at: Commit,
}

/// The resources that match criteria.
pub(super) struct Matches {
    pub(super) found: Vec<(String, Head)>,
    /// As in [`Matched`].
    at: Commit,
}

impl Matches {
    pub(super) fn of(&self, criteria: &Criteria) -> Matched {
        Matched { criteria: criteria.clone(), ids: self.found.iter().map(|(id, _)| id.clone()).collect(), at: self.at }
    }
}

/// Where random ids come from.
pub(super) type NewId<'n> = &'n dyn Fn() -> String;

/// What is needed to prepare: the journal's state, the views, and a source of ids.
pub(super) struct Preparer<'p> {
    pub(super) lookup: &'p Lookup<'p>,
    pub(super) tables: &'p Tables,
    pub(super) erased: &'p ErasedOf,
    pub(super) new_id: NewId<'p>,
    /// Where is searched by what is neither an id nor an identifier.
    pub(super) shared: &'p Shared,
    /// What the caller may touch, where that is less than all.
    pub(super) scopes: Option<&'p Scopes>,
}

/// Why a request could not be prepared.
#[derive(Debug)]
pub(super) enum Unprepared {
    /// The caller's fault.
    Refused(WriteError),
    /// Ours.
    Journal(JournalError),
}

impl From<JournalError> for Unprepared {
    fn from(error: JournalError) -> Self {
        Unprepared::Journal(error)
    }
}

pub(super) fn refused(status: u16, issue: Issue) -> Unprepared {
    Unprepared::Refused(WriteError::Refused { status, issues: vec![issue] })
}

/// What will be at an entry's target once the transaction is done.
pub(super) struct Planned<'a> {
    at: String,
    pub(super) resource_type: &'a str,
    pub(super) id: String,
    seen: Option<Head>,
    /// Whether anybody sees a resource there: one that is hidden since its person was erased is there for nobody.
    there: bool,
    looked_up: bool,
    pub(super) action: Action<'a>,
}

pub(super) enum Action<'a> {
    Put(Value<'a>),
    Delete,
    /// A conditional create that found its match, a deletion of what is not there.
    Nothing,
}

/// Why a resource is not taken: it is not valid, or it is a Subscription that nobody could be told by.
fn wrong_with(resource: &Value<'_>) -> Vec<Issue> {
    let problems = validate(resource);
    if problems.is_empty() { subscription::check(resource) } else { problems }
}

impl Preparer<'_> {
    /// Prepares a request.
    pub(super) fn prepare(&self, request: &WriteRequest) -> Result<Prepared, Unprepared> {
        let arena = Bump::new();
        let (entries, prefixes) = read_entries(&request.interaction, &self.shared.known_parameters(), &arena)?;
        self.admit_types(&entries, &prefixes)?;
        let mut problems = Vec::new();
        for (entry, at) in entries.iter().zip(&prefixes) {
            if let Some(resource) = &entry.resource {
                problems.extend(wrong_with(resource).into_iter().map(|i| i.within(at)));
            }
            if problems.len() >= MAX_ISSUES {
                break;
            }
        }
        if !problems.is_empty() {
            problems.truncate(MAX_ISSUES);
            return Err(Unprepared::Refused(WriteError::Refused { status: 422, issues: problems }));
        }
        let mut matched = Vec::new();
        let planned = self.plan(request.holder, &entries, prefixes, &mut matched, &arena)?;
        let own = |p: &&Planned<'_>| p.resource_type == "Consent" && p.id.starts_with(OPT_OUT_ID) && !matches!(p.action, Action::Nothing);
        if let Some(plan) = planned.iter().find(own).filter(|_| !matches!(request.interaction, Interaction::OptOut { .. })) {
            return Err(refused(409, refusal(&plan.at)));
        }
        self.carry_out(request, &entries, planned, matched, &arena)
    }

    /// Decides which resource each entry is about.
    fn plan<'a>(
        &self,
        holder: HolderId,
        entries: &[Entry<'a>],
        prefixes: Vec<String>,
        matched: &mut Vec<Matched>,
        arena: &'a Bump,
    ) -> Result<Vec<Planned<'a>>, Unprepared> {
        // Deletions first, as FHIR says (R4, 3.1.0.11.2): a conditional create does not find what its transaction deletes.
        let mut planned: Vec<Option<Planned<'a>>> = Vec::with_capacity(entries.len());
        for (entry, at) in entries.iter().zip(&prefixes) {
            let Request::Delete { target, if_match } = &entry.interaction else {
                planned.push(None);
                continue;
            };
            let (resource_type, id, seen) = self.target(holder, target, None, at, matched)?;
            let there = self.is_there(resource_type, &id, seen)?;
            self.admit_current(Act::Delete, resource_type, seen.filter(|_| there), at)?;
            check_if_match(*if_match, seen.filter(|_| there), at)?;
            let action = if there { Action::Delete } else { Action::Nothing };
            planned.push(Some(Planned { at: at.clone(), resource_type, id, seen, there, looked_up: true, action }));
        }
        #[expect(clippy::mutable_key_type, reason = "criteria are the same if their text is")]
        let mut created: HashMap<&Criteria, String> = HashMap::new();
        for (n, (entry, at)) in entries.iter().zip(prefixes).enumerate() {
            let put = |resource: Option<Value<'a>>| resource.map_or(Action::Nothing, Action::Put);
            let new = |at, resource_type, id, action| Planned { at, resource_type, id, seen: None, there: false, looked_up: false, action };
            let next = match &entry.interaction {
                Request::Delete { .. } => continue,
                Request::Create { resource_type, if_none_exist: None } => new(at, *resource_type, (self.new_id)(), put(entry.resource)),
                Request::Create { resource_type, if_none_exist: Some(criteria) } => {
                    if let Some(id) = created.get(criteria) {
                        new(at, *resource_type, id.clone(), Action::Nothing)
                    } else {
                        let deletes = |p: &Planned<'_>, id: &str| {
                            matches!(p.action, Action::Delete) && p.resource_type == *resource_type && p.id == id
                        };
                        let deleted = |id: &str| planned.iter().flatten().any(|p| deletes(p, id));
                        match self.single_match(holder, criteria, &at, matched, &deleted)? {
                            Some((id, head)) => {
                                let (seen, action) = (Some(head), Action::Nothing);
                                Planned { at, resource_type, id, seen, there: true, looked_up: true, action }
                            }
                            None => {
                                let id = (self.new_id)();
                                created.insert(criteria, id.clone());
                                new(at, *resource_type, id, put(entry.resource))
                            }
                        }
                    }
                }
                Request::Update { target, if_match } => {
                    let (resource_type, id, seen) = self.target(holder, target, entry.resource, &at, matched)?;
                    let there = self.is_there(resource_type, &id, seen)?;
                    self.admit_current(Act::Update, resource_type, seen.filter(|_| there), &at)?;
                    check_if_match(*if_match, seen.filter(|_| there), &at)?;
                    Planned { at, resource_type, id, seen, there, looked_up: true, action: put(entry.resource) }
                }
                Request::Patch { target, if_match, patch } => {
                    let (resource_type, id, seen) = self.target(holder, target, None, &at, matched)?;
                    let there = self.is_there(resource_type, &id, seen)?;
                    let Some(head) = seen.filter(|_| there) else {
                        let what = "there is no such resource to patch, or it was deleted; PUT makes one";
                        return Err(refused(404, Issue::error(IssueType::NotFound, at, what)));
                    };
                    self.admit_current(Act::Update, resource_type, seen, &at)?;
                    check_if_match(*if_match, seen, &at)?;
                    let action = Action::Put(self.patched(resource_type, &id, head, patch, &at, arena)?);
                    Planned { at, resource_type, id, seen, there: true, looked_up: true, action }
                }
                Request::Refused(issues) => {
                    return Err(Unprepared::Refused(WriteError::Refused { status: 400, issues: issues.clone() }));
                }
                Request::Read { .. } => new(at, "", String::new(), Action::Nothing),
            };
            if let Some(place) = planned.get_mut(n) {
                *place = Some(next);
            }
        }
        let planned: Vec<Planned<'a>> = planned.into_iter().flatten().collect();
        once_each(entries, &planned)?;
        Ok(planned)
    }

    /// What a patch makes of the current version. It is that which the committer compares: if another has come, this is done again.
    fn patched<'a>(
        &self,
        resource_type: &str,
        id: &str,
        head: Head,
        patch: &Patch<'a>,
        at: &str,
        arena: &'a Bump,
    ) -> Result<Value<'a>, Unprepared> {
        let stored = self.lookup.version(head.sequence)?.and_then(|v| v.json).unwrap_or_default();
        let resource = json::parse(&stored, arena).map_err(|e| JournalError::Inconsistent(format!("a stored resource: {e}")))?;
        let patched = patch.apply(resource, arena).map_err(|issue| {
            let status = match issue.code {
                IssueType::TooCostly => 413,
                IssueType::NotFound | IssueType::Conflict => 409, // RFC 5789, section 2.2
                _ => 422,
            };
            refused(status, if at.starts_with("Bundle.") { issue.within(at) } else { issue })
        })?;
        if patched.str("resourceType") != Some(resource_type) || patched.str("id") != Some(id) {
            let what = "a patch cannot change the type and the id of a resource";
            return Err(refused(422, Issue::error(IssueType::Invalid, at, what)));
        }
        let at = if at.starts_with("Bundle.") { at } else { resource_type };
        let problems: Vec<Issue> = wrong_with(&patched).into_iter().map(|i| i.within(at)).collect();
        let said = |i: Issue| Issue { diagnostics: format!("with the patch, the resource is not valid: {}", i.diagnostics), ..i };
        match problems.is_empty() {
            true => Ok(patched),
            false => Err(Unprepared::Refused(WriteError::Refused { status: 422, issues: problems.into_iter().map(said).collect() })),
        }
    }

    /// Whether anybody sees a resource there.
    fn is_there(&self, resource_type: &str, id: &str, seen: Option<Head>) -> Result<bool, JournalError> {
        let Some(head) = seen.filter(Head::exists) else { return Ok(false) };
        Ok(!self.erased.hides_head(self.lookup, resource_type, id, head.sequence)?)
    }

    fn head(&self, holder: HolderId, resource_type: &str, id: &str) -> Result<Option<Head>, JournalError> {
        let kind = self.lookup.kind(resource_type)?;
        kind.map_or(Ok(None), |kind| self.lookup.head(holder, kind, id))
    }

    fn target<'a>(
        &self,
        holder: HolderId,
        target: &Target<'a>,
        resource: Option<Value<'a>>,
        at: &str,
        matched: &mut Vec<Matched>,
    ) -> Result<(&'a str, String, Option<Head>), Unprepared> {
        match target {
            Target::Id { resource_type, id } => Ok((resource_type, (*id).to_owned(), self.head(holder, resource_type, id)?)),
            Target::Match(criteria) => {
                let resource_type = resource_type_of(criteria, resource);
                let given = resource.and_then(|r| r.str("id"));
                match (self.single_match(holder, criteria, at, matched, &|_| false)?, given) {
                    (Some((id, _)), Some(given)) if id != given => {
                        let what =
                            "the criteria match a resource with another id than the one sent; leave the id out or send the right one";
                        Err(refused(400, Issue::error(IssueType::Invalid, format!("{at}.id"), what)))
                    }
                    (Some((id, head)), _) => Ok((resource_type, id, Some(head))),
                    (None, Some(given)) => Ok((resource_type, given.to_owned(), self.head(holder, resource_type, given)?)),
                    (None, None) => Ok((resource_type, (self.new_id)(), None)),
                }
            }
        }
    }

    /// The resources that match now; one or none is what everybody wants.
    pub(super) fn matches(&self, holder: HolderId, criteria: &Criteria) -> Result<Matches, Unprepared> {
        let published = self.shared.snapshot.load().commit();
        let at = self.lookup.newest()?.map_or(published, |(newest, _)| newest.min(published));
        let mut found = Vec::new();
        if let Some(kind) = self.lookup.kind(&criteria.resource_type)? {
            let candidates = match (&criteria.id, criteria.identifiers.first()) {
                (Some(id), _) => self.lookup.head(holder, kind, id)?.map(|head| (id.clone(), head)).into_iter().collect(),
                (None, Some(identifier)) => self.lookup.with_identifier(holder, kind, &identifier.value)?,
                (None, None) => self.searched(holder, kind, criteria, at)?,
            };
            for (id, head) in candidates {
                if self.is_match(criteria, &id, head)? {
                    found.push((id, head));
                }
            }
        }
        Ok(Matches { found, at })
    }

    /// What a search finds, and what has been written since the commit that it sees: among those are all that match.
    fn searched(&self, holder: HolderId, kind: i64, criteria: &Criteria, at: Commit) -> Result<Vec<(String, Head)>, Unprepared> {
        let Some(definition) = definitions::resource_type(&criteria.resource_type) else { return Ok(Vec::new()) };
        let search = Search { criteria: criteria.others.criteria().to_vec(), ..Search::all(definition.name()) };
        let page = Page { count: MAX_CONDITION_MATCHES, ..Page::default() };
        let until = Instant::now() + SEARCH_TIME;
        let hits = self.shared.search_in(&self.shared.snapshot.load(), holder, &search, page, Some(until)).map_err(unsearched)?.hits;
        let mut candidates = self.lookup.written_after(at, holder, kind)?;
        let known: BTreeSet<String> = candidates.iter().map(|(id, _)| id.clone()).collect();
        for hit in hits.into_iter().filter(|hit| !known.contains(&hit.id)) {
            if let Some(head) = self.lookup.head(holder, kind, &hit.id)? {
                candidates.push((hit.id, head));
            }
        }
        Ok(candidates)
    }

    /// Whether a resource is there and matches.
    fn is_match(&self, criteria: &Criteria, id: &str, head: Head) -> Result<bool, JournalError> {
        if !head.exists() {
            return Ok(false);
        }
        let Some(stored) = self.lookup.version(head.sequence)?.and_then(|v| v.json) else { return Ok(false) };
        let arena = Bump::new();
        let resource = json::parse(&stored, &arena).map_err(|e| JournalError::Inconsistent(format!("a stored resource: {e}")))?;
        Ok(criteria.matches(&resource) && !self.erased.hides_head(self.lookup, &criteria.resource_type, id, head.sequence)?)
    }

    /// The one that matches, but for those that are `deleted` before.
    fn single_match(
        &self,
        holder: HolderId,
        criteria: &Criteria,
        at: &str,
        matched: &mut Vec<Matched>,
        deleted: &dyn Fn(&str) -> bool,
    ) -> Result<Option<(String, Head)>, Unprepared> {
        let matches = self.matches(holder, criteria)?;
        matched.push(matches.of(criteria));
        let mut found = matches.found;
        found.retain(|(id, _)| !deleted(id));
        self.keep_found(&criteria.resource_type, &mut found)?;
        if found.len() > 1 {
            let what = format!("the criteria match {} resources; they must match at most one", found.len());
            return Err(refused(412, Issue::error(IssueType::MultipleMatches, at, what)));
        }
        Ok(found.pop())
    }

    /// Whether a criterion still matches what it matched when the request was prepared. Nothing is searched for: what has been
    /// written since is looked at.
    pub(super) fn still(&self, holder: HolderId, matched: &Matched) -> Result<bool, JournalError> {
        let Matched { criteria, ids, at } = matched;
        let Some(kind) = self.lookup.kind(&criteria.resource_type)? else { return Ok(ids.is_empty()) };
        if criteria.id.is_none() && criteria.identifiers.is_empty() {
            for (id, head) in self.lookup.written_after(*at, holder, kind)? {
                if self.is_match(criteria, &id, head)? != ids.contains(&id) {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        match self.matches(holder, criteria) {
            Ok(now) => Ok(now.found.iter().map(|(id, _)| id).eq(ids.iter())),
            Err(Unprepared::Journal(error)) => Err(error),
            Err(Unprepared::Refused(_)) => Ok(false), // only searches are refused
        }
    }

    /// Rewrites references, writes the JSON and evaluates the views.
    fn carry_out<'a>(
        &self,
        request: &WriteRequest,
        entries: &[Entry<'a>],
        planned: Vec<Planned<'a>>,
        matched: Vec<Matched>,
        arena: &'a Bump,
    ) -> Result<Prepared, Unprepared> {
        let transaction = matches!(request.interaction, Interaction::Transaction { .. });
        let mut urls: HashMap<&str, &'a str> = HashMap::new();
        for (entry, plan) in entries.iter().zip(&planned) {
            if let Some(url) = entry.full_url.filter(|_| !plan.id.is_empty()) {
                urls.insert(url, arena.alloc_str(&format!("{}/{}", plan.resource_type, plan.id)));
            }
        }
        let mut references =
            References { preparer: self, request, transaction, urls, resolved: HashMap::new(), planned: &planned, matched };
        let mut prepared = Prepared {
            holder: request.holder,
            generation: self.tables.generation,
            idempotency_key: request.idempotency_key.clone(),
            operations: Vec::with_capacity(planned.len()),
            matched: Vec::new(),
            unchanged: Vec::new(),
            entries: Vec::with_capacity(planned.len()),
            erasures: self.erased.known(),
        };
        for (entry, plan) in entries.iter().zip(&planned) {
            let (before, exists) = (plan.seen.map_or(0, |h| h.version), plan.there);
            let mut outcome = EntryOutcome {
                status: 200,
                resource_type: plan.resource_type.to_owned(),
                id: plan.id.clone(),
                version: before,
                changed: false,
                since: None,
                issues: Vec::new(),
                read: if let Request::Read { url } = entry.interaction { Some(url.to_owned()) } else { None },
            };
            let operation = match plan.action {
                Action::Nothing => None,
                Action::Delete => {
                    (outcome.status, outcome.version) = (204, before + 1);
                    Some(deletion(plan))
                }
                Action::Put(resource) => {
                    let resource = references.rewrite(resource, &plan.at, arena, &mut outcome.issues)?;
                    self.admit_new(&entry.interaction, &with_id(resource, &plan.id, arena), &plan.at)?;
                    let operation = self.put(plan, method_of(&entry.interaction), resource, arena)?;
                    if operation.is_some() {
                        (outcome.status, outcome.version) = (if exists { 200 } else { 201 }, before + 1);
                    }
                    operation
                }
            };
            if operation.is_none() && plan.looked_up {
                prepared.unchanged.push(Found { kind: plan.resource_type.to_owned(), id: plan.id.clone(), seen: plan.seen });
            }
            outcome.changed = operation.is_some();
            if let Some(head) = plan.seen.filter(|head| !outcome.changed && head.exists()) {
                outcome.since = self.lookup.time_us(head.commit)?.map(timestamp);
            }
            prepared.operations.extend(operation);
            prepared.entries.push(outcome);
        }
        prepared.matched = references.matched;
        prepared.current_versions();
        Ok(prepared)
    }

    /// Nothing is taken about a person who was erased: it would have to be hidden at once.
    fn refuse_erased(&self, plan: &Planned<'_>, json: &[u8]) -> Result<(), Unprepared> {
        if !matches!(self.erased.about(plan.resource_type, &plan.id, Some(json)), About::Erased(_)) {
            return Ok(());
        }
        let what = "it is, or refers to, a Patient who was erased here, about whom nothing more is taken under that id; if the person is \
                    treated again, register a Patient with a new id";
        Err(refused(410, Issue::error(IssueType::Deleted, plan.at.clone(), what)))
    }

    /// The new version of a resource; `None` if it would be the same as the current one.
    fn put<'a>(&self, plan: &Planned<'a>, method: Method, resource: Value<'a>, arena: &'a Bump) -> Result<Option<Operation>, Unprepared> {
        let version = plan.seen.map_or(1, |h| h.version + 1);
        let json = stamped(resource, &plan.id, version);
        self.refuse_erased(plan, &json.json)?;
        if let Some(head) = plan.seen.filter(|_| plan.there) {
            let current = self.lookup.version(head.sequence)?.and_then(|v| v.json).unwrap_or_default();
            let again = stamped(resource, &plan.id, head.version);
            if same_but_stamp(&again, &current) {
                return Ok(None);
            }
        }
        let (rows, modified) = self.tables.rows(plan.resource_type, with_id(resource, &plan.id, arena), arena);
        let identifiers = criteria::identifiers(&resource).into_iter().map(|(_, value)| value.to_owned()).collect();
        Ok(Some(Operation {
            kind: plan.resource_type.to_owned(),
            id: plan.id.clone(),
            seen: plan.seen,
            looked_up: plan.looked_up,
            json: Some(json),
            method,
            rows,
            identifiers,
            modified,
            person: (plan.resource_type == "Patient").then(|| PersonKeys::of(&resource)),
        }))
    }
}

/// Why criteria could not be searched for.
fn unsearched(error: SearchError) -> Unprepared {
    let (status, code) = match &error {
        SearchError::TooCostly(_) | SearchError::TooLong => (413, IssueType::TooCostly),
        SearchError::Terminology(_) => (400, IssueType::NotSupported),
        SearchError::Damaged(_) | SearchError::Journal(_) | SearchError::NoCommit(_) | SearchError::NoPage => (503, IssueType::Exception),
    };
    let what = format!("the criteria cannot be searched for: {error}");
    refused(status, Issue { severity: crate::fhir::issue::Severity::Error, code, diagnostics: what, expression: None })
}

fn resource_type_of<'a>(criteria: &Criteria, resource: Option<Value<'a>>) -> &'a str {
    // A conditional delete has no resource; its type is a name of the definitions, which live for ever.
    resource
        .and_then(|r| r.str("resourceType"))
        .unwrap_or_else(|| definitions::resource_type(&criteria.resource_type).map_or("", |t| t.name()))
}

/// Refuses a transaction that changes a resource twice because criteria match what another entry names, or what other
/// criteria match: "If any resource identities (including resolved identities from conditional update/delete) overlap [...],
/// then the transaction SHALL fail" (FHIR R4, section 3.1.0.11.2). Overlaps of what is named are found when the Bundle is read.
fn once_each(entries: &[Entry<'_>], planned: &[Planned<'_>]) -> Result<(), Unprepared> {
    let by_criteria = |i: &Request<'_>| {
        let (Request::Update { target, .. } | Request::Patch { target, .. } | Request::Delete { target, .. }) = i else { return false };
        matches!(target, Target::Match(_))
    };
    if !entries.iter().any(|e| by_criteria(&e.interaction)) {
        return Ok(());
    }
    let mut seen = HashMap::with_capacity(planned.len());
    for plan in planned.iter().filter(|p| !matches!(p.action, Action::Nothing)) {
        if let Some(first) = seen.insert((plan.resource_type, &plan.id), &plan.at) {
            let what = format!("the criteria of this entry or of {first} match what the other changes too: a transaction may do so once");
            return Err(refused(400, Issue::error(IssueType::Invariant, plan.at.as_str(), what)));
        }
    }
    Ok(())
}

/// With which method what an entry asks for is put into the history.
fn method_of(interaction: &Request<'_>) -> Method {
    match interaction {
        Request::Create { .. } => Method::Post,
        Request::Patch { .. } => Method::Patch,
        Request::Delete { .. } => Method::Delete,
        Request::Update { .. } | Request::Read { .. } | Request::Refused(_) => Method::Put,
    }
}

fn deletion(plan: &Planned<'_>) -> Operation {
    Operation {
        kind: plan.resource_type.to_owned(),
        id: plan.id.clone(),
        seen: plan.seen,
        looked_up: true,
        json: None,
        method: Method::Delete,
        rows: Vec::new(),
        identifiers: Vec::new(),
        modified: false,
        person: (plan.resource_type == "Patient").then(PersonKeys::default),
    }
}

fn check_if_match(if_match: Option<u64>, seen: Option<Head>, at: &str) -> Result<(), Unprepared> {
    let current = seen.filter(Head::exists).map(|h| h.version);
    match if_match {
        Some(wanted) if current != Some(wanted) => {
            let what = match current {
                Some(version) => format!("version {wanted} was asked for, but {version} is current; read it again and repeat the change"),
                None => format!("version {wanted} was asked for, but the resource is not there"),
            };
            Err(refused(412, Issue::error(IssueType::Conflict, at, what)))
        }
        _ => Ok(()),
    }
}

/// The entries of a request and the place of each resource, for messages.
fn read_entries<'a>(interaction: &'a Interaction, known: &Known, arena: &'a Bump) -> Result<(Vec<Entry<'a>>, Vec<String>), Unprepared> {
    let single = |interaction, resource| {
        let at = match &resource {
            Some(r) => Value::str(r, "resourceType").unwrap_or("Resource").to_owned(),
            None => "Resource".to_owned(),
        };
        Ok((vec![Entry { full_url: None, interaction, resource }], vec![at]))
    };
    match interaction {
        Interaction::Transaction { body } => {
            let bundle = bundle::read(parse(body, arena)?, known, arena)
                .map_err(|issues| Unprepared::Refused(WriteError::Refused { status: 400, issues }))?;
            if bundle.kind == BundleKind::Batch {
                return Err(refused(
                    400,
                    Issue::error(IssueType::Invalid, "Bundle.type", "a batch is not one transaction; send its entries one by one"),
                ));
            }
            let prefixes = (0..bundle.entries.len()).map(|i| format!("Bundle.entry[{i}].resource")).collect();
            Ok((bundle.entries, prefixes))
        }
        Interaction::Create { resource_type, body, if_none_exist } => {
            let resource = of_type(parse(body, arena)?, resource_type)?;
            let criteria =
                if_none_exist.as_deref().map(|q| Criteria::parse(resource_type, q, known)).transpose().map_err(|i| refused(400, i))?;
            single(Request::Create { resource_type, if_none_exist: criteria }, Some(resource))
        }
        Interaction::Update { resource_type, id, body, if_match } => {
            let resource = of_type(parse(body, arena)?, resource_type)?;
            if resource.str("id") != Some(id) {
                let what = "the resource's id must be there and be the id of the URL";
                return Err(refused(400, Issue::error(IssueType::Invalid, format!("{resource_type}.id"), what)));
            }
            single(Request::Update { target: Target::Id { resource_type, id }, if_match: *if_match }, Some(resource))
        }
        Interaction::UpdateMatching { resource_type, query, body } => {
            let resource = of_type(parse(body, arena)?, resource_type)?;
            let criteria = Criteria::parse(resource_type, query, known).map_err(|i| refused(400, i))?;
            single(Request::Update { target: Target::Match(criteria), if_match: None }, Some(resource))
        }
        Interaction::Patch { resource_type, id, format, body, if_match } => {
            let (target, patch) = (Target::Id { resource_type, id }, read_patch(*format, body, arena)?);
            single(Request::Patch { target, if_match: *if_match, patch }, None)
        }
        Interaction::PatchMatching { resource_type, query, format, body, if_match } => {
            let target = Target::Match(Criteria::parse(resource_type, query, known).map_err(|i| refused(400, i))?);
            single(Request::Patch { target, if_match: *if_match, patch: read_patch(*format, body, arena)? }, None)
        }
        Interaction::DeleteMatching { resource_type, query } => {
            let criteria = Criteria::parse(resource_type, query, known).map_err(|i| refused(400, i))?;
            single(Request::Delete { target: Target::Match(criteria), if_match: None }, None)
        }
        Interaction::OptOut { patient, out } => {
            let id: &'a str = arena.alloc_str(&opt_out_id(patient));
            let target = Target::Id { resource_type: "Consent", id };
            if *out {
                single(Request::Update { target, if_match: None }, Some(parse(opt_out(patient).as_bytes(), arena)?))
            } else {
                single(Request::Delete { target, if_match: None }, None)
            }
        }
        Interaction::Delete { resource_type, id, if_match } => {
            single(Request::Delete { target: Target::Id { resource_type, id }, if_match: *if_match }, None)
        }
    }
}

fn read_patch<'a>(format: Format, body: &[u8], arena: &'a Bump) -> Result<Patch<'a>, Unprepared> {
    Patch::read(format, parse(body, arena)?, arena).map_err(|issues| {
        let too_much = issues.iter().any(|issue| issue.code == IssueType::TooCostly);
        Unprepared::Refused(WriteError::Refused { status: if too_much { 413 } else { 400 }, issues })
    })
}

fn parse<'a>(body: &[u8], arena: &'a Bump) -> Result<Value<'a>, Unprepared> {
    if body.len() > MAX_BODY_BYTES {
        let what = format!("the body has {} bytes; at most {MAX_BODY_BYTES} are taken. Split the bundle", body.len());
        return Err(refused(413, Issue::error(IssueType::TooCostly, "Bundle", what)));
    }
    json::parse(body, arena).map_err(|e| {
        let (status, code) = if e == json::JsonError::TooLarge { (413, IssueType::TooCostly) } else { (400, IssueType::Structure) };
        refused(status, Issue { severity: crate::fhir::issue::Severity::Error, code, diagnostics: e.to_string(), expression: None })
    })
}

fn of_type<'a>(resource: Value<'a>, resource_type: &str) -> Result<Value<'a>, Unprepared> {
    if resource.str("resourceType") == Some(resource_type) {
        return Ok(resource);
    }
    let what = format!("`resourceType` must be `{resource_type}`, as the URL says");
    Err(refused(400, Issue::error(IssueType::Invalid, format!("{resource_type}.resourceType"), what)))
}
