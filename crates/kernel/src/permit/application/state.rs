//! The states of an application, and which act leads from which to which.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where an application stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The applicant writes it; nobody else sees it.
    Draft,
    /// It was handed in, and waits to be looked at for completeness.
    Submitted,
    /// Something is missing, which was named; the applicant has four weeks (Art. 68(4)).
    Incomplete,
    /// It was not completed within them: no permit is issued (Art. 68(4)).
    Lapsed,
    /// It is complete, and waits for its assessment.
    Complete,
    /// It was assessed, and waits for the decision of a second person.
    Assessed,
    /// A permit was granted.
    Granted,
    /// It was refused, with reasons.
    Refused,
    /// The applicant took it back.
    Withdrawn,
}

/// What can be done to an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// The applicant changes it.
    Edit,
    /// The applicant hands it in.
    Submit,
    /// The centre names what is missing.
    FindIncomplete,
    /// The centre finds it complete.
    FindComplete,
    /// The centre prolongs the time for its decision.
    Prolong,
    /// A person of the centre assesses it and proposes a decision.
    Assess,
    /// Another grants it.
    Grant,
    /// Another refuses it.
    Refuse,
    /// The applicant takes it back.
    Withdraw,
}

impl State {
    /// All of them.
    pub const ALL: [State; 9] = [
        State::Draft,
        State::Submitted,
        State::Incomplete,
        State::Lapsed,
        State::Complete,
        State::Assessed,
        State::Granted,
        State::Refused,
        State::Withdrawn,
    ];

    /// The state after an act; `None` if it cannot be done in this one.
    pub fn after(self, act: Act) -> Option<State> {
        match (self, act) {
            (State::Draft | State::Incomplete, Act::Edit) => Some(self),
            (State::Draft | State::Incomplete, Act::Submit) => Some(State::Submitted),
            (State::Submitted, Act::FindIncomplete) => Some(State::Incomplete),
            (State::Submitted, Act::FindComplete) => Some(State::Complete),
            (State::Complete | State::Assessed, Act::Prolong) => Some(self),
            (State::Complete, Act::Assess) => Some(State::Assessed),
            (State::Assessed, Act::Grant) => Some(State::Granted),
            (State::Assessed, Act::Refuse) => Some(State::Refused),
            (State::Draft | State::Submitted | State::Incomplete | State::Complete | State::Assessed, Act::Withdraw) => {
                Some(State::Withdrawn)
            }
            _ => None,
        }
    }

    /// What can be done in it.
    pub fn acts(self) -> impl Iterator<Item = Act> {
        Act::ALL.into_iter().filter(move |act| self.after(*act).is_some())
    }

    /// Its name, as documents write it.
    pub fn name(self) -> &'static str {
        match self {
            State::Draft => "draft",
            State::Submitted => "submitted",
            State::Incomplete => "incomplete",
            State::Lapsed => "lapsed",
            State::Complete => "complete",
            State::Assessed => "assessed",
            State::Granted => "granted",
            State::Refused => "refused",
            State::Withdrawn => "withdrawn",
        }
    }
}

impl Act {
    /// All of them.
    pub const ALL: [Act; 9] =
        [Act::Edit, Act::Submit, Act::FindIncomplete, Act::FindComplete, Act::Prolong, Act::Assess, Act::Grant, Act::Refuse, Act::Withdraw];

    /// Whether it is the applicant's; the others are the centre's.
    pub fn by_applicant(self) -> bool {
        matches!(self, Act::Edit | Act::Submit | Act::Withdraw)
    }

    /// Its name, as documents write it.
    pub fn name(self) -> &'static str {
        match self {
            Act::Edit => "edit",
            Act::Submit => "submit",
            Act::FindIncomplete => "find_incomplete",
            Act::FindComplete => "find_complete",
            Act::Prolong => "prolong",
            Act::Assess => "assess",
            Act::Grant => "grant",
            Act::Refuse => "refuse",
            Act::Withdraw => "withdraw",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
