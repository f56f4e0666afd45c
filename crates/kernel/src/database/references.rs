//! What becomes of the references of a request: those to entries of the same transaction become literal, conditional ones are
//! resolved, refused, or kept as logical references.

use super::prepare::{Action, Matched, Planned, Preparer, Unprepared, refused};
use super::write::{Handling, WriteRequest};
use crate::access::Act;
use crate::fhir::criteria::Criteria;
use crate::fhir::definitions;
use crate::fhir::issue::{Issue, IssueType};
use crate::fhir::json::Value;
use crate::fhir::reference::{self, Rewrite};
use bumpalo::Bump;
use std::collections::HashMap;

/// What a conditional reference matches.
#[derive(Clone, Copy)]
pub(super) enum Match<'a> {
    None,
    /// The literal reference.
    One(&'a str),
    Several,
}

/// The system of identifiers that are URIs themselves (FHIR R4, 2.24.0.6).
const URI_SYSTEM: &str = "urn:ietf:rfc:3986";

/// Resolves the references of a request.
pub(super) struct References<'r, 'a> {
    pub(super) preparer: &'r Preparer<'r>,
    pub(super) request: &'r WriteRequest,
    pub(super) transaction: bool,
    pub(super) urls: HashMap<&'a str, &'a str>,
    pub(super) resolved: HashMap<&'a str, Match<'a>>,
    pub(super) planned: &'r [Planned<'a>],
    pub(super) matched: Vec<Matched>,
}

impl<'a> References<'_, 'a> {
    /// The resource with its references resolved; `at` is its place, for messages.
    pub(super) fn rewrite(
        &mut self,
        resource: Value<'a>,
        at: &str,
        arena: &'a Bump,
        warnings: &mut Vec<Issue>,
    ) -> Result<Value<'a>, Unprepared> {
        let mut failed = None;
        let rewritten = reference::rewrite(resource, arena, &mut |text, place, in_reference| {
            if failed.is_some() {
                return Rewrite::Keep;
            }
            match self.decide(text, place, in_reference, at, arena, warnings) {
                Ok(rewrite) => rewrite,
                Err(error) => {
                    failed = Some(error);
                    Rewrite::Keep
                }
            }
        });
        failed.map_or(Ok(rewritten), Err)
    }

    fn decide(
        &mut self,
        text: &'a str,
        place: &str,
        in_reference: bool,
        at: &str,
        arena: &'a Bump,
        warnings: &mut Vec<Issue>,
    ) -> Result<Rewrite<'a>, Unprepared> {
        if let Some(literal) = self.urls.get(text) {
            return Ok(Rewrite::Literal(literal));
        }
        if !in_reference {
            return Ok(Rewrite::Keep);
        }
        let here = |issue: Issue| issue.within(at);
        if self.transaction && (text.starts_with("urn:uuid:") || text.starts_with("urn:oid:")) {
            let what = "refers to no entry's fullUrl of this transaction";
            if self.request.handling == Handling::Strict {
                return Err(refused(422, here(Issue::error(IssueType::NotFound, place, what))));
            }
            let what = format!("{what} and is kept as a logical reference (Reference.identifier)");
            warnings.push(here(Issue::warning(IssueType::NotFound, place, what)));
            return Ok(Rewrite::Logical { resource_type: None, system: Some(URI_SYSTEM), value: text });
        }
        let Some((resource_type, query)) = text.split_once('?').filter(|(t, _)| definitions::is_resource_type(t)) else {
            return Ok(Rewrite::Keep);
        };
        let criteria = Criteria::parse(resource_type, query, &self.preparer.shared.known_parameters())
            .map_err(|i| refused(422, Issue { expression: Some(place.to_owned()), ..i }.within(at)))?;
        let found = match self.resolved.get(text) {
            Some(found) => *found,
            None => {
                let found = self.resolve(&criteria, at, arena)?;
                self.resolved.insert(text, found);
                found
            }
        };
        let (code, what) = match found {
            Match::One(literal) => return Ok(Rewrite::Literal(literal)),
            Match::None => (IssueType::NotFound, "the conditional reference matches nothing"),
            Match::Several => (IssueType::MultipleMatches, "the conditional reference matches several resources"),
        };
        if self.request.handling == Handling::Strict {
            let remedy = if matches!(found, Match::None) { "send what it means first" } else { "say more exactly which is meant" };
            let what = format!("{what}; {remedy}, or ask for `handling=lenient` to keep it as a logical reference");
            return Err(refused(412, here(Issue::error(code, place, what))));
        }
        let kept = if criteria.identifiers.is_empty() { "it is" } else { "a logical reference (Reference.identifier)" };
        warnings.push(here(Issue::warning(code, place, format!("{what} and is kept as {kept}"))));
        Ok(criteria.identifiers.first().map_or(Rewrite::Keep, |i| Rewrite::Logical {
            resource_type: Some(&*arena.alloc_str(resource_type)),
            system: i.system.as_deref().filter(|s| !s.is_empty()).map(|s| &*arena.alloc_str(s)),
            value: arena.alloc_str(&i.value),
        }))
    }

    /// What a conditional reference matches: in the database, or among what this transaction writes.
    fn resolve(&mut self, criteria: &Criteria, at: &str, arena: &'a Bump) -> Result<Match<'a>, Unprepared> {
        // What a reference finds by criteria is found by a search.
        self.preparer.admit_type(Act::Search, &criteria.resource_type, at)?;
        let mut stored = self.preparer.matches(self.request.holder, criteria)?;
        self.matched.push(stored.of(criteria));
        self.preparer.keep_found(&criteria.resource_type, &mut stored.found)?;
        let mut ids: Vec<String> = stored.found.into_iter().map(|(id, _)| id).collect();
        for plan in self.planned.iter().filter(|p| p.resource_type == criteria.resource_type) {
            let matches = matches!(plan.action, Action::Put(r) if criteria.matches(&r));
            if matches && !ids.contains(&plan.id) {
                ids.push(plan.id.clone());
            }
        }
        Ok(match ids.as_slice() {
            [] => Match::None,
            [id] => Match::One(arena.alloc_str(&format!("{}/{id}", criteria.resource_type))),
            _ => Match::Several,
        })
    }
}
