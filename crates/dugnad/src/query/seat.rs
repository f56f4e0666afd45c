//! What a plan reads. A plan itself holds no snapshot, nobody's rows and no code that a row has: it gets them when it runs, so that it
//! can be kept and run again on what is there then.

use super::delivered::Delivered;
use super::dictionary::Dictionary;
use super::source::Sources;
use dugnad_kernel::live::RowFilter;
use dugnad_kernel::live::schema::TableSchema;
use dugnad_kernel::views::About;
use dugnad_sql::QueryError;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// What one run of a plan reads, and what it remembers of it.
#[derive(Clone)]
pub(super) struct Ground {
    /// Where rows come from: all tables at one commit.
    pub sources: Arc<dyn Sources>,
    /// Whose rows.
    pub filter: RowFilter,
    /// The codes that the question has met.
    pub dictionary: Dictionary,
    /// Whose rows it has read.
    pub delivered: Delivered,
}

impl Ground {
    /// These rows, of which nothing has been read yet.
    pub fn new(sources: Arc<dyn Sources>, filter: RowFilter) -> Self {
        Self { sources, filter, dictionary: Dictionary::default(), delivered: Delivered::default() }
    }

    /// Whose rows of one table. Rows about nobody exist in tables that are about nobody by nature, such as `research_study`. Elsewhere
    /// a row that lacks its patient is in nobody's population, as is every row of a view that leaves the patient's key out; only the
    /// hospital that wrote it sees it.
    pub fn filter(&self, table: &TableSchema) -> RowFilter {
        let mut filter = self.filter.clone();
        filter.without_patient &= table.about == About::Nobody || filter.holder.is_some();
        filter
    }
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").field("filter", &self.filter).finish_non_exhaustive()
    }
}

/// Where a plan finds what it reads; a clone is the same place. Empty before a run and after it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seat(Arc<RwLock<Option<Arc<Ground>>>>);

impl Seat {
    /// From now on the plan reads this.
    pub fn take(&self, ground: &Ground) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(ground.clone()));
    }

    /// The run is over.
    pub fn leave(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What the plan reads. Scans ask once, when they start: a task that outlives its run reads what that run read.
    pub fn ground(&self) -> Result<Arc<Ground>, QueryError> {
        let ground = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        ground.ok_or_else(|| QueryError::Internal("a plan was run without anything to read".to_owned()))
    }
}
