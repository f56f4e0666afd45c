//! What an application asks for: the shape of its JSON. While it is a draft, anything may still be absent.

use crate::permit::basis::{Basis, Cadence, Delivery};
use crate::permit::document::{Blinding, Columns, Limits, Population, Provision, TableGrant, Transform};
use crate::permit::purpose::{ProhibitedUse, Purpose};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is asked for, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// On what the permit would rest.
    pub basis: Basis,
    /// A line that says what it is.
    #[serde(default)]
    pub title: String,
    /// The natural persons who would have access, by user name (Art. 67(2)).
    #[serde(default)]
    pub users: Vec<String>,
    /// The intended use and the benefit that is expected of it.
    #[serde(default)]
    pub purpose: String,
    /// Which purposes of Art. 53 it serves; the EHDS bases only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<Purpose>,
    /// The answers to the questions that Art. 54 puts; the EHDS bases only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prohibited_uses: BTreeMap<ProhibitedUse, Answer>,
    /// The safeguards against misuse of the data, and of the rights of data subjects (Art. 67(2)); the EHDS bases only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub safeguards: String,
    /// The law or mandate, where the basis is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<Provision>,
    /// What others have approved, where the basis asks for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// Tables and columns, each with its reason.
    #[serde(default)]
    pub tables: Vec<RequestedTable>,
    /// Whose rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub population: Option<Justified<Population>>,
    /// How current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cadence: Option<Justified<Cadence>>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// Whether the readers of a study are blinded, and to what; the basis `trial_protocol` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blinding: Option<Blinding>,
    /// What one question may cost, where it is to be less than the server allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// From when, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// Until when, exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// An answer to a question of Art. 54.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Whether such a use is intended. Then no permit can be granted.
    pub intended: bool,
    /// How that is known, or ruled out.
    pub explanation: String,
}

/// Something that is asked for, and why it is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Justified<T> {
    /// What.
    pub value: T,
    /// Why less would not do.
    pub justification: String,
}

/// A table that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedTable {
    /// Its name.
    pub table: String,
    /// Its columns, in groups that are needed for one reason. `all` cannot be asked for.
    pub columns: Vec<RequestedColumns>,
}

/// Columns that are asked for, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedColumns {
    /// Their names.
    pub names: Vec<String>,
    /// How they would be shown.
    pub transform: Transform,
    /// Why they are needed.
    #[serde(default)]
    pub justification: String,
    /// Why nothing coarser would do.
    #[serde(default)]
    pub transform_justification: String,
}

/// What another body has approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// What it is.
    pub kind: ApprovalKind,
    /// Whose it is.
    pub by: String,
    /// Its case number, or the version's name.
    pub reference: String,
    /// When it was given.
    pub at: Timestamp,
}

/// What others approve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalKind {
    /// An ethics committee.
    Ethics,
    /// The hospital that holds the data.
    Holder,
    /// A version of the consent that subjects are asked for.
    ConsentVersion,
}

impl ApprovalKind {
    /// Its name, as documents write it.
    pub fn name(self) -> &'static str {
        match self {
            ApprovalKind::Ethics => "ethics",
            ApprovalKind::Holder => "holder",
            ApprovalKind::ConsentVersion => "consent_version",
        }
    }
}

impl RequestedTable {
    /// What a permit would hold of it.
    pub fn grant(&self) -> TableGrant {
        let transforms = self.columns.iter().filter(|c| c.transform != Transform::Keep);
        TableGrant {
            table: self.table.clone(),
            columns: Columns::List(self.columns.iter().flat_map(|c| c.names.iter().cloned()).collect()),
            transforms: transforms.flat_map(|c| c.names.iter().map(|name| (name.clone(), c.transform))).collect(),
        }
    }
}

impl Basis {
    /// Whether it is one of the two bases of the European Health Data Space, to which purposes, prohibited uses and clocks apply.
    pub fn is_ehds(self) -> bool {
        matches!(self, Basis::EhdsPermit | Basis::EhdsRequest)
    }

    /// What others must have approved before it can be granted.
    pub fn approvals(self) -> &'static [ApprovalKind] {
        match self {
            Basis::TrialProtocol => &[ApprovalKind::Ethics, ApprovalKind::Holder, ApprovalKind::ConsentVersion],
            Basis::DirectAccess => &[ApprovalKind::Holder, ApprovalKind::ConsentVersion],
            _ => &[],
        }
    }
}

impl Content {
    /// Whose rows, where that is said.
    pub fn whose(&self) -> Option<&Population> {
        self.population.as_ref().map(|population| &population.value)
    }

    /// How current, where that is said.
    pub fn how_current(&self) -> Option<Cadence> {
        self.cadence.as_ref().map(|cadence| cadence.value)
    }

    /// Where, where that is said.
    pub fn where_shown(&self) -> Option<Delivery> {
        self.delivery
    }
}
