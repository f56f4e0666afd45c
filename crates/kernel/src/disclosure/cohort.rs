//! Registered cohorts: groups of persons that statistics may be asked about, after review.
//!
//! A cohort is an expression, written down by one person and decided on by another. It has at least [`MIN_COHORT`] persons, and
//! differs from every other, and from everyone, by at least `difference` persons: of two cohorts that are closer, the answers
//! would show who is in the one and not in the other. It is a document of the kind `cohort`; who is in it is what the expression says at
//! the start of an epoch.

use crate::limits::{MAX_PERMIT_BYTES, MIN_COHORT};
use crate::permit::is_id;
use crate::permit::procedure::{Actor, CENTRE, ProcedureError, Signed, check_text};
use crate::population::Formula;
use jiff::Timestamp;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

/// A cohort, as it was proposed, with the decision if there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cohort {
    /// Its id: 1 to 64 of A-Z a-z 0-9 - . _
    pub id: String,
    /// What it is, for people.
    pub title: String,
    /// Who is in it.
    pub expression: Formula,
    /// Why it is needed.
    pub justification: String,
    /// Who proposed it, and when.
    pub proposed: Signed,
    /// The group of organisations of who proposed it.
    pub group: String,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<CohortDecision>,
}

/// What was decided about a cohort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CohortDecision {
    /// Whether it is registered.
    pub registered: bool,
    /// Why.
    pub reasons: String,
    /// By whom, and when.
    pub decided: Signed,
}

/// Why a group of persons is no cohort.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CohortError {
    /// It has too few persons.
    #[error("it has fewer than {MIN_COHORT} persons; a cohort needs as many")]
    Small,
    /// It is too much like another.
    #[error("it differs from {0} by fewer than {1} persons; use that one, or one that differs more")]
    Near(String, u32),
}

impl Cohort {
    /// A proposal by `actor`.
    pub fn propose(
        id: &str,
        title: &str,
        expression: Formula,
        justification: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Self, ProcedureError> {
        let cohort = Self {
            id: id.to_owned(),
            title: title.to_owned(),
            expression,
            justification: justification.to_owned(),
            proposed: actor.signs(now),
            group: actor.group.clone(),
            decision: None,
        };
        cohort.check()?;
        Ok(cohort)
    }

    /// Reads and checks the document.
    pub fn parse(json: &str) -> Result<Self, ProcedureError> {
        let form = |what: String| ProcedureError::Form { document: "the cohort", what };
        if json.len() > MAX_PERMIT_BYTES {
            return Err(form(format!("it has {} bytes, more than {MAX_PERMIT_BYTES}", json.len())));
        }
        let cohort: Self = serde_json::from_str(json).map_err(|e| form(e.to_string()))?;
        cohort.check()?;
        Ok(cohort)
    }

    fn check(&self) -> Result<(), ProcedureError> {
        if !is_id(&self.id) {
            return Err(ProcedureError::field("id", "write 1 to 64 of the characters A-Z a-z 0-9 - . _"));
        }
        check_text("title", &self.title)?;
        check_text("justification", &self.justification)?;
        self.expression.problem().map_or(Ok(()), |what| Err(ProcedureError::field("expression", what)))
    }

    /// The decision of another person of the centre.
    pub fn decide(&self, registered: bool, reasons: &str, actor: &Actor, now: Timestamp) -> Result<Self, ProcedureError> {
        // What the centre itself proposes is about no organisation.
        let group = if self.proposed.by.organisation == CENTRE { "" } else { &self.group };
        actor.must_be_second(std::iter::once(self.proposed.by.user.as_str()), group)?;
        check_text("reasons", reasons)?;
        if self.decision.is_some() {
            return Err(ProcedureError::State("it has been decided on already".to_owned()));
        }
        let decision = CohortDecision { registered, reasons: reasons.to_owned(), decided: actor.signs(now) };
        Ok(Self { decision: Some(decision), ..self.clone() })
    }

    /// Whether questions of an epoch that began at `start` may name it: it was registered before.
    pub fn stands(&self, start: Timestamp) -> bool {
        self.decision.as_ref().is_some_and(|decision| decision.registered && decision.decided.at < start)
    }
}

/// Whether a group of persons can be a cohort beside others, named by what they are: other cohorts, and everyone.
pub fn check_distances<'a>(
    members: &RoaringBitmap,
    others: impl IntoIterator<Item = (&'a str, &'a RoaringBitmap)>,
    difference: u32,
) -> Result<(), CohortError> {
    if members.len() < MIN_COHORT {
        return Err(CohortError::Small);
    }
    let mut others = others.into_iter();
    let near = others.find(|(_, other)| members.symmetric_difference_len(other) < u64::from(difference));
    near.map_or(Ok(()), |(name, _)| Err(CohortError::Near(name.to_owned(), difference)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::permit::procedure::By;

    fn actor(user: &str, organisation: &str) -> Actor {
        let by = By { user: user.into(), organisation: organisation.into() };
        Actor { by, group: organisation.into(), centre: organisation == CENTRE }
    }

    fn proposed() -> Cohort {
        let expression = serde_json::from_str(r#"{"rows":{"table":"condition"}}"#).unwrap();
        Cohort::propose("c1", "Anybody ill", expression, "a study", &actor("anne", "pharma"), Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn another_person_decides_and_it_begins_with_the_next_epoch() {
        let at = |s: &str| s.parse::<Timestamp>().unwrap();
        let decided = at("2026-11-21T10:00:00Z");
        assert!(proposed().decide(true, "fine", &actor("anne", CENTRE), decided).is_err(), "the same person");
        assert!(proposed().decide(true, "fine", &actor("bo", "pharma"), decided).is_err(), "not the centre");
        let cohort = proposed().decide(true, "fine", &actor("bo", CENTRE), decided).unwrap();
        assert!(!cohort.stands(decided) && cohort.stands(at("2026-11-22T00:00:00Z")));
        let own = Cohort::propose("c2", "T", proposed().expression, "J", &actor("anne", CENTRE), decided).unwrap();
        assert!(
            own.decide(true, "fine", &actor("bo", CENTRE), decided).is_ok()
                && own.decide(true, "fine", &actor("anne", CENTRE), decided).is_err()
        );
        assert!(cohort.decide(false, "no", &actor("bo", CENTRE), decided).is_err(), "once");
        let refused = proposed().decide(false, "too special", &actor("bo", CENTRE), decided).unwrap();
        assert!(!refused.stands(at("2026-11-22T00:00:00Z")) && !proposed().stands(at("2026-11-22T00:00:00Z")));
        assert_eq!(Cohort::parse(&serde_json::to_string(&cohort).unwrap()).unwrap(), cohort);
    }

    #[test]
    fn a_cohort_is_large_and_unlike_all_others() {
        let of = |range: std::ops::Range<u32>| range.collect::<RoaringBitmap>();
        let (small, one, near, far) = (of(0..99), of(0..100), of(0..109), of(0..110));
        assert_eq!(check_distances(&small, [], 10), Err(CohortError::Small));
        assert_eq!(check_distances(&near, [("one", &one)], 10), Err(CohortError::Near("one".to_owned(), 10)));
        assert_eq!(check_distances(&far, [("one", &one)], 10), Ok(()));
        assert_eq!(check_distances(&far, [("one", &one), ("everyone", &near)], 10), Err(CohortError::Near("everyone".to_owned(), 10)));
    }
}
