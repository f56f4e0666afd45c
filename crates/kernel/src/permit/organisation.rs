//! Organisations that apply for permits: who belongs to them, and what they are in law.

use super::procedure::{CENTRE, ProcedureError, check_text};
use super::{is_id, purpose::Purpose};
use crate::limits::{MAX_PERMIT_BYTES, MAX_PERMIT_ITEMS};
use serde::{Deserialize, Serialize};

/// An organisation, as the centre keeps it: a document of the kind `organisation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organisation {
    /// Its id: 1 to 64 of A-Z a-z 0-9 - . _
    pub id: String,
    /// Its name.
    pub name: String,
    /// The id of the group of organisations that it belongs to, where it does: what one of them was given, all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether it is a public sector body, or a Union institution, with tasks conferred on it by law (Art. 53(2)).
    pub public_body: bool,
    /// Whether it has a legal mandate in the field of public health: its applications are decided in the accelerated procedure
    /// (Art. 68(6)).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public_health: bool,
    /// Its people, by user name.
    pub users: Vec<String>,
    /// How the centre verified that it is who it says; absent while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
}

impl Organisation {
    /// Reads and checks an organisation's JSON.
    pub fn parse(json: &str) -> Result<Self, ProcedureError> {
        let form = |what: String| ProcedureError::Form { document: "the organisation", what };
        if json.len() > MAX_PERMIT_BYTES {
            return Err(form(format!("it has {} bytes, more than {MAX_PERMIT_BYTES}", json.len())));
        }
        let organisation: Self = serde_json::from_str(json).map_err(|e| form(e.to_string()))?;
        organisation.check()?;
        Ok(organisation)
    }

    fn check(&self) -> Result<(), ProcedureError> {
        for (field, id) in [("id", Some(&self.id)), ("group", self.group.as_ref())] {
            if id.is_some_and(|id| !is_id(id) || id == CENTRE) {
                return Err(ProcedureError::field(field, format!("write 1 to 64 of the characters A-Z a-z 0-9 - . _, and not `{CENTRE}`")));
            }
        }
        check_text("name", &self.name)?;
        if let Some(how) = &self.verified {
            check_text("verified", how)?;
        }
        if self.public_health && !self.public_body {
            return Err(ProcedureError::field("public_health", "only a public sector body has such a mandate; say public_body too"));
        }
        let unnamed = self.users.iter().any(|user| user.trim().is_empty());
        if unnamed || self.users.len() > MAX_PERMIT_ITEMS {
            return Err(ProcedureError::field("users", format!("name at most {MAX_PERMIT_ITEMS} users, each with a name")));
        }
        Ok(())
    }

    /// Its group; an organisation of no group is one of its own.
    pub fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.id)
    }

    /// Whether `user` acts for it.
    pub fn has(&self, user: &str) -> bool {
        self.users.iter().any(|name| name == user)
    }

    /// Whether it may ask for data for this purpose (Art. 53(2)).
    pub fn may_pursue(&self, purpose: Purpose) -> bool {
        self.public_body || !purpose.for_public_bodies_only()
    }
}
