//! Who acts in a procedure, and the rule that who proposes cannot decide.

use crate::limits::MAX_PERMIT_TEXT_BYTES;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The organisation of the centre's own people; no organisation may take it as its id.
pub const CENTRE: &str = "centre";

/// Why a procedure does not go on: the caller's fault, in each case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcedureError {
    /// A document is not of its form.
    #[error("{document} cannot be read: {what}")]
    Form {
        /// Which kind of document.
        document: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// A field's content cannot be.
    #[error("{field}: {what}")]
    Field {
        /// Which field, as a path.
        field: String,
        /// What is wrong, and what to write instead.
        what: String,
    },
    /// Somebody else has to do this.
    #[error("{0}")]
    Person(String),
    /// It is not the time for this.
    #[error("{0}")]
    State(String),
}

impl ProcedureError {
    /// A field's content cannot be.
    pub fn field(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Field { field: field.into(), what: what.into() }
    }

    pub(super) fn person(what: impl Into<String>) -> Self {
        Self::Person(what.into())
    }

    pub(super) fn state(what: impl Into<String>) -> Self {
        Self::State(what.into())
    }
}

/// Somebody, and the organisation that they act for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// The user's name.
    pub user: String,
    /// The organisation's id; [`CENTRE`] for the centre's own people.
    pub organisation: String,
}

/// An act that has been done: by whom, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// By whom.
    pub by: By,
    /// When.
    pub at: Timestamp,
}

/// Whoever acts now, as their token and the register of organisations say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who they are.
    pub by: By,
    /// The group of their organisation.
    pub group: String,
    /// Whether they act for the health data access body.
    pub centre: bool,
}

impl Actor {
    /// The act of this actor at `now`.
    pub fn signs(&self, now: Timestamp) -> Signed {
        Signed { by: self.by.clone(), at: now }
    }

    /// Refuses whoever does not act for the centre.
    pub fn must_be_centre(&self) -> Result<(), ProcedureError> {
        if self.centre { Ok(()) } else { Err(ProcedureError::person("this is for the centre")) }
    }

    /// Refuses a decision by somebody who proposed, or who belongs to those who gain by it: who proposes cannot decide.
    /// `proposers` are user names; `group` is that of the organisation that the decision is about.
    pub fn must_be_second<'a>(&self, mut proposers: impl Iterator<Item = &'a str>, group: &str) -> Result<(), ProcedureError> {
        self.must_be_centre()?;
        if proposers.any(|user| user == self.by.user) {
            return Err(ProcedureError::person("who proposed cannot decide; another person of the centre has to"));
        }
        if self.group == group {
            return Err(ProcedureError::person(
                "you belong to the organisation that this is about; another person of the centre has to decide",
            ));
        }
        Ok(())
    }
}

/// A text that a decision rests on: there, and not longer than two printed pages.
pub fn check_text(field: &str, text: &str) -> Result<(), ProcedureError> {
    if text.trim().is_empty() || text.len() > MAX_PERMIT_TEXT_BYTES {
        return Err(ProcedureError::field(field, format!("write something, at most {MAX_PERMIT_TEXT_BYTES} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(user: &str, organisation: &str, centre: bool) -> Actor {
        Actor { by: By { user: user.into(), organisation: organisation.into() }, group: organisation.into(), centre }
    }

    #[test]
    fn who_proposes_cannot_decide() {
        let proposers = || ["anne", "bo"].into_iter();
        assert!(actor("cato", CENTRE, true).must_be_second(proposers(), "pharma").is_ok());
        for (who, why) in [
            (actor("anne", CENTRE, true), "the same person"),
            (actor("cato", "pharma", true), "the same organisation, although on the centre's behalf"),
            (actor("cato", CENTRE, false), "not the centre"),
        ] {
            assert!(matches!(who.must_be_second(proposers(), "pharma"), Err(ProcedureError::Person(_))), "{why}");
        }
    }
}
