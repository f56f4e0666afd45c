//! From application to permit: a document of the kind `application`, and what can be done to it.
//!
//! An application is what is asked for ([`Content`]) and the steps that were taken, each by whom and when. Its state follows from
//! the steps; [`Application::parse`] replays them, so that no document can claim a state that it did not reach.

mod content;
mod missing;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use content::{Answer, Approval, ApprovalKind, Content, Justified, RequestedColumns, RequestedTable};
pub use missing::{Missing, missing};
pub use state::{Act, State};
pub use step::{Step, What};

use super::deadline::{
    ACCELERATED_MONTHS, ACCELERATED_PROLONGATION_MONTHS, COMPLETION_WEEKS, DECISION_MONTHS, Deadline, Debtor, PROLONGATION_MONTHS,
    due_after,
};
use super::document::{Decision, Document as PermitDocument, Population, Status, Tables};
use super::organisation::Organisation;
use super::procedure::{Actor, ProcedureError, Signed, check_text};
use super::{Basis, Permit, PermitError, is_id};
use crate::limits::{MAX_APPLICATION_STEPS, MAX_FEASIBILITY_CELLS, MAX_PERMIT_BYTES, MAX_PERMIT_ITEMS, MAX_PERMIT_TEXT_BYTES};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// A question about feasibility that was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feasibility {
    /// By whom, and when.
    pub asked: Signed,
    /// The question.
    pub sql: String,
    /// How many cells of the catalogue it showed.
    pub cells: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    id: String,
    organisation: String,
    opened: Signed,
    content: Content,
    steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    feasibility: Vec<Feasibility>,
    /// How many persons were named beside it, and by whom; the list itself is a document of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    named: Option<Named>,
    /// Whether it was handed in for the accelerated procedure (Art. 68(6)).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    accelerated: bool,
}

/// Persons were named beside an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// By whom, and when.
    pub signed: Signed,
    /// How many.
    pub persons: usize,
}

/// An application whose steps lead from a draft to where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    document: Document,
}

impl Application {
    /// A draft by `actor`, who belongs to the organisation `applicant`.
    pub fn open(id: &str, actor: &Actor, applicant: &Organisation, content: Content, now: Timestamp) -> Result<Self, ProcedureError> {
        if !is_id(id) {
            return Err(ProcedureError::field("id", "write 1 to 64 of the characters A-Z a-z 0-9 - . _"));
        }
        must_belong(actor, applicant)?;
        check_bounds(&content)?;
        let (id, organisation, opened) = (id.to_owned(), applicant.id.clone(), actor.signs(now));
        Ok(Self {
            document: Document {
                id,
                organisation,
                opened,
                content,
                steps: Vec::new(),
                feasibility: Vec::new(),
                named: None,
                accelerated: false,
            },
        })
    }

    /// Reads an application as it was stored, and replays its steps.
    pub fn parse(json: &str) -> Result<Self, ProcedureError> {
        let form = |what: String| ProcedureError::Form { document: "the application", what };
        let document: Document = serde_json::from_str(json).map_err(|e| form(e.to_string()))?;
        check_bounds(&document.content)?;
        let mut replayed = Self { document: Document { steps: Vec::new(), ..document.clone() } };
        for step in document.steps {
            let (state, act) = (replayed.state(step.signed.at), step.what.act());
            if state.after(act).is_none() {
                return Err(form(format!("its step {act} cannot follow on the state {state}")));
            }
            replayed.document.steps.push(step);
        }
        Ok(replayed)
    }

    /// Its JSON, as it is stored.
    pub fn to_json(&self) -> Result<String, ProcedureError> {
        serde_json::to_string(&self.document).map_err(|e| ProcedureError::Form { document: "the application", what: e.to_string() })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.document.id
    }

    /// The id of the organisation that applies.
    pub fn organisation(&self) -> &str {
        &self.document.organisation
    }

    /// What it asks for.
    pub fn content(&self) -> &Content {
        &self.document.content
    }

    /// The steps that were taken, in their order.
    pub fn steps(&self) -> &[Step] {
        &self.document.steps
    }

    /// When the draft was begun, and by whom.
    pub fn opened(&self) -> &Signed {
        &self.document.opened
    }

    /// The questions about feasibility that were answered.
    pub fn feasibility(&self) -> &[Feasibility] {
        &self.document.feasibility
    }

    /// Where it stands at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        let reached = self.document.steps.iter().try_fold(State::Draft, |state, step| state.after(step.what.act()));
        match reached.unwrap_or(State::Draft) {
            State::Incomplete if self.completion().is_some_and(|deadline| deadline.overdue(now)) => State::Lapsed,
            state => state,
        }
    }

    /// The last step of this kind.
    pub fn last(&self, act: Act) -> Option<&Step> {
        self.document.steps.iter().rev().find(|step| step.what.act() == act)
    }

    /// The permit that was granted on it.
    pub fn permit_id(&self) -> Option<&str> {
        match &self.last(Act::Grant)?.what {
            What::Grant { permit, .. } => Some(permit),
            _ => None,
        }
    }

    /// The application with another content.
    pub fn edit(&self, actor: &Actor, applicant: &Organisation, content: Content, now: Timestamp) -> Result<Self, ProcedureError> {
        must_belong(actor, applicant)?;
        self.must_allow(Act::Edit, now)?;
        check_bounds(&content)?;
        Ok(Self { document: Document { content, ..self.document.clone() } })
    }

    /// The application beside which `persons` persons were named, for a population that is `listed`. It may be done whenever the
    /// application may be changed; the last list counts.
    pub fn name_persons(&self, actor: &Actor, applicant: &Organisation, persons: usize, now: Timestamp) -> Result<Self, ProcedureError> {
        must_belong(actor, applicant)?;
        self.must_allow(Act::Edit, now)?;
        Ok(Self { document: Document { named: Some(Named { signed: actor.signs(now), persons }), ..self.document.clone() } })
    }

    /// The persons who were named beside it, if any were.
    pub fn named(&self) -> Option<&Named> {
        self.document.named.as_ref()
    }

    /// The application after a step by `actor`; `applicant` is the organisation that applies.
    pub fn take(&self, actor: &Actor, applicant: &Organisation, what: What, now: Timestamp) -> Result<Self, ProcedureError> {
        let act = what.act();
        if act.by_applicant() {
            must_belong(actor, applicant)?;
        } else {
            actor.must_be_centre()?;
        }
        self.must_allow(act, now)?;
        if let Some(reasons) = what.reasons() {
            check_text("reasons", reasons)?;
        }
        self.check_step(actor, applicant, &what, now)?;
        if self.document.steps.len() >= MAX_APPLICATION_STEPS {
            return Err(ProcedureError::state("this application has taken as many steps as one may; apply anew"));
        }
        let mut after = self.clone();
        if act == Act::Submit {
            after.document.accelerated = self.is_accelerated(applicant);
        }
        after.document.steps.push(Step { signed: actor.signs(now), what });
        Ok(after)
    }

    fn must_allow(&self, act: Act, now: Timestamp) -> Result<(), ProcedureError> {
        let state = self.state(now);
        if state.after(act).is_some() {
            return Ok(());
        }
        let possible: Vec<&str> = state.acts().map(Act::name).collect();
        let next = if possible.is_empty() { "nothing more can be done to it; apply anew".to_owned() } else { possible.join(", ") };
        Err(ProcedureError::state(format!("the application is {state}, so {act} cannot be done; possible is: {next}")))
    }

    /// What a step asks for beyond the state.
    fn check_step(&self, actor: &Actor, applicant: &Organisation, what: &What, now: Timestamp) -> Result<(), ProcedureError> {
        match what {
            What::FindIncomplete { missing } if missing.is_empty() || missing.len() > MAX_PERMIT_ITEMS => {
                Err(ProcedureError::field("missing", format!("name what is missing, at most {MAX_PERMIT_ITEMS} items")))
            }
            What::FindComplete => match self.missing(applicant).first() {
                Some(lacks) => Err(ProcedureError::field(lacks.field.clone(), lacks.what.clone())),
                None => Ok(()),
            },
            What::Prolong { .. } if self.document.content.basis == Basis::EhdsRequest => {
                Err(ProcedureError::state("the time for the decision on a request cannot be prolonged (Art. 69)"))
            }
            What::Prolong { .. } if self.last(Act::Prolong).is_some() => {
                Err(ProcedureError::state("the time for the decision was prolonged already, which can be done once (Art. 68(4))"))
            }
            What::Prolong { .. } if self.decision_due().is_some_and(|deadline| deadline.overdue(now)) => {
                Err(ProcedureError::state("the time for the decision has passed; it can only be prolonged before (Art. 68(4))"))
            }
            What::Assess { .. } => actor.must_be_second(self.applicants(), applicant.group()),
            What::Grant { permit, reasons } => {
                self.check_decider(actor, applicant)?;
                self.check_prohibited()?;
                self.permit(applicant, permit, actor, reasons, now).map(drop).map_err(|e| ProcedureError::state(e.to_string()))
            }
            What::Refuse { .. } => self.check_decider(actor, applicant),
            _ => Ok(()),
        }
    }

    /// Those who stand behind the application.
    fn applicants(&self) -> impl Iterator<Item = &str> {
        let acted = self.document.steps.iter().filter(|step| step.what.act().by_applicant()).map(|step| step.signed.by.user.as_str());
        let named = self.document.content.users.iter().map(String::as_str);
        named.chain(acted).chain([self.document.opened.by.user.as_str()])
    }

    /// Who decides is neither of the applicant nor who assessed.
    fn check_decider(&self, actor: &Actor, applicant: &Organisation) -> Result<(), ProcedureError> {
        let assessed = self.last(Act::Assess).map(|step| step.signed.by.user.as_str());
        actor.must_be_second(self.applicants().chain(assessed), applicant.group())
    }

    fn check_prohibited(&self) -> Result<(), ProcedureError> {
        let intended = self.document.content.prohibited_uses.iter().find(|(_, answer)| answer.intended);
        match intended {
            Some((prohibited, _)) => Err(ProcedureError::state(format!(
                "the applicant intends a use that Art. 54 prohibits ({}); it can only be refused",
                prohibited.name()
            ))),
            None => Ok(()),
        }
    }

    /// What it lacks: what the form shows, and whether the rules of its basis admit the permit that it asks for.
    pub fn missing(&self, applicant: &Organisation) -> Vec<Missing> {
        let mut lacks = missing(&self.document.content, applicant);
        if matches!(self.document.content.whose(), Some(Population::Listed { .. })) && self.document.named.is_none() {
            let what = "name the persons with PUT /applications/{id}/persons".to_owned();
            lacks.push(Missing { field: "population.listed".to_owned(), what });
        }
        if lacks.is_empty()
            && let Err(error) =
                self.permit_document(applicant, "preview", "preview", "preview", self.document.opened.at).and_then(Permit::new)
        {
            let (field, what) = match error {
                PermitError::Form(what) => ("content".to_owned(), what),
                PermitError::Field { field, what, .. } => (field, what),
                PermitError::Basis { field, basis, what, .. } => (field.to_owned(), format!("the legal basis {basis} {what}")),
            };
            lacks.push(Missing { field, what });
        }
        lacks
    }

    /// The permit that a decision of `actor` makes of it.
    pub fn permit(&self, applicant: &Organisation, id: &str, actor: &Actor, reasons: &str, now: Timestamp) -> Result<Permit, PermitError> {
        self.permit_document(applicant, id, &actor.by.user, reasons, now).and_then(Permit::new)
    }

    fn permit_document(
        &self,
        applicant: &Organisation,
        id: &str,
        by: &str,
        reasons: &str,
        at: Timestamp,
    ) -> Result<PermitDocument, PermitError> {
        let absent = |what: &str| PermitError::Form(format!("the application does not say {what}"));
        let content = self.document.content.clone();
        let cadence = content.cadence.ok_or_else(|| absent("how current the rows must be"))?;
        Ok(PermitDocument {
            id: id.to_owned(),
            basis: content.basis,
            applicant: applicant.name.clone(),
            users: content.users,
            purpose: content.purpose,
            provision: content.provision,
            tables: Tables::List(content.tables.iter().map(RequestedTable::grant).collect()),
            population: content.population.ok_or_else(|| absent("whose rows are needed"))?.value,
            cadence: cadence.value,
            cadence_reason: Some(cadence.justification),
            delivery: content.delivery.ok_or_else(|| absent("where rows are to be shown"))?,
            blinding: content.blinding,
            limits: content.limits,
            valid_from: content.valid_from.ok_or_else(|| absent("from when"))?,
            valid_until: content.valid_until.ok_or_else(|| absent("until when"))?,
            decision: Decision { by: by.to_owned(), at, reasons: reasons.to_owned() },
            status: Status::Active,
        })
    }

    /// The application after an answer about feasibility: `cells` cells of the catalogue of statistics.
    pub fn ask(&self, actor: &Actor, applicant: &Organisation, sql: &str, cells: usize, now: Timestamp) -> Result<Self, ProcedureError> {
        must_belong(actor, applicant)?;
        if applicant.verified.is_none() {
            return Err(ProcedureError::person("feasibility is for organisations that the centre has verified; ask it to do so"));
        }
        let state = self.state(now);
        if state.acts().next().is_none() {
            return Err(ProcedureError::state(format!("the application is {state}; feasibility is asked before a decision")));
        }
        let spent: usize = self.document.feasibility.iter().map(|f| f.cells).sum();
        if spent + cells > MAX_FEASIBILITY_CELLS {
            let left = MAX_FEASIBILITY_CELLS - spent;
            let what = format!(
                "an application shows {MAX_FEASIBILITY_CELLS} cells in all, and this question asks for {cells} where {left} are left; name fewer with WHERE ... IN"
            );
            return Err(ProcedureError::state(what));
        }
        let mut after = self.clone();
        after.document.feasibility.push(Feasibility { asked: actor.signs(now), sql: sql.to_owned(), cells });
        Ok(after)
    }

    /// The clock that runs at `now`, if one does: for the EHDS bases only.
    pub fn deadline(&self, now: Timestamp) -> Option<Deadline> {
        match self.state(now) {
            State::Incomplete => self.completion(),
            State::Submitted | State::Complete | State::Assessed => self.decision_due(),
            _ => None,
        }
    }

    fn article(&self) -> Option<&'static str> {
        match self.document.content.basis {
            Basis::EhdsPermit => Some("Art. 68(4)"),
            Basis::EhdsRequest => Some("Art. 69"),
            _ => None,
        }
    }

    fn completion(&self) -> Option<Deadline> {
        let since = self.last(Act::FindIncomplete)?.signed.at;
        let due = due_after(since, COMPLETION_WEEKS.weeks());
        Some(Deadline { task: "complete the application", who: Debtor::Applicant, article: self.article()?, since, due })
    }

    /// For a permit it runs from the reception of what was, or may be found, complete; for a request from its first reception.
    fn decision_due(&self) -> Option<Deadline> {
        let request = self.document.content.basis == Basis::EhdsRequest;
        let handed_in = self.document.steps.iter().find(|step| step.what.act() == Act::Submit).filter(|_| request);
        let since = handed_in.or_else(|| self.last(Act::Submit))?.signed.at;
        let (months, more) = match self.document.accelerated {
            true => (ACCELERATED_MONTHS, ACCELERATED_PROLONGATION_MONTHS),
            false => (DECISION_MONTHS, PROLONGATION_MONTHS),
        };
        let prolonged = if self.last(Act::Prolong).is_some() { more } else { 0 };
        let due = due_after(since, (months + prolonged).months());
        let article = if self.document.accelerated { "Art. 68(6)" } else { self.article()? };
        Some(Deadline { task: "decide on the application", who: Debtor::Centre, article, since, due })
    }

    /// Whether it is one for the accelerated procedure: of a public sector body with a mandate in the field of public health, for
    /// the purposes that only public sector bodies have (Art. 68(6)).
    fn is_accelerated(&self, applicant: &Organisation) -> bool {
        let content = &self.document.content;
        let purposes = !content.purposes.is_empty() && content.purposes.iter().all(|purpose| purpose.for_public_bodies_only());
        content.basis == Basis::EhdsPermit && applicant.public_health && purposes
    }
}

fn must_belong(actor: &Actor, applicant: &Organisation) -> Result<(), ProcedureError> {
    if actor.by.organisation == applicant.id {
        return Ok(());
    }
    Err(ProcedureError::person("only people of the organisation that applies can do this; ask one of them to"))
}

fn check_bounds(content: &Content) -> Result<(), ProcedureError> {
    let bytes = serde_json::to_vec(content).map_or(usize::MAX, |json| json.len());
    if bytes > MAX_PERMIT_BYTES {
        return Err(ProcedureError::field("content", format!("it has more than {MAX_PERMIT_BYTES} bytes of JSON")));
    }
    let lists = [("users", content.users.len()), ("tables", content.tables.len()), ("approvals", content.approvals.len())];
    if let Some((field, _)) = lists.iter().find(|(_, items)| *items > MAX_PERMIT_ITEMS) {
        return Err(ProcedureError::field(*field, format!("name at most {MAX_PERMIT_ITEMS}")));
    }
    let texts = [("title", &content.title), ("purpose", &content.purpose), ("safeguards", &content.safeguards)];
    match texts.iter().find(|(_, text)| text.len() > MAX_PERMIT_TEXT_BYTES) {
        Some((field, _)) => Err(ProcedureError::field(*field, format!("write at most {MAX_PERMIT_TEXT_BYTES} bytes"))),
        None => Ok(()),
    }
}
