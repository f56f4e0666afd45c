//! The steps of an application, as they are stored.

use super::missing::Missing;
use super::state::Act;
use crate::permit::procedure::Signed;
use serde::{Deserialize, Serialize};

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// By whom, and when.
    pub signed: Signed,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What a step says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum What {
    /// The applicant handed it in.
    Submit,
    /// The centre named what is missing.
    FindIncomplete {
        /// What.
        missing: Vec<Missing>,
    },
    /// The centre found it complete.
    FindComplete,
    /// The centre prolonged the time for its decision.
    Prolong {
        /// Why.
        reasons: String,
    },
    /// A person of the centre assessed it.
    Assess {
        /// Whether they propose to grant it.
        grant: bool,
        /// Why.
        reasons: String,
    },
    /// Another granted it.
    Grant {
        /// The permit's id.
        permit: String,
        /// Why.
        reasons: String,
    },
    /// Another refused it.
    Refuse {
        /// Why.
        reasons: String,
    },
    /// The applicant took it back.
    Withdraw,
}

impl What {
    /// Which act it is.
    pub fn act(&self) -> Act {
        match self {
            What::Submit => Act::Submit,
            What::FindIncomplete { .. } => Act::FindIncomplete,
            What::FindComplete => Act::FindComplete,
            What::Prolong { .. } => Act::Prolong,
            What::Assess { .. } => Act::Assess,
            What::Grant { .. } => Act::Grant,
            What::Refuse { .. } => Act::Refuse,
            What::Withdraw => Act::Withdraw,
        }
    }

    /// The reasons that it gives, where it must.
    pub fn reasons(&self) -> Option<&str> {
        match self {
            What::Prolong { reasons } | What::Assess { reasons, .. } | What::Grant { reasons, .. } | What::Refuse { reasons } => {
                Some(reasons)
            }
            _ => None,
        }
    }
}
