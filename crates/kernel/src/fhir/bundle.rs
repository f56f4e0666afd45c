//! Transactions and batches (FHIR R4, section 3.1.0.11).

use super::{criteria::Criteria, issue::Issue, json::Value};

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
    /// `GET url`.
    Read {
        /// As written.
        url: &'a str,
    },
}

/// One resource, by id or by what it must match.
#[derive(Clone, Debug, PartialEq)]
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

/// Reads the form of a Bundle: its type, each entry's request and that it fits the resource.
pub fn read<'a>(_bundle: Value<'a>) -> Result<Bundle<'a>, Vec<Issue>> {
    todo!()
}
