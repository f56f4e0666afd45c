//! Taking a result out of the secure processing environment: a request, its checks, a second person's decision, and the signed
//! manifest of what was let out.
//!
//! A release is a document of the kind `release`. The bytes themselves are files; the document has their SHA-256.

mod check;
mod difference;
mod manifest;
mod table;
#[cfg(test)]
mod tests;

pub use check::{Finding, FindingKind, MIN_PERSONS, check};
pub use difference::Earlier;
pub use manifest::{MANIFEST, Manifest, ManifestError, Method, VerifyError, digest, verify_files};
pub use table::{Column, Role, Table};

use super::Basis;
use super::procedure::{Actor, ProcedureError, Signed, check_text};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Why a table cannot be released as it is: the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// It is not comma-separated values of the right shape.
    #[error("the table cannot be read: {0}")]
    Form(String),
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// It was asked for and checked, and waits for a second person.
    Requested,
    /// It was let out.
    Approved,
    /// It was not.
    Rejected,
    /// The requester took it back.
    Withdrawn,
}

/// What ends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseAct {
    /// A second person lets it out.
    Approve,
    /// A second person does not.
    Reject,
    /// The requester takes it back.
    Withdraw,
}

impl ReleaseState {
    /// All of them.
    pub const ALL: [ReleaseState; 4] = [Self::Requested, Self::Approved, Self::Rejected, Self::Withdrawn];

    /// The state after an act; `None` if it cannot be done in this one.
    pub fn after(self, act: ReleaseAct) -> Option<ReleaseState> {
        match (self, act) {
            (Self::Requested, ReleaseAct::Approve) => Some(Self::Approved),
            (Self::Requested, ReleaseAct::Reject) => Some(Self::Rejected),
            (Self::Requested, ReleaseAct::Withdraw) => Some(Self::Withdrawn),
            _ => None,
        }
    }

    /// Its name, as documents write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Where the table came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// It was computed under the permit.
    Sql {
        /// With this statement.
        sql: String,
        /// On this commit, for rows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<u64>,
        /// Of this timeline.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeline: Option<String>,
        /// On this epoch, for statistics.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<String>,
    },
    /// The requester supplied it.
    Supplied,
}

impl Source {
    /// The statement, where there is one.
    pub fn sql(&self) -> Option<&str> {
        match self {
            Source::Sql { sql, .. } => Some(sql),
            Source::Supplied => None,
        }
    }
}

/// A file of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// By whom, and when.
    pub signed: Signed,
    /// How.
    pub act: ReleaseAct,
    /// Why.
    pub reasons: String,
    /// The kinds of findings that it lets through.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub accepts: BTreeSet<FindingKind>,
}

/// A release's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Its id.
    pub id: String,
    /// A line that says what it shows.
    pub title: String,
    /// Why it has to leave.
    pub reason: String,
    /// Under which permit.
    pub permit: String,
    /// The permit's basis.
    pub basis: Basis,
    /// The id of the requester's organisation.
    pub organisation: String,
    /// That organisation's group.
    pub group: String,
    /// By whom, and when.
    pub requested: Signed,
    /// Where the table came from.
    pub source: Source,
    /// The program's version.
    pub program: String,
    /// What its columns hold.
    pub columns: Vec<Column>,
    /// How many rows it has.
    pub rows: u64,
    /// What the checks found.
    pub findings: Vec<Finding>,
    /// The ids of organisations that get it too.
    pub recipients: Vec<String>,
    /// Whether anybody gets it (Art. 58, Art. 61(4)).
    pub publish: bool,
    /// The files.
    pub files: Vec<FileDigest>,
    /// How the request ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// A release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    document: Document,
}

impl Release {
    /// A request that was checked.
    pub fn request(document: Document) -> Result<Self, ProcedureError> {
        check_text("title", &document.title)?;
        check_text("reason", &document.reason)?;
        if document.outcome.is_some() {
            return Err(ProcedureError::field("outcome", "a request has no outcome yet"));
        }
        Ok(Self { document })
    }

    /// Reads a stored release.
    pub fn parse(json: &str) -> Result<Self, ProcedureError> {
        let document = serde_json::from_str(json).map_err(|e| ProcedureError::Form { document: "the release", what: e.to_string() })?;
        Ok(Self { document })
    }

    /// Its JSON, as it is stored.
    pub fn to_json(&self) -> Result<String, ProcedureError> {
        serde_json::to_string(&self.document).map_err(|e| ProcedureError::Form { document: "the release", what: e.to_string() })
    }

    /// What it says.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Where it stands.
    pub fn state(&self) -> ReleaseState {
        let act = self.document.outcome.as_ref().map(|outcome| outcome.act);
        act.and_then(|act| ReleaseState::Requested.after(act)).unwrap_or(ReleaseState::Requested)
    }

    /// The release after its end. A decision is that of a person of the centre who did not ask for it and does not belong to
    /// the requester's organisation; an approval names every kind of finding that it lets through. (`users` are those of the permit.)
    pub fn end(
        &self,
        actor: &Actor,
        users: &[String],
        act: ReleaseAct,
        reasons: &str,
        accepts: BTreeSet<FindingKind>,
        now: Timestamp,
    ) -> Result<Self, ProcedureError> {
        let requester = self.document.requested.by.user.as_str();
        match act {
            ReleaseAct::Withdraw if actor.by.user != requester => {
                return Err(ProcedureError::person("only who asked for it can withdraw it"));
            }
            ReleaseAct::Withdraw => {}
            ReleaseAct::Approve | ReleaseAct::Reject => {
                actor.must_be_second(users.iter().map(String::as_str).chain([requester]), &self.document.group)?;
                check_text("reasons", reasons)?;
            }
        }
        if self.state().after(act).is_none() {
            return Err(ProcedureError::state(format!("the release is {} already", self.state().name())));
        }
        if act == ReleaseAct::Approve {
            self.check_accepted(&accepts)?;
        }
        let outcome = Outcome { signed: actor.signs(now), act, reasons: reasons.to_owned(), accepts };
        Ok(Self { document: Document { outcome: Some(outcome), ..self.document.clone() } })
    }

    fn check_accepted(&self, accepts: &BTreeSet<FindingKind>) -> Result<(), ProcedureError> {
        let found: BTreeSet<FindingKind> = self.document.findings.iter().map(|finding| finding.kind).collect();
        if let Some(kind) = found.iter().find(|kind| kind.forbids()) {
            return Err(ProcedureError::state(format!(
                "a finding of the kind {} cannot be let through; it can only be rejected",
                kind.name()
            )));
        }
        let open: Vec<&str> = found.difference(accepts).map(|kind| kind.name()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let what = format!(
            "the checks found {}; name each kind in `accepts` once you have looked at it, and say in `reasons` why it can leave",
            open.join(", ")
        );
        Err(ProcedureError::field("accepts", what))
    }
}
