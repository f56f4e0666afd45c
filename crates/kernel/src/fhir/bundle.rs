//! Transactions and batches (FHIR R4, section 3.1.0.11).

use super::criteria::Criteria;
use super::issue::{Issue, IssueType};
use super::json::Value;
use super::patch::Patch;
use super::validate;
use crate::limits::{MAX_BUNDLE_ENTRIES, MAX_ISSUES};
use crate::search::parameters::Known;
use bumpalo::Bump;
use std::collections::HashMap;

mod request;
#[cfg(test)]
mod tests;

/// What a Bundle asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleKind {
    /// All or nothing.
    Transaction,
    /// Each entry for itself.
    Batch,
}

/// A transaction or batch whose form has been checked; its resources have not.
#[derive(Debug)]
pub struct Bundle<'a> {
    /// Transaction or batch.
    pub kind: BundleKind,
    /// In the order they were sent.
    pub entries: Vec<Entry<'a>>,
}

/// One entry.
#[derive(Debug)]
pub struct Entry<'a> {
    /// `entry.fullUrl`.
    pub full_url: Option<&'a str>,
    /// What is to be done.
    pub interaction: Interaction<'a>,
    /// With which resource (create and update have one).
    pub resource: Option<Value<'a>>,
}

/// `entry.request`.
#[derive(Clone, Debug, PartialEq)]
pub enum Interaction<'a> {
    /// `POST [type]`, with `ifNoneExist`.
    Create {
        /// The resource type.
        resource_type: &'a str,
        /// Create only if nothing matches.
        if_none_exist: Option<Criteria>,
    },
    /// `PUT [type]/[id]` or `PUT [type]?criteria`.
    Update {
        /// Which resource.
        target: Target<'a>,
        /// `ifMatch: W/"n"`.
        if_match: Option<u64>,
    },
    /// `DELETE [type]/[id]` or `DELETE [type]?criteria`.
    Delete {
        /// Which resource.
        target: Target<'a>,
        /// `ifMatch: W/"n"`.
        if_match: Option<u64>,
    },
    /// `PATCH [type]/[id]` or `PATCH [type]?criteria`.
    Patch {
        /// Which resource.
        target: Target<'a>,
        /// `ifMatch: W/"n"`.
        if_match: Option<u64>,
        /// What is changed in it.
        patch: Patch<'a>,
    },
    /// `GET url`.
    Read {
        /// As written.
        url: &'a str,
    },
    /// Cannot be done, in a batch: the entry is answered with these issues, the others are done.
    Refused(Vec<Issue>),
}

/// One resource, by id or by what it must match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target<'a> {
    /// `[type]/[id]`.
    Id {
        /// The resource type.
        resource_type: &'a str,
        /// The logical id.
        id: &'a str,
    },
    /// `[type]?criteria`.
    Match(Criteria),
}

/// Reads the form of a Bundle: its type, each entry's request and that it fits the resource; criteria by the parameters that are known.
///
/// What is wrong with one entry of a batch is in that entry, as [`Interaction::Refused`]: each entry stands for itself.
/// In a transaction a target (`PUT`, `PATCH` or `DELETE` of one id, or of the same criteria) may occur once, in both a fullUrl.
///
/// # Errors
/// What is wrong, with places such as `Bundle.entry[3].request.url`; at most [`crate::limits::MAX_ISSUES`].
pub fn read<'a>(bundle: Value<'a>, known: &Known, arena: &'a Bump) -> Result<Bundle<'a>, Vec<Issue>> {
    let one = |code, at: &str, what: &str| Err(vec![Issue::error(code, at, what)]);
    if bundle.str("resourceType") != Some("Bundle") {
        return one(IssueType::Structure, "Resource", "expected a Bundle of type transaction or batch (`resourceType` is not `Bundle`)");
    }
    let entries = bundle.get("entry").map_or(&[][..], |entries| entries.items());
    if entries.len() > MAX_BUNDLE_ENTRIES {
        let what = format!("{} entries are more than {MAX_BUNDLE_ENTRIES}: send several bundles", entries.len());
        return one(IssueType::TooCostly, "Bundle.entry", &what);
    }
    let issues = validate::validate_frame(&bundle);
    if !issues.is_empty() {
        return Err(issues);
    }
    let kind = match bundle.str("type") {
        Some("transaction") => BundleKind::Transaction,
        Some("batch") => BundleKind::Batch,
        _ => return one(IssueType::NotSupported, "Bundle.type", "only Bundles of type transaction and batch can be processed"),
    };
    collect(kind, entries, known, arena)
}

fn collect<'a>(kind: BundleKind, values: &[Value<'a>], known: &Known, arena: &'a Bump) -> Result<Bundle<'a>, Vec<Issue>> {
    let (mut entries, mut issues) = (Vec::with_capacity(values.len()), Vec::new());
    for (i, value) in values.iter().enumerate() {
        let interaction = request::read(value, i, known, arena).unwrap_or_else(|refused| match kind {
            BundleKind::Batch => Interaction::Refused(refused),
            BundleKind::Transaction => {
                issues.extend(refused);
                Interaction::Refused(Vec::new())
            }
        });
        let sends = matches!(interaction, Interaction::Create { .. } | Interaction::Update { .. });
        entries.push(Entry { full_url: value.str("fullUrl"), interaction, resource: value.get("resource").filter(|_| sends) });
    }
    repeated_full_urls(&entries, &mut issues);
    if kind == BundleKind::Transaction {
        repeated_targets(&entries, &mut issues);
    }
    issues.truncate(MAX_ISSUES);
    if issues.is_empty() { Ok(Bundle { kind, entries }) } else { Err(issues) }
}

/// bdl-7.
fn repeated_full_urls(entries: &[Entry<'_>], issues: &mut Vec<Issue>) {
    let mut seen = HashMap::with_capacity(entries.len());
    for (i, entry) in entries.iter().enumerate() {
        if let Some(first) = entry.full_url.and_then(|url| seen.insert(url, i)) {
            let what = format!("the fullUrl is that of entry[{first}] too: references to it would be ambiguous (bdl-7)");
            issues.push(Issue::error(IssueType::Invariant, format!("Bundle.entry[{i}].fullUrl"), what));
        }
    }
}

/// "If any resource identities overlap, then the transaction SHALL fail" (section 3.1.0.11.2).
fn repeated_targets(entries: &[Entry<'_>], issues: &mut Vec<Issue>) {
    #[expect(clippy::mutable_key_type, reason = "criteria are the same if their text is")]
    let mut seen = HashMap::with_capacity(entries.len());
    for (i, entry) in entries.iter().enumerate() {
        let target = match &entry.interaction {
            Interaction::Update { target, .. } | Interaction::Patch { target, .. } | Interaction::Delete { target, .. } => target,
            Interaction::Create { .. } | Interaction::Read { .. } | Interaction::Refused(_) => continue,
        };
        if let Some(first) = seen.insert(target, i) {
            let what = format!("entry[{first}] changes the same resource: a transaction may do so once");
            issues.push(Issue::error(IssueType::Invariant, format!("Bundle.entry[{i}].request.url"), what));
        }
    }
}
