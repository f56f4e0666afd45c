//! Before a permit is revoked its user is heard (Art. 63 of Regulation (EU) 2025/327): a document of the kind `hearing`.
//! And a permit is extended on its user's request (Art. 68(12)): a document of the kind `extension`. Both have the permit's id.

#[cfg(test)]
mod tests;

use super::deadline::{Deadline, Debtor, EXTENSION_NOTICE_MONTHS, HEARING_WEEKS, MAX_PERMIT_YEARS, due_after, later};
use super::procedure::{Actor, ProcedureError, Signed, check_text};
use super::{Permit, PermitError, Status};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// What was said or decided, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// By whom, and when.
    pub signed: Signed,
    /// For a decision: whether it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<bool>,
    /// The text: views, or reasons.
    pub text: String,
}

/// A hearing of a permit's user about its revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hearing {
    permit: String,
    opened: Said,
    until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    views: Option<Said>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decision: Option<Said>,
}

/// Where a hearing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HearingState {
    /// The user may state their views.
    Open,
    /// They have, or their time has passed.
    Heard,
    /// The permit was revoked.
    Revoked,
    /// The permit was kept.
    Kept,
}

/// Where an extension stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtensionState {
    /// It waits for a decision.
    Requested,
    /// The permit was extended.
    Granted,
    /// It was not.
    Refused,
}

fn data_user(actor: &Actor, permit: &Permit) -> Result<(), ProcedureError> {
    if permit.document().users.contains(&actor.by.user) {
        return Ok(());
    }
    Err(ProcedureError::person("only the users that the permit names can do this; ask one of them to"))
}

/// Whoever uses the permit cannot decide about it. (`group` is that of the organisation that it was granted to.)
fn second_person(actor: &Actor, permit: &Permit, first: &str, group: &str) -> Result<(), ProcedureError> {
    actor.must_be_second(permit.document().users.iter().map(String::as_str).chain([first]), group)
}

impl Hearing {
    /// Opens a hearing about what the centre has found; `until` is when the user's time ends, four weeks from now if it is absent.
    pub fn open(actor: &Actor, permit: &Permit, findings: &str, until: Option<Timestamp>, now: Timestamp) -> Result<Self, ProcedureError> {
        actor.must_be_centre()?;
        check_text("findings", findings)?;
        if permit.document().status == Status::Revoked {
            return Err(ProcedureError::state("the permit has been revoked already"));
        }
        let latest = due_after(now, HEARING_WEEKS.weeks());
        let until = until.unwrap_or(latest);
        if until <= now || until > latest {
            return Err(ProcedureError::field(
                "until",
                format!("it must be in the future, and at most {HEARING_WEEKS} weeks away (Art. 63(2))"),
            ));
        }
        let opened = Said { signed: actor.signs(now), done: None, text: findings.to_owned() };
        Ok(Self { permit: permit.id().to_owned(), opened, until, views: None, decision: None })
    }

    /// Reads a stored hearing.
    pub fn parse(json: &str) -> Result<Self, ProcedureError> {
        serde_json::from_str(json).map_err(|e| ProcedureError::Form { document: "the hearing", what: e.to_string() })
    }

    /// Where it stands at `now`.
    pub fn state(&self, now: Timestamp) -> HearingState {
        match &self.decision {
            Some(said) if said.done == Some(true) => HearingState::Revoked,
            Some(_) => HearingState::Kept,
            None if self.views.is_some() || now >= self.until => HearingState::Heard,
            None => HearingState::Open,
        }
    }

    /// The hearing with the views of the permit's user.
    pub fn state_views(&self, actor: &Actor, permit: &Permit, views: &str, now: Timestamp) -> Result<Self, ProcedureError> {
        data_user(actor, permit)?;
        check_text("views", views)?;
        if self.state(now) != HearingState::Open {
            return Err(ProcedureError::state("views were stated, or the time for them has passed"));
        }
        Ok(Self { views: Some(Said { signed: actor.signs(now), done: None, text: views.to_owned() }), ..self.clone() })
    }

    /// The hearing with its decision, by another person than who opened it.
    pub fn decide(
        &self,
        actor: &Actor,
        permit: &Permit,
        group: &str,
        revoke: bool,
        reasons: &str,
        now: Timestamp,
    ) -> Result<Self, ProcedureError> {
        second_person(actor, permit, &self.opened.signed.by.user, group)?;
        check_text("reasons", reasons)?;
        match self.state(now) {
            HearingState::Heard => {}
            HearingState::Open => {
                let what = format!(
                    "the permit's user has until {} to state their views; it is decided then, or once they have (Art. 63(2))",
                    self.until
                );
                return Err(ProcedureError::state(what));
            }
            HearingState::Revoked | HearingState::Kept => return Err(ProcedureError::state("it has been decided already")),
        }
        Ok(Self { decision: Some(Said { signed: actor.signs(now), done: Some(revoke), text: reasons.to_owned() }), ..self.clone() })
    }

    /// What the centre has found.
    pub fn opened(&self) -> &Said {
        &self.opened
    }

    /// The decision, once there is one.
    pub fn decision(&self) -> Option<&Said> {
        self.decision.as_ref()
    }

    /// The clock that runs, if one does.
    pub fn deadline(&self, now: Timestamp) -> Option<Deadline> {
        let (since, due) = (self.opened.signed.at, self.until);
        let deadline = Deadline { task: "state views on the revocation", who: Debtor::DataUser, article: "Art. 63(2)", since, due };
        (self.state(now) == HearingState::Open).then_some(deadline)
    }
}

/// A request to extend a permit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    permit: String,
    requested: Said,
    until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decision: Option<Said>,
}

impl Extension {
    /// A request of a permit's user to extend it until `until`; `before` is the newest earlier request, if there was one.
    pub fn request(
        actor: &Actor,
        permit: &Permit,
        before: Option<&Self>,
        until: Timestamp,
        reasons: &str,
        now: Timestamp,
    ) -> Result<Self, ProcedureError> {
        data_user(actor, permit)?;
        check_text("reasons", reasons)?;
        let document = permit.document();
        if document.status == Status::Revoked || now >= document.valid_until {
            return Err(ProcedureError::state("the permit is not in force any more; apply for another"));
        }
        match before.map(Self::state) {
            Some(ExtensionState::Requested) => return Err(ProcedureError::state("a request waits for its decision")),
            Some(ExtensionState::Granted) if document.basis.is_ehds() => {
                return Err(ProcedureError::state("the permit has been extended, which can be done once (Art. 68(12)); apply for another"));
            }
            _ => {}
        }
        if until <= document.valid_until {
            return Err(ProcedureError::field("until", format!("it must be later than {}, when the permit ends", document.valid_until)));
        }
        if document.basis.is_ehds() {
            check_term(permit, until, now)?;
        }
        let requested = Said { signed: actor.signs(now), done: None, text: reasons.to_owned() };
        Ok(Self { permit: permit.id().to_owned(), requested, until, decision: None })
    }

    /// Reads a stored request.
    pub fn parse(json: &str) -> Result<Self, ProcedureError> {
        serde_json::from_str(json).map_err(|e| ProcedureError::Form { document: "the extension", what: e.to_string() })
    }

    /// Where it stands.
    pub fn state(&self) -> ExtensionState {
        match self.decision.as_ref().map(|said| said.done == Some(true)) {
            None => ExtensionState::Requested,
            Some(true) => ExtensionState::Granted,
            Some(false) => ExtensionState::Refused,
        }
    }

    /// The request with its decision.
    pub fn decide(
        &self,
        actor: &Actor,
        permit: &Permit,
        group: &str,
        grant: bool,
        reasons: &str,
        now: Timestamp,
    ) -> Result<Self, ProcedureError> {
        second_person(actor, permit, &self.requested.signed.by.user, group)?;
        check_text("reasons", reasons)?;
        if self.state() != ExtensionState::Requested {
            return Err(ProcedureError::state("it has been decided already"));
        }
        if grant && permit.document().status == Status::Revoked {
            return Err(ProcedureError::state("the permit was revoked meanwhile; it can only be refused"));
        }
        Ok(Self { decision: Some(Said { signed: actor.signs(now), done: Some(grant), text: reasons.to_owned() }), ..self.clone() })
    }

    /// The permit as it is after this extension.
    pub fn extended(&self, permit: &Permit) -> Result<Permit, PermitError> {
        let mut document = permit.document().clone();
        document.valid_until = self.until;
        Permit::new(document)
    }
}

fn check_term(permit: &Permit, until: Timestamp, now: Timestamp) -> Result<(), ProcedureError> {
    let ends = permit.document().valid_until;
    if later(now, EXTENSION_NOTICE_MONTHS.months()) > ends {
        let what = format!(
            "an extension is asked for at least {EXTENSION_NOTICE_MONTHS} month before the permit ends (Art. 68(12)); apply for another"
        );
        return Err(ProcedureError::state(what));
    }
    if until > later(ends, MAX_PERMIT_YEARS.years()) {
        return Err(ProcedureError::field("until", format!("a permit is extended by at most {MAX_PERMIT_YEARS} years (Art. 68(12))")));
    }
    Ok(())
}

/// The permit after its revocation.
pub fn revoked(permit: &Permit) -> Result<Permit, PermitError> {
    let mut document = permit.document().clone();
    document.status = Status::Revoked;
    Permit::new(document)
}
