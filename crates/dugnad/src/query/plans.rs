//! Plans that have run, kept for the same question by the same user under the same permit: planning takes longer than a small question.
//!
//! A plan is judged by the guard and made over tables, columns and keys of a permit; all that it was made of is kept with it and
//! compared before it runs again. Whoever is in and who is out, and every row, is found anew by each run ([`super::seat`]).
//! That a plan is kept can be seen in how long a question takes. So it is kept for the user who asked, and for nobody else.

use super::Question;
use super::policy::Decided;
use super::session::{Plan, Planned};
use super::world::{Blind, SqlView};
use crate::limits::{MAX_KEPT_PLAN_SQL_BYTES, MAX_KEPT_PLANS};
use dugnad_kernel::live::schema::TableSchema;
use dugnad_kernel::permit::Permit;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A question, and all that its plan is made of.
#[derive(Debug)]
pub(super) struct MadeOf {
    user: String,
    sql: String,
    /// Tables, columns, transforms, limits, and whether keys are pseudonyms; of which persons, no plan knows.
    permit: Permit,
    blind: Blind,
    tables: Vec<Arc<TableSchema>>,
    views: Arc<[SqlView]>,
}

impl PartialEq for MadeOf {
    fn eq(&self, other: &Self) -> bool {
        let same_tables = || {
            let mut pairs = self.tables.iter().zip(&other.tables);
            self.tables.len() == other.tables.len() && pairs.all(|(mine, theirs)| Arc::ptr_eq(mine, theirs))
        };
        let same_question = self.sql == other.sql && self.user == other.user;
        same_question && self.permit == other.permit && self.blind == other.blind && same_tables() && self.views == other.views
    }
}

impl MadeOf {
    /// What the plan of a question is made of.
    pub fn new(question: &Question, permit: &Permit, decided: &Decided, views: Arc<[SqlView]>) -> Self {
        Self {
            user: question.who.user.clone(),
            sql: question.sql.clone(),
            permit: permit.clone(),
            blind: decided.blind.clone(),
            tables: decided.snapshot.tables().iter().map(|table| table.schema().clone()).collect(),
            views,
        }
    }
}

/// The plans that are kept, the newest first.
#[derive(Default)]
pub(super) struct Plans(Mutex<VecDeque<(MadeOf, Plan)>>);

impl Plans {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(MadeOf, Plan)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A plan that is made of the same. It is not there any more: it runs once at a time.
    pub fn take(&self, made_of: &MadeOf) -> Option<Plan> {
        let mut kept = self.lock();
        let at = kept.iter().position(|(of, _)| of == made_of)?;
        kept.remove(at).map(|(_, plan)| plan)
    }

    /// How many there are.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.lock().len()
    }

    /// Keeps the plan of a question that has run to its end.
    pub fn keep(&self, made_of: MadeOf, planned: Planned) {
        if made_of.sql.len() > MAX_KEPT_PLAN_SQL_BYTES {
            return;
        }
        let Some(plan) = planned.into_plan() else { return };
        let mut kept = self.lock();
        kept.push_front((made_of, plan));
        kept.truncate(MAX_KEPT_PLANS);
    }
}
