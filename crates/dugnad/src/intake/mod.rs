//! Taking in what files hold: FHIR read in a stream ([`source`]), and what becomes of each part ([`plan`]). For `dugnad ingest`
//! and `$import`, which differ in where the files come from and in where they write.

pub mod plan;
pub mod source;

use dugnad_kernel::database::Interaction;
use dugnad_kernel::fhir::issue::Issue;

/// Nothing more can be taken: the journal has stopped, the server is gone, the token is not valid.
#[derive(Debug)]
pub struct Gone(pub String);

/// What became of what was sent.
#[derive(Debug)]
pub enum Fate {
    /// It is durable.
    Taken {
        /// One for each resource; empty if all had been taken before.
        entries: Vec<Taken>,
        /// Entries of a batch that were refused.
        refused: Vec<Refusal>,
    },
    /// Nothing of it was taken.
    Refused(Vec<Refusal>),
}

/// A resource that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its type.
    pub resource_type: String,
    /// False if it was there already.
    pub changed: bool,
    /// How many warnings there were, such as references kept as logical ones.
    pub warnings: usize,
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where in what was sent.
    pub at: Option<String>,
    /// What, and what to do.
    pub why: String,
}

impl Fate {
    /// Refused for one reason.
    pub fn refused(at: Option<String>, why: String) -> Self {
        Fate::Refused(vec![Refusal { at, why }])
    }

    /// Refused for what the issues say.
    pub fn of_issues(issues: Vec<Issue>) -> Self {
        Fate::Refused(refusals(issues))
    }
}

/// What issues say, as refusals.
pub fn refusals(issues: Vec<Issue>) -> Vec<Refusal> {
    issues.into_iter().map(|i| Refusal { at: i.expression, why: i.diagnostics }).collect()
}

/// Where what is taken in is written. Busy is waited for inside. Under a key a write is made once, whatever has happened since.
pub trait Sink: Sync {
    /// A Bundle of type transaction.
    fn transaction(&self, body: Vec<u8>, key: Option<String>) -> Result<Fate, Gone>;
    /// A Bundle of type batch.
    fn batch(&self, body: Vec<u8>, key: String) -> Result<Fate, Gone>;
    /// One resource: a create or an update.
    fn single(&self, interaction: Interaction, key: Option<String>) -> Result<Fate, Gone>;
}
