//! What the log records, and the commitment that the public tree holds instead of it.

use super::persons::Persons;
use super::tree::Hash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Separates the hash of an entry from every other hash that this program or a Merkle tree computes.
const COMMITMENT_DOMAIN: &[u8] = b"dugnad.audit.commitment.v1\n";

/// Bytes of the random salt of one entry. As long as the hash: nobody can try likely entries against a commitment.
pub const SALT_BYTES: usize = 32;

/// What the public tree says about an entry: SHA-256 over a domain tag, the entry's random salt and its JSON. It hides the
/// entry from those who lack the salt, and binds the log to it.
pub fn commitment(salt: &[u8; SALT_BYTES], json: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(COMMITMENT_DOMAIN);
    hasher.update(salt);
    hasher.update(json);
    Hash::new(hasher.finalize().into())
}

/// What an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// A read or query is about to answer: durable before the first byte.
    Intent,
    /// It has answered: durable before the last chunk.
    Completion,
    /// It was refused.
    Refusal,
    /// A hospital wrote.
    Write,
    /// A permit or other document was decided or changed.
    Decision,
    /// Tokens, holders, keys, start and stop.
    Administration,
    /// A token was used for the first time, or for the first time since the server was started.
    Login,
    /// A set of persons, which the completions that follow refer to.
    Persons,
}

/// One entry, as the parties to it may read it. Fields that do not apply are absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When (UTC).
    pub at: Timestamp,
    /// What.
    pub act: Act,
    /// Who.
    pub user: String,
    /// As which role.
    pub role: String,
    /// For a completion: the index of its intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<u64>,
    /// On which interface: `fhir`, `sql`, `cli`, `web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Under which permit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<String>,
    /// For which purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The holder that wrote or whose resource was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The query or request, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The data commit that was seen or made (record-level), or
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<u64>,
    /// the epoch (statistics).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// For a restore: the timeline that it began. Commits of earlier entries are of another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<String>,
    /// The tables that were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Rows delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// How it ended: `ok`, `failed`, `cancelled`, `assumed` (see [`Entry::assumed`]), or the reason of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Whose data was delivered (record-level completions), or a set of persons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persons: Option<Persons>,
    /// For a restore: the highest patient ordinal of the journal that was restored. Higher ordinals of earlier entries are of
    /// other Patients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patients: Option<u32>,
}

impl Entry {
    /// An entry with nothing but time, act, user and role.
    pub fn new(at: Timestamp, act: Act, user: &str, role: &str) -> Self {
        Self {
            at,
            act,
            user: user.to_owned(),
            role: role.to_owned(),
            intent: None,
            interface: None,
            permit: None,
            purpose: None,
            holder: None,
            request: None,
            commit: None,
            epoch: None,
            timeline: None,
            tables: Vec::new(),
            rows: None,
            outcome: None,
            persons: None,
            patients: None,
        }
    }

    /// The completion of the access with this intent, of which nobody knows how far it came: the log ended before it was told.
    /// Whoever could be in the answer is taken to have been in it; statistics name nobody.
    pub(super) fn assumed(&self, intent: u64, at: Timestamp) -> Self {
        let persons = self.epoch.is_none().then_some(Persons::Everyone { everyone: true });
        let (outcome, request) = (Some(ASSUMED.to_owned()), None);
        Self { act: Act::Completion, at, intent: Some(intent), outcome, request, persons, rows: None, ..self.clone() }
    }
}

/// The outcome of an access whose end nobody saw.
pub const ASSUMED: &str = "assumed";
