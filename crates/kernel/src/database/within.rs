//! What a write may touch, where its caller has scopes: the types of its entries, what is there, and what it makes of it.
//!
//! All of it is looked at while a request is prepared, on the versions that the committer compares: one that has changed meanwhile is
//! looked at again.

use super::prepare::{Preparer, Unprepared, refused};
use crate::access::{Act, Reach};
use crate::fhir::bundle::{Entry, Interaction as Request, Target};
use crate::fhir::issue::{Issue, IssueType};
use crate::fhir::json::Value;
use crate::journal::{Head, JournalError};

/// A write, and the scopes of its caller; without, it may do what its holder may.
#[derive(Clone, Debug)]
pub(super) struct Bounded {
    pub(super) request: super::WriteRequest,
    pub(super) scopes: Option<std::sync::Arc<crate::access::Scopes>>,
}

/// Which act an entry is, and what it is about; what only reads is looked at where it is read.
fn act_of<'e>(interaction: &'e Request<'_>) -> Option<(Act, &'e str, bool)> {
    let named = |act, target: &'e Target<'_>| match target {
        Target::Id { resource_type, .. } => Some((act, *resource_type, false)),
        Target::Match(criteria) => Some((act, criteria.resource_type.as_str(), true)),
    };
    match interaction {
        Request::Create { resource_type, if_none_exist } => Some((Act::Create, *resource_type, if_none_exist.is_some())),
        Request::Update { target, .. } | Request::Patch { target, .. } => named(Act::Update, target),
        Request::Delete { target, .. } => named(Act::Delete, target),
        Request::Read { .. } | Request::Refused(_) => None,
    }
}

impl Preparer<'_> {
    /// Refuses entries of types that no scope reaches. Criteria are a search.
    pub(super) fn admit_types(&self, entries: &[Entry<'_>], places: &[String]) -> Result<(), Unprepared> {
        for (entry, at) in entries.iter().zip(places) {
            let Some((act, resource_type, searches)) = act_of(&entry.interaction) else { continue };
            self.admit_type(act, resource_type, at)?;
            if searches {
                self.admit_type(Act::Search, resource_type, at)?;
            }
        }
        Ok(())
    }

    /// Refuses an act on a type that no scope reaches.
    pub(super) fn admit_type(&self, act: Act, resource_type: &str, at: &str) -> Result<(), Unprepared> {
        match self.scopes {
            Some(_) if resource_type == "Subscription" => {
                let what =
                    "a Subscription lives longer than the token of a backend service; it is written and read with a hospital's own token";
                Err(refused(403, Issue::error(IssueType::Forbidden, at, what)))
            }
            Some(scopes) if !scopes.reaches(act, resource_type) => {
                let what = format!("the scopes of this token do not reach it; ask for `system/{resource_type}.{}`", act.letter());
                Err(refused(403, Issue::error(IssueType::Forbidden, at, what)))
            }
            _ => Ok(()),
        }
    }

    /// Refuses an act on a current version that no scope reaches.
    pub(super) fn admit_current(&self, act: Act, resource_type: &str, head: Option<Head>, at: &str) -> Result<(), Unprepared> {
        let Some(head) = head else { return Ok(()) };
        if self.reaches(act, resource_type, head)? { Ok(()) } else { Err(outside(act, resource_type, at)) }
    }

    /// Leaves of what criteria match that which a search finds too: the rest is absent, so that no condition tells of it.
    pub(super) fn keep_found(&self, resource_type: &str, matched: &mut Vec<(String, Head)>) -> Result<(), JournalError> {
        let mut kept = Vec::with_capacity(matched.len());
        for (id, head) in matched.drain(..) {
            if self.reaches(Act::Search, resource_type, head)? {
                kept.push((id, head));
            }
        }
        *matched = kept;
        Ok(())
    }

    /// Whether an act reaches a current version.
    fn reaches(&self, act: Act, resource_type: &str, head: Head) -> Result<bool, JournalError> {
        let Some(scopes) = self.scopes else { return Ok(true) };
        if matches!(scopes.reach(act, resource_type), Reach::Everything) {
            return Ok(true);
        }
        let stored = self.lookup.version(head.sequence)?.and_then(|version| version.json);
        Ok(scopes.admits_stored(act, resource_type, stored.as_deref()))
    }

    /// Refuses to write what no scope reaches.
    pub(super) fn admit_new(&self, interaction: &Request<'_>, resource: &Value<'_>, at: &str) -> Result<(), Unprepared> {
        let (Some(scopes), Some((act, resource_type, _))) = (self.scopes, act_of(interaction)) else { return Ok(()) };
        if scopes.admits(act, resource) { Ok(()) } else { Err(outside(act, resource_type, at)) }
    }
}

fn outside(act: Act, resource_type: &str, at: &str) -> Unprepared {
    let what =
        format!("the scopes of this token reach a part of {resource_type} (`{}`), and this is, or would be, outside of it", act.letter());
    refused(403, Issue::error(IssueType::Forbidden, at, what))
}
