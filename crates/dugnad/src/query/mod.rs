//! SQL under a permit. The only module that knows DataFusion.

use crate::access::Principal;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use dugnad_kernel::audit::Log;
use dugnad_kernel::database::Database;
use dugnad_kernel::ids::Commit;
use std::sync::Arc;

/// Answers questions under permits.
#[derive(Clone)]
pub struct QueryService {
    _private: (),
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks.
    pub who: Principal,
    /// On which interface: `sql`, `cli`, `web`.
    pub interface: &'static str,
    /// Under which permit.
    pub permit: String,
    /// SQL: one SELECT.
    pub sql: String,
    /// As of which commit; the newest if absent.
    pub as_of: Option<Commit>,
    /// Refuse to answer from an older commit than this (`Dugnad-Min-Commit`).
    pub min_commit: Option<Commit>,
}

/// What the answer was computed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Record-level: a commit.
    Commit(Commit),
    /// Statistics: an epoch.
    Epoch(String),
}

/// An answer whose intent is on the record; its completion is recorded before the last batch is handed out.
pub struct Answer {
    /// What it was computed on.
    pub basis: Basis,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub batches: SendableRecordBatchStream,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The permit is unknown, not this user's, not valid now: all the same to the caller.
    #[error("there is no permit `{0}` that you may use now; `GET /permits` lists yours")]
    NoPermit(String),
    /// The statement is not one that a permit answers.
    #[error("{0}")]
    Refused(String),
    /// The commit that was asked for is not there (yet), or is before the permit's start.
    #[error("{0}")]
    Commit(String),
    /// Too long, too much memory.
    #[error("{0}")]
    Limit(String),
    /// The audit log cannot be written, so nothing is read.
    #[error("{0}")]
    Audit(String),
    /// Our fault.
    #[error("the query failed: {0}")]
    Internal(String),
}

impl QueryService {
    /// A service over a database.
    pub fn new(_database: Database, _audit: Arc<Log>, _pseudonym_key: [u8; 32]) -> Self {
        todo!()
    }

    /// Answers a question, or says why not.
    pub async fn ask(&self, _question: Question) -> Result<Answer, QueryError> {
        todo!()
    }
}
